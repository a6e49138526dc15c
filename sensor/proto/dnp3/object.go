package dnp3

import (
	"encoding/binary"
	"math"
	"time"
)

// header is an object header with the objects behind it (4.2.2.7).
type header struct {
	group, variation, qualifier uint8
	first                       uint32 // index of the first object, if there is a range
	count                       uint32 // objects
	all                         bool   // neither range nor count: all objects
	data                        []byte // prefixes and objects
	carries                     bool   // data holds objects, not only prefixes
}

// Qualifiers: of the objects' prefixes, and of the range.
func (h *header) prefix() uint8 { return h.qualifier >> 4 & 7 }
func (h *header) rng() uint8    { return h.qualifier & 0x0f }

// sized reports whether each object says its size before it.
func (h *header) sized() bool { return h.prefix() >= 4 && h.prefix() <= 6 }

// prefixSizes are the bytes of index or size before each object.
var prefixSizes = [8]int{0, 1, 2, 4, 1, 2, 4, 0}

// sizedData returns the first object of a header whose objects say their sizes.
func (h *header) sizedData() []byte {
	k := prefixSizes[h.prefix()]
	if !h.sized() || len(h.data) < k {
		return nil
	}
	return h.data[k:]
}

func number(b []byte, size int) uint32 {
	switch size {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.LittleEndian.Uint16(b))
	}
	return binary.LittleEndian.Uint32(b)
}

// nextHeader reads the header that b begins with, and what belongs to it. ok is
// false where that is not to be told: known says whether the objects are.
func nextHeader(b []byte, function uint8) (h header, rest []byte, known, ok bool) {
	if len(b) < 3 {
		return h, b, true, false
	}
	h.group, h.variation, h.qualifier = b[0], b[1], b[2]
	rest = b[3:]
	switch r := h.rng(); r {
	case 0, 1, 2, 3, 4, 5: // first and last: indexes, or addresses
		k := 1 << (r % 3)
		if len(rest) < 2*k {
			return h, b, true, false
		}
		first, last := number(rest, k), number(rest[k:], k)
		rest = rest[2*k:]
		if last < first || last-first == math.MaxUint32 {
			return h, b, true, false
		}
		h.first, h.count = first, last-first+1
	case 6:
		h.all = true
	case 7, 8, 9: // how many
		k := 1 << (r - 7)
		if len(rest) < k {
			return h, b, true, false
		}
		h.count, rest = number(rest, k), rest[k:]
	case 11: // how many, of objects that say their size
		if len(rest) < 1 {
			return h, b, true, false
		}
		h.count, rest = uint32(rest[0]), rest[1:]
	default:
		return h, b, true, false
	}
	if h.prefix() == 7 {
		return h, b, true, false
	}
	h.carries = (carries(function, h.group) || h.sized()) && !h.all
	k := prefixSizes[h.prefix()]
	var size uint64
	switch {
	case !h.carries:
		size = uint64(h.count) * uint64(k)
	case h.sized() || h.group == groupAttributes:
		for range h.count {
			tail := rest[min(size, uint64(len(rest))):]
			if len(tail) < k {
				return h, b, true, false
			}
			if h.sized() {
				size += uint64(k) + uint64(number(tail, k))
				continue
			}
			if len(tail) < k+2 { // type and length of an attribute
				return h, b, true, false
			}
			size += uint64(k) + 2 + uint64(tail[k+1])
		}
	default:
		f, found := describe(h.group, h.variation)
		if !found {
			return h, b, false, false
		}
		switch {
		case f.bits > 0 && k == 0:
			size = (uint64(h.count)*uint64(f.bits) + 7) / 8
		case f.bits > 0:
			size = uint64(h.count) * uint64(k+1)
		default:
			size = uint64(h.count) * uint64(k+f.size)
		}
	}
	if size > uint64(len(rest)) {
		return h, b, true, false
	}
	h.data, rest = rest[:size], rest[size:]
	return h, rest, true, true
}

// item is one object.
type item struct {
	index uint32
	data  []byte // of packed objects nil
	bits  uint8  // of packed objects the value
}

// items walks over a header's objects.
type items struct {
	h    header
	f    form
	i    uint32
	rest []byte
}

func (h *header) items() items {
	f, _ := describe(h.group, h.variation)
	return items{*h, f, 0, h.data}
}

// next returns the next object, false behind the last.
func (w *items) next() (x item, ok bool) {
	if w.i >= w.h.count {
		return x, false
	}
	x.index = w.h.first + w.i
	k := prefixSizes[w.h.prefix()]
	if w.f.bits > 0 && k == 0 {
		at := uint64(w.i) * uint64(w.f.bits)
		if at/8 >= uint64(len(w.h.data)) {
			return x, false
		}
		x.bits = w.h.data[at/8] >> (at % 8) & (1<<w.f.bits - 1)
		w.i++
		return x, true
	}
	if len(w.rest) < k {
		return x, false
	}
	size := w.f.size
	switch {
	case w.h.sized():
		size = int(number(w.rest, k))
	case k > 0:
		x.index = number(w.rest, k)
	}
	w.rest = w.rest[k:]
	switch {
	case !w.h.carries:
		size = 0
	case w.h.sized():
	case w.h.group == groupAttributes:
		if len(w.rest) < 2 {
			return x, false
		}
		size = 2 + int(w.rest[1])
	case w.f.bits > 0:
		size = 1
	}
	if len(w.rest) < size || size == 0 && k == 0 {
		return x, false // however many there are said to be
	}
	x.data, w.rest = w.rest[:size], w.rest[size:]
	if w.f.bits > 0 && size == 1 {
		x.bits = x.data[0] & (1<<w.f.bits - 1)
	}
	w.i++
	return x, true
}

// form is how objects of a group and variation lie (annex A).
type form struct {
	object string // ics.objects.type
	layout string // a letter for each part; see sizes
	size   int    // bytes
	bits   uint8  // of packed objects
	flags  *[8]string
}

// sizes are the bytes of the parts of an object: flags, or those with a state
// in them, a status; integers, floating points and pairs of digits; absolute and relative times.
var sizes = [256]int{
	'f': 1, 'B': 1, 'D': 1, 's': 1,
	'I': 4, 'i': 4, 'H': 2, 'h': 2, 'e': 4, 'd': 8, 'b': 1,
	't': 6, 'r': 2,
	'c': 1, '.': 1,
}

// group lists the variations of an object group by their layouts; "1" and "2"
// are packed bits.
type group struct {
	object     string
	variations []string
	flags      *[8]string
}

// Flags that say something against a value (annex A); the first is the absence
// of "online".
var (
	binaryFlags  = [8]string{"offline", "restart", "communication_lost", "remote_forced", "local_forced", "chatter"}
	doubleFlags  = [8]string{"offline", "restart", "communication_lost", "remote_forced", "local_forced", "chatter"}
	outputFlags  = [8]string{"offline", "restart", "communication_lost", "remote_forced", "local_forced"}
	counterFlags = [8]string{"offline", "restart", "communication_lost", "remote_forced", "local_forced", "rollover", "discontinuity"}
	analogFlags  = [8]string{"offline", "restart", "communication_lost", "remote_forced", "local_forced", "overflow", "reference_error"}
)

var groups = [256]group{
	1:  {"binary_input", []string{"", "1", "B"}, &binaryFlags},
	2:  {"binary_input", []string{"", "B", "Bt", "Br"}, &binaryFlags},
	3:  {"double_bit_input", []string{"", "2", "D"}, &doubleFlags},
	4:  {"double_bit_input", []string{"", "D", "Dt", "Dr"}, &doubleFlags},
	10: {"binary_output", []string{"", "1", "B"}, &outputFlags},
	11: {"binary_output", []string{"", "B", "Bt"}, &outputFlags},
	12: {"binary_output_command", []string{"", "...........", "...........", "1"}, nil},
	13: {"binary_output_command", []string{"", "B", "Bt"}, nil},
	20: {"counter", []string{"", "fI", "fH", "fI", "fH", "I", "H", "I", "H"}, &counterFlags},
	21: {"frozen_counter", []string{"", "fI", "fH", "fI", "fH", "fIt", "fHt", "fIt", "fHt", "I", "H", "I", "H"}, &counterFlags},
	22: {"counter", []string{"", "fI", "fH", "fI", "fH", "fIt", "fHt", "fIt", "fHt"}, &counterFlags},
	23: {"frozen_counter", []string{"", "fI", "fH", "fI", "fH", "fIt", "fHt", "fIt", "fHt"}, &counterFlags},
	30: {"analog_input", []string{"", "fi", "fh", "i", "h", "fe", "fd"}, &analogFlags},
	31: {"frozen_analog_input", []string{"", "fi", "fh", "fit", "fht", "i", "h", "fe", "fd"}, &analogFlags},
	32: {"analog_input", []string{"", "fi", "fh", "fit", "fht", "fe", "fd", "fet", "fdt"}, &analogFlags},
	33: {"frozen_analog_input", []string{"", "fi", "fh", "fit", "fht", "fe", "fd", "fet", "fdt"}, &analogFlags},
	34: {"analog_input_deadband", []string{"", "H", "I", "e"}, nil},
	40: {"analog_output", []string{"", "fi", "fh", "fe", "fd"}, &analogFlags},
	41: {"analog_output_command", []string{"", "is", "hs", "es", "ds"}, nil},
	42: {"analog_output", []string{"", "fi", "fh", "fit", "fht", "fe", "fd", "fet", "fdt"}, &analogFlags},
	43: {"analog_output_command", []string{"", "si", "sh", "sit", "sht", "se", "sd", "set", "sdt"}, nil},
	50: {"", []string{"", "t", "t....", "t", "t....."}, nil},
	51: {"", []string{"", "t", "t"}, nil},
	52: {"", []string{"", "r", "r"}, nil},
	60: {"", []string{"", "", "", "", ""}, nil},
	80: {"", []string{"", "1"}, nil},
	81: {"", []string{"", "..."}, nil},
	// Session keys are asked for by user, requests of aggressive mode begin
	// with a sequence number and a user.
	groupAuth: {"", []string{"", "", "", "......", ".."}, nil},
	101:       {"bcd", []string{"", "cc", "cccc", "cccccccc"}, nil},
	102:       {"octet", []string{"", "b"}, nil},
	121:       {"security_statistic", []string{"", "f..I"}, nil},
	122:       {"security_statistic", []string{"", "f..I", "f..It"}, nil},
}

// forms are made of groups once.
var forms = func() (t [256][]form) {
	for i, g := range groups {
		for _, layout := range g.variations {
			f := form{object: g.object, layout: layout, flags: g.flags}
			switch layout {
			case "1", "2":
				f.bits, f.layout = layout[0]-'0', ""
			default:
				for _, c := range layout {
					f.size += sizes[c]
				}
			}
			t[i] = append(t[i], f)
		}
	}
	return t
}()

// describe returns the form of objects.
func describe(group, variation uint8) (f form, ok bool) {
	if group >= 110 && group <= 113 { // strings as long as the variation says
		return form{object: "string", size: int(variation)}, true
	}
	if int(variation) >= len(forms[group]) {
		return f, false
	}
	f = forms[group][variation]
	return f, f.size > 0 || f.bits > 0 || group == 60
}

// reading is a value with what is said of it.
type reading struct {
	index   uint32
	value   float64
	flags   uint8 // those that are said against the value
	names   *[8]string
	at      time.Time // zero if it has none
	rel     time.Duration
	hasRel  bool
	status  uint8 // of a command
	hasStat bool
	nan     bool
}

// decode reads an object.
func (f *form) decode(x item) (r reading) {
	r.index, r.names = x.index, f.flags
	if f.bits > 0 {
		r.value = float64(x.bits)
		return r
	}
	b := x.data
	if len(b) < f.size {
		return r
	}
	digits := 1.0
	for _, c := range []byte(f.layout) {
		switch c {
		case 'f', 'B', 'D':
			r.flags = b[0] ^ 1 // bit 0 says that all is well
			switch c {
			case 'B':
				r.value = float64(b[0] >> 7)
				r.flags &= 0x7f
			case 'D':
				r.value = float64(b[0] >> 6)
				r.flags &= 0x3f
			}
			if f.flags == nil { // of a command event the rest is its status
				r.status, r.hasStat, r.flags = b[0]&0x7f, true, 0
			}
		case 's':
			r.status, r.hasStat = b[0]&0x7f, true
		case 'I':
			r.value = float64(binary.LittleEndian.Uint32(b))
		case 'i':
			r.value = float64(int32(binary.LittleEndian.Uint32(b)))
		case 'H':
			r.value = float64(binary.LittleEndian.Uint16(b))
		case 'h':
			r.value = float64(int16(binary.LittleEndian.Uint16(b)))
		case 'b':
			r.value = float64(b[0])
		case 'c': // the lowest digits first
			r.value += digits * float64(b[0]>>4*10+b[0]&0x0f)
			digits *= 100
		case 'e':
			r.value = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case 'd':
			r.value = math.Float64frombits(binary.LittleEndian.Uint64(b))
		case 't':
			r.at = stamp(b)
		case 'r':
			r.rel, r.hasRel = time.Duration(binary.LittleEndian.Uint16(b))*time.Millisecond, true
		}
		b = b[sizes[c]:]
	}
	if math.IsNaN(r.value) || math.IsInf(r.value, 0) {
		r.value, r.nan = 0, true
	}
	return r
}

// stamp reads a DNP3 time: milliseconds since 1970 (A.2). Those beyond what
// events can say are none.
func stamp(b []byte) time.Time {
	ms := uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
	const last = 253402300799999 // of the year 9999
	if ms == 0 || ms > math.MaxInt64/uint64(time.Millisecond) || ms > last {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}
