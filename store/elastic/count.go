package elastic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

const (
	// maxGroups bounds the groups that a count keeps in memory.
	maxGroups = 1_000_000
	// maxAnswerBuckets is how many buckets one answer may have: a server's
	// search.max_buckets is 65,536 if it is not set.
	maxAnswerBuckets = 50_000
)

// Count implements store.Store. All counts are exact: where a shard has left
// out values that others might count, it is asked for more of them.
func (s *Store) Count(ctx context.Context, q store.Query, by store.By) ([]store.Bucket, error) {
	if err := s.refresh(ctx); err != nil {
		return nil, s.wrap("count", err)
	}
	buckets, err := s.count(ctx, q, by)
	return buckets, s.wrap("count", err)
}

func (s *Store) count(ctx context.Context, q store.Query, by store.By) ([]store.Bucket, error) {
	q.Limit, q.After, q.Desc = 0, event.ID{}, false
	where := s.filter(q)
	if by.Field == "" && by.Interval <= 0 {
		a, err := s.aggregate(ctx, q.Set, clause{"size": 0, "track_total_hits": true, "query": where})
		if err != nil {
			return nil, err
		}
		return []store.Bucket{{Count: a.Hits.Total.Value}}, nil
	}
	d, known := s.fields.schema.Lookup(by.Field)
	if by.Interval%time.Millisecond != 0 || by.Field != "" && (!known || d.Type == event.Nested || d.Type == event.Date) {
		// What the server would round, and objects and patterns of names, which
		// it does not know, are counted here.
		return s.countHere(ctx, q, by)
	}
	if by.Field == "" {
		return s.countTimes(ctx, q.Set, where, by, nil)
	}
	top, err := s.top(ctx, q.Set, where, d, by.Top)
	if err != nil || by.Interval <= 0 || len(top) == 0 {
		return top, err
	}
	return s.countTimes(ctx, q.Set, where, by, &values{doc: d, top: top})
}

func (s *Store) aggregate(ctx context.Context, set store.Set, body clause) (*answer, error) {
	var a answer
	if err := s.ask(ctx, http.MethodPost, "/"+s.indices(set)+"/_search", wholeAnswers(), body, &a); err != nil {
		return nil, err
	}
	if a.TimedOut {
		return nil, errTimedOut
	}
	return &a, nil
}

// terms is the answer of a terms aggregation.
type terms struct {
	Error   int64 `json:"doc_count_error_upper_bound"`
	Buckets []struct {
		Key  json.RawMessage `json:"key"`
		Text string          `json:"key_as_string"`
		N    uint64          `json:"doc_count"`
	} `json:"buckets"`
}

// top counts by the values of a field and returns those with the highest
// counts.
func (s *Store) top(ctx context.Context, set store.Set, where clause, d event.FieldDoc, n int) ([]store.Bucket, error) {
	size := store.MaxBuckets
	if n > 0 {
		size = min(size, n)
	}
	for perShard := max(4*size, 1000); ; perShard *= 8 {
		if perShard > maxGroups {
			return nil, fmt.Errorf("more than %d values of %s: ask for a shorter time or another field", maxGroups, d.Name)
		}
		a, err := s.aggregate(ctx, set, clause{"size": 0, "track_total_hits": false, "query": where,
			"aggs": clause{"values": clause{"terms": clause{"field": d.Name, "size": size, "shard_size": perShard}}}})
		if err != nil {
			return nil, err
		}
		if a.Aggregations["values"] == nil { // no index
			return []store.Bucket{}, nil
		}
		var t terms
		if err := json.Unmarshal(a.Aggregations["values"], &t); err != nil {
			return nil, err
		}
		// Zero says that no shard has left out a value that could be among these.
		if t.Error != 0 {
			continue
		}
		buckets := make([]store.Bucket, len(t.Buckets))
		for i, b := range t.Buckets {
			v, err := valueOf(d, b.Key, b.Text)
			if err != nil {
				return nil, err
			}
			buckets[i] = store.Bucket{Value: v, Count: b.N}
		}
		order(buckets)
		return buckets, nil
	}
}

// values are those that are counted over time.
type values struct {
	doc event.FieldDoc
	top []store.Bucket
}

// countTimes counts over time, and in each step by values if they are given.
func (s *Store) countTimes(ctx context.Context, set store.Set, where clause, by store.By, vs *values) ([]store.Bucket, error) {
	size := 10_000
	agg := clause{}
	if vs != nil {
		include := make([]any, len(vs.top))
		for i, b := range vs.top {
			include[i] = termOf(b.Value)
		}
		// With as many from each shard as there are, nothing is left out.
		agg["aggs"] = clause{"values": clause{"terms": clause{"field": vs.doc.Name, "size": len(include), "shard_size": len(include), "include": include}}}
		size = min(max(maxAnswerBuckets/(len(include)+1), 1), size)
		if vs.doc.Type == event.Boolean {
			delete(agg["aggs"].(clause)["values"].(clause)["terms"].(clause), "include") // both, then
		}
	}
	composite := clause{"size": size, "sources": []clause{{"at": clause{"date_histogram": clause{
		"field": "@timestamp", "fixed_interval": strconv.FormatInt(by.Interval.Milliseconds(), 10) + "ms"}}}}}
	agg["composite"] = composite
	wanted := map[string]bool{}
	if vs != nil {
		for _, b := range vs.top {
			wanted[b.Value.String()] = true
		}
	}
	buckets := []store.Bucket{}
	for {
		a, err := s.aggregate(ctx, set, clause{"size": 0, "track_total_hits": false, "query": where, "aggs": clause{"times": agg}})
		if err != nil {
			return nil, err
		}
		var times struct {
			After   json.RawMessage `json:"after_key"`
			Buckets []struct {
				Key struct {
					At int64 `json:"at"`
				} `json:"key"`
				N      uint64 `json:"doc_count"`
				Values terms  `json:"values"`
			} `json:"buckets"`
		}
		if a.Aggregations["times"] == nil {
			return buckets, nil
		}
		if err := json.Unmarshal(a.Aggregations["times"], &times); err != nil {
			return nil, err
		}
		for _, t := range times.Buckets {
			at := time.UnixMilli(t.Key.At).UTC()
			if vs == nil {
				buckets = append(buckets, store.Bucket{Time: at, Count: t.N})
				continue
			}
			for _, b := range t.Values.Buckets {
				v, err := valueOf(vs.doc, b.Key, b.Text)
				if err != nil {
					return nil, err
				}
				if wanted[v.String()] {
					buckets = append(buckets, store.Bucket{Time: at, Value: v, Count: b.N})
				}
			}
		}
		if len(buckets) > maxGroups {
			return nil, fmt.Errorf("more than %d groups: ask for a shorter time, a longer interval or another field", maxGroups)
		}
		if len(times.Buckets) < size {
			order(buckets)
			return buckets, nil
		}
		composite["after"] = times.After
	}
}

func order(buckets []store.Bucket) {
	slices.SortFunc(buckets, func(a, b store.Bucket) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(b.Count, a.Count), compareValues(a.Value, b.Value))
	})
}

// compareValues orders values by their type, and then by what they hold.
func compareValues(a, b event.Value) int {
	if c := cmp.Compare(a.Type(), b.Type()); c != 0 {
		return c
	}
	switch a.Type() {
	case event.TypeInt:
		x, _ := a.Int()
		y, _ := b.Int()
		return cmp.Compare(x, y)
	case event.TypeFloat, event.TypeUint:
		x, _ := a.Float()
		y, _ := b.Float()
		return cmp.Compare(x, y)
	case event.TypeIP:
		x, _ := a.IP()
		y, _ := b.IP()
		return x.Compare(y)
	case event.TypeTime:
		x, _ := a.Time()
		y, _ := b.Time()
		return x.Compare(y)
	}
	return strings.Compare(a.String(), b.String())
}

// valueOf is the value that a bucket's key stands for.
func valueOf(d event.FieldDoc, key json.RawMessage, text string) (event.Value, error) {
	switch d.Type {
	case event.Long:
		n, err := strconv.ParseInt(string(bytes.TrimSuffix(key, []byte(".0"))), 10, 64)
		return event.Int(n), err
	case event.Double:
		x, err := strconv.ParseFloat(string(key), 64)
		return event.Float(x), err
	case event.Boolean:
		return event.Bool(text == "true"), nil
	}
	var s string
	if err := json.Unmarshal(key, &s); err != nil {
		return event.Value{}, err
	}
	if d.Type == event.IPType {
		a, err := netip.ParseAddr(s)
		return event.IP(a), err
	}
	return event.Str(s), nil
}

// termOf is a value as an aggregation includes it.
func termOf(v event.Value) any {
	switch v.Type() {
	case event.TypeInt:
		n, _ := v.Int()
		return n
	case event.TypeFloat:
		x, _ := v.Float()
		return x
	}
	return v.String()
}

// countHere counts by looking at every document that matches.
func (s *Store) countHere(ctx context.Context, q store.Query, by store.By) ([]store.Bucket, error) {
	type key struct {
		at    int64
		value string // type and text
	}
	counts, totals, vals := map[key]uint64{}, map[string]uint64{}, map[string]event.Value{}
	path := query.ResolvePath(by.Field)
	seen := map[string]bool{}
	var fault error
	err := s.search(ctx, q, func(e event.Event) bool {
		var k key
		if by.Interval > 0 {
			k.at = e.Time.UnixNano() / int64(by.Interval) * int64(by.Interval)
		}
		clear(seen)
		path.Values(&e, func(v event.Value) bool {
			k.value = strconv.Itoa(int(v.Type())) + " " + v.String()
			if by.Field != "" && !seen[k.value] {
				seen[k.value] = true
				totals[k.value]++
				vals[k.value] = v
				counts[k]++
			}
			return true
		})
		if by.Field == "" {
			counts[k]++
		}
		if len(counts) > maxGroups {
			fault = fmt.Errorf("more than %d groups: ask for a shorter time, a longer interval or another field", maxGroups)
		}
		return fault == nil
	})
	if err = cmp.Or(err, fault); err != nil {
		return nil, err
	}
	top := make([]store.Bucket, 0, len(totals))
	for k, n := range totals {
		top = append(top, store.Bucket{Value: vals[k], Count: n})
	}
	order(top)
	limit := store.MaxBuckets
	if by.Top > 0 {
		limit = min(limit, by.Top)
	}
	wanted := map[string]bool{}
	for _, b := range top[:min(len(top), limit)] {
		wanted[strconv.Itoa(int(b.Value.Type()))+" "+b.Value.String()] = true
	}
	buckets := []store.Bucket{}
	for k, n := range counts {
		b := store.Bucket{Value: vals[k.value], Count: n}
		if by.Interval > 0 {
			b.Time = time.Unix(0, k.at).UTC()
		}
		if by.Field == "" || wanted[k.value] {
			buckets = append(buckets, b)
		}
	}
	order(buckets)
	return buckets, nil
}
