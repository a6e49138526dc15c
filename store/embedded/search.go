package embedded

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, id event.ID) (found event.Event, err error) {
	err = s.view(ctx, func(tx *sql.Tx) error {
		a, err := s.alert(tx, id)
		if err == nil {
			found = a.Event()
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return s.wrap("get", err)
		}
		metas, err := s.metas(tx, `r.min_id <= ? AND r.max_id >= ? AND b.min_id <= ? AND b.max_id >= ?`, id[:], id[:], id[:], id[:])
		if err != nil {
			return s.wrap("get", err)
		}
		for _, m := range metas {
			ids, err := s.loadIDs(tx, m)
			if err != nil {
				return err
			}
			i, ok := slices.BinarySearchFunc(ids, id, event.ID.Compare)
			if !ok {
				continue
			}
			b, err := s.loadBlock(tx, m)
			if err != nil {
				return err
			}
			b.event(i, &found, allParts)
			own(&found)
			return nil
		}
		return fmt.Errorf("store %s: %s: %w", s.path, id, store.ErrNotFound)
	})
	return found, err
}

// Search implements store.Store. It sees one state of the store, whatever is
// put meanwhile, until it ends.
func (s *Store) Search(ctx context.Context, q store.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		stopped := false
		err := s.view(ctx, func(tx *sql.Tx) error {
			p, err := s.plan(tx, q)
			if err != nil {
				return err
			}
			left := q.Limit
			return s.each(ctx, tx, p, func(e *event.Event) bool {
				stopped = !yield(*e, nil)
				left--
				return !stopped && left != 0
			})
		})
		if err != nil && !stopped {
			yield(event.Event{}, err)
		}
	}
}

// each calls fn with what matches, in order, until it returns false.
func (s *Store) each(ctx context.Context, tx *sql.Tx, p *plan, fn func(*event.Event) bool) error {
	metas, err := s.candidates(tx, p)
	if err != nil {
		return err
	}
	dir := 1
	if p.Desc {
		dir = -1
	}
	first := func(m *meta) event.ID {
		if p.Desc {
			return m.maxID
		}
		return m.minID
	}
	behind := func(id event.ID) bool { return p.After.IsZero() || dir*id.Compare(p.After) > 0 }
	metas = slices.DeleteFunc(metas, func(m meta) bool {
		if p.Desc {
			return !behind(m.minID)
		}
		return !behind(m.maxID)
	})
	slices.SortFunc(metas, func(a, b meta) int { return dir * first(&a).Compare(first(&b)) })

	open := sources{dir: dir}
	if p.Set != store.Events {
		a := &alertSource{s: s, tx: tx, p: p, at: p.After}
		if err := a.fill(); err != nil {
			return err
		}
		if a.more() {
			heap.Push(&open, source(a))
		}
	}
	for {
		// A block is opened when the merge has come to where it begins.
		for len(metas) > 0 && (open.Len() == 0 || dir*first(&metas[0]).Compare(open.list[0].id()) <= 0) {
			if err := ctx.Err(); err != nil {
				return err
			}
			b, err := s.loadBlock(tx, metas[0])
			if err != nil {
				return err
			}
			metas = metas[1:]
			rows := p.matches(b, behind)
			if p.Desc {
				slices.Reverse(rows)
			}
			if len(rows) > 0 {
				heap.Push(&open, source(&blockSource{b: b, rows: rows}))
			}
		}
		if open.Len() == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		top := open.list[0]
		e, err := top.take()
		if err != nil {
			return err
		}
		if !fn(&e) {
			return nil
		}
		if top.more() {
			heap.Fix(&open, 0)
		} else {
			heap.Pop(&open)
		}
	}
}

// matches lists the rows of a block that match.
func (p *plan) matches(b *block, behind func(event.ID) bool) []int {
	rows := make([]int, 0, 16)
	p.scan(b, func(i int) {
		if behind(b.ids[i]) {
			rows = append(rows, i)
		}
	})
	return rows
}

// scan calls fn with each row of a block that matches.
func (p *plan) scan(b *block, fn func(row int)) {
	may := func(int) bool { return true }
	if p.rows != nil {
		may = p.rows(b)
	}
	var e event.Event
	for i := range b.ids {
		if !may(i) || !p.inTime(b.time(i)) {
			continue
		}
		if !p.exact {
			b.event(i, &e, p.want)
			if !p.match(&e) {
				continue
			}
		}
		fn(i)
	}
}

// source is one sorted list that takes part in a merge.
type source interface {
	id() event.ID // event.Event.Place of the next
	take() (event.Event, error)
	more() bool
}

type sources struct {
	list []source
	dir  int
}

func (s *sources) Len() int           { return len(s.list) }
func (s *sources) Less(i, j int) bool { return s.dir*s.list[i].id().Compare(s.list[j].id()) < 0 }
func (s *sources) Swap(i, j int)      { s.list[i], s.list[j] = s.list[j], s.list[i] }
func (s *sources) Push(x any)         { s.list = append(s.list, x.(source)) }
func (s *sources) Pop() any {
	x := s.list[len(s.list)-1]
	s.list = s.list[:len(s.list)-1]
	return x
}

type blockSource struct {
	b    *block
	rows []int
}

func (x *blockSource) id() event.ID { return x.b.ids[x.rows[0]] }
func (x *blockSource) more() bool   { return len(x.rows) > 0 }
func (x *blockSource) take() (e event.Event, err error) {
	x.b.event(x.rows[0], &e, allParts)
	own(&e)
	x.rows = x.rows[1:]
	return e, nil
}

// alertSource reads alerts a page at a time.
type alertSource struct {
	s    *Store
	tx   *sql.Tx
	p    *plan
	at   event.ID // place of the last one read
	page []event.Event
	end  bool
}

const alertPage = 256

// lastPlace is behind every place.
var lastPlace = bytes.Repeat([]byte{0xff}, len(event.ID{})+1)

func (x *alertSource) id() event.ID { return x.page[0].Place() }
func (x *alertSource) more() bool   { return len(x.page) > 0 }
func (x *alertSource) take() (event.Event, error) {
	e := x.page[0]
	x.page = x.page[1:]
	var err error
	if len(x.page) == 0 {
		err = x.fill()
	}
	return e, err
}

func (x *alertSource) fill() error {
	for !x.end && len(x.page) == 0 {
		if err := x.read(); err != nil {
			return err
		}
	}
	return nil
}

func (x *alertSource) read() error {
	// The times bound the places, which are what the index has; the
	// milliseconds of a place are less than its time.
	least, most := placeOf(x.p.from), lastPlace
	if x.p.to > 0 && x.p.to < math.MaxInt64-int64(time.Second) {
		most = placeOf(x.p.to + int64(time.Millisecond))
	}
	text := `SELECT id, place, json FROM alert WHERE time >= ? AND time < ? AND place > ? AND place >= ? AND place <= ? ORDER BY place LIMIT ?`
	if x.p.Desc {
		text = `SELECT id, place, json FROM alert WHERE time >= ? AND time < ? AND place < ? AND place >= ? AND place <= ? ORDER BY place DESC LIMIT ?`
	}
	at := x.at[:]
	if x.at.IsZero() { // before the first, or behind the last
		at = []byte{}
		if x.p.Desc {
			at = lastPlace
		}
	}
	rows, err := x.tx.Query(text, x.p.from, x.p.to, at, least, most, alertPage)
	if err != nil {
		return x.s.wrap("read alerts", err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
		var id, place, text sql.RawBytes
		if err := rows.Scan(&id, &place, &text); err != nil {
			return x.s.wrap("read alerts", err)
		}
		copy(x.at[:], place)
		var e event.Event
		if err := x.s.alerts.Decode(text, &e); err != nil {
			return x.s.wrap(fmt.Sprintf("table alert, %x: damaged", []byte(id)), err)
		}
		if x.p.match(&e) {
			x.page = append(x.page, e)
		}
	}
	x.end = n < alertPage
	if err := rows.Err(); err != nil {
		return x.s.wrap("read alerts", err)
	}
	return nil
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, id event.ID, t event.Triage) error {
	return s.update(ctx, "update", func(tx *sql.Tx) error {
		a, err := s.alert(tx, id)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("alert %s: %w", id, store.ErrNotFound)
		}
		if err != nil {
			return err
		}
		a.Triage = t
		return s.writeAlert(tx, &a)
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
	case event.TypeUint:
		x, _ := a.Uint()
		y, _ := b.Uint()
		return cmp.Compare(x, y)
	case event.TypeFloat:
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
	return cmp.Compare(a.String(), b.String())
}
