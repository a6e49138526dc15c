package acceptance

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/tocsin/tocsin/event"
)

// Bounds of what is remembered of conversations.
const (
	maxVLANs    = 4096
	maxOneSided = 1 << 15 // whose other half may be in another VLAN
)

// talks is what the flows of a sensor tell of a tap. It is a sensor.Sink.
type talks struct {
	mu       sync.Mutex      // of services, which the test looks at while it runs
	services map[string]bool // and transports, and kinds of events: what was there

	flows   uint64
	byVLAN  map[vlans]*sides
	halves  map[string]half // one-sided conversations by community id
	split   uint64          // conversations whose sides are in different VLANs
	apart   [2]vlans        // of one of them
	payload uint64          // of TCP connections with both sides
	missed  uint64          // likewise
	carried uint64          // TCP segments, those without data included
}

// sides are the conversations of a VLAN.
type sides struct {
	both    uint64
	one     uint64
	packets uint64 // of those of which one side was seen
	example string
}

// half is a conversation of which one side was seen.
type half struct {
	vlans   vlans
	sender  netip.AddrPort
	packets uint64
	example string
}

func newTalks() *talks {
	return &talks{services: map[string]bool{}, byVLAN: map[vlans]*sides{}, halves: map[string]half{}}
}

// Publish implements sensor.Sink.
func (t *talks) Publish(_ context.Context, batch []event.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch {
		e := &batch[i]
		if e.Kind != event.KindLedger {
			t.services[string(e.Kind)] = true
		}
		if e.Kind == event.KindFlow && e.Flow.EndReason != "active" {
			t.flow(e)
		}
	}
	return nil
}

// has reports whether a protocol was there.
func (t *talks) has(protocol string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.services[protocol]
}

func (t *talks) flow(e *event.Event) {
	t.flows++
	f := &e.Flow
	t.services[e.Get("network.transport").Str()] = true
	if f.Service != "" {
		t.services[f.Service] = true
	}
	if f.Transport == event.ProtoTCP {
		t.connection(e)
	}
}

// minPackets is how long a one-sided conversation must be to count: one packet
// alone may be a probe, or the last of a connection that was open before.
const minPackets = 3

// connection counts a TCP connection as one-sided or not. That nobody answered
// is no fault of the tap: only who acknowledges or goes on has a peer.
func (t *talks) connection(e *event.Event) {
	f := &e.Flow
	both := f.Src.Packets > 0 && f.Dst.Packets > 0
	one := !both && f.Src.Packets+f.Dst.Packets >= minPackets && strings.ContainsAny(f.History, "AaDdFf")
	t.carried += f.Src.Packets + f.Dst.Packets
	if both {
		// What came after its acknowledgement is told by order.
		for _, name := range [2]string{"tocsin.flow.source_missed", "tocsin.flow.destination_missed"} {
			n, _ := e.Get(name).Uint()
			t.missed += n
		}
		t.payload += f.Src.Payload + f.Dst.Payload
	}
	if !both && !one {
		return
	}
	v := vlans{f.VLAN, f.InnerVLAN}
	s := t.byVLAN[v]
	if s == nil {
		if len(t.byVLAN) >= maxVLANs {
			return
		}
		s = new(sides)
		t.byVLAN[v] = s
	}
	if both {
		s.both++
		return
	}
	from, to := f.Src, f.Dst
	if from.Packets == 0 {
		from, to = to, from
	}
	sender, peer := netip.AddrPortFrom(from.IP, from.Port), netip.AddrPortFrom(to.IP, to.Port)
	h := half{
		vlans: v, sender: sender, packets: from.Packets,
		example: fmt.Sprintf("%s → %s: %d packets, none back", sender, peer, from.Packets),
	}
	if other, ok := t.halves[f.CommunityID]; ok && other.vlans != v && other.sender == peer {
		o := t.byVLAN[other.vlans]
		o.one--
		o.packets -= other.packets
		delete(t.halves, f.CommunityID)
		t.split++
		t.apart = [2]vlans{other.vlans, v}
		return
	}
	s.one++
	s.packets += h.packets
	s.example = h.example
	if len(t.halves) < maxOneSided {
		t.halves[f.CommunityID] = h
	}
}

// String names tags as operators do.
func (v vlans) String() string {
	switch {
	case v.inner != 0:
		return fmt.Sprintf("VLAN %d.%d", v.outer, v.inner)
	case v.outer != 0:
		return fmt.Sprintf("VLAN %d", v.outer)
	}
	return "untagged"
}
