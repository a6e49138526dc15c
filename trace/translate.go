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

// A translator of addresses (NAT, RFC 3022) between two taps makes two flows of
// one connection: other addresses, but the same bytes either way, at the same
// time, with one router less to go. Nothing else in a network gives two
// connections equal to the byte, unless they are empty or of machines that say
// the same each time; so short ones are not compared, and where several are
// equal none is taken.

const (
	clockSlack = 2 * time.Second // that clocks of two sensors may differ
	minJoin    = 600             // bytes either way from which a flow is told by its size
	maxTwins   = 32
)

// twins are the flows that are one connection with f, seen with other addresses,
// the one nearest to its source first; f itself is among them. ambiguous is how
// many others are as much like it.
func (b *builder) twins(ctx context.Context, f *flow) (same []flow, ambiguous int, err error) {
	if got, ok := b.joined[f.id]; ok {
		return got.same, got.ambiguous, nil
	}
	same = []flow{*f}
	if min(f.sent, f.got) >= minJoin {
		num := func(field string, n uint64) query.Node {
			return query.Compare{Field: field, Value: query.Literal{V: event.Uint(n)}}
		}
		q := store.Query{Set: store.Events, From: f.end.Add(-clockSlack), To: f.end.Add(clockSlack), Limit: maxTwins,
			Where: query.And{query.OfKind(event.KindFlow), num("tocsin.flow.source_payload", f.sent), num("tocsin.flow.destination_payload", f.got)}}
		var others []flow
		for e, err := range b.s.Search(ctx, q) {
			if err != nil {
				return nil, 0, err
			}
			b.meetPeers(&e)
			o := flowOf(&e)
			if o.src == f.src && o.dst == f.dst || o.start.Sub(f.start).Abs() > clockSlack || o.sensor == f.sensor && o.ttl == f.ttl {
				continue
			}
			if i := slices.IndexFunc(others, func(x flow) bool { return x.src == o.src && x.dst == o.dst }); i >= 0 {
				if o.ttl > others[i].ttl { // of two taps, the one nearer to the source
					others[i] = o
				}
				continue
			}
			others = append(others, o)
		}
		// Each translator gives the connection one more face, and each face has
		// its own time to live; two alike are two connections.
		seen := map[uint8]int{f.ttl: 1}
		for _, o := range others {
			seen[o.ttl]++
		}
		for _, o := range others {
			if seen[o.ttl] > 1 {
				ambiguous++
			} else {
				same = append(same, o)
			}
		}
		slices.SortFunc(same, func(x, y flow) int { return cmp.Or(cmp.Compare(y.ttl, x.ttl), x.id.Compare(y.id)) })
	}
	b.joined[f.id] = twin{same, ambiguous}
	return same, ambiguous, nil
}

type twin struct {
	same      []flow
	ambiguous int
}

// translate looks for other addresses of the connection that carried a
// candidate, makes the candidate say who truly opened it, to whom, and weighs it
// anew.
func (b *builder) translate(ctx context.Context, x *candidate, l link) error {
	f := x.carrier.flow
	if f == nil {
		for i := range x.c.flows { // the largest stands for the conversation
			if g := &x.c.flows[i]; g.established && (f == nil || g.bytes > f.bytes) {
				f = g
			}
		}
	}
	if f == nil {
		return nil
	}
	if f.tunnel != "" {
		x.translations = append(x.translations, Translation{Kind: "tunnel", From: netip.AddrPortFrom(f.tunnelSource, 0),
			To: netip.AddrPortFrom(f.tunnelTarget, 0), Sensor: f.sensor, Evidence: []event.ID{f.id}})
	}
	same, ambiguous, err := b.twins(ctx, f)
	if err != nil {
		return err
	}
	if ambiguous > 0 && len(same) == 1 {
		x.notes.say(-0.5, "translated-many", "n", ambiguous)
	}
	if len(same) < 2 {
		return nil
	}
	up, down := same[0], same[len(same)-1]
	x.from, x.to, x.port = up.src.Addr(), down.dst.Addr(), down.dst.Port()
	x.service = cmp.Or(down.service, up.service, x.c.service)
	x.only = f
	for _, o := range same {
		if o.id == f.id {
			continue
		}
		x.translations = append(x.translations, Translation{Kind: "nat", From: o.src, To: o.dst, Sensor: o.sensor, Evidence: []event.ID{o.id}})
		x.notes.say(0, "translated", "sensor", o.sensor, "from", o.src, "to", o.dst)
	}
	if err := b.loadAlerts(ctx, x.from, x.to); err != nil {
		return err
	}
	for _, o := range same {
		for _, a := range b.about(o.src.Addr(), o.dst.Addr()) {
			if !slices.Contains(x.alerts, a) {
				x.alerts = append(x.alerts, a)
			}
		}
	}
	slices.SortFunc(x.alerts, compareAlerts)
	b.weigh(x, l)
	return nil
}
