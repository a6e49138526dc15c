// Package dnp3 parses DNP3, IEEE 1815-2012: telecontrol of electricity and
// water, over TCP and UDP. Sections are those of the standard, A.n of its
// annex A.
//
// What a master asks makes one event together with the response, of however
// many fragments that is; what an outstation reports without being asked makes
// an event too. When the flow ends, one more event says how the link went.
package dnp3

import (
	"errors"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Stream is DNP3 over TCP, Protocol over UDP (13.2).
var (
	Stream = proto.Protocol{
		Name:      "dnp3",
		Transport: proto.TCP,
		Ports:     []uint16{20000},
		Probe:     probe,
		New:       func() proto.Parser { return new(parser) },
		Fields:    fields,
	}
	Protocol = proto.Protocol{
		Name:      "dnp3",
		Transport: proto.UDP,
		Ports:     []uint16{20000},
		Probe:     probe,
		First:     func(c byte) bool { return c == start0 },
		New:       func() proto.Parser { return &parser{datagrams: true} },
		Fields:    fields,
	}
)

var fields = append([]event.FieldDoc{
	{Name: "dnp3.master", Type: event.Long, Help: "Link address of the master.", Class: event.ClassTopology},
	{Name: "dnp3.sequence", Type: event.Long, Help: "Application sequence number of the first message.", Class: event.ClassTechnical},
	{Name: "dnp3.fragments", Type: event.Long, Help: "Fragments of the response, or of what was reported unasked.", Class: event.ClassTechnical},
	{Name: "dnp3.confirms", Type: event.Long, Help: "Confirmations that the master sent of them.", Class: event.ClassTechnical},
	{Name: "dnp3.response.code", Type: event.Long, Help: "Function code of the response.", Class: event.ClassTechnical},
	{Name: "dnp3.iin", Type: event.Keyword, Help: "Internal indications of the outstation: device_restart, need_time, class_1_events, parameter_error, …", Class: event.ClassTechnical},
	{Name: "dnp3.request.headers", Type: event.Nested, Help: "What the request names.", Class: event.ClassProcess},
	{Name: "dnp3.request.headers.group", Type: event.Long, Help: "Object group.", Class: event.ClassProcess},
	{Name: "dnp3.request.headers.variation", Type: event.Long, Help: "Variation of the group, 0 for any.", Class: event.ClassProcess},
	{Name: "dnp3.request.headers.qualifier", Type: event.Long, Help: "Qualifier code: how objects are told.", Class: event.ClassTechnical},
	{Name: "dnp3.request.headers.first", Type: event.Long, Help: "Index of the first object of a range.", Class: event.ClassProcess},
	{Name: "dnp3.request.headers.count", Type: event.Long, Help: "How many objects; absent if all.", Class: event.ClassProcess},
	{Name: "dnp3.response.headers", Type: event.Nested, Help: "What the response, or the report, has.", Class: event.ClassProcess},
	{Name: "dnp3.response.headers.group", Type: event.Long, Help: "Object group.", Class: event.ClassProcess},
	{Name: "dnp3.response.headers.variation", Type: event.Long, Help: "Variation of the group.", Class: event.ClassProcess},
	{Name: "dnp3.response.headers.qualifier", Type: event.Long, Help: "Qualifier code: how objects are told.", Class: event.ClassTechnical},
	{Name: "dnp3.response.headers.first", Type: event.Long, Help: "Index of the first object of a range.", Class: event.ClassProcess},
	{Name: "dnp3.response.headers.count", Type: event.Long, Help: "How many objects.", Class: event.ClassProcess},
	{Name: "dnp3.controls", Type: event.Nested, Help: "Commands to outputs.", Class: event.ClassProcess},
	{Name: "dnp3.controls.address", Type: event.Long, Help: "Index of the output.", Class: event.ClassProcess},
	{Name: "dnp3.controls.operation", Type: event.Keyword, Help: "What a relay is to do: pulse_on, pulse_off, latch_on, latch_off, nul.", Class: event.ClassProcess},
	{Name: "dnp3.controls.trip_close", Type: event.Keyword, Help: "Which of two relays: trip or close.", Class: event.ClassProcess},
	{Name: "dnp3.controls.clear", Type: event.Boolean, Help: "What runs is cancelled first.", Class: event.ClassProcess},
	{Name: "dnp3.controls.count", Type: event.Long, Help: "How often.", Class: event.ClassProcess},
	{Name: "dnp3.controls.on_time", Type: event.Long, Help: "How long on, in nanoseconds.", Class: event.ClassProcess},
	{Name: "dnp3.controls.off_time", Type: event.Long, Help: "How long off, in nanoseconds.", Class: event.ClassProcess},
	{Name: "dnp3.controls.status", Type: event.Long, Help: "What the outstation says of it; 0 is success.", Class: event.ClassTechnical},
	{Name: "dnp3.controls.status_name", Type: event.Keyword, Help: "Name of the status.", Class: event.ClassTechnical},
	{Name: "dnp3.select.interval", Type: event.Long, Help: "From the selection to the operation of it, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "dnp3.time", Type: event.Date, Help: "Time that a clock was set to, or said.", Class: event.ClassTechnical},
	{Name: "dnp3.skew", Type: event.Long, Help: "Newest time in the message less the packet's, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "dnp3.delay", Type: event.Long, Help: "Time that a device says it needs, in nanoseconds: to answer, or to restart.", Class: event.ClassTechnical},
	{Name: "dnp3.bits_written", Type: event.Long, Help: "Indications that the master wrote, by their number: 7 is device_restart.", Class: event.ClassTechnical},
	{Name: "dnp3.files", Type: event.Nested, Help: "Files that the messages are about.", Class: event.ClassProcess},
	{Name: "dnp3.files.name", Type: event.Keyword, Help: "Name of the file.", Class: event.ClassProcess},
	{Name: "dnp3.files.mode", Type: event.Keyword, Help: "How it is to be opened: read, write, append.", Class: event.ClassTechnical},
	{Name: "dnp3.files.handle", Type: event.Long, Help: "Number that the outstation gave to the open file.", Class: event.ClassTechnical},
	{Name: "dnp3.files.size", Type: event.Long, Help: "Bytes of the file.", Class: event.ClassTechnical},
	{Name: "dnp3.files.type", Type: event.Keyword, Help: "file or directory.", Class: event.ClassTechnical},
	{Name: "dnp3.files.block", Type: event.Long, Help: "Number of the block that is carried.", Class: event.ClassTechnical},
	{Name: "dnp3.files.last", Type: event.Boolean, Help: "It is the last block.", Class: event.ClassTechnical},
	{Name: "dnp3.files.length", Type: event.Long, Help: "Bytes of the block.", Class: event.ClassTechnical},
	{Name: "dnp3.files.status", Type: event.Long, Help: "What the outstation says; 0 is success.", Class: event.ClassTechnical},
	{Name: "dnp3.files.status_name", Type: event.Keyword, Help: "Name of the status.", Class: event.ClassTechnical},
	{Name: "dnp3.attributes", Type: event.Nested, Help: "What the device says of itself.", Class: event.ClassTopology},
	{Name: "dnp3.attributes.id", Type: event.Long, Help: "Number of the attribute.", Class: event.ClassTechnical},
	{Name: "dnp3.attributes.name", Type: event.Keyword, Help: "Name of the attribute: manufacturer, product_name, software_version, …", Class: event.ClassTechnical},
	{Name: "dnp3.attributes.value", Type: event.Keyword, Help: "Text of the attribute.", Class: event.ClassTopology},
	{Name: "dnp3.strings", Type: event.Nested, Help: "Octet strings.", Class: event.ClassProcess},
	{Name: "dnp3.strings.address", Type: event.Long, Help: "Index of the string.", Class: event.ClassProcess},
	{Name: "dnp3.strings.length", Type: event.Long, Help: "Bytes of the string.", Class: event.ClassTechnical},
	{Name: "dnp3.strings.value", Type: event.Keyword, Help: "The string; not that of a virtual terminal.", Class: event.ClassProcess},
	{Name: "dnp3.auth.types", Type: event.Keyword, Help: "Messages of secure authentication: challenge, reply, aggressive_mode, session_key_change, error, …", Class: event.ClassTechnical},
	{Name: "dnp3.auth.user", Type: event.Long, Help: "Number of the user that is authenticated.", Class: event.ClassPersonal},
	{Name: "dnp3.auth.error", Type: event.Long, Help: "Error code of secure authentication: 1 is a failed one.", Class: event.ClassTechnical},
	{Name: "dnp3.link.frames", Type: event.Long, Help: "Frames of the whole flow.", Class: event.ClassTechnical},
	{Name: "dnp3.link.data_frames", Type: event.Long, Help: "Frames with user data.", Class: event.ClassTechnical},
	{Name: "dnp3.link.crc_errors", Type: event.Long, Help: "Frames with a wrong CRC.", Class: event.ClassTechnical},
	{Name: "dnp3.link.skipped_bytes", Type: event.Long, Help: "Bytes that were of no frame.", Class: event.ClassTechnical},
	{Name: "dnp3.data", Type: event.Keyword, Help: "First bytes of objects that are not known, hexadecimal.", Class: event.ClassProcess},
	{Name: "user.name", Type: event.Keyword, Help: "Name of the user.", Class: event.ClassPersonal},
}, proto.ICSFields...)

const (
	// maxFragment is how long an application fragment may be: 2048 bytes,
	// unless agreed otherwise (4.2.2.3).
	maxFragment = 4096
	// maxResponse bounds the objects of a response that come in fragments.
	maxResponse = 16 << 10
	// maxStations is how many pairs of stations one direction of a flow may
	// carry fragments of at a time; gateways serve several.
	maxStations = 8
	// maxPending is how many requests and reports may wait at a time. A master
	// has one open with each outstation (4.3).
	maxPending = 8
	// patience is how long a request waits for its response, and a response for
	// its confirmation.
	patience = time.Minute
	// maxSkip is how many bytes of a direction may pass without a frame before
	// the flow is given up.
	maxSkip = 64 << 10
	// maxObjects bounds the objects that an event lists, maxValues their values.
	maxObjects, maxValues = 256, 2048
	// maxKnown bounds the values of outputs that a flow remembers.
	maxKnown = 1024
	// maxData is how many bytes of unknown content an event carries.
	maxData = 64
)

var errNotDNP3 = errors.New("dnp3: no frame in 64 KiB")

// probe wants the header of a frame whose CRC is right.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	var buf [maxUser]byte
	switch _, n := next(b, &buf); {
	case n < 0:
		return proto.No
	case len(b) < headerLen:
		return proto.Maybe
	}
	return proto.Yes
}

// side is what is known of one direction.
type side struct {
	torn     bool // the next byte may be inside of a frame
	skip     int  // bytes passed over since the last frame
	stations [maxStations]assembly
	turn     uint8 // the one to give up next
}

// selection is what a master selected last of an outstation.
type selection struct {
	master, outstation uint16
	at                 time.Time
	seq                uint8
	done               bool // the outstation said yes
	objects            []byte
}

// output is what the value of an output is remembered by.
type output struct {
	station uint16
	analog  bool
	index   uint32
}

// parser is the state of one flow.
type parser struct {
	sides     [2]side
	pending   [maxPending]exchange // oldest first
	n         int
	selected  [maxStations]selection
	turn      uint8 // the selection to give up next
	known     map[output]float64
	asker     proto.Dir // of the last request
	asked     bool
	lost      bool      // packets of this flow were not seen
	datagrams bool      // what is left of a datagram is not given again
	last      time.Time // of the last frame
	frames    uint64
	data      uint64
	broken    uint64
	skipped   uint64
	user      [maxUser]byte
	scratch   exchange // while a fragment is looked at
	fields    []event.Field
	out       *proto.Out // while an event is made
	values    int        // that the event lists
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
			p.skipped += uint64(skip)
			if s.skip > maxSkip {
				return n, errNotDNP3
			}
			if n == len(b) {
				break
			}
		}
		f, size := next(b[n:], &p.user)
		if size == 0 {
			if p.datagrams {
				p.broken++
				s.torn = false
				return len(b), nil
			}
			return n, nil
		}
		if size < 0 {
			if len(b)-n >= headerLen && b[n] == start0 && b[n+1] == start1 {
				p.broken++
			}
			// Whoever wants to blind us sends a byte of nonsense, so look for
			// the next frame instead of giving up.
			s.torn = true
			n++
			s.skip++
			p.skipped++
			continue
		}
		n += size
		var odd oddities
		if s.skip > 0 && !p.lost {
			odd |= skippedBytes
		}
		s.torn, s.skip = false, 0
		p.last = now
		p.frames++
		for p.n > 0 && now.Sub(p.pending[0].at) > patience {
			p.expire(0)
		}
		if f.damaged {
			p.broken++
			continue // a receiver throws it away (9.2.4.3)
		}
		if f.data() {
			p.data++
			p.segment(dir, &f, now, odd)
		}
	}
	if p.datagrams {
		s.torn = false
	}
	return n, nil
}

// resync returns how many bytes of b to pass over to where a frame may begin.
func resync(b []byte) int {
	var buf [maxUser]byte
	for i, c := range b {
		if c != start0 {
			continue
		}
		if _, n := next(b[i:], &buf); n >= 0 {
			return i
		}
	}
	return len(b)
}

// Gap says that bytes were lost; see proto.Parser.
func (p *parser) Gap(dir proto.Dir, _ int) {
	s := &p.sides[dir]
	s.torn, p.lost = true, true
	for i := range s.stations {
		s.stations[i].open = false
	}
}

// End reports what waits, and how the link went.
func (p *parser) End(out *proto.Out) {
	p.out = out
	for p.n > 0 {
		p.expire(0)
	}
	if p.frames > 0 {
		p.summary()
	}
}

// segment takes the user data of a frame.
func (p *parser) segment(dir proto.Dir, f *frame, now time.Time, odd oddities) {
	s := &p.sides[dir]
	var a *assembly
	for i := range s.stations {
		if x := &s.stations[i]; x.used && x.dst == f.dst && x.src == f.src {
			a = x
			break
		}
	}
	if a == nil {
		a = &s.stations[s.turn]
		s.turn = (s.turn + 1) % maxStations
		*a = assembly{dst: f.dst, src: f.src, used: true, b: a.b[:0]}
	}
	whole, gap := a.add(f.user)
	if gap {
		odd |= sequenceGap
		p.oddSegment(dir, f, now, odd)
		return
	}
	if len(whole) >= 2 {
		p.fragment(dir, f, whole, now, odd)
	}
}

// fragment takes a fragment of the application layer.
func (p *parser) fragment(dir proto.Dir, f *frame, b []byte, now time.Time, odd oddities) {
	control, code := b[0], b[1]
	if !responds(code) {
		x := &p.scratch
		*x = exchange{at: now, master: f.src, outstation: f.dst, control: control, code: code, odd: odd, next: control & appSEQ}
		if functions[code].name == "" {
			x.odd |= unknownFunction
		}
		if code == confirm {
			p.confirm(x)
			return
		}
		p.asker, p.asked = dir, true
		p.ask(x, b[2:])
		return
	}
	if len(b) < 4 {
		odd |= lengthMismatch
		x := &p.scratch
		*x = exchange{at: now, master: f.dst, outstation: f.src, control: control, code: code, odd: odd}
		p.emit(x)
		return
	}
	p.answer(f, b, now, odd)
}

// ask takes a request.
func (p *parser) ask(x *exchange, objects []byte) {
	for i := 0; i < p.n; {
		// A new request says that the master has given up the one before.
		if q := &p.pending[i]; q.master == x.master && q.outstation == x.outstation && q.code != unsolicited {
			if q.control == x.control && q.code == x.code && q.fragments == 0 && string(q.request) == string(objects) {
				x.odd |= retransmission
			}
			p.expire(i)
			continue
		}
		i++
	}
	q := p.wait(x)
	q.request = append(q.request, objects...)
	switch x.code {
	case selectOutputs:
		p.selects(q)
	case operate:
		p.operates(q)
	}
	if silent(x.code, x.outstation) {
		p.emit(q)
		p.remove(p.n - 1)
	}
}

// wait gives an exchange a place.
func (p *parser) wait(x *exchange) *exchange {
	if p.n == maxPending {
		p.expire(0)
	}
	q := &p.pending[p.n]
	p.n++
	x.request, x.response = q.request[:0], q.response[:0]
	*q = *x
	return q
}

// selects notes what is selected.
func (p *parser) selects(q *exchange) {
	s := p.selection(q.master, q.outstation)
	if s == nil {
		s = &p.selected[p.turn]
		p.turn = (p.turn + 1) % maxStations
	}
	*s = selection{q.master, q.outstation, q.at, q.control & appSEQ, false, append(s.objects[:0], q.request...)}
}

func (p *parser) selection(master, outstation uint16) *selection {
	for i := range p.selected {
		if s := &p.selected[i]; !s.at.IsZero() && s.master == master && s.outstation == outstation {
			return s
		}
	}
	return nil
}

// operates looks for the selection that an operation belongs to: the request
// before it, of the same objects (4.4.3.2).
func (p *parser) operates(q *exchange) {
	s := p.selection(q.master, q.outstation)
	if s == nil || !s.done && !p.lost {
		if !p.lost {
			q.odd |= operateWithoutSelect
		}
		return
	}
	if (s.seq+1)&appSEQ != q.control&appSEQ || string(s.objects) != string(q.request) {
		q.odd |= selectMismatch
	}
	q.selected = q.at.Sub(s.at)
	s.at = time.Time{}
}

// answer takes a fragment of a response or a report.
func (p *parser) answer(f *frame, b []byte, now time.Time, odd oddities) {
	control, code := b[0], b[1]
	seq := control & appSEQ
	i := p.n - 1
	for ; i >= 0; i-- {
		q := &p.pending[i]
		if q.master != f.dst || q.outstation != f.src || q.complete {
			continue
		}
		if code == unsolicited {
			if q.code == unsolicited && q.next == seq && control&appFIR == 0 {
				break
			}
			continue
		}
		if q.code != unsolicited && q.next == seq && (control&appFIR != 0) == (q.fragments == 0) {
			break
		}
	}
	if i < 0 {
		x := &p.scratch
		*x = exchange{at: now, master: f.dst, outstation: f.src, control: control, code: code, odd: odd, next: seq}
		switch {
		case code == unsolicited && control&appFIR != 0:
			for j := 0; j < p.n; {
				if q := &p.pending[j]; q.code == unsolicited && q.master == f.dst && q.outstation == f.src {
					if q.control == control && q.complete && string(q.response) == string(b[4:]) {
						x.odd |= retransmission
					}
					p.expire(j)
					continue
				}
				j++
			}
		case p.lost:
			x.odd |= captureLoss
		default:
			x.odd |= unsolicitedResponse
		}
		p.wait(x)
		i = p.n - 1
	}
	q := &p.pending[i]
	q.odd |= odd
	if q.fragments == 0 {
		q.latency = now.Sub(q.at)
	}
	q.fragments++
	q.answer = code
	q.iin |= uint16(b[2]) | uint16(b[3])<<8
	if len(q.response)+len(b)-4 <= maxResponse {
		q.response = append(q.response, b[4:]...)
	} else {
		q.odd |= tooLong
	}
	q.confirmed = control&appCON != 0
	q.awaits = seq
	q.next = (seq + 1) & appSEQ
	if control&appFIN == 0 {
		return
	}
	q.complete = true
	if q.code == selectOutputs {
		if s := p.selection(q.master, q.outstation); s != nil {
			s.done = string(q.response) == string(q.request) // each with status 0
		}
	}
	if !q.confirmed { // nobody wants a confirmation
		p.emit(q)
		p.remove(i)
	}
}

// confirm takes a confirmation.
func (p *parser) confirm(x *exchange) {
	uns := x.control&appUNS != 0
	for i := p.n - 1; i >= 0; i-- {
		q := &p.pending[i]
		if q.master != x.master || q.outstation != x.outstation || !q.confirmed || q.awaits != x.control&appSEQ || (q.answer == unsolicited) != uns {
			continue
		}
		q.confirms++
		q.confirmed = false
		q.odd |= x.odd
		if q.complete {
			p.emit(q)
			p.remove(i)
		}
		return
	}
	if p.lost {
		x.odd |= captureLoss
	} else {
		x.odd |= unsolicitedResponse
	}
	p.emit(x)
}

// expire reports exchange i, to which nothing more belongs.
func (p *parser) expire(i int) {
	x := &p.pending[i]
	switch {
	case x.complete && !x.confirmed:
	case p.lost:
		x.odd |= captureLoss
	case x.complete:
		x.odd |= noConfirm
	default:
		x.odd |= noResponse
	}
	p.emit(x)
	p.remove(i)
}

// remove takes exchange i out, and keeps its buffers for a later one.
func (p *parser) remove(i int) {
	request, answer := p.pending[i].request, p.pending[i].response
	copy(p.pending[i:p.n], p.pending[i+1:p.n])
	p.n--
	p.pending[p.n] = exchange{request: request[:0], response: answer[:0]}
}
