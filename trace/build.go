package trace

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

type builder struct {
	s        Searcher
	from, to time.Time
	hosts    map[netip.Addr]*host
	losses   []loss // by time
	rejected []Hop
}

// loss is one minute of one sensor's account.
type loss struct {
	at            time.Time
	seen, dropped uint64
}

// Build makes the trace of a seed. It reads the store only through s; a seed
// that the store does not know is an error that wraps store.ErrNotFound.
func Build(ctx context.Context, s Searcher, seed Seed) (*Trace, error) {
	b := &builder{s: s, hosts: map[netip.Addr]*host{}}
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
	if err := b.loadLosses(ctx); err != nil {
		return nil, err
	}
	t := &Trace{}
	actor, anchor, err := b.anchor(ctx, seed)
	if err != nil {
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
	b.finish(t, anchor, first)
	t.fill()
	return t, nil
}

// anchor finds whose act the trace explains, and the alert that tells of it.
func (b *builder) anchor(ctx context.Context, seed Seed) (netip.Addr, *event.Alert, error) {
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
		return a.Sources[0], &a, nil
	}
	h, err := b.load(ctx, seed.Address)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	if h.node.First.IsZero() {
		return netip.Addr{}, nil, fmt.Errorf("trace: nothing is stored about %s between %s and %s: %w",
			seed.Address, b.from.Format(time.RFC3339), b.to.Format(time.RFC3339), store.ErrNotFound)
	}
	// The gravest thing that the address did, or else that was done to it.
	var did, suffered *event.Alert
	for _, a := range h.alerts {
		which := &suffered
		if slices.Contains(a.Sources, seed.Address) {
			which = &did
		}
		if *which == nil || a.Severity > (*which).Severity {
			*which = a
		}
	}
	switch a := cmp.Or(did, suffered); {
	case a == nil:
		return seed.Address, nil, nil
	case did == nil && len(a.Sources) > 0:
		return a.Sources[0], a, nil
	default:
		return seed.Address, a, nil
	}
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
		for _, c := range h.out {
			if !slices.Contains(anchor.Targets, c.to) || !c.established || c.end.Before(anchor.First) || c.start.After(anchor.Last) {
				continue
			}
			to, err := b.load(ctx, c.to)
			if err != nil {
				return err
			}
			if to.outside() {
				continue // what leaves the network is a branch: a control channel, or data carried off
			}
			x := b.candidate(h, c, link{}, false)
			if own == nil || x.arg.sum > own.arg.sum {
				own = &x
			}
		}
		if own != nil {
			began = own.c.start
		}
	}
	seen := map[netip.Addr]bool{actor: true}
	if own != nil {
		seen[own.c.to] = true
	}
	back, arrive, err := b.backward(ctx, h, began, seen)
	if err != nil {
		return err
	}
	t.Path = back
	if own != nil {
		// The alert says that this conversation was an attack; how it came
		// about says how much of one.
		x := b.candidate(h, own.c, link{arrive: arrive}, false)
		t.Path = append(t.Path, x.hop(max(x.arg.confidence(), acceptedFrom)))
		if h, err = b.load(ctx, own.c.to); err != nil {
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

// beginning explains the first host of the path: it lies outside, or somebody
// outside controlled it, or nobody can be seen to have.
func (b *builder) beginning(ctx context.Context, t *Trace, first netip.Addr, anchor *event.Alert, seen map[netip.Addr]bool) error {
	acted := b.from
	if anchor != nil {
		acted = anchor.First
	}
	if len(t.Path) > 0 {
		first, acted = t.Path[0].From, t.Path[0].Start
	}
	h, err := b.load(ctx, first)
	if err != nil {
		return err
	}
	if !h.outside() {
		x, err := b.controller(ctx, h, acted, seen)
		if err != nil {
			return err
		}
		if x == nil {
			t.Missing = append(t.Missing, fmt.Sprintf("no conversation into %s before %s explains how it came to act: a host on the inside, or a path that no sensor sees", first, acted.UTC().Format(time.RFC3339)))
			return nil
		}
		hop := x.hop(x.arg.confidence())
		hop.From, hop.To, hop.Role = hop.To, hop.From, "control"
		t.Path = slices.Insert(t.Path, 0, hop)
		first = hop.From
	}
	t.Missing = append(t.Missing, fmt.Sprintf("%s lies outside: who used it cannot be seen from here", first))
	return nil
}

// earliest is when an address that nobody reached first did what alerts tell of.
func earliest(h *host, began time.Time) time.Time {
	for _, a := range h.alerts {
		if slices.Contains(a.Sources, h.addr) && a.First.Before(began) {
			began = a.First
		}
	}
	return began
}

// candidate is a conversation under consideration.
type candidate struct {
	c      *conversation
	alerts []*event.Alert
	arg    argument
}

func (b *builder) candidate(h *host, c *conversation, l link, suspect bool) candidate {
	x := candidate{c: c, alerts: h.about(c.from, c.to)}
	x.arg = b.weigh(c, x.alerts, l, suspect)
	return x
}

func (x *candidate) hop(confidence float64) Hop {
	c, seen := x.c, x.c.best()
	hop := Hop{
		From: c.from, To: c.to, Port: c.port, Transport: c.transport, Protocol: cmp.Or(c.service, c.transport),
		Start: c.start, End: c.end, Flows: seen.flows, Bytes: seen.bytes,
		Role: roleOf(x.alerts, c), Techniques: techniques(x.alerts), Confidence: confidence,
		Reasons: x.arg.reasons, Evidence: slices.Clone(c.evidence), Sensors: c.sensors(),
	}
	for _, a := range x.alerts {
		hop.Evidence = append(hop.Evidence, a.ID)
	}
	slices.SortFunc(hop.Evidence, event.ID.Compare)
	hop.Evidence = slices.Compact(hop.Evidence)
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

// backward walks from a host to where the attack came from. It returns the
// hops in the order of the attack, and the conversation that reached the host.
func (b *builder) backward(ctx context.Context, h *host, next time.Time, seen map[netip.Addr]bool) ([]Hop, *conversation, error) {
	var hops []Hop
	var arrive *conversation
	for len(hops) < maxHops {
		if h.outside() {
			break
		}
		var xs []candidate
		for _, c := range h.in {
			if c.start.After(next) || seen[c.from] {
				continue
			}
			if !c.established {
				continue // nobody controls a host by packets that it does not answer
			}
			xs = append(xs, b.candidate(h, c, link{next: next}, false))
		}
		xs = best(xs)
		for i := range xs {
			from, err := b.load(ctx, xs[i].c.from)
			if err != nil {
				return nil, nil, err
			}
			xs[i].arg = b.weigh(xs[i].c, xs[i].alerts, link{next: next}, from.suspect(h.addr, next))
		}
		xs = best(xs)
		var taken *candidate
		for i := range xs {
			switch {
			case i == 0 && xs[0].arg.confidence() >= acceptedFrom:
				taken = &xs[0]
			case taken == nil || xs[i].c.from != taken.c.from: // the same source by another service is no other answer
				b.reject(xs[i])
			}
		}
		if taken == nil {
			break
		}
		hops = append(hops, taken.hop(taken.arg.confidence()))
		if arrive == nil {
			arrive = taken.c
		}
		seen[taken.c.from] = true
		next = taken.c.start
		h = b.hosts[taken.c.from]
	}
	slices.Reverse(hops)
	return hops, arrive, nil
}

// controller finds the channel by which somebody outside may have told a host
// what to do, where nobody came in: a conversation that the host opened, that
// alerts call a control channel, and that began before a time.
func (b *builder) controller(ctx context.Context, h *host, next time.Time, seen map[netip.Addr]bool) (*candidate, error) {
	var found *candidate
	for _, c := range h.out {
		x := b.candidate(h, c, link{next: next, control: true}, false)
		if !c.established || c.start.After(next) || seen[c.to] || x.arg.confidence() < acceptedFrom ||
			!slices.ContainsFunc(x.alerts, func(a *event.Alert) bool { return hasTactic(a, controlTactics...) }) {
			continue
		}
		to, err := b.load(ctx, c.to)
		if err != nil {
			return nil, err
		}
		if to.outside() && (found == nil || cmp.Or(cmp.Compare(x.arg.sum, found.arg.sum), cmp.Compare(c.best().flows, found.c.best().flows)) > 0) {
			found = &x
		}
	}
	return found, nil
}

func (b *builder) reject(x candidate) {
	b.rejected = append(b.rejected, x.hop(x.arg.confidence()))
}

// suspect reports whether alerts other than those about its dealings with one
// peer name the host before a time.
func (h *host) suspect(peer netip.Addr, before time.Time) bool {
	return slices.ContainsFunc(h.alerts, func(a *event.Alert) bool {
		return a.First.Before(before) && a.Severity >= 40 &&
			!slices.Contains(a.Targets, peer) && !slices.Contains(a.Sources, peer)
	})
}

// outside reports whether the host is beyond the operator's networks: in a
// zone that says so, or, without a zone, at a public address.
func (h *host) outside() bool {
	if h.node.Zone != "" {
		return h.node.Zone == "internet"
	}
	return !h.addr.IsPrivate() && !h.addr.IsLinkLocalUnicast()
}

// chain is a way forward and what it is worth.
type chain struct {
	hops  []Hop
	worth float64
}

// forward finds the most telling chain of conversations out of a host: many
// sure hops that end in an effect on the process.
func (b *builder) forward(ctx context.Context, h *host, arrive *conversation, since time.Time, seen map[netip.Addr]bool, left int) (chain, error) {
	if left == 0 {
		return chain{}, nil
	}
	var xs []candidate
	for _, c := range h.out {
		if c.start.Before(since) || seen[c.to] || !c.established {
			continue
		}
		x := b.candidate(h, c, link{arrive: arrive}, false)
		leads := slices.ContainsFunc(x.alerts, func(a *event.Alert) bool {
			return !onlyTactics(a, scanTactics, controlTactics, exfilTactics)
		})
		if leads || c.remoteAccess() != "" || c.best().writes > 0 {
			xs = append(xs, x)
		}
	}
	var found chain
	for _, x := range best(xs) {
		p := x.arg.confidence()
		if p < acceptedFrom {
			b.reject(x)
			continue
		}
		to, err := b.load(ctx, x.c.to)
		if err != nil {
			return chain{}, err
		}
		if to.outside() {
			continue
		}
		seen[x.c.to] = true
		rest, err := b.forward(ctx, to, x.c, x.c.start, seen, left-1)
		delete(seen, x.c.to)
		if err != nil {
			return chain{}, err
		}
		hop := x.hop(p)
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
	onPath := map[netip.Addr]time.Time{t.Origin: {}}
	pairs := map[[2]netip.Addr]bool{}
	for _, hop := range t.Path {
		if _, ok := onPath[hop.To]; !ok {
			onPath[hop.To] = hop.Start
		}
		pairs[[2]netip.Addr{hop.From, hop.To}] = true
		if hop.Role == "control" { // the host opened it
			pairs[[2]netip.Addr{hop.To, hop.From}] = true
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
			if _, ok := onPath[k[0]]; !ok || pairs[k] || k[0] == k[1] || len(keys) >= maxBranches {
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
	return b.nodes(ctx, t, keys)
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
			from, ok := since, slices.Contains(a.Sources, addr)
			switch {
			case ok: // what a host did before the attacker came is its own
			case len(a.Sources) == 0:
				ok = true
			default:
				from, ok = reached[sourceOf(a)]
			}
			if ok && !a.Last.Before(from) {
				alerts[a.ID] = a
			}
		}
	}
	return slices.SortedFunc(maps.Values(alerts), func(a, b *event.Alert) int {
		return cmp.Or(a.First.Compare(b.First), a.ID.Compare(b.ID))
	}), nil
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
	hop := &Hop{From: k[0], To: k[1]}
	if h := b.hosts[k[0]]; h != nil {
		for _, c := range h.out {
			if c.to != k[1] {
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
	text := fmt.Sprintf("%s (severity %d)", a.Rule.Name, a.Severity)
	if n := len(a.Targets); n > manyTargets {
		text += fmt.Sprintf(", and %d other targets", n-1)
	}
	if len(h.Reasons) < maxEvidence {
		h.Reasons = append(h.Reasons, Reason{Text: text, Weight: p})
	}
	h.Evidence = append(h.Evidence, a.ID)
}

// nodes describes every address that the trace names.
func (b *builder) nodes(ctx context.Context, t *Trace, branches [][2]netip.Addr) error {
	roles := map[netip.Addr]string{}
	for _, hop := range t.Branches {
		for _, a := range []netip.Addr{hop.From, hop.To} {
			if roles[a] == "" {
				roles[a] = "bystander"
			}
		}
		if h := b.hosts[hop.To]; hop.Role == "c2" || hop.Role == "exfiltration" {
			// A resolver on the inside passes on what it is asked.
			if h == nil {
				h = &host{addr: hop.To, node: Node{Address: hop.To}}
				if err := b.glance(ctx, h); err != nil {
					return err
				}
			}
			if h.outside() {
				roles[hop.To] = hop.Role
			}
		}
	}
	for _, hop := range t.Path {
		roles[hop.To] = "stepping-stone"
	}
	roles[t.Target] = "target"
	roles[t.Origin] = "origin"
	for addr, role := range roles {
		h, ok := b.hosts[addr]
		if !ok {
			h = &host{addr: addr, node: Node{Address: addr}}
			if err := b.glance(ctx, h); err != nil {
				return err
			}
		}
		n := h.node
		n.Role = role
		t.Nodes = append(t.Nodes, n)
	}
	slices.SortFunc(t.Nodes, func(a, b Node) int { return a.Address.Compare(b.Address) })
	return nil
}

// glance learns only the name and zone of an address.
func (b *builder) glance(ctx context.Context, h *host) error {
	q := store.Query{Set: store.Events, From: b.from, To: b.to, Limit: 1,
		Where: query.Involves(h.addr)}
	for _, desc := range []bool{false, true} {
		q.Desc = desc
		for e, err := range b.s.Search(ctx, q) {
			if err != nil {
				return err
			}
			h.meet(&e)
		}
	}
	return nil
}

// finish draws the conclusions that need the whole trace.
func (b *builder) finish(t *Trace, anchor *event.Alert, first time.Time) {
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
	t.Loss = b.lossBetween(t.From, t.To)
	if t.Loss > 0 {
		t.Missing = append(t.Missing, fmt.Sprintf("%.2g %% of the packets of that time were not seen", 100*t.Loss))
	}
	if t.From.Sub(first) < 10*time.Minute {
		t.Missing = append(t.Missing, fmt.Sprintf("the store begins at %s, %s before the first hop: what was usual before is hardly known", first.UTC().Format(time.RFC3339), max(t.From.Sub(first), 0).Round(time.Second)))
	}
	var cut []string
	for _, h := range b.hosts {
		if h.cut {
			cut = append(cut, fmt.Sprintf("%s has more than %d flows, logins and writes in that time; the earliest were looked at", h.addr, maxRecords))
		}
	}
	slices.Sort(cut)
	t.Missing = append(t.Missing, cut...)
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

// loadLosses reads the sensors' accounts.
func (b *builder) loadLosses(ctx context.Context) error {
	q := store.Query{Set: store.Events, From: b.from, To: b.to,
		Where: query.OfKind(event.KindLedger)}
	for e, err := range b.s.Search(ctx, q) {
		if err != nil {
			return err
		}
		account := event.Ledger{}
		account.Add(&e)
		b.losses = append(b.losses, loss{at: e.Time, seen: account["seen"], dropped: account.Dropped()})
	}
	return nil
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
		}
	}
	list(&t.Nodes)
	list(&t.Missing)
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

// lossBetween is the share of packets, over all sensors, that were not seen in
// the minutes that touch a stretch of time.
func (b *builder) lossBetween(from, to time.Time) float64 {
	from, to = from.Add(-time.Minute), to.Add(time.Minute)
	first, _ := slices.BinarySearchFunc(b.losses, from, func(l loss, t time.Time) int { return l.at.Compare(t) })
	var seen, dropped uint64
	for _, l := range b.losses[first:] {
		if l.at.After(to) {
			break
		}
		seen += l.seen
		dropped += l.dropped
	}
	if seen == 0 {
		return 0
	}
	return float64(dropped) / float64(seen)
}
