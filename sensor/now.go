package sensor

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/flow"
)

// Now is how a sensor is doing, as of a second of its packets ago at most.
type Now struct {
	At time.Time // of the last packet; zero if there was none yet
	// Ledger is the account since the beginning, as Counters has it. It balances
	// but for what a file's source leaves out, which is counted each minute.
	Ledger map[string]uint64
	Bytes  uint64  // of the packets on the wire
	Flows  uint64  // that are followed
	Room   uint64  // for so many flows
	Stream uint64  // bytes of TCP streams that wait for what is missing before them
	Ring   float64 // how full the fullest capture ring is, from 0 to 1
	// Top are the largest of these flows, as many as Config.Top says, the one
	// with the most bytes first. They are some seconds old.
	Top []Followed
	// Taps are those that were seen so far; their ledgers and bytes add up to
	// those above.
	Taps []TapNow
	// Events are those made, by kind, without those of the ledger.
	Events map[event.Kind]uint64
	// ParserErrors are flows whose parser gave up, by protocol.
	ParserErrors map[event.Kind]uint64
	// State is of a live tap; nil of captures.
	State *capture.State
}

// TapNow is what was seen on one tap.
type TapNow struct {
	capture.Interface
	Ledger map[string]uint64
	Bytes  uint64
}

// Followed is a flow that goes on, as far as it is.
type Followed struct {
	Sensor string // that sees it
	event.Flow
}

// topEvery is after how many reports of a worker the largest flows are looked
// for: every flow is looked at.
const topEvery = 3

// reading is a worker's part of Now.
type reading struct {
	at     int64 // nanoseconds since 1970
	taps   []tapReading
	flows  uint64
	stream uint64
	ring   float64
	state  *capture.State
	events []kindCount
	errors []uint64 // by index in Config.Protocols
	top    []Followed
}

// tapReading is a worker's part of TapNow.
type tapReading struct {
	tap     tap
	account account
	bytes   uint64
}

// kindCount counts events of a kind.
type kindCount struct {
	kind event.Kind
	n    uint64
}

// Now may be called at any time, by any goroutine.
func (s *Sensor) Now() Now {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at int64
	var sum account
	n := Now{Events: map[event.Kind]uint64{}, ParserErrors: map[event.Kind]uint64{}}
	taps := map[tap]*account{}
	for i := range s.now {
		r := &s.now[i]
		at = max(at, r.at)
		for i := range r.taps {
			t := &r.taps[i]
			known := slices.IndexFunc(n.Taps, func(o TapNow) bool { return o.Sensor == t.tap.sensor && o.Name == t.tap.name })
			if known < 0 {
				known = len(n.Taps)
				n.Taps = append(n.Taps, TapNow{Interface: capture.Interface{Sensor: t.tap.sensor, Name: t.tap.name}})
				taps[t.tap] = new(account)
			}
			taps[t.tap].add(&t.account)
			n.Taps[known].Bytes += t.bytes
			sum.add(&t.account)
			n.Bytes += t.bytes
		}
		for _, k := range r.events {
			n.Events[k.kind] += k.n
		}
		for p, count := range r.errors {
			if count > 0 {
				n.ParserErrors[s.cfg.Protocols[p].Name] += count
			}
		}
		if r.state != nil {
			n.State = r.state
		}
		n.Flows += r.flows
		n.Stream += r.stream
		n.Ring = max(n.Ring, r.ring)
		n.Top = append(n.Top, r.top...)
	}
	if at > 0 {
		n.At = time.Unix(0, at).UTC()
	}
	for i := range n.Taps {
		n.Taps[i].Ledger = taps[tap{n.Taps[i].Sensor, n.Taps[i].Name}].named()
	}
	n.Ledger, n.Room = sum.named(), uint64(s.cfg.Flow.MaxFlows)
	slices.SortStableFunc(n.Top, func(a, b Followed) int {
		return cmp.Compare(b.Src.Bytes+b.Dst.Bytes, a.Src.Bytes+a.Dst.Bytes)
	})
	n.Top = n.Top[:min(len(n.Top), s.cfg.Top)]
	return n
}

// report tells how the worker is doing.
func (w *worker) report() {
	if w.tell == nil {
		return
	}
	if w.cfg.Live {
		w.settle(false) // of a file, the end of the minute is soon enough
	}
	r := reading{
		at: w.clock.at, ring: w.lost.RingFill, state: w.lost.State,
		taps: make([]tapReading, len(w.taps)), events: slices.Clone(w.kinds), errors: slices.Clone(w.failed),
	}
	for i := range w.taps {
		r.taps[i] = tapReading{tap: w.taps[i], account: w.closed[i], bytes: w.bytes[i]}
		r.taps[i].account.add(&w.accounts[i])
	}
	for _, sh := range w.shards {
		if sh != nil {
			r.flows += sh.flows.Counters().Live
			r.stream += uint64(sh.budget.Used())
		}
	}
	if w.cfg.Top > 0 && w.reports%topEvery == 0 {
		w.top = w.largest(w.cfg.Top)
	}
	w.reports++
	r.top = w.top
	w.tell(&r)
}

// largest finds the largest flows that are followed.
func (w *worker) largest(n int) []Followed {
	var found large
	for _, sh := range w.shards {
		if sh == nil {
			continue
		}
		sh.flows.Each(func(r *flow.Record) {
			switch {
			case len(found) < n:
				heap.Push(&found, candidate{sh, r})
			case r.Bytes() > found[0].record.Bytes():
				found[0] = candidate{sh, r}
				heap.Fix(&found, 0)
			}
		})
	}
	flows := make([]Followed, len(found))
	for i, c := range found {
		f := Followed{w.tap(c.record.Iface()).sensor, c.record.Flow()}
		f.CommunityID = c.shard.communityID(nil, &f.Flow)
		f.Service = c.shard.service(c.record)
		flows[i] = f
	}
	return flows
}

// candidate is a flow that may be one of the largest.
type candidate struct {
	shard  *shard
	record *flow.Record
}

// large has the smallest flow first.
type large []candidate

func (h large) Len() int           { return len(h) }
func (h large) Less(i, j int) bool { return h[i].record.Bytes() < h[j].record.Bytes() }
func (h large) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *large) Push(x any) { *h = append(*h, x.(candidate)) }

// Pop implements heap.Interface.
func (h *large) Pop() any {
	c := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return c
}
