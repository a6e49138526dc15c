package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	kgo "github.com/segmentio/kafka-go"

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
	var routes [spool.NumRoutes]*sending
	defer func() {
		for _, s := range routes {
			if s != nil {
				s.end()
			}
		}
	}()
	var rec Record
	for i := range entries {
		e := &entries[i]
		s := routes[e.Route]
		if s == nil {
			p, err := o.open(ctx, e.Route)
			if err != nil {
				return nil, err
			}
			s = p.sending(ctx)
			routes[e.Route] = s
		}
		rec.of(e)
		if !s.p.Fits(&rec) {
			if err := o.refuse(e, fmt.Errorf("%w: %d bytes, and a batch has at most %d", ErrTooLarge, len(e.Value), s.p.cfg.BatchBytes)); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.add(&rec); err != nil {
			return nil, err
		}
	}
	var receipts []*Receipt
	for _, s := range routes {
		if s != nil {
			receipts = append(receipts, s.receipt())
		}
	}
	return func(ctx context.Context) error {
		var failed error
		for _, r := range receipts {
			err := r.Wait(ctx)
			if ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return err
			}
			failed = errors.Join(failed, err)
		}
		if failed == nil {
			return nil
		}
		return o.singly(ctx, entries)
	}, nil
}

// of makes a record of an entry.
func (r *Record) of(e *spool.Entry) {
	r.Key, r.Value, r.Time = e.Key, e.Value, e.Time
	r.Headers = append(r.Headers[:0], schemaHeader, Header{HeaderSensor, e.Sensor})
}

// singly sends entries one by one, because Kafka would not take them together,
// and puts those aside that it will not take alone.
func (o *Outlet) singly(ctx context.Context, entries []spool.Entry) error {
	for i := range entries {
		e := &entries[i]
		p, err := o.open(ctx, e.Route)
		if err != nil {
			return err
		}
		var rec Record
		rec.of(e)
		if !p.Fits(&rec) {
			continue // is aside
		}
		for n := 1; ; n++ {
			err := p.Publish(ctx, []Record{rec})
			if err == nil {
				break
			}
			if ctx.Err() != nil || errors.Is(err, ErrClosed) {
				return err
			}
			if refused(err) {
				if err := o.refuse(e, err); err != nil {
					return err
				}
				break
			}
			// Rights are missing, or the like: somebody has to mend that.
			o.client.cfg.Log(err)
			if err := backoff(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// refused reports whether it is the message that Kafka does not take.
func refused(err error) bool {
	var k kgo.Error
	return errors.Is(err, ErrTooLarge) ||
		errors.As(err, &k) && slices.Contains([]kgo.Error{kgo.InvalidRecord, kgo.InvalidTimestamp, kgo.InvalidMessage, kgo.InvalidMessageSize}, k)
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
			_, bytes, _ := p.Published()
			n += bytes
		}
	}
	return n
}

// Published is how many messages all replicas have, and how many batches were
// sent again.
func (o *Outlet) Published() (messages, retries uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.producers {
		if p != nil {
			m, _, r := p.Published()
			messages, retries = messages+m, retries+r
		}
	}
	return messages, retries
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
