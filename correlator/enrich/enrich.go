// Package enrich adds to events what the operator knows of its own network:
// the name, zone, role, sector and protection level of each side, and the
// direction across the operator's border.
package enrich

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"

	"github.com/gaissmai/bart"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/setting"
	"github.com/tocsin/tocsin/event"
)

// Assets is what an asset file says. The zero Assets knows nothing but which
// addresses are private.
type Assets struct {
	byAddr map[netip.Addr]*asset
	byNet  bart.Table[zone]
	zones  map[string]zone // if there are any, what lies in none is not ours
}

type zone struct{ name, trust string }

type asset struct {
	name, zone, role, sector, owner string
	level                           int
}

// file is the asset file's form.
type file struct {
	Zones []struct {
		Name     string   `yaml:"name"`
		Networks []string `yaml:"networks"`
		Trust    string   `yaml:"trust"`
	} `yaml:"zones"`
	Assets []struct {
		Name      string   `yaml:"name"`
		Addresses []string `yaml:"addresses"`
		Zone      string   `yaml:"zone"`
		Role      string   `yaml:"role"`
		Sector    string   `yaml:"sector"`
		Level     int      `yaml:"level"`
		Owner     string   `yaml:"owner"`
	} `yaml:"assets"`
}

// trusts are what a zone may be trusted with, from outside to inside.
var trusts = map[string]bool{"internet": true, "dmz": true, "office": true, "control": true, "field": true}

// Load reads an asset file: YAML with the lists zones (name, networks, trust)
// and assets (name, addresses, zone, role, sector, level 1 to 5, owner).
// Errors name the file, and the line or the entry.
func Load(path string) (*Assets, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("asset file: %w", err)
	}
	a, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("asset file %s: %w", path, err)
	}
	return a, nil
}

// Parse reads the text of an asset file.
func Parse(text []byte) (*Assets, error) {
	var f file
	if err := setting.Decode(bytes.NewReader(text), &f); err != nil { // an empty file knows nothing
		return nil, err
	}
	a := &Assets{byAddr: map[netip.Addr]*asset{}, zones: map[string]zone{}}
	for i, z := range f.Zones {
		switch {
		case z.Name == "":
			return nil, fmt.Errorf("zone %d has no name", i+1)
		case !trusts[z.Trust]:
			return nil, fmt.Errorf("zone %s: trust %q: want internet, dmz, office, control or field", z.Name, z.Trust)
		}
		a.zones[z.Name] = zone{z.Name, z.Trust}
		for _, n := range z.Networks {
			p, err := netip.ParsePrefix(n)
			if err != nil {
				return nil, fmt.Errorf("zone %s: network %q: want a prefix such as 10.1.0.0/16", z.Name, n)
			}
			a.byNet.Insert(p.Masked(), zone{z.Name, z.Trust})
		}
	}
	for i, x := range f.Assets {
		switch {
		case x.Name == "":
			return nil, fmt.Errorf("asset %d has no name", i+1)
		case x.Zone != "" && a.zones[x.Zone] == zone{}:
			return nil, fmt.Errorf("asset %s: there is no zone %q", x.Name, x.Zone)
		case x.Level < 0 || x.Level > 5:
			return nil, fmt.Errorf("asset %s: level %d: want a protection level from 1 to 5", x.Name, x.Level)
		}
		known := &asset{name: x.Name, zone: x.Zone, role: x.Role, sector: x.Sector, owner: x.Owner, level: x.Level}
		for _, s := range x.Addresses {
			addr, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("asset %s: address %q: want an IPv4 or IPv6 address", x.Name, s)
			}
			if other := a.byAddr[addr]; other != nil {
				return nil, fmt.Errorf("asset %s: address %s belongs to %s already", x.Name, addr, other.name)
			}
			a.byAddr[addr] = known
		}
	}
	return a, nil
}

var fields = func() []event.FieldDoc {
	docs := []event.FieldDoc{
		{Name: "network.direction", Type: event.Keyword, Help: "Across the operator's border: inbound, outbound, internal or external.", Class: event.ClassTechnical},
	}
	for _, side := range []string{"source", "destination"} {
		p := "tocsin." + side + "."
		docs = append(docs,
			event.FieldDoc{Name: p + "name", Type: event.Keyword, Help: "Name of the asset at the " + side + "'s address.", Class: event.ClassTopology},
			event.FieldDoc{Name: p + "zone", Type: event.Keyword, Help: "Network zone of the " + side + ".", Class: event.ClassTopology},
			event.FieldDoc{Name: p + "trust", Type: event.Keyword, Help: "What the " + side + "'s zone is: internet, dmz, office, control, field.", Class: event.ClassTopology},
			event.FieldDoc{Name: p + "role", Type: event.Keyword, Help: "Role of the asset at the " + side + ".", Class: event.ClassTopology},
			event.FieldDoc{Name: p + "sector", Type: event.Keyword, Help: "Sector that the asset at the " + side + " serves.", Class: event.ClassTopology},
			event.FieldDoc{Name: p + "level", Type: event.Long, Help: "Protection level of the asset at the " + side + ", 1 to 5.", Class: event.ClassTopology},
		)
	}
	return docs
}()

// Owner is who owns the asset at an address; empty if the file does not say.
func (a *Assets) Owner(addr netip.Addr) string {
	if x := a.byAddr[addr]; x != nil {
		return x.owner
	}
	return ""
}

// Enricher returns the enricher of these assets.
func (a *Assets) Enricher() correlator.Enricher {
	return correlator.Enricher{Name: "assets", Fields: fields, Enrich: a.enrich}
}

func (a *Assets) enrich(e *event.Event) {
	if !e.Flow.Src.IP.IsValid() {
		return
	}
	src := a.side(e, e.Flow.Src.IP, &sourceNames)
	dst := a.side(e, e.Flow.Dst.IP, &destinationNames)
	direction := "internal"
	switch {
	case src && !dst:
		direction = "outbound"
	case !src && dst:
		direction = "inbound"
	case !src && !dst:
		direction = "external"
	}
	e.Set("network.direction", event.Str(direction))
}

// sideNames are the fields of one side, spelled once.
type sideNames struct{ name, zone, trust, role, sector, level string }

var (
	sourceNames      = sideNames{"tocsin.source.name", "tocsin.source.zone", "tocsin.source.trust", "tocsin.source.role", "tocsin.source.sector", "tocsin.source.level"}
	destinationNames = sideNames{"tocsin.destination.name", "tocsin.destination.zone", "tocsin.destination.trust", "tocsin.destination.role", "tocsin.destination.sector", "tocsin.destination.level"}
)

// side sets what is known of one address and reports whether it is ours.
func (a *Assets) side(e *event.Event, addr netip.Addr, n *sideNames) (ours bool) {
	set := func(name, v string) {
		if v != "" {
			e.Set(name, event.Str(v))
		}
	}
	z, _ := a.byNet.Lookup(addr)
	x := a.byAddr[addr]
	if x != nil {
		set(n.name, x.name)
		set(n.role, x.role)
		set(n.sector, x.sector)
		if x.level != 0 {
			e.Set(n.level, event.Int(int64(x.level)))
		}
		if x.zone != "" {
			// Said of the very host, it counts more than its address: a host
			// may be multi-homed, or announced elsewhere.
			z = a.zones[x.zone]
		}
	}
	set(n.zone, z.name)
	set(n.trust, z.trust)
	switch {
	case addr.IsLinkLocalUnicast(): // comes from no further than the link (RFC 4291, section 2.5.6)
		return true
	case z.trust != "":
		return z.trust != "internet"
	case len(a.zones) > 0:
		return x != nil
	}
	return addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()
}
