package iec104

import "encoding/binary"

// format is one of the three of an APDU (IEC 60870-5-104, 5.1).
type format uint8

const (
	formatI format = iota // numbered information
	formatS               // numbered supervision: an acknowledgement
	formatU               // unnumbered control
)

const (
	startByte = 0x68
	minLength = 4   // control field alone
	maxLength = 253 // what the length field may say
	asduHead  = 6   // type, qualifier, cause of two bytes, common address of two
	ioaLen    = 3   // information object address
	modulus   = 1 << 15
)

// apdu is one message.
type apdu struct {
	format     format
	send, recv uint16 // N(S), of I only; N(R), of I and S
	control    uint8  // of U: which of its functions
	asdu       []byte // of I
}

// next reads the message that b begins with. n is its size, 0 where b is too
// short to tell, and -1 where b does not begin with one.
func next(b []byte) (m apdu, n int) {
	if len(b) > 0 && b[0] != startByte {
		return m, -1
	}
	if len(b) < 2 {
		return m, 0
	}
	length := int(b[1])
	if length < minLength || length > maxLength {
		return m, -1
	}
	if len(b) < 3 {
		return m, 0
	}
	m.format = formatI
	switch c := b[2]; {
	case c&1 == 0:
		if length < minLength+asduHead {
			return m, -1
		}
	case length != minLength:
		return m, -1
	case c == 1:
		m.format = formatS
	case function(c) < 0:
		return m, -1
	default:
		m.format = formatU
	}
	if len(b) > 3 && m.format != formatI && b[3] != 0 || len(b) > 4 && (b[4]&1 != 0 || m.format == formatU && b[4] != 0) ||
		len(b) > 5 && m.format == formatU && b[5] != 0 {
		return m, -1
	}
	if len(b) < 2+length {
		return m, 0
	}
	m.control = b[2]
	m.send = binary.LittleEndian.Uint16(b[2:]) >> 1
	m.recv = binary.LittleEndian.Uint16(b[4:]) >> 1
	m.asdu = b[2+minLength : 2+length]
	return m, 2 + length
}

// Functions of U frames: pairs of act and con.
var functionNames = [3]string{"startdt", "stopdt", "testfr"}

const (
	startdt = 0
	stopdt  = 1
	testfr  = 2
)

// function returns which of the functions a U frame's control byte is of, -1 if
// of none: exactly one bit is set of the six.
func function(c uint8) int {
	switch c {
	case 0x07, 0x0b:
		return startdt
	case 0x13, 0x23:
		return stopdt
	case 0x43, 0x83:
		return testfr
	}
	return -1
}

// confirms reports whether a U frame confirms.
func confirms(c uint8) bool { return c&0xa8 != 0 }

// Of an ASDU of at least asduHead bytes.

func kind(a []byte) uint8      { return a[0] }
func count(a []byte) int       { return int(a[1] & 0x7f) }
func sequence(a []byte) bool   { return a[1]&0x80 != 0 }
func cause(a []byte) uint8     { return a[2] & 0x3f }
func negative(a []byte) bool   { return a[2]&0x40 != 0 }
func test(a []byte) bool       { return a[2]&0x80 != 0 }
func originator(a []byte) byte { return a[3] }
func station(a []byte) uint16  { return binary.LittleEndian.Uint16(a[4:]) }

// broadcast is the common address of all stations.
const broadcast = 0xffff

// address returns the first object's address; ok is false if there is none.
func address(a []byte) (ioa uint32, ok bool) {
	if len(a) < asduHead+ioaLen {
		return 0, false
	}
	return ioaOf(a[asduHead:]), true
}

func ioaOf(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }

// fits reports whether an ASDU has the length that its type and its number of
// objects ask for.
func fits(a []byte) bool {
	t, known := describe(kind(a))
	n := count(a)
	size := int(t.size) + int(t.tag)
	switch {
	case !known, t.form == secure:
		return len(a) > asduHead
	case t.form == fileSegment:
		return len(a) >= asduHead+ioaLen+size && len(a) == asduHead+ioaLen+size+int(a[asduHead+ioaLen+3])
	case n == 0:
		return false
	case sequence(a):
		return len(a) == asduHead+ioaLen+n*size
	}
	return len(a) == asduHead+n*(ioaLen+size)
}

// plausible reports whether an ASDU is of a known type and has its length:
// what a probe, and who has lost the thread, believes.
func plausible(a []byte) bool {
	_, known := describe(kind(a))
	return known && causeNames[cause(a)] != "" && fits(a)
}
