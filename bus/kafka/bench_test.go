package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kgo "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/bus/spool"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
)

// flows makes n events of flows as a sensor makes them.
func flows(n int) []event.Event {
	start := time.Unix(1_700_000_000, 0).UTC()
	events := make([]event.Event, n)
	h := event.NewHasher()
	for i := range events {
		at := start.Add(time.Duration(i) * 17 * time.Millisecond)
		h.Reset()
		h.Uint(uint64(i))
		events[i] = event.Event{
			ID: h.ID(at), Time: at, Kind: event.KindFlow, Sensor: "bench", Iface: "eth0",
			Flow: event.Flow{
				Src:         event.Endpoint{IP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Port: uint16(1024 + i%60000), MAC: event.MAC{2, 0, 0, 0, byte(i), 1}, Packets: uint64(i%97 + 1), Bytes: uint64(i%9973 + 60), Payload: uint64(i % 9000)},
				Dst:         event.Endpoint{IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 251)}), Port: 443, MAC: event.MAC{2, 0, 0, 0, 0, 2}, Packets: uint64(i%89 + 1), Bytes: uint64(i%99991 + 60), Payload: uint64(i % 99000)},
				Transport:   event.ProtoTCP,
				CommunityID: fmt.Sprintf("1:%020x%08x", i*2654435761, i),
				Start:       at.Add(-time.Duration(i%60000) * time.Millisecond), End: at,
				Service: "tls", State: "SF", History: "ShADadFf", EndReason: "fin",
			},
		}
	}
	return events
}

// cpu is the time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rig is a broker as one would have it for load, and a client.
type rig struct {
	*kafka.Client
	broker *servers.Kafka
}

func newRig(b *testing.B) *rig {
	k := servers.NewKafka(b, servers.KafkaConfig{Java: []string{"-Xmx512m", "-XX:TieredStopAtLevel=4"}})
	return &rig{dialTo(b, kafka.Config{Brokers: []string{k.Addr}}), k}
}

// measure runs work on n events, and reports how many per second went through
// and for how much time of this process and of the broker.
func (r *rig) measure(b *testing.B, n int, work func()) {
	runtime.GC()
	began, ours, theirs := time.Now(), cpu(b), r.brokerCPU(b)
	work()
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "events/s")
	b.ReportMetric(float64(cpu(b)-ours)/float64(n), "cpu-ns/event")
	b.ReportMetric(float64(r.brokerCPU(b)-theirs)/float64(n), "broker-cpu-ns/event")
	b.ReportMetric(0, "ns/op")
}

// brokerCPU is the time that the broker has used, from proc(5).
func (r *rig) brokerCPU(b *testing.B) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.broker.PID()))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100 // USER_HZ
}

// Sizes of what is published.
const (
	benchEvents     = 500_000
	benchBatch      = 512 // as a sensor's
	benchPublishers = 8
	benchPartitions = 8
)

// publishing runs publishers that together publish benchEvents events.
func publishing(b *testing.B, events []event.Event, publisher func() func([]event.Event) error) {
	var wg sync.WaitGroup
	for p := range benchPublishers {
		wg.Go(func() {
			publish := publisher()
			for at := p * benchBatch; at < benchEvents; at += benchPublishers * benchBatch {
				from := at % (len(events) - benchBatch)
				if err := publish(events[from : from+benchBatch]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkPublish publishes half a million events of flows, acknowledged by all
// replicas: through the bus, through the spool as a sensor does, and, with the
// same messages, through the writer of the library. Run it with -count 3: the
// first turn warms the broker up.
func BenchmarkPublish(b *testing.B) {
	events := flows(100_000)
	r := newRig(b)
	for _, codec := range []kafka.Compression{kafka.LZ4, kafka.None, kafka.Snappy, kafka.Zstd} {
		b.Run("bus/"+string(codec), func(b *testing.B) {
			names := topics(b, r.Client, benchPartitions)
			cfg := kafka.DefaultBusConfig(names, names.Events, "bench")
			cfg.Producer.Compression = codec
			for b.Loop() {
				bus := kafka.NewBus(r.Client, schema(b), cfg)
				r.measure(b, benchEvents, func() {
					publishing(b, events, func() func([]event.Event) error {
						return func(batch []event.Event) error { return bus.Publish(context.Background(), batch) }
					})
				})
				s := bus.Stats()
				b.ReportMetric(float64(s.Bytes)/float64(s.Published), "bytes/event")
				bus.Close()
			}
		})
		b.Run("spool/"+string(codec), func(b *testing.B) {
			names := topics(b, r.Client, benchPartitions)
			for b.Loop() {
				s, err := spool.Open(spool.DefaultConfig(b.TempDir()))
				if err != nil {
					b.Fatal(err)
				}
				outlet := kafka.NewOutlet(r.Client, names, codec, s.Aside)
				r.measure(b, benchEvents, func() {
					sink := spool.NewSink(s, kafka.EventKey)
					finish := make(chan struct{})
					var draining errgroup.Group
					draining.Go(func() error { return s.Drain(context.Background(), outlet, 0, finish) })
					for at := 0; at < benchEvents; at += benchBatch { // one sensor
						from := at % (len(events) - benchBatch)
						if err := sink.Publish(context.Background(), events[from:from+benchBatch]); err != nil {
							b.Fatal(err)
						}
					}
					close(finish)
					if err := draining.Wait(); err != nil {
						b.Fatal(err)
					}
				})
				if n := s.Stats().Discarded(); n > 0 {
					b.Fatalf("%d discarded", n)
				}
				if err := errors.Join(outlet.Close(), s.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
		library := map[kafka.Compression]kgo.Compression{kafka.Snappy: kgo.Snappy, kafka.LZ4: kgo.Lz4, kafka.Zstd: kgo.Zstd}[codec]
		b.Run("kafka-go/"+string(codec), func(b *testing.B) {
			names := topics(b, r.Client, benchPartitions)
			transport := &kgo.Transport{}
			defer transport.CloseIdleConnections()
			w := &kgo.Writer{
				Addr: kgo.TCP(r.broker.Addr), Transport: transport, Topic: names.Events, Balancer: kgo.Murmur2Balancer{Consistent: true},
				RequiredAcks: kgo.RequireAll, Compression: library, BatchTimeout: 5 * time.Millisecond, BatchSize: 1000, BatchBytes: 1_000_000,
			}
			defer w.Close()
			for b.Loop() {
				r.measure(b, benchEvents, func() {
					publishing(b, events, func() func([]event.Event) error {
						var enc event.Encoder
						var arena []byte
						messages := make([]kgo.Message, benchBatch)
						return func(batch []event.Event) error {
							arena = arena[:0]
							for i := range batch {
								e, n := &batch[i], len(arena)
								arena = enc.Append(arena, e)
								messages[i] = kgo.Message{
									Key: []byte(kafka.EventKey(e)), Value: arena[n:len(arena):len(arena)], Time: e.Time,
									Headers: []kgo.Header{{Key: "schema", Value: []byte("1")}, {Key: "sensor", Value: []byte(e.Sensor)}},
								}
							}
							return w.WriteMessages(context.Background(), messages...)
						}
					})
				})
			}
		})
	}
}

// BenchmarkConsume reads a million events of flows.
func BenchmarkConsume(b *testing.B) {
	const total, batch, partitions = 1_000_000, 4096, 8
	events := flows(100_000)
	r := newRig(b)
	names := topics(b, r.Client, partitions)
	cfg := kafka.DefaultBusConfig(names, names.Events, "bench")
	filled := kafka.NewBus(r.Client, schema(b), cfg)
	for at := 0; at < total; at += batch {
		from := at % (len(events) - batch)
		if err := filled.Publish(b.Context(), events[from:from+batch]); err != nil {
			b.Fatal(err)
		}
	}
	filled.Close()
	for _, decode := range []bool{false, true} {
		b.Run(map[bool]string{false: "messages", true: "events"}[decode], func(b *testing.B) {
			for n := range b.N {
				cfg.Consumer = kafka.DefaultConsumerConfig(names.Events, fmt.Sprintf("bench-%v-%d-%d", decode, n, b.N))
				r.measure(b, total, func() {
					if decode {
						bus := kafka.NewBus(r.Client, schema(b), cfg)
						bus.Close()
						if err := bus.Subscribe(b.Context(), func(context.Context, []event.Event) error { return nil }); err != nil {
							b.Fatal(err)
						}
						return
					}
					drained := make(chan struct{})
					close(drained)
					cfg.Consumer.Drained = drained
					if err := r.Consumer(cfg.Consumer).Consume(b.Context(), func(context.Context, kafka.Delivery) error { return nil }); err != nil {
						b.Fatal(err)
					}
				})
			}
		})
	}
}
