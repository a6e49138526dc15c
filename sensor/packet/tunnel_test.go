package packet

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor/capture"
)

// to is a datagram to a port, between v4A and v4B.
func to(port uint16, payload ...[]byte) []byte { return fromTo(50000, port, payload...) }

func fromTo(src, dst uint16, payload ...[]byte) []byte {
	b := raw(payload...)
	h := binary.BigEndian.AppendUint16(nil, src)
	h = binary.BigEndian.AppendUint16(h, dst)
	h = binary.BigEndian.AppendUint16(h, uint16(8+len(b)))
	return raw(v4(17, 8+len(b)), h, []byte{0, 0}, b)
}

// inner is what the tunnels of these tests carry: a datagram between other
// addresses than the tunnel's.
func inner() []byte {
	b := raw(v4(17, 13), udpBytes())
	copy(b[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	b[10], b[11] = 0, 0
	check := ^sum(b[:20], 0)
	b[10], b[11] = byte(check>>8), byte(check)
	return b
}

func inner6(src, dst string) []byte {
	b := raw(v6(17, 13), udpBytes())
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return b
}

// tunnels are datagrams with what is in them: the names and identifiers of the
// layers, outermost first.
var tunnels = []struct {
	layers string
	ids    []int64 // -1 for none
	packet []byte
}{
	{"vxlan", []int64{0x123456}, to(4789, []byte{8, 0, 0, 0, 0x12, 0x34, 0x56, 0}, eth4(0x800), inner())},
	{"vxlan", []int64{1}, to(8472, []byte{8, 0, 0, 0, 0, 0, 1, 0}, eth4(0x8100), []byte{0, 5, 8, 0}, inner())},
	{"vxlan", []int64{1}, to(4789, []byte{0x88, 0x40, 0, 7, 0, 0, 1, 0}, eth4(0x800), inner())}, // with a group
	{"vxlan", []int64{1}, to(4790, []byte{0x0c, 0, 0, 1, 0, 0, 1, 0}, inner())},
	{"vxlan", []int64{1}, to(4790, []byte{0x0c, 0, 0, 3, 0, 0, 1, 0}, eth4(0x800), inner())},
	{"geneve", []int64{9}, to(6081, []byte{0, 0, 0x65, 0x58, 0, 0, 9, 0}, eth4(0x800), inner())},
	{"geneve", []int64{9}, to(6081, []byte{2, 0x40, 8, 0, 0, 0, 9, 0}, make([]byte, 8), inner())}, // with options
	{"gtpu", []int64{7}, to(2152, []byte{0x30, 255, 0, 33, 0, 0, 0, 7}, inner())},
	{"gtpu", []int64{7}, to(2152, []byte{0x32, 255, 0, 37, 0, 0, 0, 7, 0, 1, 0, 0}, inner())},                    // with a sequence number
	{"gtpu", []int64{7}, to(2152, []byte{0x34, 255, 0, 41, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0x10, 9, 0}, inner())},  // 5G: PDU session container
	{"teredo", []int64{-1}, to(3544, inner6("2001:0:4137:9e50::1", "2001:db8::2"))},                              //
	{"teredo", []int64{-1}, to(60000, inner6("2001:db8::2", "2001:0:4137:9e50::1"))},                             // a relay's port
	{"teredo", []int64{-1}, to(3544, []byte{0, 1, 0, 0}, make([]byte, 9), inner6("fe80::1", "ff02::2"))},         // authentication
	{"teredo", []int64{-1}, fromTo(3544, 50000, []byte{0, 0, 1, 2, 3, 4, 5, 6}, inner6("fe80::1", "2001:0::1"))}, // origin
	{"l2tp", []int64{77}, to(1701, []byte{0x40, 2, 0, 45, 0, 5, 0, 77, 0xff, 3, 0, 0x21}, inner())},              //
	{"l2tp", []int64{77}, fromTo(1701, 1701, []byte{0x08, 2, 0, 5, 0, 77, 0, 1, 0, 2, 0x21}, inner())},           //
	{"l2tp", []int64{77}, to(1701, []byte{0, 3, 0, 0, 0, 0, 0, 77, 1, 2, 3, 4}, eth4(0x800), inner())},           // with a cookie
	{"l2tp", []int64{77}, raw(v4(115, 16+47), []byte{0, 0, 0, 77}, make([]byte, 12), eth4(0x800), inner())},      // and a sublayer
	{"nvgre", []int64{0x1234}, raw(v4(47, 8+47), []byte{0x20, 0, 0x65, 0x58, 0, 0x12, 0x34, 9}, eth4(0x800), inner())},
	{"gre", []int64{5}, raw(v4(47, 8+33), []byte{0x20, 0, 8, 0, 0, 0, 0, 5}, inner())},
	{"erspan", []int64{-1}, raw(v4(47, 4+47), []byte{0, 0, 0x88, 0xbe}, eth4(0x800), inner())},
	{"erspan", []int64{100}, raw(v4(47, 8+8+47), []byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1}, []byte{0x10, 7, 0, 100, 0, 0, 0, 0}, eth4(0x800), inner())},
	{"erspan", []int64{100}, raw(v4(47, 8+20+47), []byte{0x10, 0, 0x22, 0xeb, 0, 0, 0, 1}, []byte{0x20, 7, 0, 100, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 8), eth4(0x800), inner())},
	{"ipip", []int64{-1}, raw(v4(4, 33), inner())},
	{"4in6", []int64{-1}, raw(v6(4, 33), inner())},
	{"6in4", []int64{-1}, raw(v4(41, 53), inner6("2001:db8::7", "2001:db8::8"))},
	{"6in6", []int64{-1}, raw(v6(41, 53), inner6("2001:db8::7", "2001:db8::8"))},
	{"gtpu vxlan ipip", []int64{7, 3, -1}, to(2152, []byte{0x30, 255, 0, 103, 0, 0, 0, 7},
		to(4789, []byte{8, 0, 0, 0, 0, 0, 3, 0}, eth4(0x800), raw(v4(4, 33), inner())))},
	{"", nil, raw(v4(51, 24+13), []byte{17, 4}, make([]byte, 22), udpBytes())}, // an authentication header is none
}

func TestTunnels(t *testing.T) {
	for i, x := range tunnels {
		d := Decoder{DropBadChecksums: true}
		p, o := decode(&d, LinkRaw, x.packet, len(x.packet))
		var names []string
		for j := range p.Outer {
			l := &p.Outer[j]
			names = append(names, l.Name())
			if id := int64(l.ID); j >= len(x.ids) || id != max(x.ids[j], 0) || l.HasID != (x.ids[j] >= 0) {
				t.Errorf("%d: %s: identifier %d", i, x.layers, id)
			}
			if l.Src != v4A && l.Src != v6A || l.Dst != v4B && l.Dst != v6B || p.Tunnel&l.Kind == 0 {
				t.Errorf("%d: %s: layer %+v", i, x.layers, *l)
			}
			if c := l.Carrier(&p); l.Proto == ProtoUDP && (c.DstPort == 0 || c.PayloadLen+28 != c.IPLen || c.TTL != 63 || c.Length != p.Length) {
				t.Errorf("%d: %s: carrier %s", i, x.layers, describe(c))
			}
		}
		if strings.Join(names, " ") != x.layers || o != OK || p.SrcPort != 5353 || p.DstPort != 53 || string(p.Payload) != "hello" ||
			x.layers != "" && (p.Src == v4A || p.Src == v6A) {
			t.Errorf("%d: %s: %v, layers %v, %s", i, x.layers, o, names, describe(p))
		}
	}
}

// What is on the port of a tunnel and is not sound all the way in is a
// datagram like any other.
func TestNoTunnels(t *testing.T) {
	vni := []byte{8, 0, 0, 0, 0, 0, 1, 0}
	for i, b := range [][]byte{
		to(53, vni, eth4(0x800), inner()),
		to(4789, []byte("$4\r\n")),
		to(4789, vni),
		to(4789, vni, eth4(0x800), inner()[:19]),
		to(4789, vni, eth4(0x800), change(inner(), 3, 200)),                           // longer than there is
		to(4789, []byte{8, 0, 0, 0, 0, 0, 1, 1}, eth4(0x800), inner()),                // reserved
		to(4789, []byte{0, 0, 0, 0, 0, 0, 1, 0}, eth4(0x800), inner()),                // no identifier
		to(4790, []byte{0x0c, 0, 0, 9, 0, 0, 1, 0}, inner()),                          // what follows is not known
		to(6081, []byte{0x40, 0, 8, 0, 0, 0, 9, 0}, inner()),                          // version 1
		to(6081, []byte{0x3f, 0, 8, 0, 0, 0, 9, 0}, inner()),                          // more options than there is
		to(2152, []byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0}),                       // echo
		to(2152, []byte{0x30, 255, 0, 32, 0, 0, 0, 7}, inner()),                       // another length
		to(2152, []byte{0x34, 255, 0, 41, 0, 0, 0, 7, 0, 0, 0, 0x85, 0}, inner()),     // an empty extension
		to(3544, []byte{0, 1, 0, 0}, make([]byte, 9), inner6("2001:db8::1", "::1")),   // not Teredo's addresses
		to(60000, inner6("fe80::1", "fe80::2")),                                       //
		to(1701, []byte{0xc8, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0}),                      // control
		to(1701, []byte{0, 2, 0, 5, 0, 77, 0xff, 3, 0xc0, 0x21}, inner()),             // PPP about the link itself
		to(1701, []byte{0, 3, 0, 0, 0, 0, 0, 77}, eth4(0x800), change(inner(), 8, 1)), // checksum
	} {
		var d Decoder
		p, o := decode(&d, LinkRaw, b, len(b))
		if o != OK || p.Tunnel != 0 || len(p.Outer) != 0 || p.IPVersion != 4 || p.Src != v4A || p.Proto != ProtoUDP ||
			p.DstPort != binary.BigEndian.Uint16(b[22:]) || p.PayloadLen != len(b)-28 || d.Counters().BadChecksums != 0 {
			t.Errorf("%d: %v %s", i, o, describe(p))
		}
	}
}

// Frames without IP in a tunnel: ARP is what it is anywhere, of others only the
// tunnel is of interest.
func TestTunnelledFrames(t *testing.T) {
	arp := raw(eth4(0x806), []byte{0, 1, 8, 0, 6, 4, 0, 1}, macA[:], []byte{10, 0, 0, 1}, make([]byte, 6), []byte{10, 0, 0, 2})
	var d Decoder
	for _, b := range [][]byte{
		to(4789, []byte{8, 0, 0, 0, 0, 0, 1, 0}, arp),
		raw(v4(47, 4+len(arp)), []byte{0, 0, 0x65, 0x58}, arp),
	} {
		p, o := decode(&d, LinkRaw, b, len(b))
		if o != OK || p.IPVersion != 0 || p.ARP.Op != 1 || p.ARP.SenderIP.String() != "10.0.0.1" || len(p.Outer) != 1 {
			t.Errorf("%v %s", o, describe(p))
		}
	}
	b := to(4789, []byte{8, 0, 0, 0, 0, 0, 1, 0}, eth4(0x88b8), []byte("hello"))
	p, o := decode(&d, LinkRaw, b, len(b))
	if o != OK || p.IPVersion != 0 || p.EtherType != 0x88b8 || len(p.Outer) != 1 || p.Outer[0].PayloadLen != 27 {
		t.Errorf("%v %s", o, describe(p))
	}
}

// A frame that the mirroring switch has cut is not taken for a damaged one.
func TestERSPANTruncated(t *testing.T) {
	frame := raw(eth4(0x800), inner())
	frame = frame[:len(frame)-3]
	for _, flag := range []byte{0, 4} {
		b := raw(v4(47, 16+len(frame)), []byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1}, []byte{0x10, 7, flag, 1, 0, 0, 0, 0}, frame)
		var d Decoder
		p, o := decode(&d, LinkRaw, b, len(b))
		if flag == 0 && o != BadIPLength || flag != 0 && (o != OK || !p.Truncated || p.PayloadLen != 5 || string(p.Payload) != "he") {
			t.Errorf("%v %s", o, describe(p))
		}
	}
}

// A datagram in fragments inside a tunnel knows the tunnel it came through.
func TestTunnelledFragments(t *testing.T) {
	whole := raw(inner()[:20], udpBytes(), make([]byte, 11))
	whole[25] = 24
	d := Decoder{Defrag: NewDefrag(DefragConfig{})}
	for i, part := range [][]byte{whole[20:36], whole[36:]} {
		h := change(whole[:20], 3, byte(20+len(part)))
		h[6], h[7] = 0x20, 0
		if i == 1 {
			h[6], h[7] = 0, 2
		}
		b := to(2152, []byte{0x30, 255, 0, byte(20 + len(part)), 0, 0, 0, 7}, h, part)
		p, o := decode(&d, LinkRaw, b, len(b))
		if i == 0 && (o != Held || len(p.Outer) != 1) || i == 1 && (o != OK || p.DstPort != 53 || len(p.Outer) != 1 || p.Fragments != 2) {
			t.Errorf("%d: %v %s", i, o, describe(p))
		}
	}
	if c := d.Counters(); c.Seen != 2 || c.Decoded != 2 || c.Pending != 0 {
		t.Errorf("%+v", c)
	}
}

func TestWLAN(t *testing.T) {
	ap := []byte{2, 0, 0, 0, 0, 0xff}
	snap := []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}
	in := raw(snap, inner())
	header := func(fc0, fc1 byte, rest ...[]byte) []byte { return raw([]byte{fc0, fc1, 0, 0}, raw(rest...)) }
	seq := []byte{0x10, 0}
	tap := func(flags byte, b ...[]byte) []byte {
		return raw([]byte{0, 0, 9, 0, 2, 0, 0, 0, flags}, raw(b...))
	}
	for i, x := range []struct {
		link capture.LinkType
		b    []byte
	}{
		{LinkWLAN, raw(header(0x08, 0x00, macB[:], macA[:], ap, seq), in)},
		{LinkWLAN, raw(header(0x08, 0x01, ap, macA[:], macB[:], seq), in)},
		{LinkWLAN, raw(header(0x08, 0x02, macB[:], ap, macA[:], seq), in)},
		{LinkWLAN, raw(header(0x08, 0x03, ap, ap, macB[:], seq, macA[:]), in)},
		{LinkWLAN, raw(header(0x88, 0x01, ap, macA[:], macB[:], seq, []byte{0, 0}), in)},
		{LinkWLAN, raw(header(0x88, 0x81, ap, macA[:], macB[:], seq, make([]byte, 6)), in)},
		{LinkWLAN, raw(header(0x88, 0x01, ap, ap, ap, seq, []byte{0x80, 0}), macB[:], macA[:], []byte{0, byte(len(in))}, in, []byte("next"))},
		{LinkRadiotap, tap(0, header(0x08, 0x01, ap, macA[:], macB[:], seq), in)},
		{LinkRadiotap, tap(0x10, header(0x08, 0x01, ap, macA[:], macB[:], seq), in, []byte("sum!"))},
		{LinkRadiotap, tap(0x20, header(0x88, 0x01, ap, macA[:], macB[:], seq, []byte{0, 0, 0, 0}), in)},
		{LinkRadiotap, raw([]byte{0, 0, 25, 0, 3, 0, 0, 0x80, 0, 0, 0, 0}, make([]byte, 4+8), []byte{0x10},
			header(0x08, 0x01, ap, macA[:], macB[:], seq), in, []byte("sum!"))}, // two words of flags, and a time
		{LinkPrism, raw(make([]byte, 144), header(0x08, 0x01, ap, macA[:], macB[:], seq), in)},
		{LinkWLANAVS, raw([]byte{0x80, 0x21, 0x10, 1, 0, 0, 0, 64}, make([]byte, 56), header(0x08, 0x01, ap, macA[:], macB[:], seq), in)},
	} {
		var d Decoder
		p, o := decode(&d, x.link, x.b, len(x.b))
		if o != OK || p.SrcMAC != macA || p.DstMAC != macB || p.DstPort != 53 || string(p.Payload) != "hello" {
			t.Errorf("%d: %v %s", i, o, describe(p))
		}
	}
	// Nothing can be said of these, and nothing is wrong with them.
	for i, b := range [][]byte{
		header(0x80, 0, macB[:], macA[:], ap, seq),                      // a beacon
		header(0xd4, 0, macB[:]),                                        // an acknowledgement
		header(0x48, 0x01, ap, macA[:], macB[:], seq),                   // no data
		raw(header(0x08, 0x41, ap, macA[:], macB[:], seq), in),          // encrypted
		raw(header(0x08, 0x05, ap, macA[:], macB[:], seq), in),          // the first fragment
		raw(header(0x08, 0x01, ap, macA[:], macB[:], []byte{1, 0}), in), // another
	} {
		var d Decoder
		if p, o := decode(&d, LinkWLAN, b, len(b)); o != OK || p.IPVersion != 0 || p.EtherType != 0 {
			t.Errorf("%d: %v %s", i, o, describe(p))
		}
	}
	for i, x := range []struct {
		b    []byte
		want Outcome
	}{
		{[]byte{0, 0, 9}, TruncatedLink},
		{raw([]byte{1}, make([]byte, 20)), BadLink},
		{[]byte{0, 0, 50, 0, 0, 0, 0, 0, 0}, BadLink},
		{[]byte{0, 0, 12, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x80}, BadLink},
		{tap(0, header(0x08, 0x01, ap)), TruncatedLink},
	} {
		var d Decoder
		if p, o := decode(&d, LinkRadiotap, x.b, len(x.b)); o != x.want {
			t.Errorf("%d: %v %s", i, o, describe(p))
		}
	}
}

func TestOtherLinks(t *testing.T) {
	for i, x := range []struct {
		link capture.LinkType
		b    []byte
	}{
		{LinkFrameRelay, raw([]byte{0x18, 0x61, 8, 0}, inner())},
		{LinkFrameRelay, raw([]byte{0x18, 0x61, 3, 0xcc}, inner())},
		{LinkFrameRelay, raw([]byte{0x18, 0x61, 3, 0, 0x80, 0, 0, 0, 8, 0}, inner())},
		{LinkNFLOG, raw([]byte{2, 0, 0, 0, 5, 0, 10, 0, 0, 0, 0, 0, 37, 0, 9, 0}, inner(), make([]byte, 3))},
		{LinkNFLOG, raw([]byte{2, 0, 0, 0, 0, 5, 0, 10, 0, 0, 0, 0, 0, 37, 0, 9}, inner())},
		{LinkEthernet, raw(eth4(0x892f), []byte{0x10, 50, 0, 1, 8, 0}, inner())},
	} {
		var d Decoder
		if p, o := decode(&d, x.link, x.b, len(x.b)); o != OK || p.DstPort != 53 || string(p.Payload) != "hello" {
			t.Errorf("%d: %v %s", i, o, describe(p))
		}
	}
}
