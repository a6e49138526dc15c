package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/bus/spool"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/metrics"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/netflow"
)

func newSensor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sensor",
		Short: "Capture and publish to Kafka",
		Long: `Capture live or read captures, and publish the events to Kafka. Events wait in a
spool on disk until all replicas have them, so capturing never waits for Kafka;
what the spool has no room for is discarded, the least important first, and
counted in the sensor's account. Captures are read no faster than Kafka takes
their events, and the command ends when it has them all.`,
		Example: `  sudo tocsin sensor -i eth0 --kafka kafka1:9092,kafka2:9092
  sudo tocsin sensor -i eth0 --kafka localhost:9092 --live
  tocsin sensor -r capture.pcap --kafka localhost:9092
  tocsin sensor --netflow 127.0.0.1:2055 --kafka localhost:9092`,
		Args: cobra.NoArgs,
	}
	captures := cmd.Flags().StringArrayP("read", "r", nil, "capture `FILE` to replay, or log of Suricata or Zeek, - for standard input, or a folder of captures to watch; may be repeated")
	followAll := cmd.Flags().Bool("follow", false, "go on with the captures as they grow, until interrupted")
	ifaces := cmd.Flags().StringArrayP("interface", "i", nil, "`[NAME=]INTERFACE` to capture on; may be repeated")
	how := cmd.Flags().String("capture", captureAuto, "`WAY` to capture: afpacket (Linux, several workers), pcap (libpcap), or auto")
	netflows := netflowFlag(cmd)
	asUser := cmd.Flags().String("user", "", "`USER` to go on as when root has opened the interfaces; the owner of the spool, or nobody, if not given")
	once := cmd.Flags().Bool("once", false, "with folders: exit when the captures that are there are published")
	spooling := spoolFlags(cmd)
	to := kafkaFlags(cmd)
	compression := cmd.Flags().String("kafka-compression", string(kafka.Snappy), "`CODEC` of what is published: none, snappy, lz4 or zstd")
	measure := metricsFlag(cmd)
	in := sensingFlags(cmd)
	in.view = liveFlag(cmd)
	records := recordingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, quit := context.WithCancel(cmd.Context())
		defer quit()
		cmd.SetContext(ctx)
		codec := kafka.Compression(*compression)
		switch {
		case len(*captures) == 0 && len(*ifaces) == 0 && len(*netflows) == 0:
			return usagef("sensor: give a capture with -r, an interface with -i or an address for exporters of flows with --netflow")
		case *once && len(*ifaces)+len(*netflows) > 0:
			return usagef("sensor: --once is for captures; an interface has no end, nor have exporters of flows")
		case *once && *followAll:
			return usagef("sensor: --once ends when the captures are read, and --follow does not")
		case codec.Validate() != nil:
			return usageError{codec.Validate()}
		}
		cfg, err := spooling.config()
		if err != nil {
			return err
		}
		client, err := to.dial(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		defer client.Close()
		var id *identity
		if len(*ifaces) > 0 {
			defer collectAt(liveGC)()
			if id, err = successor(*asUser, cfg.Dir); err != nil {
				return err
			}
			if err := id.renounce(); err != nil {
				return err
			}
		}
		r := &runner{cmd: cmd, in: in, captures: *captures, quit: quit}
		if r.metrics, err = listenForMetrics(*measure); err != nil {
			return err
		} else if r.metrics != nil {
			defer r.metrics.Close()
		}
		if r.taps, err = in.openTaps(cmd.Context(), *ifaces, *how); err != nil {
			return err
		}
		defer func() { closeTaps(r.taps) }()
		advise(cmd.ErrOrStderr(), r.taps)
		if r.exports, err = listenForExports(*netflows); err != nil {
			return err
		}
		defer func() {
			for _, conn := range r.exports {
				conn.Close()
			}
		}()
		if err := r.follow(cmd.Context(), *followAll, *once); err != nil {
			return err
		}
		if err := id.own(cfg.Dir); err != nil {
			return err
		}
		if err := records.own(id); err != nil {
			return err
		}
		if err := id.become(); err != nil {
			return err
		}
		if r.recorder, err = records.open(len(*ifaces) == 0); err != nil {
			return id.explain(err)
		}
		defer func() { complainOf(cmd.ErrOrStderr(), errors.Join(closeTaps(r.taps), r.recorder.close())) }()
		r.recorder.tee(r.taps)
		s, err := spool.Open(cfg)
		if err != nil {
			return id.explain(err)
		}
		if len(*ifaces) > 0 {
			may := reach{read: *captures, write: []string{cfg.Dir}, connects: true}
			if r.recorder != nil {
				may.write = append(may.write, *records.dir)
			}
			if err := confine(cmd.ErrOrStderr(), may); err != nil {
				return errors.Join(err, s.Close())
			}
		}
		p := &publisher{runner: r, spool: s, bound: cfg.Bytes, rate: *spooling.rate}
		p.outlet = kafka.NewOutlet(client, to.topics(), codec, p.aside)
		return errors.Join(p.run(cmd.Context()), p.outlet.Close(), s.Close())
	}
	return cmd
}

// liveGC is the garbage collector's percentage while a sensor captures live: it
// has a machine for years, so memory is worth more than processor time. See
// docs/BENCHMARKS.md.
const liveGC = 40

// spoolFlagSet are the flags of commands that keep events on disk until they
// are elsewhere.
type spoolFlagSet struct {
	dir         *string
	bytes, rate *int64
	sync        *time.Duration
}

func spoolFlags(cmd *cobra.Command) spoolFlagSet {
	d := spool.DefaultConfig("spool")
	return spoolFlagSet{
		dir:   cmd.Flags().String("spool", d.Dir, "`DIR` of the events that wait to be published"),
		bytes: cmd.Flags().Int64("spool-bytes", d.Bytes, "`BYTES` that the spool may have on disk"),
		sync:  cmd.Flags().Duration("spool-sync", d.Sync, "`TIME` after which what is in the spool survives the machine, too; 0 for at once, which is slow"),
		rate:  cmd.Flags().Int64("rate", 0, "`BYTES` a second that are published at most, the most important first; 0 for no limit"),
	}
}

func (f spoolFlagSet) config() (spool.Config, error) {
	cfg := spool.Config{Dir: *f.dir, Bytes: *f.bytes, Sync: *f.sync}
	if err := cfg.Validate(); err != nil {
		return cfg, usageError{err}
	}
	if *f.rate < 0 {
		return cfg, usagef("--rate %d: want 0 or more", *f.rate)
	}
	return cfg, nil
}

// publisher is a sensor's pipeline: sensors → spool → Kafka.
type publisher struct {
	*runner
	spool  *spool.Spool
	bound  int64
	rate   int64
	outlet *kafka.Outlet
}

// aside keeps what Kafka refuses. When there is no room for that either, it is
// told and gone: nothing else may wait for it.
func (p *publisher) aside(e *spool.Entry, why error) error {
	err := p.spool.Aside(e, why)
	if err == nil {
		err = why
	}
	complain(p.cmd.ErrOrStderr(), fmt.Errorf("an event of %s was put aside: %w", e.Time.Format(time.RFC3339), err))
	return nil
}

func (p *publisher) run(ctx context.Context) error {
	began := time.Now()
	left := p.spool.Pending()
	sink := spool.NewSink(p.spool, kafka.EventKey)
	captures, logs, err := divide(openInputs(ctx, p.captures, p.cmd.InOrStdin()))
	if err != nil {
		return err
	}
	var measured []metrics.Named
	var sensing errgroup.Group
	stuck, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var now, waits sensor.Sink = sink, patient{sink, p.spool, p.bound / 2}
	var view *liveView
	if *p.in.view {
		view = newLiveView(p.cmd)
		view.title = strings.Join(p.names(), ", ")
		now, waits = view.before(now), view.before(waits)
	}
	var sensors, live []*sensor.Sensor
	var sense []func() error // which begins when all is ready
	if len(captures) > 0 {
		s, err := p.in.files(captures, waits)
		if err != nil {
			return err
		}
		measured = append(measured, metrics.Named{Source: "captures", Sensor: s})
		sensors = append(sensors, s)
		sense = append(sense, func() error { return replay(stuck, s) })
	}
	if len(logs) > 0 {
		sense = append(sense, func() error { return readLogs(stuck, logs, waits, p.cmd.ErrOrStderr()) })
	}
	for _, conn := range p.exports {
		sense = append(sense, func() error { return netflow.New(netflow.DefaultConfig()).Run(stuck, conn, now) })
	}
	for _, t := range p.taps {
		s, err := p.in.live(t, now)
		if err != nil {
			return err
		}
		measured = append(measured, metrics.Named{Source: t[0].Interfaces()[0].Name, Sensor: s})
		sensors, live = append(sensors, s), append(live, s)
		sense = append(sense, func() error {
			err := s.Run(stuck)
			if err == nil || stuck.Err() != nil {
				return err
			}
			// Other interfaces go on for long; nobody must think that all do.
			complain(p.cmd.ErrOrStderr(), err)
			return errTold
		})
	}

	hide, err := showMetrics(context.WithoutCancel(ctx), p.metrics, p.cmd.OutOrStdout(), metrics.Sensors(measured), metrics.Spool(func() metrics.SpoolAccount {
		s := p.spool.Stats()
		return metrics.SpoolAccount{
			Spooled: s.Spooled, Published: s.Acknowledged, Full: s.Full, Failed: s.Failed, Pending: s.Pending, Bytes: s.Bytes,
		}
	}), metrics.Kafka(func() (topics []metrics.Topic) {
		by := p.outlet.Stats()
		for _, name := range slices.Sorted(maps.Keys(by)) {
			topics = append(topics, metrics.Topic{Name: name, Stats: by[name]})
		}
		return topics
	}))
	if err != nil {
		return err
	}
	var still func()
	if view != nil {
		view.sensors = sensors
		still = view.show(ctx, p.quit)
	} else {
		still = progress(p.cmd.ErrOrStderr(), func() string {
			var n uint64
			for _, s := range p.outlet.Stats() {
				n += s.Published
			}
			return fmt.Sprintf("%d published, %d wait", n, p.spool.Pending())
		})
	}
	for _, f := range sense {
		sensing.Go(f)
	}

	// When it is asked to end, Kafka has a moment to take what it will take;
	// the rest is there when the sensor is started again.
	publishing, published := outlive(ctx, farewell)
	defer published()
	finish := make(chan struct{})
	var draining errgroup.Group
	draining.Go(func() error {
		err := p.spool.Drain(publishing, p.outlet, p.rate, finish)
		if err != nil && publishing.Err() == nil {
			giveUp()
			return err
		}
		return nil
	})
	handing, handed := context.WithCancel(ctx)
	var vault errgroup.Group
	vault.Go(func() error { return p.recorder.serve(handing, p.cmd.OutOrStdout()) })
	onDuty(ctx, capturing(live))
	watching, watched := context.WithCancel(context.WithoutCancel(ctx))
	told := make(chan struct{})
	go func() { defer close(told); p.watch(watching, p.cmd.ErrOrStderr()) }()
	failed := sensing.Wait()
	close(finish)
	err = draining.Wait()
	watched()
	<-told
	handed()
	err = errors.Join(err, vault.Wait())
	still()
	s := p.spool.Stats()
	if len(p.captures) > 0 || s.Discarded() > 0 || p.spool.Pending() > 0 {
		fmt.Fprintf(p.cmd.OutOrStdout(), "%s in %.1f s\n", account(&s, left, p.outlet.Refused()), time.Since(began).Seconds())
	}
	if err == nil && failed == nil && s.Discarded() > 0 {
		err = fmt.Errorf("sensor: %d events were discarded; give the spool more room with --spool-bytes", s.Discarded())
	}
	return errors.Join(failed, err, hide())
}

// capturing reports, each time it is asked, whether every worker that captures
// live has looked at its interface since. Of those that have ended, people are
// told otherwise.
func capturing(sensors []*sensor.Sensor) func() bool {
	before := make([][]uint64, len(sensors))
	return func() bool {
		moved := true
		for i, s := range sensors {
			now := s.Turns()
			for w := range min(len(before[i]), len(now)) {
				moved = moved && before[i][w] != now[w]
			}
			before[i] = now
		}
		return moved
	}
}

// farewell is how long Kafka has when the sensor is asked to end.
const farewell = 5 * time.Second

// account says what became of events.
func account(s *spool.Stats, left, refused uint64) string {
	var spooled, acknowledged, pending uint64
	for c := range spool.NumClasses {
		spooled += s.Spooled[c]
		acknowledged += s.Acknowledged[c]
		pending += s.Pending[c]
	}
	text := fmt.Sprintf("spooled %d events, published %d", spooled, acknowledged-refused)
	if left > 0 {
		text += fmt.Sprintf(", of which %d had waited since the last time", left)
	}
	if refused > 0 {
		text += fmt.Sprintf("; Kafka refused %d, which are in aside.jsonl", refused)
	}
	for c := range spool.NumClasses {
		if n := s.Full[c]; n > 0 {
			text += fmt.Sprintf("; spool full: %d %s discarded", n, c)
		}
		if n := s.Failed[c]; n > 0 {
			text += fmt.Sprintf("; disk refused: %d %s discarded", n, c)
		}
	}
	if pending > 0 {
		text += fmt.Sprintf("; %d wait for the next start", pending)
	}
	return text
}

// watch tells when the spool's disk refuses something, and when the spool begins
// to discard.
func (p *publisher) watch(ctx context.Context, errs io.Writer) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	disk := newRepeats(errs, time.Now)
	var told uint64
	for {
		if err := p.spool.Failure(); err != nil {
			disk.tell(err)
		}
		s := p.spool.Stats()
		if n := s.Discarded(); n > 0 && told == 0 {
			complain(errs, fmt.Errorf("spool: no room: events are discarded, and counted; is Kafka there?"))
			told = n
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// patient is a sink for what can wait, as files can: it does, while the spool
// is more than half full, rather than have anything discarded.
type patient struct {
	sink  *spool.Sink
	spool *spool.Spool
	half  int64
}

var _ sensor.Sink = patient{}

// Publish implements sensor.Sink.
func (p patient) Publish(ctx context.Context, batch []event.Event) error {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		if s := p.spool.Stats(); s.Bytes < p.half {
			return p.sink.Publish(ctx, batch)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
