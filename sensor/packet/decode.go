package packet

import (
	"encoding/binary"
	"net/netip"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
)

// Link types that the decoder reads (https://www.tcpdump.org/linktypes.html).
const (
	LinkNull       capture.LinkType = 0  // BSD loopback: address family in the capturing machine's byte order
	LinkEthernet   capture.LinkType = 1  //
	LinkPPP        capture.LinkType = 9  // with or without the HDLC-like framing's address and control
	LinkRawBSD     capture.LinkType = 12 // raw IP, as some systems number it
	LinkRawOld     capture.LinkType = 14 // raw IP, as OpenBSD numbers it
	LinkRaw        capture.LinkType = 101
	LinkWLAN       capture.LinkType = 105 // IEEE 802.11
	LinkFrameRelay capture.LinkType = 107
	LinkLoop       capture.LinkType = 108 // OpenBSD loopback: address family in network byte order
	LinkLinuxSLL   capture.LinkType = 113
	LinkPrism      capture.LinkType = 119 // IEEE 802.11 behind a header of some drivers
	LinkRadiotap   capture.LinkType = 127 // IEEE 802.11 behind what the card noted
	LinkWLANAVS    capture.LinkType = 163 // likewise, older
	LinkIPv4       capture.LinkType = 228
	LinkIPv6       capture.LinkType = 229
	LinkNFLOG      capture.LinkType = 239 // of Linux' netfilter
	LinkLinuxSLL2  capture.LinkType = 276
)

// How far the decoder follows headers. No honest packet comes near.
const (
	maxTags       = 4 // VLAN, VN and HSR tags in a frame
	maxLabels     = 8 // MPLS labels in a stack
	maxExtensions = 8 // IPv6 extension headers in a packet
	maxDepth      = 8 // IP headers, and frames within IP, in a packet
)

// Decoder reads packets. The zero value is ready to use. It is for one
// goroutine.
//
// Wrong checksums do not stop it unless it is told so: where addresses were
// made unrecognisable, and on the machine that sends, whose network card fills
// them in after the capture, all of them are wrong and nothing else is.
type Decoder struct {
	// Defrag puts fragments together. If it is nil, fragments are handed out
	// as they come.
	Defrag *Defrag
	// DropBadChecksums drops packets whose IPv4 header, TCP or UDP checksum is
	// wrong, as the host that they are for does: BadIPChecksum and
	// BadL4Checksum. Transport checksums are verified where the whole datagram
	// was captured.
	DropBadChecksums bool

	layers       [maxDepth]Layer // Packet.Outer points here
	seen         uint64
	counts       [numOutcomes]uint64 // in captured packets; those of Defrag are its own
	badChecksums uint64
}

// Counters are the account of a Decoder:
// Seen = Decoded + Pending + the sum of Dropped.
type Counters struct {
	Seen         uint64
	Decoded      uint64 // packets that were OK, or part of a datagram that was completed
	Pending      uint64 // fragments that wait for others
	BadChecksums uint64 // IPv4 headers with a wrong checksum, dropped or not; zero counts as not yet filled in
	// Dropped is by the name of the outcome, or of fragments by "fragment_" and
	// the cause in DefragCounters. Causes that did not occur are left out.
	Dropped map[string]uint64
}

// Counters returns the account so far.
func (d *Decoder) Counters() Counters {
	c := Counters{
		Seen:         d.seen,
		Decoded:      d.counts[OK],
		BadChecksums: d.badChecksums,
		Dropped:      make(map[string]uint64),
	}
	for o, n := range d.counts {
		if o := Outcome(o); n > 0 && o != OK {
			c.Dropped[o.String()] = n
		}
	}
	if d.Defrag != nil {
		f := d.Defrag.Counters()
		c.Pending = f.Pending
		for cause, n := range f.Dropped {
			c.Dropped["fragment_"+cause] = n
		}
	}
	return c
}

// Decode reads the headers of raw into p. Whatever the outcome, every field of
// p is set anew; if it is OK the packet, or the datagram that it completed, is
// in p.
func (d *Decoder) Decode(p *Packet, raw *capture.Packet) Outcome {
	*p = Packet{uncommon: true}
	p.Time, p.Iface, p.Offset = raw.Time, raw.Iface, raw.Offset
	p.Captured = len(raw.Data)
	p.Length = max(raw.Length, p.Captured)
	o := d.link(p, raw.Link, raw.Data, p.Length)
	if o == OK && p.Fragment && d.Defrag != nil {
		o = d.reassemble(p)
	}
	d.seen++
	switch {
	case o == Held || o == FragmentDropped: // Defrag counts these
	case p.Fragments > 0:
		d.counts[o] += uint64(p.Fragments)
	default:
		d.counts[o]++
	}
	return o
}

// reassemble gives the fragment in p to the Defrag and, when a datagram is
// complete, decodes that, which may reveal a fragment inside a tunnel.
func (d *Decoder) reassemble(p *Packet) Outcome {
	for p.Fragment {
		o := d.Defrag.add(p)
		if o != OK {
			return o
		}
		if o = d.transport(p, p.Proto, p.Payload, p.PayloadLen); o != OK {
			return o
		}
	}
	return OK
}

// In what follows b is what was captured from some header on, and wire, at
// least len(b), what was there on the wire.

// short is the outcome for a header of n bytes that b does not hold: cut is
// for bytes that were there but not captured, bad for bytes that never were.
func short(wire, n int, cut, bad Outcome) Outcome {
	if wire >= n {
		return cut
	}
	return bad
}

func (d *Decoder) link(p *Packet, link capture.LinkType, b []byte, wire int) Outcome {
	switch link {
	case LinkEthernet:
		return d.ethernet(p, b, wire)
	case LinkRaw, LinkRawBSD, LinkRawOld, LinkIPv4, LinkIPv6:
		return d.ip(p, b, wire)
	case LinkPPP:
		if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
			b, wire = b[2:], wire-2
		}
		return d.ppp(p, b, wire)
	case LinkNull, LinkLoop:
		if len(b) < 4 {
			return TruncatedLink
		}
		family := binary.LittleEndian.Uint32(b)
		if family > 0xffff {
			family = binary.BigEndian.Uint32(b)
		}
		switch family {
		case 2, 10, 24, 28, 30: // AF_INET; AF_INET6 of Linux, NetBSD, FreeBSD, Darwin
			return d.ip(p, b[4:], wire-4)
		}
		p.Payload, p.PayloadLen = b[4:], wire-4
		return OK
	case LinkLinuxSLL:
		if len(b) < 16 {
			return TruncatedLink
		}
		if binary.BigEndian.Uint16(b[4:]) == 6 {
			p.SrcMAC = event.MAC(b[6:12])
		}
		return d.cooked(p, binary.BigEndian.Uint16(b[14:]), b[16:], wire-16)
	case LinkLinuxSLL2:
		if len(b) < 20 {
			return TruncatedLink
		}
		if b[11] == 6 {
			p.SrcMAC = event.MAC(b[12:18])
		}
		return d.cooked(p, binary.BigEndian.Uint16(b), b[20:], wire-20)
	case LinkWLAN:
		return d.wlan(p, b, wire, false)
	case LinkRadiotap:
		return d.radiotap(p, b, wire)
	case LinkPrism, LinkWLANAVS:
		return d.prism(p, b, wire)
	case LinkFrameRelay:
		return d.frameRelay(p, b, wire)
	case LinkNFLOG:
		return d.nflog(p, b, wire)
	}
	return UnknownLink
}

func (d *Decoder) ethernet(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 14 {
		return TruncatedLink
	}
	if p.depth == 0 {
		p.DstMAC, p.SrcMAC = event.MAC(b[0:6]), event.MAC(b[6:12])
	}
	et := binary.BigEndian.Uint16(b[12:])
	if et == EtherTypeIPv4 {
		p.EtherType = et
		return d.ipv4(p, b[14:], wire-14)
	}
	return d.network(p, et, b[14:], wire-14)
}

// cooked goes on after a header of Linux' cooked capture, whose protocol is an
// EtherType, or a small number of Linux' own: 4 is an LLC frame.
func (d *Decoder) cooked(p *Packet, et uint16, b []byte, wire int) Outcome {
	if et == 4 {
		return d.llc(p, b, wire)
	}
	return d.network(p, et, b, wire)
}

// network goes on with what an EtherType announces.
func (d *Decoder) network(p *Packet, et uint16, b []byte, wire int) Outcome {
	for tags, vlans := 0, 0; ; {
		p.EtherType = et
		switch et {
		case EtherTypeIPv4:
			return d.ipv4(p, b, wire)
		case EtherTypeIPv6:
			return d.ipv6(p, b, wire)
		case EtherTypeVLAN, EtherTypeQinQ, EtherTypeQinQOld:
			if len(b) < 4 {
				return TruncatedLink
			}
			if tags++; tags > maxTags {
				return TooDeep
			}
			if vlans++; p.depth == 0 {
				switch id := binary.BigEndian.Uint16(b) & 0xfff; vlans {
				case 1:
					p.VLAN = id
				case 2:
					p.InnerVLAN = id
				}
			}
			et = binary.BigEndian.Uint16(b[2:])
			b, wire = b[4:], wire-4
			continue
		case EtherTypeVNTag, EtherTypeHSR:
			if len(b) < 6 {
				return TruncatedLink
			}
			if tags++; tags > maxTags {
				return TooDeep
			}
			et = binary.BigEndian.Uint16(b[4:])
			b, wire = b[6:], wire-6
			continue
		case EtherTypeARP:
			return d.arp(p, b, wire)
		case EtherTypeMPLS, EtherTypeMPLSMulti:
			return d.mpls(p, b, wire)
		case EtherTypePPPoE:
			return d.pppoe(p, b, wire)
		}
		if et <= 1500 { // 802.3: the length of what follows
			n := int(et)
			p.EtherType = 0
			if n < wire {
				wire = n
			}
			return d.llc(p, b[:min(len(b), n)], wire)
		}
		return opaque(p, b, wire)
	}
}

// opaque is for a frame that carries something else than IP.
func opaque(p *Packet, b []byte, wire int) Outcome {
	p.Payload, p.PayloadLen = b, wire
	p.Truncated = len(b) < wire
	return OK
}

// llc reads an 802.2 header: of interest is only what SNAP gives an EtherType.
func (d *Decoder) llc(p *Packet, b []byte, wire int) Outcome {
	p.EtherType = 0
	if len(b) >= 8 && b[0] == 0xaa && b[1] == 0xaa && b[2] == 3 && b[3] == 0 && b[4] == 0 && b[5] == 0 {
		et := binary.BigEndian.Uint16(b[6:])
		switch et {
		case EtherTypeIPv4, EtherTypeIPv6, EtherTypeARP:
			return d.network(p, et, b[8:], wire-8)
		}
		p.EtherType = et
		b, wire = b[8:], wire-8
	}
	return opaque(p, b, wire)
}

// mpls skips the labels. What is below them is not said; RFC 4928 has routers
// look at the first nibble, and so does everybody.
func (d *Decoder) mpls(p *Packet, b []byte, wire int) Outcome {
	p.Tunnel |= MPLS
	for n := 1; ; n++ {
		if len(b) < 4 {
			return TruncatedLink
		}
		if n > maxLabels {
			return TooDeep
		}
		bottom := b[2]&1 != 0
		b, wire = b[4:], wire-4
		if bottom {
			break
		}
	}
	if len(b) == 0 {
		return TruncatedLink
	}
	switch b[0] >> 4 {
	case 4, 6:
		return d.ip(p, b, wire)
	case 0: // RFC 4385: control word of a pseudowire, here taken to carry Ethernet
		if len(b) >= 4+14 {
			return d.nested(p, b[4:], wire-4)
		}
	}
	return opaque(p, b, wire)
}

// nested goes on with an Ethernet frame inside a packet.
func (d *Decoder) nested(p *Packet, b []byte, wire int) Outcome {
	if p.depth++; p.depth > maxDepth {
		return TooDeep
	}
	return d.ethernet(p, b, wire)
}

func (d *Decoder) pppoe(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 8 {
		return TruncatedLink
	}
	if b[0] != 0x11 || b[1] != 0 {
		return BadLink
	}
	p.Tunnel |= PPPoE
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < 2 || n > wire-6 {
		return BadLink
	}
	wire = 6 + n // without the frame's padding
	b = b[:min(len(b), wire)]
	return d.ppp(p, b[6:], wire-6)
}

// ppp goes on with what a PPP protocol field announces (RFC 1661, section 2).
func (d *Decoder) ppp(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 2 {
		return TruncatedLink
	}
	proto, n := uint16(b[0]), 1
	if proto&1 == 0 { // not compressed to one byte
		proto, n = binary.BigEndian.Uint16(b), 2
	}
	switch proto {
	case 0x21, 0x57:
		return d.ip(p, b[n:], wire-n)
	case 0x281, 0x283: // RFC 3032, section 4.3
		return d.mpls(p, b[n:], wire-n)
	}
	return opaque(p, b, wire)
}

func (d *Decoder) arp(p *Packet, b []byte, wire int) Outcome {
	const n = 28 // for Ethernet and IPv4
	if len(b) < 8 {
		return TruncatedLink
	}
	if binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != EtherTypeIPv4 || b[4] != 6 || b[5] != 4 {
		return opaque(p, b, wire)
	}
	if len(b) < n {
		return TruncatedLink
	}
	p.IPVersion = 0 // of a tunnel
	p.ARP = ARP{
		Op:        binary.BigEndian.Uint16(b[6:]),
		SenderMAC: event.MAC(b[8:14]),
		SenderIP:  netip.AddrFrom4([4]byte(b[14:18])),
		TargetMAC: event.MAC(b[18:24]),
		TargetIP:  netip.AddrFrom4([4]byte(b[24:28])),
	}
	return OK
}

// ip goes on with an IP header whose version only its first nibble says.
func (d *Decoder) ip(p *Packet, b []byte, wire int) Outcome {
	if len(b) == 0 {
		return TruncatedIP
	}
	switch b[0] >> 4 {
	case 4:
		p.EtherType = EtherTypeIPv4
		return d.ipv4(p, b, wire)
	case 6:
		p.EtherType = EtherTypeIPv6
		return d.ipv6(p, b, wire)
	}
	return BadIPHeader
}

func (d *Decoder) ipv4(p *Packet, b []byte, wire int) Outcome {
	if p.depth++; p.depth > maxDepth {
		return TooDeep
	}
	if len(b) < 20 {
		return short(wire, 20, TruncatedIP, BadIPHeader)
	}
	n := int(b[0]&15) * 4
	if b[0]>>4 != 4 || n < 20 {
		return BadIPHeader
	}
	if len(b) < n {
		return short(wire, n, TruncatedIP, BadIPHeader)
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		// Segmentation offload: the card was to cut the packet and fill this in.
		total = wire
	}
	if total < n {
		return BadIPHeader
	}
	if total > wire {
		return BadIPLength
	}
	if binary.BigEndian.Uint16(b[10:]) != 0 && sum(b[:n], 0) != 0xffff {
		d.badChecksums++
		p.BadChecksum = true
		if d.DropBadChecksums {
			return BadIPChecksum
		}
	}
	p.IPVersion = 4
	p.IPLen = total
	p.TOS = b[1]
	p.TTL = b[8]
	p.ID = binary.BigEndian.Uint16(b[4:])
	p.Src = netip.AddrFrom4([4]byte(b[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	p.Truncated = len(b) < total
	proto := b[9]
	if frag := binary.BigEndian.Uint16(b[6:]); frag&0x3fff != 0 {
		p.Fragment = true
		p.frag = fragment{
			id:     uint32(binary.BigEndian.Uint16(b[4:])),
			offset: int(frag&0x1fff) * 8,
			more:   frag&0x2000 != 0,
			header: n,
		}
	}
	return d.transport(p, proto, b[n:min(len(b), total)], total-n)
}

func (d *Decoder) ipv6(p *Packet, b []byte, wire int) Outcome {
	if p.depth++; p.depth > maxDepth {
		return TooDeep
	}
	const n = 40
	if len(b) < n {
		return short(wire, n, TruncatedIP, BadIPHeader)
	}
	if b[0]>>4 != 6 {
		return BadIPHeader
	}
	total := n + int(binary.BigEndian.Uint16(b[4:]))
	if total == n && b[6] != ProtoNone {
		// Segmentation offload, or a jumbogram (RFC 2675).
		total = wire
	}
	if total > wire {
		return BadIPLength
	}
	p.IPVersion = 6
	p.IPLen = total
	p.TOS = b[0]<<4 | b[1]>>4
	p.TTL = b[7]
	p.ID = 0
	p.Src = netip.AddrFrom16([16]byte(b[8:24]))
	p.Dst = netip.AddrFrom16([16]byte(b[24:40]))
	p.Truncated = len(b) < total
	proto := b[6]
	b, wire = b[n:min(len(b), total)], total-n
	if !isExtension(proto) {
		return d.transport(p, proto, b, wire)
	}
	return d.extensions(p, proto, b, wire)
}

// isExtension reports whether proto is that of an extension header that says
// what follows it (RFC 7045).
func isExtension(proto uint8) bool {
	switch proto {
	case ProtoHopByHop, ProtoRouting, ProtoFragment, ProtoAH, ProtoDestOpts, ProtoMobility, ProtoHIP, ProtoShim6:
		return true
	}
	return false
}

// extensions skips IPv6 extension headers.
func (d *Decoder) extensions(p *Packet, proto uint8, b []byte, wire int) Outcome {
	for n := 0; isExtension(proto); n++ {
		p.Proto = proto
		if n == maxExtensions {
			return TooDeep
		}
		if len(b) < 8 {
			return short(wire, 8, TruncatedIP, BadIPHeader)
		}
		size := 8 + int(b[1])*8
		switch proto {
		case ProtoAH:
			size = 8 + int(b[1])*4 // RFC 4302, section 2.2
		case ProtoFragment:
			size = 8
			offset := binary.BigEndian.Uint16(b[2:])
			if offset&^6 == 0 {
				break // RFC 6946: a whole datagram that only looks like a fragment
			}
			p.Fragment = true
			p.frag = fragment{
				id:     binary.BigEndian.Uint32(b[4:]),
				offset: int(offset &^ 7),
				more:   offset&1 != 0,
				header: p.IPLen - wire, // without the fragment header
			}
			return d.transport(p, b[0], b[8:], wire-8)
		}
		if len(b) < size {
			return short(wire, size, TruncatedIP, BadIPHeader)
		}
		proto = b[0]
		b, wire = b[size:], wire-size
	}
	return d.transport(p, proto, b, wire)
}

// transport reads the header above IP.
func (d *Decoder) transport(p *Packet, proto uint8, b []byte, wire int) Outcome {
	p.Proto = proto
	p.Payload, p.PayloadLen = b, wire
	if p.Fragment {
		return OK
	}
	switch proto {
	case ProtoTCP:
		if len(b) < 20 {
			return short(wire, 20, TruncatedL4, BadL4Header)
		}
		n := int(b[12]>>4) * 4
		if n < 20 || n > wire {
			return BadL4Header
		}
		p.SrcPort = binary.BigEndian.Uint16(b)
		p.DstPort = binary.BigEndian.Uint16(b[2:])
		p.TCP.Seq = binary.BigEndian.Uint32(b[4:])
		p.TCP.Ack = binary.BigEndian.Uint32(b[8:])
		p.TCP.Flags = b[13]
		p.TCP.Window = binary.BigEndian.Uint16(b[14:])
		if d.DropBadChecksums && !checksumOK(p, proto, b, wire) {
			return BadL4Checksum
		}
		captured := min(n, len(b))
		p.TCP.Options = b[20:captured]
		p.Payload, p.PayloadLen = b[captured:], wire-n
	case ProtoUDP:
		if len(b) < 8 {
			return short(wire, 8, TruncatedL4, BadL4Header)
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n == 0 {
			n = wire // a jumbogram (RFC 2675, section 4), or segmentation offload
		}
		if n < 8 || n > wire {
			return BadL4Header
		}
		b = b[:min(len(b), n)]
		if d.DropBadChecksums && binary.BigEndian.Uint16(b[6:]) != 0 && !checksumOK(p, proto, b, n) {
			return BadL4Checksum
		}
		p.SrcPort = binary.BigEndian.Uint16(b)
		p.DstPort = binary.BigEndian.Uint16(b[2:])
		p.Payload, p.PayloadLen = b[8:], n-8
		if mayTunnel(p) {
			return d.tunnel(p)
		}
	case ProtoICMP, ProtoICMPv6:
		// RFC 792 gives every message 8 bytes at least, RFC 4443 gives it 4.
		if len(b) < 4 {
			return short(wire, 4, TruncatedL4, BadL4Header)
		}
		p.ICMP.Type, p.ICMP.Code = b[0], b[1]
		answer, ok := icmpAnswer(proto, b[0])
		p.SrcPort, p.DstPort, p.OneWay = uint16(b[0]), uint16(answer), !ok
		if !ok {
			p.DstPort = uint16(b[1])
		}
		n := min(8, wire)
		if len(b) >= 8 {
			p.ICMP.ID = binary.BigEndian.Uint16(b[4:])
			p.ICMP.Seq = binary.BigEndian.Uint16(b[6:])
		}
		p.Payload, p.PayloadLen = b[min(n, len(b)):], wire-n
	case ProtoSCTP:
		if len(b) < 12 {
			return short(wire, 12, TruncatedL4, BadL4Header)
		}
		p.SrcPort = binary.BigEndian.Uint16(b)
		p.DstPort = binary.BigEndian.Uint16(b[2:])
		p.Payload, p.PayloadLen = b[12:], wire-12
	case ProtoIPv4:
		d.enter(p, IPinIP)
		p.EtherType = EtherTypeIPv4
		return d.ipv4(p, b, wire)
	case ProtoIPv6:
		d.enter(p, IPinIP)
		p.EtherType = EtherTypeIPv6
		return d.ipv6(p, b, wire)
	case ProtoGRE:
		return d.gre(p, b, wire)
	case ProtoAH: // in IPv4; in IPv6 it is one of the extension headers
		if len(b) < 12 {
			return short(wire, 12, TruncatedL4, BadL4Header)
		}
		n := 8 + int(b[1])*4 // RFC 4302, section 2.2
		if len(b) < n {
			return short(wire, n, TruncatedL4, BadL4Header)
		}
		return d.authenticated(p, b[0], b[n:], wire-n)
	case ProtoL2TP:
		return d.l2tpIP(p, b, wire)
	}
	return OK
}

// authenticated goes on behind an authentication header, of which one is
// enough.
func (d *Decoder) authenticated(p *Packet, proto uint8, b []byte, wire int) Outcome {
	if proto == ProtoAH {
		return TooDeep
	}
	return d.transport(p, proto, b, wire)
}

// sum adds up 16-bit words in ones' complement (RFC 1071). Over a header that
// contains its own correct checksum it is 0xffff.
func sum(b []byte, s uint64) uint16 {
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// checksumOK verifies the checksum of TCP or UDP where it can be: b must be
// whole. Behind a routing header the destination in the IP header is not the
// one that was summed, but such packets are filtered since RFC 5095.
func checksumOK(p *Packet, proto uint8, b []byte, n int) bool {
	if len(b) < n {
		return true
	}
	pseudo := uint64(proto) + uint64(n)
	if p.IPVersion == 4 {
		src, dst := p.Src.As4(), p.Dst.As4()
		pseudo += uint64(binary.BigEndian.Uint32(src[:])) + uint64(binary.BigEndian.Uint32(dst[:]))
	} else {
		src, dst := p.Src.As16(), p.Dst.As16()
		for i := 0; i < 16; i += 4 {
			pseudo += uint64(binary.BigEndian.Uint32(src[i:])) + uint64(binary.BigEndian.Uint32(dst[i:]))
		}
	}
	return sum(b, pseudo) == 0xffff
}
