// Package s7comm parses the languages of SIMATIC S7 controllers: S7comm of the
// 300 and 400 series, which everybody speaks, and of S7comm-plus of the 1200 and
// 1500 series what is not encrypted. Both are carried by TPKT and COTP.
//
// Neither is published; what is known is what Wireshark's and Snap7's authors
// have found out. Section numbers there are none to cite.
//
// A request and its response make one event, and so does the connection of the
// transport below.
package s7comm

import (
	"encoding/binary"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/ics"
	"github.com/tocsin/tocsin/sensor/proto/tpkt"
)

// Protocol is S7comm, and S7comm-plus.
var Protocol = proto.Protocol{
	Name:      "s7comm",
	Transport: proto.TCP,
	Ports:     []uint16{tpkt.Port},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields: append([]event.FieldDoc{
		{Name: "ics.objects.area", Type: event.Keyword, Help: "Memory area of the object: DB, M, I, Q, P, T, C, …", Class: event.ClassProcess},
		{Name: "ics.objects.db", Type: event.Long, Help: "Number of the data block that the object is in.", Class: event.ClassProcess},
		{Name: "ics.objects.bit", Type: event.Long, Help: "Bit within the byte that the address names, of an object of one bit.", Class: event.ClassProcess},
		{Name: "s7comm.rosctr.code", Type: event.Long, Help: "Kind of the first message: 1 job, 2 acknowledgement, 3 acknowledgement with data, 7 user data.", Class: event.ClassTechnical},
		{Name: "s7comm.rosctr.name", Type: event.Keyword, Help: "Name of the kind.", Class: event.ClassTechnical},
		{Name: "s7comm.answer.code", Type: event.Long, Help: "Kind of the message that answers: 2 acknowledgement, 3 acknowledgement with data, 7 user data.", Class: event.ClassTechnical},
		{Name: "s7comm.reference", Type: event.Long, Help: "Number by which a response belongs to its request.", Class: event.ClassTechnical},
		{Name: "s7comm.group.code", Type: event.Long, Help: "Function group of user data.", Class: event.ClassTechnical},
		{Name: "s7comm.group.name", Type: event.Keyword, Help: "Name of the group: cpu, block, security, time, …", Class: event.ClassTechnical},
		{Name: "s7comm.subfunction.code", Type: event.Long, Help: "Function within the group.", Class: event.ClassTechnical},
		{Name: "s7comm.items", Type: event.Long, Help: "Items that a read or write names.", Class: event.ClassTechnical},
		{Name: "s7comm.pdu_length", Type: event.Long, Help: "Longest message that the peers agreed on.", Class: event.ClassTechnical},
		{Name: "s7comm.jobs.calling", Type: event.Long, Help: "Jobs that the caller may have on their way.", Class: event.ClassTechnical},
		{Name: "s7comm.jobs.called", Type: event.Long, Help: "Jobs that the called side may have on their way.", Class: event.ClassTechnical},
		{Name: "s7comm.tsap.calling", Type: event.Keyword, Help: "Transport selector of the caller, as text or hexadecimal.", Class: event.ClassTopology},
		{Name: "s7comm.tsap.called", Type: event.Keyword, Help: "Transport selector that is called, as text or hexadecimal.", Class: event.ClassTopology},
		{Name: "s7comm.connection_type", Type: event.Keyword, Help: "Who the caller says that it is: pg (programming device), op (panel), basic.", Class: event.ClassTopology},
		{Name: "s7comm.rack", Type: event.Long, Help: "Rack of the module that is called.", Class: event.ClassTopology},
		{Name: "s7comm.slot", Type: event.Long, Help: "Slot of the module that is called.", Class: event.ClassTopology},
		{Name: "s7comm.blocks", Type: event.Nested, Help: "Program and data blocks that the message is about.", Class: event.ClassProcess},
		{Name: "s7comm.blocks.type", Type: event.Keyword, Help: "Type of the block: OB, DB, SDB, FC, SFC, FB, SFB.", Class: event.ClassProcess},
		{Name: "s7comm.blocks.number", Type: event.Long, Help: "Number of the block.", Class: event.ClassProcess},
		{Name: "s7comm.blocks.filesystem", Type: event.Keyword, Help: "Where the block is or goes: P passive, A active, B both.", Class: event.ClassProcess},
		{Name: "s7comm.blocks.count", Type: event.Long, Help: "How many blocks of the type there are.", Class: event.ClassProcess},
		{Name: "s7comm.blocks.length", Type: event.Long, Help: "Bytes of the block in load memory.", Class: event.ClassTechnical},
		{Name: "s7comm.blocks.checksum", Type: event.Long, Help: "Checksum of the block.", Class: event.ClassTechnical},
		{Name: "s7comm.blocks.author", Type: event.Keyword, Help: "Author that the block names.", Class: event.ClassPersonal},
		{Name: "s7comm.blocks.family", Type: event.Keyword, Help: "Family that the block names.", Class: event.ClassTopology},
		{Name: "s7comm.blocks.name", Type: event.Keyword, Help: "Name of the block.", Class: event.ClassTopology},
		{Name: "s7comm.blocks.version", Type: event.Keyword, Help: "Version of the block.", Class: event.ClassTechnical},
		{Name: "s7comm.blocks.modified", Type: event.Date, Help: "When the block was changed last, by the device's clock.", Class: event.ClassTechnical},
		{Name: "s7comm.transfer", Type: event.Long, Help: "Number of the upload or download that the message is part of.", Class: event.ClassTechnical},
		{Name: "s7comm.length", Type: event.Long, Help: "Bytes of a block that the message carries or announces.", Class: event.ClassTechnical},
		{Name: "s7comm.service", Type: event.Keyword, Help: "Program invocation service: P_PROGRAM, _INSE, _DELE, _MODU, _GARB, …", Class: event.ClassTechnical},
		{Name: "s7comm.argument", Type: event.Keyword, Help: "Argument of a program invocation service.", Class: event.ClassProcess},
		{Name: "s7comm.szl.id", Type: event.Long, Help: "System status list that was read.", Class: event.ClassTechnical},
		{Name: "s7comm.szl.index", Type: event.Long, Help: "Index within the system status list.", Class: event.ClassTechnical},
		{Name: "s7comm.szl.entries", Type: event.Long, Help: "Entries of the system status list in the answer.", Class: event.ClassTechnical},
		{Name: "s7comm.device.vendor", Type: event.Keyword, Help: "Copyright that the device shows.", Class: event.ClassTopology},
		{Name: "s7comm.device.model", Type: event.Keyword, Help: "Order number, or type, of the device.", Class: event.ClassTopology},
		{Name: "s7comm.device.version", Type: event.Keyword, Help: "Version of the device's firmware.", Class: event.ClassTopology},
		{Name: "s7comm.device.name", Type: event.Keyword, Help: "Name of the station.", Class: event.ClassTopology},
		{Name: "s7comm.device.module", Type: event.Keyword, Help: "Name of the module.", Class: event.ClassTopology},
		{Name: "s7comm.device.plant", Type: event.Keyword, Help: "Plant designation.", Class: event.ClassTopology},
		{Name: "s7comm.device.serial", Type: event.Keyword, Help: "Serial number of the device.", Class: event.ClassTopology},
		{Name: "s7comm.device.state", Type: event.Keyword, Help: "Operating state that the device reports or is told to take: run, stop, hold, …", Class: event.ClassProcess},
		{Name: "s7comm.time", Type: event.Date, Help: "Time that a clock was set to, or showed, read as UTC.", Class: event.ClassTechnical},
		{Name: "s7comm.data", Type: event.Keyword, Help: "First bytes of the request where they have no field of their own, hexadecimal.", Class: event.ClassProcess},
		{Name: "s7comm.response_data", Type: event.Keyword, Help: "First bytes of the response where they have no field of their own, hexadecimal.", Class: event.ClassProcess},
		{Name: "s7comm.plus.version", Type: event.Long, Help: "Version of S7comm-plus: 1 and 2 in the clear, 3 with integrity, 254 of the system.", Class: event.ClassTechnical},
		{Name: "s7comm.plus.opcode", Type: event.Keyword, Help: "request, response or notification.", Class: event.ClassTechnical},
		{Name: "s7comm.plus.sequence", Type: event.Long, Help: "Number by which a response belongs to its request.", Class: event.ClassTechnical},
		{Name: "s7comm.plus.session", Type: event.Long, Help: "Session that the request belongs to.", Class: event.ClassTechnical},
		{Name: "s7comm.plus.object", Type: event.Long, Help: "Object that the function works on.", Class: event.ClassProcess},
		{Name: "s7comm.plus.attribute", Type: event.Long, Help: "Attribute that a variable is set of.", Class: event.ClassProcess},
		{Name: "s7comm.plus.integrity", Type: event.Boolean, Help: "The message carries a digest.", Class: event.ClassTechnical},
	}, proto.ICSFields...),
}

const (
	magic     = 0x32 // first byte of S7comm
	magicPlus = 0x72 // and of S7comm-plus
	// maxPending is how many requests may wait for responses. Peers agree on
	// how many at the beginning, usually one to eight.
	maxPending = 32
	// maxKept is how much of a request is kept: a message is of 240 to 960
	// bytes, as the peers agree.
	maxKept = 2048
	// patience is how long a request waits for its response.
	patience = time.Minute
)

// Kinds of messages (ROSCTR).
const (
	job      = 1
	ack      = 2
	ackData  = 3
	userData = 7
)

var framing = ics.Framing{
	Size: tpkt.Size,
	Valid: func(m []byte) bool {
		p, ok := tpkt.Parse(m)
		if !ok || p.Kind != tpkt.Data {
			return ok
		}
		return len(p.Payload) == 0 || plausible(p.Payload)
	},
	Max: 16 << 10,
}

// plausible reports whether what a transport PDU carries begins as one of both
// languages does.
func plausible(b []byte) bool {
	switch {
	case len(b) == 0:
		return false
	case b[0] == magicPlus:
		return len(b) < 2 || b[1] >= 1 && b[1] <= 3 || b[1] >= 0xfe
	case b[0] != magic:
		return false
	case len(b) > 1 && (b[1] < job || b[1] > userData || b[1] > ackData && b[1] < userData):
		return false
	}
	return len(b) < 10 || b[1] == ack || b[6] != 0 || b[7] != 0 // parameters
}

// probe wants the first that the transport carries to be of one of both
// languages. The transport's own messages would do for others too.
func probe(_ proto.Dir, b []byte) proto.Verdict { return tpkt.Probe(b, plausible) }

// message is one of S7comm.
type message struct {
	kind        uint8
	ref         uint16
	status      uint16 // class and code; of acknowledgements
	param, data []byte
	short       bool // it is not as long as it says
}

// parse reads a message.
func parse(b []byte) (m message, ok bool) {
	if len(b) < 10 || b[0] != magic {
		return m, false
	}
	m.kind, m.ref = b[1], binary.BigEndian.Uint16(b[4:])
	param, data := int(binary.BigEndian.Uint16(b[6:])), int(binary.BigEndian.Uint16(b[8:]))
	b = b[10:]
	if m.kind == ack || m.kind == ackData {
		if len(b) < 2 {
			return m, false
		}
		m.status = binary.BigEndian.Uint16(b)
		b = b[2:]
	}
	m.short = param+data != len(b)
	m.param = b[:min(param, len(b))]
	b = b[len(m.param):]
	m.data = b[:min(data, len(b))]
	return m, true
}

// function is the number of a message's function: of user data its type and
// group, as they are on the wire, made those of the request.
func (m *message) function() uint8 {
	switch {
	case m.kind == ack:
	case m.kind == userData && len(m.param) >= 6:
		return 0x40 | m.param[5]&0x0f
	case m.kind != userData && len(m.param) > 0:
		return m.param[0]
	}
	return 0
}

// subfunction is that of user data.
func (m *message) subfunction() uint8 {
	if m.kind == userData && len(m.param) >= 7 {
		return m.param[6]
	}
	return 0
}

// Types of user data (upper half of the byte whose lower is the group).
const (
	pushed  = 0
	request = 4
	answer  = 8
)

func (m *message) userType() uint8 {
	if m.kind == userData && len(m.param) >= 6 {
		return m.param[5] >> 4
	}
	return pushed
}

// pending is a request that waits for its response.
type pending struct {
	at   time.Time
	dir  proto.Dir
	plus bool
	ref  uint16
	fn   uint16
	raw  []byte // a copy of the message
	odd  ics.Odd
}

// call is a transport connection that waits to be confirmed.
type call struct {
	at              time.Time
	open            bool
	dir             proto.Dir
	calling, called [tsapLen]byte
	ncalling        uint8
	ncalled         uint8
	// The answer that came first: what a responder said while the flow's
	// protocol was looked for is given before what it answers.
	early  bool
	kind   tpkt.Kind
	reason uint8
	odd    ics.Odd
}

// tsapLen is how much of a transport selector is kept: SIMATIC-ROOT-HMI and
// such are of 16 bytes.
const tsapLen = 32

// parser is the state of one flow.
type parser struct {
	frames ics.Frames
	joins  [2]tpkt.Assembler
	wait   ics.Waiting[pending]
	call   call
	memory memory
	client proto.Dir
	known  bool // client is certain
	plus   [2]plusSide
	rec    ics.Record
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	for n < len(b) {
		m, used, odd, err := p.frames.Next(&framing, dir, b[n:])
		n += used
		if m == nil || err != nil {
			return n, err
		}
		t, ok := tpkt.Parse(m)
		if !ok {
			continue
		}
		for p.wait.Len() > 0 && now.Sub(p.wait.At(0).at) > patience {
			p.expire(0, out)
		}
		switch t.Kind {
		case tpkt.Connect, tpkt.Confirm, tpkt.Disconnect:
			p.connection(dir, &t, now, odd, out)
		case tpkt.Data:
			if whole, cut, done := p.joins[dir].Add(&t); done && len(whole) > 0 {
				if cut {
					odd |= ics.Truncated
				}
				p.message(dir, whole, now, odd, out)
			}
		}
	}
	return n, nil
}

// Gap says that bytes were lost; see proto.Parser.
func (p *parser) Gap(dir proto.Dir, n int) {
	p.frames.Gap(dir, n)
	p.joins[dir].Reset()
	p.plus[dir].inside = false
}

// End reports what waits.
func (p *parser) End(out *proto.Out) {
	for p.wait.Len() > 0 {
		p.expire(0, out)
	}
	if p.call.open || p.call.early {
		p.emitCall(0, 0, -1, out)
	}
}

// message takes one of S7comm or S7comm-plus.
func (p *parser) message(dir proto.Dir, b []byte, now time.Time, odd ics.Odd, out *proto.Out) {
	if b[0] == magicPlus || p.plus[dir].inside && b[0] != magic {
		p.plusMessage(dir, b, now, odd, out)
		return
	}
	m, ok := parse(b)
	if !ok {
		return // of another protocol, or nothing
	}
	if m.short && odd&ics.Truncated == 0 {
		odd |= ics.LengthMismatch
	}
	asks := m.kind == job || m.kind == userData && m.userType() == request
	if asks && (m.kind == userData || m.function() == setup || m.function() == readVar || m.function() == writeVar) {
		p.settle(dir)
	}
	switch {
	case asks:
		p.ask(pending{at: now, dir: dir, ref: m.ref, fn: uint16(m.function())<<8 | uint16(m.subfunction()), raw: b, odd: odd}, out)
	case m.kind == userData && m.userType() != answer:
		p.emit(&pending{at: now, dir: dir, ref: m.ref, odd: odd}, &m, -1, out)
	default:
		p.answer(dir, &m, now, odd, out)
	}
}

// settle notes who asks: the flow table may have it wrong after a capture that
// began mid-stream.
func (p *parser) settle(dir proto.Dir) {
	if !p.known {
		p.client, p.known = dir, true
	}
}

// ask takes a request, whose bytes are borrowed.
func (p *parser) ask(r pending, out *proto.Out) {
	same := func(q *pending) bool { return q.dir == r.dir && q.plus == r.plus && q.ref == r.ref }
	if i := p.wait.Find(same); i >= 0 {
		p.expire(i, out)
	}
	if p.wait.Len() == maxPending {
		p.wait.At(0).odd |= ics.TooMany
		p.expire(0, out)
	}
	q := p.wait.Add()
	kept := append(q.raw[:0], r.raw[:min(len(r.raw), maxKept)]...)
	*q = r
	q.raw = kept
}

// expire reports request i, which nobody answered.
func (p *parser) expire(i int, out *proto.Out) {
	r := p.wait.At(i)
	if p.frames.Lost {
		r.odd |= ics.CaptureLoss
	} else {
		r.odd |= ics.NoResponse
	}
	if r.plus {
		p.emitPlus(r, nil, -1, out)
	} else {
		p.emit(r, nil, -1, out)
	}
	p.wait.Remove(i)
}

// answer joins a response with its request. Some answer with another number
// than they were asked with; then the oldest request of the function is meant.
func (p *parser) answer(dir proto.Dir, m *message, now time.Time, odd ics.Odd, out *proto.Out) {
	fn := uint16(m.function())<<8 | uint16(m.subfunction())
	ours := func(q *pending) bool { return q.dir != dir && !q.plus }
	i := p.wait.Find(func(q *pending) bool { return ours(q) && q.ref == m.ref })
	if i < 0 && m.kind != ack {
		if i = p.wait.Find(func(q *pending) bool { return ours(q) && q.fn == fn }); i >= 0 {
			odd |= ics.ReferenceMismatch
		}
	}
	if i < 0 {
		if p.frames.Lost {
			odd |= ics.CaptureLoss
		} else {
			odd |= ics.UnsolicitedResponse
		}
		p.emit(&pending{at: now, dir: dir.Flip(), ref: m.ref, odd: odd}, m, -1, out)
		return
	}
	r := p.wait.At(i)
	r.odd |= odd
	if m.kind != ack && r.fn != fn && len(m.param) > 0 {
		r.odd |= ics.FunctionMismatch
	}
	p.emit(r, m, max(now.Sub(r.at), 0), out)
	p.wait.Remove(i)
}
