package synchrophasor

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/tocsin/tocsin/event"
)

// oddities is a set of what is odd about a transaction.
type oddities uint8

const (
	noResponse     oddities = 1 << iota // nobody answered
	unknownCommand                      // the standard has no such command
	lengthMismatch                      // data do not fit the configuration
	sequenceGap                         // data frames are missing
	checksumError                       // frames with a wrong checksum
	skippedBytes                        // nonsense came before it
	captureLoss                         // the other half may have been lost by the capture
)

var oddityNames = [...]string{
	"no_response", "unknown_function", "length_mismatch", "sequence_gap", "checksum_error", "skipped_bytes", "capture_loss",
}

// head begins an event.
func (p *parser) head(operation, function string, code int, unit uint16) {
	p.fields = p.fields[:0]
	p.str("ics.protocol", "synchrophasor")
	p.str("ics.operation", operation)
	if code >= 0 {
		p.num("ics.function.code", uint64(code))
	}
	p.str("ics.function.name", function)
	p.num("ics.unit", uint64(unit))
}

// finish ends an event and emits it.
func (p *parser) finish(at time.Time, odd oddities) {
	if odd != 0 {
		vs := p.out.Values(bits.OnesCount8(uint8(odd)))
		for i, name := range oddityNames {
			if odd&(1<<i) != 0 {
				vs = append(vs, event.Str(name))
			}
		}
		p.list("tocsin.protocol.anomaly", vs)
	}
	p.out.Emit(at, p.fields)
}

// emitCommand makes the event of the command that waits, without an answer.
func (p *parser) emitCommand() {
	p.commandHead()
	p.str("event.outcome", "unknown")
	p.ask.open = false
	p.finish(p.ask.at, p.ask.odd)
}

// commandHead begins the event of the command that waits.
func (p *parser) commandHead() {
	a := &p.ask
	name, operation := "", "discover"
	if int(a.code) < len(commandNames) {
		name = commandNames[a.code]
	}
	switch {
	case a.code == dataOff, a.code == extended, name == "":
		operation = "control"
	case a.code == dataOn:
		operation = "session"
	}
	if name == "" {
		name = "user_defined"
		if a.code >= 0x1000 || a.code < 0x100 { // 0x100 to 0xfff are the user's
			name = "unassigned"
			a.odd |= unknownCommand
		}
	}
	p.head(operation, name, int(a.code), a.stream)
	p.num("synchrophasor.version", uint64(a.bytes[1]&0x0f))
	p.clock(time.Unix(int64(a.second), 0).UTC(), a.at)
}

// clock says what a sender's clock said.
func (p *parser) clock(at, now time.Time) {
	p.add("synchrophasor.time", event.Time(at))
	p.add("synchrophasor.skew", event.Int(int64(at.Sub(now))))
}

// emitAnswer makes the event of the command that waits with its answer.
func (p *parser) emitAnswer(f *frame, now time.Time, changed bool) {
	p.commandHead()
	p.num("ics.status.code", 0)
	p.str("ics.status.name", "ok")
	p.str("event.outcome", "success")
	p.num("ics.latency", uint64(max(now.Sub(p.ask.at), 0)))
	p.content(f, changed)
	p.ask.open = false
	p.finish(p.ask.at, p.ask.odd)
}

// emitFrame makes the event of a header or a configuration that nobody asked
// for: a sender of UDP repeats them.
func (p *parser) emitFrame(f *frame, now time.Time, odd oddities, changed bool) {
	p.head("report", typeNames[f.kind], -1, f.stream)
	p.num("synchrophasor.version", uint64(f.version))
	p.clock(time.Unix(int64(f.second), 0).UTC(), now)
	p.content(f, changed)
	p.finish(now, odd)
}

// content says what a header or a configuration has.
func (p *parser) content(f *frame, changed bool) {
	if f.kind == header {
		if len(f.body) > 0 {
			p.add("synchrophasor.text", p.out.Text(f.body[:min(len(f.body), maxText)]))
		}
		return
	}
	c, ok := configuration(f)
	if !ok {
		return
	}
	list := p.out.Values(maxStations)
	for {
		x, ok := c.next()
		if !ok {
			break
		}
		if len(list) == maxStations {
			continue
		}
		names := func(from, n int) event.Value {
			vs := p.out.Values(min(n, maxObjects))
			for i := range min(n, maxObjects) {
				vs = append(vs, p.out.Text(x.channel(from+i)))
			}
			return event.List(vs...)
		}
		o := append(p.out.Fields(7), event.Field{Name: "id", Value: event.Int(int64(x.id))},
			event.Field{Name: "name", Value: p.out.Text(trim(x.name))},
			event.Field{Name: "nominal", Value: event.Int(int64(x.nominal))})
		if x.phasors > 0 {
			o = append(o, event.Field{Name: "phasors", Value: names(0, x.phasors)})
		}
		if x.analogs > 0 {
			o = append(o, event.Field{Name: "analogs", Value: names(x.phasors, x.analogs)})
		}
		if x.digital > 0 {
			o = append(o, event.Field{Name: "digitals", Value: event.Int(int64(x.digital))})
		}
		list = append(list, event.Object(append(o, event.Field{Name: "changes", Value: event.Int(int64(x.changes))})...))
	}
	p.list("synchrophasor.stations", list)
	if rate, ok := c.rate(); ok {
		p.add("synchrophasor.data_rate", event.Float(rate))
	}
	if changed {
		p.add("synchrophasor.configuration_changed", event.Bool(true))
	}
}

// report makes the event of a stream's data, and begins to count anew.
func (p *parser) report(s *stream) {
	p.head("report", typeNames[data], -1, s.id)
	var odd oddities
	if len(s.last) > 0 {
		f := read(s.last)
		p.num("synchrophasor.version", uint64(f.version))
		p.clock(f.at(s.base), s.now)
		p.quality(s)
		p.num("synchrophasor.frames", s.frames)
		if s.rate > 0 {
			p.add("synchrophasor.data_rate", event.Float(s.rate))
		}
		if s.missing > 0 {
			p.num("synchrophasor.missing", s.missing)
			odd |= sequenceGap
		}
		if s.late > 0 {
			p.num("synchrophasor.out_of_order", s.late)
		}
		p.status(s)
		if s.size == len(f.body) {
			p.values(s, f.body)
		} else if s.size > 0 {
			odd |= lengthMismatch
		}
	}
	if p.lost {
		odd |= captureLoss
	}
	at := s.begun
	s.frames, s.missing, s.late, s.status, s.errors, s.quality = 0, 0, 0, 0, 0, 0
	p.finish(at, odd)
}

// quality says what senders said against their time (table 3, table 4).
func (p *parser) quality(s *stream) {
	vs := p.out.Values(5)
	switch q := s.quality & 0x0f; {
	case q == 15:
		vs = append(vs, event.Str("fault"))
	case q > 0:
		vs = append(vs, event.Str("unlocked"))
	}
	for i, name := range [...]string{4: "leap_second_pending", 5: "leap_second_occurred", 6: "leap_second_delete"} {
		if name != "" && s.quality&(1<<i) != 0 {
			vs = append(vs, event.Str(name))
		}
	}
	p.list("synchrophasor.time_quality", vs)
}

// status says what units said of their data (table 7).
func (p *parser) status(s *stream) {
	vs := p.out.Values(8)
	for i, name := range [...]string{1: "error_without_information", 2: "test_mode", 3: "error"} {
		if name != "" && s.errors&(1<<i) != 0 {
			vs = append(vs, event.Str(name))
		}
	}
	for i, name := range [...]string{13: "not_synchronised", 12: "sorted_by_arrival", 11: "trigger", 10: "configuration_change", 9: "modified"} {
		if name != "" && s.status&(1<<i) != 0 {
			vs = append(vs, event.Str(name))
		}
	}
	p.list("synchrophasor.status", vs)
}

// values lists what the units said in a data frame.
func (p *parser) values(s *stream, b []byte) {
	f := read(s.config)
	c, _ := configuration(&f)
	list := p.out.Values(maxObjects)
	for {
		x, ok := c.next()
		if !ok || x.size() > len(b) {
			break
		}
		rest := b[2:]
		b = b[x.size():]
		add := func(typ string, name []byte, v float64) {
			if len(list) == maxObjects {
				return
			}
			o := append(p.out.Fields(4), event.Field{Name: "address", Value: event.Int(int64(x.id))}, event.Field{Name: "type", Value: event.Str(typ)})
			if name != nil {
				o = append(o, event.Field{Name: "name", Value: p.out.Text(name)})
			}
			if math.IsNaN(v) || math.IsInf(v, 0) {
				o = append(o, event.Field{Name: "quality", Value: event.Str("not_a_number")})
			} else {
				o = append(o, event.Field{Name: "value", Value: event.Float(v)})
			}
			list = append(list, event.Object(o...))
		}
		width := 4
		if x.format&phasorsFloat != 0 {
			width = 8
		}
		for i := range x.phasors {
			magnitude, angle := x.phasor(i, rest)
			rest = rest[width:]
			add("phasor_magnitude", x.channel(i), magnitude)
			add("phasor_angle", x.channel(i), angle)
		}
		frequency, change := x.frequency(rest)
		add("frequency", nil, frequency)
		add("frequency_change", nil, change)
		if rest = rest[4:]; x.format&frequencyReal != 0 {
			rest = rest[4:]
		}
		for i := range x.analogs {
			if x.format&analogsFloat != 0 {
				add("analog", x.channel(x.phasors+i), f32(rest))
				rest = rest[4:]
			} else {
				add("analog", x.channel(x.phasors+i), i16(rest))
				rest = rest[2:]
			}
		}
		for range x.digital {
			add("digital", nil, float64(binary.BigEndian.Uint16(rest)))
			rest = rest[2:]
		}
	}
	p.list("ics.objects", list)
}

// summary tells of frames with wrong checksums.
func (p *parser) summary() {
	p.fields = p.fields[:0]
	p.str("ics.protocol", "synchrophasor")
	p.str("ics.operation", "session")
	p.str("ics.function.name", "connection")
	p.num("synchrophasor.checksum_errors", p.broken)
	p.finish(p.last, checksumError)
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
