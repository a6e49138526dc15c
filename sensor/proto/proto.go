// Package proto is the contract between the sensor and the parsers of
// application protocols. Each protocol is a folder beside this file; all lists
// them; prototest is the contract as code; template is what to copy.
package proto

import (
	"time"

	"github.com/tocsin/tocsin/event"
)

// Dir is the direction of bytes within a flow.
type Dir uint8

// Directions. Orig is from the flow's originator, as far as the flow table
// knows: after a capture that began mid-stream it may be the wrong way round,
// so Probe and Parse judge by content.
const (
	Orig Dir = iota
	Resp
)

// Flip returns the other direction.
func (d Dir) Flip() Dir { return d ^ 1 }

// Verdict is what a probe says of bytes.
type Verdict uint8

// Verdicts of a probe.
const (
	No    Verdict = iota
	Maybe         // not enough bytes to tell
	Yes
)

// Transport is a set of transports.
type Transport uint8

// Transports that a protocol runs over.
const (
	TCP Transport = 1 << iota
	UDP
)

// Protocol describes a protocol that can be parsed. It is data; parsers are
// made per flow by New.
type Protocol struct {
	Name      event.Kind // the events' kind, and network.protocol
	Transport Transport
	Ports     []uint16 // usual ports of the responder: a hint that orders probing, never a condition
	// Probe judges the first bytes of one direction of a flow: of TCP what
	// came first and in order, of UDP one datagram. It must not be fooled by
	// another protocol's bytes, and says Maybe only while more bytes could
	// change its mind, at most for MaxProbe bytes.
	Probe func(dir Dir, b []byte) Verdict
	// New makes a parser for one flow.
	New func() Parser
	// Fields documents every field that events of this protocol may carry
	// beyond event.CoreFields.
	Fields []event.FieldDoc
}

// MaxProbe is how many bytes of a direction are kept until a probe decides.
const MaxProbe = 2048

// MaxPending is how many unconsumed bytes of a direction a parser may leave
// waiting for more. A parser that wants larger messages consumes them in parts.
const MaxPending = 64 << 10

// Emit takes one event of a parser: its time, and its fields. Time is that of
// the transaction's first packet. The fields are borrowed: the caller may use
// the slice again after Emit returns. Values are kept, so text made from the
// wire must be copied, as event.Text does.
type Emit func(at time.Time, fields []event.Field)

// Parser turns the bytes of one flow into events. It is called by one
// goroutine. Whatever a hostile peer can make it remember has a named maximum.
type Parser interface {
	// Parse is given what has come in order in one direction and was not yet
	// consumed: of UDP exactly one datagram, whose remainder is dropped. It
	// consumes whole messages, emits their events and returns how many bytes
	// it used; the rest is given again with more behind it. now is the
	// capture time of the packet that completed b. b is valid until Parse
	// returns. An error means that the bytes are not what they should be: the
	// flow is not parsed further, and the error's text is counted as cause.
	Parse(dir Dir, b []byte, now time.Time, emit Emit) (n int, err error)
	// Gap says that n bytes of a direction were never seen; what Parse gets
	// next comes after them, and what it had left unconsumed is gone.
	Gap(dir Dir, n int)
	// End says that the flow is over: emit what still waits for an answer.
	End(emit Emit)
}
