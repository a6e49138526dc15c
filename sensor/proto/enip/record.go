package enip

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

// request is a message of CIP that asks (volume 1, section 2-4.1).
type request struct {
	service                    uint8
	class, instance, attribute uint32
	hasInstance, hasAttribute  bool
	name                       []byte // of a tag, with the members that are asked of it
	data                       []byte
	routed                     bool
	route                      []byte
}

// reply is one that answers (section 2-4.2).
type reply struct {
	service  uint8
	status   uint8
	extended uint16
	hasMore  bool   // extended is there
	outer    uint32 // status of the encapsulation, which then carries nothing
	data     []byte
}

// parseRequest reads a request; name is where the name of a tag is put
// together.
func parseRequest(b, name []byte) (m request, ok bool) {
	if len(b) < 2 {
		return m, false
	}
	m.service = b[0]
	n := 2 * int(b[1])
	if len(b) < 2+n {
		return m, false
	}
	m.data = b[2+n:]
	m.path(b[2:2+n], name[:0])
	return m, true
}

// path reads a padded path (volume 1, appendix C-1.4).
func (m *request) path(b, name []byte) {
	long := func(wide int) (v uint32) { // behind the type; wide ones have a pad
		switch {
		case wide == 1 && len(b) >= 2:
			v, b = uint32(b[1]), b[2:]
		case wide == 2 && len(b) >= 4:
			v, b = uint32(binary.LittleEndian.Uint16(b[2:])), b[4:]
		case wide == 4 && len(b) >= 6:
			v, b = binary.LittleEndian.Uint32(b[2:]), b[6:]
		default:
			b = nil
		}
		return v
	}
	wide := [4]int{1, 2, 4, 0}
	for len(b) >= 2 {
		switch c := b[0]; {
		case c == 0x91: // a symbol
			n := int(b[1])
			if len(b) < 2+n {
				b = nil
				break
			}
			if len(name) > 0 && len(name) < ics.MaxText {
				name = append(name, '.')
			}
			name = append(name, b[2:2+min(n, max(ics.MaxText-len(name), 0))]...)
			b = b[min(2+n+n%2, len(b)):]
		case c == 0x34: // an electronic key
			b = b[min(10, len(b)):]
		case c>>5 == 1: // logical
			v := long(wide[c&3])
			switch c >> 2 & 7 {
			case 0:
				m.class = v
			case 1:
				m.instance, m.hasInstance = v, true
			case 2: // a member of an array
				if len(name) > 0 && len(name) < ics.MaxText {
					name = append(strconv.AppendUint(append(name, '['), uint64(v), 10), ']')
				}
			case 4:
				m.attribute, m.hasAttribute = v, true
			}
		case c>>5 == 0: // a port: not for us to follow
			n := 2
			if c&0x10 != 0 {
				n = 2 + int(b[1]) + int(b[1])%2
			}
			b = b[min(n, len(b)):]
		case c == 0x80: // data
			b = b[min(2+2*int(b[1]), len(b)):]
		default:
			b = nil
		}
	}
	m.name = name
}

func parseReply(b []byte) (m reply, ok bool) {
	if len(b) < 4 || b[0]&0x80 == 0 {
		return m, false
	}
	n := 2 * int(b[3])
	m = reply{service: b[0] & 0x7f, status: b[2]}
	b = b[4:]
	if n >= 2 && len(b) >= 2 {
		m.extended, m.hasMore = binary.LittleEndian.Uint16(b), true
	}
	m.data = b[min(n, len(b)):]
	return m, true
}

// emit makes the events of a request and its reply: a is the reply's header, nil
// if nobody answered, body what it carries. Without a request r.raw is empty.
func (p *parser) emit(r, a *pending, body []byte, latency time.Duration, out *proto.Out) {
	if p.known && p.client == proto.Resp {
		r.odd |= ics.ReversedRoles
	}
	if (r.command == sendRR || r.command == sendUnit) && (a == nil || a.status == 0 || len(r.raw) > 0) {
		var m request
		hasRequest := false
		if len(r.raw) > 0 {
			m, hasRequest = parseRequest(r.raw, p.key)
			p.key = m.name[:0]
			if !hasRequest {
				r.odd |= ics.LengthMismatch
			}
		}
		var answer *reply
		if a != nil {
			x, ok := parseReply(body)
			if a.status != 0 {
				x, ok = reply{outer: a.status}, true
			}
			if ok {
				answer = &x
			}
		}
		if !hasRequest {
			if answer == nil {
				return
			}
			m.service = answer.service
		}
		if inner, ok := p.routed(&m, hasRequest); ok {
			m = inner
		}
		p.transaction(r, &m, answer, hasRequest, 0, latency, out)
		if m.service == multiple {
			p.parts(r, &m, answer, hasRequest, latency, out)
		}
		return
	}
	e := &p.rec
	c := commands[r.command]
	e.Begin(out, "enip", c.operation, c.name)
	e.Num("ics.function.code", uint64(r.command))
	p.envelope(r, a)
	switch {
	case a != nil && a.status != 0:
		e.Outcome(uint64(a.status), outerName(a.status), latency)
		e.Num("enip.status", uint64(a.status))
	case a != nil:
		e.Outcome(0, "", latency)
	case r.command != unregister:
		e.Str("event.outcome", "unknown")
	}
	if a != nil && a.status == 0 {
		switch r.command {
		case listIdentity:
			p.listed(body)
		case listServices:
			p.servicesListed(body)
		}
	}
	e.Emit(r.at, r.odd)
}

// envelope adds what is said of the encapsulation.
func (p *parser) envelope(r, a *pending) {
	e := &p.rec
	e.Num("enip.command.code", uint64(r.command))
	e.Str("enip.command.name", commands[r.command].name)
	session := r.session
	if a != nil && r.command == register {
		session = a.session
	}
	if session != 0 {
		e.Num("enip.session", uint64(session))
	}
}

// transaction makes the event of a service. index is its place in a packet of
// several, 0 if it is in none.
func (p *parser) transaction(r *pending, m *request, a *reply, asked bool, index int, latency time.Duration, out *proto.Out) {
	e := &p.rec
	x, known := m.meaning()
	odd := r.odd
	if !known {
		odd |= ics.UnknownFunction
	}
	pccc, hasPCCC := pcccCommand{}, false
	if m.service == executePCCC && (m.class == classPCCC || !asked) {
		if pccc, hasPCCC = parsePCCC(m.data); hasPCCC {
			x.operation = pccc.meaning().operation
		}
	}
	e.Begin(out, "cip", x.operation, x.name)
	e.Num("ics.function.code", uint64(m.service))
	p.envelope(r, nil)
	if r.connected {
		e.Num("cip.sequence", uint64(r.sequence))
		if r.connection != 0 {
			e.Num("cip.connection.id", uint64(r.connection))
		}
	}
	if index > 0 {
		e.Num("cip.index", uint64(index))
	}
	if m.routed {
		e.True("cip.routed", true)
		e.Hex("cip.route", m.route)
	}
	if m.class != 0 {
		e.Num("cip.class.code", uint64(m.class))
		e.Str("cip.class.name", classNames[m.class])
	}
	if m.hasInstance {
		e.Num("cip.instance", uint64(m.instance))
	}
	if m.hasAttribute {
		e.Num("cip.attribute", uint64(m.attribute))
	}
	var said []byte
	done := false
	switch {
	case a == nil:
		e.Str("event.outcome", "unknown")
	case hasPCCC && a.status == 0 && pcccStatus(a.data) != 0:
		e.Outcome(uint64(pcccStatus(a.data)), "pccc_error", latency)
		said = a.data
	case a.outer != 0:
		e.Num("enip.status", uint64(a.outer))
		e.Outcome(uint64(a.outer), outerName(a.outer), latency)
	default:
		// Part of what was asked for is better than a refusal.
		if done = a.status == 0 || a.status == 6; done {
			said = a.data
		}
		code := uint64(a.status)
		if a.status == 6 {
			e.Num("ics.status.code", code)
			e.Str("ics.status.name", statusName(6))
			e.Str("event.outcome", "success")
			if latency >= 0 {
				e.Num("ics.latency", uint64(latency))
			}
		} else {
			e.Outcome(code, statusName(a.status), latency)
		}
		if a.hasMore {
			e.Num("cip.extended_status", uint64(a.extended))
		}
	}
	switch {
	case m.service == multiple:
		e.Num("cip.services", uint64(howMany(m, a)))
	case hasPCCC:
		p.pccc(&pccc, said, &odd, done)
	default:
		p.content(m, said, done, asked)
	}
	e.Emit(r.at, odd)
}

// howMany is how many services a packet of several says it has.
func howMany(m *request, a *reply) int {
	switch {
	case len(m.data) >= 2:
		return int(binary.LittleEndian.Uint16(m.data))
	case a != nil && len(a.data) >= 2:
		return int(binary.LittleEndian.Uint16(a.data))
	}
	return 0
}

// part returns service i of a packet of several (volume 1, section 5-5.2.1):
// behind their number there is for each where it begins.
func part(b []byte, i int) []byte {
	if len(b) < 2*i+4 {
		return nil
	}
	n := int(binary.LittleEndian.Uint16(b))
	from, to := int(binary.LittleEndian.Uint16(b[2+2*i:])), len(b)
	if i+1 < n && len(b) >= 2*i+6 {
		to = min(to, int(binary.LittleEndian.Uint16(b[4+2*i:])))
	}
	if from < 2+2*n || from > to {
		return nil
	}
	return b[from:to]
}

// parts makes the events of the services of a packet of several.
func (p *parser) parts(r *pending, m *request, a *reply, asked bool, latency time.Duration, out *proto.Out) {
	for i := range min(howMany(m, a), maxServices) {
		var one request
		ok := false
		if asked {
			one, ok = parseRequest(part(m.data, i), p.key)
			p.key = one.name[:0]
		}
		one.routed, one.route = m.routed, m.route
		var answer *reply
		var x reply
		whole := false
		if a != nil {
			if x, whole = parseReply(part(a.data, i)); a.outer != 0 {
				x, whole = *a, true
			}
		}
		if whole {
			answer = &x
			if !ok {
				one.service = x.service
			}
		}
		if ok || whole {
			p.transaction(r, &one, answer, ok, i+1, latency, out)
		}
	}
}

// routed opens an unconnected send (volume 1, section 3-5.5.4), whose reply is
// that of what is inside. It reports whether there was something.
func (p *parser) routed(m *request, asked bool) (inner request, ok bool) {
	if !asked || m.service != unconnectedSend || m.class != classManager || len(m.data) < 4 {
		return inner, false
	}
	n := int(binary.LittleEndian.Uint16(m.data[2:]))
	b := m.data[4:]
	if n > len(b) {
		return inner, false
	}
	inner, ok = parseRequest(b[:n], p.key)
	p.key = inner.name[:0]
	inner.routed = true
	if b = b[min(n+n%2, len(b)):]; len(b) >= 2 {
		inner.route = b[2:min(2+2*int(b[0]), len(b))]
	}
	return inner, ok
}

// content adds what a service is about. said is what the reply says, nil unless
// it was done.
func (p *parser) content(m *request, said []byte, done, asked bool) {
	e := &p.rec
	tag := m.class == 0 || m.class == classSymbol
	switch {
	case m.class == classManager && (m.service == forwardOpen || m.service == largeOpen):
		p.opened(m, said)
	case m.class == classManager && m.service == forwardClose:
		if d := m.data; len(d) >= 10 {
			p.connection(d[2:])
		}
	case tag && (m.service == readTag || m.service == readFragment):
		p.read(m, said)
	case tag && (m.service == writeTag || m.service == writeFragment):
		p.write(m, done)
	case m.class == classIdentity && m.service == getAll && len(said) >= 15:
		p.identity(said)
	case m.service == getSingle || m.service == setSingle:
		v := m.data
		if m.service == getSingle {
			v = said
		}
		if !asked || !m.hasAttribute {
			e.Hex("cip.data", m.data)
			e.Hex("cip.response_data", said)
			break
		}
		b := e.Out.Bytes(40)
		b = append(strconv.AppendUint(b, uint64(m.class), 10), '/')
		b = append(strconv.AppendUint(b, uint64(m.instance), 10), '/')
		b = strconv.AppendUint(b, uint64(m.attribute), 10)
		p.value(b, event.Str("attribute"), number(v), v, m.service == setSingle, m.service == getSingle || done)
	default:
		if len(m.name) > 0 {
			e.Object(event.Field{Name: "name", Value: e.Out.Text(m.name)})
		}
		e.Hex("cip.data", m.data)
		e.Hex("cip.response_data", said)
	}
}

// number is the value of an attribute of one, two, four or eight bytes.
func number(b []byte) event.Value {
	switch len(b) {
	case 1:
		return event.Int(int64(b[0]))
	case 2:
		return event.Int(int64(binary.LittleEndian.Uint16(b)))
	case 4:
		return event.Int(int64(binary.LittleEndian.Uint32(b)))
	case 8:
		return event.Uint(binary.LittleEndian.Uint64(b))
	}
	return event.Value{}
}

// value adds an object with one value, and what it was if it is written. known
// says that the device has it now.
func (p *parser) value(name []byte, typ, v event.Value, raw []byte, write, known bool) {
	e := &p.rec
	text := event.Value{}
	if v.IsZero() && len(raw) > 0 {
		text = e.HexValue(raw)
	}
	var old event.Value
	if write {
		old = p.memory.Get(name)
	}
	e.Object(event.Field{Name: "name", Value: e.Out.Text(name)}, event.Field{Name: "type", Value: typ}, event.Field{Name: "value", Value: v},
		event.Field{Name: "text", Value: text}, event.Field{Name: "old_value", Value: old})
	if known {
		p.memory.Set(name, v)
	}
}

// of reads a value of a type.
func (k kind) of(b []byte) event.Value {
	if k.size == 0 || len(b) < k.size {
		return event.Value{}
	}
	var n uint64
	for i := k.size - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	switch {
	case k.real:
		f := math.Float64frombits(n)
		if k.size == 4 {
			f = float64(math.Float32frombits(uint32(n)))
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return event.Value{}
		}
		return event.Float(f)
	case k.name == "BOOL":
		return event.Int(int64(min(n, 1)))
	case k.signed:
		return event.Int(int64(n<<(64-8*k.size)) >> (64 - 8*k.size))
	}
	return event.Uint(n)
}

// typed reads a type, and what is behind it.
func typed(b []byte) (k kind, typ event.Value, rest []byte) {
	if len(b) < 2 {
		return k, typ, nil
	}
	code := binary.LittleEndian.Uint16(b)
	b = b[2:]
	if code == structure {
		return k, event.Str("STRUCT"), b[min(2, len(b)):]
	}
	if k = kinds[code&0xff]; k.name != "" {
		return k, event.Str(k.name), b
	}
	return k, event.Str("0x" + strconv.FormatUint(uint64(code), 16)), b
}

// tag is what a tag is called: by its name, or the instance of its symbol.
func (p *parser) tag(m *request) []byte {
	if len(m.name) > 0 {
		return m.name
	}
	b := append(p.rec.Out.Bytes(24), "symbol "...)
	return strconv.AppendUint(b, uint64(m.instance), 10)
}

// read adds the values of a tag.
func (p *parser) read(m *request, said []byte) {
	e := &p.rec
	name := p.tag(m)
	count := 1
	if len(m.data) >= 2 {
		count = int(binary.LittleEndian.Uint16(m.data))
	}
	k, typ, b := typed(said)
	if count <= 1 {
		v := k.of(b)
		p.value(name, typ, v, b, false, !v.IsZero())
		return
	}
	n := 0
	if k.size > 0 {
		n = min(len(b)/k.size, ics.MaxObjects)
	}
	list := e.Out.Values(n)
	for i := range n {
		if v := k.of(b[i*k.size:]); !v.IsZero() {
			list = append(list, v)
		}
	}
	f := append(e.Fields(5), event.Field{Name: "name", Value: e.Out.Text(name)}, event.Field{Name: "type", Value: typ},
		event.Field{Name: "count", Value: event.Int(int64(count))})
	if len(list) > 0 {
		f = append(f, event.Field{Name: "value", Value: event.List(list...)})
	} else if len(b) > 0 {
		f = append(f, event.Field{Name: "text", Value: e.HexValue(b)})
	}
	e.Object(f...)
	if k.size > 0 && m.service == readTag {
		p.eachElement(name, min(len(b)/k.size, ics.MaxObjects), func(key []byte, i int) { p.memory.Set(key, k.of(b[i*k.size:])) })
	}
}

// eachElement calls f with the names of the elements of an array that begins
// with name, which may name an element itself.
func (p *parser) eachElement(name []byte, n int, f func(key []byte, i int)) {
	stem, first := name, 0
	if len(name) > 2 && name[len(name)-1] == ']' {
		for i := len(name) - 2; i > 0; i-- {
			if name[i] == '[' {
				if v, err := strconv.Atoi(string(name[i+1 : len(name)-1])); err == nil && v < 1<<30 {
					stem, first = name[:i], v
				}
				break
			}
		}
	}
	for i := range n {
		b := append(p.rec.Out.Bytes(len(stem)+12), stem...)
		b = append(strconv.AppendInt(append(b, '['), int64(first+i), 10), ']')
		f(b, i)
	}
}

// write lists what was to be written, element by element.
func (p *parser) write(m *request, done bool) {
	name := p.tag(m)
	k, typ, b := typed(m.data)
	if len(b) < 2 {
		p.rec.Object(event.Field{Name: "name", Value: p.rec.Out.Text(name)})
		return
	}
	count := int(binary.LittleEndian.Uint16(b))
	b = b[2:]
	offset := 0
	if m.service == writeFragment {
		if len(b) >= 4 && k.size > 0 {
			offset = int(binary.LittleEndian.Uint32(b) / uint32(k.size))
		}
		b = b[min(4, len(b)):]
	}
	if k.size == 0 || count <= 1 {
		p.value(name, typ, k.of(b), b, true, done)
		return
	}
	p.eachElement(name, min(len(b)/k.size, ics.MaxObjects), func(key []byte, i int) {
		if offset > 0 {
			return
		}
		p.value(key, typ, k.of(b[i*k.size:]), b[i*k.size:(i+1)*k.size], true, done)
	})
	if offset > 0 {
		p.rec.Object(event.Field{Name: "name", Value: p.rec.Out.Text(name)}, event.Field{Name: "type", Value: typ},
			event.Field{Name: "address", Value: event.Int(int64(offset))}, event.Field{Name: "count", Value: event.Int(int64(len(b) / k.size))},
			event.Field{Name: "text", Value: p.rec.HexValue(b)})
	}
}

// opened adds what is said of a connection that is opened (volume 1, section
// 3-5.5.2).
func (p *parser) opened(m *request, said []byte) {
	e, d := &p.rec, m.data
	to, from := uint32(0), uint32(0)
	if len(d) >= 34 {
		p.connection(d[10:])
		to, from = binary.LittleEndian.Uint32(d[2:]), binary.LittleEndian.Uint32(d[6:])
		second := 28 // parameters are of two bytes, or of four
		if m.service == largeOpen {
			second = 30
		}
		e.Num("cip.connection.to_target.interval", uint64(binary.LittleEndian.Uint32(d[22:]))*uint64(time.Microsecond))
		e.Num("cip.connection.to_originator.interval", uint64(binary.LittleEndian.Uint32(d[second:]))*uint64(time.Microsecond))
		path := 2*second - 20 // 36 of small ones, 40 of large
		if len(d) > path {
			e.Hex("cip.connection.path", d[path:])
		}
	}
	if len(said) >= 8 {
		to, from = binary.LittleEndian.Uint32(said), binary.LittleEndian.Uint32(said[4:])
	}
	if to != 0 {
		e.Num("cip.connection.to_target.id", uint64(to))
	}
	if from != 0 {
		e.Num("cip.connection.to_originator.id", uint64(from))
	}
}

// connection adds by what a connection is known: serial number, vendor, and the
// originator's serial number.
func (p *parser) connection(b []byte) {
	e := &p.rec
	e.Num("cip.connection.serial", uint64(binary.LittleEndian.Uint16(b)))
	e.Num("cip.connection.vendor", uint64(binary.LittleEndian.Uint16(b[2:])))
	e.Num("cip.connection.originator", uint64(binary.LittleEndian.Uint32(b[4:])))
}

// identity adds what a device says of itself (volume 1, section 5-2); b begins
// with the vendor. It returns what is behind.
func (p *parser) identity(b []byte) (rest []byte) {
	e := &p.rec
	vendor := binary.LittleEndian.Uint16(b)
	e.Num("enip.identity.vendor_id", uint64(vendor))
	e.Str("enip.identity.vendor", vendors[vendor])
	e.Num("enip.identity.device_type", uint64(binary.LittleEndian.Uint16(b[2:])))
	e.Num("enip.identity.product_code", uint64(binary.LittleEndian.Uint16(b[4:])))
	v := strconv.AppendUint(e.Out.Bytes(8), uint64(b[6]), 10)
	e.Add("enip.identity.revision", event.Own(strconv.AppendUint(append(v, '.'), uint64(b[7]), 10)))
	e.Num("enip.identity.status", uint64(binary.LittleEndian.Uint16(b[8:])))
	e.Num("enip.identity.serial", uint64(binary.LittleEndian.Uint32(b[10:])))
	n := min(int(b[14]), len(b)-15)
	e.Text("enip.identity.product", b[15:15+n])
	return b[15+n:]
}

// listed reads the answer to a list identity (volume 2, section 2-4.3.3).
func (p *parser) listed(b []byte) {
	e := &p.rec
	if len(b) < 6 || binary.LittleEndian.Uint16(b) == 0 || binary.LittleEndian.Uint16(b[2:]) != 0x0c {
		return
	}
	if b = b[6:]; len(b) < 18+15 {
		return
	}
	e.Num("enip.identity.port", uint64(binary.BigEndian.Uint16(b[4:])))
	e.Add("enip.identity.address", event.IP(netip.AddrFrom4([4]byte(b[6:10]))))
	if rest := p.identity(b[18:]); len(rest) > 0 {
		e.Num("enip.identity.state", uint64(rest[0]))
	}
}

// servicesListed reads the answer to a list services (section 2-4.6.3).
func (p *parser) servicesListed(b []byte) {
	if len(b) < 2 {
		return
	}
	list := p.rec.Out.Values(4)
	for b = b[2:]; len(b) >= 4 && len(list) < 8; {
		n := int(binary.LittleEndian.Uint16(b[2:]))
		v := b[4:min(4+n, len(b))]
		b = b[4+len(v):]
		if len(v) > 4 {
			name := v[4:min(20, len(v))]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			list = append(list, p.rec.Out.Text(name))
		}
	}
	p.rec.List("enip.services", list)
}

// pcccCommand is one of PCCC, as a service of CIP carries it.
type pcccCommand struct {
	command, status, function uint8
	hasFunction               bool
	data                      []byte
}

// parsePCCC reads one: an identity of the requestor, then the command.
func parsePCCC(b []byte) (c pcccCommand, ok bool) {
	if len(b) < 1 || len(b) < int(b[0])+4 || b[0] == 0 {
		return c, false
	}
	b = b[b[0]:]
	c.command, c.status, c.data = b[0]&0x0f, b[1], b[4:]
	if b[0]&0x40 == 0 && len(c.data) > 0 && (c.command == 0x0f || c.command == 0x06 || c.command == 0x07) {
		c.function, c.hasFunction, c.data = c.data[0], true, c.data[1:]
	}
	return c, true
}

// pcccStatus is that of an answer.
func pcccStatus(b []byte) uint8 {
	c, _ := parsePCCC(b)
	return c.status
}

func (c *pcccCommand) meaning() meaning {
	if x, ok := pcccNames[[2]uint8{c.command, c.function}]; ok && c.hasFunction {
		return x
	}
	switch c.command {
	case 0x00, 0x02, 0x08:
		return meaning{"unprotected_write", "write"}
	case 0x01, 0x05:
		return meaning{"unprotected_read", "read"}
	}
	return meaning{"unknown", ""}
}

// pccc adds what a command of PCCC is about.
func (p *parser) pccc(c *pcccCommand, said []byte, odd *ics.Odd, done bool) {
	e := &p.rec
	x := c.meaning()
	e.Num("cip.pccc.command", uint64(c.command))
	if c.hasFunction {
		e.Num("cip.pccc.function", uint64(c.function))
	}
	e.Str("cip.pccc.name", x.name)
	var answer []byte
	if a, ok := parsePCCC(said); ok {
		answer = a.data
		if a.status != 0 {
			e.Num("cip.pccc.status", uint64(a.status))
		}
	}
	switch {
	case c.command == 0x0f && (c.function == 0xa2 || c.function == 0xaa || c.function == 0xa1 || c.function == 0xa9):
		b := c.data
		if len(b) == 0 {
			return
		}
		b = b[1:] // how many bytes
		compact := func() (v uint64) {
			switch {
			case len(b) >= 3 && b[0] == 0xff:
				v, b = uint64(binary.LittleEndian.Uint16(b[1:])), b[3:]
			case len(b) >= 1:
				v, b = uint64(b[0]), b[1:]
			}
			return v
		}
		file := compact()
		if len(b) == 0 {
			*odd |= ics.LengthMismatch
			return
		}
		typ := b[0]
		b = b[1:]
		element := compact()
		sub := uint64(0)
		if c.function == 0xa2 || c.function == 0xaa {
			sub = compact()
		}
		letter := fileTypes[typ]
		name := append(e.Out.Bytes(40), letter...)
		name = append(strconv.AppendUint(name, file, 10), ':')
		name = strconv.AppendUint(name, element, 10)
		if sub > 0 {
			name = strconv.AppendUint(append(name, '.'), sub, 10)
		}
		k := kinds[0xc3]
		switch letter {
		case "F":
			k = kinds[0xca]
		case "L":
			k = kinds[0xc4]
		case "ST", "A", "":
			k = kind{}
		}
		write := x.operation == "write"
		raw := answer
		if write {
			raw = b
		}
		p.value(name, event.Str(letter), k.of(raw), raw, write, !write || done)
	default:
		e.Hex("cip.data", c.data)
		e.Hex("cip.response_data", answer)
	}
}
