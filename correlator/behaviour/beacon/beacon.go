// Package beacon finds programs that call outside at regular times: a host
// that opens connections to one service of one address outside, again and
// again, with nearly the same time in between. What is measured is the median
// of the intervals and how many lie near it, which a few missed or added
// connections hardly move; the idea of ranking by dispersion is that of
// Hubballi and Goyal, "FlowSummary: Summarizing Network Flows for Communication
// Periodicity Detection" (PReMI 2013). Long pauses and strong jitter hide a
// beacon from it, and regular does not mean evil: clocks, updates and
// monitoring call regularly too.
package beacon

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// Config says how regular is regular.
type Config struct {
	Span     time.Duration // within which connections are looked at; default 30 minutes
	Calls    int           // fewest connections; default 10
	Interval time.Duration // shortest median interval; default 2 seconds: below it is one page's work
	Near     float64       // an interval is near the median if it differs by at most this share; default 0.25
	Share    float64       // of intervals that must be near; default 0.8
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, 30*time.Minute)
	c.Calls = cmp.Or(c.Calls, 10)
	c.Interval = cmp.Or(c.Interval, 2*time.Second)
	c.Near = cmp.Or(c.Near, 0.25)
	c.Share = cmp.Or(c.Share, 0.8)
	return c
}

// maxCalls is how many of the latest connections are measured.
const maxCalls = 128

const ntp = 123 // whose clients are regular by design

var direction = event.Resolve("network.direction")

// Detector returns the detector. It needs network.direction, which enrichment sets.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	sum := sha256.Sum256(fmt.Appendf(nil, "beacon 2 %+v", c))
	rule := &correlator.Rule{
		Rule:     event.Rule{ID: "tocsin-beacon", Name: "Regular calls outside", Ruleset: "behaviour", Version: "1", Hash: hex.EncodeToString(sum[:])},
		Severity: 50,
		Techniques: []event.Technique{
			{ID: "T1071", Name: "Application Layer Protocol", Tactics: []string{"Command and Control"}},
		},
		Message: "{source} calls {target} at regular times",
		Bucket:  c.Span,
		// A connection that comes late may show that the calls were not regular.
		Window: &correlator.Window{Span: c.Span, Final: true, New: func() correlator.Judge { return &rhythm{cfg: c} }},
	}
	return correlator.Detector{
		Name: "beacon", Rules: []*correlator.Rule{rule}, Kinds: []event.Kind{event.KindFlow},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			f := &e.Flow
			v, ok := e.Lookup(direction)
			if !ok || v.Str() != "outbound" || f.Src.Payload == 0 || f.Dst.Port == ntp ||
				f.Transport != event.ProtoTCP && f.Transport != event.ProtoUDP {
				return
			}
			s := correlator.Of(rule, "source.ip="+f.Src.IP.String()+" destination.ip="+f.Dst.IP.String()+" destination.port="+strconv.Itoa(int(f.Dst.Port)), e)
			s.Value = event.List(event.Time(f.Start), event.Str(f.CommunityID), event.Int(int64(min(f.Src.Payload, math.MaxInt64))))
			emit(s)
		},
	}
}

// call is one connection, however many sensors saw it.
type call struct {
	start time.Time
	id    string
	size  int64 // bytes sent
	seen  int
}

// rhythm judges calls, kept in the order of their starts.
type rhythm struct {
	cfg   Config
	calls []call
}

func parse(s *correlator.Signal) (at time.Time, id string, size int64) {
	v := s.Value.List()
	at, _ = v[0].Time()
	size, _ = v[2].Int()
	return at, v[1].Str(), size
}

func (r *rhythm) find(id string) int {
	return slices.IndexFunc(r.calls, func(c call) bool { return c.id == id })
}

func (r *rhythm) Add(s *correlator.Signal) {
	at, id, size := parse(s)
	if i := r.find(id); i >= 0 {
		r.calls[i].seen++
		return
	}
	i, _ := slices.BinarySearchFunc(r.calls, at, func(c call, t time.Time) int { return c.start.Compare(t) })
	r.calls = slices.Insert(r.calls, i, call{at, id, size, 1})
}

func (r *rhythm) Remove(s *correlator.Signal) {
	_, id, _ := parse(s)
	if i := r.find(id); i >= 0 {
		if r.calls[i].seen--; r.calls[i].seen == 0 {
			r.calls = slices.Delete(r.calls, i, i+1)
		}
	}
}

// measure returns the number of intervals between the latest calls, their
// median, and how many are near it.
func (r *rhythm) measure() (n int, median time.Duration, near int) {
	calls := r.calls[max(0, len(r.calls)-maxCalls):]
	if len(calls) < 2 {
		return 0, 0, 0
	}
	intervals := make([]time.Duration, len(calls)-1)
	for i := range intervals {
		intervals[i] = calls[i+1].start.Sub(calls[i].start)
	}
	slices.Sort(intervals)
	median = intervals[len(intervals)/2]
	for _, x := range intervals {
		if (x - median).Abs() <= time.Duration(r.cfg.Near*float64(median)) {
			near++
		}
	}
	return len(intervals), median, near
}

// sizes returns the median of what the latest calls sent, and how many sent
// nearly as much. It says how alike the calls are, and decides nothing: a
// program that has something to report sends more.
func (r *rhythm) sizes() (median int64, near int) {
	calls := r.calls[max(0, len(r.calls)-maxCalls):]
	sizes := make([]int64, len(calls))
	for i, c := range calls {
		sizes[i] = c.size
	}
	slices.Sort(sizes)
	median = sizes[len(sizes)/2]
	for _, x := range sizes {
		if math.Abs(float64(x-median)) <= r.cfg.Near*float64(median) {
			near++
		}
	}
	return median, near
}

func (r *rhythm) Holds() bool {
	if len(r.calls) < r.cfg.Calls {
		return false
	}
	n, median, near := r.measure()
	return median >= r.cfg.Interval && float64(near) >= r.cfg.Share*float64(n)
}

func (r *rhythm) Explain() event.Explain {
	n, median, near := r.measure()
	size, alike := r.sizes()
	return event.Explain{
		Field:     "event.start",
		Predicate: fmt.Sprintf("at least %d calls, %.0f %% of the intervals within %.0f %% of their median", r.cfg.Calls, 100*r.cfg.Share, 100*r.cfg.Near),
		Value:     fmt.Sprintf("%d calls, %d of %d intervals near %s, %d of the calls near %d bytes sent", n+1, near, n, median.Round(10*time.Millisecond), alike, size),
	}
}
