// Package proto is the contract between the sensor and the parsers of
// application protocols. Each protocol is a folder beside this file; all lists
// them; prototest is the contract as code; template is what to copy.
package proto

import (
	"errors"
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
	// change its mind, at most for MaxProbe bytes. No is final: whatever of a
	// stream comes behind the bytes does not change it.
	Probe func(dir Dir, b []byte) Verdict
	// First reports whether a datagram may begin with c; nil if it may with
	// any. Of a stream Probe is asked that. The sensor asks once for each of
	// the 256, so that a flow's first bytes find those protocols that they may
	// be of, and its cost does not grow with the number of the others.
	First func(c byte) bool
	// New makes a parser for one flow.
	New func() Parser
	// Fields documents every field that events of this protocol may carry
	// beyond event.CoreFields.
	Fields []event.FieldDoc
}

// ErrDone is what Parse returns when nothing of interest can come any more of a
// flow, of either direction: neither Parse nor Gap nor End is called again, and
// nothing more is put in order for it. What was to be emitted was.
var ErrDone = errors.New("done")

// MaxProbe is how many bytes of a direction are kept until a probe decides.
const MaxProbe = 2048

// MaxPending is how many unconsumed bytes of a direction a parser may leave
// waiting for more. A parser that wants larger messages consumes them in parts.
const MaxPending = 64 << 10

// Out is where a parser's events go, and where the memory comes from that they
// refer to: what its Arena gives may be in events that are emitted before
// Parse or End returns, and is not kept beyond that. What a parser remembers
// between calls is its own.
type Out struct {
	*event.Arena
	emit func(at time.Time, fields []event.Field)
}

// NewOut returns an Out whose events go to emit, which may keep neither the
// slice nor, beyond the next reset of the arena, what the fields refer to.
func NewOut(a *event.Arena, emit func(at time.Time, fields []event.Field)) *Out {
	return &Out{a, emit}
}

// Emit takes one event: its time, and its fields. Time is that of the
// transaction's first packet. The slice of fields is borrowed: the parser may
// use it again after Emit returns. What the fields refer to is either in the
// Arena or never changes.
func (o *Out) Emit(at time.Time, fields []event.Field) { o.emit(at, fields) }

// Parser turns the bytes of one flow into events. It is called by one
// goroutine. Whatever a hostile peer can make it remember has a named maximum.
type Parser interface {
	// Parse is given what has come in order in one direction and was not yet
	// consumed: of UDP exactly one datagram, whose remainder is dropped. It
	// consumes whole messages, emits their events and returns how many bytes
	// it used; the rest is given again with more behind it. now is the
	// capture time of the packet that completed b. b is valid until Parse
	// returns. An error means that the bytes are not what they should be: the
	// flow is not parsed further, and the error's text is counted as cause,
	// unless it is ErrDone.
	Parse(dir Dir, b []byte, now time.Time, out *Out) (n int, err error)
	// Gap says that n bytes of a direction were never seen; what Parse gets
	// next comes after them, and what it had left unconsumed is gone.
	Gap(dir Dir, n int)
	// End says that the flow is over: emit what still waits for an answer.
	End(out *Out)
}
