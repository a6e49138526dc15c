package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/flow"
	"github.com/tocsin/tocsin/sensor/packet"
)

// tap is what events say of where their packets came from.
type tap struct{ sensor, name string }

// origin is what a worker asks of where its packets are from, besides them.
type origin interface {
	Interfaces() []capture.Interface
	Counters() capture.Counters
	Close() error
}

// worker goes through all packets of a source and handles those of its shards.
type worker struct {
	cfg    *Config
	number int
	src    origin
	single capture.Source      // src, if the worker reads by itself
	batch  capture.BatchSource // likewise, if it is one
	share  *share              // src, if somebody reads for all workers
	mapped capture.Mapper      // whose packets it handles; nil if they are in memory of its own
	dec    packet.Decoder
	knows  *knowledge
	raws   [lanes]capture.Packet
	looks  [lanes]look
	first  looker // at raws
	idle   bool   // no packet came, and the first of raws is none
	lanes  [lanes]lane
	packet packet.Packet // of the uncommon kind
	clock  clock
	second int64 // of the clock, up to which the shards' timers have run
	minute int64 // of packet time, whose accounts are open
	index  uint64
	memory flow.Memory    // of all shards' records
	shards [Shards]*shard // nil where another worker has it

	taps     []tap
	accounts []account
	lost     capture.Counters // of the source, at the last close of the accounts
	jumps    uint64           // of the clock, likewise
	refused  uint64           // fragments that the decoder dropped at once, in all shards
	givenUp  uint64           // fragments given up later, at the last close
	ledgers  uint64           // minutes closed
	closed   []account        // by tap, in the closed minutes
	bytes    []uint64         // by tap, of packets on the wire, in the worker's shards
	kinds    []kindCount      // of events made
	failed   []uint64         // flows whose parser gave up, by protocol
	tell     func(*reading)   // once a second; see Sensor.Now
	reports  uint64           // told
	turns    atomic.Uint64    // of the loop; see Sensor.Turns
	top      []Followed       // in the last

	tally  tally
	order  uint64 // of what is being made
	made   *batch
	sent   uint64 // index at the last batch
	out    chan *batch
	free   chan *batch
	stop   chan struct{}
	hasher *event.Hasher
	errors []map[string]uint64 // of parsers: by protocol, by cause
	links  []unknownLink       // seen by the first worker
	err    error               // of the source
}

// lanes is how many packets are on their way at a time: enough that what the
// first one needs of memory is there when the last one has been asked for, and
// few enough that what is known of them stays in the nearest cache.
const lanes = 32

// lane is one of several packets that are on their way; see ahead.
type lane struct {
	shard  *shard // whose the packet is; nil if that is not known, or another worker's
	kind   kind
	lookup flow.Lookup
	packet packet.Packet
}

// kind says what to do with a packet when its turn comes.
type kind uint8

const (
	uncommon kind = iota // to be decoded then
	common               // it was decoded
	foreign              // nothing: another worker does
)

// unknownLink counts the packets of a tap that have a link type which the
// decoder does not know.
type unknownLink struct {
	iface   int
	link    capture.LinkType
	packets uint64
}

// maxUnknownLinks bounds the link types that are told of one by one.
const maxUnknownLinks = 16

func newWorker(cfg *Config, number int, src origin) *worker {
	w := &worker{
		cfg: cfg, number: number, src: src,
		dec:    packet.Decoder{Defrag: packet.NewDefrag(cfg.Defrag), DropBadChecksums: cfg.DropBadChecksums},
		knows:  newKnowledge(cfg.Protocols),
		made:   new(batch),
		out:    make(chan *batch, queued),
		free:   make(chan *batch, queued+2),
		stop:   make(chan struct{}),
		hasher: event.NewHasher(),
		errors: make([]map[string]uint64, len(cfg.Protocols)),
		failed: make([]uint64, len(cfg.Protocols)),
		tally:  tally{protocols: make([]uint64, len(cfg.Protocols))},
	}
	w.first.dec = &w.dec
	w.single, _ = src.(capture.Source)
	w.batch, _ = src.(capture.BatchSource)
	if w.share, _ = src.(*share); w.share != nil {
		w.mapped = w.share.feed.mapped
	} else if w.single != nil {
		w.mapped = mapped(w.single)
	}
	for n := number; n < Shards; n += cfg.Workers {
		w.shards[n] = newShard(w, n)
	}
	return w
}

// Order numbers of the stages of a packet; see batch. Each tunnel that it was in
// has its own, as the tunnel's shard may be any.
const (
	stageTime    = 0
	stageCarrier = 1
	stagePacket  = stageCarrier + packet.MaxLayers
	stages       = stagePacket + 1
)

// enter says that what is made from now on is made at the given stage of the
// present packet, in the given shard.
func (w *worker) enter(stage, shard int) {
	w.order = (w.index*stages+uint64(stage))*Shards + uint64(shard)
}

// run reads until the source ends, the context is done or the merger has gone.
func (w *worker) run(ctx context.Context) {
	defer w.memory.Release()
	var err error
	more := true
	gone := read(w.mapped, func() {
		for more && err == nil && ctx.Err() == nil {
			w.turns.Add(1)
			if w.share != nil {
				more, err = w.round(ctx)
			} else {
				more, err = w.some()
			}
		}
	})
	switch {
	case gone != nil:
		w.err = gone
		w.made.events = w.made.events[:len(w.made.orders)]
		w.pass(ctx)
	case !more:
		return
	case err != nil && !errors.Is(err, io.EOF):
		w.err = err
	}
	w.index++
	for _, sh := range w.shards {
		if sh == nil {
			continue
		}
		w.enter(stageTime, sh.number)
		sh.close()
		if len(w.made.events) >= batchEvents && !w.flush(false) {
			return
		}
	}
	w.index++
	w.closeAccounts(true)
	w.report()
	w.flush(true)
}

// some handles the packets that the source has next. It reports false if the
// merger has gone.
func (w *worker) some() (more bool, err error) {
	n, err := w.read()
	if err != nil {
		return true, err
	}
	if w.idle && w.raws[0].Time.IsZero() {
		return true, nil // nothing has come yet, so there is no time
	}
	w.first.look(w.raws[:n], w.looks[:n])
	return w.handleAll(w.raws[:n], w.looks[:n]), nil
}

// round handles a round of packets that all workers get.
func (w *worker) round(ctx context.Context) (more bool, err error) {
	r := w.share.ready()
	if r == nil {
		// The reader may be waiting for a worker that waits for the merger,
		// which waits to hear how far this one is.
		w.enter(stagePacket, Shards-1)
		if w.index > w.sent && !w.flush(false) {
			return false, nil
		}
		if r = w.share.next(ctx); r == nil {
			return true, nil // ctx is done
		}
	}
	defer w.share.done(r)
	for from := 0; from < r.n; from += lanes {
		to := min(from+lanes, r.n)
		if !w.handleAll(r.raws[from:to], r.looks[from:to]) {
			return false, nil
		}
	}
	return true, r.err
}

// pass gives back what others are still given to handle, when the worker cannot
// go on.
func (w *worker) pass(ctx context.Context) {
	for ended := w.share == nil; !ended; {
		r := w.share.next(ctx)
		if r == nil {
			return
		}
		ended = r.err != nil
		w.share.done(r)
	}
}

// handleAll handles some packets, at most as many as there are lanes.
func (w *worker) handleAll(raws []capture.Packet, looks []look) bool {
	w.ahead(raws, looks)
	for i := range raws {
		k := &looks[i]
		if k.still && w.lanes[i].kind == foreign {
			w.index++
			continue
		}
		w.clock = k.clock
		if !w.take(&w.lanes[i], &raws[i], k.still) {
			return false
		}
	}
	w.clock = looks[len(looks)-1].clock
	return w.send()
}

// read gets the packets that come next; if the source is idle one that is none,
// and only tells the time.
func (w *worker) read() (n int, err error) {
	if w.batch != nil {
		n, err = w.batch.NextBatch(w.raws[:])
	} else {
		n, err = 1, w.single.Next(&w.raws[0])
	}
	if w.idle = errors.Is(err, capture.ErrIdle); w.idle {
		return 1, nil
	}
	return n, err
}

// ahead does for some packets what can be done before their turn comes: it
// decodes those of the common kind that are the worker's, and asks for the
// records of their flows.
func (w *worker) ahead(raws []capture.Packet, looks []look) {
	for i := range raws {
		l, g := &w.lanes[i], &looks[i]
		l.kind = uncommon
		if !g.common {
			continue
		}
		l.shard = w.shards[g.Hash%Shards]
		if l.shard == nil {
			l.kind = foreign
		} else if w.dec.Common(&l.packet, &raws[i], &g.Glance) {
			l.kind = common
			l.shard.flows.Prepare(&l.lookup, &l.packet)
		}
	}
	for i := range raws {
		if l := &w.lanes[i]; l.kind == common {
			l.shard.flows.Approach(&l.lookup)
		}
	}
}

// take does everything that is to be done at a packet's turn. It reports false
// if the merger has gone.
func (w *worker) take(l *lane, raw *capture.Packet, still bool) bool {
	w.index++
	if !still && !w.advance() {
		return false
	}
	switch l.kind {
	case common:
		w.seen(raw)[countDecoded]++
		w.enter(stagePacket, l.shard.number)
		l.packet.Time = raw.Time
		l.shard.ip(&l.lookup, &l.packet)
	case uncommon:
		if w.idle {
			w.report() // of the last packets, after which the clock may stand still
		} else {
			w.handle(raw)
		}
	}
	return w.send()
}

// advance lets everything happen that the clock brings about before the
// present packet is looked at.
func (w *worker) advance() bool {
	if m := w.clock.at / int64(time.Minute); m != w.minute {
		if w.index > 1 {
			w.closeAccounts(false)
		}
		w.minute = m
	}
	now := w.clock.steady / int64(time.Second)
	if now == w.second {
		return true
	}
	w.second = now
	w.report()
	for _, sh := range w.shards {
		if sh == nil {
			continue
		}
		w.enter(stageTime, sh.number)
		sh.advance(w.clock.steady)
		if len(w.made.events) >= batchEvents && !w.flush(false) {
			return false
		}
	}
	return true
}

// handle decodes a packet of any kind and, if it is in one of the worker's
// shards, accounts for it and looks into it. Every worker puts fragments
// together, as the shard is known only then.
func (w *worker) handle(raw *capture.Packet) {
	p := &w.packet
	outcome := w.dec.Decode(p, raw)
	if outcome == packet.FragmentDropped {
		w.refused++
	}
	if outcome == packet.UnknownLink && w.number == 0 {
		w.unknownLink(raw)
	}
	if len(p.Outer) > 0 {
		w.carriers(p)
	}
	n := int(packet.Hash(p) % Shards)
	sh := w.shards[n]
	if sh == nil {
		return
	}
	a := w.seen(raw)
	if outcome != packet.OK && outcome != packet.Held {
		a[countDropped+int(outcome-packet.UnknownLink)]++
		return
	}
	a[countDecoded]++
	if outcome == packet.Held {
		return
	}
	w.enter(stagePacket, n)
	switch {
	case p.IPVersion != 0 && !p.Fragment: // of which there are none with Defrag
		var l flow.Lookup
		sh.flows.Prepare(&l, p)
		sh.ip(&l, p)
	case p.ARP.Op != 0:
		sh.arps.packet(p)
	}
}

// seen counts a packet as seen in the account of its tap, which it returns.
func (w *worker) seen(raw *capture.Packet) *account {
	a := w.account(raw.Iface)
	a[countSeen]++
	w.bytes[raw.Iface] += uint64(raw.Length)
	if raw.Length > len(raw.Data) {
		a[countCut]++
	}
	return a
}

// carriers counts a packet to the flows of the tunnels over UDP that it was in,
// whatever became of what is inside.
func (w *worker) carriers(p *packet.Packet) {
	for i := range p.Outer {
		l := &p.Outer[i]
		if l.Proto != packet.ProtoUDP {
			continue // as with Zeek, what is inside IP directly is the flow
		}
		c := l.Carrier(p)
		n := int(packet.Hash(&c) % Shards)
		if sh := w.shards[n]; sh != nil {
			w.enter(stageCarrier+i, n)
			sh.carrier(&c, l)
		}
	}
}

// unknownLink takes note of the present packet's link type. Beyond the bound,
// packets are counted with the last one.
func (w *worker) unknownLink(raw *capture.Packet) {
	i := slices.IndexFunc(w.links, func(u unknownLink) bool { return u.iface == raw.Iface && u.link == raw.Link })
	switch {
	case i < 0 && len(w.links) < maxUnknownLinks:
		w.links = append(w.links, unknownLink{iface: raw.Iface, link: raw.Link, packets: 1})
	case i < 0:
		w.links[maxUnknownLinks-1].packets++
	default:
		w.links[i].packets++
	}
}

// linkErrors says which packets could not be read for their link type.
func (w *worker) linkErrors() error {
	var errs []error
	for _, u := range w.links {
		errs = append(errs, fmt.Errorf("%s: %d packets passed over: %w %d; record Ethernet, IEEE 802.11, raw IP, PPP, loopback or Linux cooked frames", w.tap(u.iface).name, u.packets, ErrLinkType, u.link))
	}
	return errors.Join(errs...)
}

// tap says what a tap is called.
func (w *worker) tap(iface int) tap {
	w.account(iface)
	return w.taps[iface]
}

// account is the open account of a tap.
func (w *worker) account(iface int) *account {
	if iface >= len(w.accounts) {
		w.learn()
	}
	return &w.accounts[iface]
}

// learn takes note of taps that the source has found.
func (w *worker) learn() {
	for _, i := range w.src.Interfaces()[len(w.taps):] {
		w.taps = append(w.taps, tap{i.Sensor, i.Name})
		w.accounts = append(w.accounts, account{})
		w.closed = append(w.closed, account{})
		w.bytes = append(w.bytes, 0)
	}
}

// settle takes what the source has lost or left out into the open accounts. It
// is counted by the first worker, for the first tap: a source does not know for
// whom it was.
func (w *worker) settle(end bool) {
	w.learn()
	if w.number != 0 || len(w.accounts) == 0 {
		return
	}
	a := &w.accounts[0]
	c := w.src.Counters()
	a[countFiltered] += c.Filtered - w.lost.Filtered
	a[countSeen] += c.Filtered - w.lost.Filtered
	for cause, n := range c.Dropped {
		n -= w.lost.Dropped[cause]
		a[droppedBy(cause)] += n
		a[countSeen] += n
	}
	a[countOutages] += c.Outages - w.lost.Outages
	a[countBroken] += c.Broken - w.lost.Broken
	a[countOversized] += c.Oversized - w.lost.Oversized
	w.lost = c
	a[countClockJumps] += w.clock.jumps - w.jumps
	w.jumps = w.clock.jumps
	lost := w.lostFragments(end)
	a[countFragments] += lost - w.givenUp
	w.givenUp = lost
}

// closeAccounts ends a minute of the ledger.
func (w *worker) closeAccounts(end bool) {
	w.settle(end)
	w.enter(stageTime, 0)
	for i := range w.accounts {
		m := minute{
			order: w.order, iface: i, tap: w.taps[i], start: w.minute * int64(time.Minute), ordinal: w.ledgers, account: w.accounts[i],
		}
		if i == 0 {
			m.state = w.lost.State
		}
		for _, sh := range w.shards {
			if sh != nil && len(sh.floods.victims) > 0 {
				m.floods = sh.floods.minute(i, m.floods)
			}
		}
		w.made.minutes = append(w.made.minutes, m)
		w.closed[i].add(&w.accounts[i])
		w.accounts[i] = account{}
	}
	w.ledgers++
}

// lostFragments is how many fragments waited in vain; at the end, those that
// still wait as well.
func (w *worker) lostFragments(end bool) uint64 {
	c := w.dec.Defrag.Counters()
	var n uint64
	for _, d := range c.Dropped {
		n += d
	}
	n -= w.refused
	if end {
		n += c.Pending
	}
	return n
}

// blank adds an event to the batch, to be filled in and given to emit before
// anything else is made.
func (w *worker) blank() *event.Event {
	b := w.made
	if n := len(b.events); n < cap(b.events) {
		b.events = b.events[:n+1] // which reset has cleared
	} else {
		b.events = append(b.events, event.Event{})
	}
	return &b.events[len(b.events)-1]
}

// emit completes the event that blank has added. Its fields are borrowed; what
// they refer to is in the batch's arena, or does not change.
func (w *worker) emit(e *event.Event, iface int) {
	b := w.made
	if n := len(e.Fields); n > 0 {
		at := len(b.fields)
		b.fields = append(b.fields, e.Fields...)
		e.Fields = b.fields[at : at+n : at+n]
	}
	b.orders = append(b.orders, w.order)
	w.account(iface)[countEvents]++
	w.countKind(e.Kind)
}

// countKind counts an event. Kinds are so few that looking at each is quickest.
func (w *worker) countKind(k event.Kind) {
	for i := range w.kinds {
		if w.kinds[i].kind == k {
			w.kinds[i].n++
			return
		}
	}
	w.kinds = append(w.kinds, kindCount{k, 1})
}

// relieve lets the batch go in the middle of very many flows that end at once;
// there is more at its order then.
func (w *worker) relieve() {
	if len(w.made.events) >= 2*batchEvents && !w.flush(false) {
		w.made.reset() // nobody wants them any more
	}
}

// send lets a batch go when it is time: when there are enough events, when the
// merger may be waiting to hear how far the worker is, and at once if live and
// the merger has nothing else to do.
func (w *worker) send() bool {
	switch {
	case len(w.made.events) >= batchEvents || w.index-w.sent >= batchPackets:
	case w.cfg.Live && len(w.made.events)+len(w.made.minutes) > 0 && len(w.out) == 0:
	default:
		return true
	}
	w.enter(stagePacket, Shards-1)
	return w.flush(false)
}

// flush hands the batch to the merger. It reports false if the merger is gone.
func (w *worker) flush(last bool) bool {
	w.made.upto, w.made.last = w.order, last
	w.sent = w.index
	select {
	case w.out <- w.made:
	case <-w.stop:
		return false
	}
	select {
	case w.made = <-w.free:
	default:
		w.made = new(batch)
	}
	return true
}

// parserError counts why a flow is not parsed further. Causes are texts of
// parsers, of which a hostile peer might provoke many.
func (w *worker) parserError(protocol int, cause string) {
	const maxCauses = 100
	m := w.errors[protocol]
	if m == nil {
		m = map[string]uint64{}
		w.errors[protocol] = m
	}
	if _, known := m[cause]; !known && len(m) >= maxCauses {
		cause = "other"
	}
	m[cause]++
	w.failed[protocol]++
}
