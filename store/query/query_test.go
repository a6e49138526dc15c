package query

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
)

func testSchema(t testing.TB) *event.Schema {
	s, err := event.NewSchema([]event.FieldDoc{
		{Name: "dns.question.name", Type: event.Keyword},
		{Name: "dns.resolved_ip", Type: event.IPType},
		{Name: "dns.answers", Type: event.Nested},
		{Name: "dns.answers.ttl", Type: event.Long},
		{Name: "ics.latency", Type: event.Double},
		{Name: "ics.broadcast", Type: event.Boolean},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The tree, written as KQL, that a text is read as.
func TestParse(t *testing.T) {
	s := testSchema(t)
	f := func(lang Lang, text, want string) {
		t.Helper()
		n, err := Parse(text, s, lang)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got := String(n); got != want {
			t.Errorf("%s\nwant %s\nhave %s", text, want, got)
		}
		again, err := Parse(String(n), s, KQL)
		if err != nil || !reflect.DeepEqual(n, again) {
			t.Errorf("%s: read again from %s: %v\nwas %#v\nis  %#v", text, String(n), err, n, again)
		}
	}
	f(Auto, ``, `*`)
	f(Auto, `  * `, `*`)
	f(Auto, `source.ip: 10.0.0.0/8 and not event.severity < 50`, `source.ip: 10.0.0.0/8 and not event.severity < 50`)
	f(Auto, `source.ip:10.0.0.1 OR destination.port:53 and ssh`, `source.ip: 10.0.0.1 or destination.port: 53 and ssh`)
	f(Auto, `(a or b) (c or not (d e))`, `(a or b) and (c or not (d and e))`)
	f(Auto, `network.protocol: (dns or http and not tls)`, `network.protocol: dns or network.protocol: http and not network.protocol: tls`)
	f(Auto, `destination.port >= 1024 and destination.port<2000`, `destination.port >= 1024 and destination.port < 2000`)
	f(Auto, `destination.port:>=1024`, `destination.port >= 1024`)
	f(Auto, `dns.question.name: *.Example.com`, `dns.question.name: *.Example.com`)
	f(Auto, `dns.question.name: "a*b \"c\" \\"`, `dns.question.name: "a*b \"c\" \\"`)
	f(Auto, `dns.question.name: a\*b\ c*`, `dns.question.name: a\*b\ c*`)
	f(Auto, `dns.question.name: *`, `dns.question.name: *`)
	f(Auto, `"two words"`, `"two words"`)
	f(Auto, `fail*`, `fail*`)
	f(Auto, `2001:db8::1`, `destination.ip: 2001:db8::1 or dns.resolved_ip: 2001:db8::1 or related.ip: 2001:db8::1 or source.ip: 2001:db8::1 or tocsin.alert.source: 2001:db8::1 or tocsin.alert.target: 2001:db8::1`)
	f(Auto, `"192.0.2.1"`, `"192.0.2.1"`)
	f(Auto, `id.orig_h: 192.0.2.1 and id.resp_p: 53`, `source.ip: 192.0.2.1 and destination.port: 53`)
	f(Auto, `ip: 192.0.2.1`, `source.ip: 192.0.2.1 or destination.ip: 192.0.2.1`)
	f(Auto, `not ip: 192.0.2.1`, `not (source.ip: 192.0.2.1 or destination.ip: 192.0.2.1)`)
	f(Auto, `source.mac: 02:00:00:00:00:ab`, `source.mac: 02-00-00-00-00-AB`)
	f(Auto, `@timestamp >= 2026-11-22T10:00:00Z`, `@timestamp >= 2026-11-22T10:00:00Z`)
	f(Auto, `@timestamp: 2026-11-22`, `@timestamp: 2026-11-22`)
	f(Auto, `source.*: 10.0.0.0/8`, `source.*: 10.0.0.0/8`)
	f(Auto, `"and" or "not"`, `"and" or "not"`)
	// Lucene.
	f(Auto, `destination.port:[1 TO 1024] AND NOT _exists_:dns.question.name`, `destination.port >= 1 and destination.port <= 1024 and not dns.question.name: *`)
	f(Lucene, `destination.port:{1 TO 1024} && source.port:[5 TO *]`, `destination.port > 1 and destination.port < 1024 and source.port >= 5`)
	f(Lucene, `+dns -http !tls`, `dns and not http and not tls`)
	f(Lucene, `a and b`, `a and "and" and b`)
	f(Lucene, `a OR b`, `a or b`)
	f(Lucene, `source.ip:["10.0.0.1" TO "10.0.0.9"}`, `source.ip >= 10.0.0.1 and source.ip < 10.0.0.9`)
	// Arkime.
	f(Auto, `ip.src == 10.0.0.0/8 && port.dst == [80,443]`, `source.ip: 10.0.0.0/8 and (destination.port: 80 or destination.port: 443)`)
	f(Auto, `host.dns == EXISTS! || host.dns != "*micro?oft*"`, `dns.question.name: * or not dns.question.name: *micro?oft*`)
	f(Auto, `port != [ 80 , 443 ]`, `not (source.port: 80 or destination.port: 80 or source.port: 443 or destination.port: 443)`)
	f(Arkime, `!(protocols == dns&&packets > 5)`, `not (network.protocol: dns and network.packets > 5)`)
	// A language that is asked for is kept to.
	f(KQL, `-x`, `"-x"`)
}

func TestParseErrors(t *testing.T) {
	s := testSchema(t)
	f := func(lang Lang, text string, col int, msg string) {
		t.Helper()
		_, err := Parse(text, s, lang)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", text, err)
			return
		}
		if e.Col != col || !strings.Contains(e.Msg, msg) {
			t.Errorf("%s\nwant column %d: %s\nhave column %d: %s", text, col, msg, e.Col, e.Msg)
		}
	}
	f(Auto, `source.ipp: 10.0.0.1`, 1, "did you mean source.ip?")
	f(Auto, `dns and question.name: x`, 9, "did you mean dns.question.name?")
	f(Auto, `xyzzyplugh.foo: 1`, 1, "there is no field xyzzyplugh.foo")
	f(Auto, `例 and source.ip: 10.0.0.300`, 18, "want an address")
	f(Auto, `source.ip: 10.0.*`, 12, "* and ? are for texts only")
	f(Auto, `source.port: http`, 14, "want a number")
	f(Auto, `ics.broadcast: yes`, 16, "want true or false")
	f(Auto, `@timestamp > yesterday`, 14, "want a time")
	f(Auto, `dns.answers: x`, 14, "is a group")
	f(Auto, `(a or b`, 8, "want )")
	f(Auto, `a or`, 5, "want a field or a word")
	f(Auto, `a )`, 3, "closes nothing")
	f(Auto, `"open`, 1, "never closed")
	f(Auto, `source.ip:`, 11, "want a value")
	f(Auto, `source.ip = 10.0.0.1`, 11, "want : for equality")
	f(Auto, `dns.question.name: /a.*b/`, 20, "regular expressions")
	f(Auto, `destination.port:[1 5]`, 21, "want TO")
	f(Auto, `destination.port:(1 2)`, 21, "want and, or")
	f(Auto, `port.dst == [80 443]`, 17, "want , or ]")
	f(Auto, `port.dst == 80 && port.src`, 27, "want one of ==")
	f(Arkime, `word`, 1, "there is no field word")
	f(Auto, strings.Repeat("(", 100)+"a", 65, "nested deeper")
	f(Auto, strings.Repeat("not ", 100)+"a", 256, "nested deeper")
	f(Auto, strings.Repeat("a ", 3000), 4001, "more than 2000")
	f(Auto, strings.Repeat("a", 20000), 1, "longer than")
	f(Auto, "a\xff", 1, "not UTF-8")
	f(Auto, `a\`, 2, "must follow")
}

func TestRelativeTimes(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := parser{now: func() time.Time { return now }}
	for text, want := range map[string]time.Time{"now": now, "now-15m": now.Add(-15 * time.Minute), "now+2d": now.Add(48 * time.Hour)} {
		if at, ok := p.relative(text); !ok || !at.Equal(want) {
			t.Errorf("%s: %v %v", text, at, ok)
		}
	}
	for _, text := range []string{"", "nowadays", "now-", "now-m", "now-1", "now-1y", "now1h", "now-99999999999w"} {
		if at, ok := p.relative(text); ok {
			t.Errorf("%s: %v", text, at)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	e := event.Event{Kind: "dns", Sensor: "border"}
	e.Set("dns.question.name", event.Str("www.example.com"))
	e.Set("dns.resolved_ip", event.List(event.Int(1), event.Str("x")))
	n, err := Parse(`(event.dataset: tocsin.dns or observer.name: x) and not source.ip: 10.0.0.0/8 and dns.question.name: *.example.* and
		not dns.resolved_ip: 10.0.0.1 and not dns.answers.ttl > 5 and dns.question.name: * and not event.id: 00000000000000000000000000000001`, testSchema(t), Auto)
	if err != nil {
		t.Fatal(err)
	}
	match := Compile(n)
	if !match(&e) {
		t.Error("does not match")
	}
	if n := testing.AllocsPerRun(100, func() { match(&e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAliasesAreSorted(t *testing.T) {
	for i := 1; i < len(aliases); i++ {
		if aliases[i-1].Name >= aliases[i].Name {
			t.Errorf("%s stands before %s", aliases[i-1].Name, aliases[i].Name)
		}
	}
}

// Whatever is typed, a tree comes of it that reads the same when it is written,
// or an error that points into it.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`source.ip: 10.0.0.0/8 and not event.severity < 50`, `"a\"b" or c\*d* and ip: ::1`, `network.protocol: (a or not "b c")`,
		`destination.port:[1 TO 1024} AND _exists_:source.ip`, `ip.src == [10.0.0.1, ::1] && host.dns != "*x?" || !(port == EXISTS!)`,
		`-a +b !c @timestamp >= 2026-11-22`, `dns.question.name: 例\(*`, `*`, `not *`,
	} {
		for lang := range Lang(4) {
			f.Add(text, byte(lang))
		}
	}
	s := testSchema(f)
	e := event.Event{Kind: "dns"}
	e.Set("dns.question.name", event.Str("a.b"))
	f.Fuzz(func(t *testing.T, text string, lang byte) {
		n, err := Parse(text, s, Lang(lang%4))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Col < 1 || e.Col > len(text)+1 || e.Msg == "" {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		again, err := Parse(String(n), s, KQL)
		if len(String(n)) > maxText {
			return // aliases make it longer
		}
		if err != nil || !reflect.DeepEqual(n, again) {
			t.Fatalf("%q, written as %q: %v\nwas %#v\nis  %#v", text, String(n), err, n, again)
		}
		if Match(n, &e) != Match(again, &e) {
			t.Fatalf("%q and %q match differently", text, String(n))
		}
	})
}
