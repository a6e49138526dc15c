package sensor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/flow"
	"github.com/tocsin/tocsin/sensor/packet"
)

// Bounds of floods, per shard.
const (
	// maxVictims is how many victims are counted for at a time. Connections to
	// others that had to make room are reported one by one.
	maxVictims = 64
	// floodAfter is how many connections to a victim must have made room within
	// a minute until the next ones are counted rather than reported: a scan of
	// many hosts has few to each.
	floodAfter = 8
)

// victim is what half-open connections may be too many to.
type victim struct {
	ip          netip.Addr
	port        uint16
	vlan, inner uint16
	iface       int
}

func (v *victim) compare(o *victim) int {
	return cmp.Or(v.ip.Compare(o.ip), cmp.Compare(v.port, o.port), cmp.Compare(v.vlan, o.vlan), cmp.Compare(v.inner, o.inner))
}

// flood is what came to a victim in a minute.
type flood struct {
	victim
	open        bool // there were enough to call it that
	evicted     uint64
	flows       uint64 // of which
	reported    uint64 // have an event of their own,
	answered    uint64 // were answered,
	refused     uint64 // or refused
	packets     uint64 // of both sides, as are bytes
	bytes       uint64
	first, last int64      // nanoseconds since 1970
	source      netip.Addr // invalid if there are several
	sources     sketch
}

// floods counts connections of which nothing came but their beginning, when the
// flow table has no room for all of them, by whom they were to.
//
// They make room before any other flow does. What makes room by the thousand is
// then not worth an event each, and would hide everything else.
type floods struct {
	victims map[victim]*flood
	idle    []*flood // to use again
}

// take counts a flow that has ended, if it is one of those. It reports whether
// the flow need not be reported, as an event of the flood stands for it.
func (fs *floods) take(r *flow.Record, evicted bool) (counted bool) {
	if !r.HalfOpen() || len(fs.victims) == 0 && !evicted {
		return false
	}
	v := victim{iface: r.Iface()}
	v.ip, v.port, v.vlan, v.inner = r.Responder()
	f := fs.victims[v]
	if f == nil {
		if !evicted || len(fs.victims) >= maxVictims {
			return false
		}
		f = new(flood)
		if n := len(fs.idle); n > 0 {
			f, fs.idle = fs.idle[n-1], fs.idle[:n-1]
		}
		*f = flood{victim: v}
		if fs.victims == nil {
			fs.victims = make(map[victim]*flood, maxVictims)
		}
		fs.victims[v] = f
	}
	counted = f.open
	if evicted {
		if f.evicted++; f.evicted > floodAfter {
			f.open, counted = true, true
		}
	}
	packets, size, _ := r.Sums()
	first, last := r.Span()
	if f.flows == 0 || first < f.first {
		f.first = first
	}
	f.last = max(f.last, last)
	source := r.Originator()
	if f.flows == 0 {
		f.source = source
	} else if f.source != source {
		f.source = netip.Addr{}
	}
	f.flows++
	f.packets += packets
	f.bytes += size
	switch answered, refused := r.Answer(); {
	case refused:
		f.refused++
	case answered:
		f.answered++
	}
	if !counted {
		f.reported++
	}
	f.sources.add(source)
	return counted
}

// minute hands out what was counted on a tap in a minute, and begins the next:
// a flood that was open goes on, unless nothing came any more.
func (fs *floods) minute(iface int, out []flood) []flood {
	for v, f := range fs.victims {
		if v.iface != iface {
			continue
		}
		if f.flows > 0 {
			out = append(out, *f)
		}
		if !f.open || f.flows == 0 {
			delete(fs.victims, v)
			fs.idle = append(fs.idle, f)
			continue
		}
		*f = flood{victim: v, open: true}
	}
	return out
}

// join adds up the parts of shards, and leaves out what was no flood in any.
func join(parts []flood) []flood {
	slices.SortFunc(parts, func(a, b flood) int { return a.compare(&b.victim) })
	var sums []flood
	for i := range parts {
		p := &parts[i]
		if n := len(sums); n > 0 && sums[n-1].victim == p.victim {
			sums[n-1].add(p)
		} else {
			sums = append(sums, *p)
		}
	}
	return slices.DeleteFunc(sums, func(f flood) bool { return !f.open })
}

func (f *flood) add(o *flood) {
	f.open = f.open || o.open
	f.flows += o.flows
	f.reported += o.reported
	f.answered += o.answered
	f.refused += o.refused
	f.packets += o.packets
	f.bytes += o.bytes
	f.first, f.last = min(f.first, o.first), max(f.last, o.last)
	if f.source != o.source {
		f.source = netip.Addr{}
	}
	f.sources.join(&o.sources)
}

// event makes the event of a flood in a minute.
func (f *flood) event(m *minute, h *event.Hasher) event.Event {
	first, last := time.Unix(0, f.first).UTC(), time.Unix(0, f.last).UTC()
	h.Reset()
	h.Str(m.tap.sensor)
	h.Str(string(event.KindFlood))
	ip := f.ip.As16()
	h.Bytes(ip[:])
	h.Uint(uint64(f.port)<<32 | uint64(f.vlan)<<16 | uint64(f.inner))
	h.Time(first)
	h.Uint(m.ordinal)
	e := event.Event{
		ID: h.ID(last), Time: last, Kind: event.KindFlood, Sensor: m.tap.sensor, Iface: m.tap.name,
		Flow: event.Flow{
			Src: event.Endpoint{IP: f.source}, Dst: event.Endpoint{IP: f.ip, Port: f.port}, Transport: packet.ProtoTCP, VLAN: f.vlan, InnerVLAN: f.inner, Start: first, End: last,
		},
	}
	for i, n := range [...]uint64{f.answered, f.bytes, f.flows, f.packets, f.refused, f.reported, f.sources.estimate()} {
		e.Fields = append(e.Fields, event.Field{Name: floodDocs[i].Name, Value: event.Uint(n)})
	}
	return e
}

var floodDocs = [...]event.FieldDoc{
	{Name: "tocsin.flood.answered", Type: event.Long, Help: "Connections of the flood that the destination agreed to, and that were not made all the same.", Class: event.ClassTechnical},
	{Name: "tocsin.flood.bytes", Type: event.Long, Help: "Bytes of the IP packets of the flood, both ways.", Class: event.ClassTechnical},
	{Name: "tocsin.flood.flows", Type: event.Long, Help: "Connections that were begun to the destination within the minute, and not made.", Class: event.ClassTechnical},
	{Name: "tocsin.flood.packets", Type: event.Long, Help: "Packets of these connections, both ways.", Class: event.ClassTechnical},
	{Name: "tocsin.flood.refused", Type: event.Long, Help: "Connections of the flood that were refused with a reset.", Class: event.ClassTechnical},
	{Name: "tocsin.flood.reported", Type: event.Long, Help: "Connections of the flood that have a flow event of their own, before it was one. All others have none.", Class: event.ClassTechnical},
	{Name: "tocsin.flood.sources", Type: event.Long, Help: "From how many addresses they came, estimated to about 7 %.", Class: event.ClassTechnical},
}

// sketch estimates how many addresses are different (HyperLogLog: Flajolet and
// others, 2007). It depends on nothing but them.
type sketch [256]uint8

func (s *sketch) add(a netip.Addr) {
	b := a.As16()
	h := scatter(scatter(binary.BigEndian.Uint64(b[:8])) ^ binary.BigEndian.Uint64(b[8:]))
	at := h >> 56
	s[at] = max(s[at], uint8(bits.LeadingZeros64(h<<8|1<<7))+1)
}

// scatter is the finalizer of MurmurHash3: each bit that goes in changes half of
// those that come out.
func scatter(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func (s *sketch) join(o *sketch) {
	for i, n := range o {
		s[i] = max(s[i], n)
	}
}

func (s *sketch) estimate() uint64 {
	const m = float64(len(s))
	const alpha = 0.7213 / (1 + 1.079/m)
	var sum float64
	for _, n := range s {
		sum += math.Ldexp(1, -int(n))
	}
	e := alpha * m * m / sum
	if empty := bytes.Count(s[:], []byte{0}); e <= 2.5*m && empty > 0 {
		e = m * math.Log(m/float64(empty)) // few: count the places that none came to
	}
	return uint64(math.Round(e))
}
