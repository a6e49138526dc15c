package scan

import (
	"fmt"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// parts is into how many slots the span of a slow scan is divided.
const parts = 12

// slow is a window of probes that go on: of need different values, in so many
// slots of the span. A fast scan is over within one or two.
func slow(field string, span time.Duration, need, slots int) *correlator.Window {
	return &correlator.Window{Span: span, New: func() correlator.Judge {
		return &steady{field: field, span: span, need: need, slots: slots, values: map[string]int{}, times: map[int64]int{}}
	}}
}

// steady counts different values, and slots in which there are any.
type steady struct {
	field       string
	span        time.Duration
	need, slots int
	values      map[string]int
	times       map[int64]int
}

func (j *steady) Add(s *correlator.Signal)    { j.count(s, 1) }
func (j *steady) Remove(s *correlator.Signal) { j.count(s, -1) }

func (j *steady) count(s *correlator.Signal, n int) {
	v, at := s.Value.Str(), s.Time.UnixNano()/int64(j.span/parts)
	if j.values[v] += n; j.values[v] == 0 {
		delete(j.values, v)
	}
	if j.times[at] += n; j.times[at] == 0 {
		delete(j.times, at)
	}
}

func (j *steady) Holds() bool { return len(j.values) >= j.need && len(j.times) >= j.slots }

func (j *steady) Explain() event.Explain {
	return event.Explain{
		Field:     j.field,
		Predicate: fmt.Sprintf("distinct >= %d within %s, in at least %d parts of %s", j.need, j.span, j.slots, j.span/parts),
		Value:     fmt.Sprintf("%d, in %d parts", len(j.values), len(j.times)),
	}
}
