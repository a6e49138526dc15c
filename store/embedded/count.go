package embedded

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// maxGroups bounds the groups that a count keeps in memory on its way.
const maxGroups = 1_000_000

// group is one bucket while it is counted.
type group struct {
	time  int64
	value int // of counter.values; -1: none is asked for
}

type counter struct {
	by     store.By
	path   query.Path
	counts map[group]uint64
	index  map[string]int // of values, by type and text: event.Value cannot be compared
	values []event.Value
	totals []uint64 // of values, over all of the time
	key    []byte
	seen   []int
	last   group // the one counted last, and how often: most come in order
	n      uint64
}

func newCounter(by store.By) *counter {
	return &counter{by: by, path: query.ResolvePath(by.Field), counts: map[group]uint64{}, index: map[string]int{}, last: group{value: -1}}
}

// add counts n events like e at a time.
func (c *counter) add(e *event.Event, at int64, n uint64) error {
	g := group{time: c.start(at), value: -1}
	if c.by.Field == "" {
		return c.count(g, n)
	}
	c.seen = c.seen[:0]
	var err error
	c.path.Values(e, func(v event.Value) bool {
		c.key = append(c.key[:0], byte(v.Type()))
		c.key = v.AppendText(c.key)
		i, ok := c.index[string(c.key)]
		if !ok {
			i = len(c.values)
			c.index[string(c.key)] = i
			c.values = append(c.values, ownValue(v))
			c.totals = append(c.totals, 0)
		}
		if slices.Contains(c.seen, i) {
			return true
		}
		c.seen = append(c.seen, i)
		c.totals[i] += n
		g.value = i
		err = c.count(g, n)
		return err == nil
	})
	return err
}

// start is when the step of a time begins; 0 if nothing is counted over time.
func (c *counter) start(at int64) int64 {
	step := int64(c.by.Interval)
	if step <= 0 {
		return 0
	}
	return floorDiv(at, step) * step
}

// only is the one value that the event added last had; -1 if it had none.
func (c *counter) only() int {
	if len(c.seen) == 0 {
		return -1
	}
	return c.seen[0]
}

// addValue counts one more event with a value that was seen before.
func (c *counter) addValue(value int, at int64) error {
	if value < 0 {
		return nil
	}
	c.totals[value]++
	return c.count(group{time: c.start(at), value: value}, 1)
}

func (c *counter) count(g group, n uint64) error {
	if g == c.last {
		c.n += n
		return nil
	}
	c.flush()
	c.last, c.n = g, n
	if len(c.counts) > maxGroups {
		return fmt.Errorf("more than %d groups: ask for a shorter time, a longer interval or another field", maxGroups)
	}
	return nil
}

func (c *counter) flush() {
	if c.n > 0 {
		c.counts[c.last] += c.n
		c.n = 0
	}
}

func (c *counter) buckets() []store.Bucket {
	c.flush()
	if c.by.Interval <= 0 && c.by.Field == "" {
		return []store.Bucket{{Count: c.counts[group{value: -1}]}}
	}
	keep := c.top()
	buckets := make([]store.Bucket, 0, min(len(c.counts), 1024))
	for g, n := range c.counts {
		b := store.Bucket{Count: n}
		if g.value >= 0 {
			if !keep[g.value] {
				continue
			}
			b.Value = c.values[g.value]
		}
		if c.by.Interval > 0 {
			b.Time = time.Unix(0, g.time).UTC()
		}
		buckets = append(buckets, b)
	}
	slices.SortFunc(buckets, func(a, b store.Bucket) int {
		if c := cmp.Or(a.Time.Compare(b.Time), cmp.Compare(b.Count, a.Count)); c != 0 {
			return c
		}
		return compareValues(a.Value, b.Value)
	})
	return buckets
}

// top chooses the values with the highest counts over all of the time.
func (c *counter) top() []bool {
	limit := store.MaxBuckets
	if c.by.Top > 0 {
		limit = min(limit, c.by.Top)
	}
	keep := make([]bool, len(c.values))
	order := make([]int, len(c.values))
	for i := range order {
		order[i] = i
	}
	if len(order) > limit {
		// Most values are rare and out of question: do not sort those.
		sorted := slices.Clone(c.totals)
		slices.Sort(sorted)
		least := sorted[len(sorted)-limit]
		order = slices.DeleteFunc(order, func(i int) bool { return c.totals[i] < least })
		slices.SortFunc(order, func(a, b int) int {
			if d := cmp.Compare(c.totals[b], c.totals[a]); d != 0 {
				return d
			}
			return compareValues(c.values[a], c.values[b])
		})
		order = order[:limit]
	}
	for _, i := range order {
		keep[i] = true
	}
	return keep
}

// Count implements store.Store.
func (s *Store) Count(ctx context.Context, q store.Query, by store.By) ([]store.Bucket, error) {
	all, err := s.CountAll(ctx, q, []store.By{by})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func (s *Store) countBlocks(ctx context.Context, tx *sql.Tx, p *plan, c *counter) error {
	metas, err := s.candidates(tx, p)
	if err != nil {
		return err
	}
	want := partsOf(c.by.Field)
	cols := columnsOf(c.by.Field)
	var e event.Event
	for _, m := range metas {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := s.loadBlock(tx, m)
		if err != nil {
			return err
		}
		var fault error
		// The value of each combination of columns that the block holds.
		known := map[[2]uint64]int{}
		p.scan(b, func(i int) {
			if fault != nil {
				return
			}
			if c.by.Field == "" {
				fault = c.add(&e, b.time(i), 1)
				return
			}
			var key [2]uint64
			for j, col := range cols {
				key[j] = b.col(col)[i]
			}
			if v, ok := known[key]; ok && len(cols) > 0 {
				fault = c.addValue(v, b.time(i))
				return
			}
			b.event(i, &e, want)
			fault = c.add(&e, b.time(i), 1)
			if len(cols) > 0 {
				known[key] = c.only()
			}
		})
		if fault != nil {
			return fault
		}
	}
	return nil
}

// columnsOf lists the columns, two at most, that a field's single value depends
// on; none if it depends on more.
func columnsOf(field string) []column {
	switch field {
	case "source.ip":
		return []column{colSrcIP}
	case "destination.ip":
		return []column{colDstIP}
	case "source.port":
		return []column{colSrcPort, colTransport}
	case "destination.port":
		return []column{colDstPort, colTransport}
	case "network.transport":
		return []column{colTransport}
	case "network.protocol":
		return []column{colService}
	case "observer.name":
		return []column{colSensor}
	case "tocsin.flow.state":
		return []column{colState, colKind}
	}
	if ofKind(field) {
		return []column{colKind}
	}
	return nil
}

// minutely reports whether the numbers of events per kind and minute answer a
// count.
func minutely(n query.Node, by store.By) bool {
	if by.Field != "" && !ofKind(by.Field) || by.Interval > 0 && by.Interval%time.Minute != 0 {
		return false
	}
	return aboutKind(n)
}

func aboutKind(n query.Node) bool {
	all := func(ns []query.Node) bool {
		return !slices.ContainsFunc(ns, func(x query.Node) bool { return !aboutKind(x) })
	}
	switch n := n.(type) {
	case nil:
		return true
	case query.And:
		return all(n)
	case query.Or:
		return all(n)
	case query.Not:
		return aboutKind(n.Node)
	case query.Compare:
		return ofKind(n.Field)
	case query.Exists:
		return ofKind(n.Field)
	}
	return false
}

// countMinutes counts whole minutes by their numbers, and what is left at both
// ends by looking into blocks.
func (s *Store) countMinutes(ctx context.Context, tx *sql.Tx, p *plan, c *counter) error {
	const minute = int64(time.Minute)
	first, last := int64(math.MinInt64), int64(math.MaxInt64) // whole minutes, [first, last)
	if p.from != math.MinInt64 {
		first = -floorDiv(-p.from, minute)
	}
	if p.to != math.MaxInt64 {
		last = floorDiv(p.to, minute)
	}
	if first >= last {
		return s.countBlocks(ctx, tx, p, c)
	}
	edge := func(from, to int64) error {
		if from >= to {
			return nil
		}
		part := *p
		part.from, part.to = from, to
		return s.countBlocks(ctx, tx, &part, c)
	}
	if p.from != math.MinInt64 {
		if err := edge(p.from, first*minute); err != nil {
			return err
		}
	}
	if p.to != math.MaxInt64 {
		if err := edge(last*minute, p.to); err != nil {
			return err
		}
	}
	// SQLite adds up the minutes of each bucket.
	step := max(int64(c.by.Interval)/minute, 1)
	text := `SELECT min(minute), kind, sum(events) FROM minute WHERE minute >= ? AND minute < ? GROUP BY kind`
	args := []any{first, last}
	if c.by.Interval > 0 {
		// Division towards minus infinity: minutes before 1970 are rare, but counted.
		text += `, (minute - ((minute % ?) + ?) % ?)`
		args = append(args, step, step, step)
	}
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return s.wrap("count", err)
	}
	defer rows.Close()
	for rows.Next() {
		var at, n int64
		var kind string
		if err := rows.Scan(&at, &kind, &n); err != nil {
			return s.wrap("count", err)
		}
		e := event.Event{Kind: event.Kind(strings.Clone(kind))}
		if !p.match(&e) {
			continue
		}
		if err := c.add(&e, at*minute, uint64(n)); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return s.wrap("count", err)
	}
	return nil
}
