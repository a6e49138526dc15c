package sigma

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// TestDetections goes through everything that a detection can say: modifiers,
// values, lists, conditions. Each case is a detection and whether it matches
// one rich event.
func TestDetections(t *testing.T) {
	e := at(90, "dns", "192.0.2.7", "2001:db8::53",
		str("dns.question.name", `Tunnel\.Evil.EXAMPLE`),
		str("dns.question.type", "TXT"),
		str("user_agent.original", "cmd.exe -Enc SQBFAFgA /all"),
		str("url.original", "/a?q=aGVsbG8gd29ybGQ=&x=1"),
		str("url.path", ""),
		str("user.name", "Ünal"),
		str("http.version", "1.1"),
		str("url.domain", "TUNNEL\\.evil.example"),
		event.Field{Name: "tls.server.subject", Value: event.Text([]byte("x\x00c\x00m\x00d\x00y"))},
		num("ics.function.code", 16),
		event.Field{Name: "dns.score", Value: event.Float(2)},
		event.Field{Name: "tls.established", Value: event.Bool(true)},
		event.Field{Name: "tls.server.not_after", Value: event.Time(time.Date(2027, 12, 31, 23, 59, 0, 0, time.UTC))},
		event.Field{Name: "dns.resolved_ip", Value: event.List(event.IP(netip.MustParseAddr("10.1.2.3")), event.IP(netip.MustParseAddr("2001:db8::1")))},
		event.Field{Name: "ics.objects", Value: event.List(
			event.Object(str("type", "coil"), num("value", 1)),
			event.Object(str("type", "register"), num("value", 700)))},
		event.Field{Name: "dns.answers", Value: event.List(event.Object(str("data", "v=spf1")), event.Object(str("data", "10.9.8.7")))},
	)
	f := func(want bool, detection string) {
		t.Helper()
		if !strings.Contains(detection, "condition:") {
			detection = "s:\n  " + strings.ReplaceAll(detection, "\n", "\n  ") + "\ncondition: s"
		}
		text := "title: t\nlogsource: {product: tocsin}\ndetection:\n  " + strings.ReplaceAll(detection, "\n", "\n  ")
		if got := len(matches(mustCompile(t, text), e)) > 0; got != want {
			t.Errorf("%s\n= %v", detection, got)
		}
	}

	// Plain values: without regard to case, numbers and text alike.
	f(true, `dns.question.type: txt`)
	f(false, `dns.question.type: tx`)
	f(true, `ics.function.code: 16`)
	f(true, `ics.function.code: '16'`)
	f(false, `ics.function.code: 1`)
	f(true, `tls.established: true`)
	f(true, `dns.score: 2`)
	f(false, `dns.score: 3`)
	f(true, `user.name: üNAL`)
	f(true, `dns.question.type: [A, TXT]`)
	f(true, "dns.question.type: TXT\nics.function.code: 16")
	f(false, "dns.question.type: TXT\nics.function.code: 15")
	f(true, "- dns.question.type: A\n- ics.function.code: 16")
	f(true, `url.path: ''`)
	f(false, `url.original: ''`)
	f(true, `url.query: null`)
	f(false, `url.path: null`)
	f(true, `source.ip: 192.0.2.7`)
	f(true, `destination.ip: '2001:DB8:0::53'`)
	f(true, `observer.name: tap`)
	f(true, `event.dataset: tocsin.dns`)
	f(false, `dns.question.type: ''`)

	// Wildcards and their escapes.
	f(true, `dns.question.name: 'tunnel*'`)
	f(true, `dns.question.name: '*evil*'`)
	f(true, `dns.question.name: 't?nnel*'`)
	f(false, `dns.question.name: 't?unnel*'`)
	f(true, `user.name: '?nal'`)
	f(true, `user.name: '*nal'`)
	f(true, `dns.question.name: 'tunnel\.evil.example'`)
	f(true, `dns.question.name: 'tunnel\\.evil.example'`)
	f(true, `dns.question.name: 'tunnel\\*'`)
	f(false, `dns.question.name: 'tunnel\*'`)
	f(true, `url.original: '/a\?q=*'`)
	f(false, `user_agent.original: '*\*'`)
	f(true, `dns.question.name: '*'`)
	f(false, `url.query: '*'`)
	f(true, `dns.resolved_ip: '10.*'`)

	// Parts of text, all, cased.
	f(true, `dns.question.name|contains: .EVIL.`)
	f(true, `dns.question.name|startswith: tunnel`)
	f(false, `dns.question.name|startswith: evil`)
	f(true, `dns.question.name|endswith: .example`)
	f(false, `dns.question.name|endswith: .evil`)
	f(true, `dns.question.name|contains: [nope, evil]`)
	f(false, `dns.question.name|contains|all: [nope, evil]`)
	f(true, `dns.question.name|contains|all: [tunnel, evil]`)
	f(true, `dns.answers.data|all: [v=spf1, 10.9.8.7]`)
	f(true, `dns.question.name|contains|cased: Evil`)
	f(false, `dns.question.name|contains|cased: evil`)
	f(true, `dns.question.type|cased: TXT`)
	f(false, `dns.question.type|cased: txt`)
	f(true, `user.name|cased: Ünal`)

	// exists, neq.
	f(true, `dns.question.name|exists: true`)
	f(false, `dns.question.name|exists: false`)
	f(true, `url.query|exists: false`)
	f(true, `url.path|exists: true`)
	f(true, `dns.question.type|neq: A`)
	f(false, `dns.question.type|neq: txt`)
	f(false, `dns.question.type|neq: [A, TXT]`)
	f(true, `url.query|neq: A`)
	f(false, `dns.question.name|contains|neq: evil`)

	// Regular expressions: with regard to case, unless i.
	f(true, `dns.question.name|re: 'Evil\.[A-Z]+$'`)
	f(false, `dns.question.name|re: 'evil'`)
	f(true, `dns.question.name|re|i: 'evil'`)
	f(true, `dns.question.name|re|i: '^tunnel.*(good|evil)'`)
	f(true, `tls.server.subject|re: 'c\\x00m'`)
	f(true, `ics.function.code|re: '^1[56]$'`)
	f(false, `dns.question.name|re: '^$'`)
	f(true, `user_agent.original|re|i|m|s: 'CMD.EXE.*'`)

	// Encodings.
	f(true, `url.original|base64|contains: hello world`)
	f(true, `url.original|base64offset|contains: 'hello wo'`)
	f(true, `url.original|base64offset|contains: 'ello wor'`)
	f(true, `url.original|base64offset|contains: 'llo worl'`)
	f(false, `url.original|base64offset|contains: 'hallo'`)
	f(true, `user_agent.original|wide|base64offset|contains: IEX`)
	f(true, `user_agent.original|utf16le|base64offset|contains: IEX`)
	f(true, `tls.server.subject|wide|contains: cm`)
	f(true, `tls.server.subject|utf16be|contains: cmd`) // 00 c 00 m 00 d lies between
	f(false, `tls.server.subject|utf16|contains: cmd`)

	// windash: any dash for any other at the beginning of a word.
	f(true, `user_agent.original|windash|contains: ' /enc '`)
	f(true, `user_agent.original|windash|contains|all: ['-enc', '–all']`)
	f(false, `user_agent.original|windash|contains: ' +enc'`)

	// Numbers, times, networks.
	f(true, `ics.function.code|gt: 15`)
	f(false, `ics.function.code|gt: 16`)
	f(true, `ics.function.code|gte: 16`)
	f(true, `ics.function.code|lt: 16.5`)
	f(false, `ics.function.code|lt: 16`)
	f(true, `ics.function.code|lte: 16`)
	f(true, `http.version|gte: 1.1`)
	f(true, `dns.score|lt: 2.1`)
	f(false, `url.query|lt: 5`)
	f(true, `'@timestamp|hour': 5`)
	f(true, `'@timestamp|minute': 7`)
	f(true, `'@timestamp|day': 4`)
	f(true, `'@timestamp|week': 10`)
	f(true, `'@timestamp|month': 3`)
	f(true, `'@timestamp|year': [2025, 2026]`)
	f(true, `'@timestamp|hour|lt': 6`)
	f(false, `'@timestamp|hour|gte': 6`)
	f(true, `tls.server.not_after|year|gt: 2026`)
	f(true, `source.ip|cidr: 192.0.2.0/24`)
	f(false, `source.ip|cidr: 198.51.100.0/24`)
	f(true, `destination.ip|cidr: [10.0.0.0/8, '2001:db8::/32']`)
	f(true, `dns.resolved_ip|cidr: 10.0.0.0/8`)
	f(true, `dns.answers.data|cidr: 10.9.0.0/16`)
	f(false, `dns.question.name|cidr: 0.0.0.0/0`)

	// Other fields, placeholders, objects in lists.
	f(true, `dns.question.name|fieldref: url.domain`)
	f(false, `dns.question.name|fieldref|cased: url.domain`)
	f(false, `dns.question.name|fieldref: user.name`)
	f(false, `dns.question.name|fieldref: url.query`)
	f(true, `dns.question.name|fieldref|neq: user.name`)
	f(true, `dns.question.name|fieldref|startswith: url.path`)
	f(true, `dns.answers.data|cidr|expand: '%nets%'`)
	f(false, `dns.question.name|expand: '%servers%'`)
	f(true, `dns.question.name|contains|expand: 'tunnel'`)
	f(false, `dns.question.name|expand: '\%servers%servers%'`)
	f(true, `ics.objects.value|gt: 500`)
	f(true, `ics.objects.type: register`)
	f(false, `ics.objects.type: input`)
	f(true, `ics.objects.value: [5, 700]`)
	f(true, `ics.objects.address: null`)
	f(true, `ics.objects.value|exists: true`)

	// Keywords.
	f(true, "- nothing\n- EVIL.exam")
	f(false, "- nothing")
	f(true, `'|all': [evil, cmd.exe, coil]`)
	f(false, `'|all': [evil, nothing]`)
	f(true, "- 'tun*example'")
	f(true, "- 192.0.2.7")
	f(true, `- '700'`)
	f(true, `'|re': 'E.il'`)
	f(false, `'|cased': ['eVil']`)

	// Conditions.
	const ids = "a: {dns.question.type: TXT}\nb1: {ics.function.code: 16}\nb2: {ics.function.code: 15}\n_c: {dns.question.type: A}\ncondition: "
	for cond, want := range map[string]bool{
		"a": true, "b2": false, "not a": false, "not b2": true, "a and b1": true, "a and b2": false,
		"a or b2": true, "b2 or _c": false, "a and not b2": true, "a and not (b1 or b2)": false,
		"b2 and b2 or a": true, "b2 and (b2 or a)": false, "a or b2 and b2": true,
		"not a and b1": false, "not (a and b2)": true, "not not a": true,
		"1 of b*": true, "all of b*": false, "any of b*": true, "2 of b*": false, "1 of them": true, "2 of them": true,
		"3 of them": false, "all of them": false, "all of a": true, "1 of b2": false, "not all of b*": true,
		"a AND NOT 1 of _*": true, "1 of *1": true, "1 of ?1 or b2": true, "[b2, a]": true, "[b2, _c]": false,
	} {
		f(want, ids+cond)
	}
	f(true, "sel-1.x: {dns.question.type: TXT}\ncondition: sel-1.x")
	f(true, "s:\n  - dns.question.type: [A, MX]\n    ics.function.code: 16\n  - url.path: ''\n    ics.function.code: 16\ncondition: s")
}

// TestErrors holds what is wrong with rules to what we say of it.
func TestErrors(t *testing.T) {
	const head = "title: t\nlogsource: {product: tocsin, service: dns}\n"
	f := func(text, want string) {
		t.Helper()
		rules, errs := Parse("r.yml", []byte(text))
		_, more := Compile(rules, Options{Schema: testSchema(t), Kinds: []event.Kind{"dns", "flow", "modbus"}})
		var all []string
		for _, e := range append(errs, more...) {
			all = append(all, e.Error())
		}
		if len(all) == 0 || !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%s\nwant %s\nhave %s", text, want, strings.Join(all, "\n"))
		}
	}
	det := func(body, want string) {
		t.Helper()
		f(head+"detection:\n  s:\n    "+body+"\n  condition: s\n", want)
	}
	f("", "r.yml:1: the file holds no rule")
	f("a: [", "r.yml:1: no valid YAML")
	f("- a", "r.yml:1: want key: value, have a list")
	f(head+"detecton: {}\n", `r.yml:3: detecton: unknown key; did you mean detection?`)
	f(head+"title: u\n", "r.yml:3: title: given twice")
	f(head, "r.yml:1: detection: missing")
	f("title: t\ndetection: {s: {dns.question.name: x}, condition: s}\n", "r.yml:1: logsource: missing")
	f(head+"level: hi\n", `r.yml:3: level: "hi" is none of informational, low`)
	f(head+"detection: {s: {dns.question.name: x}}\n", "r.yml:3: detection.condition: missing")
	f(head+"detection: {s: {dns.question.name: x}, condition: t}\n", "detection.condition: there is no search identifier t; did you mean s?")
	f(head+"detection: {s: {dns.question.name: x}, condition: s |count() > 5}\n", "detection.timeframe: missing: say within which time count() > 5 is judged")
	f(head+"detection: {s: {dns.question.name: x}, condition: s, timeframe: 1m}\n", "detection.timeframe: nothing is counted")
	f(head+"detection: {s: {dns.question.name: x}, condition: s | near t, timeframe: 1m}\n", "a correlation of type temporal")
	f(head+"detection: {s: {dns.question.name: x}, condition: s | min(dns.id) > 5, timeframe: 1m}\n", "min(…) cannot be aggregated")
	f(head+"detection: {s: {dns.question.name: x}, condition: s | how many, timeframe: 1m}\n", `"how many" is no aggregation: want count(field) by field > number`)
	f("action: repeat\ntitle: t\n", "action: there is no rule before it to repeat")
	f("action: replace\ntitle: t\n", `action: "replace" is none of global, reset, repeat`)
	f("title: t\nlogsource: {product: zeek, service: conns}\ndetection: {s: {x: y}, condition: s}\n", `no event is made of Zeek's log "conns"; there are arp, conn,`)
	f("title: t\nlogsource: {category: network_connection}\ndetection: {s: {Image: y}, condition: s}\n", "kind http, which no sensor makes")
	f("title: t\nlogsource: {category: firewall}\ndetection: {s: {blocked: maybe}, condition: s}\n", `means our tocsin.flow.state, which has no "maybe"; there are false, true`)
	f(head+"detection: {s: {dns.question.name: x}, condition: (s}\n", "a parenthesis is not closed")
	f(head+"detection: {s: {dns.question.name: x}, condition: s and}\n", "the condition ends where a search identifier is expected")
	f(head+"detection: {s: {dns.question.name: x}, condition: s s}\n", `"s" after the end of the condition`)
	f(head+"detection: {s: {dns.question.name: x}, condition: 2 of s*}\n", "asks for more search identifiers")
	f(head+"detection: {s: {dns.question.name: x}, condition: 1 of x*}\n", "no search identifier is like x*")
	f("title: t\nlogsource: {product: windows, service: sysmon}\ndetection: {s: {x: y}, condition: s}\n", "r.yml:2: logsource: no event comes from product: windows, service: sysmon")
	f("title: t\nlogsource: {product: tocsin, service: modbuss}\ndetection: {s: {x: y}, condition: s}\n", "did you mean modbus?")
	det("dns.question.nam: x", "r.yml:5: detection.s.dns.question.nam: no event carries dns.question.nam; did you mean dns.question.name?")
	det("dns.question.name|contain: x", `unknown modifier "contain"; did you mean contains?`)
	det("dns.question.name|contains|startswith: x", "modifiers contains and startswith exclude each other")
	det("dns.question.name|contains|contains: x", "modifier contains is given twice")
	det("dns.question.name|i: x", "write |re|i")
	det("dns.question.name|re: '('", "detection.s.dns.question.name|re: error parsing regexp")
	det("dns.question.name|re: '(?=x)'", "invalid or unsupported Perl syntax")
	det("dns.question.name|all: x", "modifier all wants a list")
	det("dns.question.name|exists: maybe", "modifier exists wants true or false")
	det("dns.question.name|base64: 'a*'", "may not have wildcards")
	det("dns.question.name|contains|base64: a", "must come before contains")
	det("dns.question.name|expand: '%x%'", "placeholder %x% has no values")
	det("dns.question.name|hour: 5", "wants a time")
	det("dns.question.name: [x, null]", "null cannot be one of several values")
	det("dns.question.name: []", "the list is empty")
	det("dns.question.name: {a: b}", "want a value, have a mapping")
	det("source.ip: 10.0.0.0/8", "write source.ip|cidr")
	det("source.ip: host", "source.ip is an address and never")
	det("source.ip|cidr: 10.0.0/8", "is no prefix")
	det("destination.port: http", "destination.port is a number and never")
	det("destination.port|gt: http", "want a number")
	det("dns.question.name: &x y\n    dns.question.type: *x", "want a value")
	f("title: t\ncorrelation: {type: event_count, rules: [x], timespan: 5x, condition: {gte: 1}}\n", `correlation.timespan: "5x" is no timespan`)
	f("title: t\ncorrelation: {type: event_count, rules: [x], timespan: 5m}\n", "correlation.condition: missing")
	f("title: t\ncorrelation: {type: event_count, rules: [x], condition: {gte: 1}}\n", "correlation.timespan: missing: want how close events must be")
	f("title: t\ncorrelation: {type: event_count, rules: [x], timespan: 5m, condition: {gte: 1}}\n", "there is no rule with the name or id x")
	f("title: t\ncorrelation: {type: value_count, rules: [x], timespan: 5m, condition: {gte: 1}}\n", "condition.field: missing")
	f("title: t\nname: x\ncorrelation: {type: event_count, rules: [x], timespan: 5m, condition: {gte: 1}}\n", "the rule needs itself")
	f("title: t\ncorrelation: {type: temporal, rules: [x], timespan: 5m}\n", "wants two rules or more")
	f(head+"tags: [attack.t9999]\ndetection: {s: {dns.question.name: x}, condition: s}\n", "r.yml:3: tags: attack.t9999 is no technique")
	f(head+"tocsin: {msg: x}\n", "tocsin.msg: unknown key")
	f(head+"tocsin:\n  message: 'x {nope}'\ndetection: {s: {dns.question.name: x}, condition: s}\n", "r.yml:4: tocsin.message: no event carries nope")
	f(head+"tocsin:\n  source: dns.question.name\ndetection: {s: {dns.question.name: x}, condition: s}\n", "r.yml:4: tocsin.source: dns.question.name is of type keyword, not an address")
	f(head+"id: x\ndetection: {s: {dns.question.name: x}, condition: s}\n---\n"+head+"id: x\ndetection: {s: {dns.question.name: x}, condition: s}\n", "r.yml:6: id: x is taken by r.yml:1")
}

const writes = `
title: Value written
id: 11111111-0000-4000-8000-000000000001
level: high
date: 2026-01-02
tags: [attack.t0855, attack.impair-process-control]
logsource: {product: tocsin, service: modbus}
detection:
  write: {ics.operation: write}
  big: {ics.objects.value|gt: 500}
  expected: {source.ip|cidr: 198.51.100.0/24}
  condition: write and big and not expected
tocsin:
  message: "{source.ip} wrote {ics.objects.value} to {destination.ip}, {count} times"
  source: destination.ip
  target: source.ip
`

func TestAlert(t *testing.T) {
	set := mustCompile(t, writes)
	e := at(0, "modbus", "192.0.2.1", "192.0.2.9", str("ics.operation", "write"), str("user.name", "op"),
		event.Field{Name: "ics.objects", Value: event.List(event.Object(num("value", 1)), event.Object(num("value", 700)))})
	c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{set.Detector()}})
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := c.Process(t.Context(), []event.Event{e})
	if err != nil || len(alerts) != 1 {
		t.Fatal(alerts, err)
	}
	a := alerts[0]
	want := event.Alert{
		ID:       a.ID,
		Rule:     event.Rule{ID: "11111111-0000-4000-8000-000000000001", Name: "Value written", Ruleset: "sigma", Version: "2026-01-02", Hash: set.Rules[0].Hash},
		Severity: 70, Level: "high",
		Message:    "192.0.2.1 wrote 1, 700 to 192.0.2.9, 1 times",
		Group:      "source.ip=192.0.2.1 destination.ip=192.0.2.9",
		Techniques: []event.Technique{{ID: "T0855", Name: "Unauthorized Command Message", Tactics: []string{"Impair Process Control"}}},
		Sources:    []netip.Addr{e.Flow.Dst.IP}, Targets: []netip.Addr{e.Flow.Src.IP},
		Users: []string{"op"}, Sensors: []string{"tap"},
		Count: 1, First: e.Time, Last: e.Time, Evidence: []event.ID{e.ID},
		Explain: []event.Explain{
			{Field: "ics.operation", Predicate: "is 'write'", Value: "write"},
			{Field: "ics.objects.value", Predicate: "> 500", Value: "700"},
		},
	}
	if got, want := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("\nhave %s\nwant %s", got, want)
	}
	if len(a.Rule.Hash) != 64 {
		t.Errorf("hash %q", a.Rule.Hash)
	}
}

const logins = `
title: Login failed
name: failed
logsource: {product: tocsin, service: ssh}
detection: {s: {ics.status.name: failed}, condition: s}
---
title: Login succeeded
name: succeeded
logsource: {product: tocsin, service: ssh}
detection: {s: {ics.status.name: ok}, condition: s}
`

// correlate runs events, some seconds after epoch, and says which of them are
// the evidence of alerts.
func correlate(t *testing.T, rule string, events ...event.Event) (out []string) {
	t.Helper()
	set := mustCompile(t, rule+"---"+logins)
	c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{set.Detector()}})
	if err != nil {
		t.Fatal(err)
	}
	var all correlator.Alerts
	alerts, err := c.Process(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	all.Add(alerts)
	all.Add(c.Flush())
	for _, a := range all.Sorted() {
		var seconds []string
		for _, id := range a.Evidence {
			i := slices.IndexFunc(events, func(e event.Event) bool { return e.ID == id })
			seconds = append(seconds, fmt.Sprint(int(events[i].Time.Sub(epoch).Seconds())))
		}
		if a.Count != uint64(len(seconds)) {
			t.Errorf("count %d of %v", a.Count, seconds)
		}
		out = append(out, a.Group+": "+strings.Join(seconds, " "))
	}
	slices.Sort(out)
	return out
}

func login(second int, status, user string) event.Event {
	return at(second, "ssh", "192.0.2.1", "192.0.2.2", str("ics.status.name", status), str("user.name", user), num("http.request.body.bytes", second))
}

func TestCorrelations(t *testing.T) {
	f := func(correlation string, want []string, events ...event.Event) {
		t.Helper()
		rule := "title: c\ncorrelation: {" + correlation + ", timespan: 1m}\n"
		if got := correlate(t, rule, events...); !slices.Equal(got, want) {
			t.Errorf("%s\nhave %q\nwant %q", correlation, got, want)
		}
	}
	fails := func(user string, seconds ...int) (es []event.Event) {
		for _, s := range seconds {
			es = append(es, login(s, "failed", user))
		}
		return es
	}
	const count = "type: event_count, rules: [failed], group-by: [user.name], condition: "
	f(count+"{gte: 3}", []string{"user.name=a: 0 10 20"}, fails("a", 0, 10, 20)...)
	f(count+"{gte: 3}", nil, fails("a", 0, 10)...)
	f(count+"{gte: 3}", nil, fails("a", 0, 10, 60)...)                                                      // (0, 60] holds two
	f(count+"{gte: 3}", []string{"user.name=a: 0 10 59"}, fails("a", 0, 10, 59)...)                         // … and this one three
	f(count+"{gt: 2}", []string{"user.name=a: 100 110 120 130"}, fails("a", 0, 100, 110, 120, 130, 500)...) // 0 and 500 stand apart
	f(count+"{gte: 3}", nil, slices.Concat(fails("a", 0, 1), fails("b", 2, 3))...)
	f(count+"{gte: 2, lte: 2}", []string{"user.name=a: 0 10"}, fails("a", 0, 10, 20)...)
	f(count+"{eq: 3}", []string{"user.name=a: 0 10 20"}, fails("a", 0, 10, 20, 30)...)
	f(count+"{lt: 2}", []string{"user.name=a: 0"}, fails("a", 0, 1, 2)...)
	f(count+"{neq: 1}", []string{"user.name=a: 0 1"}, fails("a", 0, 1)...)
	f("type: event_count, rules: [failed, succeeded], group-by: [source.ip, user.name], condition: {gte: 2}",
		[]string{"source.ip=192.0.2.1 user.name=a: 0 1"}, login(0, "failed", "a"), login(1, "ok", "a"))
	f("type: value_count, rules: [failed], group-by: [source.ip], condition: {field: user.name, gte: 2}",
		[]string{"source.ip=192.0.2.1: 0 1 2"}, slices.Concat(fails("a", 0, 1), fails("b", 2))...)
	f("type: value_count, rules: [failed], group-by: [source.ip], condition: {field: user.name, gte: 2}", nil, fails("a", 0, 1, 2)...)
	f("type: value_sum, rules: [failed], condition: {field: http.request.body.bytes, gt: 49}", []string{": 10 20 30"}, fails("a", 10, 20, 30)...)
	f("type: value_sum, rules: [failed], condition: {field: http.request.body.bytes, gt: 60}", nil, fails("a", 10, 20, 30)...)
	f("type: value_avg, rules: [failed], condition: {field: http.request.body.bytes, gte: 20}", []string{": 10 20 30"}, fails("a", 10, 20, 30)...)
	f("type: value_percentile, rules: [failed], condition: {field: http.request.body.bytes, percentile: 50, eq: 20}", []string{": 10 20 30"}, fails("a", 10, 20, 30)...)
	f("type: value_median, rules: [failed], condition: {field: http.request.body.bytes, eq: 20}", []string{": 10 20 30"}, fails("a", 10, 20, 30)...)
	f("type: value_percentile, rules: [failed], condition: {field: user.name, lte: 25}", []string{": 0 1 2 3"}, slices.Concat(fails("a", 0, 1, 2), fails("rare", 3))...)
	f("type: value_percentile, rules: [failed], condition: {field: user.name, lte: 25}", nil, fails("a", 0, 1, 2)...)
	const both = "rules: [failed, succeeded], group-by: [user.name]"
	f("type: temporal, "+both, []string{"user.name=a: 0 9"}, login(0, "ok", "a"), login(9, "failed", "a"))
	f("type: temporal, "+both, nil, login(0, "ok", "a"), login(60, "failed", "a"))
	f("type: temporal, "+both+", condition: {gte: 1}", []string{"user.name=a: 0"}, login(0, "ok", "a"))
	f("type: temporal_ordered, "+both, []string{"user.name=a: 0 9"}, login(0, "failed", "a"), login(9, "ok", "a"))
	f("type: temporal_ordered, "+both, nil, login(0, "ok", "a"), login(9, "failed", "a"))
	f("type: temporal_ordered, "+both, nil, login(0, "failed", "a"), login(9, "ok", "b"))
	f("type: temporal_ordered, "+both, nil, login(0, "failed", "a"), login(60, "ok", "a"))
	// An alias names the same thing by two fields.
	f("type: temporal, rules: [failed, succeeded], group-by: [who], aliases: {who: {failed: source.ip, succeeded: destination.ip}}",
		[]string{"who=192.0.2.1: 0 5"}, login(0, "failed", "a"), at(5, "ssh", "192.0.2.8", "192.0.2.1", str("ics.status.name", "ok")))
	// Without the field to group by, an event takes no part.
	f(count+"{gte: 1}", nil, at(0, "ssh", "192.0.2.1", "192.0.2.2", str("ics.status.name", "failed")))
	// generate lets the single rules speak, too.
	f(count+"{gte: 2}, generate: true", []string{"source.ip=192.0.2.1 destination.ip=192.0.2.2: 0 1", "user.name=a: 0 1"}, fails("a", 0, 1)...)
}

func TestCorrelationOverCorrelation(t *testing.T) {
	const rule = `
title: Guessed
correlation: {type: temporal_ordered, rules: [many, succeeded], group-by: [user.name], timespan: 10m}
---
title: Many
name: many
correlation: {type: event_count, rules: [failed], group-by: [user.name], timespan: 1m, condition: {gte: 3}}
`
	many := []event.Event{login(0, "failed", "a"), login(1, "failed", "a"), login(2, "failed", "a")}
	if got := correlate(t, rule, append(many, login(100, "ok", "a"))...); !slices.Equal(got, []string{"user.name=a: 0 1 2 100"}) {
		t.Errorf("%q", got)
	}
	if got := correlate(t, rule, append(many[:2:2], login(100, "ok", "a"))...); got != nil {
		t.Errorf("%q", got)
	}
	if got := correlate(t, rule, append(many[:3:3], login(100, "ok", "b"))...); got != nil {
		t.Errorf("%q", got)
	}
}

func TestForeignNames(t *testing.T) {
	set := mustCompile(t, `
title: Zeek
logsource: {product: zeek, service: dns}
detection: {s: {query|endswith: .example, id.orig_h|cidr: 192.0.2.0/24, answers: 'v=*'}, condition: s}
---
title: Proxy
logsource: {category: proxy}
detection: {s: {c-uri|contains: /x, cs-method: GET}, condition: s}
`)
	answer := event.Field{Name: "dns.answers", Value: event.List(event.Object(str("data", "v=1")))}
	host := mustCompile(t, `
title: Host
logsource: {product: windows, category: network_connection}
detection:
  s: {DestinationHostname|endswith: .tunnel.test, Initiated: 'true'}
  f: {DestinationHostname|neq: [a.tunnel.test, b.tunnel.test]}
  n: {DestinationHostname: null}
  condition: (s and f) or n
`)
	for _, c := range []struct {
		want int
		e    event.Event
	}{
		{1, at(0, "tls", "192.0.2.1", "192.0.2.2", str("tls.client.server_name", "x.tunnel.test"))},
		{0, at(0, "tls", "192.0.2.1", "192.0.2.2", str("tls.client.server_name", "a.tunnel.test"))},
		{1, at(0, "http", "192.0.2.1", "192.0.2.2", str("url.domain", "x.tunnel.test"))},
		{0, at(0, "http", "192.0.2.1", "192.0.2.2", str("url.domain", "x.other.test"))},
		{1, at(0, "flow", "192.0.2.1", "192.0.2.2")},
		{0, at(0, "dns", "192.0.2.1", "192.0.2.2", str("url.domain", "x.tunnel.test"))},
	} {
		if got := len(matches(host, c.e)); got != c.want {
			t.Errorf("%s: %d, want %d", c.e.AppendJSON(nil), got, c.want)
		}
	}
	dns := at(0, "dns", "192.0.2.1", "192.0.2.2", str("dns.question.name", "a.example"), answer)
	web := at(0, "http", "192.0.2.1", "192.0.2.2", str("url.original", "/X"), str("http.request.method", "GET"))
	if got := len(matches(set, dns)); got != 1 {
		t.Errorf("dns: %d", got)
	}
	if got := len(matches(set, web)); got != 1 {
		t.Errorf("http: %d", got)
	}
	web.Kind = "dns"
	if got := len(matches(set, web)); got != 0 {
		t.Errorf("another kind: %d", got)
	}
}
