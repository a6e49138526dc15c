package trace

import (
	"math/rand/v2"
	"testing"
	"time"
)

// person is a connection into which somebody types: pauses of 0.6 to 8 s.
func person(dice *rand.Rand, start time.Time, n int) flow {
	f := flow{sensor: "a", start: start}
	at := 0.0
	for range n {
		f.pulses = append(f.pulses, uint32(1000*at))
		at += 0.6 + 7.4*dice.Float64()
	}
	f.end = start.Add(time.Duration(at * float64(time.Second)))
	return f
}

// relayed is what goes on of f at another tap, after a while, with a delay and
// jitter, clocks that differ, and some pauses filled.
func relayed(dice *rand.Rand, f *flow, from int, delay, jitter time.Duration) flow {
	g := flow{sensor: "b", start: f.start.Add(time.Duration(f.pulses[from])*time.Millisecond + delay), end: f.end}
	for i, t := range f.moments()[from:] {
		if i > 0 && dice.IntN(12) == 0 {
			continue
		}
		at := t.Add(delay + time.Duration(dice.Int64N(int64(jitter))))
		g.pulses = append(g.pulses, uint32(max(0, at.Sub(g.start).Milliseconds())))
	}
	return g
}

// TestPulsesTellRelays compares connections that go on with ones of other
// people at the same time, two hundred of either: what is told from them, and
// how often wrongly.
func TestPulsesTellRelays(t *testing.T) {
	dice := rand.New(rand.NewPCG(2, 7))
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	missed, taken := 0, 0
	const pairs = 200
	for range pairs {
		in := person(dice, start, 40)
		delay := time.Duration(dice.IntN(1400)-700) * time.Millisecond // of two clocks
		out := relayed(dice, &in, dice.IntN(20), delay, 60*time.Millisecond)
		if x, ok := pulsesOf(&in, &out); !ok || x.odds < 1 {
			missed++
		}
		other := person(dice, start.Add(time.Duration(dice.IntN(20))*time.Second), 30)
		other.sensor = "b"
		if x, ok := pulsesOf(&in, &other); ok && x.odds > 0 {
			taken++
		}
	}
	t.Logf("of %d relays %d are missed; of %d strangers %d are taken for one", pairs, missed, pairs, taken)
	if missed > pairs/50 || taken > pairs/50 {
		t.Errorf("%d relays are missed, %d strangers taken for one, of %d", missed, taken, pairs)
	}
}

func TestPulsesNeedEnough(t *testing.T) {
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	in := flow{start: start, end: start.Add(time.Minute), pulses: []uint32{0, 1000, 3000, 9000}}
	few := flow{start: start, end: start.Add(time.Minute), pulses: []uint32{0, 1000, 3000}}
	if _, ok := pulsesOf(&in, &few); ok {
		t.Error("three pauses are taken for enough")
	}
	after := flow{start: start.Add(time.Hour), end: start.Add(2 * time.Hour), pulses: []uint32{0, 1000, 3000, 9000}}
	if _, ok := pulsesOf(&in, &after); ok {
		t.Error("connections that never overlap are compared")
	}
}

func TestStartsOf(t *testing.T) {
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	in := flow{start: start, end: start.Add(10 * time.Minute), pulses: []uint32{0, 60_000, 120_000, 300_000, 500_000}}
	out := func(seconds float64) []flow {
		return []flow{{start: start.Add(time.Duration(seconds * float64(time.Second)))}}
	}
	if x, ok := startsOf(&in, out(120.4)); !ok || x.matched != 1 || x.odds < 1 {
		t.Errorf("what begins after a key: %+v", x)
	}
	if x, ok := startsOf(&in, out(200)); !ok || x.matched != 0 || x.odds != 0 {
		t.Errorf("what begins in the middle of a pause: %+v", x)
	}
}
