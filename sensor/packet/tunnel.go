package packet

import (
	"encoding/binary"
	"net/netip"
)

// Tunnel is the set of encapsulations around the innermost IP header.
type Tunnel uint16

// Encapsulations.
const (
	IPinIP Tunnel = 1 << iota // IPv4 or IPv6 directly in either: RFC 2003, 2473, 4213
	GRE                       // RFC 2784, 2890, 2637; also Ethernet in GRE
	MPLS                      // RFC 3032
	PPPoE                     // RFC 2516
	NVGRE                     // RFC 7637
	ERSPAN                    // types I to III: draft-foschiano-erspan
	VXLAN                     // RFC 7348; also with draft-ietf-nvo3-vxlan-gpe and draft-smith-vxlan-group-policy
	Geneve                    // RFC 8926
	GTPU                      // 3GPP TS 29.281
	Teredo                    // RFC 4380
	L2TP                      // data of RFC 2661, 3931
)

// Ports by which tunnels over UDP are looked for. What is there must look like
// the tunnel, too; Teredo is known by its content anywhere.
const (
	portL2TP       = 1701
	portGTPU       = 2152
	portTeredo     = 3544
	portVXLAN      = 4789
	portVXLANGPE   = 4790
	portGeneve     = 6081
	portVXLANLinux = 8472 // before 4789 was assigned; also OTV, whose header is the same
)

// MaxLayers is the most that Packet.Outer has.
const MaxLayers = maxDepth

// Layer is an encapsulation of a packet in another one, which has addresses of
// its own: the two ends of a tunnel. MPLS and PPPoE have none and make no layer.
type Layer struct {
	Kind      Tunnel // one of them
	IPVersion uint8
	Proto     uint8 // above IP: 17 where the tunnel runs over UDP
	TTL, TOS  uint8
	Src, Dst  netip.Addr
	// SrcPort and DstPort are set where Proto is UDP.
	SrcPort, DstPort uint16
	// IPLen and PayloadLen are of the datagram that carries the rest, as
	// Packet has them.
	IPLen, PayloadLen int
	// ID tells tunnels between the same ends apart: the network identifier of
	// VXLAN, Geneve and NVGRE, the key of GRE, the tunnel endpoint identifier of
	// GTP-U, the session of L2TP and ERSPAN. Each direction of GTP-U and L2TP
	// has its own.
	ID    uint32
	HasID bool
}

// Name is what tocsin.tunnel.type calls the layer.
func (l *Layer) Name() string {
	switch l.Kind {
	case IPinIP:
		switch {
		case l.IPVersion == 4 && l.Proto == ProtoIPv6:
			return "6in4"
		case l.IPVersion == 6 && l.Proto == ProtoIPv4:
			return "4in6"
		case l.IPVersion == 6:
			return "6in6"
		}
		return "ipip"
	case GRE:
		return "gre"
	case NVGRE:
		return "nvgre"
	case ERSPAN:
		return "erspan"
	case VXLAN:
		return "vxlan"
	case Geneve:
		return "geneve"
	case GTPU:
		return "gtpu"
	case Teredo:
		return "teredo"
	case L2TP:
		return "l2tp"
	}
	return ""
}

// Carrier makes of a layer over UDP the packet that a flow of its own is
// counted by: without payload, of which only the length is told.
func (l *Layer) Carrier(p *Packet) Packet {
	return Packet{
		Time: p.Time, Iface: p.Iface, Offset: p.Offset, Length: p.Length, Captured: p.Captured,
		SrcMAC: p.SrcMAC, DstMAC: p.DstMAC, VLAN: p.VLAN, InnerVLAN: p.InnerVLAN,
		IPVersion: l.IPVersion, Proto: l.Proto, TTL: l.TTL, TOS: l.TOS, Src: l.Src, Dst: l.Dst,
		SrcPort: l.SrcPort, DstPort: l.DstPort, IPLen: l.IPLen, PayloadLen: l.PayloadLen,
	}
}

// enter notes that what follows is inside a tunnel, whose IP header p has.
// There are never more layers than IP headers.
func (d *Decoder) enter(p *Packet, kind Tunnel) *Layer {
	p.Tunnel |= kind
	n := len(p.Outer)
	p.Outer = d.layers[:n+1]
	l := &p.Outer[n]
	*l = Layer{
		Kind: kind, IPVersion: p.IPVersion, Proto: p.Proto, TTL: p.TTL, TOS: p.TOS, Src: p.Src, Dst: p.Dst,
		SrcPort: p.SrcPort, DstPort: p.DstPort, IPLen: p.IPLen, PayloadLen: p.PayloadLen,
	}
	return l
}

// header is what the header of a tunnel over UDP says.
type header struct {
	kind  Tunnel
	id    uint32
	hasID bool
	size  int    // bytes, of which all were captured
	inner uint16 // EtherType of what follows; 0 where the IP version is in its first nibble
}

// mayTunnel reports whether tunnel could find something: it is cheap, as it is
// asked of every datagram.
func mayTunnel(p *Packet) bool {
	return tunnelPorts(p.SrcPort, p.DstPort) ||
		len(p.Payload) >= 40 && p.Payload[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(p.Payload[4:])) == p.PayloadLen
}

// tunnelPorts reports whether there could be a tunnel by the ports.
func tunnelPorts(src, dst uint16) bool {
	switch dst {
	case portL2TP, portGTPU, portTeredo, portVXLAN, portVXLANGPE, portGeneve, portVXLANLinux:
		return true
	}
	return src == portTeredo || src == portL2TP
}

// tunnel looks into a UDP datagram that may carry packets. What does not turn
// out to be sound all the way in stays a datagram.
func (d *Decoder) tunnel(p *Packet) Outcome {
	h, ok := tunnelHeader(p)
	if !ok {
		return OK
	}
	saved, badChecksums := *p, d.badChecksums
	l := d.enter(p, h.kind)
	l.ID, l.HasID = h.id, h.hasID
	b, wire := p.Payload[h.size:], p.PayloadLen-h.size
	p.IPVersion, p.Proto, p.SrcPort, p.DstPort = 0, 0, 0, 0 // until there is another header
	var o Outcome
	switch h.inner {
	case 0:
		o = d.ip(p, b, wire)
	case EtherTypeTEB:
		o = d.nested(p, b, wire)
	default:
		o = d.network(p, h.inner, b, wire)
	}
	switch o {
	case OK, BadIPChecksum, BadL4Checksum:
		return o
	}
	*p, d.badChecksums = saved, badChecksums
	return OK
}

// tunnelHeader reads the header of the tunnel that a datagram's port promises.
func tunnelHeader(p *Packet) (h header, ok bool) {
	b, wire := p.Payload, p.PayloadLen
	switch p.DstPort {
	case portVXLAN, portVXLANGPE, portVXLANLinux:
		if h, ok = vxlan(b); ok {
			return h, ok
		}
	case portGeneve:
		if h, ok = geneve(b); ok {
			return h, ok
		}
	case portGTPU:
		if h, ok = gtpu(b, wire); ok {
			return h, ok
		}
	}
	if p.DstPort == portL2TP || p.SrcPort == portL2TP {
		if h, ok = l2tp(b, wire); ok {
			return h, ok
		}
	}
	return teredo(b, wire, p.DstPort == portTeredo || p.SrcPort == portTeredo)
}

// vxlan reads the header of RFC 7348, section 5. Bits that it reserves are
// used by two drafts: 0x04 says that byte 3 has the next protocol, and 0x80
// that there are a policy's bits and group in bytes 1 to 3.
func vxlan(b []byte) (h header, ok bool) {
	if len(b) < 8 || b[0]&0x08 == 0 || b[0]&^0x8c != 0 || b[7] != 0 {
		return h, false
	}
	h = header{kind: VXLAN, id: binary.BigEndian.Uint32(b[4:]) >> 8, hasID: true, size: 8, inner: EtherTypeTEB}
	switch b[0] & 0x84 {
	case 0:
		return h, b[1]|b[2]|b[3] == 0
	case 0x80:
		return h, b[1]&^0x48 == 0
	case 0x04:
		switch b[3] {
		case 1:
			h.inner = EtherTypeIPv4
		case 2:
			h.inner = EtherTypeIPv6
		case 3:
		case 5:
			h.inner = EtherTypeMPLS
		default:
			return h, false
		}
		return h, b[1]|b[2] == 0
	}
	return h, false
}

// geneve reads the header of RFC 8926, section 3.4.
func geneve(b []byte) (h header, ok bool) {
	if len(b) < 8 || b[0]>>6 != 0 || b[1]&0x3f != 0 || b[7] != 0 {
		return h, false
	}
	h = header{
		kind: Geneve, id: binary.BigEndian.Uint32(b[4:]) >> 8, hasID: true,
		size: 8 + int(b[0]&0x3f)*4, inner: binary.BigEndian.Uint16(b[2:]),
	}
	switch h.inner {
	case EtherTypeTEB, EtherTypeIPv4, EtherTypeIPv6, EtherTypeMPLS:
		return h, len(b) >= h.size
	}
	return h, false
}

// gtpu reads the header of a packet of a user (TS 29.281, section 5), with its
// extension headers.
func gtpu(b []byte, wire int) (h header, ok bool) {
	const version, extended, gpdu = 0x30, 4, 255
	if len(b) < 8 || b[0]&^7 != version || b[1] != gpdu || 8+int(binary.BigEndian.Uint16(b[2:])) != wire {
		return h, false
	}
	h = header{kind: GTPU, id: binary.BigEndian.Uint32(b[4:]), hasID: true, size: 8}
	if b[0]&7 != 0 { // sequence number, N-PDU number and the next header's type come together
		h.size = 12
	}
	if b[0]&extended != 0 && len(b) >= 12 {
		next := b[11]
		for n := 0; next != 0; n++ {
			if n == maxExtensions || len(b) <= h.size || b[h.size] == 0 {
				return h, false
			}
			h.size += int(b[h.size]) * 4
			if len(b) < h.size {
				return h, false
			}
			next = b[h.size-1]
		}
	}
	return h, len(b) > h.size && isIP(b[h.size:])
}

func isIP(b []byte) bool { return b[0]>>4 == 4 || b[0]>>4 == 6 }

// teredo reads what may come before the IPv6 packet of a Teredo datagram
// (RFC 4380, section 5.1.1). With no port to go by, one of the addresses must
// be of Teredo's prefix.
func teredo(b []byte, wire int, port bool) (h header, ok bool) {
	h = header{kind: Teredo, inner: EtherTypeIPv6}
	if port {
		if len(b) >= 4 && b[0] == 0 && b[1] == 1 { // authentication: identifier, value, nonce, confirmation
			h.size = 4 + int(b[2]) + int(b[3]) + 9
		}
		if len(b) >= h.size+2 && b[h.size] == 0 && b[h.size+1] == 0 { // origin indication
			h.size += 8
		}
	}
	if len(b) < h.size+40 {
		return h, false
	}
	b = b[h.size:]
	if b[0]>>4 != 6 || h.size+40+int(binary.BigEndian.Uint16(b[4:])) != wire {
		return h, false
	}
	const prefix, linkLocal = 0x20010000, 0xfe800000
	src, dst := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[24:])
	return h, src == prefix || dst == prefix || port && src == linkLocal
}

// l2tp reads the header of a data message: of version 2 (RFC 2661, section
// 3.1), which carries PPP, or version 3 over UDP (RFC 3931, section 4.1.2).
func l2tp(b []byte, wire int) (h header, ok bool) {
	const control, length, sequence, offset = 0x80, 0x40, 0x08, 0x02
	if len(b) < 8 || b[0]&control != 0 {
		return h, false
	}
	switch b[1] {
	case 3:
		if b[0] != 0 || b[2]|b[3] != 0 {
			return h, false
		}
		return l2tp3(b, wire, 4)
	case 2:
	default:
		return h, false
	}
	if b[0]&0x34 != 0 {
		return h, false
	}
	n := 2
	if b[0]&length != 0 {
		if int(binary.BigEndian.Uint16(b[n:])) != wire {
			return h, false
		}
		n += 2
	}
	if len(b) < n+4 {
		return h, false
	}
	h = header{kind: L2TP, id: uint32(binary.BigEndian.Uint16(b[n+2:])), hasID: true}
	n += 4
	if b[0]&sequence != 0 {
		n += 4
	}
	if b[0]&offset != 0 {
		if len(b) < n+2 {
			return h, false
		}
		n += 2 + int(binary.BigEndian.Uint16(b[n:]))
	}
	if len(b) >= n+2 && b[n] == 0xff && b[n+1] == 3 { // address and control, if not left out
		n += 2
	}
	if len(b) >= n+1 && b[n] == 0 {
		n++
	}
	if len(b) < n+2 || b[n] != 0x21 && b[n] != 0x57 {
		return h, false
	}
	h.size = n + 1
	return h, isIP(b[h.size:])
}

// l2tp3 looks for an Ethernet frame behind the session identifier at n. Whether
// there is a cookie of 4 or 8 bytes, and a sublayer of 4, was agreed when the
// session began and is not said; the frame must be beyond doubt.
func l2tp3(b []byte, wire, n int) (h header, ok bool) {
	if len(b) < n+4 {
		return h, false
	}
	h = header{kind: L2TP, id: binary.BigEndian.Uint32(b[n:]), hasID: true, inner: EtherTypeTEB}
	for h.size = n + 4; h.size <= n+4+12; h.size += 4 {
		if len(b) >= h.size && isFrame(b[h.size:], wire-h.size) {
			return h, h.id != 0 // 0 is for control messages
		}
	}
	return h, false
}

// isFrame reports whether b is beyond doubt an Ethernet frame: with an IPv4
// header whose checksum is right, an IPv6 header whose length is, or ARP.
func isFrame(b []byte, wire int) bool {
	if len(b) < 14 {
		return false
	}
	et := binary.BigEndian.Uint16(b[12:])
	b, wire = b[14:], wire-14
	if et == EtherTypeVLAN && len(b) >= 4 {
		et = binary.BigEndian.Uint16(b[2:])
		b, wire = b[4:], wire-4
	}
	switch et {
	case EtherTypeIPv4:
		if len(b) < 20 || b[0]>>4 != 4 || int(binary.BigEndian.Uint16(b[2:])) > wire {
			return false
		}
		n := int(b[0]&15) * 4
		return n >= 20 && n <= len(b) && sum(b[:n], 0) == 0xffff
	case EtherTypeIPv6:
		return len(b) >= 40 && b[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(b[4:])) == wire
	case EtherTypeARP:
		return len(b) >= 28 && binary.BigEndian.Uint64(b)&^0xffff == 0x0001_0800_0604_0000
	}
	return false
}

// l2tpIP goes on below the session header of L2TP over IP (RFC 3931, section
// 4.1.1). What it cannot look into stays a packet of protocol 115.
func (d *Decoder) l2tpIP(p *Packet, b []byte, wire int) Outcome {
	h, ok := l2tp3(b, wire, 0)
	if !ok {
		return OK
	}
	l := d.enter(p, L2TP)
	l.ID, l.HasID = h.id, true
	return d.nested(p, b[h.size:], wire-h.size)
}

// gre goes on below a GRE header of version 0 (RFC 2784, 2890) or 1 (PPTP,
// RFC 2637). What it cannot look into stays a packet of protocol 47.
func (d *Decoder) gre(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 4 {
		return short(wire, 4, TruncatedL4, BadL4Header)
	}
	flags, et := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	const (
		checksum, routing, key, sequence, ack = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
		version                               = 7
	)
	if flags&routing != 0 || flags&version > 1 {
		return OK
	}
	n, keyAt := 4, 0
	for _, f := range [...]uint16{checksum, key, sequence} {
		if flags&f != 0 {
			if f == key {
				keyAt = n
			}
			n += 4
		}
	}
	if flags&version == 1 && flags&ack != 0 {
		n += 4
	}
	if len(b) < n {
		return short(wire, n, TruncatedL4, BadL4Header)
	}
	enter := func(kind Tunnel) *Layer {
		l := d.enter(p, kind)
		if keyAt > 0 {
			l.ID, l.HasID = binary.BigEndian.Uint32(b[keyAt:]), true
		}
		return l
	}
	inner, left := b[n:], wire-n
	switch {
	case left == 0: // a keep-alive, or only an acknowledgement
	case et == EtherTypeIPv4 || et == EtherTypeIPv6 || et == EtherTypeMPLS:
		enter(GRE)
		return d.network(p, et, inner, left)
	case et == EtherTypeTEB && flags == key: // RFC 7637, section 3.2
		l := enter(NVGRE)
		l.ID >>= 8 // the rest tells flows apart
		return d.nested(p, inner, left)
	case et == EtherTypeTEB:
		enter(GRE)
		return d.nested(p, inner, left)
	case et == EtherTypeERSPAN && flags&sequence == 0: // type I has no header
		d.enter(p, ERSPAN)
		return d.nested(p, inner, left)
	case et == EtherTypeERSPAN || et == EtherTypeERSPAN3:
		return d.erspan(p, inner, left)
	case et == 0x880b && len(inner) >= 2: // PPP
		if inner[0] == 0xff && inner[1] == 3 { // address and control, if not left out
			inner, left = inner[2:], left-2
		}
		if len(inner) >= 3 && (inner[0] == 0x21 || inner[0] == 0x57 || inner[0] == 0 && (inner[1] == 0x21 || inner[1] == 0x57)) {
			enter(GRE)
			return d.ppp(p, inner, left)
		}
	}
	return OK
}

// erspan goes on with a mirrored frame below a header of type II or III.
func (d *Decoder) erspan(p *Packet, b []byte, wire int) Outcome {
	if len(b) < 8 {
		return short(wire, 8, TruncatedL4, BadL4Header)
	}
	n := 8
	switch b[0] >> 4 {
	case 1:
	case 2:
		n = 12
		if len(b) >= 12 && b[11]&1 != 0 { // with what only some platforms say
			n += 8
		}
	default:
		return OK
	}
	if len(b) < n {
		return short(wire, n, TruncatedL4, BadL4Header)
	}
	l := d.enter(p, ERSPAN)
	l.ID, l.HasID = uint32(binary.BigEndian.Uint16(b[2:])&0x3ff), true
	wire -= n
	if b[2]&0x04 != 0 {
		// The switch cut the frame before it sent it. How long it was, only
		// its headers say.
		wire = max(wire, 14+maxDatagram)
	}
	return d.nested(p, b[n:], wire)
}
