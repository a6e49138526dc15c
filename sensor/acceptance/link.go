package acceptance

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// link is what single packets tell of a tap.
type link struct {
	cfg     *Config
	strict  packet.Decoder // drops what has a wrong checksum
	lenient packet.Decoder
	decoded packet.Packet // the present packet
	outcome packet.Outcome

	packets, bytes uint64
	outcomes       map[packet.Outcome]uint64

	first, last time.Time
	previous    time.Time
	back        uint64        // packets before the one that came before them
	jumps       uint64        // of these, by a second and more
	farthest    time.Duration // of all jumps back
	grain       time.Duration // of which all times are multiples

	cut     uint64 // packets that were not captured whole
	longest int    // captured

	group, own, foreign, bus uint64 // see cast

	maxMSS    int // that anybody has announced
	joined    uint64
	joinedMax int // length of the longest

	wraps map[string]uint64 // packets by encapsulation
	blind map[string]uint64 // packets by what the decoder cannot look into

	checkable uint64
	wrong     uint64
	summing   map[netip.Addr]*sums

	networks []uint64 // packets from each of Config.Networks
	asked    []uint64 // and to it

	peak   uint64 // bits per second in the busiest peakWindow
	window int64
	inside uint64 // bits in the present one
}

// sums are the transport checksums of one sender.
type sums struct{ good, bad uint64 }

const (
	// maxSenders bounds whose checksums are told apart.
	maxSenders = 4096
	// jumpBack is what no reordering does.
	jumpBack = time.Second
	// peakWindow is about what the buffer of a switch holds back at full speed.
	peakWindow = 10 * time.Millisecond
	// overhead is what Ethernet spends on a frame beyond what is captured:
	// preamble, check sequence and the gap between two frames.
	overhead = 8 + 4 + 12
	// longestFrame is that of Ethernet with two VLAN tags; jumboFrame that of
	// usual large frames.
	longestFrame = 14 + 8 + 1500
	jumboFrame   = 14 + 8 + 9216
)

// grains are the resolutions of clocks that are told of.
var grains = []time.Duration{time.Second, 10 * time.Millisecond, time.Millisecond}

func newLink(cfg *Config) link {
	return link{
		cfg: cfg, strict: packet.Decoder{DropBadChecksums: true}, grain: grains[0],
		outcomes: map[packet.Outcome]uint64{}, wraps: map[string]uint64{}, blind: map[string]uint64{}, summing: map[netip.Addr]*sums{},
		networks: make([]uint64, len(cfg.Networks)), asked: make([]uint64, len(cfg.Networks)),
	}
}

func (l *link) packet(raw *capture.Packet) {
	l.packets++
	l.bytes += uint64(raw.Length)
	l.time(raw)
	if l.longest = max(l.longest, len(raw.Data)); len(raw.Data) < raw.Length {
		l.cut++
	}
	p := &l.decoded
	l.outcome = l.strict.Decode(p, raw)
	wrong := l.outcome == packet.BadIPChecksum || l.outcome == packet.BadL4Checksum
	if wrong {
		l.outcome = l.lenient.Decode(p, raw)
	}
	l.outcomes[l.outcome]++
	l.cast(p)
	l.encapsulation(p)
	if l.outcome != packet.OK || p.IPVersion == 0 {
		return
	}
	l.checksum(p, wrong)
	l.size(p)
	for i, n := range l.cfg.Networks {
		if n.Contains(p.Src) {
			l.networks[i]++
		}
		if n.Contains(p.Dst) {
			l.asked[i]++
		}
	}
}

func (l *link) time(raw *capture.Packet) {
	t := raw.Time
	if l.packets == 1 {
		l.first, l.last, l.previous = t, t, t
	}
	if d := l.previous.Sub(t); d > 0 {
		l.back++
		if d >= jumpBack {
			l.jumps++
			l.farthest = max(l.farthest, d)
		}
	}
	l.previous = t
	if t.Before(l.first) {
		l.first = t
	}
	if t.After(l.last) {
		l.last = t
	}
	for l.grain > 0 && t.UnixNano()%int64(l.grain) != 0 {
		i := slices.Index(grains, l.grain)
		if l.grain = 0; i+1 < len(grains) {
			l.grain = grains[i+1]
		}
	}
	if n := t.UnixNano() / int64(peakWindow); n != l.window {
		l.window, l.inside = n, 0
	}
	l.inside += 8 * uint64(raw.Length+overhead)
	l.peak = max(l.peak, l.inside*uint64(time.Second/peakWindow))
}

// EtherTypes beyond those that the decoder reads.
const (
	etherTypeGOOSE  = 0x88b8 // IEC 61850-8-1
	etherTypeGSE    = 0x88b9
	etherTypeSV     = 0x88ba // IEC 61850-9-2
	etherTypePTP    = 0x88f7 // IEEE 1588
	etherTypePRP    = 0x88fb // supervision of IEC 62439-3
	etherTypeMACsec = 0x88e5 // IEEE 802.1AE
	etherTypePBB    = 0x88e7 // IEEE 802.1ah
	etherTypeTRILL  = 0x22f3 // RFC 6325
	etherTypeFabric = 0x8903 // Cisco FabricPath
	etherTypeCMD    = 0x8909 // Cisco MetaData
	etherTypeNSH    = 0x894f // RFC 8300
)

// ipsec is what is encrypted between hosts or sites: no fault of a tap.
const ipsec = "IPsec, which is encrypted"

// cast tells what any port of a switch gets from what only a mirror or a tap
// shows. A process bus speaks by multicasts.
func (l *link) cast(p *packet.Packet) {
	var none event.MAC
	switch {
	case p.DstMAC == none && p.SrcMAC == none: // loopback, or no Ethernet
		l.foreign++
	case p.EtherType >= etherTypeGOOSE && p.EtherType <= etherTypeSV, p.EtherType == etherTypePTP, p.EtherType == etherTypePRP:
		l.bus++
	case p.DstMAC[0]&1 != 0:
		l.group++
	case slices.Contains(l.cfg.Own, p.SrcMAC), slices.Contains(l.cfg.Own, p.DstMAC):
		l.own++
	default:
		l.foreign++
	}
}

var wrapNames = [...]struct {
	bit  packet.Tunnel
	name string
}{
	{packet.IPinIP, "IP in IP"}, {packet.GRE, "GRE"}, {packet.MPLS, "MPLS"}, {packet.PPPoE, "PPPoE"}, {packet.NVGRE, "NVGRE"},
	{packet.ERSPAN, "ERSPAN"}, {packet.VXLAN, "VXLAN"}, {packet.Geneve, "Geneve"}, {packet.GTPU, "GTP-U"}, {packet.Teredo, "Teredo"},
	{packet.L2TP, "L2TP"},
}

var blindNames = map[uint16]string{
	etherTypeMACsec: "MACsec, which is encrypted", etherTypePBB: "provider backbone bridging (802.1ah)", etherTypeTRILL: "TRILL",
	etherTypeFabric: "FabricPath", etherTypeCMD: "Cisco MetaData tags", etherTypeNSH: "network service headers",
}

func (l *link) encapsulation(p *packet.Packet) {
	switch {
	case p.InnerVLAN != 0:
		l.wraps["QinQ"]++
	case p.VLAN != 0:
		l.wraps["VLAN"]++
	}
	for _, w := range wrapNames {
		if p.Tunnel&w.bit != 0 {
			l.wraps[w.name]++
		}
	}
	switch name, ok := blindNames[p.EtherType]; {
	case ok:
		l.blind[name]++
	case l.outcome == packet.TooDeep:
		l.blind["more nested headers than the sensor follows"]++
	case l.outcome == packet.OK && p.IPVersion != 0 && p.Proto == packet.ProtoESP:
		l.blind[ipsec]++
	}
}

// checksum keeps account of who sends wrong checksums. What was joined has
// none that could be right.
func (l *link) checksum(p *packet.Packet, wrong bool) {
	sums4 := p.Proto == packet.ProtoTCP || p.Proto == packet.ProtoUDP
	if !wrong && (!sums4 || p.Truncated || p.Fragment) || p.Length > longestFrame && !l.cfg.Loopback {
		return
	}
	l.checkable++
	if wrong {
		l.wrong++
	}
	s := l.summing[p.Src]
	if s == nil {
		if len(l.summing) >= maxSenders {
			return
		}
		s = new(sums)
		l.summing[p.Src] = s
	}
	if wrong {
		s.bad++
	} else {
		s.good++
	}
}

// size looks for packets that no wire carries: the card or the kernel has
// joined several into one. TCP says itself how much it may send at once.
func (l *link) size(p *packet.Packet) {
	if p.Proto == packet.ProtoTCP && p.TCP.Flags&packet.SYN != 0 {
		for opt, rest, ok := packet.NextOption(p.TCP.Options); ok; opt, rest, ok = packet.NextOption(rest) {
			if opt.Kind == packet.OptionMSS && len(opt.Data) == 2 {
				l.maxMSS = max(l.maxMSS, int(opt.Data[0])<<8|int(opt.Data[1]))
			}
		}
	}
	joined := false
	switch {
	case p.Fragment || p.Fragments > 0:
	case l.cfg.MTU > 0:
		joined = p.Length > l.cfg.MTU+14+8
	case p.Length > jumboFrame:
		joined = true
	case p.Length > longestFrame && p.Proto == packet.ProtoTCP:
		joined = l.maxMSS > 0 && p.PayloadLen > l.maxMSS
	}
	if joined {
		l.joined++
		l.joinedMax = max(l.joinedMax, p.Length)
	}
}
