// Package synchrophasor parses IEEE C37.118.2: phasors that measurement units
// of a power grid send with exact times, over TCP and UDP. Sections and tables
// are those of the edition of 2011.
//
// A command makes one event together with the header or configuration that
// answers it. Data frames come many times a second: each stream has an event a
// minute that counts them, with the values of the last.
package synchrophasor

import (
	"errors"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Stream is C37.118 over TCP, Protocol over UDP (annex F).
var (
	Stream = proto.Protocol{
		Name:      "synchrophasor",
		Transport: proto.TCP,
		Ports:     []uint16{4712},
		Probe:     probe,
		New:       func() proto.Parser { return new(parser) },
		Fields:    fields,
	}
	Protocol = proto.Protocol{
		Name:      "synchrophasor",
		Transport: proto.UDP,
		Ports:     []uint16{4713},
		Probe:     probe,
		First:     func(c byte) bool { return c == syncByte },
		New:       func() proto.Parser { return &parser{datagrams: true} },
		Fields:    fields,
	}
)

var fields = append([]event.FieldDoc{
	{Name: "synchrophasor.version", Type: event.Long, Help: "Version of the frame: 1 is of 2005, 2 of 2011.", Class: event.ClassTechnical},
	{Name: "synchrophasor.time", Type: event.Date, Help: "Time of the frame, of data that of the last.", Class: event.ClassTechnical},
	{Name: "synchrophasor.skew", Type: event.Long, Help: "Time of the frame less the packet's, in nanoseconds.", Class: event.ClassTechnical},
	{Name: "synchrophasor.time_quality", Type: event.Keyword, Help: "What is said against the time: unlocked, fault, leap_second_pending, ….", Class: event.ClassTechnical},
	{Name: "synchrophasor.text", Type: event.Keyword, Help: "What a header frame says.", Class: event.ClassTopology},
	{Name: "synchrophasor.data_rate", Type: event.Double, Help: "Frames a second by the configuration.", Class: event.ClassTechnical},
	{Name: "synchrophasor.configuration_changed", Type: event.Boolean, Help: "The configuration is another than the flow saw before.", Class: event.ClassTechnical},
	{Name: "synchrophasor.stations", Type: event.Nested, Help: "Measurement units of a configuration.", Class: event.ClassTopology},
	{Name: "synchrophasor.stations.id", Type: event.Long, Help: "Identification code.", Class: event.ClassTopology},
	{Name: "synchrophasor.stations.name", Type: event.Keyword, Help: "Name of the station.", Class: event.ClassTopology},
	{Name: "synchrophasor.stations.nominal", Type: event.Long, Help: "Nominal frequency in hertz.", Class: event.ClassTechnical},
	{Name: "synchrophasor.stations.phasors", Type: event.Keyword, Help: "Names of phasors.", Class: event.ClassProcess},
	{Name: "synchrophasor.stations.analogs", Type: event.Keyword, Help: "Names of analog values.", Class: event.ClassProcess},
	{Name: "synchrophasor.stations.digitals", Type: event.Long, Help: "Words of 16 digital values.", Class: event.ClassProcess},
	{Name: "synchrophasor.stations.changes", Type: event.Long, Help: "Count of changes that the unit keeps of its configuration.", Class: event.ClassTechnical},
	{Name: "synchrophasor.frames", Type: event.Long, Help: "Data frames that the event counts.", Class: event.ClassTechnical},
	{Name: "synchrophasor.missing", Type: event.Long, Help: "Data frames that by time and rate are missing between those that came.", Class: event.ClassTechnical},
	{Name: "synchrophasor.out_of_order", Type: event.Long, Help: "Data frames whose time is not after that of the one before.", Class: event.ClassTechnical},
	{Name: "synchrophasor.checksum_errors", Type: event.Long, Help: "Frames with a wrong checksum since the event before.", Class: event.ClassTechnical},
	{Name: "synchrophasor.status", Type: event.Keyword, Help: "What units said of their data: error, test_mode, not_synchronised, sorted_by_arrival, trigger, configuration_change, modified.", Class: event.ClassProcess},
}, proto.ICSFields...)

const (
	// maxStreams is how many streams a flow may carry; a concentrator sends one.
	maxStreams = 4
	// maxKept is how large a configuration, and a data frame, may be that is
	// remembered: one of about a hundred units.
	maxKept = 32 << 10
	// maxStations bounds the units that an event lists, maxObjects the values.
	maxStations, maxObjects = 64, 256
	// maxText is how much of a header frame an event has.
	maxText = 256
	// every is how often there is an event of data.
	every = time.Minute
	// patience is how long a command waits for its answer.
	patience = 30 * time.Second
	// maxSkip is how many bytes of a direction may pass without a frame before
	// the flow is given up.
	maxSkip = 128 << 10
)

var errNotSynchrophasor = errors.New("synchrophasor: no frame in 128 KiB")

// probe wants a whole frame with a right checksum; of one that is larger than
// what is kept for it, a plausible time.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	f, n := next(b)
	switch {
	case n < 0, n > 0 && f.damaged:
		return proto.No
	case n > 0:
		return proto.Yes
	case len(b) >= proto.MaxProbe:
		return proto.No // no configuration or command, with which one begins
	}
	return proto.Maybe
}

// ask is a command that waits for its answer.
type ask struct {
	open   bool
	at     time.Time
	dir    proto.Dir
	code   uint16
	stream uint16
	second uint32
	bytes  [minFrame + 2]byte
	odd    oddities
}

// stream is what is known of one.
type stream struct {
	used    bool
	id      uint16
	config  []byte // the last configuration frame
	last    []byte // the last data frame
	begun   time.Time
	now     time.Time // of the last data frame's packet
	frames  uint64
	missing uint64
	late    uint64
	status  uint16 // bits that were set in any
	errors  uint8  // kinds of data error that were said, by bit
	quality uint8  // worst of time, and leap seconds
	before  time.Time
	base    uint32
	rate    float64
	size    int // of data frames by the configuration
}

// parser is the state of one flow.
type parser struct {
	torn      [2]bool
	skip      [2]int
	streams   [maxStreams]stream
	turn      uint8
	ask       ask
	lost      bool
	datagrams bool
	broken    uint64
	last      time.Time // of the last bytes
	fields    []event.Field
	out       *proto.Out
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	p.out, p.last = out, now
	for n < len(b) {
		if p.torn[dir] {
			skip := resync(b[n:])
			n += skip
			p.skip[dir] += skip
			if p.skip[dir] > maxSkip {
				return n, errNotSynchrophasor
			}
			if n == len(b) {
				break
			}
		}
		f, size := next(b[n:])
		switch {
		case size == 0:
			if p.datagrams {
				p.torn[dir] = false
				return len(b), nil
			}
			return n, nil
		case size < 0:
			p.torn[dir] = true
			n++
			p.skip[dir]++
			continue
		case f.damaged:
			p.broken++
			if f.kind != data || p.torn[dir] { // may be no frame at all
				p.torn[dir] = true
				n++
				p.skip[dir]++
				continue
			}
			n += size
			continue
		}
		n += size
		var odd oddities
		if p.skip[dir] > 0 && !p.lost {
			odd |= skippedBytes
		}
		p.torn[dir], p.skip[dir] = false, 0
		p.take(dir, &f, now, odd)
	}
	if p.datagrams {
		p.torn[dir], p.skip[dir] = false, 0
	}
	return n, nil
}

// resync returns how many bytes of b to pass over to where a frame may begin.
func resync(b []byte) int {
	first := len(b)
	for i, c := range b {
		if c != syncByte {
			continue
		}
		f, n := next(b[i:])
		switch {
		case n > 0 && !f.damaged:
			// A whole frame is believed sooner than one before it that may yet
			// become whole.
			return i
		case n == 0:
			first = min(first, i)
		}
	}
	return first
}

// Gap says that bytes were lost; see proto.Parser.
func (p *parser) Gap(dir proto.Dir, _ int) { p.torn[dir], p.lost = true, true }

// End reports what was not reported yet.
func (p *parser) End(out *proto.Out) {
	p.out = out
	p.unanswered()
	for i := range p.streams {
		if s := &p.streams[i]; s.frames > 0 {
			p.report(s)
		}
	}
	if p.broken > 0 {
		p.summary()
	}
}

// of returns what is known of a stream.
func (p *parser) of(id uint16) *stream {
	for i := range p.streams {
		if s := &p.streams[i]; s.used && s.id == id {
			return s
		}
	}
	s := &p.streams[p.turn]
	p.turn = (p.turn + 1) % maxStreams
	if s.frames > 0 {
		p.report(s)
	}
	*s = stream{used: true, id: id, config: s.config[:0], last: s.last[:0]}
	return s
}

// take takes a frame.
func (p *parser) take(dir proto.Dir, f *frame, now time.Time, odd oddities) {
	if p.ask.open && now.Sub(p.ask.at) > patience {
		p.unanswered()
	}
	switch f.kind {
	case data:
		p.data(p.of(f.stream), f, now)
	case command:
		p.command(dir, f, now, odd)
	default:
		p.answer(dir, f, now, odd)
	}
}

// command takes a command.
func (p *parser) command(dir proto.Dir, f *frame, now time.Time, odd oddities) {
	p.unanswered()
	code := uint16(f.body[0])<<8 | uint16(f.body[1])
	p.ask = ask{open: true, at: now, dir: dir, code: code, stream: f.stream, second: f.second, odd: odd}
	copy(p.ask.bytes[:], f.bytes)
	if _, some := answers(code); !some {
		p.emitCommand()
	}
}

// unanswered reports a command that nobody answered.
func (p *parser) unanswered() {
	if !p.ask.open {
		return
	}
	if p.lost {
		p.ask.odd |= captureLoss
	} else {
		p.ask.odd |= noResponse
	}
	p.emitCommand()
}

// answer takes a header or a configuration.
func (p *parser) answer(dir proto.Dir, f *frame, now time.Time, odd oddities) {
	changed := false
	if f.kind != header {
		changed = p.configure(f)
	}
	if p.ask.open && p.ask.stream == f.stream {
		if kind, _ := answers(p.ask.code); kind == f.kind && dir != p.ask.dir {
			p.ask.odd |= odd
			p.emitAnswer(f, now, changed)
			return
		}
	}
	p.emitFrame(f, now, odd, changed)
}

// configure remembers a configuration, and reports whether it is another than
// the one before. What only says what a unit could send (configuration 1) is
// not remembered.
func (p *parser) configure(f *frame) (changed bool) {
	c, ok := configuration(f)
	if f.kind == config1 || !ok {
		return false
	}
	s := p.of(f.stream)
	body := s.config
	if len(body) > headerLen+2 {
		body = body[headerLen : len(body)-2]
	}
	changed = len(body) > 0 && s.config[1]>>4 == byte(f.kind) && string(body) != string(f.body)
	if s.frames > 0 && changed {
		p.report(s) // of the old one
	}
	s.config, s.base, s.size, s.rate = s.config[:0], c.base, 0, 0
	if len(f.bytes) > maxKept {
		return changed
	}
	s.config = append(s.config, f.bytes...)
	size := 0
	for {
		x, ok := c.next()
		if !ok {
			break
		}
		size += x.size()
	}
	if rate, ok := c.rate(); ok {
		s.rate, s.size = rate, size
	}
	return changed
}

// data counts a data frame.
func (p *parser) data(s *stream, f *frame, now time.Time) {
	if s.frames > 0 && now.Sub(s.begun) >= every {
		p.report(s)
	}
	if s.frames == 0 {
		s.begun = now
	}
	s.frames++
	s.now = now
	if s.base&0xffffff > 0 {
		at := f.at(s.base)
		if step := at.Sub(s.before).Seconds() * s.rate; !s.before.IsZero() && s.rate > 0 {
			switch {
			case step <= 0:
				s.late++
			case step > 1.5 && step < 1e6:
				s.missing += uint64(step+0.5) - 1
			}
		}
		if at.After(s.before) {
			s.before = at
		}
	}
	s.quality = max(s.quality&0x0f, f.quality&0x0f) | (s.quality|f.quality)&0xf0
	if len(f.body) >= 2 {
		p.statuses(s, f.body)
	}
	if len(f.bytes) <= maxKept {
		s.last = append(s.last[:0], f.bytes...)
	}
}

// statuses collects what the units say of their data; the first is known
// without a configuration too.
func (p *parser) statuses(s *stream, b []byte) {
	note := func(w uint16) {
		s.status |= w
		s.errors |= 1 << (w >> 14)
	}
	if s.size != len(b) || len(s.config) == 0 {
		note(uint16(b[0])<<8 | uint16(b[1]))
		return
	}
	f := read(s.config)
	c, _ := configuration(&f)
	for {
		x, ok := c.next()
		if !ok || x.size() > len(b) {
			return
		}
		note(uint16(b[0])<<8 | uint16(b[1]))
		b = b[x.size():]
	}
}
