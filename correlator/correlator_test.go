package correlator_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

var epoch = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

func ev(at time.Duration, user, what string, n int) event.Event {
	e := event.Event{Kind: "test", Sensor: "tap-" + what, Time: epoch.Add(at), Fields: []event.Field{
		{Name: "user.name", Value: event.Str(user)}, {Name: "what", Value: event.Str(what)}, {Name: "n", Value: event.Int(int64(n))},
	}}
	e.Flow.Src.IP = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
	e.Flow.Dst.IP = netip.MustParseAddr("198.51.100.1")
	h := event.NewHasher()
	h.Bytes(e.AppendJSON(nil))
	e.ID = h.ID(e.Time)
	return e
}

// detector has a rule of each sort: single, count, distinct, in order, one
// that later events may undo, and one over another.
func detector() correlator.Detector {
	rule := func(id string, w *correlator.Window) *correlator.Rule {
		return &correlator.Rule{Rule: event.Rule{ID: id, Name: id}, Severity: 50, Message: id + " {count} {sources} {source} {targets} {target}", Window: w}
	}
	single := rule("single", nil)
	count := rule("count", window.Count("events", 10*time.Minute, window.AtLeast(4)))
	distinct := rule("distinct", window.Distinct("n", 10*time.Minute, window.AtLeast(3)))
	ordered := rule("ordered", window.Ordered([]string{"a", "b", "c"}, 20*time.Minute))
	few := rule("few", window.Count("events", 10*time.Minute, window.Limits{{Op: window.LTE, N: 2}, {Op: window.GT, N: 1}}))
	below := rule("below", window.Count("events", 5*time.Minute, window.AtLeast(2)))
	below.Silent = true
	above := rule("above", window.Count("bursts", 30*time.Minute, window.AtLeast(3)))
	below.Family, above.Family = "bursts", "bursts"
	return correlator.Detector{
		Name: "test", Rules: []*correlator.Rule{single, count, distinct, ordered, few, below, above},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			user, what := e.Get("user.name").Str(), e.Get("what").Str()
			note := &correlator.Note{Users: []string{user}, Explain: []event.Explain{{Field: "what", Predicate: "is", Value: what}}}
			for _, r := range []*correlator.Rule{single, count, distinct, ordered, few, below} {
				s := correlator.Of(r, "user.name="+user, e)
				s.Note, s.Value = note, e.Get("n")
				switch r {
				case single:
					if what != "a" {
						continue
					}
				case ordered:
					s.Part = strings.Index("abc", what)
				case below:
					s.Then = []correlator.Signal{correlator.Of(above, "", e)}
				}
				emit(s)
			}
		},
	}
}

func random(seed uint64, n int, span time.Duration) []event.Event {
	r := rand.New(rand.NewPCG(seed, 1))
	es := make([]event.Event, n)
	for i := range es {
		es[i] = ev(time.Duration(r.Int64N(int64(span))), string("xy"[r.IntN(2)]), string("abc"[r.IntN(3)]), r.IntN(6))
		if r.IntN(5) == 0 && i > 0 { // several at the same time
			es[i] = ev(es[i-1].Time.Sub(epoch), "x", "b", i%200)
		}
	}
	slices.SortFunc(es, func(a, b event.Event) int { return cmp.Or(a.Time.Compare(b.Time), a.ID.Compare(b.ID)) })
	return slices.CompactFunc(es, func(a, b event.Event) bool { return a.ID == b.ID })
}

func text(alerts []event.Alert) string {
	var b strings.Builder
	for i := range alerts {
		e := alerts[i].Event()
		fmt.Fprintf(&b, "%s\n", e.AppendJSON(nil))
	}
	return b.String()
}

// difference returns the first line in which two texts differ.
func difference(got, want string) string {
	have, should := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(have), len(should)) {
		if i >= len(have) || i >= len(should) {
			return fmt.Sprintf("%d lines, want %d", len(have), len(should))
		}
		if have[i] != should[i] {
			return fmt.Sprintf("line %d\nhave %s\nwant %s", i, have[i], should[i])
		}
	}
	return "none"
}

// run processes events in batches, by some workers.
func run(t *testing.T, cfg correlator.Config, es []event.Event, batch, workers int) (string, correlator.Stats) {
	t.Helper()
	cfg.Detectors = []correlator.Detector{detector()}
	c, err := correlator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all correlator.Alerts
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			i := 0
			for part := range slices.Chunk(es, batch) {
				if i++; i%workers != w {
					continue
				}
				alerts, err := c.Process(context.Background(), part)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				all.Add(alerts)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	all.Add(c.Flush())
	return text(all.Sorted()), c.Stats()
}

// TestOrder: alerts are a function of the set of events, not of their order,
// batches, repetition, or the number of workers.
func TestOrder(t *testing.T) {
	for seed := range uint64(8) {
		es := random(seed, 150, 4*time.Hour)
		day := correlator.Config{Lateness: 24 * time.Hour}
		want, _ := run(t, correlator.Config{}, es, 7, 1)
		if strings.Count(want, "\n") < 10 {
			t.Fatalf("seed %d: hardly an alert:\n%s", seed, want)
		}
		same := func(what, got string) {
			t.Helper()
			if got != want {
				t.Fatalf("seed %d, %s: %s", seed, what, difference(got, want))
			}
		}
		check := func(what string, cfg correlator.Config, es []event.Event, batch, workers int) {
			t.Helper()
			got, _ := run(t, cfg, es, batch, workers)
			same(what, got)
		}
		check("one by one", correlator.Config{}, es, 1, 1)
		check("all at once", correlator.Config{}, es, len(es), 1)
		check("replayed", day, slices.Concat(es, es), 10, 1)
		for _, n := range []int{2, 4} {
			check(fmt.Sprint(n, " workers"), day, es, 5, n)
		}
		r := rand.New(rand.NewPCG(seed, 2))
		shuffled := slices.Clone(es)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		check("shuffled", day, shuffled, 3, 1)
		// Each event comes up to a quarter of an hour late.
		arrival := map[event.ID]time.Time{}
		for _, e := range es {
			arrival[e.ID] = e.Time.Add(time.Duration(r.Int64N(int64(15*time.Minute - 1))))
		}
		late := slices.Clone(es)
		slices.SortFunc(late, func(a, b event.Event) int { return arrival[a.ID].Compare(arrival[b.ID]) })
		check("late", correlator.Config{}, late, 4, 1)

		// Restarted: what came before is warmed up with.
		c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{detector()}})
		if err != nil {
			t.Fatal(err)
		}
		first, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{detector()}})
		if err != nil {
			t.Fatal(err)
		}
		var all correlator.Alerts
		half := len(es) / 2
		alerts, _ := first.Process(t.Context(), es[:half])
		all.Add(alerts)
		c.Resume(es[half-1].Time)
		from := es[half-1].Time.Add(-c.Horizon())
		remembered := slices.DeleteFunc(slices.Clone(es[:half]), func(e event.Event) bool { return e.Time.Before(from) })
		if err := c.Warm(t.Context(), remembered); err != nil {
			t.Fatal(err)
		}
		alerts, _ = c.Process(t.Context(), es[half:])
		all.Add(alerts)
		all.Add(c.Flush())
		same("restarted", text(all.Sorted()))
	}
}

// TestAgain: a batch whose alerts could not be stored comes again, and so do
// its alerts.
func TestAgain(t *testing.T) {
	es := random(1, 150, 4*time.Hour)
	c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{detector()}})
	if err != nil {
		t.Fatal(err)
	}
	var all correlator.Alerts
	for part := range slices.Chunk(es, 10) {
		alerts, err := c.Process(t.Context(), part)
		if err != nil {
			t.Fatal(err)
		}
		c.Again(alerts)
		if alerts, err = c.Process(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		all.Add(alerts)
	}
	c.Again(c.Flush())
	all.Add(c.Flush())
	want, _ := run(t, correlator.Config{}, es, 10, 1)
	if got := text(all.Sorted()); got != want {
		t.Error(difference(got, want))
	}
}

// TestTwin holds counts and evidence to the definition, written out plainly.
func TestTwin(t *testing.T) {
	for seed := range uint64(8) {
		es := random(seed, 150, 4*time.Hour)
		c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{detector()}})
		if err != nil {
			t.Fatal(err)
		}
		var all correlator.Alerts
		alerts, _ := c.Process(t.Context(), es)
		all.Add(alerts)
		all.Add(c.Flush())
		got := map[string][]event.ID{}
		for _, a := range all.Sorted() {
			if a.Rule.ID != "above" {
				got[a.Rule.ID+" "+a.Group+" "+a.ID.Time().Format("15")] = a.Evidence
				if int(a.Count) != len(a.Evidence) {
					t.Errorf("count %d, evidence %d", a.Count, len(a.Evidence))
				}
			}
		}
		want := map[string][]event.ID{}
		for i, e := range es {
			user := e.Get("user.name").Str()
			window := func(span time.Duration) (in []event.Event) {
				for _, x := range es[:i+1] {
					if x.Get("user.name").Str() == user && x.Time.After(e.Time.Add(-span)) {
						in = append(in, x)
					}
				}
				return in
			}
			fire := func(rule string, in []event.Event) {
				key := rule + " user.name=" + user + " " + e.Time.Format("15")
				for _, x := range in {
					if !slices.Contains(want[key], x.ID) {
						want[key] = append(want[key], x.ID)
					}
				}
				slices.SortFunc(want[key], event.ID.Compare)
			}
			if e.Get("what").Str() == "a" {
				fire("single", []event.Event{e})
			}
			in := window(10 * time.Minute)
			if len(in) >= 4 {
				fire("count", in)
			}
			if len(in) == 2 {
				fire("few", in)
			}
			different := map[string]bool{}
			for _, x := range in {
				different[x.Get("n").String()] = true
			}
			if len(different) >= 3 {
				fire("distinct", in)
			}
			in = window(20 * time.Minute)
			next := 0
			for k, x := range in {
				if k == len(in)-1 && next < 2 || next == 3 {
					break
				}
				if what := x.Get("what").Str(); next < 2 && what == string("abc"[next]) || k == len(in)-1 && what == "c" {
					next++
				}
			}
			if next == 3 && e.Get("what").Str() == "c" {
				fire("ordered", in)
			}
		}
		for k := range want {
			if !slices.Equal(got[k], want[k]) {
				t.Errorf("seed %d: %s\nhave %v\nwant %v", seed, k, got[k], want[k])
			}
		}
		for k := range got {
			if want[k] == nil {
				t.Errorf("seed %d: %s should not be", seed, k)
			}
		}
	}
}

// TestBounds: what is remembered has an end, which is counted, and what comes
// of it does not depend on the order either.
func TestBounds(t *testing.T) {
	es := random(1, 200, 50*time.Minute)
	cfg := correlator.Config{MaxSignals: 10, Lateness: time.Hour}
	want, stats := run(t, cfg, es, 9, 1)
	if stats.Truncated == 0 {
		t.Error("nothing was truncated")
	}
	shuffled := slices.Clone(es)
	rand.New(rand.NewPCG(3, 3)).Shuffle(len(es), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	got, _ := run(t, cfg, shuffled, 1000, 1)
	if got != want {
		t.Errorf("truncation depends on the order: %s", difference(got, want))
	}

	var many []event.Event
	for i := range 300 {
		many = append(many, ev(time.Duration(i)*time.Second, fmt.Sprint("user", i), "a", 1))
	}
	_, stats = run(t, correlator.Config{MaxGroups: 50}, many, 1, 1)
	if stats.Groups > 5*50+50 || stats.Evicted == 0 {
		t.Errorf("%+v", stats)
	}

	_, stats = run(t, correlator.Config{MaxKept: 200}, many, 10, 1)
	if stats.Kept > 200 || stats.Evicted == 0 {
		t.Errorf("%+v", stats)
	}

	// Days later, nothing of the first day is remembered.
	long := random(2, 2000, 10*24*time.Hour)
	_, stats = run(t, correlator.Config{}, long, 10, 1)
	if stats.Kept > 500 {
		t.Errorf("%d signals kept", stats.Kept)
	}
	if stats.Late != 0 {
		t.Errorf("%d late", stats.Late)
	}
	_, stats = run(t, correlator.Config{}, append(long, long[0]), 10, 1)
	if stats.Late == 0 {
		t.Error("an event ten days late is not counted")
	}
}

func TestLoss(t *testing.T) {
	ledger := func(minute int, sensor string, seen, dropped int) event.Event {
		e := event.Event{Kind: event.KindLedger, Sensor: sensor, Time: epoch.Add(time.Duration(minute) * time.Minute), Fields: []event.Field{
			{Name: "tocsin.ledger.seen", Value: event.Int(int64(seen))},
			{Name: "tocsin.ledger.dropped.queue", Value: event.Int(int64(dropped))},
			{Name: "tocsin.ledger.dropped.memory", Value: event.Int(int64(dropped))},
		}}
		e.ID = event.NewHasher().ID(e.Time)
		return e
	}
	es := []event.Event{ev(90*time.Second, "x", "a", 1), ev(200*time.Second, "x", "a", 1)}
	ledgers := []event.Event{
		ledger(0, "tap-a", 100, 50), ledger(1, "tap-a", 100, 5), ledger(2, "tap-a", 100, 15), ledger(3, "tap-a", 100, 0),
		ledger(2, "tap-b", 100, 40), ledger(4, "tap-a", 100, 20),
	}
	for _, order := range [][]event.Event{slices.Concat(es, ledgers), slices.Concat(ledgers, es), slices.Concat(es[:1], ledgers, es[1:])} {
		c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{detector()}})
		if err != nil {
			t.Fatal(err)
		}
		var all correlator.Alerts
		for i := range order {
			alerts, _ := c.Process(t.Context(), order[i:i+1])
			all.Add(alerts)
		}
		told := 0
		for _, a := range all.Sorted() {
			if a.Rule.ID != "single" {
				continue
			}
			if told++; a.Loss != 0.3 {
				t.Errorf("loss %v, want 0.3", a.Loss)
			}
		}
		if told != 1 {
			t.Errorf("%d alerts of the single rule, want 1", told)
		}
	}
}

func TestEnrich(t *testing.T) {
	var seen string
	c, err := correlator.New(correlator.Config{
		Enrichers: []correlator.Enricher{{Name: "zone", Enrich: func(e *event.Event) { e.Set("zone", event.Str("plant")) }}},
		Detectors: []correlator.Detector{{Name: "d", Match: func(e *event.Event, _ func(correlator.Signal)) { seen = e.Get("zone").Str() }}},
	})
	if err != nil {
		t.Fatal(err)
	}
	batch := []event.Event{ev(0, "x", "a", 1)}
	if _, err := c.Process(t.Context(), batch); err != nil || seen != "plant" || batch[0].Get("zone").Str() != "plant" {
		t.Errorf("%q %v", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Process(ctx, batch); err == nil {
		t.Error("a cancelled batch succeeded")
	}
	d := detector()
	if _, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{d, d}}); err == nil || !strings.Contains(err.Error(), `rule id single is taken by "single"`) {
		t.Error(err)
	}
}
