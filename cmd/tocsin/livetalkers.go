package main

import (
	"cmp"
	"container/heap"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
)

// Bounds of what the live view remembers.
const (
	maxTalkers   = 1024
	maxProtocols = 256
)

// talker is a host in the flows that ended.
type talker struct {
	addr           netip.Addr
	sent, received uint64 // bytes of IP packets
	packets        uint64 // both ways
	flows          uint64
	weight         uint64 // bytes, those of whom it took the place included
	at             int    // in the heap
}

// protocolCount is what was spoken in flows that ended.
type protocolCount struct {
	name                  string
	flows, packets, bytes uint64
}

// gossip notes who talks, and in what, of what sensors publish. Of hosts it keeps those that may have moved the most bytes, by the Space-Saving
// algorithm (Metwally, Agrawal and El Abbadi, 2005): a host for which there is
// no room takes the place of the one with the least, and its weight, so that
// whoever moved more than a maxTalkers'th of all is there.
type gossip struct {
	mu        sync.Mutex
	hosts     map[netip.Addr]*talker
	least     talkerHeap
	protocols map[string]*protocolCount
	reported  map[reportedFlow]event.Flow // interim reports of flows that go on
	minute    time.Time
	ledger    event.Ledger // of minute
}

// reportedFlow is a flow that was reported and goes on.
type reportedFlow struct {
	sensor, community string
	start             time.Time
}

func newGossip() *gossip {
	return &gossip{hosts: map[netip.Addr]*talker{}, protocols: map[string]*protocolCount{}, reported: map[reportedFlow]event.Flow{}}
}

// before is a sink that notes what goes to the next one.
func (g *gossip) before(next sensor.Sink) sensor.Sink { return overheard{g, next} }

type overheard struct {
	by   *gossip
	next sensor.Sink
}

// Publish implements sensor.Sink.
func (o overheard) Publish(ctx context.Context, batch []event.Event) error {
	o.by.mu.Lock()
	for i := range batch {
		o.by.note(&batch[i])
	}
	o.by.mu.Unlock()
	return o.next.Publish(ctx, batch)
}

func (g *gossip) note(e *event.Event) {
	switch e.Kind {
	case event.KindLedger:
		if e.Time.After(g.minute) {
			g.minute, g.ledger = e.Time, event.Ledger{}
		}
		if e.Time.Equal(g.minute) {
			g.ledger.Add(e)
		}
	case event.KindFlow:
		g.flow(e)
	}
}

func (g *gossip) flow(e *event.Event) {
	f := e.Flow
	// Reports of a flow that goes on have everything since its beginning.
	key := reportedFlow{e.Sensor, f.CommunityID, f.Start}
	before, again := g.reported[key]
	if f.EndReason == "active" {
		if again || len(g.reported) < maxTalkers {
			key.community = strings.Clone(key.community) // the batch ends
			g.reported[key] = event.Flow{
				Src: event.Endpoint{Bytes: f.Src.Bytes, Packets: f.Src.Packets},
				Dst: event.Endpoint{Bytes: f.Dst.Bytes, Packets: f.Dst.Packets},
			}
		}
	} else {
		delete(g.reported, key)
	}
	flows := uint64(1)
	if again {
		flows = 0
	}
	there, back := f.Src.Bytes-before.Src.Bytes, f.Dst.Bytes-before.Dst.Bytes
	packets := f.Src.Packets - before.Src.Packets + f.Dst.Packets - before.Dst.Packets
	if f.Dst.IP == f.Src.IP { // with itself
		g.host(f.Src.IP, there+back, there+back, packets, flows)
	} else {
		g.host(f.Src.IP, there, back, packets, flows)
		g.host(f.Dst.IP, back, there, packets, flows)
	}
	if p := g.protocol(cmp.Or(f.Service, transportName(f.Transport))); p != nil {
		p.flows += flows
		p.packets += packets
		p.bytes += there + back
	}
}

func (g *gossip) host(addr netip.Addr, sent, received, packets, flows uint64) {
	if !addr.IsValid() {
		return
	}
	t := g.hosts[addr]
	switch {
	case t != nil:
	case len(g.least) < maxTalkers:
		t = &talker{addr: addr}
		g.hosts[addr] = t
		heap.Push(&g.least, t)
	default:
		t = g.least[0]
		delete(g.hosts, t.addr)
		*t = talker{addr: addr, weight: t.weight, at: t.at}
		g.hosts[addr] = t
	}
	t.sent += sent
	t.received += received
	t.packets += packets
	t.flows += flows
	t.weight += sent + received
	heap.Fix(&g.least, t.at)
}

func (g *gossip) protocol(name string) *protocolCount {
	p := g.protocols[name]
	if p == nil && len(g.protocols) < maxProtocols {
		name = strings.Clone(name)
		p = &protocolCount{name: name}
		g.protocols[name] = p
	}
	return p
}

// order is what a list of hosts or protocols is sorted by.
type order int

const (
	byBytes order = iota
	byPackets
	byFlows
	numOrders
)

func (o order) String() string { return [...]string{"bytes", "packets", "flows"}[o] }

// all returns copies of what is known.
func (g *gossip) all() (hosts []talker, protocols []protocolCount) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.least {
		hosts = append(hosts, *t)
	}
	for _, p := range g.protocols {
		protocols = append(protocols, *p)
	}
	return hosts, protocols
}

// sort sorts, the most first.
func (o order) sort(hosts []talker, protocols []protocolCount) {
	by := func(bytes, packets, flows uint64) uint64 { return [...]uint64{bytes, packets, flows}[o] }
	slices.SortFunc(hosts, func(a, b talker) int {
		return cmp.Or(cmp.Compare(by(b.sent+b.received, b.packets, b.flows), by(a.sent+a.received, a.packets, a.flows)), a.addr.Compare(b.addr))
	})
	slices.SortFunc(protocols, func(a, b protocolCount) int {
		return cmp.Or(cmp.Compare(by(b.bytes, b.packets, b.flows), by(a.bytes, a.packets, a.flows)), cmp.Compare(a.name, b.name))
	})
}

// told is what was reported of a flow that goes on.
func (g *gossip) told(f *sensor.Followed) event.Flow {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reported[reportedFlow{f.Sensor, f.CommunityID, f.Start}]
}

// lastMinute is the ledger of the last minute that was closed.
func (g *gossip) lastMinute() (time.Time, event.Ledger) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := event.Ledger{}
	for name, n := range g.ledger {
		l[name] = n
	}
	return g.minute, l
}

// talkerHeap has the talker with the least weight first.
type talkerHeap []*talker

func (h talkerHeap) Len() int           { return len(h) }
func (h talkerHeap) Less(i, j int) bool { return h[i].weight < h[j].weight }

func (h talkerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *talkerHeap) Push(x any) {
	t := x.(*talker)
	t.at = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *talkerHeap) Pop() any {
	t := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return t
}
