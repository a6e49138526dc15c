package sigma

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

func tuning(t *testing.T, text string) *Tuning {
	t.Helper()
	tune, errs := ParseTuning("tuning.yml", []byte(text))
	for _, err := range errs {
		t.Fatal(err)
	}
	return tune
}

func compileTuned(t *testing.T, text, tune string, previous *Set) *Set {
	t.Helper()
	rules, errs := Parse("r.yml", []byte(text))
	set, more := Compile(rules, Options{Schema: testSchema(t), Tuning: tuning(t, tune), Previous: previous})
	for _, err := range append(errs, more...) {
		t.Fatal(err)
	}
	return set
}

const txt = "title: r\nid: r1\nlogsource: {product: tocsin, service: dns}\ndetection: {s: {dns.question.type: TXT}, condition: s}\n"

func TestTuning(t *testing.T) {
	query := func(at_ time.Duration, name string) event.Event {
		return at(int(at_/time.Second), "dns", "192.0.2.1", "192.0.2.2", str("dns.question.type", "TXT"), str("dns.question.name", name))
	}
	const exception = `
rules:
  r1:
    exceptions:
      - when: {dns.question.name|endswith: .own.example}
        reason: our own updates
        author: s.m.
        expires: 2026-03-05
`
	set := compileTuned(t, txt, exception, nil)
	for _, c := range []struct {
		e    event.Event
		want int
	}{
		{query(0, "a.own.example"), 0},
		{query(0, "a.other.example"), 1},
		{query(48*time.Hour, "a.own.example"), 1}, // by then it has expired, whenever it is looked at
	} {
		if got := len(matches(set, c.e)); got != c.want {
			t.Errorf("%v %v: %d signals, want %d", c.e.Time, c.e.Get("dns.question.name"), got, c.want)
		}
	}
	if set.alerts[0].Hash == compileTuned(t, txt, "", nil).alerts[0].Hash {
		t.Error("an exception changes what a rule means, so its hash, too")
	}
	if set := compileTuned(t, txt, "rules: {r1: {state: disabled}}", nil); len(set.Rules) != 0 {
		t.Errorf("%d rules, one disabled", len(set.Rules))
	}
	set = compileTuned(t, txt, "rules: {r1: {state: shadow}, r2: {state: shadow}}", nil)
	if len(set.Warnings) != 1 || !strings.Contains(set.Warnings[0].Error(), "tuning.yml:1: rules.r2: there is no rule with this id; did you mean r1?") {
		t.Errorf("warnings %v", set.Warnings)
	}
	c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{set.Detector()}})
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := c.Process(t.Context(), []event.Event{query(0, "a.example")})
	if err != nil || len(alerts) != 0 {
		t.Errorf("a rule in the shadow made %d alerts, %v", len(alerts), err)
	}
	if st := c.Stats().Rules[0]; st.Signals != 1 || st.Alerts != 1 || st.Seen != 1 {
		t.Errorf("ledger %+v", st)
	}

	for text, want := range map[string]string{
		"rule: {}":                  "tuning.yml:1: rule: unknown key: want rules, placeholders",
		"rules: {r1: {state: off}}": `rules.r1.state: "off" is none of enabled, shadow, disabled`,
		"rules: {r1: {exceptions: [{when: {a: b}}]}}":                                                  "rules.r1.exceptions.reason: missing: say why",
		"rules: {r1: {exceptions: [{when: {a: b}, expires: soon}]}}":                                   "rules.r1.exceptions.expires: want a day",
		"rules: {r1: {exceptions: {when: {a: b}}}}":                                                    "want a list, have a mapping",
		"rules: {r1: {exceptions: [{when: {dns.nam: b}, reason: r, author: a, expires: 2027-01-01}]}}": "exception 1.dns.nam: no event carries dns.nam",
	} {
		tune, errs := ParseTuning("tuning.yml", []byte(text))
		rules, _ := Parse("r.yml", []byte(txt))
		_, more := Compile(rules, Options{Schema: testSchema(t), Tuning: tune})
		var have []string
		for _, e := range append(errs, more...) {
			have = append(have, e.Error())
		}
		if !strings.Contains(strings.Join(have, "\n"), want) {
			t.Errorf("%s\nwant %s\nhave %s", text, want, strings.Join(have, "\n"))
		}
	}
}

// TestReloadKeepsMemory: a correlation that is half way when the rules are
// loaded again goes on, if it is the same; a changed one begins anew.
func TestReloadKeepsMemory(t *testing.T) {
	const count = "title: c\nid: c\ncorrelation: {type: event_count, rules: [failed], group-by: [user.name], timespan: 1h, condition: {gte: 4}}\n---\n" + logins
	load := func(text string, previous *Set) *Set {
		return compileTuned(t, text, "", previous)
	}
	for _, changed := range []bool{false, true} {
		set := load(count, nil)
		c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{set.Detector()}})
		if err != nil {
			t.Fatal(err)
		}
		process := func(seconds ...int) (alerts []event.Alert) {
			var es []event.Event
			for _, s := range seconds {
				es = append(es, login(s, "failed", "a"))
			}
			alerts, err := c.Process(t.Context(), es)
			if err != nil {
				t.Fatal(err)
			}
			return alerts
		}
		process(0, 1, 2)
		again := count
		if changed {
			again = strings.Replace(count, "gte: 4", "gte: 3", 1)
		}
		next := load(again, set)
		if err := c.Replace([]correlator.Detector{next.Detector()}); err != nil {
			t.Fatal(err)
		}
		alerts := process(3)
		if changed && len(alerts) != 0 || !changed && (len(alerts) != 1 || alerts[0].Count != 4) {
			t.Errorf("changed %v: %d alerts", changed, len(alerts))
		}
		// What cannot be put in force changes nothing.
		if err := c.Replace([]correlator.Detector{next.Detector(), next.Detector()}); err == nil {
			t.Error("two rules of one id are in force")
		}
		if alerts := process(4, 5); len(alerts) == 0 {
			t.Error("after a bad set the good one is gone")
		}
	}
}

// TestReloadMissesNothing: rules are loaded again and again while events are
// matched, and each event is matched once.
func TestReloadMissesNothing(t *testing.T) {
	text := txt
	for i := range 200 {
		text += fmt.Sprintf("---\ntitle: x%d\nid: x%d\nlogsource: {product: tocsin, service: dns}\ndetection: {s: {dns.question.name: x%d.example}, condition: s}\n", i, i, i)
	}
	set := compileTuned(t, text, "", nil)
	c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{set.Detector()}})
	if err != nil {
		t.Fatal(err)
	}
	const batches, size = 200, 50
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for b := range batches {
				es := make([]event.Event, size)
				for i := range es {
					es[i] = at((b*size+i)*2+w, "dns", "192.0.2.1", "192.0.2.2", str("dns.question.type", "TXT"), str("dns.question.name", "n.example"))
				}
				if _, err := c.Process(t.Context(), es); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	reloads := 0
	for finished := false; !finished; reloads++ {
		set = compileTuned(t, text, "", set)
		if err := c.Replace([]correlator.Detector{set.Detector()}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			finished = true
		default:
		}
	}
	for _, r := range c.Stats().Rules {
		if r.ID == "r1" && (r.Signals != 2*batches*size || r.Seen != r.Signals) {
			t.Errorf("%d of %d events matched, %d seen, with %d reloads", r.Signals, 2*batches*size, r.Seen, reloads)
		}
	}
	if reloads < 2 {
		t.Errorf("only %d reloads", reloads)
	}
}

// TestSpent: the time that rules take is measured, and changes nothing.
func TestSpent(t *testing.T) {
	var now time.Duration
	rules, _ := Parse("r.yml", []byte(txt))
	set, _ := Compile(rules, Options{Schema: testSchema(t), Clock: func() time.Time { now += time.Microsecond; return epoch.Add(now) }})
	for i := range 640 {
		if n := len(matches(set, at(i, "dns", "192.0.2.1", "192.0.2.2", str("dns.question.type", "TXT")))); n != 1 {
			t.Fatalf("%d signals", n)
		}
	}
	if got := set.Spent()["r1"]; got < 320*time.Microsecond || got > 1280*time.Microsecond {
		t.Errorf("spent %v of 640 events, each of a microsecond", got)
	}
}
