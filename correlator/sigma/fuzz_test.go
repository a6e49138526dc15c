package sigma

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
)

// FuzzRule: no text makes the parser or the compiler panic, every error names
// its file, and what compiles can be asked of an event.
func FuzzRule(f *testing.F) {
	f.Add(writes)
	f.Add(logins)
	f.Add("title: c\ncorrelation: {type: temporal, rules: [failed, succeeded], group-by: [a], timespan: 1m, aliases: {a: {failed: source.ip}}}\n---\n" + logins)
	f.Add("title: t\nlogsource: {category: dns}\ndetection: {k: ['a*', '|all'], s: {query|windash|contains: '-a /b', answers|re: '(x|y)+'}, condition: 1 of s* or not k}\n")
	f.Add("title: t\nlogsource: {category: dns}\ndetection: {s: {query|wide|base64offset|contains: abc, '@timestamp|hour|gte': 3, TTLs|lt: 0x10}, condition: s}\n")
	f.Add(synthetic(5)[1])
	schema := testSchema(f)
	e := at(0, "dns", "192.0.2.1", "192.0.2.2", str("dns.question.name", "abc"))
	f.Fuzz(func(t *testing.T, text string) {
		rules, errs := Parse("f.yml", []byte(text))
		set, more := Compile(rules, Options{Schema: schema, Placeholders: map[string][]string{"a": {"b", "c"}}})
		for _, err := range append(errs, more...) {
			if !strings.HasPrefix(err.Error(), "f.yml:") {
				t.Errorf("no file: %v", err)
			}
		}
		for _, kind := range []event.Kind{"dns", "flow", "modbus", "other"} {
			e.Kind = kind
			matches(set, e)
		}
	})
}

// FuzzCondition: a condition that parses, parses the same when written out.
func FuzzCondition(f *testing.F) {
	f.Add("a and not (b or 1 of c*) and all of them")
	f.Add("NOT not a-b.c OR 3 of x_?")
	f.Add("1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCondition(text)
		if err != nil {
			return
		}
		again, err := parseCondition(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q: %s, then %v %v", text, c, again, err)
		}
	})
}

// FuzzPattern: wildcards mean what the slow twin says.
func FuzzPattern(f *testing.F) {
	f.Add(`a*b?c\*`, "axxbyc*")
	f.Add(`*\\*`, `x\y`)
	f.Fuzz(func(t *testing.T, p, text string) {
		text = strings.ToValidUTF8(text, "")
		p = strings.ToValidUTF8(p, "")
		if got, want := parsePattern(p).match([]byte(text)), sigmaRegexp(p, true, false, false).MatchString(text); got != want {
			t.Errorf("%q on %q: %v, want %v", p, text, got, want)
		}
		again := parsePattern(parsePattern(p).String())
		if got := again.match([]byte(text)); got != parsePattern(p).match([]byte(text)) {
			t.Errorf("%q written as %q means another", p, again)
		}
	})
}
