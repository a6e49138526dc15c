package s7comm

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/ics"
	"github.com/tocsin/tocsin/sensor/proto/tpkt"
)

var rosctrNames = map[uint8]string{job: "job", ack: "ack", ackData: "ack_data", userData: "user_data"}

// emit makes the event of a request and its response. Either may be missing.
func (p *parser) emit(r *pending, response *message, latency time.Duration, out *proto.Out) {
	var asked, none message
	hasRequest := false
	if len(r.raw) > 0 {
		asked, hasRequest = parse(r.raw)
	}
	main := &asked
	if !hasRequest {
		main = response
		if main == nil {
			return // what was asked was cut short, and nobody answered
		}
	}
	reply := response
	if reply == nil {
		reply = &none
	}
	x, known := main.meaning()
	if !known {
		r.odd |= ics.UnknownFunction
	}
	if p.known && p.client == proto.Resp {
		r.odd |= ics.ReversedRoles
	}
	e := &p.rec
	e.Begin(out, "s7comm", x.operation, x.name)
	if main.kind != ack {
		e.Num("ics.function.code", uint64(main.function()))
	}
	e.Num("s7comm.rosctr.code", uint64(main.kind))
	e.Str("s7comm.rosctr.name", rosctrNames[main.kind])
	e.Num("s7comm.reference", uint64(r.ref))
	if hasRequest && response != nil {
		e.Num("s7comm.answer.code", uint64(response.kind))
	}

	done := false
	switch {
	case main.kind == userData && main.userType() == pushed:
		done = true
	case response == nil:
		e.Str("event.outcome", "unknown")
	default:
		code, name := reply.result()
		done = code == 0
		e.Outcome(uint64(code), name, latency)
	}
	if !done {
		reply = &none
	}
	switch {
	case main.kind == userData:
		p.userContent(r, main, &asked, reply)
	default:
		p.jobContent(r, main, &asked, reply)
	}
	e.Emit(r.at, r.odd)
}

// result is what a response says of the whole: 0 is success.
func (m *message) result() (code uint16, name string) {
	if m.kind == userData {
		if len(m.param) >= 12 {
			code = u16(m.param[10:])
		}
		if code == 0 && len(m.data) > 0 && m.data[0] != itemDone && m.data[0] != 0 {
			// 0x0a with nothing behind it answers what has no content.
			if c := m.data[0]; c != 0x0a {
				return uint16(c), returnName(c)
			}
		}
		return code, statusName(code)
	}
	if m.status != 0 {
		return m.status, statusName(m.status)
	}
	// All items of a read or write refused: nothing was done.
	switch {
	case len(m.param) < 2 || m.param[1] == 0:
	case m.function() == writeVar:
		for i, c := range m.data[:min(int(m.param[1]), len(m.data))] {
			if c == itemDone {
				return 0, ""
			}
			if i == 0 {
				code = uint16(c)
			}
		}
	case m.function() == readVar:
		b := m.data
		for i := range int(m.param[1]) {
			v, rest, ok := nextItem(b)
			if !ok {
				break
			}
			if v.code == itemDone {
				return 0, ""
			}
			if i == 0 {
				code = uint16(v.code)
			}
			b = rest
		}
	}
	return code, returnName(uint8(code))
}

// jobContent adds what a job is about. reply is empty unless it was done.
func (p *parser) jobContent(r *pending, main, asked, reply *message) {
	e := &p.rec
	switch main.function() {
	case setup:
		said := asked.param
		if len(reply.param) >= 8 {
			said = reply.param // what they agreed on
		}
		if len(said) >= 8 {
			e.Num("s7comm.jobs.calling", uint64(u16(said[2:])))
			e.Num("s7comm.jobs.called", uint64(u16(said[4:])))
			e.Num("s7comm.pdu_length", uint64(u16(said[6:])))
		}
	case readVar:
		p.read(r, asked, reply)
	case writeVar:
		p.write(r, asked, reply)
	case requestDownload, downloadBlock, downloadEnded, startUpload, upload, endUpload:
		p.transfer(main, reply)
	case invoke, plcStop:
		e.Text("s7comm.service", main.service())
		if len(main.service()) == 0 {
			r.odd |= ics.LengthMismatch
		}
		arg := main.argument()
		if x, _ := main.meaning(); x.operation == "program" {
			e.List("s7comm.blocks", p.blockList(arg))
		}
		e.Text("s7comm.argument", arg)
		switch {
		case main.function() == plcStop:
			e.Str("s7comm.device.state", "stop")
		case string(main.service()) == "P_PROGRAM":
			e.Str("s7comm.device.state", "run")
		}
	default:
		if len(main.param) > 1 {
			e.Hex("s7comm.data", main.param[1:])
		}
	}
}

// service is the name of a program invocation service, or of what stops one.
func (m *message) service() []byte {
	b := m.param
	switch {
	case m.function() == plcStop && len(b) >= 7:
		b = b[6:]
	case m.function() == invoke && len(b) >= 10:
		skip := 10 + int(u16(b[8:]))
		if skip >= len(b) {
			return nil
		}
		b = b[skip:]
	default:
		return nil
	}
	return b[1:min(1+int(b[0]), len(b))]
}

// argument is that of a program invocation service.
func (m *message) argument() []byte {
	b := m.param
	if m.function() != invoke || len(b) < 10 {
		return nil
	}
	return b[10:min(10+int(u16(b[8:])), len(b))]
}

// blockTypes are those of the two digits that stand for one.
func blockType(b []byte) string {
	if len(b) == 2 && b[0] == '0' {
		switch b[1] {
		case '8':
			return "OB"
		case '9':
			return "CMOD"
		case 'A':
			return "DB"
		case 'B':
			return "SDB"
		case 'C':
			return "FC"
		case 'D':
			return "SFC"
		case 'E':
			return "FB"
		case 'F':
			return "SFB"
		}
	}
	return ""
}

// blockList reads the blocks that a service is told: their number, a zero, and
// of each two digits of type, five of number and a letter.
func (p *parser) blockList(arg []byte) []event.Value {
	if len(arg) < 2 {
		return nil
	}
	n := int(arg[0])
	list := p.rec.Out.Values(min(n, (len(arg)-2)/8))
	for b := arg[2:]; len(b) >= 8 && len(list) < n; b = b[8:] {
		if v := p.block(b[:8]); !v.IsZero() {
			list = append(list, v)
		}
	}
	return list
}

// block reads one: "0A00001P" is the passive DB 1.
func (p *parser) block(b []byte, more ...event.Field) event.Value {
	if len(b) < 7 {
		return event.Value{}
	}
	kind := blockType(b[:2])
	number, ok := digits(b[2:7])
	if kind == "" || !ok {
		return event.Value{}
	}
	fields := append(p.rec.Out.Fields(3+len(more)),
		event.Field{Name: "type", Value: event.Str(kind)}, event.Field{Name: "number", Value: event.Int(int64(number))})
	if len(b) > 7 && b[7] >= 'A' && b[7] <= 'Z' {
		fields = append(fields, event.Field{Name: "filesystem", Value: p.rec.Out.Str(b[7:8])})
	}
	return event.Object(append(fields, more...)...)
}

func digits(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, len(b) > 0
}

// transfer adds what is said of a block that goes up or down.
func (p *parser) transfer(main, reply *message) {
	e := &p.rec
	b := main.param
	if len(b) >= 8 {
		id := binary.BigEndian.Uint32(b[4:])
		if main.function() == startUpload && len(reply.param) >= 8 {
			id = binary.BigEndian.Uint32(reply.param[4:])
		}
		e.Num("s7comm.transfer", uint64(id))
	}
	if len(b) >= 9 {
		name := b[9:min(9+int(b[8]), len(b))]
		rest := b[9+len(name):]
		if len(name) >= 8 && name[0] == '_' {
			var length []event.Field
			if len(rest) >= 14 && main.function() == requestDownload {
				if n, ok := digits(rest[2:8]); ok {
					length = append(p.rec.Out.Fields(1), event.Field{Name: "length", Value: event.Int(int64(n))})
				}
			}
			if v := p.block(name[1:], length...); !v.IsZero() {
				e.List("s7comm.blocks", append(e.Out.Values(1), v))
			}
		}
	}
	switch main.function() {
	case startUpload:
		if b := reply.param; len(b) > 9 {
			if n, ok := digits(b[9:min(9+int(b[8]), len(b))]); ok {
				e.Num("s7comm.length", uint64(n))
			}
		}
	case upload, downloadBlock:
		if len(reply.data) >= 4 {
			e.Num("s7comm.length", uint64(u16(reply.data)))
		}
	}
}

// Areas of memory.
var areas = map[uint8]string{
	0x03: "SI", 0x05: "SF", 0x06: "AI", 0x07: "AQ", 0x80: "P", 0x81: "I", 0x82: "Q", 0x83: "M", 0x84: "DB", 0x85: "DI", 0x86: "L", 0x87: "V",
	0x1c: "C", 0x1d: "T", 0x1e: "C200", 0x1f: "T200",
}

const (
	areaDB       = 0x84
	areaDI       = 0x85
	areaCounter  = 0x1c
	areaTimer    = 0x1d
	areaCounter2 = 0x1e
	areaTimer2   = 0x1f
)

// size is one of the transport sizes of an item: how a value is read.
type size struct {
	name   string
	bytes  uint8
	letter byte // in the name of an object
}

const (
	typeBit  = 1
	typeReal = 8
	typeInt  = 5
	typeDInt = 7
	typeTime = 0x0b
)

var sizes = map[uint8]size{
	typeBit: {"BIT", 1, 'X'}, 2: {"BYTE", 1, 'B'}, 3: {"CHAR", 1, 'B'}, 4: {"WORD", 2, 'W'}, typeInt: {"INT", 2, 'W'}, 6: {"DWORD", 4, 'D'},
	typeDInt: {"DINT", 4, 'D'}, typeReal: {"REAL", 4, 'D'}, 9: {"DATE", 2, 'W'}, 0xa: {"TIME_OF_DAY", 4, 'D'}, typeTime: {"TIME", 4, 'D'},
	0xc: {"S5TIME", 2, 'W'}, 0xf: {"DATE_AND_TIME", 8, 'B'}, 0x1c: {"COUNTER", 2, 0}, 0x1d: {"TIMER", 2, 0},
	0x1e: {"IEC_TIMER", 2, 0}, 0x1f: {"IEC_COUNTER", 2, 0}, 0x20: {"HS_COUNTER", 2, 0},
}

// item is what a read or write names.
type item struct {
	kind  uint8 // transport size
	count uint16
	db    uint16
	area  uint8
	addr  uint32 // of the byte; of timers and counters the number
	bit   uint8
	any   bool // of the form that all of this is said in
	raw   []byte
}

// syntaxAny is the form of an item that names area, address and type.
const syntaxAny = 0x10

// nextName reads an item of a request.
func nextName(b []byte) (x item, rest []byte, ok bool) {
	if len(b) < 3 || len(b) < 2+int(b[1]) || b[1] == 0 {
		return x, nil, false
	}
	x.raw = b[2 : 2+int(b[1])]
	rest = b[2+len(x.raw):]
	if v := x.raw; v[0] == syntaxAny && len(v) == 10 {
		x.any = true
		x.kind, x.count, x.db, x.area = v[1], u16(v[2:]), u16(v[4:]), v[6]
		a := uint32(v[7])<<16 | uint32(v[8])<<8 | uint32(v[9])
		switch x.area {
		case areaCounter, areaTimer, areaCounter2, areaTimer2:
			x.addr = a
		default:
			x.addr, x.bit = a>>3, uint8(a&7)
		}
	}
	// Items begin at even places.
	if len(x.raw)%2 == 1 && len(rest) > 0 && rest[0] == 0 {
		rest = rest[1:]
	}
	return x, rest, true
}

// data is what a response, or a write, says of an item.
type data struct {
	code uint8
	raw  []byte
}

// nextItem reads the data of an item.
func nextItem(b []byte) (d data, rest []byte, ok bool) {
	if len(b) < 4 {
		if len(b) > 0 {
			return data{code: b[0]}, nil, true
		}
		return d, nil, false
	}
	n := int(u16(b[2:]))
	switch b[1] {
	case 3, 4, 5: // bits
		n = (n + 7) / 8
	}
	d.code, d.raw = b[0], b[4:min(4+n, len(b))]
	rest = b[4+len(d.raw):]
	if n%2 == 1 && len(rest) > 0 {
		rest = rest[1:]
	}
	return d, rest, true
}

// name is that of an object, as engineers write it: DB1.DBW4, M0.3, T5.
func (p *parser) name(x *item, addr uint32) event.Value {
	b := p.rec.Out.Bytes(32)
	s := sizes[x.kind]
	number := func(n uint32) { b = strconv.AppendUint(b, uint64(n), 10) }
	area := areas[x.area]
	if area == "" {
		return event.Value{}
	}
	switch x.area {
	case areaDB, areaDI:
		b = append(b, area...)
		number(uint32(x.db))
		b = append(b, '.')
		b = append(b, area...)
		if s.letter != 0 {
			b = append(b, s.letter)
		}
	case areaCounter, areaTimer, areaCounter2, areaTimer2:
		b = append(b, area...)
	default:
		b = append(b, area...)
		if s.letter != 'X' && s.letter != 0 {
			b = append(b, s.letter)
		}
	}
	number(addr)
	if x.kind == typeBit {
		b = append(b, '.')
		number(uint32(x.bit))
	}
	return event.Own(b)
}

// value reads one; of 8 bytes there is no number.
func (p *parser) value(kind uint8, b []byte) event.Value {
	s := sizes[kind]
	if len(b) < int(s.bytes) {
		return event.Value{}
	}
	switch s.bytes {
	case 1:
		if kind == typeBit {
			return event.Int(int64(b[0] & 1))
		}
		return event.Int(int64(b[0]))
	case 2:
		if kind == typeInt {
			return event.Int(int64(int16(u16(b))))
		}
		return event.Int(int64(u16(b)))
	case 4:
		n := binary.BigEndian.Uint32(b)
		switch kind {
		case typeReal:
			f := float64(math.Float32frombits(n))
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return event.Value{}
			}
			return event.Float(f)
		case typeDInt, typeTime:
			return event.Int(int64(int32(n)))
		}
		return event.Int(int64(n))
	}
	return event.Value{}
}

// stretch is how many values follow each other in b, of those that x names.
func (x *item) stretch(b []byte) int {
	s := int(sizes[x.kind].bytes)
	if s == 0 {
		return 0
	}
	return min(int(x.count), len(b)/s)
}

// object adds an entry for an item, or a run of it.
func (p *parser) object(x *item, addr uint32, more ...event.Field) bool {
	fields := append(p.rec.Out.Fields(7+len(more)), event.Field{Name: "name", Value: p.name(x, addr)})
	if area := areas[x.area]; area != "" {
		fields = append(fields, event.Field{Name: "area", Value: event.Str(area)})
	}
	if x.area == areaDB || x.area == areaDI {
		fields = append(fields, event.Field{Name: "db", Value: event.Int(int64(x.db))})
	}
	fields = append(fields, event.Field{Name: "address", Value: event.Int(int64(addr))})
	if x.kind == typeBit {
		fields = append(fields, event.Field{Name: "bit", Value: event.Int(int64(x.bit))})
	}
	if s := sizes[x.kind].name; s != "" {
		fields = append(fields, event.Field{Name: "type", Value: event.Str(s)})
	}
	return p.rec.Object(append(fields, more...)...)
}

// strange adds an item that is of another form.
func (p *parser) strange(x *item) {
	p.rec.Object(event.Field{Name: "type", Value: event.Str("syntax_" + strconv.FormatUint(uint64(x.raw[0]), 16))},
		event.Field{Name: "text", Value: p.rec.HexValue(x.raw)})
}

// read lists what was read, an entry for each item, and remembers it.
func (p *parser) read(r *pending, asked, reply *message) {
	if len(asked.param) < 2 {
		// The names are lost; values without them say nothing.
		if len(reply.param) >= 2 {
			p.rec.Num("s7comm.items", uint64(reply.param[1]))
		}
		return
	}
	n := int(asked.param[1])
	p.rec.Num("s7comm.items", uint64(n))
	names, values := asked.param[2:], reply.data
	for range n {
		x, rest, ok := nextName(names)
		if !ok {
			r.odd |= ics.LengthMismatch
			return
		}
		names = rest
		var d data
		answered := false
		if len(values) > 0 {
			d, values, answered = nextItem(values)
		}
		if !x.any {
			p.strange(&x)
			continue
		}
		var more [3]event.Field
		m := more[:0]
		if x.count > 1 {
			m = append(m, event.Field{Name: "count", Value: event.Int(int64(x.count))})
		}
		switch {
		case answered && d.code != itemDone:
			m = append(m, event.Field{Name: "status", Value: event.Str(returnName(d.code))})
		case answered:
			m = append(m, event.Field{Name: "value", Value: p.values(&x, d.raw)})
			p.remember(&x, d.raw)
		}
		p.object(&x, x.addr, m...)
	}
}

// remember keeps the values of an item.
func (p *parser) remember(x *item, raw []byte) {
	switch {
	case x.area < 0x80:
	case x.kind == typeBit:
		if len(raw) > 0 {
			p.memory.set(x.area, x.db, x.addr, []byte{raw[0] & 1 << x.bit}, 1<<x.bit)
		}
	default:
		p.memory.set(x.area, x.db, x.addr, raw[:x.stretch(raw)*int(sizes[x.kind].bytes)], 0xff)
	}
}

// values are those of an item: a number, or a list of at most ics.MaxObjects.
func (p *parser) values(x *item, raw []byte) event.Value {
	n := x.stretch(raw)
	if n == 0 {
		return event.Value{}
	}
	if n == 1 {
		return p.value(x.kind, raw)
	}
	n = min(n, ics.MaxObjects)
	list := p.rec.Out.Values(n)
	s := int(sizes[x.kind].bytes)
	for i := range n {
		if v := p.value(x.kind, raw[i*s:]); !v.IsZero() {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return event.Value{}
	}
	return event.List(list...)
}

// write lists what was to be written one by one, with what was there; what the
// device took is remembered.
func (p *parser) write(r *pending, asked, reply *message) {
	if len(asked.param) < 2 {
		if len(reply.param) >= 2 {
			p.rec.Num("s7comm.items", uint64(reply.param[1]))
		}
		return
	}
	n := int(asked.param[1])
	p.rec.Num("s7comm.items", uint64(n))
	names, values := asked.param[2:], asked.data
	for i := range n {
		x, rest, ok := nextName(names)
		if !ok {
			r.odd |= ics.LengthMismatch
			return
		}
		names = rest
		d, more, ok := nextItem(values)
		if !ok {
			r.odd |= ics.LengthMismatch
		}
		values = more
		if !x.any {
			p.strange(&x)
			continue
		}
		var status event.Value
		done := false
		if i < len(reply.data) {
			if done = reply.data[i] == itemDone; !done {
				status = event.Str(returnName(reply.data[i]))
			}
		}
		p.writeItem(&x, d.raw, status)
		if done {
			p.remember(&x, d.raw)
		}
	}
}

func (p *parser) writeItem(x *item, raw []byte, status event.Value) {
	s := int(sizes[x.kind].bytes)
	var old [8]byte
	for i := range x.stretch(raw) {
		addr := x.addr + uint32(i*s)
		if x.area < 0x80 {
			addr = x.addr + uint32(i)
		}
		var was event.Value
		switch {
		case x.area < 0x80:
		case x.kind == typeBit:
			if p.memory.get(x.area, x.db, addr, old[:1], 1<<x.bit) {
				was = event.Int(int64(old[0] >> x.bit & 1))
			}
		case p.memory.get(x.area, x.db, addr, old[:s], 0xff):
			was = p.value(x.kind, old[:s])
		}
		if !p.object(x, addr, event.Field{Name: "value", Value: p.value(x.kind, raw[i*s:])}, event.Field{Name: "old_value", Value: was},
			event.Field{Name: "status", Value: status}) {
			return
		}
	}
}

// userContent adds what user data is about. reply is empty unless it was done.
func (p *parser) userContent(r *pending, main, asked, reply *message) {
	e := &p.rec
	group, sub := main.function()&0xf, main.subfunction()
	e.Num("s7comm.group.code", uint64(group))
	e.Str("s7comm.group.name", groupNames[group])
	e.Num("s7comm.subfunction.code", uint64(sub))
	question, text := payload(asked.data), payload(reply.data)
	follows := false
	if len(reply.param) >= 10 {
		follows = len(asked.param) >= 12 // a request for the rest of an answer
	}
	switch {
	case group == groupSecurity:
		// What is here is a password: it goes no further.
	case group == groupCPU && sub == readSZL:
		p.szl(r, question, text, follows)
	case group == groupTime:
		said := text
		if sub == setClock || sub == setClockFollow {
			said = question
		}
		if at, ok := bcdTime(said); ok {
			e.Add("s7comm.time", event.Time(at))
		} else if len(said) > 0 {
			r.odd |= ics.InvalidValue
		}
	case group == groupBlock && sub == listBlocks:
		list := e.Out.Values(8)
		for b := text; len(b) >= 4 && len(list) < 16; b = b[4:] {
			if kind := blockType(b[:2]); kind != "" {
				list = append(list, event.Object(append(e.Fields(2), event.Field{Name: "type", Value: event.Str(kind)},
					event.Field{Name: "count", Value: event.Int(int64(u16(b[2:])))})...))
			}
		}
		e.List("s7comm.blocks", list)
	case group == groupBlock && sub == listBlocksOf:
		kind := ""
		if len(question) >= 2 {
			kind = blockType(question[:2])
		}
		if kind == "" {
			break
		}
		list := e.Out.Values(min(len(text)/4, ics.MaxObjects))
		for b := text; len(b) >= 4 && len(list) < ics.MaxObjects; b = b[4:] {
			list = append(list, event.Object(append(e.Fields(2), event.Field{Name: "type", Value: event.Str(kind)},
				event.Field{Name: "number", Value: event.Int(int64(u16(b)))})...))
		}
		if len(list) == 0 {
			list = append(list, event.Object(append(e.Fields(1), event.Field{Name: "type", Value: event.Str(kind)})...))
		}
		e.List("s7comm.blocks", list)
	case group == groupBlock && sub == blockInfo:
		p.blockInfo(question, text)
	default:
		if len(question) > 0 {
			e.Hex("s7comm.data", question)
		}
		if len(text) > 0 {
			e.Hex("s7comm.response_data", text)
		}
	}
}

// payload is the content of user data behind return code, type and length.
func payload(b []byte) []byte {
	if len(b) < 4 {
		return nil
	}
	return b[4:min(4+int(u16(b[2:])), len(b))]
}

// szl reads a system status list. Of one that comes in several answers only the
// first says which it is.
func (p *parser) szl(r *pending, question, text []byte, follows bool) {
	e := &p.rec
	if len(question) < 4 && (follows || len(text) < 8) {
		return
	}
	id, index := uint16(0), uint16(0)
	if len(question) >= 4 {
		id, index = u16(question), u16(question[2:])
	} else {
		id, index = u16(text), u16(text[2:])
	}
	e.Num("s7comm.szl.id", uint64(id))
	e.Num("s7comm.szl.index", uint64(index))
	if len(text) < 8 || follows {
		return
	}
	length, count := int(u16(text[4:])), int(u16(text[6:]))
	e.Num("s7comm.szl.entries", uint64(count))
	if length == 0 {
		return
	}
	seen := [6]bool{}
	once := func(n int, name string, b []byte) {
		if b = trim(b); len(b) > 0 && !seen[n] {
			seen[n] = true
			e.Text(name, b)
		}
	}
	for b := text[8:]; len(b) >= length && count > 0; b, count = b[length:], count-1 {
		entry := b[:length]
		switch {
		case id&0xff == 0x11 && length >= 28:
			switch u16(entry) {
			case 1:
				once(0, "s7comm.device.model", entry[2:22])
			case 7:
				if !seen[1] {
					seen[1] = true
					v := e.Out.Bytes(12)
					v = append(v, 'V')
					for i, c := range [3]byte{entry[25], entry[26], entry[27]} {
						if i > 0 {
							v = append(v, '.')
						}
						v = strconv.AppendUint(v, uint64(c), 10)
					}
					e.Add("s7comm.device.version", event.Own(v))
				}
			}
		case id&0xff == 0x1c && length >= 34:
			switch u16(entry) {
			case 1:
				once(0, "s7comm.device.name", entry[2:34])
			case 2:
				once(1, "s7comm.device.module", entry[2:34])
			case 3:
				once(2, "s7comm.device.plant", entry[2:34])
			case 4:
				once(3, "s7comm.device.vendor", entry[2:34])
			case 5:
				once(4, "s7comm.device.serial", entry[2:34])
			case 7:
				once(5, "s7comm.device.model", entry[2:34])
			}
		case id&0xff == 0x24 && length >= 4 && !seen[0]:
			seen[0] = true
			e.Str("s7comm.device.state", stateNames[entry[3]&0xf])
		}
	}
}

// stateNames are those of the operating states in system status list 0x24.
var stateNames = [16]string{
	1: "stop", 2: "stop", 3: "stop", 4: "stop", 5: "startup", 6: "startup", 7: "startup", 8: "run", 9: "run_redundant", 10: "hold",
	11: "link_up", 12: "update", 13: "defect", 14: "self_test", 15: "no_power",
}

// blockInfo reads what is asked and said of a block.
func (p *parser) blockInfo(question, b []byte) {
	e := &p.rec
	var more []event.Field
	if len(b) >= 78 {
		more = e.Fields(7)
		text := func(name string, b []byte) {
			if b = trim(b); len(b) > 0 {
				more = append(more, event.Field{Name: name, Value: e.Out.Text(b)})
			}
		}
		more = append(more, event.Field{Name: "length", Value: event.Uint(uint64(binary.BigEndian.Uint32(b[14:])))},
			event.Field{Name: "checksum", Value: event.Int(int64(u16(b[68:])))})
		// Milliseconds of the day, and days since 1984.
		if ms, days := binary.BigEndian.Uint32(b[22:]), u16(b[26:]); days > 0 && ms < 86_400_000 {
			at := time.Date(1984, 1, 1+int(days), 0, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
			more = append(more, event.Field{Name: "modified", Value: event.Time(at)})
		}
		text("author", b[42:50])
		text("family", b[50:58])
		text("name", b[58:66])
		v := strconv.AppendUint(e.Out.Bytes(8), uint64(b[66]>>4), 10)
		v = strconv.AppendUint(append(v, '.'), uint64(b[66]&15), 10)
		more = append(more, event.Field{Name: "version", Value: event.Own(v)})
	}
	if v := p.block(question, more...); !v.IsZero() {
		e.List("s7comm.blocks", append(e.Out.Values(1), v))
	}
}

// bcdTime reads a clock: a zero, the century, then DATE_AND_TIME.
func bcdTime(b []byte) (t time.Time, ok bool) {
	if len(b) < 10 {
		return t, false
	}
	var d [8]int
	for i := range d {
		hi, lo := b[2+i]>>4, b[2+i]&15
		if hi > 9 || lo > 9 && i < 7 {
			return t, false
		}
		d[i] = int(hi)*10 + int(lo)
	}
	year := 2000 + d[0]
	if d[0] >= 90 {
		year = 1900 + d[0]
	}
	if d[1] < 1 || d[1] > 12 || d[2] < 1 || d[2] > 31 || d[3] > 23 || d[4] > 59 || d[5] > 59 {
		return t, false
	}
	ms := d[6]*10 + int(b[9]>>4)
	return time.Date(year, time.Month(d[1]), d[2], d[3], d[4], d[5], ms*1e6, time.UTC), true
}

// trim takes zeros and blanks off the ends.
func trim(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return bytes.TrimSpace(b)
}

// connection takes the making and refusing of a transport connection.
func (p *parser) connection(dir proto.Dir, t *tpkt.PDU, now time.Time, odd ics.Odd, out *proto.Out) {
	c := &p.call
	switch {
	case t.Kind == tpkt.Connect:
		if c.open || c.early && c.dir != dir {
			p.emitCall(0, 0, -1, out)
		}
		p.settle(dir)
		early := *c
		*c = call{at: now, open: true, dir: dir, odd: odd}
		c.ncalling = uint8(copy(c.calling[:], t.Calling))
		c.ncalled = uint8(copy(c.called[:], t.Called))
		if early.early {
			c.odd |= early.odd
			p.emitCall(early.kind, early.reason, -1, out)
		}
	case c.open && dir != c.dir:
		p.emitCall(t.Kind, t.Reason, max(now.Sub(c.at), 0), out)
	case t.Kind == tpkt.Confirm:
		if c.early {
			p.emitCall(0, 0, -1, out)
		}
		*c = call{at: now, dir: dir.Flip(), odd: odd, early: true, kind: t.Kind, reason: t.Reason}
		c.ncalling = uint8(copy(c.calling[:], t.Calling))
		c.ncalled = uint8(copy(c.called[:], t.Called))
	}
	// Any other is the end of a connection that was made.
}

// emitCall makes the event of a connection; the kind of the answer is 0 if
// nobody answered. A negative latency is not known.
func (p *parser) emitCall(kind tpkt.Kind, reason uint8, latency time.Duration, out *proto.Out) {
	c, e := &p.call, &p.rec
	if p.known && p.client == proto.Resp {
		c.odd |= ics.ReversedRoles
	}
	if c.early { // the question was never seen
		kind, reason = c.kind, c.reason
		if p.frames.Lost {
			c.odd |= ics.CaptureLoss
		} else {
			c.odd |= ics.UnsolicitedResponse
		}
	}
	e.Begin(out, "s7comm", "session", "connect")
	switch kind {
	case 0:
		e.Str("event.outcome", "unknown")
		if p.frames.Lost {
			c.odd |= ics.CaptureLoss
		} else {
			c.odd |= ics.NoResponse
		}
	case tpkt.Confirm:
		e.Outcome(0, "", latency)
	default:
		e.Outcome(uint64(max(reason, 1)), "connection_refused", latency)
	}
	e.Add("s7comm.tsap.calling", p.selector(c.calling[:c.ncalling]))
	called := c.called[:c.ncalled]
	e.Add("s7comm.tsap.called", p.selector(called))
	if len(called) == 2 && called[0] != 0 {
		e.Str("s7comm.connection_type", [...]string{1: "pg", 2: "op", 3: "basic", 4: ""}[min(called[0], 4)])
		e.Num("s7comm.rack", uint64(called[1]>>5))
		e.Num("s7comm.slot", uint64(called[1]&0x1f))
	}
	at, odd := c.at, c.odd
	*c = call{}
	e.Emit(at, odd)
}

// selector writes a transport selector: some are text.
func (p *parser) selector(b []byte) event.Value {
	if len(b) == 0 {
		return event.Value{}
	}
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return p.rec.HexValue(b)
		}
	}
	return p.rec.Out.Text(b)
}

func u16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
