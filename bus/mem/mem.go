// Package mem is the bus within one process: bounded queues in memory. What a
// publisher was told is safe is lost if the process dies, so it serves sources
// that can be read again, or one process that stores what it captures.
package mem

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"

	"github.com/tocsin/tocsin/event"
)

// ErrClosed is returned by Publish after Close.
var ErrClosed = errors.New("bus: closed")

// Config of a Bus.
type Config struct {
	Partitions int // how many subscribers can work at the same time
	Capacity   int // events that may wait, in all; Publish blocks beyond
	Batch      int // events that a subscriber gets at a time, at most
}

// DefaultConfig suits one machine.
func DefaultConfig() Config { return Config{Partitions: 8, Capacity: 32768, Batch: 4096} }

// Bus is a bus.Bus.
type Bus struct {
	cfg Config

	mu         sync.Mutex
	changed    *sync.Cond
	partitions []partition
	waiting    int // events in all partitions
	closed     bool
}

// partition holds the events of some keys in the order in which they came.
type partition struct {
	queue []event.Event
	taken int // events at the head that a subscriber works on; 0 if none does
}

// New makes a bus.
func New(cfg Config) *Bus {
	b := &Bus{cfg: cfg, partitions: make([]partition, max(cfg.Partitions, 1))}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// Waiting returns how many events wait or are being worked on, and how many may.
func (b *Bus) Waiting() (n, capacity int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting, b.cfg.Capacity
}

// Publish implements bus.Bus. A batch larger than the capacity is taken when
// nothing else waits.
func (b *Bus) Publish(ctx context.Context, batch []event.Event) error {
	defer b.wakeOnDone(ctx)()
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && ctx.Err() == nil && b.waiting > 0 && b.waiting+len(batch) > b.cfg.Capacity {
		b.changed.Wait()
	}
	if b.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range batch {
		p := &b.partitions[partitionOf(&batch[i], len(b.partitions))]
		p.queue = append(p.queue, batch[i].Clone())
	}
	b.waiting += len(batch)
	b.changed.Broadcast()
	return nil
}

func partitionOf(e *event.Event, n int) int {
	key := e.Flow.CommunityID
	if key == "" {
		key = e.Sensor
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}

// Subscribe implements bus.Bus.
func (b *Bus) Subscribe(ctx context.Context, fn func(context.Context, []event.Event) error) error {
	defer b.wakeOnDone(ctx)()
	b.mu.Lock()
	defer b.mu.Unlock()
	next := 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := b.free(next)
		if p == nil {
			if b.closed && b.waiting == 0 {
				return nil
			}
			b.changed.Wait()
			continue
		}
		next++
		p.taken = min(len(p.queue), b.cfg.Batch)
		batch := p.queue[:p.taken:p.taken]
		b.mu.Unlock()
		err := fn(ctx, batch)
		b.mu.Lock()
		if err == nil {
			p.queue = p.queue[p.taken:]
			b.waiting -= p.taken
		}
		p.taken = 0
		b.changed.Broadcast()
		if err != nil {
			return err
		}
	}
}

// free finds a partition that has events and no subscriber, fairly.
func (b *Bus) free(from int) *partition {
	for i := range b.partitions {
		p := &b.partitions[(from+i)%len(b.partitions)]
		if p.taken == 0 && len(p.queue) > 0 {
			return p
		}
	}
	return nil
}

// Close implements bus.Bus.
func (b *Bus) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed.Broadcast()
	return nil
}

// wakeOnDone makes those who wait look at ctx when it ends.
func (b *Bus) wakeOnDone(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	})
}
