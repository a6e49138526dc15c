package ics

import (
	"encoding/hex"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Of what an event carries.
const (
	MaxObjects = 128 // objects that an event lists, and values of one of them
	MaxData    = 64  // bytes of unknown content
	MaxText    = 256 // bytes of a text
)

// Record puts an event together. The zero Record is ready for Begin.
type Record struct {
	Out     *proto.Out // while an event is made
	fields  []event.Field
	objects []event.Value
}

// Begin begins an event with what every one has.
func (r *Record) Begin(out *proto.Out, protocol, operation, function string) {
	r.Out, r.fields, r.objects = out, r.fields[:0], r.objects[:0]
	r.Str("ics.protocol", protocol)
	r.Str("ics.operation", operation)
	r.Str("ics.function.name", function)
}

// Add adds a field; an absent value adds nothing.
func (r *Record) Add(name string, v event.Value) {
	if !v.IsZero() {
		r.fields = append(r.fields, event.Field{Name: name, Value: v})
	}
}

// Num adds a number.
func (r *Record) Num(name string, n uint64) { r.Add(name, event.Uint(n)) }

// Str adds a text that never changes; an empty one adds nothing.
func (r *Record) Str(name, s string) {
	if s != "" {
		r.Add(name, event.Str(s))
	}
}

// Text adds a text from the wire, at most MaxText bytes of it; an empty one
// adds nothing.
func (r *Record) Text(name string, b []byte) {
	if len(b) > 0 {
		r.Add(name, r.Out.Text(b[:min(len(b), MaxText)]))
	}
}

// True adds a truth value if it holds.
func (r *Record) True(name string, is bool) {
	if is {
		r.Add(name, event.Bool(true))
	}
}

// List adds a list; an empty one adds nothing.
func (r *Record) List(name string, vs []event.Value) {
	if len(vs) > 0 {
		r.Add(name, event.List(vs...))
	}
}

// Hex adds the first MaxData bytes of b as hexadecimal digits.
func (r *Record) Hex(name string, b []byte) {
	if len(b) > 0 {
		r.Add(name, r.HexValue(b))
	}
}

// HexValue is the first MaxData bytes of b as hexadecimal digits.
func (r *Record) HexValue(b []byte) event.Value {
	b = b[:min(len(b), MaxData)]
	return event.Own(hex.AppendEncode(r.Out.Bytes(2*len(b)), b))
}

// Fields is an empty list of fields in the memory of the event, for an object.
func (r *Record) Fields(n int) []event.Field { return r.Out.Fields(n) }

// Object adds an entry to ics.objects; beyond MaxObjects they are left out. It
// reports whether it did.
func (r *Record) Object(fields ...event.Field) bool {
	if len(r.objects) == MaxObjects {
		return false
	}
	kept := r.Out.Fields(len(fields))
	for _, f := range fields {
		if !f.Value.IsZero() {
			kept = append(kept, f)
		}
	}
	r.objects = append(r.objects, event.Object(kept...))
	return true
}

// Objects is how many entries ics.objects has.
func (r *Record) Objects() int { return len(r.objects) }

// Outcome adds what a device answered: the code, 0 of which is success, its
// name, and how long it took.
func (r *Record) Outcome(code uint64, name string, latency time.Duration) {
	r.Num("ics.status.code", code)
	if code == 0 {
		name = "ok"
	}
	r.Str("ics.status.name", name)
	if code == 0 {
		r.Str("event.outcome", "success")
	} else {
		r.Str("event.outcome", "failure")
	}
	if latency >= 0 {
		r.Num("ics.latency", uint64(latency))
	}
}

// Emit ends the event.
func (r *Record) Emit(at time.Time, odd Odd) {
	if len(r.objects) > 0 {
		r.Add("ics.objects", event.List(append(r.Out.Values(len(r.objects)), r.objects...)...))
	}
	if odd != 0 {
		r.Add("tocsin.protocol.anomaly", odd.Value(r.Out))
	}
	out := r.Out
	r.Out = nil
	out.Emit(at, r.fields)
}
