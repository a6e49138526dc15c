package correlator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
)

// A group that slept has the same signals.
func TestSleep(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		return []string{"", "a", "例", strings.Repeat("long ", 100), fmt.Sprint(r.Uint32())}[r.IntN(5)]
	}
	texts := func() (list []string) {
		for range r.IntN(3) {
			list = append(list, text())
		}
		return list
	}
	addr := func() netip.Addr {
		return []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1")}[r.IntN(4)]
	}
	value := func() event.Value {
		return []event.Value{{}, event.Str(text()), event.Int(-r.Int64()), event.Int(7), event.Uint(1 << 63), event.Float(r.NormFloat64()), event.IP(netip.MustParseAddr("192.0.2.7"))}[r.IntN(7)]
	}
	rule := &Rule{Window: &Window{Span: time.Hour}}
	s := newState(Config{}, nil)
	packed := 0
	for range 5000 {
		g := &group{rule: rule, key: "k", open: &open{closed: []time.Time{{}, time.Unix(r.Int64N(1e9), 0).UTC()}[r.IntN(2)]}}
		for i := range 1 + r.IntN(drowsy) {
			sig := &Signal{Rule: rule, Group: "k", Time: time.Unix(int64(i), r.Int64N(1e9)).UTC(), Sensor: text(), Source: addr(), Target: addr(), Part: r.IntN(3), Shared: text(), Value: value()}
			for j := range sig.ID {
				sig.ID[j] = byte(r.Uint32())
			}
			for range r.IntN(3) {
				sig.Places = append(sig.Places, event.Place{IP: addr(), Country: "XX", AS: r.Uint32N(3)})
			}
			if r.IntN(3) > 0 {
				sig.Note = &Note{Message: text(), Severity: r.IntN(100), Hosts: texts(), Users: texts()}
				for range r.IntN(3) {
					sig.Note.Explain = append(sig.Note.Explain, event.Explain{Field: text(), Predicate: text(), Value: text()})
				}
				if r.IntN(2) == 0 {
					sig.Note.Indicator = event.Indicator{Type: text(), Value: text(), Provider: text(), Confidence: r.IntN(100), Reference: text(), Description: text(), TLP: text()}
				}
			}
			g.signals, g.fired = append(g.signals, sig), append(g.fired, false)
		}
		want := *g.open
		first, last := g.first(), g.last()
		s.sleep(g)
		if g.asleep == "" {
			t.Fatal("the group does not sleep")
		}
		packed += len(g.asleep)
		if g.size() != len(want.signals) || !g.first().Equal(first) || !g.last().Equal(last) {
			t.Fatalf("asleep: %d signals from %v to %v", g.size(), g.first(), g.last())
		}
		s.wake(g)
		if !g.closed.Equal(want.closed) || !reflect.DeepEqual(g.signals, want.signals) && !same(g.signals, want.signals) {
			t.Fatalf("have %+v\nwant %+v", g.signals, want.signals)
		}
	}
	if packed == 0 || len(s.words.list) > maxWords {
		t.Errorf("%d bytes, %d words", packed, len(s.words.list))
	}
}

// same compares values by what they say: reflect cannot look into them.
func same(a, b []*Signal) bool {
	for i := range a {
		x, y := *a[i], *b[i]
		if !x.Value.Equal(y.Value) {
			return false
		}
		x.Value, y.Value = event.Value{}, event.Value{}
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return len(a) == len(b)
}

// What cannot be packed stays awake.
func TestSleepless(t *testing.T) {
	rule := &Rule{Window: &Window{Span: time.Hour}}
	s := newState(Config{}, nil)
	for name, change := range map[string]func(*group){
		"a window that held":  func(g *group) { g.bucket(time.Unix(0, 0)) },
		"one that waits":      func(g *group) { s.waiting[g] = true },
		"released by another": func(g *group) { g.signals[0].from = g },
		"releases others":     func(g *group) { g.signals[0].Then = []Signal{{}} },
		"a list":              func(g *group) { g.signals[0].Value = event.Strs([]string{"a"}) },
		"a zone":              func(g *group) { g.signals[0].Source = netip.MustParseAddr("fe80::1%eth0") },
		"no signal":           func(g *group) { g.signals, g.fired = nil, nil },
	} {
		g := &group{rule: rule, key: "k", open: &open{signals: []*Signal{{Time: time.Unix(1, 0).UTC()}}, fired: []bool{false}}}
		change(g)
		if s.sleep(g); g.asleep != "" {
			t.Errorf("%s sleeps", name)
		}
	}
}
