package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/evidence"
	"github.com/tocsin/tocsin/store"
)

// packetFlags are the flags of commands that keep packets.
type packetFlags struct {
	dir           *string
	bytes         *int64
	before, after *time.Duration
	listen, token *string
	cert, key     *string
}

func recordingFlags(cmd *cobra.Command) packetFlags {
	return packetFlags{
		dir:    cmd.Flags().String("evidence", "", "`DIR` to keep the latest packets of interfaces and folders in, for evidence; none are kept if not given"),
		bytes:  cmd.Flags().Int64("evidence-bytes", 10<<30, "`BYTES` that DIR may have on disk, what is pinned included"),
		before: cmd.Flags().Duration("evidence-before", time.Minute, "`TIME` before an alert from which its packets are pinned"),
		after:  cmd.Flags().Duration("evidence-after", time.Minute, "`TIME` after it until which they are"),
		listen: cmd.Flags().String("evidence-listen", "", "`ADDRESS` to hand packets out on, to those who have the token; beyond loopback with TLS only"),
		token:  cmd.Flags().String("evidence-token-file", "", "`FILE` with the token, or in TOCSIN_EVIDENCE_TOKEN; at least 16 characters"),
		cert:   cmd.Flags().String("evidence-cert", "", "`FILE` with the certificate to hand out with, PEM"),
		key:    cmd.Flags().String("evidence-key", "", "`FILE` with the certificate's key, PEM"),
	}
}

// recorder keeps the packets of taps.
type recorder struct {
	flags    packetFlags
	ring     *evidence.Ring
	listener net.Listener
	handler  http.Handler
	told     atomic.Bool
}

// own makes DIR the property of the user that the process goes on as.
func (f packetFlags) own(id *identity) error {
	if *f.dir == "" {
		return nil
	}
	return id.own(*f.dir)
}

// open opens the ring, and the port. It returns nil if nothing is to be kept.
func (f packetFlags) open(wait bool) (rec *recorder, err error) {
	if *f.dir == "" {
		if *f.listen != "" {
			return nil, usagef("--evidence-listen: give the folder to keep packets in with --evidence")
		}
		return nil, nil
	}
	if *f.bytes < evidence.MinBytes {
		return nil, usagef("--evidence-bytes %d: want at least %d", *f.bytes, evidence.MinBytes)
	}
	rec = &recorder{flags: f}
	if rec.ring, err = evidence.Open(evidence.Config{Dir: *f.dir, Bytes: *f.bytes, Wait: wait}); err != nil {
		return nil, err
	}
	if *f.listen == "" {
		return rec, nil
	}
	if err := rec.open(); err != nil {
		return nil, errors.Join(err, rec.ring.Close())
	}
	return rec, nil
}

func (rec *recorder) open() error {
	f := rec.flags
	if (*f.cert == "") != (*f.key == "") {
		return usagef("--evidence-cert and --evidence-key: want both or none")
	}
	if !loopback(*f.listen) && *f.cert == "" {
		return usagef("--evidence-listen %s: beyond loopback want --evidence-cert and --evidence-key", *f.listen)
	}
	token, err := secret("TOCSIN_EVIDENCE_TOKEN", *f.token)
	if err != nil {
		return err
	}
	if rec.handler, err = evidence.Handler(rec.ring, token); err != nil {
		return usageError{fmt.Errorf("--evidence-token-file: %w", err)}
	}
	if rec.listener, err = listenOn(*f.listen); err != nil {
		return err
	}
	if *f.cert != "" {
		pair, err := tls.LoadX509KeyPair(*f.cert, *f.key)
		if err != nil {
			return errors.Join(fmt.Errorf("--evidence-cert, --evidence-key: %w", err), rec.listener.Close())
		}
		rec.listener = tls.NewListener(rec.listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	}
	return nil
}

// tee records what taps hand out.
func (rec *recorder) tee(taps []tap) {
	if rec == nil {
		return
	}
	for _, t := range taps {
		for i := range t {
			t[i] = evidence.NewTee(t[i], rec.ring)
		}
	}
}

// serve hands packets out until ctx ends, if that is wanted.
func (rec *recorder) serve(ctx context.Context, out io.Writer) error {
	if rec == nil || rec.listener == nil {
		return nil
	}
	fmt.Fprintf(out, "evidence at %s\n", rec.listener.Addr())
	srv := &http.Server{Handler: rec.handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(rec.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("evidence: %w", err)
	}
	return nil
}

func (rec *recorder) close() error {
	if rec == nil {
		return nil
	}
	return rec.ring.Close()
}

// pin keeps the packets of alerts. That there is no room is told once.
func (rec *recorder) pin(alerts []event.Alert, errs io.Writer) {
	if rec == nil {
		return
	}
	for i := range alerts {
		p := evidence.PinAlert(&alerts[i], *rec.flags.before, *rec.flags.after)
		if len(p.Sessions) == 0 {
			continue // it names nobody
		}
		if err := rec.ring.Pin(p); err != nil && !rec.told.Swap(true) {
			complain(errs, fmt.Errorf("%w; alerts are made all the same, their packets may be gone soon; close alerts, or give more room with --evidence-bytes", err))
		}
	}
}

// reviewing is how often pins are compared with what people decided.
const reviewing = 30 * time.Second

// review keeps what cases need and gives up what they are done with, until ctx
// ends: the packets of an alert until it is closed, those of an incident, which
// are those of its alerts, until that is.
func (rec *recorder) review(ctx context.Context, s store.Store, d *desk.Desk, errs io.Writer) error {
	if rec == nil {
		return nil
	}
	said := newRepeats(errs, time.Now)
	t := time.NewTicker(reviewing)
	defer t.Stop()
	for {
		if err := rec.reviewOnce(ctx, s, d); err != nil && ctx.Err() == nil {
			said.tell(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (rec *recorder) reviewOnce(ctx context.Context, s store.Store, d *desk.Desk) error {
	var errs []error
	cases := map[string]bool{} // by pin: whether it is open
	if d != nil {
		book := incident.Book{Desk: d, Store: s}
		list, err := book.List(ctx, incident.Filter{})
		if err != nil {
			return err
		}
		for _, c := range list {
			id := "incident-" + c.ID
			if cases[id] = c.State != "closed" && c.MergedInto == ""; !cases[id] {
				continue
			}
			pin := evidence.Pin{ID: id, Kind: "incident"}
			for _, text := range c.Alerts {
				if a, ok := storedAlert(ctx, s, text); ok && len(pin.Sessions) < maxCaseSessions {
					pin.Sessions = append(pin.Sessions, evidence.PinAlert(&a, *rec.flags.before, *rec.flags.after).Sessions...)
				}
			}
			if n := len(pin.Sessions); n > 0 {
				pin.Sessions = pin.Sessions[:min(n, maxCaseSessions)]
				errs = append(errs, rec.ring.Pin(pin))
			}
		}
	}
	for _, p := range rec.ring.Pins() {
		done := false
		if open, known := cases[p.ID]; known {
			done = !open
		} else if p.Kind == "alert" {
			a, ok := storedAlert(ctx, s, p.ID)
			done = ok && a.Triage.Status == "closed"
		}
		if done {
			_, err := rec.ring.Release(p.ID)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// maxCaseSessions bounds what is pinned for one incident.
const maxCaseSessions = 200

func storedAlert(ctx context.Context, s store.Store, text string) (a event.Alert, ok bool) {
	id, err := event.ParseID(text)
	if err != nil {
		return a, false
	}
	e, err := s.Get(ctx, id)
	if err != nil {
		return a, false
	}
	a, err = event.AlertOf(&e)
	return a, err == nil
}

// vault is a place that packets can be had from: a ring's folder on this
// machine, or a sensor.
type vault struct {
	dir    string
	client *evidence.Client
}

// vaultFlags are those that say how sensors are asked.
type vaultFlags struct{ token, ca *string }

func askingFlags(cmd *cobra.Command) vaultFlags {
	return vaultFlags{
		token: cmd.Flags().String("evidence-token-file", "", "`FILE` with the token of sensors, or in TOCSIN_EVIDENCE_TOKEN"),
		ca:    cmd.Flags().String("evidence-ca", "", "`FILE` with the certificate of the authority that signed the sensors', PEM"),
	}
}

// open takes a folder, or an address that begins with http.
func (f vaultFlags) open(place string) (vault, error) {
	if !strings.HasPrefix(place, "http://") && !strings.HasPrefix(place, "https://") {
		return vault{dir: place}, nil
	}
	c := &evidence.Client{URL: place}
	var err error
	if c.Token, err = secret("TOCSIN_EVIDENCE_TOKEN", *f.token); err != nil {
		return vault{}, err
	}
	if c.Token == "" {
		return vault{}, usagef("%s: give the sensor's token with --evidence-token-file", place)
	}
	if host := strings.TrimPrefix(place, "http://"); host != place {
		if host, _, _ = strings.Cut(host, "/"); !loopback(host) {
			return vault{}, usagef("%s: a token is for https only, but for loopback", place)
		}
	}
	roots := (*x509.CertPool)(nil)
	if *f.ca != "" {
		text, err := os.ReadFile(*f.ca)
		if err != nil {
			return vault{}, fmt.Errorf("--evidence-ca: %w", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(text) {
			return vault{}, fmt.Errorf("--evidence-ca: %s: no certificate in it", *f.ca)
		}
	}
	c.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ResponseHeaderTimeout: time.Minute}}
	return vault{client: c}, nil
}

// fetch writes the packets of sessions that the vault has.
func (v vault) fetch(ctx context.Context, sessions []evidence.Session, out io.Writer, told func(done, most int64)) (*evidence.Report, error) {
	if v.client != nil {
		return v.client.Fetch(ctx, sessions, out, told)
	}
	r, err := evidence.OpenReadOnly(v.dir)
	if err != nil {
		return nil, err
	}
	return r.Fetch(ctx, sessions, out, nil)
}

// named reads what a vault wrote: the interfaces' names there are the sensors'.
type named struct{ capture.Source }

func (n named) Interfaces() []capture.Interface {
	list := slices.Clone(n.Source.Interfaces())
	for i := range list {
		list[i].Sensor = list[i].Name
	}
	return list
}

// fetched is a source of the packets of sessions that a vault has. They lie in
// a file until it is closed.
func (v vault) fetched(ctx context.Context, sessions []evidence.Session, told func(done, most int64)) (capture.Source, *evidence.Report, error) {
	f, err := os.CreateTemp("", "tocsin-evidence-*.pcapng")
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (capture.Source, *evidence.Report, error) {
		return nil, nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	w := bufio.NewWriterSize(f, 1<<20)
	report, err := v.fetch(ctx, sessions, w, told)
	if err := errors.Join(err, w.Flush()); err != nil {
		return fail(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fail(err)
	}
	if n, err := f.Seek(0, io.SeekEnd); err != nil || n == 0 {
		return fail(errors.Join(err, errors.New("nothing came")))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fail(err)
	}
	src, err := file.New(f, f.Name())
	if err != nil {
		return fail(err)
	}
	return &temporary{named{src}, f}, report, nil
}

// temporary is a source whose file goes when it is closed.
type temporary struct {
	capture.Source
	file *os.File
}

func (t *temporary) Close() error {
	return errors.Join(t.Source.Close(), t.file.Close(), os.Remove(t.file.Name()))
}

func newEvidence() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "The packets that sensors keep: what there is, fetch, pin, release",
		Long: `Packets that tocsin run and tocsin sensor keep with --evidence DIR: everything that
a tap saw, the latest in place of the oldest, and what is pinned for an alert or
an incident until that is closed. FROM is such a folder, or the address of a
sensor that hands packets out (--evidence-listen).`,
		Example: "  tocsin evidence status FROM\n  tocsin evidence fetch FROM 10.1.0.10 --from 2026-11-22T12:00 --to 2026-11-22T12:10 -o slice.pcapng",
	}
	cmd.AddCommand(newEvidenceStatus(), newEvidenceFetch(), newEvidencePin(), newEvidenceRelease())
	return cmd
}

func newEvidenceStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "status FROM", Short: "Say what a ring has, and what is pinned", Example: "  tocsin evidence status /var/lib/tocsin/evidence\n  tocsin evidence status https://sensor-1:8444", Args: cobra.ExactArgs(1)}
	ask := askingFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := ask.open(args[0])
		if err != nil {
			return err
		}
		var answer struct {
			Status evidence.Stats `json:"status"`
			Pins   []evidence.Pin `json:"pins"`
		}
		if v.client == nil {
			r, err := evidence.OpenReadOnly(v.dir)
			if err != nil {
				return err
			}
			answer.Status, answer.Pins = r.Stats(), r.Pins()
		} else if answer.Status, err = v.client.Status(cmd.Context()); err != nil {
			return err
		} else if answer.Pins, err = v.client.Pins(cmd.Context()); err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if *asJSON {
			e := json.NewEncoder(out)
			e.SetIndent("", "  ")
			return e.Encode(answer)
		}
		s := answer.Status
		fmt.Fprintf(out, "from %s to %s: %d files, %d bytes; pinned %d bytes for %d\n", s.Oldest, s.Newest, s.Segments, s.Bytes, s.Pinned, len(answer.Pins))
		if v.client != nil {
			fmt.Fprintf(out, "since it began: %d packets recorded, %d deleted to make room; left out %d because the disk was slow, %d because it was full\n", s.Recorded, s.Deleted, s.Behind, s.Full)
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, p := range answer.Pins {
			state := "cut out"
			if !p.Served {
				state = "waits for more"
			}
			fmt.Fprintf(w, "%s\t%s\t%d packets\t%d bytes\t%s\n", p.Kind, p.ID, p.Packets, p.Bytes, state)
		}
		return w.Flush()
	}
	return cmd
}

// wishes are the flags and arguments that say which packets.
type wishes struct {
	from, to *timeValue
	sensor   *string
}

func wishFlags(cmd *cobra.Command) wishes {
	return wishes{
		from:   timeFlag(cmd, "from", "packets from this `TIME` on (RFC 3339)"),
		to:     timeFlag(cmd, "to", "packets until this `TIME` (RFC 3339)"),
		sensor: cmd.Flags().String("sensor", "", "packets that this `SENSOR` saw"),
	}
}

// sessions makes what is wanted of arguments: ADDRESS, or ADDRESS,ADDRESS for
// what two exchanged.
func (w wishes) sessions(args []string) (list []evidence.Session, err error) {
	from, to := time.Time(*w.from), time.Time(*w.to)
	if from.IsZero() || !to.After(from) {
		return nil, usagef("say from when to when with --from and --to")
	}
	for _, arg := range args {
		one, other, two := strings.Cut(arg, ",")
		s := evidence.Session{Sensor: *w.sensor, From: from, To: to}
		a, err := netip.ParseAddr(one)
		if err != nil {
			return nil, usagef("%s: want an address, or two with a comma between", arg)
		}
		s.Src = netip.AddrPortFrom(a.Unmap(), 0)
		if two {
			b, err := netip.ParseAddr(other)
			if err != nil {
				return nil, usagef("%s: want an address, or two with a comma between", arg)
			}
			s.Dst = netip.AddrPortFrom(b.Unmap(), 0)
		}
		list = append(list, s)
	}
	return list, nil
}

func newEvidenceFetch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fetch FROM ADDRESS[,ADDRESS]…",
		Short: "Fetch the packets of an address, or what two exchanged, as pcapng",
		Long: `Fetch packets. What is not there is told on standard error: deleted to make room,
left out, or cut off on the way; what came is written all the same.`,
		Example: "  tocsin evidence fetch https://sensor-1:8444 192.0.2.66,10.1.0.10 --from 2026-11-22T12:00 --to 2026-11-22T12:10 -o slice.pcapng",
		Args:    cobra.MinimumNArgs(2),
	}
	ask, wish := askingFlags(cmd), wishFlags(cmd)
	output := cmd.Flags().StringP("output", "o", "-", "`FILE` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := ask.open(args[0])
		if err != nil {
			return err
		}
		sessions, err := wish.sessions(args[1:])
		if err != nil {
			return err
		}
		var report *evidence.Report
		err = writeTo(*output, cmd.OutOrStdout(), func(w io.Writer) error {
			told, still := transfer(cmd.ErrOrStderr())
			defer still()
			report, err = v.fetch(cmd.Context(), sessions, w, told)
			return err
		})
		if err != nil {
			return err
		}
		tellReport(cmd.ErrOrStderr(), report)
		if len(report.Broken) > 0 {
			return errTold
		}
		if report.Packets == 0 {
			return errNothing
		}
		return nil
	}
	return cmd
}

// transfer shows how far a transfer is, on a terminal.
func transfer(errs io.Writer) (told func(done, most int64), still func()) {
	var done, most atomic.Int64
	still = progress(errs, func() string {
		text := fmt.Sprintf("%.1f MB of packets", float64(done.Load())/1e6)
		if m := most.Load(); m > 0 {
			text += fmt.Sprintf(", of %.1f at most", float64(m)/1e6)
		}
		return text
	})
	return func(d, m int64) { done.Store(d); most.Store(m) }, still
}

func tellReport(errs io.Writer, r *evidence.Report) {
	for _, g := range r.Missing {
		who := g.Sensor
		if who == "" {
			who = "any sensor"
		}
		what := "packets"
		if g.Packets > 0 {
			what = fmt.Sprintf("%d packets", g.Packets)
		}
		if g.From.IsZero() {
			complain(errs, errors.New(g.Why))
			continue
		}
		complain(errs, fmt.Errorf("%s of %s from %s to %s are missing: %s", what, who, g.From.UTC().Format(time.RFC3339), g.To.UTC().Format(time.RFC3339), g.Why))
	}
	for _, b := range r.Broken {
		complain(errs, errors.New(b))
	}
}

func newEvidencePin() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pin FROM NAME ADDRESS[,ADDRESS]…",
		Short:   "Keep packets until they are released, whatever becomes of the rest",
		Example: "  tocsin evidence pin https://sensor-1:8444 case-17 192.0.2.66 --from 2026-11-22T12:00 --to 2026-11-22T14:00",
		Args:    cobra.MinimumNArgs(3),
	}
	ask, wish := askingFlags(cmd), wishFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := ask.open(args[0])
		if err != nil {
			return err
		}
		sessions, err := wish.sessions(args[2:])
		if err != nil {
			return err
		}
		p := evidence.Pin{ID: args[1], Kind: "case", Sessions: sessions}
		if v.client != nil {
			return v.client.Pin(cmd.Context(), p)
		}
		return v.write(func(r *evidence.Ring) error { return r.Pin(p) })
	}
	return cmd
}

func newEvidenceRelease() *cobra.Command {
	cmd := &cobra.Command{Use: "release FROM NAME", Short: "Give pinned packets up", Example: "  tocsin evidence release https://sensor-1:8444 case-17", Args: cobra.ExactArgs(2)}
	ask := askingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := ask.open(args[0])
		if err != nil {
			return err
		}
		if v.client != nil {
			return v.client.Release(cmd.Context(), args[1])
		}
		return v.write(func(r *evidence.Ring) error {
			ok, err := r.Release(args[1])
			if err == nil && !ok {
				return errNothing
			}
			return err
		})
	}
	return cmd
}

// write changes a ring in which no other process records.
func (v vault) write(change func(*evidence.Ring) error) error {
	if _, err := os.Stat(filepath.Join(v.dir, "ring")); err != nil {
		return err
	}
	r, err := evidence.Open(evidence.Config{Dir: v.dir, Bytes: 1 << 62, Wait: true})
	if err != nil {
		return fmt.Errorf("%w; ask it by its address instead", err)
	}
	return errors.Join(change(r), r.Close())
}
