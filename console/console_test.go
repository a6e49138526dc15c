package console

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident/audit"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/all"
)

var start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// hostile is a name as an attacker would choose it.
const hostile = `<img src=x onerror=alert(1)>.example`

// fixture is a console over a store with 40 flows, 20 look-ups of a hostile
// name, 5 alerts of which the last has lost a piece of evidence, and two
// minutes of a sensor's accounts.
type fixture struct {
	*httptest.Server
	Config
	store  store.Store
	alerts []event.Alert
	events []event.Event
}

// openStore opens an empty store.
var openStore = func(t *testing.T, _ *event.Schema) store.Store {
	st, err := embedded.Open(t.TempDir(), embedded.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	schema, err := event.NewSchema([]event.FieldDoc{{Name: "dns.question.name", Type: event.Keyword, Help: "Name asked for.", Class: event.ClassPersonal}})
	if err != nil {
		t.Fatal(err)
	}
	st := openStore(t, schema)
	f := &fixture{store: st}
	h := event.NewHasher()
	add := func(at time.Time, kind event.Kind, src, dst string, fields ...event.Field) event.ID {
		h.Reset()
		h.Uint(uint64(len(f.events)))
		e := event.Event{ID: h.ID(at), Time: at, Kind: kind, Sensor: "border", Fields: fields}
		if src != "" {
			e.Flow = event.Flow{
				Src: event.Endpoint{IP: netip.MustParseAddr(src), Port: 40000}, Dst: event.Endpoint{IP: netip.MustParseAddr(dst), Port: 53},
				Transport: event.ProtoUDP, Start: at, End: at.Add(time.Second),
			}
		}
		f.events = append(f.events, e)
		return e.ID
	}
	for i := range 40 {
		add(start.Add(time.Duration(i)*time.Minute), event.KindFlow, "192.0.2.1", "198.51.100.2")
	}
	var lookups []event.ID
	for i := range 20 {
		lookups = append(lookups, add(start.Add(time.Duration(i)*time.Second), "dns", "192.0.2.7", "198.51.100.53",
			event.Field{Name: "dns.question.name", Value: event.Str(hostile)}))
	}
	for i := range 2 {
		add(start.Add(time.Duration(i)*time.Minute), event.KindLedger, "", "",
			event.Field{Name: "tocsin.ledger.seen", Value: event.Int(100)},
			event.Field{Name: "tocsin.ledger.decoded", Value: event.Int(90)},
			event.Field{Name: "tocsin.ledger.filtered", Value: event.Int(5)},
			event.Field{Name: "tocsin.ledger.events", Value: event.Int(31)},
			event.Field{Name: "tocsin.ledger.dropped.kernel", Value: event.Int(int64(4 - i))},
			event.Field{Name: "tocsin.ledger.dropped.short_header", Value: event.Int(int64(1 + i))})
	}
	for i, severity := range []int{10, 30, 50, 70, 90} {
		at := start.Add(time.Duration(10*i) * time.Minute)
		h.Reset()
		h.Str("alert")
		h.Uint(uint64(i))
		evidence := lookups[4*i : 4*i+4]
		if i == 4 {
			evidence = append([]event.ID{event.FirstID(start)}, evidence...)
		}
		f.alerts = append(f.alerts, event.Alert{
			ID: h.ID(at), Rule: event.Rule{ID: "r", Name: "Odd name", Ruleset: "sigma"}, Severity: severity, Level: event.LevelOf(severity),
			Message: "192.0.2.7 asked for " + hostile, Sources: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Sensors: []string{"border"},
			Techniques: []event.Technique{{ID: "T1071.004", Name: "DNS", Tactics: []string{"Command and Control"}}},
			Count:      uint64(len(evidence)), First: at, Last: at.Add(time.Minute), Evidence: evidence,
			Explain: []event.Explain{{Field: "dns.question.name", Predicate: "contains '<'", Value: hostile}},
		})
	}
	if err := st.Put(t.Context(), f.events, f.alerts); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d, err := desk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Config = Config{
		Store: st, Desk: d, Audit: l, Schema: schema, Build: trace.Build, Formats: all.Formats(), Version: "v9",
		Hosts: []string{"tocsin.example"}, Local: true, Rate: 10_000,
	}
	f.Server = httptest.NewServer(New(f.Config))
	t.Cleanup(func() {
		f.Server.CloseClientConnections()
		f.Server.Close()
		if err := errors.Join(st.Close(), d.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// do asks and returns the status, the headers and the body.
func (f *fixture) do(t *testing.T, method, path, body string, change ...func(*http.Request)) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, b
}

// get asks for JSON and fails if the status is not 200.
func get[T any](t *testing.T, f *fixture, path string) (v T) {
	t.Helper()
	status, _, b := f.do(t, "GET", path, "")
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, status, b)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, b)
	}
	return v
}

type listed struct {
	Items []json.RawMessage
	Next  string
}

func decode(t *testing.T, record json.RawMessage) (e event.Event) {
	t.Helper()
	schema, err := event.NewSchema()
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Decode(record, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func idOf(t *testing.T, record json.RawMessage) event.ID {
	t.Helper()
	return decode(t, record).ID
}

func TestSearchPagesThroughAll(t *testing.T) {
	f := newFixture(t)
	for _, order := range []string{"asc", "desc"} {
		var got []event.ID
		cursor := ""
		for pages := 0; ; pages++ {
			p := get[listed](t, f, "/api/v1/events?limit=7&order="+order+"&cursor="+cursor)
			for _, r := range p.Items {
				got = append(got, idOf(t, r))
			}
			if cursor = p.Next; cursor == "" {
				if want := (len(f.events) - 1) / 7; pages != want {
					t.Errorf("%s: %d pages after the first, want %d", order, pages, want)
				}
				break
			}
		}
		if len(got) != len(f.events) {
			t.Errorf("%s: %d events, want %d", order, len(got), len(f.events))
		}
		for i := 1; i < len(got); i++ {
			if c := got[i-1].Compare(got[i]); order == "asc" && c >= 0 || order == "desc" && c <= 0 {
				t.Fatalf("%s: %v before %v", order, got[i-1], got[i])
			}
		}
	}
}

func TestAlertsPageByTheirTime(t *testing.T) {
	f := newFixture(t)
	// IDs in the opposite order of the times, as buckets of rules may make
	// them, and always two alerts of one time.
	h := event.NewHasher()
	var more []event.Alert
	for i := range 20 {
		a := f.alerts[0]
		h.Reset()
		h.Uint(uint64(i))
		a.ID = h.ID(start.Add(-time.Duration(i) * time.Hour))
		a.First = start.Add(time.Duration(i/2) * time.Minute)
		more = append(more, a)
	}
	if err := f.store.Put(t.Context(), nil, more); err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"asc", "desc"} {
		seen := map[event.ID]bool{}
		var last time.Time
		for cursor, more := "", true; more; {
			p := get[listed](t, f, "/api/v1/alerts?limit=3&order="+order+"&cursor="+cursor)
			for _, r := range p.Items {
				e := decode(t, r)
				if !last.IsZero() && (order == "asc" && e.Time.Before(last) || order == "desc" && e.Time.After(last)) {
					t.Errorf("%s: %v after %v", order, e.Time, last)
				}
				if last = e.Time; seen[e.ID] {
					t.Errorf("%s: %v twice", order, e.ID)
				}
				seen[e.ID] = true
			}
			cursor, more = p.Next, p.Next != ""
		}
		if len(seen) != 25 {
			t.Errorf("%s: %d alerts, want 25", order, len(seen))
		}
	}
}

func TestSearchAsks(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		path string
		want int
	}{
		{"alerts", 5},
		{"alerts?q=" + url.QueryEscape("event.severity >= 50"), 3},
		{"alerts?q=" + url.QueryEscape("tocsin.alert.level: critical"), 1},
		{"alerts?q=" + url.QueryEscape("tocsin.alert.source: 192.0.2.0/24 and not tocsin.alert.level: low"), 4},
		{"alerts?from=2026-03-01T08:10:00Z&to=2026-03-01T08:30:00Z", 2},
		{"events?q=" + url.QueryEscape(`dns.question.name: "`+hostile+`"`), 20},
		{"events?q=" + url.QueryEscape("source.ip: 192.0.2.1") + "&limit=1000", 40},
		{"events?q=" + url.QueryEscape("source.ip: 203.0.113.9"), 0},
	} {
		if p := get[listed](t, f, "/api/v1/"+c.path); len(p.Items) != c.want {
			t.Errorf("%s: %d records, want %d", c.path, len(p.Items), c.want)
		}
	}
}

func TestCountsAddUp(t *testing.T) {
	f := newFixture(t)
	type counted struct {
		From, To time.Time
		Interval int64 `json:"interval_ms"`
		Buckets  []bucket
	}
	c := get[counted](t, f, "/api/v1/counts?interval=auto&field=tocsin.alert.level")
	var total uint64
	for _, b := range c.Buckets {
		total += b.Count
		if b.Time == nil || b.Time.UnixMilli()%c.Interval != 0 {
			t.Errorf("bucket %+v does not begin at a multiple of %d ms", b, c.Interval)
		}
	}
	if total != 5 || c.Interval != int64(30*time.Second/time.Millisecond) {
		t.Errorf("%d alerts in steps of %d ms, want 5 in steps of 30000", total, c.Interval)
	}
	fields := []string{"tocsin.alert.level", "tocsin.alert.source", "threat.technique.id", "rule.name", "event.severity", "user.name"}
	for i, have := range get[[]facet](t, f, "/api/v1/facets?top=3&fields="+strings.Join(fields, ",")) {
		var want []bucket
		for _, b := range get[counted](t, f, "/api/v1/counts?top=3&field="+fields[i]).Buckets {
			if b.Value != "" { // counts tell how many have no value
				want = append(want, b)
			}
		}
		if have.Field != fields[i] || fmt.Sprint(have.Values) != fmt.Sprint(want) {
			t.Errorf("facet %s of %s: %v, want %v", have.Field, fields[i], have.Values, want)
		}
	}
	facets := get[[]facet](t, f, "/api/v1/facets?set=events&fields=source.ip,event.dataset&top=2")
	want := `[{"field":"source.ip","values":[{"value":"192.0.2.1","count":40},{"value":"192.0.2.7","count":20}]},` +
		`{"field":"event.dataset","values":[{"value":"tocsin.flow","count":40},{"value":"tocsin.dns","count":20}]}]`
	if got, _ := json.Marshal(facets); string(got) != want {
		t.Errorf("facets:\n got %s\nwant %s", got, want)
	}
}

func TestAlertHasItsEvidence(t *testing.T) {
	f := newFixture(t)
	type detail struct {
		Alert    json.RawMessage
		Evidence []json.RawMessage
		Missing  []string
	}
	last := f.alerts[4]
	d := get[detail](t, f, "/api/v1/alerts/"+last.ID.String())
	if len(d.Evidence) != 4 || len(d.Missing) != 1 || d.Missing[0] != last.Evidence[0].String() {
		t.Errorf("%d events of evidence and missing %v, want 4 and %s", len(d.Evidence), d.Missing, last.Evidence[0])
	}
	e := decode(t, d.Alert)
	if a, err := event.AlertOf(&e); err != nil || a.Explain[0].Value != hostile {
		t.Errorf("alert %+v, %v", a, err)
	}
	if got := idOf(t, get[json.RawMessage](t, f, "/api/v1/events/"+f.events[0].ID.String())); got != f.events[0].ID {
		t.Errorf("event %s, want %s", got, f.events[0].ID)
	}
}

func TestStatusAddsUpTheLedger(t *testing.T) {
	f := newFixture(t)
	s := get[statusBody](t, f, "/api/v1/status")
	if s.Version != "v9" || s.Alerts != 5 || s.Events != uint64(len(f.events)) || !s.From.Equal(start) {
		t.Errorf("status %+v", s)
	}
	want := sensorStatus{
		Name: "border", Newest: start.Add(time.Minute), Seen: 200, Decoded: 180, Filtered: 10, Dropped: 10, Events: 62,
		Causes: []bucket{{Value: "kernel", Count: 7}, {Value: "short_header", Count: 3}},
	}
	if got := fmt.Sprint(s.Sensors); got != fmt.Sprint([]sensorStatus{want}) {
		t.Errorf("sensors\n got %s\nwant %s", got, fmt.Sprint([]sensorStatus{want}))
	}
	if len(s.Formats) != len(all.Formats()) {
		t.Errorf("formats %v", s.Formats)
	}
}

func TestTriage(t *testing.T) {
	f := newFixture(t)
	path := "/api/v1/alerts/" + f.alerts[0].ID.String()
	for _, c := range []struct {
		body   string
		status int
		want   event.Triage // By and At apart
	}{
		{`{"status":"acknowledged"}`, 200, event.Triage{Status: "acknowledged"}},
		{`{"verdict":"false_positive"}`, 422, event.Triage{Status: "acknowledged"}},
		{`{"verdict":"false_positive","reason":"  "}`, 422, event.Triage{Status: "acknowledged"}},
		{`{"verdict":"maybe","reason":"x"}`, 422, event.Triage{Status: "acknowledged"}},
		{`{"verdict":"false_positive","reason":"our own scanner"}`, 200, event.Triage{Status: "closed", Verdict: "false_positive", Reason: "our own scanner"}},
		{`{}`, 422, event.Triage{Status: "closed", Verdict: "false_positive", Reason: "our own scanner"}},
		{`{"status":"open"}`, 200, event.Triage{Status: "open", Reason: "our own scanner"}},
		{`{"status":`, 400, event.Triage{Status: "open", Reason: "our own scanner"}},
		{`{"nonsense":1}`, 422, event.Triage{Status: "open", Reason: "our own scanner"}},
	} {
		status, _, b := f.do(t, "PATCH", path, c.body)
		if status != c.status {
			t.Errorf("%s: %d %s, want %d", c.body, status, b, c.status)
		}
		e, err := f.store.Get(t.Context(), f.alerts[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			t.Fatal(err)
		}
		if a.Triage.By, a.Triage.At = "", (time.Time{}); a.Triage != c.want {
			t.Errorf("%s: triage %+v, want %+v", c.body, a.Triage, c.want)
		}
	}
}

func TestTraceAndExports(t *testing.T) {
	f := newFixture(t)
	for _, seed := range []string{f.alerts[4].ID.String(), "192.0.2.7"} {
		tr := get[trace.Trace](t, f, "/api/v1/traces/"+seed)
		if tr.Seed != seed || tr.Path == nil || tr.Missing == nil {
			t.Errorf("trace of %s: %+v", seed, tr)
		}
		for _, format := range all.Formats() {
			status, h, b := f.do(t, "GET", "/api/v1/traces/"+seed+"/"+format.Name, "")
			if status != 200 || len(b) == 0 || h.Get("Content-Type") != format.MIME {
				t.Errorf("%s as %s: %d %s, %d bytes", seed, format.Name, status, h.Get("Content-Type"), len(b))
			}
			if want := `attachment; filename="trace-` + seed + format.Ext + `"`; h.Get("Content-Disposition") != want {
				t.Errorf("disposition %s, want %s", h.Get("Content-Disposition"), want)
			}
		}
	}
}

func TestProblems(t *testing.T) {
	f := newFixture(t)
	none := event.FirstID(start.Add(time.Hour)).String()
	for _, c := range []struct {
		method, path string
		status       int
		column       bool
	}{
		{"GET", "/api/v1/alerts?q=" + url.QueryEscape("source.ip: (10.0.0.1"), 422, true},
		{"GET", "/api/v1/counts?q=" + url.QueryEscape("source.ip:"), 422, true},
		{"GET", "/api/v1/alerts?cursor=xyz", 422, false},
		{"GET", "/api/v1/alerts?limit=0", 422, false},
		{"GET", "/api/v1/alerts?limit=100000", 422, false},
		{"GET", "/api/v1/alerts?from=yesterday", 422, false},
		{"GET", "/api/v1/alerts?q=" + strings.Repeat("a", maxQuery+1), 422, false},
		{"GET", "/api/v1/counts?interval=1ns", 422, false},
		{"GET", "/api/v1/counts?interval=soon", 422, false},
		{"GET", "/api/v1/counts?interval=1ms", 422, false},
		{"GET", "/api/v1/facets", 422, false},
		{"GET", "/api/v1/alerts/xyz", 422, false},
		{"GET", "/api/v1/alerts/" + none, 404, false},
		{"GET", "/api/v1/alerts/" + f.events[0].ID.String(), 404, false},
		{"GET", "/api/v1/traces/" + none, 404, false},
		{"GET", "/api/v1/traces/nobody", 422, false},
		{"GET", "/api/v1/traces/192.0.2.7/docx", 404, false},
		{"GET", "/api/v2/alerts", 404, false},
		{"POST", "/", 405, false},
	} {
		status, h, b := f.do(t, c.method, c.path, "")
		var p problem
		if err := json.Unmarshal(b, &p); err != nil || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s is no problem document: %s", c.path, h.Get("Content-Type"), b)
		}
		if status != c.status || p.Status != c.status || p.Detail == "" || (p.Column > 0) != c.column {
			t.Errorf("%.80s: %d %s, want %d", c.path, status, b, c.status)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	f := newFixture(t)
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for h, want := range map[string]int{
		"localhost:8080": 200, "127.0.0.1:1": 200, "[::1]:8080": 200, "tocsin.example": 200, "LOCALHOST.": 200,
		"evil.example": 421, "127.0.0.1.evil.example:8080": 421, "localhost.evil.example": 421, "": 200, // the client fills in the address
	} {
		if got, _, _ := f.do(t, "GET", "/api/v1/fields", "", host(h)); got != want {
			t.Errorf("host %q: %d, want %d", h, got, want)
		}
	}
	path := "/api/v1/alerts/" + f.alerts[0].ID.String()
	const body = `{"status":"acknowledged"}`
	set := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	for _, c := range []struct {
		change func(*http.Request)
		want   int
	}{
		{set("Origin", "https://evil.example"), 403},
		{set("Sec-Fetch-Site", "cross-site"), 403},
		{set("Sec-Fetch-Site", "same-site"), 403},
		{set("Sec-Fetch-Site", "same-origin"), 200},
		{set("Origin", f.URL), 200},
	} {
		if got, _, b := f.do(t, "PATCH", path, body, c.change); got != c.want {
			t.Errorf("%d %s, want %d", got, b, c.want)
		}
	}
	if got, _, _ := f.do(t, "PATCH", path, `{"reason":"`+strings.Repeat("a", maxBody)+`"}`); got != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of more than %d bytes: %d", maxBody, got)
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/alerts/x", "/openapi.json", "/api/v1/status", "/api/none", "/static/none.js"} {
		_, h, _ := f.do(t, "GET", path, "")
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}

func TestAnswersAreCompressed(t *testing.T) {
	f := newFixture(t)
	_, h, b := f.do(t, "GET", "/api/v1/fields", "", func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	if h.Get("Content-Encoding") != "gzip" {
		t.Fatalf("headers %v", h)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var docs []fieldDoc
	if err := json.NewDecoder(z).Decode(&docs); err != nil || len(docs) < 50 {
		t.Errorf("%d fields, %v", len(docs), err)
	}
}

func TestOpenAPI(t *testing.T) {
	f := newFixture(t)
	doc := get[struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}](t, f, "/openapi.json")
	if doc.OpenAPI != "3.1.0" || doc.Paths["/api/v1/alerts/{id}"]["patch"] == nil || doc.Paths["/api/v1/alerts/stream"]["get"] == nil {
		t.Errorf("%s with paths %v", doc.OpenAPI, doc.Paths)
	}
}

func TestStreamTellsOfNewAlertsAndJudgements(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", f.URL+streamPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() (c changed) {
		name := ""
		for lines.Scan() {
			if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = n
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && name == "changed" {
				if err := json.Unmarshal([]byte(data), &c); err != nil {
					t.Fatal(err)
				}
				return c
			}
		}
		t.Fatal("the stream ended: ", lines.Err())
		return c
	}
	if c := next(); c.Alerts != 5 {
		t.Errorf("at first %+v", c)
	}
	a := f.alerts[0]
	a.ID[15]++
	a.Evidence = nil
	if err := f.store.Put(t.Context(), nil, []event.Alert{a}); err != nil {
		t.Fatal(err)
	}
	if c := next(); c.Alerts != 6 || c.Judged != 0 {
		t.Errorf("after a new alert %+v", c)
	}
	f.do(t, "PATCH", "/api/v1/alerts/"+a.ID.String(), `{"status":"acknowledged"}`)
	if c := next(); c.Alerts != 6 || c.Judged != 1 {
		t.Errorf("after a decision %+v", c)
	}
}

func TestPage(t *testing.T) {
	p := newPage(fstest.MapFS{
		"index.html":       {Data: []byte("<!doctype html>page")},
		"static/app-1a.js": {Data: []byte("script")},
		".gitkeep":         {},
	})
	ask := func(path, etag string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("If-None-Match", etag)
		p.ServeHTTP(w, r)
		return w
	}
	for _, path := range []string{"/", "/alerts/0123", "/trace/192.0.2.1", "/.gitkeep"} {
		if w := ask(path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), "page") || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %d %s %v", path, w.Code, w.Body, w.Header())
		}
	}
	w := ask("/static/app-1a.js", "")
	if w.Body.String() != "script" || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/javascript") {
		t.Errorf("asset: %s %v", w.Body, w.Header())
	}
	if w := ask("/static/app-1a.js", w.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("the same asset again: %d", w.Code)
	}
	if w := ask("/static/gone.js", ""); w.Code != http.StatusNotFound {
		t.Errorf("an asset of another build: %d", w.Code)
	}
	w = httptest.NewRecorder()
	newPage(fstest.MapFS{".gitkeep": {}}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "make web") {
		t.Errorf("without a page: %d %s", w.Code, w.Body)
	}
}

func TestStepFor(t *testing.T) {
	for span, want := range map[time.Duration]time.Duration{
		0: time.Second, 2 * time.Minute: time.Second, time.Hour: 30 * time.Second, 24 * time.Hour: 15 * time.Minute,
		7 * 24 * time.Hour: 2 * time.Hour, 20 * 365 * 24 * time.Hour: 112 * 24 * time.Hour,
	} {
		if got := stepFor(span); got != want {
			t.Errorf("%v: %v, want %v", span, got, want)
		}
	}
}
