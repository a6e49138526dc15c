package sensor

import (
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/flow"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/stream"
)

// shard is everything that is kept about a part of the address pairs. Its
// bounds are its own, so what it does at them does not depend on the others.
type shard struct {
	w       *worker
	number  int
	flows   *flow.Table
	budget  stream.Budget
	arps    arps
	talks   []*conversation // by slot of the flow; nil where there is none
	idle    []*conversation // to use again
	talking int
	floods  floods
	mute    [2]bool // no protocol over TCP, or over UDP, is looked for

	fields     []event.Field       // of the event at hand
	signatures map[flow.SYN]string // written
	offered    [2]offer            // by the destination and the source of the last flow

	// Of the conversation at hand, for emit.
	talk   *conversation
	record *flow.Record
	out    *proto.Out
}

func newShard(w *worker, number int) *shard {
	cfg := w.cfg
	sh := &shard{w: w, number: number, signatures: map[flow.SYN]string{}, mute: [2]bool{true, true}}
	fc := cfg.Flow
	fc.MaxFlows /= Shards
	fc.Memory = &w.memory
	for i := range cfg.Protocols {
		p := &cfg.Protocols[i]
		sh.mute[0] = sh.mute[0] && p.Transport&proto.TCP == 0
		sh.mute[1] = sh.mute[1] && p.Transport&proto.UDP == 0
		fc.TCPServers, fc.UDPServers = ports(fc.TCPServers, fc.UDPServers, p)
	}
	sh.flows = flow.New(fc, sh.ended)
	sh.budget = stream.Budget{PerHalf: cfg.StreamBytes, Total: cfg.StreamTotal / Shards}
	sh.arps = arps{sh: sh, seen: map[arpKey]*arpState{}}
	sh.out = proto.NewOut(nil, sh.transaction)
	return sh
}

// advance runs the timers.
func (sh *shard) advance(now int64) {
	sh.flows.Advance(now)
	sh.arps.advance(now)
}

// close ends everything.
func (sh *shard) close() {
	sh.flows.Close()
	sh.arps.close()
}

// ip takes a packet with an IP header, whose flow was looked up.
func (sh *shard) ip(l *flow.Lookup, p *packet.Packet) {
	sh.flows.Advance(sh.w.clock.steady)
	r, side := sh.flows.Take(l, p)
	switch p.Proto {
	case packet.ProtoTCP:
		if !sh.mute[0] || !sh.inOrder(r, side, p) {
			sh.tcp(r, side, p)
		}
	case packet.ProtoUDP:
		if !sh.mute[1] {
			sh.udp(r, side, p)
		}
	}
}

// inOrder follows a stream that nobody wants to read. It reports false if that
// takes a conversation.
func (sh *shard) inOrder(r *flow.Record, side int, p *packet.Packet) bool {
	switch r.Mark {
	case 0:
		if p.PayloadLen == 0 || p.TCP.Flags&packet.RST != 0 {
			return true // see tcp
		}
		r.Mark = followed
		r.BeginOrder()
	case followed:
	default:
		return false
	}
	if r.Follow(side, p) {
		return true
	}
	r.Mark = disordered
	c := sh.converse(r)
	if c == nil {
		return true
	}
	for s := range c.sides {
		if next, started, delivered, finished := r.Order(s); started {
			c.sides[s].half.Resume(next, delivered, finished)
		}
	}
	return false
}

// carrier takes a datagram of a tunnel: its flow is counted, and its content
// is seen to elsewhere.
func (sh *shard) carrier(c *packet.Packet, l *packet.Layer) {
	sh.flows.Advance(sh.w.clock.steady)
	r, _ := sh.flows.Packet(c)
	for i, kind := range carriers {
		if kind.Kind == l.Kind {
			r.Mark = carrying + uint8(i)
		}
	}
}

// carriers are the tunnels over UDP. Their flows have their names for a service.
var carriers = [...]packet.Layer{{Kind: packet.VXLAN}, {Kind: packet.Geneve}, {Kind: packet.GTPU}, {Kind: packet.Teredo}, {Kind: packet.L2TP}}

// Marks on records.
const (
	unparsed   = 1 + iota // there were too many conversations
	ignored               // the datagrams are of no protocol
	followed              // the record follows the stream's order
	disordered            // it did, and now a conversation does
	carrying              // the datagrams are of the tunnel carriers[Mark-carrying]
)

// converse returns the conversation of a flow, and begins it if need be. It
// returns nil if there are too many.
func (sh *shard) converse(r *flow.Record) *conversation {
	if int(r.Slot) >= len(sh.talks) {
		sh.talks = append(sh.talks, make([]*conversation, int(r.Slot)+1-len(sh.talks))...)
	}
	if c := sh.talks[r.Slot]; c != nil {
		return c
	}
	if sh.talking >= sh.w.cfg.MaxConversations/Shards {
		r.Mark = unparsed
		return nil
	}
	var c *conversation
	if n := len(sh.idle); n > 0 {
		c, sh.idle = sh.idle[n-1], sh.idle[:n-1]
	} else {
		c = new(conversation)
	}
	c.begin(sh.w.knows, &sh.budget, r)
	sh.talks[r.Slot] = c
	sh.talking++
	return c
}

func (sh *shard) talkOf(r *flow.Record) *conversation {
	if int(r.Slot) >= len(sh.talks) {
		return nil
	}
	return sh.talks[r.Slot]
}

// ended reports a flow: for good, or for now if the reason is flow.Active.
func (sh *shard) ended(r *flow.Record, why flow.Reason) {
	w := sh.w
	c := sh.talkOf(r)
	if why != flow.Active {
		if c != nil {
			sh.finish(c, r)
		}
		a := w.account(r.Iface())
		a[countFlows]++
		if why == flow.Evicted {
			a[countEvicted]++
		}
		if sh.floods.take(r, sh.flows.Evicting()) {
			a[countFlooded]++
			if c != nil {
				sh.forget(c, r)
			}
			return
		}
		if r.Mark == unparsed {
			a[countConversations]++
		}
	}
	if w.cfg.CountOnly {
		w.account(r.Iface())[countEvents]++
		w.tally.flow(r)
		if why != flow.Active && c != nil {
			sh.forget(c, r)
		}
		return
	}
	e := w.blank()
	e.Kind, e.Flow = event.KindFlow, r.Flow()
	e.Time, e.Flow.EndReason, e.Flow.Service = e.Flow.End, why.String(), sh.service(r)
	sh.fields = sh.tunnelFields(c, r, sh.flowFields(c, r, sh.fields[:0]))
	if len(sh.fields) > 0 {
		e.Fields = sh.fields
	}
	e.Flow.CommunityID = sh.communityID(c, &e.Flow)
	sh.publish(e, r, uint64(r.Reports))
	w.relieve()
	if c != nil {
		c.pulses = c.pulses[:0]
	}
	if why != flow.Active && c != nil {
		sh.forget(c, r)
	}
}

// service is the protocol that a flow speaks, "" if none was recognised.
func (sh *shard) service(r *flow.Record) string {
	if r.Mark >= carrying {
		return carriers[r.Mark-carrying].Name()
	}
	if c := sh.talkOf(r); c != nil {
		return c.service
	}
	return ""
}

// tunnelFields appends what an event of a flow says of the tunnels it is in.
// A conversation, if there is one, keeps the fields.
func (sh *shard) tunnelFields(c *conversation, r *flow.Record, fs []event.Field) []event.Field {
	layers, sender := sh.flows.Tunnels(r)
	if len(layers) == 0 {
		return fs
	}
	if c != nil && c.tunnel != nil {
		return append(slices.Clip(fs), c.tunnel...) // fs may be a part of what a parser keeps
	}
	var names, sources, destinations, ids []event.Value
	for i := range layers {
		l := &layers[i]
		src, dst := l.Src, l.Dst
		if r.Dir(sender) != proto.Orig {
			src, dst = dst, src
		}
		names = append(names, event.Str(l.Name()))
		sources, destinations = append(sources, event.IP(src)), append(destinations, event.IP(dst))
		if l.HasID {
			ids = append(ids, event.Uint(uint64(l.ID)))
		}
	}
	tunnel := []event.Field{
		{Name: "tocsin.tunnel.type", Value: event.List(names...)},
		{Name: "tocsin.tunnel.source.ip", Value: event.List(sources...)},
		{Name: "tocsin.tunnel.destination.ip", Value: event.List(destinations...)},
	}
	if len(ids) > 0 {
		tunnel = append(tunnel, event.Field{Name: "tocsin.tunnel.id", Value: event.List(ids...)})
	}
	if c != nil {
		c.tunnel = tunnel
	}
	return append(slices.Clip(fs), tunnel...)
}

// forget ends a conversation, not its flow.
func (sh *shard) forget(c *conversation, r *flow.Record) {
	c.close(&sh.budget)
	sh.talks[r.Slot] = nil
	sh.talking--
	if len(sh.idle) < maxIdle {
		sh.idle = append(sh.idle, c)
	}
}

// maxIdle is how many ended conversations a shard keeps to use their memory again.
const maxIdle = 256

func (sh *shard) communityID(c *conversation, f *event.Flow) string {
	if c == nil {
		return packet.CommunityID(f.Src.IP, f.Dst.IP, f.Transport, f.Src.Port, f.Dst.Port)
	}
	if c.communityID == "" {
		c.communityID = packet.CommunityID(f.Src.IP, f.Dst.IP, f.Transport, f.Src.Port, f.Dst.Port)
	}
	return c.communityID
}

// publish completes an event of a flow: who saw it, and its identity.
func (sh *shard) publish(e *event.Event, r *flow.Record, ordinal uint64) {
	t := sh.w.tap(r.Iface())
	e.Sensor, e.Iface = t.sensor, t.name
	h := sh.w.hasher
	h.Reset()
	h.Str(t.sensor)
	h.Str(string(e.Kind))
	src, dst := e.Flow.Src.IP.As16(), e.Flow.Dst.IP.As16()
	h.Bytes(src[:])
	h.Bytes(dst[:])
	h.Uint(uint64(e.Flow.Src.Port)<<32 | uint64(e.Flow.Dst.Port)<<16 | uint64(e.Flow.Transport))
	h.Uint(uint64(e.Flow.VLAN)<<16 | uint64(e.Flow.InnerVLAN))
	h.Time(e.Flow.Start)
	h.Uint(uint64(r.Generation))
	h.Uint(ordinal)
	e.ID = h.ID(e.Time)
	sh.w.emit(e, r.Iface())
}

// transaction takes an event of a parser.
func (sh *shard) transaction(at time.Time, fields []event.Field) {
	c, r := sh.talk, sh.record
	if sh.w.cfg.CountOnly {
		sh.w.account(r.Iface())[countEvents]++
		sh.w.tally.protocols[c.protocol]++
		return
	}
	e := sh.w.blank()
	e.Time, e.Kind, e.Flow, e.Fields = at.UTC(), sh.w.cfg.Protocols[c.protocol].Name, r.Tuple(), sh.tunnelFields(c, r, fields)
	e.Flow.Service = c.service
	e.Flow.CommunityID = sh.communityID(c, &e.Flow)
	sh.publish(e, r, c.transactions)
	c.transactions++
}
