package intel_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/event"
)

func TestDetector(t *testing.T) {
	b := intel.NewBuilder()
	for _, e := range []intel.Raw{{Value: "203.0.113.7", Confidence: 90}, {Value: "evil.example.com", Confidence: 20}} {
		if err := b.Add(intel.List{Provider: "list"}, e); err != nil {
			t.Fatal(err)
		}
	}
	c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{intel.NewReputation(b.Table()).Detector()}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0).UTC()
	one := func(kind event.Kind, src, dst string, fields ...event.Field) event.Event {
		h := event.NewHasher()
		h.Str(string(kind) + src + dst)
		return event.Event{ID: h.ID(at), Time: at, Kind: kind, Fields: fields,
			Flow: event.Flow{Src: event.Endpoint{IP: netip.MustParseAddr(src)}, Dst: event.Endpoint{IP: netip.MustParseAddr(dst)}, Transport: event.ProtoTCP}}
	}
	alerts, err := c.Process(context.Background(), []event.Event{
		one(event.KindFlow, "10.0.0.1", "203.0.113.7"),
		one(event.KindFlow, "10.0.0.1", "203.0.113.8"),
		one("dns", "10.0.0.2", "10.0.0.53", event.Field{Name: "dns.question.name", Value: event.Str("a.evil.example.com")}),
		one("dns", "10.0.0.3", "10.0.0.53", event.Field{Name: "dns.resolved_ip", Value: event.List(event.IP(netip.MustParseAddr("203.0.113.7")))}),
		one("dns", "10.0.0.4", "10.0.0.53", event.Field{Name: "dns.question.name", Value: event.Str("example.com")}),
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, a := range alerts {
		got[a.Group] = a.Severity
		if a.Indicator.Provider != "list" || a.Message == "" || len(a.Explain) != 1 {
			t.Errorf("alert %+v does not explain itself", a)
		}
	}
	want := map[string]int{
		"host=10.0.0.1 indicator=203.0.113.7":      70,
		"host=10.0.0.2 indicator=evil.example.com": 30,
		"host=10.0.0.3 indicator=203.0.113.7":      70,
	}
	if len(got) != len(want) {
		t.Errorf("alerts %v, want %v", got, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s has severity %d, want %d", k, got[k], v)
		}
	}
}
