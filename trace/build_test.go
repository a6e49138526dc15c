package trace_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/all"
)

// The hosts of the story.
const (
	attacker = "192.0.2.66"
	web      = "10.1.0.10" // DMZ
	jump     = "10.2.0.20" // control centre
	plc      = "10.3.0.5"
	admin    = "10.2.0.9" // an honest administrator
	hmi      = "10.2.0.7"
	c2       = "198.51.100.9"
	client   = "203.0.113.50"
)

var zones = map[string]string{
	attacker: "internet", c2: "internet", client: "internet", web: "dmz", jump: "control", admin: "control", hmi: "control", plc: "substation",
}

// story makes the stored past: what happened at a minute of a day.
type story struct {
	t      *testing.T
	events []event.Event
	alerts []event.Alert
}

var day = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func minute(m float64) time.Time { return day.Add(time.Duration(m * float64(time.Minute))) }

func (s *story) event(kind event.Kind, at time.Time, f event.Flow, fields ...event.Field) event.ID {
	h := event.NewHasher()
	h.Str(string(kind))
	h.Uint(uint64(len(s.events)))
	e := event.Event{ID: h.ID(at), Time: at, Kind: kind, Sensor: "tap", Flow: f, Fields: fields}
	e.Set("tocsin.source.zone", event.Str(zones[f.Src.IP.String()]))
	e.Set("tocsin.destination.zone", event.Str(zones[f.Dst.IP.String()]))
	s.events = append(s.events, e)
	return e.ID
}

// talk is an answered conversation from one minute to another.
func (s *story) talk(from, to string, port int, service string, start, end float64) event.ID {
	f := event.Flow{
		Src:       event.Endpoint{IP: netip.MustParseAddr(from), Port: uint16(40000 + len(s.events)), Packets: 10, Bytes: 1000, Payload: 500},
		Dst:       event.Endpoint{IP: netip.MustParseAddr(to), Port: uint16(port), Packets: 10, Bytes: 2000, Payload: 1500},
		Transport: event.ProtoTCP, Service: service, State: "SF", Start: minute(start), End: minute(end),
	}
	return s.event(event.KindFlow, minute(end), f)
}

// knock is a connection that was refused.
func (s *story) knock(from, to string, port int, at float64) {
	f := event.Flow{
		Src:       event.Endpoint{IP: netip.MustParseAddr(from), Port: uint16(40000 + len(s.events)), Packets: 1, Bytes: 40},
		Dst:       event.Endpoint{IP: netip.MustParseAddr(to), Port: uint16(port), Packets: 1, Bytes: 40},
		Transport: event.ProtoTCP, State: "REJ", Start: minute(at), End: minute(at),
	}
	s.event(event.KindFlow, minute(at), f)
}

func (s *story) alert(name string, severity int, from, to string, first, last float64, tactic string, evidence ...event.ID) event.ID {
	h := event.NewHasher()
	h.Str(name + from + to)
	a := event.Alert{
		ID: h.ID(minute(first)), Rule: event.Rule{ID: name, Name: name, Ruleset: "test"}, Severity: severity, Level: event.LevelOf(severity),
		Message: name + " by " + from, Sources: []netip.Addr{netip.MustParseAddr(from)}, Targets: []netip.Addr{netip.MustParseAddr(to)},
		Sensors: []string{"tap"}, Count: 1, First: minute(first), Last: minute(last), Evidence: evidence,
		Techniques: []event.Technique{{ID: "T0001", Name: name, Tactics: []string{tactic}}},
	}
	s.alerts = append(s.alerts, a)
	return a.ID
}

func (s *story) ledger(at float64, seen, dropped uint64) {
	s.event(event.KindLedger, minute(at), event.Flow{},
		event.Field{Name: "tocsin.ledger.seen", Value: event.Uint(seen)},
		event.Field{Name: "tocsin.ledger.dropped.kernel", Value: event.Uint(dropped)})
}

// account adds the sensor's accounts, an event for each minute, as far as the
// story does not tell them.
func (s *story) account() {
	first, last, told, made := minute(1e5), minute(0), map[time.Time]bool{}, 0
	for _, e := range s.events {
		if e.Kind == event.KindLedger {
			told[e.Time] = true
			continue
		}
		made++
		if e.Time.Before(first) {
			first = e.Time
		}
		if e.Time.After(last) {
			last = e.Time
		}
	}
	for _, a := range s.alerts {
		if a.Last.After(last) {
			last = a.Last
		}
	}
	for at := first.Truncate(time.Minute); !at.After(last); at = at.Add(time.Minute) {
		if !told[at] {
			s.event(event.KindLedger, at, event.Flow{}, event.Field{Name: "tocsin.ledger.events", Value: event.Uint(uint64(made))})
		}
		made = 0
	}
}

func (s *story) open() store.Store {
	s.t.Helper()
	st, err := embedded.Open(s.t.TempDir(), embedded.ReadWrite)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := st.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.account()
	if err := st.Put(context.Background(), s.events, s.alerts); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// intrusion tells of an attack among honest traffic. It returns the alert
// about the last step.
func intrusion(t *testing.T) (s *story, last event.ID) {
	s = &story{t: t}
	for m := range 600 { // honest: polling, browsing, and an administrator's daily work
		s.talk(hmi, plc, 502, "modbus", float64(m), float64(m)+0.1)
		if m%10 == 0 {
			s.talk(client, web, 443, "tls", float64(m), float64(m)+0.2)
			for n := range 9 {
				s.talk(fmt.Sprintf("203.0.113.%d", n+1), web, 443, "tls", float64(m), float64(m)+0.1)
			}
		}
		if m%60 == 5 {
			s.talk(admin, jump, 22, "ssh", float64(m), float64(m)+20)
		}
	}
	for p := range 30 {
		s.knock(attacker, web, 1000+p, 480)
	}
	s.alert("Port scan", 50, attacker, web, 480, 480, "Discovery")
	for n := range 20 {
		s.talk(attacker, web, 22, "ssh", 490+float64(n)/10, 490.05+float64(n)/10)
	}
	s.alert("Login after guessing", 85, attacker, web, 490, 493, "Credential Access")
	s.talk(attacker, web, 22, "ssh", 493, 540)
	for n := range 10 {
		s.talk(web, c2, 443, "tls", 495+float64(3*n), 495.1+float64(3*n))
	}
	s.alert("Beacon", 70, web, c2, 495, 525, "Command and Control")
	s.talk(web, jump, 22, "ssh", 510, 535)
	s.talk(jump, plc, 502, "modbus", 520, 530)
	write := s.event("modbus", minute(525), event.Flow{
		Src: event.Endpoint{IP: netip.MustParseAddr(jump), Port: 1}, Dst: event.Endpoint{IP: netip.MustParseAddr(plc), Port: 502},
		Transport: event.ProtoTCP, Service: "modbus", Start: minute(520),
	}, event.Field{Name: "ics.operation", Value: event.Str("write")})
	last = s.alert("Write by a stranger", 90, jump, plc, 525, 525, "Impair Process Control", write)
	return s, last
}

func build(t *testing.T, s store.Store, seed trace.Seed) *trace.Trace {
	t.Helper()
	tr, err := trace.Build(context.Background(), s, seed)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func path(tr *trace.Trace) string {
	hops := []string{tr.Origin.String()}
	for _, h := range tr.Path {
		hops = append(hops, h.To.String())
	}
	return strings.Join(hops, " ")
}

const truth = attacker + " " + web + " " + jump + " " + plc

func TestPathFromEverySeed(t *testing.T) {
	s, last := intrusion(t)
	st := s.open()
	seeds := map[string]trace.Seed{
		"the last alert": {Alert: last}, "the attacker": {Address: netip.MustParseAddr(attacker)}, "the web server": {Address: netip.MustParseAddr(web)},
		"the jump host": {Address: netip.MustParseAddr(jump)}, "the controller": {Address: netip.MustParseAddr(plc)},
	}
	for _, a := range s.alerts {
		seeds["alert "+a.Rule.Name] = trace.Seed{Alert: a.ID}
	}
	for name, seed := range seeds {
		tr := build(t, st, seed)
		if got := path(tr); got != truth {
			t.Errorf("from %s: %s, want %s", name, got, truth)
			continue
		}
		for i, h := range tr.Path {
			if h.Confidence < 0.5 || len(h.Reasons) == 0 || len(h.Evidence) == 0 || !slices.IsSortedFunc(h.Evidence, event.ID.Compare) {
				t.Errorf("from %s: hop %d does not say why: %+v", name, i+1, h)
			}
		}
		if !slices.ContainsFunc(tr.Branches, func(h trace.Hop) bool { return h.To.String() == c2 && h.Role == "c2" }) {
			t.Errorf("from %s: the control channel is not among the branches", name)
		}
		for _, h := range tr.Path {
			if h.From.String() == admin || h.From.String() == hmi {
				t.Errorf("from %s: an honest host is on the path", name)
			}
		}
	}
}

func TestSameStoreSameTrace(t *testing.T) {
	s, last := intrusion(t)
	st := s.open()
	var first []byte
	for range 5 {
		text, err := json.Marshal(build(t, st, trace.Seed{Alert: last}))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		}
		if !bytes.Equal(first, text) {
			t.Fatalf("two traces differ\n%s\n%s", first, text)
		}
	}
}

// TestNothingIsInvented takes away the conversation that brought the attacker
// to the jump host: the path may not go on beyond it by any other.
func TestNothingIsInvented(t *testing.T) {
	s, last := intrusion(t)
	s.events = slices.DeleteFunc(s.events, func(e event.Event) bool {
		return e.Flow.Src.IP.String() == web && e.Flow.Dst.IP.String() == jump
	})
	tr := build(t, s.open(), trace.Seed{Alert: last})
	if got, want := path(tr), jump+" "+plc; got != want {
		t.Errorf("path %s, want %s", got, want)
	}
	if !slices.ContainsFunc(tr.Missing, func(m string) bool { return strings.Contains(m, "no conversation into "+jump) }) {
		t.Errorf("what is missing is not said: %v", tr.Missing)
	}
	if !slices.ContainsFunc(tr.Rejected, func(h trace.Hop) bool { return h.From.String() == admin }) {
		t.Errorf("the administrator's session is not among the rejected: %v", tr.Rejected)
	}
}

func TestLossLowersConfidence(t *testing.T) {
	s, last := intrusion(t)
	whole := build(t, s.open(), trace.Seed{Alert: last})
	for m := range 60 {
		s.ledger(480+float64(m), 100, 40)
	}
	lossy := build(t, s.open(), trace.Seed{Alert: last})
	if math.Abs(lossy.Loss-0.4) > 1e-9 || whole.Loss != 0 {
		t.Errorf("loss %v and %v, want 0.4 and 0", lossy.Loss, whole.Loss)
	}
	if path(whole) != truth || path(lossy) != truth {
		t.Fatalf("paths %s without loss and %s with it, want %s", path(whole), path(lossy), truth)
	}
	for i := range whole.Path {
		if lossy.Path[i].Confidence >= whole.Path[i].Confidence {
			t.Errorf("hop %d: confidence %v with loss, %v without", i+1, lossy.Path[i].Confidence, whole.Path[i].Confidence)
		}
	}
}

func TestQuietAndUnknown(t *testing.T) {
	s, _ := intrusion(t)
	st := s.open()
	if tr := build(t, st, trace.Seed{Address: netip.MustParseAddr(client)}); len(tr.Path) != 0 {
		t.Errorf("an honest client has a path: %s", path(tr))
	}
	_, err := trace.Build(context.Background(), st, trace.Seed{Address: netip.MustParseAddr("192.0.2.250")})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown address: %v", err)
	}
	_, err = trace.Build(context.Background(), st, trace.Seed{Alert: event.FirstID(day)})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown alert: %v", err)
	}
}

func written(t *testing.T, format string, tr *trace.Trace) []byte {
	t.Helper()
	f, err := all.Find(format)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.Write(&b, tr); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFormats(t *testing.T) {
	s, last := intrusion(t)
	s.alerts[0].Message = `<script>alert(1)</script>" onmouseover="x`
	tr := build(t, s.open(), trace.Seed{Alert: last})

	var back trace.Trace
	if err := json.Unmarshal(written(t, "json", tr), &back); err != nil || path(&back) != truth {
		t.Errorf("json: %v, path %s", err, path(&back))
	}
	records, err := csv.NewReader(bytes.NewReader(written(t, "csv", tr))).ReadAll()
	if err != nil || len(records) != 1+len(tr.Path)+len(tr.Branches)+len(tr.Rejected) || records[1][2] != attacker {
		t.Errorf("csv: %v, %d records", err, len(records))
	}
	page := string(written(t, "html", tr))
	for _, want := range []string{attacker, plc, "<svg", "Content-Security-Policy", "&lt;script&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	for _, never := range []string{"<script", "http://", "https://", "src="} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %s", never)
		}
	}
	for _, f := range all.Formats() {
		if !bytes.Equal(written(t, f.Name, tr), written(t, f.Name, tr)) {
			t.Errorf("%s: two exports of one trace differ", f.Name)
		}
	}
}

// TestSTIX gives bundles to the public validator of STIX 2.1, which make test
// installs.
func TestSTIX(t *testing.T) {
	validator := os.Getenv("TOCSIN_STIX_VALIDATOR")
	if validator == "" {
		t.Skip("TOCSIN_STIX_VALIDATOR is not set; make test sets it")
	}
	s, last := intrusion(t)
	st := s.open()
	for name, seed := range map[string]trace.Seed{"whole": {Alert: last}, "nothing": {Address: netip.MustParseAddr(client)}} {
		file := filepath.Join(t.TempDir(), name+".json")
		if err := os.WriteFile(file, written(t, "stix", build(t, st, seed)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(validator, "--version", "2.1", file).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("STIX JSON: Valid")) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if bytes.Contains(out, []byte("Warning")) {
			t.Logf("%s: the validator warns:\n%s", name, out)
		}
	}
}
