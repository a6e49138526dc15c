// Package query is the language in which stores are asked: parsed from text
// into a tree of one meaning, which Match states in code.
package query

import (
	"net/netip"

	"github.com/tocsin/tocsin/event"
)

// Node is one of And, Or, Not, Compare, Exists and Text.
type Node interface{ node() }

// And is true of an event if all of its nodes are; of none it is true.
type And []Node

// Or is true of an event if any of its nodes is; of none it is false.
type Or []Node

// Not is true where its node is not.
type Not struct{ Node Node }

// Exists is true of an event that has the field.
type Exists struct{ Field string }

// Text is a bare word or phrase: true if any text of any field of the event
// contains it, without regard to case; an address or number equals it; an
// identifier (event.id, network.community_id) is equal to it as a whole.
type Text struct{ Pattern string } // * and ? are wildcards; a backslash makes the next character itself

// Op compares a field with a value.
type Op uint8

// Operators.
const (
	Eq Op = iota // equality; addresses: within a prefix; text: * and ? match runs and single characters
	Lt
	Le
	Gt
	Ge
)

// Compare is true of an event if the field's value, or any element of it if it
// is a list, compares so with Value. Text minds the case and is compared as a
// whole, by its bytes; addresses are compared as IPv6, IPv4 mapped into it.
type Compare struct {
	Field string // a field, or a pattern of fields with *
	Op    Op
	Value Literal
}

// Literal is a value as it was written, with every reading of it that makes
// sense; the type of the field's value chooses among them. Code that has a
// value rather than a text sets V alone: Literal{V: event.IP(a)}.
type Literal struct {
	Text   string
	Quoted bool // * and ? are themselves; else a backslash makes the next character itself
	V      event.Value
}

func (And) node()     {}
func (Or) node()      {}
func (Not) node()     {}
func (Exists) node()  {}
func (Text) node()    {}
func (Compare) node() {}

// OfKind is true of the events of a kind.
func OfKind(k event.Kind) Node {
	e := event.Event{Kind: k}
	return Compare{Field: "event.dataset", Value: Literal{V: e.Get("event.dataset")}}
}

// Involves is true of an event with the address at either end.
func Involves(a netip.Addr) Node {
	is := Literal{V: event.IP(a)}
	return Or{Compare{Field: "source.ip", Value: is}, Compare{Field: "destination.ip", Value: is}}
}
