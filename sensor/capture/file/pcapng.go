package file

import (
	"encoding/binary"
	"io"
	"math/bits"
	"strings"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, section 4).
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6
)

// pcapngFormat is the state of a pcapng file.
type pcapngFormat struct {
	swapped bool        // this section is big-endian
	taps    []tap       // interfaces of this section
	last    time.Time   // of the packet before, for blocks that have no time; at first 1970
	lost    []lossCount // of each tap of this section
}

// tap is an interface as a section describes it.
type tap struct {
	iface   int // in Reader.interfaces
	link    capture.LinkType
	snaplen uint32
	units   uint64 // of time per second
	offset  int64  // seconds to add
}

// lossCount is what the writer of the file counted for an interface so far.
type lossCount struct{ kernel, iface uint64 }

func (f *pcapngFormat) uint16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if f.swapped {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (f *pcapngFormat) uint32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if f.swapped {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func (f *pcapngFormat) uint64(b []byte) uint64 {
	v := binary.LittleEndian.Uint64(b)
	if f.swapped {
		v = bits.ReverseBytes64(v)
	}
	return v
}

func (r *Reader) nextPcapng(p *capture.Packet) error {
	f := &r.ng
	for {
		b, err := r.in.peek(12)
		if err != nil {
			if err == errStill || len(b) == 0 && err == io.EOF {
				return err
			}
			return r.cut(err, "a block has at least", 12)
		}
		kind := f.uint32(b)
		if kind == blockSection { // reads the same in both byte orders
			switch binary.LittleEndian.Uint32(b[8:]) {
			case 0x1a2b3c4d:
				f.swapped = false
			case 0x4d3c2b1a:
				f.swapped = true
			default:
				return r.errorf("damaged at byte %d: section header has byte-order magic % x", r.in.offset(), b[8:12])
			}
		}
		size := f.uint32(b[4:])
		if size < 12 || size%4 != 0 {
			return r.errorf("damaged at byte %d: block says it has %d bytes", r.in.offset(), size)
		}
		switch kind {
		case blockSection, blockInterface, blockPacket, blockSimple, blockStatistics, blockEnhanced:
		default:
			if n, err := r.in.skip(int64(size)); err == errStill {
				return err
			} else if err != nil {
				return r.errorf("cut off at byte %d: block of type %#x says %d bytes, %d are left", r.in.offset(), kind, size, n)
			}
			continue
		}
		if size > maxBlock {
			return r.errorf("damaged at byte %d: block of type %#x says %d bytes, more than %d",
				r.in.offset(), kind, size, maxBlock)
		}
		if kind == blockStatistics && r.in.still {
			return errStill // so that Counters does not say more than it should
		}
		if b, err = r.in.peek(int(size)); err == errStill {
			return err
		} else if err != nil {
			return r.cut(err, "a block says", int(size))
		}
		if end := f.uint32(b[size-4:]); end != size {
			return r.errorf("damaged at byte %d: block says %d bytes at its start and %d at its end", r.in.offset(), size, end)
		}
		found, err := r.block(p, kind, b[8:size-4])
		if err != nil {
			return err
		}
		r.in.pos += int(size)
		if found {
			return nil
		}
	}
}

// block reads the body of a block, and reports whether there was a packet in it.
func (r *Reader) block(p *capture.Packet, kind uint32, b []byte) (bool, error) {
	f := &r.ng
	least := fixedFields(kind)
	if len(b) < least {
		return false, r.errorf("damaged at byte %d: block of type %#x has no room for its fields", r.in.offset(), kind)
	}
	var (
		id       uint32
		at       uint64
		captured uint32
		length   uint32
	)
	switch kind {
	case blockSection:
		if major := f.uint16(b[4:]); major != 1 {
			return false, r.errorf("byte %d: section is of pcapng version %d, only 1 is known", r.in.offset(), major)
		}
		f.taps, f.lost = f.taps[:0], f.lost[:0]
		return false, nil
	case blockInterface:
		return false, r.describeInterface(b)
	case blockStatistics:
		r.statistics(b)
		return false, nil
	case blockEnhanced:
		id = f.uint32(b)
		at = uint64(f.uint32(b[4:]))<<32 | uint64(f.uint32(b[8:]))
		captured, length = f.uint32(b[12:]), f.uint32(b[16:])
	case blockPacket:
		id = uint32(f.uint16(b))
		at = uint64(f.uint32(b[4:]))<<32 | uint64(f.uint32(b[8:]))
		captured, length = f.uint32(b[12:]), f.uint32(b[16:])
	case blockSimple:
		length = f.uint32(b)
		captured = min(length, uint32(len(b)-least))
		if len(f.taps) > 0 && f.taps[0].snaplen > 0 {
			captured = min(captured, f.taps[0].snaplen)
		}
	}
	if id >= uint32(len(f.taps)) {
		return false, r.errorf("damaged at byte %d: packet is of interface %d, the section has described %d",
			r.in.offset(), id, len(f.taps))
	}
	if captured > maxPacket || int(captured) > len(b)-least {
		return false, r.errorf("damaged at byte %d: packet says %d bytes, its block has room for %d",
			r.in.offset(), captured, min(len(b)-least, maxPacket))
	}
	t := &f.taps[id]
	if kind != blockSimple {
		f.last = t.time(at)
	}
	p.Time = f.last
	p.Data = b[least : least+int(captured) : least+int(captured)]
	p.Length = int(max(captured, length))
	p.Link = t.link
	p.Iface = t.iface
	p.Offset = r.in.offset() + 8 + int64(least)
	return true, nil
}

// fixedFields returns the length of the fixed fields in a block's body.
func fixedFields(kind uint32) int {
	switch kind {
	case blockSection:
		return 16
	case blockInterface:
		return 8
	case blockStatistics:
		return 12
	case blockEnhanced, blockPacket:
		return 20
	}
	return 4
}

// time converts a time stamp, without loss for units up to nanoseconds.
func (t *tap) time(at uint64) time.Time {
	sec := at / t.units
	frac := at - sec*t.units
	switch t.units {
	case 1e6:
		frac *= 1e3
	case 1e9:
	default:
		hi, lo := bits.Mul64(frac, 1e9)
		frac, _ = bits.Div64(hi, lo, t.units)
	}
	return time.Unix(int64(sec)+t.offset, int64(frac)).UTC()
}

// describeInterface reads an interface description block.
func (r *Reader) describeInterface(b []byte) error {
	f := &r.ng
	if len(f.taps) == maxInterfaces {
		return r.errorf("byte %d: section describes more than %d interfaces", r.in.offset(), maxInterfaces)
	}
	t := tap{link: capture.LinkType(f.uint16(b)), snaplen: f.uint32(b[4:]), units: 1e6}
	name := r.name
	for code, value := range f.options(b[8:]) {
		switch {
		case code == 2 && len(value) > 0 && len(value) <= 256: // if_name
			name = strings.ToValidUTF8(strings.TrimRight(string(value), "\x00"), "\uFFFD")
		case code == 9 && len(value) >= 1: // if_tsresol
			power := value[0] & 0x7f
			switch {
			case value[0]&0x80 != 0 && power < 64:
				t.units = 1 << power
			case value[0]&0x80 == 0 && power < 20:
				t.units = 1
				for range power {
					t.units *= 10
				}
			default:
				return r.errorf("byte %d: interface has a time resolution of %#x, which is not to be expressed", r.in.offset(), value[0])
			}
		case code == 14 && len(value) >= 8: // if_tsoffset
			t.offset = int64(f.uint64(value))
		}
	}
	var err error
	t.iface, err = r.addInterface(name)
	f.taps = append(f.taps, t)
	f.lost = append(f.lost, lossCount{})
	return err
}

// statistics reads an interface statistics block. Its numbers are totals since
// the start of the capture, so only what they grew by is added.
func (r *Reader) statistics(b []byte) {
	f := &r.ng
	id := f.uint32(b)
	if id >= uint32(len(f.lost)) {
		return
	}
	lost := &f.lost[id]
	if r.dropped == nil {
		r.dropped = make(map[string]uint64)
	}
	for code, value := range f.options(b[12:]) {
		if len(value) < 8 {
			continue
		}
		switch n := f.uint64(value); {
		case code == 5 && n > lost.iface: // isb_ifdrop
			r.dropped["interface"] += n - lost.iface
			lost.iface = n
		case code == 7 && n > lost.kernel: // isb_osdrop
			r.dropped["kernel"] += n - lost.kernel
			lost.kernel = n
		}
	}
}

// options walks over the options of a block. A broken list ends early.
func (f *pcapngFormat) options(b []byte) func(yield func(code uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			code, n := f.uint16(b), int(f.uint16(b[2:]))
			if code == 0 || n > len(b)-4 {
				return
			}
			if !yield(code, b[4:4+n]) {
				return
			}
			b = b[min(len(b), 4+(n+3)&^3):]
		}
	}
}
