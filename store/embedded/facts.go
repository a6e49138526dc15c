package embedded

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// facts is what alerts are counted by, in memory: a block of columns for each
// hour of alerts, made when it is first asked about, and anew when one of its
// alerts has changed. Alerts are kept as JSON, and to read 100,000 of them
// takes seconds; their facts take a tenth of that.
//
// Only the process that writes has them: nobody else can change an alert
// without its knowing.
type facts struct {
	mu     sync.Mutex
	hours  map[int64]*block // of alerts by their time, hours since 1970
	dirty  map[int64]uint64 // when an hour was changed last, in changes
	change uint64           // counts changes
	size   int              // bytes of all blocks, about
}

// maxFacts bounds the facts in memory, bytes: those of 200,000 alerts, about.
// What is beyond is read from the disk each time.
const maxFacts = 96 << 20

// heavy are the fields that facts leave out: they are a half of an alert, and
// nobody counts by them.
var heavy = []string{"tocsin.alert.evidence", "tocsin.alert.explain", "tocsin.alert.techniques"}

// begin is what must be known before a transaction begins whose alerts may
// become facts.
func (f *facts) begin() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change
}

// forget drops an hour: its alerts change, or have changed.
func (f *facts) forget(hours ...int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change++
	for _, h := range hours {
		if b := f.hours[h]; b != nil {
			f.size -= b.size
			delete(f.hours, h)
		}
		f.dirty[h] = f.change
	}
}

func (f *facts) get(hour int64) *block {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hours[hour]
}

// keep keeps an hour as a transaction has seen it that began at a change,
// unless the hour has changed since.
func (f *facts) keep(hour int64, b *block, began uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dirty[hour] > began || f.hours[hour] != nil || f.size+b.size > maxFacts {
		return
	}
	f.hours[hour] = b
	f.size += b.size
}

func hourOf(nanoseconds int64) int64 { return floorDiv(nanoseconds, int64(time.Hour)) }

// light reports whether facts answer a query and counts by fields.
func light(n query.Node, by []store.By) bool {
	is := func(field string) bool {
		return !strings.Contains(field, "*") && !slices.ContainsFunc(heavy, func(h string) bool { return field == h || strings.HasPrefix(field, h+".") })
	}
	for _, b := range by {
		if !is(b.Field) {
			return false
		}
	}
	var all func(n query.Node) bool
	all = func(n query.Node) bool {
		switch n := n.(type) {
		case nil:
			return true
		case query.And:
			return !slices.ContainsFunc(n, func(x query.Node) bool { return !all(x) })
		case query.Or:
			return !slices.ContainsFunc(n, func(x query.Node) bool { return !all(x) })
		case query.Not:
			return all(n.Node)
		case query.Compare:
			return is(n.Field)
		case query.Exists:
			return is(n.Field)
		}
		return false
	}
	return all(n)
}

// CountAll implements store.MultiCounter: alerts are gone through once.
func (s *Store) CountAll(ctx context.Context, q store.Query, by []store.By) (out [][]store.Bucket, err error) {
	q.Limit, q.After, q.Desc = 0, event.ID{}, false
	began := s.facts.begin()
	err = s.view(ctx, func(tx *sql.Tx) error {
		p, err := s.plan(tx, q)
		if err != nil {
			return err
		}
		cs := make([]*counter, len(by))
		for i, b := range by {
			cs[i] = newCounter(b)
		}
		if q.Set != store.Events {
			if err := s.countAlerts(ctx, tx, p, cs, began); err != nil {
				return err
			}
		}
		for _, c := range cs {
			if q.Set != store.Alerts {
				if minutely(q.Where, c.by) {
					err = s.countMinutes(ctx, tx, p, c)
				} else {
					err = s.countBlocks(ctx, tx, p, c)
				}
				if err != nil {
					return err
				}
			}
			out = append(out, c.buckets())
		}
		return nil
	})
	return out, err
}

func (s *Store) countAlerts(ctx context.Context, tx *sql.Tx, p *plan, cs []*counter, began uint64) error {
	add := func(e *event.Event, at int64) error {
		for _, c := range cs {
			if err := c.add(e, at, 1); err != nil {
				return err
			}
		}
		return nil
	}
	by := make([]store.By, len(cs))
	plain := true // nothing but their number
	for i, c := range cs {
		by[i] = c.by
		plain = plain && c.by.Field == "" && c.by.Interval <= 0
	}
	if plain && p.Where == nil {
		var n uint64
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM alert WHERE time >= ? AND time < ?`, p.from, p.to).Scan(&n); err != nil {
			return s.wrap("count", err)
		}
		var none event.Event
		for _, c := range cs {
			if err := c.add(&none, 0, n); err != nil {
				return err
			}
		}
		return nil
	}
	if s.mode == ReadOnly || !light(p.Where, by) {
		a := &alertSource{s: s, tx: tx, p: p}
		if err := a.fill(); err != nil {
			return err
		}
		for a.more() {
			if err := ctx.Err(); err != nil {
				return err
			}
			e, err := a.take()
			if err != nil {
				return err
			}
			if err := add(&e, e.Time.UnixNano()); err != nil {
				return err
			}
		}
		return nil
	}
	hours, err := s.alertHours(ctx, tx, p)
	if err != nil {
		return err
	}
	want := p.want
	for _, b := range by {
		want |= partsOf(b.Field)
	}
	var e event.Event
	for _, hour := range hours {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := s.facts.get(hour)
		if b == nil {
			if b, err = s.readFacts(ctx, tx, hour); err != nil {
				return err
			}
			s.facts.keep(hour, b, began)
		}
		for i := range b.ids {
			at := b.time(i)
			if !p.inTime(at) {
				continue
			}
			b.event(i, &e, want)
			if !p.match(&e) {
				continue
			}
			if err := add(&e, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// alertHours lists the hours that have alerts. It jumps from one to the next by
// the index, so that it takes as long as there are hours and not alerts.
func (s *Store) alertHours(ctx context.Context, tx *sql.Tx, p *plan) (hours []int64, err error) {
	st, err := tx.PrepareContext(ctx, `SELECT place, time FROM alert WHERE place >= ? ORDER BY place LIMIT 1`)
	if err != nil {
		return nil, s.wrap("count", err)
	}
	defer st.Close()
	from := placeOf(p.from)
	for {
		var place []byte
		var at int64
		err := st.QueryRowContext(ctx, from).Scan(&place, &at)
		if err == sql.ErrNoRows {
			return hours, nil
		}
		if err != nil {
			return nil, s.wrap("count", err)
		}
		if at >= p.to {
			return hours, nil
		}
		hour := hourOf(at)
		hours = append(hours, hour)
		if from = placeOf((hour + 1) * int64(time.Hour)); len(from) == 0 {
			from = placeOf(int64(time.Millisecond)) // all times before 1970 have one place
		}
	}
}

// placeOf is the first place of a time; that of all times before 1970 is the
// very first.
func placeOf(nanoseconds int64) []byte {
	if nanoseconds <= 0 {
		return []byte{}
	}
	id := event.FirstID(time.Unix(0, nanoseconds))
	return id[:]
}

func (s *Store) readFacts(ctx context.Context, tx *sql.Tx, hour int64) (*block, error) {
	from, to := placeOf(hour*int64(time.Hour)), placeOf((hour+1)*int64(time.Hour))
	if len(to) == 0 {
		to = placeOf(int64(time.Millisecond))
	}
	rows, err := tx.QueryContext(ctx, `SELECT id, json FROM alert WHERE place >= ? AND place < ? ORDER BY place`, from, to)
	if err != nil {
		return nil, s.wrap("read alerts", err)
	}
	defer rows.Close()
	var w writer
	w.reset()
	for rows.Next() {
		var id, text sql.RawBytes
		if err := rows.Scan(&id, &text); err != nil {
			return nil, s.wrap("read alerts", err)
		}
		var e event.Event
		if err := s.alerts.Decode(text, &e); err != nil {
			return nil, s.wrap(fmt.Sprintf("table alert, %x: damaged", []byte(id)), err)
		}
		e.Fields = slices.DeleteFunc(e.Fields, func(f event.Field) bool { return slices.Contains(heavy, f.Name) })
		w.add(&e)
	}
	if err := rows.Err(); err != nil {
		return nil, s.wrap("read alerts", err)
	}
	b, err := parseBlock(w.append(nil), slices.Clone(w.ids))
	if err != nil {
		return nil, s.wrap("read alerts", err)
	}
	return b, nil
}
