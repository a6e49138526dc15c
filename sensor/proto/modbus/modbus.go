// Package modbus parses Modbus/TCP: the Modbus Application Protocol
// Specification V1.1b3, carried as the Messaging Implementation Guide V1.0b
// says. A request and its response make one event.
package modbus

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Protocol is Modbus/TCP.
var Protocol = proto.Protocol{
	Name:      "modbus",
	Transport: proto.TCP,
	Ports:     []uint16{502},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields: append([]event.FieldDoc{
		{Name: "modbus.transaction_id", Type: event.Long, Help: "Number by which a response belongs to its request.", Class: event.ClassTechnical},
		{Name: "modbus.address", Type: event.Long, Help: "First object that the request names, counted from 0.", Class: event.ClassProcess},
		{Name: "modbus.quantity", Type: event.Long, Help: "How many objects the request names.", Class: event.ClassProcess},
		{Name: "modbus.write.address", Type: event.Long, Help: "First register that a combined read and write writes.", Class: event.ClassProcess},
		{Name: "modbus.write.quantity", Type: event.Long, Help: "How many registers a combined read and write writes.", Class: event.ClassProcess},
		{Name: "modbus.mask.and", Type: event.Long, Help: "Bits of the register that a masked write keeps.", Class: event.ClassProcess},
		{Name: "modbus.mask.or", Type: event.Long, Help: "Bits that a masked write sets where it does not keep.", Class: event.ClassProcess},
		{Name: "modbus.subfunction.code", Type: event.Long, Help: "Sub-function of diagnostics, or type of an encapsulated interface.", Class: event.ClassTechnical},
		{Name: "modbus.subfunction.name", Type: event.Keyword, Help: "Name of the sub-function.", Class: event.ClassTechnical},
		{Name: "modbus.exception.code", Type: event.Long, Help: "Exception that the device answered.", Class: event.ClassTechnical},
		{Name: "modbus.exception.name", Type: event.Keyword, Help: "Name of the exception.", Class: event.ClassTechnical},
		{Name: "modbus.records", Type: event.Nested, Help: "File records that were read or written.", Class: event.ClassProcess},
		{Name: "modbus.records.file", Type: event.Long, Help: "File number.", Class: event.ClassProcess},
		{Name: "modbus.records.number", Type: event.Long, Help: "First record.", Class: event.ClassProcess},
		{Name: "modbus.records.length", Type: event.Long, Help: "Registers in the record.", Class: event.ClassProcess},
		{Name: "modbus.device_id", Type: event.Nested, Help: "What the device says of itself.", Class: event.ClassTopology},
		{Name: "modbus.device_id.id", Type: event.Long, Help: "Number of the object.", Class: event.ClassTechnical},
		{Name: "modbus.device_id.name", Type: event.Keyword, Help: "Name of the object: vendor, product_code, revision, …", Class: event.ClassTechnical},
		{Name: "modbus.device_id.value", Type: event.Keyword, Help: "Text of the object.", Class: event.ClassTopology},
		{Name: "modbus.data", Type: event.Keyword, Help: "First bytes of the request where they have no field of their own, hexadecimal.", Class: event.ClassProcess},
		{Name: "modbus.response_data", Type: event.Keyword, Help: "First bytes of the response where they have no field of their own, hexadecimal.", Class: event.ClassProcess},
	}, proto.ICSFields...),
}

const (
	headerLen = 7 // MBAP: transaction, protocol, length, unit
	// maxLength is the largest length field: a unit and a PDU of 253 bytes.
	// Some devices send a few more; the guide's own buffers are of 260.
	maxLength = 260
	// maxPending is how many requests may wait for responses. The guide
	// (section 4.3.2) recommends that a client keeps 1 to 16 open.
	maxPending = 32
	// maxObjects is how many objects an event lists; a request may name 2000.
	maxObjects = 128
	// maxRecords bounds file records and device identification objects.
	maxRecords = 36
	// maxData is how many bytes of unknown content an event carries.
	maxData = 64
	// maxSkip is how many bytes of a direction may pass without a message
	// before the flow is given up.
	maxSkip = 64 << 10
	// patience is how long a request waits for its response. Field devices
	// behind slow serial gateways take seconds.
	patience = time.Minute
)

var errNotModbus = errors.New("modbus: no message in 64 KiB")

// adu is one message: MBAP header and PDU. pdu[0] is the function code.
type adu struct {
	tid  uint16
	unit uint8
	pdu  []byte
}

// next reads the message that b begins with. n is its size, 0 where b is too
// short to tell, and -1 where b does not begin with one.
func next(b []byte) (m adu, n int) {
	if len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] != 0 || len(b) > 4 && b[4] > maxLength>>8 {
		return m, -1
	}
	if len(b) < 6 {
		return m, 0
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < 2 || length > maxLength {
		return m, -1
	}
	if len(b) < 6+length {
		return m, 0
	}
	m = adu{binary.BigEndian.Uint16(b), b[6], b[headerLen : 6+length]}
	return m, 6 + length
}

// probe wants a whole message of a function that the specification describes,
// with content that fits it. Before it may be one of function 0, with which
// those begin who try all. A function that the specification does not describe
// will do if nothing, or another message, follows.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	m, n := next(b)
	switch {
	case n < 0:
		return proto.No
	case n == 0:
		return proto.Maybe
	}
	code := m.pdu[0] & 0x7f
	request, response := shape(m.pdu)
	if !request && !response {
		return proto.No
	}
	if functions[code].name != "" {
		return proto.Yes
	}
	second, more := next(b[n:])
	switch {
	case more < 0:
		return proto.No
	case code != 0:
		return proto.Yes
	case more == 0:
		return proto.Maybe
	}
	if request, response = shape(second.pdu); second.pdu[0]&0x7f == 1 && (request || response) {
		return proto.Yes
	}
	return proto.No
}

// request waits for its response.
type request struct {
	at   time.Time
	tid  uint16
	unit uint8
	pdu  []byte // a copy
	odd  oddities
}

// parser is the state of one flow.
type parser struct {
	pending []request // the first n, oldest first; as many as ever waited, maxPending at most
	n       int
	values  memory
	client  proto.Dir // who asks
	settled bool      // a response met its request: client is certain
	torn    [2]bool   // the next byte of a direction may be inside of a message
	skipped [2]int    // bytes passed over since the direction's last message
	lost    bool      // packets of this flow were not seen
	fields  []event.Field
	out     *proto.Out // while an event is made
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	for n < len(b) {
		if p.torn[dir] {
			skip := resync(b[n:])
			n += skip
			p.skipped[dir] += skip
			if p.skipped[dir] > maxSkip {
				return n, errNotModbus
			}
		}
		m, size := next(b[n:])
		switch {
		case size == 0:
			return n, nil
		case size < 0:
			// Whoever wants to blind us sends a byte of nonsense, so look for
			// the next message instead of giving up.
			p.torn[dir] = true
			continue
		}
		n += size
		request, response := shape(m.pdu)
		var odd oddities
		if p.skipped[dir] > 0 && !p.lost {
			odd |= skippedBytes
		}
		p.torn[dir], p.skipped[dir] = false, 0
		if !request && !response {
			odd |= lengthMismatch
		}
		p.settle(dir, request, response)
		if dir == p.client {
			if !request {
				odd |= lengthMismatch
			}
			p.ask(m, now, odd, out)
		} else {
			p.answer(m, now, odd, response, out)
		}
	}
	return n, nil
}

// resync returns how many bytes of b to pass over to where a message may begin.
func resync(b []byte) int {
	first := len(b)
	for i := range b {
		m, n := next(b[i:])
		switch {
		case n < 0 || n == 0 && len(b) > i+headerLen && b[i+headerLen]&0x7f == 0:
			continue // function 0 is none: a run of zeros, rather
		case n > 0:
			request, response := shape(m.pdu)
			if !request && !response {
				if i == 0 && n == len(b) {
					first = 0 // all of it, though odd
				}
				continue
			}
			if functions[m.pdu[0]&0x7f].name != "" {
				// A whole message of a known function is believed sooner than
				// one before it that may yet become whole.
				return i
			}
			if _, more := next(b[i+n:]); more < 0 {
				continue
			}
		}
		first = min(first, i)
	}
	return first
}

// settle finds out who asks. The flow's originator does, but the flow table
// may have it wrong after a capture that began mid-stream; messages that can
// only be one of both tell.
func (p *parser) settle(dir proto.Dir, request, response bool) {
	if p.settled || request == response {
		return
	}
	if dir == p.client && response || dir != p.client && request {
		p.client = p.client.Flip()
	}
	p.settled = true
}

// Gap says that bytes were lost; see proto.Parser.
func (p *parser) Gap(dir proto.Dir, _ int) {
	p.torn[dir], p.lost = true, true
}

// End reports the requests that wait.
func (p *parser) End(out *proto.Out) {
	for p.n > 0 {
		p.expire(0, out)
	}
}

func (p *parser) ask(m adu, now time.Time, odd oddities, out *proto.Out) {
	for p.n > 0 && (p.n == maxPending || now.Sub(p.pending[0].at) > patience) {
		p.expire(0, out)
	}
	// Clients that never change the number are told apart by the function.
	same := func(r *request) bool { return r.tid == m.tid && r.unit == m.unit && r.pdu[0] == m.pdu[0] }
	if i := p.find(same); i >= 0 {
		p.expire(i, out)
	}
	if p.n == len(p.pending) {
		p.pending = append(p.pending, request{})
	}
	r := &p.pending[p.n]
	p.n++
	*r = request{now, m.tid, m.unit, append(r.pdu[:0], m.pdu...), odd}
}

// expire reports request i, which nobody answered.
func (p *parser) expire(i int, out *proto.Out) {
	r := &p.pending[i]
	switch {
	case p.lost:
		r.odd |= captureLoss
	case !silent(r.pdu):
		r.odd |= noResponse
	}
	p.emit(r, nil, 0, out)
	p.remove(i)
}

func (p *parser) answer(m adu, now time.Time, odd oddities, response bool, out *proto.Out) {
	code := m.pdu[0] & 0x7f
	i := p.find(func(r *request) bool { return r.tid == m.tid && r.unit == m.unit && r.pdu[0] == code })
	if i < 0 {
		i = p.find(func(r *request) bool { return r.tid == m.tid && r.unit == m.unit })
	}
	if i < 0 {
		// Some gateways answer in the name of unit 0 or 255.
		i = p.find(func(r *request) bool { return r.tid == m.tid && r.pdu[0] == code })
		if i >= 0 {
			odd |= unitMismatch
		}
	}
	if !response {
		odd |= lengthMismatch
	}
	if i < 0 {
		if p.lost {
			odd |= captureLoss
		} else {
			odd |= unsolicitedResponse
		}
		r := request{at: now, tid: m.tid, unit: m.unit, odd: odd}
		p.emit(&r, m.pdu, 0, out)
		return
	}
	p.settled = true
	r := &p.pending[i]
	r.odd |= odd
	if r.pdu[0] != code {
		r.odd |= functionMismatch
	}
	p.emit(r, m.pdu, now.Sub(r.at), out)
	p.remove(i)
}

func (p *parser) find(is func(*request) bool) int {
	for i := range p.n {
		if is(&p.pending[i]) {
			return i
		}
	}
	return -1
}

// remove takes request i out, and keeps its buffer for a later one.
func (p *parser) remove(i int) {
	r := p.pending[i]
	copy(p.pending[i:p.n], p.pending[i+1:p.n])
	p.n--
	p.pending[p.n] = request{pdu: r.pdu[:0]}
}
