package sensor

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/flow"
)

// Tally is a sensor's events, counted.
type Tally struct {
	// Kinds is how many events of each kind there are.
	Kinds map[event.Kind]uint64
	// Flows are the flow events, by transport and state, in this order.
	Flows []FlowTally
}

// FlowTally is the sum of flow events that have a transport and a state in
// common. An interim report counts with what its flow had carried so far.
type FlowTally struct {
	Transport uint8  // IP protocol number
	State     string // as event.Flow has it
	Events    uint64
	Packets   uint64 // of both sides, as are Bytes and Payload
	Bytes     uint64
	Payload   uint64
}

func (f *FlowTally) add(o *FlowTally) {
	f.Events += o.Events
	f.Packets += o.Packets
	f.Bytes += o.Bytes
	f.Payload += o.Payload
}

// tally is what a worker has counted.
type tally struct {
	protocols []uint64 // by index in Config.Protocols
	arps      uint64
	flows     []FlowTally // in the order of their first
}

// flow counts a flow's event. The kinds of flows are so few that looking at
// each is quickest.
func (t *tally) flow(r *flow.Record) {
	one := FlowTally{Transport: r.Transport(), State: r.State(), Events: 1}
	one.Packets, one.Bytes, one.Payload = r.Sums()
	for i := range t.flows {
		if f := &t.flows[i]; f.Transport == one.Transport && f.State == one.State {
			f.add(&one)
			return
		}
	}
	t.flows = append(t.flows, one)
}

// Tally returns what was counted, if Config.CountOnly is set and Run has
// returned.
func (s *Sensor) Tally() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := Tally{Kinds: maps.Clone(s.kinds), Flows: slices.Clone(s.flows)}
	slices.SortFunc(sum.Flows, func(a, b FlowTally) int {
		return cmp.Or(cmp.Compare(a.Transport, b.Transport), cmp.Compare(a.State, b.State))
	})
	return sum
}

// addTally adds what a worker has counted.
func (s *Sensor) addTally(t *tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range t.protocols {
		s.addKind(s.cfg.Protocols[i].Name, n)
	}
	s.addKind(event.KindARP, t.arps)
	for i := range t.flows {
		f := &t.flows[i]
		s.addKind(event.KindFlow, f.Events)
		at := slices.IndexFunc(s.flows, func(o FlowTally) bool { return o.Transport == f.Transport && o.State == f.State })
		if at < 0 {
			s.flows = append(s.flows, *f)
		} else {
			s.flows[at].add(f)
		}
	}
}

func (s *Sensor) addKind(kind event.Kind, n uint64) {
	if n == 0 {
		return
	}
	if s.kinds == nil {
		s.kinds = map[event.Kind]uint64{}
	}
	s.kinds[kind] += n
}
