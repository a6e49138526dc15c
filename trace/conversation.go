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

// Bounds of what one trace looks at.
const (
	maxHops      = 16      // of a path, each way
	maxRecords   = 10_000  // flows, logins and writes of one host before a time, and as many after it
	maxAlerts    = 5_000   // of one host
	nearBefore   = 200_000 // events of all hosts before the act, among which one host is looked up
	nearAfter    = 100_000 // and after it
	mostWider    = 4       // times that one trace looks further back
	maxPeers     = 64      // of one host that alerts name, whose every conversation is looked at
	maxEvidence  = 20      // identifiers listed on a hop
	maxRejected  = 20
	maxSteps     = 2000
	maxBranches  = 100
	sessionGap   = 2 * time.Minute // flows closer than this are one conversation
	aftermath    = 5 * time.Minute // how long after a session its effects are taken for its own
	manyClients  = 8               // sources of a service that make it public
	oftenBefore  = 3               // earlier conversations that make a pair usual
	acceptedFrom = 0.5             // confidence from which a hop is taken
)

// host is what the store knows of one host, gathered once. It may have several
// addresses; see aliases.
type host struct {
	addr    netip.Addr      // the first that was asked for
	addrs   []netip.Addr    // all, sorted
	in, out []*conversation // by start
	alerts  []*event.Alert  // by time, in which it is a source or a target
	node    Node
	cut     bool // there was more than the bounds allow
	all     bool // everything before the act was looked at
}

func (h *host) is(a netip.Addr) bool { return slices.Contains(h.addrs, a) }

// conversation is a run of flows between two addresses on one service.
type conversation struct {
	from, to    netip.Addr
	port        uint16
	transport   string
	service     string
	start, end  time.Time
	flows       []flow  // by start
	tallies     []tally // by sensor
	established bool
	evidence    []event.ID         // earliest flows and transactions
	prints      map[string]bool    // what identifies its ends: see printsOf
	claims      map[netip.Addr]int // sources that what was passed on names, and how often
	earlier     int                // conversations of the same pair and service before
	failed      int                // logins that failed in those
	known       time.Time          // from when on its pair was looked at
	clients     int                // sources that use this service of this host
}

// tally is what one sensor saw of a conversation. Sensors see the same flow,
// so their tallies are compared, never added.
type tally struct {
	sensor   string
	flows    int
	bytes    uint64
	logins   int // successful, as far as an encrypted protocol shows
	failures int // of logins
	writes   int // changes to an industrial process
}

func (c *conversation) tallyOf(sensor string) *tally {
	for i := range c.tallies {
		if c.tallies[i].sensor == sensor {
			return &c.tallies[i]
		}
	}
	c.tallies = append(c.tallies, tally{sensor: sensor})
	return &c.tallies[len(c.tallies)-1]
}

// best is what the sensors saw that saw the most.
func (c *conversation) best() (b tally) {
	for _, t := range c.tallies {
		b.flows = max(b.flows, t.flows)
		b.bytes = max(b.bytes, t.bytes)
		b.logins = max(b.logins, t.logins)
		b.failures = max(b.failures, t.failures)
		b.writes = max(b.writes, t.writes)
	}
	return b
}

func (c *conversation) sensors() []string {
	var names []string
	for _, t := range c.tallies {
		names = append(names, t.sensor)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *conversation) note(id event.ID) {
	if len(c.evidence) < maxEvidence && !slices.Contains(c.evidence, id) {
		c.evidence = append(c.evidence, id)
	}
}

// service names one service of one pair, seen from one side.
type service struct {
	self, peer netip.Addr
	outbound   bool
	port       uint16
	transport  string
}

// serviceOf is the service that an event of a host is about.
func (h *host) serviceOf(e *event.Event) service {
	k := service{self: e.Flow.Src.IP, peer: e.Flow.Dst.IP, outbound: true, port: e.Flow.Dst.Port, transport: e.Get("network.transport").Str()}
	if !h.is(e.Flow.Src.IP) {
		k.self, k.peer, k.outbound = e.Flow.Dst.IP, e.Flow.Src.IP, false
	}
	if e.Flow.Transport == event.ProtoICMP || e.Flow.Transport == event.ProtoICMPv6 {
		k.port = 0 // the code of a message is no service
	}
	return k
}

// flow is what is kept of a flow event.
type flow struct {
	id           event.ID
	sensor       string
	community    string
	src, dst     netip.AddrPort
	start, end   time.Time
	bytes        uint64
	sent, got    uint64 // payload of the source, and of the destination
	ttl          uint8  // least of the source; 0 if not known
	established  bool
	service      string
	pulses       []uint32 // milliseconds since start; see tocsin.flow.pulses
	tunnel       string
	tunnelSource netip.Addr
	tunnelTarget netip.Addr
}

// fact is a transaction that says something about the conversation it is in.
type fact struct {
	id            event.ID
	sensor        string
	src           netip.AddrPort // of the connection
	at            time.Time
	login, failed bool
	write         bool
	prints        []string
	claims        []netip.Addr
}

var (
	refOutcome   = event.Resolve("event.outcome")
	refOperation = event.Resolve("ics.operation")
	refPulses    = event.Resolve("tocsin.flow.pulses")
	refTTL       = event.Resolve("tocsin.flow.source_ttl")
	refTunnel    = event.Resolve("tocsin.tunnel.type")
	refForwarded = event.Resolve("tocsin.http.forwarded_for")
)

// printRefs are the fields that identify what speaks at an end of a
// conversation, with what they are called.
var printRefs = []struct {
	ref  event.Ref
	kind string
}{
	{event.Resolve("tocsin.ssh.host_key.fingerprint"), "host key"},
	{event.Resolve("tls.server.hash.sha256"), "certificate"},
	{event.Resolve("tocsin.ssh.hassh"), "hassh"},
	{event.Resolve("tls.client.ja4"), "ja4"},
	{event.Resolve("tls.client.server_name"), "domain"},
}

func flowOf(e *event.Event) flow {
	f := flow{
		id: e.ID, sensor: e.Sensor, community: e.Flow.CommunityID,
		src: netip.AddrPortFrom(e.Flow.Src.IP, e.Flow.Src.Port), dst: netip.AddrPortFrom(e.Flow.Dst.IP, e.Flow.Dst.Port),
		start: e.Flow.Start, end: e.Flow.End, service: e.Flow.Service,
		bytes: e.Flow.Src.Bytes + e.Flow.Dst.Bytes, sent: e.Flow.Src.Payload, got: e.Flow.Dst.Payload,
		established: e.Flow.Src.Payload > 0 && e.Flow.Dst.Payload > 0,
	}
	if v, ok := e.Lookup(refTTL); ok {
		n, _ := v.Uint()
		f.ttl = uint8(n)
	}
	if v, ok := e.Lookup(refPulses); ok {
		for _, p := range listOf(v) {
			n, _ := p.Uint()
			f.pulses = append(f.pulses, uint32(n))
		}
	}
	if v, ok := e.Lookup(refTunnel); ok {
		for _, x := range listOf(v) {
			f.tunnel = x.Str() // the innermost
		}
		first := func(name string) (a netip.Addr) {
			for _, x := range listOf(e.Get(name)) {
				a, _ = x.IP()
			}
			return a
		}
		f.tunnelSource, f.tunnelTarget = first("tocsin.tunnel.source.ip"), first("tocsin.tunnel.destination.ip")
	}
	return f
}

// listOf is a value as a list: a list itself, or the one value.
func listOf(v event.Value) []event.Value {
	switch v.Type() {
	case event.TypeNone:
		return nil
	case event.TypeList:
		return v.List()
	}
	return []event.Value{v}
}

// factOf reads a transaction; most say nothing about their conversation.
func factOf(e *event.Event) (f fact, ok bool) {
	f = fact{id: e.ID, sensor: e.Sensor, src: netip.AddrPortFrom(e.Flow.Src.IP, e.Flow.Src.Port), at: e.Time}
	if v, ok := e.Lookup(refOutcome); ok && remote[string(e.Kind)] {
		f.login, f.failed = v.Str() == "success", v.Str() == "failure"
	}
	if v, ok := e.Lookup(refOperation); ok {
		switch v.Str() {
		case "write", "control", "program", "mode", "firmware":
			f.write = true
		}
	}
	for _, p := range printRefs {
		if v, ok := e.Lookup(p.ref); ok && v.Str() != "" {
			f.prints = append(f.prints, p.kind+" "+v.Str())
		}
	}
	if v, ok := e.Lookup(refForwarded); ok {
		for _, x := range listOf(v) {
			if a, ok := x.IP(); ok {
				f.claims = append(f.claims, a)
			}
		}
	}
	return f, f.login || f.failed || f.write || len(f.prints) > 0 || len(f.claims) > 0
}

// relevant is true of the events of a host that may bear on a path: what gives
// access, what a person may sit behind, logins, changes to a process, requests
// that were passed on, and all between it and whom alerts name with it.
// What is left out is most: a host may have millions of look-ups and polls.
var relevant = func() query.Or {
	var or query.Or
	for _, name := range remoteNames {
		or = append(or, query.Compare{Field: "network.protocol", Value: query.Literal{V: event.Str(name)}})
	}
	for _, port := range remotePortNumbers {
		or = append(or, query.Compare{Field: "destination.port", Value: query.Literal{V: event.Uint(uint64(port))}})
	}
	return append(or, query.Exists{Field: "tocsin.flow.pulses"}, query.Exists{Field: "event.outcome"}, query.Exists{Field: "tocsin.http.forwarded_for"})
}()

// changes is true of transactions that change a process.
var changes = func() query.Or {
	var or query.Or
	for _, name := range []string{"write", "control", "program", "mode", "firmware"} {
		or = append(or, query.Compare{Field: "ics.operation", Value: query.Literal{V: event.Str(name)}})
	}
	return or
}()

func involvesAny(addrs []netip.Addr) query.Node {
	if len(addrs) == 1 {
		return query.Involves(addrs[0])
	}
	var or query.Or
	for _, a := range addrs {
		is := query.Literal{V: event.IP(a)}
		or = append(or, query.Compare{Field: "source.ip", Value: is}, query.Compare{Field: "destination.ip", Value: is})
	}
	return or
}

// load gathers what the store knows of the host that has an address, nearest
// to a time.
func (b *builder) load(ctx context.Context, addr netip.Addr) (*host, error) {
	if h, ok := b.hosts[addr]; ok {
		return h, nil
	}
	h := &host{addr: addr, addrs: []netip.Addr{addr}, node: Node{Address: addr}}
	b.hosts[addr] = h
	if _, ok := b.met[addr]; !ok {
		if err := b.glance(ctx, h); err != nil {
			return nil, err
		}
		b.met[addr] = h.node
	}
	if err := b.aliases(ctx, h); err != nil {
		return nil, err
	}
	for _, a := range h.addrs {
		b.hosts[a] = h
	}
	if err := b.loadAlerts(ctx, h.addrs...); err != nil {
		return nil, err
	}
	h.alerts = b.alertsOf(h.addrs)
	own := involvesAny(h.addrs)
	which := slices.Clone(relevant)
	if peers := append(h.accused(), b.named[addr]...); len(peers) > 0 {
		which = append(which, involvesAny(peers))
	}
	which = append(which, changes)
	l := loading{h: h, flows: map[service][]flow{}, facts: map[service][]fact{}, seen: map[event.ID]bool{}}
	since, until, err := b.near(ctx, b.steps[addr])
	if err != nil {
		return nil, err
	}
	h.all = !since.After(b.from)
	for _, half := range []store.Query{
		{From: since, To: b.pivot, Desc: true}, // what is nearest to the act
		{From: b.pivot, To: until},
	} {
		if !half.From.Before(half.To) {
			continue
		}
		half.Set, half.Limit, half.Where = store.Events, maxRecords, query.And{own, which}
		n := 0
		for e, err := range b.s.Search(ctx, half) {
			if err != nil {
				return nil, err
			}
			n++
			l.take(b, &e)
		}
		h.cut = h.cut || n == maxRecords
	}
	if h.node.First.IsZero() {
		if err := b.glance(ctx, h); err != nil {
			return nil, err
		}
	}
	n := b.met[addr]
	h.node.Name, h.node.Zone = cmp.Or(h.node.Name, n.Name), cmp.Or(h.node.Zone, n.Zone)
	l.finish(since)
	return h, nil
}

// near is the stretch of time around the act that holds so many events that a
// host can be looked up in it at once: 200,000 before and 100,000 after, an hour
// at least either way. Each step back is eight times as many.
func (b *builder) near(ctx context.Context, steps int) (since, until time.Time, err error) {
	if b.hourly == nil {
		b.hourly, err = b.s.Count(ctx, store.Query{Set: store.Events, From: b.from, To: b.to}, store.By{Interval: time.Hour})
		if err != nil {
			return since, until, err
		}
		b.hourly = append(b.hourly, store.Bucket{})[:len(b.hourly)] // not nil
	}
	n, most := uint64(0), uint64(nearBefore)<<(3*steps)
	since, until = b.from, b.to
	for i := len(b.hourly) - 1; i >= 0; i-- {
		x := &b.hourly[i]
		if x.Time.After(b.pivot) {
			continue
		}
		if n += x.Count; n > most && x.Time.Add(time.Hour).Before(b.pivot.Add(-time.Hour)) {
			since = later(since, x.Time.Add(time.Hour))
			break
		}
	}
	n = 0
	for i := range b.hourly {
		x := &b.hourly[i]
		if x.Time.Add(time.Hour).Before(b.pivot) {
			continue
		}
		if n += x.Count; n > nearAfter && x.Time.After(b.pivot.Add(time.Hour)) {
			until = earlier(until, x.Time)
			break
		}
	}
	return since, until, nil
}

// wider looks a host up again further back. It reports false if everything was
// looked at, or that would take too long.
func (b *builder) wider(ctx context.Context, h *host) (*host, bool, error) {
	if h.all || b.wide >= mostWider {
		return h, false, nil
	}
	b.wide++
	for _, a := range h.addrs {
		delete(b.hosts, a)
	}
	b.steps[h.addr]++
	again, err := b.load(ctx, h.addr)
	return again, true, err
}

// loading gathers the events of one host.
type loading struct {
	h     *host
	flows map[service][]flow
	facts map[service][]fact
	seen  map[event.ID]bool
}

func (l *loading) take(b *builder, e *event.Event) {
	l.h.meet(e)
	b.meetPeers(e)
	k := l.h.serviceOf(e)
	if l.h.is(k.peer) || !k.peer.IsValid() {
		return
	}
	if e.Kind == event.KindFlow {
		f := flowOf(e)
		l.flows[k] = append(l.flows[k], f)
		if len(f.pulses) > 0 {
			b.pulsing[f.sensor] = true
		}
	} else if f, ok := factOf(e); ok {
		l.facts[k] = append(l.facts[k], f)
	}
}

func (l *loading) finish(since time.Time) {
	h := l.h
	for k, fs := range l.flows {
		// Knocking before a conversation is not its beginning.
		answered, knocks := fs[:0:0], fs[:0:0]
		for _, f := range fs {
			if f.established {
				answered = append(answered, f)
			} else {
				knocks = append(knocks, f)
			}
		}
		facts := l.facts[k]
		slices.SortFunc(facts, func(a, b fact) int { return cmp.Or(a.at.Compare(b.at), a.id.Compare(b.id)) })
		cs := slices.Concat(conversations(k, answered, facts), conversations(k, knocks, nil))
		if k.outbound {
			h.out = append(h.out, cs...)
		} else {
			h.in = append(h.in, cs...)
		}
	}
	slices.SortFunc(h.in, compareConversations)
	slices.SortFunc(h.out, compareConversations)
	countClients(h.in)
	for _, cs := range [][]*conversation{h.in, h.out} {
		failed := map[service]int{}
		for _, c := range cs {
			c.known = since
			k := service{self: c.to, peer: c.from, port: c.port, transport: c.transport}
			c.failed = failed[k]
			failed[k] += c.best().failures
		}
	}
}

// accused are the peers that alerts name together with the host, those of the
// gravest alerts first.
func (h *host) accused() []netip.Addr {
	worst := map[netip.Addr]int{}
	for _, a := range h.alerts {
		for _, list := range [][]netip.Addr{a.Sources, a.Targets} {
			for _, p := range list {
				if !h.is(p) {
					worst[p] = max(worst[p], a.Severity)
				}
			}
		}
	}
	peers := make([]netip.Addr, 0, len(worst))
	for p := range worst {
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(x, y netip.Addr) int { return cmp.Or(cmp.Compare(worst[y], worst[x]), x.Compare(y)) })
	return peers[:min(len(peers), maxPeers)]
}

// meet learns a host's name and zone from what enrichment said of it.
func (h *host) meet(e *event.Event) {
	side := "source"
	if !h.is(e.Flow.Src.IP) {
		side = "destination"
	}
	if h.node.Name == "" {
		h.node.Name = e.Get("tocsin." + side + ".name").Str()
	}
	if h.node.Zone == "" {
		h.node.Zone = e.Get("tocsin." + side + ".zone").Str()
	}
	h.node.at(cmp.Or(e.Flow.Start, e.Time), e.Time)
}

func (n *Node) at(first, last time.Time) {
	if n.First.IsZero() || first.Before(n.First) {
		n.First = first
	}
	if last.After(n.Last) {
		n.Last = last
	}
}

// meetPeers learns the zones and names of both ends of an event, so that a host
// need not be loaded to know whether it lies outside.
func (b *builder) meetPeers(e *event.Event) {
	for _, side := range [...]struct {
		addr netip.Addr
		name string
	}{{e.Flow.Src.IP, "source"}, {e.Flow.Dst.IP, "destination"}} {
		if _, ok := b.met[side.addr]; ok || !side.addr.IsValid() {
			continue
		}
		n := Node{Address: side.addr, Name: e.Get("tocsin." + side.name + ".name").Str(), Zone: e.Get("tocsin." + side.name + ".zone").Str()}
		b.met[side.addr] = n
	}
}

// outside reports whether an address is beyond the operator's networks, as far
// as what was read until now tells.
func (b *builder) outside(addr netip.Addr) bool {
	if h, ok := b.hosts[addr]; ok {
		return h.outside()
	}
	return outside(b.met[addr].Zone, addr)
}

// conversations joins the flows of one service that follow each other closely.
// A connection behind which a person may sit is a conversation of its own: two
// people may use one host at a time, and one goes on and the other does not.
func conversations(k service, fs []flow, facts []fact) []*conversation {
	slices.SortFunc(fs, func(a, b flow) int { return cmp.Or(a.start.Compare(b.start), a.id.Compare(b.id)) })
	personal := map[netip.AddrPort]bool{}
	for _, f := range fs {
		if len(f.pulses) >= minEvents {
			personal[f.src] = true // however other sensors saw it
		}
	}
	var cs []*conversation
	open := map[netip.AddrPort]*conversation{} // by the source, if it is a person's; else under none
	for _, f := range fs {
		var key netip.AddrPort
		if personal[f.src] {
			key = f.src
		}
		c := open[key]
		if c == nil || f.start.Sub(c.end) > sessionGap {
			c = &conversation{from: k.peer, to: k.self, port: k.port, transport: k.transport, start: f.start, end: f.end}
			if k.outbound {
				c.from, c.to = k.self, k.peer
			}
			open[key] = c
			cs = append(cs, c)
		}
		if f.end.After(c.end) {
			c.end = f.end
		}
		c.established = c.established || f.established
		c.service = cmp.Or(c.service, f.service)
		t := c.tallyOf(f.sensor)
		t.flows++
		t.bytes += f.bytes
		c.note(f.id)
		c.flows = append(c.flows, f)
	}
	for i, c := range cs {
		for _, d := range cs[:i] {
			if d.end.Before(c.start) {
				c.earlier++
			}
		}
	}
	for _, f := range facts {
		if c := whose(cs, &f); c != nil {
			c.learn(&f)
		}
	}
	return cs
}

// whose is the conversation that a fact is about: that with its very
// connection, or else, of what is not a person's, the one at its time.
func whose(cs []*conversation, f *fact) *conversation {
	var at *conversation
	for _, c := range cs {
		if c.start.After(f.at) {
			break
		}
		if f.at.After(c.end) {
			continue
		}
		for i := range c.flows {
			if g := &c.flows[i]; g.src == f.src && !g.start.After(f.at) && !g.end.Before(f.at) {
				return c
			}
		}
		if c.carriedBy() == nil {
			at = c
		}
	}
	return at
}

// learn adds to a conversation what a transaction says of it.
func (c *conversation) learn(f *fact) {
	t := c.tallyOf(f.sensor)
	switch {
	case f.login:
		t.logins++
	case f.failed:
		t.failures++
	}
	if f.write {
		t.writes++
	}
	for _, p := range f.prints {
		if c.prints == nil {
			c.prints = map[string]bool{}
		}
		c.prints[p] = true
	}
	for _, a := range f.claims {
		if c.claims == nil {
			c.claims = map[netip.Addr]int{}
		}
		c.claims[a]++
	}
	c.note(f.id)
}

func compareConversations(a, b *conversation) int {
	return cmp.Or(a.start.Compare(b.start), a.from.Compare(b.from), a.to.Compare(b.to), cmp.Compare(a.port, b.port), cmp.Compare(a.transport, b.transport))
}

// countClients notes how many sources were answered by each service of a host.
func countClients(in []*conversation) {
	type key struct {
		port      uint16
		transport string
	}
	sources := map[key]map[netip.Addr]bool{}
	for _, c := range in {
		k := key{c.port, c.transport}
		if sources[k] == nil {
			sources[k] = map[netip.Addr]bool{}
		}
		if c.established {
			sources[k][c.from] = true
		}
	}
	for _, c := range in {
		c.clients = len(sources[key{c.port, c.transport}])
	}
}

// loadAlerts reads the alerts about some addresses that were not read yet. Of an
// IPv6 address outside, those about its /64 are read as well: it changes.
func (b *builder) loadAlerts(ctx context.Context, addrs ...netip.Addr) error {
	var or query.Or
	for _, a := range addrs {
		if b.asked[a] {
			continue
		}
		b.asked[a] = true
		is := query.Literal{V: event.IP(a)}
		or = append(or, query.Compare{Field: "tocsin.alert.target", Value: is})
		if p := privacyPrefix(a); p.IsValid() {
			is = query.Literal{Text: p.String()}
		}
		or = append(or, query.Compare{Field: "tocsin.alert.source", Value: is})
	}
	if len(or) == 0 {
		return nil
	}
	q := store.Query{Set: store.Alerts, From: b.from, To: b.to, Limit: maxAlerts, Where: or}
	for e, err := range b.s.Search(ctx, q) {
		if err != nil {
			return err
		}
		if _, ok := b.alerts[e.ID]; ok {
			continue
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return err
		}
		if a.Triage.Verdict == "false_positive" {
			continue
		}
		b.alerts[a.ID] = &a
		for _, addr := range unionAddrs(a.Sources, a.Targets) {
			b.byAddr[addr] = append(b.byAddr[addr], &a)
		}
	}
	return nil
}

func unionAddrs(x, y []netip.Addr) []netip.Addr {
	u := slices.Concat(x, y)
	slices.SortFunc(u, netip.Addr.Compare)
	return slices.Compact(u)
}

// alertsOf are those read that name one of some addresses, by time.
func (b *builder) alertsOf(addrs []netip.Addr) []*event.Alert {
	var as []*event.Alert
	for _, a := range addrs {
		as = append(as, b.byAddr[a]...)
	}
	slices.SortFunc(as, compareAlerts)
	return slices.Compact(as)
}

func compareAlerts(a, b *event.Alert) int {
	return cmp.Or(a.First.Compare(b.First), a.ID.Compare(b.ID))
}

// about returns the alerts about what one address did to another.
func (b *builder) about(from, to netip.Addr) []*event.Alert {
	var as []*event.Alert
	for _, a := range b.byAddr[from] {
		if slices.Contains(a.Sources, from) && slices.Contains(a.Targets, to) {
			as = append(as, a)
		}
	}
	slices.SortFunc(as, compareAlerts)
	return as
}
