package packet

import (
	"net/netip"
	"time"
)

// fragment is where a fragment belongs in its datagram.
type fragment struct {
	id     uint32
	offset int // bytes
	more   bool
	header int // bytes of IP headers that the datagram has before its payload
}

// DefragConfig bounds the memory for fragments.
type DefragConfig struct {
	Datagrams int           // datagrams that may be incomplete at one time
	Bytes     int           // bytes that these may hold in all
	Timeout   time.Duration // after its first fragment, by the packets' clock
}

// DefaultDefragConfig returns bounds that suit a sensor with 128 MB of memory.
// The timeout is that of RFC 8200, section 4.5.
func DefaultDefragConfig() DefragConfig {
	return DefragConfig{Datagrams: 4096, Bytes: 8 << 20, Timeout: 60 * time.Second}
}

// Limits of one datagram.
const (
	maxDatagram = 65535 // bytes of payload that an IPv4 or IPv6 length can express
	maxPieces   = 1024  // separate ranges of bytes: 64 KiB in fragments of 64 bytes
)

// Causes for which fragments are given up.
const (
	fragTimeout   = iota // the rest of the datagram did not come in time
	fragEvicted          // the oldest datagram made room for a new one
	fragOverlap          // IPv6: parts of the datagram overlap (RFC 5722)
	fragConflict         // two ends, or bytes after the end
	fragOversize         // reaches beyond 65,535 bytes
	fragLength           // empty, or not the last and not a multiple of 8 bytes
	fragPieces           // the datagram is in too many pieces
	fragTruncated        // captured only in part
	fragDuplicate        // brings nothing new
	numFragCauses
)

var fragCauses = [numFragCauses]string{
	fragTimeout:   "timeout",
	fragEvicted:   "evicted",
	fragOverlap:   "overlap",
	fragConflict:  "conflicting_end",
	fragOversize:  "oversize",
	fragLength:    "bad_length",
	fragPieces:    "too_many_pieces",
	fragTruncated: "truncated",
	fragDuplicate: "duplicate",
}

// DefragCounters are the account of a Defrag, in captured packets:
// Fragments = Joined + Pending + the sum of Dropped. A datagram that is itself a
// fragment inside a tunnel is given again, and counts with all its packets.
type DefragCounters struct {
	Fragments uint64 // given
	Joined    uint64 // part of a datagram that was completed
	Datagrams uint64 // completed
	Pending   uint64 // waiting now
	Overlaps  uint64 // IPv4 fragments of which a part was there already and was ignored
	Tiny      uint64 // first fragments too small for a transport header (RFC 1858)
	Dropped   map[string]uint64
}

// Defrag puts IPv4 and IPv6 datagrams together. It is for one goroutine.
//
// Where IPv4 fragments overlap, the bytes that came first stay; systems differ
// here (RFC 815 leaves it open), so Overlaps is worth an analyst's look. An IPv6
// datagram with overlapping fragments is given up with all that still comes of
// it, as RFC 5722 asks; exact repetitions are ignored. At the bounds the oldest
// datagram is given up.
type Defrag struct {
	config    DefragConfig
	datagrams map[datagramKey]*datagram
	first     *datagram // the oldest
	last      *datagram
	bytes     int       // capacity of all buffers in datagrams
	done      *datagram // completed by the last call of add
	free      *datagram // for use again, linked by next
	freed     int

	counters DefragCounters
	dropped  [numFragCauses]uint64
}

type datagramKey struct {
	src, dst netip.Addr
	id       uint32
	vlan     uint32
	proto    uint8 // of IPv4; an IPv6 identifier is unique between two hosts
	version  uint8
}

type datagram struct {
	key        datagramKey
	start      time.Time
	prev, next *datagram

	buf       []byte
	have      []span // sorted, neither overlapping nor touching
	end       int    // length of the payload, -1 until the last fragment came
	poisoned  bool   // given up; the rest is to be ignored
	fragments int    // packets that were taken
	length    int    // of them on the wire
	captured  int
	header    int // of the first fragment
	proto     uint8
	ttl, tos  uint8
}

type span struct{ from, to int }

// NewDefrag makes a Defrag with the given bounds; where one is zero the
// default holds.
func NewDefrag(c DefragConfig) *Defrag {
	def := DefaultDefragConfig()
	if c.Datagrams <= 0 {
		c.Datagrams = def.Datagrams
	}
	if c.Bytes <= 0 {
		c.Bytes = def.Bytes
	}
	if c.Timeout <= 0 {
		c.Timeout = def.Timeout
	}
	return &Defrag{config: c, datagrams: make(map[datagramKey]*datagram)}
}

// Counters returns the account so far.
func (f *Defrag) Counters() DefragCounters {
	c := f.counters
	c.Dropped = make(map[string]uint64)
	for cause, n := range f.dropped {
		if n > 0 {
			c.Dropped[fragCauses[cause]] = n
		}
	}
	return c
}

// add takes the fragment in p. When it completes a datagram, p becomes that
// datagram and the outcome is OK; its payload is valid until the next call.
func (f *Defrag) add(p *Packet) Outcome {
	// The fragment may be of a tunnel and lie in the last datagram's buffer.
	last := f.done
	f.done = nil
	o := f.take(p)
	f.recycle(last)
	return o
}

func (f *Defrag) take(p *Packet) Outcome {
	packets := max(1, p.Fragments)
	f.counters.Fragments += uint64(packets)
	f.expire(p.Time)

	from, to := p.frag.offset, p.frag.offset+p.PayloadLen
	switch {
	case len(p.Payload) < p.PayloadLen:
		return f.drop(fragTruncated, packets)
	case to > maxDatagram:
		return f.drop(fragOversize, packets)
	case from == to || p.frag.more && to%8 != 0:
		return f.drop(fragLength, packets)
	}
	if from == 0 && p.PayloadLen < minHeader(p.Proto) {
		f.counters.Tiny++
	}

	key := datagramKey{
		src: p.Src, dst: p.Dst, id: p.frag.id, version: p.IPVersion,
		vlan: uint32(p.VLAN)<<16 | uint32(p.InnerVLAN),
	}
	if p.IPVersion == 4 {
		key.proto = p.Proto
	}
	g := f.datagrams[key]
	if g == nil {
		g = f.open(key, p.Time)
	}
	if g.poisoned {
		return f.drop(fragOverlap, packets)
	}
	if !p.frag.more && g.end >= 0 && g.end != to ||
		g.end >= 0 && to > g.end ||
		!p.frag.more && len(g.have) > 0 && g.have[len(g.have)-1].to > to {
		// No reassembly can be right; whatever still comes starts anew.
		f.give(g, fragConflict)
		return f.drop(fragConflict, packets)
	}
	fresh, overlap := g.covers(from, to)
	switch {
	case overlap && p.IPVersion == 6 && !(fresh == 0 && g.repeats(from, p.Payload)):
		f.poison(g)
		return f.drop(fragOverlap, packets)
	case fresh == 0:
		if !g.repeats(from, p.Payload) {
			f.counters.Overlaps++
		}
		return f.drop(fragDuplicate, packets)
	case overlap:
		f.counters.Overlaps++
	}
	if len(g.have) >= maxPieces {
		f.give(g, fragPieces)
		return f.drop(fragPieces, packets)
	}

	if !f.reserve(g, to) {
		return f.drop(fragEvicted, packets)
	}
	g.fill(from, p.Payload)
	if !p.frag.more {
		g.end = to
	}
	if from == 0 {
		g.header, g.proto, g.ttl, g.tos = p.frag.header, p.Proto, p.TTL, p.TOS
	}
	g.fragments += packets
	g.length += p.Length
	g.captured += p.Captured
	f.counters.Pending += uint64(packets)
	if g.end < 0 || len(g.have) != 1 || g.have[0] != (span{0, g.end}) {
		return Held
	}

	f.unlink(g)
	f.counters.Pending -= uint64(g.fragments)
	f.counters.Joined += uint64(g.fragments)
	f.counters.Datagrams++
	f.done = g
	p.Fragment = false
	p.Fragments = g.fragments
	p.frag = fragment{}
	p.Length, p.Captured = g.length, g.captured
	p.IPLen = g.header + g.end
	p.Proto, p.TTL, p.TOS = g.proto, g.ttl, g.tos
	p.Payload, p.PayloadLen = g.buf[:g.end], g.end
	return OK
}

// minHeader is the least that a first fragment should hold.
func minHeader(proto uint8) int {
	switch proto {
	case ProtoTCP:
		return 20
	case ProtoUDP:
		return 8
	case ProtoSCTP:
		return 12
	}
	return 8
}

func (f *Defrag) drop(cause, packets int) Outcome {
	f.dropped[cause] += uint64(packets)
	return FragmentDropped
}

// open starts a datagram, giving up the oldest one at the bound.
func (f *Defrag) open(key datagramKey, at time.Time) *datagram {
	for len(f.datagrams) >= f.config.Datagrams {
		f.give(f.first, fragEvicted)
	}
	g := f.free
	if g != nil {
		f.free = g.next
		f.freed--
		if f.bytes+cap(g.buf) > f.config.Bytes {
			g.buf = nil // reserve will make room for what is needed
		}
	} else {
		g = new(datagram)
	}
	*g = datagram{key: key, start: at, end: -1, buf: g.buf[:0], have: g.have[:0], prev: f.last}
	if f.last != nil {
		f.last.next = g
	} else {
		f.first = g
	}
	f.last = g
	f.datagrams[key] = g
	f.bytes += cap(g.buf)
	return g
}

// reserve makes room for n bytes in g. It reports false if there is none, even
// when all others are gone.
func (f *Defrag) reserve(g *datagram, n int) bool {
	if n <= len(g.buf) {
		return true
	}
	if n > cap(g.buf) {
		size := max(2048, cap(g.buf))
		for size < n {
			size *= 2
		}
		for f.bytes+size-cap(g.buf) > f.config.Bytes {
			oldest := f.first
			if oldest == g {
				oldest = g.next
			}
			if oldest == nil {
				f.give(g, fragEvicted)
				return false
			}
			f.give(oldest, fragEvicted)
		}
		f.bytes += size - cap(g.buf)
		g.buf = append(make([]byte, 0, size), g.buf...)
	}
	g.buf = g.buf[:n]
	return true
}

// expire gives up the datagrams whose time is over.
func (f *Defrag) expire(now time.Time) {
	for f.first != nil && now.Sub(f.first.start) > f.config.Timeout {
		f.give(f.first, fragTimeout)
	}
}

// give gives a datagram up.
func (f *Defrag) give(g *datagram, cause int) {
	f.dropped[cause] += uint64(g.fragments)
	f.counters.Pending -= uint64(g.fragments)
	f.unlink(g)
	f.recycle(g)
}

// poison gives up what is there of a datagram, but remembers it until its time
// is over.
func (f *Defrag) poison(g *datagram) {
	f.dropped[fragOverlap] += uint64(g.fragments)
	f.counters.Pending -= uint64(g.fragments)
	f.bytes -= cap(g.buf)
	g.poisoned, g.fragments, g.buf, g.have = true, 0, nil, nil
}

// unlink takes a datagram out of the table.
func (f *Defrag) unlink(g *datagram) {
	delete(f.datagrams, g.key)
	f.bytes -= cap(g.buf)
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		f.first = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	} else {
		f.last = g.prev
	}
	g.prev, g.next = nil, nil
}

// recycle keeps a few finished datagrams for their buffers.
func (f *Defrag) recycle(g *datagram) {
	const keep = 16
	if g == nil || f.freed >= keep {
		return
	}
	g.next = f.free
	f.free = g
	f.freed++
}

// covers returns how many bytes from … to are not there yet, and whether any is.
func (g *datagram) covers(from, to int) (fresh int, overlap bool) {
	fresh = to - from
	for _, s := range g.have {
		if n := min(to, s.to) - max(from, s.from); n > 0 {
			fresh -= n
			overlap = true
		}
	}
	return fresh, overlap
}

// repeats reports whether the bytes, all of which are there, are the same.
func (g *datagram) repeats(from int, b []byte) bool {
	return string(g.buf[from:from+len(b)]) == string(b)
}

// fill copies those of the bytes that are not there yet.
func (g *datagram) fill(from int, b []byte) {
	to := from + len(b)
	at := from
	i := 0
	for i < len(g.have) && g.have[i].to < from {
		i++
	}
	j := i
	for ; j < len(g.have) && g.have[j].from <= to; j++ {
		s := g.have[j]
		if at < s.from {
			copy(g.buf[at:s.from], b[at-from:])
		}
		at = max(at, s.to)
	}
	if at < to {
		copy(g.buf[at:to], b[at-from:])
	}
	if i == j {
		g.have = append(g.have, span{})
		copy(g.have[i+1:], g.have[i:])
		g.have[i] = span{from, to}
		return
	}
	g.have[i] = span{min(from, g.have[i].from), max(to, g.have[j-1].to)}
	g.have = append(g.have[:i+1], g.have[j:]...)
}
