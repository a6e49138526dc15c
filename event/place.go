package event

import (
	"cmp"
	"net/netip"
	"slices"
)

// Place is what a database says of a public address: where it is, and whose.
type Place struct {
	IP           netip.Addr
	Country      string // ISO 3166-1 alpha-2; empty if the database does not say
	City         string // in English
	AS           uint32 // autonomous system; 0 if the database does not say
	Organization string // whose autonomous system that is
	Database     string // that says so, and when it was built; of several, with commas between
}

func (p Place) compare(q Place) int {
	return cmp.Or(p.IP.Compare(q.IP), cmp.Compare(p.Database, q.Database), cmp.Compare(p.Country, q.Country),
		cmp.Compare(p.City, q.City), cmp.Compare(p.AS, q.AS), cmp.Compare(p.Organization, q.Organization))
}

// placeNames are the fields of one side's place.
type placeNames struct{ country, city, number, organization, database string }

func placeOf(side string) placeNames {
	return placeNames{side + ".geo.country_iso_code", side + ".geo.city_name", side + ".as.number", side + ".as.organization.name", "tocsin." + side + ".geo_database"}
}

var (
	sourcePlace      = placeOf("source")
	destinationPlace = placeOf("destination")
	placeRefs        = [2][5]Ref{sourcePlace.refs(), destinationPlace.refs()}
)

func (n placeNames) refs() [5]Ref {
	return [5]Ref{Resolve(n.country), Resolve(n.city), Resolve(n.number), Resolve(n.organization), Resolve(n.database)}
}

var placeDocs = func() (docs []FieldDoc) {
	for _, side := range []string{"source", "destination"} {
		n := placeOf(side)
		docs = append(docs,
			FieldDoc{n.country, Keyword, "Country of the " + side + "'s public address, ISO 3166-1 alpha-2.", ClassTopology},
			FieldDoc{n.city, Keyword, "City of the " + side + "'s public address, in English.", ClassTopology},
			FieldDoc{n.number, Long, "Autonomous system that announces the " + side + "'s public address.", ClassTopology},
			FieldDoc{n.organization, Keyword, "Whose autonomous system that is.", ClassTopology},
			FieldDoc{n.database, Keyword, "Databases that say so of the " + side + ", and when each was built.", ClassTechnical},
		)
	}
	return docs
}()

// PlaceFields documents what SetPlaces sets.
func PlaceFields() []FieldDoc { return append([]FieldDoc(nil), placeDocs...) }

// SetPlaces says where the event's addresses are; nil where that is not known.
func (e *Event) SetPlaces(source, destination *Place) {
	for _, side := range []struct {
		at *Place
		*placeNames
	}{{source, &sourcePlace}, {destination, &destinationPlace}} {
		if side.at == nil {
			continue
		}
		set := func(name string, v Value) {
			if !v.IsZero() {
				e.Set(name, v)
			}
		}
		set(side.country, strValue(side.at.Country))
		set(side.city, strValue(side.at.City))
		set(side.number, numValue(uint64(side.at.AS)))
		set(side.organization, strValue(side.at.Organization))
		set(side.database, strValue(side.at.Database))
	}
}

// Places are those of the event's addresses that are known; usually none.
func (e *Event) Places() (places []Place) {
	for i, ip := range [2]netip.Addr{e.Flow.Src.IP, e.Flow.Dst.IP} {
		refs := &placeRefs[i]
		database, ok := e.Lookup(refs[4])
		if !ok {
			continue
		}
		text := func(r Ref) string { v, _ := e.Lookup(r); return v.Str() }
		number, _ := e.Lookup(refs[2])
		as, _ := number.Int()
		places = append(places, Place{IP: ip, Country: text(refs[0]), City: text(refs[1]), AS: uint32(as), Organization: text(refs[3]), Database: database.Str()})
	}
	return places
}

// UnionPlaces returns the sorted union of two sorted lists, cut at the number
// that an alert has room for.
func UnionPlaces(a, b []Place) []Place { return union(a, b, Place.compare, 2*MaxRelated) }

// setPlaces sets the fields of an alert: each place as an object, and for
// searches what the sources' places are, and the targets', as on events.
func (a *Alert) setPlaces(set func(name string, v Value)) {
	objects := make([]Value, len(a.Places))
	for i, p := range a.Places {
		var fields []Field
		add := func(name string, v Value) {
			if !v.IsZero() {
				fields = append(fields, Field{name, v})
			}
		}
		add("as", numValue(uint64(p.AS)))
		add("city", strValue(p.City))
		add("country", strValue(p.Country))
		add("database", strValue(p.Database))
		add("ip", Str(p.IP.String())) // a text: who searches for an address finds it in related.ip
		add("organization", strValue(p.Organization))
		objects[i] = Object(fields...)
	}
	set("tocsin.alert.places", List(objects...))
	for _, side := range []struct {
		addrs []netip.Addr
		*placeNames
	}{{a.Sources, &sourcePlace}, {a.Targets, &destinationPlace}} {
		all := func(name string, of func(p *Place) Value) {
			var vs []Value
			for i := range a.Places {
				p := &a.Places[i]
				if _, found := slices.BinarySearchFunc(side.addrs, p.IP, netip.Addr.Compare); !found {
					continue
				}
				if v := of(p); !v.IsZero() && !slices.ContainsFunc(vs, func(x Value) bool { return x.Equal(v) }) {
					vs = append(vs, v)
				}
			}
			if len(vs) == 1 {
				set(name, vs[0])
				return
			}
			set(name, List(vs...))
		}
		all(side.country, func(p *Place) Value { return strValue(p.Country) })
		all(side.city, func(p *Place) Value { return strValue(p.City) })
		all(side.number, func(p *Place) Value { return numValue(uint64(p.AS)) })
		all(side.organization, func(p *Place) Value { return strValue(p.Organization) })
		all(side.database, func(p *Place) Value { return strValue(p.Database) })
	}
}

// placesOf is the inverse of setPlaces.
func placesOf(list Value) (places []Place) {
	for _, o := range list.List() {
		p := Place{Country: part(o, "country").Str(), City: part(o, "city").Str(), Organization: part(o, "organization").Str(), Database: part(o, "database").Str()}
		p.IP, _ = netip.ParseAddr(part(o, "ip").Str()) // the zero Addr where it is none
		as, _ := part(o, "as").Int()
		p.AS = uint32(as)
		places = append(places, p)
	}
	return places
}
