// Package hartip parses HART-IP: what HART field devices and their gateways
// say over TCP and UDP. Numbers of sections are those of the specifications of
// the FieldComm Group.
package hartip

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/bits"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Stream is HART-IP over TCP, Protocol over UDP.
var (
	Stream = proto.Protocol{
		Name: "hart-ip", Transport: proto.TCP, Ports: []uint16{5094},
		Probe: probe, New: func() proto.Parser { return new(parser) }, Fields: fields,
	}
	Protocol = proto.Protocol{
		Name: "hart-ip", Transport: proto.UDP, Ports: []uint16{5094},
		Probe: probe, First: func(c byte) bool { return c == 1 || c == 2 },
		New: func() proto.Parser { return &parser{datagrams: true} }, Fields: fields,
	}
)

var fields = append([]event.FieldDoc{
	{Name: "hart.message", Type: event.Keyword, Help: "Message that carried it: session_initiate, token_passing_pdu, …", Class: event.ClassTechnical},
	{Name: "hart.sequence", Type: event.Long, Help: "Number by which a response belongs to its request.", Class: event.ClassTechnical},
	{Name: "hart.message_status", Type: event.Long, Help: "Status of the response's header; 0 is success.", Class: event.ClassTechnical},
	{Name: "hart.messages", Type: event.Long, Help: "Messages that the event joins.", Class: event.ClassTechnical},
	{Name: "hart.device", Type: event.Keyword, Help: "Unique identifier of the device, hexadecimal.", Class: event.ClassTopology},
	{Name: "hart.polling_address", Type: event.Long, Help: "Polling address, of messages without unique identifier.", Class: event.ClassTopology},
	{Name: "hart.device_status", Type: event.Keyword, Help: "What the device says of itself: device_malfunction, configuration_changed, cold_start, …", Class: event.ClassProcess},
	{Name: "hart.identity.type", Type: event.Long, Help: "Expanded device type.", Class: event.ClassTopology},
	{Name: "hart.identity.revision", Type: event.Long, Help: "Revision of the device.", Class: event.ClassTopology},
	{Name: "hart.identity.software", Type: event.Long, Help: "Revision of the software.", Class: event.ClassTopology},
	{Name: "hart.identity.id", Type: event.Long, Help: "Number of the device within its type.", Class: event.ClassTopology},
	{Name: "hart.tag", Type: event.Keyword, Help: "Long tag of the device.", Class: event.ClassTopology},
	{Name: "hart.inactivity", Type: event.Long, Help: "How long a session may be silent, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "hart.data", Type: event.Keyword, Help: "First bytes of the request's data, where they have no field of their own, hexadecimal.", Class: event.ClassProcess},
}, proto.ICSFields...)

const (
	// maxPending is how many requests may wait; clients have a few open.
	maxPending = 16
	// patience is how long a request waits: gateways pass requests on to slow
	// loops.
	patience = time.Minute
	// maxSkip is how many bytes of a direction may pass without a message
	// before the flow is given up.
	maxSkip = 64 << 10
	// maxData is how many bytes of unknown content an event carries.
	maxData = 64
)

var errNotHART = errors.New("hart-ip: no message in 64 KiB")

// plausible reports whether a message's content fits its kind.
func plausible(m *message) bool {
	switch m.id {
	case initiate:
		return len(m.body) == 5 || m.kind != request && len(m.body) == 0
	case closing, keepAlive:
		return len(m.body) == 0
	case passing:
		_, ok := readPDU(m.body)
		return ok || m.kind == nak || m.status != 0 && len(m.body) == 0
	}
	return m.kind == request || len(m.body) >= 2
}

// probe wants a whole message with content that fits it. A bare header is no
// proof: two must follow each other.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	m, n := next(b)
	switch {
	case n < 0, n > 0 && !plausible(&m):
		return proto.No
	case n == 0:
		return proto.Maybe
	case m.id == initiate && len(m.body) == 5 && m.body[0] <= 1, m.id == passing && len(m.body) > 0:
		return proto.Yes
	}
	return proto.No
}

// oddities is a set of what is odd about a transaction.
type oddities uint8

const (
	lengthMismatch oddities = 1 << iota
	unsolicitedResponse
	noResponse
	unknownFunction
	functionMismatch
	skippedBytes
	captureLoss
)

var oddityNames = [...]string{
	"length_mismatch", "unsolicited_response", "no_response", "unknown_function", "function_mismatch", "skipped_bytes", "capture_loss",
}

// ask is a request that waits.
type ask struct {
	at  time.Time
	dir proto.Dir
	id  uint8
	seq uint16
	b   []byte // a copy of the body
	odd oddities
}

// parser is the state of one flow.
type parser struct {
	pending   [maxPending]ask // oldest first
	n         int
	torn      [2]bool
	skip      [2]int
	lost      bool
	datagrams bool
	scratch   ask
	fields    []event.Field
	out       *proto.Out
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	p.out = out
	for n < len(b) {
		if p.torn[dir] {
			skip := resync(b[n:])
			n += skip
			p.skip[dir] += skip
			if p.skip[dir] > maxSkip {
				return n, errNotHART
			}
			if n == len(b) {
				break
			}
		}
		m, size := next(b[n:])
		if size == 0 {
			if p.datagrams {
				n = len(b)
			}
			break
		}
		if size < 0 {
			p.torn[dir] = true
			n++
			p.skip[dir]++
			continue
		}
		n += size
		var odd oddities
		if p.skip[dir] > 0 && !p.lost {
			odd |= skippedBytes
		}
		if !plausible(&m) {
			odd |= lengthMismatch
		}
		p.torn[dir], p.skip[dir] = false, 0
		for p.n > 0 && now.Sub(p.pending[0].at) > patience {
			p.expire(0)
		}
		p.take(dir, &m, now, odd)
	}
	if p.datagrams {
		p.torn[dir], p.skip[dir] = false, 0
	}
	return n, nil
}

// resync returns how many bytes of b to pass over to where a message may begin.
func resync(b []byte) int {
	first := len(b)
	for i := range b {
		m, n := next(b[i:])
		switch {
		case n > 0 && plausible(&m):
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
func (p *parser) Gap(dir proto.Dir, _ int) { p.torn[dir], p.lost = true, true }

// End reports the requests that wait.
func (p *parser) End(out *proto.Out) {
	p.out = out
	for p.n > 0 {
		p.expire(0)
	}
}

// take takes a message.
func (p *parser) take(dir proto.Dir, m *message, now time.Time, odd oddities) {
	if m.kind == request {
		if p.n == maxPending {
			p.expire(0)
		}
		q := &p.pending[p.n]
		p.n++
		*q = ask{now, dir, m.id, m.seq, append(q.b[:0], m.body...), odd}
		return
	}
	if m.kind != publish {
		for i := range p.n {
			if q := &p.pending[i]; q.seq == m.seq && q.id == m.id && q.dir != dir {
				q.odd |= odd
				p.emit(q, m, now.Sub(q.at))
				p.remove(i)
				return
			}
		}
		if p.lost {
			odd |= captureLoss
		} else {
			odd |= unsolicitedResponse
		}
	}
	p.scratch = ask{at: now, dir: dir.Flip(), id: m.id, seq: m.seq, odd: odd}
	p.emit(&p.scratch, m, -1)
}

// expire reports request i, which nobody answered.
func (p *parser) expire(i int) {
	q := &p.pending[i]
	if p.lost {
		q.odd |= captureLoss
	} else {
		q.odd |= noResponse
	}
	p.emit(q, nil, -1)
	p.remove(i)
}

// remove takes request i out, and keeps its buffer for a later one.
func (p *parser) remove(i int) {
	b := p.pending[i].b
	copy(p.pending[i:p.n], p.pending[i+1:p.n])
	p.n--
	p.pending[p.n] = ask{b: b[:0]}
}

// emit makes the event of a request and its response; either may be missing.
func (p *parser) emit(q *ask, m *message, latency time.Duration) {
	p.fields = p.fields[:0]
	var asked, answer pdu
	var hasAsk, hasAnswer bool
	switch q.id {
	case passing:
		asked, hasAsk = readPDU(q.b)
		if m != nil {
			answer, hasAnswer = readPDU(m.body)
		}
	case direct:
		asked, hasAsk = readDirect(q.b, false)
		if m != nil {
			answer, hasAnswer = readDirect(m.body, true)
		}
	}
	name, operation, code := messageNames[q.id], "session", -1
	switch {
	case q.id == auditLog:
		operation = "diagnose"
	case hasAsk || hasAnswer:
		x := asked
		if !hasAsk {
			x = answer
		}
		c, known := commands[x.command]
		code, name, operation = int(x.command), c.name, c.operation
		switch {
		case known:
		case x.command >= 128 && x.command <= 253 || x.command >= 64768:
			name = "device_specific"
		default:
			name = "unassigned"
			q.odd |= unknownFunction
		}
		if x.burst {
			operation = "report"
		}
		if hasAsk && hasAnswer && asked.command != answer.command {
			q.odd |= functionMismatch
		}
	}
	p.str("ics.protocol", "hart-ip")
	p.str("ics.operation", operation)
	if code >= 0 {
		p.num("ics.function.code", uint64(code))
	}
	p.str("ics.function.name", name)
	p.str("hart.message", messageNames[q.id])
	p.num("hart.sequence", uint64(q.seq))
	messages := 1
	if latency >= 0 {
		messages = 2
	}
	p.num("hart.messages", uint64(messages))
	p.address(&asked, &answer, hasAsk, hasAnswer)
	p.result(q, m, &answer, hasAnswer)
	if latency >= 0 {
		p.num("ics.latency", uint64(latency))
	}
	if q.id == initiate && len(q.b) == 5 {
		p.num("hart.inactivity", uint64(binary.BigEndian.Uint32(q.b[1:]))*uint64(time.Millisecond))
	}
	if hasAsk || hasAnswer {
		p.content(&asked, &answer, hasAsk, hasAnswer)
	}
	if q.odd != 0 {
		vs := p.out.Values(bits.OnesCount8(uint8(q.odd)))
		for i, name := range oddityNames {
			if q.odd&(1<<i) != 0 {
				vs = append(vs, event.Str(name))
			}
		}
		p.list("tocsin.protocol.anomaly", vs)
	}
	p.out.Emit(q.at, p.fields)
}

// address says which device it is about.
func (p *parser) address(asked, answer *pdu, hasAsk, hasAnswer bool) {
	x := asked
	if !hasAsk {
		x = answer
	}
	switch {
	case !hasAsk && !hasAnswer, x.direct: // the device is the one at the address
	case x.long:
		var b [5]byte
		for i := range b {
			b[i] = byte(x.address >> (32 - 8*i))
		}
		p.add("hart.device", event.Own(hex.AppendEncode(p.out.Bytes(10), b[:])))
	default:
		p.num("hart.polling_address", x.address)
	}
}

// result says what became of a request.
func (p *parser) result(q *ask, m *message, answer *pdu, hasAnswer bool) {
	switch {
	case m == nil:
		p.str("event.outcome", "unknown")
		return
	case m.kind == publish:
	case m.status != 0 || m.kind == nak:
		p.num("hart.message_status", uint64(m.status))
		p.num("ics.status.code", uint64(m.status))
		p.str("ics.status.name", "message_refused")
		p.str("event.outcome", "failure")
		return
	case hasAnswer:
		outcome := "success"
		if answer.code != 0 && !warns(answer.code) {
			outcome = "failure"
		}
		p.num("ics.status.code", uint64(answer.code))
		p.str("ics.status.name", responseName(answer.code))
		p.str("event.outcome", outcome)
	default:
		p.num("ics.status.code", 0)
		p.str("ics.status.name", "ok")
		p.str("event.outcome", "success")
	}
	if hasAnswer && answer.status != 0 && answer.code&0x80 == 0 {
		vs := p.out.Values(8)
		for i, name := range statusBits {
			if answer.status&(1<<i) != 0 {
				vs = append(vs, event.Str(name))
			}
		}
		p.list("hart.device_status", vs)
	}
}

// dynamic are the names of the variables of commands 1 and 3.
var dynamic = [4]string{"primary_variable", "secondary_variable", "tertiary_variable", "quaternary_variable"}

// content lists what was read or written.
func (p *parser) content(asked, answer *pdu, hasAsk, hasAnswer bool) {
	list := p.out.Values(8)
	value := func(typ string, address int64, b []byte) {
		v := float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
		o := p.out.Fields(4)
		if address >= 0 {
			o = append(o, event.Field{Name: "address", Value: event.Int(address)})
		}
		o = append(o, event.Field{Name: "type", Value: event.Str(typ)})
		if math.IsNaN(v) || math.IsInf(v, 0) {
			o = append(o, event.Field{Name: "quality", Value: event.Str("not_a_number")})
		} else {
			o = append(o, event.Field{Name: "value", Value: event.Float(v)})
		}
		list = append(list, event.Object(o...))
	}
	if hasAnswer && (!hasAsk || asked.command == answer.command) {
		d := answer.data
		switch answer.command {
		case 0, 11, 21:
			if len(d) >= 12 && d[0] == 254 {
				p.num("hart.identity.type", uint64(binary.BigEndian.Uint16(d[1:])))
				p.num("hart.identity.revision", uint64(d[5]))
				p.num("hart.identity.software", uint64(d[6]))
				p.num("hart.identity.id", uint64(d[9])<<16|uint64(d[10])<<8|uint64(d[11]))
			}
		case 1:
			if len(d) >= 5 {
				value(dynamic[0], -1, d[1:])
			}
		case 2:
			if len(d) >= 8 {
				value("loop_current", -1, d)
				value("percent_of_range", -1, d[4:])
			}
		case 3:
			if len(d) >= 4 {
				value("loop_current", -1, d)
				d = d[4:]
				for i := 0; i < len(dynamic) && len(d) >= 5; i++ {
					value(dynamic[i], -1, d[1:])
					d = d[5:]
				}
			}
		case 9: // a byte, then of each variable: number, class, unit, value, status
			for d = d[min(1, len(d)):]; len(d) >= 8 && len(list) < cap(list); d = d[8:] {
				value("device_variable", int64(d[0]), d[3:])
			}
		case 20:
			p.tag(d)
		}
	}
	if hasAsk {
		d := asked.data
		switch {
		case asked.command == 34 && len(d) >= 4:
			value("damping", -1, d)
		case asked.command == 35 && len(d) >= 9:
			value("upper_range_value", -1, d[1:])
			value("lower_range_value", -1, d[5:])
		case asked.command == 40 && len(d) >= 4:
			value("fixed_current", -1, d)
		case asked.command == 79 && len(d) >= 7:
			value("device_variable", int64(d[0]), d[3:])
		case asked.command == 22 && len(d) > 0:
			p.tag(d[:min(len(d), 32)])
		case len(d) > 0:
			d = d[:min(len(d), maxData)]
			p.add("hart.data", event.Own(hex.AppendEncode(p.out.Bytes(2*len(d)), d)))
		}
	}
	p.list("ics.objects", list)
}

// tag adds a long tag, which is filled up to 32 characters.
func (p *parser) tag(b []byte) {
	for len(b) > 0 && (b[len(b)-1] == 0 || b[len(b)-1] == ' ') {
		b = b[:len(b)-1]
	}
	if len(b) > 0 {
		p.add("hart.tag", p.out.Text(b))
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
