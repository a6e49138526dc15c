package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// maxDepth bounds the nesting of JSON that Decode follows.
const maxDepth = 32

// Decode reads the JSON of one event, as Encoder writes it, into e, which is
// overwritten; e's slice of fields is reused. The schema gives text its type:
// an address or a time is only known by its field. Fields that the schema does
// not know are kept as they come. An error names the byte offset.
func (s *Schema) Decode(data []byte, e *Event) error {
	*e = Event{Fields: e.Fields[:0]}
	d := decoder{s: s, b: data, e: e}
	d.space()
	if err := d.group("", 0); err != nil {
		return err
	}
	d.space()
	if d.i != len(d.b) {
		return d.errorf("more after the object")
	}
	return nil
}

type decoder struct {
	s *Schema
	b []byte
	i int
	e *Event
}

func (d *decoder) errorf(format string, args ...any) error {
	return fmt.Errorf("event: byte %d: %s", d.i, fmt.Sprintf(format, args...))
}

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

func (d *decoder) next() byte {
	d.space()
	if d.i == len(d.b) {
		return 0
	}
	return d.b[d.i]
}

// group reads an object whose members are fields below prefix.
func (d *decoder) group(prefix string, depth int) error {
	return d.members(depth, func(key string) error {
		name := prefix + key
		if d.next() == '{' {
			doc, ok := d.s.Lookup(name)
			if !ok || doc.Type != Nested {
				return d.group(name+".", depth+1)
			}
		}
		v, err := d.value(name, depth+1)
		if err != nil || v.IsZero() {
			return err
		}
		if c := coreByName[name]; c != 0 {
			if err := d.e.setCore(c, v); err != nil {
				return d.errorf("%s: %v", name, err)
			}
			return nil
		}
		d.e.Set(name, v)
		return nil
	})
}

func (d *decoder) members(depth int, member func(key string) error) error {
	if depth > maxDepth {
		return d.errorf("nested deeper than %d", maxDepth)
	}
	if d.next() != '{' {
		return d.errorf("want an object")
	}
	d.i++
	if d.next() == '}' {
		d.i++
		return nil
	}
	for {
		if d.next() != '"' {
			return d.errorf("want a name")
		}
		key, err := d.str()
		if err != nil {
			return err
		}
		if d.next() != ':' {
			return d.errorf("want ':'")
		}
		d.i++
		if err := member(key); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.i++
		case '}':
			d.i++
			return nil
		default:
			return d.errorf("want ',' or '}'")
		}
	}
}

func (d *decoder) value(name string, depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, d.errorf("nested deeper than %d", maxDepth)
	}
	switch c := d.next(); {
	case c == '"':
		s, err := d.str()
		if err != nil {
			return Value{}, err
		}
		doc, _ := d.s.Lookup(name)
		switch doc.Type {
		case IPType:
			if a, err := netip.ParseAddr(s); err == nil {
				return IP(a), nil
			}
		case Date:
			if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
				return Time(t), nil
			}
		}
		return Str(s), nil
	case c == '{':
		var fs []Field
		err := d.members(depth, func(key string) error {
			v, err := d.value(name+"."+key, depth+1)
			if err == nil && !v.IsZero() {
				fs = append(fs, Field{key, v})
			}
			return err
		})
		return Object(fs...), err
	case c == '[':
		d.i++
		vs := []Value{}
		if d.next() == ']' {
			d.i++
			return List(vs...), nil
		}
		for {
			v, err := d.value(name, depth+1)
			if err != nil {
				return Value{}, err
			}
			vs = append(vs, v)
			switch d.next() {
			case ',':
				d.i++
			case ']':
				d.i++
				return List(vs...), nil
			default:
				return Value{}, d.errorf("want ',' or ']'")
			}
		}
	case c == '-' || '0' <= c && c <= '9':
		return d.number()
	}
	for _, lit := range []struct {
		text string
		v    Value
	}{{"true", Bool(true)}, {"false", Bool(false)}, {"null", Value{}}} {
		if strings.HasPrefix(string(d.b[d.i:min(len(d.b), d.i+5)]), lit.text) {
			d.i += len(lit.text)
			return lit.v, nil
		}
	}
	return Value{}, d.errorf("want a value")
}

func (d *decoder) number() (Value, error) {
	start := d.i
	float := false
	for d.i < len(d.b) {
		switch c := d.b[d.i]; {
		case '0' <= c && c <= '9', c == '-', c == '+':
		case c == '.', c == 'e', c == 'E':
			float = true
		default:
			goto done
		}
		d.i++
	}
done:
	text := string(d.b[start:d.i])
	if !float {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return Int(n), nil
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return Uint(n), nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		d.i = start
		return Value{}, d.errorf("%q is no number", text)
	}
	return Float(f), nil
}

func (d *decoder) str() (string, error) {
	start := d.i
	d.i++ // the opening quote
	plain := true
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case '"':
			d.i++
			if plain {
				return string(d.b[start+1 : d.i-1]), nil
			}
			var s string
			if err := json.Unmarshal(d.b[start:d.i], &s); err != nil {
				d.i = start
				return "", d.errorf("%v", err)
			}
			return s, nil
		case '\\':
			plain = false
			d.i++
		}
		d.i++
	}
	d.i = start
	return "", d.errorf("text without an end")
}

// setCore is the inverse of core for the fields that are not derived from others.
func (e *Event) setCore(c coreField, v Value) error {
	f := &e.Flow
	var err error
	num := func(dst *uint64) {
		n, ok := v.Uint()
		if !ok {
			err = errors.New("want a whole number")
		}
		*dst = n
	}
	num16 := func(dst *uint16) {
		n, ok := v.Uint()
		if !ok || n > 0xffff {
			err = errors.New("want a number up to 65535")
			return
		}
		*dst = uint16(n)
	}
	at := func(dst *time.Time) {
		t, ok := v.Time()
		if !ok {
			err = errors.New("want a time as in RFC 3339")
		}
		*dst = t
	}
	addr := func(dst *netip.Addr) {
		a, ok := v.IP()
		if !ok {
			err = errors.New("want an address")
		}
		*dst = a
	}
	mac := func(dst *MAC) { *dst, err = ParseMAC(v.Str()) }
	switch c {
	case cTimestamp:
		at(&e.Time)
	case cID:
		e.ID, err = ParseID(v.Str())
	case cDataset:
		e.Kind = Kind(strings.TrimPrefix(v.Str(), datasetPrefix))
	case cStart:
		at(&f.Start)
	case cEnd:
		at(&f.End)
	case cObserver:
		e.Sensor = v.Str()
	case cIface:
		e.Iface = v.Str()
	case cSrcIP:
		addr(&f.Src.IP)
	case cDstIP:
		addr(&f.Dst.IP)
	case cSrcMAC:
		mac(&f.Src.MAC)
	case cDstMAC:
		mac(&f.Dst.MAC)
	case cSrcPort:
		num16(&f.Src.Port)
	case cDstPort:
		num16(&f.Dst.Port)
	case cSrcBytes:
		num(&f.Src.Bytes)
	case cDstBytes:
		num(&f.Dst.Bytes)
	case cSrcPackets:
		num(&f.Src.Packets)
	case cDstPackets:
		num(&f.Dst.Packets)
	case cSrcPayload:
		num(&f.Src.Payload)
	case cDstPayload:
		num(&f.Dst.Payload)
	case cTransport:
		f.Transport, err = parseTransport(v.String())
	case cCommunityID:
		f.CommunityID = v.Str()
	case cVLAN:
		num16(&f.VLAN)
	case cInnerVLAN:
		num16(&f.InnerVLAN)
	case cProtocol:
		f.Service = v.Str()
	case cState:
		f.State = v.Str()
	case cHistory:
		f.History = v.Str()
	case cEndReason:
		f.EndReason = v.Str()
	}
	return err
}

func parseTransport(s string) (uint8, error) {
	switch s {
	case "tcp":
		return ProtoTCP, nil
	case "udp":
		return ProtoUDP, nil
	case "icmp":
		return ProtoICMP, nil
	case "ipv6-icmp":
		return ProtoICMPv6, nil
	case "sctp":
		return ProtoSCTP, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("%q is no transport", s)
	}
	return uint8(n), nil
}

// ParseMAC reads six pairs of hexadecimal digits between hyphens or colons.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 {
		return m, fmt.Errorf("%q is no MAC address", s)
	}
	for i := range m {
		n, err := strconv.ParseUint(s[3*i:3*i+2], 16, 8)
		if err != nil || i > 0 && s[3*i-1] != '-' && s[3*i-1] != ':' {
			return MAC{}, fmt.Errorf("%q is no MAC address", s)
		}
		m[i] = byte(n)
	}
	return m, nil
}
