package dnp3

import "encoding/binary"

// Data link frames (IEEE 1815-2012, 9.2): a header of ten bytes, then blocks of
// at most 16 bytes; the header and each block end with a CRC.
const (
	start0, start1 = 0x05, 0x64
	headerLen      = 10
	minLength      = 5   // of the length field: control, destination, source
	maxUser        = 250 // bytes of user data in a frame
	block          = 16
)

// Bits and functions of the control byte (9.2.4.1.3).
const (
	fromMaster = 0x80
	primary    = 0x40

	confirmedData   = 3
	unconfirmedData = 4
)

// frame is one of the data link.
type frame struct {
	control  uint8
	dst, src uint16
	user     []byte // without the CRCs
	damaged  bool   // a block's CRC is wrong
}

// data reports whether a frame carries user data.
func (f *frame) data() bool {
	code := f.control & 0x0f
	return f.control&primary != 0 && (code == confirmedData || code == unconfirmedData) && len(f.user) > 0
}

// next reads the frame that b begins with; its user data go to buf. n is its
// size, 0 where b is too short to tell, and -1 where b does not begin with one.
func next(b []byte, buf *[maxUser]byte) (f frame, n int) {
	if len(b) > 0 && b[0] != start0 || len(b) > 1 && b[1] != start1 || len(b) > 2 && b[2] < minLength {
		return f, -1
	}
	if len(b) < headerLen {
		return f, 0
	}
	if crc(b[:8]) != binary.LittleEndian.Uint16(b[8:]) {
		return f, -1
	}
	size := int(b[2]) - minLength
	n = headerLen + size + 2*((size+block-1)/block)
	if len(b) < n {
		return f, 0
	}
	f.control = b[3]
	f.dst, f.src = binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	f.user = buf[:0]
	for rest := b[headerLen:n]; len(rest) > 0; {
		k := min(block, len(rest)-2)
		if crc(rest[:k]) != binary.LittleEndian.Uint16(rest[k:]) {
			f.damaged = true
		}
		f.user = append(f.user, rest[:k]...)
		rest = rest[k+2:]
	}
	return f, n
}

// table is that of the CRC (9.2.4.3): polynomial 0x3D65, least bit first.
var table = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xa6bc
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}()

func crc(b []byte) uint16 {
	c := uint16(0)
	for _, x := range b {
		c = c>>8 ^ table[byte(c)^x]
	}
	return ^c
}

// Bits of a transport segment's header (8.2).
const (
	transportFIN = 0x80
	transportFIR = 0x40
)

// Bits of an application fragment's control (4.2.2.4).
const (
	appFIR = 0x80
	appFIN = 0x40
	appCON = 0x20
	appUNS = 0x10
	appSEQ = 0x0f
)

// assembly puts the segments of a pair of stations together.
type assembly struct {
	dst, src uint16
	used     bool
	seq      uint8 // of the last segment
	open     bool  // a fragment has begun
	b        []byte
}

// add takes a segment. whole is a fragment that it completes, odd says that the
// segment does not follow the last one.
func (a *assembly) add(segment []byte) (whole []byte, odd bool) {
	h := segment[0]
	seq := h & 0x3f
	if h&transportFIR != 0 {
		a.b, a.open = a.b[:0], true
	} else if !a.open {
		return nil, false // its beginning is not known
	} else if seq != (a.seq+1)&0x3f {
		a.open = false
		return nil, true
	}
	a.seq = seq
	if len(a.b)+len(segment)-1 > maxFragment {
		a.open = false
		return nil, true
	}
	a.b = append(a.b, segment[1:]...)
	if h&transportFIN == 0 {
		return nil, false
	}
	a.open = false
	return a.b, false
}
