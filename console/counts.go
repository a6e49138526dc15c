package console

import (
	"context"
	"fmt"
	"net/http"
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

func newBucket(b store.Bucket) bucket {
	x := bucket{Value: b.Value.String(), Count: b.Count}
	if !b.Time.IsZero() {
		x.Time = &b.Time
	}
	return x
}

type countsOutput struct {
	From     time.Time `json:"from" doc:"Start of what was counted"`
	To       time.Time `json:"to" doc:"End of what was counted, exclusive"`
	Interval int64     `json:"interval_ms,omitempty" doc:"Step of time in milliseconds"`
	Buckets  []bucket  `json:"buckets" nullable:"false" doc:"By time, then by falling count; all counts are exact"`
}

var sets = map[string]store.Set{"alerts": store.Alerts, "events": store.Events, "all": store.Both}

func (c *Console) counts(ctx context.Context, in *countsInput) (*body[countsOutput], error) {
	q, err := c.query(&in.Selection, sets[in.Set])
	if err != nil {
		return nil, err
	}
	out := countsOutput{Buckets: []bucket{}}
	if out.From, out.To, err = c.span(ctx, q); err != nil {
		return nil, err
	}
	step, err := interval(in.Interval, out.To.Sub(out.From))
	if err != nil {
		return nil, err
	}
	out.Interval = step.Milliseconds()
	buckets, err := c.Store.Count(ctx, q, store.By{Interval: step, Field: in.Field, Top: in.Top})
	if err != nil {
		return nil, err
	}
	for _, b := range buckets {
		out.Buckets = append(out.Buckets, newBucket(b))
	}
	return &body[countsOutput]{out}, nil
}

// span is the time that a query is about: of all that is stored, where it does
// not say.
func (c *Console) span(ctx context.Context, q store.Query) (from, to time.Time, err error) {
	from, to = q.From, q.To
	if !from.IsZero() && !to.IsZero() {
		return from, to, nil
	}
	first, last, err := c.Store.Span(ctx)
	if from.IsZero() {
		from = first
	}
	if to.IsZero() && !last.IsZero() {
		to = last.Add(1) // Span includes its end, a query does not
	}
	return from, to, err
}

// interval reads a step of time.
func interval(text string, span time.Duration) (time.Duration, error) {
	switch text {
	case "":
		return 0, nil
	case "auto":
		return stepFor(span), nil
	}
	d, err := time.ParseDuration(text)
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

func (c *Console) facets(ctx context.Context, in *facetsInput) (*body[[]facet], error) {
	q, err := c.query(&in.Selection, sets[in.Set])
	if err != nil {
		return nil, err
	}
	asks := make([]store.By, len(in.Fields))
	for i, f := range in.Fields {
		asks[i] = store.By{Field: f, Top: in.Top}
	}
	answers, err := c.countAll(ctx, q, asks)
	if err != nil {
		return nil, err
	}
	out := []facet{}
	for i, f := range in.Fields {
		out = append(out, newFacet(f, answers[i]))
	}
	return &body[[]facet]{out}, nil
}

func newFacet(field string, buckets []store.Bucket) facet {
	f := facet{Field: field, Values: []bucket{}}
	for _, b := range buckets {
		if b.Value.Type() != event.TypeNone {
			f.Values = append(f.Values, newBucket(b))
		}
	}
	return f
}
