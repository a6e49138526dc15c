package stream

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// gapMark stands for one missing byte in what the tests collect.
const gapMark = -1

func drain(h *Half, b *Budget, out []int) []int {
	for {
		p, ok := h.Next(b)
		if !ok {
			return out
		}
		for _, c := range p.Data {
			out = append(out, int(c))
		}
		for range p.Gap {
			out = append(out, gapMark)
		}
	}
}

func show(out []int) string {
	var s strings.Builder
	for i := 0; i < len(out); {
		if out[i] != gapMark {
			s.WriteByte(byte(out[i]))
			i++
			continue
		}
		n := 0
		for ; i < len(out) && out[i] == gapMark; i++ {
			n++
		}
		fmt.Fprintf(&s, "<%d>", n)
	}
	return s.String()
}

// twin is a slow and obvious receiver: a map of places to bytes.
type twin struct {
	seen    map[int]byte
	next    int
	fin     int // -1 if not known
	highest int
	out     []int
}

func newTwin() *twin { return &twin{seen: map[int]byte{}, fin: -1} }

func (t *twin) push(at int, data []byte) {
	for i, c := range data {
		p := at + i
		if _, ok := t.seen[p]; ok || p < t.next || t.fin >= 0 && p >= t.fin {
			continue
		}
		t.seen[p] = c
		t.highest = max(t.highest, p+1)
	}
	t.upTo(0)
}

func (t *twin) upTo(end int) {
	if t.fin >= 0 {
		end = min(end, t.fin)
	}
	for {
		c, ok := t.seen[t.next]
		switch {
		case ok:
			t.out = append(t.out, int(c))
		case t.next < end:
			t.out = append(t.out, gapMark)
		default:
			return
		}
		t.next++
	}
}

func (t *twin) end() { t.upTo(max(t.highest, t.fin)) }

// TestTwin pushes random segments of one stream: cut anyhow, in any order,
// overlapping, repeated, lost, some with other content.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 1, 120).Draw(t, "text")
		isn := rapid.SampledFrom([]uint32{0, 1, 1<<31 - 20, 1<<32 - 1, 1<<32 - 60}).Draw(t, "isn")
		b := &Budget{PerHalf: 1 << 20, Total: 1 << 20}
		var h Half
		tw := newTwin()
		h.Syn(isn)
		var out []int
		for range rapid.IntRange(0, 40).Draw(t, "segments") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				ack := rapid.IntRange(0, len(text)).Draw(t, "ack")
				h.Ack(isn + 1 + uint32(ack))
				tw.upTo(ack)
			case 1:
				if tw.fin < 0 && tw.highest <= len(text) && rapid.Bool().Draw(t, "fin") {
					h.Fin(isn + 1 + uint32(len(text)))
					tw.fin = len(text)
				}
			default:
				from := rapid.IntRange(0, len(text)-1).Draw(t, "from")
				to := rapid.IntRange(from, len(text)).Draw(t, "to")
				data := bytes.Clone(text[from:to])
				if len(data) > 0 && rapid.IntRange(0, 4).Draw(t, "forge") == 0 {
					data[rapid.IntRange(0, len(data)-1).Draw(t, "where")] ^= 0xff
				}
				h.Push(b, isn+1+uint32(from), data)
				tw.push(from, data)
			}
			out = drain(&h, b, out)
			if show(out) != show(tw.out) {
				t.Fatalf("stream %q\ntwin   %q", show(out), show(tw.out))
			}
		}
		h.End()
		out = drain(&h, b, out)
		tw.end()
		if show(out) != show(tw.out) {
			t.Fatalf("at the end\nstream %q\ntwin   %q", show(out), show(tw.out))
		}
		c := h.Counters
		if c.Pushed != c.Delivered+c.Retransmitted+c.OutOfWindow {
			t.Fatalf("account does not balance: %+v", c)
		}
		h.Close(b)
		if b.Used() != 0 || h.Buffered() != 0 {
			t.Fatalf("%d bytes kept after the end", b.Used())
		}
	})
}

// TestStories are single cases: what is done in order, and what comes out.
func TestStories(t *testing.T) {
	type half = *Half
	b := &Budget{PerHalf: 4096, Total: 4096}
	f := func(name, want string, steps ...func(h half)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			var h Half
			var out []int
			for _, step := range steps {
				step(&h)
				out = drain(&h, b, out)
			}
			if got := show(out); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			h.Close(b)
			if b.Used() != 0 {
				t.Errorf("%d bytes kept", b.Used())
			}
		})
	}
	syn := func(seq uint32) func(half) { return func(h half) { h.Syn(seq) } }
	push := func(seq uint32, s string) func(half) { return func(h half) { h.Push(b, seq, []byte(s)) } }
	ack := func(seq uint32) func(half) { return func(h half) { h.Ack(seq) } }
	fin := func(seq uint32) func(half) { return func(h half) { h.Fin(seq) } }
	end := func(h half) { h.End() }

	f("in order", "abcdef", syn(9), push(10, "abc"), push(13, "def"))
	f("swapped", "abcdef", syn(9), push(13, "def"), push(10, "abc"))
	f("wraps around", "abcdef", syn(0xfffffffd), push(1, "def"), push(0xfffffffe, "abc"))
	f("data in SYN", "abc", syn(9), push(10, "abc"))
	f("keep-alive", "abcd", syn(9), push(10, "abc"), push(12, "c"), push(12, ""), push(13, "d"))
	f("mid-stream", "def", push(13, "def"), push(10, "abc"))
	f("mid-stream, pure acknowledgement first", "def", push(13, ""), push(13, "def"))
	f("loss proved by acknowledgement", "<3>def", syn(9), push(13, "def"), ack(16))
	f("loss of the newest", "abc<3>ghi", syn(9), push(10, "abc"), ack(16), push(16, "ghi"))
	f("late copy of what was given up", "<3>def", syn(9), ack(13), push(10, "abc"), push(13, "def"))
	f("loss found at the end", "abc<3>ghi", syn(9), push(10, "abc"), push(16, "ghi"), end)
	f("loss before FIN", "abc<3>", syn(9), push(10, "abc"), fin(16), end)
	f("acknowledged FIN is no byte", "abc", syn(9), push(10, "abc"), fin(13), ack(14))
	f("data behind FIN", "abc", syn(9), fin(13), push(10, "abcXYZ"), push(13, "XYZ"))
	f("first copy wins", "abcdef", syn(9), push(13, "def"), push(10, "abcXXX"))
	f("longer retransmission", "abcdef", syn(9), push(10, "abc"), push(10, "XXXdef"))
	f("covers two holes", "abcdefg", syn(9), push(11, "b"), push(13, "d"), push(10, "aXcXefg"))
	f("far acknowledgement is not believed", "abcdef", syn(9), push(10, "abc"), ack(13+Window+1), push(13, "def"))
	f("far segment is dropped", "abcdef", syn(9), push(10, "abc"), push(1<<30, "XXX"), push(13, "def"))
	f("far behind is dropped", "abcdef", syn(1<<31), push(1<<31+1, "abc"), push(5, "XXX"), push(1<<31+4, "def"))
	f("SYN again", "abcdef", syn(9), push(10, "abc"), syn(9), push(13, "def"))
	f("FIN only", "", fin(10), end)
}

// Segments with new bytes that come after later ones are counted once each;
// repetitions and parts of them are not.
func TestReordered(t *testing.T) {
	f := func(want uint64, segments ...string) {
		t.Helper()
		for _, discard := range []bool{false, true} {
			b := &Budget{PerHalf: 4096, Total: 4096}
			h := Half{Discard: discard}
			h.Syn(99)
			for _, s := range segments {
				h.Push(b, 100+uint32(s[0]-'a'), []byte(s))
				drain(&h, b, nil)
			}
			if h.Counters.Reordered != want {
				t.Errorf("%q: %d, want %d", segments, h.Counters.Reordered, want)
			}
			h.Close(b)
		}
	}
	f(0, "abc", "def", "abc", "cdefg")
	f(0, "def", "ghi", "def", "efghi")
	f(1, "def", "abc")
	f(2, "ghi", "def", "abc", "abc", "def", "ghi")
	f(1, "bc", "ef", "abcdefg")
	f(3, "ghi", "def", "ef", "ab", "cd")
}

func TestResync(t *testing.T) {
	b := &Budget{PerHalf: 4096, Total: 4096}
	for _, jump := range []uint32{Window + 100, 1 << 30, 1<<32 - Window - 500} {
		var h Half
		h.Syn(99)
		h.Push(b, 100, []byte("abc"))
		out := drain(&h, b, nil)
		for i := range uint32(5) {
			h.Push(b, 100+jump+i, []byte{"01234"[i]})
			for {
				p, ok := h.Next(b)
				if !ok {
					break
				}
				for _, c := range p.Data {
					out = append(out, int(c))
				}
			}
		}
		if got := show(out); got != "abc234" {
			t.Errorf("jump %d: %q", jump, got)
		}
		h.Close(b)
	}
}

func TestBounds(t *testing.T) {
	b := &Budget{PerHalf: 8000, Total: 20000}
	halves := make([]Half, 8)
	seg := bytes.Repeat([]byte("x"), 1000)
	for round := range uint32(500) {
		for i := range halves {
			h := &halves[i]
			h.Syn(0)
			h.Push(b, 1+1001*(round+1), seg) // a byte is missing before each
			for {
				if _, ok := h.Next(b); !ok {
					break
				}
			}
			if h.Buffered() > b.PerHalf || b.Used() > b.Total {
				t.Fatalf("round %d: %d in one, %d in all", round, h.Buffered(), b.Used())
			}
		}
	}
	for i := range halves {
		h := &halves[i]
		if h.Counters.Overflows == 0 || h.Counters.Missed == 0 {
			t.Errorf("half %d: bound never reached: %+v", i, h.Counters)
		}
		if kept := h.Counters.Pushed - h.Counters.Delivered; kept > uint64(b.PerHalf) {
			t.Errorf("half %d: %d bytes neither given out nor kept", i, kept)
		}
		h.Close(b)
	}
	if b.Used() != 0 {
		t.Errorf("%d bytes kept", b.Used())
	}
}

func TestManySmallBlocks(t *testing.T) {
	b := &Budget{PerHalf: 1 << 30, Total: 1 << 30}
	var h Half
	h.Syn(0)
	for i := range uint32(10_000) {
		h.Push(b, 50_000-2*i, []byte("x"))
		for {
			if _, ok := h.Next(b); !ok {
				break
			}
		}
		if len(h.blocks) > maxBlocks {
			t.Fatalf("%d blocks", len(h.blocks))
		}
	}
	if h.Counters.Overflows == 0 {
		t.Error("bound never reached")
	}
}

// TestSmallSegments keeps segments of all lengths, which take no more memory than
// twice what the budget counts.
func TestSmallSegments(t *testing.T) {
	b := &Budget{PerHalf: 1 << 30, Total: 1 << 30}
	var h Half
	h.Syn(0)
	payload := make([]byte, 2*bufferSize)
	at, blocks := uint32(2), uint32(maxBlocks-1)
	for i := range blocks {
		n := 1 + i*uint32(len(payload)-1)/blocks
		h.Push(b, at, payload[:n])
		at += n + 1
	}
	taken := 0
	for i := range h.blocks {
		taken += cap(h.blocks[i].buf)
	}
	if len(h.blocks) != int(blocks) || taken > 2*b.Used() {
		t.Errorf("%d blocks take %d bytes, %d are counted", len(h.blocks), taken, b.Used())
	}
	// Those of attackers are of a byte.
	h.Close(b)
	h.Syn(0)
	for i := range blocks {
		h.Push(b, 2+2*i, payload[:1])
	}
	taken = 0
	for i := range h.blocks {
		taken += cap(h.blocks[i].buf)
	}
	if len(h.blocks) != int(blocks) || taken > b.Used() {
		t.Errorf("%d blocks of a byte take %d bytes, %d are counted", len(h.blocks), taken, b.Used())
	}
}

// TestRoomForBlocks has many blocks wait, and asks that nothing of their memory is
// left when they have gone, or the stream has.
func TestRoomForBlocks(t *testing.T) {
	for _, closed := range []bool{false, true} {
		b := &Budget{PerHalf: 1 << 30, Total: 1 << 30}
		var h Half
		h.Syn(0)
		for i := range uint32(maxBlocks / 2) {
			h.Push(b, 2+2*i, []byte("x"))
		}
		if closed {
			h.Close(b)
		} else {
			h.End()
			for {
				if _, ok := h.Next(b); !ok {
					break
				}
			}
		}
		if len(h.blocks) != 0 || cap(h.blocks) > fewBlocks || b.Used() != 0 {
			t.Errorf("closed %v: room for %d blocks, %d bytes used", closed, cap(h.blocks), b.Used())
		}
	}
}

// TestDiscard asks that the account of gaps is the same whether or not
// content is wanted, and whether or not what is not wanted is skipped.
func TestDiscard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &Budget{PerHalf: 1 << 20, Total: 1 << 20}
		with, without := Half{}, Half{Discard: true}
		with.Syn(0)
		without.Syn(0)
		for range rapid.IntRange(0, 30).Draw(t, "segments") {
			from := rapid.IntRange(1, 100).Draw(t, "from")
			data := make([]byte, rapid.IntRange(0, 20).Draw(t, "length"))
			ack := rapid.IntRange(0, 100).Draw(t, "ack")
			for _, h := range []*Half{&with, &without} {
				if !h.Skip(uint32(from), len(data)) {
					h.Push(b, uint32(from), data)
					drain(h, b, nil)
				}
				if may := h.Ack(uint32(ack)); len(drain(h, b, nil)) > 0 && !may {
					t.Fatal("Ack says that there is nothing, and there is")
				}
			}
			if with.Counters != without.Counters {
				t.Fatalf("%+v\n%+v", with.Counters, without.Counters)
			}
		}
		with.Close(b)
		without.Close(b)
		if b.Used() != 0 {
			t.Fatalf("%d bytes kept", b.Used())
		}
	})
}

func TestConflictIsCounted(t *testing.T) {
	b := &Budget{PerHalf: 4096, Total: 4096}
	var h Half
	h.Syn(0)
	h.Push(b, 5, []byte("evil"))
	h.Push(b, 5, []byte("good"))
	if h.Counters.Conflicting != 4 || h.Counters.Retransmitted != 4 {
		t.Errorf("%+v", h.Counters)
	}
}

func TestInOrderDoesNotAllocate(t *testing.T) {
	b := &Budget{PerHalf: 1 << 20, Total: 1 << 20}
	var h, early Half
	h.Syn(0)
	early.Syn(0)
	seq, data := uint32(1), make([]byte, 1460)
	if n := testing.AllocsPerRun(1000, func() {
		h.Push(b, seq, data)
		if p, ok := h.Next(b); !ok || &p.Data[0] != &data[0] {
			t.Fatal("in-order data was not passed through")
		}
		// A swapped pair is kept in a buffer that is used again.
		early.Push(b, seq+1460, data)
		early.Next(b)
		early.Push(b, seq, data)
		early.Next(b)
		early.Next(b)
		early.Close(b)
		early.Syn(seq + 1459)
		h.Ack(seq)
		seq += 1460
	}); n != 0 {
		t.Errorf("%v allocations per segment", n)
	}
}

func TestPending(t *testing.T) {
	var p Pending
	b := &Budget{}
	if got := p.Join([]byte("abc")); string(got) != "abc" {
		t.Errorf("%q", got)
	}
	p.Keep(b, []byte("bc"))
	got := p.Join([]byte("def"))
	if string(got) != "bcdef" {
		t.Errorf("%q", got)
	}
	p.Keep(b, got[4:])
	if got := p.Join([]byte("g")); string(got) != "fg" {
		t.Errorf("%q", got)
	}
	p.Reset(b)
	if p.Len() != 0 {
		t.Error("not empty")
	}
	var other Pending
	if allocs := testing.AllocsPerRun(10, func() {
		other.Keep(b, []byte("hi"))
		p.Keep(b, []byte("jk"))
		if string(other.Join([]byte("!"))) != "hi!" || string(p.Join(nil)) != "jk" {
			t.Error("mixed up")
		}
		p.Reset(b)
		other.Reset(b)
	}); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzHalf reads operations from bytes and asks that pieces are contiguous,
// the account balances and the bounds hold.
func FuzzHalf(f *testing.F) {
	f.Add([]byte{0, 0, 0, 9, 1, 0, 0, 3, 1, 0, 6, 3, 2, 0, 9, 0, 3, 0, 9, 0})
	f.Add([]byte{1, 255, 255, 200, 1, 0, 0, 200, 4, 0, 0, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		b := &Budget{PerHalf: 2000, Total: 2000}
		var h Half
		payload := make([]byte, 256)
		var given uint64
		for len(ops) >= 4 {
			op, n := ops[0], int(ops[3])
			seq := uint32(ops[1])<<24 | uint32(ops[2])
			ops = ops[4:]
			switch op % 6 {
			case 0:
				h.Syn(seq)
			case 1, 5:
				h.Push(b, seq, payload[:n])
			case 2:
				h.Ack(seq)
			case 3:
				h.Fin(seq)
			case 4:
				h.End()
			}
			for {
				p, ok := h.Next(b)
				if !ok {
					break
				}
				if len(p.Data) == 0 && p.Gap <= 0 || len(p.Data) > 0 && p.Gap != 0 {
					t.Fatalf("piece %+v", p)
				}
				given += uint64(len(p.Data))
			}
			if h.Buffered() > b.PerHalf || h.Buffered() != b.Used() {
				t.Fatalf("%d kept, %d used", h.Buffered(), b.Used())
			}
		}
		h.End()
		for p, ok := h.Next(b); ok; p, ok = h.Next(b) {
			given += uint64(len(p.Data))
		}
		c := h.Counters
		if c.Delivered != given || c.Pushed != c.Delivered+c.Retransmitted+c.OutOfWindow {
			t.Fatalf("account: %+v, given %d", c, given)
		}
		if h.Close(b); b.Used() != 0 {
			t.Fatalf("%d bytes kept", b.Used())
		}
	})
}
