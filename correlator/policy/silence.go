package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// What is polled makes an event for each poll, and of those only a part is
// remembered: those of the first moments of each minute. The sensor's account
// of each minute is the clock that notices when there is none any more. It is
// also the proof that the sensor was looking: a blind sensor reports no silence.
const (
	tick = "tick" // a minute of the sensor's account
	poll = "poll"
)

// leastSilence is the shortest silence that is reported.
const leastSilence = 3 * time.Minute

// maxPolled bounds the longest interval of polling: silence is judged within
// the memory of the correlator.
const maxPolled = time.Hour

// patience is how long nothing may come of what is polled at an interval.
func patience(every time.Duration) time.Duration {
	return max(leastSilence, (6 * every).Round(time.Minute))
}

// silence is the detector of what is no longer done; false if nothing is
// said to be done all the time.
func (p *Policy) silence(rule *correlator.Rule, x *index) (correlator.Detector, bool) {
	longest := time.Duration(0)
	kinds := []event.Kind{event.KindLedger}
	for i := range p.Allow {
		g := &p.Allow[i]
		if g.every <= 0 {
			continue
		}
		longest = max(longest, patience(min(g.every, maxPolled)))
		if k := event.Kind(g.Protocol); !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	if longest == 0 {
		return correlator.Detector{}, false
	}
	rule.Window = &correlator.Window{Span: 3 * longest, Final: true, New: func() correlator.Judge { return &quiet{patience: longest} }}
	return correlator.Detector{
		Name: "policy-silence", Rules: []*correlator.Rule{rule}, Kinds: kinds,
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			if e.Kind == event.KindLedger {
				for i := range p.Allow {
					g := &p.Allow[i]
					if g.every <= 0 {
						continue
					}
					for _, who := range g.Who {
						for _, to := range g.To {
							emit(polled(rule, e, g, who, to, tick))
						}
					}
				}
				return
			}
			a, ok := actOf(e)
			if !ok {
				return
			}
			d := x.device(&a)
			if d == nil {
				return
			}
			for _, who := range x.talker(&a) {
				for _, g := range x.grants[d.Name] {
					if g.every <= 0 || g.Protocol != a.protocol || !slices.Contains(g.Who, who) || !slices.Contains(g.Operations, a.operation) {
						continue
					}
					if e.Time.Sub(e.Time.Truncate(time.Minute)) >= max(2*g.every, time.Second) {
						continue
					}
					emit(polled(rule, e, g, who, d.Name, poll))
					break
				}
			}
		},
	}, true
}

// polled is a signal about what somebody does to a device all the time.
func polled(rule *correlator.Rule, e *event.Event, g *Grant, who, to, what string) correlator.Signal {
	s := correlator.Of(rule, fmt.Sprintf("observer.name=%s talker=%s device=%s ics.protocol=%s", e.Sensor, who, to, g.Protocol), e)
	s.Value = event.Str(what)
	s.Note = &correlator.Note{Message: fmt.Sprintf("%s no longer talks %s to %s, which it did every %s", who, g.Protocol, to, g.Every)}
	return s
}

// quiet judges polls and ticks, kept in the order of their times.
type quiet struct {
	patience time.Duration
	held     []moment
}

type moment struct {
	at   time.Time
	tick bool
}

func (q *quiet) Add(s *correlator.Signal) {
	q.held = append(q.held, moment{s.Time, s.Value.Str() == tick})
}

func (q *quiet) Remove(*correlator.Signal) { q.held = slices.Delete(q.held, 0, 1) }

// Holds is asked with the latest signal: true at a tick before which there were
// polls, then none for as long as one has patience, while the sensor looked.
func (q *quiet) Holds() bool {
	last := q.held[len(q.held)-1]
	if !last.tick {
		return false
	}
	since := last.at.Add(-q.patience)
	before, ticks := false, 0
	for _, m := range q.held {
		switch {
		case m.tick && m.at.After(since):
			ticks++
		case !m.tick && m.at.After(since):
			return false
		case !m.tick:
			before = true
		}
	}
	return before && ticks >= int(q.patience/time.Minute)
}

func (q *quiet) Explain() event.Explain {
	var latest time.Time
	for _, m := range q.held {
		if !m.tick {
			latest = m.at
		}
	}
	return event.Explain{Field: "event.dataset", Predicate: fmt.Sprintf("came again within %s", q.patience), Value: "last at " + latest.UTC().Format(time.RFC3339)}
}
