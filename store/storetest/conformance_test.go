package storetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/golden"
	"github.com/tocsin/tocsin/store/query"
)

// The matcher itself is the first to agree with the table.
func TestConformance(t *testing.T) {
	for _, c := range Conformance() {
		n, err := query.Parse(c.Query, Schema(), c.Lang)
		if err != nil {
			t.Errorf("%s: %v", c.Query, err)
			continue
		}
		match := query.Compile(n)
		if got := find(func(d *Document) bool { return match(&d.Event) }); got != c.Finds {
			t.Errorf("%s (%s)\nwant %s\nhave %s", c.Query, query.String(n), c.Finds, got)
		}
		again, err := query.Parse(query.String(n), Schema(), query.KQL)
		if err != nil {
			t.Errorf("%s, written as %s: %v", c.Query, query.String(n), err)
			continue
		}
		match = query.Compile(again)
		if got := find(func(d *Document) bool { return match(&d.Event) }); got != c.Finds {
			t.Errorf("%s, written as %s\nwant %s\nhave %s", c.Query, query.String(n), c.Finds, got)
		}
	}
}

const head = `# The query language

<!-- Made from store/storetest/conformance.go and store/query/alias.go by "make generate". -->

One language asks for events and alerts, in the console, on the command line and in the API. It is KQL as in Kibana;
what Lucene has beyond it is read as well; and a query with ` + "`==`, `!=` or `EXISTS!`" + ` is read as Arkime's. All become the
same tree with one meaning, and every store gives the same answers: it passes the table below.

` + "```" + `
source.ip: 10.0.0.0/8 and not event.severity < 50         KQL
destination.port:[1 TO 1024] AND NOT _exists_:dns.id      Lucene
ip.src == 10.0.0.0/8 && port.dst == [80,443]              Arkime
` + "```" + `

What to know:

- **Text** in ` + "`field: value`" + ` is equal to the whole value, and minds the case. ` + "`*`" + ` stands for any run of characters, ` + "`?`" + ` for one. In quotes they are themselves; so they are behind a backslash.
- **A bare word** or phrase is looked for within every text of an event, in any case; a number is equal to a whole number. Identifiers (event.id, network.community_id, tocsin.alert.evidence, tocsin.rule.hash) are compared as a whole.
- **A bare address or prefix** is looked for in every field that holds addresses.
- **Words side by side** must all be there: ` + "`and`" + ` may be left out. (Lucene itself would take any of them, Kibana one phrase.) ` + "`and`" + ` binds more than ` + "`or`" + `.
- **A list** matches if any of its elements does, an object in a list by its fields; ` + "`not`" + ` is true where nothing matches.
- **A time** may be a part of one, ` + "`2026-11-22`" + `, and then is that whole stretch: ` + "`>`" + ` is after it, ` + "`>=`" + ` from its beginning. ` + "`now`, `now-15m`, `now-1d`" + ` (s m h d w) count from the moment of asking. Times are UTC unless they say otherwise.
- **A field** may have ` + "`*`" + ` in its name: any field of such a name.
- **Not supported**: regular expressions and nested queries in braces, which are errors; boosts, fuzzy and proximity searches, whose ` + "`^` and `~`" + ` are ordinary characters here.
- An error names the column and what was expected; of a name that is not known, the nearest that is.

## Other names for fields

A documented field goes before another name for it.

| name | field | of |
|---|---|---|
`

const middle = `
## Conformance

The documents: **flow**, TCP from 10.0.0.5 port 40000 to 192.0.2.80 port 80 at 10:00:00 on 2026-11-22, MAC address
02-00-00-00-00-AB, 1000 bytes; **flow6**, from 2001:db8::5 to 2001:db8::80 port 443 a minute later; **dns**, a minute
later, 10.0.0.5 asks 192.0.2.53 for ` + "`www.Example.com`" + `, NOERROR, 198.51.100.7 (TTL 300) and 2001:db8::7 (TTL 60); **nx**,
a minute later, 10.0.9.9 asks for ` + "`odd*name (x) \"y\"`" + `, NXDOMAIN; **modbus**, the next day, from 10.0.0.7 to 10.9.0.1, function
16, latency 0.25, broadcast; and an **alert** "Modbus write" of severity 70 at 11:00, from 10.0.0.7 to 10.9.0.1 and 10.9.0.2.

`

// TestDocs compares docs/QUERY.md with the code; make generate writes it.
func TestDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString(head)
	for _, a := range query.Aliases() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", a.Name, strings.Join(a.Fields, " or "), a.Of)
	}
	b.WriteString(middle)
	b.WriteString(Table())
	golden.Check(t, "../../docs/QUERY.md", []byte(b.String()))
}
