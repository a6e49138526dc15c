// Package prototest is the contract of package proto as code. A protocol's
// test is a list of recorded conversations and one call of Test; what each
// conversation means stands beside it as JSON lines that a person has read.
// Test then does to the conversations what networks and attackers do to them.
package prototest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/golden"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Case is a conversation and what is to be expected of it. Its events are in
// testdata/<Name>.jsonl; the test flag -update writes that file.
type Case struct {
	Name   string
	Pieces []Piece
	// Recovers says that the parser finds its feet again after bytes were
	// lost: if the conversation is played once more after a gap anywhere in
	// it, the second playing gives its events. A protocol whose meaning hangs
	// on its first bytes cannot.
	Recovers bool
	// Midstream says that the conversation does not begin with what Probe
	// recognises.
	Midstream bool
	// Sealed is the index of the first piece whose portions mean something,
	// because it is encrypted and its sizes are all there is: it and what
	// follows are not cut. 0 where all may be.
	Sealed int
	// Allocs is how many allocations one event may cost, 0 if that is not of
	// interest here. It is measured over the conversation played again and
	// again: where it Recovers on one parser, else on a new one each time.
	Allocs float64
}

// MaxMemory is how many bytes a parser of one flow may hold on to, whatever
// it is sent.
const MaxMemory = 1 << 20

// start is when all conversations begin.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Test tries a protocol with each case, in every way that proto.Parser and
// proto.Protocol promise to survive.
func Test(t *testing.T, p proto.Protocol, cases ...Case) {
	t.Helper()
	schema, err := event.NewSchema(p.Fields)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("probe/strangers", func(t *testing.T) { testStrangers(t, p) })
	for i, c := range cases {
		flood := 10 << 20 // bytes of each sort of ill will
		if i > 0 {
			flood = 1 << 20 // the first case has shown the bound
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Run("golden", func(t *testing.T) { testGolden(t, p, schema, c) })
			t.Run("probe", func(t *testing.T) { testProbe(t, p, c) })
			if p.Transport&proto.TCP != 0 {
				t.Run("cuts", func(t *testing.T) { testCuts(t, p, c) })
			}
			t.Run("gaps", func(t *testing.T) { testGaps(t, p, c) })
			t.Run("truncated", func(t *testing.T) { testTruncated(t, p, c) })
			t.Run("flipped", func(t *testing.T) { testFlipped(t, p, c) })
			t.Run("memory", func(t *testing.T) { testMemory(t, p, c, flood) })
			if c.Allocs > 0 {
				t.Run("allocs", func(t *testing.T) { testAllocs(t, p, c) })
			}
		})
	}
}

// player feeds one parser as the stream stage would, and watches over what
// the parser may do.
type player struct {
	t       testing.TB
	proto   proto.Protocol
	parser  proto.Parser
	pending [2][]byte
	dead    error         // what ended the parsing
	over    bool          // the parser is done, or was told that the flow is
	events  []event.Event // what was emitted, if keep
	count   int           // how many were
	keep    bool
	arena   event.Arena
	out     *proto.Out
}

func newPlayer(t testing.TB, p proto.Protocol) *player {
	pl := &player{t: t, proto: p, parser: p.New(), keep: true}
	pl.out = proto.NewOut(&pl.arena, func(at time.Time, fields []event.Field) {
		pl.count++
		if pl.keep {
			pl.events = append(pl.events, (&event.Event{Time: at, Kind: p.Name, Fields: fields}).Clone())
		}
	})
	return pl
}

// forget takes back what the arena has given, and spoils it.
func (pl *player) forget() {
	pl.arena.Reset()
	if !pl.keep {
		return
	}
	for range 4 {
		b := pl.arena.Bytes(4 << 10)
		b = b[:cap(b)]
		for i := range b {
			b[i] = '?'
		}
		clear(pl.arena.Values(64)[:64])
		clear(pl.arena.Fields(64)[:64])
	}
	pl.arena.Reset()
}

func (pl *player) play(dir proto.Dir, data []byte, at time.Duration) {
	if pl.dead != nil || pl.over || len(data) == 0 {
		return
	}
	b := append(pl.pending[dir], data...)
	n, err := pl.parser.Parse(dir, b, start.Add(at), pl.out)
	pl.forget()
	switch {
	case n < 0 || n > len(b):
		pl.t.Fatalf("Parse was given %d bytes and says it used %d", len(b), n)
	case err == proto.ErrDone:
		clear(b)
		pl.over = true
		return
	case err != nil:
		clear(b)
		pl.dead = err
		return
	}
	rest := len(b) - n
	if pl.proto.Transport&proto.TCP == 0 {
		rest = 0
	}
	if rest > proto.MaxPending {
		pl.dead = fmt.Errorf("%d bytes left pending, more than proto.MaxPending", rest)
		return
	}
	copy(b, b[n:n+rest])
	// b is the parser's only until Parse returns.
	clear(b[rest:])
	pl.pending[dir] = b[:rest]
}

func (pl *player) gap(dir proto.Dir, n int) {
	if pl.dead != nil || pl.over {
		return
	}
	pl.pending[dir] = pl.pending[dir][:0]
	pl.parser.Gap(dir, n)
}

func (pl *player) end() *player {
	if !pl.over {
		pl.parser.End(pl.out)
		pl.forget()
	}
	pl.over = true
	return pl
}

func (pl *player) pieces(ps []Piece) *player {
	for _, x := range ps {
		pl.play(x.Dir, x.Data, x.At)
	}
	return pl
}

func (pl *player) json() []byte {
	var b []byte
	for i := range pl.events {
		b = append(pl.events[i].AppendJSON(b), '\n')
	}
	return b
}

func run(t testing.TB, p proto.Protocol, ps []Piece) []byte {
	return newPlayer(t, p).pieces(ps).end().json()
}

func testGolden(t *testing.T, p proto.Protocol, schema *event.Schema, c Case) {
	pl := newPlayer(t, p).pieces(c.Pieces)
	if pl.dead != nil && strings.Contains(pl.dead.Error(), "proto.MaxPending") {
		t.Error(pl.dead)
	}
	pl.end()
	got := pl.json()
	golden.Check(t, filepath.Join("testdata", c.Name+".jsonl"), got)
	if again := run(t, p, c.Pieces); !bytes.Equal(got, again) {
		t.Errorf("the same bytes give other events:\n%s\n%s", got, again)
	}
	for _, e := range pl.events {
		seen := map[string]bool{}
		for _, f := range e.Fields {
			if seen[f.Name] {
				t.Errorf("field %s twice in one event", f.Name)
			}
			seen[f.Name] = true
			checkField(t, schema, f.Name, f.Value)
		}
	}
}

// checkField sees to it that a field is documented and of the type that its
// document says.
func checkField(t *testing.T, schema *event.Schema, name string, v event.Value) {
	doc, ok := schema.Lookup(name)
	if !ok {
		t.Errorf("field %s is not documented", name)
		return
	}
	if v.Type() == event.TypeList {
		for _, x := range v.List() {
			checkField(t, schema, name, x)
		}
		return
	}
	switch v.Type() {
	case event.TypeObject:
		ok = doc.Type == event.Nested
		for _, f := range v.Object() {
			checkField(t, schema, name+"."+f.Name, f.Value)
		}
	case event.TypeString:
		ok = doc.Type == event.Keyword
	case event.TypeInt, event.TypeUint:
		ok = doc.Type == event.Long || doc.Type == event.Double
	case event.TypeFloat:
		ok = doc.Type == event.Double
	case event.TypeBool:
		ok = doc.Type == event.Boolean
	case event.TypeIP:
		ok = doc.Type == event.IPType
	case event.TypeTime:
		ok = doc.Type == event.Date
	default:
		ok = true // an absent value is written nowhere
	}
	if !ok {
		t.Errorf("field %s: value %v is not of its documented type %s", name, v, doc.Type)
	}
}

// testProbe asks for a straight way to Yes: while the bytes of the direction
// that spoke first come in, the probe may say Maybe, then Yes, and never No.
// Of the other direction it may not say No.
func testProbe(t *testing.T, p proto.Protocol, c Case) {
	var spoken [2]bool
	for i, x := range c.Pieces {
		if spoken[x.Dir] {
			continue
		}
		spoken[x.Dir] = true
		b := x.Data
		if p.Transport&proto.TCP != 0 {
			for _, more := range c.Pieces[i+1:] {
				if more.Dir == x.Dir {
					b = append(b[:len(b):len(b)], more.Data...)
				}
			}
		}
		b = b[:min(len(b), proto.MaxProbe)]
		sure := false
		for n := range len(b) + 1 {
			v := p.Probe(x.Dir, b[:n:n])
			if c.Midstream || p.Transport&proto.TCP == 0 && n < len(b) {
				continue // only must not panic
			}
			if v == proto.No || sure && v != proto.Yes {
				t.Fatalf("Probe says %v of the first %d bytes in direction %d", v, n, x.Dir)
			}
			sure = v == proto.Yes
		}
		if !sure && !c.Midstream && !spoken[x.Dir.Flip()] {
			t.Errorf("Probe does not recognise the first %d bytes in direction %d", len(b), x.Dir)
		}
	}
}

// testCuts plays the conversation in other portions: the events stay the same.
func testCuts(t *testing.T, p proto.Protocol, c Case) {
	want := run(t, p, c.Pieces)
	open, sealed := c.Pieces, []Piece(nil)
	if c.Sealed > 0 {
		open, sealed = c.Pieces[:c.Sealed], c.Pieces[c.Sealed:]
	}
	check := func(ps []Piece, want []byte, format string, args ...any) {
		t.Helper()
		if got := run(t, p, ps); !bytes.Equal(got, want) {
			t.Fatalf("%s: other events\n got %s\nwant %s", fmt.Sprintf(format, args...), got, want)
		}
	}
	total := 0
	for _, x := range open {
		total += len(x.Data)
	}
	if total <= 16<<10 {
		check(append(cut(open, func(int) int { return 1 }), sealed...), want, "byte by byte")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		most := 1 << (1 + i%12)
		check(append(cut(open, func(int) int { return 1 + rnd.IntN(most) }), sealed...), want, "random portions of at most %d bytes, number %d", most, i)
	}
	stride := 1 + total*total/(8<<20) // every place, while that is quick
	for i, x := range open {
		for n := 1; n < len(x.Data); n += stride {
			ps := slices.Insert(slices.Clone(c.Pieces), i+1, Piece{x.Dir, x.Data[n:], x.At})
			ps[i].Data = x.Data[:n]
			check(ps, want, "piece %d cut after %d bytes", i, n)
		}
	}
	// What comes together has one time, so compare with a timeless playing.
	timeless := slices.Clone(c.Pieces)
	var together []Piece
	for i := range timeless {
		timeless[i].At = 0
		if k := len(together) - 1; k >= 0 && i < len(open) && together[k].Dir == timeless[i].Dir {
			together[k].Data = slices.Concat(together[k].Data, timeless[i].Data)
		} else {
			together = append(together, timeless[i])
		}
	}
	for _, x := range together {
		if len(x.Data) > proto.MaxPending {
			return
		}
	}
	check(together, run(t, p, timeless), "pieces joined")
}

// cut divides each piece into portions of size(rest) bytes.
func cut(ps []Piece, size func(rest int) int) (out []Piece) {
	for _, x := range ps {
		for len(x.Data) > 0 {
			n := min(size(len(x.Data)), len(x.Data))
			out = append(out, Piece{x.Dir, x.Data[:n], x.At})
			x.Data = x.Data[n:]
		}
	}
	return out
}

// testGaps loses a piece, the tail of one and the head of one, at each place,
// and then plays the conversation once more.
func testGaps(t *testing.T, p proto.Protocol, c Case) {
	if len(c.Pieces) == 0 {
		return
	}
	const later = time.Hour
	again := slices.Clone(c.Pieces)
	for i := range again {
		again[i].At += later
	}
	wanted := newPlayer(t, p).pieces(again).end().events
	stride := 1 + len(c.Pieces)/200
	for i := 0; i < len(c.Pieces); i += stride {
		n := len(c.Pieces[i].Data)
		for _, lost := range [][2]int{{0, n}, {n / 2, n}, {0, n / 2}, {n / 3, n/3 + 1}} {
			if lost[1] > n || lost[0] >= lost[1] {
				continue
			}
			pl := newPlayer(t, p)
			for j, x := range c.Pieces {
				if j != i {
					pl.play(x.Dir, x.Data, x.At)
					continue
				}
				pl.play(x.Dir, x.Data[:lost[0]], x.At)
				pl.gap(x.Dir, lost[1]-lost[0])
				pl.play(x.Dir, x.Data[lost[1]:], x.At)
			}
			if !c.Recovers {
				pl.end()
				continue
			}
			if pl.dead != nil {
				t.Fatalf("piece %d without its bytes %d to %d: parsing ended: %v", i, lost[0], lost[1], pl.dead)
			}
			pl.pieces(again).end()
			if pl.dead != nil {
				t.Fatalf("piece %d without its bytes %d to %d: later parsing ended: %v", i, lost[0], lost[1], pl.dead)
			}
			if miss := missing(pl.events, wanted); miss != nil {
				t.Fatalf("piece %d without its bytes %d to %d: not found again: %s", i, lost[0], lost[1], miss.AppendJSON(nil))
			}
		}
	}
	// A capture that begins in the middle, and losses beyond counting.
	pl := newPlayer(t, p)
	pl.gap(proto.Orig, 1<<30)
	pl.gap(proto.Resp, 1<<30)
	pl.pieces(c.Pieces)
	pl.gap(proto.Orig, 0)
	pl.end()
}

// missing returns an event of want whose time is not among got's, each time
// counted as often as it occurs. Contents may differ: what was lost is not
// remembered.
func missing(got, want []event.Event) *event.Event {
	left := map[time.Time]int{}
	for i := range got {
		left[got[i].Time]++
	}
	for i := range want {
		if left[want[i].Time]--; left[want[i].Time] < 0 {
			return &want[i]
		}
	}
	return nil
}

// testTruncated ends the conversation after each number of bytes.
func testTruncated(t *testing.T, p proto.Protocol, c Case) {
	total := 0
	for _, x := range c.Pieces {
		total += len(x.Data)
	}
	stride := 1 + total*total/(8<<20)
	for i, x := range c.Pieces {
		for n := 0; n < len(x.Data); n += stride {
			newPlayer(t, p).pieces(c.Pieces[:i]).pieces([]Piece{{x.Dir, x.Data[:n], x.At}}).end()
		}
	}
}

// flip returns the pieces with some bits flipped, and sometimes a piece left
// out, doubled, or sent the other way.
func flip(rnd *rand.Rand, ps []Piece) (out []Piece) {
	for _, x := range ps {
		x.Data = slices.Clone(x.Data)
		for range rnd.IntN(4) {
			if len(x.Data) > 0 {
				x.Data[rnd.IntN(len(x.Data))] ^= 1 << rnd.IntN(8)
			}
		}
		switch rnd.IntN(32) {
		case 0:
			continue
		case 1:
			out = append(out, x)
		case 2:
			x.Dir = x.Dir.Flip()
		}
		out = append(out, x)
	}
	return out
}

func testFlipped(t *testing.T, p proto.Protocol, c Case) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		ps := flip(rnd, c.Pieces)
		for _, x := range ps {
			if v := p.Probe(x.Dir, x.Data[:min(len(x.Data), proto.MaxProbe)]); v > proto.Yes {
				t.Fatalf("Probe says %d", v)
			}
		}
		newPlayer(t, p).pieces(ps).end()
	}
}

// testMemory sends flood bytes of each sort of ill will through one parser.
func testMemory(t *testing.T, p proto.Protocol, c Case, flood int) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for name, more := range map[string]func() []Piece{
		"conversation again and again": func() []Piece { return c.Pieces },
		"damaged conversations":        func() []Piece { return flip(rnd, c.Pieces) },
		"one direction only": func() []Piece {
			ps := flip(rnd, c.Pieces)
			return slices.DeleteFunc(ps, func(x Piece) bool { return x.Dir != c.Pieces[0].Dir })
		},
		"noise": func() []Piece {
			x := Piece{Dir: proto.Dir(rnd.IntN(2)), Data: make([]byte, 1400)}
			for i := range x.Data {
				x.Data[i] = byte(rnd.Uint32())
			}
			return []Piece{x}
		},
		"conversation, then zeros": func() []Piece {
			return append(slices.Clone(c.Pieces), Piece{Data: make([]byte, 64<<10)})
		},
	} {
		pl := newPlayer(t, p)
		pl.keep = false
		before := heap()
		for n, turns := 0, 0; n < flood && turns < flood/64; turns++ {
			for _, x := range more() {
				n += len(x.Data)
				pl.play(x.Dir, x.Data, x.At)
			}
			if pl.dead != nil || pl.over {
				// The flow is not parsed further; go on with a new one, whose
				// memory is what counts.
				pl.dead, pl.over, pl.parser, pl.pending = nil, false, p.New(), [2][]byte{}
			}
		}
		if grown := heap() - before; grown > MaxMemory {
			t.Errorf("%s: the parser holds %d bytes after %d, more than %d", name, grown, flood, MaxMemory)
		}
		pl.end()
		runtime.KeepAlive(pl)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func testAllocs(t *testing.T, p proto.Protocol, c Case) {
	pl := newPlayer(t, p)
	pl.keep = false
	for i := range pl.pending {
		pl.pending[i] = make([]byte, 0, proto.MaxPending)
	}
	pl.pieces(c.Pieces)
	pl.count = 0
	runs := 0
	allocs := testing.AllocsPerRun(100, func() {
		runs++
		if !c.Recovers {
			pl.parser, pl.over = p.New(), false
		}
		pl.pieces(c.Pieces)
		if !c.Recovers {
			pl.end()
		}
	})
	if pl.dead != nil {
		t.Fatal(pl.dead)
	}
	events := float64(pl.count) / float64(runs)
	if events == 0 {
		t.Fatal("no events")
	}
	if per := allocs / events; per > c.Allocs {
		t.Errorf("%.1f allocations per event, want at most %.1f", per, c.Allocs)
	} else {
		t.Logf("%.1f allocations per event", per)
	}
}
