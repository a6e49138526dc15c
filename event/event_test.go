package event

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
)

func schema(t *testing.T, docs ...FieldDoc) *Schema {
	t.Helper()
	s, err := NewSchema(docs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var dnsDocs = []FieldDoc{
	{"dns.question.name", Keyword, "", ClassPersonal},
	{"dns.resolved_ip", IPType, "", ClassTopology},
	{"dns.answers", Nested, "", ClassTechnical},
	{"dns.answers.data", Keyword, "", ClassTechnical},
	{"dns.answers.ttl", Long, "", ClassTechnical},
	{"dns.score", Double, "", ClassTechnical},
}

func sample() Event {
	at := time.Date(2026, 11, 22, 1, 2, 3, 456789012, time.UTC)
	h := NewHasher()
	h.Str("border")
	h.Time(at)
	return Event{
		ID: h.ID(at), Time: at, Kind: "dns", Sensor: "border", Iface: "eth0",
		Flow: Flow{
			Src: Endpoint{IP: netip.MustParseAddr("192.0.2.1"), Port: 5353, MAC: MAC{2, 0, 0, 0, 0, 0xab}},
			Dst: Endpoint{IP: netip.MustParseAddr("192.0.2.53"), Port: 53}, Transport: ProtoUDP, VLAN: 7, InnerVLAN: 8,
			CommunityID: "1:x=", Start: at, End: at.Add(time.Millisecond), Service: "dns",
		},
		Fields: []Field{
			{"dns.score", Float(2)},
			{"dns.resolved_ip", List(IP(netip.MustParseAddr("2001:db8::1")), IP(netip.MustParseAddr("::ffff:192.0.2.9")))},
			{"dns.question.name", Text([]byte("a\"b\xff\x00\\x41.例"))},
			{"dns.answers", List(Object(Field{"data", Str("x")}, Field{"ttl", Uint(1 << 63)}))},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	s := schema(t, dnsDocs...)
	flow := sample()
	flow.Kind = KindFlow
	flow.Fields = nil
	flow.Flow.State, flow.Flow.History, flow.Flow.EndReason = "SF", "Dd", "idle"
	flow.Flow.Src.Packets, flow.Flow.Src.Bytes, flow.Flow.Src.Payload = 1, 60, 32
	for _, e := range []Event{sample(), flow} {
		text := e.AppendJSON(nil)
		if !json.Valid(text) {
			t.Fatalf("no JSON: %s", text)
		}
		var back Event
		if err := s.Decode(text, &back); err != nil {
			t.Fatal(err)
		}
		if again := back.AppendJSON(nil); string(again) != string(text) {
			t.Errorf("round trip\nwas %s\nis  %s", text, again)
		}
		e.All(func(name string, v Value) bool {
			if got := back.Get(name); !got.Equal(v) {
				t.Errorf("%s: was %v (%d), is %v (%d)", name, v, v.Type(), got, got.Type())
			}
			return true
		})
	}
}

func TestCoreFieldsAreSorted(t *testing.T) {
	if !slices.IsSorted(coreNames[1:]) {
		t.Error("coreNames are not in the order of their names; Encoder merges on that")
	}
	for c, d := range coreDocs[1:] {
		if d.Name == "" || d.Help == "" || d.Type == "" {
			t.Errorf("core field %d is not documented: %+v", c+1, d)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	e := sample()
	refs := []Ref{Resolve("source.ip"), Resolve("event.dataset"), Resolve("dns.question.name"), Resolve("no.such")}
	if n := testing.AllocsPerRun(100, func() {
		for _, r := range refs {
			e.Lookup(r)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEncoderDoesNotAllocate(t *testing.T) {
	e := sample()
	var enc Encoder
	buf := enc.Append(nil, &e)
	if n := testing.AllocsPerRun(100, func() { buf = enc.Append(buf[:0], &e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSchemaRefuses(t *testing.T) {
	for _, docs := range [][]FieldDoc{
		{{"a.b", Keyword, "", 0}, {"a.b", Long, "", 0}},
		{{"a.b", Keyword, "", 0}, {"a.b.c", Long, "", 0}},
		{{"a-b", Keyword, "", 0}},
		{{"a..b", Keyword, "", 0}},
	} {
		if _, err := NewSchema(docs); err == nil {
			t.Errorf("%v: no error", docs)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":      "plain",
		"a\x00b":     `a\x00b`,
		`a\x00b`:     `a\\x00b`,
		`back\slash`: `back\slash`,
		"\xff":       `\xff`,
		"例":          "例",
	} {
		if got := Text([]byte(in)).Str(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAlertRoundTripAndMerge(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	e1, e2 := FirstID(at), FirstID(at.Add(time.Second))
	a := Alert{
		ID: FirstID(at), Rule: Rule{ID: "r", Name: "R", Ruleset: "sigma", Version: "1", Hash: "00"}, Severity: 70, Level: LevelOf(70),
		Message: "one", Group: "g", Techniques: []Technique{{"T0855", "Unauthorized Command Message", []string{"Impair Process Control"}}},
		Sources: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Hosts: []string{"h"}, Sensors: []string{"border"},
		Indicator: Indicator{"ipv4-addr", "192.0.2.0/24", "list", 80, "", "Example bot", "AMBER", time.Unix(1_700_000_000, 0).UTC()},
		Count:     1, First: at, Last: at, Evidence: []ID{e1}, Explain: []Explain{{"f", "p", "v"}},
	}
	b := a
	b.Sources = []netip.Addr{netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("192.0.2.1")}
	b.Count, b.Message, b.Last, b.Evidence, b.Explain = 2, "two", at.Add(time.Second), []ID{e1, e2}, []Explain{{"f", "p", "v"}}
	ab, ba := a, b
	ab.Merge(&b)
	ba.Merge(&a)
	ab.Merge(&b)
	ea, eb := ab.Event(), ba.Event()
	ja, jb := ea.AppendJSON(nil), eb.AppendJSON(nil)
	if string(ja) != string(jb) {
		t.Errorf("merge depends on order:\n%s\n%s", ja, jb)
	}
	var back Event
	if err := schema(t).Decode(ja, &back); err != nil {
		t.Fatal(err)
	}
	a2, err := AlertOf(&back)
	if err != nil {
		t.Fatal(err)
	}
	e3 := a2.Event()
	if got := e3.AppendJSON(nil); string(got) != string(ja) {
		t.Errorf("alert round trip\nwas %s\nis  %s", ja, got)
	}
}

func TestIDSortsByTime(t *testing.T) {
	h := NewHasher()
	var ids []ID
	for i := range 10 {
		at := time.Unix(int64(1000*i), 999999).UTC()
		h.Reset()
		h.Str("x")
		id := h.ID(at)
		if d := at.Sub(id.Time()); d < 0 || d >= time.Millisecond {
			t.Errorf("%v carries %v", at, id.Time())
		}
		ids = append(ids, id)
		if p, err := ParseID(id.String()); err != nil || p != id {
			t.Errorf("%v: parsed %v, %v", id, p, err)
		}
	}
	if !slices.IsSortedFunc(ids, ID.Compare) {
		t.Error("identifiers do not sort by time")
	}
}

func FuzzDecode(f *testing.F) {
	e := sample()
	f.Add(e.AppendJSON(nil))
	f.Add([]byte(`{"a":{"b":[{"c":1},[]]},"@timestamp":"x"}`))
	s, err := NewSchema(dnsDocs)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		if s.Decode(b, &e) != nil {
			return
		}
		text := e.AppendJSON(nil)
		if !json.Valid(text) {
			t.Fatalf("no JSON: %q", text)
		}
	})
}

// A value of another type gives nothing, not even by mistake.
func TestValuesOfOtherTypes(t *testing.T) {
	vs := []Value{{}, Str("a"), Str(""), Int(1), Uint(1 << 63), Float(1), Bool(true), IP(netip.MustParseAddr("0.0.0.1")), Time(time.Unix(0, 1)), List(Int(1)), Object(Field{"a", Int(1)})}
	for i, v := range vs {
		got := fmt.Sprint(v.Str(), v.List() != nil, v.Object() != nil)
		for _, f := range []func() (any, bool){
			func() (any, bool) { x, ok := v.Int(); return x, ok },
			func() (any, bool) { x, ok := v.Bool(); return x, ok },
			func() (any, bool) { x, ok := v.IP(); return x, ok },
			func() (any, bool) { x, ok := v.Time(); return x, ok },
		} {
			if x, ok := f(); !ok && !reflect.ValueOf(x).IsZero() {
				t.Errorf("%s of type %d: %v", v, v.Type(), x)
			}
		}
		if want := fmt.Sprint(map[int]string{1: "a"}[i], v.Type() == TypeList, v.Type() == TypeObject); got != want {
			t.Errorf("%s of type %d: %s", v, v.Type(), got)
		}
		for j, w := range vs {
			if v.Equal(w) != (i == j) {
				t.Errorf("%s and %s: %v", v, w, v.Equal(w))
			}
		}
	}
	if !Str("abc").Equal(Str(string([]byte("abc")))) || Str("abc").Equal(Str("abd")) {
		t.Error("texts are not compared by what they say")
	}
}

func TestNearest(t *testing.T) {
	names := []string{"source.ip", "source.port", "dns.question.name", "Message"}
	for in, want := range map[string]string{
		"source.ipp": "source.ip", "sorce.port": "source.port", "question.name": "dns.question.name", "message": "Message", "xyzzy": "", "": "",
	} {
		if got := Nearest(in, names); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestLedger(t *testing.T) {
	minute := func(seen, decoded, lost uint64) *Event {
		return &Event{Kind: KindLedger, Fields: []Field{
			{LedgerPrefix + "seen", Uint(seen)}, {LedgerPrefix + "decoded", Uint(decoded)},
			{LedgerPrefix + DroppedPrefix + "ring", Uint(lost)}, {LedgerPrefix + "flows", Uint(3)},
		}}
	}
	l := Ledger{}
	l.Add(minute(10, 8, 2))
	l.Add(minute(5, 5, 0))
	if l["seen"] != 15 || l["flows"] != 6 || l.Dropped() != 2 || l.Off() != 0 {
		t.Errorf("%v: dropped %d, off by %d", l, l.Dropped(), l.Off())
	}
	l.Add(minute(5, 6, 0))
	if l.Off() != -1 {
		t.Errorf("off by %d, want -1", l.Off())
	}
}
