// Package exfil finds data on its way out: a host inside that sends one host
// outside much within a quarter of an hour, much more than it gets back, and
// much more than it sent there before. Volume and ratio of the two directions,
// ranked against the past, are the features of Marchetti, Pierazzi, Colajanni
// and Guido, "Analysis of high volumes of network traffic for Advanced
// Persistent Threat detection" (Computer Networks 109, 2016). The past is the
// hour before, of this pair of hosts: what goes on at the same pace for longer
// is found once, when it begins, and what is slow is not found.
package exfil

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/event"
)

// Config says how much is much.
type Config struct {
	Span   time.Duration // the past that is looked at, with the present; default 1 hour
	Recent time.Duration // the present: the last part of Span; default 15 minutes
	Bytes  uint64        // of payload sent outward within Recent; default 5 MB
	Ratio  float64       // least bytes outward for each inward, within Recent; default 3
	Score  float64       // from which there is an alert, of 100; default 65
	Flow   uint64        // bytes outward below which a flow is not remembered; default 4096
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, time.Hour)
	c.Recent = cmp.Or(c.Recent, 15*time.Minute)
	c.Bytes = cmp.Or(c.Bytes, 5_000_000)
	c.Ratio = cmp.Or(c.Ratio, 3)
	c.Score = cmp.Or(c.Score, 65)
	c.Flow = cmp.Or(c.Flow, 4096)
	return c
}

// What each part of the score can come to, of 100.
const (
	mostVolume = 30 // 15 at Config.Bytes, all at ten times as much
	mostRatio  = 30 // 10 for each doubling of the ratio, all from 8:1
	mostChange = 40 // 10 for each doubling of the usual, all from 16 times; of what is new, all
)

var direction = event.Resolve("network.direction")

// Detector returns the detector. It needs network.direction, which enrichment sets.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	revision := behaviour.Revise("exfil", 1, c)
	rule := &correlator.Rule{
		Rule:     revision.Rule("exfiltration", "Much data sent outside"),
		Severity: 55,
		Techniques: []event.Technique{
			{ID: "T1048", Name: "Exfiltration Over Alternative Protocol", Tactics: []string{"Exfiltration"}},
			{ID: "T1041", Name: "Exfiltration Over C2 Channel", Tactics: []string{"Exfiltration"}},
		},
		Message: "{source} sent {target} far more than it got back, and than before",
		Bucket:  c.Recent,
		// A flow that comes late may show that so much is usual.
		Window: &correlator.Window{Span: c.Span, Final: true, New: func() correlator.Judge {
			return &volumes{cfg: c, flows: map[string][]report{}, slots: map[int64]volume{}}
		}},
	}
	return correlator.Detector{
		Name: "exfil", Rules: []*correlator.Rule{rule}, Kinds: []event.Kind{event.KindFlow},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			f := &e.Flow
			if f.Src.Payload < c.Flow {
				return
			}
			v, ok := e.Lookup(direction)
			if !ok || v.Str() != "outbound" || f.Dst.IP.IsMulticast() {
				return
			}
			id := f.CommunityID
			if id == "" {
				id = e.ID.String()
			}
			s := correlator.Of(rule, "source.ip="+f.Src.IP.String()+" destination.ip="+f.Dst.IP.String(), e)
			s.Value = event.List(event.Str(id), event.Int(c.within(f.Src.Payload, f)), event.Int(c.within(f.Dst.Payload, f)))
			emit(s)
		},
	}
}

// within returns how many of a flow's bytes fall into the last Recent of it, as
// if it had sent evenly: reports of a flow that goes on count from its start.
func (c Config) within(bytes uint64, f *event.Flow) int64 {
	x := float64(bytes)
	if took := f.End.Sub(f.Start); took > c.Recent {
		x *= float64(c.Recent) / float64(took)
	}
	return int64(min(x, math.MaxInt64/2))
}

// volume is how much went out and came in.
type volume struct{ out, in int64 }

// report is what one event tells of a flow. Several may tell of the same: those
// of several sensors, and interim ones.
type report struct {
	id   event.ID
	slot int64
	volume
}

// slots are the pieces of time in which volumes are added up.
const slot = time.Minute

func slotOf(t time.Time) int64 { return t.Unix() / int64(slot/time.Second) }

// volumes judges what was sent. Each flow counts once, as its largest report.
type volumes struct {
	cfg   Config
	flows map[string][]report
	slots map[int64]volume
	now   int64 // slot of the signal that asks
}

func (j *volumes) Add(s *correlator.Signal) {
	v := s.Value.List()
	out, _ := v[1].Int()
	in, _ := v[2].Int()
	j.now = slotOf(s.Time)
	j.change(v[0].Str(), func(rs []report) []report { return append(rs, report{s.ID, j.now, volume{out, in}}) })
}

func (j *volumes) Remove(s *correlator.Signal) {
	j.change(s.Value.List()[0].Str(), func(rs []report) []report {
		return slices.DeleteFunc(rs, func(r report) bool { return r.id == s.ID })
	})
}

// change replaces what is known of a flow, and what it adds to its slot.
func (j *volumes) change(id string, with func([]report) []report) {
	j.count(j.flows[id], -1)
	rs := with(j.flows[id])
	if len(rs) == 0 {
		delete(j.flows, id)
		return
	}
	j.flows[id] = rs
	j.count(rs, 1)
}

func (j *volumes) count(rs []report, sign int64) {
	if len(rs) == 0 {
		return
	}
	most := slices.MaxFunc(rs, func(a, b report) int { return cmp.Or(cmp.Compare(a.out, b.out), cmp.Compare(a.in, b.in)) })
	v := j.slots[most.slot]
	v.out += sign * most.out
	v.in += sign * most.in
	if v == (volume{}) {
		delete(j.slots, most.slot)
		return
	}
	j.slots[most.slot] = v
}

// score is what there is to say of the present.
type score struct {
	volume, ratio, change float64 // parts of the score
	recent                volume
	usual                 float64 // bytes outward in a time as long as the present
}

func (s score) total() float64 { return s.volume + s.ratio + s.change }

func (j *volumes) score() (s score) {
	var earlier int64
	for at, v := range j.slots {
		if j.now-at < int64(j.cfg.Recent/slot) {
			s.recent.out += v.out
			s.recent.in += v.in
		} else {
			earlier += v.out
		}
	}
	s.usual = float64(earlier) * float64(j.cfg.Recent) / float64(j.cfg.Span-j.cfg.Recent)
	out := float64(s.recent.out)
	if out == 0 {
		return s
	}
	s.volume = part(15+15*math.Log10(out/float64(j.cfg.Bytes)), mostVolume)
	s.ratio = part(10*math.Log2(out/max(1, float64(s.recent.in))), mostRatio)
	s.change = part(10*math.Log2(out/max(1, s.usual)), mostChange)
	return s
}

func part(x, most float64) float64 { return max(0, min(x, most)) }

func (j *volumes) Holds() bool {
	s := j.score()
	return s.recent.out >= int64(j.cfg.Bytes) && float64(s.recent.out) >= j.cfg.Ratio*float64(s.recent.in) && s.total() >= j.cfg.Score
}

func (j *volumes) Explain() event.Explain {
	s := j.score()
	before := "nothing in the time before"
	if s.usual > 0 {
		before = fmt.Sprintf("%s in as long a time before", size(s.usual))
	}
	return event.Explain{
		Field: "tocsin.flow.source_payload",
		Predicate: fmt.Sprintf("at least %s outward within %s, at least %g times what came inward, score >= %.0f",
			size(float64(j.cfg.Bytes)), j.cfg.Recent, j.cfg.Ratio, j.cfg.Score),
		Value: fmt.Sprintf("%s outward, %s inward, %s; score %.0f: volume %.0f of %d, ratio %.0f of %d, change %.0f of %d",
			size(float64(s.recent.out)), size(float64(s.recent.in)), before, s.total(),
			s.volume, mostVolume, s.ratio, mostRatio, s.change, mostChange),
	}
}

func size(bytes float64) string { return fmt.Sprintf("%.1f MB", bytes/1e6) }
