package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/bus/spool"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
)

// produce publishes numbered messages with as many keys.
func produce(t *testing.T, c *kafka.Client, topic string, from, to int) {
	t.Helper()
	p, err := c.Producer(t.Context(), kafka.DefaultProducerConfig(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var rs []kafka.Record
	for n := from; n < to; n++ {
		rs = append(rs, kafka.Record{Key: fmt.Appendf(nil, "key%d", n), Value: fmt.Appendf(nil, "%d", n), Time: time.Unix(int64(1_700_000_000+n), 0)})
	}
	if err := p.Publish(t.Context(), rs); err != nil {
		t.Fatal(err)
	}
}

// counted notes how often each message came.
type counted struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counted) note(_ context.Context, d kafka.Delivery) error {
	time.Sleep(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range d.Messages {
		c.n[string(d.Messages[i].Value)]++
	}
	return nil
}

func (c *counted) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.n)
}

// TestRebalance lets consumers come and go while messages come: none is missed,
// and as everybody finishes before partitions go elsewhere, none comes twice.
func TestRebalance(t *testing.T) {
	client := dial(t)
	names := topics(t, client, 8)
	const total = 20_000
	got := &counted{n: map[string]int{}}
	drained := make(chan struct{})
	cfg := kafka.DefaultConsumerConfig(names.Events, names.Events)
	cfg.Drained, cfg.BatchBytes = drained, 4096
	var running sync.WaitGroup
	consume := func(ctx context.Context) {
		running.Go(func() {
			if err := client.Consumer(cfg).Consume(ctx, got.note); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	consume(t.Context())
	go func() {
		defer close(drained)
		for n := 0; n < total; n += 500 {
			produce(t, client, names.Events, n, n+500)
		}
	}()
	for round := range 4 {
		for got.size() < (round+1)*total/8 {
			time.Sleep(5 * time.Millisecond)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		consume(ctx)
		if round%2 == 1 {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
	}
	running.Wait()
	twice := 0
	for _, n := range got.n {
		twice += n - 1
	}
	if len(got.n) != total {
		t.Errorf("%d messages, want %d", len(got.n), total)
	}
	if twice > 0 {
		t.Errorf("%d messages came again, though nobody failed", twice)
	}
}

// TestStart reads a partition again from before what was acknowledged.
func TestStart(t *testing.T) {
	client := dial(t)
	names := topics(t, client, 1)
	produce(t, client, names.Events, 0, 100)
	drained := make(chan struct{})
	close(drained)
	cfg := kafka.DefaultConsumerConfig(names.Events, names.Events)
	cfg.Drained = drained
	cfg.Note = func(int) string { return "from 60" }
	nothing := func(context.Context, kafka.Delivery) error { return nil }
	if err := client.Consumer(cfg).Consume(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	produce(t, client, names.Events, 100, 110)
	var assigned kafka.Assignment
	cfg.Start = func(a kafka.Assignment) int64 { assigned = a; return 60 }
	var again, news []string
	if err := client.Consumer(cfg).Consume(t.Context(), func(_ context.Context, d kafka.Delivery) error {
		for i := range d.Messages {
			if d.Again {
				again = append(again, string(d.Messages[i].Value))
			} else {
				news = append(news, string(d.Messages[i].Value))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if assigned.Committed != 100 || assigned.Note != "from 60" || assigned.Kept {
		t.Errorf("assignment: %+v", assigned)
	}
	if len(again) != 40 || again[0] != "60" || len(news) != 10 || news[0] != "100" {
		t.Errorf("again %v, new %v", again, news)
	}
	if lag, err := client.Lag(t.Context(), names.Events, names.Events); err != nil || lag != 0 {
		t.Errorf("lag %d, %v", lag, err)
	}
}

// TestPoison puts what cannot be read among events: it goes to the dead
// letters, with the reason and from where it came, and the others arrive.
func TestPoison(t *testing.T) {
	client := dial(t)
	names := topics(t, client, 1)
	b := kafka.NewBus(client, schema(t), kafka.DefaultBusConfig(names, names.Events, names.Events))
	if err := b.Publish(t.Context(), flows(3)); err != nil {
		t.Fatal(err)
	}
	p, err := client.Producer(t.Context(), kafka.DefaultProducerConfig(names.Events))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	header := func(version string) []kafka.Header {
		return []kafka.Header{{Name: kafka.HeaderSchema, Value: []byte(version)}}
	}
	good := string(flows(1)[0].AppendJSON(nil))
	for _, r := range []kafka.Record{
		{Value: []byte(`{"broken`)}, {Value: []byte(good), Headers: header("99")}, {Value: []byte(`{}`)},
		{Value: nil}, {Value: []byte(good), Headers: header("1")},
	} {
		r.Key, r.Time = []byte("k"), time.Unix(1_700_000_000, 0)
		if err := p.Publish(t.Context(), []kafka.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	b.Close()
	n := 0
	if err := b.Subscribe(t.Context(), func(_ context.Context, batch []event.Event) error { n += len(batch); return nil }); err != nil {
		t.Fatal(err)
	}
	if n != 4 || b.Stats().Dead != 4 {
		t.Errorf("%d events, %d dead; want 4 and 4", n, b.Stats().Dead)
	}
	drained := make(chan struct{})
	close(drained)
	cfg := kafka.DefaultConsumerConfig(names.Dead, names.Dead)
	cfg.Drained = drained
	var reasons []string
	if err := client.Consumer(cfg).Consume(t.Context(), func(_ context.Context, d kafka.Delivery) error {
		for i := range d.Messages {
			m := &d.Messages[i]
			get := func(name string) string { v, _ := m.Header(name); return string(v) }
			reasons = append(reasons, get(kafka.HeaderReason))
			if want := fmt.Sprint(3 + i); get(kafka.HeaderTopic) != names.Events || get(kafka.HeaderPartition) != "0" || get(kafka.HeaderOffset) != want || string(m.Key) != "k" {
				t.Errorf("letter %d: %v %s", i, m.Headers, m.Key)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"text without an end", `schema version "99"`, "event.id is missing", "want an object"}
	for i := range want {
		if i >= len(reasons) || !strings.Contains(reasons[i], want[i]) {
			t.Errorf("reasons %q, want %q", reasons, want)
			break
		}
	}
}

func TestOversized(t *testing.T) {
	client := dial(t)
	names := topics(t, client, 1)
	events := flows(3)
	events[1].Set("rule.description", event.Str(strings.Repeat("x", 2_000_000)))
	cfg := kafka.DefaultBusConfig(names, names.Events, names.Events)
	b := kafka.NewBus(client, schema(t), cfg)
	if err := b.Publish(t.Context(), events); !errors.Is(err, kafka.ErrTooLarge) {
		t.Errorf("with nobody to take it aside: %v", err)
	}
	b.Close()
	aside := 0
	cfg.Aside = func(e *event.Event, json []byte) error {
		if e.ID == events[1].ID && len(json) > 2_000_000 {
			aside++
		}
		return nil
	}
	b = kafka.NewBus(client, schema(t), cfg)
	defer b.Close()
	if err := b.Publish(t.Context(), events); err != nil || aside != 1 || b.Stats().Oversized != 1 {
		t.Errorf("%d aside, %+v, %v", aside, b.Stats(), err)
	}
}

// TestOutlet drains a spool through a broker that is killed and comes back: all
// arrive, in the order of their key, and what Kafka refuses is put aside.
func TestOutlet(t *testing.T) {
	k := servers.NewKafka(t, servers.KafkaConfig{})
	client := dialTo(t, kafka.Config{Brokers: []string{k.Addr}})
	names := kafka.NewTopics("outlet")
	small := map[string]string{"max.message.bytes": "200000"} // less than we believe
	if err := client.CreateTopics(t.Context(), []kafka.Topic{
		{Name: names.Events, Partitions: 4, Replicas: 1, Settings: small}, {Name: names.Sensors, Partitions: 1, Replicas: 1},
	}); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(spool.DefaultConfig(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var aside []string
	outlet := kafka.NewOutlet(client, names, kafka.None, func(e *spool.Entry, why error) error {
		aside = append(aside, why.Error())
		return s.Aside(e, why)
	})
	defer outlet.Close()
	finish := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- s.Drain(t.Context(), outlet, 0, finish) }()
	sink := spool.NewSink(s, func(e *event.Event) string { return e.Sensor })
	const total, batch = 6000, 100
	events := flows(total)
	for n := range events {
		events[n].Sensor = fmt.Sprint("sensor", n%7)
	}
	events[10].Set("rule.description", event.Str(strings.Repeat("x", 300_000)))   // too large for the topic
	events[20].Set("rule.description", event.Str(strings.Repeat("x", 2_000_000))) // and for us
	for n := 0; n < total; n += batch {
		if n == total/3 || n == 2*total/3 {
			if err := k.Kill9(); err != nil {
				t.Fatal(err)
			}
		}
		if err := sink.Publish(t.Context(), events[n:n+batch]); err != nil {
			t.Fatal(err)
		}
		if n == total/3+batch || n == 2*total/3+batch {
			if err := k.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(aside) != 2 || outlet.Refused() != 2 {
		t.Errorf("aside: %q", aside)
	}
	drained := make(chan struct{})
	close(drained)
	cfg := kafka.DefaultConsumerConfig(names.Events, "outlet")
	cfg.Drained = drained
	sch := schema(t)
	var mu sync.Mutex
	last := map[string]time.Time{}
	ids := map[event.ID]bool{}
	if err := client.Consumer(cfg).Consume(t.Context(), func(_ context.Context, d kafka.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range d.Messages {
			var e event.Event
			if err := sch.Decode(d.Messages[i].Value, &e); err != nil {
				return err
			}
			if !ids[e.ID] && e.Time.Before(last[e.Sensor]) {
				t.Errorf("%s: %s comes after %s", e.Sensor, e.Time, last[e.Sensor])
			}
			ids[e.ID] = true
			if e.Time.After(last[e.Sensor]) {
				last[e.Sensor] = e.Time
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(ids) != total-2 {
		t.Errorf("%d events arrived, want %d", len(ids), total-2)
	}
}
