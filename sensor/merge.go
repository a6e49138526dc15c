package sensor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/tocsin/tocsin/event"
)

// Sizes of what goes from workers to the sink.
const (
	batchEvents  = 512  // events in a batch, about
	batchPackets = 8192 // packets after which a worker says how far it is
	queued       = 2    // batches of a worker that wait to be merged
)

// batch is what a worker has made since its last batch.
//
// Order numbers say where in the sequence of packets something was made: each
// packet has an order number per shard for what its time brings about, and
// after those one per shard for what it brings about itself. Whatever worker
// has a shard, its order numbers are the same.
type batch struct {
	upto    uint64 // the worker makes nothing any more up to this order number, except at it if that is its own
	last    bool
	events  []event.Event
	orders  []uint64 // of events; rising
	fields  []event.Field
	arena   event.Arena // of what the fields of parsers' events refer to
	minutes []minute
}

func (b *batch) reset() {
	clear(b.events)
	clear(b.fields)
	b.arena.Reset()
	*b = batch{events: b.events[:0], orders: b.orders[:0], fields: b.fields[:0], arena: b.arena, minutes: b.minutes[:0]}
}

// merger puts the batches of workers into one sequence.
type merger struct {
	workers []*worker
	sink    Sink
	account func(*account)
	number  uint64 // of this merger, of those that publish the same sensor's events
	of      uint64
	hasher  *event.Hasher
	current []*batch // of each worker; nil before its first and after its last
	taken   []int    // events of current that went on
	upto    []uint64
	done    []bool
	ledger  []entry
	out     []event.Event
	minutes []minute
}

// entry is an event of the ledger with its order number.
type entry struct {
	order uint64
	event event.Event
}

func newMerger(workers []*worker, sink Sink, account func(*account)) *merger {
	n := len(workers)
	return &merger{
		workers: workers, sink: sink, account: account, of: 1, hasher: event.NewHasher(),
		current: make([]*batch, n), taken: make([]int, n), upto: make([]uint64, n), done: make([]bool, n),
	}
}

// run publishes until all workers are done. It takes the next batch only from
// a worker that all others have to wait for, so no more than a few batches of
// each are ever kept.
func (m *merger) run(ctx context.Context) error {
	for {
		slowest := -1
		for n := range m.workers {
			if !m.done[n] && (slowest < 0 || m.upto[n] < m.upto[slowest]) {
				slowest = n
			}
		}
		if slowest < 0 {
			return nil
		}
		m.recycle(slowest)
		b := <-m.workers[slowest].out
		m.current[slowest], m.taken[slowest] = b, 0
		m.upto[slowest], m.done[slowest] = b.upto, b.last

		low := ^uint64(0)
		for n, done := range m.done {
			if !done {
				low = min(low, m.upto[n])
			}
		}
		if err := m.publish(ctx, low); err != nil {
			return err
		}
	}
}

// recycle gives a worker's batch back, of which everything went on.
func (m *merger) recycle(n int) {
	b := m.current[n]
	if b == nil {
		return
	}
	m.current[n] = nil
	b.reset()
	select {
	case m.workers[n].free <- b:
	default:
	}
}

// publish lets everything go on that was made up to an order number. An order
// number belongs to one shard, so events that have the same one are of one
// worker, in the order in which it made them.
func (m *merger) publish(ctx context.Context, low uint64) error {
	m.closeMinutes(low)
	for {
		// The worker whose next event is the first of all goes on up to where
		// another's is.
		next, first, limit := -1, low, low
		for n, b := range m.current {
			if b == nil || m.taken[n] == len(b.events) || b.orders[m.taken[n]] > limit {
				continue
			}
			if order := b.orders[m.taken[n]]; next < 0 || order < first {
				if next >= 0 {
					limit = first - 1
				}
				next, first = n, order
			} else {
				limit = order - 1
			}
		}
		if len(m.ledger) > 0 && (next < 0 || m.ledger[0].order <= first) {
			m.out = append(m.out, m.ledger[0].event)
			m.ledger = m.ledger[1:]
			continue
		}
		if next < 0 {
			break
		}
		if len(m.ledger) > 0 {
			limit = min(limit, m.ledger[0].order-1)
		}
		if err := m.take(ctx, next, limit); err != nil {
			return err
		}
	}
	return m.flush(ctx)
}

// take lets a worker's events go on up to an order number. Many at once, as a
// worker that is alone has them, go as they are; few are put together.
func (m *merger) take(ctx context.Context, worker int, limit uint64) error {
	b := m.current[worker]
	i := m.taken[worker]
	end := i
	for end < len(b.events) && b.orders[end] <= limit {
		end++
	}
	m.taken[worker] = end
	for end-i >= batchEvents/4 {
		if err := m.flush(ctx); err != nil {
			return err
		}
		n := min(end-i, batchEvents)
		if err := m.give(ctx, b.events[i:i+n]); err != nil {
			return err
		}
		i += n
	}
	m.out = append(m.out, b.events[i:end]...)
	if len(m.out) < batchEvents {
		return nil
	}
	return m.flush(ctx)
}

// flush gives the sink what was put together.
func (m *merger) flush(ctx context.Context) error {
	if len(m.out) == 0 {
		return nil
	}
	if err := m.give(ctx, m.out); err != nil {
		return err
	}
	clear(m.out)
	m.out = m.out[:0]
	return nil
}

func (m *merger) give(ctx context.Context, events []event.Event) error {
	if err := m.sink.Publish(ctx, events); err != nil {
		return fmt.Errorf("sensor: publish: %w", err)
	}
	return nil
}

// closeMinutes adds the workers' parts of minutes up to an order number, and
// makes the ledger's events of them.
func (m *merger) closeMinutes(low uint64) {
	m.minutes = m.minutes[:0]
	for _, b := range m.current {
		if b == nil {
			continue
		}
		k := 0
		for ; k < len(b.minutes) && b.minutes[k].order <= low; k++ {
			m.minutes = append(m.minutes, b.minutes[k])
		}
		b.minutes = b.minutes[k:]
	}
	slices.SortStableFunc(m.minutes, func(a, b minute) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.iface, b.iface))
	})
	m.ledger = m.ledger[:0]
	for i := 0; i < len(m.minutes); {
		sum := m.minutes[i]
		for i++; i < len(m.minutes) && m.minutes[i].order == sum.order && m.minutes[i].iface == sum.iface; i++ {
			sum.account.add(&m.minutes[i].account)
			sum.floods = append(sum.floods, m.minutes[i].floods...)
		}
		floods := join(sum.floods)
		sum.account[countEvents] += uint64(len(floods))
		m.account(&sum.account)
		sum.ordinal = sum.ordinal*m.of + m.number // the same minute has an event of each merger
		for j := range floods {
			m.ledger = append(m.ledger, entry{sum.order, floods[j].event(&sum, m.hasher)})
		}
		// A live tap on which nothing happens says so.
		if sum.account != (account{}) || sum.state != nil {
			m.ledger = append(m.ledger, entry{sum.order, sum.event(m.hasher)})
		}
	}
}
