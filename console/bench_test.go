package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident/audit"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/store/storetest"
)

// BenchmarkConsole asks a console what the page asks, over a week of flows of
// 50,000 addresses with an alert for each hundred. TOCSIN_BENCH_EVENTS=10000000
// for the goals; TOCSIN_BENCH_DIR keeps the store for the next time.
func BenchmarkConsole(b *testing.B) {
	n := 50_000
	if x, err := strconv.Atoi(os.Getenv("TOCSIN_BENCH_EVENTS")); err == nil {
		n = x
	}
	dir := os.Getenv("TOCSIN_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	s, err := embedded.Open(dir, embedded.ReadWrite)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, last, err := s.Span(b.Context()); err != nil {
		b.Fatal(err)
	} else if last.IsZero() {
		fillBench(b, s, n)
	}
	d, err := desk.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	l, err := audit.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	schema, err := event.NewSchema()
	if err != nil {
		b.Fatal(err)
	}
	h := New(Config{Store: s, Desk: d, Audit: l, Schema: schema, Local: true}).As("bench")
	at := func(t time.Time) string { return url.QueryEscape(t.Format(time.RFC3339)) }
	end := storetest.Start.Add(7 * 24 * time.Hour)
	day := "from=" + at(end.Add(-24*time.Hour)) + "&to=" + at(end)
	week := "from=" + at(storetest.Start) + "&to=" + at(end)
	const fields = "&fields=rule.name,tocsin.alert.level,tocsin.alert.source,tocsin.alert.target,threat.technique.id,tocsin.alert.status,tocsin.alert.sensors"
	for _, ask := range []struct{ name, path string }{
		{"Alerts24h", "/alerts?limit=100&" + day}, {"Summary24h", "/alerts/summary?" + day + fields},
		{"Alerts7d", "/alerts?limit=100&" + week}, {"Summary7d", "/alerts/summary?" + week + fields},
		{"SummaryFiltered7d", "/alerts/summary?q=" + url.QueryEscape("event.severity >= 60 and not tocsin.alert.source: 10.1.0.0/16") + "&" + week + fields},
		{"Groups7d", "/alerts/groups?by=source&" + week}, {"Situation24h", "/situation?from=" + at(end.Add(-24*time.Hour)) + "&to=" + at(end)},
		{"Address", "/events?q=" + url.QueryEscape("source.ip: 203.0.113.77 or destination.ip: 203.0.113.77")},
		{"AddressOften", "/events?q=" + url.QueryEscape("source.ip: 10.1.0.3 or destination.ip: 10.1.0.3")},
		{"AddressAlerts", "/alerts?q=" + url.QueryEscape("related.ip: 10.1.0.3")},
		{"CompleteField", "/complete?text=sour&set=events"}, {"CompleteValue", "/complete?set=events&text=" + url.QueryEscape("destination.port: 4")},
		{"CompleteAlertValue", "/complete?text=" + url.QueryEscape("rule.name: R")},
		{"Histogram24h", "/counts?set=events&interval=auto&field=event.dataset&" + day},
		{"Status", "/status"},
	} {
		b.Run(ask.name, func(b *testing.B) {
			var answer *httptest.ResponseRecorder
			began, n := spent(), 0
			for b.Loop() {
				n++
				answer = httptest.NewRecorder()
				h.ServeHTTP(answer, httptest.NewRequest("GET", prefix+ask.path, nil))
				if answer.Code != http.StatusOK {
					b.Fatalf("%d %s", answer.Code, answer.Body)
				}
			}
			b.ReportMetric(float64((spent()-began).Milliseconds())/float64(n), "CPU-ms/op")
		})
	}
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmHWM:") || strings.HasPrefix(line, "VmRSS:") {
				fmt.Print(line)
			}
		}
	}
	runtime.KeepAlive(h)
}

// spent is the CPU time of this process.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fillBench puts n events and a hundredth of alerts into a store.
func fillBench(b *testing.B, s store.Store, n int) {
	g := storetest.NewGenerator(1)
	g.Hosts = 50_000
	g.Step = 7 * 24 * time.Hour / time.Duration(n)
	g.FlowsOnly = true
	h := event.NewHasher()
	const batch, perAlert = 4096, 100
	rare := netip.MustParseAddr("203.0.113.77")
	for put := 0; put < n; put += batch {
		es := g.Events(min(batch, n-put))
		if put <= n/2 && n/2 < put+batch {
			es[min(7, len(es)-1)].Flow.Dst.IP = rare
		}
		var alerts []event.Alert
		for i := 0; i < len(es); i += perAlert {
			e := &es[i]
			k := put + i
			h.Reset()
			h.Uint(uint64(k))
			severity := 10 + k/perAlert%9*10
			a := event.Alert{
				ID: h.ID(e.Time), Rule: event.Rule{ID: fmt.Sprintf("rule-%d", k/perAlert%150), Name: fmt.Sprintf("Rule number %d", k/perAlert%150), Ruleset: "sigma", Version: "2026-11-22", Hash: strings.Repeat("5a", 32)},
				Severity: severity, Level: event.LevelOf(severity), Message: fmt.Sprintf("%s did what it should not to %s", e.Flow.Src.IP, e.Flow.Dst.IP),
				Group:   fmt.Sprintf("source.ip=%s", e.Flow.Src.IP),
				Sources: []netip.Addr{e.Flow.Src.IP}, Targets: []netip.Addr{e.Flow.Dst.IP}, Sensors: []string{e.Sensor},
				Techniques: []event.Technique{{ID: fmt.Sprintf("T%04d", 800+k/perAlert%40), Name: "A technique", Tactics: []string{"Impair Process Control"}}},
				Count:      3, First: e.Time, Last: e.Time.Add(time.Minute), Evidence: []event.ID{es[i].ID, es[min(i+1, len(es)-1)].ID, es[min(i+2, len(es)-1)].ID},
				Explain: []event.Explain{{Field: "destination.port", Predicate: "== 502", Value: "502"}},
			}
			slices.SortFunc(a.Evidence, event.ID.Compare)
			alerts = append(alerts, a)
		}
		if err := s.Put(b.Context(), es, alerts); err != nil {
			b.Fatal(err)
		}
	}
}
