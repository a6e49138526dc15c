// Package window has the judges of the usual conditions over a sliding window
// of signals: how many, how many different, how much, all of these, and all of
// these in order.
package window

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// Op is a comparison.
type Op string

// Comparisons.
const (
	GT  Op = ">"
	GTE Op = ">="
	LT  Op = "<"
	LTE Op = "<="
	EQ  Op = "=="
	NEQ Op = "!="
)

// Limit is one comparison with a number.
type Limit struct {
	Op Op
	N  float64
}

// Limits are comparisons that must all hold; of none they hold always.
type Limits []Limit

// AtLeast is the limit of "n or more".
func AtLeast(n int) Limits { return Limits{{GTE, float64(n)}} }

// Hold reports whether x meets all limits.
func (ls Limits) Hold(x float64) bool {
	for _, l := range ls {
		var ok bool
		switch l.Op {
		case GT:
			ok = x > l.N
		case GTE:
			ok = x >= l.N
		case LT:
			ok = x < l.N
		case LTE:
			ok = x <= l.N
		case EQ:
			ok = x == l.N
		case NEQ:
			ok = x != l.N
		}
		if !ok {
			return false
		}
	}
	return true
}

// Rising reports whether a number that grows can only come to meet the limits,
// never cease to.
func (ls Limits) Rising() bool {
	return !slices.ContainsFunc(ls, func(l Limit) bool { return l.Op != GT && l.Op != GTE })
}

// String is for people: ">= 3 and < 10".
func (ls Limits) String() string {
	parts := make([]string, len(ls))
	for i, l := range ls {
		parts[i] = string(l.Op) + " " + number(l.N)
	}
	return strings.Join(parts, " and ")
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// Count judges how many signals there are. what names them for the alert's
// explanation: "events".
func Count(what string, span time.Duration, limits Limits) *correlator.Window {
	return &correlator.Window{Span: span, Final: !limits.Rising(), New: func() correlator.Judge {
		return &count{what: what, span: span, limits: limits}
	}}
}

type count struct {
	what   string
	span   time.Duration
	limits Limits
	n      int
}

func (c *count) Add(*correlator.Signal)    { c.n++ }
func (c *count) Remove(*correlator.Signal) { c.n-- }
func (c *count) Holds() bool               { return c.limits.Hold(float64(c.n)) }
func (c *count) Explain() event.Explain {
	return explain(c.what, "count", c.limits, c.span, float64(c.n))
}

func explain(what, measure string, limits Limits, span time.Duration, x float64) event.Explain {
	return event.Explain{Field: what, Predicate: fmt.Sprintf("%s %s within %s", measure, limits, length(span)), Value: number(x)}
}

// length writes a span as rules do: 5m, 1h, 90s.
func length(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Distinct judges how many different values the signals have; each element of
// a list is one, and a signal without a value has none.
func Distinct(what string, span time.Duration, limits Limits) *correlator.Window {
	return &correlator.Window{Span: span, Final: !limits.Rising(), New: func() correlator.Judge {
		return &distinct{what: what, span: span, limits: limits, seen: map[string]int{}}
	}}
}

type distinct struct {
	what   string
	span   time.Duration
	limits Limits
	seen   map[string]int
}

func (d *distinct) Add(s *correlator.Signal)    { d.each(s.Value, 1) }
func (d *distinct) Remove(s *correlator.Signal) { d.each(s.Value, -1) }

func (d *distinct) each(v event.Value, n int) {
	switch v.Type() {
	case event.TypeNone:
		return
	case event.TypeList:
		for _, x := range v.List() {
			d.each(x, n)
		}
		return
	}
	text := v.String()
	if d.seen[text] += n; d.seen[text] == 0 {
		delete(d.seen, text)
	}
}

func (d *distinct) Holds() bool { return d.limits.Hold(float64(len(d.seen))) }
func (d *distinct) Explain() event.Explain {
	return explain(d.what, "distinct values", d.limits, d.span, float64(len(d.seen)))
}

// Sum judges the total of the signals' values.
func Sum(what string, span time.Duration, limits Limits) *correlator.Window {
	// Values may be negative, so not even "more than" can be trusted early.
	return numbers(what, "sum", span, limits, func(xs []float64) float64 {
		var sum float64
		for _, x := range xs {
			sum += x
		}
		return sum
	})
}

// Average judges the arithmetic mean of the signals' values.
func Average(what string, span time.Duration, limits Limits) *correlator.Window {
	return numbers(what, "average", span, limits, func(xs []float64) float64 {
		var sum float64
		for _, x := range xs {
			sum += x
		}
		return sum / float64(len(xs))
	})
}

// Percentile judges the value below or at which p percent of the signals'
// values lie, by the nearest rank.
func Percentile(what string, p float64, span time.Duration, limits Limits) *correlator.Window {
	return numbers(what, number(p)+"th percentile", span, limits, func(xs []float64) float64 {
		rank := int(math.Ceil(p / 100 * float64(len(xs))))
		return xs[max(rank-1, 0)]
	})
}

// Share judges how many percent of the signals' values are the value of the
// signal that asks: how rare it is.
func Share(what string, span time.Duration, limits Limits) *correlator.Window {
	return &correlator.Window{Span: span, Final: true, New: func() correlator.Judge {
		return &share{what: what, span: span, limits: limits, seen: map[string]int{}}
	}}
}

type share struct {
	what   string
	span   time.Duration
	limits Limits
	seen   map[string]int
	n      int
	last   string
	any    bool // the signal that asks has a value
}

func (s *share) Add(sig *correlator.Signal) {
	if s.any = !sig.Value.IsZero(); s.any {
		s.last = sig.Value.String()
		s.seen[s.last]++
		s.n++
	}
}

func (s *share) Remove(sig *correlator.Signal) {
	if sig.Value.IsZero() {
		return
	}
	text := sig.Value.String()
	if s.seen[text]--; s.seen[text] == 0 {
		delete(s.seen, text)
	}
	s.n--
}

func (s *share) percent() float64 { return 100 * float64(s.seen[s.last]) / float64(max(s.n, 1)) }
func (s *share) Holds() bool      { return s.any && s.limits.Hold(s.percent()) }
func (s *share) Explain() event.Explain {
	return explain(s.what, fmt.Sprintf("percent of values that are '%s'", s.last), s.limits, s.span, s.percent())
}

func numbers(what, measure string, span time.Duration, limits Limits, of func(sorted []float64) float64) *correlator.Window {
	return &correlator.Window{Span: span, Final: true, New: func() correlator.Judge {
		return &measured{what: what, measure: measure, span: span, limits: limits, of: of}
	}}
}

// measured keeps its numbers sorted: a float's sum depends on the order of
// adding, and the result may depend on nothing but the set.
type measured struct {
	what, measure string
	span          time.Duration
	limits        Limits
	of            func([]float64) float64
	xs            []float64
}

func (m *measured) Add(s *correlator.Signal) {
	each(s.Value, func(x float64) {
		i, _ := slices.BinarySearch(m.xs, x)
		m.xs = slices.Insert(m.xs, i, x)
	})
}

func (m *measured) Remove(s *correlator.Signal) {
	each(s.Value, func(x float64) {
		if i, found := slices.BinarySearch(m.xs, x); found {
			m.xs = slices.Delete(m.xs, i, i+1)
		}
	})
}

func each(v event.Value, f func(float64)) {
	for _, x := range v.List() {
		each(x, f)
	}
	if x, ok := v.Float(); ok && !math.IsNaN(x) {
		f(x)
	}
}

func (m *measured) Holds() bool { return len(m.xs) > 0 && m.limits.Hold(m.of(m.xs)) }
func (m *measured) Explain() event.Explain {
	return explain(m.what, m.measure, m.limits, m.span, m.of(m.xs))
}

// Together judges how many of a correlation's parts have a signal. parts are
// their names.
func Together(parts []string, span time.Duration, limits Limits) *correlator.Window {
	return &correlator.Window{Span: span, Final: !limits.Rising(), New: func() correlator.Judge {
		return &together{parts: parts, span: span, limits: limits, n: make([]int, len(parts))}
	}}
}

type together struct {
	parts   []string
	span    time.Duration
	limits  Limits
	n       []int
	present int
}

func (t *together) Add(s *correlator.Signal) {
	if t.n[s.Part]++; t.n[s.Part] == 1 {
		t.present++
	}
}

func (t *together) Remove(s *correlator.Signal) {
	if t.n[s.Part]--; t.n[s.Part] == 0 {
		t.present--
	}
}

func (t *together) Holds() bool { return t.limits.Hold(float64(t.present)) }
func (t *together) Explain() event.Explain {
	var names []string
	for i, n := range t.n {
		if n > 0 {
			names = append(names, t.parts[i])
		}
	}
	return event.Explain{Field: "rules", Predicate: fmt.Sprintf("different ones %s within %s", t.limits, length(t.span)), Value: strings.Join(names, ", ")}
}

// Ordered judges whether each of the parts has a signal, none earlier than that
// of the part before it, and the latest signal completes the sequence.
func Ordered(parts []string, span time.Duration) *correlator.Window {
	return &correlator.Window{Span: span, New: func() correlator.Judge {
		return &ordered{parts: parts, span: span, begun: make([]int, len(parts))}
	}}
}

// ordered numbers the signals it was given from 1. begun[k] is the highest
// number of a first part that a sequence up to part k, complete by now, began
// with; 0 if there is none. A sequence whose beginning has left the window has
// left it, and of several the one that began last leaves last.
type ordered struct {
	parts    []string
	span     time.Duration
	begun    []int
	n        int // signals added
	gone     int // signals removed
	complete bool
}

func (o *ordered) Add(s *correlator.Signal) {
	o.n++
	if s.Part == 0 {
		o.begun[0] = o.n
	} else {
		o.begun[s.Part] = max(o.begun[s.Part], o.begun[s.Part-1])
	}
	o.complete = s.Part == len(o.parts)-1
}

func (o *ordered) Remove(*correlator.Signal) { o.gone++ }

func (o *ordered) Holds() bool { return o.complete && o.begun[len(o.begun)-1] > o.gone }
func (o *ordered) Explain() event.Explain {
	return event.Explain{Field: "rules", Predicate: "in this order within " + cmp.Or(length(o.span), "0s"), Value: strings.Join(o.parts, ", ")}
}
