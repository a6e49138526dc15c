package event

import (
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Encoder writes events as JSON: one object, fields nested by the dots of
// their names and sorted, so the same event always has the same bytes. It
// keeps scratch space, and is for one goroutine. The zero Encoder is ready.
//
// The core fields, of which most events mainly consist, are written without
// going through Values, and what lies between two of them is made beforehand.
type Encoder struct {
	order   []int32 // indices of an event's Fields, by name
	seconds [8]second
}

// second is the text of a second, kept because events come in bursts.
type second struct {
	at   int64 // since 1970
	text [len("2006-01-02T15:04:05")]byte
	set  bool
}

// Append appends the JSON of e, without a line end.
func (enc *Encoder) Append(dst []byte, e *Event) []byte {
	order := enc.sort(e.Fields)
	dst = append(dst, '{')
	last := coreField(0) // of those written, unless another field came after it
	w := nester{}
	between := false // another field came after last
	next := enc.place(e, order)
	for c := coreField(1); c < numCore; c++ {
		if e.Kind != KindFlow && c.ofFlows() {
			continue
		}
		for next <= c {
			if !between {
				w, between = coreTexts.nester(last), true
			}
			w.dst = dst
			w.field(&e.Fields[order[0]])
			dst, order = w.dst, order[1:]
			next = enc.place(e, order)
		}
		before := len(dst)
		if between {
			mark := w
			w.dst = dst
			w.open(coreNames[c])
			dst = w.dst
			w = mark
		} else {
			dst = append(dst, coreTexts[c].after[last]...)
		}
		key := len(dst)
		if dst = enc.appendCore(dst, e, c); len(dst) == key {
			dst = dst[:before]
			continue
		}
		last, between = c, false
	}
	if !between {
		w = coreTexts.nester(last)
	}
	w.dst = dst
	for _, i := range order {
		w.field(&e.Fields[i])
	}
	return w.end()
}

// place returns the core field before which the next other field is written.
func (enc *Encoder) place(e *Event, order []int32) coreField {
	if len(order) == 0 {
		return numCore
	}
	name := e.Fields[order[0]].Name
	from, to := coreField(1), numCore
	for from < to {
		if mid := (from + to) / 2; name < coreNames[mid] {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from
}

// sort returns the indices of fields by name.
func (enc *Encoder) sort(fs []Field) []int32 {
	enc.order = enc.order[:0]
	for i := range fs {
		enc.order = append(enc.order, int32(i))
	}
	if len(fs) > 32 {
		slices.SortStableFunc(enc.order, func(a, b int32) int { return strings.Compare(fs[a].Name, fs[b].Name) })
		return enc.order
	}
	for i := 1; i < len(enc.order); i++ {
		for j := i; j > 0 && fs[enc.order[j]].Name < fs[enc.order[j-1]].Name; j-- {
			enc.order[j], enc.order[j-1] = enc.order[j-1], enc.order[j]
		}
	}
	return enc.order
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

// coreText is what of a core field's JSON is the same in all events.
type coreText struct {
	path  string // as of nester, when the field was written
	depth int
	// after is what comes before the value, by the core field before it; 0 is
	// for none.
	after [numCore]string
}

// coreTable is the texts of all core fields.
type coreTable [numCore]coreText

var coreTexts = func() *coreTable {
	texts := new(coreTable)
	for c := coreField(1); c < numCore; c++ {
		for last := range c {
			w := texts.nester(last)
			w.open(coreNames[c])
			texts[c].path, texts[c].depth, texts[c].after[last] = w.path, w.depth, string(w.dst)
		}
	}
	return texts
}()

// nester returns a nester that goes on after a core field, or at the start.
func (texts *coreTable) nester(last coreField) nester {
	return nester{path: texts[last].path, depth: texts[last].depth, comma: last != 0}
}

// AppendJSON appends the JSON of e; where many are written, use an Encoder.
func (e *Event) AppendJSON(dst []byte) []byte {
	var enc Encoder
	return enc.Append(dst, e)
}

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
