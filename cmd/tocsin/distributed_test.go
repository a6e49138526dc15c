package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/internal/servers"
)

// cluster is a prefix of its own in the Kafka and the Elasticsearch that all
// tests share.
type cluster struct {
	t               *testing.T
	prefix          string
	kafka, searched []string // flags
	topics          kafka.Topics
	client          *kafka.Client
}

func newCluster(t *testing.T, partitions int) *cluster {
	t.Helper()
	url, addr := servers.ElasticsearchURL(t), servers.KafkaAddr(t)
	c := &cluster{t: t, prefix: "spread" + strings.ToLower(filepath.Base(filepath.Dir(t.TempDir())))}
	t.Cleanup(func() { servers.ForgetIndices(t, url, c.prefix) })
	c.kafka = []string{"--kafka", addr, "--topic-prefix", c.prefix}
	c.searched = []string{"--elasticsearch", url, "--elasticsearch-prefix", c.prefix}
	c.topics = kafka.NewTopics(c.prefix)
	client, err := kafka.New(kafka.Config{Brokers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	c.client = client
	plan := kafka.DefaultPlan()
	plan.Prefix, plan.Partitions = c.prefix, partitions
	if err := client.CreateTopics(t.Context(), plan.Topics(1)); err != nil {
		t.Fatal(err)
	}
	return c
}

// sense publishes the captures of a scenario.
func (c *cluster) sense(name string) {
	c.t.Helper()
	fields, err := schema()
	if err != nil {
		c.t.Fatal(err)
	}
	b := kafka.NewBus(c.client, fields, kafka.DefaultBusConfig(c.topics, c.topics.Events, "none"))
	defer b.Close()
	s, err := sensingFlags(&cobra.Command{}).files(openInputs(c.t.Context(), taps(c.t, name), nil), b)
	if err == nil {
		err = replay(c.t.Context(), s)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// correlators detects with a number of correlators that end when everything is
// stored.
func (c *cluster) correlators(n int, name string, more ...string) {
	c.t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var out, errs bytes.Buffer
			args := slices.Concat([]string{"correlator", "--once"}, c.kafka, known(name), more)
			if code := execute(context.Background(), args, nil, &out, &errs); code != 0 {
				c.t.Errorf("correlator %d: exit %d\n%s", i, code, errs.String())
			}
			c.t.Logf("correlator %d: %s%s", i, out.String(), errs.String())
		})
	}
	wg.Wait()
}

// everything is all events and alerts of a store, as text.
func everything(t *testing.T, where ...string) string {
	t.Helper()
	return run(t, 0, append([]string{"search", "", "--json", "--limit", "0"}, where...)...)
}

// ledgerOf is what a store's ledger says of each rule: events, matches, alerts.
func ledgerOf(t *testing.T, where ...string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(run(t, 0, append([]string{"rules", "list"}, where...)...)) {
		w := strings.Fields(line)
		if w[0] == "enabled" {
			fmt.Fprintln(&b, w[1], w[2], w[3], w[7])
		}
	}
	if b.Len() == 0 {
		t.Error("no rule is enabled")
	}
	return b.String()
}

// TestDistributed: a sensor, two correlators, a real Kafka and a real
// Elasticsearch end up with the same events and alerts, byte for byte, as one
// process with the embedded store.
func TestDistributed(t *testing.T) {
	began := time.Now()
	c := newCluster(t, 6)
	data := filepath.Join(t.TempDir(), "data")
	args := []string{"run", "--once", "--data", data}
	for _, tap := range taps(t, "intrusion") {
		args = append(args, "-r", tap)
	}
	run(t, 0, append(args, known("intrusion")...)...)
	want := everything(t, "--data", data)

	c.sense("intrusion")
	c.correlators(2, "intrusion", c.searched...)
	if have := everything(t, c.searched...); have != want {
		t.Errorf("%d lines, want %d: %s", strings.Count(have, "\n"), strings.Count(want, "\n"), difference(want, have))
	}
	// What two correlators saw of the rules adds up to what one saw.
	if one, two := ledgerOf(t, "--data", data), ledgerOf(t, c.searched...); one != two {
		t.Error("rules' ledger: " + difference(one, two))
	}
	t.Logf("%d lines after %v", strings.Count(want, "\n"), time.Since(began))

	// A group that begins again with the same log stores the same again, here
	// with the embedded store.
	again := []string{"--data", filepath.Join(t.TempDir(), "again"), "--group", "again"}
	c.correlators(1, "intrusion", again...)
	if have := everything(t, again[:2]...); have != want {
		t.Error("embedded: " + difference(want, have))
	}
}

// A correlator says when it starts that a topic may lose what is not read yet.
func TestRetentionIsTold(t *testing.T) {
	addr := servers.KafkaAddr(t)
	client, err := kafka.New(kafka.Config{Brokers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	plan := kafka.DefaultPlan()
	plan.Prefix, plan.Partitions = "short"+strings.ToLower(filepath.Base(filepath.Dir(t.TempDir()))), 1
	for _, day := range []string{"-1", "86400000"} {
		topics := plan.Topics(1)
		topics[0].Settings["retention.ms"] = day
		if err := client.CreateTopics(t.Context(), topics); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		args := []string{"correlator", "--once", "--kafka", addr, "--topic-prefix", plan.Prefix, "--data", t.TempDir()}
		if code := execute(t.Context(), args, nil, &out, &errs); code != 0 {
			t.Fatalf("exit %d\n%s", code, errs.String())
		}
		if told, want := strings.Contains(errs.String(), plan.Prefix+".events: retention.ms is 86400000, planned -1"), day != "-1"; told != want {
			t.Errorf("retention.ms=%s: told %v, want %v: %s", day, told, want, errs.String())
		}
		plan.Prefix += "2"
	}
}
