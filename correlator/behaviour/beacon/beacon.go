// Package beacon finds programs that call outside at regular times: a host
// that opens connections to one service of one address outside, again and
// again, with nearly the same time in between. What is measured is the median
// of the intervals and how many lie near it, which a few missed or added
// connections hardly move; the idea of ranking by dispersion is that of
// Hubballi and Goyal, "FlowSummary: Summarizing Network Flows for Communication
// Periodicity Detection" (PReMI 2013). How many hosts call the same service is
// the popularity by which Yen, Oprea, Onarlioglu, Leetham, Robertson, Juels and
// Kirda sort out what everybody does ("Beehive: Large-Scale Log Analysis for
// Detecting Suspicious Activity in Enterprise Networks", ACSAC 2013). Long pauses and strong jitter hide a
// beacon from it, and regular does not mean evil: clocks, updates and
// monitoring call regularly too.
package beacon

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/event"
)

// Config says how regular is regular.
type Config struct {
	Span     time.Duration // within which connections are looked at; default 30 minutes
	Calls    int           // fewest connections; default 10
	Interval time.Duration // shortest median interval; default 2 seconds: below it is one page's work
	Near     float64       // an interval is near the median if it differs by at most this share; default 0.25
	Share    float64       // of intervals that must be near; default 0.8
	Popular  int           // hosts that call a service within Span and make it a popular one; default 10
	Score    float64       // from which there is an alert, of 100; default 70
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, 30*time.Minute)
	c.Calls = cmp.Or(c.Calls, 10)
	c.Interval = cmp.Or(c.Interval, 2*time.Second)
	c.Near = cmp.Or(c.Near, 0.25)
	c.Share = cmp.Or(c.Share, 0.8)
	c.Popular = max(cmp.Or(c.Popular, 10), 2)
	c.Score = cmp.Or(c.Score, 70)
	return c
}

// What each part of the score can come to, of 100.
const (
	mostRhythm = 50 // times the share of intervals that are near
	mostAlike  = 15 // times the share of calls that send nearly as much
	mostRare   = 35 // where no other host calls the service; less for each that does, nothing from Config.Popular on
)

// maxCalls is how many of the latest connections are measured of each host.
const maxCalls = 128

const ntp = 123 // whose clients are regular by design

var direction = event.Resolve("network.direction")

// Detector returns the detector. It needs network.direction, which enrichment sets.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	revision := behaviour.Revise("beacon", 3, c)
	rule := &correlator.Rule{
		Rule:     revision.Rule("beacon", "Regular calls outside"),
		Severity: 50,
		Techniques: []event.Technique{
			{ID: "T1071", Name: "Application Layer Protocol", Tactics: []string{"Command and Control"}},
		},
		Message: "{source} calls {target} at regular times",
		Bucket:  c.Span,
		// A connection that comes late may show that the calls were not regular.
		Window: &correlator.Window{Span: c.Span, Final: true, New: func() correlator.Judge { return &calls{cfg: c, hosts: map[netip.Addr]*rhythm{}} }},
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
			s := correlator.Of(rule, "destination.ip="+f.Dst.IP.String()+" destination.port="+strconv.Itoa(int(f.Dst.Port)), e)
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

// calls judges those to one service, of the host whose call asks.
type calls struct {
	cfg   Config
	hosts map[netip.Addr]*rhythm
	asks  netip.Addr
}

func (j *calls) Add(s *correlator.Signal) {
	j.asks = s.Source
	r := j.hosts[s.Source]
	if r == nil {
		r = &rhythm{cfg: j.cfg}
		j.hosts[s.Source] = r
	}
	r.add(s)
}

func (j *calls) Remove(s *correlator.Signal) {
	r := j.hosts[s.Source]
	if r.remove(s); len(r.calls) == 0 {
		delete(j.hosts, s.Source)
	}
}

// Takes reports whether a signal is of the host that is found to call.
func (j *calls) Takes(s *correlator.Signal) bool { return s.Source == j.asks }

func (j *calls) Holds() bool {
	r := j.hosts[j.asks]
	return r.regular() && j.score(r).total() >= j.cfg.Score
}

// score is how suspicious regular calls are.
type score struct{ rhythm, alike, rare float64 }

func (s score) total() float64 { return s.rhythm + s.alike + s.rare }

func (j *calls) score(r *rhythm) score {
	n, _, near := r.measure()
	_, alike := r.sizes()
	return score{
		rhythm: mostRhythm * float64(near) / float64(n),
		alike:  mostAlike * float64(alike) / float64(n+1),
		rare:   mostRare * max(0, 1-math.Log(float64(len(j.hosts)))/math.Log(float64(j.cfg.Popular))),
	}
}

func (j *calls) Explain() event.Explain {
	r := j.hosts[j.asks]
	n, median, near := r.measure()
	size, alike := r.sizes()
	s := j.score(r)
	hosts := "no other host calls there"
	if len(j.hosts) > 1 {
		hosts = fmt.Sprintf("%d hosts call there", len(j.hosts))
	}
	return event.Explain{
		Field: "event.start",
		Predicate: fmt.Sprintf("at least %d calls, %.0f %% of the intervals within %.0f %% of their median, score >= %.0f",
			j.cfg.Calls, 100*j.cfg.Share, 100*j.cfg.Near, j.cfg.Score),
		Value: fmt.Sprintf("%d calls, %d of %d intervals near %s, %d of the calls near %d bytes sent, %s; score %.0f: rhythm %.0f of %d, sizes %.0f of %d, rarity %.0f of %d",
			n+1, near, n, median.Round(10*time.Millisecond), alike, size, hosts, s.total(), s.rhythm, mostRhythm, s.alike, mostAlike, s.rare, mostRare),
	}
}

// rhythm is the calls of one host, in the order of their starts.
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

func (r *rhythm) add(s *correlator.Signal) {
	at, id, size := parse(s)
	if i := r.find(id); i >= 0 {
		r.calls[i].seen++
		return
	}
	i, _ := slices.BinarySearchFunc(r.calls, at, func(c call, t time.Time) int { return c.start.Compare(t) })
	r.calls = slices.Insert(r.calls, i, call{at, id, size, 1})
}

func (r *rhythm) remove(s *correlator.Signal) {
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
// nearly as much. It decides little: a program that has something to report
// sends more.
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

func (r *rhythm) regular() bool {
	if len(r.calls) < r.cfg.Calls {
		return false
	}
	n, median, near := r.measure()
	return median >= r.cfg.Interval && float64(near) >= r.cfg.Share*float64(n)
}
