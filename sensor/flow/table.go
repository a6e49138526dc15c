package flow

import (
	"hash/maphash"
	"math/bits"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/tocsin/tocsin/sensor/packet"
)

const second = int64(time.Second)

// Counters are a table's account: Created = Ended + Evicted + Live.
type Counters struct {
	Created uint64
	Ended   uint64 // ended for their own reasons
	Evicted uint64 // ended early because the table was full
	Interim uint64 // interim reports
	Live    uint64
}

// Table holds the flows that are alive. It is for one goroutine.
//
// Flows are found through an open-addressing index whose entries hold half of
// the hash, so that a look-up mostly touches one line of the index and one
// record. The hash is seeded anew in each process, against those who would
// choose colliding ports; nothing that a table reports depends on it.
type Table struct {
	cfg    Config
	report func(*Record, Reason)
	seed   [6]uint64

	index  []uint64 // hash<<32 | slot+1, or 0
	mask   uint32
	chunks []*[chunk]Record
	memory *Memory
	fresh  uint32   // slots never used
	free   []uint32 // slots, the one to use next last
	live   int

	now    int64 // nanoseconds on the caller's clock
	tick   int64 // second up to which the wheel was turned
	wheel  wheel
	ticket uint32 // of the last entry of the wheel

	// opening are the flows that began with a SYN, in their order, as long as
	// nothing else has come of them.
	opening  []entry // by birth rather than ticket
	opened   int     // taken from the front
	births   uint32
	evicting bool

	tcpServers, udpServers [1024]uint64
	tunnels                map[uint32]tunnel // by slot
	counters               Counters
}

// tunnel is what the first packet of a flow was in.
type tunnel struct {
	layers []packet.Layer
	side   int // that sent the packet
}

// New returns a table that calls report for each flow that ends and for each
// interim report. The record is valid until report returns.
func New(cfg Config, report func(*Record, Reason)) *Table {
	t := &Table{cfg: cfg, report: report, memory: cfg.Memory, index: make([]uint64, 512), mask: 511}
	if t.memory == nil {
		t.memory = new(Memory)
	}
	seed := maphash.MakeSeed()
	for i := range t.seed {
		t.seed[i] = maphash.Comparable(seed, i)
	}
	for _, p := range cfg.TCPServers {
		t.tcpServers[p/64] |= 1 << (p % 64)
	}
	for _, p := range cfg.UDPServers {
		t.udpServers[p/64] |= 1 << (p % 64)
	}
	return t
}

// Counters returns the account so far.
func (t *Table) Counters() Counters {
	c := t.counters
	c.Live = uint64(t.live)
	return c
}

func (t *Table) at(slot uint32) *Record { return &t.chunks[slot/chunk][slot%chunk] }

// hash mixes the words of a key with the table's own, by multiplication to 128
// bits.
func (t *Table) hash(k *key) uint32 {
	s := &t.seed
	a := fold(k.ip[0]^s[0], k.ip[1]^s[1])
	b := fold(k.ip[2]^s[2], k.ip[3]^s[3])
	h := fold(k.ends^a^s[4], uint64(k.what)^b^s[5])
	return uint32(h ^ h>>32)
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// Advance sets the clock, in nanoseconds from any beginning; it never goes
// back. With each full second, flows that are due are ended or reported.
func (t *Table) Advance(now int64) {
	if now <= t.now {
		return
	}
	t.now = now
	to := now / second
	if to <= t.tick {
		return
	}
	from := max(t.tick+1, to-wheelSize+1) // once around is everything
	t.tick = to
	for s := from; s <= to; s++ {
		t.turn(int(s % wheelSize))
	}
}

// turn deals with the flows of one wheel slot. Of a large table nothing that is
// needed of them would be in the caches, so it is asked for some flows ahead:
// first the record, which then says where its entry in the index is.
func (t *Table) turn(at int) {
	const far, near = 8, 4
	q := t.wheel.take(at)
	end := t.tick * second
	for from := q.taken; q.first != 0; from = 0 {
		l := t.wheel.leaves[q.first-1] // a copy, as what follows may move the leaves
		q.first = t.wheel.drop(q.first)
		due := l.entries[from:l.n]
		t.wheel.entries -= len(due)
		for i := range min(len(due), far) {
			prefetchRecord(unsafe.Pointer(t.at(due[i].slot)))
		}
		for i, e := range due {
			if i+far < len(due) {
				prefetchRecord(unsafe.Pointer(t.at(due[i+far].slot)))
			}
			if i+near < len(due) {
				prefetch(unsafe.Pointer(&t.index[t.at(due[i+near].slot).hash&t.mask]))
			}
			if r := t.at(e.slot); r.ticket == e.ticket {
				t.look(r, end)
			}
		}
	}
}

// look deals with a flow whose second has come, or seems to have.
func (t *Table) look(r *Record, end int64) {
	if t.deadline(r) <= end {
		t.remove(r)
		t.finish(r, Idle)
		return
	}
	if r.active <= end {
		for r.active <= end {
			r.active += int64(t.cfg.Active)
		}
		if n := r.sides[0].packets + r.sides[1].packets; n != r.reported {
			r.reported = n
			t.counters.Interim++
			t.report(r, Active)
			r.Reports++
		}
	}
	t.schedule(r)
}

// deadline is when a flow is over if nothing else comes.
func (t *Table) deadline(r *Record) int64 {
	switch r.what.proto() {
	case packet.ProtoTCP:
		switch {
		case r.closed:
			return r.since + int64(t.cfg.TCPClosed)
		case r.attempt():
			return r.since + int64(t.cfg.TCPAttempt)
		}
		return r.now + int64(t.cfg.TCPInactive)
	case packet.ProtoUDP:
		return r.now + int64(t.cfg.UDP)
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return r.now + int64(t.cfg.ICMP)
	}
	return r.now + int64(t.cfg.Other)
}

// due is the second in which a flow is to be looked at next.
func (t *Table) due(r *Record) int64 {
	due := (min(t.deadline(r), r.active) + second - 1) / second
	return min(max(due, t.tick+1), t.tick+wheelSize-1)
}

// schedule enters a flow into the wheel for the second when it is next due.
// Packets do not change that: when the second comes, it is seen that the
// deadline has moved on.
func (t *Table) schedule(r *Record) {
	r.due = t.due(r)
	if t.ticket++; t.ticket == 0 {
		t.ticket = 1
	}
	r.ticket = t.ticket
	t.wheel.add(int(r.due%wheelSize), entry{r.Slot, r.ticket})
	if t.wheel.entries > t.wheel.enough {
		t.sweep()
	}
}

// sweep takes entries out of the wheel whose flows have ended or are due sooner.
func (t *Table) sweep() {
	const few = 4096
	if t.wheel.entries > 2*t.live+few {
		t.wheel.sweep(func(e entry) bool { return t.at(e.slot).ticket == e.ticket })
	}
	t.wheel.enough = 2*max(t.live, t.wheel.entries) + few
}

// Lookup is a packet on its way to its flow: what can be said, and done, about
// it before its turn comes. Where in memory the flow is takes longer to fetch
// than everything that is then done with it, so it is asked for while other
// packets are dealt with: first Prepare for each of some packets, then Approach
// for each, then Take for each.
type Lookup struct {
	key   key
	hash  uint32
	side  uint32
	maybe *Record // the flow, if it is still that
}

// Prepare makes the look-up of a packet of an IP protocol.
func (t *Table) Prepare(l *Lookup, p *packet.Packet) {
	l.side = uint32(l.key.set(p))
	l.hash = t.hash(&l.key)
	l.maybe = nil
	prefetch(unsafe.Pointer(&t.index[l.hash&t.mask]))
}

// Approach asks for the record of the packet's flow, if there is one now.
func (t *Table) Approach(l *Lookup) {
	for i := l.hash & t.mask; ; i = (i + 1) & t.mask {
		e := t.index[i]
		if e == 0 {
			return
		}
		if uint32(e>>32) == l.hash {
			l.maybe = t.at(uint32(e) - 1)
			if l.key.what.proto() == packet.ProtoTCP {
				prefetchHot(unsafe.Pointer(l.maybe))
			} else {
				prefetch(unsafe.Pointer(l.maybe))
				prefetch(unsafe.Pointer(&l.maybe.sides[l.side&1]))
			}
			return
		}
	}
}

// Packet counts a packet of an IP protocol to its flow, which it begins if
// there is none. It returns the flow and the side that sent the packet.
func (t *Table) Packet(p *packet.Packet) (*Record, int) {
	var l Lookup
	t.Prepare(&l, p)
	return t.Take(&l, p)
}

// Take does what Packet does, for a packet whose look-up was prepared.
func (t *Table) Take(l *Lookup, p *packet.Packet) (*Record, int) {
	k, hash, s := &l.key, l.hash, int(l.side&1)
	r := l.maybe
	if r == nil || !r.is(k) {
		r = t.find(hash, k)
	}
	var before int64
	var generation uint32
	if r != nil && (t.deadline(r) <= t.now || r.what.proto() == packet.ProtoTCP && r.reuses(s, p)) {
		t.remove(r)
		before, generation = r.start, r.Generation
		t.finish(r, Idle)
		r = nil
	}
	fresh := r == nil
	if fresh {
		r = t.create(hash, k, s, p)
		if r.start == before {
			r.Generation = generation + 1
		}
	}
	e := &r.sides[s]
	if e.packets == 0 {
		e.minTTL, e.maxTTL = p.TTL, p.TTL
	}
	e.minTTL, e.maxTTL = min(e.minTTL, p.TTL), max(e.maxTTL, p.TTL)
	e.packets++
	e.bytes += uint64(p.IPLen)
	e.payload += uint64(p.PayloadLen)
	r.now = t.now
	if at := p.Time.UnixNano(); at > r.last && !(r.sides[0].tcp.closed && r.sides[1].tcp.closed) {
		r.last = at
	}
	sooner := false
	switch r.what.proto() {
	case packet.ProtoTCP:
		if e.packets+r.sides[s^1].packets <= 3 {
			r.handshake(s, p)
		}
		if r.tcp(s, p) && !r.closed {
			r.closed, r.since = true, t.now
			sooner = true
		}
	case packet.ProtoUDP:
		if e.packets == 1 {
			r.letter(s, 'D')
		}
	}
	if fresh {
		t.schedule(r)
	} else if sooner && t.due(r) < r.due {
		t.schedule(r)
	}
	return r, s
}

// Tunnels returns the tunnels that a flow's first packet was in, outermost
// first, and the side that had sent it. The layers are valid as long as the
// record.
func (t *Table) Tunnels(r *Record) (layers []packet.Layer, side int) {
	if !r.tunnelled {
		return nil, 0
	}
	x := t.tunnels[r.Slot]
	return x.layers, x.side
}

func (t *Table) find(hash uint32, k *key) *Record {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		e := t.index[i]
		if e == 0 {
			return nil
		}
		if uint32(e>>32) == hash {
			if r := t.at(uint32(e) - 1); r.is(k) {
				return r
			}
		}
	}
}

// reuse is how many flows ahead the record of a new one is asked for.
const reuse = 4

// create makes a flow, which the caller schedules when its first packet has
// shown what it is.
func (t *Table) create(hash uint32, k *key, s int, p *packet.Packet) *Record {
	if t.live >= t.cfg.MaxFlows {
		t.evict()
	}
	slot := t.fresh
	if n := len(t.free); n > 0 {
		slot = t.free[n-1]
		t.free = t.free[:n-1]
		if n > reuse {
			prefetchRecord(unsafe.Pointer(t.at(t.free[n-1-reuse])))
		}
	} else {
		if slot%chunk == 0 {
			t.chunks = append(t.chunks, t.memory.chunk())
		}
		t.fresh++
	}
	if 4*(t.live+1) > 3*len(t.index) {
		t.grow()
	}
	t.insert(hash, slot)
	t.live++
	t.counters.Created++

	at := p.Time.UnixNano()
	r := t.at(slot)
	*r = Record{
		Slot: slot, pair: k.pair, what: k.what, orig: uint8(s), hash: hash,
		start: at, last: at, since: t.now, now: t.now, active: t.now + int64(t.cfg.Active),
	}
	r.mac[s], r.mac[s^1] = p.SrcMAC, p.DstMAC
	if len(p.Outer) > 0 {
		if t.tunnels == nil {
			t.tunnels = map[uint32]tunnel{}
		}
		t.tunnels[slot] = tunnel{slices.Clone(p.Outer), s}
		r.tunnelled = true
	}
	if t.backwards(p) {
		r.flip()
	}
	if p.Proto == packet.ProtoTCP && p.TCP.Flags&(packet.SYN|packet.ACK|packet.RST|packet.FIN) == packet.SYN {
		t.born(r)
	}
	return r
}

// born enters a flow that began with a SYN into the list of those.
func (t *Table) born(r *Record) {
	if t.births++; t.births == 0 {
		t.births = 1
	}
	r.birth = t.births
	const few = 4096
	if len(t.opening) == cap(t.opening) && len(t.opening) > 2*t.live+few {
		// Most are not opening any more.
		left := t.opening[:0]
		for _, e := range t.opening[t.opened:] {
			if t.stillOpening(e) {
				left = append(left, e)
			}
		}
		t.opening, t.opened = left, 0
	}
	t.opening = append(t.opening, entry{r.Slot, r.birth})
}

func (t *Table) stillOpening(e entry) bool {
	r := t.at(e.slot)
	return r.birth == e.ticket && r.ticket != 0 && r.HalfOpen()
}

// Evicting reports whether the flow that is being reported has to make room,
// whatever else ended it.
func (t *Table) Evicting() bool { return t.evicting }

// broadcast is the address of everybody on a link (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// backwards reports whether a first packet seems to come from the responder:
// it did not open a connection, and its sender has the port of a service.
// Zeek guesses the same way.
func (t *Table) backwards(p *packet.Packet) bool {
	switch p.Proto {
	case packet.ProtoTCP:
		if p.TCP.Flags&(packet.SYN|packet.ACK) == packet.SYN || !has(&t.tcpServers, p.SrcPort) {
			return false
		}
		if has(&t.tcpServers, p.DstPort) {
			// Between two services the smaller number is the older one; but
			// a SYN-ACK may be a probe.
			return p.TCP.Flags&packet.SYN == 0 && p.SrcPort < p.DstPort
		}
		return true
	case packet.ProtoUDP:
		// Nobody answers from all addresses at once: what is sent to many was
		// begun by its sender.
		many := p.Dst.IsMulticast() || p.Dst == broadcast
		return has(&t.udpServers, p.SrcPort) && !has(&t.udpServers, p.DstPort) && !many
	}
	return false
}

func has(set *[1024]uint64, port uint16) bool { return set[port/64]&(1<<(port%64)) != 0 }

// insert enters a slot into the index, which has room.
func (t *Table) insert(hash, slot uint32) {
	i := hash & t.mask
	for t.index[i] != 0 {
		i = (i + 1) & t.mask
	}
	t.index[i] = uint64(hash)<<32 | uint64(slot+1)
}

func (t *Table) grow() {
	old := t.index
	t.index = t.memory.index(2 * len(old))
	t.mask = uint32(len(t.index) - 1)
	for _, e := range old {
		if e != 0 {
			t.insert(uint32(e>>32), uint32(e)-1)
		}
	}
	t.memory.outgrown(old)
}

// remove takes a flow out of the index and moves up those behind it that it
// kept from their places.
func (t *Table) remove(r *Record) {
	i := r.hash & t.mask
	for uint32(t.index[i]) != r.Slot+1 {
		i = (i + 1) & t.mask
	}
	for j := i; ; {
		j = (j + 1) & t.mask
		e := t.index[j]
		if e == 0 {
			break
		}
		if home := uint32(e>>32) & t.mask; (j-home)&t.mask >= (j-i)&t.mask {
			t.index[i] = e
			i = j
		}
	}
	t.index[i] = 0
}

// finish reports a flow that is out of the index, and frees it.
// A connection that was closed ended for that, whatever found it.
func (t *Table) finish(r *Record, why Reason) {
	if r.closed {
		why = Fin
		if r.sides[0].tcp.state == reset || r.sides[1].tcp.state == reset {
			why = Rst
		}
	}
	if why == Evicted {
		t.counters.Evicted++
	} else {
		t.counters.Ended++
	}
	t.live--
	t.report(r, why)
	if r.tunnelled {
		delete(t.tunnels, r.Slot)
	}
	r.what = 0 // is no flow's
	r.ticket = 0
	t.free = append(t.free, r.Slot)
}

// maxTries is for how many flows an eviction sees that their deadline has
// moved on before it takes the next one anyway.
const maxTries = 8

// evict ends a flow to make room: of the connections of which nothing came but a
// SYN, and what answered it, that which waited longest; if there are none, the
// flow that is due soonest. So a flood of them displaces nothing but itself, and
// one that is meant has had as long as possible.
func (t *Table) evict() {
	t.evicting = true
	r := t.longestOpening()
	if r == nil {
		r = t.soonest()
	}
	t.remove(r)
	t.finish(r, Evicted)
	t.evicting = false
}

// longestOpening takes the first flow that is still opening out of the list of
// those.
func (t *Table) longestOpening() *Record {
	const far, near = 4, 2
	for t.opened < len(t.opening) {
		e := t.opening[t.opened]
		t.opened++
		if rest := t.opening[t.opened:]; len(rest) > far {
			prefetchRecord(unsafe.Pointer(t.at(rest[far].slot)))
			prefetch(unsafe.Pointer(&t.index[t.at(rest[near].slot).hash&t.mask]))
		}
		if t.stillOpening(e) {
			return t.at(e.slot)
		}
	}
	t.opening, t.opened = t.opening[:0], 0
	return nil
}

// soonest takes the flow that is due soonest out of the wheel.
func (t *Table) soonest() *Record {
	for tries := 0; ; {
		at := t.wheel.soonest(int((t.tick + 1) % wheelSize))
		e := t.wheel.pop(at)
		t.nextVictims(at)
		r := t.at(e.slot)
		if r.ticket != e.ticket {
			continue // it has ended, or is due sooner
		}
		if tries < maxTries && !r.closed && r.due < t.tick+wheelSize-1 && t.due(r) > r.due {
			tries++
			t.schedule(r)
			continue
		}
		return r
	}
}

// nextVictims asks for what the next evictions will need, as turn does.
func (t *Table) nextVictims(at int) {
	if e, ok := t.wheel.peek(at, 2); ok {
		prefetchRecord(unsafe.Pointer(t.at(e.slot)))
	}
	if e, ok := t.wheel.peek(at, 1); ok {
		prefetch(unsafe.Pointer(&t.index[t.at(e.slot).hash&t.mask]))
	}
}

// Each calls f with each flow that is alive. The record is valid until f
// returns.
func (t *Table) Each(f func(*Record)) {
	for slot := range t.fresh {
		if r := t.at(slot); r.ticket != 0 {
			f(r)
		}
	}
}

// Close ends all flows.
func (t *Table) Close() {
	for slot := range t.fresh {
		if r := t.at(slot); r.ticket != 0 {
			t.remove(r)
			t.finish(r, EOF)
		}
	}
}
