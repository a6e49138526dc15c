package kafka_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
)

// damage flips bits in the batch that begins at an offset, on a broker's disk.
func damage(t *testing.T, k *servers.Kafka, topic string, offset uint64) {
	t.Helper()
	file := filepath.Join(k.Partition(topic, 0), "00000000000000000000.log")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for rest := text; len(rest) > 12; rest = rest[12+binary.BigEndian.Uint32(rest[8:]):] {
		if binary.BigEndian.Uint64(rest) == offset {
			const header = 61 // bytes; the records are behind it
			for i := range 20 {
				rest[header+i] ^= 0x55
			}
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%s has no batch at offset %d", file, offset)
}

// TestDamagedBatch reads a topic of which one batch is damaged on the broker's
// disk: what is before and behind it comes, once, and of it the dead letters
// and the counters tell.
func TestDamagedBatch(t *testing.T) {
	k := servers.NewKafka(t, servers.KafkaConfig{})
	var mu sync.Mutex
	var told []string
	c := dialTo(t, kafka.Config{Brokers: []string{k.Addr}, Log: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err.Error())
	}})
	plan := kafka.Plan{Prefix: "damaged", Partitions: 1, Replicas: 1, Bytes: 1 << 30}
	if err := c.CreateTopics(t.Context(), plan.Topics(1)); err != nil {
		t.Fatal(err)
	}
	names := kafka.NewTopics(plan.Prefix)
	b := kafka.NewBus(c, schema(t), kafka.DefaultBusConfig(names, names.Events, "readers"))
	events := flows(300)
	for n := 0; n < len(events); n += 100 { // a batch each
		if err := b.Publish(t.Context(), events[n:n+100]); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	damage(t, k, names.Events, 100)
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Close() // to be drained
	var got []event.ID
	if err := b.Subscribe(t.Context(), func(_ context.Context, batch []event.Event) error {
		for i := range batch {
			got = append(got, batch[i].ID)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var want []event.ID
	for i := range events {
		if i < 100 || i >= 200 {
			want = append(want, events[i].ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d events came, want the %d of the batches that are whole", len(got), len(want))
	}
	if s := b.Stats(); s.Dead != 100 || len(s.Consumers) != 1 || s.Consumers[0].Damaged != 100 || s.Consumers[0].Lost != 0 {
		t.Errorf("%+v: want 100 that were passed over", s)
	}
	mu.Lock()
	if all := strings.Join(told, "\n"); !strings.Contains(all, "the 100 messages from offset 100 on is damaged") {
		t.Errorf("what was told says nothing of it: %s", all)
	}
	mu.Unlock()
	letter := first(t, c, names.Dead)
	for name, want := range map[string]string{kafka.HeaderTopic: names.Events, kafka.HeaderPartition: "0", kafka.HeaderOffset: "100"} {
		if v, _ := letter.Header(name); string(v) != want {
			t.Errorf("header %s of the dead letter is %q, want %q", name, v, want)
		}
	}
	if v, _ := letter.Header(kafka.HeaderReason); !bytes.Contains(v, []byte("100 messages")) {
		t.Errorf("the dead letter's reason is %q", v)
	}
}

// first is the first message of a topic.
func first(t *testing.T, c *kafka.Client, topic string) kafka.Message {
	t.Helper()
	enough := errors.New("enough")
	var m kafka.Message
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.Consumer(kafka.DefaultConsumerConfig(topic, fmt.Sprint("first-of-", topic))).Consume(ctx, func(_ context.Context, d kafka.Delivery) error {
		m = d.Messages[0]
		return enough
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return m
}
