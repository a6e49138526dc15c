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

const (
	second = int64(time.Second)
	// chunk is how many records are allocated at a time.
	chunk = 256
	// wheelSize is how many seconds ahead the wheel reaches. What is due later
	// waits in its last slot and is put back from there.
	wheelSize = 1024
)

// list is a list of records, first come first; slots plus one, 0 for none.
type list struct{ first, last uint32 }

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
	fresh  uint32 // slots never used
	free   uint32 // first free slot plus one
	live   int

	now      int64 // nanoseconds on the caller's clock
	tick     int64 // second up to which the wheel was turned
	wheel    [wheelSize]list
	occupied [wheelSize / 64]uint64

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
	t := &Table{cfg: cfg, report: report, index: make([]uint64, 512), mask: 511}
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

// turn deals with the flows of one wheel slot.
func (t *Table) turn(w int) {
	if t.occupied[w/64]&(1<<(w%64)) == 0 {
		return
	}
	slot := t.wheel[w].first
	t.wheel[w] = list{}
	t.occupied[w/64] &^= 1 << (w % 64)
	end := t.tick * second
	for slot != 0 {
		r := t.at(slot - 1)
		slot = r.next
		t.approach(slot)
		r.prev, r.next = 0, 0
		if t.deadline(r) <= end {
			t.remove(r)
			t.finish(r, Idle)
			continue
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
}

// approach brings what the next flow of a wheel slot will need nearer, while
// the present one is dealt with. Flows of a slot lie anywhere, and of a large
// table nothing would be in the caches. The record of the next flow is there
// already, but for the first, and says where its index entry is and which flow
// comes after it.
func (t *Table) approach(slot uint32) {
	if slot == 0 {
		return
	}
	r := t.at(slot - 1)
	prefetch(unsafe.Pointer(&t.index[r.hash&t.mask]))
	if r.next == 0 {
		return
	}
	p := unsafe.Pointer(t.at(r.next - 1))
	for line := uintptr(0); line < unsafe.Sizeof(Record{}); line += 64 {
		prefetch(unsafe.Add(p, line))
	}
}

// deadline is when a flow is over if nothing else comes.
func (t *Table) deadline(r *Record) int64 {
	switch r.key.proto() {
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

// schedule puts a flow into the wheel slot of the second when it is next due.
// Packets do not move it: when the slot's turn comes, it is seen that the
// deadline has moved on.
func (t *Table) schedule(r *Record) {
	due := (min(t.deadline(r), r.active) + second - 1) / second
	due = min(max(due, t.tick+1), t.tick+wheelSize-1)
	r.due = due
	w := int(due % wheelSize)
	l := &t.wheel[w]
	r.prev, r.next = l.last, 0
	if l.last != 0 {
		t.at(l.last - 1).next = r.Slot + 1
	} else {
		l.first = r.Slot + 1
	}
	l.last = r.Slot + 1
	t.occupied[w/64] |= 1 << (w % 64)
}

func (t *Table) unschedule(r *Record) {
	w := int(r.due % wheelSize)
	l := &t.wheel[w]
	if r.next != 0 {
		t.at(r.next - 1).prev = r.prev
	} else {
		l.last = r.prev
	}
	if r.prev != 0 {
		t.at(r.prev - 1).next = r.next
	} else {
		l.first = r.next
	}
	if l.first == 0 {
		t.occupied[w/64] &^= 1 << (w % 64)
	}
	r.prev, r.next = 0, 0
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
			prefetchHot(unsafe.Pointer(l.maybe))
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
	if r == nil || !r.key.is(k) {
		r = t.find(hash, k)
	}
	var before int64
	var generation uint32
	if r != nil && (t.deadline(r) <= t.now || r.key.proto() == packet.ProtoTCP && r.reuses(s, p)) {
		t.unschedule(r)
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
	switch r.key.proto() {
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
	} else if sooner {
		t.unschedule(r)
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
			if r := t.at(uint32(e) - 1); r.key.is(k) {
				return r
			}
		}
	}
}

// create makes a flow, which the caller schedules when its first packet has
// shown what it is.
func (t *Table) create(hash uint32, k *key, s int, p *packet.Packet) *Record {
	if t.live >= t.cfg.MaxFlows {
		t.evict()
	}
	slot := t.fresh
	if t.free != 0 {
		slot = t.free - 1
		t.free = t.at(slot).next
	} else {
		if slot%chunk == 0 {
			t.chunks = append(t.chunks, new([chunk]Record))
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
		Slot: slot, key: *k, orig: uint8(s), hash: hash, used: true,
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
	return r
}

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
	t.index = make([]uint64, 2*len(old))
	t.mask = uint32(len(t.index) - 1)
	for _, e := range old {
		if e != 0 {
			t.insert(uint32(e>>32), uint32(e)-1)
		}
	}
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

// finish reports a flow that is out of the index and the wheel, and frees it.
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
	r.used = false
	r.key.what = 0 // is no flow's
	r.next = t.free
	t.free = r.Slot + 1
}

// maxTries is for how many flows an eviction sees that their deadline has
// moved on before it takes the next one anyway.
const maxTries = 8

// evict ends the flow that is due soonest.
func (t *Table) evict() {
	for tries := 0; ; tries++ {
		r := t.soonest()
		t.unschedule(r)
		if tries < maxTries && (min(t.deadline(r), r.active)+second-1)/second > r.due && r.due < t.tick+wheelSize-1 {
			t.schedule(r)
			continue
		}
		t.remove(r)
		t.finish(r, Evicted)
		return
	}
}

// soonest returns the flow that has waited longest in the first wheel slot that
// has any. There is one, as MaxFlows is at least one.
func (t *Table) soonest() *Record {
	w := int((t.tick + 1) % wheelSize)
	for {
		if t.occupied[w/64]&^(1<<(w%64)-1) == 0 {
			w = (w/64*64 + 64) % wheelSize
			continue
		}
		for t.wheel[w].first == 0 {
			w++
		}
		return t.at(t.wheel[w].first - 1)
	}
}

// Each calls f with each flow that is alive. The record is valid until f
// returns.
func (t *Table) Each(f func(*Record)) {
	for slot := range t.fresh {
		if r := t.at(slot); r.used {
			f(r)
		}
	}
}

// Close ends all flows.
func (t *Table) Close() {
	for slot := range t.fresh {
		if r := t.at(slot); r.used {
			t.unschedule(r)
			t.remove(r)
			t.finish(r, EOF)
		}
	}
}
