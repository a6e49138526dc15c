package enrich_test

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/enrich"
	"github.com/tocsin/tocsin/event"
)

type dict = mmdbtype.Map

func text(s string) mmdbtype.String { return mmdbtype.String(s) }

// database writes one, built at a time, with a record for each network.
func database(t testing.TB, kind string, built time.Time, records map[string]dict) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, BuildEpoch: built.Unix(), RecordSize: 24, IncludeReservedNetworks: true, DisableIPv4Aliasing: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, record := range records {
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, record); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func keep(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var built = time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)

func cities(t testing.TB) []byte {
	city := func(country, name string) dict {
		d := dict{"country": dict{"iso_code": text(country)}}
		if name != "" {
			d["city"] = dict{"names": dict{"en": text(name), "de": text("anders")}}
		}
		return d
	}
	return database(t, "GeoLite2-City", built, map[string]dict{
		"198.51.100.0/24":  city("NL", "Utrecht"),
		"203.0.113.0/25":   city("FR", ""),
		"203.0.113.128/25": {"registered_country": dict{"iso_code": text("BR")}},
		"2001:db8:1::/48":  city("JP", "Osaka"),
		"10.0.0.0/8":       city("US", "Nowhere"),
		"100.64.0.0/10":    city("US", "Nowhere"),
	})
}

func numbers(t testing.TB) []byte {
	as := func(n uint32, name string) dict {
		return dict{"autonomous_system_number": mmdbtype.Uint32(n), "autonomous_system_organization": text(name)}
	}
	return database(t, "GeoLite2-ASN", built.Add(time.Hour), map[string]dict{"198.51.100.0/25": as(64500, "Example Transit"), "2001:db8::/32": as(4_200_000_001, "Example Six")})
}

func load(t testing.TB, paths ...string) *enrich.Geo {
	t.Helper()
	g, err := enrich.LoadGeo(paths)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGeo(t *testing.T) {
	const city, as = "GeoLite2-City of 2026-11-20T06:00:00Z", "GeoLite2-ASN of 2026-11-20T07:00:00Z"
	g := load(t, keep(t, "city.mmdb", cities(t)), keep(t, "asn.mmdb", numbers(t)))
	for _, c := range []struct {
		addr string
		want event.Place
	}{
		{"198.51.100.7", event.Place{Country: "NL", City: "Utrecht", AS: 64500, Organization: "Example Transit", Database: city + ", " + as}},
		{"::ffff:198.51.100.7", event.Place{Country: "NL", City: "Utrecht", AS: 64500, Organization: "Example Transit", Database: city + ", " + as}},
		{"198.51.100.200", event.Place{Country: "NL", City: "Utrecht", Database: city}},
		{"203.0.113.9", event.Place{Country: "FR", Database: city}},
		{"203.0.113.200", event.Place{Country: "BR", Database: city}},
		{"2001:db8:1::9", event.Place{Country: "JP", City: "Osaka", AS: 4_200_000_001, Organization: "Example Six", Database: city + ", " + as}},
		{"2001:db8:2::9", event.Place{AS: 4_200_000_001, Organization: "Example Six", Database: as}},
		{"192.0.2.1", event.Place{}},
		{"10.1.2.3", event.Place{}},
		{"100.64.1.1", event.Place{}},
		{"fe80::1%eth0", event.Place{}},
		{"224.0.0.1", event.Place{}},
	} {
		addr := netip.MustParseAddr(c.addr)
		if c.want != (event.Place{}) {
			c.want.IP = addr.Unmap()
		}
		for range 2 { // read, then remembered
			var got event.Place
			if p := g.Place(addr); p != nil {
				got = *p
			}
			if got != c.want {
				t.Errorf("%s is at %+v, want %+v", c.addr, got, c.want)
			}
		}
	}
	e := event.Event{Kind: event.KindFlow}
	e.Flow.Src.IP, e.Flow.Dst.IP = netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("198.51.100.7")
	g.Enricher().Enrich(&e)
	if got := e.Places(); len(got) != 1 || got[0] != *g.Place(e.Flow.Dst.IP) {
		t.Errorf("the event says %+v", got)
	}
	want := `"destination":{"as":{"number":64500,"organization":{"name":"Example Transit"}},"bytes":0,"geo":{"city_name":"Utrecht","country_iso_code":"NL"},"ip":"198.51.100.7"`
	if got := string(e.AppendJSON(nil)); !strings.Contains(got, want) {
		t.Errorf("%s\nlacks %s", got, want)
	}
	schema, err := event.NewSchema(g.Enricher().Fields)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range e.Fields {
		if _, ok := schema.Lookup(f.Name); !ok {
			t.Errorf("%s is not documented", f.Name)
		}
	}
}

// TestGeoOfOthers reads records as other makers form them.
func TestGeoOfOthers(t *testing.T) {
	of := func(records map[string]dict) event.Place {
		p := load(t, keep(t, "a.mmdb", database(t, "", built, records))).Place(netip.MustParseAddr("198.51.100.7"))
		if p == nil {
			return event.Place{}
		}
		p.IP, p.Database = netip.Addr{}, strings.TrimSuffix(p.Database, " of 2026-11-20T06:00:00Z")
		return *p
	}
	for _, c := range []struct {
		record dict
		want   event.Place
	}{
		{dict{"country": text("nl"), "city": text("Utrecht"), "asn": text("AS64500"), "as_name": text("Example")}, event.Place{Country: "NL", City: "Utrecht", AS: 64500, Organization: "Example", Database: "unnamed"}},
		{dict{"country_code": text("NL")}, event.Place{Country: "NL", Database: "unnamed"}},
		{dict{"country": dict{"iso_code": mmdbtype.Uint32(7)}, "asn": text("ASx")}, event.Place{}},
		{dict{"is_anonymous": mmdbtype.Bool(true)}, event.Place{}},
		{dict{"country": text(strings.Repeat("x", 1000))}, event.Place{Country: strings.Repeat("X", 200), Database: "unnamed"}},
	} {
		if got := of(map[string]dict{"198.51.100.0/24": c.record}); got != c.want {
			t.Errorf("%v is %+v, want %+v", c.record, got, c.want)
		}
	}
}

func TestGeoReload(t *testing.T) {
	path := keep(t, "country.mmdb", cities(t))
	g := load(t, path)
	addr := netip.MustParseAddr("198.51.100.7")
	country := func() string { return g.Place(addr).Country }
	if changed, err := g.Reload(); changed || err != nil || country() != "NL" {
		t.Errorf("nothing changed: %v, %v, %s", changed, err, country())
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("not a database"))
	if changed, err := g.Reload(); changed || err == nil || !strings.Contains(err.Error(), path) || country() != "NL" {
		t.Errorf("a broken file: %v, %v, %s", changed, err, country())
	}
	write(database(t, "GeoLite2-Country", built.Add(24*time.Hour), map[string]dict{"198.51.100.0/24": {"country": dict{"iso_code": text("BE")}}}))
	if changed, err := g.Reload(); !changed || err != nil || country() != "BE" {
		t.Errorf("a new file: %v, %v, %s", changed, err, country())
	}
	if got, want := g.Databases(), []string{"GeoLite2-Country of 2026-11-21T06:00:00Z"}; !reflect.DeepEqual(got, want) {
		t.Errorf("databases %q, want %q", got, want)
	}
	if _, err := enrich.LoadGeo([]string{filepath.Dir(path)}); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("a folder: %v", err)
	}
}

// TestGeoOnAlerts: an alert says where its public addresses are, by which
// database, whatever the order of events and reports.
func TestGeoOnAlerts(t *testing.T) {
	g := load(t, keep(t, "city.mmdb", cities(t)))
	rule := &correlator.Rule{Rule: event.Rule{ID: "any"}, Severity: 50, Message: "{source} to {targets}"}
	run := func(size int, addrs ...string) string {
		k, err := correlator.New(correlator.Config{Enrichers: []correlator.Enricher{g.Enricher()}, Detectors: []correlator.Detector{{
			Name: "any", Rules: []*correlator.Rule{rule}, Match: func(e *event.Event, emit func(correlator.Signal)) { emit(correlator.Of(rule, "", e)) },
		}}})
		if err != nil {
			t.Fatal(err)
		}
		var all correlator.Alerts
		for i, dst := range addrs {
			e := event.Event{Kind: event.KindFlow, ID: event.FirstID(built.Add(time.Duration(len(dst)) * time.Second)), Time: built}
			e.Flow.Src.IP, e.Flow.Dst.IP = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr(dst)
			alerts, err := k.Process(t.Context(), []event.Event{e})
			if err != nil {
				t.Fatal(err)
			}
			if i%size == 0 {
				all.Add(alerts)
			}
			all.Add(alerts)
		}
		all.Add(k.Flush())
		as := all.Sorted()
		if len(as) != 1 {
			t.Fatalf("%d alerts, want 1", len(as))
		}
		e := as[0].Event()
		back, err := event.AlertOf(&e)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back.Places, as[0].Places) {
			t.Errorf("places %+v, and back %+v", as[0].Places, back.Places)
		}
		return string(e.AppendJSON(nil))
	}
	got := run(1, "198.51.100.7", "203.0.113.99", "203.0.113.9")
	for _, want := range []string{
		`"geo":{"city_name":"Utrecht","country_iso_code":["NL","FR"]}`,
		`{"city":"Utrecht","country":"NL","database":"GeoLite2-City of 2026-11-20T06:00:00Z","ip":"198.51.100.7"}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
	if again := run(2, "203.0.113.9", "198.51.100.7", "203.0.113.99"); again != got {
		t.Errorf("in another order:\n%s\n%s", again, got)
	}
}

func FuzzGeo(f *testing.F) {
	f.Add(cities(f), []byte{198, 51, 100, 7})
	f.Add(numbers(f), netip.MustParseAddr("2001:db8::1").AsSlice())
	path := filepath.Join(f.TempDir(), "fuzz.mmdb")
	f.Fuzz(func(t *testing.T, content, addr []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := enrich.LoadGeo([]string{path})
		if err != nil {
			return
		}
		if a, ok := netip.AddrFromSlice(addr); ok {
			g.Place(a)
		}
	})
}

func BenchmarkGeo(b *testing.B) {
	g := load(b, keep(b, "city.mmdb", cities(b)), keep(b, "asn.mmdb", numbers(b)))
	e := event.Event{Kind: event.KindFlow, Fields: make([]event.Field, 0, 16)}
	run := func(name string, dst func(i int) netip.Addr) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			e.Flow.Src.IP = netip.MustParseAddr("10.0.0.1")
			en := g.Enricher().Enrich
			for i := range b.N {
				e.Fields = e.Fields[:0]
				e.Flow.Dst.IP = dst(i)
				en(&e)
			}
		})
	}
	run("again", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) })
	run("new", func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
	})
}
