// Package stream puts the bytes of TCP connections in order.
//
// A Half is one direction of one connection. Segments are pushed as they were
// captured; Next gives out what is in order, as pieces of bytes and of gaps:
// stretches of the stream that were never captured. A segment that continues
// the stream is given out as it is, without copying; only what comes too early
// is kept, within bounds.
//
// Where two segments disagree about the same place of the stream, the first
// copy wins, as it would in a receiver that had taken it already; that they
// disagreed is counted, since it is how intrusion detection is evaded.
package stream

// Window is how far ahead of the stream a segment may lie, in bytes. It is
// more than the receive windows seen in practice; what lies farther is taken
// for damaged or forged until several segments in a row agree (see resyncAfter).
const Window = 16 << 20

// resyncAfter is how many segments outside the window must continue each other
// before the stream is taken to be there: the capture was interrupted.
const resyncAfter = 3

// blockCost is what a kept segment costs beyond its bytes, so that many tiny
// segments cannot use more memory than the bound says.
const blockCost = 64

// maxBlocks bounds the stretches that one direction keeps, and with them the
// time that it takes to find a place among them: 512 KiB in full segments.
const maxBlocks = 512

// Counters are the account of one Half or, summed, of many. Numbers of bytes
// unless the name or comment says otherwise. Pushed = Delivered + Retransmitted +
// OutOfWindow + what is still buffered.
type Counters struct {
	Pushed        uint64 // payload of segments
	Delivered     uint64 // given out by Next, in order
	Retransmitted uint64 // seen before, and dropped
	Conflicting   uint64 // of the retransmitted: content differs from the copy that is still kept
	KeepAlives    uint64 // segments of at most one byte, just before the stream's end
	Reordered     uint64 // segments with new bytes that came after later ones
	OutOfWindow   uint64 // too far from the stream, or behind its end
	Gaps          uint64 // stretches never captured
	Missed        uint64 // bytes in gaps
	Overflows     uint64 // times that a gap was given up because a bound was reached
}

// Add adds o to c.
func (c *Counters) Add(o *Counters) {
	c.Pushed += o.Pushed
	c.Delivered += o.Delivered
	c.Retransmitted += o.Retransmitted
	c.Conflicting += o.Conflicting
	c.KeepAlives += o.KeepAlives
	c.Reordered += o.Reordered
	c.OutOfWindow += o.OutOfWindow
	c.Gaps += o.Gaps
	c.Missed += o.Missed
	c.Overflows += o.Overflows
}

// Budget bounds what the halves that share it keep. It is for one goroutine.
type Budget struct {
	PerHalf int // bytes that one direction may keep
	Total   int // bytes that all directions may keep

	used  int
	free  [][]byte // buffers of bufferSize
	spare [][]byte // of any size, for what is pending
}

// Buffers of one size are used again. Larger segments get their own, and so do
// those that would leave more than half of one empty: what is kept takes no more
// than twice what the bound counts.
const (
	bufferSize = 2048
	maxFree    = 256
)

// Used is how many bytes are kept now.
func (b *Budget) Used() int { return b.used }

func (b *Budget) keep(data []byte) []byte {
	b.used += len(data) + blockCost
	if len(data) > bufferSize || len(data) <= bufferSize/2 {
		return append([]byte(nil), data...)
	}
	var buf []byte
	if n := len(b.free); n > 0 {
		buf, b.free = b.free[n-1], b.free[:n-1]
	} else {
		buf = make([]byte, 0, bufferSize)
	}
	return append(buf[:0], data...)
}

func (b *Budget) release(k *block) {
	b.used -= int(k.held) + blockCost
	if cap(k.buf) == bufferSize && len(b.free) < maxFree {
		b.free = append(b.free, k.buf)
	}
	k.buf, k.data = nil, nil
}

// block is a kept stretch of the stream. Blocks of a Half lie in order and do
// not overlap.
type block struct {
	seq  uint32
	n    uint32 // length in the stream
	held uint32 // bytes counted in the budget
	data []byte // nil where the content is not wanted
	buf  []byte // what data is cut from
}

func (k *block) end() uint32 { return k.seq + k.n }

// Piece is a stretch of the stream: bytes, or a gap.
type Piece struct {
	Data []byte // valid until the next Push; nil for a gap, and where content is not wanted
	Gap  int    // bytes never captured
}

// Half is one direction of a connection. The zero value is ready; where the
// stream begins is learnt from the first segment.
type Half struct {
	// Discard says that content is not wanted any more: only the account of
	// gaps goes on, and bytes are not kept.
	Discard bool

	started  bool
	resumed  bool // after bytes that are not in Counters
	finished bool // end is known
	draining bool // release is set
	strays   uint8
	next     uint32 // first byte not yet given out
	fin      uint32 // sequence number behind the last byte, if finished
	release  uint32 // give out everything before this, with gaps, if draining
	stray    uint32 // where the last segment outside the window ended
	direct   []byte // in order, not yet given out, not kept
	directN  uint32
	blocks   []block
	used     int
	Counters Counters
}

// before reports whether a lies before b in sequence space (RFC 9293 section 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }

// Started reports whether the stream's place is known.
func (h *Half) Started() bool { return h.started }

// Buffered is how many bytes are kept, overhead included.
func (h *Half) Buffered() int { return h.used }

// Syn says that the stream's first byte follows the sequence number seq. Data
// in the SYN segment itself is pushed at seq+1.
func (h *Half) Syn(seq uint32) {
	if h.started && (h.resumed || h.Counters.Delivered > 0 || h.Counters.Gaps > 0 || len(h.blocks) > 0) {
		return
	}
	h.started, h.next = true, seq+1
}

// Resume makes h, of which nothing was used, what it would be if everything
// before next had come in order, and was given out. The Counters do not have it:
// delivered says whether there was anything, and finished whether the stream is
// known to end there.
func (h *Half) Resume(next uint32, delivered, finished bool) {
	h.started, h.next = true, next
	h.resumed = delivered
	if finished {
		h.finished, h.fin = true, next
	}
}

// Fin says that the stream ends before seq. It is not believed where bytes
// behind that have been seen.
func (h *Half) Fin(seq uint32) {
	if !h.started {
		h.started, h.next = true, seq
	}
	if h.finished || before(seq, h.next) || seq-h.next > Window {
		return
	}
	if n := len(h.blocks); n > 0 && before(seq, h.blocks[n-1].end()) {
		return
	}
	h.finished, h.fin = true, seq
}

// Ack says that the receiver has everything before seq: what of it was not
// captured will not come any more. It is only believed within the window. It
// reports whether Next may have something now.
func (h *Half) Ack(seq uint32) bool {
	if !before(h.next, seq) || !h.started || seq-h.next > Window {
		return false
	}
	h.until(seq)
	return h.draining
}

// Skip is what Push and Next do with n bytes that continue a stream whose
// content is not wanted. It reports false where there is more to it: then they
// are to be pushed.
func (h *Half) Skip(seq uint32, n int) bool {
	if seq != h.next || !h.Discard || !h.started || h.finished || h.draining || len(h.blocks) > 0 {
		return false
	}
	if n > 0 {
		h.strays = 0
	}
	h.next += uint32(n)
	h.Counters.Pushed += uint64(n)
	h.Counters.Delivered += uint64(n)
	return true
}

// End says that nothing will come any more.
func (h *Half) End() {
	if !h.started {
		return
	}
	if n := len(h.blocks); n > 0 {
		h.until(h.blocks[n-1].end())
	}
	if h.finished {
		h.until(h.fin)
	}
}

func (h *Half) until(seq uint32) {
	if h.finished && before(h.fin, seq) {
		seq = h.fin // the FIN itself takes a number, but is no byte
	}
	if before(h.next, seq) && (!h.draining || before(h.release, seq)) {
		h.draining, h.release = true, seq
	}
}

// Push offers the payload of a segment, an empty one too: it tells where the
// stream is. Next must be called until it returns false before the next Push;
// data is used until then.
func (h *Half) Push(b *Budget, seq uint32, data []byte) {
	if !h.started {
		h.started, h.next = true, seq
	}
	h.Counters.Pushed += uint64(len(data))
	if d := int32(seq - h.next); d < 0 {
		if d == -1 && len(data) <= 1 {
			h.Counters.KeepAlives++
		}
		if len(data) == 0 {
			return
		}
		// d is MinInt32 at least, whose negation is right as uint32.
		old := uint32(-d)
		if uint32(len(data)) <= old {
			if old > Window {
				h.outside(b, seq, data)
				return
			}
			h.Counters.Retransmitted += uint64(len(data))
			return
		}
		h.Counters.Retransmitted += uint64(old)
		data, seq = data[old:], h.next
	} else if uint32(d) > Window {
		h.outside(b, seq, data)
		return
	}
	if len(data) == 0 {
		return
	}
	if h.finished {
		if !before(seq, h.fin) {
			h.Counters.OutOfWindow += uint64(len(data))
			return
		}
		if over := uint32(len(data)) - min(uint32(len(data)), h.fin-seq); over > 0 {
			h.Counters.OutOfWindow += uint64(over)
			data = data[:uint32(len(data))-over]
		}
	}
	h.strays = 0
	if seq == h.next && (len(h.blocks) == 0 || !before(h.blocks[0].seq, seq+uint32(len(data)))) {
		if len(h.blocks) > 0 {
			h.Counters.Reordered++
		}
		h.direct, h.directN = data, uint32(len(data))
		return
	}
	h.insert(b, seq, data)
	if h.used > b.PerHalf || b.used > b.Total || len(h.blocks) > maxBlocks {
		// The stream that needs more pays: its holes are given up.
		h.Counters.Overflows++
		h.until(h.blocks[len(h.blocks)-1].end())
	}
}

// outside takes a segment that lies outside the window, and follows the
// stream there if it is not the only one.
func (h *Half) outside(b *Budget, seq uint32, data []byte) {
	if len(data) == 0 {
		return
	}
	if h.strays > 0 && seq == h.stray {
		h.strays++
	} else {
		h.strays = 1
	}
	h.stray = seq + uint32(len(data))
	if h.strays < resyncAfter {
		h.Counters.OutOfWindow += uint64(len(data))
		return
	}
	h.strays = 0
	for i := range h.blocks {
		h.Counters.OutOfWindow += uint64(h.blocks[i].n)
		h.drop(b, &h.blocks[i])
	}
	h.blocks = h.blocks[:0]
	h.finished, h.draining = false, false
	if before(h.next, seq) {
		// How much is missing behind a jump backwards nobody can say.
		h.draining, h.release = true, seq
	} else {
		h.next = seq
	}
	h.insert(b, seq, data)
}

func (h *Half) drop(b *Budget, k *block) {
	h.used -= int(k.held) + blockCost
	b.release(k)
}

// insert keeps those parts of a segment that no block has.
func (h *Half) insert(b *Budget, seq uint32, data []byte) {
	i := len(h.blocks)
	for i > 0 && before(seq, h.blocks[i-1].seq) {
		i-- // early segments mostly come in order, so the search begins at the end
	}
	if i > 0 && before(seq, h.blocks[i-1].end()) {
		i--
	}
	late := false
	for len(data) > 0 {
		if !late && i < len(h.blocks) && before(seq, h.blocks[i].seq) {
			late = true
			h.Counters.Reordered++
		}
		if i == len(h.blocks) || !before(h.blocks[i].seq, seq+uint32(len(data))) {
			h.put(b, i, seq, data)
			return
		}
		k := &h.blocks[i]
		if before(seq, k.seq) {
			n := k.seq - seq
			i = h.put(b, i, seq, data[:n])
			k = &h.blocks[i]
			seq, data = seq+n, data[n:]
		}
		at := seq - k.seq
		n := min(uint32(len(data)), k.n-at)
		h.Counters.Retransmitted += uint64(n)
		if k.data != nil {
			for j, c := range k.data[at : at+n] {
				if c != data[j] {
					h.Counters.Conflicting++
				}
			}
		}
		seq, data = seq+n, data[n:]
		i++
	}
}

// put inserts a block before the i-th, or lengthens the one before it where
// content is not wanted. It returns where the former i-th block is now.
func (h *Half) put(b *Budget, i int, seq uint32, data []byte) int {
	n := uint32(len(data))
	if h.Discard {
		if i > 0 && h.blocks[i-1].data == nil && h.blocks[i-1].end() == seq {
			h.blocks[i-1].n += n
			return i
		}
		data = data[:0]
	}
	k := block{seq: seq, n: n, held: uint32(len(data))}
	k.buf = b.keep(data)
	if !h.Discard {
		k.data = k.buf
	}
	h.used += len(data) + blockCost
	h.blocks = append(h.blocks, block{})
	copy(h.blocks[i+1:], h.blocks[i:])
	h.blocks[i] = k
	return i + 1
}

// Next gives out the next piece that is in order. It returns false when there
// is none until something else is pushed, acknowledged or ended.
func (h *Half) Next(b *Budget) (Piece, bool) {
	if h.directN > 0 {
		p := Piece{Data: h.direct}
		h.next += h.directN
		h.Counters.Delivered += uint64(h.directN)
		h.direct, h.directN = nil, 0
		if h.Discard {
			p.Data = nil
		}
		return p, true
	}
	if len(h.blocks) > 0 && h.blocks[0].seq == h.next {
		k := h.blocks[0]
		if h.blocks = h.blocks[:copy(h.blocks, h.blocks[1:])]; len(h.blocks) == 0 {
			h.blocks = h.room()
		}
		p := Piece{Data: k.data}
		h.next += k.n
		h.Counters.Delivered += uint64(k.n)
		// The buffer goes back to the budget but is not overwritten before
		// the next Push.
		h.drop(b, &k)
		if h.Discard {
			p.Data = nil
		}
		return p, true
	}
	if h.draining {
		if before(h.next, h.release) {
			to := h.release
			if len(h.blocks) > 0 && before(h.blocks[0].seq, to) {
				to = h.blocks[0].seq
			}
			gap := to - h.next
			h.next = to
			h.Counters.Gaps++
			h.Counters.Missed += uint64(gap)
			return Piece{Gap: int(gap)}, true
		}
		h.draining = false
	}
	return Piece{}, false
}

// Close gives back everything that h keeps, and makes h as new but for the
// memory it holds.
func (h *Half) Close(b *Budget) {
	for i := range h.blocks {
		h.drop(b, &h.blocks[i])
	}
	*h = Half{blocks: h.room()}
}

// fewBlocks is for how many blocks a Half keeps room when it has none.
const fewBlocks = 8

// room is what is left of the blocks' memory when there are none. One that once
// had many, and then others in its place, would have room for as many as ever
// were for good: 36 KB, which no budget counts.
func (h *Half) room() []block {
	if cap(h.blocks) > fewBlocks {
		return nil
	}
	return h.blocks[:0]
}

// Pending keeps what a parser has not consumed of one direction. Its memory is
// of the Budget, which gives it to whoever needs some next: at any time few
// directions of many are in the middle of a message.
type Pending struct {
	buf []byte
}

// Of the buffers for what is pending, which are used again.
const (
	maxSpare     = 16
	maxSpareSize = 32 << 10
)

// Len is how many bytes wait.
func (p *Pending) Len() int { return len(p.buf) }

// Join returns what waits followed by data. The result is valid until the
// next call of a method of any Pending of the same Budget.
func (p *Pending) Join(data []byte) []byte {
	if len(p.buf) == 0 {
		return data
	}
	p.buf = append(p.buf, data...)
	return p.buf
}

// Keep remembers rest, a tail of what Join returned, for the next Join.
func (p *Pending) Keep(b *Budget, rest []byte) {
	if n := len(b.spare); p.buf == nil && n > 0 {
		p.buf, b.spare = b.spare[n-1], b.spare[:n-1]
	}
	p.buf = append(p.buf[:0], rest...)
}

// Reset forgets what waits.
func (p *Pending) Reset(b *Budget) {
	if p.buf != nil && cap(p.buf) <= maxSpareSize && len(b.spare) < maxSpare {
		b.spare = append(b.spare, p.buf[:0])
	}
	p.buf = nil
}
