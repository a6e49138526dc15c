// Package bacnet parses BACnet/IP (ANSI/ASHRAE 135, annex J): the language of
// building automation. A request and its answer make one event.
package bacnet

import (
	"encoding/binary"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/ics"
)

// Protocol is BACnet/IP.
var Protocol = proto.Protocol{
	Name:      "bacnet",
	Transport: proto.UDP,
	Ports:     []uint16{47808},
	Probe:     probe,
	First:     func(c byte) bool { return c == magic },
	New:       func() proto.Parser { return new(parser) },
	Fields: append([]event.FieldDoc{
		{Name: "ics.objects.property", Type: event.Keyword, Help: "Property of the object.", Class: event.ClassProcess},
		{Name: "ics.objects.index", Type: event.Long, Help: "Index within a property that is an array.", Class: event.ClassProcess},
		{Name: "ics.objects.priority", Type: event.Long, Help: "Priority that a write is given, 1 the highest of 16.", Class: event.ClassProcess},
		{Name: "bacnet.bvlc.code", Type: event.Long, Help: "Function of the virtual link layer.", Class: event.ClassTechnical},
		{Name: "bacnet.bvlc.name", Type: event.Keyword, Help: "Name of that function: original_unicast, forwarded, register_foreign_device, …", Class: event.ClassTechnical},
		{Name: "bacnet.pdu", Type: event.Keyword, Help: "What the message is: confirmed, unconfirmed, network, link, or of an answer without its request simple_ack, complex_ack, error, reject, abort.", Class: event.ClassTechnical},
		{Name: "bacnet.invoke_id", Type: event.Long, Help: "Number by which an answer belongs to its request.", Class: event.ClassTechnical},
		{Name: "bacnet.segments", Type: event.Long, Help: "Segments of request and answer together, where they come in several.", Class: event.ClassTechnical},
		{Name: "bacnet.origin", Type: event.Keyword, Help: "Address and port that a forwarded message comes from.", Class: event.ClassTopology},
		{Name: "bacnet.destination.network", Type: event.Long, Help: "Network that a routed message goes to; 65535 are all.", Class: event.ClassTopology},
		{Name: "bacnet.destination.address", Type: event.Keyword, Help: "Address within that network, hexadecimal.", Class: event.ClassTopology},
		{Name: "bacnet.source.network", Type: event.Long, Help: "Network that a routed message comes from.", Class: event.ClassTopology},
		{Name: "bacnet.source.address", Type: event.Keyword, Help: "Address within that network, hexadecimal.", Class: event.ClassTopology},
		{Name: "bacnet.device.instance", Type: event.Long, Help: "Instance of the device that speaks of itself.", Class: event.ClassTopology},
		{Name: "bacnet.device.vendor", Type: event.Long, Help: "Vendor that the device says, as ASHRAE numbers it.", Class: event.ClassTopology},
		{Name: "bacnet.device.max_apdu", Type: event.Long, Help: "Longest message that the device takes.", Class: event.ClassTechnical},
		{Name: "bacnet.range.low", Type: event.Long, Help: "First device instance that is asked for.", Class: event.ClassTopology},
		{Name: "bacnet.range.high", Type: event.Long, Help: "Last device instance that is asked for.", Class: event.ClassTopology},
		{Name: "bacnet.state", Type: event.Keyword, Help: "State that a device is told to take: disable, warmstart, coldstart, …", Class: event.ClassProcess},
		{Name: "bacnet.duration", Type: event.Long, Help: "Minutes for which a device is told to be silent.", Class: event.ClassProcess},
		{Name: "bacnet.password", Type: event.Boolean, Help: "The request carries a password, which is not kept.", Class: event.ClassTechnical},
		{Name: "bacnet.lifetime", Type: event.Long, Help: "Seconds that a subscription, or the registration of a foreign device, lasts.", Class: event.ClassTechnical},
		{Name: "bacnet.time", Type: event.Date, Help: "Time that clocks are set to, read as UTC.", Class: event.ClassTechnical},
		{Name: "bacnet.entries", Type: event.Long, Help: "Entries of a table of broadcast management or foreign devices.", Class: event.ClassTechnical},
		{Name: "bacnet.error.class", Type: event.Long, Help: "Class of the error that was answered.", Class: event.ClassTechnical},
	}, proto.ICSFields...),
}

const (
	magic      = 0x81 // BVLC for BACnet/IP (J.2)
	maxPending = 32
	maxKept    = 1500
	patience   = time.Minute
)

// Functions of the virtual link layer (J.2).
const (
	linkResult    = 0x00
	forwarded     = 0x04
	secure        = 0x0c
	registerF     = 0x05
	deleteForeign = 0x08
)

var links = [...]meaning{
	{"result", "session"}, {"write_broadcast_distribution_table", "write"}, {"read_broadcast_distribution_table", "read"},
	{"read_broadcast_distribution_table_ack", "read"}, {"forwarded", ""}, {"register_foreign_device", "session"}, {"read_foreign_device_table", "read"},
	{"read_foreign_device_table_ack", "read"}, {"delete_foreign_device_table_entry", "write"}, {"distribute_broadcast", ""},
	{"original_unicast", ""}, {"original_broadcast", ""}, {"secure", ""},
}

// Types of APDU (20.1).
const (
	confirmed   = 0
	unconfirmed = 1
	simpleAck   = 2
	complexAck  = 3
	segmentAck  = 4
	failure     = 5
	rejected    = 6
	aborted     = 7
)

var pduNames = [...]string{"confirmed", "unconfirmed", "simple_ack", "complex_ack", "segment_ack", "error", "reject", "abort"}

// message is what a datagram carries.
type message struct {
	link             uint8
	origin           []byte // of forwarded ones: address and port
	network          int    // type of a message of the network layer, or -1
	dnet, snet       uint16
	dadr, sadr       []byte
	hasDNET, hasSNET bool
	body             []byte // of the link's or the network's own messages
	pdu              uint8
	apdu             bool
	invoke           uint8
	service          uint8
	segmented, more  bool
	sequence         uint8
	data             []byte // behind the service
}

// parse reads a datagram (J.2, 6.2, 20.1).
func parse(b []byte) (m message, ok bool) {
	m.network = -1
	if len(b) < 4 || b[0] != magic || int(b[1]) >= len(links) || int(binary.BigEndian.Uint16(b[2:])) > len(b) || binary.BigEndian.Uint16(b[2:]) < 4 {
		return m, false
	}
	m.link = b[1]
	b = b[4:binary.BigEndian.Uint16(b[2:])]
	m.body = b
	if links[m.link].operation != "" || m.link == secure {
		return m, true
	}
	if m.link == forwarded {
		if len(b) < 6 {
			return m, false
		}
		m.origin, b = b[:6], b[6:]
	}
	if len(b) < 2 || b[0] != 1 { // version
		return m, false
	}
	control := b[1]
	b = b[2:]
	address := func() (net uint16, adr []byte, ok bool) {
		if len(b) < 3 || len(b) < 3+int(b[2]) {
			return 0, nil, false
		}
		net, adr = binary.BigEndian.Uint16(b), b[3:3+int(b[2])]
		b = b[3+len(adr):]
		return net, adr, true
	}
	if control&0x20 != 0 {
		if m.dnet, m.dadr, m.hasDNET = address(); !m.hasDNET {
			return m, false
		}
	}
	if control&0x08 != 0 {
		if m.snet, m.sadr, m.hasSNET = address(); !m.hasSNET {
			return m, false
		}
	}
	if m.hasDNET { // hop count
		if len(b) < 1 {
			return m, false
		}
		b = b[1:]
	}
	if len(b) < 1 {
		return m, false
	}
	if control&0x80 != 0 {
		m.network, m.body = int(b[0]), b[1:]
		return m, true
	}
	m.apdu, m.pdu = true, b[0]>>4
	flags := b[0]
	skip := 0
	switch m.pdu {
	case confirmed:
		skip = 2 // flags, sizes
	case unconfirmed:
		if len(b) < 2 {
			return m, false
		}
		m.service, m.data = b[1], b[2:]
		return m, true
	case simpleAck, complexAck, failure, rejected, aborted, segmentAck:
		skip = 1
	default:
		return m, false
	}
	if len(b) < skip+2 {
		return m, false
	}
	m.invoke = b[skip]
	b = b[skip+1:]
	if (m.pdu == confirmed || m.pdu == complexAck) && flags&8 != 0 {
		m.segmented, m.more = true, flags&4 != 0
		if len(b) < 3 {
			return m, false
		}
		m.sequence = b[0]
		b = b[2:]
	}
	m.service, m.data = b[0], b[1:] // of reject and abort the reason
	return m, true
}

func probe(_ proto.Dir, b []byte) proto.Verdict {
	if _, ok := parse(b); ok {
		return proto.Yes
	}
	return proto.No
}

// pending is a request that waits for its answer.
type pending struct {
	at       time.Time
	dir      proto.Dir
	invoke   uint8
	service  uint8
	segments int
	raw      []byte // a copy of the datagram
	answer   []byte // and of an answer's first segment
	odd      ics.Odd
}

// parser is the state of one flow.
type parser struct {
	wait   ics.Waiting[pending]
	memory ics.Memory
	lost   bool
	rec    ics.Record
}

// Parse is given a datagram; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (int, error) {
	m, ok := parse(b)
	if !ok {
		return len(b), nil
	}
	for p.wait.Len() > 0 && now.Sub(p.wait.At(0).at) > patience {
		p.expire(0, out)
	}
	switch {
	case !m.apdu || m.pdu == unconfirmed:
		p.emit(&pending{at: now, dir: dir}, &m, nil, -1, out)
	case m.pdu == confirmed:
		p.ask(dir, &m, b, now, out)
	case m.pdu == segmentAck:
		// Says that segments came, and nothing else.
	default:
		p.answer(dir, &m, b, now, out)
	}
	return len(b), nil
}

// Gap says that a datagram was cut.
func (p *parser) Gap(proto.Dir, int) { p.lost = true }

// End reports the requests that wait.
func (p *parser) End(out *proto.Out) {
	for p.wait.Len() > 0 {
		p.expire(0, out)
	}
}

func (p *parser) ask(dir proto.Dir, m *message, b []byte, now time.Time, out *proto.Out) {
	if i := p.wait.Find(func(q *pending) bool { return q.dir == dir && q.invoke == m.invoke }); i >= 0 {
		q := p.wait.At(i)
		if m.segmented && m.sequence > 0 && q.service == m.service {
			q.segments++
			return
		}
		p.expire(i, out)
	}
	if p.wait.Len() == maxPending {
		p.wait.At(0).odd |= ics.TooMany
		p.expire(0, out)
	}
	q := p.wait.Add()
	raw, answer := append(q.raw[:0], b[:min(len(b), maxKept)]...), q.answer[:0]
	*q = pending{at: now, dir: dir, invoke: m.invoke, service: m.service, raw: raw, answer: answer}
	if m.segmented {
		q.segments = 1
	}
}

func (p *parser) answer(dir proto.Dir, m *message, b []byte, now time.Time, out *proto.Out) {
	i := p.wait.Find(func(q *pending) bool { return q.dir != dir && q.invoke == m.invoke })
	if i < 0 {
		r := pending{at: now, dir: dir.Flip(), invoke: m.invoke, odd: ics.UnsolicitedResponse}
		if p.lost {
			r.odd = ics.CaptureLoss
		}
		if m.segmented && m.sequence > 0 {
			return // of an answer whose beginning was not seen
		}
		p.emit(&r, nil, m, -1, out)
		return
	}
	q := p.wait.At(i)
	if m.segmented {
		q.segments++
		if m.sequence == 0 {
			q.answer = append(q.answer[:0], b[:min(len(b), maxKept)]...)
		}
		if m.more {
			return
		}
		if first, ok := parse(q.answer); ok && len(q.answer) > 0 {
			*m = first
		}
	}
	if (m.pdu == simpleAck || m.pdu == complexAck || m.pdu == failure) && m.service != q.service {
		q.odd |= ics.FunctionMismatch
	}
	asked, _ := parse(q.raw)
	p.emit(q, &asked, m, max(now.Sub(q.at), 0), out)
	p.wait.Remove(i)
}

// expire reports request i, which nobody answered.
func (p *parser) expire(i int, out *proto.Out) {
	q := p.wait.At(i)
	if p.lost {
		q.odd |= ics.CaptureLoss
	} else {
		q.odd |= ics.NoResponse
	}
	if m, ok := parse(q.raw); ok {
		p.emit(q, &m, nil, -1, out)
	}
	p.wait.Remove(i)
}
