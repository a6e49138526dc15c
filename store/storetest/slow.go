package storetest

import (
	"cmp"
	"encoding/base64"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

func communityID(digest [20]byte) string {
	return "1:" + base64.StdEncoding.EncodeToString(digest[:])
}

// slow is the slow, obvious twin of a store.
type slow struct {
	events []event.Event // events and alerts
}

func (s *slow) matches(q store.Query, e *event.Event) bool {
	switch {
	case q.Set == store.Events && e.Kind == event.KindAlert, q.Set == store.Alerts && e.Kind != event.KindAlert:
		return false
	case !q.From.IsZero() && e.Time.Before(q.From), !q.To.IsZero() && !e.Time.Before(q.To):
		return false
	}
	return q.Where == nil || query.Match(q.Where, e)
}

func (s *slow) search(q store.Query) []event.Event {
	var found []event.Event
	for i := range s.events {
		e := &s.events[i]
		if !s.matches(q, e) {
			continue
		}
		if c := e.Place().Compare(q.After); !q.After.IsZero() && (q.Desc && c >= 0 || !q.Desc && c <= 0) {
			continue
		}
		found = append(found, *e)
	}
	slices.SortFunc(found, func(a, b event.Event) int {
		if q.Desc {
			return b.Place().Compare(a.Place())
		}
		return a.Place().Compare(b.Place())
	})
	if q.Limit > 0 {
		found = found[:min(len(found), q.Limit)]
	}
	return found
}

// count is keyed by the text of the value: generated fields have one type each.
func (s *slow) count(q store.Query, by store.By) []store.Bucket {
	type key struct {
		at    int64
		value string
	}
	counts, totals := map[key]uint64{}, map[string]uint64{}
	values := map[string]event.Value{}
	lone := uint64(0)
	for i := range s.events {
		e := &s.events[i]
		if !s.matches(q, e) {
			continue
		}
		var k key
		if by.Interval > 0 {
			k.at = e.Time.UnixNano() / int64(by.Interval) * int64(by.Interval)
		}
		if by.Field == "" {
			lone++
			counts[k]++
			continue
		}
		seen := map[string]bool{}
		p := query.ResolvePath(by.Field)
		p.Values(e, func(v event.Value) bool {
			k.value = v.String()
			if !seen[k.value] {
				seen[k.value] = true
				counts[k]++
				totals[k.value]++
				values[k.value] = v
			}
			return true
		})
	}
	if by.Interval <= 0 && by.Field == "" {
		return []store.Bucket{{Count: lone}}
	}
	order := []string{}
	for v := range totals {
		order = append(order, v)
	}
	slices.SortFunc(order, func(a, b string) int {
		return cmp.Or(cmp.Compare(totals[b], totals[a]), orderOf(values[a], values[b]))
	})
	if by.Top > 0 {
		order = order[:min(len(order), by.Top)]
	}
	buckets := []store.Bucket{}
	for k, n := range counts {
		if by.Field != "" && !slices.Contains(order, k.value) {
			continue
		}
		b := store.Bucket{Value: values[k.value], Count: n}
		if by.Interval > 0 {
			b.Time = time.Unix(0, k.at).UTC()
		}
		buckets = append(buckets, b)
	}
	slices.SortFunc(buckets, func(a, b store.Bucket) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(b.Count, a.Count), orderOf(a.Value, b.Value))
	})
	return buckets
}

func orderOf(a, b event.Value) int {
	if x, ok := a.IP(); ok {
		y, _ := b.IP()
		return x.Compare(y)
	}
	if x, ok := a.Float(); ok {
		y, _ := b.Float()
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a.String(), b.String())
}
