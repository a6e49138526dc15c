package netflow

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Most exporters tell of each direction of a flow by itself. A record waits for
// that of the other direction, from the same exporter, and both are one flow. The
// clock is when datagrams come: a pair that comes further apart than Config.Wait
// stays two flows.
type pairing struct {
	open  map[tuple]*half // waiting, by the direction that they tell of
	queue []*half         // in the order in which they came; some are taken already
}

// tuple is a direction of a flow.
type tuple struct {
	src, dst netip.AddrPort
	proto    uint8
	vlan     uint16
}

// half is a record that waits for the other direction.
type half struct {
	record
	way   tuple
	came  time.Time
	taken bool
}

func (f *record) way() tuple {
	return tuple{src: netip.AddrPortFrom(f.src, f.srcPort), dst: netip.AddrPortFrom(f.dst, f.dstPort), proto: f.proto, vlan: f.vlan}
}

func (t tuple) back() tuple { return tuple{src: t.dst, dst: t.src, proto: t.proto, vlan: t.vlan} }

// paired reports whether a record may have another half. ICMP's types, which
// stand for ports, differ between the directions; a sampled packet is no flow.
func (f *record) paired() bool {
	return (f.proto == event.ProtoTCP || f.proto == event.ProtoUDP || f.proto == event.ProtoSCTP) &&
		f.packets2 == 0 && f.bytes2 == 0 && !f.multiplied
}

// pair keeps a record until its other half comes, and makes one of both then.
func (c *Collector) pair(x *exporter, f *record, emit func(*event.Event)) {
	way := f.way()
	if other := x.pairs.open[way.back()]; other != nil && near(&other.record, f) {
		delete(x.pairs.open, other.way)
		other.taken = true
		both := join(&other.record, f)
		c.make(x, &both, emit)
		return
	}
	if before := x.pairs.open[way]; before != nil { // a later part of the same direction
		before.taken = true
		c.make(x, &before.record, emit)
	}
	for len(x.pairs.open) >= max(c.cfg.MaxWaiting, 1) {
		c.release(x, x.pairs.queue[0].came, emit)
	}
	if x.pairs.open == nil {
		x.pairs.open = map[tuple]*half{}
	}
	h := &half{record: *f, way: way, came: x.at}
	x.pairs.open[way] = h
	x.pairs.queue = append(x.pairs.queue, h)
}

// near reports whether two records are of the same time, within a second of the
// exporter's clock.
func near(a, b *record) bool {
	return !a.start.After(b.end.Add(time.Second)) && !b.start.After(a.end.Add(time.Second))
}

// join makes one record of those of two directions. Who began is the originator;
// of two that began together, or before these records, who has the higher port,
// as clients have.
func join(a, b *record) record {
	order := a.start.Compare(b.start)
	if a.proto == event.ProtoTCP && a.flags&b.flags&flagSYN == 0 && a.flags|b.flags != 0 {
		order = int(b.flags&flagSYN) - int(a.flags&flagSYN)
	}
	if cmp.Or(order, cmp.Compare(b.srcPort, a.srcPort), a.src.Compare(b.src)) > 0 {
		a, b = b, a
	}
	f := *a
	f.packets2, f.bytes2 = b.packets, b.bytes
	if b.end.After(f.end) {
		f.end = b.end
	}
	if f.dstMAC == (event.MAC{}) {
		f.dstMAC = b.srcMAC
	}
	f.endReason = max(a.endReason, b.endReason)
	f.firewall = max(a.firewall, b.firewall)
	f.state = state(a.flags, b.flags)
	return f
}

// state is what the flags of both directions say, in Zeek's words, without the
// order in which they came.
func state(orig, resp uint16) string {
	switch {
	case orig&flagSYN == 0 || orig|resp == 0:
		return "OTH"
	case resp&flagSYN == 0 && resp&flagRST != 0:
		return "REJ"
	case resp&flagSYN == 0:
		return "OTH"
	case orig&flagRST != 0:
		return "RSTO"
	case resp&flagRST != 0:
		return "RSTR"
	case orig&flagFIN != 0 && resp&flagFIN != 0:
		return "SF"
	case orig&flagFIN != 0:
		return "S2"
	case resp&flagFIN != 0:
		return "S3"
	}
	return "S1"
}

// release makes flows of the records that came at a time or before, and are
// still alone.
func (c *Collector) release(x *exporter, until time.Time, emit func(*event.Event)) {
	n := 0
	for ; n < len(x.pairs.queue) && !x.pairs.queue[n].came.After(until); n++ {
		h := x.pairs.queue[n]
		if !h.taken {
			delete(x.pairs.open, h.way)
			c.make(x, &h.record, emit)
		}
		x.pairs.queue[n] = nil
	}
	if x.pairs.queue = x.pairs.queue[n:]; len(x.pairs.queue) == 0 {
		x.pairs.queue = nil
	}
}

// Tick says what time it is when no datagram comes: what has waited for long
// enough is told of.
func (c *Collector) Tick(at time.Time, emit func(*event.Event)) {
	for _, x := range c.exporters {
		c.release(x, at.Add(-c.cfg.Wait), emit)
	}
}
