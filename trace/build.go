package trace

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

type builder struct {
	s        Searcher
	from, to time.Time
	pivot    time.Time // of the act; what is nearest to it is read
	hosts    map[netip.Addr]*host
	met      map[netip.Addr]Node // zones and names of all that was read of
	asked    map[netip.Addr]bool // whose alerts were read
	alerts   map[event.ID]*event.Alert
	byAddr   map[netip.Addr][]*event.Alert
	joined   map[event.ID]twin
	hourly   []store.Bucket     // events by the hour
	steps    map[netip.Addr]int // how often a host was looked up further back
	wide     int
	pulsing  map[string]bool             // sensors whose flow events tell pauses
	named    map[netip.Addr][]netip.Addr // whom requests that a host passed on name
	losses   []loss                      // by time
	records  Records
	rejected []Hop
	gaps     []Message
	exact    bool // going forward, the very conversation counts, not others of its pair
	// unaccounted: some minutes have no account of the sensors.
	unaccounted bool
}

func (b *builder) gap(key string, blanks ...any) { b.gaps = append(b.gaps, say(key, blanks...)) }

// Build makes the trace of a seed. It reads the store only through s; a seed
// that the store does not know is an error that wraps store.ErrNotFound.
func Build(ctx context.Context, s Searcher, seed Seed) (*Trace, error) {
	b := &builder{
		s: s, hosts: map[netip.Addr]*host{}, met: map[netip.Addr]Node{}, asked: map[netip.Addr]bool{},
		alerts: map[event.ID]*event.Alert{}, byAddr: map[netip.Addr][]*event.Alert{}, joined: map[event.ID]twin{}, pulsing: map[string]bool{}, steps: map[netip.Addr]int{}, named: map[netip.Addr][]netip.Addr{},
	}
	first, last, err := s.Span(ctx)
	if err != nil {
		return nil, err
	}
	b.from, b.to = seed.From, seed.To
	if b.from.IsZero() {
		b.from = first
	}
	if b.to.IsZero() {
		b.to = last.Add(time.Millisecond)
	}
	b.pivot = b.to
	t := &Trace{}
	actor, anchor, err := b.anchor(ctx, seed)
	if err != nil {
		return nil, err
	}
	begun, ended, act := b.from, b.to, time.Time{}
	if anchor != nil {
		begun, ended, act = anchor.First, anchor.Last, anchor.Last
	}
	if err := b.account(ctx, first, last, begun, ended, act); err != nil {
		return nil, err
	}
	if seed.Alert.IsZero() {
		t.Seed = seed.Address.String()
	} else {
		t.Seed = seed.Alert.String()
	}
	if err := b.path(ctx, t, actor, anchor); err != nil {
		return nil, err
	}
	if err := b.beside(ctx, t, anchor); err != nil {
		return nil, err
	}
	b.conclude(t, anchor)
	if err := b.sources(ctx, t, anchor); err != nil {
		return nil, err
	}
	b.finish(t, first)
	t.fill()
	return t, nil
}

// anchor finds whose act the trace explains, and the alert that tells of it.
func (b *builder) anchor(ctx context.Context, seed Seed) (netip.Addr, *event.Alert, error) {
	worst := 0
	if !seed.Alert.IsZero() {
		e, err := b.s.Get(ctx, seed.Alert)
		if err != nil {
			return netip.Addr{}, nil, fmt.Errorf("trace %s: %w", seed.Alert, err)
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return netip.Addr{}, nil, fmt.Errorf("trace: %w", err)
		}
		if len(a.Sources) == 0 {
			return netip.Addr{}, nil, fmt.Errorf("trace: alert %s names no source to begin from; trace an address instead", a.ID)
		}
		b.pivot = earlier(a.Last, b.to)
		return a.Sources[0], &a, nil
	}
	if err := b.loadAlerts(ctx, seed.Address); err != nil {
		return netip.Addr{}, nil, err
	}
	if as := b.byAddr[seed.Address]; len(as) == 0 { // what it did last
		h := &host{addr: seed.Address, addrs: []netip.Addr{seed.Address}}
		if err := b.glance(ctx, h); err != nil {
			return netip.Addr{}, nil, err
		}
		if !h.node.Last.IsZero() {
			b.pivot = h.node.Last.Add(time.Millisecond)
		}
	}
	for _, a := range b.byAddr[seed.Address] { // the gravest says when to look
		if b.pivot.Equal(b.to) || a.Severity > worst {
			worst, b.pivot = a.Severity, earlier(a.Last, b.to)
		}
	}
	h, err := b.load(ctx, seed.Address)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	if h.node.First.IsZero() {
		return netip.Addr{}, nil, fmt.Errorf("trace: nothing is stored about %s between %s and %s: %w",
			seed.Address, b.from.Format(time.RFC3339), b.to.Format(time.RFC3339), store.ErrNotFound)
	}
	return b.choose(ctx, h)
}

// choose finds, for an address, the gravest thing that it did, or else what was
// most likely done to it, and by whom.
func (b *builder) choose(ctx context.Context, h *host) (netip.Addr, *event.Alert, error) {
	var did *event.Alert
	for _, a := range h.alerts {
		if slices.ContainsFunc(a.Sources, h.is) && (did == nil || a.Severity > did.Severity) {
			did = a
		}
	}
	if did != nil && !onlyTactics(did, controlTactics) {
		for _, s := range did.Sources {
			if h.is(s) {
				return s, did, nil
			}
		}
	}
	// Of what was done to it, an attempt that led nowhere explains nothing.
	var suffered *event.Alert
	var by netip.Addr
	surest := math.Inf(-1)
	for _, a := range h.alerts {
		if len(a.Sources) == 0 || slices.ContainsFunc(a.Sources, h.is) {
			continue
		}
		sum := float64(a.Severity) / 100
		who := a.Sources[0]
		for _, c := range h.in {
			if !slices.Contains(a.Sources, c.from) || !c.established || c.end.Before(a.First) || c.start.After(a.Last) {
				continue
			}
			x := candidate{c: c, alerts: b.about(c.from, c.to)}
			b.weigh(&x, link{})
			if x.arg.sum+10 > sum {
				sum, who = x.arg.sum+10, c.from
			}
		}
		if sum > surest {
			surest, suffered, by = sum, a, who
		}
	}
	switch {
	case suffered != nil:
		_, err := b.load(ctx, by)
		return by, suffered, err
	case did != nil:
		return h.addr, did, nil
	}
	return h.addr, nil, nil
}

// path finds the chain of conversations through the actor.
func (b *builder) path(ctx context.Context, t *Trace, actor netip.Addr, anchor *event.Alert) error {
	h, err := b.load(ctx, actor)
	if err != nil {
		return err
	}
	began := b.from
	if anchor != nil {
		began = anchor.First
	} else if len(h.out) > 0 {
		began = h.out[0].start
	}
	// The alert's own conversation, if it is one that leads on.
	var own *candidate
	if anchor != nil && !onlyTactics(anchor, scanTactics, controlTactics, exfilTactics) {
		var err error
		if own, err = b.own(ctx, h, anchor); err != nil {
			return err
		}
		if own != nil {
			began = own.c.start
		}
	}
	seen := visited{}
	seen.add(b, actor)
	var out *conversation
	if own != nil {
		seen.add(b, own.to)
		out = own.c
	}
	back, arrive, err := b.backward(ctx, h, began, out, seen)
	if err != nil {
		return err
	}
	t.Path = back
	if own != nil {
		// The alert says that this conversation was an attack; how it came
		// about says how much of one.
		x := b.candidate(own.c, link{arrive: arrive})
		if h.outside() {
			if err := b.translate(ctx, &x, link{arrive: arrive}); err != nil {
				return err
			}
		}
		if x.tried() {
			t.Path = nil // nobody got in
			b.reject(x)
			return b.ends(ctx, t, actor, anchor, seen)
		}
		p := x.arg.confidence()
		if !b.incomplete() {
			p = max(p, acceptedFrom)
		}
		t.Path = append(t.Path, x.hop(b, p))
		if h, err = b.load(ctx, own.to); err != nil {
			return err
		}
		arrive = own.c
	}
	since := began
	if arrive != nil {
		since = arrive.start
	} else if own == nil {
		since = earliest(h, began)
	}
	chain, err := b.forward(ctx, h, arrive, since, seen, maxHops)
	if err != nil {
		return err
	}
	t.Path = append(t.Path, chain.hops...)
	if len(t.Path) > maxHops {
		b.gap("gap-hops", "n", maxHops)
	}
	return b.ends(ctx, t, actor, anchor, seen)
}

// own finds the conversation of a host that an alert is about: of several the
// one that leads furthest.
func (b *builder) own(ctx context.Context, h *host, anchor *event.Alert) (*candidate, error) {
	var xs []candidate
	for _, c := range h.out {
		if !slices.Contains(anchor.Targets, c.to) || !c.established || c.end.Before(anchor.First) || c.start.After(anchor.Last) {
			continue
		}
		x := b.candidate(c, link{})
		if h.outside() {
			if err := b.translate(ctx, &x, link{}); err != nil {
				return nil, err
			}
		}
		xs = append(xs, x)
	}
	var found *candidate
	worth := 0.0
	for _, x := range best(xs) {
		to, err := b.load(ctx, x.to)
		if err != nil {
			return nil, err
		}
		if to.outside() {
			continue // what leaves the network is a branch: a control channel, or data carried off
		}
		w := x.arg.sum
		if len(xs) > 1 {
			seen := visited{}
			seen.add(b, h.addr)
			seen.add(b, x.to)
			before := len(b.rejected)
			b.exact = true
			rest, err := b.forward(ctx, to, x.c, x.c.start, seen, maxHops)
			b.exact = false
			if err != nil {
				return nil, err
			}
			b.rejected = b.rejected[:before]
			w += 10 * rest.worth
		}
		if found == nil || w > worth {
			found, worth = &x, w
		}
	}
	return found, nil
}

// ends names the first and the last host of the path.
func (b *builder) ends(ctx context.Context, t *Trace, actor netip.Addr, anchor *event.Alert, seen visited) error {
	if err := b.beginning(ctx, t, actor, anchor, seen); err != nil {
		return err
	}
	t.Origin, t.Target = actor, actor
	if len(t.Path) > 0 {
		t.Origin, t.Target = t.Path[0].From, t.Path[len(t.Path)-1].To
	} else if anchor != nil && len(anchor.Targets) > 0 {
		t.Target = anchor.Targets[0]
	}
	return nil
}

// visited are the hosts of a path, so that it does not go round.
type visited map[netip.Addr]bool

func (v visited) add(b *builder, a netip.Addr) {
	v[a] = true
	if h, ok := b.hosts[a]; ok {
		for _, x := range h.addrs {
			v[x] = true
		}
	}
}

func (v visited) remove(b *builder, a netip.Addr) {
	delete(v, a)
	if h, ok := b.hosts[a]; ok {
		for _, x := range h.addrs {
			delete(v, x)
		}
	}
}

// beginning explains the first host of the path: it lies outside, or somebody
// outside controlled it, or nobody can be seen to have.
func (b *builder) beginning(ctx context.Context, t *Trace, first netip.Addr, anchor *event.Alert, seen visited) error {
	acted := b.from
	if anchor != nil {
		acted = anchor.First
	}
	if len(t.Path) > 0 {
		first, acted = t.Path[0].From, t.Path[0].Start
		if t.Path[0].Role == "control" { // it asks for orders first, or after
			acted = t.Path[0].End
		}
	}
	h, err := b.load(ctx, first)
	if err != nil {
		return err
	}
	if !h.outside() {
		hops, err := b.controller(ctx, h, acted, seen)
		if err != nil {
			return err
		}
		if len(hops) == 0 {
			b.gap("gap-inside", "host", first, "time", acted.UTC().Format(time.RFC3339))
			return nil
		}
		t.Path = append(hops, t.Path...)
		first = hops[0].From
	}
	if b.outside(first) {
		b.gap("gap-outside", "host", first)
	}
	return nil
}

// earliest is when an address that nobody reached first did what alerts tell of.
func earliest(h *host, began time.Time) time.Time {
	for _, a := range h.alerts {
		if slices.ContainsFunc(a.Sources, h.is) && a.First.Before(began) {
			began = a.First
		}
	}
	return began
}

// candidate is a conversation under consideration.
type candidate struct {
	c        *conversation
	from, to netip.Addr // the conversation's, or who they truly are behind a translator
	port     uint16
	service  string
	alerts   []*event.Alert
	suspect  bool // other alerts name its source
	suspects int  // addresses of its source's /64 that alerts name
	carrier  carrier
	only     *flow // the one connection that is meant, if it is not all of the conversation
	arg      argument
	notes    argument // what was found out beside, of translators

	translations []Translation
}

func (b *builder) candidate(c *conversation, l link) candidate {
	x := candidate{c: c, from: c.from, to: c.to, port: c.port, service: c.service, alerts: b.about(c.from, c.to)}
	b.weigh(&x, l)
	return x
}

// session is the one connection of the candidate that is meant; nil if it is
// the whole conversation.
func (x *candidate) session() *flow {
	switch {
	case x.only != nil:
		return x.only
	case x.carrier.timed && x.carrier.pulses.odds > 0, x.carrier.began && x.carrier.starts.odds > 0.5:
		return x.carrier.flow
	}
	return nil
}

// tried reports whether all that is known of a candidate is that it was tried.
func (x *candidate) tried() bool {
	if len(x.alerts) == 0 || x.c.best().logins > 0 || x.c.remoteAccess() == "" {
		return false
	}
	for _, a := range x.alerts {
		if !onlyTechniques(a, guesses) {
			return false
		}
	}
	return true
}

func (x *candidate) hop(b *builder, confidence float64) Hop {
	c, seen := x.c, x.c.best()
	hop := Hop{
		From: x.from, To: x.to, Port: x.port, Transport: c.transport, Protocol: cmp.Or(x.service, c.transport),
		Start: c.start, End: c.end, Flows: seen.flows, Bytes: seen.bytes,
		Role: roleOf(x.alerts, c), Techniques: techniques(x.alerts), Confidence: confidence,
		Reasons: slices.Clone(x.arg.reasons), Evidence: slices.Clone(c.evidence), Sensors: c.sensors(),
		OpenedBy: x.from, Translations: x.translations,
	}
	if f := x.session(); f != nil {
		hop.Start, hop.End, hop.Flows, hop.Bytes = f.start, f.end, 1, f.bytes
		hop.Evidence = append(hop.Evidence, f.id)
	}
	for _, t := range x.translations {
		hop.Evidence = append(hop.Evidence, t.Evidence...)
		hop.Sensors = append(hop.Sensors, t.Sensor)
	}
	slices.Sort(hop.Sensors)
	hop.Sensors = slices.Compact(hop.Sensors)
	for _, a := range x.alerts {
		hop.Evidence = append(hop.Evidence, a.ID)
	}
	slices.SortFunc(hop.Evidence, event.ID.Compare)
	hop.Evidence = slices.Compact(hop.Evidence)
	switch from, to := b.outside(x.from), b.outside(x.to); {
	case from && to:
		hop.Direction = "external"
	case from:
		hop.Direction = "inbound"
	case to:
		hop.Direction = "outbound"
	default:
		hop.Direction = "internal"
	}
	return hop
}

// controlled makes of a channel that a host opened the hop of who controls it.
func (x *candidate) controlled(b *builder) Hop {
	hop := x.hop(b, x.arg.confidence())
	hop.From, hop.To, hop.Role = hop.To, hop.From, "control"
	return hop
}

func techniques(alerts []*event.Alert) []event.Technique {
	var ts []event.Technique
	for _, a := range alerts {
		for _, t := range a.Techniques {
			if !slices.ContainsFunc(ts, func(x event.Technique) bool { return x.ID == t.ID }) {
				ts = append(ts, t)
			}
		}
	}
	slices.SortFunc(ts, func(a, b event.Technique) int { return cmp.Compare(a.ID, b.ID) })
	return ts
}

// wide is how many candidates of a step are looked at closely.
const wide = 6

// best keeps the candidates with the strongest arguments, strongest first.
func best(xs []candidate) []candidate {
	slices.SortStableFunc(xs, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(y.arg.sum, x.arg.sum), compareConversations(x.c, y.c))
	})
	return xs[:min(len(xs), wide)]
}

// backward walks from a host to where the attack came from. out is the
// conversation by which it acted, if there is one. It returns the hops in the
// order of the attack, and the conversation that reached the host.
func (b *builder) backward(ctx context.Context, h *host, next time.Time, out *conversation, seen visited) ([]Hop, *conversation, error) {
	var hops []Hop
	var arrive *conversation
	var by *flow
	for len(hops) < maxHops && !h.outside() {
		var xs []candidate
		for _, c := range h.in {
			// Nobody controls a host by packets that it does not answer.
			if c.start.After(next) || seen[c.from] || !c.established {
				continue
			}
			x := b.candidate(c, link{next: next, out: out, by: by})
			passed := out != nil && (x.carrier.timed && x.carrier.pulses.odds > 0 || out.claims[c.from] > 0)
			if len(x.alerts) > 0 || c.remoteAccess() != "" || c.best().writes > 0 || passed {
				xs = append(xs, x)
			}
		}
		xs = best(xs)
		var peers []netip.Addr
		for i := range xs {
			peers = append(peers, xs[i].c.from)
		}
		if err := b.loadAlerts(ctx, peers...); err != nil {
			return nil, nil, err
		}
		for i := range xs {
			x := &xs[i]
			x.suspect, x.suspects = b.suspect(x.c.from, h, next)
			b.weigh(x, link{next: next, out: out, by: by})
		}
		xs = best(xs)
		if len(xs) == 0 || xs[0].arg.confidence() < acceptedFrom {
			again, more, err := b.wider(ctx, h)
			if err != nil {
				return nil, nil, err
			}
			if h = again; more {
				continue
			}
		}
		if len(xs) == 0 {
			break
		}
		taken := &xs[0]
		if taken.arg.confidence() < acceptedFrom {
			taken = nil
		} else if err := b.translate(ctx, taken, link{next: next, out: out, by: by}); err != nil {
			return nil, nil, err
		}
		for i := range xs {
			switch {
			case i == 0 && taken != nil:
			case taken == nil:
				b.reject(xs[i])
			case xs[i].c.from != taken.c.from: // the same source by another service is no other answer
				b.rejectFor(xs[i], taken)
			}
		}
		if taken == nil {
			break
		}
		hops = append(hops, taken.hop(b, taken.arg.confidence()))
		if arrive == nil {
			arrive = taken.c
		}
		for a := range taken.c.claims {
			b.named[taken.from] = append(b.named[taken.from], a)
		}
		next, out, by = taken.c.start, taken.c, taken.session()
		if by != nil {
			next = by.start
		}
		var err error
		if h, err = b.load(ctx, taken.from); err != nil {
			return nil, nil, err
		}
		seen.add(b, taken.c.from)
		seen.add(b, taken.from)
	}
	slices.Reverse(hops)
	return hops, arrive, nil
}

// controller finds the channel by which somebody outside may have told a host
// what to do, where nobody came in: a conversation that the host opened, that
// alerts call a control channel, and that began before a time; or one to a host
// inside that passes it on to the outside. Its hops are in the order of orders.
func (b *builder) controller(ctx context.Context, h *host, next time.Time, seen visited) ([]Hop, error) {
	var found *candidate
	for _, c := range h.out {
		if !c.established || c.start.After(next) || seen[c.to] || !b.outside(c.to) {
			continue
		}
		x := b.candidate(c, link{next: next, control: true})
		if x.arg.confidence() < acceptedFrom || !x.told() {
			continue
		}
		if found == nil || cmp.Or(cmp.Compare(x.arg.sum, found.arg.sum), cmp.Compare(c.best().flows, found.c.best().flows)) > 0 {
			found = &x
		}
	}
	if found != nil {
		return []Hop{found.controlled(b)}, nil
	}
	var hops []Hop
	worth := 0.0
	looked := 0
	for _, c := range h.out {
		if !c.established || c.start.After(next) || seen[c.to] || b.outside(c.to) || c.carriedBy() == nil || c.remoteAccess() != "" {
			continue
		}
		if looked++; looked > wide {
			break
		}
		r, err := b.load(ctx, c.to)
		if err != nil {
			return nil, err
		}
		for _, d := range r.out {
			if h.is(d.to) || !b.outside(d.to) {
				continue
			}
			near, far, ok := b.relays(r, c, d, next)
			if ok && min(near.arg.sum, far.arg.sum) > worth {
				worth = min(near.arg.sum, far.arg.sum)
				hops = []Hop{far.controlled(b), near.controlled(b)}
			}
		}
	}
	return hops, nil
}

// told reports whether alerts call a conversation a control channel.
func (x *candidate) told() bool {
	return slices.ContainsFunc(x.alerts, func(a *event.Alert) bool { return hasTactic(a, controlTactics...) })
}

// relays argues whether a host passes on what comes on a conversation that was
// opened to it by another that it opened itself.
func (b *builder) relays(r *host, c, d *conversation, next time.Time) (near, far candidate, ok bool) {
	if !d.established || d.start.After(next) || d.start.After(c.end) || d.end.Before(c.start) {
		return near, far, false
	}
	y := b.carrierOf(c, d.carriedBy(), nil, earlier(c.end, d.end))
	if !y.timed || y.pulses.odds < 2 {
		return near, far, false
	}
	l := link{next: next, control: true}
	near, far = b.candidate(c, l), b.candidate(d, l)
	for _, x := range []*candidate{&near, &far} {
		x.carrier = y
		x.arg.correlate(c, &y, d)
		x.arg.say(0, "relayed", "relay", r.addr)
	}
	far.carrier.flow = d.carriedBy()
	return near, far, min(near.arg.confidence(), far.arg.confidence()) >= acceptedFrom
}

func (b *builder) reject(x candidate) {
	b.rejected = append(b.rejected, x.hop(b, x.arg.confidence()))
}

// rejectFor keeps a candidate that another one beats: the attacker came one way,
// so what speaks for the one speaks against the other.
func (b *builder) rejectFor(x candidate, taken *candidate) {
	if taken.arg.sum > 0 {
		x.arg.reasons = slices.Clone(x.arg.reasons)
		if x.arg.sum > taken.arg.sum-0.5 {
			b.rival(&x, taken)
		}
		x.arg.say(-max(taken.arg.sum, x.arg.sum), "explained", "from", taken.from, "confidence", int(math.Round(100*taken.arg.confidence())))
	}
	b.reject(x)
}

func (b *builder) rival(x, taken *candidate) {
	b.gap("gap-rival", "rival", x.from, "hop", fmt.Sprintf("%s → %s", taken.from, taken.to), "taken", taken.from)
}

// suspect reports whether alerts other than those about its dealings with one
// host name an address before a time, and how many others of its /64 they name.
func (b *builder) suspect(addr netip.Addr, peer *host, before time.Time) (bool, int) {
	named := func(a *event.Alert) bool {
		return a.First.Before(before) && a.Severity >= 40 &&
			!slices.ContainsFunc(a.Targets, peer.is) && !slices.ContainsFunc(a.Sources, peer.is)
	}
	if slices.ContainsFunc(b.byAddr[addr], named) {
		return true, 0
	}
	p := privacyPrefix(addr)
	if !p.IsValid() || !b.outside(addr) {
		return false, 0
	}
	n := 0
	for other, as := range b.byAddr {
		if other != addr && p.Contains(other) && slices.ContainsFunc(as, func(a *event.Alert) bool {
			return a.First.Before(before) && a.Severity >= 40 && slices.Contains(a.Sources, other)
		}) {
			n++
		}
	}
	return false, n
}

// outside reports whether the host is beyond the operator's networks: in a
// zone that says so, or, without a zone, at a public address.
func (h *host) outside() bool { return outside(h.node.Zone, h.addr) }

func outside(zone string, addr netip.Addr) bool {
	if zone != "" {
		return zone == "internet"
	}
	return addr.IsValid() && !addr.IsPrivate() && !addr.IsLinkLocalUnicast() && !addr.IsLoopback() && !addr.IsMulticast()
}

// chain is a way forward and what it is worth.
type chain struct {
	hops  []Hop
	worth float64
}

// forward finds the most telling chain of conversations out of a host: many
// sure hops that end in an effect on the process.
func (b *builder) forward(ctx context.Context, h *host, arrive *conversation, since time.Time, seen visited, left int) (chain, error) {
	if left == 0 {
		return chain{}, nil
	}
	var arrives []*conversation
	if arrive != nil && !b.exact {
		for _, c := range h.in { // the same, again: first to try, then to work
			if c.from == arrive.from && c.to == arrive.to && c.port == arrive.port && c.established {
				arrives = append(arrives, c)
			}
		}
	}
	var xs []candidate
	for _, c := range h.out {
		if arrive != nil && c.start.Before(since) || c.end.Before(since) || seen[c.to] || !c.established {
			continue
		}
		x := b.candidate(c, link{arrive: arrive, arrives: arrives})
		leads := slices.ContainsFunc(x.alerts, func(a *event.Alert) bool {
			return !onlyTactics(a, scanTactics, controlTactics, exfilTactics)
		})
		if (leads || c.remoteAccess() != "" || c.best().writes > 0) && !x.tried() {
			xs = append(xs, x)
		}
	}
	found, err := b.orders(ctx, h, since, seen, left)
	if err != nil {
		return chain{}, err
	}
	for _, x := range best(xs) {
		if h.outside() || b.outside(x.c.to) {
			if err := b.translate(ctx, &x, link{arrive: arrive, arrives: arrives}); err != nil {
				return chain{}, err
			}
		}
		if x.arg.confidence() < acceptedFrom {
			b.reject(x)
			continue
		}
		to, err := b.load(ctx, x.to)
		if err != nil {
			return chain{}, err
		}
		if to.outside() || seen[x.to] {
			continue
		}
		seen.add(b, x.to)
		rest, err := b.forward(ctx, to, x.c, x.c.start, seen, left-1)
		seen.remove(b, x.to)
		if err != nil {
			return chain{}, err
		}
		p := x.arg.confidence()
		hop := x.hop(b, p)
		worth := p - 0.4 + rest.worth
		if hop.Role == "impact" {
			worth++
		}
		if worth > found.worth {
			found = chain{hops: append([]Hop{hop}, rest.hops...), worth: worth}
		}
	}
	return found, nil
}

// orders goes on where a host passes on what the outside tells it: to those
// inside who opened the channel.
func (b *builder) orders(ctx context.Context, h *host, since time.Time, seen visited, left int) (chain, error) {
	var found chain
	for _, d := range h.out {
		if !d.established || !b.outside(d.to) || d.carriedBy() == nil {
			continue
		}
		for _, c := range h.in {
			if c.start.Before(since.Add(-aftermath)) || seen[c.from] || b.outside(c.from) || c.carriedBy() == nil || c.remoteAccess() != "" || !c.established {
				continue
			}
			near, _, ok := b.relays(h, c, d, earlier(c.end, d.end))
			if !ok {
				continue
			}
			to, err := b.load(ctx, c.from)
			if err != nil {
				return chain{}, err
			}
			seen.add(b, c.from)
			rest, err := b.forward(ctx, to, c, c.start, seen, left-1)
			seen.remove(b, c.from)
			if err != nil {
				return chain{}, err
			}
			if worth := near.arg.confidence() - 0.4 + rest.worth; worth > found.worth {
				found = chain{hops: append([]Hop{near.controlled(b)}, rest.hops...), worth: worth}
			}
		}
	}
	return found, nil
}

// onlyTactics reports whether an alert has techniques and each of them has
// only tactics of the lists.
func onlyTactics(a *event.Alert, lists ...[]string) bool {
	if len(a.Techniques) == 0 {
		return false
	}
	for _, t := range a.Techniques {
		for _, name := range t.Tactics {
			if !slices.ContainsFunc(lists, func(l []string) bool { return slices.Contains(l, name) }) {
				return false
			}
		}
	}
	return true
}

// manyTargets is how many targets of one alert are branches of their own; of
// an alert with more, one branch stands for all.
const manyTargets = 4

// beside adds the branches and the timeline: what the hosts of the path did
// and suffered according to alerts.
func (b *builder) beside(ctx context.Context, t *Trace, anchor *event.Alert) error {
	onPath := map[netip.Addr]time.Time{b.primary(t.Origin): {}}
	pairs := map[[2]netip.Addr]bool{}
	for _, hop := range t.Path {
		from, to := b.primary(hop.From), b.primary(hop.To)
		if _, ok := onPath[to]; !ok {
			onPath[to] = hop.Start
		}
		pairs[[2]netip.Addr{from, to}] = true
		if hop.Role == "control" { // the host opened it
			pairs[[2]netip.Addr{to, from}] = true
		}
	}
	alerts, err := b.told(ctx, onPath, anchor)
	if err != nil {
		return err
	}
	branches := map[[2]netip.Addr]*Hop{}
	var keys [][2]netip.Addr
	for _, a := range alerts {
		if len(t.Steps) < maxSteps {
			t.Steps = append(t.Steps, stepOf(a))
		}
		targets := a.Targets
		if len(targets) > manyTargets {
			targets = targets[:1]
		}
		for _, to := range targets {
			k := [2]netip.Addr{sourceOf(a), to}
			p := [2]netip.Addr{b.primary(k[0]), b.primary(k[1])}
			if _, ok := onPath[p[0]]; !ok || pairs[p] || p[0] == p[1] || len(keys) >= maxBranches {
				continue
			}
			if branches[k] == nil {
				branches[k] = b.branch(k)
				keys = append(keys, k)
			}
			branches[k].join(a)
		}
	}
	for _, k := range keys {
		hop := branches[k]
		slices.SortFunc(hop.Evidence, event.ID.Compare)
		hop.Evidence = slices.Compact(hop.Evidence)
		t.Branches = append(t.Branches, *hop)
	}
	for i, hop := range t.Path {
		t.Steps = append(t.Steps, Step{Time: hop.Start, ID: firstID(hop.Evidence), From: hop.From, To: hop.To, Techniques: hop.Techniques,
			Text: fmt.Sprintf("hop %d: %s reaches %s by %s port %d", i+1, hop.From, hop.To, hop.Protocol, hop.Port)})
	}
	slices.SortStableFunc(t.Steps, func(a, b Step) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Severity, b.Severity), a.ID.Compare(b.ID), strings.Compare(a.Text, b.Text))
	})
	return b.nodes(ctx, t)
}

// told gathers the alerts about the hosts that an attack reached, by time: what
// they did and suffered from each other since they were reached, and what
// befell them of which no source is known.
func (b *builder) told(ctx context.Context, reached map[netip.Addr]time.Time, anchor *event.Alert) ([]*event.Alert, error) {
	alerts := map[event.ID]*event.Alert{}
	if anchor != nil {
		alerts[anchor.ID] = anchor
	}
	for addr, since := range reached {
		h, err := b.load(ctx, addr)
		if err != nil {
			return nil, err
		}
		for _, a := range h.alerts {
			from, ok := since, slices.ContainsFunc(a.Sources, h.is)
			switch {
			case ok: // what a host did before the attacker came is its own
			case len(a.Sources) == 0:
				ok = true
			default:
				from, ok = reached[b.primary(sourceOf(a))]
			}
			if ok && !a.Last.Before(from) {
				alerts[a.ID] = a
			}
		}
	}
	return slices.SortedFunc(maps.Values(alerts), compareAlerts), nil
}

// primary is the address by which a host is known.
func (b *builder) primary(a netip.Addr) netip.Addr {
	if h, ok := b.hosts[a]; ok {
		return h.addr
	}
	return a
}

func sourceOf(a *event.Alert) netip.Addr {
	if len(a.Sources) == 0 {
		return netip.Addr{}
	}
	return a.Sources[0]
}

func firstID(ids []event.ID) event.ID {
	if len(ids) == 0 {
		return event.ID{}
	}
	return ids[0]
}

func stepOf(a *event.Alert) Step {
	s := Step{Time: a.First, ID: a.ID, Text: a.Message, Severity: a.Severity, From: sourceOf(a), Techniques: a.Techniques}
	if len(a.Targets) > 0 {
		s.To = a.Targets[0]
	}
	return s
}

// branch begins a branch with what the source's conversations with the target say.
func (b *builder) branch(k [2]netip.Addr) *Hop {
	hop := &Hop{From: k[0], To: k[1], OpenedBy: k[0]}
	if h := b.hosts[k[0]]; h != nil {
		for _, c := range h.out {
			if c.from != k[0] || c.to != k[1] {
				continue
			}
			if hop.Start.IsZero() {
				hop.Start, hop.Port, hop.Transport, hop.Protocol = c.start, c.port, c.transport, cmp.Or(c.service, c.transport)
			}
			if c.end.After(hop.End) {
				hop.End = c.end
			}
			seen := c.best()
			hop.Flows += seen.flows
			hop.Bytes += seen.bytes
			hop.Sensors = append(hop.Sensors, c.sensors()...)
		}
		slices.Sort(hop.Sensors)
		hop.Sensors = slices.Compact(hop.Sensors)
	}
	return hop
}

// join adds an alert to a branch: what it was for is what the gravest says.
func (h *Hop) join(a *event.Alert) {
	if h.Start.IsZero() || a.First.Before(h.Start) {
		h.Start = a.First
	}
	if a.Last.After(h.End) {
		h.End = a.Last
	}
	p := float64(a.Severity) / 100
	if p > h.Confidence {
		h.Confidence = p
		h.Role = roleOf([]*event.Alert{a}, nil)
	}
	for _, t := range techniques([]*event.Alert{a}) {
		if !slices.ContainsFunc(h.Techniques, func(x event.Technique) bool { return x.ID == t.ID }) {
			h.Techniques = append(h.Techniques, t)
		}
	}
	text := say("branch-alert", "rule", a.Rule.Name, "severity", a.Severity)
	if n := len(a.Targets); n > manyTargets {
		text = say("branch-alerts", "rule", a.Rule.Name, "severity", a.Severity, "n", n-1)
	}
	if len(h.Reasons) < maxEvidence {
		h.Reasons = append(h.Reasons, Reason{Message: text, Weight: p})
	}
	h.Evidence = append(h.Evidence, a.ID)
}

// nodes describes every host that the trace names: one node for all addresses
// of a host, under the one by which the path reached it.
func (b *builder) nodes(ctx context.Context, t *Trace) error {
	roles := map[netip.Addr]string{}
	for _, hop := range t.Branches {
		for _, a := range []netip.Addr{hop.From, hop.To} {
			if roles[a] == "" {
				roles[a] = "bystander"
			}
		}
		// A resolver on the inside passes on what it is asked.
		if hop.Role == "c2" || hop.Role == "exfiltration" {
			if _, ok := b.met[hop.To]; !ok && b.hosts[hop.To] == nil {
				h := &host{addr: hop.To, addrs: []netip.Addr{hop.To}, node: Node{Address: hop.To}}
				if err := b.glance(ctx, h); err != nil {
					return err
				}
				b.met[hop.To] = h.node
			}
			if b.outside(hop.To) {
				roles[hop.To] = hop.Role
			}
		}
	}
	for _, hop := range t.Path {
		roles[hop.From], roles[hop.To] = "stepping-stone", "stepping-stone"
	}
	roles[t.Target] = "target"
	roles[t.Origin] = "origin"
	for addr, role := range roles {
		h, ok := b.hosts[addr]
		if !ok {
			h = &host{addr: addr, addrs: []netip.Addr{addr}, node: Node{Address: addr}}
			if err := b.glance(ctx, h); err != nil {
				return err
			}
		}
		n := h.node
		n.Address, n.Role, n.Addresses = addr, role, slices.Clone(h.addrs)
		t.Nodes = append(t.Nodes, n)
	}
	slices.SortFunc(t.Nodes, func(a, b Node) int { return a.Address.Compare(b.Address) })
	return nil
}

// glance learns only the name and zone of an address.
func (b *builder) glance(ctx context.Context, h *host) error {
	q := store.Query{Set: store.Events, From: b.from, To: b.to, Limit: 1,
		Where: involvesAny(h.addrs)}
	for _, desc := range []bool{false, true} {
		q.Desc = desc
		for e, err := range b.s.Search(ctx, q) {
			if err != nil {
				return err
			}
			h.meet(&e)
			b.meetPeers(&e)
		}
	}
	return nil
}

// conclude finds the stretch of time and the confidence of the path, and what
// was not taken.
func (b *builder) conclude(t *Trace, anchor *event.Alert) {
	stretch := func(from, to time.Time) {
		if t.From.IsZero() || from.Before(t.From) {
			t.From = from
		}
		if to.After(t.To) {
			t.To = to
		}
	}
	if anchor != nil {
		stretch(anchor.First, anchor.Last)
	}
	for _, hop := range slices.Concat(t.Path, t.Branches) {
		stretch(hop.Start, hop.End)
	}
	if t.From.IsZero() {
		t.From, t.To = b.from, b.to
	}
	for i, hop := range t.Path {
		if i == 0 || hop.Confidence < t.Confidence {
			t.Confidence = hop.Confidence
		}
	}
	t.Title = t.title()
	slices.SortStableFunc(b.rejected, func(x, y Hop) int {
		return cmp.Or(cmp.Compare(y.Confidence, x.Confidence), x.Start.Compare(y.Start), x.From.Compare(y.From), x.To.Compare(y.To), cmp.Compare(x.Port, y.Port))
	})
	for i, h := range b.rejected {
		same := func(o Hop) bool {
			return o.From == h.From && o.To == h.To && o.Port == h.Port && o.Start.Equal(h.Start)
		}
		if len(t.Rejected) < maxRejected && !slices.ContainsFunc(t.Path, same) && !slices.ContainsFunc(b.rejected[:i], same) {
			t.Rejected = append(t.Rejected, h)
		}
	}
}

// finish says what was missing.
func (b *builder) finish(t *Trace, first time.Time) {
	t.Loss = b.lossBetween(t.From, t.To)
	if t.Loss > 0 {
		b.gap("gap-loss", "share", percent(t.Loss))
	}
	t.Records = b.records
	if b.records.Made > b.records.Stored {
		b.gap("gap-incomplete", "stored", b.records.Stored, "made", b.records.Made,
			"from", b.records.From.UTC().Format(time.RFC3339), "to", b.records.To.UTC().Format(time.RFC3339))
	} else if b.unaccounted {
		b.gap("gap-ledger")
	}
	if t.From.Sub(first) < 10*time.Minute {
		b.gap("gap-history", "first", first.UTC().Format(time.RFC3339), "gap", max(t.From.Sub(first), 0).Round(time.Second))
	}
	var cut []netip.Addr
	for a, h := range b.hosts {
		if h.cut && a == h.addr {
			cut = append(cut, a)
		}
	}
	slices.SortFunc(cut, netip.Addr.Compare)
	for _, a := range cut {
		b.gap("gap-cut", "host", a, "n", maxRecords)
	}
	t.Gaps = b.gaps
	for i := range b.gaps {
		t.Missing = append(t.Missing, b.gaps[i].Text)
	}
}

// title says in a sentence who reached whom, and through whom.
func (t *Trace) title() string {
	name := func(a netip.Addr) string {
		for _, n := range t.Nodes {
			if n.Address == a && n.Name != "" {
				return fmt.Sprintf("%s (%s)", a, n.Name)
			}
		}
		return a.String()
	}
	switch len(t.Path) {
	case 0:
		if t.Target == t.Origin {
			return fmt.Sprintf("No path is found through %s", name(t.Origin))
		}
		return fmt.Sprintf("No path is found through %s, which acted upon %s", name(t.Origin), name(t.Target))
	case 1:
		return fmt.Sprintf("%s reached %s directly", name(t.Origin), name(t.Target))
	}
	var via []string
	for _, hop := range t.Path[1:] {
		via = append(via, name(hop.From))
	}
	return fmt.Sprintf("%s reached %s through %s", name(t.Origin), name(t.Target), strings.Join(via, ", "))
}

// fill makes every list of the trace a list, so that JSON has [] and not null.
func (t *Trace) fill() {
	for _, hops := range []*[]Hop{&t.Path, &t.Branches, &t.Rejected} {
		list(hops)
		for i := range *hops {
			h := &(*hops)[i]
			list(&h.Techniques)
			list(&h.Reasons)
			list(&h.Evidence)
			list(&h.Sensors)
			list(&h.Translations)
		}
	}
	list(&t.Nodes)
	list(&t.Missing)
	list(&t.Gaps)
	list(&t.Sources)
	for i := range t.Sources {
		x := &t.Sources[i]
		list(&x.Addresses)
		list(&x.Lists)
		list(&x.Shared)
		list(&x.Reasons)
	}
	list(&t.Steps)
	for i := range t.Steps {
		list(&t.Steps[i].Techniques)
	}
}

func list[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}
