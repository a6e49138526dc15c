package packet

import (
	"encoding/binary"

	"github.com/tocsin/tocsin/event"
)

// radiotap skips what the capturing card noted of a frame of IEEE 802.11
// (https://www.radiotap.org).
func (d *Decoder) radiotap(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 8 {
		return TruncatedLink
	}
	n := int(binary.LittleEndian.Uint16(b[2:]))
	if b[0] != 0 || n < 8 || n > wire {
		return BadLink
	}
	if len(b) < n {
		return TruncatedLink
	}
	const timestamp, flags, more = 1 << 0, 1 << 1, 1 << 31
	at, pad := 8, false
	present := binary.LittleEndian.Uint32(b[4:])
	for set := present; set&more != 0; at += 4 {
		if at+4 > n {
			return BadLink
		}
		set = binary.LittleEndian.Uint32(b[at:])
	}
	if present&timestamp != 0 {
		at = (at+7)&^7 + 8
	}
	if present&flags != 0 && at < n {
		const checksum, padded = 0x10, 0x20
		if b[at]&checksum != 0 && wire-n >= 4 {
			wire -= 4
			b = b[:min(len(b), wire)]
		}
		pad = b[at]&padded != 0
	}
	return d.wlan(p, b[n:], wire-n, pad)
}

// prism skips the 144 bytes that old drivers note of a frame, or the newer
// header that goes by the same link type and says how long it is.
func (d *Decoder) prism(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 8 {
		return TruncatedLink
	}
	n := 144
	if binary.BigEndian.Uint32(b)&0xfffff000 == 0x80211000 {
		n = int(binary.BigEndian.Uint32(b[4:]))
	}
	if n < 8 || n > wire {
		return BadLink
	}
	if len(b) < n {
		return TruncatedLink
	}
	return d.wlan(p, b[n:], wire-n, false)
}

// wlan reads the header of a data frame (IEEE 802.11, section 9.3.2). Frames
// of other types, encrypted ones and fragments are opaque; of several packets
// that were put into one frame the first is read. With pad the header was
// filled up to a multiple of 4 bytes.
func (d *Decoder) wlan(p *Packet, b []byte, wire int, pad bool) Outcome {
	if len(b) < 2 {
		return TruncatedLink
	}
	const (
		typeMask, data           = 0x0f, 0x08 // with the version, which is 0
		quality, null            = 0x80, 0x40
		toDS, fromDS             = 0x01, 0x02
		fragments, hidden, order = 0x04, 0x40, 0x80
	)
	if b[0]&typeMask != data || b[0]&null != 0 {
		return opaque(p, b, wire)
	}
	n := 24
	if b[1]&(toDS|fromDS) == toDS|fromDS {
		n += 6
	}
	quality0 := n
	if b[0]&quality != 0 {
		n += 2
		if b[1]&order != 0 {
			n += 4
		}
	}
	if pad {
		n = (n + 3) &^ 3
	}
	if len(b) < n {
		return TruncatedLink
	}
	one, two, three := event.MAC(b[4:10]), event.MAC(b[10:16]), event.MAC(b[16:22])
	switch b[1] & (toDS | fromDS) {
	case 0:
		p.DstMAC, p.SrcMAC = one, two
	case toDS:
		p.DstMAC, p.SrcMAC = three, two
	case fromDS:
		p.DstMAC, p.SrcMAC = one, three
	default:
		p.DstMAC, p.SrcMAC = three, event.MAC(b[24:30])
	}
	if b[1]&(fragments|hidden) != 0 || b[22]&15 != 0 {
		return opaque(p, b[n:], wire-n)
	}
	aggregate := b[0]&quality != 0 && b[quality0]&0x80 != 0
	b, wire = b[n:], wire-n
	if aggregate {
		if len(b) < 14 {
			return TruncatedLink
		}
		p.DstMAC, p.SrcMAC = event.MAC(b[:6]), event.MAC(b[6:12])
		size := 14 + int(binary.BigEndian.Uint16(b[12:]))
		if size > wire {
			return BadLink
		}
		b, wire = b[14:min(len(b), size)], size-14
	}
	return d.llc(p, b, wire)
}

// frameRelay goes on behind an address of two bytes, with either an EtherType,
// as Cisco does, or the header of RFC 2427.
func (d *Decoder) frameRelay(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 4 {
		return TruncatedLink
	}
	if b[0]&1 != 0 || b[1]&1 == 0 { // an address of another size
		return opaque(p, b, wire)
	}
	b, wire = b[2:], wire-2
	if b[0] != 3 { // no unnumbered information
		return d.network(p, binary.BigEndian.Uint16(b), b[2:], wire-2)
	}
	if b[1] == 0 && len(b) > 2 { // padding
		b, wire = b[1:], wire-1
	}
	switch b[1] {
	case 0xcc, 0x8e:
		return d.ip(p, b[2:], wire-2)
	case 0x80: // SNAP
		if len(b) >= 7 && b[2] == 0 && b[3] == 0 && b[4] == 0 {
			return d.network(p, binary.BigEndian.Uint16(b[5:]), b[7:], wire-7)
		}
	}
	return opaque(p, b, wire)
}

// nflog looks for the packet among the attributes that Linux' netfilter writes,
// whose lengths are in the byte order of the machine.
func (d *Decoder) nflog(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 4 {
		return TruncatedLink
	}
	if b[1] != 0 { // version
		return BadLink
	}
	const payload = 9
	b, wire = b[4:], wire-4
	for len(b) >= 4 {
		size, kind := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
		if kind > 0xff { // no attribute has such a number
			size, kind = int(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint16(b[2:])
		}
		if size < 4 || size > wire {
			return BadLink
		}
		if kind == payload {
			return d.ip(p, b[4:min(len(b), size)], size-4)
		}
		size = (size + 3) &^ 3
		if size > len(b) {
			return TruncatedLink
		}
		b, wire = b[size:], wire-size
	}
	return opaque(p, b, max(wire, len(b)))
}
