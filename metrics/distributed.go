package metrics

import (
	"maps"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/store/elastic"
)

var (
	elasticDocuments = &Metric{"tocsin_elasticsearch_documents_total", Counter, []string{"what"}, "Documents written, by what became of them: events, alerts (reports of alerts), duplicates (events that were there already), refused (put aside for good)."}
	elasticRequests  = &Metric{"tocsin_elasticsearch_requests_total", Counter, nil, "Bulk requests."}
	elasticAgain     = &Metric{"tocsin_elasticsearch_repeated_requests_total", Counter, nil, "Bulk requests that were sent again, whole or in part."}
	elasticConflicts = &Metric{"tocsin_elasticsearch_conflicts_total", Counter, nil, "Reports of an alert that met another process's, and were joined again."}
	elasticWaiting   = &Metric{"tocsin_elasticsearch_waiting", Gauge, nil, "1 while a request waits for the server to take it."}
	elasticBatch     = &Metric{"tocsin_elasticsearch_batch_bytes", Gauge, nil, "Size at which a bulk request is closed, as it adapts."}
	elasticMetrics   = []*Metric{elasticDocuments, elasticRequests, elasticAgain, elasticConflicts, elasticWaiting, elasticBatch}

	kafkaPublished = &Metric{"tocsin_kafka_published_messages_total", Counter, []string{"topic"}, "Messages that were published, and all replicas have."}
	kafkaRetries   = &Metric{"tocsin_kafka_repeated_batches_total", Counter, []string{"topic"}, "Batches that were sent again."}
	kafkaAcked     = &Metric{"tocsin_kafka_last_acknowledgement_seconds", Gauge, []string{"topic"}, "Time since all replicas had what was published last; absent before the first."}
	kafkaBytes     = &Metric{"tocsin_kafka_published_bytes_total", Counter, []string{"topic"}, "Bytes of the batches of what was published, compressed."}
	kafkaDamaged   = &Metric{"tocsin_kafka_damaged_messages_total", Counter, []string{"topic"}, "Messages that were passed over because the brokers' copy of them is damaged."}
	kafkaRead      = &Metric{"tocsin_kafka_read_messages_total", Counter, []string{"topic"}, "Messages that were read."}
	kafkaLost      = &Metric{"tocsin_kafka_lost_messages_total", Counter, []string{"topic"}, "Messages that the topic no longer held when their turn came."}
	kafkaDead      = &Metric{"tocsin_kafka_dead_messages_total", Counter, []string{"topic"}, "Messages that could not be read and went to the dead letters."}
	kafkaLag       = &Metric{"tocsin_kafka_lag_messages", Gauge, []string{"topic", "partition"}, "Messages not yet acknowledged, of the partitions that this process has."}
	kafkaLast      = &Metric{"tocsin_kafka_last_message_seconds", Gauge, []string{"topic"}, "Time since the last message came; absent before the first."}
	kafkaMetrics   = []*Metric{kafkaPublished, kafkaBytes, kafkaRetries, kafkaAcked, kafkaRead, kafkaLost, kafkaDamaged, kafkaDead, kafkaLag, kafkaLast}
)

// Elasticsearch is the source of a store in Elasticsearch.
func Elasticsearch(stats func() elastic.Stats) Source {
	return Source{Metrics: elasticMetrics, Read: func(emit Emit) {
		s := stats()
		emit(elasticDocuments, float64(s.Events), "events")
		emit(elasticDocuments, float64(s.Alerts), "alerts")
		emit(elasticDocuments, float64(s.Duplicates), "duplicates")
		emit(elasticDocuments, float64(s.Refused), "refused")
		emit(elasticRequests, float64(s.Requests))
		emit(elasticAgain, float64(s.Again))
		emit(elasticConflicts, float64(s.Conflicts))
		waiting := 0.0
		if s.Blocked {
			waiting = 1
		}
		emit(elasticWaiting, waiting)
		emit(elasticBatch, float64(s.BatchBytes))
	}}
}

// Topic is what a process has done with a topic of Kafka.
type Topic struct {
	Name string
	kafka.Stats
}

// Kafka is the source of the topics that a process publishes to or reads.
func Kafka(topics func() []Topic) Source {
	return Source{Metrics: kafkaMetrics, Read: func(emit Emit) {
		for _, t := range topics() {
			emit(kafkaPublished, float64(t.Published), t.Name)
			emit(kafkaBytes, float64(t.Bytes), t.Name)
			emit(kafkaRetries, float64(t.Retries), t.Name)
			if !t.Acknowledged.IsZero() {
				emit(kafkaAcked, time.Since(t.Acknowledged).Seconds(), t.Name)
			}
			if len(t.Consumers) == 0 {
				continue
			}
			var read, lost, damaged uint64
			var last time.Time
			lag := map[int]int64{} // consumers of one process may have had the same partition
			for _, c := range t.Consumers {
				read, lost, damaged = read+c.Messages, lost+c.Lost, damaged+c.Damaged
				maps.Copy(lag, c.Lag)
				if c.LastMessage.After(last) {
					last = c.LastMessage
				}
			}
			emit(kafkaRead, float64(read), t.Name)
			emit(kafkaLost, float64(lost), t.Name)
			emit(kafkaDamaged, float64(damaged), t.Name)
			emit(kafkaDead, float64(t.Dead), t.Name)
			for p, n := range lag {
				emit(kafkaLag, float64(n), t.Name, strconv.Itoa(p))
			}
			if !last.IsZero() {
				emit(kafkaLast, time.Since(last).Seconds(), t.Name)
			}
		}
	}}
}
