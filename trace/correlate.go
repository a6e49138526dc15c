package trace

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

// Correlation asks of a connection into a host and one out of it whether one
// goes on as the other. Contents are not kept, so there is what flow events say:
// when data came after a pause, how much went either way, and what identifies
// the ends. See the package's documentation for what that can show.

// Bounds and windows of the comparison of times.
const (
	bin       = 50 * time.Millisecond  // step in which the delay of a relay is looked for
	window    = 200 * time.Millisecond // how far two ends of a pause may differ, given the delay
	nearDelay = 400 * time.Millisecond // delays that are tried, of two connections at one tap
	farDelay  = time.Second            // and either way at two, whose clocks may differ
	startsIn  = 1500 * time.Millisecond
	minEvents = 4
	hit       = 0.85 // share of pauses that a relay keeps: some are filled by what it says itself
)

// moments are the absolute times when data came on a flow after a pause.
func (f *flow) moments() []time.Time {
	ts := make([]time.Time, len(f.pulses))
	for i, p := range f.pulses {
		ts[i] = f.start.Add(time.Duration(p) * time.Millisecond)
	}
	return ts
}

// correlation is the outcome of a comparison: how much likelier the times are
// if one connection is the other's continuation, as log-odds.
type correlation struct {
	matched, events int
	chance          float64 // matches to be expected of two connections that know nothing of each other
	window          time.Duration
	odds            float64
}

// pulsesOf compares the pauses of a connection with those of one that may be
// its continuation, or a relay's other side: each of the latter must be one of
// the former. The other way round there may be more, as a person does things
// on the way. One delay is assumed for all and the best is taken, for which the
// odds pay with the number of those tried.
func pulsesOf(in, out *flow) (x correlation, ok bool) {
	lo, hi := later(in.start, out.start), earlier(in.end, out.end)
	span := hi.Sub(lo)
	if len(out.pulses) < minEvents || span <= 0 {
		return x, false
	}
	least, most := -bin, nearDelay
	if in.sensor != out.sensor {
		least, most = -farDelay, farDelay
	}
	ins := in.moments()
	var outs []time.Time
	for _, t := range out.moments() {
		if !t.Before(lo.Add(-window)) && !t.After(hi.Add(window)) {
			outs = append(outs, t)
		}
	}
	if len(outs) < minEvents {
		return x, false
	}
	x.events, x.window = len(outs), window
	tried := 0
	for delay := least; delay <= most-window; delay += bin {
		tried++
		n := 0
		for _, t := range outs {
			i := sort.Search(len(ins), func(i int) bool { return !ins[i].Before(t.Add(-delay - window)) })
			if i < len(ins) && !ins[i].After(t.Add(-delay)) {
				n++
			}
		}
		x.matched = max(x.matched, n)
	}
	// Pauses last half a second at least, so windows do not overlap.
	within := 0
	for _, t := range ins {
		if !t.Before(lo.Add(-window)) && !t.After(hi) {
			within++
		}
	}
	p := math.Min(0.8, math.Max(0.02, float64(within)*window.Seconds()/math.Max(span.Seconds(), window.Seconds())))
	x.chance = p * float64(x.events)
	k, n := float64(x.matched), float64(x.events)
	x.odds = k*math.Log(hit/p) + (n-k)*math.Log((1-hit)/(1-p)) - math.Log(float64(tried))
	return x, true
}

// startsOf compares when connections out of a host began with when data came on
// the one into it: what a person starts, starts soon after a key. Of machines'
// protocols, which have no pauses of their own, this is all there is.
func startsOf(in *flow, outs []flow) (x correlation, ok bool) {
	ins := in.moments()
	if len(ins) < minEvents {
		return x, false
	}
	x.window = startsIn
	seen := map[string]bool{}
	for i := range outs {
		o := &outs[i]
		if o.start.Before(in.start) || o.start.After(in.end.Add(startsIn)) || seen[o.src.String()] {
			continue
		}
		seen[o.src.String()] = true // another sensor's view of the same
		x.events++
		if slices.ContainsFunc(ins, func(t time.Time) bool { return !t.After(o.start.Add(bin)) && o.start.Sub(t) <= startsIn }) {
			x.matched++
		}
	}
	if x.events == 0 {
		return x, false
	}
	// Windows after pauses overlap here: what share of the time they cover.
	covered, until := time.Duration(0), in.start
	for _, t := range ins {
		from, to := later(t, until), t.Add(startsIn)
		if to.After(from) {
			covered += to.Sub(from)
			until = to
		}
	}
	p := math.Min(0.95, math.Max(0.05, covered.Seconds()/math.Max(in.end.Sub(in.start).Seconds(), 1)))
	x.chance = p * float64(x.events)
	if x.matched > 0 {
		x.odds = float64(x.matched) * math.Log(math.Max(1, hit/p))
	}
	return x, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// carrier is the flow of a conversation that best explains another connection,
// and how well.
type carrier struct {
	flow   *flow
	pulses correlation
	timed  bool // pulses were compared
	starts correlation
	began  bool // starts were compared
}

// carrierOf finds, among the flows of a conversation into a host, the one whose
// times go best with what went out: one flow, or several that began one after
// another. Of each connection one sensor's view is compared, that of the sensor
// that also saw the other if there is one.
func (b *builder) carrierOf(c *conversation, out *flow, outs []flow, next time.Time) (best carrier) {
	worth := math.Inf(-1)
	for i := range c.flows {
		f := &c.flows[i]
		if !f.established || f.start.After(next) {
			continue
		}
		var x carrier
		x.flow = f
		w := 0.0
		if out != nil {
			if len(f.pulses) == 0 && !b.pulsing[f.sensor] {
				// What wrote this record does not tell pauses.
			} else if x.pulses, x.timed = pulsesOf(f, out); !x.timed && len(out.pulses) >= 2*minEvents {
				// Nobody works through a connection that is closed.
				x.pulses, x.timed = correlation{events: len(out.pulses), window: window, odds: pulsesLeast}, true
			}
		}
		if x.timed {
			w = x.pulses.odds
		} else if x.starts, x.began = startsOf(f, outs); x.began {
			w = x.starts.odds
		}
		if !f.end.Before(next) {
			w += 1.5
		} else if next.Sub(f.end) <= aftermath {
			w += 0.7
		}
		if w > worth {
			worth, best = w, x
		}
	}
	return best
}

// carriedBy is the flow of the next conversation that is compared: the one with
// the most pauses, as one sensor saw it.
func (c *conversation) carriedBy() *flow {
	var best *flow
	for i := range c.flows {
		if f := &c.flows[i]; len(f.pulses) >= minEvents && (best == nil || len(f.pulses) > len(best.pulses)) {
			best = f
		}
	}
	return best
}

// Limits of what correlation may say, in log-odds.
const (
	pulsesMost, pulsesLeast = 3.5, -3.0
	startsMost              = 1.5
)

// correlate argues from the times, volumes and identities of a connection into
// a host and the conversation out of it.
func (a *argument) correlate(in *conversation, x *carrier, out *conversation) {
	if x.flow == nil {
		return
	}
	switch {
	case x.timed:
		odds := math.Round(100*math.Min(pulsesMost, math.Max(pulsesLeast, x.pulses.odds))) / 100
		if odds > 0 && a.incomplete {
			odds = math.Min(odds, 2.5) - 0.5 // what does not fit may be what is missing
		}
		key := "pulses"
		if odds < 0 {
			key = "pulses-against"
		}
		a.say(odds, key, "matched", x.pulses.matched, "n", x.pulses.events, "window", x.pulses.window, "chance", fmt.Sprintf("%.1f", x.pulses.chance))
	case x.began && x.starts.odds > 0.05:
		a.say(math.Round(100*math.Min(startsMost, x.starts.odds))/100, "starts", "matched", x.starts.matched, "n", x.starts.events,
			"window", x.starts.window, "chance", fmt.Sprintf("%.1f", x.starts.chance))
	}
	o := out.carriedBy()
	if o == nil || !x.timed || x.pulses.odds <= 0 {
		return
	}
	there, on := x.flow.sent, o.sent
	back, from := x.flow.got, o.got
	switch {
	case min(there, on, back, from) < 200:
	case ratio(there, on) < 2 && ratio(back, from) < 3:
		a.say(0.4, "volume", "in", size(there), "out", size(on))
	case on > 4*there && on > 50_000:
		a.say(-0.4, "volume-against", "in", size(there), "out", size(on))
	}
	var same []string
	for p := range in.prints {
		if out.prints[p] && (strings.HasPrefix(p, "host key ") || strings.HasPrefix(p, "certificate ") || strings.HasPrefix(p, "ja4 ")) {
			same = append(same, p)
		}
	}
	if len(same) > 0 {
		slices.Sort(same)
		a.say(0.6, "content", "what", strings.Join(same, ", "))
	}
}

func ratio(a, b uint64) float64 {
	if a < b {
		a, b = b, a
	}
	return float64(a) / float64(max(b, 1))
}

// size writes a number of bytes for people.
func size(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
