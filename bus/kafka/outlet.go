package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tocsin/tocsin/bus/spool"
)

// Outlet is a spool.Link to Kafka. It waits for as long as Kafka is away; what
// Kafka will not take however often it is sent is put aside.
type Outlet struct {
	client *Client
	cfgs   [spool.NumRoutes]ProducerConfig
	aside  func(e *spool.Entry, why error) error

	mu        sync.Mutex
	producers [spool.NumRoutes]*Producer
	refused   atomic.Uint64
}

// NewOutlet returns an outlet to topics. What Kafka refuses is given to aside.
func NewOutlet(c *Client, topics Topics, compression Compression, aside func(e *spool.Entry, why error) error) *Outlet {
	o := &Outlet{client: c, aside: aside}
	for route, topic := range [spool.NumRoutes]string{spool.ToEvents: topics.Events, spool.ToSensors: topics.Sensors} {
		o.cfgs[route] = DefaultProducerConfig(topic)
		o.cfgs[route].Compression = compression
	}
	return o
}

// open returns the producer of a route, once Kafka and its topic are there.
func (o *Outlet) open(ctx context.Context, route spool.Route) (*Producer, error) {
	o.mu.Lock()
	p := o.producers[route]
	o.mu.Unlock()
	for n := 1; p == nil; n++ {
		asking, cancel := context.WithTimeout(ctx, patience)
		made, err := o.client.Producer(asking, o.cfgs[route])
		cancel()
		if err == nil {
			o.mu.Lock()
			o.producers[route], p = made, made
			o.mu.Unlock()
			break
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		o.client.cfg.Log(err)
		if err := backoff(ctx, n); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Send implements spool.Link.
func (o *Outlet) Send(ctx context.Context, entries []spool.Entry) (func(context.Context) error, error) {
	wait, err := o.send(ctx, entries)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		for n := 1; ; n++ {
			err := wait(ctx)
			if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return err
			}
			// Rights are missing, or the like: somebody has to mend that.
			o.client.cfg.Log(err)
			if err := backoff(ctx, n); err != nil {
				return err
			}
			if wait, err = o.send(ctx, entries); err != nil {
				return err
			}
		}
	}, nil
}

// way is entries that go the same way.
type way struct {
	sending *sending
	entries []*spool.Entry
}

// send hands entries over once. What it returns waits until all that Kafka takes
// have arrived, and puts the others aside.
func (o *Outlet) send(ctx context.Context, entries []spool.Entry) (func(context.Context) error, error) {
	var ways [spool.NumRoutes]way
	defer func() {
		for _, w := range ways {
			if w.sending != nil {
				w.sending.end()
			}
		}
	}()
	var rec Record
	for i := range entries {
		e := &entries[i]
		w := &ways[e.Route]
		if w.sending == nil {
			p, err := o.open(ctx, e.Route)
			if err != nil {
				return nil, err
			}
			w.sending = p.sending(ctx)
		}
		rec.of(e)
		if p := w.sending.p; !p.Fits(&rec) {
			if err := o.refuse(e, fmt.Errorf("%w: %d bytes, and a batch has at most %d", ErrTooLarge, len(e.Value), p.cfg.BatchBytes)); err != nil {
				return nil, err
			}
			continue
		}
		if err := w.sending.add(&rec); err != nil {
			return nil, err
		}
		w.entries = append(w.entries, e)
	}
	return func(ctx context.Context) error {
		for _, w := range ways {
			if w.sending == nil {
				continue
			}
			err := w.sending.receipt().Wait(ctx)
			var refused *Refused
			if !errors.As(err, &refused) {
				if err != nil {
					return err
				}
				continue
			}
			for _, n := range refused.Records {
				if err := o.refuse(w.entries[n], refused.Why); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil
}

// of makes a record of an entry.
func (r *Record) of(e *spool.Entry) {
	r.Key, r.Value, r.Time = e.Key, e.Value, e.Time
	r.Headers = append(r.Headers[:0], schemaHeader, Header{HeaderSensor, e.Sensor})
}

func (o *Outlet) refuse(e *spool.Entry, why error) error {
	o.refused.Add(1)
	return o.aside(e, why)
}

// Refused is how many entries were put aside.
func (o *Outlet) Refused() uint64 { return o.refused.Load() }

// Sent implements spool.Link: the bytes of batches that all replicas have.
func (o *Outlet) Sent() (n uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.producers {
		if p != nil {
			n += p.Stats().Bytes
		}
	}
	return n
}

// Stats returns what was done, by topic.
func (o *Outlet) Stats() map[string]Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	by := map[string]Stats{}
	for route, p := range o.producers {
		var s Stats
		if p != nil {
			s = p.Stats()
		}
		by[o.cfgs[route].Topic] = s
	}
	return by
}

// Close closes the producers.
func (o *Outlet) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, p := range o.producers {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}
