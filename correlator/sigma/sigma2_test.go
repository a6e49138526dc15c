package sigma

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// TestFilters narrows rules from without, as the specification and pySigma write it.
func TestFilters(t *testing.T) {
	const rule = "title: r\nid: r1\nname: tunnel\nlogsource: {product: tocsin, service: dns}\ndetection: {s: {dns.question.type: TXT}, condition: s}\n---\n"
	query := func(name string) event.Event {
		return at(0, "dns", "192.0.2.1", "192.0.2.2", str("dns.question.type", "TXT"), str("dns.question.name", name))
	}
	filter := func(rules, rest string) string {
		return "title: f\nlogsource: {product: tocsin}\nfilter:\n  rules: " + rules + "\n  selection: {dns.question.name|endswith: .own.example}\n" + rest
	}
	plain := mustCompile(t, strings.TrimSuffix(rule, "---\n"))
	for _, text := range []string{
		filter("[r1]", "  condition: selection\n"),
		filter("[tunnel]", "  condition: not selection\n"),
		filter("any", "  condition: selection\n"),
		filter("[r1]", "  more: {user.name: x}\n  condition: selection or more\n"),
	} {
		set := mustCompile(t, rule+text)
		for name, want := range map[string]int{"a.own.example": 0, "a.other.example": 1} {
			if got := len(matches(set, query(name))); got != want {
				t.Errorf("%s\n%s: %d signals, want %d", text, name, got, want)
			}
		}
		if set.alerts[0].Hash == plain.alerts[0].Hash {
			t.Error("a filter changes what a rule means, so its hash, too")
		}
		if len(set.Rules) != 1 {
			t.Errorf("%d rules; a filter is none", len(set.Rules))
		}
	}
	for text, want := range map[string]string{
		filter("[r2]", "  condition: selection\n"): "r.yml:10: filter.rules: there is no rule with the name or id r2; did you mean r1?",
		filter("[r1]", ""):                         "filter.condition: missing",
		filter("[r1]", "  condition: selektion\n"): "filter.condition: there is no search identifier selektion; did you mean selection?",
		"title: f\nlogsource: {product: zeek}\nfilter: {rules: [r1], s: {uid: x}, condition: s}\n":                          "r1 is about product: tocsin, service: dns, the filter about product: zeek",
		"title: f\nlogsource: {product: tocsin}\nfilter: {rules: [r1], s: {dns.nam: x}, condition: s}\n":                    "filter.s.dns.nam: no event carries dns.nam",
		"title: f\nlogsource: {product: tocsin}\nfilter: {s: {user.name: x}, condition: s}\n":                               "filter.rules: missing",
		"title: f\nlogsource: {product: tocsin}\nfilter: {rules: [r1], condition: s}\n":                                     "filter: no search identifier",
		"title: f\nlogsource: {product: tocsin}\nfilter: {rules: [r1], s: {user.name: x}, condition: s}\ncorrelation: {}\n": "a filter is a document of its own",
	} {
		rules, errs := Parse("r.yml", []byte(rule+text))
		_, more := Compile(rules, Options{Schema: testSchema(t)})
		var have []string
		for _, e := range append(errs, more...) {
			have = append(have, e.Error())
		}
		if !strings.Contains(strings.Join(have, "\n"), want) {
			t.Errorf("%s\nwant %s\nhave %s", text, want, strings.Join(have, "\n"))
		}
	}
}

// TestCollections reads the files of several rules that Sigma 1 had.
func TestCollections(t *testing.T) {
	set := mustCompile(t, `
action: global
title: shared
id: c1
level: high
logsource: {product: tocsin}
detection:
  s: {dns.question.type: TXT}
  condition: s and t
---
logsource: {service: dns}
detection:
  t: {dns.question.name: a.example}
---
logsource: {service: http}
detection:
  t: {dns.question.name: b.example}
---
action: repeat
detection:
  t: {dns.question.name: c.example}
---
action: reset
---
title: other
logsource: {product: tocsin, service: dns}
detection: {s: {dns.question.name: d.example}, condition: s}
`)
	var have []string
	for _, r := range set.Rules {
		have = append(have, fmt.Sprintf("%s %s %q %s", r.ID, r.Title, r.LogSource, r.Level))
	}
	want := []string{`c1 shared "product: tocsin, service: dns" high`, `c1-2 shared "product: tocsin, service: http" high`, `c1-3 shared "product: tocsin, service: http" high`}
	if !slices.Equal(have[:3], want) || len(have) != 4 || !strings.HasSuffix(have[3], ` other "product: tocsin, service: dns" `) {
		t.Errorf("have %q", have)
	}
	for name, kind := range map[string]event.Kind{"a.example": "dns", "b.example": "http", "c.example": "http", "d.example": "dns"} {
		for _, k := range []event.Kind{"dns", "http"} {
			n := len(matches(set, at(0, k, "192.0.2.1", "192.0.2.2", str("dns.question.type", "TXT"), str("dns.question.name", name))))
			if (n == 1) != (k == kind) {
				t.Errorf("%s in %s: %d", name, k, n)
			}
		}
	}
}

// TestAggregation reads what Sigma 1 counted in a condition as a correlation.
func TestAggregation(t *testing.T) {
	f := func(condition string, want []string, seconds ...int) {
		t.Helper()
		var events []event.Event
		for _, s := range seconds {
			events = append(events, at(s, "dns", "192.0.2.1", "192.0.2.2", str("dns.question.type", "TXT"), str("user.name", fmt.Sprint(s%3)), num("http.request.body.bytes", s)))
		}
		rule := "title: many\nid: m\nlevel: high\nlogsource: {category: dns}\ndetection:\n  s: {record_type: TXT}\n  condition: s | " + condition + "\n  timeframe: 1m\n"
		if got := correlate(t, rule, events...); !slices.Equal(got, want) {
			t.Errorf("%s\nhave %q\nwant %q", condition, got, want)
		}
	}
	f("count() by src_ip > 2", []string{"source.ip=192.0.2.1: 0 10 20"}, 0, 10, 20)
	f("count() by src_ip > 2", nil, 0, 10, 70)
	f("count() >= 2", []string{": 0 10"}, 0, 10)
	f("count(user.name) by src_ip,dst_ip > 1", []string{"source.ip=192.0.2.1 destination.ip=192.0.2.2: 0 1"}, 0, 1)
	f("count(user.name) by src_ip > 1", nil, 0, 3)
	f("sum(http.request.body.bytes) by src_ip > 29", []string{"source.ip=192.0.2.1: 10 20"}, 10, 20)

	set := mustCompile(t, "title: many\nid: m\nlevel: high\ntags: [attack.t1046]\nlogsource: {category: dns}\ndetection:\n  s: {record_type: TXT}\n  condition: s | count() by src_ip > 50\n  timeframe: 1m\n")
	if len(set.alerts) != 1 || set.alerts[0].ID != "m" || set.alerts[0].Severity != 70 || len(set.alerts[0].Techniques) != 1 {
		t.Errorf("alerts of %+v", set.alerts[0])
	}
}

// TestExceptions: an optional exception that no event can meet is left out with
// a warning; one that is not optional is an error.
func TestExceptions(t *testing.T) {
	const rule = "title: t\nlogsource: {category: network_connection}\ndetection:\n  s: {DestinationPort: 502}\n  %s: {Image|endswith: x.exe}\n  condition: s and not 1 of filter_*\n"
	compile := func(text string) (*Set, []*Error) {
		rules, errs := Parse("r.yml", []byte(text))
		set, more := Compile(rules, Options{Schema: testSchema(t)})
		return set, append(errs, more...)
	}
	set, errs := compile(fmt.Sprintf(rule, "filter_optional_x"))
	if len(errs) > 0 || len(set.Warnings) != 1 || !strings.Contains(set.Warnings[0].Error(), "r.yml:5: detection.filter_optional_x.Image|endswith: this exception is left out") {
		t.Errorf("errors %v, warnings %v", errs, set.Warnings)
	}
	if n := len(matches(set, at(0, "flow", "192.0.2.1", "192.0.2.2"))); n != 1 {
		t.Errorf("%d signals", n)
	}
	if _, errs = compile(fmt.Sprintf(rule, "filter_main_x")); len(errs) != 1 || !strings.Contains(errs[0].Error(), "program on a host") {
		t.Errorf("errors %v", errs)
	}
	// What the condition demands is no exception, whatever it is called.
	_, errs = compile(strings.Replace(fmt.Sprintf(rule, "filter_optional_x"), "s and not 1", "s and 1", 1))
	if len(errs) != 1 {
		t.Errorf("errors %v", errs)
	}
}

// TestWords: values that have other words here.
func TestWords(t *testing.T) {
	set := mustCompile(t, "title: t\nlogsource: {category: firewall}\ndetection:\n  s: {dst_port: 502}\n  a: {action: [forward, accept, 2]}\n  b: {blocked: 'false'}\n  condition: s and (a or b)\n")
	for state, want := range map[string]int{"SF": 1, "S0": 0, "REJ": 0, "RSTR": 1} {
		e := at(0, "flow", "192.0.2.1", "192.0.2.2")
		e.Flow.State = state
		if n := len(matches(set, e)); n != want {
			t.Errorf("%s: %d signals, want %d", state, n, want)
		}
	}
}

// TestSharedDetections: rules that share what they look for, in whole or in
// part, match and explain as each would alone.
func TestSharedDetections(t *testing.T) {
	var texts []string
	for i := range 12 {
		exception := ""
		if i%3 != 0 {
			exception = fmt.Sprintf("\n  f: {destination.port: %d}", 500+i%4)
		}
		condition := "(a or b) and c"
		if exception != "" {
			condition += " and not f"
		}
		texts = append(texts, fmt.Sprintf("title: r%d\nid: r%d\nlogsource: {product: tocsin}\ndetection:\n  a: {dns.question.name|contains: evil}\n  b: {user.name: [u, v]}\n  c: {source.ip|cidr: 192.0.2.0/24}%s\n  condition: %s\n", i, i, exception, condition))
	}
	together := mustCompile(t, texts...)
	if n := len(together.looks); n != 5 {
		t.Errorf("%d detections, want 5", n)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		e := at(i, "dns", fmt.Sprintf("192.0.%d.1", 1+r.IntN(2)), "192.0.2.9", str("dns.question.name", []string{"evil.test", "good.test"}[r.IntN(2)]), str("user.name", string("uvw"[r.IntN(3)])))
		e.Flow.Dst.Port = uint16(500 + r.IntN(4))
		var want []string
		for _, text := range texts {
			for _, s := range matches(mustCompile(t, text), e) {
				want = append(want, fmt.Sprint(s.Rule.ID, s.Group, s.Note.Explain))
			}
		}
		var got []string
		for _, s := range matches(together, e) {
			got = append(got, fmt.Sprint(s.Rule.ID, s.Group, s.Note.Explain))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s:\ntogether %q\nalone    %q", e.AppendJSON(nil), got, want)
		}
	}
}

// TestIndexMissesNothing holds the index to the slow way: a rule that an event
// matches is woken, whatever its anchors are.
func TestIndexMissesNothing(t *testing.T) {
	var texts []string
	for i, body := range []string{
		"destination.ip|cidr: 192.0.2.0/25", "destination.ip|cidr: '::/0'", "destination.ip|cidr: 0.0.0.0/0", "destination.ip|cidr: '2001:db8::/32'",
		"dns.answers.data|cidr: 10.0.0.0/8", "dns.answers.ttl|gt: 5", "dns.answers.ttl|lte: 5", "destination.port|gte: 502", "destination.port|lt: 502.5",
		"dns.question.name|exists: true", "dns.question.name|exists: false", "dns.question.name|re: '^.{3,}$'", "dns.question.name: '?*'", "dns.question.name: '*'",
		"dns.question.name|fieldref: url.domain", "user.name: null", "dns.question.name|neq: x", "'@timestamp|hour|gte': 5", "'|re': '[0-9]+'",
	} {
		texts = append(texts, fmt.Sprintf("title: r%d\nid: r%d\nlogsource: {product: tocsin}\ndetection: {s: {%s}, condition: s}\n", i, i, body))
	}
	set := mustCompile(t, texts...)
	answers := func(data string, ttl int) event.Field {
		return event.Field{Name: "dns.answers", Value: event.List(event.Object(str("data", data), num("ttl", ttl)))}
	}
	woken := 0
	for _, e := range []event.Event{
		at(0, "dns", "192.0.2.1", "192.0.2.2", str("dns.question.name", "a.example"), str("url.domain", "A.example"), answers("10.1.1.1", 5)),
		at(0, "dns", "192.0.2.1", "192.0.2.200", str("dns.question.name", ""), answers("::ffff:10.1.1.1", 6)),
		at(0, "flow", "2001:db8::1", "2001:db8::2", str("user.name", "u")),
		at(0, "flow", "", ""),
		at(0, "http", "192.0.2.1", "::1", answers("none", 0)),
	} {
		got := map[*correlator.Rule]bool{}
		for _, s := range matches(set, e) {
			got[s.Rule] = true
		}
		for _, r := range set.rules {
			holds := r.tree.holds(&e, &scratch{})
			if holds != got[r.out[0].rule] {
				t.Errorf("%s: %s: holds %v, matched %v", e.AppendJSON(nil), r.rule.Title, holds, !holds)
			}
			if holds {
				woken++
			}
		}
	}
	if woken < 20 {
		t.Errorf("only %d matches: the events try too little", woken)
	}
}
