// Package spreadtest plays a correlator that is spread over processes, with
// logs that are slices, and everything that may happen to it.
package spreadtest

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/spread"
	"github.com/tocsin/tocsin/event"
)

// Play says what is to be played.
type Play struct {
	Matcher  func() (*correlator.Matcher, error) // a process's own
	Sources  int                                 // partitions of events
	Keepers  int                                 // partitions of signals
	Workers  int                                 // processes
	Mishaps  bool                                // they crash, and partitions move
	Seed     uint64
	Mixed    int // events are published up to so many places late
	Restarts int // counts what happened: partitions of signals taken over with a memory to be read again
}

// Run gives the events to the processes in batches and an order that chance
// chooses, and returns the alerts as a store would have them at the end.
func (p *Play) Run(t *testing.T, events []event.Event) []event.Alert {
	t.Helper()
	s := &stage{
		t: t, play: p, chance: rand.New(rand.NewPCG(p.Seed, uint64(p.Sources))), events: events,
		read: make([]int64, p.Sources), sources: make([]*spread.Source, p.Sources), sourceOf: make([]int, p.Sources), published: make([][]int, p.Sources),
		kept: make([]commit, p.Keepers), keepers: make([]*spread.Keeper, p.Keepers), keeperOf: make([]int, p.Keepers), signals: make([][][]byte, p.Keepers),
	}
	for range p.Workers {
		m, err := p.Matcher()
		if err != nil {
			t.Fatal(err)
		}
		s.matchers = append(s.matchers, m)
	}
	for i := range s.sourceOf {
		s.giveSource(i)
	}
	for i := range s.keeperOf {
		s.giveKeeper(i)
	}
	for s.ahead < len(events) {
		s.any()
	}
	ends := make([]int64, p.Sources)
	for i := range ends {
		ends[i] = int64(len(s.published[i]))
	}
	for round := 0; !s.done(ends); round++ {
		if round > 100*len(events)+10000 {
			t.Fatal("the processes do not come to an end")
		}
		s.any()
	}
	for _, k := range s.keepers {
		s.store.Add(k.Flush())
	}
	return s.store.Sorted()
}

type commit struct {
	next       int64
	checkpoint string
}

type stage struct {
	t        *testing.T
	play     *Play
	chance   *rand.Rand
	matchers []*correlator.Matcher

	events    []event.Event
	ahead     int     // events[:ahead] are published
	published [][]int // by partition, indices of events
	read      []int64 // committed
	sources   []*spread.Source
	sourceOf  []int

	signals  [][][]byte // by partition
	kept     []commit
	keepers  []*spread.Keeper
	keeperOf []int

	store correlator.Alerts
}

func (s *stage) any() {
	switch n := s.chance.IntN(100); {
	case n < 20:
		s.publish()
	case n < 55:
		s.match(s.chance.IntN(len(s.sources)))
	case n < 90:
		s.keep(s.chance.IntN(len(s.keepers)))
	case n < 97 || !s.play.Mishaps:
		s.idle(s.chance.IntN(len(s.sources)))
	case n < 98: // partitions move; who had one may not know it yet
		i := s.chance.IntN(len(s.sources))
		if s.chance.IntN(2) == 0 {
			s.tell(i)
		}
		s.giveSource(i)
	case n < 99:
		s.giveKeeper(s.chance.IntN(len(s.keepers)))
	default: // a process dies
		w := s.chance.IntN(s.play.Workers)
		for i, owner := range s.sourceOf {
			if owner == w {
				s.giveSource(i)
			}
		}
		for i, owner := range s.keeperOf {
			if owner == w {
				s.giveKeeper(i)
			}
		}
	}
}

func (s *stage) publish() {
	for range min(1+s.chance.IntN(8), len(s.events)-s.ahead) {
		i := s.ahead
		if s.play.Mixed > 0 {
			j := i + s.chance.IntN(min(s.play.Mixed, len(s.events)-i))
			s.events[i], s.events[j] = s.events[j], s.events[i]
		}
		p := place(s.events[i].Flow.CommunityID+s.events[i].Sensor, len(s.published))
		s.published[p] = append(s.published[p], i)
		s.ahead++
	}
}

func place(key string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}

func (s *stage) giveSource(i int) {
	s.sourceOf[i] = s.chance.IntN(s.play.Workers)
	s.sources[i] = spread.NewSource(s.matchers[s.sourceOf[i]], i, s.read[i])
}

func (s *stage) giveKeeper(i int) {
	s.keeperOf[i] = s.chance.IntN(s.play.Workers)
	memory := s.matchers[s.keeperOf[i]].NewMemory(1)
	if s.kept[i].checkpoint == "" {
		s.keepers[i] = spread.NewKeeper(memory, len(s.sources), 0)
		return
	}
	c, err := spread.ParseCheckpoint(s.kept[i].checkpoint)
	if err != nil {
		s.t.Fatal(err)
	}
	k := spread.NewKeeper(memory, len(s.sources), c.Start)
	if !k.Suits(c) {
		s.t.Fatalf("checkpoint %s does not suit its own rules", s.kept[i].checkpoint)
	}
	k.Resume(c)
	for k.Next() < s.kept[i].next {
		s.take(k, i, min(k.Next()+int64(1+s.chance.IntN(50)), s.kept[i].next))
	}
	s.keepers[i] = k
	s.play.Restarts++
}

// tell is stage one up to the point where it would commit.
func (s *stage) tell(i int) bool {
	src := s.sources[i]
	from := src.Next()
	to := min(from+int64(1+s.chance.IntN(20)), int64(len(s.published[i])))
	if from == to {
		return false
	}
	var batch []event.Event
	for _, n := range s.published[i][from:to] {
		batch = append(batch, s.events[n].Clone())
	}
	found, err := src.Match(context.Background(), batch, to)
	if err != nil {
		s.t.Fatal(err)
	}
	for n := range found.Signals {
		s.write(place(found.Signals[n].Home(), len(s.signals)), spread.Message{Signal: &found.Signals[n]})
	}
	for n := range found.Losses {
		for p := range s.signals {
			s.write(p, spread.Message{Loss: &found.Losses[n]})
		}
	}
	return true
}

func (s *stage) write(p int, m spread.Message) {
	text, err := spread.Encode(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.signals[p] = append(s.signals[p], text)
}

func (s *stage) match(i int) {
	if !s.tell(i) {
		return
	}
	if s.mishap() { // before the commit
		s.giveSource(i)
		return
	}
	s.read[i] = s.sources[i].Next()
	if m, ok := s.sources[i].Mark(); ok && !s.mishap() {
		s.mark(m)
	}
}

func (s *stage) mark(m spread.Mark) {
	for p := range s.signals {
		s.write(p, spread.Message{Mark: &m})
	}
}

func (s *stage) mishap() bool { return s.play.Mishaps && s.chance.IntN(30) == 0 }

// idle marks a partition that is read to its end. A process knows the marks in
// its own partitions of signals.
func (s *stage) idle(i int) {
	if s.sources[i].Next() < int64(len(s.published[i])) {
		return
	}
	var clock time.Time
	for k, owner := range s.keeperOf {
		if owner == s.sourceOf[i] && s.keepers[k].Latest().After(clock) {
			clock = s.keepers[k].Latest()
		}
	}
	if m, ok := s.sources[i].Idle(clock, s.sources[i].Next()); ok {
		s.mark(m)
	}
}

func (s *stage) take(k *spread.Keeper, i int, to int64) {
	var messages []spread.Message
	for _, text := range s.signals[i][k.Next():to] {
		m, err := spread.Decode(text, s.matchers[s.keeperOf[i]].Rule)
		if err != nil {
			s.t.Fatal(err)
		}
		messages = append(messages, m)
	}
	k.Take(messages, to)
}

func (s *stage) keep(i int) {
	k := s.keepers[i]
	to := min(k.Next()+int64(1+s.chance.IntN(40)), int64(len(s.signals[i])))
	if to == k.Next() {
		return
	}
	s.take(k, i, to)
	alerts := k.Report()
	if s.mishap() { // before the alerts are stored
		s.giveKeeper(i)
		return
	}
	s.store.Add(alerts)
	if s.mishap() { // before the commit
		s.giveKeeper(i)
		return
	}
	s.kept[i] = commit{k.Next(), k.Checkpoint().String()}
}

func (s *stage) done(ends []int64) bool {
	for i, k := range s.keepers {
		if k.Next() < int64(len(s.signals[i])) || !k.Reached(ends) {
			return false
		}
	}
	return true
}

// Difference says where two lists of alerts differ; "" if they do not.
func Difference(got, want []event.Alert) string {
	text := func(as []event.Alert) (lines []string) {
		for i := range as {
			e := as[i].Event()
			lines = append(lines, string(e.AppendJSON(nil)))
		}
		return lines
	}
	have, should := text(got), text(want)
	for i := range max(len(have), len(should)) {
		if i >= len(have) || i >= len(should) {
			return fmt.Sprintf("%d alerts, want %d; the first that differs is %v", len(have), len(should), slices.Concat(have[min(i, len(have)):], should[min(i, len(should)):])[0])
		}
		if have[i] != should[i] {
			return fmt.Sprintf("alert %d\nhave %s\nwant %s", i, have[i], should[i])
		}
	}
	return ""
}
