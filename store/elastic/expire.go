package elastic

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// Expire implements store.Store. Days that are over before the time go as
// whole indices; of the day in which it lies, documents are deleted one by one,
// which costs as much as to index them: ask for midnight.
func (s *Store) Expire(ctx context.Context, before time.Time) (int, error) {
	if err := s.refresh(ctx); err != nil {
		return 0, s.wrap("expire", err)
	}
	names, err := s.days(ctx)
	if err != nil {
		return 0, s.wrap("expire", err)
	}
	gone := 0
	for _, name := range names {
		day, err := time.Parse(dayLayout, strings.TrimPrefix(name, s.cfg.Prefix+eventsPart))
		if err != nil || !day.Before(before) {
			continue
		}
		n, err := s.expireDay(ctx, name, day, before)
		gone += n
		if err != nil {
			return gone, s.wrap("expire", err)
		}
	}
	return gone, nil
}

// days lists the indices of events.
func (s *Store) days(ctx context.Context) ([]string, error) {
	var list map[string]struct{}
	params := url.Values{"filter_path": {"*.aliases"}, "allow_no_indices": {"true"}}
	if err := s.ask(ctx, http.MethodGet, "/"+s.indices(store.Events)+"/_alias", params, nil, &list); err != nil {
		return nil, err
	}
	var names []string
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (s *Store) expireDay(ctx context.Context, index string, day, before time.Time) (int, error) {
	if !day.AddDate(0, 0, 1).After(before) {
		var a answer
		body := clause{"size": 0, "track_total_hits": true}
		if err := s.ask(ctx, http.MethodPost, "/"+index+"/_search", wholeAnswers(), body, &a); err != nil {
			return 0, err
		}
		err := s.ask(ctx, http.MethodDelete, "/"+index, url.Values{"ignore_unavailable": {"true"}}, nil, nil)
		if err != nil {
			return 0, err
		}
		return int(a.Hits.Total.Value), nil
	}
	gone := 0
	var ids []event.ID
	flush := func() error {
		b, release, err := s.slot(ctx)
		if err != nil {
			return err
		}
		defer release()
		for _, id := range ids {
			b.add("delete", index, id, "", nil)
		}
		ids = ids[:0]
		return s.send(ctx, b, func(_ document, r result) error {
			switch {
			case r.status/100 == 2:
				gone++
			case r.status != http.StatusNotFound: // somebody else was faster
				return errRefused
			}
			return nil
		})
	}
	var fault error
	err := s.search(ctx, store.Query{Set: store.Events, From: day, To: before}, func(e event.Event) bool {
		if ids = append(ids, e.ID); len(ids) == page {
			fault = flush()
		}
		return fault == nil
	})
	if err == nil {
		err = fault
	}
	if err == nil && len(ids) > 0 {
		err = flush()
	}
	return gone, err
}
