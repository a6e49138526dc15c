package sensor

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
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
	Ring   float64 // how full the fullest capture ring is, from 0 to 1
	// Top are the largest of these flows, as many as Config.Top says, the one
	// with the most bytes first. They are some seconds old.
	Top []Followed
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
	at      int64 // nanoseconds since 1970
	account account
	bytes   uint64
	flows   uint64
	ring    float64
	top     []Followed
}

// Now may be called at any time, by any goroutine.
func (s *Sensor) Now() Now {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at int64
	var sum account
	var n Now
	for i := range s.now {
		r := &s.now[i]
		at = max(at, r.at)
		sum.add(&r.account)
		n.Bytes += r.bytes
		n.Flows += r.flows
		n.Ring = max(n.Ring, r.ring)
		n.Top = append(n.Top, r.top...)
	}
	if at > 0 {
		n.At = time.Unix(0, at).UTC()
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
	r := reading{at: w.clock.at, account: w.closed, bytes: w.bytes, ring: w.lost.RingFill}
	for i := range w.accounts {
		r.account.add(&w.accounts[i])
	}
	for _, sh := range w.shards {
		if sh != nil {
			r.flows += sh.flows.Counters().Live
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
