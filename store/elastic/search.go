package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// page is how many documents a search fetches at a time: with the usual
// kilobyte or two for each, a megabyte or two.
const page = 1000

// keepAlive is how long the server keeps the state that a search sees while
// nobody asks for the next page.
const keepAlive = "5m"

// unavailableOK asks of the indices that are there; there may be none.
var unavailableOK = url.Values{"ignore_unavailable": {"true"}, "allow_no_indices": {"true"}}

// wholeAnswers refuses an answer without what a shard that is away would say.
func wholeAnswers() url.Values {
	return url.Values{"ignore_unavailable": {"true"}, "allow_no_indices": {"true"}, "allow_partial_search_results": {"false"}}
}

// answer is the part of a search's answer that is read.
type answer struct {
	PIT      string `json:"pit_id"`
	TimedOut bool   `json:"timed_out"`
	Hits     struct {
		Total struct {
			Value uint64 `json:"value"`
		} `json:"total"`
		Hits []found `json:"hits"`
	} `json:"hits"`
	Aggregations map[string]json.RawMessage `json:"aggregations"`
}

var errTimedOut = errors.New("the server ended the search before its end")

// Search implements store.Store. What fits into one page is asked for at once;
// more is paged through a point in time, which is closed when the loop ends.
func (s *Store) Search(ctx context.Context, q store.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		stopped := false
		err := s.search(ctx, q, func(e event.Event) bool {
			stopped = !yield(e, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(event.Event{}, s.wrap("search", err))
		}
	}
}

func (s *Store) search(ctx context.Context, q store.Query, yield func(event.Event) bool) error {
	if err := s.refresh(ctx); err != nil {
		return err
	}
	order, behind := "asc", "gt"
	if q.Desc {
		order, behind = "desc", "lt"
	}
	where := []clause{s.filter(q)}
	if !q.After.IsZero() {
		// The place says it all; the time lets the server pass over whole days.
		at := clause{"gte": nanos(q.After.Time())}
		if q.Desc {
			at = clause{"lt": nanos(q.After.Time().Add(time.Millisecond))}
		}
		where = append(where, between(placeField, clause{behind: q.After.String()}), between("@timestamp", at))
	}
	body := clause{
		"query":            all(where),
		"sort":             []clause{{placeField: clause{"order": order, "unmapped_type": "keyword"}}},
		"track_total_hits": false,
	}
	if q.Limit > 0 && q.Limit <= page {
		body["size"] = q.Limit
		var a answer
		if err := s.ask(ctx, http.MethodPost, "/"+s.indices(q.Set)+"/_search", wholeAnswers(), body, &a); err != nil {
			return err
		}
		_, err := s.hits(ctx, &a, q.Limit, yield)
		return err
	}
	pit, err := s.openPIT(ctx, q.Set)
	if err != nil {
		return err
	}
	defer func() { s.closePIT(ctx, pit) }()
	left := q.Limit
	for {
		size := page
		if q.Limit > 0 {
			size = min(size, left)
		}
		body["size"], body["pit"] = size, clause{"id": pit, "keep_alive": keepAlive}
		var a answer
		if err := s.ask(ctx, http.MethodPost, "/_search", url.Values{"allow_partial_search_results": {"false"}}, body, &a); err != nil {
			return err
		}
		if a.PIT != "" {
			pit = a.PIT
		}
		more, err := s.hits(ctx, &a, size, yield)
		left -= len(a.Hits.Hits)
		if err != nil || !more || q.Limit > 0 && left == 0 {
			return err
		}
		body["search_after"] = a.Hits.Hits[len(a.Hits.Hits)-1].Sort
	}
}

// hits yields what an answer holds, and says whether there may be more.
func (s *Store) hits(ctx context.Context, a *answer, size int, yield func(event.Event) bool) (more bool, err error) {
	if a.TimedOut {
		return false, errTimedOut
	}
	for i := range a.Hits.Hits {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		var e event.Event
		if err := s.decode(a.Hits.Hits[i].Source, &e); err != nil {
			return false, err
		}
		if !yield(e) {
			return false, nil
		}
	}
	return len(a.Hits.Hits) == size, nil
}

// openPIT keeps the state of the indices for a search.
func (s *Store) openPIT(ctx context.Context, set store.Set) (string, error) {
	var pit struct {
		ID string `json:"id"`
	}
	params := url.Values{"keep_alive": {keepAlive}, "ignore_unavailable": {"true"}}
	err := s.ask(ctx, http.MethodPost, "/"+s.indices(set)+"/_pit", params, nil, &pit)
	return pit.ID, err
}

func (s *Store) closePIT(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	body, err := json.Marshal(clause{"id": id})
	if err == nil {
		// The server forgets it by itself if this does not arrive.
		s.do(ctx, http.MethodDelete, "/_pit", nil, "application/json", body)
	}
}

// Span implements store.Store.
func (s *Store) Span(ctx context.Context) (from, to time.Time, err error) {
	if err := s.refresh(ctx); err != nil {
		return from, to, s.wrap("span", err)
	}
	for _, end := range []struct {
		order string
		at    *time.Time
	}{{"asc", &from}, {"desc", &to}} {
		var a answer
		body := clause{"size": 1, "track_total_hits": false, "sort": []clause{{"@timestamp": clause{"order": end.order, "unmapped_type": "date_nanos"}}}}
		if err := s.ask(ctx, http.MethodPost, "/"+s.indices(store.Both)+"/_search", wholeAnswers(), body, &a); err != nil {
			return time.Time{}, time.Time{}, s.wrap("span", err)
		}
		if _, err := s.hits(ctx, &a, 1, func(e event.Event) bool { *end.at = e.Time; return true }); err != nil {
			return time.Time{}, time.Time{}, s.wrap("span", err)
		}
	}
	return from, to, nil
}
