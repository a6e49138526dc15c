package spread_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/spread"
	"github.com/tocsin/tocsin/correlator/spread/spreadtest"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

var epoch = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

// config has a rule of each sort: single, count, distinct, in order, one that
// later events may undo, an average, and a family of two that group differently.
func config() correlator.Config {
	rule := func(id string, w *correlator.Window) *correlator.Rule {
		return &correlator.Rule{Rule: event.Rule{ID: id, Name: id}, Severity: 50, Message: id + " {count} {sources} {source} {targets} {target}", Window: w}
	}
	single := rule("single", nil)
	count := rule("count", window.Count("events", 10*time.Minute, window.AtLeast(4)))
	distinct := rule("distinct", window.Distinct("n", 10*time.Minute, window.AtLeast(3)))
	ordered := rule("ordered", window.Ordered([]string{"a", "b", "c"}, 20*time.Minute))
	few := rule("few", window.Count("events", 10*time.Minute, window.Limits{{Op: window.LTE, N: 2}, {Op: window.GT, N: 1}}))
	mean := rule("mean", window.Average("n", 15*time.Minute, window.Limits{{Op: window.GT, N: 3}}))
	below := rule("below", window.Count("events", 5*time.Minute, window.AtLeast(2)))
	below.Silent = true
	above := rule("above", window.Count("bursts", 30*time.Minute, window.AtLeast(3)))
	below.Family, above.Family = "bursts", "bursts"
	rules := []*correlator.Rule{single, count, distinct, ordered, few, mean, below, above}
	return correlator.Config{Detectors: []correlator.Detector{{
		Name: "test", Rules: rules,
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			user, what := e.Get("user.name").Str(), e.Get("what").Str()
			note := &correlator.Note{Users: []string{user}, Explain: []event.Explain{{Field: "what", Predicate: "is", Value: what}}}
			for _, r := range rules[:7] {
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
					s.Then = []correlator.Signal{correlator.Of(above, "what="+what, e)}
				}
				emit(s)
			}
		},
	}}}
}

func random(seed uint64, n int, span time.Duration) []event.Event {
	r := rand.New(rand.NewPCG(seed, 1))
	es := make([]event.Event, n)
	for i := range es {
		what := string("abc"[r.IntN(3)])
		e := event.Event{Kind: "test", Sensor: "tap-" + what, Time: epoch.Add(time.Duration(r.Int64N(int64(span)))), Fields: []event.Field{
			{Name: "user.name", Value: event.Str(string("xyz"[r.IntN(3)]))}, {Name: "what", Value: event.Str(what)}, {Name: "n", Value: event.Int(int64(r.IntN(6)))},
		}}
		if r.IntN(20) == 0 {
			e.Kind = event.KindLedger
			e.Fields = []event.Field{{Name: "tocsin.ledger.seen", Value: event.Int(100)}, {Name: "tocsin.ledger.dropped.kernel", Value: event.Int(int64(r.IntN(60)))}}
		}
		e.Flow.Src.IP = netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(9))})
		e.Flow.Dst.IP = netip.MustParseAddr("198.51.100.1")
		e.Flow.CommunityID = fmt.Sprint("1:", r.IntN(50))
		h := event.NewHasher()
		h.Bytes(e.AppendJSON(nil))
		e.ID = h.ID(e.Time)
		es[i] = e
	}
	slices.SortFunc(es, func(a, b event.Event) int { return a.Time.Compare(b.Time) })
	return es
}

func whole(t *testing.T, cfg correlator.Config, events []event.Event) []event.Alert {
	t.Helper()
	c, err := correlator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all correlator.Alerts
	for part := range slices.Chunk(events, 10) {
		alerts, err := c.Process(t.Context(), part)
		if err != nil {
			t.Fatal(err)
		}
		all.Add(alerts)
	}
	all.Add(c.Flush())
	return all.Sorted()
}

// TestSpread: however many processes share the work, whatever they read first,
// and however often they die, the alerts are those of one process.
func TestSpread(t *testing.T) {
	restarts := 0
	for seed := range uint64(16) {
		events := random(seed, 600, 12*time.Hour)
		want := whole(t, config(), slices.Clone(events))
		if len(want) < 50 {
			t.Fatalf("hardly an alert: %d", len(want))
		}
		p := spreadtest.Play{
			Matcher: func() (*correlator.Matcher, error) { return correlator.NewMatcher(config()) },
			Sources: 1 + int(seed)%5, Keepers: 1 + int(seed)%7, Workers: 1 + int(seed)%3, Mishaps: seed > 4, Seed: seed, Mixed: int(seed % 4),
		}
		if diff := spreadtest.Difference(p.Run(t, events), want); diff != "" {
			t.Errorf("seed %d: %s", seed, diff)
		}
		restarts += p.Restarts
	}
	if restarts < 300 {
		t.Errorf("only %d memories were read again", restarts)
	}
}

func TestMessages(t *testing.T) {
	rule := &correlator.Rule{Rule: event.Rule{ID: "r"}}
	other := &correlator.Rule{Rule: event.Rule{ID: "o"}, Family: "f"}
	find := func(id string) *correlator.Rule { return map[string]*correlator.Rule{"r": rule, "o": other}[id] }
	at := epoch.Add(123456789)
	for i, m := range []spread.Message{
		{Signal: &correlator.Signal{Rule: rule, Group: "a=<&> \"b\"", ID: event.ID{1, 2}, Time: at, Sensor: "s", Source: netip.MustParseAddr("2001:db8::1"), Part: 3}},
		{Signal: &correlator.Signal{
			Rule: other, Shared: "x=1", Time: at,
			Value: event.List(event.Str(""), event.Int(-1), event.Uint(math.MaxUint64), event.Float(math.Inf(1)), event.Float(.1), event.Bool(false), event.IP(netip.MustParseAddr("::ffff:192.0.2.1")), event.Time(at), event.List(event.Int(1))),
			Note:  &correlator.Note{Message: "m", Severity: 7, Hosts: []string{"h"}, Users: []string{"u"}, Explain: []event.Explain{{Field: "f", Predicate: "p", Value: "v"}}, Indicator: event.Indicator{Value: "x"}},
			Then:  []correlator.Signal{{Rule: rule, Group: "g", Time: at, Then: []correlator.Signal{{Rule: other, Time: at}}}},
		}},
		{Loss: &correlator.Loss{Sensor: "s", Minute: epoch, Share: .25}},
		{Mark: &spread.Mark{Partition: 3, Next: 17, Time: at}},
	} {
		text, err := spread.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := spread.Decode(text, find)
		if err != nil {
			t.Fatalf("%d: %s: %v", i, text, err)
		}
		again, err := spread.Encode(got)
		if err != nil || string(again) != string(text) {
			t.Errorf("%d\nhave %s\nwant %s", i, again, text)
		}
		if s := m.Signal; s != nil && (got.Signal.Home() != s.Home() || !got.Signal.Value.Equal(s.Value) || got.Signal.Rule != s.Rule) {
			t.Errorf("%d: %+v, want %+v", i, got.Signal, s)
		}
	}
	for text, want := range map[string]string{
		`{"v":1,"signal":{"rule":"gone"}}`: "rule gone is not known here",
		`{"v":1}`:                          "neither signal nor loss nor mark",
		`{"v":1,"mark":{"partition":-1}}`:  "mark of partition -1",
		`{`:                                "unexpected end",
		`{"v":1,"signal":{"rule":"r","value":{"float":"x"}}}`: "value",
	} {
		if _, err := spread.Decode([]byte(text), find); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := spread.Decode([]byte(`{"v":2}`), find); !errors.Is(err, spread.ErrNewer) {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"v":1,"signal":{"rule":"r","id":"01","time":"2026-03-04T05:00:00Z","value":{"list":[{"int":1},{}]},"then":[{"rule":"r"}]}}`)
	f.Add(`{"v":1,"loss":{"sensor":"s","minute":"2026-03-04T05:00:00Z","share":0.5}}`)
	f.Add(`{"v":1,"mark":{"partition":0,"next":1,"time":"2026-03-04T05:00:00Z"}}`)
	rule := &correlator.Rule{Rule: event.Rule{ID: "r"}}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := spread.Decode([]byte(text), func(string) *correlator.Rule { return rule })
		if err != nil {
			return
		}
		one, err := spread.Encode(m)
		if err != nil {
			return // a time that RFC 3339 has no form for
		}
		again, err := spread.Decode(one, func(string) *correlator.Rule { return rule })
		if err != nil {
			t.Fatalf("%s: %v", one, err)
		}
		two, _ := spread.Encode(again)
		if string(one) != string(two) {
			t.Errorf("%s\n%s", one, two)
		}
	})
}

func TestCheckpoint(t *testing.T) {
	c := spread.Checkpoint{Start: 5, Horizon: time.Hour, Marks: []int64{1, 2, 3, 4}}
	got, err := spread.ParseCheckpoint(c.String())
	if err != nil || got.String() != c.String() {
		t.Error(got, err)
	}
	c.Marks = make([]int64, 2000)
	for i := range c.Marks {
		c.Marks[i] = math.MaxInt64
	}
	if got, err := spread.ParseCheckpoint(c.String()); err != nil || got.Start != 5 || got.Marks != nil {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "{", `{"start":-1}`, `{"marks":[1]}`} {
		if _, err := spread.ParseCheckpoint(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
