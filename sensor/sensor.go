// Package sensor turns the packets of a link into events: flows, transactions
// of protocols, ARP exchanges, and its own accounts.
//
// A sensor runs N whole workers that share nothing but the reading: of a capture
// each worker goes through all packets and handles its share of the address
// pairs, so all see the same clock. Events are put into the order of the packets
// that made them: one worker and many give the same events in the same order.
// For that, whatever is bounded is bounded per shard: a fixed part of the address
// pairs, which never depends on how many workers share the shards.
//
// Of a live link, the source of each worker hands out only that worker's share.
// No order is common to them, so each worker's events go on as they are made.
package sensor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/flow"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Shards is into how many parts the address pairs are divided, and so the most
// workers that a sensor can have.
const Shards = 16

// maxProtocols is how many protocols a sensor can have: one bit each.
const maxProtocols = 64

// Config says how a sensor works.
type Config struct {
	// Workers is how many goroutines share the work.
	Workers int
	// Live is for sources that wait for packets: events go on at once rather
	// than in large batches, and the source of each worker hands out packets
	// of its own. Bounds are shared out among the workers.
	Live bool
	// Protocols are parsed, in this order of preference where several would
	// do. Their ports also serve to tell originator from responder.
	Protocols []proto.Protocol
	// Flow bounds the flow tables; MaxFlows is for all shards together.
	Flow flow.Config
	// MaxConversations is how many flows are parsed at a time, in all shards
	// together. Flows beyond it are tracked but not parsed.
	MaxConversations int
	// StreamBytes is how much of one direction of a TCP connection is kept
	// while bytes before it are missing, and StreamTotal of all together.
	StreamBytes, StreamTotal int
	// Defrag bounds the memory for fragments.
	Defrag packet.DefragConfig
	// Top is how many of the largest flows that are followed Now tells of.
	Top int
	// DropBadChecksums leaves out packets whose checksum is wrong, as their
	// receiver does. On a machine that watches itself, checksums are wrong
	// because the network card fills them in after the capture.
	DropBadChecksums bool
	// CountOnly counts events instead of making them; see Sensor.Tally. Only
	// those of the ledger go to the sink.
	CountOnly bool
}

// DefaultConfig returns a configuration without protocols for one worker.
func DefaultConfig() Config {
	return Config{
		Workers:          1,
		Flow:             flow.DefaultConfig(),
		MaxConversations: 100_000,
		StreamBytes:      512 << 10,
		StreamTotal:      48 << 20,
		Defrag:           packet.DefaultDefragConfig(),
	}
}

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	switch {
	case c.Workers < 1 || c.Workers > Shards:
		return fmt.Errorf("sensor: workers is %d: want 1 to %d", c.Workers, Shards)
	case len(c.Protocols) > maxProtocols:
		return fmt.Errorf("sensor: %d protocols: want at most %d", len(c.Protocols), maxProtocols)
	case c.MaxConversations < 0:
		return fmt.Errorf("sensor: max_conversations is %d: want 0 or more", c.MaxConversations)
	case c.StreamBytes < 1<<12 || c.StreamTotal < Shards*c.StreamBytes/8:
		return fmt.Errorf("sensor: stream_bytes is %d and stream_total %d: want at least 4096, and twice as much", c.StreamBytes, c.StreamTotal)
	}
	for i := range c.Protocols {
		if p := &c.Protocols[i]; p.Name == "" || p.Probe == nil || p.New == nil || p.Transport == 0 {
			return fmt.Errorf("sensor: protocol %d (%q) lacks name, transport, Probe or New", i, p.Name)
		}
	}
	if err := c.Flow.Validate(); err != nil {
		return fmt.Errorf("sensor: flow: %w", err)
	}
	if c.Flow.MaxFlows < Shards {
		return fmt.Errorf("sensor: flow: max_flows is %d: want at least %d", c.Flow.MaxFlows, Shards)
	}
	return nil
}

// ErrLinkType is in what Run returns if there were packets of a link type that
// the decoder does not know. They are dropped, and in the ledger.
var ErrLinkType = errors.New("unknown link type")

// Open opens the source that a worker reads. Sources of several workers hand
// out the same packets, and a single one is opened if it is a
// capture.BlockSource; live ones part the packets among them, those of each pair
// of addresses to the same worker.
type Open func(worker int) (capture.Source, error)

// Sensor watches one source. Make it with New and run it once.
type Sensor struct {
	cfg  Config
	open Open
	sink Sink

	mu     sync.Mutex
	total  account
	errors map[event.Kind]map[string]uint64
	now    []reading             // of each worker
	active []*worker             // while Run runs
	kinds  map[event.Kind]uint64 // of the tally
	flows  []FlowTally           // likewise
}

// New returns a sensor that publishes the events of a source. It does nothing
// until Run.
func New(cfg Config, open Open, sink Sink) (*Sensor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Sensor{cfg: cfg, open: open, sink: sink, errors: map[event.Kind]map[string]uint64{}}, nil
}

// Run reads the source to its end, or until ctx is done, which is no error, and
// publishes every event that comes of it. It returns the source's error, after
// everything that lies before it was published, or the sink's; or ErrLinkType,
// after everything else was read.
//
// A live source must end when ctx does. What was begun is finished and
// published even then, so the sink is not given ctx's end.
func (s *Sensor) Run(ctx context.Context) error {
	workers, feed, err := s.workers()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.now = make([]reading, len(workers))
	s.active = workers
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.active = nil
		s.mu.Unlock()
	}()
	for n, w := range workers {
		w.tell = func(r *reading) {
			s.mu.Lock()
			s.now[n] = *r
			s.mu.Unlock()
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	if feed != nil {
		readers.Go(func() { feed.run(running) })
	}
	for _, w := range workers {
		readers.Go(func() {
			w.run(running)
			if s.cfg.Live {
				stop() // the others must not go on with a part of the packets
			}
		})
	}
	err = s.merge(context.WithoutCancel(ctx), workers, stop)
	stop() // if the sink has failed, nobody wants any more
	for _, w := range workers {
		close(w.stop)
	}
	readers.Wait()
	for _, w := range workers {
		if e := w.src.Close(); err == nil && w.err == nil {
			err = e
		}
		s.addErrors(w)
		s.addTally(&w.tally)
	}
	if err != nil {
		return err
	}
	if !s.cfg.Live {
		return errors.Join(workers[0].err, workers[0].linkErrors())
	}
	// What ails the link ails all workers, and is told once.
	i := max(0, slices.IndexFunc(workers, func(w *worker) bool { return w.err != nil }))
	errs := []error{workers[i].err}
	for _, w := range workers {
		errs = append(errs, w.linkErrors())
	}
	return errors.Join(errs...)
}

// Turns is how often each worker has asked its source for packets since Run
// began, and nothing when it does not run. It grows on a quiet link too; where
// it does not, the worker is stuck or waits for the sink. It may be called at
// any time, by any goroutine.
func (s *Sensor) Turns() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	turns := make([]uint64, len(s.active))
	for i, w := range s.active {
		turns[i] = w.turns.Load()
	}
	return turns
}

// workers opens the source and makes the workers, and a feed if one of them is
// to read for all.
func (s *Sensor) workers() (workers []*worker, f *feed, err error) {
	for n := range s.cfg.Workers {
		if f != nil {
			workers = append(workers, newWorker(&s.cfg, n, f.shares[n]))
			continue
		}
		src, err := s.open(n)
		if err != nil {
			for _, w := range workers {
				w.src.Close()
			}
			return nil, nil, err
		}
		if s.cfg.Live {
			share := s.cfg.share()
			workers = append(workers, newWorker(&share, 0, src))
			continue
		}
		if blocks, ok := src.(capture.BlockSource); ok && s.cfg.Workers > 1 {
			f = newFeed(blocks, &s.cfg)
			workers = append(workers, newWorker(&s.cfg, n, f.shares[n]))
			continue
		}
		workers = append(workers, newWorker(&s.cfg, n, src))
	}
	return workers, f, nil
}

// share is the configuration of one of several live workers, each of which is
// alone with its packets.
func (c *Config) share() Config {
	share := *c
	share.Workers = 1
	share.Flow.MaxFlows = max(Shards, c.Flow.MaxFlows/c.Workers)
	share.MaxConversations /= c.Workers
	share.StreamTotal /= c.Workers
	return share
}

// merge publishes what workers make until all are done or the sink fails.
func (s *Sensor) merge(ctx context.Context, workers []*worker, stop func()) error {
	if !s.cfg.Live {
		return newMerger(workers, s.sink, s.account).run(ctx)
	}
	// A link that is quiet for one worker must not hold back the others.
	sink := &turns{sink: s.sink}
	errs := make([]error, len(workers))
	var merging sync.WaitGroup
	for n, w := range workers {
		m := newMerger([]*worker{w}, sink, s.account)
		m.number, m.of = uint64(n), uint64(len(workers))
		merging.Go(func() {
			if errs[n] = m.run(ctx); errs[n] != nil {
				stop()
			}
		})
	}
	merging.Wait()
	for _, err := range errs {
		if err != nil {
			return err // those after it are most likely the same
		}
	}
	return nil
}

// turns is a sink for several goroutines, in front of one for a single one.
type turns struct {
	mu   sync.Mutex
	sink Sink
}

// Publish implements Sink.
func (t *turns) Publish(ctx context.Context, batch []event.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sink.Publish(ctx, batch)
}

func (s *Sensor) account(a *account) {
	s.mu.Lock()
	s.total.add(a)
	s.mu.Unlock()
}

func (s *Sensor) addErrors(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range w.errors {
		for cause, n := range w.errors[i] {
			kind := s.cfg.Protocols[i].Name
			if s.errors[kind] == nil {
				s.errors[kind] = map[string]uint64{}
			}
			s.errors[kind][cause] += n
		}
	}
}

// Counters returns the account up to the last full minute, or, when Run has
// returned, of everything. Parsers' errors are known only then.
func (s *Sensor) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Counters{Ledger: s.total.named(), ParserErrors: map[event.Kind]map[string]uint64{}}
	for kind, causes := range s.errors {
		c.ParserErrors[kind] = map[string]uint64{}
		for cause, n := range causes {
			c.ParserErrors[kind][cause] = n
		}
	}
	return c
}
