// Package pack puts everything that is known of an attack into one archive
// that somebody else can open and check without us: reports in English and
// Chinese, the hop graph, the timeline, flows, alerts, the rules that fired,
// packets, what the sensors' times and losses were, STIX 2.1, ATT&CK and
// GB/T 36643, with a manifest of hashes, a signature and a custody log.
//
// The archive is a zip whose comment is a seal: the signature over every byte
// before it. Within it, MANIFEST.sha256 is in the form of sha256sum and signed
// by itself, so that a court without Tocsin can check with two programs that
// every system has. The same case, key and words of the maker give the same
// bytes.
//
// Packets stream through; memory is bounded by the number of events and
// sessions, of which little more than an identifier is kept.
package pack

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
	"github.com/tocsin/tocsin/trace"
	tracecsv "github.com/tocsin/tocsin/trace/csv"
	"github.com/tocsin/tocsin/trace/graph"
	"github.com/tocsin/tocsin/trace/html"
	tracejson "github.com/tocsin/tocsin/trace/json"
	"github.com/tocsin/tocsin/trace/pdf"
	"github.com/tocsin/tocsin/trace/stix"
	"github.com/tocsin/tocsin/trace/summary"
	"github.com/tocsin/tocsin/trace/tlp"
)

// Case is what a package is made of.
type Case struct {
	Trace   *trace.Trace
	Store   trace.Searcher // that the trace is of
	Rule    func(event.Rule) (RuleText, bool)
	Packets Packets // nil: none are looked for, and Without says why
	Without string
	Marking tlp.Level
	By      string // who makes the package; "" if that is not to be said
	Version string // of Tocsin
	Key     ed25519.PrivateKey
}

// RuleText is a rule as it is written.
type RuleText struct {
	ID    string
	Text  []byte
	Parts []RuleText // the rules that it correlates
}

// revision is the hash of a rule by the texts of it and of its parts, as alerts
// carry it.
func revision(text []byte, parts ...[]byte) string {
	sum := sha256.Sum256(text)
	if len(parts) == 0 {
		return hex.EncodeToString(sum[:])
	}
	h := sha256.New()
	fmt.Fprintf(h, "%x", sum)
	for _, p := range parts {
		fmt.Fprintf(h, "%x", sha256.Sum256(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Packets writes a pcapng of the sessions' packets, the first of each with the
// session's comment, and returns how many there are of each. What could not be
// read to its end is told of in broken.
type Packets func(ctx context.Context, w io.Writer, sessions []Session) (counts []uint64, broken []string, err error)

// Session is one flow of a hop, as one sensor saw it.
type Session struct {
	Event   event.Event // the flow
	Hop     string      // "path 1", "branch 2": which hop of the trace it is of
	Comment string
}

// Names of entries that verification knows.
const (
	manifestName  = "MANIFEST.sha256"
	signatureName = "MANIFEST.sig"
	keyName       = "KEY.pem"
	custodyName   = "custody.jsonl"
	caseName      = "case.json"
	sessionsName  = "sessions.csv"
	packetsName   = "packets.pcapng"
	eventsName    = "events.jsonl"
	alertsName    = "alerts.jsonl"
	rulesName     = "rules.json"
	traceName     = "trace.json"
	stixName      = "case.stix.json"
)

// writer is an archive under way.
type writer struct {
	ctx  context.Context
	c    *Case
	seal *sealer
	zip  *zip.Writer
	sums []sum // of entries, in their order
	at   time.Time

	spool    *spool // of the events, hop by hop, then by time
	sessions []Session
	counts   []uint64
	broken   []string
	alerts   []event.Event
	missing  []event.ID // named as evidence, and not in the store any more
	annex    summary.Annex
}

type sum struct {
	name string
	hash [sha256.Size]byte
}

// Write makes the package of a case.
func Write(ctx context.Context, out io.Writer, c *Case) (err error) {
	if len(c.Key) != ed25519.PrivateKeySize {
		return errors.New("package: no key to sign with")
	}
	p := &writer{ctx: ctx, c: c, seal: newSealer(out), at: c.Trace.To.UTC()}
	p.zip = zip.NewWriter(p.seal)
	p.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 5) })
	if p.spool, err = newSpool(); err != nil {
		return fmt.Errorf("package: %w", err)
	}
	defer func() { err = errors.Join(err, p.spool.close()) }()
	if err := p.gather(); err != nil {
		return fmt.Errorf("package: %w", err)
	}
	for _, part := range []func() error{
		p.writePackets, p.writeSessions, p.writeEvents, p.writeAlerts, p.writeRules, p.writeSensors,
		p.writeTrace, p.writeGraphs, p.writeSummaries, p.writeMappings, p.writeCase, p.writeReadme, p.writeKey, p.writeCustody, p.writeManifest,
	} {
		if err := part(); err != nil {
			return fmt.Errorf("package: %w", err)
		}
	}
	if err := p.zip.SetComment(strings.Repeat(" ", sealSize)); err != nil {
		return fmt.Errorf("package: %w", err)
	}
	if err := p.zip.Close(); err != nil {
		return fmt.Errorf("package: %w", err)
	}
	return p.seal.close(c.Key)
}

// WritePackets writes the packets of a case alone, as pcapng, and returns how
// many there are.
func WritePackets(ctx context.Context, out io.Writer, c *Case) (packets uint64, err error) {
	p := &writer{ctx: ctx, c: c}
	if p.spool, err = newSpool(); err != nil {
		return 0, fmt.Errorf("packets: %w", err)
	}
	defer func() { err = errors.Join(err, p.spool.close()) }()
	if err := p.gather(); err != nil {
		return 0, fmt.Errorf("packets: %w", err)
	}
	counts, _, err := c.Packets(ctx, out, p.sessions)
	for _, n := range counts {
		packets += n
	}
	return packets, err
}

// entry writes one file of the archive.
func (p *writer) entry(name string, write func(w io.Writer) error) error {
	w, err := p.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: p.at})
	if err != nil {
		return err
	}
	h := sha256.New()
	if err := write(io.MultiWriter(w, h)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s := sum{name: name}
	h.Sum(s.hash[:0])
	p.sums = append(p.sums, s)
	return nil
}

func (p *writer) jsonEntry(name string, v any) error {
	return p.entry(name, func(w io.Writer) error { return encode(w, v) })
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// csvEntry writes lines that a spreadsheet takes for texts, not formulas.
func (p *writer) csvEntry(name string, header []string, rows func(put func(...string) error) error) error {
	return p.entry(name, func(w io.Writer) error {
		c := csv.NewWriter(w)
		c.UseCRLF = true
		if err := c.Write(header); err != nil {
			return err
		}
		err := rows(func(row ...string) error {
			for i := range row {
				row[i] = tracecsv.Inert(row[i])
			}
			return c.Write(row)
		})
		c.Flush()
		return errors.Join(err, c.Error())
	})
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// gather finds which events, sessions and alerts belong to the case.
func (p *writer) gather() error {
	t := p.c.Trace
	seen := map[event.ID]bool{}
	alerts := map[event.ID]bool{}
	var named []event.ID
	for _, part := range []struct {
		name string
		hops []trace.Hop
	}{{"path", t.Path}, {"branch", t.Branches}} {
		for i := range part.hops {
			h := &part.hops[i]
			if err := p.gatherHop(fmt.Sprintf("%s %d", part.name, i+1), h, seen); err != nil {
				return err
			}
			named = append(named, h.Evidence...)
		}
	}
	for i := range t.Rejected {
		named = append(named, t.Rejected[i].Evidence...)
	}
	for i := range t.Steps {
		if !t.Steps[i].ID.IsZero() {
			named = append(named, t.Steps[i].ID)
		}
	}
	if id, err := event.ParseID(t.Seed); err == nil {
		named = append(named, id)
	}
	slices.SortFunc(named, event.ID.Compare)
	for _, id := range slices.Compact(named) {
		if err := p.gatherID(id, "evidence", seen, alerts); err != nil {
			return err
		}
	}
	for i := range p.alerts {
		a, err := event.AlertOf(&p.alerts[i])
		if err != nil {
			return err
		}
		for _, id := range a.Evidence {
			if err := p.gatherID(id, "alert "+a.ID.String(), seen, alerts); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(p.alerts, func(a, b event.Event) int { return cmp.Or(a.Time.Compare(b.Time), a.ID.Compare(b.ID)) })
	slices.SortFunc(p.missing, event.ID.Compare)
	p.missing = slices.Compact(p.missing)
	return nil
}

// gatherHop adds the flows and transactions of a hop.
func (p *writer) gatherHop(name string, h *trace.Hop, seen map[event.ID]bool) error {
	q := store.Query{Set: store.Events, From: h.Start, To: h.End.Add(time.Millisecond), Where: query.Or{between(h.From, h.To), between(h.To, h.From)}}
	onPath := strings.HasPrefix(name, "path")
	for e, err := range p.c.Store.Search(p.ctx, q) {
		if err != nil {
			return err
		}
		if seen[e.ID] || onPath && h.Port != 0 && e.Flow.Dst.Port != h.Port && e.Flow.Src.Port != h.Port {
			continue
		}
		seen[e.ID] = true
		if err := p.pick(name, &e); err != nil {
			return err
		}
	}
	return nil
}

func between(a, b netip.Addr) query.Node {
	return query.And{
		query.Compare{Field: "source.ip", Value: query.Literal{V: event.IP(a)}},
		query.Compare{Field: "destination.ip", Value: query.Literal{V: event.IP(b)}},
	}
}

func (p *writer) pick(hop string, e *event.Event) error {
	if e.Kind == event.KindFlow {
		p.sessions = append(p.sessions, Session{
			Hop: hop, Comment: fmt.Sprintf("%s: %s -> %s, flow %s", hop, e.Flow.Src.IP, e.Flow.Dst.IP, e.ID),
			Event: event.Event{ID: e.ID, Time: e.Time, Kind: e.Kind, Sensor: strings.Clone(e.Sensor), Iface: strings.Clone(e.Iface), Flow: event.Flow{
				Src: e.Flow.Src, Dst: e.Flow.Dst, Transport: e.Flow.Transport, Service: strings.Clone(e.Flow.Service), State: strings.Clone(e.Flow.State), Start: e.Flow.Start, End: e.Flow.End,
			}},
		})
	}
	return p.spool.add(hop, e)
}

// gatherID adds an event or alert by its identifier.
func (p *writer) gatherID(id event.ID, hop string, seen, alerts map[event.ID]bool) error {
	if seen[id] || alerts[id] {
		return nil
	}
	e, err := p.c.Store.Get(p.ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		p.missing = append(p.missing, id)
	case err != nil:
		return err
	case e.Kind == event.KindAlert:
		alerts[id] = true
		p.alerts = append(p.alerts, e)
	default:
		seen[id] = true
		return p.pick(hop, &e)
	}
	return nil
}

func (p *writer) writePackets() error {
	p.counts = make([]uint64, len(p.sessions))
	p.annex.NoSource = p.c.Without
	if p.c.Packets == nil {
		return nil
	}
	return p.entry(packetsName, func(w io.Writer) (err error) {
		p.counts, p.broken, err = p.c.Packets(p.ctx, w, p.sessions)
		return err
	})
}

func (p *writer) writeSessions() error {
	p.annex.Sessions = len(p.sessions)
	header := []string{"hop", "event", "sensor", "transport", "source", "source_port", "destination", "destination_port", "service", "state", "start", "end", "packets_seen", "packets_in_package", "without"}
	return p.csvEntry(sessionsName, header, func(put func(...string) error) error {
		for i := range p.sessions {
			s, e := &p.sessions[i], &p.sessions[i].Event
			n := p.counts[i]
			why := ""
			switch {
			case n > 0:
				p.annex.Packed++
				p.annex.Packets += n
			case p.c.Packets == nil:
				why = p.c.Without
			default:
				why = "no capture or ring that was asked has packets of it"
			}
			if err := put(s.Hop, e.ID.String(), e.Sensor, e.Get("network.transport").Str(), e.Flow.Src.IP.String(), strconv.Itoa(int(e.Flow.Src.Port)),
				e.Flow.Dst.IP.String(), strconv.Itoa(int(e.Flow.Dst.Port)), e.Flow.Service, e.Flow.State, stamp(e.Flow.Start), stamp(e.Flow.End),
				strconv.FormatUint(e.Flow.Src.Packets+e.Flow.Dst.Packets, 10), strconv.FormatUint(n, 10), why); err != nil {
				return err
			}
		}
		return nil
	})
}

// spool holds the two forms of the events until their turn comes: they are
// read from the store once, and may be more than memory holds.
type spool struct {
	lines, table *os.File
	json         *bufio.Writer
	csv          *csv.Writer
	line         []byte
	n            int
}

func newSpool() (s *spool, err error) {
	s = &spool{}
	if s.lines, err = os.CreateTemp("", "tocsin-package-*"); err != nil {
		return nil, err
	}
	if s.table, err = os.CreateTemp("", "tocsin-package-*"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.json, s.csv = bufio.NewWriter(s.lines), csv.NewWriter(s.table)
	s.csv.UseCRLF = true
	return s, s.csv.Write([]string{"hop", "time", "event", "kind", "sensor", "source", "source_port", "destination", "destination_port", "transport", "protocol", "state", "bytes", "packets", "start", "end", "community_id", "more"})
}

func (s *spool) close() (err error) {
	for _, f := range []*os.File{s.lines, s.table} {
		if f != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}
	return err
}

func (s *spool) add(hop string, e *event.Event) error {
	s.n++
	s.line = append(e.AppendJSON(s.line[:0]), '\n')
	if _, err := s.json.Write(s.line); err != nil {
		return err
	}
	var more []string
	for _, f := range e.Fields {
		more = append(more, f.Name+"="+f.Value.String())
	}
	slices.Sort(more)
	ip := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	f := &e.Flow
	row := []string{
		hop, stamp(e.Time), e.ID.String(), string(e.Kind), e.Sensor, ip(f.Src.IP), strconv.Itoa(int(f.Src.Port)), ip(f.Dst.IP), strconv.Itoa(int(f.Dst.Port)),
		e.Get("network.transport").Str(), f.Service, f.State, strconv.FormatUint(f.Src.Bytes+f.Dst.Bytes, 10), strconv.FormatUint(f.Src.Packets+f.Dst.Packets, 10),
		stamp(f.Start), stamp(f.End), e.Get("network.community_id").Str(), strings.Join(more, "; "),
	}
	for i := range row {
		row[i] = tracecsv.Inert(row[i])
	}
	return s.csv.Write(row)
}

func (p *writer) writeEvents() error {
	p.annex.Events = p.spool.n
	p.spool.csv.Flush()
	if err := errors.Join(p.spool.csv.Error(), p.spool.json.Flush()); err != nil {
		return err
	}
	for _, x := range []struct {
		name string
		from *os.File
	}{{eventsName, p.spool.lines}, {"events.csv", p.spool.table}} {
		if _, err := x.from.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := p.entry(x.name, func(w io.Writer) error { _, err := io.Copy(w, x.from); return err }); err != nil {
			return err
		}
	}
	return nil
}

func (p *writer) writeAlerts() error {
	err := p.entry(alertsName, func(w io.Writer) error {
		var line []byte
		for i := range p.alerts {
			line = append(p.alerts[i].AppendJSON(line[:0]), '\n')
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	header := []string{"first", "last", "alert", "severity", "level", "rule", "rule_id", "rule_hash", "message", "sources", "targets", "techniques", "sensors", "count", "loss", "verdict", "evidence"}
	return p.csvEntry("alerts.csv", header, func(put func(...string) error) error {
		for i := range p.alerts {
			a, err := event.AlertOf(&p.alerts[i])
			if err != nil {
				return err
			}
			var techniques, evidence []string
			for _, t := range a.Techniques {
				techniques = append(techniques, t.ID)
			}
			for _, id := range a.Evidence {
				evidence = append(evidence, id.String())
			}
			if err := put(stamp(a.First), stamp(a.Last), a.ID.String(), strconv.Itoa(a.Severity), a.Level, a.Rule.Name, a.Rule.ID, a.Rule.Hash, a.Message, addrs(a.Sources), addrs(a.Targets),
				strings.Join(techniques, " "), strings.Join(a.Sensors, " "), strconv.FormatUint(a.Count, 10), strconv.FormatFloat(a.Loss, 'g', 4, 64), a.Triage.Verdict, strings.Join(evidence, " ")); err != nil {
				return err
			}
		}
		return nil
	})
}

func addrs(as []netip.Addr) string {
	list := make([]string, len(as))
	for i, a := range as {
		list[i] = a.String()
	}
	return strings.Join(list, " ")
}

// writeRules writes the text of each rule that fired, and whether it is the
// revision that did.
func (p *writer) writeRules() error {
	byID := map[string]*summary.Rule{}
	var ids []string
	rules := map[string]event.Rule{}
	for i := range p.alerts {
		a, err := event.AlertOf(&p.alerts[i])
		if err != nil {
			return err
		}
		k := a.Rule.ID + "\x00" + a.Rule.Hash
		if byID[k] == nil {
			byID[k] = &summary.Rule{ID: a.Rule.ID, Name: a.Rule.Name, Ruleset: a.Rule.Ruleset, Version: a.Rule.Version, Hash: a.Rule.Hash}
			rules[k] = a.Rule
			ids = append(ids, k)
		}
		byID[k].Alerts++
	}
	slices.Sort(ids)
	written := map[string]bool{}
	put := func(x RuleText) (string, error) {
		name := "rules/" + fileName(x.ID) + ".yml"
		if written[name] {
			return name, nil
		}
		written[name] = true
		return name, p.entry(name, func(w io.Writer) error { _, err := w.Write(x.Text); return err })
	}
	for _, k := range ids {
		r := byID[k]
		r.Parts = []string{}
		if p.c.Rule != nil {
			if text, ok := p.c.Rule(rules[k]); ok {
				var err error
				if r.File, err = put(text); err != nil {
					return err
				}
				var parts [][]byte
				for _, x := range text.Parts {
					name, err := put(x)
					if err != nil {
						return err
					}
					r.Parts = append(r.Parts, name)
					parts = append(parts, x.Text)
				}
				r.Same = revision(text.Text, parts...) == r.Hash
			}
		}
		p.annex.Rules = append(p.annex.Rules, *r)
	}
	return p.jsonEntry(rulesName, orEmpty(p.annex.Rules))
}

// fileName makes a name of an identifier that other people wrote.
func fileName(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, id[:min(len(id), 100)])
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// writeSensors adds up what each sensor saw in the time of the trace.
func (p *writer) writeSensors() error {
	t := p.c.Trace
	sensors := map[string]*summary.Sensor{}
	q := store.Query{Set: store.Events, From: t.From.Add(-time.Minute), To: t.To.Add(time.Minute), Where: query.OfKind(event.KindLedger)}
	for e, err := range p.c.Store.Search(p.ctx, q) {
		if err != nil {
			return err
		}
		s := sensors[e.Sensor]
		if s == nil {
			s = &summary.Sensor{Name: strings.Clone(e.Sensor), From: e.Time}
			sensors[s.Name] = s
		}
		account := event.Ledger{}
		account.Add(&e)
		s.Minutes++
		s.To = e.Time.Add(time.Minute)
		s.Seen += account["seen"]
		s.Dropped += account.Dropped()
		s.ClockJumps += account["clock_jumps"]
		s.ClockSource = cmp.Or(strings.Clone(e.Get("tocsin.tap.clock.source").Str()), s.ClockSource)
		if v := e.Get("tocsin.tap.clock.synchronized"); !v.IsZero() {
			kept, _ := v.Bool()
			kept = kept && (s.Synchronized == nil || *s.Synchronized) // in every minute
			s.Synchronized = &kept
		}
		if n, ok := e.Get("tocsin.tap.clock.offset").Int(); ok && time.Duration(n).Abs() > s.ClockOffset.Abs() {
			s.ClockOffset = time.Duration(n)
		}
		if n, ok := e.Get("tocsin.tap.clock.error").Int(); ok {
			s.ClockError = max(s.ClockError, time.Duration(n))
		}
	}
	for _, s := range sensors {
		if s.Seen > 0 {
			s.Loss = float64(s.Dropped) / float64(s.Seen)
		}
		p.annex.Sensors = append(p.annex.Sensors, *s)
	}
	slices.SortFunc(p.annex.Sensors, func(a, b summary.Sensor) int { return cmp.Compare(a.Name, b.Name) })
	return p.jsonEntry("sensors.json", orEmpty(p.annex.Sensors))
}

func (p *writer) writeTrace() error {
	t := p.c.Trace
	if err := p.entry(traceName, func(w io.Writer) error { return tracejson.Format.Write(w, t) }); err != nil {
		return err
	}
	if err := p.entry("hops.csv", func(w io.Writer) error { return tracecsv.Format.Write(w, t) }); err != nil {
		return err
	}
	sources := summary.Sources(t)
	if err := p.jsonEntry("sources.json", orEmpty(sources)); err != nil {
		return err
	}
	err := p.csvEntry("sources.csv", []string{"rank", "address", "name", "zone", "role", "confidence", "hops", "first", "last"}, func(put func(...string) error) error {
		for _, s := range sources {
			if err := put(strconv.Itoa(s.Rank), s.Address.String(), s.Name, s.Zone, s.Role, strconv.FormatFloat(s.Confidence, 'f', 2, 64), strconv.Itoa(s.Hops), stamp(s.First), stamp(s.Last)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.jsonEntry("timeline.json", orEmpty(t.Steps)); err != nil {
		return err
	}
	return p.csvEntry("timeline.csv", []string{"time", "event", "severity", "from", "to", "text", "techniques"}, func(put func(...string) error) error {
		for _, s := range t.Steps {
			var ids []string
			for _, x := range s.Techniques {
				ids = append(ids, x.ID)
			}
			from, to := "", ""
			if s.From.IsValid() {
				from = s.From.String()
			}
			if s.To.IsValid() {
				to = s.To.String()
			}
			if err := put(stamp(s.Time), s.ID.String(), strconv.Itoa(s.Severity), from, to, s.Text, strings.Join(ids, " ")); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *writer) writeGraphs() error {
	for _, f := range []trace.Format{graph.SVG, graph.GraphML, graph.DOT} {
		if err := p.entry("graph"+f.Ext, func(w io.Writer) error { return f.Write(w, p.c.Trace) }); err != nil {
			return err
		}
	}
	return nil
}

func (p *writer) writeSummaries() error {
	a := &p.annex
	a.Marking, a.By, a.Version, a.KeyPrint = p.c.Marking.String(), p.c.By, p.c.Version, Fingerprint(public(p.c.Key))
	for _, l := range summary.Languages() {
		if err := p.entry("summary."+string(l)+".html", func(w io.Writer) error { return html.Write(w, p.c.Trace, l, a) }); err != nil {
			return err
		}
		if err := p.entry("summary."+string(l)+".pdf", func(w io.Writer) error { return pdf.Write(w, p.c.Trace, l, a) }); err != nil {
			return err
		}
	}
	return nil
}

func (p *writer) writeMappings() error {
	if err := p.entry(stixName, func(w io.Writer) error { return stix.Write(w, p.c.Trace, p.c.Marking) }); err != nil {
		return err
	}
	if err := p.jsonEntry("attack.json", attackOf(p.c.Trace)); err != nil {
		return err
	}
	for _, l := range layersOf(p.c.Trace) {
		if err := p.jsonEntry("attack-navigator-"+strings.TrimSuffix(l.Domain, "-attack")+".json", l); err != nil {
			return err
		}
	}
	return p.jsonEntry("gbt36643.json", gbtOf(p.c.Trace, p.alerts))
}

// About is what a package says of itself.
type About struct {
	Format   string     `json:"format"` // tocsin-package-1
	Seed     string     `json:"seed"`
	Title    string     `json:"title"`
	From     time.Time  `json:"from"`
	To       time.Time  `json:"to"`
	Marking  string     `json:"marking"`
	By       string     `json:"by"`
	Version  string     `json:"version"`
	Key      string     `json:"key"` // SHA-256 of the public key, hexadecimal
	Events   int        `json:"events"`
	Alerts   int        `json:"alerts"`
	Sessions int        `json:"sessions"`
	Packed   int        `json:"sessions_with_packets"`
	Packets  uint64     `json:"packets"`
	Without  string     `json:"without_packets"`   // why there are none; "" if they were looked for
	Broken   []string   `json:"captures_cut_off"`  // that could not be read to their end
	Missing  []event.ID `json:"evidence_not_kept"` // named, and not in the store any more
}

const formatName = "tocsin-package-1"

func (p *writer) writeCase() error {
	t := p.c.Trace
	return p.jsonEntry(caseName, About{
		Format: formatName, Seed: t.Seed, Title: t.Title, From: t.From, To: t.To, Marking: p.annex.Marking, By: p.c.By, Version: p.c.Version, Key: p.annex.KeyPrint,
		Events: p.spool.n, Alerts: len(p.alerts), Sessions: p.annex.Sessions, Packed: p.annex.Packed, Packets: p.annex.Packets,
		Without: p.c.Without, Broken: orEmpty(p.broken), Missing: orEmpty(p.missing),
	})
}

func (p *writer) writeReadme() error {
	return p.entry("README.txt", func(w io.Writer) error {
		_, err := io.WriteString(w, strings.ReplaceAll(readme, "{key}", p.annex.KeyPrint))
		return err
	})
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// Fingerprint identifies a public key: the SHA-256 of its 32 bytes, hexadecimal.
func Fingerprint(k ed25519.PublicKey) string {
	s := sha256.Sum256(k)
	return hex.EncodeToString(s[:])
}

func (p *writer) writeKey() error {
	text, err := PublicPEM(public(p.c.Key))
	if err != nil {
		return err
	}
	return p.entry(keyName, func(w io.Writer) error { _, err := w.Write(text); return err })
}

// PublicPEM writes a public key as openssl reads it.
func PublicPEM(k ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// manifest has a line for each entry so far, as sha256sum writes them.
func (p *writer) manifest() []byte {
	sums := slices.Clone(p.sums)
	slices.SortFunc(sums, func(a, b sum) int { return strings.Compare(a.name, b.name) })
	var b bytes.Buffer
	for _, s := range sums {
		fmt.Fprintf(&b, "%x  %s\n", s.hash, s.name)
	}
	return b.Bytes()
}

func (p *writer) writeManifest() error {
	text := p.manifest()
	if err := p.entry(manifestName, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
		return err
	}
	return p.entry(signatureName, func(w io.Writer) error { _, err := w.Write(ed25519.Sign(p.c.Key, text)); return err })
}

// safe reports whether an entry may be unpacked anywhere.
func safe(name string) bool {
	return name != "" && name == path.Clean(name) && !path.IsAbs(name) && !strings.HasPrefix(name, "..") && !strings.ContainsAny(name, "\\:\x00")
}

// sealSize is the length of the seal: its name, the public key and the
// signature, hexadecimal, with blanks between.
const sealSize = len(sealMagic) + 1 + 2*ed25519.PublicKeySize + 1 + 2*ed25519.SignatureSize

const sealMagic = "tocsin-seal-1"

// sealer passes on what is written to it, but for the last sealSize bytes, in
// whose place the seal comes.
type sealer struct {
	w    io.Writer
	held []byte
	hash hash.Hash
}

func newSealer(w io.Writer) *sealer { return &sealer{w: w, hash: sha256.New()} }

func (s *sealer) Write(b []byte) (int, error) {
	s.held = append(s.held, b...)
	if n := len(s.held) - sealSize; n > 0 {
		s.hash.Write(s.held[:n])
		if _, err := s.w.Write(s.held[:n]); err != nil {
			return 0, err
		}
		s.held = append(s.held[:0], s.held[n:]...)
	}
	return len(b), nil
}

// sealed is what is signed: the hash of all bytes before the seal.
func sealed(sum []byte) []byte { return append([]byte(sealMagic+"\n"), sum...) }

func (s *sealer) close(k ed25519.PrivateKey) error {
	text := fmt.Sprintf("%s %x %x", sealMagic, []byte(public(k)), ed25519.Sign(k, sealed(s.hash.Sum(nil))))
	_, err := io.WriteString(s.w, text)
	return err
}
