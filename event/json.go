package event

import (
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Encoder writes events as JSON: one object, fields nested by the dots of
// their names and sorted, so the same event always has the same bytes. It
// keeps scratch space, and is for one goroutine. The zero Encoder is ready.
//
// Most events have the same fields as one before them, and differ in values.
// What the JSON of such events has in common is their form, of which the
// Encoder keeps some, so that an event is written by filling in a form.
type Encoder struct {
	forms   [512][2]*form // by their hash; of two the one used last is first
	fields  []Field       // those of an event that are not absent
	seconds [256]second
}

// second is the text of a second, kept because events come in bursts.
type second struct {
	at   int64 // since 1970
	text [len("2006-01-02T15:04:05")]byte
	set  bool
}

// form is what events have in common that have the same fields: their names in
// the order of an event's Fields, and everything in traits.
type form struct {
	traits traits
	names  []string
	blanks []blank
	end    string
}

// blank is a place in a form where a value is to be filled in.
type blank struct {
	before string    // what comes before it
	core   coreField // whose value it is; 0 if that of field
	field  int
}

// traits is what a form has of the core fields: which there are, and those
// values that many events share.
type traits struct {
	present                uint64 // a bit for each
	kind                   Kind
	sensor, iface, service string
	transport              uint8
	ipv4                   bool
}

// shared are the core fields whose values are in traits.
const shared uint64 = 1<<cKind | 1<<cCategory | 1<<cType | 1<<cDataset | 1<<cObserver | 1<<cIface | 1<<cProtocol | 1<<cTransport | 1<<cNetType

// Append appends the JSON of e, without a line end.
func (enc *Encoder) Append(dst []byte, e *Event) []byte {
	fs := e.Fields
	for i := range fs {
		if fs[i].Value.IsZero() {
			enc.fields = slices.DeleteFunc(append(enc.fields[:0], fs...), func(f Field) bool { return f.Value.IsZero() })
			fs = enc.fields
			defer clear(fs) // they are borrowed
			break
		}
	}
	f := enc.form(e, fs)
	for i := range f.blanks {
		b := &f.blanks[i]
		dst = append(dst, b.before...)
		if b.core == 0 {
			dst = fs[b.field].Value.appendJSON(dst)
		} else {
			dst = enc.appendCore(dst, e, b.core)
		}
	}
	return append(dst, f.end...)
}

// form returns the form of an event.
func (enc *Encoder) form(e *Event, fs []Field) *form {
	t := traits{e.present(), e.Kind, e.Sensor, e.Iface, e.Flow.Service, e.Flow.Transport, e.Flow.Src.IP.Is4()}
	const odd = 0x9e3779b97f4a7c15
	h := t.present ^ uint64(t.transport)<<40
	if t.ipv4 {
		h = ^h
	}
	for _, text := range [...]string{string(t.kind), t.sensor, t.iface, t.service} {
		h = (h ^ mark(text)) * odd
	}
	for i := range fs {
		h = (h ^ mark(fs[i].Name)) * odd
	}
	place := &enc.forms[h>>(64-9)]
	if f := place[0]; f != nil && f.fits(&t, fs) {
		return f
	}
	place[0], place[1] = place[1], place[0]
	if f := place[0]; f == nil || !f.fits(&t, fs) {
		place[0] = enc.newForm(e, t, fs)
	}
	return place[0]
}

// mark is a number that tells most names apart.
func mark(name string) uint64 {
	n := uint64(len(name))
	if n >= 8 {
		s := name[n-8:]
		n ^= uint64(s[0])<<8 | uint64(s[1])<<16 | uint64(s[2])<<24 | uint64(s[3])<<32 | uint64(s[4])<<40 | uint64(s[5])<<48 | uint64(s[6])<<56 | uint64(s[7])
	}
	return n
}

func (f *form) fits(t *traits, fs []Field) bool {
	if f.traits != *t || len(f.names) != len(fs) {
		return false
	}
	for i, name := range f.names {
		if name != fs[i].Name {
			return false
		}
	}
	return true
}

// newForm makes the form of an event.
func (enc *Encoder) newForm(e *Event, t traits, fs []Field) *form {
	// Names last, the other texts are the event's.
	t.kind, t.sensor, t.iface, t.service = Kind(strings.Clone(string(t.kind))), strings.Clone(t.sensor), strings.Clone(t.iface), strings.Clone(t.service)
	f := &form{traits: t, names: make([]string, len(fs))}
	order := make([]int, len(fs))
	for i := range fs {
		f.names[i], order[i] = fs[i].Name, i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(f.names[a], f.names[b]) })
	w := nester{dst: []byte{'{'}}
	fill := func(name string, b blank) {
		w.open(name)
		b.before = string(w.dst)
		w.dst = w.dst[:0]
		f.blanks = append(f.blanks, b)
	}
	for c := coreField(1); c <= numCore; c++ {
		for len(order) > 0 && (c == numCore || f.names[order[0]] < coreNames[c]) {
			fill(f.names[order[0]], blank{field: order[0]})
			order = order[1:]
		}
		switch {
		case c == numCore || t.present&(1<<c) == 0:
		case shared&(1<<c) != 0:
			w.open(coreNames[c])
			w.dst = enc.appendCore(w.dst, e, c)
		default:
			fill(coreNames[c], blank{core: c})
		}
	}
	f.end = string(w.end())
	return f
}

// appendCore appends the JSON of what core returns, and nothing if that is absent.
func (enc *Encoder) appendCore(b []byte, e *Event, c coreField) []byte {
	f := &e.Flow
	switch c {
	case cTimestamp:
		return enc.appendTime(b, e.Time)
	case cStart:
		if !f.Start.IsZero() {
			return enc.appendTime(b, f.Start)
		}
	case cEnd:
		if !f.End.IsZero() {
			return enc.appendTime(b, f.End)
		}
	case cDuration:
		if !f.Start.IsZero() && !f.End.IsZero() {
			return strconv.AppendInt(b, int64(f.End.Sub(f.Start)), 10)
		}
	case cID:
		if !e.ID.IsZero() {
			b = append(b, '"')
			b = hex.AppendEncode(b, e.ID[:])
			return append(b, '"')
		}
	case cSrcIP:
		return appendIP(b, f.Src.IP)
	case cDstIP:
		return appendIP(b, f.Dst.IP)
	case cSrcMAC:
		return appendMAC(b, f.Src.MAC)
	case cDstMAC:
		return appendMAC(b, f.Dst.MAC)
	case cObserver:
		return appendSome(b, e.Sensor)
	case cIface:
		return appendSome(b, e.Iface)
	case cCommunityID:
		return appendSome(b, f.CommunityID)
	case cProtocol:
		return appendSome(b, f.Service)
	case cSrcPort:
		return f.appendPort(b, f.Src.Port)
	case cDstPort:
		return f.appendPort(b, f.Dst.Port)
	case cVLAN:
		return appendNonzero(b, uint64(f.VLAN))
	case cInnerVLAN:
		return appendNonzero(b, uint64(f.InnerVLAN))
	case cSrcBytes:
		return strconv.AppendUint(b, f.Src.Bytes, 10)
	case cDstBytes:
		return strconv.AppendUint(b, f.Dst.Bytes, 10)
	case cNetBytes:
		return strconv.AppendUint(b, f.Src.Bytes+f.Dst.Bytes, 10)
	case cSrcPackets:
		return strconv.AppendUint(b, f.Src.Packets, 10)
	case cDstPackets:
		return strconv.AppendUint(b, f.Dst.Packets, 10)
	case cNetPackets:
		return strconv.AppendUint(b, f.Src.Packets+f.Dst.Packets, 10)
	case cSrcPayload:
		return strconv.AppendUint(b, f.Src.Payload, 10)
	case cDstPayload:
		return strconv.AppendUint(b, f.Dst.Payload, 10)
	case cState:
		return appendSome(b, f.State)
	case cHistory:
		return appendSome(b, f.History)
	case cEndReason:
		return appendSome(b, f.EndReason)
	}
	if v := e.core(c); !v.IsZero() {
		return v.appendJSON(b)
	}
	return b
}

// appendPort appends what port returns.
func (f *Flow) appendPort(b []byte, port uint16) []byte {
	switch f.Transport {
	case ProtoTCP, ProtoUDP, ProtoSCTP, ProtoICMP, ProtoICMPv6:
		return strconv.AppendUint(b, uint64(port), 10)
	}
	return appendNonzero(b, uint64(port))
}

func appendNonzero(b []byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(b, n, 10)
}

func (enc *Encoder) appendTime(b []byte, t time.Time) []byte {
	n := t.UnixNano()
	at, frac := n/int64(time.Second), n%int64(time.Second)
	if frac < 0 {
		at, frac = at-1, frac+int64(time.Second)
	}
	s := &enc.seconds[uint64(at)%uint64(len(enc.seconds))]
	if s.at != at || !s.set {
		s.at, s.set = at, true
		time.Unix(at, 0).UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05")
	}
	var text [len(`"2006-01-02T15:04:05.000000000Z"`)]byte
	text[0] = '"'
	end := 1 + copy(text[1:], s.text[:])
	if frac != 0 {
		text[end] = '.'
		for i := end + 9; i > end+1; i -= 2 { // two digits at a time, and below the first
			pair := 2 * (uint32(frac) % 100)
			frac = int64(uint32(frac) / 100)
			text[i-1], text[i] = pairs[pair], pairs[pair+1]
		}
		text[end+1] = '0' + byte(frac)
		for end += 9; text[end] == '0'; end-- {
		}
		end++
	}
	text[end], text[end+1] = 'Z', '"'
	return append(b, text[:end+2]...)
}

// pairs are the numbers from 00 to 99.
const pairs = "00010203040506070809" +
	"10111213141516171819" +
	"20212223242526272829" +
	"30313233343536373839" +
	"40414243444546474849" +
	"50515253545556575859" +
	"60616263646566676869" +
	"70717273747576777879" +
	"80818283848586878889" +
	"90919293949596979899"

func appendIP(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return b
	}
	b = append(b, '"')
	b = a.WithZone("").AppendTo(b)
	return append(b, '"')
}

func appendMAC(b []byte, m MAC) []byte {
	if m == (MAC{}) {
		return b
	}
	b = append(b, '"')
	b = m.append(b)
	return append(b, '"')
}

func appendSome(b []byte, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(b, s)
}

// AppendJSON appends the JSON of e; where many are written, use an Encoder.
func (e *Event) AppendJSON(dst []byte) []byte {
	enc := encoders.Get().(*Encoder)
	defer encoders.Put(enc)
	return enc.Append(dst, e)
}

var encoders = sync.Pool{New: func() any { return new(Encoder) }}

// MarshalJSON implements json.Marshaler.
func (e *Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// nester turns sorted dotted names into nested objects.
type nester struct {
	dst   []byte
	path  string // of the open groups, with a dot after each
	depth int    // groups open
	comma bool
}

func (w *nester) field(f *Field) {
	if f.Value.IsZero() {
		return
	}
	w.open(f.Name)
	w.dst = f.Value.appendJSON(w.dst)
}

// open writes what comes before the value of a field.
func (w *nester) open(name string) {
	if strings.HasPrefix(name, w.path) && strings.IndexByte(name[len(w.path):], '.') < 0 {
		w.key(name[len(w.path):])
		w.comma = true
		return
	}
	// Length of the leading groups that name shares with the open path.
	common := 0
	for i := 0; i < len(w.path) && i < len(name) && w.path[i] == name[i]; i++ {
		if name[i] == '.' {
			common = i + 1
		}
	}
	for i := common; i < len(w.path); i++ {
		if w.path[i] == '.' {
			w.dst = append(w.dst, '}')
			w.depth--
			w.comma = true
		}
	}
	start := common
	for i := common; i < len(name); i++ {
		if name[i] == '.' {
			w.key(name[start:i])
			w.dst = append(w.dst, '{')
			w.depth++
			w.comma = false
			start = i + 1
		}
	}
	w.path = name[:start]
	w.key(name[start:])
	w.comma = true
}

func (w *nester) key(k string) {
	if w.comma {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(appendString(w.dst, k), ':')
}

func (w *nester) end() []byte {
	for range w.depth + 1 {
		w.dst = append(w.dst, '}')
	}
	return w.dst
}

// AppendJSON appends v as JSON; an absent value is null.
func (v Value) AppendJSON(b []byte) []byte { return v.appendJSON(b) }

func (v *Value) appendJSON(b []byte) []byte {
	switch v.typ {
	case TypeNone:
		return append(b, "null"...)
	case TypeString:
		return appendString(b, v.text())
	case TypeInt:
		return strconv.AppendInt(b, int64(v.n1), 10)
	case TypeIP, TypeTime:
		b = append(b, '"')
		b = v.AppendText(b)
		return append(b, '"')
	case TypeList:
		b = append(b, '[')
		list := v.List()
		for i := range list {
			if i > 0 {
				b = append(b, ',')
			}
			b = list[i].appendJSON(b)
		}
		return append(b, ']')
	case TypeObject:
		w := nester{dst: append(b, '{')}
		fs := v.Object()
		for i := range fs {
			w.field(&fs[i])
		}
		return w.end()
	}
	return v.AppendText(b)
}

// appendFloat writes a float so that it reads back as one: never without a
// point or an exponent. JSON has no infinity; what is not a number becomes 0.
func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	n := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, 64)
	for _, c := range b[n:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

// appendString writes a text in quotes. Most need no escapes.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if plain(s) {
		b = append(b, s...)
		return append(b, '"')
	}
	const hexDigits = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			case '\t':
				b = append(b, `\t`...)
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[start:i]...)
			b = append(b, `\ufffd`...)
			i++
			start = i
			continue
		}
		i += n
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// plain reports whether a text is ASCII without control characters, quotes and
// backslashes. It looks at eight bytes at a time.
func plain(s string) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// The top bit of a byte says that it is beyond ASCII, less than a
		// space, or equal to one of the two.
		if (x|(x-ones*0x20)|(quote-ones)|(slash-ones))&tops != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
