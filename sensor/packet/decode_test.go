package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
)

var (
	macA = event.MAC{2, 0, 0, 0, 0, 0xa}
	macB = event.MAC{2, 0, 0, 0, 0, 0xb}
	v4A  = netip.MustParseAddr("192.0.2.1")
	v4B  = netip.MustParseAddr("198.51.100.2")
	v6A  = netip.MustParseAddr("2001:db8::1")
	v6B  = netip.MustParseAddr("2001:db8::2")
	when = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)
)

// stack serialises layers, the outermost first, with lengths and checksums.
func stack(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	for i, l := range ls {
		var network gopacket.NetworkLayer
		for j := i - 1; j >= 0 && network == nil; j-- {
			network, _ = ls[j].(gopacket.NetworkLayer)
		}
		if network == nil {
			continue
		}
		switch l := l.(type) {
		case *layers.TCP:
			l.SetNetworkLayerForChecksum(network)
		case *layers.UDP:
			l.SetNetworkLayerForChecksum(network)
		case *layers.ICMPv6:
			l.SetNetworkLayerForChecksum(network)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func eth(et layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA[:], DstMAC: macB[:], EthernetType: et}
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 63, TOS: 0xb8, Id: 7, Protocol: proto, SrcIP: v4A.AsSlice(), DstIP: v4B.AsSlice()}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 62, TrafficClass: 0x12, NextHeader: next, SrcIP: v6A.AsSlice(), DstIP: v6B.AsSlice()}
}

func tcp() *layers.TCP {
	return &layers.TCP{SrcPort: 40000, DstPort: 502, Seq: 0x01020304, Ack: 0x05060708, SYN: true, ACK: true, Window: 512,
		Options: []layers.TCPOption{
			{OptionType: 2, OptionLength: 4, OptionData: []byte{5, 0xb4}},
			{OptionType: 1}, {OptionType: 3, OptionLength: 3, OptionData: []byte{7}},
			{OptionType: 4, OptionLength: 2},
			{OptionType: 8, OptionLength: 10, OptionData: []byte{0, 0, 0, 1, 0, 0, 0, 2}},
		}}
}

func udp() *layers.UDP { return &layers.UDP{SrcPort: 5353, DstPort: 53} }

func vlan(id uint16, et layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Type: et}
}

var hello = gopacket.Payload("hello")

// base is what every packet of frame has.
func base(n int) Packet {
	return Packet{Time: when, Iface: 3, Offset: 40, Length: n, Captured: n, SrcMAC: macA, DstMAC: macB}
}

// frame4 is what an IPv4 packet with the given transport has.
func frame4(n int, proto uint8, iplen int) Packet {
	p := base(n)
	p.EtherType, p.IPVersion, p.Proto, p.TTL, p.TOS, p.ID = 0x800, 4, proto, 63, 0xb8, 7
	p.Src, p.Dst, p.IPLen = v4A, v4B, iplen
	return p
}

func frame6(n int, proto uint8, iplen int) Packet {
	p := base(n)
	p.EtherType, p.IPVersion, p.Proto, p.TTL, p.TOS, p.ID = 0x86dd, 6, proto, 62, 0x12, 0
	p.Src, p.Dst, p.IPLen = v6A, v6B, iplen
	return p
}

func decode(d *Decoder, link capture.LinkType, b []byte, wire int) (Packet, Outcome) {
	var p Packet
	o := d.Decode(&p, &capture.Packet{Time: when, Data: b, Length: wire, Link: link, Iface: 3, Offset: 40})
	return p, o
}

// compare compares what a caller sees.
func compare(t *testing.T, got, want Packet) {
	t.Helper()
	if !bytes.Equal(got.Payload, want.Payload) || !bytes.Equal(got.TCP.Options, want.TCP.Options) {
		t.Errorf("payload %x options %x\nwant    %x options %x", got.Payload, got.TCP.Options, want.Payload, want.TCP.Options)
	}
	got.Payload, want.Payload, got.TCP.Options, want.TCP.Options = nil, nil, nil, nil
	got.depth, want.depth = 0, 0
	got.uncommon, want.uncommon = false, false
	got.frag, want.frag = fragment{}, fragment{}
	got.Outer, want.Outer = nil, nil // see TestTunnels
	if got.Time != want.Time {
		t.Errorf("time %v, want %v", got.Time, want.Time)
	}
	g, w := describe(got), describe(want)
	if g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

func TestDecode(t *testing.T) {
	f := func(link capture.LinkType, b []byte, want Packet) {
		t.Helper()
		d := Decoder{DropBadChecksums: true}
		got, o := decode(&d, link, b, len(b))
		if o != OK {
			t.Errorf("%v:\n%s", o, hex.Dump(b))
			return
		}
		compare(t, got, want)
		if c := d.Counters(); c.Seen != 1 || c.Decoded != 1 || len(c.Dropped) != 0 {
			t.Errorf("Counters() = %+v", c)
		}
	}
	options := []byte{2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	withTCP := func(p Packet) Packet {
		p.SrcPort, p.DstPort = 40000, 502
		p.TCP = TCP{Seq: 0x01020304, Ack: 0x05060708, Flags: SYN | ACK, Window: 512, Options: options}
		p.Payload, p.PayloadLen = []byte("hello"), 5
		return p
	}
	withUDP := func(p Packet) Packet {
		p.SrcPort, p.DstPort = 5353, 53
		p.Payload, p.PayloadLen = []byte("hello"), 5
		return p
	}
	with := func(p Packet, change func(*Packet)) Packet { change(&p); return p }

	// IPv4 and IPv6 with TCP and UDP.
	f(1, stack(t, eth(0x800), ip4(6), tcp(), hello), withTCP(frame4(14+20+40+5, 6, 65)))
	f(1, stack(t, eth(0x800), ip4(17), udp(), hello), withUDP(frame4(60, 17, 33))) // padded to 60 bytes
	f(1, stack(t, eth(0x86dd), ip6(6), tcp(), hello), withTCP(frame6(14+40+40+5, 6, 85)))
	f(1, stack(t, eth(0x86dd), ip6(17), udp(), hello), withUDP(frame6(14+40+8+5, 17, 53)))

	// IPv4 options.
	router := ip4(17)
	router.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	f(1, stack(t, eth(0x800), router, udp(), hello), withUDP(frame4(60, 17, 37)))

	// Tags.
	tagged := withUDP(frame4(14+4+33, 17, 33))
	tagged.VLAN = 100
	f(1, stack(t, eth(0x8100), vlan(100, 0x800), ip4(17), udp(), hello), with(tagged, func(p *Packet) { p.Length, p.Captured = 60, 60 }))
	f(1, stack(t, eth(0x88a8), vlan(200, 0x8100), vlan(100, 0x86dd), ip6(17), udp(), hello),
		with(withUDP(frame6(14+8+53, 17, 53)), func(p *Packet) { p.VLAN, p.InnerVLAN = 200, 100 }))
	f(1, stack(t, eth(0x9100), vlan(1, 0x9100), vlan(2, 0x8100), vlan(3, 0x86dd), ip6(17), udp(), hello),
		with(withUDP(frame6(14+12+53, 17, 53)), func(p *Packet) { p.VLAN, p.InnerVLAN = 1, 2 }))

	f(1, raw(eth4(0x8926), []byte{0, 0, 0, 0, 0x81, 0, 0, 11, 8, 0}, v4(17, 13), udpBytes()),
		with(withUDP(frame4(14+6+4+33, 17, 33)), func(p *Packet) { p.VLAN = 11 }))

	// Extension headers.
	f(1, raw(eth6(), v6(0, 8+8+8+13), ext(60, 0), ext(43, 0), ext(17, 0), udpBytes()), withUDP(frame6(14+40+24+13, 17, 40+24+13)))
	f(1, raw(eth6(), v6(51, 24+13), []byte{17, 4}, make([]byte, 22), udpBytes()), withUDP(frame6(14+40+24+13, 17, 40+24+13)))
	f(1, raw(eth6(), v6(44, 8+13), []byte{17, 0, 0, 0, 0, 0, 0, 1}, udpBytes()), withUDP(frame6(14+40+8+13, 17, 61))) // an atomic fragment
	f(1, raw(eth6(), v6(59, 0)), frame6(54, 59, 40))
	f(1, raw(eth6(), v6(60, 8), ext(59, 0)), frame6(62, 59, 48))
	f(1, raw(eth6(), v6(50, 4), []byte{1, 2, 3, 4}), with(frame6(58, 50, 44), func(p *Packet) {
		p.Payload, p.PayloadLen = []byte{1, 2, 3, 4}, 4
	}))

	// ICMP: SrcPort and DstPort pair a request with its reply.
	icmp := func(typ, code uint8) *layers.ICMPv4 {
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: 0x1234, Seq: 9}
	}
	withICMP := func(p Packet, typ, code uint8, srcPort, dstPort uint16, oneWay bool) Packet {
		p.ICMP = ICMP{Type: typ, Code: code, ID: 0x1234, Seq: 9}
		p.SrcPort, p.DstPort, p.OneWay = srcPort, dstPort, oneWay
		p.Payload, p.PayloadLen = []byte("hello"), 5
		return p
	}
	f(1, stack(t, eth(0x800), ip4(1), icmp(8, 0), hello), withICMP(frame4(60, 1, 33), 8, 0, 8, 0, false))
	f(1, stack(t, eth(0x800), ip4(1), icmp(0, 0), hello), withICMP(frame4(60, 1, 33), 0, 0, 0, 8, false))
	f(1, stack(t, eth(0x800), ip4(1), icmp(3, 1), hello), withICMP(frame4(60, 1, 33), 3, 1, 3, 1, true))
	f(1, raw(eth6(), v6(58, 13), []byte{135, 0, 0, 0, 0x12, 0x34, 0, 9}, []byte("hello")), withICMP(frame6(67, 58, 53), 135, 0, 135, 136, false))
	f(1, raw(eth6(), v6(58, 4), []byte{1, 4, 0, 0}), with(frame6(58, 58, 44), func(p *Packet) {
		p.ICMP, p.SrcPort, p.DstPort, p.OneWay = ICMP{Type: 1, Code: 4}, 1, 4, true
	}))

	// SCTP, and a protocol without ports.
	f(228, raw(v4(132, 17), []byte{0x0b, 0x59, 0x0b, 0x5a, 0, 0, 0, 0, 0, 0, 0, 0}, []byte("hello")), with(frame4(37, 132, 37), func(p *Packet) {
		p.SrcMAC, p.DstMAC = event.MAC{}, event.MAC{}
		p.SrcPort, p.DstPort, p.Payload, p.PayloadLen = 2905, 2906, []byte("hello"), 5
	}))
	f(228, raw(v4(89, 5), []byte("hello")), with(frame4(25, 89, 25), func(p *Packet) {
		p.SrcMAC, p.DstMAC, p.Payload, p.PayloadLen = event.MAC{}, event.MAC{}, []byte("hello"), 5
	}))

	// ARP, and frames that are neither IP nor ARP.
	f(1, stack(t, eth(0x806), &layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 2,
		SourceHwAddress: macA[:], SourceProtAddress: v4A.AsSlice(), DstHwAddress: macB[:], DstProtAddress: v4B.AsSlice()}),
		with(base(60), func(p *Packet) {
			p.EtherType = 0x806
			p.ARP = ARP{Op: 2, SenderMAC: macA, SenderIP: v4A, TargetMAC: macB, TargetIP: v4B}
		}))
	goose := with(base(19), func(p *Packet) { p.EtherType, p.Payload, p.PayloadLen = 0x88b8, []byte("hello"), 5 })
	f(1, raw(eth4(0x88b8), []byte("hello")), goose)
	f(1, raw(eth4(4), []byte("hell"), []byte("padding")), with(goose, func(p *Packet) { // 802.3
		p.EtherType, p.Payload, p.PayloadLen, p.Length, p.Captured = 0, []byte("hell"), 4, 25, 25
	}))
	f(1, raw(eth4(13), []byte{0xaa, 0xaa, 3, 0, 0, 0, 0x88, 0xb8}, []byte("hello")), with(goose, func(p *Packet) { // SNAP
		p.Length, p.Captured = 27, 27
	}))
	f(1, raw(eth4(8+33), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, v4(17, 13), udpBytes()), withUDP(frame4(14+8+33, 17, 33)))

	// Other link layers.
	bare := with(withUDP(frame4(33, 17, 33)), func(p *Packet) { p.SrcMAC, p.DstMAC = event.MAC{}, event.MAC{} })
	longer := func(n int) Packet { p := bare; p.Length, p.Captured = n, n; return p }
	for _, link := range []capture.LinkType{12, 14, 101, 228} {
		f(link, raw(v4(17, 13), udpBytes()), bare)
	}
	bare6 := with(withUDP(frame6(53, 17, 53)), func(p *Packet) { p.SrcMAC, p.DstMAC = event.MAC{}, event.MAC{} })
	f(229, raw(v6(17, 13), udpBytes()), bare6)
	f(101, raw(v6(17, 13), udpBytes()), bare6)
	f(0, raw([]byte{2, 0, 0, 0}, v4(17, 13), udpBytes()), longer(37))
	f(0, raw([]byte{0, 0, 0, 2}, v4(17, 13), udpBytes()), longer(37))
	f(108, raw([]byte{0, 0, 0, 2}, v4(17, 13), udpBytes()), longer(37))
	f(0, raw([]byte{30, 0, 0, 0}, v6(17, 13), udpBytes()), with(bare6, func(p *Packet) { p.Length, p.Captured = 57, 57 }))
	f(9, raw([]byte{0xff, 3, 0, 0x21}, v4(17, 13), udpBytes()), longer(37))
	f(9, raw([]byte{0x21}, v4(17, 13), udpBytes()), longer(34))
	cooked := func(n int) Packet { p := longer(n); p.SrcMAC = macA; return p }
	f(113, raw([]byte{0, 0, 0, 1, 0, 6}, macA[:], []byte{0, 0, 8, 0}, v4(17, 13), udpBytes()), cooked(49))
	f(276, raw([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6}, macA[:], []byte{0, 0}, v4(17, 13), udpBytes()), cooked(53))

	// Encapsulations.
	in := func(n int, tunnel Tunnel) Packet { p := longer(n); p.Tunnel = tunnel; return p }
	f(101, raw(v4(4, 33), v4(17, 13), udpBytes()), in(53, IPinIP))
	f(101, raw(v6(4, 33), v4(17, 13), udpBytes()), in(73, IPinIP))
	f(101, raw(v4(41, 53), v6(17, 13), udpBytes()), with(bare6, func(p *Packet) { p.Length, p.Captured, p.Tunnel = 73, 73, IPinIP }))
	f(101, raw(v4(47, 37), []byte{0, 0, 8, 0}, v4(17, 13), udpBytes()), in(57, GRE))
	f(101, raw(v4(47, 49), []byte{0xb0, 0, 8, 0}, make([]byte, 12), v4(17, 13), udpBytes()), in(69, GRE))
	f(101, raw(v4(47, 4+14+33), []byte{0, 0, 0x65, 0x58}, eth4(0x800), v4(17, 13), udpBytes()), in(71, GRE))
	f(101, raw(v4(47, 16+4+33), []byte{0x30, 0x81, 0x88, 0x0b}, make([]byte, 12), []byte{0xff, 3, 0, 0x21}, v4(17, 13), udpBytes()), in(73, GRE))
	f(101, raw(v4(47, 5), []byte{0, 0, 0x20, 0}, []byte{1}), with(frame4(25, 47, 25), func(p *Packet) {
		p.SrcMAC, p.DstMAC, p.Payload, p.PayloadLen = event.MAC{}, event.MAC{}, []byte{0, 0, 0x20, 0, 1}, 5
	}))
	outer := func(n int, tunnel Tunnel) Packet { p := withUDP(frame4(n, 17, 33)); p.Tunnel = tunnel; return p }
	f(1, raw(eth4(0x8847), []byte{0, 1, 0, 64, 0, 2, 1, 64}, v4(17, 13), udpBytes()), outer(14+8+33, MPLS))
	f(1, raw(eth4(0x8847), []byte{0, 2, 1, 64}, []byte{0, 0, 0, 0}, eth6()[:12], []byte{8, 0}, v4(17, 13), udpBytes()), outer(14+8+14+33, MPLS))
	f(1, raw(eth4(0x8864), []byte{0x11, 0, 0, 1, 0, 35, 0, 0x21}, v4(17, 13), udpBytes(), []byte("padding")), outer(14+8+33+7, PPPoE))
}

func TestDecodeFaults(t *testing.T) {
	f := func(link capture.LinkType, b []byte, wire int, want Outcome) {
		t.Helper()
		d := Decoder{DropBadChecksums: true}
		p, o := decode(&d, link, b, wire)
		if o != want {
			t.Errorf("got %v, want %v: %+v", o, want, p)
		}
		c := d.Counters()
		if want != OK && (c.Decoded != 0 || c.Dropped[want.String()] != 1) {
			t.Errorf("Counters() = %+v", c)
		}
	}
	cut := func(b []byte, n int) []byte { return b[:n] }
	udp4 := raw(eth4(0x800), v4(17, 13), udpBytes())
	tcp4 := stack(t, eth(0x800), ip4(6), tcp(), hello)

	f(147, udp4, len(udp4), UnknownLink)
	f(1, nil, 0, TruncatedLink)
	f(1, cut(udp4, 13), len(udp4), TruncatedLink)
	f(0, cut(udp4, 3), 3, TruncatedLink)
	f(113, cut(udp4, 15), 15, TruncatedLink)
	f(276, cut(udp4, 19), 19, TruncatedLink)
	f(1, raw(eth4(0x8100), []byte{0, 1, 8}), 17, TruncatedLink)
	f(1, raw(eth4(0x8100), bytes.Repeat([]byte{0, 1, 0x81, 0}, 5)), 34, TooDeep)
	f(1, raw(eth4(0x8926), []byte{0, 0, 0, 0, 8}), 20, TruncatedLink)
	f(1, raw(eth4(0x8847), bytes.Repeat([]byte{0, 1, 0, 64}, 9)), 14+36, TooDeep)
	f(1, raw(eth4(0x8847), []byte{0, 1, 1, 64}), 18, TruncatedLink)
	f(1, raw(eth4(0x8864), []byte{0x11, 0, 0, 1, 0, 100, 0, 0x21}), 22, BadLink)
	f(1, raw(eth4(0x806), []byte{0, 1, 8, 0, 6, 4, 0, 1}), 60, TruncatedLink)

	f(1, cut(udp4, 33), len(udp4), TruncatedIP)
	f(1, cut(udp4, 33), 33, BadIPHeader)
	f(1, cut(udp4, 34), 34, BadIPLength)
	f(1, change(udp4, 14, 0x44), len(udp4), BadIPHeader) // 16 bytes of header
	f(1, change(udp4, 14, 0x65), len(udp4), BadIPHeader) // version 6 under IPv4's EtherType
	f(1, change(udp4, 17, 19), len(udp4), BadIPHeader)   // shorter than its header
	f(1, change(tcp4, 22, 1), len(tcp4), BadIPChecksum)
	f(101, []byte{0x70}, 1, BadIPHeader)
	f(1, raw(eth6(), v6(17, 14), udpBytes()), 14+53, BadIPLength)
	f(1, raw(eth6(), v6(0, 9*8), bytes.Repeat(ext(60, 0), 9)), 14+40+72, TooDeep)
	f(1, raw(eth6(), v6(60, 8), ext(17, 1)), 62, BadIPHeader)
	f(1, raw(eth6(), v6(60, 16), ext(17, 1)), 70, TruncatedIP)
	f(1, raw(eth6(), v6(44, 4), []byte{17, 0, 0, 0}), 58, BadIPHeader)
	f(101, raw(v4(4, 160), v4(4, 140), v4(4, 120), v4(4, 100), v4(4, 80), v4(4, 60), v4(4, 40), v4(4, 20), v4(59, 0)), 180, TooDeep)

	f(1, cut(tcp4, 14+20+19), len(tcp4), TruncatedL4)
	f(1, raw(eth4(0x800), v4(6, 19), make([]byte, 19)), 53, BadL4Header)
	f(1, change(tcp4, 14+20+12, 0x40), len(tcp4), BadL4Header) // 16 bytes of header
	f(1, change(tcp4, 14+20+12, 0xf0), len(tcp4), BadL4Header) // 60, of 45
	f(1, change(tcp4, len(tcp4)-1, 'O'), len(tcp4), BadL4Checksum)
	f(1, stack(t, eth(0x800), ip4(17), udp(), hello)[:60], 60, OK)
	f(1, change(stack(t, eth(0x86dd), ip6(17), udp(), hello), 54, 9), 67, BadL4Checksum)
	f(1, cut(udp4, 41), len(udp4), TruncatedL4)
	f(1, change(udp4, 14+20+5, 7), len(udp4), BadL4Header)
	f(1, change(udp4, 14+20+5, 14), len(udp4), BadL4Header)
	f(1, raw(eth4(0x800), v4(1, 3), make([]byte, 3)), 37, BadL4Header)
	f(1, raw(eth4(0x800), v4(132, 11), make([]byte, 11)), 45, BadL4Header)
}

// What is no fault: cut captures, segmentation offload, wrong checksums.
func TestDecodeLenient(t *testing.T) {
	var d Decoder
	tcp4 := stack(t, eth(0x800), ip4(6), tcp(), gopacket.Payload(strings.Repeat("x", 1000)))

	p, o := decode(&d, 1, tcp4[:100], len(tcp4))
	if o != OK || !p.Truncated || p.Length != 1074 || p.Captured != 100 || p.IPLen != 1060 || len(p.Payload) != 26 || p.PayloadLen != 1000 {
		t.Errorf("cut in the payload: %v %s", o, describe(p))
	}
	p, o = decode(&d, 1, tcp4[:60], len(tcp4))
	if o != OK || !p.Truncated || len(p.TCP.Options) != 6 || len(p.Payload) != 0 || p.PayloadLen != 1000 {
		t.Errorf("cut in the options: %v %s", o, describe(p))
	}

	offload := bytes.Clone(tcp4)
	offload[16], offload[17] = 0, 0 // total length
	offload[24], offload[25] = 0, 0 // checksum
	p, o = decode(&d, 1, offload, len(offload))
	if o != OK || p.IPLen != 1060 || p.PayloadLen != 1000 || p.BadChecksum {
		t.Errorf("offload: %v %s", o, describe(p))
	}
	udp6 := raw(eth6(), v6(17, 0), udpBytes())
	if p, o = decode(&d, 1, udp6, len(udp6)); o != OK || p.IPLen != 53 || p.PayloadLen != 5 {
		t.Errorf("IPv6 offload: %v %s", o, describe(p))
	}

	bad := change(tcp4, 24, tcp4[24]+1)
	if p, o = decode(&d, 1, bad, len(bad)); o != OK || !p.BadChecksum || p.PayloadLen != 1000 {
		t.Errorf("wrong checksum: %v %s", o, describe(p))
	}
	if c := d.Counters(); c.Seen != 5 || c.Decoded != 5 || c.BadChecksums != 1 {
		t.Errorf("Counters() = %+v", c)
	}

	// Without a Defrag fragments are handed out.
	first := raw(v4(17, 13), udpBytes())
	first[6] = 0x20
	if p, o = decode(&d, 101, first, len(first)); o != OK || !p.Fragment || p.SrcPort != 0 || p.PayloadLen != 13 || p.Proto != 17 {
		t.Errorf("fragment: %v %s", o, describe(p))
	}

	// A jumbo frame.
	jumbo := stack(t, eth(0x800), ip4(17), udp(), gopacket.Payload(make([]byte, 60000)))
	if p, o = decode(&d, 1, jumbo, len(jumbo)); o != OK || p.PayloadLen != 60000 {
		t.Errorf("jumbo frame: %v %s", o, describe(p))
	}
}

func TestNextOption(t *testing.T) {
	f := func(b []byte, want ...TCPOption) {
		t.Helper()
		var got []TCPOption
		for opt, rest, ok := NextOption(b); ok; opt, rest, ok = NextOption(rest) {
			got = append(got, opt)
		}
		if len(got) != len(want) {
			t.Fatalf("%x: %v", b, got)
		}
		for i := range got {
			if got[i].Kind != want[i].Kind || !bytes.Equal(got[i].Data, want[i].Data) {
				t.Errorf("%x: %v", b, got)
			}
		}
	}
	f(nil)
	f([]byte{1, 1, 1})
	f([]byte{2, 4, 5, 0xb4, 1, 3, 3, 7}, TCPOption{2, []byte{5, 0xb4}}, TCPOption{3, []byte{7}})
	f([]byte{4, 2, 0, 3, 3, 7}, TCPOption{4, nil})
	f([]byte{4, 2, 3, 1, 9}, TCPOption{4, nil}) // a length below 2
	f([]byte{4, 2, 3, 9, 9}, TCPOption{4, nil}) // a length beyond the end
	f([]byte{4})
}

func TestHash(t *testing.T) {
	pair := func(a, b netip.Addr) (uint32, uint32) {
		return Hash(&Packet{IPVersion: 4, Src: a, Dst: b}), Hash(&Packet{IPVersion: 4, Src: b, Dst: a, SrcPort: 9})
	}
	// Written down so that a change, which would move flows between workers of
	// two versions, does not go unnoticed.
	if got := Hash(&Packet{IPVersion: 4, Src: v4A, Dst: v4B}); got != hashOfV4 {
		t.Errorf("hash of %v and %v is %#x", v4A, v4B, got)
	}
	a, b := pair(v6A, v6B)
	if a != b {
		t.Error("the two directions differ")
	}
	if Hash(&Packet{SrcMAC: macA, DstMAC: macB}) != Hash(&Packet{SrcMAC: macB, DstMAC: macA, EtherType: 0x88b8}) {
		t.Error("the two directions without IP differ")
	}
	if Hash(&Packet{ARP: ARP{Op: 1, SenderIP: v4A, TargetIP: v4B}, DstMAC: macA}) != Hash(&Packet{ARP: ARP{Op: 2, SenderIP: v4B, TargetIP: v4A}}) {
		t.Error("ARP request and reply differ")
	}
	// Neighbouring addresses spread evenly, for any number of workers.
	for _, workers := range []uint32{2, 3, 4, 16} {
		shares := make([]int, workers)
		const n = 16000
		for i := range n {
			host := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			h, _ := pair(host, v4B)
			shares[h%workers]++
		}
		for w, got := range shares {
			if want := n / int(workers); got < want*8/10 || got > want*12/10 {
				t.Errorf("worker %d of %d has %d of %d", w, workers, got, n)
			}
		}
	}
}

const hashOfV4 = 0x2992db68

// samples are packets of every sort, for the tests that look at no fields.
func samples(t testing.TB) (all [][]byte) {
	for _, x := range tunnels {
		et := uint16(EtherTypeIPv4)
		if x.packet[0]>>4 == 6 {
			et = EtherTypeIPv6
		}
		all = append(all, raw(eth4(et), x.packet))
	}
	return append(all, [][]byte{
		stack(t, eth(0x800), ip4(6), tcp(), hello),
		stack(t, eth(0x86dd), ip6(6), tcp(), hello),
		stack(t, eth(0x8100), vlan(7, 0x800), ip4(17), udp(), hello),
		stack(t, eth(0x88a8), vlan(7, 0x8100), vlan(8, 0x86dd), ip6(17), udp(), hello),
		raw(eth6(), v6(0, 8+8+8+13), ext(60, 0), ext(43, 0), ext(17, 0), udpBytes()),
		raw(eth4(0x800), v4(1, 8), []byte{8, 0, 0, 0, 0, 1, 0, 1}),
		raw(eth4(0x800), v4(47, 37), []byte{0, 0, 8, 0}, v4(17, 13), udpBytes()),
		raw(eth4(0x800), v4(41, 53), v6(17, 13), udpBytes()),
		raw(eth4(0x8847), []byte{0, 1, 1, 64}, v4(17, 13), udpBytes()),
		raw(eth4(0x8864), []byte{0x11, 0, 0, 1, 0, 35, 0, 0x21}, v4(17, 13), udpBytes()),
		raw(eth4(0x806), []byte{0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)),
		raw(eth4(0x88b8), []byte("hello")),
		raw(eth6(), v6(44, 8+16), []byte{17, 0, 0, 1, 0, 0, 0, 9}, udpBytes(), []byte("abc")),
		raw(eth6(), v6(44, 8+5), []byte{17, 0, 0, 16, 0, 0, 0, 9}, []byte("hello")),
	}...)
}

func TestDecodeAllocates(t *testing.T) {
	packets := samples(t)
	d := Decoder{Defrag: NewDefrag(DefragConfig{}), DropBadChecksums: true}
	var p Packet
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range packets {
			raw := capture.Packet{Time: when, Data: b, Length: len(b), Link: LinkEthernet}
			d.Decode(&p, &raw)
			Hash(&p)
			var g Glance
			if d.Glance(&g, &raw) {
				d.Common(&p, &raw, &g)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d packets", n, len(packets))
	}
}

// Every cut of every sample, captured or really so short, decodes to something
// that lies within it.
func TestDecodeCuts(t *testing.T) {
	for _, b := range samples(t) {
		d := Decoder{}
		for n := range b {
			for _, wire := range []int{n, len(b)} {
				p, o := decode(&d, 1, b[:n:n], wire)
				if o == OK && wire == len(b) && p.IPVersion != 0 && n < 14+p.IPLen && !p.Truncated && p.VLAN == 0 && p.Tunnel == 0 {
					t.Errorf("%d of %d bytes: not marked as truncated: %s", n, len(b), describe(p))
				}
				if o == OK && p.PayloadLen < len(p.Payload) {
					t.Errorf("%d of %d bytes: %s", n, len(b), describe(p))
				}
			}
		}
		if c := d.Counters(); c.Seen != uint64(2*len(b)) {
			t.Errorf("Counters() = %+v", c)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(uint16(1), b, len(b))
		f.Add(uint16(101), b[14:], len(b))
	}
	for _, link := range []uint16{0, 9, 105, 107, 108, 113, 119, 127, 163, 239, 276} {
		f.Add(link, raw([]byte{2, 0, 0, 0}, v4(17, 13), udpBytes()), 37)
	}
	f.Fuzz(func(t *testing.T, link uint16, b []byte, wire int) {
		d := Decoder{Defrag: NewDefrag(DefragConfig{Bytes: 1 << 17})}
		p, o := decode(&d, capture.LinkType(link), b, wire)
		if p.Captured != len(b) || p.Length < len(b) {
			t.Errorf("%d bytes, %d on the wire: %s", len(b), wire, describe(p))
		}
		if o == OK && (p.PayloadLen < len(p.Payload) || p.PayloadLen > p.Length && p.Tunnel&ERSPAN == 0 || p.IPVersion != 0 && !p.Src.IsValid()) {
			t.Errorf("%s", describe(p))
		}
		c := d.Counters()
		sum := c.Decoded + c.Pending
		for _, n := range c.Dropped {
			sum += n
		}
		if c.Seen != 1 || sum != 1 {
			t.Errorf("the account does not balance: %+v", c)
		}
		for _, drop := range []bool{false, true} {
			sameInCommon(t, &capture.Packet{Time: when, Data: b, Length: wire, Link: capture.LinkType(link), Iface: 3, Offset: 40}, drop)
		}
	})
}

// sameInCommon holds the short way of decoding against the long one.
func sameInCommon(t *testing.T, raw *capture.Packet, drop bool) (common bool) {
	t.Helper()
	long, short := Decoder{DropBadChecksums: drop}, Decoder{DropBadChecksums: drop}
	var want Packet
	outcome := long.Decode(&want, raw)
	var g Glance
	if !short.Glance(&g, raw) {
		return false
	}
	if g.Hash != Hash(&want) {
		t.Errorf("at a glance the hash is %#x, not %#x, of %s", g.Hash, Hash(&want), describe(want))
	}
	// What was there before must not show through.
	old := Packet{Time: when, TCP: TCP{Seq: 1, Ack: 2, Window: 3, Flags: 4, Options: []byte{1}}, VLAN: 5, InnerVLAN: 6, Truncated: true, BadChecksum: true}
	for _, p := range []Packet{old, want} {
		short = Decoder{DropBadChecksums: drop}
		ok := short.Common(&p, raw, &g)
		if ok != (outcome == OK) {
			t.Errorf("common %v, but %v: %s", ok, outcome, describe(want))
		}
		if ok {
			p.Time = when
			compare(t, p, want)
			if fmt.Sprint(short.Counters()) != fmt.Sprint(long.Counters()) {
				t.Errorf("%+v, want %+v", short.Counters(), long.Counters())
			}
		}
	}
	return true
}

// TestCommon cuts and damages packets of the common kind in every place.
func TestCommon(t *testing.T) {
	line := []byte("status 0042 and some more that is not looked at")
	common := [][]byte{
		stack(t, eth(0x800), ip4(6), tcp(), gopacket.Payload(line)),
		stack(t, eth(0x800), ip4(17), udp(), gopacket.Payload(line)),
		stack(t, eth(0x86dd), ip6(6), tcp(), gopacket.Payload(line)),
		stack(t, eth(0x86dd), ip6(17), udp(), gopacket.Payload(line)),
		stack(t, eth(0x8100), vlan(7, 0x800), ip4(6), tcp(), gopacket.Payload(line)),
		stack(t, eth(0x88a8), vlan(7, 0x8100), vlan(8, 0x86dd), ip6(17), udp(), gopacket.Payload(line)),
	}
	for i, b := range common {
		for _, drop := range []bool{false, true} {
			if !sameInCommon(t, &capture.Packet{Time: when, Data: b, Length: len(b), Link: LinkEthernet}, drop) {
				t.Errorf("packet %d is not of the common kind", i)
			}
			for n := range b {
				sameInCommon(t, &capture.Packet{Time: when, Data: b[:n:n], Length: len(b), Link: LinkEthernet}, drop)
				sameInCommon(t, &capture.Packet{Time: when, Data: b[:n:n], Length: n, Link: LinkEthernet}, drop)
				for _, to := range []byte{0, 1, 0x45, 0x46, 0x60, 17, 0xff, b[n] + 1} {
					sameInCommon(t, &capture.Packet{Time: when, Data: change(b, n, to), Length: len(b), Link: LinkEthernet}, drop)
				}
			}
			if t.Failed() {
				t.Fatalf("packet %d", i)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var packets []capture.Packet
	for range 4096 {
		var data []byte
		switch n := r.IntN(10); {
		case n < 6:
			data = stack(b, eth(0x800), ip4(6), tcp(), gopacket.Payload(make([]byte, r.IntN(1400))))
		case n < 8:
			data = stack(b, eth(0x800), ip4(17), udp(), gopacket.Payload(make([]byte, r.IntN(400))))
		case n < 9:
			data = stack(b, eth(0x86dd), ip6(6), tcp(), gopacket.Payload(make([]byte, r.IntN(1400))))
		default:
			data = stack(b, eth(0x8100), vlan(7, 0x800), ip4(17), udp(), hello)
		}
		packets = append(packets, capture.Packet{Time: when, Data: data, Length: len(data), Link: LinkEthernet})
	}
	var d Decoder
	var p Packet
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if d.Decode(&p, &packets[i&4095]) != OK {
			b.Fatal("not OK")
		}
		i++
	}
}

func BenchmarkCommon(b *testing.B) {
	data := stack(b, eth(0x800), ip4(6), tcp(), gopacket.Payload(make([]byte, 100)))
	raw := capture.Packet{Time: when, Data: data, Length: len(data), Link: LinkEthernet}
	var d Decoder
	var p Packet
	var g Glance
	for b.Loop() {
		if !d.Glance(&g, &raw) || !d.Common(&p, &raw, &g) {
			b.Fatal("not of the common kind")
		}
	}
}

func BenchmarkHash(b *testing.B) {
	p := Packet{IPVersion: 4, Src: v4A, Dst: v4B}
	for b.Loop() {
		Hash(&p)
	}
}

// Headers made by hand, where a serialiser would correct what is to be wrong.

func raw(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func change(b []byte, at int, to byte) []byte {
	b = bytes.Clone(b)
	b[at] = to
	return b
}

func eth4(et uint16) []byte {
	return binary.BigEndian.AppendUint16(raw(macB[:], macA[:]), et)
}

func eth6() []byte { return eth4(0x86dd) }

func v4(proto uint8, payload int) []byte {
	src, dst := v4A.As4(), v4B.As4()
	b := raw([]byte{0x45, 0xb8, 0, 0, 0, 7, 0, 0, 63, proto, 0, 0}, src[:], dst[:])
	binary.BigEndian.PutUint16(b[2:], uint16(20+payload))
	return b
}

func v6(next uint8, payload int) []byte {
	src, dst := v6A.As16(), v6B.As16()
	b := raw([]byte{0x61, 0x20, 0, 0, 0, 0, next, 62}, src[:], dst[:])
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	return b
}

func ext(next, size uint8) []byte { return []byte{next, size, 1, 4, 0, 0, 0, 0} }

func udpBytes() []byte {
	return []byte{5353 >> 8, 5353 & 255, 0, 53, 0, 13, 0, 0, 'h', 'e', 'l', 'l', 'o'}
}

// describe shows a packet without its bytes.
func describe(p Packet) string {
	p.Payload, p.TCP.Options = nil, nil
	return fmt.Sprintf("%+v", p)
}
