package kafka_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/bus"
	"github.com/tocsin/tocsin/bus/bustest"
	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
)

func TestMain(m *testing.M) {
	code := servers.Run(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// dial returns a client of the Kafka that all tests share.
func dial(t testing.TB) *kafka.Client {
	t.Helper()
	return dialTo(t, kafka.Config{Brokers: []string{servers.KafkaAddr(t)}})
}

func dialTo(t testing.TB, cfg kafka.Config) *kafka.Client {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = func(err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", t.Name(), err) }
	}
	c, err := kafka.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// topics makes topics with names of their own.
func topics(t testing.TB, c *kafka.Client, partitions int) kafka.Topics {
	t.Helper()
	names := kafka.NewTopics(fmt.Sprintf("%s-%x", strings.NewReplacer("/", "-", "'", "", "#", "", ",", "").Replace(t.Name()), time.Now().UnixNano()))
	var list []kafka.Topic
	for _, name := range []string{names.Events, names.Dead} {
		list = append(list, kafka.Topic{Name: name, Partitions: partitions, Replicas: 1})
	}
	if err := c.CreateTopics(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	return names
}

func schema(t testing.TB) *event.Schema {
	t.Helper()
	s, err := event.NewSchema()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBus(t *testing.T) {
	for _, partitions := range []int{1, 8} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			bustest.Test(t, func(t *testing.T) bus.Bus {
				c := dial(t)
				names := topics(t, c, partitions)
				return kafka.NewBus(c, schema(t), kafka.DefaultBusConfig(names, names.Events, names.Events))
			})
		})
	}
}
