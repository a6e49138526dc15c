// Package enip parses EtherNet/IP and the Common Industrial Protocol (CIP)
// inside of it, as ODVA's CIP Networks Library describes them: volume 1 the
// objects and services, volume 2 the encapsulation. What Rockwell's controllers
// add, tags and PCCC, is from their publications 1756-PM020 and 1770-6.5.16.
//
// A request and its reply make one event; of a packet of several services each
// service makes one of its own. Of implicit messages there are statistics.
package enip

import (
	"encoding/binary"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/ics"
)

// Protocol is EtherNet/IP over TCP.
var Protocol = proto.Protocol{
	Name:      "enip",
	Transport: proto.TCP,
	Ports:     []uint16{44818},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields:    fields,
}

// Datagrams is EtherNet/IP over UDP: who is there, and implicit messages.
var Datagrams = proto.Protocol{
	Name:      "enip",
	Transport: proto.UDP,
	Ports:     []uint16{44818, 2222},
	Probe:     probeDatagram,
	New:       func() proto.Parser { return &parser{datagrams: true} },
	Fields:    fields,
}

var fields = append([]event.FieldDoc{
	{Name: "enip.command.code", Type: event.Long, Help: "Command of the encapsulation.", Class: event.ClassTechnical},
	{Name: "enip.command.name", Type: event.Keyword, Help: "Name of the command: list_identity, register_session, send_rr_data, …", Class: event.ClassTechnical},
	{Name: "enip.session", Type: event.Long, Help: "Session that the message belongs to.", Class: event.ClassTechnical},
	{Name: "enip.status", Type: event.Long, Help: "Status of the encapsulation, where it is not 0.", Class: event.ClassTechnical},
	{Name: "enip.identity.address", Type: event.IPType, Help: "Address that a device says it has.", Class: event.ClassTopology},
	{Name: "enip.identity.port", Type: event.Long, Help: "Port that a device says it has.", Class: event.ClassTopology},
	{Name: "enip.identity.vendor_id", Type: event.Long, Help: "Vendor of the device, as ODVA numbers it.", Class: event.ClassTopology},
	{Name: "enip.identity.vendor", Type: event.Keyword, Help: "Name of the vendor, where it is known.", Class: event.ClassTopology},
	{Name: "enip.identity.device_type", Type: event.Long, Help: "Type of the device, as ODVA numbers it.", Class: event.ClassTopology},
	{Name: "enip.identity.product_code", Type: event.Long, Help: "Product code of the device.", Class: event.ClassTopology},
	{Name: "enip.identity.revision", Type: event.Keyword, Help: "Revision of the device's firmware.", Class: event.ClassTopology},
	{Name: "enip.identity.status", Type: event.Long, Help: "Status word of the device.", Class: event.ClassProcess},
	{Name: "enip.identity.serial", Type: event.Long, Help: "Serial number of the device.", Class: event.ClassTopology},
	{Name: "enip.identity.product", Type: event.Keyword, Help: "Product name of the device.", Class: event.ClassTopology},
	{Name: "enip.identity.state", Type: event.Long, Help: "State of the device: 3 operational, 4 recoverable fault, …", Class: event.ClassProcess},
	{Name: "enip.services", Type: event.Keyword, Help: "Services that a device lists.", Class: event.ClassTechnical},
	{Name: "cip.sequence", Type: event.Long, Help: "Sequence count of a message over a connection.", Class: event.ClassTechnical},
	{Name: "cip.connection.id", Type: event.Long, Help: "Connection that a message goes over.", Class: event.ClassTechnical},
	{Name: "cip.class.code", Type: event.Long, Help: "Class of the object that is asked.", Class: event.ClassTechnical},
	{Name: "cip.class.name", Type: event.Keyword, Help: "Name of the class.", Class: event.ClassTechnical},
	{Name: "cip.instance", Type: event.Long, Help: "Instance of the object that is asked.", Class: event.ClassTechnical},
	{Name: "cip.attribute", Type: event.Long, Help: "Attribute of the object.", Class: event.ClassTechnical},
	{Name: "cip.extended_status", Type: event.Long, Help: "First word of the extended status.", Class: event.ClassTechnical},
	{Name: "cip.services", Type: event.Long, Help: "How many services a multiple service packet holds; each has its own event.", Class: event.ClassTechnical},
	{Name: "cip.index", Type: event.Long, Help: "Place of a service within its multiple service packet, from 1.", Class: event.ClassTechnical},
	{Name: "cip.routed", Type: event.Boolean, Help: "The request is inside of an unconnected send, for a module behind the one that is asked.", Class: event.ClassTechnical},
	{Name: "cip.route", Type: event.Keyword, Help: "Route of an unconnected send, hexadecimal.", Class: event.ClassTopology},
	{Name: "cip.connection.serial", Type: event.Long, Help: "Serial number of a connection that is opened or closed.", Class: event.ClassTechnical},
	{Name: "cip.connection.vendor", Type: event.Long, Help: "Vendor of the connection's originator.", Class: event.ClassTopology},
	{Name: "cip.connection.originator", Type: event.Long, Help: "Serial number of the connection's originator.", Class: event.ClassTopology},
	{Name: "cip.connection.to_target.id", Type: event.Long, Help: "Connection towards the target.", Class: event.ClassTechnical},
	{Name: "cip.connection.to_target.interval", Type: event.Long, Help: "Requested packet interval towards the target, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "cip.connection.to_originator.id", Type: event.Long, Help: "Connection towards the originator.", Class: event.ClassTechnical},
	{Name: "cip.connection.to_originator.interval", Type: event.Long, Help: "Requested packet interval towards the originator, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "cip.connection.path", Type: event.Keyword, Help: "Path of the connection, hexadecimal.", Class: event.ClassTopology},
	{Name: "cip.pccc.command", Type: event.Long, Help: "Command of PCCC.", Class: event.ClassTechnical},
	{Name: "cip.pccc.function", Type: event.Long, Help: "Function of PCCC.", Class: event.ClassTechnical},
	{Name: "cip.pccc.name", Type: event.Keyword, Help: "Name of the command and function.", Class: event.ClassTechnical},
	{Name: "cip.pccc.status", Type: event.Long, Help: "Status of PCCC.", Class: event.ClassTechnical},
	{Name: "cip.io.packets", Type: event.Long, Help: "Packets of an implicit connection, in one direction.", Class: event.ClassTechnical},
	{Name: "cip.io.bytes", Type: event.Long, Help: "Bytes of data in them.", Class: event.ClassTechnical},
	{Name: "cip.io.lost", Type: event.Long, Help: "Sequence numbers that were passed over.", Class: event.ClassTechnical},
	{Name: "cip.io.late", Type: event.Long, Help: "Packets whose number had passed already: copies, or out of order.", Class: event.ClassTechnical},
	{Name: "cip.io.interval.mean", Type: event.Long, Help: "Mean time between packets, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "cip.io.interval.max", Type: event.Long, Help: "Longest time between packets, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "cip.data", Type: event.Keyword, Help: "First bytes of the request where they have no field of their own, hexadecimal.", Class: event.ClassProcess},
	{Name: "cip.response_data", Type: event.Keyword, Help: "First bytes of the reply where they have no field of their own, hexadecimal.", Class: event.ClassProcess},
}, proto.ICSFields...)

const (
	headerLen = 24 // volume 2, section 2-3.1
	// maxPending is how many requests may wait for replies.
	maxPending = 32
	// maxKept is how much of a request is kept. Messages are of 504 bytes, or
	// over large connections 4000.
	maxKept = 4096
	// patience is how long a request waits: unconnected ones may be told to
	// wait for half an hour, but are not.
	patience = time.Minute
	// maxServices is how many services of a packet have events.
	maxServices = 256
	// maxStreams is how many implicit connections of a flow are counted.
	maxStreams = 64
	// account is how often what is counted of them is said.
	account = 5 * time.Minute
)

// Commands of the encapsulation (volume 2, section 2-3.2).
const (
	nop            = 0x00
	listServices   = 0x04
	listIdentity   = 0x63
	listInterfaces = 0x64
	register       = 0x65
	unregister     = 0x66
	sendRR         = 0x6f
	sendUnit       = 0x70
	indicateStatus = 0x72
	cancel         = 0x73
)

var commands = map[uint16]struct{ name, operation string }{
	nop: {"nop", "session"}, listServices: {"list_services", "discover"}, listIdentity: {"list_identity", "discover"},
	listInterfaces: {"list_interfaces", "discover"}, register: {"register_session", "session"}, unregister: {"unregister_session", "session"},
	sendRR: {"send_rr_data", ""}, sendUnit: {"send_unit_data", ""}, indicateStatus: {"indicate_status", "diagnose"}, cancel: {"cancel", "session"},
}

var encapsulationStatus = map[uint32]string{
	1: "invalid_command", 2: "out_of_memory", 3: "incorrect_data", 0x64: "invalid_session", 0x65: "invalid_length", 0x69: "unsupported_version",
}

// header is that of the encapsulation.
type header struct {
	command uint16
	session uint32
	status  uint32
	context uint64
}

// size returns how long the message is that b begins with; see ics.Framing.
func size(b []byte) int {
	if len(b) > 1 && b[1] != 0 || len(b) > 0 && commands[uint16(b[0])].name == "" {
		return -1
	}
	// Status is of one byte, and options are not used.
	for i, c := range b[:min(len(b), headerLen)] {
		if (i >= 9 && i <= 11 || i >= 20) && c != 0 {
			return -1
		}
	}
	if len(b) < 4 {
		return 0
	}
	n := int(binary.LittleEndian.Uint16(b[2:]))
	command := uint16(b[0])
	switch {
	case command == register && n != 4 && n != 0, command == unregister && n != 0,
		(command == sendRR || command == sendUnit) && n != 0 && n < 10:
		return -1
	}
	return headerLen + n
}

// valid reports whether a whole message is believable.
func valid(b []byte) bool {
	if len(b) < headerLen {
		return false
	}
	switch uint16(b[0]) {
	case nop:
		return false // is hardly more than zeros
	case listServices, listIdentity, listInterfaces:
		// A request has nothing, an answer a few items; requests to all have no
		// session, and answers to them need none.
		n := len(b) - headerLen
		items := n >= 2 && b[headerLen] <= 8 && b[headerLen+1] == 0
		return binary.LittleEndian.Uint32(b[4:]) == 0 && binary.LittleEndian.Uint32(b[8:]) == 0 && (n == 0 || items)
	case sendRR, sendUnit:
		// An interface handle of 0: CIP (volume 2, section 2-4.7).
		return len(b) >= 32 && binary.LittleEndian.Uint32(b[24:]) == 0
	}
	return true
}

var framing = ics.Framing{Size: size, Valid: valid, Max: 16 << 10}

// probe wants one whole message, or its beginning, that is of one command and
// has zeros where they must be.
func probe(dir proto.Dir, b []byte) proto.Verdict {
	n := size(b)
	switch {
	case n < 0, len(b) > 0 && b[0] == nop:
		return proto.No
	case n == 0 || len(b) < min(n, proto.MaxProbe):
		return proto.Maybe
	case !valid(b[:min(n, len(b))]):
		return proto.No
	case n == headerLen && uint16(b[0]) != register && uint16(b[0]) != unregister:
		// A question that has nothing but zeros is believed if another message
		// follows, or is answered.
		return probe(dir, b[n:])
	}
	return proto.Yes
}

// probeDatagram takes a message of the encapsulation that fills the datagram,
// or an implicit one.
func probeDatagram(_ proto.Dir, b []byte) proto.Verdict {
	if _, ok := implicit(b); ok {
		return proto.Yes
	}
	if n := size(b); n == len(b) && len(b) >= headerLen && valid(b) {
		return proto.Yes
	}
	return proto.No
}

// pending is a request that waits for its reply.
type pending struct {
	at  time.Time
	dir proto.Dir
	header
	connection uint32
	sequence   uint16
	connected  bool
	service    uint8
	raw        []byte // a copy of the message of CIP, or of the command's data
	odd        ics.Odd
}

// parser is the state of one flow.
type parser struct {
	datagrams bool
	frames    ics.Frames
	wait      ics.Waiting[pending]
	memory    ics.Memory
	streams   []stream
	client    proto.Dir
	known     bool
	rec       ics.Record
	key       []byte
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	if p.datagrams {
		if io, ok := implicit(b); ok {
			p.count(dir, io, now, out)
		} else if size(b) == len(b) {
			p.message(dir, b, now, 0, out)
		}
		return len(b), nil
	}
	for n < len(b) {
		m, used, odd, err := p.frames.Next(&framing, dir, b[n:])
		n += used
		if m == nil || err != nil {
			return n, err
		}
		p.message(dir, m, now, odd, out)
	}
	return n, nil
}

// Gap says that bytes were lost; see proto.Parser.
func (p *parser) Gap(dir proto.Dir, n int) { p.frames.Gap(dir, n) }

// End reports what waits, and what was counted.
func (p *parser) End(out *proto.Out) {
	for p.wait.Len() > 0 {
		p.expire(0, out)
	}
	for i := range p.streams {
		p.emitStream(&p.streams[i], out)
	}
	p.streams = p.streams[:0]
}

// message takes one of the encapsulation.
func (p *parser) message(dir proto.Dir, b []byte, now time.Time, odd ics.Odd, out *proto.Out) {
	if len(b) < headerLen {
		return
	}
	for p.wait.Len() > 0 && now.Sub(p.wait.At(0).at) > patience {
		p.expire(0, out)
	}
	r := pending{at: now, dir: dir, odd: odd, header: header{
		binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[12:]),
	}}
	body := b[headerLen:]
	answers := false
	switch r.command {
	case nop:
		return
	case register:
		answers = r.session != 0 || r.status != 0
	case sendRR, sendUnit:
		if r.status != 0 {
			answers = true
			break
		}
		if len(body) < 8 {
			return
		}
		var ok bool
		if body, ok = r.items(body[6:]); !ok {
			return
		}
		r.service = body[0]
		answers = body[0]&0x80 != 0
	case unregister:
		r.raw = body
		p.emit(&r, nil, nil, -1, out) // nobody answers that
		return
	default:
		answers = r.status != 0 || len(body) > 0
	}
	if !answers {
		p.settle(dir)
		r.raw = body
		p.ask(r, out)
		return
	}
	p.answer(&r, body, now, out)
}

func (p *parser) settle(dir proto.Dir) {
	if !p.known {
		p.client, p.known = dir, true
	}
}

// items reads the common packet format (volume 2, section 2-6) and returns what
// is in it of CIP.
func (r *pending) items(b []byte) (message []byte, ok bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	b = b[2:]
	for range min(n, 8) {
		if len(b) < 4 {
			break
		}
		kind, size := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		v := b[4:min(4+size, len(b))]
		b = b[4+len(v):]
		switch {
		case kind == 0xa1 && len(v) >= 4:
			r.connection = binary.LittleEndian.Uint32(v)
		case kind == 0xb1 && len(v) >= 4:
			r.connected, r.sequence = true, binary.LittleEndian.Uint16(v)
			message = v[2:]
		case kind == 0xb2 && len(v) >= 2:
			message = v
		}
	}
	return message, len(message) >= 2
}

// ask takes a request, whose bytes are borrowed.
func (p *parser) ask(r pending, out *proto.Out) {
	if p.wait.Len() == maxPending {
		p.wait.At(0).odd |= ics.TooMany
		p.expire(0, out)
	}
	q := p.wait.Add()
	kept := append(q.raw[:0], r.raw[:min(len(r.raw), maxKept)]...)
	*q = r
	q.raw = kept
}

// answer joins a reply with its request: over connections by the sequence
// count, else by the sender's context, which many clients never change.
func (p *parser) answer(r *pending, body []byte, now time.Time, out *proto.Out) {
	same := func(q *pending) bool {
		return q.dir != r.dir && q.command == r.command && q.connected == r.connected && (q.service == r.service&0x7f || q.service == unconnectedSend || r.status != 0)
	}
	i := p.wait.Find(func(q *pending) bool {
		return same(q) && (r.connected && q.sequence == r.sequence || !r.connected && q.context == r.context)
	})
	if i < 0 && !r.connected {
		if i = p.wait.Find(same); i >= 0 {
			r.odd |= ics.ReferenceMismatch
		}
	}
	if i < 0 {
		q := *r
		q.dir = r.dir.Flip()
		if p.frames.Lost {
			q.odd |= ics.CaptureLoss
		} else if !p.datagrams { // questions to all have flows of their own
			q.odd |= ics.UnsolicitedResponse
		}
		q.service &= 0x7f
		p.emit(&q, r, body, -1, out)
		return
	}
	q := p.wait.At(i)
	q.odd |= r.odd
	p.emit(q, r, body, max(now.Sub(q.at), 0), out)
	p.wait.Remove(i)
}

// expire reports request i, which nobody answered.
func (p *parser) expire(i int, out *proto.Out) {
	r := p.wait.At(i)
	switch {
	case p.frames.Lost:
		r.odd |= ics.CaptureLoss
	case !p.datagrams:
		r.odd |= ics.NoResponse
	}
	p.emit(r, nil, nil, -1, out)
	p.wait.Remove(i)
}
