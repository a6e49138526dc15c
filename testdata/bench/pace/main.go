// Pace measures the distributed pipeline with real servers on one machine: how
// fast a correlator reads, detects and stores, how soon an alert is found that
// a packet caused, and what a million groups of a rule take. It prints a table;
// docs/BENCHMARKS.md has the last. It needs root, for a network of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := inside(ctx)
	if err == nil {
		err = run(ctx)
	}
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		os.Exit(ended.ExitCode())
	}
	if err != nil && !errors.Is(err, errDone) {
		fmt.Fprintln(os.Stderr, "pace:", err)
		os.Exit(1)
	}
}

var errDone = errors.New("done")

// inside begins again in a network namespace of its own, unless it is there.
func inside(ctx context.Context) error {
	const mark = "TOCSIN_PACE_INSIDE"
	if os.Getenv(mark) != "" {
		return exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").Run()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in a network of its own, for which it needs root: %w", err)
	}
	return errDone
}

// track is what a part runs on.
type track struct {
	tocsin    string
	scenarios string
	work      string
	events    int
	keys      int
	seconds   int
	kafka     *servers.Kafka
	elastic   *servers.Elasticsearch
	out       io.Writer
}

func run(ctx context.Context) (err error) {
	t := &track{out: os.Stdout}
	flag.StringVar(&t.tocsin, "tocsin", "bin/tocsin", "the `PROGRAM`")
	flag.StringVar(&t.scenarios, "scenarios", "testdata/scenarios", "`DIR` of the recorded scenarios")
	flag.IntVar(&t.events, "events", 300_000, "`EVENTS` to detect in")
	flag.IntVar(&t.keys, "keys", 1_000_000, "`GROUPS` of a rule to remember")
	flag.IntVar(&t.seconds, "seconds", 60, "how `LONG` to measure how soon alerts are found")
	only := flag.String("only", "", "parts whose name matches this `REGEXP`: detect, keys, soon")
	flag.Parse()
	which, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if t.tocsin, err = filepath.Abs(t.tocsin); err != nil {
		return err
	}
	if t.work, err = os.MkdirTemp("", "tocsin-pace-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.work)) }()
	if t.kafka, err = servers.StartKafka(ctx, servers.KafkaConfig{Java: []string{"-Xmx512m", "-XX:TieredStopAtLevel=4"}}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.kafka.Remove()) }()
	if t.elastic, err = servers.StartElasticsearch(ctx, servers.ElasticsearchConfig{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.elastic.Remove()) }()
	fmt.Fprintln(t.out, "| what | figure |\n|---|---|")
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"detect", t.detect}, {"keys", t.rememberKeys}, {"soon", t.soon}} {
		if which.MatchString(part.name) && err == nil {
			if err = part.run(ctx); err != nil {
				err = fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return err
}

func (t *track) row(what, format string, args ...any) {
	fmt.Fprintf(t.out, "| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

// publish makes the topics behind a prefix and publishes events.
func (t *track) publish(ctx context.Context, prefix string, n int, next func() event.Event) (err error) {
	client, err := kafka.New(kafka.Config{Brokers: []string{t.kafka.Addr}})
	if err != nil {
		return err
	}
	defer client.Close()
	plan := kafka.DefaultPlan()
	plan.Prefix, plan.Partitions = prefix, 6
	if err := client.CreateTopics(ctx, plan.Topics(1)); err != nil {
		return err
	}
	schema, err := event.NewSchema()
	if err != nil {
		return err
	}
	names := kafka.NewTopics(prefix)
	b := kafka.NewBus(client, schema, kafka.DefaultBusConfig(names, names.Events, "nobody"))
	defer func() { err = errors.Join(err, b.Close()) }()
	batch := make([]event.Event, 0, 2000)
	for i := range n {
		batch = append(batch, next())
		if len(batch) == cap(batch) || i == n-1 {
			if err := b.Publish(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

// cost is what a process has used.
type cost struct {
	took, cpu time.Duration
	peak      int64 // bytes
}

// timed runs a program to its end.
func timed(ctx context.Context, program string, args ...string) (cost, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return cost{time.Since(began), time.Duration(used.Utime.Nano() + used.Stime.Nano()), used.Maxrss << 10}, nil
}

// correlate runs a correlator until everything is stored.
func (t *track) correlate(ctx context.Context, prefix string, more ...string) (cost, error) {
	return timed(ctx, t.tocsin, append([]string{"correlator", "--once", "--kafka", t.kafka.Addr, "--topic-prefix", prefix, "--group", prefix + fmt.Sprint(time.Now().UnixNano())}, more...)...)
}
