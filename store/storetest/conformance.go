package storetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// Case is one line of the conformance table: the documents that a query finds.
type Case struct {
	Query string
	Lang  query.Lang
	Finds string // names of Documents, with spaces between
	Why   string
}

// Document is one event of the conformance table.
type Document struct {
	Name  string
	Event event.Event
}

// Documents are the events that the conformance table asks for.
func Documents() []Document {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	h := event.NewHasher()
	make := func(name string, kind event.Kind, second int, src, dst string, sport, dport uint16, fields ...event.Field) Document {
		e := event.Event{Time: at.Add(time.Duration(second) * time.Second), Kind: kind, Sensor: "border", Fields: fields}
		f := &e.Flow
		f.Transport = event.ProtoTCP
		f.Src, f.Dst = event.Endpoint{Port: sport}, event.Endpoint{Port: dport}
		if src != "" {
			f.Src.IP, f.Dst.IP = netip.MustParseAddr(src), netip.MustParseAddr(dst)
		}
		if kind != event.KindFlow {
			f.Service = string(kind)
		}
		h.Reset()
		h.Str(name)
		e.ID = h.ID(e.Time)
		return Document{name, e}
	}
	field := func(name string, v event.Value) event.Field { return event.Field{Name: name, Value: v} }
	ip := func(s string) event.Value { return event.IP(netip.MustParseAddr(s)) }
	docs := []Document{
		make("flow", event.KindFlow, 0, "10.0.0.5", "192.0.2.80", 40000, 80),
		make("flow6", event.KindFlow, 60, "2001:db8::5", "2001:db8::80", 40001, 443),
		make("dns", "dns", 120, "10.0.0.5", "192.0.2.53", 5353, 53,
			field("dns.question.name", event.Str("www.Example.com")),
			field("dns.response_code", event.Str("NOERROR")),
			field("dns.resolved_ip", event.List(ip("198.51.100.7"), ip("2001:db8::7"))),
			field("dns.answers", event.List(
				event.Object(field("data", event.Str("198.51.100.7")), field("ttl", event.Int(300))),
				event.Object(field("data", event.Str("2001:db8::7")), field("ttl", event.Int(60)))))),
		make("nx", "dns", 180, "10.0.9.9", "192.0.2.53", 5354, 53,
			field("dns.question.name", event.Str(`odd*name (x) "y"`)),
			field("dns.response_code", event.Str("NXDOMAIN")),
			field("dns.resolved_ip", event.List())),
		make("modbus", "modbus", 86400, "10.0.0.7", "10.9.0.1", 50000, 502,
			field("ics.protocol", event.Str("modbus")),
			field("ics.function.code", event.Int(16)),
			field("ics.latency", event.Float(0.25)),
			field("ics.broadcast", event.Bool(true))),
	}
	docs[0].Event.Flow.Src.Bytes, docs[0].Event.Flow.Src.Packets = 1000, 10
	docs[0].Event.Flow.Src.MAC = event.MAC{2, 0, 0, 0, 0, 0xab}
	docs[0].Event.Flow.State = "SF"
	a := event.Alert{ID: event.FirstID(at.Add(time.Hour)), Rule: event.Rule{ID: "r1", Name: "Modbus write", Ruleset: "sigma"}, Severity: 70, Level: event.LevelOf(70),
		Message: "A control command from 10.0.0.7", Sources: []netip.Addr{netip.MustParseAddr("10.0.0.7")}, Targets: []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")},
		Techniques: []event.Technique{{ID: "T0855", Name: "Unauthorized Command Message", Tactics: []string{"Impair Process Control"}}},
		Count:      1, First: at.Add(time.Hour), Last: at.Add(time.Hour)}
	return append(docs, Document{"alert", a.Event()})
}

// Conformance is the table of what queries mean.
func Conformance() []Case {
	const all = "flow flow6 dns nx modbus alert"
	id := Documents()[0].Event.ID.String()
	return []Case{
		{"", query.Auto, all, "nothing asked, everything found"},
		{"*", query.Auto, all, ""},
		{"source.ip: 10.0.0.5", query.Auto, "flow dns", "an address"},
		{"source.ip: 10.0.0.0/24", query.Auto, "flow dns modbus alert", "a prefix"},
		{"source.ip: 10.0.0.7/24", query.Auto, "flow dns modbus alert", "bits behind the prefix do not matter"},
		{"source.ip: 2001:db8::/32", query.Auto, "flow6", "colons in a value need no quotes"},
		{`source.ip: "2001:DB8:0::5"`, query.Auto, "flow6", "any way to write an address"},
		{"source.ip: ::/0", query.Auto, "flow flow6 dns nx modbus alert", "IPv4 addresses lie within IPv6, as ::ffff:0:0/96"},
		{"source.ip >= 10.0.0.7 and source.ip < 10.0.9.9", query.Auto, "modbus alert", "addresses have an order"},
		{"10.0.0.7", query.Auto, "modbus alert", "a bare address is looked for in every field of addresses"},
		{"198.51.100.0/24", query.Auto, "dns", "a bare prefix, too"},
		{`"10.0.0.7"`, query.Auto, "modbus alert", "in quotes it is looked for in texts as well"},
		{"ip: 10.9.0.1", query.Auto, "modbus", "ip is source.ip or destination.ip; an alert with two targets has no destination.ip"},
		{"tocsin.alert.target: 10.9.0.2", query.Auto, "alert", "any element of a list"},
		{"destination.port: 53", query.Auto, "dns nx", "a number"},
		{`destination.port: "53"`, query.Auto, "dns nx", "quotes do not make it a text"},
		{"destination.port: 53.0", query.Auto, "dns nx", ""},
		{"destination.port: (80 or 443)", query.Auto, "flow flow6", "several values"},
		{"destination.port: (80 or not 53) and event.kind: event", query.Auto, "flow flow6 modbus", ""},
		{"destination.port > 80 and destination.port <= 502", query.Auto, "flow6 modbus", ""},
		{"destination.port:[80 TO 502]", query.Auto, "flow flow6 modbus", "Lucene: both ends within"},
		{"destination.port:{80 TO 502}", query.Auto, "flow6", "Lucene: both ends without"},
		{"destination.port:[* TO 80}", query.Auto, "dns nx", "Lucene: open"},
		{"port: 53 or port: 502", query.Auto, "dns nx modbus", "port is source.port or destination.port"},
		{"ics.latency < 0.5", query.Auto, "modbus", "a fraction"},
		{"ics.latency: 0.250", query.Auto, "modbus", ""},
		{"ics.broadcast: true", query.Auto, "modbus", ""},
		{"ics.broadcast: false", query.Auto, "", "no value is not false"},
		{"dns.question.name: www.Example.com", query.Auto, "dns", "a text"},
		{"dns.question.name: www.example.com", query.Auto, "", "field: value minds the case"},
		{"dns.question.name: Example", query.Auto, "", "and is equal to the whole"},
		{"dns.question.name: *Example*", query.Auto, "dns", "* is any run of characters"},
		{"dns.question.name: ww?.Example.com", query.Auto, "dns", "? is any one character"},
		{"dns.question.name: odd\\*name*", query.Auto, "nx", "a backslash makes the next character itself"},
		{`dns.question.name: "odd*name (x) \"y\""`, query.Auto, "nx", "in quotes only \" and the backslash need one"},
		{`dns.question.name: "www*"`, query.Auto, "", "in quotes * is itself"},
		{"dns.question.name: *", query.Auto, "dns nx", "has the field"},
		{"not dns.question.name: *", query.Auto, "flow flow6 modbus alert", ""},
		{"_exists_:dns.question.name", query.Auto, "dns nx", "Lucene"},
		{"dns.resolved_ip: *", query.Auto, "dns", "an empty list is no value"},
		{"dns.*: *", query.Auto, "dns nx", "any field of a name like this"},
		{"dns.*: NOERROR", query.Auto, "dns", ""},
		{"dns.answers.ttl: 60", query.Auto, "dns", "a field of any object in a list"},
		{"dns.answers.ttl: 60 and dns.answers.data: 198.51.100.7", query.Auto, "dns", "not of the same object, necessarily"},
		{"dns.answers: *", query.Auto, "dns", ""},
		{"dns.question.name > www.E and dns.question.name < www.F", query.Auto, "dns", "texts have the order of their bytes"},
		{"source.mac: 02:00:00:00:00:ab", query.Auto, "flow", "any way to write a MAC address"},
		{"event.id: " + id, query.Auto, "flow", ""},
		{"event.dataset: tocsin.dns", query.Auto, "dns nx", ""},
		{"event.kind: alert", query.Auto, "alert", ""},
		{"event.severity >= 70", query.Auto, "alert", ""},
		{"not event.severity < 50", query.Auto, all, "what has no severity has none below 50"},
		{"threat.technique.id: T0855", query.Auto, "alert", ""},
		{`threat.technique.name: "Unauthorized Command Message"`, query.Auto, "alert", ""},
		{"@timestamp: 2026-11-22", query.Auto, "flow flow6 dns nx alert", "a day"},
		{"@timestamp > 2026-11-22", query.Auto, "modbus", "after the day"},
		{"@timestamp >= 2026-11-22T10:02", query.Auto, "dns nx modbus alert", ""},
		{"@timestamp: 2026-11-22T10:02", query.Auto, "dns", "a minute"},
		{"@timestamp < 2026-11-22T11:01:00+01:00", query.Auto, "flow", "in any time zone"},
		{"@timestamp <= 2026-11-22T10:01:00Z", query.Auto, "flow flow6", ""},
		{"example", query.Auto, "dns", "a bare word: within any text, in any case"},
		{"modbus", query.Auto, "modbus alert", ""},
		{`"modbus write"`, query.Auto, "alert", "a phrase"},
		{"ex*le", query.Auto, "dns", ""},
		{"502", query.Auto, "modbus", "a number as a whole"},
		{"50", query.Auto, "", "and not a part of one"},
		{"dns noerror", query.Auto, "dns", "words side by side: all of them"},
		{"noerror or modbus", query.Auto, "dns modbus alert", ""},
		{"not dns not modbus", query.Auto, "flow flow6", ""},
		{"noerror OR nxdomain AND 10.0.9.9", query.Auto, "dns nx", "and binds more than or"},
		{"(noerror OR nxdomain) AND 10.0.9.9", query.Auto, "nx", ""},
		{"-dns +border", query.Auto, "flow flow6 modbus", "Lucene's signs"},
		{"id.orig_h: 10.0.0.5 and id.resp_p: 80", query.Auto, "flow", "names of Zeek"},
		{"ip.src == 10.0.0.0/24 && port.dst == [80,53]", query.Auto, "flow dns", "Arkime"},
		{"ip.src != 10.0.0.0/24 && protocols == EXISTS!", query.Auto, "nx", "Arkime"},
		{`host.dns == "*Example*" || port.dst == 502`, query.Auto, "dns modbus", "Arkime: wildcards within quotes"},
		{"!(port.dst == 53) && bytes.src > 500", query.Auto, "flow", "Arkime"},
	}
}

// Table is the conformance table for people, in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| query | finds | note |\n|---|---|---|\n")
	cell := strings.NewReplacer("|", "\\|")
	for _, c := range Conformance() {
		q := "`` " + cell.Replace(c.Query) + " ``"
		if c.Query == "" {
			q = "(nothing)"
		}
		finds := c.Finds
		if finds == "" {
			finds = "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", q, finds, c.Why)
	}
	return b.String()
}

// find names the documents that a function finds, in the order of Documents.
func find(found func(d *Document) bool) string {
	var names []string
	for _, d := range Documents() {
		if found(&d) {
			names = append(names, d.Name)
		}
	}
	return strings.Join(names, " ")
}

func testConformance(t *testing.T, open Open) {
	s := opened(t, open)
	for _, d := range Documents() {
		if d.Event.Kind != event.KindAlert {
			put(t, s, []event.Event{d.Event})
			continue
		}
		a, err := event.AlertOf(&d.Event)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, nil, a)
	}
	for _, c := range Conformance() {
		n, err := query.Parse(c.Query, Schema(), c.Lang)
		if err != nil {
			t.Errorf("%s: %v", c.Query, err)
			continue
		}
		ids := []event.ID{}
		for _, e := range search(t, s, store.Query{Where: n}) {
			ids = append(ids, e.ID)
		}
		if got := find(func(d *Document) bool { return slices.Contains(ids, d.Event.ID) }); got != c.Finds {
			t.Errorf("%s\nwant %s\nhave %s", c.Query, c.Finds, got)
		}
	}
}
