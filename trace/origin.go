package trace

import (
	"cmp"
	"context"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// Where an attack came from, as far as packets tell. An address in a packet is
// a claim. It is proved, for the time of a connection, by the connection going
// on: who does not receive the answers cannot acknowledge them. Else the time to
// live tells how many routers a packet has passed, which a forger who does not
// sit beside the one forged gets wrong; reserved addresses and those of the
// inside do not come from outside at all.

const (
	maxSources    = 10
	maxGlance     = 500 // flows of a source that are looked at
	maxSharing    = 8   // hosts that have something in common; more, and it is common
	floodSources  = 50  // one-way sources to one service that make a flood
	ttlTolerance  = 2
	proofPayload  = 1
	spoofedBelow  = 0.5
	maxCandidates = 3
)

// bogons are the ranges from which no packet comes through the internet
// (RFC 6890 and the IANA special-purpose registries).
var bogons = func() (ranges []bogon) {
	for _, r := range [][2]string{
		{"0.0.0.0/8", "this network, RFC 791"}, {"10.0.0.0/8", "private, RFC 1918"}, {"100.64.0.0/10", "carriers' translators, RFC 6598"},
		{"127.0.0.0/8", "loopback, RFC 1122"}, {"169.254.0.0/16", "link local, RFC 3927"}, {"172.16.0.0/12", "private, RFC 1918"},
		{"192.0.0.0/24", "protocol assignments, RFC 6890"}, {"192.168.0.0/16", "private, RFC 1918"}, {"198.18.0.0/15", "benchmarks, RFC 2544"},
		{"224.0.0.0/4", "multicast, RFC 5771"}, {"240.0.0.0/4", "reserved, RFC 1112"}, {"::/128", "unspecified, RFC 4291"},
		{"::1/128", "loopback, RFC 4291"}, {"100::/64", "discard, RFC 6666"}, {"fc00::/7", "unique local, RFC 4193"},
		{"fe80::/10", "link local, RFC 4291"}, {"ff00::/8", "multicast, RFC 4291"},
	} {
		ranges = append(ranges, bogon{netip.MustParsePrefix(r[0]), r[1]})
	}
	return ranges
}()

type bogon struct {
	prefix netip.Prefix
	what   string
}

func bogonOf(a netip.Addr) (bogon, bool) {
	for _, b := range bogons {
		if b.prefix.Contains(a) {
			return b, true
		}
	}
	return bogon{}, false
}

// sources describes where the attack came from: the path's origin first, then
// the sources of what else reached the hosts of the path, and of a flood what
// its packets show.
func (b *builder) sources(ctx context.Context, t *Trace, anchor *event.Alert) error {
	if len(t.Path) == 0 {
		flood, err := b.flood(ctx, t)
		if err != nil {
			return err
		}
		if flood != nil {
			t.Sources = append(t.Sources, *flood)
			b.gap("gap-spoofed", "host", t.Target, "sensor", flood.Ingress.Sensor)
		}
	}
	share := t.Confidence
	if len(t.Path) == 0 {
		share = 0
	}
	origin, err := b.source(ctx, t, t.Origin, share)
	if err != nil {
		return err
	}
	t.Sources = append(t.Sources, *origin)
	seen := map[netip.Addr]bool{t.Origin: true}
	for _, hop := range t.Path {
		seen[hop.From], seen[hop.To] = true, true
	}
	for _, hop := range t.Rejected {
		if len(t.Sources) > maxCandidates || seen[hop.From] || hop.Confidence < 0.1 {
			continue
		}
		seen[hop.From] = true
		s, err := b.source(ctx, t, hop.From, math.Round(100*hop.Confidence*(1-t.Confidence))/100)
		if err != nil {
			return err
		}
		t.Sources = append(t.Sources, *s)
	}
	return nil
}

var (
	refSYN        = event.Resolve("tocsin.flow.source_syn")
	refReplyTTL   = event.Resolve("tocsin.flow.destination_ttl")
	refTTLMax     = event.Resolve("tocsin.flow.source_ttl_max")
	refSrcAS      = event.Resolve("source.as.number")
	refSrcOrg     = event.Resolve("source.as.organization.name")
	refSrcCountry = event.Resolve("source.geo.country_iso_code")
	refDstAS      = event.Resolve("destination.as.number")
	refDstOrg     = event.Resolve("destination.as.organization.name")
	refDstCountry = event.Resolve("destination.geo.country_iso_code")
)

// sight is what one sensor saw of a source.
type sight struct {
	sensor, iface string
	mac           event.MAC
	vlan          uint16
	least, most   uint64 // time to live
	flows         int
}

// source gathers what is stored of an address around the time of the trace.
func (b *builder) source(ctx context.Context, t *Trace, addr netip.Addr, confidence float64) (*Source, error) {
	n := b.met[addr]
	if h, ok := b.hosts[addr]; ok {
		n = h.node
	}
	s := &Source{Address: addr, Name: n.Name, Zone: n.Zone, Confidence: confidence, Distance: -1, Spoofing: "unverified", Addresses: []netip.Addr{addr}}
	if h, ok := b.hosts[addr]; ok {
		s.Addresses = slices.Clone(h.addrs)
	}
	if p := privacyPrefix(addr); p.IsValid() && b.outside(addr) {
		for other, as := range b.byAddr {
			if other != addr && p.Contains(other) && slices.ContainsFunc(as, func(a *event.Alert) bool { return slices.Contains(a.Sources, other) }) {
				s.Addresses = append(s.Addresses, other)
			}
		}
		if len(s.Addresses) > 1 {
			s.Prefix = p.String()
			slices.SortFunc(s.Addresses, netip.Addr.Compare)
			s.say(0, "source-folded", "n", len(s.Addresses), "prefix", s.Prefix)
		}
	}
	is := query.Literal{V: event.IP(addr)}
	from, to := later(b.from, t.From.Add(-margin)), earlier(b.to, t.To.Add(margin))
	var sights []sight
	proved, flows, systems, services := 0, 0, map[string]bool{}, map[uint16]bool{}
	prints := map[string]bool{}
	take := func(e *event.Event) {
		own := e.Flow.Src.IP == addr
		s.at(e)
		as, org, country := refSrcAS, refSrcOrg, refSrcCountry
		if !own {
			as, org, country = refDstAS, refDstOrg, refDstCountry
		}
		if v, ok := e.Lookup(as); ok && s.AS == 0 {
			n, _ := v.Uint()
			s.AS = uint32(n)
		}
		if v, ok := e.Lookup(org); ok && s.ASName == "" {
			s.ASName = v.Str()
		}
		if v, ok := e.Lookup(country); ok && s.Country == "" {
			s.Country = v.Str()
		}
		if e.Kind != event.KindFlow {
			if f, ok := factOf(e); ok && own {
				for _, p := range f.prints {
					prints[p] = true
				}
			}
			return
		}
		flows++
		if e.Flow.Transport == event.ProtoTCP && e.Flow.Src.Payload >= proofPayload && e.Flow.Dst.Payload >= proofPayload {
			proved++
		}
		side, ttl := e.Flow.Src, refTTL
		if !own {
			side, ttl = e.Flow.Dst, refReplyTTL
			if e.Flow.Dst.Payload > 0 {
				services[e.Flow.Dst.Port] = true
			}
		}
		if v, ok := e.Lookup(refSYN); ok && own {
			systems[v.Str()] = true
		}
		v, ok := e.Lookup(ttl)
		if !ok {
			return
		}
		n, _ := v.Uint()
		i := slices.IndexFunc(sights, func(x sight) bool { return x.sensor == e.Sensor && x.iface == e.Iface })
		if i < 0 {
			i = len(sights)
			sights = append(sights, sight{sensor: e.Sensor, iface: e.Iface, mac: side.MAC, vlan: e.Flow.VLAN, least: n, most: n})
		}
		x := &sights[i]
		x.least, x.most, x.flows = min(x.least, n), max(x.most, n), x.flows+1
		if v, ok := e.Lookup(refTTLMax); ok && own {
			n, _ := v.Uint()
			x.most = max(x.most, n)
		}
	}
	for _, where := range []query.Node{
		query.Compare{Field: "source.ip", Value: is},
		query.Compare{Field: "destination.ip", Value: is},
	} {
		q := store.Query{Set: store.Events, From: from, To: to, Limit: maxGlance, Where: where}
		for e, err := range b.s.Search(ctx, q) {
			if err != nil {
				return nil, err
			}
			take(&e)
		}
	}
	b.place(s, sights)
	b.verify(s, addr, proved, flows, sights)
	b.relay(s, services, systems)
	b.listed(s, t)
	if err := b.shared(ctx, t, s, prints); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Source) say(weight float64, key string, blanks ...any) {
	s.Reasons = append(s.Reasons, Reason{Message: say(key, blanks...), Weight: weight})
}

func (s *Source) at(e *event.Event) {
	first := cmp.Or(e.Flow.Start, e.Time)
	if s.First.IsZero() || first.Before(s.First) {
		s.First = first
	}
	if e.Time.After(s.Last) {
		s.Last = e.Time
	}
}

// initial is the time to live that a system sent with, of one that was seen: the
// next of those that systems use.
func initial(ttl uint64) uint64 {
	for _, n := range initials {
		if ttl <= n {
			return n
		}
	}
	return 255
}

// place finds the tap that is nearest to a source.
func (b *builder) place(s *Source, sights []sight) {
	if len(sights) == 0 {
		return
	}
	slices.SortFunc(sights, func(x, y sight) int {
		return cmp.Or(cmp.Compare(y.most, x.most), cmp.Compare(y.flows, x.flows), strings.Compare(x.sensor, y.sensor), strings.Compare(x.iface, y.iface))
	})
	x := sights[0]
	s.Ingress = Ingress{Sensor: x.sensor, Interface: x.iface, VLAN: x.vlan}
	if x.mac != (event.MAC{}) {
		s.Ingress.MAC = x.mac.String()
	}
	if len(sights) > 1 {
		s.say(0, "source-seen-first", "sensor", x.sensor)
	}
	from := initial(x.most)
	if hops := int(from - x.most); hops <= 40 {
		s.Distance = hops
		s.say(0, "source-distance", "hops", hops, "sensor", x.sensor, "ttl", x.most, "initial", from)
	}
}

// verify judges whether an address is that of who sent.
func (b *builder) verify(s *Source, addr netip.Addr, proved, flows int, sights []sight) {
	a := 0.0
	add := func(weight float64, key string, blanks ...any) {
		s.say(weight, key, blanks...)
		a += weight
	}
	if proved > 0 {
		add(4, "source-handshake", "n", proved)
	} else if flows > 0 {
		add(-1, "source-oneway", "n", flows)
	}
	if r, ok := bogonOf(addr); ok && b.outside(addr) {
		add(-3, "source-bogon", "range", r.prefix, "what", r.what)
	}
	if len(sights) > 0 && sights[0].most-sights[0].least > ttlTolerance {
		add(-0.5, "source-ttl-spread", "n", sights[0].most-sights[0].least)
	}
	switch {
	case a >= 2:
		s.Spoofing = "genuine"
	case a <= -2:
		s.Spoofing = "spoofed"
	}
}

// hosting are words in the names of networks that rent out machines or hide
// who uses them.
var hosting = []string{"hosting", "cloud", "vps", "server", "datacenter", "data center", "colo", "vpn", "proxy", "tor ", "relay"}

// relay judges how likely others use a source: a machine that was rented or
// taken over, a proxy, a translator.
func (b *builder) relay(s *Source, services map[uint16]bool, systems map[string]bool) {
	a := -1.5
	add := func(weight float64, key string, blanks ...any) {
		s.say(0, key, blanks...)
		a += weight
	}
	if len(services) > 0 && b.outside(s.Address) {
		add(0.7, "source-services", "n", len(services))
	}
	if len(systems) > 2 {
		add(1, "source-systems", "n", len(systems))
	}
	name := strings.ToLower(s.ASName)
	if slices.ContainsFunc(hosting, func(w string) bool { return strings.Contains(name, w) }) {
		add(1.5, "source-host-name", "organization", s.ASName)
	}
	for _, x := range b.byAddr[s.Address] {
		text := strings.ToLower(x.Indicator.Description + " " + x.Indicator.Reference)
		if slices.ContainsFunc([]string{"proxy", "tor exit", "vpn", "relay", "bot", "anonymi"}, func(w string) bool { return strings.Contains(text, w) }) {
			add(1.5, "source-relay", "why", x.Indicator.Description)
			break
		}
	}
	s.Relay = confidence(a)
	if !b.outside(s.Address) {
		s.Relay = 0
		if s.Confidence > 0 {
			s.say(0, "source-inside-host")
		}
	}
}

// listed gathers what reputation lists say of a source, by the alerts that told
// of it.
func (b *builder) listed(s *Source, t *Trace) {
	for _, a := range b.alertsOf(s.Addresses) {
		i := a.Indicator
		if i.Provider == "" || slices.ContainsFunc(s.Lists, func(l Listing) bool { return l.Provider == i.Provider && l.Value == i.Value }) {
			continue
		}
		// A name is listed, not who asked for it.
		if p, err := netip.ParsePrefix(i.Value); err == nil && !p.Contains(s.Address) {
			continue
		} else if l, err := netip.ParseAddr(i.Value); err == nil && l != s.Address {
			continue
		} else if !slices.ContainsFunc(a.Sources, func(x netip.Addr) bool { return slices.Contains(s.Addresses, x) }) && !slices.ContainsFunc(a.Targets, func(x netip.Addr) bool { return slices.Contains(s.Addresses, x) }) {
			continue
		}
		l := Listing{Provider: i.Provider, Value: i.Value, Confidence: i.Confidence, Reference: i.Reference, Description: i.Description, Seen: i.Seen, AgeDays: -1}
		if !i.Seen.IsZero() {
			l.AgeDays = max(0, int(t.From.Sub(i.Seen).Hours()/24))
			s.say(0, "source-listed-age", "provider", i.Provider, "value", i.Value, "confidence", i.Confidence, "age", since(max(0, t.From.Sub(i.Seen).Round(time.Hour))))
		} else {
			s.say(0, "source-listed", "provider", i.Provider, "value", i.Value, "confidence", i.Confidence)
		}
		s.Lists = append(s.Lists, l)
	}
}

// shared looks for others that show the same certificate, key, fingerprint or
// name, and that alerts are about: the same hands, or the same tools.
func (b *builder) shared(ctx context.Context, t *Trace, s *Source, prints map[string]bool) error {
	if !b.outside(s.Address) {
		return nil
	}
	all := make([]string, 0, len(prints))
	for p := range prints {
		all = append(all, p)
	}
	slices.Sort(all)
	asked := 0
	for _, p := range all {
		for _, r := range printRefs {
			value, ok := strings.CutPrefix(p, r.kind+" ")
			if !ok || asked >= maxSharing {
				continue
			}
			asked++
			// What many have at that time, many have always.
			q := store.Query{Set: store.Events, From: later(b.from, t.From.Add(-margin)), To: earlier(b.to, t.To.Add(margin)),
				Where: query.Compare{Field: r.ref.Name(), Value: query.Literal{V: event.Str(value)}}}
			counts, err := b.s.Count(ctx, q, store.By{Field: "source.ip", Top: maxSharing + 1})
			if err != nil {
				return err
			}
			if len(counts) <= maxSharing {
				q.From, q.To = b.from, b.to
				if counts, err = b.s.Count(ctx, q, store.By{Field: "source.ip", Top: maxSharing + 1}); err != nil {
					return err
				}
			}
			if len(counts) > maxSharing {
				continue // everybody has it
			}
			x := Shared{Kind: r.kind, Value: value, Others: []netip.Addr{}, Alerts: []event.ID{}}
			for _, c := range counts {
				if a, ok := c.Value.IP(); ok && !slices.Contains(s.Addresses, a) {
					x.Others = append(x.Others, a)
				}
			}
			if len(x.Others) == 0 {
				continue
			}
			slices.SortFunc(x.Others, netip.Addr.Compare)
			if err := b.loadAlerts(ctx, x.Others...); err != nil {
				return err
			}
			for _, a := range b.alertsOf(x.Others) {
				if len(x.Alerts) < maxSharing && slices.ContainsFunc(a.Sources, func(o netip.Addr) bool { return slices.Contains(x.Others, o) }) {
					x.Alerts = append(x.Alerts, a.ID)
				}
			}
			if len(x.Alerts) == 0 {
				continue // others have it, and nothing is said of them
			}
			var names []string
			for _, o := range x.Others {
				names = append(names, o.String())
			}
			s.say(0, "source-shared", "what", x.Kind, "value", x.Value, "others", strings.Join(names, ", "))
			s.Shared = append(s.Shared, x)
		}
	}
	return nil
}

// flood describes, where there is no path, the many sources of connections to
// the target that went no further than their first packet: if they are
// reserved, of the inside, or alike in what no two networks share, they are
// made up, and what is known is the link by which they came.
func (b *builder) flood(ctx context.Context, t *Trace) (*Source, error) {
	for _, target := range []netip.Addr{t.Target, t.Origin} {
		is := query.Literal{V: event.IP(target)}
		begun := query.Or{}
		for _, state := range []string{"S0", "SH", "REJ", "RSTOS0", "RSTRH"} {
			begun = append(begun, query.Compare{Field: "tocsin.flow.state", Value: query.Literal{V: event.Str(state)}})
		}
		q := store.Query{Set: store.Events, From: later(b.from, t.From.Add(-margin)), To: earlier(b.to, t.To.Add(margin)), Limit: maxRecords,
			Where: query.And{query.OfKind(event.KindFlow), query.Compare{Field: "destination.ip", Value: is}, begun}}
		type from struct {
			sensor, iface string
			ttl           uint64
		}
		groups := map[from]map[netip.Addr]bool{}
		var first, last time.Time
		mac := map[from]event.MAC{}
		for e, err := range b.s.Search(ctx, q) {
			if err != nil {
				return nil, err
			}
			v, _ := e.Lookup(refTTL)
			ttl, _ := v.Uint()
			k := from{e.Sensor, e.Iface, ttl}
			if groups[k] == nil {
				groups[k] = map[netip.Addr]bool{}
			}
			groups[k][e.Flow.Src.IP] = true
			mac[k] = e.Flow.Src.MAC
			if first.IsZero() || e.Flow.Start.Before(first) {
				first = e.Flow.Start
			}
			last = later(last, e.Time)
		}
		var largest from
		for k, sources := range groups {
			n, m := len(sources), len(groups[largest])
			if n > m || n == m && cmp.Or(cmp.Compare(k.ttl, largest.ttl), strings.Compare(largest.sensor, k.sensor)) > 0 {
				largest = k
			}
		}
		sources := groups[largest]
		if len(sources) < floodSources {
			continue
		}
		s := &Source{Distance: -1, Spoofing: "unverified", First: first, Last: last,
			Ingress: Ingress{Sensor: largest.sensor, Interface: largest.iface, MAC: mac[largest].String()}}
		list := make([]netip.Addr, 0, len(sources))
		for a := range sources {
			list = append(list, a)
		}
		slices.SortFunc(list, netip.Addr.Compare)
		s.Addresses = list[:min(len(list), maxGlance)]
		odds := -1.0
		s.say(-1, "source-flood", "n", len(list), "sources", len(list), "target", target)
		told := map[string]bool{}
		inside := false
		for _, a := range list {
			if !b.outside(a) {
				inside = true
			} else if r, ok := bogonOf(a); ok && !told[r.what] {
				told[r.what] = true
				odds -= 2
				s.say(-2, "source-bogon", "range", r.prefix, "what", r.what)
			}
		}
		if inside {
			odds--
			s.say(-1, "source-inside-out")
		}
		// Systems far apart are not the same number of routers away.
		if len(list) >= floodSources {
			odds--
			s.say(-1, "source-ttl-odd", "ttl", largest.ttl)
		}
		if odds <= -2 {
			s.Spoofing = "spoofed"
		}
		d := initial(largest.ttl)
		if hops := int(d - largest.ttl); hops <= 40 {
			s.Distance = hops
			s.say(0, "source-distance", "hops", hops, "sensor", largest.sensor, "ttl", largest.ttl, "initial", d)
		}
		return s, nil
	}
	return nil, nil
}
