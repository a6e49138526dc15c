package spool

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Link carries entries elsewhere.
type Link interface {
	// Send hands entries over, and returns what waits until all have arrived:
	// for as long as that takes, or until ctx ends. The entries are borrowed
	// until then.
	Send(ctx context.Context, entries []Entry) (wait func(ctx context.Context) error, err error)
	// Sent is how many bytes have gone over the wire so far.
	Sent() uint64
}

const (
	batchBytes = 1 << 20 // that are read at a time
	underway   = 8       // batches that are sent and have not arrived
)

// Drain sends what is in the spool over a link, the most important class first,
// and acknowledges what has arrived. It returns nil when finish is closed and
// everything has arrived, or ctx's error. rate is how many bytes a second may go
// over the wire; 0 for as many as there are.
func (s *Spool) Drain(ctx context.Context, link Link, rate int64, finish <-chan struct{}) error {
	type flight struct {
		batch *Batch
		wait  func(context.Context) error
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	most, flights := batchBytes, make(chan flight, underway-1)
	budget := &budget{rate: rate, link: link}
	if rate > 0 {
		// Little at a time, so that what is more important does not wait long.
		most = int(min(batchBytes, max(rate, 16<<10)))
	}
	var landing sync.WaitGroup
	landing.Go(func() {
		for f := range flights {
			if ctx.Err() != nil {
				continue
			}
			err := f.wait(ctx)
			if err == nil {
				err = s.Ack(f.batch)
			}
			if err != nil {
				stop(err)
			}
		}
	})
	defer func() { close(flights); landing.Wait() }()
	for {
		if err := budget.wait(ctx); err != nil {
			return context.Cause(ctx)
		}
		b, ok := s.Next(most)
		if !ok {
			if done, err := s.rest(ctx, finish); done || err != nil {
				return err
			}
			continue
		}
		entries, err := b.entries()
		if err != nil {
			return err
		}
		wait, err := link.Send(ctx, entries)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if rate > 0 { // what it costs is known when it has arrived
			if err := wait(ctx); err != nil {
				return err
			}
			wait = func(context.Context) error { return nil }
		}
		select {
		case flights <- flight{b, wait}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// rest waits for more. It reports true if there will be none.
func (s *Spool) rest(ctx context.Context, finish <-chan struct{}) (done bool, err error) {
	t := time.NewTimer(20 * time.Millisecond) // for what is underway, once finish is closed
	defer t.Stop()
	select {
	case <-finish:
		if s.Pending() == 0 {
			return true, nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	default:
		select {
		case <-s.changed:
		case <-finish:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return false, nil
}

func (b *Batch) entries() ([]Entry, error) {
	entries := make([]Entry, len(b.Payloads))
	for i, p := range b.Payloads {
		if err := entries[i].parse(p); err != nil {
			return nil, fmt.Errorf("%w: class %s", err, b.Class)
		}
	}
	return entries, nil
}

// budget bounds the bytes per second on a link: what was sent is paid for with
// time before more is.
type budget struct {
	rate int64
	link Link
	paid uint64
	free time.Time // when everything is paid for
}

func (b *budget) wait(ctx context.Context) error {
	if b.rate <= 0 {
		return ctx.Err()
	}
	now := time.Now()
	if b.free.Before(now) {
		b.free = now
	}
	sent := b.link.Sent()
	b.free = b.free.Add(time.Duration(float64(sent-b.paid) / float64(b.rate) * float64(time.Second)))
	b.paid = sent
	t := time.NewTimer(b.free.Sub(now))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
