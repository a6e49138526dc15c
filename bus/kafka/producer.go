package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kgo "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// ProducerConfig says how messages are published.
type ProducerConfig struct {
	Topic       string
	Compression Compression
	// BatchBytes is the most that a batch holds, before it is compressed. It
	// must not be more than the topic's max.message.bytes.
	BatchBytes int
}

// DefaultProducerConfig fits brokers and topics as they are by default. Snappy
// makes events of flows five times smaller, as LZ4 does, for half its CPU.
func DefaultProducerConfig(topic string) ProducerConfig {
	return ProducerConfig{Topic: topic, Compression: Snappy, BatchBytes: 1_000_000}
}

var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("kafka: closed")
	// ErrTooLarge says that a message does not fit into a batch.
	ErrTooLarge = errors.New("kafka: message is too large")
)

// Producer publishes messages to a topic. Those of a key stay in their order:
// a partition has one batch on its way at a time, and that is tried until the
// brokers have it. What comes in the meantime is the next batch.
type Producer struct {
	cfg    ProducerConfig
	client *Client
	lanes  []lane
	stop   context.CancelFunc
	ended  sync.WaitGroup

	messages, bytes, retries atomic.Uint64
	acked                    atomic.Int64 // time of the last acknowledgement, in nanoseconds
}

// lane is the way to a partition.
type lane struct {
	mu     sync.Mutex
	space  sync.Cond
	open   *batch // being filled
	spare  []byte // to use again
	closed bool
	wake   chan struct{}
}

// Producer returns a producer for a topic that is there. Close it when it is no
// longer needed.
func (c *Client) Producer(ctx context.Context, cfg ProducerConfig) (*Producer, error) {
	if err := cfg.Compression.Validate(); err != nil {
		return nil, err
	}
	n, err := c.partitions(ctx, cfg.Topic)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	p := &Producer{cfg: cfg, client: c, lanes: make([]lane, n), stop: stop}
	for i := range p.lanes {
		l := &p.lanes[i]
		l.space.L = &l.mu
		l.open = newBatch(nil)
		l.wake = make(chan struct{}, 1)
		p.ended.Go(func() { p.run(running, i) })
	}
	return p, nil
}

// Stats returns what the producer has done.
func (p *Producer) Stats() Stats {
	s := Stats{Published: p.messages.Load(), Bytes: p.bytes.Load(), Retries: p.retries.Load()}
	if at := p.acked.Load(); at > 0 {
		s.Acknowledged = time.Unix(0, at)
	}
	return s
}

// Close ends the producer. What Publish waits for fails.
func (p *Producer) Close() error {
	for i := range p.lanes {
		l := &p.lanes[i]
		l.mu.Lock()
		l.closed = true
		l.space.Broadcast()
		l.mu.Unlock()
	}
	p.stop()
	p.ended.Wait()
	return nil
}

// Receipt tells whether messages have arrived.
type Receipt struct {
	places []place
}

// place is where a message went.
type place struct {
	batch  *batch
	number int // in the batch
	record int // of those that were given together
}

// Refused is an error about messages that Kafka does not take, however often
// they are sent: they are too large for the topic, or have something else that
// the brokers do not like. All others have arrived.
type Refused struct {
	Records []int // of those that were given together, by number
	Why     error // for the first of them
}

// Error implements error.
func (r *Refused) Error() string {
	return fmt.Sprintf("kafka refuses %d messages: %v", len(r.Records), r.Why)
}

// Unwrap implements errors.Unwrap.
func (r *Refused) Unwrap() error { return r.Why }

// Wait waits until all replicas have the messages. It waits for as long as
// that takes: the error is ctx's, *Refused, or of a kind that does not pass.
func (r *Receipt) Wait(ctx context.Context) error {
	var last *batch
	refused := &Refused{}
	for _, at := range r.places {
		if at.batch != last {
			last = at.batch
			select {
			case <-last.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if last.err != nil {
				return last.err
			}
		}
		if why, ok := last.refused[at.number]; ok {
			if refused.Why == nil {
				refused.Why = why
			}
			if n := len(refused.Records); n == 0 || refused.Records[n-1] != at.record {
				refused.Records = append(refused.Records, at.record)
			}
		}
	}
	if refused.Why != nil {
		return refused
	}
	return nil
}

// Partitions is how many partitions the topic had when the producer was made.
func (p *Producer) Partitions() int { return len(p.lanes) }

// Publish publishes messages and waits until all replicas have them.
func (p *Producer) Publish(ctx context.Context, records []Record) error {
	r, err := p.Send(ctx, records)
	if err != nil {
		return err
	}
	return r.Wait(ctx)
}

// Send hands messages over and returns as soon as they have a place in a batch.
// The records are the caller's again. A message that no batch can hold is
// ErrTooLarge, and then nothing of the records was taken.
func (p *Producer) Send(ctx context.Context, records []Record) (*Receipt, error) {
	for i := range records {
		if !p.Fits(&records[i]) {
			return nil, fmt.Errorf("%w: %d bytes, and a batch of %s has at most %d", ErrTooLarge, recordSize(&records[i]), p.cfg.Topic, p.cfg.BatchBytes)
		}
	}
	s := p.sending(ctx)
	defer s.end()
	for i := range records {
		if err := s.add(&records[i]); err != nil {
			return nil, err
		}
	}
	return s.receipt(), nil
}

// Fits reports whether a batch can hold a message.
func (p *Producer) Fits(r *Record) bool { return batchHeader+recordSize(r) <= p.cfg.BatchBytes }

// sending puts messages into batches.
type sending struct {
	p      *Producer
	ctx    context.Context
	wake   func() bool
	used   []bool // lanes that got messages
	places []place
	number int // of the message at hand
}

func (p *Producer) sending(ctx context.Context) *sending {
	s := &sending{p: p, ctx: ctx, used: make([]bool, len(p.lanes)), number: -1}
	s.wake = context.AfterFunc(ctx, func() {
		for i := range p.lanes {
			p.lanes[i].mu.Lock()
			p.lanes[i].space.Broadcast()
			p.lanes[i].mu.Unlock()
		}
	})
	return s
}

func (s *sending) add(r *Record) error {
	s.number++
	if !r.All {
		return s.addTo(partitionOf(r.Key, len(s.p.lanes)), r)
	}
	for n := range s.p.lanes {
		if err := s.addTo(n, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *sending) addTo(n int, r *Record) error {
	l := &s.p.lanes[n]
	l.mu.Lock()
	for l.open.n > 0 && len(l.open.buf)+recordSize(r) > s.p.cfg.BatchBytes && !l.closed && s.ctx.Err() == nil {
		l.signal()
		l.space.Wait()
	}
	if l.closed || s.ctx.Err() != nil {
		l.mu.Unlock()
		s.end()
		if err := s.ctx.Err(); err != nil {
			return err
		}
		return ErrClosed
	}
	l.open.add(r)
	s.places = append(s.places, place{l.open, l.open.n - 1, s.number})
	l.mu.Unlock()
	s.used[n] = true
	return nil
}

// end lets what was added go.
func (s *sending) end() {
	s.wake()
	for i, used := range s.used {
		if used {
			s.p.lanes[i].signal()
		}
	}
	clear(s.used)
}

func (s *sending) receipt() *Receipt { return &Receipt{s.places} }

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run sends the batches of a partition.
func (p *Producer) run(ctx context.Context, partition int) {
	l := &p.lanes[partition]
	c := &compressor{codec: p.cfg.Compression}
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			l.mu.Lock()
			l.open.err = ErrClosed
			close(l.open.done)
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		b := l.open
		if b.n == 0 {
			l.mu.Unlock()
			continue
		}
		l.open = newBatch(l.spare)
		l.spare = nil
		l.space.Broadcast()
		l.mu.Unlock()

		var again bool
		again, b.err = p.send(ctx, partition, b, 0, b, c)
		if again {
			// A request that was given up may still be read by its connection.
			c.buf = nil
		} else {
			l.mu.Lock()
			l.spare = b.buf
			l.mu.Unlock()
		}
		close(b.done)
	}
}

// send sends a batch until it has arrived, and says whether it was tried again.
// It may be a part, from a record on, of a batch that Kafka refused: of that,
// which still are refused is noted.
func (p *Producer) send(ctx context.Context, partition int, of *batch, from int, b *batch, c *compressor) (again bool, err error) {
	whole, err := c.seal(b)
	if err != nil {
		return false, err
	}
	for n := 1; ; n++ {
		err := p.attempt(ctx, partition, whole)
		switch {
		case err == nil:
			p.messages.Add(uint64(b.n))
			p.bytes.Add(uint64(len(whole)))
			p.acked.Store(time.Now().UnixNano())
			return n > 1, nil
		case ctx.Err() != nil:
			return true, ErrClosed
		case refused(err) && b.n > 1:
			half := b.n / 2
			for _, part := range [][2]int{{0, half}, {half, b.n}} {
				if _, err := p.send(ctx, partition, of, from+part[0], b.part(part[0], part[1]), c); err != nil {
					return true, err
				}
			}
			return true, nil
		case refused(err):
			if of.refused == nil {
				of.refused = map[int]error{}
			}
			of.refused[from] = fmt.Errorf("topic %s, a message of %d bytes: %w", p.cfg.Topic, len(b.buf)-batchHeader, err)
			return true, nil
		case !passes(err):
			return true, fmt.Errorf("publish to %s: %w", p.cfg.Topic, p.client.explain(err))
		}
		p.retries.Add(1)
		p.client.cfg.Log(fmt.Errorf("publish to %s, partition %d, attempt %d: %w", p.cfg.Topic, partition, n, p.client.explain(err)))
		if backoff(ctx, n) != nil {
			return true, ErrClosed
		}
	}
}

// refused reports whether it is the messages that Kafka does not take.
func refused(err error) bool {
	var k kgo.Error
	return errors.As(err, &k) && slices.Contains([]kgo.Error{kgo.MessageSizeTooLarge, kgo.RecordListTooLarge, kgo.InvalidMessageSize, kgo.InvalidRecord, kgo.InvalidTimestamp}, k)
}

func (p *Producer) attempt(ctx context.Context, partition int, whole []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := p.client.client.RawProduce(ctx, &kgo.RawProduceRequest{
		Topic: p.cfg.Topic, Partition: partition, RequiredAcks: kgo.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(whole)},
	})
	if err != nil {
		return err
	}
	if res.Error != nil && len(res.RecordErrors) > 0 {
		return fmt.Errorf("%w %v", res.Error, res.RecordErrors)
	}
	return res.Error
}
