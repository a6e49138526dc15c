// Faults runs the distributed pipeline against real servers, breaks it in every
// way that it is meant to survive, and compares what is stored with what one
// process stores that nobody disturbs. It prints a table; docs/RELIABILITY.md has
// the last.
//
// A trial is a sensor that replays a capture, held to a rate so that it lasts,
// two correlators, and topics and indices of its own. Whatever process ends is
// started again, as systemd or Kubernetes would do. In the end the correlators
// are stopped and a last one does what is left.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// settings are what the command line asks for.
type settings struct {
	tocsin    string
	scenarios string
	generated string
	kills     int
	away      time.Duration
	seed      uint64
	work      string
	out       io.Writer
}

func run(ctx context.Context) (err error) {
	var s settings
	flag.StringVar(&s.tocsin, "tocsin", "bin/tocsin", "the `PROGRAM`")
	flag.StringVar(&s.scenarios, "scenarios", "testdata/scenarios", "`DIR` of the recorded scenarios")
	flag.StringVar(&s.generated, "load", ".cache/faults/mixed.pcap", "a larger `CAPTURE`")
	flag.IntVar(&s.kills, "kills", 20, "how `OFTEN` each process is killed, a fourth of it with the recorded intrusion")
	flag.DurationVar(&s.away, "away", 10*time.Minute, "how `LONG` Kafka is away")
	flag.Uint64Var(&s.seed, "seed", 1, "`NUMBER` that all chance comes from")
	only := flag.String("only", "", "faults whose name matches this `REGEXP`")
	table := flag.String("table", "", "`FILE` to write the table to as well")
	flag.Parse()
	which, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if s.tocsin, err = filepath.Abs(s.tocsin); err != nil {
		return err
	}
	if s.work, err = os.MkdirTemp("", "tocsin-faults-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.work)) }()
	s.out = os.Stdout
	if *table != "" {
		f, err := os.Create(*table)
		if err != nil {
			return err
		}
		defer f.Close()
		s.out = io.MultiWriter(os.Stdout, f)
	}
	r, err := newRange(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	fmt.Fprintln(s.out, "| fault | load | times | events | exactly once | alerts | same | ledger | seconds |")
	fmt.Fprintln(s.out, "|---|---|---|---|---|---|---|---|---|")
	failed := 0
	for _, f := range faults(s) {
		if !which.MatchString(f.name) || ctx.Err() != nil {
			continue
		}
		res := r.trial(ctx, f)
		if res.err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "faults: %s, %s: %v\n", f.name, f.load, res.err)
		}
		fmt.Fprintln(s.out, res)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d faults did harm", failed)
	}
	return nil
}

// result is a line of the table.
type result struct {
	fault, load    string
	times          int
	events, alerts int
	once, same     bool
	ledger         string
	took           time.Duration
	err            error
}

func (r result) String() string {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "**no**"
	}
	cells := []string{r.fault, r.load, fmt.Sprint(r.times), fmt.Sprint(r.events), yes(r.once), fmt.Sprint(r.alerts), yes(r.same), r.ledger, fmt.Sprintf("%.0f", r.took.Seconds())}
	return "| " + strings.Join(cells, " | ") + " |"
}
