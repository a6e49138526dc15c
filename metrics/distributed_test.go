package metrics_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/metrics"
	"github.com/tocsin/tocsin/store/elastic"
)

func TestDistributed(t *testing.T) {
	page, values := ask(t,
		metrics.Elasticsearch(func() elastic.Stats { return elastic.Stats{Events: 9, Refused: 1, Blocked: true} }),
		metrics.Kafka(func() []metrics.Topic {
			return []metrics.Topic{
				{Name: "events", Stats: kafka.Stats{Dead: 1, Consumers: []kafka.ConsumerStats{
					{Messages: 3, Lag: map[int]int64{0: 7}, LastMessage: time.Now().Add(-time.Minute)},
					{Messages: 4, Lag: map[int]int64{0: 6, 1: 2}}}}},
				{Name: "signals", Stats: kafka.Stats{Published: 5, Consumers: []kafka.ConsumerStats{{}}}},
				{Name: "alerts", Stats: kafka.Stats{Published: 2, Retries: 1}},
			}
		}))
	if problems, err := promlint.New(bytes.NewReader(page)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("names that Prometheus does not like: %v, %v", problems, err)
	}
	for name, want := range map[string]float64{
		`tocsin_elasticsearch_documents_total{what="events"}`:     9,
		`tocsin_elasticsearch_documents_total{what="refused"}`:    1,
		`tocsin_elasticsearch_waiting`:                            1,
		`tocsin_kafka_read_messages_total{topic="events"}`:        7,
		`tocsin_kafka_dead_messages_total{topic="events"}`:        1,
		`tocsin_kafka_lag_messages{partition="1",topic="events"}`: 2,
		`tocsin_kafka_published_messages_total{topic="signals"}`:  5,
		`tocsin_kafka_repeated_batches_total{topic="alerts"}`:     1,
	} {
		if got, there := values[name]; !there || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if s := values[`tocsin_kafka_last_message_seconds{topic="events"}`]; s < 59 || s > 90 {
		t.Errorf("the last message came %v s ago", s)
	}
	for _, name := range []string{
		`tocsin_kafka_last_message_seconds{topic="signals"}`, // none came
		`tocsin_kafka_read_messages_total{topic="alerts"}`,   // nobody reads
	} {
		if v, there := values[name]; there {
			t.Errorf("%s is %v, want none", name, v)
		}
	}
}
