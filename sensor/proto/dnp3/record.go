package dnp3

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/bits"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// oddities is a set of what is odd about a transaction.
type oddities uint32

const (
	lengthMismatch       oddities = 1 << iota // content and length do not fit
	unsolicitedResponse                       // nobody asked, or nobody waits for a confirmation
	noResponse                                // nobody answered
	noConfirm                                 // a confirmation was asked for and did not come
	unknownFunction                           // the standard has no such function
	unknownObject                             // nor such an object
	operateWithoutSelect                      // operated, but not selected before
	selectMismatch                            // what is operated was not what was selected
	echoMismatch                              // a command's response is not its echo
	sequenceGap                               // a segment is missing
	retransmission                            // the same once more
	tooLong                                   // more than is looked at
	invalidTime                               // no such time
	skippedBytes                              // nonsense came before it
	crcError                                  // frames with a wrong CRC
	captureLoss                               // the other half may have been lost by the capture
	reversedRoles                             // the flow's responder is the one who asks
)

var oddityNames = [...]string{
	"length_mismatch", "unsolicited_response", "no_response", "no_confirmation", "unknown_function", "unknown_object",
	"operate_without_select", "select_mismatch", "echo_mismatch", "sequence_gap", "retransmission", "too_long", "invalid_time",
	"skipped_bytes", "crc_error", "capture_loss", "reversed_roles",
}

// exchange is what becomes an event: a request with its response, or a report.
type exchange struct {
	at                 time.Time
	master, outstation uint16
	control, code      uint8  // of the first fragment
	request            []byte // objects
	response           []byte // objects of all fragments
	answer             uint8  // function code of the response
	iin                uint16
	fragments          int
	confirms           int
	next               uint8 // sequence number of the next fragment
	awaits             uint8 // of the fragment that is to be confirmed
	confirmed          bool  // a confirmation is asked for, and did not come yet
	complete           bool
	latency            time.Duration
	selected           time.Duration // since the selection, of an operation
	odd                oddities
}

// emit makes the event of an exchange.
func (p *parser) emit(x *exchange) {
	p.fields, p.values = p.fields[:0], 0
	asked := !responds(x.code)
	first, _, _, some := nextHeader(x.request, x.code)
	p.head(operation(x.code, first, some && asked), functions[x.code].name, int(x.code))
	p.num("ics.unit", uint64(x.outstation))
	p.num("dnp3.master", uint64(x.master))
	p.num("dnp3.sequence", uint64(x.control&appSEQ))
	if x.fragments > 0 {
		p.num("dnp3.fragments", uint64(x.fragments))
	}
	if x.confirms > 0 {
		p.num("dnp3.confirms", uint64(x.confirms))
	}
	if asked && x.fragments > 0 {
		p.num("dnp3.response.code", uint64(x.answer))
	}
	if x.iin != 0 {
		list := p.out.Values(bits.OnesCount16(x.iin))
		for i, name := range indications {
			if x.iin&(1<<i) != 0 {
				list = append(list, event.Str(name))
			}
		}
		p.list("dnp3.iin", list)
	}
	c := content{p: p, x: x}
	c.read()
	if asked && x.code != confirm {
		p.result(x, &c)
	}
	if x.selected > 0 {
		p.num("dnp3.select.interval", uint64(x.selected))
	}
	p.finish(x.at, x.odd)
}

// head begins an event.
func (p *parser) head(operation, function string, code int) {
	p.str("ics.protocol", "dnp3")
	p.str("ics.operation", operation)
	if code >= 0 {
		p.num("ics.function.code", uint64(code))
	}
	if function == "" {
		function = "unassigned"
	}
	p.str("ics.function.name", function)
}

// result says what became of a request: what the indications say against it,
// or else the first command or file that failed.
func (p *parser) result(x *exchange, c *content) {
	if x.fragments == 0 {
		p.str("event.outcome", "unknown")
		return
	}
	outcome := "success"
	switch refused := uint8(x.iin>>8) & failures; {
	case refused != 0:
		outcome = "failure"
		first := bits.TrailingZeros8(refused)
		p.num("ics.status.code", 1<<first)
		p.str("ics.status.name", indications[8+first])
	case c.challenged:
		outcome = "unknown"
	case c.failed:
		outcome = "failure"
		p.num("ics.status.code", uint64(c.status))
		p.str("ics.status.name", c.statusName)
	default:
		p.num("ics.status.code", 0)
		p.str("ics.status.name", "ok")
	}
	p.str("event.outcome", outcome)
	p.num("ics.latency", uint64(max(x.latency, 0)))
}

// finish ends an event and emits it.
func (p *parser) finish(at time.Time, odd oddities) {
	if p.asked && p.asker != proto.Orig {
		odd |= reversedRoles
	}
	if odd != 0 {
		vs := p.out.Values(bits.OnesCount32(uint32(odd)))
		for i, name := range oddityNames {
			if odd&(1<<i) != 0 {
				vs = append(vs, event.Str(name))
			}
		}
		p.list("tocsin.protocol.anomaly", vs)
	}
	p.out.Emit(at, p.fields)
}

// oddSegment tells of a segment that does not follow the one before.
func (p *parser) oddSegment(dir proto.Dir, f *frame, now time.Time, odd oddities) {
	if p.lost {
		odd |= captureLoss
	}
	p.fields = p.fields[:0]
	p.head("session", "transport_segment", -1)
	master, outstation := f.src, f.dst
	if f.control&fromMaster == 0 {
		master, outstation = f.dst, f.src
	}
	p.num("ics.unit", uint64(outstation))
	p.num("dnp3.master", uint64(master))
	p.finish(now, odd)
}

// summary says how the link went.
func (p *parser) summary() {
	p.fields = p.fields[:0]
	p.head("session", "link", -1)
	p.num("dnp3.link.frames", p.frames)
	p.num("dnp3.link.data_frames", p.data)
	var odd oddities
	if p.broken > 0 {
		p.num("dnp3.link.crc_errors", p.broken)
		odd |= crcError
	}
	if p.skipped > 0 {
		p.num("dnp3.link.skipped_bytes", p.skipped)
		if !p.lost {
			odd |= skippedBytes
		}
	}
	if p.lost {
		odd |= captureLoss
	}
	p.finish(p.last, odd)
}

// content reads the objects of an exchange into the event.
type content struct {
	p          *parser
	x          *exchange
	objects    []event.Value
	controls   []event.Value
	files      []event.Value
	strings    []event.Value
	attributes []event.Value
	auth       []event.Value
	written    []event.Value
	unknown    []byte
	base       time.Time // of relative times
	newest     time.Time
	clock      time.Time
	failed     bool
	status     uint8
	statusName string
	user       uint16
	name       []byte // of a user
	authError  uint8
	hasUser    bool
	hasError   bool
	delay      time.Duration
	hasDelay   bool
	challenged bool
	pattern    float64 // what a pattern is to be set to
}

func (c *content) read() {
	p, x := c.p, c.x
	command := x.code >= selectOutputs && x.code <= directOperateNR
	asked := !responds(x.code)
	if asked {
		c.headers("dnp3.request.headers", x.request, x.code)
	}
	if x.fragments > 0 {
		c.headers("dnp3.response.headers", x.response, x.answer)
	}
	switch {
	case command:
		c.command()
	case asked:
		c.walk(x.request, x.code, true)
	}
	if !command {
		c.walk(x.response, x.answer, false)
	}
	p.list("ics.objects", c.objects)
	p.list("dnp3.controls", c.controls)
	p.list("dnp3.files", c.files)
	p.list("dnp3.strings", c.strings)
	p.list("dnp3.attributes", c.attributes)
	p.list("dnp3.auth.types", c.auth)
	p.list("dnp3.bits_written", c.written)
	if c.hasUser {
		p.num("dnp3.auth.user", uint64(c.user))
	}
	if c.hasError {
		p.num("dnp3.auth.error", uint64(c.authError))
	}
	if len(c.name) > 0 {
		p.add("user.name", p.out.Text(c.name))
	}
	if !c.clock.IsZero() {
		p.add("dnp3.time", event.Time(c.clock))
		c.newest = c.clock
	}
	if !c.newest.IsZero() {
		p.add("dnp3.skew", event.Int(int64(c.newest.Sub(x.at))))
	}
	if c.hasDelay {
		p.num("dnp3.delay", uint64(c.delay))
	}
	if len(c.unknown) > 0 {
		b := c.unknown[:min(len(c.unknown), maxData)]
		p.add("dnp3.data", event.Own(hex.AppendEncode(p.out.Bytes(2*len(b)), b)))
	}
}

// headers lists the object headers of a message.
func (c *content) headers(name string, b []byte, code uint8) {
	p := c.p
	if len(b) == 0 {
		return
	}
	list := p.out.Values(16)
	for len(b) > 0 && len(list) < maxObjects {
		h, rest, known, ok := nextHeader(b, code)
		if !ok {
			c.x.odd |= unknownObject
			if known {
				c.x.odd = c.x.odd&^unknownObject | lengthMismatch
			}
			c.unknown = b
			break
		}
		f := append(p.out.Fields(5), field("group", int64(h.group)), field("variation", int64(h.variation)), field("qualifier", int64(h.qualifier)))
		if h.rng() <= 5 {
			f = append(f, field("first", int64(h.first)))
		}
		if !h.all {
			f = append(f, field("count", int64(h.count)))
		}
		list = append(list, event.Object(f...))
		b = rest
	}
	p.list(name, list)
}

func field(name string, n int64) event.Field { return event.Field{Name: name, Value: event.Int(n)} }

// command lists what is commanded, with what the outstation says of each.
func (c *content) command() {
	answered := c.x.fragments > 0 && c.x.answer != authResponse
	theirs := c.x.response
	if c.x.answer == authResponse { // a challenge: not yet done
		c.challenged = true
		c.walk(c.x.response, c.x.answer, false)
	}
	var echo items
	for b := c.x.request; len(b) > 0; {
		h, rest, _, ok := nextHeader(b, c.x.code)
		if !ok {
			break
		}
		b = rest
		if h.group == groupAuth { // aggressive mode
			c.secure(&h)
			continue
		}
		var same bool
		if answered {
			var eh header
			eh, theirs, _, same = nextHeader(theirs, c.x.answer)
			for same && eh.group == groupAuth {
				eh, theirs, _, same = nextHeader(theirs, c.x.answer)
			}
			same = same && eh.group == h.group && eh.variation == h.variation && eh.count == h.count
			echo = eh.items()
			if !same && uint8(c.x.iin>>8)&failures == 0 {
				c.x.odd |= echoMismatch
			}
		}
		for w := h.items(); ; {
			it, ok := w.next()
			if !ok {
				break
			}
			status := uint8(0)
			if same {
				back, ok := echo.next()
				if n := len(it.data); !ok || len(back.data) != n || back.index != it.index || n > 0 && string(back.data[:n-1]) != string(it.data[:n-1]) {
					c.x.odd |= echoMismatch
				}
				if n := len(back.data); n > 0 {
					status = back.data[n-1] & 0x7f
				}
				if status != 0 && !c.failed {
					c.failed, c.status, c.statusName = true, status, controlStatus(status)
				}
			}
			c.control(&w.f, h.group, h.variation, it, same, status)
		}
	}
}

// control is one command to an output. same says that status is the
// outstation's.
func (c *content) control(f *form, group, variation uint8, it item, same bool, status uint8) {
	p := c.p
	if len(c.controls) >= maxObjects {
		return
	}
	if c.controls == nil {
		c.controls, c.objects = p.out.Values(4), p.out.Values(4)
	}
	r := f.decode(it)
	if group == groupCommand && f.bits > 0 { // a mask: whom the pattern before it is for
		if it.bits != 0 {
			c.objects = c.more(c.objects, event.Object(append(p.out.Fields(3), field("address", int64(it.index)),
				event.Field{Name: "type", Value: event.Str(f.object)}, event.Field{Name: "value", Value: figure(c.pattern)})...))
		}
		return
	}
	more := append(p.out.Fields(9), field("address", int64(it.index)))
	known := true
	if d := it.data; group == groupCommand && len(d) == 11 {
		// A.12.1: the lower half of the first byte says what a relay is to do,
		// the upper two bits which relay of a pair.
		op, which := d[0]&0x0f, d[0]>>6
		name := operationTypes[op]
		if name == "" {
			name = "undefined"
		}
		more = append(more, event.Field{Name: "operation", Value: event.Str(name)})
		if which != 0 {
			more = append(more, event.Field{Name: "trip_close", Value: event.Str(tripClose[which])})
		}
		if d[0]&0x20 != 0 {
			more = append(more, event.Field{Name: "clear", Value: event.Bool(true)})
		}
		more = append(more, field("count", int64(d[1])),
			field("on_time", int64(binary.LittleEndian.Uint32(d[2:]))*int64(time.Millisecond)),
			field("off_time", int64(binary.LittleEndian.Uint32(d[6:]))*int64(time.Millisecond)))
		switch {
		case which == 1 || which == 0 && (op == 1 || op == 3):
			r.value = 1
		case which == 2 || which == 0 && (op == 2 || op == 4):
			r.value = 0
		default:
			known = false
		}
	}
	if same {
		more = append(more, field("status", int64(status)), event.Field{Name: "status_name", Value: event.Str(controlStatus(status))})
	}
	c.controls = c.more(c.controls, event.Object(more...))
	if group == groupCommand && variation == patternBlock {
		c.pattern = r.value
		return
	}

	fields := append(p.out.Fields(4), field("address", int64(it.index)), event.Field{Name: "type", Value: event.Str(f.object)})
	if known && !r.nan {
		fields = append(fields, event.Field{Name: "value", Value: figure(r.value)})
		key := output{c.x.outstation, group != groupCommand, it.index}
		if old, ok := p.known[key]; ok {
			fields = append(fields, event.Field{Name: "old_value", Value: figure(old)})
		}
		if same && status == 0 && c.x.code != selectOutputs {
			p.learn(key, r.value)
		}
	}
	c.objects = c.more(c.objects, event.Object(fields...))
}

// learn remembers the value of an output.
func (p *parser) learn(key output, v float64) {
	if _, ok := p.known[key]; !ok && len(p.known) >= maxKnown {
		return
	}
	if p.known == nil {
		p.known = map[output]float64{}
	}
	p.known[key] = v
}

// walk reads the objects of a message.
func (c *content) walk(b []byte, code uint8, asked bool) {
	for len(b) > 0 {
		h, rest, _, ok := nextHeader(b, code)
		if !ok {
			return
		}
		b = rest
		if !h.carries {
			if asked && h.rng() == 6 || c.p.values > maxValues {
				continue
			}
			if h.prefix() > 0 && !h.sized() && c.x.fragments == 0 {
				c.named(&h) // nobody says more of them
			}
			continue
		}
		switch {
		case h.group == groupTime, h.group == 51, h.group == 52:
			c.times(&h)
		case h.group == groupFile:
			c.file(&h, asked)
		case h.group == groupAuth:
			c.secure(&h)
		case h.group == groupAttributes:
			c.attribute(&h)
		case h.group >= 110 && h.group <= 113:
			c.text(&h)
		case h.group == groupIIN:
			c.indications(&h)
		case h.group == groupCommand, h.group == groupSetPoint:
			c.echoed(&h)
		case h.group == 60, h.group >= 81 && h.group <= 91:
		default:
			c.readings(&h, asked)
		}
	}
}

// echoed lists commands of which only the outstation's word is seen: those
// that were authenticated.
func (c *content) echoed(h *header) {
	for w := h.items(); ; {
		it, ok := w.next()
		if !ok {
			return
		}
		status := uint8(0)
		if n := len(it.data); n > 0 {
			status = it.data[n-1] & 0x7f
		}
		if status != 0 && !c.failed {
			c.failed, c.status, c.statusName = true, status, controlStatus(status)
		}
		c.control(&w.f, h.group, h.variation, it, true, status)
	}
}

// named lists objects that are asked for one by one.
func (c *content) named(h *header) {
	f, _ := describe(h.group, h.variation)
	if f.object == "" {
		f.object = groups[h.group].object
	}
	for w := h.items(); len(c.objects) < maxObjects; {
		it, ok := w.next()
		if !ok {
			return
		}
		c.objects = c.more(c.objects, event.Object(append(c.p.out.Fields(2), field("address", int64(it.index)),
			event.Field{Name: "type", Value: event.Str(f.object)})...))
	}
}

// more appends to a list that grows in the arena.
func (c *content) more(list []event.Value, v event.Value) []event.Value {
	if len(list) == cap(list) {
		list = append(c.p.out.Values(max(8, 2*len(list))), list...)
	}
	return append(list, v)
}

// readings lists values. Those that follow each other, with the same flags and no
// time, are a run; what is written has an entry each.
func (c *content) readings(h *header, written bool) {
	p := c.p
	w := h.items()
	var run, last reading
	var values []event.Value
	n := 0
	flush := func() {
		if n > 0 && len(c.objects) < maxObjects {
			c.objects = c.more(c.objects, c.object(&w.f, run, values, n))
		}
	}
	for p.values < maxValues {
		it, ok := w.next()
		if !ok {
			break
		}
		r := w.f.decode(it)
		p.values++
		if r.hasRel {
			if c.base.IsZero() {
				c.x.odd |= invalidTime
			} else {
				r.at = c.base.Add(r.rel)
			}
		}
		if r.at.After(c.newest) {
			c.newest = r.at
		}
		if h.group == 10 || h.group == 11 || h.group == 40 || h.group == 42 {
			p.learn(output{c.x.outstation, h.group >= 40, r.index}, r.value)
		}
		if n > 0 && !written && r.index == last.index+1 && r.flags == run.flags && r.at.IsZero() && run.at.IsZero() && !r.nan && !run.nan && !r.hasStat && !r.hasRel {
			if values == nil {
				values = append(p.out.Values(int(min(h.count, maxValues))), figure(run.value))
			}
			values = append(values, figure(r.value))
			last = r
			n++
			continue
		}
		flush()
		run, last, values, n = r, r, nil, 1
	}
	flush()
}

// object is one object, or a run of n of them with values.
func (c *content) object(f *form, r reading, values []event.Value, n int) event.Value {
	out := c.p.out
	fields := append(out.Fields(6), field("address", int64(r.index)))
	if n > 1 {
		fields = append(fields, field("count", int64(n)))
	}
	fields = append(fields, event.Field{Name: "type", Value: event.Str(f.object)})
	switch {
	case n > 1:
		fields = append(fields, event.Field{Name: "value", Value: event.List(values...)})
	case !r.nan:
		fields = append(fields, event.Field{Name: "value", Value: figure(r.value)})
	}
	var quality []event.Value
	say := func(s string) {
		if quality == nil {
			quality = out.Values(8)
		}
		quality = append(quality, event.Str(s))
	}
	if r.names != nil {
		for i, name := range r.names {
			if r.flags&(1<<i) != 0 && name != "" {
				say(name)
			}
		}
	}
	if r.nan {
		say("not_a_number")
	}
	if r.hasStat && r.status != 0 {
		say(controlStatus(r.status))
	}
	if quality != nil {
		fields = append(fields, event.Field{Name: "quality", Value: event.List(quality...)})
	}
	if !r.at.IsZero() {
		fields = append(fields, event.Field{Name: "time", Value: event.Time(r.at)})
	}
	return event.Object(fields...)
}

// figure is a value as an event has it: whole numbers as such.
func figure(v float64) event.Value {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return event.Int(int64(v))
	}
	return event.Float(v)
}

// times reads times and delays (A.23 to A.25).
func (c *content) times(h *header) {
	for w := h.items(); ; {
		it, ok := w.next()
		if !ok {
			return
		}
		switch {
		case h.group == 52 && len(it.data) >= 2:
			unit := time.Second
			if h.variation == 2 {
				unit = time.Millisecond
			}
			c.delay, c.hasDelay = time.Duration(binary.LittleEndian.Uint16(it.data))*unit, true
		case h.group == 51 && len(it.data) >= 6:
			c.base = stamp(it.data)
		case h.group == groupTime && len(it.data) >= 6:
			at := stamp(it.data)
			switch {
			case h.variation == 4: // when something is to be done
			case at.IsZero():
				c.x.odd |= invalidTime
			default:
				c.clock = at
			}
		}
	}
}

// indications reads the bits that a master writes.
func (c *content) indications(h *header) {
	for w := h.items(); len(c.written) < len(indications); {
		it, ok := w.next()
		if !ok {
			return
		}
		c.written = c.more(c.written, event.Int(int64(it.index)))
	}
}

// attribute reads what a device says of itself (A.1): a type, a length, and
// the value.
func (c *content) attribute(h *header) {
	const text, unsigned, signed = 1, 2, 3
	for w := h.items(); len(c.attributes) < maxObjects; {
		it, ok := w.next()
		if !ok {
			return
		}
		f := append(c.p.out.Fields(3), field("id", int64(h.variation)))
		if name := attributes[h.variation]; name != "" {
			f = append(f, event.Field{Name: "name", Value: event.Str(name)})
		}
		if d := it.data; len(d) >= 2 {
			switch v := d[2:]; {
			case d[0] == text:
				f = append(f, event.Field{Name: "value", Value: c.p.out.Text(v)})
			case (d[0] == unsigned || d[0] == signed) && (len(v) == 1 || len(v) == 2 || len(v) == 4):
				n := int64(number(v, len(v)))
				if d[0] == signed {
					n = n << (64 - 8*len(v)) >> (64 - 8*len(v))
				}
				f = append(f, event.Field{Name: "value", Value: event.Own(appendInt(c.p.out.Bytes(12), n))})
			}
		}
		c.attributes = c.more(c.attributes, event.Object(f...))
	}
}

func appendInt(b []byte, n int64) []byte {
	return event.Int(n).AppendText(b)
}

// text reads octet strings. What is typed at a virtual terminal (groups 112 and
// 113) may be a password: its length is all that is said.
func (c *content) text(h *header) {
	for w := h.items(); len(c.strings) < maxObjects; {
		it, ok := w.next()
		if !ok {
			return
		}
		f := append(c.p.out.Fields(3), field("address", int64(it.index)), field("length", int64(len(it.data))))
		if h.group <= 111 && len(it.data) > 0 {
			f = append(f, event.Field{Name: "value", Value: c.p.out.Text(it.data)})
		}
		c.strings = c.more(c.strings, event.Object(f...))
	}
}

// secure notes that messages are authenticated (A.45). Challenges, keys and
// codes stay where they are.
func (c *content) secure(h *header) {
	name := "undefined"
	if int(h.variation) < len(authTypes) && authTypes[h.variation] != "" {
		name = authTypes[h.variation]
	}
	if len(c.auth) < maxObjects {
		c.auth = c.more(c.auth, event.Str(name))
	}
	w := h.items()
	it, ok := w.next()
	if !ok {
		return
	}
	user := -1 // where its number is
	switch h.variation {
	case 1, 2, 3, 5, 6, 7:
		user = 4
	case 4:
		user = 0
	}
	if user >= 0 && len(it.data) >= user+2 {
		c.user, c.hasUser = binary.LittleEndian.Uint16(it.data[user:]), true
	}
	if h.variation == 7 && len(it.data) >= 9 { // sequence, user, association, code
		c.authError, c.hasError = it.data[8], true
	}
}

// file reads objects of file transfer (A.35).
func (c *content) file(h *header, asked bool) {
	for w := h.items(); len(c.files) < maxObjects; {
		it, ok := w.next()
		if !ok {
			return
		}
		d := it.data
		f := c.p.out.Fields(8)
		u16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(d[at:])) }
		u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(d[at:])) }
		name := func() {
			if at, n := int(u16(0)), int(u16(2)); at <= len(d) && n <= len(d)-at && n > 0 {
				f = append(f, event.Field{Name: "name", Value: c.p.out.Text(d[at : at+n])})
			}
		}
		status := func(code uint8) {
			f = append(f, field("status", int64(code)), event.Field{Name: "status_name", Value: event.Str(fileStatus(code))})
			if code != 0 && !c.failed {
				c.failed, c.status, c.statusName = true, code, fileStatus(code)
			}
		}
		switch {
		case h.variation == 2 && len(d) >= 12: // who; the password stays where it is
			if at, n := int(u16(0)), int(u16(2)); at <= len(d) && n <= len(d)-at {
				c.name = d[at : at+n]
			}
			continue
		case h.variation == 3 && len(d) >= 26:
			name()
			if mode := u16(20); mode > 0 && int(mode) < len(fileModes) {
				f = append(f, event.Field{Name: "mode", Value: event.Str(fileModes[mode])})
			}
			if size := u32(16); size > 0 { // of a file that is to be written
				f = append(f, field("size", size))
			}
		case h.variation == 4 && len(d) >= 13:
			f = append(f, field("handle", u32(0)))
			if !asked {
				f = append(f, field("size", u32(4)))
				status(d[12])
			}
		case h.variation == 5 && len(d) >= 8:
			f = append(f, field("handle", u32(0)), field("block", u32(4)&math.MaxInt32), field("length", int64(len(d)-8)))
			if d[7]&0x80 != 0 {
				f = append(f, event.Field{Name: "last", Value: event.Bool(true)})
			}
		case h.variation == 6 && len(d) >= 9:
			f = append(f, field("handle", u32(0)), field("block", u32(4)&math.MaxInt32))
			status(d[8])
		case h.variation == 7 && len(d) >= 20:
			name()
			if !asked {
				kind := "file"
				if u16(4) == 0 {
					kind = "directory"
				}
				f = append(f, event.Field{Name: "type", Value: event.Str(kind)}, field("size", u32(6)))
			}
		case h.variation == 8:
			f = append(f, event.Field{Name: "name", Value: c.p.out.Text(d)})
		default:
			c.x.odd |= lengthMismatch
			continue
		}
		c.files = c.more(c.files, event.Object(f...))
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
