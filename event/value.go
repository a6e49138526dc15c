package event

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Type says what a Value holds.
type Type uint8

// The types of values.
const (
	TypeNone   Type = iota
	TypeString      // UTF-8 text
	TypeInt         // signed 64-bit integer
	TypeUint        // an integer beyond the range of TypeInt
	TypeFloat       // 64-bit float
	TypeBool
	TypeIP     // IPv4 or IPv6 address
	TypeTime   // UTC, nanoseconds
	TypeList   // of values
	TypeObject // of fields, whose names are relative
)

// Value is one value of a field. The zero Value is absent. Values are small,
// copied freely, and never change.
//
// A Value is half the size that it would have with a string and a slice in it,
// and has one pointer rather than three: events are mostly Values, and making,
// copying and marking them is a good part of a sensor's work. log/slog does
// the same.
type Value struct {
	_      [0]func() // Values are compared by Equal, not by ==
	typ    Type
	v4     bool           // of an address
	n1, n2 uint64         // number, the two halves of an address, or n1 the length of what ref refers to
	ref    unsafe.Pointer // to the first byte of a text, Value of a list, or Field of an object
}

// Str returns a text value. The text is UTF-8; see Text for bytes from a wire.
func Str(s string) Value {
	return Value{typ: TypeString, n1: uint64(len(s)), ref: unsafe.Pointer(unsafe.StringData(s))}
}

// text is the text of a TypeString.
func (v *Value) text() string { return unsafe.String((*byte)(v.ref), int(v.n1)) }

// Text returns a copy of bytes from a wire as text: bytes that are not UTF-8
// and control characters become \xNN, and a backslash that could be read as
// such an escape is doubled, so that what is stored is what a rule saw live.
func Text(b []byte) Value {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if escaped(b[i:], r, n) {
			return Str(string(appendEscaped(make([]byte, 0, len(b)+16), b)))
		}
		i += n
	}
	return Str(string(b))
}

// AppendText appends bytes from a wire as Text makes text of them.
func AppendText(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		if c := b[i]; 0x20 <= c && c < 0x7f && c != '\\' {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if escaped(b[i:], r, n) {
			return appendEscaped(dst, b)
		}
		i += n
	}
	return append(dst, b...)
}

func escaped(b []byte, r rune, n int) bool {
	switch {
	case r == utf8.RuneError && n <= 1, r < 0x20, r == 0x7f:
		return true
	case r == '\\':
		return len(b) > 1 && (b[1] == 'x' || b[1] == '\\')
	}
	return false
}

func appendEscaped(dst, b []byte) []byte {
	const hexDigits = "0123456789abcdef"
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case !escaped(b[i:], r, n):
			dst = append(dst, b[i:i+n]...)
		case r == '\\':
			dst = append(dst, `\\`...)
		default:
			dst = append(dst, '\\', 'x', hexDigits[b[i]>>4], hexDigits[b[i]&15])
			n = 1
		}
		i += n
	}
	return dst
}

// Int returns a signed number.
func Int(n int64) Value { return Value{typ: TypeInt, n1: uint64(n)} }

// Uint returns an unsigned number; one that fits is held as TypeInt, so a
// number has one form only.
func Uint(n uint64) Value {
	if n <= math.MaxInt64 {
		return Int(int64(n))
	}
	return Value{typ: TypeUint, n1: n}
}

// Float returns a floating-point number.
func Float(f float64) Value { return Value{typ: TypeFloat, n1: math.Float64bits(f)} }

// Bool returns a truth value.
func Bool(b bool) Value {
	v := Value{typ: TypeBool}
	if b {
		v.n1 = 1
	}
	return v
}

// IP returns an address; an invalid address gives the absent Value. Zones are
// dropped: an address on the wire has none.
func IP(a netip.Addr) Value {
	if !a.IsValid() {
		return Value{}
	}
	b := a.As16()
	v := Value{typ: TypeIP, n1: binary.BigEndian.Uint64(b[:8]), n2: binary.BigEndian.Uint64(b[8:])}
	v.v4 = a.Is4()
	return v
}

// Time returns a time.
func Time(t time.Time) Value { return Value{typ: TypeTime, n1: uint64(t.UnixNano())} }

// List returns a list that keeps vs.
func List(vs ...Value) Value {
	return Value{typ: TypeList, n1: uint64(len(vs)), ref: unsafe.Pointer(unsafe.SliceData(vs))}
}

// Strs returns a list of text values.
func Strs(ss []string) Value {
	vs := make([]Value, len(ss))
	for i, s := range ss {
		vs[i] = Str(s)
	}
	return List(vs...)
}

// Object returns an object that keeps fs.
func Object(fs ...Field) Value {
	return Value{typ: TypeObject, n1: uint64(len(fs)), ref: unsafe.Pointer(unsafe.SliceData(fs))}
}

// Type says what v holds.
func (v Value) Type() Type { return v.typ }

// IsZero reports whether v is absent.
func (v Value) IsZero() bool { return v.typ == TypeNone }

// Str returns the text of a TypeString, else "". See String for any type.
func (v Value) Str() string {
	if v.typ != TypeString {
		return ""
	}
	return v.text()
}

// Int returns a number as int64; ok is false if v is not a whole number in range.
func (v Value) Int() (n int64, ok bool) {
	if v.typ != TypeInt {
		return 0, false
	}
	return int64(v.n1), true
}

// Uint returns a number as uint64; ok is false if v is not a whole number in range.
func (v Value) Uint() (n uint64, ok bool) {
	switch v.typ {
	case TypeUint:
		return v.n1, true
	case TypeInt:
		return v.n1, int64(v.n1) >= 0
	}
	return 0, false
}

// Float returns any number as float64.
func (v Value) Float() (f float64, ok bool) {
	switch v.typ {
	case TypeFloat:
		return math.Float64frombits(v.n1), true
	case TypeInt:
		return float64(int64(v.n1)), true
	case TypeUint:
		return float64(v.n1), true
	}
	return 0, false
}

// Bool returns the truth of a TypeBool.
func (v Value) Bool() (b, ok bool) { return v.typ == TypeBool && v.n1 == 1, v.typ == TypeBool }

// IP returns the address of a TypeIP.
func (v Value) IP() (a netip.Addr, ok bool) {
	if v.typ != TypeIP {
		return netip.Addr{}, false
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], v.n1)
	binary.BigEndian.PutUint64(b[8:], v.n2)
	a = netip.AddrFrom16(b)
	if v.v4 {
		a = a.Unmap()
	}
	return a, true
}

// Time returns the time of a TypeTime.
func (v Value) Time() (t time.Time, ok bool) {
	if v.typ != TypeTime {
		return time.Time{}, false
	}
	return time.Unix(0, int64(v.n1)).UTC(), true
}

// List returns the elements of a TypeList, else nil. They may not be changed.
func (v Value) List() []Value {
	if v.typ != TypeList {
		return nil
	}
	return unsafe.Slice((*Value)(v.ref), int(v.n1))
}

// Object returns the fields of a TypeObject, else nil. They may not be changed.
func (v Value) Object() []Field {
	if v.typ != TypeObject {
		return nil
	}
	return unsafe.Slice((*Field)(v.ref), int(v.n1))
}

// String returns the text form of any value: what a person reads, and what a
// text comparison compares.
func (v Value) String() string {
	if v.typ == TypeString {
		return v.text()
	}
	return string(v.AppendText(nil))
}

// AppendText appends what String returns.
func (v Value) AppendText(b []byte) []byte {
	switch v.typ {
	case TypeNone:
		return b
	case TypeString:
		return append(b, v.text()...)
	case TypeInt:
		return strconv.AppendInt(b, int64(v.n1), 10)
	case TypeUint:
		return strconv.AppendUint(b, v.n1, 10)
	case TypeFloat:
		return appendFloat(b, math.Float64frombits(v.n1))
	case TypeBool:
		return strconv.AppendBool(b, v.n1 == 1)
	case TypeIP:
		a, _ := v.IP()
		return a.AppendTo(b)
	case TypeTime:
		t, _ := v.Time()
		return t.AppendFormat(b, time.RFC3339Nano)
	}
	return v.AppendJSON(b)
}

// Equal reports whether two values are the same in type and content.
func (v Value) Equal(o Value) bool {
	if v.typ != o.typ || v.n1 != o.n1 || v.n2 != o.n2 || v.v4 != o.v4 {
		return false
	}
	switch v.typ {
	case TypeString:
		return v.text() == o.text()
	case TypeList:
		a, b := v.List(), o.List()
		if len(a) != len(b) {
			return false
		}
		for i := range a {
			if !a[i].Equal(b[i]) {
				return false
			}
		}
	case TypeObject:
		a, b := v.Object(), o.Object()
		if len(a) != len(b) {
			return false
		}
		for i := range a {
			if a[i].Name != b[i].Name || !a[i].Value.Equal(b[i].Value) {
				return false
			}
		}
	}
	return true
}
