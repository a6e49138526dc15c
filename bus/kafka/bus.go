package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/event"
)

// SchemaVersion is the version of the events' vocabulary, which goes with each
// message. It changes when a reader of the old one would misunderstand the new.
const SchemaVersion = 1

// Headers of messages.
const (
	HeaderSchema = "schema" // version of the vocabulary, a number in decimal
	HeaderSensor = "sensor" // observer.name

	// Of messages on the topic for dead letters: why they are there, and from
	// where they come.
	HeaderReason    = "reason"
	HeaderTopic     = "topic"
	HeaderPartition = "partition"
	HeaderOffset    = "offset"
)

// BusConfig says which messages a bus carries.
type BusConfig struct {
	Topic    string
	Dead     string // topic for messages that cannot be read
	Producer ProducerConfig
	Consumer ConsumerConfig
	// Key of an event's message; those of a key stay in order. Nil stands for
	// EventKey.
	Key func(e *event.Event) string
	// Aside, where it is set, takes events that are too large for a message;
	// they are then done with. If it is nil they fail Publish.
	Aside func(e *event.Event, json []byte) error
}

// DefaultBusConfig is for a topic and a group, with the topics' names behind a
// prefix.
func DefaultBusConfig(topics Topics, topic, group string) BusConfig {
	return BusConfig{
		Topic: topic, Dead: topics.Dead,
		Producer: DefaultProducerConfig(topic), Consumer: DefaultConsumerConfig(topic, group),
	}
}

// EventKey is the community ID of an event's flow, or else its sensor.
func EventKey(e *event.Event) string {
	if e.Flow.CommunityID != "" {
		return e.Flow.CommunityID
	}
	return e.Sensor
}

// Bus is a bus.Bus on a topic.
type Bus struct {
	client *Client
	cfg    BusConfig
	schema *event.Schema

	mu       sync.Mutex
	producer *Producer // once something was published
	dead     *Producer // once something was not readable
	closed   bool
	drained  chan struct{}
	reading  int // calls of Consume that run

	consumers []*Consumer
	oversized atomic.Uint64
	poisoned  atomic.Uint64
}

// NewBus returns a bus. The schema gives the fields of what is read their types.
func NewBus(c *Client, schema *event.Schema, cfg BusConfig) *Bus {
	if cfg.Key == nil {
		cfg.Key = EventKey
	}
	return &Bus{client: c, cfg: cfg, schema: schema, drained: make(chan struct{})}
}

// open returns a producer, which is made once.
func (b *Bus) open(ctx context.Context, at **Producer, cfg ProducerConfig) (*Producer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *at == nil {
		p, err := b.client.Producer(ctx, cfg)
		if err != nil {
			return nil, err
		}
		*at = p
	}
	return *at, nil
}

// scratch is memory for one call of Publish.
type scratch struct {
	enc  event.Encoder
	json []byte
	key  []byte
	rec  Record
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// schemaHeader goes with every message.
var schemaHeader = Header{HeaderSchema, strconv.AppendInt(nil, SchemaVersion, 10)}

// encode makes an event's message, valid until the next call.
func (s *scratch) encode(e *event.Event, key string) *Record {
	s.json = s.enc.Append(s.json[:0], e)
	s.key = append(append(s.key[:0], key...), e.Sensor...)
	s.rec.Headers = append(s.rec.Headers[:0], schemaHeader, Header{HeaderSensor, s.key[len(key):]})
	s.rec.Key, s.rec.Value, s.rec.Time = s.key[:len(key)], s.json, e.Time
	return &s.rec
}

// Publish implements bus.Bus: it returns when all replicas have the events.
func (b *Bus) Publish(ctx context.Context, batch []event.Event) error {
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return ErrClosed
	}
	p, err := b.open(ctx, &b.producer, b.cfg.Producer)
	if err != nil {
		return err
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	sending := p.sending(ctx)
	defer sending.end()
	for i := range batch {
		rec := s.encode(&batch[i], b.cfg.Key(&batch[i]))
		if !p.Fits(rec) {
			b.oversized.Add(1)
			if b.cfg.Aside == nil {
				return fmt.Errorf("%w: event %s has %d bytes, and a batch of %s at most %d", ErrTooLarge, batch[i].ID, len(rec.Value), b.cfg.Topic, b.cfg.Producer.BatchBytes)
			}
			if err := b.cfg.Aside(&batch[i], rec.Value); err != nil {
				return err
			}
			continue
		}
		if err := sending.add(rec); err != nil {
			return err
		}
	}
	sending.end()
	return sending.receipt().Wait(ctx)
}

// EventDelivery is events of one partition, in their order. It is borrowed.
type EventDelivery struct {
	Partition int
	Again     bool  // see Delivery
	Next      int64 // offset after the last of the events
	Events    []event.Event
}

// Subscribe implements bus.Bus. Calls of fn for events of different keys may
// run at the same time.
func (b *Bus) Subscribe(ctx context.Context, fn func(ctx context.Context, batch []event.Event) error) error {
	return b.Consume(ctx, b.cfg.Consumer, func(ctx context.Context, d EventDelivery) error { return fn(ctx, d.Events) })
}

// Consume is Subscribe for those who need to know about partitions. The
// configuration's Topic and Drained are the bus's.
func (b *Bus) Consume(ctx context.Context, cfg ConsumerConfig, fn func(context.Context, EventDelivery) error) error {
	cfg.Topic, cfg.Drained = b.cfg.Topic, b.drained
	cfg.Unreadable = func(ctx context.Context, partition int, from, to int64, why error) error {
		b.poisoned.Add(uint64(to - from))
		return b.letter(ctx, Obituary(b.cfg.Topic, partition, from, to, why))
	}
	c := b.client.Consumer(cfg)
	b.mu.Lock()
	b.consumers = append(b.consumers, c)
	b.reading++
	b.mu.Unlock()
	defer b.stopped()
	return c.Consume(ctx, func(ctx context.Context, d Delivery) error {
		events, err := b.decode(ctx, &d)
		if err != nil || len(events) == 0 {
			return err
		}
		return fn(ctx, EventDelivery{Partition: d.Partition, Again: d.Again, Next: d.Messages[len(d.Messages)-1].Offset + 1, Events: events})
	})
}

// stopped ends what only readers need when the last of them has ended.
func (b *Bus) stopped() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading--
	if b.reading == 0 && b.dead != nil {
		b.dead.Close()
		b.dead = nil
	}
}

// decode reads the events of messages. What cannot be read goes to the dead
// letters.
func (b *Bus) decode(ctx context.Context, d *Delivery) ([]event.Event, error) {
	events := make([]event.Event, 0, len(d.Messages))
	for i := range d.Messages {
		m := &d.Messages[i]
		events = append(events, event.Event{})
		e := &events[len(events)-1]
		if why := b.read(m, e); why != nil {
			events = events[:len(events)-1]
			if !d.Again {
				if err := b.bury(ctx, d.Partition, m, why); err != nil {
					return nil, err
				}
			}
		}
	}
	return events, nil
}

func (b *Bus) read(m *Message, e *event.Event) error {
	if v, ok := m.Header(HeaderSchema); ok && string(v) != string(schemaHeader.Value) {
		return fmt.Errorf("schema version %q: this program reads version %d", printable(v), SchemaVersion)
	}
	if err := b.schema.Decode(m.Value, e); err != nil {
		return err
	}
	switch {
	case e.ID.IsZero():
		return errors.New("event.id is missing")
	case e.Time.IsZero():
		return errors.New("@timestamp is missing")
	case e.Kind == "":
		return errors.New("event.dataset is missing")
	}
	return nil
}

func printable(b []byte) string { return string(b[:min(len(b), 32)]) }

// bury publishes a message that cannot be read to the dead letters.
func (b *Bus) bury(ctx context.Context, partition int, m *Message, why error) error {
	b.poisoned.Add(1)
	return b.letter(ctx, Letter(b.cfg.Topic, partition, m, why, DefaultProducerConfig(b.cfg.Dead).BatchBytes))
}

func (b *Bus) letter(ctx context.Context, r Record) error {
	p, err := b.open(ctx, &b.dead, DefaultProducerConfig(b.cfg.Dead))
	if err != nil {
		return err
	}
	return p.Publish(ctx, []Record{r})
}

// Obituary is a message for the dead letters that stands for messages of which
// nothing is left, from offset from to before offset to of a partition.
func Obituary(topic string, partition int, from, to int64, why error) Record {
	return Letter(topic, partition, &Message{Offset: from, Record: Record{Time: time.Now()}},
		fmt.Errorf("the brokers' copy of %d messages is damaged: %w", to-from, why), 1<<16)
}

// Letter is a message for the dead letters: the one that was read, as it is,
// with why it is there and from where it comes. One that would be larger than
// limit is cut.
func Letter(topic string, partition int, m *Message, why error, limit int) Record {
	const room = 4096 // for headers
	reason := why.Error()
	r := Record{Key: m.Key, Value: m.Value, Time: m.Time, Headers: []Header{
		{HeaderReason, []byte(reason[:min(len(reason), room/4)])},
		{HeaderTopic, []byte(topic)},
		{HeaderPartition, strconv.AppendInt(nil, int64(partition), 10)},
		{HeaderOffset, strconv.AppendInt(nil, m.Offset, 10)},
	}}
	for _, name := range []string{HeaderSchema, HeaderSensor} {
		if v, ok := m.Header(name); ok && len(v) < room/4 {
			r.Headers = append(r.Headers, Header{name, v})
		}
	}
	r.Key = r.Key[:min(len(r.Key), room/4)]
	r.Value = r.Value[:min(len(r.Value), limit-room)]
	return r
}

// Stats is what a bus, or a half of it, has done since it was made.
type Stats struct {
	Published    uint64    // messages that all replicas have
	Bytes        uint64    // of their batches, compressed
	Retries      uint64    // batches that were sent again
	Acknowledged time.Time // when replicas had some last; zero if they never did
	Oversized    uint64    // events that were too large for a message
	Dead         uint64    // messages that could not be read
	Consumers    []ConsumerStats
}

// Stats returns what the bus has done.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s Stats
	if b.producer != nil {
		s = b.producer.Stats()
	}
	s.Oversized, s.Dead = b.oversized.Load(), b.poisoned.Load()
	for _, c := range b.consumers {
		s.Consumers = append(s.Consumers, c.Stats())
	}
	return s
}

// Close implements bus.Bus. The client stays open.
func (b *Bus) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	close(b.drained)
	if b.producer != nil {
		return b.producer.Close()
	}
	return nil
}
