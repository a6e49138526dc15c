package correlator

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Most groups that are remembered have a signal or two, and nothing comes of
// them. They sleep: their signals are packed into one text, a quarter of the
// size, in which the garbage collector has nothing to look for. A signal more
// wakes a group, which then judges anew what it had; see state.wake.

// drowsy is how many signals a group may have and sleep.
const drowsy = 8

// sleep packs a group, if nothing but its signals is to be remembered.
func (s *state) sleep(g *group) {
	if g.asleep != "" || len(g.signals) == 0 || len(g.signals) > drowsy || len(g.buckets) > 0 || g.isDirty || s.waiting[g] {
		return
	}
	p := packing{words: &s.words, places: &s.places, buf: s.packed[:0], fits: true}
	p.buf = append(p.buf, byte(len(g.signals)))
	p.time(g.signals[0].Time)
	p.time(g.last())
	p.time(g.closed)
	for i, sig := range g.signals {
		if g.fired[i] || sig.from != nil || len(sig.Then) > 0 {
			return
		}
		p.signal(sig)
	}
	s.packed = p.buf
	if p.fits {
		g.asleep, g.open = string(p.buf), nil
	}
}

// wake unpacks a group that sleeps. Its signals are to be judged again.
func (s *state) wake(g *group) {
	if g.asleep == "" {
		return
	}
	u := unpacking{words: s.words.list, places: s.places.list, rest: g.asleep[1:]}
	n := int(g.asleep[0])
	u.time() // of the first
	u.time() // of the last
	g.open = &open{closed: u.time(), signals: make([]*Signal, n, n+1), fired: make([]bool, n, n+1)}
	for i := range g.signals {
		sig := u.signal()
		sig.Rule, sig.Group = g.rule, g.key
		g.signals[i] = &sig
	}
	g.asleep = ""
}

// size is how many signals a group has.
func (g *group) size() int {
	if g.asleep != "" {
		return int(g.asleep[0])
	}
	return len(g.signals)
}

// first and last are the times of the earliest and the latest signal; zero if
// all were taken back.
func (g *group) first() time.Time {
	if g.asleep != "" {
		u := unpacking{rest: g.asleep[1:]}
		return u.time()
	}
	if len(g.signals) == 0 {
		return time.Time{}
	}
	return g.signals[0].Time
}

func (g *group) last() time.Time {
	if g.asleep != "" {
		u := unpacking{rest: g.asleep[9:]}
		return u.time()
	}
	if len(g.signals) == 0 {
		return time.Time{}
	}
	return g.signals[len(g.signals)-1].Time
}

// lexicon numbers what many signals have in common. It is bounded: what comes
// when it is full has no number.
type lexicon[T comparable] struct {
	index map[T]uint64
	list  []T
}

const (
	maxWords = 1 << 16
	maxWord  = 128 // bytes; longer texts are hardly common
)

func (l *lexicon[T]) number(x T) (n uint64, ok bool) {
	if n, ok = l.index[x]; ok || len(l.list) == maxWords {
		return n, ok
	}
	if l.index == nil {
		l.index = map[T]uint64{}
	}
	n = uint64(len(l.list))
	l.index[x], l.list = n, append(l.list, x)
	return n, true
}

// packing appends to buf. What it cannot express makes fits false.
type packing struct {
	words  *lexicon[string]
	places *lexicon[event.Place]
	buf    []byte
	fits   bool
}

func (p *packing) uint(n uint64) { p.buf = binary.AppendUvarint(p.buf, n) }

func (p *packing) text(s string) {
	p.uint(uint64(len(s)))
	p.buf = append(p.buf, s...)
}

// word is for a text that others have, too.
func (p *packing) word(s string) {
	if len(s) <= maxWord {
		if n, ok := p.words.number(s); ok {
			p.uint(n + 1)
			return
		}
	}
	p.uint(0)
	p.text(s)
}

func (p *packing) texts(list []string) {
	p.uint(uint64(len(list)))
	for _, s := range list {
		p.text(s)
	}
}

// noTime stands for the zero time.
const noTime = math.MinInt64

func (p *packing) time(t time.Time) {
	n := int64(noTime)
	if !t.IsZero() {
		n = t.UnixNano()
		p.fits = p.fits && time.Unix(0, n).Equal(t)
	}
	p.buf = binary.BigEndian.AppendUint64(p.buf, uint64(n))
}

func (p *packing) addr(a netip.Addr) {
	p.fits = p.fits && a.Zone() == ""
	b := a.AsSlice()
	p.buf = append(append(p.buf, byte(len(b))), b...)
}

func (p *packing) value(v event.Value) {
	p.buf = append(p.buf, byte(v.Type()))
	switch v.Type() {
	case event.TypeNone:
	case event.TypeString:
		p.text(v.Str())
	case event.TypeInt:
		n, _ := v.Int()
		p.buf = binary.AppendVarint(p.buf, n)
	case event.TypeUint:
		n, _ := v.Uint()
		p.uint(n)
	case event.TypeFloat:
		f, _ := v.Float()
		p.buf = binary.BigEndian.AppendUint64(p.buf, math.Float64bits(f))
	case event.TypeIP:
		a, _ := v.IP()
		p.addr(a)
	default:
		p.fits = false
	}
}

func (p *packing) signal(s *Signal) {
	p.buf = append(p.buf, s.ID[:]...)
	p.time(s.Time)
	p.word(s.Sensor)
	p.addr(s.Source)
	p.addr(s.Target)
	p.uint(uint64(s.Part))
	p.word(s.Shared)
	p.value(s.Value)
	p.uint(uint64(len(s.Places)))
	for _, x := range s.Places {
		n, ok := p.places.number(x)
		p.fits = p.fits && ok
		p.uint(n)
	}
	n := s.Note
	if n == nil {
		p.buf = append(p.buf, 0)
		return
	}
	p.buf = append(p.buf, 1)
	p.text(n.Message)
	p.uint(uint64(n.Severity))
	p.texts(n.Hosts)
	p.texts(n.Users)
	p.uint(uint64(len(n.Explain)))
	for _, x := range n.Explain {
		p.word(x.Field)
		p.word(x.Predicate)
		p.text(x.Value)
	}
	i := &n.Indicator
	if *i == (event.Indicator{}) {
		p.buf = append(p.buf, 0)
		return
	}
	p.buf = append(p.buf, 1)
	p.word(i.Type)
	p.text(i.Value)
	p.word(i.Provider)
	p.uint(uint64(i.Confidence))
	p.text(i.Reference)
	p.text(i.Description)
	p.word(i.TLP)
	p.time(i.Seen)
}

// unpacking takes from rest what packing has put there. Texts that it returns
// are parts of rest.
type unpacking struct {
	words  []string
	places []event.Place
	rest   string
}

func (u *unpacking) take(n int) string {
	s := u.rest[:n]
	u.rest = u.rest[n:]
	return s
}

func (u *unpacking) uint() (n uint64) {
	for shift := 0; ; shift += 7 {
		b := u.rest[0]
		u.rest = u.rest[1:]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

func (u *unpacking) int() int64 {
	n := u.uint()
	return int64(n>>1) ^ -int64(n&1)
}

func (u *unpacking) fixed() uint64 { return binary.BigEndian.Uint64([]byte(u.take(8))) }

func (u *unpacking) text() string { return u.take(int(u.uint())) }

func (u *unpacking) word() string {
	if n := u.uint(); n > 0 {
		return u.words[n-1]
	}
	return u.text()
}

func (u *unpacking) texts() []string {
	n := u.uint()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = u.text()
	}
	return list
}

func (u *unpacking) time() time.Time {
	n := int64(u.fixed())
	if n == noTime {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func (u *unpacking) addr() netip.Addr {
	n := int(u.take(1)[0])
	a, _ := netip.AddrFromSlice([]byte(u.take(n)))
	return a
}

func (u *unpacking) value() event.Value {
	switch event.Type(u.take(1)[0]) {
	case event.TypeString:
		return event.Str(u.text())
	case event.TypeInt:
		return event.Int(u.int())
	case event.TypeUint:
		return event.Uint(u.uint())
	case event.TypeFloat:
		return event.Float(math.Float64frombits(u.fixed()))
	case event.TypeIP:
		return event.IP(u.addr())
	}
	return event.Value{}
}

func (u *unpacking) signal() (s Signal) {
	copy(s.ID[:], u.take(len(s.ID)))
	s.Time = u.time()
	s.Sensor = u.word()
	s.Source, s.Target = u.addr(), u.addr()
	s.Part = int(u.uint())
	s.Shared = u.word()
	s.Value = u.value()
	if n := u.uint(); n > 0 {
		s.Places = make([]event.Place, n)
		for i := range s.Places {
			s.Places[i] = u.places[u.uint()]
		}
	}
	if u.take(1)[0] == 0 {
		return s
	}
	n := &Note{Message: u.text(), Severity: int(u.uint()), Hosts: u.texts(), Users: u.texts()}
	if count := u.uint(); count > 0 {
		n.Explain = make([]event.Explain, count)
		for i := range n.Explain {
			n.Explain[i] = event.Explain{Field: u.word(), Predicate: u.word(), Value: u.text()}
		}
	}
	s.Note = n
	if u.take(1)[0] == 1 {
		n.Indicator = event.Indicator{
			Type: u.word(), Value: u.text(), Provider: u.word(), Confidence: int(u.uint()),
			Reference: u.text(), Description: u.text(), TLP: u.word(), Seen: u.time(),
		}
	}
	return s
}
