package ics

import (
	"math/bits"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Odd is a set of oddities of a transaction: the values of
// tocsin.protocol.anomaly.
type Odd uint32

// Oddities that protocols share.
const (
	UnsolicitedResponse Odd = 1 << iota // it answers nothing that was seen
	NoResponse                          // nobody answered
	CaptureLoss                         // packets were lost, so what is missing may have been there
	SkippedBytes                        // bytes of no message came before it
	LengthMismatch                      // its parts are longer than it is, or do not fill it
	ReversedRoles                       // the flow's originator is the one who answers
	UnknownFunction                     // the standard has no such function
	FunctionMismatch                    // the answer is to another function
	ReferenceMismatch                   // the answer carries another number than the request
	DuplicateReference                  // a request carries the number of one that still waits
	InvalidValue                        // a value that the standard does not allow
	NoSecurity                          // the protocol's own protection is switched off
	LimitExceeded                       // more than the peers agreed on, or than a parser keeps
	TooMany                             // more requests wait than the peers agreed on, or than a parser keeps
	Truncated                           // the message is longer than what a parser keeps of it
	numOdd              = iota
)

var oddNames = [numOdd]string{
	"unsolicited_response", "no_response", "capture_loss", "skipped_bytes", "length_mismatch", "reversed_roles",
	"unknown_function", "function_mismatch", "reference_mismatch", "duplicate_reference", "invalid_value", "no_security",
	"limit_exceeded", "too_many_requests", "truncated",
}

// Value is the list of the oddities' names, in memory of the out's.
func (o Odd) Value(out *proto.Out) event.Value {
	vs := out.Values(bits.OnesCount32(uint32(o)))
	for i, name := range oddNames {
		if o&(1<<i) != 0 {
			vs = append(vs, event.Str(name))
		}
	}
	return event.List(vs...)
}
