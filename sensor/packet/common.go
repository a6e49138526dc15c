package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
)

// Glance is what a first look at a packet has found: that it is of the common
// kind, and between whom it went. The common kind is TCP, or UDP that is no
// tunnel, over IPv4 or IPv6, not a fragment, in Ethernet with at most two VLAN
// tags; all that has to be looked at of it lies at known places.
type Glance struct {
	// Hash is what the function of that name will say.
	Hash uint32

	ip        uint8 // where the IP header begins
	transport uint8 // and the one above it
	proto     uint8
	version   uint8
	tags      uint8
	checksum  bool // of the IP header is right, or not there
	end       int  // of the IP datagram, as it was on the wire
}

// Glance takes a first look at a packet: enough to leave it to somebody else,
// and to read the rest with Common. It reports false for any packet that is not
// of the common kind; it is for Decode to say what that is.
//
// For one that is, Decode would find IP with the addresses that Hash is of,
// whether or not there is a fault further on.
func (d *Decoder) Glance(g *Glance, raw *capture.Packet) bool {
	b := raw.Data
	if raw.Link != LinkEthernet || len(b) < 14+20 {
		return false
	}
	et, at, tags := binary.BigEndian.Uint16(b[12:]), 14, 0
	for et == EtherTypeVLAN || et == EtherTypeQinQ || et == EtherTypeQinQOld {
		if tags == 2 || len(b) < at+4+20 {
			return false
		}
		et = binary.BigEndian.Uint16(b[at+2:])
		tags++
		at += 4
	}
	g.ip, g.tags, g.checksum = uint8(at), uint8(tags), true
	wire := max(raw.Length, len(b))
	switch h := b[at:]; et {
	case EtherTypeIPv4:
		n := int(h[0]&15) * 4
		if h[0]>>4 != 4 || n < 20 || len(h) < n || binary.BigEndian.Uint16(h[6:])&0x3fff != 0 {
			return false
		}
		total := int(binary.BigEndian.Uint16(h[2:]))
		if total == 0 {
			total = wire - at // see ipv4
		}
		if total < n || total > wire-at {
			return false
		}
		if n == 20 {
			g.checksum = sum20((*[20]byte)(h))
		} else {
			g.checksum = sum(h[:n], 0) == 0xffff
		}
		if !g.checksum && binary.BigEndian.Uint16(h[10:]) == 0 {
			g.checksum = true // not filled in
		}
		if !g.checksum && d.DropBadChecksums {
			return false
		}
		g.version, g.proto, g.transport, g.end = 4, h[9], uint8(at+n), at+total
		g.Hash = hashPair(hash4(binary.BigEndian.Uint32(h[12:])), hash4(binary.BigEndian.Uint32(h[16:])))
	case EtherTypeIPv6:
		const n = 40
		if len(h) < n || h[0]>>4 != 6 {
			return false
		}
		total := n + int(binary.BigEndian.Uint16(h[4:]))
		if total == n {
			total = wire - at // see ipv6; TCP and UDP have headers
		}
		if total > wire-at {
			return false
		}
		g.version, g.proto, g.transport, g.end = 6, h[6], uint8(at+n), at+total
		g.Hash = hashPair(hash16(h[8:24]), hash16(h[24:40]))
	default:
		return false
	}
	switch g.proto {
	case ProtoTCP:
		return true
	case ProtoUDP:
		l4 := b[g.transport:]
		if len(l4) < 8 {
			return false
		}
		src, dst := binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
		if tunnelPorts(src, dst) {
			return false
		}
		if len(l4) < 8+40 || l4[8]>>4 != 6 {
			return true
		}
		n := int(binary.BigEndian.Uint16(l4[4:]))
		return n != 0 && 8+40+int(binary.BigEndian.Uint16(l4[12:])) != n // see mayTunnel
	}
	return false
}

// Common reads the headers of a packet of the common kind into p, as Decode
// would, except for the Time, which is the caller's to set. It reports false if
// they are not all there or not all right, and then leaves p to Decode.
func (d *Decoder) Common(p *Packet, raw *capture.Packet, g *Glance) bool {
	end := g.end
	b := raw.Data[:min(len(raw.Data), end)]
	l4 := b[min(int(g.transport), len(b)):]
	wire := end - int(g.transport)
	var header, payload int
	switch g.proto {
	case ProtoTCP:
		if len(l4) < 20 {
			return false
		}
		header = int(l4[12]>>4) * 4
		if header < 20 || header > wire {
			return false
		}
		payload = wire - header
	case ProtoUDP:
		if len(l4) < 8 {
			return false
		}
		header = 8
		n := int(binary.BigEndian.Uint16(l4[4:]))
		if n == 0 {
			n = wire
		}
		if n < 8 || n > wire {
			return false
		}
		payload = n - 8
		l4 = l4[:min(len(l4), n)]
	}
	if p.uncommon {
		*p = Packet{}
	}
	p.Iface, p.Offset, p.Captured = raw.Iface, raw.Offset, len(raw.Data)
	p.Length = max(raw.Length, p.Captured)
	p.DstMAC, p.SrcMAC = event.MAC(b[0:6]), event.MAC(b[6:12])
	p.VLAN, p.InnerVLAN = 0, 0
	if g.tags > 0 {
		p.VLAN = binary.BigEndian.Uint16(b[14:]) & 0xfff
		if g.tags > 1 {
			p.InnerVLAN = binary.BigEndian.Uint16(b[18:]) & 0xfff
		}
	}
	ip := b[g.ip:]
	p.IPLen = end - int(g.ip)
	p.IPVersion, p.Proto, p.depth = g.version, g.proto, 1
	p.BadChecksum = !g.checksum
	p.Truncated = len(ip) < p.IPLen
	if g.version == 4 {
		h := (*[20]byte)(ip)
		p.EtherType, p.TOS, p.TTL, p.ID = EtherTypeIPv4, h[1], h[8], binary.BigEndian.Uint16(h[4:])
		p.Src = netip.AddrFrom4([4]byte(h[12:16]))
		p.Dst = netip.AddrFrom4([4]byte(h[16:20]))
	} else {
		h := (*[40]byte)(ip)
		p.EtherType, p.TOS, p.TTL, p.ID = EtherTypeIPv6, h[0]<<4|h[1]>>4, h[7], 0
		p.Src = netip.AddrFrom16([16]byte(h[8:24]))
		p.Dst = netip.AddrFrom16([16]byte(h[24:40]))
	}
	p.SrcPort = binary.BigEndian.Uint16(l4)
	p.DstPort = binary.BigEndian.Uint16(l4[2:])
	captured := min(header, len(l4))
	if g.proto == ProtoTCP {
		h := (*[20]byte)(l4)
		p.TCP.Seq = binary.BigEndian.Uint32(h[4:])
		p.TCP.Ack = binary.BigEndian.Uint32(h[8:])
		p.TCP.Flags = h[13]
		p.TCP.Window = binary.BigEndian.Uint16(h[14:])
		p.TCP.Options = l4[20:captured]
	} else if p.TCP.Options != nil || p.TCP.Flags != 0 {
		p.TCP = TCP{}
	}
	p.Payload, p.PayloadLen = l4[captured:], payload
	if d.DropBadChecksums && !(g.proto == ProtoUDP && binary.BigEndian.Uint16(l4[6:]) == 0) && !checksumOK(p, g.proto, l4, header+payload) {
		return false
	}
	if !g.checksum {
		d.badChecksums++
	}
	d.seen++
	d.counts[OK]++
	return true
}

// sum20 reports whether the sum over an IPv4 header without options is right;
// see sum.
func sum20(h *[20]byte) bool {
	a, carry := bits.Add64(binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:]), 0)
	a, carry = bits.Add64(a, uint64(binary.LittleEndian.Uint32(h[16:])), carry)
	a, _ = bits.Add64(a, 0, carry)
	a = a>>32 + a&0xffffffff
	a = a>>32 + a&0xffffffff
	a = a>>16 + a&0xffff
	a = a>>16 + a&0xffff
	return a == 0xffff
}
