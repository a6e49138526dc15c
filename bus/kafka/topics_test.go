package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bus/kafka"
)

func TestTopics(t *testing.T) {
	c := dial(t)
	brokers, err := c.Brokers(t.Context())
	if err != nil || brokers != 1 {
		t.Fatalf("%d brokers, %v", brokers, err)
	}
	plan := kafka.DefaultPlan()
	plan.Prefix, plan.Partitions, plan.Bytes = fmt.Sprintf("plan-%x", time.Now().UnixNano()), 3, 64<<20
	compare := func(p kafka.Plan) []kafka.Difference {
		t.Helper()
		ds, err := c.Compare(t.Context(), p.Topics(brokers))
		if err != nil {
			t.Fatal(err)
		}
		return ds
	}
	wanted := plan.Topics(brokers)
	if ds := compare(plan); len(ds) != len(wanted) || ds[0].String() != plan.Prefix+".events: is not there" {
		t.Fatalf("of an empty cluster: %v", ds)
	}
	for range 2 { // the second time, all are there
		if err := c.CreateTopics(t.Context(), wanted); err != nil {
			t.Fatal(err)
		}
	}
	if ds := compare(plan); len(ds) != 0 {
		t.Fatalf("of what was made: %v", ds)
	}
	other := plan
	other.Partitions, other.Bytes, other.Replicas = 4, 128<<20, 1
	got := map[string]bool{}
	for _, d := range compare(other) {
		got[d.String()] = true
	}
	for _, want := range []string{
		plan.Prefix + ".events: retention.bytes is 67108864, planned 134217728",
		plan.Prefix + ".signals: partitions is 3, planned 4 (to change it moves keys to other partitions: only while nothing is written)",
	} {
		if !got[want] {
			t.Errorf("%q is not among %v", want, got)
		}
	}
	plan.Replicas = 2
	plan.Prefix += "x"
	if err := c.CreateTopics(t.Context(), plan.Topics(brokers)); err == nil {
		t.Error("two replicas on one broker: no error")
	}
}
