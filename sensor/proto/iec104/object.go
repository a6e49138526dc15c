package iec104

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/tocsin/tocsin/event"
)

// quality is a set of what is said against a value (IEC 60870-5-101, 7.2.6.1
// to 7.2.6.11).
type quality uint16

const (
	invalid quality = 1 << iota
	notTopical
	substituted
	blocked
	overflow
	transient
	carry
	adjusted
	elapsedInvalid
	timeInvalid
	notANumber
)

var qualityNames = [...]string{
	"invalid", "not_topical", "substituted", "blocked", "overflow", "transient", "carry", "adjusted", "elapsed_time_invalid",
	"time_invalid", "not_a_number",
}

// flags reads the four bits that all quality descriptors share.
func flags(b byte) (q quality) {
	if b&0x80 != 0 {
		q |= invalid
	}
	if b&0x40 != 0 {
		q |= notTopical
	}
	if b&0x20 != 0 {
		q |= substituted
	}
	if b&0x10 != 0 {
		q |= blocked
	}
	return q
}

// descriptor reads a QDS, which tells of an overflow too.
func descriptor(b byte) quality {
	q := flags(b)
	if b&1 != 0 {
		q |= overflow
	}
	return q
}

// protective reads a QDP, or those bits of a SEP.
func protective(b byte) quality {
	q := flags(b)
	if b&8 != 0 {
		q |= elapsedInvalid
	}
	return q
}

// decode reads the value of an object; b is as long as the form asks for.
func (f form) decode(b []byte) (v float64, q quality) {
	i16 := func() float64 { return float64(int16(binary.LittleEndian.Uint16(b))) }
	u32 := func() uint32 { return binary.LittleEndian.Uint32(b) }
	switch f {
	case single:
		return float64(b[0] & 1), flags(b[0])
	case double:
		return float64(b[0] & 3), flags(b[0])
	case step:
		v, q = float64(int8(b[0]<<1)>>1), descriptor(b[1])
		if b[0]&0x80 != 0 {
			q |= transient
		}
	case bitstring:
		return float64(u32()), descriptor(b[4])
	case normalized:
		return i16() / (1 << 15), descriptor(b[2])
	case bareNormalized, setNormalized, parameterNormal:
		return i16() / (1 << 15), 0
	case scaled:
		return i16(), descriptor(b[2])
	case setScaled, parameterScaled:
		return i16(), 0
	case float:
		v, q = float64(math.Float32frombits(u32())), descriptor(b[4])
	case setFloat, parameterFloat:
		v = float64(math.Float32frombits(u32()))
	case counter:
		v = float64(int32(u32()))
		if b[4]&0x80 != 0 {
			q |= invalid
		}
		if b[4]&0x40 != 0 {
			q |= adjusted
		}
		if b[4]&0x20 != 0 {
			q |= carry
		}
	case protection:
		return float64(b[0] & 3), protective(b[0])
	case startEvents, outputCircuit:
		return float64(b[0]), protective(b[1])
	case packed:
		return float64(binary.LittleEndian.Uint16(b)), descriptor(b[4])
	case singleCommand:
		return float64(b[0] & 1), 0
	case doubleCommand, stepCommand:
		return float64(b[0] & 3), 0
	case setBits:
		return float64(u32()), 0
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, q | notANumber
	}
	return v, q
}

// number is a value as an event has it: whole numbers as such.
func number(v float64) event.Value {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return event.Int(int64(v))
	}
	return event.Float(v)
}

// cp56Time reads a CP56Time2a (7.2.6.18): ok is false if there is no such time.
// Seven zeros stand for none.
func cp56Time(b []byte) (t time.Time, ok bool) {
	ms, minute, hour, day, month, year := int(binary.LittleEndian.Uint16(b)), int(b[2]&0x3f), int(b[3]&0x1f), int(b[4]&0x1f), time.Month(b[5]&0x0f), int(b[6]&0x7f)
	if ms > 59999 || minute > 59 || hour > 23 || day < 1 || month < 1 || month > 12 || year > 99 {
		return t, false
	}
	if year += 2000; year >= 2070 {
		year -= 100
	}
	t = time.Date(year, month, day, hour, minute, 0, ms*int(time.Millisecond), time.UTC)
	return t, t.Day() == day
}

// reading is one object of a report.
type reading struct {
	ioa     uint32
	value   float64
	quality quality
	at      time.Time // zero if it has none
}

// readings lists the objects of an ASDU that only tells. Objects that follow each
// other, with the same quality and no time, are a run.
func (p *parser) readings(r *record, a []byte, t typeID) {
	n, size := count(a), int(t.size)+int(t.tag)
	b := a[asduHead:]
	list := p.out.Values(n)
	var newest time.Time
	var run, last reading
	var values []event.Value
	for i := range n {
		var x reading
		if i == 0 || !sequence(a) {
			if len(b) < ioaLen+size {
				break
			}
			x.ioa, b = ioaOf(b), b[ioaLen:]
		} else {
			if len(b) < size {
				break
			}
			x.ioa = last.ioa + 1
		}
		x.value, x.quality = t.form.decode(b[:t.size])
		if t.tag == cp56 {
			x.time(b[t.size:], r)
			if x.at.After(newest) {
				newest = x.at
			}
		}
		b = b[size:]
		if i > 0 && t.tag == untagged && x.ioa == last.ioa+1 && x.quality == run.quality && x.quality&notANumber == 0 {
			if values == nil {
				values = append(p.out.Values(n), number(run.value))
			}
			values = append(values, number(x.value))
			last = x
			continue
		}
		if i > 0 {
			list = append(list, p.object(run, t, values))
		}
		run, last, values = x, x, nil
	}
	if len(list) < n && len(a) >= asduHead+ioaLen+size {
		list = append(list, p.object(run, t, values))
	}
	p.list("ics.objects", list)
	if !newest.IsZero() {
		p.add("iec104.skew", event.Int(int64(newest.Sub(r.at))))
	}
}

// time reads the time of an object.
func (x *reading) time(b []byte, r *record) {
	at, ok := cp56Time(b)
	switch {
	case ok:
		x.at = at
		if b[2]&0x80 != 0 {
			x.quality |= timeInvalid
		}
	case [7]byte(b) == [7]byte{}:
	default:
		x.quality |= timeInvalid
		r.odd |= invalidTime
	}
}

// object is one object, or a run of them with values.
func (p *parser) object(x reading, t typeID, values []event.Value) event.Value {
	fields := append(p.out.Fields(7), event.Field{Name: "address", Value: event.Int(int64(x.ioa))})
	if len(values) > 0 {
		fields = append(fields, event.Field{Name: "count", Value: event.Int(int64(len(values)))})
	}
	fields = append(fields, event.Field{Name: "type", Value: event.Str(t.object)})
	switch {
	case len(values) > 0:
		fields = append(fields, event.Field{Name: "value", Value: event.List(values...)})
	case x.quality&notANumber == 0:
		fields = append(fields, event.Field{Name: "value", Value: number(x.value)})
	}
	if x.quality != 0 {
		names := p.out.Values(len(qualityNames))
		for i, name := range qualityNames {
			if x.quality&(1<<i) != 0 {
				names = append(names, event.Str(name))
			}
		}
		fields = append(fields, event.Field{Name: "quality", Value: event.List(names...)})
	}
	if !x.at.IsZero() {
		fields = append(fields, event.Field{Name: "time", Value: event.Time(x.at)})
	}
	return event.Object(fields...)
}

// command lists the object of a command or a parameter, with the value that it
// was last set to; if the station did it, the new one is remembered.
func (p *parser) command(r *record, t typeID) {
	b := r.asdu[asduHead:]
	size := int(t.size) + int(t.tag)
	if len(b) < ioaLen+int(t.size) {
		return
	}
	x := reading{ioa: ioaOf(b)}
	b = b[ioaLen:]
	x.value, x.quality = t.form.decode(b[:t.size])
	if t.tag == cp56 && len(b) >= size {
		x.time(b[t.size:], r)
		if !x.at.IsZero() {
			p.add("iec104.skew", event.Int(int64(x.at.Sub(r.at))))
		}
	}
	fields := p.object(x, t, nil).Object()
	key := object{station(r.asdu), t.form, x.ioa}
	if old, known := p.values[key]; known {
		fields = append(fields, event.Field{Name: "old_value", Value: number(old)})
	}
	p.list("ics.objects", append(p.out.Values(1), event.Object(fields...)))
	if _, known := p.values[key]; r.done && x.quality&notANumber == 0 && (known || len(p.values) < maxValues) {
		if p.values == nil {
			p.values = map[object]float64{}
		}
		p.values[key] = x.value
	}
	switch t.form {
	case singleCommand, doubleCommand, stepCommand:
		q := b[0] >> 2 & 0x1f
		p.num("iec104.qualifier.code", uint64(q))
		if int(q) < len(commandQualifiers) {
			p.str("iec104.qualifier.name", commandQualifiers[q])
		}
	case setNormalized, setScaled, setFloat:
		p.num("iec104.qualifier.code", uint64(b[t.size-1]&0x7f))
	}
}

// fileOperation says which way a file goes, or that it is deleted. control says
// that the message is the controlling station's.
func fileOperation(a []byte, control bool) string {
	t := types[kind(a)]
	if t.operation != "" {
		return t.operation
	}
	into := control // ready, sections and segments go the way of the file
	switch t.form {
	case fileCall:
		if b := a[asduHead:]; len(b) >= ioaLen+4 {
			switch {
			case b[ioaLen+3]&0x0f == callDelete:
				return "write"
			case b[ioaLen+3]&0x0f == 0:
				return "discover" // calls the directory
			}
		}
		into = !control
	case fileAck:
		into = !control
	}
	if into {
		return "write"
	}
	return "upload"
}

// files lists what the message says of files.
func (p *parser) files(a []byte, t typeID) {
	b := a[asduHead:]
	ioa := ioaOf(b)
	b = b[ioaLen:]
	size := int(t.size)
	n := 1
	if t.form == directory {
		n = count(a)
	}
	list := p.out.Values(n)
	for i := 0; i < n && len(b) >= size; i++ {
		if i > 0 && !sequence(a) {
			if len(b) < ioaLen+size {
				break
			}
			ioa, b = ioaOf(b), b[ioaLen:]
		}
		f := append(p.out.Fields(7), event.Field{Name: "address", Value: event.Int(int64(ioa))},
			event.Field{Name: "name", Value: event.Int(int64(binary.LittleEndian.Uint16(b)))})
		add := func(name string, v int) { f = append(f, event.Field{Name: name, Value: event.Int(int64(v))}) }
		says := func(s string) {
			if s != "" {
				f = append(f, event.Field{Name: "qualifier", Value: event.Str(s)})
			}
		}
		at := func(b []byte) {
			if when, ok := cp56Time(b); ok {
				f = append(f, event.Field{Name: "time", Value: event.Time(when)})
			}
		}
		switch t.form {
		case fileReady:
			add("length", int(ioaOf(b[2:])))
			add("status", int(b[5]))
		case sectionReady:
			add("section", int(b[2]))
			add("length", int(ioaOf(b[3:])))
			add("status", int(b[6]))
		case fileCall:
			add("section", int(b[2]))
			says(nameOf(callNames[:], b[3]&0x0f))
		case fileLast:
			add("section", int(b[2]))
			says(nameOf(lastNames[:], b[3]))
			add("status", int(b[4]))
		case fileAck:
			add("section", int(b[2]))
			says(nameOf(ackNames[:], b[3]&0x0f))
		case fileSegment:
			add("section", int(b[2]))
			add("length", int(b[3]))
		case directory:
			add("length", int(ioaOf(b[2:])))
			add("status", int(b[5]))
			at(b[6:])
		case queryLog:
			at(b[2:])
		}
		list = append(list, event.Object(f...))
		b = b[size:]
	}
	p.list("iec104.files", list)
}
