package bacnet

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/ics"
)

func named(list []meaning, i uint8) (x meaning, known bool) {
	if int(i) < len(list) && list[i].name != "" {
		return list[i], true
	}
	return meaning{"unknown", ""}, false
}

func word(list []string, i uint64) string {
	if i < uint64(len(list)) {
		return list[i]
	}
	return "other"
}

// meaning gives name and operation of a message.
func (m *message) meaning(service uint8) (x meaning, known bool) {
	switch {
	case !m.apdu && m.network < 0:
		return named(links[:], m.link)
	case !m.apdu:
		if x, known = networkMessages[m.network]; !known {
			x.name = "unknown"
		}
		return x, known
	case m.pdu == unconfirmed:
		return named(unconfirmedServices[:], m.service)
	}
	return named(confirmedServices[:], service)
}

// emit makes the event of a request and its answer. Either may be missing.
func (p *parser) emit(r *pending, asked, answer *message, latency time.Duration, out *proto.Out) {
	main := asked
	if main == nil {
		main = answer
	}
	service := main.service
	if main.pdu == rejected || main.pdu == aborted {
		service = 0xff // of an answer whose request was not seen
	}
	x, known := main.meaning(service)
	if !known && service != 0xff {
		r.odd |= ics.UnknownFunction
	}
	e := &p.rec
	e.Begin(out, "bacnet", x.operation, x.name)
	switch {
	case main.apdu && service != 0xff:
		e.Num("ics.function.code", uint64(service))
	case main.network >= 0:
		e.Num("ics.function.code", uint64(main.network))
	case !main.apdu:
		e.Num("ics.function.code", uint64(main.link))
	}
	e.Num("bacnet.bvlc.code", uint64(main.link))
	e.Str("bacnet.bvlc.name", links[main.link].name)
	switch {
	case main.apdu:
		e.Str("bacnet.pdu", pduNames[main.pdu])
	case main.network >= 0:
		e.Str("bacnet.pdu", "network")
	default:
		e.Str("bacnet.pdu", "link")
	}
	if main.apdu && main.pdu != unconfirmed {
		e.Num("bacnet.invoke_id", uint64(main.invoke))
	}
	if r.segments > 0 {
		e.Num("bacnet.segments", uint64(r.segments))
	}
	p.route(main)
	done := false
	switch {
	case !main.apdu:
		if main.link == linkResult && main.network < 0 && len(main.body) >= 2 {
			code := uint64(binary.BigEndian.Uint16(main.body))
			e.Outcome(code, "refused", -1)
		}
	case main.pdu == unconfirmed:
		done = true
	case answer == nil:
		e.Str("event.outcome", "unknown")
	case answer.pdu == simpleAck || answer.pdu == complexAck:
		done = true
		e.Outcome(0, "", latency)
	default:
		p.refusal(answer, latency)
	}
	if !main.apdu {
		p.linkContent(main)
	} else if main.pdu == unconfirmed {
		p.announcement(r, main)
	} else if service != 0xff {
		p.content(r, asked, answer, service, done)
	}
	e.Emit(r.at, r.odd)
}

// route adds where a message comes from and goes to beyond the datagram.
func (p *parser) route(m *message) {
	e := &p.rec
	if len(m.origin) == 6 {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.origin)), binary.BigEndian.Uint16(m.origin[4:]))
		e.Add("bacnet.origin", event.Own(at.AppendTo(e.Out.Bytes(24))))
	}
	if m.hasDNET {
		e.Num("bacnet.destination.network", uint64(m.dnet))
		e.Hex("bacnet.destination.address", m.dadr)
	}
	if m.hasSNET {
		e.Num("bacnet.source.network", uint64(m.snet))
		e.Hex("bacnet.source.address", m.sadr)
	}
}

// refusal adds an error, reject or abort (20.1.7 to 20.1.9).
func (p *parser) refusal(m *message, latency time.Duration) {
	e := &p.rec
	switch m.pdu {
	case rejected:
		e.Outcome(uint64(m.service)+1, word(rejectReasons[:], uint64(m.service)), latency)
		return
	case aborted:
		e.Outcome(uint64(m.service)+1, word(abortReasons[:], uint64(m.service)), latency)
		return
	}
	// Some services wrap class and code in a context tag.
	b := m.data
	var codes [2]uint64
	n := 0
	for len(b) > 0 && n < 2 {
		t, ok := next(&b)
		if !ok {
			break
		}
		if !t.context && t.number == 9 {
			codes[n] = unsigned(t.data)
			n++
		}
	}
	e.Num("bacnet.error.class", codes[0])
	name := errorCodes[codes[1]]
	if name == "" {
		name = "error"
	}
	e.Outcome(max(codes[1], 1), name, latency)
}

// linkContent adds what a message of the link or network layer is about.
func (p *parser) linkContent(m *message) {
	e, b := &p.rec, m.body
	switch {
	case m.network == 0x01 || m.network == 0x00 || m.network == 0x13:
		if len(b) >= 2 && !m.hasDNET {
			e.Num("bacnet.destination.network", uint64(binary.BigEndian.Uint16(b)))
		}
	case m.network >= 0:
	case m.link == registerF && len(b) >= 2:
		e.Num("bacnet.lifetime", uint64(binary.BigEndian.Uint16(b)))
	case m.link == 0x01 || m.link == 0x03 || m.link == 0x07:
		e.Num("bacnet.entries", uint64(len(b)/10))
	}
}

// tag is one with what it holds (20.2.1).
type tag struct {
	number        uint8
	context       bool
	open, closing bool
	length        int // of a boolean its value
	data          []byte
}

// next takes a tag off b.
func next(b *[]byte) (t tag, ok bool) {
	s := *b
	if len(s) == 0 {
		return t, false
	}
	c := s[0]
	t.number, t.context = c>>4, c&8 != 0
	s = s[1:]
	if t.number == 15 {
		if len(s) == 0 {
			return t, false
		}
		t.number, s = s[0], s[1:]
	}
	n := int(c & 7)
	switch {
	case t.context && n == 6:
		t.open = true
		*b = s
		return t, true
	case t.context && n == 7:
		t.closing = true
		*b = s
		return t, true
	case !t.context && t.number == 1: // a boolean, which the length is the value of
		t.length = n
		*b = s
		return t, true
	case n == 5:
		if len(s) == 0 {
			return t, false
		}
		n, s = int(s[0]), s[1:]
		switch {
		case n == 254 && len(s) >= 2:
			n, s = int(binary.BigEndian.Uint16(s)), s[2:]
		case n == 255 && len(s) >= 4:
			n, s = int(binary.BigEndian.Uint32(s)), s[4:]
		case n >= 254:
			return t, false
		}
	}
	if n < 0 || n > len(s) {
		return t, false
	}
	t.length, t.data = n, s[:n]
	*b = s[n:]
	return t, true
}

func unsigned(b []byte) (n uint64) {
	for _, c := range b[:min(len(b), 8)] {
		n = n<<8 | uint64(c)
	}
	return n
}

// identifier reads the type and instance of an object.
func identifier(b []byte) (typ, instance uint32, ok bool) {
	if len(b) != 4 {
		return 0, 0, false
	}
	n := binary.BigEndian.Uint32(b)
	return n >> 22, n & 0x3fffff, true
}

func appendType(b []byte, typ uint32) []byte {
	if int(typ) < len(objectTypes) {
		return append(b, objectTypes[typ]...)
	}
	return strconv.AppendUint(append(b, "type_"...), uint64(typ), 10)
}

func appendProperty(b []byte, property uint32) []byte {
	if name := properties[property]; name != "" {
		return append(b, name...)
	}
	return strconv.AppendUint(append(b, "property_"...), uint64(property), 10)
}

// value reads an application tag (20.2): a number, or a text.
func (p *parser) value(t *tag) (v, text event.Value) {
	switch t.number {
	case 0:
		return v, event.Str("null")
	case 1:
		return event.Int(int64(min(t.length, 1))), text
	case 2, 9:
		return event.Uint(unsigned(t.data)), text
	case 3:
		n := int64(unsigned(t.data))
		if len(t.data) > 0 && len(t.data) < 8 && t.data[0]&0x80 != 0 {
			n -= 1 << (8 * len(t.data))
		}
		return event.Int(n), text
	case 4:
		if len(t.data) == 4 {
			if f := float64(math.Float32frombits(binary.BigEndian.Uint32(t.data))); !math.IsNaN(f) && !math.IsInf(f, 0) {
				return event.Float(f), text
			}
		}
	case 5:
		if len(t.data) == 8 {
			if f := math.Float64frombits(binary.BigEndian.Uint64(t.data)); !math.IsNaN(f) && !math.IsInf(f, 0) {
				return event.Float(f), text
			}
		}
	case 7:
		if len(t.data) > 1 { // behind the character set
			return v, p.rec.Out.Text(t.data[1:min(len(t.data), ics.MaxText)])
		}
	case 12:
		if typ, instance, ok := identifier(t.data); ok {
			b := append(appendType(p.rec.Out.Bytes(48), typ), ',')
			return v, event.Own(strconv.AppendUint(b, uint64(instance), 10))
		}
	default:
		if len(t.data) > 0 {
			return v, p.rec.HexValue(t.data)
		}
	}
	return v, text
}

// found is what is known of an object while its tags are read.
type found struct {
	typ, instance, property, index, weight uint32
	hasObject, hasProperty, hasIndex       bool
	hasWeight, pending                     bool
	count                                  int // values
	value, text                            event.Value
	list                                   []event.Value
	status                                 event.Value
}

// objects lists objects and properties with their values. write says that they
// are to be changed, done that the device has these values now.
func (p *parser) objects(r *pending, b []byte, s shape, write, done bool) {
	var f found
	depth, inValue, inError := 0, 0, false
	for len(b) > 0 {
		t, ok := next(&b)
		if !ok {
			r.odd |= ics.LengthMismatch
			break
		}
		n := int(t.number)
		switch {
		case inValue > 0:
			switch {
			case t.open:
				inValue++
			case t.closing:
				inValue--
			case inError:
				f.status = event.Str(errorName(&t))
			case !t.context:
				p.collect(&f, &t)
			}
			if inValue == 0 {
				inError = false
			}
		case t.open && (n == s.value || n == s.err):
			inValue, inError = 1, n == s.err
		case t.open && n == s.list:
			p.flush(&f, write, done)
			depth++
		case t.closing && n == s.list:
			p.flush(&f, write, done)
			depth = max(depth-1, 0)
		case t.open, t.closing:
		case n == s.object && t.context && (depth == 0 || s.list < 0) && len(t.data) == 4:
			p.flush(&f, write, done)
			f = found{}
			f.typ, f.instance, f.hasObject = identifier(t.data)
			f.pending = s.property < 0
		case n == s.property && t.context && (depth > 0 || s.list < 0):
			p.flush(&f, write, done)
			f.property, f.hasProperty, f.pending = uint32(unsigned(t.data)), true, true
		case n == s.index && t.context && f.pending:
			f.index, f.hasIndex = uint32(unsigned(t.data)), true
		case n == s.weight && t.context && f.pending:
			f.weight, f.hasWeight = uint32(unsigned(t.data)), true
		}
	}
	p.flush(&f, write, done)
}

// errorName is that of the code of an error: of class and code it comes last.
func errorName(t *tag) string {
	if name := errorCodes[unsigned(t.data)]; name != "" {
		return name
	}
	return "error"
}

// collect takes one of a property's values.
func (p *parser) collect(f *found, t *tag) {
	v, text := p.value(t)
	f.count++
	if f.count == 1 {
		f.value, f.text = v, text
		return
	}
	if f.list == nil {
		f.list = p.rec.Out.Values(ics.MaxObjects)
		if !f.value.IsZero() {
			f.list = append(f.list, f.value)
		}
	}
	if !v.IsZero() && len(f.list) < ics.MaxObjects {
		f.list = append(f.list, v)
	}
}

// flush adds what was found of a property.
func (p *parser) flush(f *found, write, done bool) {
	if !f.pending || !f.hasObject {
		return
	}
	e := &p.rec
	typ := event.Own(appendType(e.Out.Bytes(32), f.typ))
	name := append(appendType(e.Out.Bytes(96), f.typ), ',')
	name = strconv.AppendUint(name, uint64(f.instance), 10)
	fields := append(e.Fields(11), event.Field{Name: "type", Value: typ}, event.Field{Name: "address", Value: event.Int(int64(f.instance))})
	if f.hasProperty {
		fields = append(fields, event.Field{Name: "property", Value: event.Own(appendProperty(e.Out.Bytes(40), f.property))})
		name = appendProperty(append(name, '.'), f.property)
	}
	if f.hasIndex {
		fields = append(fields, event.Field{Name: "index", Value: event.Int(int64(f.index))})
		name = append(strconv.AppendUint(append(name, '['), uint64(f.index), 10), ']')
	}
	fields = append(fields, event.Field{Name: "name", Value: event.Own(name)})
	value := f.value
	if f.count > 1 {
		fields = append(fields, event.Field{Name: "count", Value: event.Int(int64(f.count))})
		value = event.Value{}
		if len(f.list) > 0 {
			value = event.List(f.list...)
		}
	}
	fields = append(fields, event.Field{Name: "value", Value: value}, event.Field{Name: "text", Value: f.text}, event.Field{Name: "status", Value: f.status})
	if f.hasWeight && write {
		fields = append(fields, event.Field{Name: "priority", Value: event.Int(int64(f.weight))})
	}
	if write {
		fields = append(fields, event.Field{Name: "old_value", Value: p.memory.Get(name)})
	}
	if done && f.count == 1 && f.status.IsZero() {
		p.memory.Set(name, f.value)
	}
	e.Object(fields...)
	f.pending, f.hasIndex, f.hasWeight, f.count, f.value, f.text, f.list, f.status = false, false, false, 0, event.Value{}, event.Value{}, nil, event.Value{}
}

// content adds what a confirmed service is about.
func (p *parser) content(r *pending, asked, answer *message, service uint8, done bool) {
	e := &p.rec
	var question, text []byte
	if asked != nil {
		question = asked.data
	}
	if answer != nil && done && answer.pdu == complexAck {
		text = answer.data
	}
	either := func(b, other []byte) []byte {
		if len(b) > 0 {
			return b
		}
		return other
	}
	switch service {
	case readProperty, readRange:
		p.objects(r, either(text, question), single, false, done)
	case readMultiple:
		if len(text) > 0 {
			p.objects(r, text, answerMany, false, done)
		} else {
			p.objects(r, question, readMany, false, false)
		}
	case writeProperty:
		p.objects(r, question, single, true, done)
	case writeMultiple:
		p.objects(r, question, writeMany, true, done)
	case covNotification:
		p.objects(r, question, notification, false, true)
	case subscribeCOV, subscribeProperty:
		p.objects(r, question, subscription, false, false)
		p.each(question, func(t *tag) {
			if t.context && t.number == 3 {
				e.Num("bacnet.lifetime", unsigned(t.data))
			}
		})
	case deviceControl:
		p.each(question, func(t *tag) {
			switch {
			case t.context && t.number == 0:
				e.Num("bacnet.duration", unsigned(t.data))
			case t.context && t.number == 1:
				e.Str("bacnet.state", word(controlStates[:], unsigned(t.data)))
			case t.context && t.number == 2:
				e.True("bacnet.password", true)
			}
		})
	case reinitialize:
		p.each(question, func(t *tag) {
			switch {
			case t.context && t.number == 0:
				e.Str("bacnet.state", word(restarts[:], unsigned(t.data)))
			case t.context && t.number == 1:
				e.True("bacnet.password", true)
			}
		})
	case readFile, writeFile, deleteObject, createObject, 8, 9:
		b := question
		for len(b) > 0 {
			t, ok := next(&b)
			if !ok {
				break
			}
			if typ, instance, ok := identifier(t.data); ok && (!t.context && t.number == 12 || t.context) {
				f := found{typ: typ, instance: instance, hasObject: true, pending: true}
				p.flush(&f, false, false)
				break
			}
		}
	}
}

// each calls f with the tags of the first level.
func (p *parser) each(b []byte, f func(*tag)) {
	depth := 0
	for len(b) > 0 {
		t, ok := next(&b)
		switch {
		case !ok:
			return
		case t.open:
			depth++
		case t.closing:
			depth--
		case depth == 0:
			f(&t)
		}
	}
}

// announcement adds what an unconfirmed service is about.
func (p *parser) announcement(r *pending, m *message) {
	e := &p.rec
	switch m.service {
	case unconfirmedCOV:
		p.objects(r, m.data, notification, false, true)
	case iAm, iHave:
		i := 0
		p.each(m.data, func(t *tag) {
			typ, instance, ok := identifier(t.data)
			switch {
			case i == 0 && ok:
				e.Num("bacnet.device.instance", uint64(instance))
			case m.service == iHave && i == 1 && ok:
				f := found{typ: typ, instance: instance, hasObject: true, pending: true}
				p.flush(&f, false, false)
			case m.service == iAm && i == 1:
				e.Num("bacnet.device.max_apdu", unsigned(t.data))
			case m.service == iAm && i == 3:
				e.Num("bacnet.device.vendor", unsigned(t.data))
			}
			i++
		})
	case whoIs, whoHas:
		p.each(m.data, func(t *tag) {
			switch {
			case !t.context:
			case t.number == 0:
				e.Num("bacnet.range.low", unsigned(t.data))
			case t.number == 1:
				e.Num("bacnet.range.high", unsigned(t.data))
			case t.number == 2:
				if typ, instance, ok := identifier(t.data); ok {
					f := found{typ: typ, instance: instance, hasObject: true, pending: true}
					p.flush(&f, false, false)
				}
			case t.number == 3 && len(t.data) > 1:
				e.Object(event.Field{Name: "name", Value: e.Out.Text(t.data[1:min(len(t.data), ics.MaxText)])})
			}
		})
	case timeSync, utcTimeSync:
		var date, clock []byte
		p.each(m.data, func(t *tag) {
			switch {
			case t.number == 10 && len(t.data) == 4:
				date = t.data
			case t.number == 11 && len(t.data) == 4:
				clock = t.data
			}
		})
		if date != nil && clock != nil && date[1] >= 1 && date[1] <= 12 && date[2] >= 1 && date[2] <= 31 && clock[0] < 24 && clock[1] < 60 && clock[2] < 60 {
			at := time.Date(1900+int(date[0]), time.Month(date[1]), int(date[2]), int(clock[0]), int(clock[1]), int(clock[2]), int(clock[3]%100)*1e7, time.UTC)
			e.Add("bacnet.time", event.Time(at))
		} else {
			r.odd |= ics.InvalidValue
		}
	}
}
