package storetest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// Start is when generated traffic begins: just before midnight, and not at the
// beginning of a minute.
var Start = time.Date(2026, 11, 22, 23, 50, 7, 123456789, time.UTC)

// Schema documents the fields of generated events.
func Schema() *event.Schema {
	s, err := event.NewSchema([]event.FieldDoc{
		{Name: "dns.question.name", Type: event.Keyword, Class: event.ClassPersonal},
		{Name: "dns.resolved_ip", Type: event.IPType, Class: event.ClassTopology},
		{Name: "dns.response_code", Type: event.Keyword, Class: event.ClassTechnical},
		{Name: "dns.answers", Type: event.Nested, Class: event.ClassTechnical},
		{Name: "dns.answers.data", Type: event.Keyword, Class: event.ClassTechnical},
		{Name: "dns.answers.ttl", Type: event.Long, Class: event.ClassTechnical},
		{Name: "ics.protocol", Type: event.Keyword, Class: event.ClassTechnical},
		{Name: "ics.function.code", Type: event.Long, Class: event.ClassTechnical},
		{Name: "ics.latency", Type: event.Double, Class: event.ClassTechnical},
		{Name: "ics.broadcast", Type: event.Boolean, Class: event.ClassTechnical},
	})
	if err != nil {
		panic(err) // the list above is a constant
	}
	return s
}

// Generator makes traffic: mostly flows, some DNS and Modbus. The same seed
// gives the same events.
type Generator struct {
	r     *rand.Rand
	h     *event.Hasher
	at    time.Time
	n     uint64
	Step  time.Duration // mean time between events
	Hosts int           // addresses on either side

	FlowsOnly bool
}

// NewGenerator makes one that begins at Start.
func NewGenerator(seed uint64) *Generator {
	return &Generator{r: rand.New(rand.NewPCG(seed, 1)), h: event.NewHasher(), at: Start, Step: 50 * time.Millisecond, Hosts: 40}
}

func (g *Generator) addr(net byte) netip.Addr {
	n := g.r.IntN(g.Hosts)
	if n%8 == 7 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, net, 0, 0, 0, 0, 0, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)})
	}
	return netip.AddrFrom4([4]byte{10, net + byte(n>>16), byte(n >> 8), byte(n)})
}

// Event makes the next event. Times grow on the whole, and jump back a little
// now and then, as those of finished flows do.
func (g *Generator) Event() event.Event {
	r := g.r
	g.n++
	g.at = g.at.Add(time.Duration(r.Int64N(int64(2 * g.Step))))
	at := g.at.Add(-time.Duration(r.Int64N(int64(20 * g.Step))))
	e := event.Event{Time: at, Sensor: "border", Iface: "eth0", Kind: event.KindFlow}
	if r.IntN(3) == 0 {
		e.Sensor = "substation"
	}
	f := &e.Flow
	f.Src = event.Endpoint{IP: g.addr(1), Port: uint16(1024 + r.IntN(60000)), MAC: event.MAC{2, 0, 0, 0, 0, byte(r.IntN(8))}}
	f.Dst = event.Endpoint{IP: g.addr(2), Port: []uint16{53, 80, 443, 502, 22}[r.IntN(5)], MAC: event.MAC{2, 0, 0, 0, 1, byte(r.IntN(8))}}
	f.Transport = event.ProtoTCP
	f.Start, f.End = at.Add(-time.Duration(r.Int64N(int64(time.Minute)))), at
	var digest [20]byte
	for i := range digest {
		digest[i] = byte(r.Uint32())
	}
	f.CommunityID = communityID(digest)
	switch k := r.IntN(10); {
	case k < 7 || g.FlowsOnly:
		f.Service = []string{"http", "tls", "", "ssh"}[r.IntN(4)]
		f.State = []string{"SF", "S0", "REJ", "RSTO"}[r.IntN(4)]
		f.History = []string{"ShADadFf", "S", "Sr", "ShADadR"}[r.IntN(4)]
		f.EndReason = []string{"fin", "idle", "rst"}[r.IntN(3)]
		f.Src.Packets, f.Dst.Packets = 1+r.Uint64N(40), r.Uint64N(60)
		f.Src.Bytes, f.Dst.Bytes = 60*f.Src.Packets+r.Uint64N(9000), 60*f.Dst.Packets+r.Uint64N(50000)
		f.Src.Payload, f.Dst.Payload = f.Src.Bytes-40*f.Src.Packets, f.Dst.Bytes/2
	case k < 9:
		e.Kind, f.Transport, f.Dst.Port, f.Service = "dns", event.ProtoUDP, 53, "dns"
		e.Set("dns.question.name", event.Str(fmt.Sprintf("%s%d.example.%s", []string{"www", "Mail", "a*b", "例"}[r.IntN(4)], r.IntN(30), []string{"com", "org"}[r.IntN(2)])))
		e.Set("dns.response_code", event.Str([]string{"NOERROR", "NXDOMAIN"}[r.IntN(2)]))
		if r.IntN(2) == 0 {
			e.Set("dns.resolved_ip", event.List(event.IP(g.addr(3)), event.IP(g.addr(2))))
			e.Set("dns.answers", event.List(
				event.Object(event.Field{Name: "data", Value: event.Str("10.3.0.1")}, event.Field{Name: "ttl", Value: event.Int(int64(r.IntN(600)))}),
				event.Object(event.Field{Name: "data", Value: event.Str("x.example.com")})))
		}
	default:
		e.Kind, f.Dst.Port, f.Service = "modbus", 502, "modbus"
		e.Set("ics.protocol", event.Str("modbus"))
		e.Set("ics.function.code", event.Int(int64(1+r.IntN(16))))
		e.Set("ics.latency", event.Float(float64(r.IntN(1000))/1000))
		e.Set("ics.broadcast", event.Bool(r.IntN(10) == 0))
	}
	g.h.Reset()
	g.h.Uint(g.n)
	g.h.Str(f.CommunityID)
	e.ID = g.h.ID(at)
	return e
}

// Events makes n events.
func (g *Generator) Events(n int) []event.Event {
	es := make([]event.Event, n)
	for i := range es {
		es[i] = g.Event()
	}
	return es
}

// Alert makes an alert about some of the events.
func (g *Generator) Alert(es []event.Event) event.Alert {
	r := g.r
	e := es[r.IntN(len(es))]
	g.h.Reset()
	g.h.Str("alert")
	g.h.Uint(g.n)
	g.n++
	sev := 1 + r.IntN(100)
	return event.Alert{
		ID: g.h.ID(e.Time), Rule: event.Rule{ID: fmt.Sprintf("rule-%d", r.IntN(5)), Name: "A rule", Ruleset: "sigma", Version: "1", Hash: "00ff"},
		Severity: sev, Level: event.LevelOf(sev), Message: "Something happened to " + e.Flow.Dst.IP.String(),
		Techniques: []event.Technique{{ID: "T0855", Name: "Unauthorized Command Message", Tactics: []string{"Impair Process Control"}}},
		Sources:    []netip.Addr{e.Flow.Src.IP}, Targets: []netip.Addr{e.Flow.Dst.IP}, Sensors: []string{e.Sensor},
		Count: 1, First: e.Time, Last: e.Time, Evidence: []event.ID{e.ID},
		Explain: []event.Explain{{Field: "destination.port", Predicate: "= 502", Value: "502"}},
	}
}

// Where makes a query of generated events.
func (g *Generator) Where(es []event.Event, depth int) query.Node {
	r := g.r
	e := &es[r.IntN(len(es))]
	lit := func(s string) query.Literal { return query.Literal{Text: s, Quoted: true} }
	wild := func(s string) query.Literal { return query.Literal{Text: s} }
	op := query.Op(r.IntN(5))
	if depth > 0 {
		list := func() []query.Node {
			ns := make([]query.Node, r.IntN(4))
			for i := range ns {
				ns[i] = g.Where(es, depth-1)
			}
			return ns
		}
		switch r.IntN(5) {
		case 0:
			return query.And(list())
		case 1:
			return query.Or(list())
		case 2:
			return query.Not{Node: g.Where(es, depth-1)}
		}
	}
	side := []string{"source.ip", "destination.ip", "dns.resolved_ip", "source.*", "*.ip", "related.ip"}[r.IntN(6)]
	switch r.IntN(19) {
	case 0:
		return query.Compare{Field: side, Value: lit(e.Flow.Src.IP.String())}
	case 1:
		return query.Compare{Field: side, Value: lit(e.Flow.Dst.IP.String())}
	case 2:
		return query.Compare{Field: side, Op: op, Value: lit([]string{"10.1.0.0/28", "10.0.0.0/8", "2001:db8::/32", "::/0", "0.0.0.0/0"}[r.IntN(5)])}
	case 3:
		return query.Compare{Field: "event.dataset", Value: lit("tocsin." + []string{"flow", "dns", "modbus", "alert", "none"}[r.IntN(5)])}
	case 4:
		return query.Compare{Field: "destination.port", Op: op, Value: lit([]string{"53", "443", "100", "80.5", "x"}[r.IntN(5)])}
	case 5:
		return query.Compare{Field: "source.bytes", Op: op, Value: lit(fmt.Sprint(r.IntN(5000)))}
	case 6:
		return query.Compare{Field: "dns.question.name", Value: lit(fmt.Sprintf("www%d.example.com", r.IntN(40)))}
	case 7:
		return query.Compare{Field: "dns.question.name", Value: wild([]string{"www1*", "*.org", "Mail?.*", `a\*b*`, "例*", "mail*"}[r.IntN(6)])}
	case 8:
		return query.Compare{Field: "dns.answers.ttl", Op: op, Value: lit("300")}
	case 9:
		return query.Compare{Field: "ics.latency", Op: op, Value: lit("0.5")}
	case 10:
		return query.Compare{Field: "ics.broadcast", Value: lit("true")}
	case 11:
		return query.Compare{Field: "network.community_id", Value: lit(e.Flow.CommunityID)}
	case 12:
		return query.Compare{Field: "event.id", Op: op, Value: lit(e.ID.String())}
	case 13:
		return query.Compare{Field: "@timestamp", Op: op, Value: lit([]string{e.Time.Format(time.RFC3339Nano), e.Time.Format("2006-01-02T15:04"), "2026-11-22", "2026"}[r.IntN(4)])}
	case 14:
		return query.Exists{Field: []string{"dns.answers", "dns.resolved_ip", "source.bytes", "dns.*", "network.protocol", "none", "event.kind"}[r.IntN(7)]}
	case 15:
		return query.Text{Pattern: []string{"MAIL1", "nxdomain", "443", "10.1.0.3", "w*7.example", "例", "zzz", "impair"}[r.IntN(8)]}
	case 16:
		return query.Compare{Field: "event.severity", Op: op, Value: lit("50")}
	case 17:
		return query.Compare{Field: []string{"observer.name", "network.protocol", "tocsin.flow.state", "event.kind", "event.type"}[r.IntN(5)], Value: lit([]string{"border", "dns", "SF", "alert", "connection"}[r.IntN(5)])}
	}
	return query.Compare{Field: "dns.answers.data", Value: lit([]string{"10.3.0.1", "x.example.com", "none"}[r.IntN(3)])}
}

// Query makes a query with bounds.
func (g *Generator) Query(es []event.Event) store.Query {
	r := g.r
	q := store.Query{Set: store.Set(r.IntN(3)), Desc: r.IntN(2) == 0}
	if r.IntN(8) > 0 {
		q.Where = g.Where(es, r.IntN(3))
	}
	at := func() time.Time {
		t := es[r.IntN(len(es))].Time
		if r.IntN(2) == 0 {
			t = t.Truncate(time.Minute)
		}
		return t
	}
	if r.IntN(3) == 0 {
		q.From = at()
	}
	if r.IntN(3) == 0 {
		q.To = at()
	}
	if r.IntN(3) == 0 {
		q.Limit = 1 + r.IntN(30)
	}
	if r.IntN(4) == 0 {
		q.After = es[r.IntN(len(es))].Place()
	}
	return q
}
