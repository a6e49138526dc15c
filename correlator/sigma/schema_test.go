package sigma

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// testSchema has the fields of the sensor's first protocols.
func testSchema(t testing.TB) *event.Schema {
	t.Helper()
	var docs []event.FieldDoc
	for list, typ := range map[string]event.FieldType{
		"dns.question.name dns.question.type dns.question.class dns.response_code dns.answers.data dns.answers.type " +
			"url.original url.path url.query url.domain url.extension user_agent.original http.request.method http.request.referrer " +
			"http.response.mime_type http.request.mime_type http.version user.name " +
			"tls.client.server_name tls.version tls.client.ja3 tls.server.subject tls.server.x509.serial_number " +
			"ics.protocol ics.operation ics.function.name ics.objects.type ics.objects.address ics.status.name": event.Keyword,
		"http.response.status_code http.request.body.bytes ics.function.code ics.unit ics.objects.value dns.answers.ttl": event.Long,
		"dns.score":               event.Double,
		"dns.resolved_ip":         event.IPType,
		"tls.established":         event.Boolean,
		"tls.server.not_after":    event.Date,
		"dns.answers ics.objects": event.Nested,
	} {
		for name := range strings.FieldsSeq(list) {
			docs = append(docs, event.FieldDoc{Name: name, Type: typ})
		}
	}
	s, err := event.NewSchema(docs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var epoch = time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC) // a Wednesday in week 10

// at makes an event some seconds after epoch.
func at(seconds int, kind event.Kind, src, dst string, fields ...event.Field) event.Event {
	e := event.Event{Kind: kind, Sensor: "tap", Time: epoch.Add(time.Duration(seconds) * time.Second), Fields: fields}
	e.Flow.Transport = event.ProtoTCP
	if src != "" {
		e.Flow.Src.IP = netip.MustParseAddr(src)
		e.Flow.Dst.IP = netip.MustParseAddr(dst)
	}
	e.Flow.Dst.Port = 502
	h := event.NewHasher()
	h.Bytes(e.AppendJSON(nil))
	e.ID = h.ID(e.Time)
	return e
}

func str(name, v string) event.Field     { return event.Field{Name: name, Value: event.Str(v)} }
func num(name string, v int) event.Field { return event.Field{Name: name, Value: event.Int(int64(v))} }

func mustCompile(t testing.TB, texts ...string) *Set {
	t.Helper()
	var rules []*Rule
	for _, text := range texts {
		rs, errs := Parse("test.yml", []byte(text))
		for _, err := range errs {
			t.Fatal(err)
		}
		rules = append(rules, rs...)
	}
	set, errs := Compile(rules, Options{Schema: testSchema(t), Placeholders: map[string][]string{"servers": {"srv*", "10.0.0.1"}, "nets": {"10.0.0.0/8"}}})
	for _, err := range errs {
		t.Fatal(err)
	}
	return set
}

// matches returns the signals of an event.
func matches(s *Set, e event.Event) (out []correlator.Signal) {
	s.Match(&e, func(sig correlator.Signal) { out = append(out, sig) })
	return out
}
