package event

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Encoder writes events as JSON: one object, fields nested by the dots of
// their names and sorted, so the same event always has the same bytes. It
// keeps scratch space, and is for one goroutine. The zero Encoder is ready.
type Encoder struct {
	extra []Field
}

// Append appends the JSON of e, without a line end.
func (enc *Encoder) Append(dst []byte, e *Event) []byte {
	enc.extra = append(enc.extra[:0], e.Fields...)
	slices.SortFunc(enc.extra, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	w := nester{dst: append(dst, '{')}
	i := 0
	for c := coreField(1); c < numCore; c++ {
		for i < len(enc.extra) && enc.extra[i].Name < coreNames[c] {
			w.field(enc.extra[i].Name, enc.extra[i].Value)
			i++
		}
		if v := e.core(c); !v.IsZero() {
			w.field(coreNames[c], v)
		}
	}
	for ; i < len(enc.extra); i++ {
		w.field(enc.extra[i].Name, enc.extra[i].Value)
	}
	return w.end()
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

func (w *nester) field(name string, v Value) {
	if v.IsZero() {
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
	w.dst = v.AppendJSON(w.dst)
	w.comma = true
}

func (w *nester) key(k string) {
	if w.comma {
		w.dst = append(w.dst, ',')
	}
	w.dst = appendString(w.dst, k)
	w.dst = append(w.dst, ':')
}

func (w *nester) end() []byte {
	for range w.depth + 1 {
		w.dst = append(w.dst, '}')
	}
	return w.dst
}

// AppendJSON appends v as JSON; an absent value is null.
func (v Value) AppendJSON(b []byte) []byte {
	switch v.typ {
	case TypeNone:
		return append(b, "null"...)
	case TypeString:
		return appendString(b, v.str)
	case TypeIP, TypeTime:
		b = append(b, '"')
		b = v.AppendText(b)
		return append(b, '"')
	case TypeList:
		b = append(b, '[')
		for i, x := range v.List() {
			if i > 0 {
				b = append(b, ',')
			}
			b = x.AppendJSON(b)
		}
		return append(b, ']')
	case TypeObject:
		w := nester{dst: append(b, '{')}
		for _, f := range v.Object() {
			w.field(f.Name, f.Value)
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

func appendString(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
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
