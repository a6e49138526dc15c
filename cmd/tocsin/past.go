package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/store/query"
)

// lastValue is a duration, which may be given in days, before the newest that
// is stored. 0: all.
type lastValue time.Duration

// Set reads 90m, 24h or 30d.
func (v *lastValue) Set(s string) error {
	unit := time.Duration(1)
	text := s
	if n := len(s) - 1; n > 0 && s[n] == 'd' {
		text, unit = s[:n]+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > 250*365*24*time.Hour/unit {
		return errors.New("want a duration, such as 90m, 24h or 30d")
	}
	*v = lastValue(d * unit)
	return nil
}

// String is the value as it is shown.
func (v *lastValue) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

// Type names the value in help.
func (v *lastValue) Type() string { return "duration" }

func lastFlag(cmd *cobra.Command) *lastValue {
	v := new(lastValue)
	cmd.Flags().Var(v, "last", "only the last `DURATION` before the newest event that is stored, such as 24h or 30d")
	return v
}

// since is where the last so much of a store begins; zero: at its begin.
func (v *lastValue) since(ctx context.Context, s store.Store) (time.Time, error) {
	if *v == 0 {
		return time.Time{}, nil
	}
	_, newest, err := s.Span(ctx)
	return newest.Add(-time.Duration(*v)), err
}

// past are the flags that choose among what is stored.
type past struct {
	where    storing
	last     *lastValue
	from, to *timeValue
}

func pastFlags(cmd *cobra.Command) past {
	return past{
		where: storeFlags(cmd),
		last:  lastFlag(cmd),
		from:  timeFlag(cmd, "from", "from this `TIME` on (RFC 3339)"),
		to:    timeFlag(cmd, "to", "before this `TIME` (RFC 3339)"),
	}
}

// open opens the store, and makes a query of a text and the flags.
func (p past) open(ctx context.Context, text string) (store.Store, store.Query, error) {
	q := store.Query{From: time.Time(*p.from), To: time.Time(*p.to)}
	fields, err := schema()
	if err != nil {
		return nil, q, err
	}
	if text != "" {
		if q.Where, err = query.Parse(text, fields, query.Auto); err != nil {
			return nil, q, usageError{err}
		}
	}
	s, err := p.where.open(ctx, embedded.ReadOnly)
	if err != nil {
		return nil, q, err
	}
	since, err := p.last.since(ctx, s)
	if err != nil {
		return nil, q, errors.Join(err, s.Close())
	}
	if since.After(q.From) {
		q.From = since
	}
	return s, q, nil
}

// each calls f for the stored events that match a query, in the order of their
// times. f's event is its own.
func (p past) each(ctx context.Context, text string, f func(e *event.Event) error) error {
	s, q, err := p.open(ctx, text)
	if err != nil {
		return err
	}
	defer s.Close()
	q.Set = store.Events
	for e, err := range s.Search(ctx, q) {
		if err != nil {
			return err
		}
		if err := f(&e); err != nil {
			return err
		}
	}
	return nil
}
