package iec104

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// oddities is a set of what is odd about a transaction.
type oddities uint16

const (
	lengthMismatch      oddities = 1 << iota // content and length do not fit
	unsolicitedResponse                      // nobody asked
	noResponse                               // nobody answered
	unknownType                              // the standard has no such type
	unknownCause                             // the standard has no such cause, or not with this type
	echoMismatch                             // a command's answer is not its echo
	selectMismatch                           // what is executed was not what was selected
	selectOnly                               // selected, but never executed
	wrongDirection                           // only the other station may send this
	sequenceGap                              // N(S) is not the one that follows
	ackOfUnsent                              // N(R) acknowledges what was not sent
	windowExceeded                           // more unacknowledged than is usual
	invalidTime                              // no such date or time of day
	skippedBytes                             // nonsense came before it
	captureLoss                              // the other half may have been lost by the capture
	reversedRoles                            // the flow's responder is the one who controls
)

var oddityNames = [...]string{
	"length_mismatch", "unsolicited_response", "no_response", "unknown_function", "unknown_cause", "echo_mismatch",
	"select_mismatch", "select_without_execute", "wrong_direction", "sequence_gap", "acknowledgement_of_unsent",
	"window_exceeded", "invalid_time", "skipped_bytes", "capture_loss", "reversed_roles",
}

// stage is one thing that happened to a request.
type stage uint8

const (
	noStage stage = iota
	selected
	executed
	activate
	deactivate
	requested
	answered
	terminated
	terminationFailed
	rejected // for a reason that has a cause of its own
	confirmed
	refused = confirmed + requested + 1
	stages  = refused + requested + 1
)

// Stages confirmed+x and refused+x are the answers to x; confirmed and refused
// alone are those whose request is not known.
var stageNames = [stages]string{
	selected: "select", executed: "execute", activate: "activate", deactivate: "deactivate", requested: "request",
	answered: "answered", terminated: "terminated", terminationFailed: "termination_failed", rejected: "rejected",
	confirmed: "confirmed", confirmed + selected: "select_confirmed", confirmed + executed: "execute_confirmed",
	confirmed + activate: "activate_confirmed", confirmed + deactivate: "deactivate_confirmed", confirmed + requested: "request_confirmed",
	refused: "refused", refused + selected: "select_refused", refused + executed: "execute_refused",
	refused + activate: "activate_refused", refused + deactivate: "deactivate_refused", refused + requested: "request_refused",
}

// record is what becomes an event: an ASDU, or a request with its answers.
type record struct {
	at         time.Time // of the first message
	asked      time.Time // of the latest request: selection, execution, deactivation
	asdu       []byte    // of a request that waits a copy
	answer     []byte    // to a read, valid until the event is made
	was        [7]byte   // CP56Time2a in the answer to a clock's setting
	send, recv uint16    // of the first message
	messages   int
	reported   int
	latency    time.Duration
	odd        oddities
	steps      [maxSteps]stage
	n          uint8 // steps
	phase      stage // latest request
	status     uint8 // 0, statusNegative, or the cause that rejects
	control    bool  // from the controlling station
	answered   bool
	done       bool // the station did what was asked
	refused    bool
}

// statusNegative is the result of what was confirmed negatively, which has no
// number in the standard.
const statusNegative = 1

func (r *record) step(s stage) {
	if r.n < maxSteps {
		r.steps[r.n] = s
		r.n++
	}
}

// conclude takes note of an answer, and reports whether it is the last one.
// terminates says that something follows a positive confirmation.
func (r *record) conclude(c uint8, negative, terminates bool) bool {
	switch {
	case c >= causeUnknownType:
		r.status, r.refused = c, true
		r.step(rejected)
		return true
	case c == causeActTerm && negative:
		r.status, r.done = statusNegative, false
		r.step(terminationFailed)
		return true
	case c == causeActTerm:
		// Stations terminate a selection too that nobody executed in time.
		if r.done = r.phase != selected; !r.done {
			r.odd |= selectOnly
		}
		r.step(terminated)
		return true
	case negative:
		// The reason may follow as a message of its own; see explained.
		r.status, r.refused = statusNegative, true
		r.step(refused + r.phase)
		return false
	}
	r.step(confirmed + r.phase)
	if r.phase == selected {
		return false
	}
	r.done = true
	return c == causeDeactCon || !terminates
}

// emit makes the event of a record.
func (p *parser) emit(r *record) {
	p.fields = p.fields[:0]
	a := r.asdu
	id := kind(a)
	t, known := describe(id)
	operation := t.operation
	if t.form.file() {
		operation = fileOperation(a, r.control)
	} else if id == typeCounters && len(a) > asduHead+ioaLen && a[asduHead+ioaLen]>>6 >= 2 {
		operation = "control" // it resets what is counted
	}
	p.head(operation, t.name, int(id))
	p.num("ics.unit", uint64(station(a)))
	direction := "monitor"
	if r.control {
		direction = "control"
	}
	p.str("iec104.direction", direction)
	p.num("iec104.cause.code", uint64(cause(a)))
	p.str("iec104.cause.name", causeName(cause(a)))
	if o := originator(a); o != 0 {
		p.num("iec104.originator", uint64(o))
	}
	if test(a) {
		p.add("iec104.test", event.Bool(true))
	}
	p.num("iec104.object_count", uint64(count(a)))
	p.num("iec104.send_number", uint64(r.send))
	p.num("iec104.receive_number", uint64(r.recv))
	p.num("iec104.messages", uint64(r.messages))

	if r.n > 0 {
		steps := p.out.Values(int(r.n))
		for _, s := range r.steps[:r.n] {
			steps = append(steps, event.Str(stageNames[s]))
		}
		p.list("iec104.steps", steps)
		p.result(r)
	} else if negative(a) {
		p.add("iec104.negative", event.Bool(true))
	}
	if r.reported > 0 {
		p.num("iec104.reported", uint64(r.reported))
	}
	p.content(r, t, known)
	p.finish(r.at, r.odd)
}

// head begins an event.
func (p *parser) head(operation, function string, code int) {
	p.str("ics.protocol", "iec104")
	p.str("ics.operation", operation)
	if code >= 0 {
		p.num("ics.function.code", uint64(code))
	}
	p.str("ics.function.name", function)
}

// result says what became of a request.
func (p *parser) result(r *record) {
	outcome := "unknown"
	switch {
	case r.status != 0:
		outcome = "failure"
		name := "negative_confirmation"
		if r.status != statusNegative {
			name = causeName(r.status)
		}
		p.num("ics.status.code", uint64(r.status))
		p.str("ics.status.name", name)
		p.add("iec104.negative", event.Bool(true))
	case r.answered:
		if r.done || r.answer != nil {
			outcome = "success"
		}
		p.num("ics.status.code", 0)
		p.str("ics.status.name", "ok")
	}
	p.str("event.outcome", outcome)
	if r.phase != noStage && r.answered {
		p.num("ics.latency", uint64(max(r.latency, 0)))
	}
}

// finish ends an event and emits it.
func (p *parser) finish(at time.Time, odd oddities) {
	if p.settled && p.control != proto.Orig {
		odd |= reversedRoles
	}
	if odd != 0 {
		vs := p.out.Values(bits.OnesCount16(uint16(odd)))
		for i, name := range oddityNames {
			if odd&(1<<i) != 0 {
				vs = append(vs, event.Str(name))
			}
		}
		p.list("tocsin.protocol.anomaly", vs)
	}
	p.out.Emit(at, p.fields)
}

// emitCall makes the event of the U frame that dir sent, n of them counting the
// confirmation. latency is -1 if there is none.
func (p *parser) emitCall(dir proto.Dir, f, n int, latency time.Duration) {
	c := &p.sides[dir].calls[f]
	p.fields = p.fields[:0]
	p.head("session", functionNames[f], -1)
	direction := "monitor"
	if dir == p.control {
		direction = "control"
	}
	p.str("iec104.direction", direction)
	p.num("iec104.messages", uint64(n))
	if latency >= 0 {
		p.num("ics.status.code", 0)
		p.str("ics.status.name", "ok")
		p.str("event.outcome", "success")
		p.num("ics.latency", uint64(latency))
	} else {
		p.str("event.outcome", "unknown")
	}
	at, odd := c.at, c.odd
	*c = call{}
	p.finish(at, odd)
}

// summary says how the connection went.
func (p *parser) summary() {
	p.fields = p.fields[:0]
	p.head("session", "connection", -1)
	p.num("iec104.frames.information", p.frames[formatI])
	p.num("iec104.frames.supervisory", p.frames[formatS])
	p.num("iec104.frames.unnumbered", p.frames[formatU])
	var odd oddities
	control, monitor := p.sides[p.control].window, p.sides[p.control.Flip()].window
	if max(control, monitor) > usualWindow {
		odd |= windowExceeded
	}
	if p.lost {
		odd |= captureLoss
	}
	p.num("iec104.window.control", uint64(control))
	p.num("iec104.window.monitor", uint64(monitor))
	p.finish(p.last, odd)
}

// content adds what the ASDU is about.
func (p *parser) content(r *record, t typeID, known bool) {
	a := r.asdu
	body := a[asduHead:]
	if len(body) < ioaLen || !known || t.form == secure {
		p.hex("iec104.data", body)
		return
	}
	first := body[ioaLen:] // the first object without its address
	switch {
	case t.form.file():
		p.files(a, t)
	case t.form.command():
		p.command(r, t)
	case kind(a) == typeRead:
		if r.answer != nil {
			at, known := describe(kind(r.answer))
			p.num("iec104.answer.code", uint64(kind(r.answer)))
			p.str("iec104.answer.name", at.name)
			if known {
				p.readings(r, r.answer, at)
			}
			return
		}
		p.list("ics.objects", append(p.out.Values(1), event.Object(append(p.out.Fields(1),
			event.Field{Name: "address", Value: event.Int(int64(ioaOf(body)))})...)))
	case t.form == clock:
		if len(first) >= int(cp56) {
			p.when("iec104.time", first, r, true)
			if r.was != [7]byte{} {
				p.when("iec104.old_time", r.was[:], r, false)
			}
		}
	case t.form == delay:
		if len(first) >= 2 {
			p.num("iec104.delay", uint64(binary.LittleEndian.Uint16(first))*uint64(time.Millisecond))
		}
	case t.form == testPattern:
		p.hex("iec104.data", first)
	case t.form == qualifier:
		if len(first) == 0 {
			return
		}
		q := first[0]
		p.num("iec104.qualifier.code", uint64(q))
		p.str("iec104.qualifier.name", qualifierName(kind(a), q))
		if kind(a) == typeCounters {
			p.str("iec104.freeze", freezeNames[q>>6])
		}
	case t.operation == "report":
		p.readings(r, a, t)
	default: // parameters
		p.command(r, t)
		if n := int(t.size); len(first) >= n {
			p.num("iec104.qualifier.code", uint64(first[n-1]))
			if kind := first[n-1] & 0x3f; kind >= 1 && kind <= 4 {
				p.str("iec104.qualifier.name", [...]string{"threshold", "smoothing_factor", "low_limit", "high_limit"}[kind-1])
			}
		}
	}
}

// when adds a CP56Time2a.
func (p *parser) when(name string, b []byte, r *record, skew bool) {
	at, ok := cp56Time(b)
	if !ok {
		r.odd |= invalidTime
		return
	}
	p.add(name, event.Time(at))
	if skew {
		p.add("iec104.skew", event.Int(int64(at.Sub(r.at))))
	}
}

func (p *parser) add(name string, v event.Value) {
	p.fields = append(p.fields, event.Field{Name: name, Value: v})
}

func (p *parser) num(name string, n uint64) { p.add(name, event.Uint(n)) }

func (p *parser) str(name, s string) {
	if s != "" {
		p.add(name, event.Str(s))
	}
}

func (p *parser) list(name string, vs []event.Value) {
	if len(vs) > 0 {
		p.add(name, event.List(vs...))
	}
}

func (p *parser) hex(name string, b []byte) {
	if len(b) > 0 {
		b = b[:min(len(b), maxData)]
		p.add(name, event.Own(hex.AppendEncode(p.out.Bytes(2*len(b)), b)))
	}
}
