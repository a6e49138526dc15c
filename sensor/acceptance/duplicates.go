package acceptance

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// copyWindow is within what time a packet that comes again is a copy. Mirrors
// copy within microseconds, and routers in less than this; TCP sends again
// after 200 ms at the earliest (RFC 6298 says a second, Linux less), unless it
// is told of a loss, and then as a new IP packet.
const copyWindow = 10 * time.Millisecond

// copySlots is how many packets are remembered: those of copyWindow at 3
// million packets a second, if their hashes are spread well.
const copySlots = 1 << 15

// duplicates finds packets that are captured more than once: as they are, in
// another VLAN, or before and after a router. Memory is fixed.
type duplicates struct {
	slots                 []original
	buf                   []byte
	comparable            uint64 // packets that could be told from a copy
	exact, tagged, routed uint64 // copies
	from, to              vlans  // of the last copy in another VLAN
}

// original is a packet that a copy may follow.
type original struct {
	key      uint64
	at       int64
	src, dst event.MAC
	vlans    vlans
	ttl      uint8
}

// vlans are the tags of a packet.
type vlans struct{ outer, inner uint16 }

func newDuplicates() duplicates { return duplicates{slots: make([]original, copySlots)} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packet reports whether a packet is a copy of another.
func (d *duplicates) packet(raw *capture.Packet, p *packet.Packet, o packet.Outcome) bool {
	if o != packet.OK || !d.content(raw, p) {
		return false
	}
	d.comparable++
	payload := p.Payload
	if p.IPVersion == 0 {
		payload = nil
	}
	key := uint64(crc32.Update(crc32.Checksum(d.buf, castagnoli), castagnoli, payload))<<32 |
		uint64(crc32.Update(crc32.ChecksumIEEE(d.buf), crc32.IEEETable, payload))
	s := &d.slots[key%copySlots]
	at := p.Time.UnixNano()
	v := vlans{p.VLAN, p.InnerVLAN}
	if since := at - s.at; s.key != key || since > int64(copyWindow) || since < -int64(copyWindow) {
		*s = original{key: key, at: at, src: p.SrcMAC, dst: p.DstMAC, vlans: v, ttl: p.TTL}
		return false
	}
	switch {
	case p.TTL != s.ttl || p.SrcMAC != s.src || p.DstMAC != s.dst:
		d.routed++
	case v != s.vlans:
		d.tagged++
		d.from, d.to = s.vlans, v
	default:
		d.exact++
	}
	return true
}

// content puts what a copy has in common with the packet into buf, but for the
// payload: not what routers and switches change. It reports false if hosts
// send the same legitimately: an acknowledgement without an IP identification.
func (d *duplicates) content(raw *capture.Packet, p *packet.Packet) bool {
	b := d.buf[:0]
	defer func() { d.buf = b }()
	if p.IPVersion == 0 {
		b = append(b, raw.Data...)
		return true
	}
	src, dst := p.Src.As16(), p.Dst.As16()
	b = append(b, src[:]...)
	b = append(b, dst[:]...)
	b = append(b, p.IPVersion, p.Proto)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	b = binary.BigEndian.AppendUint32(b, uint32(p.IPLen))
	if p.Fragment {
		return true // its part of the payload tells it from others
	}
	b = binary.BigEndian.AppendUint16(b, p.SrcPort)
	b = binary.BigEndian.AppendUint16(b, p.DstPort)
	switch p.Proto {
	case packet.ProtoTCP:
		b = binary.BigEndian.AppendUint32(b, p.TCP.Seq)
		b = binary.BigEndian.AppendUint32(b, p.TCP.Ack)
		b = binary.BigEndian.AppendUint16(b, p.TCP.Window)
		b = append(b, p.TCP.Flags)
		b = append(b, p.TCP.Options...)
		if p.ID == 0 && p.PayloadLen == 0 && p.TCP.Flags&(packet.SYN|packet.FIN|packet.RST) == 0 {
			return false
		}
	case packet.ProtoICMP, packet.ProtoICMPv6:
		b = append(b, p.ICMP.Type, p.ICMP.Code)
		b = binary.BigEndian.AppendUint16(b, p.ICMP.ID)
		b = binary.BigEndian.AppendUint16(b, p.ICMP.Seq)
	}
	return true
}
