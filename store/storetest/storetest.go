// Package storetest is the contract of store.Store as code: a store
// is what passes it.
package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// Open opens the store that a directory stands for; the same directory gives
// the same store. It must be closed before it is opened again.
type Open func(t *testing.T, dir string) store.Store

// childEnv tells the test binary, started again by itself, to put events into
// a directory until it is killed.
const childEnv = "TOCSIN_STORETEST_CHILD"

// Traits say in what a store differs from the strictest.
type Traits struct {
	// InParts says that a Put may be seen while it is under way, and that a part
	// of it stays if it fails or its process dies. To put the same again then
	// completes it.
	InParts bool
}

// Test runs the contract against a store. It must be called at the top of a
// test function, as the process that is killed runs that function again.
func Test(t *testing.T, traits Traits, open Open) {
	if dir := os.Getenv(childEnv); dir != "" {
		putForever(t, open, dir)
		return
	}
	cases := []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"Empty", testEmpty},
		{"PutGet", testPutGet},
		{"PutTwice", testPutTwice},
		{"PutNothingOnError", testPutAllOrNone},
		{"Alerts", testAlerts},
		{"Random", testRandom},
		{"Conformance", testConformance},
		{"Pages", testPages},
		{"Cancel", testCancel},
		{"Expire", testExpire},
		{"ReadWhileWriting", func(t *testing.T, open Open) { testReadWhileWriting(t, traits, open) }},
		{"Kill", func(t *testing.T, open Open) { testKill(t, traits, open) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

func text(e *event.Event) string { return string(e.AppendJSON(nil)) }

func opened(t *testing.T, open Open) store.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t *testing.T, s store.Store, es []event.Event, as ...event.Alert) {
	t.Helper()
	if err := s.Put(t.Context(), es, as); err != nil {
		t.Fatal(err)
	}
}

func search(t *testing.T, s store.Store, q store.Query) []event.Event {
	t.Helper()
	var found []event.Event
	for e, err := range s.Search(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, e)
	}
	return found
}

func testEmpty(t *testing.T, open Open) {
	s := opened(t, open)
	if es := search(t, s, store.Query{}); len(es) != 0 {
		t.Errorf("found %d events", len(es))
	}
	from, to, err := s.Span(t.Context())
	if err != nil || !from.IsZero() || !to.IsZero() {
		t.Errorf("span %v %v %v", from, to, err)
	}
	bs, err := s.Count(t.Context(), store.Query{}, store.By{})
	if err != nil || len(bs) != 1 || bs[0].Count != 0 {
		t.Errorf("count %v %v", bs, err)
	}
	if bs, err = s.Count(t.Context(), store.Query{}, store.By{Field: "source.ip", Interval: time.Minute}); err != nil || len(bs) != 0 {
		t.Errorf("count by source %v %v", bs, err)
	}
	id := event.FirstID(Start)
	if _, err := s.Get(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if err := s.Update(t.Context(), id, event.Triage{Status: "closed"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("update: %v", err)
	}
	if n, err := s.Expire(t.Context(), Start); n != 0 || err != nil {
		t.Errorf("expire: %d %v", n, err)
	}
	put(t, s, nil)
}

func testPutGet(t *testing.T, open Open) {
	dir := t.TempDir()
	s := open(t, dir)
	g := NewGenerator(1)
	es := g.Events(300)
	a := g.Alert(es)
	put(t, s, es[:200], a)
	put(t, s, es[200:])
	check := func() {
		t.Helper()
		for i := range es {
			got, err := s.Get(t.Context(), es[i].ID)
			if err != nil {
				t.Fatal(err)
			}
			if text(&got) != text(&es[i]) {
				t.Fatalf("was %s\nis  %s", text(&es[i]), text(&got))
			}
		}
		want := a.Event()
		got, err := s.Get(t.Context(), a.ID)
		if err != nil || text(&got) != text(&want) {
			t.Errorf("alert %v\nwas %s\nis  %s", err, text(&want), text(&got))
		}
		lo := slices.MinFunc(es, func(a, b event.Event) int { return a.Time.Compare(b.Time) })
		hi := slices.MaxFunc(es, func(a, b event.Event) int { return a.Time.Compare(b.Time) })
		from, to, err := s.Span(t.Context())
		if err != nil || !from.Equal(lo.Time) || !to.Equal(hi.Time) {
			t.Errorf("span %v %v %v, want %v %v", from, to, err, lo.Time, hi.Time)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	check()
}

func testPutTwice(t *testing.T, open Open) {
	s := opened(t, open)
	g := NewGenerator(2)
	es := g.Events(500)
	put(t, s, es[:300])
	put(t, s, es[:300])
	put(t, s, es[100:400])
	changed := es[0].Clone()
	changed.Sensor = "other"
	put(t, s, append([]event.Event{changed, es[450]}, es[400:]...))
	same(t, s, &slow{events: es}, store.Query{})
	bs, err := s.Count(t.Context(), store.Query{}, store.By{Field: "event.dataset"})
	if err != nil {
		t.Fatal(err)
	}
	total := uint64(0)
	for _, b := range bs {
		total += b.Count
	}
	if total != 500 {
		t.Errorf("counted %d of 500", total)
	}
}

func testPutAllOrNone(t *testing.T, open Open) {
	s := opened(t, open)
	es := NewGenerator(3).Events(10)
	es[9].ID = event.ID{}
	if err := s.Put(t.Context(), es, nil); err == nil {
		t.Error("an event without an ID was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, es[:9], nil); err == nil {
		t.Error("put after its context ended")
	}
	if found := search(t, s, store.Query{}); len(found) != 0 {
		t.Errorf("%d events of failed puts are there", len(found))
	}
}

func testAlerts(t *testing.T, open Open) {
	s := opened(t, open)
	g := NewGenerator(4)
	es := g.Events(50)
	a := g.Alert(es)
	b := a
	b.Count, b.Message, b.Last = 7, "Something happened seven times", a.Last.Add(time.Hour)
	b.Evidence = append(slices.Clone(a.Evidence), event.LastID(a.Last.Add(time.Hour)))
	put(t, s, nil, a)
	put(t, s, nil, b)
	put(t, s, nil, a)
	judged := event.Triage{Status: "closed", Verdict: "benign", Reason: "a test", Assignee: "second", By: "analyst", At: Start.Add(time.Hour)}
	if err := s.Update(t.Context(), a.ID, judged); err != nil {
		t.Fatal(err)
	}
	put(t, s, es, b)
	want := a
	want.Merge(&b)
	want.Triage = judged
	e := want.Event()
	got, err := s.Get(t.Context(), a.ID)
	if err != nil || text(&got) != text(&e) {
		t.Errorf("%v\nwant %s\nhave %s", err, text(&e), text(&got))
	}
	if err := s.Update(t.Context(), es[0].ID, judged); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("triage of an event: %v", err)
	}
	found := search(t, s, store.Query{Where: query.Compare{Field: "tocsin.alert.status", Value: query.Literal{Text: "closed", Quoted: true}}})
	if len(found) != 1 || found[0].ID != a.ID {
		t.Errorf("closed alerts: %v", found)
	}
	twin := &slow{events: append(slices.Clone(es), e)}
	same(t, s, twin, store.Query{Set: store.Alerts})
	same(t, s, twin, store.Query{Set: store.Events, Desc: true})
	same(t, s, twin, store.Query{})
	// Two reports of one alert in one Put.
	c, d := g.Alert(es), event.Alert{}
	d = c
	d.Count = 9
	put(t, s, nil, c, d)
	if got, err := s.Get(t.Context(), c.ID); err != nil || got.Get("tocsin.alert.count").String() != "9" {
		t.Errorf("two reports at once: %v %v", got.Get("tocsin.alert.count"), err)
	}
}

func same(t *testing.T, s store.Store, twin *slow, q store.Query) {
	t.Helper()
	want, got := twin.search(q), search(t, s, q)
	for i := range min(len(want), len(got)) {
		// JSON of a few: it is slow, and they come from many blocks.
		if want[i].ID != got[i].ID || i%53 == 0 && text(&want[i]) != text(&got[i]) {
			t.Fatalf("%+v: number %d\nwant %s\nhave %s", q, i, text(&want[i]), text(&got[i]))
		}
	}
	if len(want) != len(got) {
		t.Fatalf("%+v: want %d, have %d", q, len(want), len(got))
	}
}

// filled puts generated events in batches of many sizes, not quite in order.
func filled(t *testing.T, s store.Store, g *Generator, n int) *slow {
	t.Helper()
	es := g.Events(n)
	r := rand.New(rand.NewPCG(9, uint64(n)))
	var as []event.Alert
	for rest := es; len(rest) > 0; {
		k := min(len(rest), 1+r.IntN(1+r.IntN(4000)))
		var some []event.Alert
		if r.IntN(2) == 0 {
			some = append(some, g.Alert(rest[:k]))
		}
		put(t, s, rest[:k], some...)
		as = append(as, some...)
		rest = rest[k:]
	}
	twin := &slow{events: es}
	for i := range as {
		twin.events = append(twin.events, as[i].Event())
	}
	return twin
}

func testRandom(t *testing.T, open Open) {
	s := opened(t, open)
	g := NewGenerator(5)
	n, queries := 5000, 200
	if testing.Short() {
		n, queries = 3000, 80
	}
	twin := filled(t, s, g, n)
	fields := []string{"", "source.ip", "dns.resolved_ip", "event.dataset", "network.protocol", "dns.answers.ttl", "ics.latency", "event.severity",
		"destination.port", "destination.ip", "tocsin.flow.state", "observer.name", "network.transport", "event.kind", "source.mac"}
	for range queries {
		q := g.Query(twin.events[:n])
		same(t, s, twin, q)
		by := store.By{Field: fields[g.r.IntN(len(fields))], Top: g.r.IntN(3)}
		if g.r.IntN(2) == 0 {
			by.Interval = []time.Duration{time.Minute, 5 * time.Minute, 7 * time.Second, time.Hour}[g.r.IntN(4)]
		}
		got, err := s.Count(t.Context(), q, by)
		if err != nil {
			t.Fatal(err)
		}
		want := twin.count(q, by)
		if !slices.EqualFunc(got, want, func(a, b store.Bucket) bool {
			return a.Time.Equal(b.Time) && a.Count == b.Count && a.Value.Equal(b.Value)
		}) {
			t.Fatalf("%+v by %+v\nwant %v\nhave %v", q, by, show(want), show(got))
		}
	}
}

func show(bs []store.Bucket) string {
	var b strings.Builder
	for _, x := range bs {
		fmt.Fprintf(&b, "%s %s %d; ", x.Time.Format(time.RFC3339Nano), x.Value, x.Count)
	}
	return b.String()
}

// testPages walks through everything by cursor.
func testPages(t *testing.T, open Open) {
	s := opened(t, open)
	twin := filled(t, s, NewGenerator(6), 3000)
	for _, desc := range []bool{false, true} {
		q := store.Query{Desc: desc, Limit: 97}
		want := twin.search(store.Query{Desc: desc})
		for {
			page := search(t, s, q)
			if len(page) == 0 {
				break
			}
			for i := range page {
				if len(want) == 0 || page[i].ID != want[0].ID {
					t.Fatalf("desc %v: %s is not what comes next", desc, page[i].ID)
				}
				want = want[1:]
			}
			q.After = page[len(page)-1].Place()
		}
		if len(want) != 0 {
			t.Errorf("desc %v: %d did not come", desc, len(want))
		}
	}
}

func testCancel(t *testing.T, open Open) {
	s := opened(t, open)
	filled(t, s, NewGenerator(7), 10_000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range s.Search(ctx, store.Query{}) {
		if err != nil {
			last = err
			continue
		}
		if n++; n == 10 {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("after %d events: %v", n, last)
	}
	if _, err := s.Count(ctx, store.Query{}, store.By{Field: "source.port"}); !errors.Is(err, context.Canceled) {
		t.Errorf("count: %v", err)
	}
	for range s.Search(t.Context(), store.Query{}) {
		break
	}
	// What is found is the caller's: changing it changes nothing.
	first := search(t, s, store.Query{Limit: 1, Where: query.Exists{Field: "dns.question.name"}})
	first[0].Set("dns.question.name", event.Str("changed"))
	again := search(t, s, store.Query{Limit: 1, Where: query.Exists{Field: "dns.question.name"}})
	if again[0].Get("dns.question.name").Str() == "changed" {
		t.Error("a change of a returned event is seen in the store")
	}
	// A search within a search.
	for e, err := range s.Search(t.Context(), store.Query{Limit: 5}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func testExpire(t *testing.T, open Open) {
	s := opened(t, open)
	g := NewGenerator(8)
	twin := filled(t, s, g, 12_000)
	for _, before := range []time.Time{Start.Add(-time.Hour), Start.Add(100 * time.Second), Start.Add(200 * time.Second).Truncate(time.Minute), Start.Add(205 * time.Second)} {
		left := []event.Event{}
		for _, e := range twin.events {
			if e.Kind == event.KindAlert || !e.Time.Before(before) {
				left = append(left, e)
			}
		}
		n, err := s.Expire(t.Context(), before)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(twin.events) - len(left); n != want {
			t.Errorf("expire before %v: %d, want %d", before, n, want)
		}
		twin.events = left
		same(t, s, twin, store.Query{})
		same(t, s, twin, store.Query{Where: query.Compare{Field: "source.ip", Value: query.Literal{Text: "10.1.0.0/28"}}})
		for _, by := range []store.By{{}, {Interval: time.Minute, Field: "event.dataset"}} {
			got, err := s.Count(t.Context(), store.Query{}, by)
			if err != nil {
				t.Fatal(err)
			}
			if want := twin.count(store.Query{}, by); show(got) != show(want) {
				t.Errorf("count after expire %v\nwant %v\nhave %v", by, show(want), show(got))
			}
		}
	}
	// What has expired may come again.
	es := NewGenerator(8).Events(100)
	put(t, s, es)
	if _, err := s.Get(t.Context(), es[0].ID); err != nil {
		t.Error(err)
	}
}

func testReadWhileWriting(t *testing.T, traits Traits, open Open) {
	s := opened(t, open)
	es := NewGenerator(10).Events(6000)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			last := 0
			for {
				n, prev := 0, event.ID{}
				for e, err := range s.Search(t.Context(), store.Query{}) {
					if err != nil {
						t.Error(err)
						return
					}
					if e.ID.Compare(prev) <= 0 {
						t.Error("out of order")
						return
					}
					prev = e.ID
					n++
				}
				// Batches of 50 are seen as a whole, and never go away again.
				if n%50 != 0 && !traits.InParts || n < last {
					t.Errorf("a search finds %d events after %d", n, last)
					return
				}
				last = n
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := 0; i < len(es); i += 50 {
		put(t, s, es[i:i+50])
	}
	close(done)
	wg.Wait()
}

// testKill kills a process that puts events, at a random moment, and looks for
// all that it was told are kept.
func testKill(t *testing.T, traits Traits, open Open) {
	name := strings.Split(t.Name(), "/")[0]
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	var acked []string
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$")
		cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("TOCSIN_STORETEST_SEED=%d", round+100))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		stop := 10 + rand.IntN(40)
		n := 0
		for lines.Scan() {
			id, ok := strings.CutPrefix(lines.Text(), "ack ")
			if !ok {
				continue
			}
			acked = append(acked, id)
			if n++; n == stop {
				// Not quite at the acknowledgement: within the next Put.
				time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		cmd.Wait()
		if n < stop {
			t.Fatalf("round %d: the child ended after %d acknowledgements", round, n)
		}
		s := open(t, dir)
		total := uint64(0)
		bs, err := s.Count(t.Context(), store.Query{Set: store.Events}, store.By{})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bs {
			total += b.Count
		}
		found := len(search(t, s, store.Query{Set: store.Events}))
		if uint64(found) != total || found%childBatch != 0 && !traits.InParts {
			t.Errorf("round %d: %d events found, %d counted, in batches of %d", round, found, total, childBatch)
		}
		for _, text := range acked {
			id, err := event.ParseID(text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), id); err != nil {
				t.Errorf("round %d: acknowledged, but: %v", round, err)
			}
		}
		if traits.InParts {
			// Who was killed puts the same again, and then all of it is there once.
			g := NewGenerator(uint64(round + 100))
			for range n + 1 {
				es := g.Events(childBatch)
				put(t, s, es, g.Alert(es))
			}
			if again := len(search(t, s, store.Query{Set: store.Events})); again%childBatch != 0 || again < found {
				t.Errorf("round %d: %d events found after %d were put again; %d before", round, again, (n+1)*childBatch, found)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const childBatch = 100

func putForever(t *testing.T, open Open, dir string) {
	var seed uint64
	fmt.Sscan(os.Getenv("TOCSIN_STORETEST_SEED"), &seed)
	s := open(t, dir)
	g := NewGenerator(seed)
	for {
		es := g.Events(childBatch)
		put(t, s, es, g.Alert(es))
		fmt.Printf("ack %s\n", es[childBatch-1].ID)
	}
}
