package acceptance

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/sensor/packet"
)

// check is one thing that can be wrong with a tap.
type check struct {
	name  string
	help  string // what it asks
	share string // what the share is of; empty if there is none
	judge func(*watch, *Verdict)
}

// checks are in the order of a report: what makes others meaningless comes
// first.
var checks = []check{
	{"traffic", "whether packets come at all", "", (*watch).traffic},
	{"unicast", "whether it shows what others say to each other, as a mirror or tap does and a plain port does not", "broadcasts and multicasts of all frames", (*watch).unicast},
	{"directions", "whether both sides of conversations are seen", "TCP conversations of which one side is missing", (*watch).directions},
	{"vlans", "whether both sides of conversations are in the same VLAN, and in each VLAN", "TCP conversations whose sides are in different VLANs, or whose VLAN has one side only", (*watch).vlans},
	{"asymmetry", "whether some conversations are one-sided while others are not", "TCP conversations of which one side is missing, where most have both", (*watch).asymmetry},
	{"duplicates", "whether packets are captured more than once", "copies of all packets", (*watch).duplicates},
	{"loss", "whether the tap loses packets before the sensor", "bytes of TCP that were acknowledged and never seen", (*watch).loss},
	{"drops", "whether the capturing machine loses packets", "packets that ring or card had no room for", (*watch).drops},
	{"reordering", "whether packets come in the order in which they were sent", "TCP segments that come after later ones", (*watch).reordering},
	{"snaplen", "whether packets are captured whole", "packets that are cut", (*watch).snaplen},
	{"offload", "whether packets are captured as they were on the wire", "packets longer than the wire can carry", (*watch).offload},
	{"checksums", "whether checksums are right", "packets with a wrong checksum", (*watch).checksums},
	{"encapsulation", "whether the sensor can look into what the packets are wrapped in", "packets that it cannot look into", (*watch).encapsulation},
	{"decoding", "whether headers can be read", "packets whose headers cannot be read", (*watch).decoding},
	{"clock", "whether the times of packets are right", "", (*watch).clock},
	{"load", "whether the mirror's port has room for its traffic", "the busiest 10 ms of the port's speed", (*watch).load},
	{"expected", "whether the networks and protocols are there that were asked for", "", (*watch).expected},
}

// report judges.
func (w *watch) report() Report {
	l := &w.link
	r := Report{Start: l.first.UTC(), End: l.last.UTC(), Packets: l.packets, Bytes: l.bytes, Flows: w.talks.flows, Level: OK}
	if l.packets == 0 {
		r.Start, r.End = w.cfg.Now.UTC(), w.cfg.Now.UTC()
	}
	if len(w.taps) > 0 {
		r.Sensor, r.Interface = w.taps[0].Sensor, w.taps[0].Name
	}
	for i := range checks {
		c := &checks[i]
		v := Verdict{Check: c.name, Level: OK}
		if l.packets == 0 && c.name != "traffic" && c.name != "drops" {
			v.Level, v.Says = Unjudged, "no packets"
		} else {
			c.judge(w, &v)
		}
		r.add(v)
	}
	return r
}

// limit is from what share on something is doubtful, and from what share on at
// fault.
type limit struct{ warning, fault float64 }

// never is a share that nothing reaches.
const never = 2

// measure sets share and level.
func (v *Verdict) measure(part, whole uint64, l limit) {
	share := float64(part) / float64(max(whole, 1))
	v.Share = &share
	switch {
	case part == 0:
	case share >= l.fault:
		v.Level = Fault
	case share >= l.warning:
		v.Level = Warning
	}
}

func (v *Verdict) say(format string, args ...any) { v.Says = fmt.Sprintf(format, args...) }

// unjudged says that there is too little, unless what there is is wrong already.
func (v *Verdict) unjudged(format string, args ...any) {
	v.Level, v.Share = Unjudged, nil
	v.say(format, args...)
}

// percent writes a share for people.
func percent(part, whole uint64) string {
	x := 100 * float64(part) / float64(max(whole, 1))
	switch {
	case part == 0:
		return "0 %"
	case x < 0.01:
		return "less than 0.01 %"
	case x < 1:
		return fmt.Sprintf("%.2f %%", x)
	case part == whole:
		return "100 %"
	case x > 99.9:
		return "more than 99.9 %"
	}
	return fmt.Sprintf("%.1f %%", x)
}

// iface is what to call the interface in commands to type.
func (w *watch) iface() string { return cmp.Or(w.cfg.Interface, "IFACE") }

// where says on which machine a command helps.
func (w *watch) where() string {
	if w.cfg.Interface == "" {
		return " on the machine that captured (IFACE is its interface)"
	}
	return ""
}

const spanBoth = "on the switch, let the mirror copy what ports send and receive, such as: monitor session 1 source interface PORT both"

func (w *watch) traffic(v *Verdict) {
	l := &w.link
	if l.packets == 0 {
		v.Level = Fault
		v.say("no packet came")
		v.Fix = fmt.Sprintf("see that the cable is in and the link is up (ip link show %s), and that the mirror has this port for its destination", w.iface())
		if w.cfg.Interface == "" {
			v.Fix = "capture anew; the capture is empty"
		}
		return
	}
	if n := w.counters.Outages; n > 0 {
		v.Level = Fault
		v.say("the link went down %s during the test", times(n))
		v.Fix = "see to cable, transceiver and the switch's port: ethtool " + w.iface()
		return
	}
	d := l.last.Sub(l.first)
	v.say("%s packets, %s, in %s: %s on average", thousands(l.packets), bytes(l.bytes), seconds(d), rate(float64(l.bytes)*8/max(d.Seconds(), 0.001)))
}

func (w *watch) unicast(v *Verdict) {
	const enough = 20
	limits := limit{warning: 0.8, fault: 0.95}
	l := &w.link
	seen := l.group + l.own + l.foreign
	switch {
	case w.cfg.Loopback:
		v.say("this is the machine's loopback, which shows the machine alone")
		return
	case l.bus > 0 && l.bus >= 9*seen:
		v.say("a process bus: %s of the frames are GOOSE, sampled values or PTP, which are multicasts", percent(l.bus, l.packets))
		return
	case seen < enough:
		v.unjudged("only %d frames, too few to tell a mirror from a plain port", seen)
		return
	}
	v.measure(l.group, seen, limits)
	if l.foreign == 0 && l.own > 0 {
		v.Level = Warning
		v.say("all that is sent to one host alone is sent to or by this machine: it watches itself, and nobody else")
		v.Fix = "if others are to be watched, connect the destination port of a mirror or a tap, not a plain port"
		return
	}
	v.say("%s of the frames are broadcasts or multicasts (limit %.0f %%)", percent(l.group, seen), 100*limits.warning)
	if v.Level != OK {
		v.Says += ": this looks like a plain port of a switch and not like a mirror"
		v.Fix = "make the port the destination of a mirror; " + spanBoth
	}
}

// oneSided adds up the conversations over all VLANs, but for those VLANs of
// which one side is missing altogether while others have both.
func (w *watch) oneSided() (both, one, packets uint64, example string, lame []vlans) {
	t := w.talks
	var healthy uint64
	for _, s := range t.byVLAN {
		if s.both > s.one {
			healthy += s.both
		}
	}
	// In the order of their tags, so that the same packets give the same words.
	for _, v := range slices.SortedFunc(maps.Keys(t.byVLAN), func(a, b vlans) int {
		return cmp.Or(cmp.Compare(a.outer, b.outer), cmp.Compare(a.inner, b.inner))
	}) {
		s := t.byVLAN[v]
		if len(t.byVLAN) > 1 && s.one >= 3 && s.one >= 9*s.both && healthy >= 3 {
			lame = append(lame, v)
			continue
		}
		both, one, packets = both+s.both, one+s.one, packets+s.packets
		if example == "" && s.one > 0 {
			example = s.example
		}
	}
	return both, one, packets, example, lame
}

// Enough conversations to speak of all: some, or one that is long.
const (
	enoughConversations = 3
	enoughPackets       = 20
)

// mostly is from what share of one-sided conversations on a direction is missing
// rather than some links.
const mostly = 0.9

func (w *watch) directions(v *Verdict) {
	both, one, packets, example, _ := w.oneSided()
	all := both + one + w.talks.split
	switch {
	case all == 0:
		v.unjudged("no TCP conversation that would show it")
		return
	case one > 0 && all < enoughConversations && packets < enoughPackets:
		v.unjudged("only %d TCP conversations, %d one-sided: too few to tell", all, one)
		return
	}
	v.measure(one, all, limit{warning: mostly, fault: mostly})
	if v.Level == OK {
		v.say("both sides of %s of %s TCP conversations are seen (limit %.0f %%)", thousands(all-one), thousands(all), 100-100*mostly)
		return
	}
	v.say("one side is missing in %s of %s TCP conversations (limit %.0f %%), such as %s", thousands(one), thousands(all), 100*mostly, example)
	v.Fix = spanBoth + "; of a tap with two outputs, join both: ip link add tap0 type bond mode balance-rr; ip link set IFACE1 master tap0; ip link set IFACE2 master tap0, and capture on tap0"
}

func (w *watch) vlans(v *Verdict) {
	t := w.talks
	_, _, _, _, lame := w.oneSided()
	var all, wrong uint64
	for _, s := range t.byVLAN {
		all += s.both + s.one
	}
	all += t.split
	for _, tags := range lame {
		wrong += t.byVLAN[tags].one
	}
	if all == 0 {
		v.unjudged("no TCP conversation that would show it")
		return
	}
	limits := limit{warning: 0.005, fault: 0.05}
	v.measure(wrong+t.split, all, limits)
	switch {
	case v.Level == OK && len(t.byVLAN) == 1:
		v.say("all conversations are in one network, %s", slices.Collect(maps.Keys(t.byVLAN))[0])
	case v.Level == OK:
		v.say("both sides of conversations are in each of %d VLANs (limit %.1f %%)", len(t.byVLAN), 100*limits.warning)
	case t.split > wrong:
		v.say("the two sides of %s of %s TCP conversations are in different VLANs (limit %.1f %%), such as %s and %s: each is taken for half a conversation",
			thousands(t.split), thousands(all), 100*limits.warning, t.apart[0], t.apart[1])
		v.Fix = "let the mirror copy both directions on the same side of the routing and with the same encapsulation, such as: monitor session 1 destination interface PORT encapsulation replicate"
	default:
		v.say("one side is missing in %s, all %s TCP conversations there, while other VLANs have both, such as %s", named(lame), thousands(wrong), t.byVLAN[lame[0]].example)
		v.Fix = "add the missing direction to the mirror, such as: monitor session 1 source vlan ID both; see that the mirror's filter has all VLANs"
	}
}

func named(list []vlans) string {
	var names []string
	for _, v := range list[:min(len(list), 5)] {
		names = append(names, v.String())
	}
	if more := len(list) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

func (w *watch) asymmetry(v *Verdict) {
	both, one, _, example, _ := w.oneSided()
	all := both + one
	if all < enoughConversations {
		v.unjudged("only %d TCP conversations, too few to tell", all)
		return
	}
	limits := limit{warning: 0.03, fault: 0.2}
	v.measure(one, all, limits)
	switch {
	case *v.Share >= mostly:
		v.unjudged("nearly all conversations are one-sided")
	case one < enoughConversations:
		v.Level = OK
		fallthrough
	case v.Level == OK:
		v.say("%s of %s TCP conversations are one-sided (limit %.0f %%)", thousands(one), thousands(all), 100*limits.warning)
	default:
		v.say("one side is missing in %s of %s TCP conversations (%s, limit %.0f %%) while others have both, such as %s: what comes back takes another way",
			thousands(one), thousands(all), percent(one, all), 100*limits.warning, example)
		v.Fix = "tap the other link as well, such as: tocsin run -i here=IFACE1 -i there=IFACE2; or add its port to the mirror"
	}
}

func (w *watch) duplicates(v *Verdict) {
	d := &w.dup
	const few = 3 // and hosts may have sent them
	copies := d.exact + d.tagged + d.routed
	limits := limit{warning: 0.01, fault: 0.05}
	v.measure(copies, d.comparable, limits)
	if d.comparable < 20 {
		v.unjudged("only %d packets, too few to tell", d.comparable)
		return
	}
	if copies < few {
		v.Level = OK
	}
	v.say("%s of packets are copies of others within %s (limit %.0f %%)", percent(copies, d.comparable), seconds(copyWindow), 100*limits.warning)
	if v.Level == OK {
		return
	}
	switch most := max(d.exact, d.tagged, d.routed); most {
	case d.exact:
		v.Says += ", unchanged: the mirror copies them where they come in and where they go out"
		v.Fix = "mirror one direction of each port, such as: monitor session 1 source interface PORT rx; or only the port to the router with both"
	case d.tagged:
		v.Says += fmt.Sprintf(", in another VLAN (%s and %s): the mirror copies them before and after the tag is changed", d.from, d.to)
		v.Fix = "mirror one side of the trunk, such as: monitor session 1 source interface PORT rx; or capture one of the VLANs with -f"
	default:
		v.Says += ", with other MAC addresses or one hop less to live: the mirror copies them before and after they are routed"
		v.Fix = "mirror the ports on one side of the router only, or one direction, such as: monitor session 1 source vlan ID rx"
	}
	if rest := copies - max(d.exact, d.tagged, d.routed); rest*10 > copies {
		v.Says += fmt.Sprintf(" (%s unchanged, %s in another VLAN, %s routed)", thousands(d.exact), thousands(d.tagged), thousands(d.routed))
	}
}

func (w *watch) loss(v *Verdict) {
	t, l := w.talks, &w.link
	const (
		enough = 200 // segments
		few    = 3   // of their size, which may always be missing
	)
	if bad, _ := w.undecoded(); bad*200 >= w.link.packets {
		v.unjudged("not all headers can be read, so what is missing in connections does not tell")
		return
	}
	if w.cut() {
		v.unjudged("packets are cut, so what is missing in connections does not tell")
		return
	}
	// What came after its acknowledgement was given up as lost before.
	missed := t.missed - min(t.missed, w.seq.lateBytes)
	whole := t.payload + missed
	limits := limit{warning: 0.001, fault: 0.01}
	v.measure(missed, whole, limits)
	switch segments := w.seq.segments; {
	case segments < enough && missed*10 < whole, segments == 0:
		v.unjudged("only %d TCP segments with data, too few to tell", segments)
		return
	case missed < few*t.payload/segments:
		v.Level = OK
	}
	v.say("%s of TCP data was acknowledged and never seen (limit %.1f %%)", percent(missed, whole), 100*limits.warning)
	if v.Level == OK {
		return
	}
	v.Says += ": the tap or mirror loses packets before they come here"
	v.Fix = "see the counters of drops of the mirror's destination port, mirror fewer ports or one direction, or take a faster port or a passive tap"
	if n, _ := w.dropped(); n > 0 {
		v.Says = strings.TrimSuffix(v.Says, ": the tap or mirror loses packets before they come here") + "; this machine loses packets itself, see drops"
		v.Fix = "first mend what this machine drops"
	} else if w.cfg.Speed > 0 && l.peak > w.cfg.Speed/2 {
		v.Says += fmt.Sprintf(", and bursts reach %s of its %s", rate(float64(l.peak)), rate(float64(w.cfg.Speed)))
	}
}

// cut reports whether packets are cut so often that bytes of connections are
// missing for that.
func (w *watch) cut() bool { return w.link.cut*1000 >= w.link.packets && w.link.cut > 0 }

// dropped is what the source counts as lost for want of room, and where.
func (w *watch) dropped() (n uint64, where []string) {
	for _, cause := range slices.Sorted(maps.Keys(w.counters.Dropped)) {
		// What is left in the ring when the test ends is not lost.
		if x := w.counters.Dropped[cause]; x > 0 && cause != "unread" {
			n += x
			where = append(where, fmt.Sprintf("%s %s", thousands(x), cause))
		}
	}
	return n, where
}

func (w *watch) drops(v *Verdict) {
	n, where := w.dropped()
	all := n + w.link.packets
	limits := limit{warning: 0, fault: 0.001}
	v.measure(n, all, limits)
	switch {
	case v.Level == OK && !w.cfg.Live:
		v.unjudged("a capture does not tell what its machine has lost")
		return
	case v.Level == OK:
		v.say("this machine lost none of %s packets", thousands(all))
		return
	}
	v.say("this machine lost %s of %s packets (%s; limit 0): %s", thousands(n), thousands(all), percent(n, all), strings.Join(where, ", "))
	switch dropped := w.counters.Dropped; max(dropped["damaged"], dropped["interface"], dropped["kernel"]) {
	case dropped["damaged"]:
		v.Fix = "clean or replace cable and transceiver, and see the light's level: ethtool -S " + w.iface()
	case dropped["interface"]:
		v.Fix = fmt.Sprintf("run: ethtool -G %s rx 4096", w.iface())
	default:
		v.Fix = "give the sensor several --workers (this test has one) and this machine fewer other tasks, or leave out with -f what need not be seen"
	}
}

func (w *watch) reordering(v *Verdict) {
	o, l := &w.seq, &w.link
	const enough = 50
	wrong := max(o.overtook, o.late)
	limits := limit{warning: 0.005, fault: 0.05}
	v.measure(wrong, o.segments, limits)
	if o.segments < enough {
		v.unjudged("only %d TCP segments with data, too few to tell", o.segments)
		return
	}
	v.say("%s of %s TCP segments come after later ones (limit %.1f %%)", percent(wrong, o.segments), thousands(o.segments), 100*limits.warning)
	if v.Level == OK {
		return
	}
	if o.late > o.overtook {
		v.say("%s of %s TCP segments come after their own acknowledgement (limit %.1f %%): the two directions come by different ways, one slower than the other",
			percent(wrong, o.segments), thousands(o.segments), 100*limits.warning)
	}
	if l.back > 0 {
		v.Says += fmt.Sprintf("; the times of %s of the packets go back", percent(l.back, l.packets))
	}
	v.Fix = fmt.Sprintf("let the card have one queue, or queues that keep both directions together; run%s: ethtool -L %s combined 1; of a bond of two taps, see that both have the same delay", w.where(), w.iface())
}

func (w *watch) snaplen(v *Verdict) {
	l := &w.link
	v.measure(l.cut, l.packets, limit{warning: 0, fault: 0.01})
	if v.Level == OK {
		v.say("all packets are whole; the longest has %d bytes", l.longest)
		return
	}
	v.say("%s of packets are cut, at %d bytes or before (limit 0): what protocols say is lost", percent(l.cut, l.packets), l.longest)
	v.Fix = "capture whole packets: tcpdump -s 0, dumpcap without -s"
	if w.cfg.Interface != "" {
		v.Fix = fmt.Sprintf("packets of more than 64 KiB are joined by this machine; run: ethtool -K %s gro off lro off", w.iface())
	}
}

func (w *watch) offload(v *Verdict) {
	l := &w.link
	limits := limit{warning: 0, fault: never}
	if w.cfg.Loopback {
		v.say("this is the machine's loopback, where packets are as long as programs like")
		return
	}
	v.measure(l.joined, l.packets, limits)
	if state := w.counters.State; v.Level == OK && state != nil && len(state.Offloads) > 0 {
		v.Level = Warning
		v.say("no packet is longer than the wire can carry, but %s may join some", strings.Join(state.Offloads, " and "))
		v.Fix = fmt.Sprintf("run: ethtool -K %s", w.iface())
		for _, o := range state.Offloads {
			v.Fix += " " + o + " off"
		}
		return
	}
	if v.Level == OK {
		v.say("no packet is longer than the wire can carry")
		return
	}
	v.say("%s packets (%s) are longer than the wire can carry, up to %d bytes (limit 0): card or kernel join them before they are captured, so sizes, counts and times are not those of the link",
		thousands(l.joined), percent(l.joined, l.packets), l.joinedMax)
	v.Fix = fmt.Sprintf("run%s: ethtool -K %s gro off lro off tso off gso off", w.where(), w.iface())
}

// checksums tells a card that has yet to fill them in, on the machine that
// sends, from packets that arrive damaged: there, all senders are concerned, and
// each a little.
func (w *watch) checksums(v *Verdict) {
	l := &w.link
	const (
		enough = 20
		few    = 10
	)
	if l.checkable < enough {
		v.unjudged("only %d packets whose checksum can be verified", l.checkable)
		return
	}
	var senders, lying int
	var theirs uint64 // wrong checksums of those who mostly send wrong ones
	var known uint64  // of all senders that are told apart
	for _, s := range l.summing {
		senders++
		known += s.bad
		if s.bad >= 3 && s.bad > s.good {
			lying++
			theirs += s.bad
		}
	}
	limits := limit{warning: 0.01, fault: never}
	scattered := theirs*2 < known
	if scattered {
		limits = limit{warning: 0.001, fault: 0.01}
		if l.wrong < few {
			limits = limit{warning: never, fault: never} // it happens
		}
	}
	v.measure(l.wrong, l.checkable, limits)
	v.say("%s of packets have a wrong checksum (limit %.1f %%)", percent(l.wrong, l.checkable), 100*limits.warning)
	switch {
	case v.Level == OK:
	case scattered:
		v.Says += ", a few of many senders: packets arrive damaged"
		v.Fix = "clean or replace cable and transceiver, see the light's level, and the card's counters: ethtool -S " + w.iface()
	case w.cfg.Loopback:
		v.Level = OK
		v.say("%s of packets have no checksum yet, as is usual on a machine's loopback", percent(l.wrong, l.checkable))
	default:
		v.Says += fmt.Sprintf(", nearly all of them from %d of %d senders: they are captured where they are sent, before the card fills it in", lying, senders)
		if l.wrong*10 >= l.checkable*9 && !w.cfg.Live {
			v.Says += ", or addresses were changed after the capture"
		}
		v.Fix = fmt.Sprintf("nothing needs to be done, as the sensor does not look at them; for tools that do, run%s: ethtool -K %s tx off", w.where(), w.iface())
	}
}

func (w *watch) encapsulation(v *Verdict) {
	l := &w.link
	list := func(m map[string]uint64) string {
		names := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
		for i, n := range names {
			names[i] = fmt.Sprintf("%s %s", percent(m[n], l.packets), n)
		}
		return strings.Join(names, ", ")
	}
	var blind uint64
	for _, n := range l.blind {
		blind += n
	}
	limits := limit{warning: 0.05, fault: 0.5}
	v.measure(blind, l.packets, limits)
	if v.Level == Fault && 2*l.blind[ipsec] > blind {
		v.Level = Warning // so it is on the link
	}
	switch {
	case len(l.wraps) == 0:
		v.Says = "packets are not encapsulated"
	default:
		v.say("%s of packets, and the sensor looks inside", list(l.wraps))
	}
	if blind > 0 {
		v.Says += fmt.Sprintf("; it cannot look into %s (limit %.0f %%)", list(l.blind), 100*limits.warning)
	}
	if v.Level != OK {
		v.Fix = "mirror where the packets are not wrapped or encrypted yet, such as the port of the host instead of that between two switches"
	}
}

// undecoded is how many packets have headers that cannot be read, and why.
func (w *watch) undecoded() (bad uint64, causes []string) {
	for o := packet.UnknownLink; o <= packet.FragmentDropped; o++ {
		switch o {
		case packet.TruncatedLink, packet.TruncatedIP, packet.TruncatedL4, packet.TooDeep: // see snaplen and encapsulation
			continue
		}
		if n := w.link.outcomes[o]; n > 0 {
			bad += n
			causes = append(causes, fmt.Sprintf("%s %s", thousands(n), strings.ReplaceAll(o.String(), "_", " ")))
		}
	}
	return bad, causes
}

func (w *watch) decoding(v *Verdict) {
	l := &w.link
	bad, causes := w.undecoded()
	limits := limit{warning: 0.005, fault: 0.05}
	v.measure(bad, l.packets, limits)
	v.say("the headers of %s of packets cannot be read (limit %.1f %%)", percent(bad, l.packets), 100*limits.warning)
	if len(causes) > 0 {
		v.Says += ": " + strings.Join(causes, ", ")
	}
	switch {
	case bad == 0:
		v.say("all headers can be read")
		return
	case v.Level == OK:
		return
	}
	v.Fix = "see whether the tap adds headers or trailers of its own, and let it leave them out; else cable or transceiver damage packets: ethtool -S " + w.iface()
	if l.outcomes[packet.UnknownLink] > 0 {
		v.Fix = "capture Ethernet, IEEE 802.11, raw IP, PPP, loopback or Linux cooked frames"
	}
}

// Limits of clocks.
const (
	maxAhead     = time.Second // of the present, live
	maxAheadFile = 24 * time.Hour
	maxLag       = 2 * time.Second
	maxOff       = 100 * time.Millisecond // of the system's clock, as the kernel estimates
)

// oldest is before all captures: nobody had the format.
var oldest = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *watch) clock(v *Verdict) {
	l := &w.link
	const enough = 20
	set := "let NTP or PTP keep the clock that stamps packets; run" + w.where() + ": timedatectl set-ntp true"
	now := w.cfg.Now
	switch ahead := l.first.Sub(now); {
	case l.first.Before(oldest):
		v.Level = Fault
		v.say("the first packet is of %s: whoever captured had no clock", l.first.UTC().Format(time.DateTime))
		v.Fix = set
		return
	case w.cfg.Live && !now.IsZero() && ahead > maxAhead:
		v.Level = Fault
		v.say("packets are from the future: the first is %s ahead of this machine's clock (limit %s)", seconds(ahead), seconds(maxAhead))
		v.Fix = set
		return
	case !now.IsZero() && ahead > maxAheadFile:
		v.Level = Warning // whose clock is wrong, nobody knows
		v.say("packets are from the future: the first is %s ahead of this machine's clock (limit %s)", seconds(ahead), seconds(maxAheadFile))
		v.Fix = set + "; or set the clock of this machine"
		return
	case w.cfg.Live && !now.IsZero() && l.packets > 0 && l.last.Before(now.Add(-maxLag)):
		v.Level = Fault
		v.say("packets are from the past: the last is %s behind this machine's clock (limit %s)", seconds(now.Sub(l.last)), seconds(maxLag))
		v.Fix = "set the clock of the card: phc2sys -s CLOCK_REALTIME -c " + w.iface() + " -O 0"
		return
	case l.jumps > 0:
		v.Level = Fault
		v.say("the times of packets jump back, %s in all, by up to %s (limit %s)", times(l.jumps), seconds(l.farthest), seconds(jumpBack))
		v.Fix = set + "; captures of several machines are to be given one by one, each with its own -r"
		return
	case l.packets >= enough && l.grain > 0 && l.last.Sub(l.first) > 10*l.grain:
		v.Level = Warning
		v.say("times are multiples of %s (limit: finer than 1 ms), so what happened first cannot be told", seconds(l.grain))
		v.Fix = "capture with finer times, such as: tcpdump -i " + w.iface() + " --time-stamp-precision=nano"
		return
	}
	if state := w.counters.State; state != nil {
		switch off := state.ClockOffset.Abs(); {
		case off > maxOff:
			v.Level = Fault
			v.say("the card's clock, which stamps packets, is %s from the system's (limit %s)", seconds(off), seconds(maxOff))
			v.Fix = "run: phc2sys -s CLOCK_REALTIME -c " + w.iface() + " -O 0"
			return
		case !state.Synchronized:
			v.Level = Warning
			v.say("nothing keeps this machine's clock, so events of different sensors may not be in order")
			v.Fix = "run: timedatectl set-ntp true, or start chronyd or ptp4l"
			return
		case state.ClockError > maxOff:
			v.Level = Warning
			v.say("this machine's clock may be off by %s (limit %s)", seconds(state.ClockError), seconds(maxOff))
			v.Fix = "see: chronyc tracking; use servers that are nearer, or PTP"
			return
		}
	}
	v.say("times never go back by a second or more, and are finer than 1 ms")
	if l.packets < enough {
		v.say("times do not go back")
	}
}

func (w *watch) load(v *Verdict) {
	l := &w.link
	if w.cfg.Speed == 0 {
		v.say("the busiest %s have %s; the speed of the port is not known", seconds(peakWindow), rate(float64(l.peak)))
		return
	}
	limits := limit{warning: 0.8, fault: 0.98}
	v.measure(min(l.peak, w.cfg.Speed), w.cfg.Speed, limits)
	v.say("the busiest %s have %s, %s of the port's %s (limit %.0f %%)", seconds(peakWindow), rate(float64(l.peak)), percent(min(l.peak, w.cfg.Speed), w.cfg.Speed), rate(float64(w.cfg.Speed)), 100*limits.warning)
	if v.Level != OK {
		v.Says += ": a mirror drops what its port cannot send"
		v.Fix = "mirror fewer ports or one direction, or use a faster port"
	}
	if v.Level == Fault && l.bytes*8 < w.cfg.Speed/10*uint64(max(1, l.last.Sub(l.first).Seconds())) {
		v.Level = Warning // single bursts
	}
}

// absent lists what was expected and has not come.
func (w *watch) absent() (missing []string) {
	for i, n := range w.cfg.Networks {
		switch {
		case w.link.networks[i] > 0:
		case w.link.asked[i] > 0:
			missing = append(missing, fmt.Sprintf("%s is spoken to and never answers", n))
		default:
			missing = append(missing, fmt.Sprintf("no packet of %s", n))
		}
	}
	for _, p := range w.cfg.Protocols {
		if !w.talks.has(p) {
			missing = append(missing, "no "+p)
		}
	}
	return missing
}

func (w *watch) expected(v *Verdict) {
	want := len(w.cfg.Networks) + len(w.cfg.Protocols)
	missing := w.absent()
	switch {
	case want == 0:
		v.say("nothing is asked for; name networks and protocols with --expect")
	case len(missing) == 0:
		v.say("all %d networks and protocols that are asked for are there", want)
	default:
		v.Level = Fault
		v.say("%d of %d networks and protocols are missing: %s", len(missing), want, strings.Join(missing, ", "))
		v.Fix = "add their ports or VLANs to the mirror; if they speak seldom, test longer with --for"
	}
}
