package sensor

import (
	"math/bits"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/flow"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/stream"
)

// maxDatagrams is in how many datagrams of a UDP flow a protocol is looked for.
const maxDatagrams = 8

// phase is how far the recognition of a flow's protocol is.
type phase uint8

const (
	probing phase = iota
	parsing
	ignoring // no protocol, or its parser has given up
)

// conversation is what is known of a flow whose content is looked at. Sides
// are those of the flow's record.
type conversation struct {
	phase        phase
	protocol     int // index into Config.Protocols, if parsing was ever reached
	usual        set // protocols that are usual on one of the flow's ports
	parser       proto.Parser
	service      string
	communityID  string        // "" until it is needed
	tunnel       []event.Field // what events say of tunnels; nil until it is needed
	transactions uint64
	datagrams    int      // probed
	spoke        int64    // when data came last, nanoseconds since 1970
	pulses       []uint32 // when data came after a pause, milliseconds since the flow's start
	sides        [2]talkSide
}

// talkSide is one direction of a conversation.
type talkSide struct {
	half    *stream.Half // nil over UDP
	pending stream.Pending
	maybe   set   // protocols that this side's first bytes may still be
	skipped int   // bytes that no protocol wanted while the other side was waited for
	entropy uint8 // of first bytes that are of no protocol, in hundredths; 0 if not measured
}

// ports adds a protocol's ports to those that tell who is the responder.
func ports(tcp, udp []uint16, p *proto.Protocol) ([]uint16, []uint16) {
	if p.Transport&proto.TCP != 0 {
		tcp = append(slices.Clip(tcp), p.Ports...)
	}
	if p.Transport&proto.UDP != 0 {
		udp = append(slices.Clip(udp), p.Ports...)
	}
	return tcp, udp
}

// begin makes a conversation ready for a flow.
func (c *conversation) begin(k *knowledge, b *stream.Budget, r *flow.Record) {
	tcp := r.Transport() == packet.ProtoTCP
	known := &k.udp
	if tcp {
		known = &k.tcp
		if c.sides[0].half == nil {
			halves := new([2]stream.Half)
			c.sides[0].half, c.sides[1].half = &halves[0], &halves[1]
		}
	}
	c.usual = known.ports[r.Port(0)] | known.ports[r.Port(1)]
	for s := range c.sides {
		c.sides[s].maybe = known.all
		// What a flow said while there was no room for it has passed, and is not
		// missing.
		if first, ok := r.SYN(s); ok && tcp && r.Mark != unparsed {
			c.sides[s].half.Syn(first - 1)
		}
	}
	if known.all == 0 {
		c.ignore(b)
	}
}

// close gives back what a conversation holds and makes it as new.
func (c *conversation) close(b *stream.Budget) {
	old, pulses := c.sides, c.pulses[:0]
	*c = conversation{pulses: pulses}
	for s := range old {
		if old[s].half != nil {
			old[s].half.Close(b)
		}
		old[s].pending.Reset(b)
		c.sides[s].half = old[s].half
	}
}

// ignore stops looking at content.
func (c *conversation) ignore(b *stream.Budget) {
	c.phase, c.parser = ignoring, nil
	for s := range c.sides {
		if c.sides[s].half != nil {
			c.sides[s].half.Discard = true
		}
		c.sides[s].pending.Reset(b)
	}
}

// tcp takes a segment into its conversation.
func (sh *shard) tcp(r *flow.Record, side int, p *packet.Packet) {
	c := sh.talkOf(r)
	if c == nil {
		if p.PayloadLen == 0 || p.TCP.Flags&packet.RST != 0 {
			return // where streams begin, the record remembers
		}
		if c = sh.converse(r); c == nil {
			return
		}
	}
	if p.TCP.Flags&packet.RST != 0 {
		return // its numbers are not to be trusted, and its text is no data
	}
	if p.PayloadLen > 0 {
		c.pulse(r.Span())
	}
	sh.talk, sh.record = c, r
	if p.TCP.Flags&packet.ACK != 0 && c.sides[side^1].half.Ack(p.TCP.Ack) && sh.deliver(c, r, side^1, p.Time) {
		r.Gap(side ^ 1)
	}
	half := c.sides[side].half
	seq := p.TCP.Seq
	data := p.Payload[:min(len(p.Payload), p.PayloadLen)]
	if p.TCP.Flags&(packet.SYN|packet.FIN) == 0 && half.Skip(seq, len(data)) {
		return
	}
	if p.TCP.Flags&packet.SYN != 0 {
		half.Syn(seq)
		seq++
	}
	overflows, conflicts := half.Counters.Overflows, half.Counters.Conflicting
	half.Push(&sh.budget, seq, data)
	if len(data) > 0 {
		sh.deliver(c, r, side, p.Time)
	}
	if p.TCP.Flags&packet.FIN != 0 {
		half.Fin(seq + uint32(p.PayloadLen))
	}
	if half.Counters.Overflows != overflows || half.Counters.Conflicting != conflicts {
		a := sh.w.account(r.Iface())
		a[countOverflows] += half.Counters.Overflows - overflows
		a[countConflicts] += half.Counters.Conflicting - conflicts
	}
}

// deliver gives what is in order in one direction to whom it concerns. It
// reports whether there was a gap.
func (sh *shard) deliver(c *conversation, r *flow.Record, side int, now time.Time) (gap bool) {
	s := &c.sides[side]
	for {
		piece, ok := s.half.Next(&sh.budget)
		if !ok {
			return gap
		}
		if piece.Gap > 0 {
			gap = true
			a := sh.w.account(r.Iface())
			a[countGaps]++
			a[countMissed] += uint64(piece.Gap)
		}
		switch c.phase {
		case probing:
			if piece.Gap > 0 {
				// What began before the gap cannot be told any more.
				s.skipped += s.pending.Len() + piece.Gap
				s.pending.Reset(&sh.budget)
			} else {
				sh.probe(c, r, side, piece.Data, now)
			}
		case parsing:
			if piece.Gap > 0 {
				s.pending.Reset(&sh.budget)
				sh.gap(c, r.Dir(side), piece.Gap)
			} else {
				sh.parse(c, r, side, piece.Data, now)
			}
		}
	}
}

// probe looks for the protocol of a stream in its first bytes.
func (sh *shard) probe(c *conversation, r *flow.Record, side int, data []byte, now time.Time) {
	s := &c.sides[side]
	if s.maybe == 0 {
		s.skipped += len(data)
		return
	}
	b := s.pending.Join(data)
	found := sh.recognise(c, r, side, b[:min(len(b), proto.MaxProbe)])
	if found < 0 {
		if s.maybe != 0 && len(b) < proto.MaxProbe {
			s.pending.Keep(&sh.budget, b)
			return
		}
		s.entropy = entropy(b)
		if c.sides[side^1].maybe == 0 {
			c.ignore(&sh.budget)
			return
		}
		s.maybe = 0
		s.skipped += len(b)
		s.pending.Reset(&sh.budget)
		return
	}
	sh.begin(c, found)
	// First what the other side has said: it came before.
	for _, n := range [2]int{side ^ 1, side} {
		o := &c.sides[n]
		if o.skipped > 0 && c.phase == parsing {
			sh.gap(c, r.Dir(n), o.skipped)
		}
		if n == side {
			s.pending.Reset(&sh.budget)
			if c.phase == parsing {
				sh.parse(c, r, n, b, now)
			}
		} else if waiting := o.pending.Join(nil); len(waiting) > 0 && c.phase == parsing {
			o.pending = stream.Pending{}
			sh.parse(c, r, n, waiting, now)
		}
	}
}

// recognise asks the protocols that the bytes of a side may still be: those
// first that are usual on the flow's ports. It returns the first that says yes,
// or -1.
func (sh *shard) recognise(c *conversation, r *flow.Record, side int, b []byte) int {
	s := &c.sides[side]
	dir := r.Dir(side)
	if r.Transport() == packet.ProtoTCP {
		s.maybe &= sh.w.knows.tcp.first[dir][b[0]]
	} else {
		s.maybe &= sh.w.knows.udp.first[dir][b[0]]
	}
	for _, some := range [2]set{s.maybe & c.usual, s.maybe &^ c.usual} {
		for ; some != 0; some &= some - 1 {
			i := bits.TrailingZeros64(uint64(some))
			switch sh.ask(i, dir, b) {
			case proto.Yes:
				return i
			case proto.No:
				s.maybe &^= 1 << i
			}
		}
	}
	return -1
}

// begin starts to parse.
func (sh *shard) begin(c *conversation, protocol int) {
	p := &sh.w.cfg.Protocols[protocol]
	c.protocol, c.service = protocol, string(p.Name)
	c.phase = parsing
	c.parser = p.New()
}

// parse gives bytes of a side to the parser, behind what it had left.
func (sh *shard) parse(c *conversation, r *flow.Record, side int, data []byte, now time.Time) {
	s := &c.sides[side]
	b := s.pending.Join(data)
	n, cause := sh.call(c, r.Dir(side), b, now)
	if c.phase != parsing {
		return
	}
	switch {
	case cause != "":
	case n < 0 || n > len(b):
		cause = "consumed more than there was"
	case len(b)-n > proto.MaxPending:
		cause = "message too long"
	}
	if cause != "" {
		sh.fail(c, r, cause)
		return
	}
	if n == len(b) {
		s.pending.Reset(&sh.budget)
	} else if n > 0 || s.pending.Len() != len(b) {
		s.pending.Keep(&sh.budget, b[n:])
	}
}

// fail ends the parsing of a flow.
func (sh *shard) fail(c *conversation, r *flow.Record, cause string) {
	sh.w.parserError(c.protocol, cause)
	sh.w.account(r.Iface())[countParserErrors]++
	c.ignore(&sh.budget)
}

// udp takes a datagram into its conversation.
func (sh *shard) udp(r *flow.Record, side int, p *packet.Packet) {
	if p.PayloadLen == 0 || r.Mark >= ignored {
		return
	}
	c := sh.talkOf(r)
	if c == nil {
		if c = sh.converse(r); c == nil {
			return
		}
	}
	if c.phase == ignoring {
		sh.ignoreDatagrams(c, r)
		return
	}
	sh.talk, sh.record = c, r
	whole := len(p.Payload) >= p.PayloadLen
	if c.phase == probing {
		b := p.Payload
		// Each datagram is looked at for itself.
		all := c.sides[side].maybe
		found := sh.recognise(c, r, side, b[:min(len(b), proto.MaxProbe)])
		c.sides[side].maybe = all
		if found < 0 {
			if c.datagrams++; c.datagrams >= maxDatagrams {
				sh.ignoreDatagrams(c, r)
			}
			return
		}
		sh.begin(c, found)
	}
	if !whole {
		sh.gap(c, r.Dir(side), p.PayloadLen)
		return
	}
	if _, cause := sh.call(c, r.Dir(side), p.Payload, p.Time); cause != "" {
		sh.fail(c, r, cause)
	}
}

// ignoreDatagrams frees a conversation of no protocol: unlike that of a stream,
// it has nothing more to tell.
func (sh *shard) ignoreDatagrams(c *conversation, r *flow.Record) {
	if c.service == "" {
		r.Mark = ignored
		sh.forget(c, r)
	}
}

// finish lets the parser see what is left, and that it is over.
func (sh *shard) finish(c *conversation, r *flow.Record) {
	sh.talk, sh.record = c, r
	if r.Transport() == packet.ProtoTCP {
		for _, d := range [2]proto.Dir{proto.Orig, proto.Resp} {
			side := r.Side(d)
			c.sides[side].half.End()
			sh.deliver(c, r, side, r.Last())
		}
	}
	if c.phase == parsing {
		sh.end(c)
	}
}

// What follows calls parsers, whose bugs must not take the sensor along.

// panicked is the cause under which a parser's panic is counted.
const panicked = "panic"

func (sh *shard) call(c *conversation, dir proto.Dir, b []byte, now time.Time) (n int, cause string) {
	defer func() {
		if rescued(recover()) {
			cause = panicked
		}
	}()
	sh.out.Arena = &sh.w.made.arena
	n, err := c.parser.Parse(dir, b, now, sh.out)
	switch err {
	case nil:
	case proto.ErrDone:
		c.ignore(&sh.budget)
	default:
		cause = err.Error()
	}
	return n, cause
}

func (sh *shard) gap(c *conversation, dir proto.Dir, n int) {
	defer sh.rescue(c)
	c.parser.Gap(dir, n)
}

func (sh *shard) end(c *conversation) {
	defer sh.rescue(c)
	sh.out.Arena = &sh.w.made.arena
	c.parser.End(sh.out)
}

func (sh *shard) rescue(c *conversation) {
	if rescued(recover()) {
		sh.fail(c, sh.record, panicked)
	}
}

func (sh *shard) ask(protocol int, dir proto.Dir, b []byte) (v proto.Verdict) {
	defer func() {
		if rescued(recover()) {
			v = proto.No
			sh.w.parserError(protocol, panicked)
			sh.w.account(sh.record.Iface())[countParserErrors]++
		}
	}()
	return sh.w.cfg.Protocols[protocol].Probe(dir, b)
}
