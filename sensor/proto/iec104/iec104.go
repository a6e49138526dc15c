// Package iec104 parses IEC 60870-5-104: telecontrol over TCP, as substations,
// hydro plants and pipelines speak it with their control centres. The frames
// are of IEC 60870-5-104, what is in them of IEC 60870-5-101.
//
// What a controlling station asks makes one event together with all that
// answers it: of a command its selection, its execution and its termination.
// What a station reports is an event for each ASDU. When the flow ends, one
// more event says how the connection went.
package iec104

import (
	"errors"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Protocol is IEC 60870-5-104.
var Protocol = proto.Protocol{
	Name:      "iec104",
	Transport: proto.TCP,
	Ports:     []uint16{2404},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields: append([]event.FieldDoc{
		{Name: "iec104.direction", Type: event.Keyword, Help: "control: from the controlling station to the controlled one; monitor: the other way.", Class: event.ClassTechnical},
		{Name: "iec104.cause.code", Type: event.Long, Help: "Cause of transmission of the first message.", Class: event.ClassTechnical},
		{Name: "iec104.cause.name", Type: event.Keyword, Help: "Name of the cause: spontaneous, activation, …", Class: event.ClassTechnical},
		{Name: "iec104.originator", Type: event.Long, Help: "Originator address: which of several controlling stations; absent if 0.", Class: event.ClassTopology},
		{Name: "iec104.negative", Type: event.Boolean, Help: "The station refused, or could not do, what was asked.", Class: event.ClassTechnical},
		{Name: "iec104.test", Type: event.Boolean, Help: "The message is marked as a test.", Class: event.ClassTechnical},
		{Name: "iec104.object_count", Type: event.Long, Help: "Objects that the message says it has.", Class: event.ClassTechnical},
		{Name: "iec104.send_number", Type: event.Long, Help: "Number N(S) of the first message.", Class: event.ClassTechnical},
		{Name: "iec104.receive_number", Type: event.Long, Help: "Number N(R) that the first message acknowledges up to.", Class: event.ClassTechnical},
		{Name: "iec104.messages", Type: event.Long, Help: "ASDUs of the function that the event joins: request, confirmations, termination.", Class: event.ClassTechnical},
		{Name: "iec104.steps", Type: event.Keyword, Help: "What happened, in order: select, select_confirmed, execute, execute_refused, terminated, …", Class: event.ClassTechnical},
		{Name: "iec104.qualifier.code", Type: event.Long, Help: "Qualifier of the function: of an interrogation, a command, a reset, a parameter, an initialisation.", Class: event.ClassProcess},
		{Name: "iec104.qualifier.name", Type: event.Keyword, Help: "Name of the qualifier: station, short_pulse, process, …", Class: event.ClassProcess},
		{Name: "iec104.freeze", Type: event.Keyword, Help: "What a counter interrogation does to the counters: read, freeze, freeze_and_reset, reset.", Class: event.ClassProcess},
		{Name: "iec104.reported", Type: event.Long, Help: "ASDUs with which an interrogation was answered; each has its own event.", Class: event.ClassTechnical},
		{Name: "iec104.answer.code", Type: event.Long, Help: "Type of the ASDU that answered a read.", Class: event.ClassTechnical},
		{Name: "iec104.answer.name", Type: event.Keyword, Help: "Name of the type that answered a read.", Class: event.ClassTechnical},
		{Name: "iec104.time", Type: event.Date, Help: "Time that a clock was set to, read as UTC.", Class: event.ClassTechnical},
		{Name: "iec104.old_time", Type: event.Date, Help: "Time that the station confirmed a clock's setting with, which is what its clock said before.", Class: event.ClassTechnical},
		{Name: "iec104.skew", Type: event.Long, Help: "Newest time in the message less the packet's, in nanoseconds: whole hours are a time zone, odd ones a clock that is wrong.", Class: event.ClassTechnical},
		{Name: "iec104.delay", Type: event.Long, Help: "Delay that a delay acquisition says, in nanoseconds.", Class: event.ClassTechnical},
		{Name: "iec104.files", Type: event.Nested, Help: "Files that the message is about.", Class: event.ClassProcess},
		{Name: "iec104.files.address", Type: event.Long, Help: "Information object address of the file.", Class: event.ClassProcess},
		{Name: "iec104.files.name", Type: event.Long, Help: "Name of the file, or of the directory: a number.", Class: event.ClassProcess},
		{Name: "iec104.files.section", Type: event.Long, Help: "Section of the file.", Class: event.ClassProcess},
		{Name: "iec104.files.length", Type: event.Long, Help: "Bytes of the file, the section or the segment.", Class: event.ClassTechnical},
		{Name: "iec104.files.qualifier", Type: event.Keyword, Help: "What is asked or said: select_file, request_section, delete_file, positive_file, …", Class: event.ClassTechnical},
		{Name: "iec104.files.status", Type: event.Long, Help: "Qualifier byte of a file or section that is ready, status byte of a directory's entry, or checksum of what was sent.", Class: event.ClassTechnical},
		{Name: "iec104.files.time", Type: event.Date, Help: "Time of the file, or beginning of the time that a log is asked for.", Class: event.ClassTechnical},
		{Name: "iec104.frames.information", Type: event.Long, Help: "I frames of the whole connection.", Class: event.ClassTechnical},
		{Name: "iec104.frames.supervisory", Type: event.Long, Help: "S frames of the whole connection.", Class: event.ClassTechnical},
		{Name: "iec104.frames.unnumbered", Type: event.Long, Help: "U frames of the whole connection.", Class: event.ClassTechnical},
		{Name: "iec104.window.control", Type: event.Long, Help: "Most I frames of the controlling station that were not acknowledged at a time.", Class: event.ClassTechnical},
		{Name: "iec104.window.monitor", Type: event.Long, Help: "Most I frames of the controlled station that were not acknowledged at a time.", Class: event.ClassTechnical},
		{Name: "iec104.data", Type: event.Keyword, Help: "First bytes of an ASDU whose content has no field of its own, hexadecimal.", Class: event.ClassProcess},
	}, proto.ICSFields...),
}

const (
	// maxPending is how many requests may wait at a time. A controlling station
	// has k I frames open (5.5: 12 unless agreed otherwise).
	maxPending = 32
	// patience is how long a request waits for what belongs to it: t1 is 15
	// seconds (5.2), a motor drive may take longer to terminate its command.
	patience = time.Minute
	// usualWindow is k where nobody agreed otherwise (5.5).
	usualWindow = 12
	// maxSkip is how many bytes of a direction may pass without a message
	// before the flow is given up.
	maxSkip = 64 << 10
	// maxData is how many bytes of unknown content an event carries.
	maxData = 64
	// maxValues bounds the commanded values that a flow remembers.
	maxValues = 1024
	// maxSteps bounds what an event says of a request that is repeated.
	maxSteps = 12
)

var errNotIEC104 = errors.New("iec104: no message in 64 KiB")

// probe wants one whole message: of I frames one with an ASDU of a known type,
// a known cause and the right length. The frames without one are six bytes of
// which five can hardly be otherwise.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	m, n := next(b)
	switch {
	case n < 0, n > 0 && m.format == formatI && !plausible(m.asdu):
		return proto.No
	case n == 0:
		return proto.Maybe
	}
	return proto.Yes
}

// side is what is known of one direction.
type side struct {
	next   uint16 // N(S) of its next I frame, if known
	acked  uint16 // N(R) that the other side said last
	known  bool
	window uint16 // most frames unacknowledged at a time
	torn   bool   // the next byte may be inside of a message
	skip   int    // bytes passed over since the last message
	calls  [3]call
}

// call is a U frame that waits to be confirmed.
type call struct {
	at   time.Time
	open bool
	odd  oddities
}

// parser is the state of one flow.
type parser struct {
	sides   [2]side
	pending [maxPending]record // oldest first
	n       int
	values  map[object]float64
	control proto.Dir // of the controlling station
	settled bool      // control is certain
	lost    bool      // packets of this flow were not seen
	last    time.Time // of the last message
	frames  [3]uint64 // by format
	fields  []event.Field
	out     *proto.Out // while an event is made
}

// object is what a commanded value is remembered by.
type object struct {
	station uint16
	form    form
	ioa     uint32
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	s := &p.sides[dir]
	p.out = out
	for n < len(b) {
		if s.torn {
			skip := resync(b[n:])
			n += skip
			s.skip += skip
			if s.skip > maxSkip {
				return n, errNotIEC104
			}
		}
		m, size := next(b[n:])
		if size == 0 {
			return n, nil
		}
		if size < 0 {
			// Whoever wants to blind us sends a byte of nonsense, so look for
			// the next message instead of giving up.
			s.torn = true
			continue
		}
		n += size
		var odd oddities
		if s.skip > 0 && !p.lost {
			odd |= skippedBytes
		}
		s.torn, s.skip = false, 0
		p.last = now
		p.frames[m.format]++
		for p.n > 0 && now.Sub(p.pending[0].at) > patience {
			p.expire(0)
		}
		switch m.format {
		case formatI:
			p.information(dir, m, now, odd|p.number(dir, m))
		case formatS:
			p.acknowledge(dir, m.recv)
		case formatU:
			p.call(dir, m.control, now, odd)
		}
	}
	return n, nil
}

// resync returns how many bytes of b to pass over to where a message may begin.
func resync(b []byte) int {
	first := len(b)
	for i, c := range b {
		if c != startByte {
			continue
		}
		m, n := next(b[i:])
		switch {
		case n > 0 && (m.format != formatI || plausible(m.asdu)):
			// A whole message is believed sooner than one before it that may
			// yet become whole.
			return i
		case n == 0:
			first = min(first, i)
		}
	}
	return first
}

// Gap says that bytes were lost; see proto.Parser.
func (p *parser) Gap(dir proto.Dir, _ int) {
	s := &p.sides[dir]
	s.torn, s.known = true, false
	p.sides[dir.Flip()].known = false // its acknowledgements may be among what was lost
	p.lost = true
}

// End reports the requests that wait, and how the connection went.
func (p *parser) End(out *proto.Out) {
	p.out = out
	for p.n > 0 {
		p.expire(0)
	}
	for d := range p.sides {
		for f := range p.sides[d].calls {
			p.dropCall(proto.Dir(d), f)
		}
	}
	if p.frames != [3]uint64{} {
		p.summary()
	}
}

// number checks the numbers of an I frame (5.1): those of a direction follow
// each other, and nothing is acknowledged that was not sent.
func (p *parser) number(dir proto.Dir, m apdu) (odd oddities) {
	s := &p.sides[dir]
	if !s.known {
		s.acked = m.send // as far as we know
	} else if m.send != s.next {
		odd |= sequenceGap
		s.acked = m.send
	}
	s.next, s.known = (m.send+1)%modulus, true
	s.window = max(s.window, (s.next-s.acked)%modulus)
	return odd | p.acknowledge(dir, m.recv)
}

// acknowledge notes what a direction says that it has of the other.
func (p *parser) acknowledge(dir proto.Dir, recv uint16) oddities {
	s := &p.sides[dir.Flip()]
	if !s.known {
		return 0
	}
	if (s.next-recv)%modulus >= modulus/2 {
		return ackOfUnsent
	}
	s.acked = recv
	return 0
}

// call joins a U frame with its confirmation. Either station may test the
// connection; only the controlling one starts and stops it.
func (p *parser) call(dir proto.Dir, control uint8, now time.Time, odd oddities) {
	f := function(control)
	if f != testfr {
		p.settle(dir, !confirms(control), &odd)
	}
	if !confirms(control) {
		p.dropCall(dir, f)
		p.sides[dir].calls[f] = call{now, true, odd}
		return
	}
	c := &p.sides[dir.Flip()].calls[f]
	if !c.open {
		c.at, c.odd = now, p.stray()
		p.emitCall(dir.Flip(), f, 1, -1)
		return
	}
	c.odd |= odd
	p.emitCall(dir.Flip(), f, 2, now.Sub(c.at))
}

// dropCall reports a U frame that nobody confirmed, if there is one.
func (p *parser) dropCall(dir proto.Dir, f int) {
	c := &p.sides[dir].calls[f]
	if !c.open {
		return
	}
	if p.lost {
		c.odd |= captureLoss
	} else {
		c.odd |= noResponse
	}
	p.emitCall(dir, f, 1, -1)
}

// stray is what is odd about an answer to nothing.
func (p *parser) stray() oddities {
	if p.lost {
		return captureLoss
	}
	return unsolicitedResponse
}

// settle finds out who controls. The flow's originator does, but the flow table
// may have it wrong after a capture that began mid-stream; messages that only
// one of both sends tell. controls says that dir sent such a message of the
// controlling station's.
func (p *parser) settle(dir proto.Dir, controls bool, odd *oddities) {
	who := dir
	if !controls {
		who = dir.Flip()
	}
	if !p.settled {
		p.control, p.settled = who, true
	}
	if who != p.control {
		*odd |= wrongDirection
	}
}

// information takes an ASDU.
func (p *parser) information(dir proto.Dir, m apdu, now time.Time, odd oddities) {
	a := m.asdu
	t, known := describe(kind(a))
	c := cause(a)
	if !known {
		odd |= unknownType
	}
	if causeNames[c] == "" {
		odd |= unknownCause
	}
	if !fits(a) {
		odd |= lengthMismatch
	}
	asks := t.form.asked(kind(a))
	r := record{at: now, asdu: a, send: m.send, recv: m.recv, odd: odd, messages: 1, control: dir == p.control}
	p.explained(&r)
	switch {
	case asks && (c == causeAct || c == causeDeact || kind(a) == typeRead && c == causeRequest):
		p.settle(dir, true, &r.odd)
		r.control = true
		p.ask(&r)
		return
	case asks && (c == causeActCon || c == causeDeactCon || c == causeActTerm || c >= causeUnknownType && c <= causeUnknownObject):
		p.settle(dir, false, &r.odd)
		r.control = false
		p.answer(&r)
		return
	case t.operation == "report":
		p.settle(dir, false, &r.odd)
		r.control = false
		p.report(&r, c)
		return
	case asks:
		r.odd |= unknownCause // not of this type
	}
	p.emit(&r)
}

// asked reports whether ASDUs of a type are requests and their confirmations.
func (f form) asked(id uint8) bool {
	return f.command() || id >= typeInterrogation && id <= 107 || id >= 110 && id <= 113
}

// report takes what a station says, of itself or because it was asked to.
func (p *parser) report(r *record, c uint8) {
	ioa, ok := address(r.asdu)
	for i := range p.n {
		q := &p.pending[i]
		if s := station(q.asdu); s != station(r.asdu) && s != broadcast {
			continue
		}
		switch k := kind(q.asdu); {
		case c == causeRequest && k == typeRead && ok:
			if asked, _ := address(q.asdu); asked == ioa {
				q.step(answered)
				q.answered, q.latency = true, r.at.Sub(q.asked)
				q.answer = r.asdu
				q.odd |= r.odd
				p.emit(q)
				p.remove(i)
				return
			}
		case k == typeInterrogation && c >= causeInterrogated && c < causeCounters, k == typeCounters && c >= causeCounters && c <= causeCountersLast:
			q.reported++
		}
	}
	p.emit(r)
}

// ask takes what a controlling station wants.
func (p *parser) ask(r *record) {
	t := types[kind(r.asdu)]
	i := p.find(r.asdu)
	verb := activate
	switch {
	case cause(r.asdu) == causeDeact:
		verb = deactivate
	case t.form.command() && len(r.asdu) > asduHead+ioaLen && t.form.selects(r.asdu[asduHead+ioaLen:]):
		verb = selected
	case t.form.command():
		verb = executed
	case kind(r.asdu) == typeRead:
		verb = requested
	}
	if i >= 0 {
		q := &p.pending[i]
		if verb == deactivate || verb == executed && q.phase == selected && !q.refused {
			if verb == executed && !sameCommand(q.asdu, r.asdu, t) {
				q.odd |= selectMismatch
			}
			q.step(verb)
			q.phase, q.asked, q.odd, q.answered = verb, r.at, q.odd|r.odd, false
			q.messages++
			if verb == executed {
				q.asdu = append(q.asdu[:0], r.asdu...)
			}
			return
		}
		p.expire(i)
	}
	if p.n == maxPending {
		p.expire(0)
	}
	q := &p.pending[p.n]
	p.n++
	r.asdu = append(q.asdu[:0], r.asdu...)
	*q = *r
	q.asked, q.phase = r.at, verb
	q.step(verb)
}

// sameCommand reports whether two commands are of the same object and value:
// all but whether they select, and their times.
func sameCommand(a, b []byte, t typeID) bool {
	n := asduHead + ioaLen + int(t.size)
	if len(a) < n || len(b) < n {
		return len(a) == len(b)
	}
	last := n - 1 // what says whether it selects
	if t.form == setBits {
		return string(a[asduHead:n]) == string(b[asduHead:n])
	}
	return string(a[asduHead:last]) == string(b[asduHead:last]) && (a[last]^b[last])&0x7f == 0
}

// explained reports the requests that were refused, once something else comes
// than the reason: some stations confirm negatively, and then send the request
// back with a cause that says why.
func (p *parser) explained(r *record) {
	if r.control {
		return
	}
	for i := 0; i < p.n; {
		q := &p.pending[i]
		if !q.refused || cause(r.asdu) >= causeUnknownType && p.find(r.asdu) == i {
			i++
			continue
		}
		p.emit(q)
		p.remove(i)
	}
}

// answer takes what a controlled station says of a request.
func (p *parser) answer(r *record) {
	i := p.find(r.asdu)
	c := cause(r.asdu)
	if i < 0 {
		r.odd |= p.stray()
		r.answered = true
		r.conclude(c, negative(r.asdu), false)
		p.emit(r)
		return
	}
	q := &p.pending[i]
	q.messages++
	q.odd |= r.odd
	t := types[kind(r.asdu)]
	if t.form.command() && !sameCommand(q.asdu, r.asdu, t) {
		q.odd |= echoMismatch
	}
	if kind(r.asdu) == typeClock && len(r.asdu) >= asduHead+ioaLen+int(cp56) {
		q.was = [7]byte(r.asdu[asduHead+ioaLen:])
	}
	if !q.answered {
		q.answered, q.latency = true, r.at.Sub(q.asked)
	}
	terminates := t.form.command() || kind(r.asdu) == typeInterrogation || kind(r.asdu) == typeCounters || kind(r.asdu) == typeRead
	if q.conclude(c, negative(r.asdu), terminates) && station(q.asdu) != broadcast {
		p.emit(q)
		p.remove(i)
	}
}

// expire reports request i, to which nothing more belongs.
func (p *parser) expire(i int) {
	r := &p.pending[i]
	switch {
	case r.answered && r.phase == selected && !r.refused:
		r.odd |= selectOnly
	case r.answered:
	case p.lost:
		r.odd |= captureLoss
	default:
		r.odd |= noResponse
	}
	p.emit(r)
	p.remove(i)
}

// find returns the newest request that an ASDU may belong to, -1 if none.
func (p *parser) find(a []byte) int {
	ioa, ok := address(a)
	for i := p.n - 1; i >= 0; i-- {
		q := p.pending[i].asdu
		asked, has := address(q)
		if kind(q) == kind(a) && ok == has && ioa == asked && (station(q) == station(a) || station(q) == broadcast) {
			return i
		}
	}
	return -1
}

// remove takes request i out, and keeps its buffer for a later one.
func (p *parser) remove(i int) {
	asdu := p.pending[i].asdu
	copy(p.pending[i:p.n], p.pending[i+1:p.n])
	p.n--
	p.pending[p.n] = record{asdu: asdu[:0]}
}
