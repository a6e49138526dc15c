package enrich

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// Geo knows where public addresses are, and whose, by databases in the MaxMind
// DB format. What it says of an event names the databases and when they were
// built, so that it can be understood when they have long been replaced. Its
// methods may be called from several goroutines.
type Geo struct {
	paths []string
	now   atomic.Pointer[atlas]
}

// atlas is the databases of one moment; but for its cache it does not change.
type atlas struct {
	maps  []mmdb
	files string                               // fingerprint
	known *lru.Cache[netip.Addr, *event.Place] // nil: nothing is known
}

type mmdb struct {
	*maxminddb.Reader
	name string // type and time of build
}

// knownPlaces is how many addresses' places are remembered, at some 300 bytes
// each: to read one from a database of cities takes ten times as long.
const knownPlaces = 1 << 15

// LoadGeo reads databases in the MaxMind DB format: of countries, cities or
// autonomous systems, by MaxMind, DB-IP, IPinfo or who else writes it so. Of
// several the first that knows a thing is believed. They are held in memory: a
// file may be overwritten while it is in use.
func LoadGeo(paths []string) (*Geo, error) {
	g := &Geo{paths: slices.Clone(paths)}
	_, err := g.Reload()
	return g, err
}

// Paths are the files, as they were given.
func (g *Geo) Paths() []string { return g.paths }

// Databases names the databases in use, with the times of their builds.
func (g *Geo) Databases() []string {
	var names []string
	for _, m := range g.now.Load().maps {
		names = append(names, m.name)
	}
	return names
}

// Reload reads the files again if they have changed, for the events from now on,
// and reports whether they had. After an error the databases of before are used.
func (g *Geo) Reload() (changed bool, err error) {
	files, err := fingerprint(g.paths)
	if err != nil {
		return false, err
	}
	if old := g.now.Load(); old != nil && old.files == files {
		return false, nil
	}
	a := &atlas{files: files}
	for _, p := range g.paths {
		text, err := os.ReadFile(p)
		if err != nil {
			return false, fmt.Errorf("geo database: %w", err)
		}
		m, err := readMMDB(text)
		if err != nil {
			return false, fmt.Errorf("geo database %s: %w; want a file in the MaxMind DB format", p, err)
		}
		a.maps = append(a.maps, m)
	}
	if a.known, err = lru.New[netip.Addr, *event.Place](knownPlaces); err != nil {
		return false, fmt.Errorf("geo databases: %w", err)
	}
	g.now.Store(a)
	return true, nil
}

func readMMDB(text []byte) (mmdb, error) {
	r, err := maxminddb.OpenBytes(text)
	if err != nil {
		return mmdb{}, err
	}
	built := r.Metadata.BuildTime().UTC()
	return mmdb{r, cmp.Or(r.Metadata.DatabaseType, "unnamed") + " of " + built.Format(time.RFC3339)}, nil
}

func fingerprint(paths []string) (string, error) {
	var b strings.Builder
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return "", fmt.Errorf("geo database: %w", err)
		}
		if info.IsDir() {
			return "", fmt.Errorf("geo database %s: %w", p, errors.New("is a folder; want a file in the MaxMind DB format"))
		}
		fmt.Fprintf(&b, "%s %d %d\n", p, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

// Enricher returns the enricher of these databases.
func (g *Geo) Enricher() correlator.Enricher {
	return correlator.Enricher{Name: "geo", Fields: event.PlaceFields(), Enrich: func(e *event.Event) {
		a := g.now.Load()
		if src, dst := a.lookup(e.Flow.Src.IP), a.lookup(e.Flow.Dst.IP); src != nil || dst != nil {
			e.SetPlaces(src, dst)
		}
	}}
}

// Place says where an address is; nil if it is not public or no database knows it.
func (g *Geo) Place(addr netip.Addr) *event.Place { return g.now.Load().lookup(addr) }

// sharedSpace is what carriers number their own customers with (RFC 6598).
var sharedSpace = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)

// public reports whether an address means the same everywhere.
func public(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !sharedSpace.Contains(addr)
}

func (a *atlas) lookup(addr netip.Addr) *event.Place {
	if addr = addr.Unmap().WithZone(""); !public(addr) {
		return nil
	}
	p, ok := a.known.Get(addr)
	if !ok {
		p = a.read(addr)
		a.known.Add(addr, p)
	}
	return p
}

// read asks each database for what those before it do not know. A record that
// is broken or of another form says nothing.
func (a *atlas) read(addr netip.Addr) *event.Place {
	p := &event.Place{IP: addr}
	var databases []string
	for _, m := range a.maps {
		r := m.Lookup(addr)
		if !r.Found() {
			continue
		}
		before := *p
		if p.Country == "" {
			p.Country = strings.ToUpper(firstText(r, countryPaths))
			p.City = firstText(r, cityPaths) // of the database that knows the country
		}
		if p.AS == 0 {
			if p.AS = asNumber(r); p.AS != 0 {
				p.Organization = firstText(r, organizationPaths)
			}
		}
		if *p != before {
			databases = append(databases, m.name)
		}
	}
	if len(databases) == 0 {
		return nil
	}
	p.Database = strings.Join(databases, ", ")
	return p
}

// Where the makers of databases put things: MaxMind and DB-IP, IPinfo, and
// those that make free ones of registries' data.
var (
	countryPaths      = [][]any{{"country", "iso_code"}, {"country_code"}, {"country"}, {"registered_country", "iso_code"}}
	cityPaths         = [][]any{{"city", "names", "en"}, {"city"}}
	organizationPaths = [][]any{{"autonomous_system_organization"}, {"as_name"}, {"name"}, {"org"}}
	numberPaths       = [][]any{{"autonomous_system_number"}, {"asn"}}
)

// maxName bounds a name from a database, bytes.
const maxName = 200

func firstText(r maxminddb.Result, paths [][]any) string {
	for _, p := range paths {
		var s string
		if err := r.DecodePath(&s, p...); err == nil && s != "" {
			return strings.ToValidUTF8(s[:min(len(s), maxName)], "")
		}
	}
	return ""
}

func asNumber(r maxminddb.Result) uint32 {
	for _, p := range numberPaths {
		var n uint32
		if err := r.DecodePath(&n, p...); err == nil && n != 0 {
			return n
		}
		var s string // AS64500
		if err := r.DecodePath(&s, p...); err != nil || s == "" {
			continue
		}
		if _, err := fmt.Sscanf(strings.TrimPrefix(strings.ToUpper(s), "AS"), "%d", &n); err == nil && n != 0 {
			return n
		}
	}
	return 0
}
