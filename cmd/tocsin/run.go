package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tocsin/tocsin/bus/mem"
	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/metrics"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture/follow"
	"github.com/tocsin/tocsin/sensor/netflow"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
	"github.com/tocsin/tocsin/store/embedded"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Capture, detect, store and show, all in one",
		Long: `Read captures or capture live, detect, keep everything in the embedded store or
in Elasticsearch, and show it in the console. Reading the same captures again changes nothing.

A folder is one tap: its captures are read in the order of their first packets,
and new ones as they come, until interrupted, or with --once those that are there.`,
		Example: `  tocsin run -r border.pcap.zst -r dmz.pcap.zst --assets assets.yml
  sudo tocsin run -i eth0
  tocsin run --netflow 127.0.0.1:2055
  tocsin run -r capture.pcap --once && tocsin search 'event.kind: alert'`,
		Args: cobra.NoArgs,
	}
	captures := cmd.Flags().StringArrayP("read", "r", nil, "capture `FILE` to replay, or log of Suricata or Zeek, - for standard input, or a folder of captures to watch; may be repeated")
	follow := cmd.Flags().Bool("follow", false, "go on with the captures as they grow, until interrupted")
	ifaces := cmd.Flags().StringArrayP("interface", "i", nil, "`[NAME=]INTERFACE` to capture on; may be repeated")
	how := cmd.Flags().String("capture", captureAuto, "`WAY` to capture: afpacket (Linux, several workers), pcap (libpcap), or auto")
	asUser := cmd.Flags().String("user", "", "`USER` to go on as when root has opened the interfaces; the owner of DIR, or nobody, if not given")
	netflows := netflowFlag(cmd)
	shown, measure := serveFlags(cmd), metricsFlag(cmd)
	once := cmd.Flags().Bool("once", false, "exit when the captures are stored; no console")
	where := storeFlags(cmd)
	in, what := sensingFlags(cmd), detectingFlags(cmd)
	in.view = liveFlag(cmd)
	records := recordingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, quit := context.WithCancel(cmd.Context())
		defer quit()
		cmd.SetContext(ctx)
		switch {
		case len(*captures) == 0 && len(*ifaces) == 0 && len(*netflows) == 0:
			return usagef("run: give a capture with -r, an interface with -i or an address for exporters of flows with --netflow")
		case *once && len(*ifaces)+len(*netflows) > 0:
			return usagef("run: --once is for captures; an interface has no end, nor have exporters of flows")
		case *once && *follow:
			return usagef("run: --once ends when the captures are read, and --follow does not")
		}
		var id *identity
		if len(*ifaces) > 0 {
			var err error
			if id, err = successor(*asUser, *where.data); err != nil {
				return err
			}
			if err := id.renounce(); err != nil {
				return err
			}
		}
		r := &runner{cmd: cmd, in: in, rules: what.rules, geo: what.geo, captures: *captures, quit: quit}
		if !*once {
			l, err := shown.open()
			if err != nil {
				return err
			}
			defer l.Close()
			r.listener, r.shown = l, shown
		}
		if l, err := listenForMetrics(*measure); err != nil {
			return err
		} else if l != nil {
			defer l.Close()
			r.metrics = l
		}
		var err error
		if r.correlator, r.reputation, err = what.correlator(cmd.ErrOrStderr()); err != nil {
			return err
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
		if err := r.follow(cmd.Context(), *follow, *once); err != nil {
			return err
		}
		if where.embedded() {
			if err := id.own(*where.data); err != nil {
				return err
			}
		}
		if r.listener != nil && shown.dir(where) != *where.data || !where.embedded() && r.listener != nil {
			if err := id.own(shown.dir(where)); err != nil {
				return err
			}
		}
		for _, dir := range r.reputation.folders() {
			if err := id.own(dir); err != nil {
				return err
			}
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
		if len(*ifaces) > 0 {
			// SQLite is to put what it sorts where it may write.
			if err := os.Setenv("SQLITE_TMPDIR", *where.data); err != nil {
				return err
			}
		}
		if r.store, err = where.openToFill(cmd.Context()); err != nil {
			return id.explain(err)
		}
		if len(*ifaces) > 0 {
			may := reach{read: *captures, connects: !where.embedded()}
			if where.embedded() {
				may.write = []string{*where.data}
			}
			if r.listener != nil {
				may.write = append(may.write, shown.dir(where))
			}
			if r.recorder != nil {
				may.write = append(may.write, *records.dir)
			}
			r.reputation.reach(&may)
			what.rules.reach(&may)
			what.geo.reach(&may)
			if err := confine(cmd.ErrOrStderr(), may); err != nil {
				return errors.Join(err, r.store.Close())
			}
		}
		r.ledger = where.shelf(r.store)
		if r.listener != nil {
			if r.office, err = openOffice(shown.dir(where)); err != nil {
				return errors.Join(id.explain(err), r.store.Close())
			}
			defer r.office.Close()
			r.knows = knowledge{assets: what.known, rules: &what.rules, lists: r.reputation, ledger: r.ledger}
		}
		return errors.Join(r.run(cmd.Context()), r.store.Close())
	}
	return cmd
}

// runner is the whole pipeline on one machine: sensors → bus → correlator →
// store → console.
type runner struct {
	cmd        *cobra.Command
	in         sensing
	rules      ruleset
	geo        *atlas
	captures   []string
	taps       []tap
	exports    []net.PacketConn // where exporters send their flows
	ledger     *shelf           // of the rules' ledger
	quit       func()
	listener   net.Listener // nil: no console
	shown      serving      // how, where there is one
	office     *office
	knows      knowledge
	metrics    net.Listener // nil: none
	correlator *correlator.Correlator
	reputation *reputation
	store      store.Store
	recorder   *recorder // nil: packets are not kept

	events atomic.Uint64 // stored
}

// follow makes taps of the captures that are read while they are being written:
// folders, and all if so wanted.
func (r *runner) follow(ctx context.Context, all, once bool) error {
	var whole []string
	for _, path := range r.captures {
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
		case all && (err != nil || info.Mode().IsRegular()):
		case all:
			return usagef("run: --follow: %s is not a file", path)
		default:
			whole = append(whole, path)
			continue
		}
		t, err := r.in.openFollowed(ctx, follow.Config{
			Path: path, Once: once,
			Report: func(err error) { complain(r.cmd.ErrOrStderr(), err) },
		})
		if err != nil {
			return err
		}
		r.taps = append(r.taps, t)
	}
	r.captures = whole
	return nil
}

// names are those of the taps and captures.
func (r *runner) names() (list []string) {
	for _, t := range r.taps {
		list = append(list, t[0].Interfaces()[0].Sensor)
	}
	for _, path := range r.captures {
		list = append(list, filepath.Base(path))
	}
	return list
}

// subscribers is how many goroutines detect and store.
const subscribers = 2

func (r *runner) run(ctx context.Context) error {
	began := time.Now()
	if len(r.taps)+len(r.exports) > 0 {
		// What was remembered when the process ended is in the store.
		if err := r.warm(ctx); err != nil {
			return err
		}
	}
	b := mem.New(mem.DefaultConfig())
	var sink sensor.Sink = b
	var view *liveView
	if *r.in.view {
		view = newLiveView(r.cmd)
		sink = view.before(b)
	}
	var replayed *sensor.Sensor
	var live []*sensor.Sensor
	for _, t := range r.taps {
		s, err := r.in.live(t, sink)
		if err != nil {
			return err
		}
		live = append(live, s)
	}

	page, stopPage := context.WithCancel(ctx)
	defer stopPage()
	var shown errgroup.Group
	if r.listener != nil {
		announce(r.cmd, r.listener)
		shown.Go(func() error { return r.shown.show(page, r.listener, r.store, r.office, r.knows) })
	}

	// A pipe is looked at when something comes, and the page does not wait for it.
	captures, logs, err := divide(openInputs(ctx, r.captures, r.cmd.InOrStdin()))
	if err == nil && len(captures) > 0 {
		replayed, err = r.in.files(captures, sink)
	}
	if err != nil {
		stopPage()
		return errors.Join(err, shown.Wait())
	}

	if r.metrics != nil {
		var sensors []metrics.Named
		for i, s := range live {
			sensors = append(sensors, metrics.Named{Source: r.taps[i][0].Interfaces()[0].Name, Sensor: s})
		}
		if replayed != nil {
			sensors = append(sensors, metrics.Named{Source: "captures", Sensor: replayed})
		}
		sources := []metrics.Source{metrics.Sensors(sensors), metrics.Bus(b.Waiting), metrics.Correlator(r.correlator.Stats), metrics.Store(r.events.Load)}
		if es, ok := r.store.(*elastic.Store); ok {
			sources = append(sources, metrics.Elasticsearch(es.Stats))
		}
		h, err := metricsPage(sources...)
		if err != nil {
			return err
		}
		fmt.Fprintf(r.cmd.OutOrStdout(), "metrics at http://%s/metrics\n", r.metrics.Addr())
		shown.Go(func() error { return serve(page, r.metrics, h) })
	}

	if r.listener != nil || len(r.taps) > 0 {
		shown.Go(func() error {
			return r.reputation.keepFresh(page, r.cmd.ErrOrStderr(), r.store, r.keep, func(ctx context.Context, alerts []event.Alert) error {
				return r.put(ctx, nil, alerts)
			})
		})
	}

	if r.recorder != nil {
		shown.Go(func() error { return r.recorder.serve(page, r.cmd.OutOrStdout()) })
		shown.Go(func() error {
			var d *desk.Desk
			if r.office != nil {
				d = r.office.desk
			}
			return r.recorder.review(page, r.store, d, r.cmd.ErrOrStderr())
		})
	}

	book := newRuleBook(r.ledger, r.correlator.Stats, r.rules.now)
	var watching errgroup.Group
	watching.Go(func() error { return r.rules.watch(page, r.correlator, r.cmd.ErrOrStderr()) })
	watching.Go(func() error { r.geo.watch(page, redrawing, r.cmd.ErrOrStderr()); return nil })
	watching.Go(func() error { book.keep(page, r.cmd.ErrOrStderr()); return nil })
	defer watching.Wait()
	defer stopPage()

	// The end of ctx stops the sensors; what they made is then still detected
	// and stored.
	var sensing, storing errgroup.Group
	dry, dried := outlive(ctx, grace)
	defer dried()
	stuck, giveUp := context.WithCancel(ctx)
	defer giveUp()
	still := func() {}
	if view != nil {
		view.title = strings.Join(r.names(), ", ")
		view.sensors = slices.Clone(live)
		if replayed != nil {
			view.sensors = append(view.sensors, replayed)
		}
		still = view.show(ctx, r.quit)
	} else if len(r.captures) > 0 {
		still = progress(r.cmd.ErrOrStderr(), func() string { return fmt.Sprintf("%d events", r.events.Load()) })
	}
	for range subscribers {
		storing.Go(func() error {
			err := b.Subscribe(dry, r.keep)
			if err != nil {
				giveUp()
				b.Close() // publishers must not wait for nobody
			}
			return err
		})
	}
	if replayed != nil {
		sensing.Go(func() error { return replay(stuck, replayed) })
	}
	for _, conn := range r.exports {
		sensing.Go(func() error { return netflow.New(netflow.DefaultConfig()).Run(stuck, conn, b) })
	}
	if len(logs) > 0 {
		sensing.Go(func() error { return readLogs(stuck, logs, sink, r.cmd.ErrOrStderr()) })
	}
	for _, s := range live {
		sensing.Go(func() error {
			err := s.Run(stuck)
			if err == nil || stuck.Err() != nil {
				return err
			}
			// Other interfaces go on for long; nobody must think that all do.
			complain(r.cmd.ErrOrStderr(), err)
			return errTold
		})
	}
	failed := sensing.Wait()
	b.Close()
	err = storing.Wait()
	still()
	if err != nil {
		stopPage()
		return errors.Join(err, shown.Wait()) // the sensors failed because of it
	}
	if err := r.put(dry, nil, r.correlator.Flush()); err != nil {
		stopPage()
		return errors.Join(err, shown.Wait())
	}
	if len(r.captures) > 0 || r.listener == nil {
		levels, err := alertLevels(dry, r.store)
		if err != nil {
			stopPage()
			return errors.Join(err, shown.Wait())
		}
		fmt.Fprintf(r.cmd.OutOrStdout(), "stored %d events in %.1f s; alerts: %s\n", r.events.Load(), time.Since(began).Seconds(), levels)
	}
	if err := book.write(dry); err != nil {
		stopPage()
		return errors.Join(err, shown.Wait())
	}
	if r.listener == nil || ctx.Err() != nil || failed != nil && (r.events.Load() == 0 || len(r.captures) == 0) {
		stopPage()
	} else if failed != nil {
		// What could be read is there to be looked at.
		if !errors.Is(failed, errTold) {
			complain(r.cmd.ErrOrStderr(), failed)
		}
		failed = errTold
	}
	return errors.Join(failed, shown.Wait())
}

// grace is how long what the sensors have made may take to be stored when the
// process is asked to end: a store that is away would take it for ever.
const grace = time.Minute

// outlive returns a context that ends a while after another.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(by, func() { cancel(fmt.Errorf("not stored within %s of the end", by)) })
	})
	return longer, func() { stop(); cancel(nil) }
}

// keep detects in a batch and stores it with what was found.
func (r *runner) keep(ctx context.Context, batch []event.Event) error {
	alerts, err := r.correlator.Process(ctx, batch)
	if err != nil {
		return err
	}
	if err := r.put(ctx, batch, alerts); err != nil {
		r.correlator.Again(alerts) // the batch comes again, and its alerts must too
		return err
	}
	r.recorder.pin(alerts, r.cmd.ErrOrStderr())
	return nil
}

func (r *runner) put(ctx context.Context, events []event.Event, alerts []event.Alert) error {
	if err := r.store.Put(ctx, events, alerts); err != nil {
		return err
	}
	r.events.Add(uint64(len(events)))
	return nil
}

// warm gives the correlator the memory that it had.
func (r *runner) warm(ctx context.Context) error {
	_, last, err := r.store.Span(ctx)
	if err != nil || last.IsZero() {
		return err
	}
	r.correlator.Resume(last)
	var batch []event.Event
	for e, err := range r.store.Search(ctx, store.Query{Set: store.Events, From: last.Add(-r.correlator.Horizon())}) {
		if err != nil {
			return err
		}
		if batch = append(batch, e); len(batch) == logBatch {
			if err := r.correlator.Warm(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return r.correlator.Warm(ctx, batch)
}

func netflowFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("netflow", nil, "`ADDRESS` to receive NetFlow 5 and 9, IPFIX and sFlow on, UDP, such as 127.0.0.1:2055; may be repeated")
}

// listenForExports opens the ports that exporters of flows send to.
func listenForExports(addrs []string) (conns []net.PacketConn, err error) {
	for _, addr := range addrs {
		conn, err := netflow.Listen(addr)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, fmt.Errorf("%w; want HOST:PORT that no other program has", err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// serve serves until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	onDuty(ctx, nil)
	srv := &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Show a store in the console",
		Example: "  tocsin serve --data data\n  tocsin serve --elasticsearch https://es1:9200 --elasticsearch-user tocsin --elasticsearch-ca ca.pem",
		Args:    cobra.NoArgs,
	}
	where, shown, what := storeFlags(cmd), serveFlags(cmd), detectingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := shown.open()
		if err != nil {
			return err
		}
		defer l.Close()
		_, lists, err := what.config(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		s, err := where.open(cmd.Context(), embedded.ReadWrite) // analysts judge alerts
		if err != nil {
			return err
		}
		o, err := openOffice(shown.dir(where))
		if err != nil {
			return errors.Join(err, s.Close())
		}
		k := knowledge{assets: what.known, rules: &what.rules, lists: lists}
		k.ledger = where.shelf(s)
		announce(cmd, l)
		return errors.Join(shown.show(cmd.Context(), l, s, o, k), o.Close(), s.Close())
	}
	return cmd
}
