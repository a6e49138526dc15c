package elastic_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
	"github.com/tocsin/tocsin/store/query"
	"github.com/tocsin/tocsin/store/storetest"
)

// log is what a store says, for tests.
type log struct {
	sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.Lock()
	defer l.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// exactlyOnce fails the test unless the store has these events and no others.
func exactlyOnce(t *testing.T, s store.Store, events []event.Event) {
	t.Helper()
	want := map[event.ID]bool{}
	for i := range events {
		want[events[i].ID] = true
	}
	n := 0
	for e, err := range s.Search(t.Context(), store.Query{Set: store.Events}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if !want[e.ID] {
			t.Errorf("%s is there twice, or was never put", e.ID)
		}
		delete(want, e.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d of %d events are lost", len(want), len(events))
	}
}

// TestServerIsKilled kills the server while events and alerts are put.
func TestServerIsKilled(t *testing.T) {
	server := servers.NewElasticsearch(t, servers.ElasticsearchConfig{})
	var said log
	s := opened(t, server.URL, "tocsin", func(c *elastic.Config) { c.Log = said.logger() })
	g := storetest.NewGenerator(21)
	events := g.Events(12_000)
	alerts := map[event.ID]event.Alert{}
	var puts atomic.Int64
	done := make(chan error)
	go func() {
		for rest := events; len(rest) > 0; {
			n := min(len(rest), 40)
			a := g.Alert(rest[:n])
			alerts[a.ID] = a
			if err := s.Put(t.Context(), rest[:n], []event.Alert{a}); err != nil {
				done <- err
				return
			}
			puts.Add(1)
			rest = rest[n:]
		}
		done <- nil
	}()
	for puts.Load() < 50 {
		time.Sleep(time.Millisecond)
	}
	if err := server.Kill9(); err != nil {
		t.Fatal(err)
	}
	for !s.Stats().Blocked {
		time.Sleep(time.Millisecond)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	exactlyOnce(t, s, events)
	for id, a := range alerts {
		want := a.Event()
		if got, err := s.Get(t.Context(), id); err != nil || !bytes.Equal(got.AppendJSON(nil), want.AppendJSON(nil)) {
			t.Errorf("alert %s: %v", id, err)
		}
	}
	if !strings.Contains(said.String(), "waiting no longer") {
		t.Errorf("nothing is said of the wait:\n%s", said.String())
	}
	t.Logf("%+v", s.Stats())
}

// faulty stands before the real server and spoils some of the answers.
type faulty struct {
	real *httputil.ReverseProxy
	n    atomic.Int64
	// spoil says what becomes of the nth bulk request.
	spoil func(n int64, w http.ResponseWriter, r *http.Request, real http.Handler)
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/_bulk" {
		f.real.ServeHTTP(w, r)
		return
	}
	f.spoil(f.n.Add(1), w, r, f.real)
}

func standBefore(t *testing.T, server string, spoil func(int64, http.ResponseWriter, *http.Request, http.Handler)) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := httptest.NewServer(&faulty{real: httputil.NewSingleHostReverseProxy(u), spoil: spoil})
	t.Cleanup(p.Close)
	return p.URL
}

// TestServerIsBusy answers in the place of the server that it has no capacity,
// for whole requests and for single documents, and loses answers.
func TestServerIsBusy(t *testing.T) {
	real := servers.ElasticsearchURL(t)
	busy := standBefore(t, real, func(n int64, w http.ResponseWriter, r *http.Request, real http.Handler) {
		switch n % 7 {
		case 1:
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, `{"error":{"type":"circuit_breaking_exception","reason":"[parent] Data too large"},"status":429}`)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3: // the server does it, but nobody hears of that
			real.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 4: // takes the first half only
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			lines := bytes.SplitAfter(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
			half := len(lines) / 4 * 2
			rest := (len(lines) - half) / 2
			if half == 0 {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(bytes.Join(lines[:half], nil)))
			r.ContentLength = int64(len(bytes.Join(lines[:half], nil)))
			r.Header.Set("Accept-Encoding", "identity")
			rec := httptest.NewRecorder()
			real.ServeHTTP(rec, r)
			_, items, _ := strings.Cut(rec.Body.String(), `"items":[`)
			items = strings.TrimSuffix(items, "]}")
			for range rest {
				items += `,{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution of coordinating operation"}}}`
			}
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"errors":true,"items":[`+items+"]}")
		default:
			real.ServeHTTP(w, r)
		}
	})
	s := opened(t, busy, "busy", nil)
	g := storetest.NewGenerator(22)
	events := g.Events(1600)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			mine := events[i*800 : (i+1)*800]
			for len(mine) > 0 {
				n := min(len(mine), 80)
				if err := s.Put(t.Context(), mine[:n], nil); err != nil {
					t.Error(err)
					return
				}
				mine = mine[n:]
			}
		})
	}
	wg.Wait()
	exactlyOnce(t, s, events)
	st := s.Stats()
	if st.Again < 10 || st.Duplicates == 0 || st.Refused != 0 || st.Events+st.Duplicates != 1600 {
		t.Errorf("%+v", st)
	}
}

// TestDiskIsFull makes an index read-only, as the server does when its disk is
// all but full.
func TestDiskIsFull(t *testing.T) {
	server := servers.ElasticsearchURL(t)
	var said log
	s := opened(t, server, "full", func(c *elastic.Config) { c.Log = said.logger() })
	g := storetest.NewGenerator(23)
	events := g.Events(300)
	if err := s.Put(t.Context(), events[:100], nil); err != nil {
		t.Fatal(err)
	}
	block := func(on string) {
		do(t, http.MethodPut, server+"/full-events-*/_settings", `{"index.blocks.read_only_allow_delete":`+on+`}`)
	}
	block("true")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := s.Put(ctx, events[100:200], nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("put into a full disk: %v", err)
	}
	time.AfterFunc(time.Second, func() { block("null") })
	began := time.Now()
	if err := s.Put(t.Context(), events[100:], nil); err != nil {
		t.Fatal(err)
	}
	if time.Since(began) < 900*time.Millisecond {
		t.Error("the put did not wait")
	}
	exactlyOnce(t, s, events)
	if !strings.Contains(said.String(), "read-only") {
		t.Errorf("nothing is said of why it waits:\n%s", said.String())
	}
}

func do(t *testing.T, method, url, body string) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		t.Errorf("%s %s: %d %s", method, url, resp.StatusCode, text)
	}
}

// TestRefused puts what the mapping does not take.
func TestRefused(t *testing.T) {
	server := servers.ElasticsearchURL(t)
	var refused []string
	s := opened(t, server, "refused", func(c *elastic.Config) {
		c.Reject = func(_ context.Context, rs []elastic.Refused) error {
			for _, r := range rs {
				refused = append(refused, fmt.Sprintf("%s %d %s %s", r.ID, r.Status, r.Reason, r.JSON))
			}
			return nil
		}
	})
	events := storetest.NewGenerator(24).Events(20)
	events[7].Set("ics.function.code", event.Str("sixteen"))
	if err := s.Put(t.Context(), events, nil); err != nil {
		t.Fatal(err)
	}
	if len(refused) != 1 || !strings.HasPrefix(refused[0], events[7].ID.String()+" 400 document_parsing_exception") || !strings.Contains(refused[0], "ics.function.code") || !strings.Contains(refused[0], `"sixteen"`) {
		t.Errorf("refused: %q", refused)
	}
	if st := s.Stats(); st.Events != 19 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
	exactlyOnce(t, s, append(events[:7:7], events[8:]...))
	// With nowhere to put it aside, it is an error.
	strict := opened(t, server, "refused", nil)
	if err := strict.Put(t.Context(), events[7:8], nil); err == nil || !strings.Contains(err.Error(), "ics.function.code") {
		t.Errorf("refused: %v", err)
	}
	// A text beyond what is indexed is kept all the same.
	long := storetest.NewGenerator(25).Events(1)[0]
	long.Set("dns.question.name", event.Str(strings.Repeat("long.", 10_000)))
	if err := s.Put(t.Context(), []event.Event{long}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), long.ID); err != nil || got.Get("dns.question.name").Str() != strings.Repeat("long.", 10_000) {
		t.Error(err)
	}
}

// TestReportsMeet lets several processes report the same alerts at once, while
// an analyst judges them.
func TestReportsMeet(t *testing.T) {
	server := servers.ElasticsearchURL(t)
	g := storetest.NewGenerator(26)
	es := g.Events(400)
	want := map[event.ID]event.Alert{}
	var reports [][]event.Alert
	var base []event.Alert
	for range 15 {
		base = append(base, g.Alert(es))
	}
	for r := range 8 {
		var report []event.Alert
		for i, a := range base {
			e := es[r*20+i]
			a.Count, a.Message = uint64(r+1), fmt.Sprintf("report %d", r)
			a.Evidence, a.Sources, a.Sensors = []event.ID{e.ID}, []netip.Addr{e.Flow.Src.IP}, []string{fmt.Sprintf("sensor%d", r)}
			report = append(report, a)
			w, ok := want[a.ID]
			if !ok {
				w = a
			}
			w.Merge(&a)
			want[a.ID] = w
		}
		reports = append(reports, report)
	}
	judged := event.Triage{Status: "closed", Verdict: "benign", By: "analyst", At: storetest.Start}
	first := opened(t, server, "meet", nil)
	if err := first.Put(t.Context(), nil, base[:5]); err != nil {
		t.Fatal(err)
	}
	for _, a := range base[:5] {
		w := want[a.ID]
		w.Merge(&a)
		w.Triage = judged
		want[a.ID] = w
	}
	var wg sync.WaitGroup
	for _, report := range reports {
		s := opened(t, server, "meet", nil)
		wg.Go(func() {
			if err := s.Put(t.Context(), nil, report); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		for _, a := range base[:5] {
			if err := first.Update(t.Context(), a.ID, judged); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	for id, a := range want {
		e := a.Event()
		got, err := first.Get(t.Context(), id)
		if err != nil || !bytes.Equal(got.AppendJSON(nil), e.AppendJSON(nil)) {
			t.Errorf("%v\nwant %s\nhave %s", err, e.AppendJSON(nil), got.AppendJSON(nil))
		}
	}
	n := 0
	for range first.Search(t.Context(), store.Query{Set: store.Alerts, Where: query.Exists{Field: "rule.id"}}) {
		n++
	}
	if n != len(base) {
		t.Errorf("%d alerts, want %d", n, len(base))
	}
}
