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
	maxRecords   = 200_000 // flows, logins and writes of one address
	maxAlerts    = 20_000  // of one address
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

// host is what the store knows of one address, gathered once.
type host struct {
	addr    netip.Addr
	in, out []*conversation // by start
	alerts  []*event.Alert  // by ID, in which it is a source or a target
	node    Node
	cut     bool // there was more than the bounds allow
}

// conversation is a run of flows between two addresses on one service.
type conversation struct {
	from, to    netip.Addr
	port        uint16
	transport   string
	service     string
	start, end  time.Time
	tallies     []tally // by sensor
	established bool
	evidence    []event.ID // earliest flows and transactions
	earlier     int        // conversations of the same pair and service before
	clients     int        // sources that use this service of this host
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
	peer      netip.Addr
	outbound  bool
	port      uint16
	transport string
}

// serviceOf is the service that an event of an address is about.
func serviceOf(e *event.Event, addr netip.Addr) service {
	k := service{peer: e.Flow.Dst.IP, outbound: true, port: e.Flow.Dst.Port, transport: e.Get("network.transport").Str()}
	if e.Flow.Src.IP != addr {
		k.peer, k.outbound = e.Flow.Src.IP, false
	}
	if e.Flow.Transport == event.ProtoICMP || e.Flow.Transport == event.ProtoICMPv6 {
		k.port = 0 // the code of a message is no service
	}
	return k
}

// flow is what is kept of a flow event until conversations are made of it.
type flow struct {
	id          event.ID
	sensor      string
	start, end  time.Time
	bytes       uint64
	established bool
	service     string
}

// fact is a transaction that says something about the conversation it is in.
type fact struct {
	id            event.ID
	sensor        string
	at            time.Time
	login, failed bool
	write         bool
}

var (
	refOutcome   = event.Resolve("event.outcome")
	refOperation = event.Resolve("ics.operation")
)

// factOf reads a transaction; most say nothing about their conversation.
func factOf(e *event.Event) (f fact, ok bool) {
	f = fact{id: e.ID, sensor: e.Sensor, at: e.Time}
	if v, ok := e.Lookup(refOutcome); ok && remote[string(e.Kind)] {
		f.login, f.failed = v.Str() == "success", v.Str() == "failure"
	}
	if v, ok := e.Lookup(refOperation); ok {
		switch v.Str() {
		case "write", "control", "program", "mode", "firmware":
			f.write = true
		}
	}
	return f, f.login || f.failed || f.write
}

// load gathers what the store knows of an address between two times.
func (b *builder) load(ctx context.Context, addr netip.Addr) (*host, error) {
	if h, ok := b.hosts[addr]; ok {
		return h, nil
	}
	h := &host{addr: addr, node: Node{Address: addr}}
	b.hosts[addr] = h
	flows := map[service][]flow{}
	facts := map[service][]fact{}
	kept := 0
	q := store.Query{
		Set: store.Events, From: b.from, To: b.to,
		Where: query.Involves(addr),
	}
	for e, err := range b.s.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		if kept == maxRecords {
			h.cut = true
			break
		}
		h.meet(&e)
		k := serviceOf(&e, addr)
		if k.peer == addr || !k.peer.IsValid() {
			continue
		}
		switch e.Kind {
		case event.KindFlow:
			kept++
			flows[k] = append(flows[k], flow{
				id: e.ID, sensor: e.Sensor, start: e.Flow.Start, end: e.Flow.End, service: e.Flow.Service,
				bytes:       e.Flow.Src.Bytes + e.Flow.Dst.Bytes,
				established: e.Flow.Src.Payload > 0 && e.Flow.Dst.Payload > 0,
			})
		default:
			if f, ok := factOf(&e); ok {
				kept++
				facts[k] = append(facts[k], f)
			}
		}
	}
	for k, fs := range flows {
		// Knocking before a conversation is not its beginning.
		answered, knocks := fs[:0:0], fs[:0:0]
		for _, f := range fs {
			if f.established {
				answered = append(answered, f)
			} else {
				knocks = append(knocks, f)
			}
		}
		cs := slices.Concat(conversations(addr, k, answered, facts[k]), conversations(addr, k, knocks, nil))
		if k.outbound {
			h.out = append(h.out, cs...)
		} else {
			h.in = append(h.in, cs...)
		}
	}
	slices.SortFunc(h.in, compareConversations)
	slices.SortFunc(h.out, compareConversations)
	countClients(h.in)
	return h, b.loadAlerts(ctx, h)
}

// meet learns an address's name and zone from what enrichment said of it.
func (h *host) meet(e *event.Event) {
	side := "source"
	if e.Flow.Src.IP != h.addr {
		side = "destination"
	}
	if h.node.Name == "" {
		h.node.Name = e.Get("tocsin." + side + ".name").Str()
	}
	if h.node.Zone == "" {
		h.node.Zone = e.Get("tocsin." + side + ".zone").Str()
	}
	if start := cmp.Or(e.Flow.Start, e.Time); h.node.First.IsZero() || start.Before(h.node.First) {
		h.node.First = start
	}
	if e.Time.After(h.node.Last) {
		h.node.Last = e.Time
	}
}

// conversations joins the flows of one service that follow each other closely.
func conversations(addr netip.Addr, k service, fs []flow, facts []fact) []*conversation {
	slices.SortFunc(fs, func(a, b flow) int { return cmp.Or(a.start.Compare(b.start), a.id.Compare(b.id)) })
	var cs []*conversation
	var c *conversation
	for _, f := range fs {
		if c == nil || f.start.Sub(c.end) > sessionGap {
			c = &conversation{from: k.peer, to: addr, port: k.port, transport: k.transport, start: f.start, end: f.end, earlier: len(cs)}
			if k.outbound {
				c.from, c.to = addr, k.peer
			}
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
	}
	for _, f := range facts {
		for _, c := range cs {
			if f.at.Before(c.start) || f.at.After(c.end) {
				continue
			}
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
			c.note(f.id)
			break
		}
	}
	return cs
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

func (b *builder) loadAlerts(ctx context.Context, h *host) error {
	is := query.Literal{V: event.IP(h.addr)}
	q := store.Query{
		Set: store.Alerts, From: b.from, To: b.to, Limit: maxAlerts,
		Where: query.Or{query.Compare{Field: "tocsin.alert.source", Value: is}, query.Compare{Field: "tocsin.alert.target", Value: is}},
	}
	for e, err := range b.s.Search(ctx, q) {
		if err != nil {
			return err
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return err
		}
		if a.Triage.Verdict == "false_positive" {
			continue
		}
		h.alerts = append(h.alerts, &a)
	}
	return nil
}

// about returns the alerts about what one address did to another.
func (h *host) about(from, to netip.Addr) []*event.Alert {
	var as []*event.Alert
	for _, a := range h.alerts {
		if slices.Contains(a.Sources, from) && slices.Contains(a.Targets, to) {
			as = append(as, a)
		}
	}
	return as
}
