package dns

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"

	"github.com/tocsin/tocsin/event"
)

const headerLen = 12

// Errors of names and records.
var (
	errShort   = errors.New("dns: message ends early")
	errLabel   = errors.New("dns: label of an unknown kind")
	errPointer = errors.New("dns: compression pointer does not point back")
	errLong    = errors.New("dns: name longer than 255 bytes")
)

func u16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// header is the fixed part of a message (RFC 1035 section 4.1.1).
type header struct {
	id, flags uint16
	counts    [4]uint16 // questions, answers, authorities, additionals
}

func parseHeader(b []byte) (h header) {
	h.id, h.flags = u16(b), u16(b[2:])
	for i := range h.counts {
		h.counts[i] = u16(b[4+2*i:])
	}
	return h
}

func (h header) response() bool { return h.flags&0x8000 != 0 }
func (h header) opcode() uint16 { return h.flags >> 11 & 15 }
func (h header) rcode() uint16  { return h.flags & 15 }

// appendName appends the name at off in text form and returns where the bytes
// after it start. RFC 1035 section 4.1.4 has a pointer refer to a prior
// occurrence; as each must point before the place that the last one pointed
// to, no chain of them is endless.
func appendName(dst, msg []byte, off int) (_ []byte, next int, err error) {
	next = -1
	wire, pointers, floor := 1, 0, off
	start := len(dst)
	for {
		if off >= len(msg) {
			return dst, 0, errShort
		}
		n := int(msg[off])
		switch {
		case n == 0:
			if next < 0 {
				next = off + 1
			}
			if len(dst) == start {
				return append(dst, '.'), next, nil
			}
			return dst[:len(dst)-1], next, nil // without the final dot
		case n < 0x40:
			if off+1+n > len(msg) {
				return dst, 0, errShort
			}
			if wire += 1 + n; wire > 255 {
				return dst, 0, errLong
			}
			dst = append(appendLabel(dst, msg[off+1:off+1+n]), '.')
			off += 1 + n
		case n >= 0xc0:
			if off+2 > len(msg) {
				return dst, 0, errShort
			}
			if next < 0 {
				next = off + 2
			}
			off = int(u16(msg[off:]) & 0x3fff)
			if pointers++; off >= floor || pointers > maxPointers {
				return dst, 0, errPointer
			}
			floor = off
		default:
			return dst, 0, errLabel
		}
	}
}

func appendLabel(dst, label []byte) []byte {
	for _, c := range label {
		switch {
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c|0x20)
		case c == '.' || c == '\\':
			dst = append(dst, '\\', c)
		case c <= ' ' || c >= 0x7f:
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// skipName returns where the bytes after the name at off start, without
// following a pointer.
func skipName(msg []byte, off int) (next int, err error) {
	for wire := 1; ; {
		if off >= len(msg) {
			return 0, errShort
		}
		n := int(msg[off])
		switch {
		case n == 0:
			return off + 1, nil
		case n < 0x40:
			if wire += 1 + n; wire > 255 {
				return 0, errLong
			}
			off += 1 + n
		case n >= 0xc0:
			if off+2 > len(msg) {
				return 0, errShort
			}
			return off + 2, nil
		default:
			return 0, errLabel
		}
	}
}

// record is a resource record (RFC 1035 section 4.1.3). Its data stays where
// it is in the message, as names in it may point elsewhere.
type record struct {
	typ, class uint16
	ttl        uint32
	data       int // offset of the data
	next       int // offset of what follows
}

func parseRecord(msg []byte, off int) (r record, err error) {
	off, err = skipName(msg, off)
	if err != nil {
		return r, err
	}
	if off+10 > len(msg) {
		return r, errShort
	}
	r.typ, r.class, r.ttl = u16(msg[off:]), u16(msg[off+2:]), binary.BigEndian.Uint32(msg[off+4:])
	r.data = off + 10
	r.next = r.data + int(u16(msg[off+8:]))
	if r.next > len(msg) {
		return r, errShort
	}
	return r, nil
}

// address returns the address in an A or AAAA record of class IN.
func (r record) address(msg []byte) netip.Addr {
	if d := msg[r.data:r.next]; r.typ == typeA && len(d) == 4 || r.typ == typeAAAA && len(d) == 16 {
		a, _ := netip.AddrFromSlice(d)
		return a
	}
	return netip.Addr{}
}

// appendData appends the data of a record as text, in the form of a master
// file but without quotes; data of types that are not known, or that is not
// what its type says, in the generic form of RFC 3597.
func appendData(dst, msg []byte, r record) []byte {
	start := len(dst)
	dst, ok := appendKnown(dst, msg, r)
	if !ok {
		d := msg[r.data:r.next]
		dst = append(dst[:start], `\# `...)
		dst = strconv.AppendInt(dst, int64(len(d)), 10)
		if len(d) > 0 {
			dst = hex.AppendEncode(append(dst, ' '), d[:min(len(d), maxData/2)])
		}
	}
	return dst[:min(len(dst), start+maxData)]
}

func appendKnown(dst, msg []byte, r record) (_ []byte, ok bool) {
	d := msg[r.data:r.next]
	num := func(n uint64) { dst = append(strconv.AppendUint(dst, n, 10), ' ') }
	// names appends names that must fill the data up to a tail of so many bytes.
	names := func(at, count, tail int) (next int) {
		next = at
		for i := range count {
			var err error
			if i > 0 {
				dst = append(dst, ' ')
			}
			if dst, next, err = appendName(dst, msg[:r.next], next); err != nil {
				return -1
			}
		}
		if next+tail != r.next {
			return -1
		}
		return next
	}
	switch r.typ {
	case typeA, typeAAAA:
		a := r.address(msg)
		if !a.IsValid() {
			return dst, false
		}
		return a.AppendTo(dst), true
	case typeNS, typeCNAME, typePTR, typeDNAME:
		return dst, names(r.data, 1, 0) >= 0
	case typeMX:
		if len(d) < 3 {
			return dst, false
		}
		num(uint64(u16(d)))
		next := names(r.data+2, 1, 0)
		return dst, next >= 0
	case typeSRV:
		if len(d) < 7 {
			return dst, false
		}
		for i := range 3 {
			num(uint64(u16(d[2*i:])))
		}
		next := names(r.data+6, 1, 0)
		return dst, next >= 0
	case typeSOA:
		next := names(r.data, 2, 20)
		if next < 0 {
			return dst, false
		}
		for i := range 5 {
			dst = strconv.AppendUint(append(dst, ' '), uint64(binary.BigEndian.Uint32(msg[next+4*i:])), 10)
		}
		return dst, true
	case typeTXT, typeSPF:
		for len(d) > 0 {
			n := int(d[0])
			if 1+n > len(d) {
				return dst, false
			}
			dst = append(event.Text(d[1:1+n]).AppendText(dst), ' ')
			d = d[1+n:]
		}
		return dst[:max(len(dst)-1, 0)], true
	case typeCAA: // RFC 8659 section 4.1
		if len(d) < 2 || 2+int(d[1]) > len(d) {
			return dst, false
		}
		num(uint64(d[0]))
		tag, value := d[2:2+int(d[1])], d[2+int(d[1]):]
		dst = append(event.Text(tag).AppendText(dst), ' ')
		return event.Text(value).AppendText(dst), true
	case typeDS: // RFC 4034 section 5.1
		if len(d) < 5 {
			return dst, false
		}
		num(uint64(u16(d)))
		num(uint64(d[2]))
		num(uint64(d[3]))
		return hex.AppendEncode(dst, d[4:min(len(d), 4+maxData/2)]), true
	case typeDNSKEY: // RFC 4034 section 2.1
		if len(d) < 5 {
			return dst, false
		}
		num(uint64(u16(d)))
		num(uint64(d[2]))
		num(uint64(d[3]))
		return base64.StdEncoding.AppendEncode(dst, d[4:min(len(d), 4+maxData/2)]), true
	case typeSVCB, typeHTTPS:
		return appendService(dst, msg, r)
	}
	return dst, false
}

// appendService appends the data of SVCB and HTTPS records (RFC 9460 section 2).
func appendService(dst, msg []byte, r record) (_ []byte, ok bool) {
	if r.next-r.data < 3 {
		return dst, false
	}
	dst = append(strconv.AppendUint(dst, uint64(u16(msg[r.data:])), 10), ' ')
	dst, off, err := appendName(dst, msg[:r.next], r.data+2)
	if err != nil {
		return dst, false
	}
	for d := msg[off:r.next]; len(d) > 0; {
		if len(d) < 4 || 4+int(u16(d[2:])) > len(d) {
			return dst, false
		}
		key, v := u16(d), d[4:4+int(u16(d[2:]))]
		d = d[4+len(v):]
		dst = append(dst, ' ')
		switch key {
		case 1:
			dst = append(dst, "alpn="...)
			for i := 0; len(v) > 0; i++ {
				n := int(v[0])
				if 1+n > len(v) {
					return dst, false
				}
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = event.Text(v[1 : 1+n]).AppendText(dst)
				v = v[1+n:]
			}
		case 2:
			dst = append(dst, "no-default-alpn"...)
		case 3:
			if len(v) != 2 {
				return dst, false
			}
			dst = strconv.AppendUint(append(dst, "port="...), uint64(u16(v)), 10)
		case 4, 6:
			size := 4
			dst = append(dst, "ipv4hint="...)
			if key == 6 {
				size = 16
				dst = append(dst[:len(dst)-len("ipv4hint=")], "ipv6hint="...)
			}
			if len(v) == 0 || len(v)%size != 0 {
				return dst, false
			}
			for ; len(v) > 0; v = v[size:] {
				a, _ := netip.AddrFromSlice(v[:size])
				dst = append(a.AppendTo(dst), ',')
			}
			dst = dst[:len(dst)-1]
		case 5:
			dst = base64.StdEncoding.AppendEncode(append(dst, "ech="...), v[:min(len(v), maxData/2)])
		default:
			dst = strconv.AppendUint(append(dst, "key"...), uint64(key), 10)
			dst = hex.AppendEncode(append(dst, '='), v[:min(len(v), maxData/2)])
		}
		if len(dst) > 4*maxData {
			return dst, true // appendData cuts it
		}
	}
	return dst, true
}
