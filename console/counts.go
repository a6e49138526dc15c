package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// wantedBuckets is about how many steps a histogram of unstated interval has:
// as many as a screen shows apart.
const wantedBuckets = 120

// steps are the intervals that people read easily.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour,
}

// stepFor returns the smallest step that divides a span into at most
// wantedBuckets, or the widest step there is doubled until it does.
func stepFor(span time.Duration) time.Duration {
	for _, s := range steps {
		if span <= s*wantedBuckets {
			return s
		}
	}
	s := steps[len(steps)-1]
	for span > s*wantedBuckets {
		s *= 2
	}
	return s
}

type countsInput struct {
	Selection
	Set      string `query:"set" enum:"alerts,events,all" default:"alerts" doc:"What to count"`
	Interval string `query:"interval" maxLength:"16" doc:"Step of time: a duration such as 30s, 5m or 24h, or auto; empty: not over time" example:"5m"`
	Field    string `query:"field" maxLength:"256" doc:"Field by whose values to count; empty: none"`
	Top      int    `query:"top" minimum:"0" maximum:"10000" doc:"Only so many values with the highest counts; 0: all, at most 10000"`
}

type bucket struct {
	Time  *time.Time `json:"time,omitempty" doc:"Start of the step"`
	Value string     `json:"value,omitempty" doc:"Value of the field, as text"`
	Count uint64     `json:"count"`
}

type countsOutput struct {
	From     time.Time `json:"from" doc:"Start of what was counted"`
	To       time.Time `json:"to" doc:"End of what was counted, exclusive"`
	Interval int64     `json:"interval_ms,omitempty" doc:"Step of time in milliseconds"`
	Buckets  []bucket  `json:"buckets" nullable:"false" doc:"By time, then by falling count; all counts are exact"`
}

var sets = map[string]store.Set{"alerts": store.Alerts, "events": store.Events, "all": store.Both}

func (c *console) counts(ctx context.Context, in *countsInput) (*body[countsOutput], error) {
	q, err := c.query(&in.Selection, sets[in.Set])
	if err != nil {
		return nil, err
	}
	out := countsOutput{From: q.From, To: q.To, Buckets: []bucket{}}
	if out.From.IsZero() || out.To.IsZero() {
		first, last, err := c.Store.Span(ctx)
		if err != nil {
			return nil, answer(err)
		}
		if out.From.IsZero() {
			out.From = first
		}
		if out.To.IsZero() && !last.IsZero() {
			out.To = last.Add(1) // Span includes its end, a query does not
		}
	}
	step, err := in.step(out.To.Sub(out.From))
	if err != nil {
		return nil, err
	}
	out.Interval = step.Milliseconds()
	buckets, err := c.Store.Count(ctx, q, store.By{Interval: step, Field: in.Field, Top: in.Top})
	if err != nil {
		return nil, answer(err)
	}
	for _, b := range buckets {
		x := bucket{Value: b.Value.String(), Count: b.Count}
		if !b.Time.IsZero() {
			x.Time = &b.Time
		}
		out.Buckets = append(out.Buckets, x)
	}
	return &body[countsOutput]{out}, nil
}

func (in *countsInput) step(span time.Duration) (time.Duration, error) {
	switch in.Interval {
	case "":
		return 0, nil
	case "auto":
		return stepFor(span), nil
	}
	d, err := time.ParseDuration(in.Interval)
	switch {
	case err != nil:
		return 0, newProblem(http.StatusUnprocessableEntity, "interval: "+err.Error())
	case d < time.Millisecond:
		return 0, newProblem(http.StatusUnprocessableEntity, "interval: want at least 1ms")
	case span/d > store.MaxBuckets:
		return 0, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("interval: %s divides %s into more than %d steps", d, span, store.MaxBuckets))
	}
	return d, nil
}

type facetsInput struct {
	Selection
	Set    string   `query:"set" enum:"alerts,events,all" default:"alerts" doc:"What to count"`
	Fields []string `query:"fields" required:"true" minItems:"1" maxItems:"16" doc:"Fields whose values to count, separated by commas"`
	Top    int      `query:"top" minimum:"1" maximum:"100" default:"10" doc:"So many values of each"`
}

type facet struct {
	Field  string   `json:"field"`
	Values []bucket `json:"values" nullable:"false" doc:"By falling count"`
}

func (c *console) facets(ctx context.Context, in *facetsInput) (*body[[]facet], error) {
	q, err := c.query(&in.Selection, sets[in.Set])
	if err != nil {
		return nil, err
	}
	if q.Set == store.Alerts {
		out, err := c.alertFacets(ctx, q, in.Fields, in.Top)
		return &body[[]facet]{out}, answer(err)
	}
	out := []facet{}
	for _, field := range in.Fields {
		buckets, err := c.Store.Count(ctx, q, store.By{Field: field, Top: in.Top})
		if err != nil {
			return nil, answer(err)
		}
		f := facet{Field: field, Values: []bucket{}}
		for _, b := range buckets {
			if b.Value.Type() != event.TypeNone {
				f.Values = append(f.Values, bucket{Value: b.Value.String(), Count: b.Count})
			}
		}
		out = append(out, f)
	}
	return &body[[]facet]{out}, nil
}

// alertFacets counts all fields in one pass: alerts are few enough to be looked
// at, and a pass for each of the page's seven fields is felt at some 10,000.
func (c *console) alertFacets(ctx context.Context, q store.Query, fields []string, top int) ([]facet, error) {
	refs := each(fields, event.Resolve)
	counts := make([]map[string]uint64, len(fields))
	for i := range counts {
		counts[i] = map[string]uint64{}
	}
	for e, err := range c.Store.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		for i, ref := range refs {
			v, ok := e.Lookup(ref)
			switch {
			case !ok:
			case v.Type() != event.TypeList:
				counts[i][v.String()]++
			default:
				// A list counts once for each of its distinct values.
				list := each(v.List(), event.Value.String)
				slices.Sort(list)
				for _, text := range slices.Compact(list) {
					counts[i][text]++
				}
			}
		}
	}
	out := make([]facet, len(fields))
	for i, field := range fields {
		values := []bucket{}
		for text, n := range counts[i] {
			values = append(values, bucket{Value: text, Count: n})
		}
		slices.SortFunc(values, func(a, b bucket) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
		})
		out[i] = facet{field, values[:min(len(values), top)]}
	}
	return out, nil
}
