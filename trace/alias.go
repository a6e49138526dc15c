package trace

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// A host has several addresses: one of IPv4 and some of IPv6, of which the
// temporary ones change daily (RFC 8981). Two addresses are taken for one host
// if the asset file gives both the same name, or if a tap on the host's own link
// saw both behind one MAC address. That the tap is on the link is known from the
// time to live: no router has taken from it yet.

const (
	maxAliases = 16               // more addresses behind one MAC are a router's
	aliasTime  = 30 * time.Minute // how far around the act aliases are looked for
)

// initials are the times to live with which systems send.
var initials = []uint64{64, 128, 255}

// aliases finds the other addresses of a host inside.
func (b *builder) aliases(ctx context.Context, h *host) error {
	if !b.aliasable(h.addr) {
		return nil
	}
	q := store.Query{Set: store.Events, From: later(b.from, b.pivot.Add(-aliasTime)), To: earlier(b.to, b.pivot.Add(aliasTime))}
	add := func(and ...query.Node) error {
		q.Where = append(query.And{query.OfKind(event.KindFlow)}, and...)
		counts, err := b.s.Count(ctx, q, store.By{Field: "source.ip", Top: maxAliases + 1})
		if err != nil || len(counts) > maxAliases {
			return err
		}
		for _, c := range counts {
			if a, ok := c.Value.IP(); ok && !slices.Contains(h.addrs, a) && !a.IsUnspecified() {
				h.addrs = append(h.addrs, a)
			}
		}
		return nil
	}
	name := b.met[h.addr].Name
	if h.addr.Is6() {
		named, links, err := b.links(ctx, q, h.addr)
		if err != nil {
			return err
		}
		for _, l := range links {
			err := add(query.Compare{Field: "source.mac", Value: query.Literal{V: event.Str(l.mac)}},
				query.Compare{Field: "observer.name", Value: query.Literal{V: event.Str(l.sensor)}})
			if err != nil {
				return err
			}
		}
		name = cmp.Or(name, named)
	}
	if name != "" {
		if err := add(query.Compare{Field: "tocsin.source.name", Value: query.Literal{V: event.Str(name)}}); err != nil {
			return err
		}
	}
	slices.SortFunc(h.addrs, netip.Addr.Compare)
	return nil
}

// onLink is where a tap saw a host on its own link.
type onLink struct{ sensor, mac string }

// links finds an address's name, and the taps on its link.
func (b *builder) links(ctx context.Context, q store.Query, addr netip.Addr) (name string, links []onLink, err error) {
	q.Limit = 200
	q.Where = query.And{query.OfKind(event.KindFlow), query.Compare{Field: "source.ip", Value: query.Literal{V: event.IP(addr)}}}
	for e, err := range b.s.Search(ctx, q) {
		if err != nil {
			return "", nil, err
		}
		if name == "" {
			name = e.Get("tocsin.source.name").Str()
		}
		ttl, _ := e.Get("tocsin.flow.source_ttl").Uint()
		if e.Flow.Src.MAC == (event.MAC{}) || !slices.Contains(initials, ttl) {
			continue
		}
		if l := (onLink{e.Sensor, e.Flow.Src.MAC.String()}); !slices.Contains(links, l) {
			links = append(links, l)
		}
	}
	return name, links, nil
}

// aliasable reports whether an IPv6 address is, as far as is known, the
// operator's: outside, what is known of a host is its prefix.
func (b *builder) aliasable(a netip.Addr) bool {
	return !outside(b.met[a].Zone, a) || b.met[a].Name != ""
}
