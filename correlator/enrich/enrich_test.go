package enrich_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/correlator/enrich"
	"github.com/tocsin/tocsin/event"
)

const assets = `
zones:
  - {name: internet, networks: [0.0.0.0/0, "::/0"], trust: internet}
  - {name: control, networks: [10.3.0.0/16, "fd00:3::/32"], trust: control}
assets:
  - {name: relay, addresses: [198.51.100.5], zone: control}
  - {name: plc-1, addresses: [10.3.0.5, "fd00:3::5"], zone: control, role: plc, sector: energy, level: 4, owner: operations}
`

func enriched(t *testing.T, a *enrich.Assets, src, dst string) *event.Event {
	t.Helper()
	e := &event.Event{Kind: event.KindFlow, Flow: event.Flow{Src: event.Endpoint{IP: netip.MustParseAddr(src)}, Dst: event.Endpoint{IP: netip.MustParseAddr(dst)}}}
	a.Enricher().Enrich(e)
	return e
}

func TestEnrich(t *testing.T) {
	a, err := enrich.Parse([]byte(assets))
	if err != nil {
		t.Fatal(err)
	}
	e := enriched(t, a, "192.0.2.1", "10.3.0.5")
	for name, want := range map[string]string{
		"tocsin.source.zone": "internet", "tocsin.source.trust": "internet", "tocsin.source.name": "",
		"tocsin.destination.name": "plc-1", "tocsin.destination.zone": "control", "tocsin.destination.role": "plc",
		"tocsin.destination.sector": "energy", "tocsin.destination.level": "4", "network.direction": "inbound",
	} {
		if got := e.Get(name).String(); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, c := range [][3]string{
		{"10.3.0.5", "192.0.2.1", "outbound"}, {"192.0.2.1", "198.51.100.5", "inbound"}, {"fd00:3::5", "fd00:3::6", "internal"}, {"192.0.2.1", "2001:db8::1", "external"}, {"fe80::1", "fd00:3::6", "internal"},
	} {
		if got := enriched(t, a, c[0], c[1]).Get("network.direction").Str(); got != c[2] {
			t.Errorf("%s to %s is %s, want %s", c[0], c[1], got, c[2])
		}
	}
	var nothing enrich.Assets
	if got := enriched(t, &nothing, "10.0.0.1", "192.0.2.1").Get("network.direction").Str(); got != "outbound" {
		t.Errorf("without assets: %s, want outbound", got)
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	a, err := enrich.Parse([]byte(assets))
	if err != nil {
		t.Fatal(err)
	}
	s, err := event.NewSchema(a.Enricher().Fields)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range enriched(t, a, "10.3.0.5", "10.3.0.5").Fields {
		if _, ok := s.Lookup(f.Name); !ok {
			t.Errorf("%s is not documented", f.Name)
		}
	}
}

func TestErrorsSayWhat(t *testing.T) {
	for text, want := range map[string]string{
		"zones:\n  - {name: a, networks: [10.0.0.0/33], trust: dmz}":                          "10.0.0.0/33",
		"zones:\n  - {name: a, trust: none}":                                                  "want internet, dmz",
		"assets:\n  - {name: a, zone: nowhere}":                                               "no zone",
		"assets:\n  - {name: a, level: 9}":                                                    "level 9",
		"assets:\n  - {name: a, addresses: [10.0.0.1]}\n  - {name: b, addresses: [10.0.0.1]}": "belongs to a already",
		"assets:\n  - {name: a, adresses: [10.0.0.1]}":                                        "line 2",
		"assets:\n  - {name: a, addresses: [ten]}":                                            `"ten"`,
		"assets: 7": "line 1",
	} {
		if _, err := enrich.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v does not say %q", text, err, want)
		}
	}
}
