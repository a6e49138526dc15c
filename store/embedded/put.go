package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Blocks come in runs. A Put writes a run of its own, which nothing points to:
// queries look into each block of such a run. When many of them have gathered
// they are merged into one larger run, and when that is large enough it is
// final: it gets postings and filters, written once, in order, at the end of
// their tables. So an event is written two to three times, and no index is
// ever changed at random places.
const (
	tierFinal = -1

	runBlocks = 64 // of a run at most: a posting is a word of 64 bits

	// A merge of blocks that are full in bytes has as many blocks as before,
	// however few events are in them: it must end somewhere.
	lastTier = 3
)

// sizes says when blocks are cut and runs are merged. It changes nothing about
// the format: tests make it small.
type sizes struct {
	blockEvents int // of a block at most
	runEvents   int // of a run to be final
	mergeBlocks int // of a tier before it is merged
}

var usualSizes = sizes{blockEvents: blockEvents, runEvents: runBlocks / 2 * blockEvents, mergeBlocks: runBlocks / 2}

// Put implements store.Store. Events have an ID and a time, and are no alerts.
func (s *Store) Put(ctx context.Context, events []event.Event, alerts []event.Alert) error {
	order := make([]*event.Event, len(events))
	for i := range events {
		e := &events[i]
		switch {
		case e.ID.IsZero():
			return fmt.Errorf("store: put: an event of kind %s at %s has no ID", e.Kind, e.Time)
		case e.Time.IsZero():
			return fmt.Errorf("store: put: event %s has no time", e.ID)
		case e.Kind == event.KindAlert:
			return fmt.Errorf("store: put: event %s is an alert: pass it among the alerts", e.ID)
		}
		order[i] = e
	}
	// Of equal IDs the first one given is kept.
	slices.SortStableFunc(order, func(a, b *event.Event) int { return a.ID.Compare(b.ID) })
	order = slices.CompactFunc(order, func(a, b *event.Event) bool { return a.ID == b.ID })
	return s.update(ctx, "put", func(tx *sql.Tx) error {
		fresh, err := s.unknown(tx, order)
		if err != nil {
			return err
		}
		if len(fresh) > 0 {
			if err := s.putEvents(tx, fresh); err != nil {
				return err
			}
		}
		for i := range alerts {
			if err := s.putAlert(tx, &alerts[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// unknown removes the events that the store has.
func (s *Store) unknown(tx *sql.Tx, order []*event.Event) ([]*event.Event, error) {
	if len(order) == 0 {
		return order, nil
	}
	lo, hi := order[0].ID, order[len(order)-1].ID
	metas, err := s.metas(tx, `r.min_id <= ? AND r.max_id >= ? AND b.min_id <= ? AND b.max_id >= ?`, hi[:], lo[:], hi[:], lo[:])
	if err != nil {
		return nil, err
	}
	known := make([]bool, len(order))
	for _, m := range metas {
		byID := func(e *event.Event, id event.ID) int { return e.ID.Compare(id) }
		i, _ := slices.BinarySearchFunc(order, m.minID, byID)
		if i == len(order) || order[i].ID.Compare(m.maxID) > 0 {
			continue
		}
		ids, err := s.loadIDs(tx, m)
		if err != nil {
			return nil, err
		}
		j, _ := slices.BinarySearchFunc(ids, order[i].ID, event.ID.Compare)
		for i < len(order) && j < len(ids) {
			switch c := order[i].ID.Compare(ids[j]); {
			case c == 0:
				known[i] = true
				i++
				j++
			case c < 0:
				i++
			default:
				j++
			}
		}
	}
	fresh := order[:0]
	for i, e := range order {
		if !known[i] {
			fresh = append(fresh, e)
		}
	}
	return fresh, nil
}

func (s *Store) putEvents(tx *sql.Tx, events []*event.Event) error {
	type cell struct {
		minute int64
		kind   event.Kind
	}
	minutes := map[cell]int{}
	for _, e := range events {
		minutes[cell{floorDiv(e.Time.UnixNano(), int64(time.Minute)), e.Kind}]++
	}
	for c, n := range minutes {
		if _, err := tx.Exec(`INSERT INTO minute VALUES (?,?,?) ON CONFLICT DO UPDATE SET events = events + excluded.events`, c.minute, string(c.kind), n); err != nil {
			return err
		}
	}
	for len(events) > 0 {
		n := min(len(events), s.sizes.runEvents)
		tier := 0
		if n >= s.sizes.runEvents {
			tier = tierFinal
		}
		i := 0
		err := s.writeRuns(tx, tier, func() *event.Event {
			if i == n {
				return nil
			}
			i++
			return events[i-1]
		})
		if err != nil {
			return err
		}
		events = events[n:]
	}
	return s.merge(tx)
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((b - 1 - a) / b)
	}
	return a / b
}

// runWriter writes one run.
type runWriter struct {
	s    *Store
	tx   *sql.Tx
	id   int64
	tier int

	blocks           int
	events           int
	minID, maxID     event.ID
	minTime, maxTime int64
	postings         map[netip.Addr]uint64

	block, data, filter *sql.Stmt
}

// writeRuns writes events, which come in the order of their IDs, as one run, or
// as several where one cannot hold them.
func (s *Store) writeRuns(tx *sql.Tx, tier int, next func() *event.Event) error {
	e := next()
	for e != nil {
		r := runWriter{s: s, tx: tx, tier: tier, minID: e.ID}
		res, err := tx.Exec(`INSERT INTO run (tier, events, min_id, max_id, min_time, max_time) VALUES (?,0,x'',x'',0,0)`, tier)
		if err != nil {
			return err
		}
		if r.id, err = res.LastInsertId(); err != nil {
			return err
		}
		if err := r.prepare(); err != nil {
			return err
		}
		if tier == tierFinal {
			r.postings = make(map[netip.Addr]uint64)
		}
		s.w.reset()
		for ; e != nil; e = next() {
			if s.w.full(s.sizes.blockEvents) {
				if err := r.flush(); err != nil {
					return err
				}
				if r.blocks == runBlocks {
					break
				}
			}
			s.w.add(e)
		}
		if s.w.n > 0 {
			if err := r.flush(); err != nil {
				return err
			}
		}
		if err := r.finish(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runWriter) prepare() (err error) {
	if r.block, err = r.tx.Prepare(`INSERT INTO block VALUES (?,?,?,?,?,?,?)`); err != nil {
		return err
	}
	if r.data, err = r.tx.Prepare(`INSERT INTO data VALUES (?,?,?)`); err != nil {
		return err
	}
	r.filter, err = r.tx.Prepare(`INSERT INTO filter VALUES (?,?)`)
	return err
}

// flush writes what the block writer holds as the run's next block.
func (r *runWriter) flush() error {
	w := &r.s.w
	if r.blocks == 0 {
		r.minTime, r.maxTime = w.minTime, w.maxTime
	}
	r.minTime, r.maxTime = min(r.minTime, w.minTime), max(r.maxTime, w.maxTime)
	r.maxID = w.ids[w.n-1]
	r.events += w.n
	id := r.id*runBlocks + int64(r.blocks)
	if err := r.s.writeBlock(id, r.tier, r.block, r.data); err != nil {
		return err
	}
	if r.tier == tierFinal {
		if _, err := r.filter.Exec(id, []byte(makeFilter(w.keys))); err != nil {
			return err
		}
		for _, a := range w.addrs.list {
			r.postings[a.Unmap()] |= 1 << r.blocks
		}
	}
	r.blocks++
	w.reset()
	return nil
}

func (s *Store) writeBlock(id int64, tier int, block, data *sql.Stmt) error {
	w := &s.w
	s.raw = w.append(s.raw[:0])
	enc := s.fast
	if tier == tierFinal {
		enc = s.best
	}
	packed := enc.EncodeAll(s.raw, nil)
	ids := appendIDs(nil, w.ids)
	if _, err := data.Exec(id, ids, packed); err != nil {
		return err
	}
	first, last := w.ids[0], w.ids[w.n-1]
	_, err := block.Exec(id, w.n, first[:], last[:], w.minTime, w.maxTime, kindList(w.kinds))
	return err
}

func kindList(kinds map[event.Kind]int) string {
	names := make([]string, 0, len(kinds))
	for k := range kinds {
		names = append(names, string(k))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (r *runWriter) finish() error {
	for _, st := range []*sql.Stmt{r.block, r.data, r.filter} {
		st.Close()
	}
	if len(r.postings) > 0 {
		keys := make([]netip.Addr, 0, len(r.postings))
		for a := range r.postings {
			keys = append(keys, a)
		}
		// The order of the table: of bytes, whatever their number.
		slices.SortFunc(keys, func(a, b netip.Addr) int { return slices.Compare(a.AsSlice(), b.AsSlice()) })
		const batch = 64
		many, err := r.tx.Prepare(`INSERT INTO posting VALUES ` + strings.TrimSuffix(strings.Repeat("(?,?,?),", batch), ","))
		if err != nil {
			return err
		}
		defer many.Close()
		one, err := r.tx.Prepare(`INSERT INTO posting VALUES (?,?,?)`)
		if err != nil {
			return err
		}
		defer one.Close()
		args := make([]any, 0, 3*batch)
		for len(keys) > 0 {
			n, st := batch, many
			if len(keys) < batch {
				n, st = 1, one
			}
			args = args[:0]
			for _, a := range keys[:n] {
				args = append(args, r.id, a.AsSlice(), int64(r.postings[a]))
			}
			if _, err := st.Exec(args...); err != nil {
				return err
			}
			keys = keys[n:]
		}
	}
	_, err := r.tx.Exec(`UPDATE run SET events=?, min_id=?, max_id=?, min_time=?, max_time=? WHERE id=?`,
		r.events, r.minID[:], r.maxID[:], r.minTime, r.maxTime, r.id)
	return err
}

// merge joins the runs of each tier that has grown full.
func (s *Store) merge(tx *sql.Tx) error {
	for tier := 0; ; tier++ {
		metas, err := s.metas(tx, `r.tier = ?`, tier)
		if err != nil {
			return err
		}
		if len(metas) == 0 {
			return nil
		}
		if len(metas) < s.sizes.mergeBlocks {
			continue
		}
		total := 0
		for _, m := range metas {
			total += m.events
		}
		next := tier + 1
		if total >= s.sizes.runEvents || next > lastTier {
			next = tierFinal
		}
		if err := s.mergeRuns(tx, metas, next); err != nil {
			return err
		}
	}
}

func (s *Store) mergeRuns(tx *sql.Tx, metas []meta, tier int) error {
	type row struct {
		id    event.ID
		block uint16
		row   uint16
	}
	blocks := make([]*block, len(metas))
	var rows []row
	for i, m := range metas {
		b, err := s.loadBlock(tx, m)
		if err != nil {
			return err
		}
		blocks[i] = b
		for j, id := range b.ids {
			rows = append(rows, row{id, uint16(i), uint16(j)})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return a.id.Compare(b.id) })
	var e event.Event
	i := 0
	err := s.writeRuns(tx, tier, func() *event.Event {
		if i == len(rows) {
			return nil
		}
		blocks[rows[i].block].event(int(rows[i].row), &e, allParts)
		i++
		return &e
	})
	if err != nil {
		return err
	}
	for _, m := range metas {
		s.blocks.Remove(m.key())
		s.ids.Remove(m.key())
	}
	return s.drop(tx, metas)
}

// drop removes blocks, and runs that have none left.
func (s *Store) drop(tx *sql.Tx, metas []meta) error {
	runs := map[int64]bool{}
	for _, m := range metas {
		runs[m.run()] = true
		for _, table := range []string{"block", "data", "filter"} {
			if _, err := tx.Exec(`DELETE FROM `+table+` WHERE id=?`, m.id); err != nil {
				return err
			}
		}
	}
	for run := range runs {
		if err := s.shrink(tx, run); err != nil {
			return err
		}
	}
	return nil
}

// shrink brings a run in line with the blocks that it has left.
func (s *Store) shrink(tx *sql.Tx, run int64) error {
	var n int
	first, last := run*runBlocks, run*runBlocks+runBlocks-1
	if err := tx.QueryRow(`SELECT count(*) FROM block WHERE id BETWEEN ? AND ?`, first, last).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		_, err := tx.Exec(`UPDATE run SET (events, min_id, max_id, min_time, max_time) =
			(SELECT sum(events), min(min_id), max(max_id), min(min_time), max(max_time) FROM block WHERE id BETWEEN ? AND ?) WHERE id=?`, first, last, run)
		return err
	}
	if _, err := tx.Exec(`DELETE FROM posting WHERE run=?`, run); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM run WHERE id=?`, run)
	return err
}

// meta is what is known of a block without reading it.
type meta struct {
	id               int64
	events           int
	minID, maxID     event.ID
	minTime, maxTime int64
	kinds            []event.Kind
	final            bool
}

func (m *meta) run() int64    { return m.id / runBlocks }
func (m *meta) mask() uint64  { return 1 << (m.id % runBlocks) }
func (m *meta) key() blockKey { return blockKey{m.id, m.events} }
func (m *meta) name() string {
	return fmt.Sprintf("table data, row %d (events of %s)", m.id, m.minID.Time().Format(time.RFC3339))
}

// metas lists the blocks of which a condition on run r and block b is true.
func (s *Store) metas(tx *sql.Tx, where string, args ...any) ([]meta, error) {
	rows, err := tx.Query(`SELECT b.id, b.events, b.min_id, b.max_id, b.min_time, b.max_time, b.kinds, r.tier
		FROM run r CROSS JOIN block b ON b.id BETWEEN r.id*64 AND r.id*64+63 WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var metas []meta
	lists := map[string][]event.Kind{}
	for rows.Next() {
		var m meta
		var lo, hi, kinds sql.RawBytes
		var tier int
		if err := rows.Scan(&m.id, &m.events, &lo, &hi, &m.minTime, &m.maxTime, &kinds, &tier); err != nil {
			return nil, err
		}
		copy(m.minID[:], lo)
		copy(m.maxID[:], hi)
		m.final = tier == tierFinal
		list, ok := lists[string(kinds)]
		if !ok {
			for k := range strings.FieldsSeq(string(kinds)) {
				list = append(list, event.Kind(k))
			}
			lists[string(kinds)] = list
		}
		m.kinds = list
		metas = append(metas, m)
	}
	return metas, rows.Err()
}

func (s *Store) loadIDs(tx *sql.Tx, m meta) ([]event.ID, error) {
	if ids, ok := s.ids.Get(m.key()); ok {
		return ids, nil
	}
	var raw []byte
	if err := tx.QueryRow(`SELECT ids FROM data WHERE id=?`, m.id).Scan(&raw); err != nil {
		return nil, s.damaged(m, err)
	}
	ids, err := parseIDs(raw)
	if err == nil && len(ids) != m.events {
		err = errCut
	}
	if err != nil {
		return nil, s.damaged(m, err)
	}
	s.ids.Add(m.key(), ids)
	return ids, nil
}

func (s *Store) loadBlock(tx *sql.Tx, m meta) (*block, error) {
	if b, ok := s.blocks.Get(m.key()); ok {
		return b, nil
	}
	ids, err := s.loadIDs(tx, m)
	if err != nil {
		return nil, err
	}
	var packed []byte
	if err := tx.QueryRow(`SELECT events FROM data WHERE id=?`, m.id).Scan(&packed); err != nil {
		return nil, s.damaged(m, err)
	}
	raw, err := s.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, s.damaged(m, err)
	}
	b, err := parseBlock(raw, ids)
	if err != nil {
		return nil, s.damaged(m, err)
	}
	s.blocks.Add(m.key(), b)
	return b, nil
}

func (s *Store) damaged(m meta, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("store %s: %s: damaged: %w", s.path, m.name(), err)
}

// Expire implements store.Store.
func (s *Store) Expire(ctx context.Context, before time.Time) (int, error) {
	limit := before.UnixNano()
	minute := floorDiv(limit, int64(time.Minute))
	gone := 0
	err := s.update(ctx, "expire", func(tx *sql.Tx) error {
		metas, err := s.metas(tx, `r.min_time < ? AND b.min_time < ?`, limit, limit)
		if err != nil || len(metas) == 0 {
			return err
		}
		var old []meta
		for _, m := range metas {
			if m.maxTime < limit {
				gone += m.events
				old = append(old, m)
				continue
			}
			n, err := s.cutBlock(tx, m, limit)
			if err != nil {
				return err
			}
			gone += n
		}
		if err := s.drop(tx, old); err != nil {
			return err
		}
		return s.recount(tx, minute)
	})
	if err != nil {
		return 0, err
	}
	if gone > 0 {
		if err := s.giveBack(ctx); err != nil {
			return gone, s.wrap("give space back", err)
		}
	}
	return gone, nil
}

// giveBack makes the file smaller by the pages that nothing is in.
func (s *Store) giveBack(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.write == nil {
		return errReadOnly
	}
	// Each step of the statement frees one page; Exec would take only one.
	rows, err := s.write.QueryContext(ctx, `PRAGMA incremental_vacuum`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// cutBlock writes a block again without the events before limit. Postings and
// filter stay: they may name what is gone.
func (s *Store) cutBlock(tx *sql.Tx, m meta, limit int64) (int, error) {
	b, err := s.loadBlock(tx, m)
	if err != nil {
		return 0, err
	}
	s.w.reset()
	var e event.Event
	for i := range b.ids {
		if b.time(i) >= limit {
			b.event(i, &e, allParts)
			s.w.add(&e)
		}
	}
	block, err := tx.Prepare(`REPLACE INTO block VALUES (?,?,?,?,?,?,?)`)
	if err != nil {
		return 0, err
	}
	defer block.Close()
	data, err := tx.Prepare(`REPLACE INTO data VALUES (?,?,?)`)
	if err != nil {
		return 0, err
	}
	defer data.Close()
	gone := m.events - s.w.n
	tier := 0
	if m.final {
		tier = tierFinal
	}
	if err := s.writeBlock(m.id, tier, block, data); err != nil {
		return 0, err
	}
	s.w.reset()
	return gone, s.shrink(tx, m.run())
}

// recount forgets the counts of minutes before one, and counts that one again.
func (s *Store) recount(tx *sql.Tx, minute int64) error {
	if _, err := tx.Exec(`DELETE FROM minute WHERE minute <= ?`, minute); err != nil {
		return err
	}
	from, to := minute*int64(time.Minute), (minute+1)*int64(time.Minute)
	metas, err := s.metas(tx, `r.min_time < ? AND r.max_time >= ? AND b.min_time < ? AND b.max_time >= ?`, to, from, to, from)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for _, m := range metas {
		b, err := s.loadBlock(tx, m)
		if err != nil {
			return err
		}
		kinds := b.col(colKind)
		for i := range b.ids {
			if t := b.time(i); from <= t && t < to {
				counts[at(b.strs, kinds[i])]++
			}
		}
	}
	for kind, n := range counts {
		if _, err := tx.Exec(`INSERT INTO minute VALUES (?,?,?)`, minute, strings.Clone(kind), n); err != nil {
			return err
		}
	}
	return nil
}

// putAlert keeps an alert, or joins it with the one that is there.
func (s *Store) putAlert(tx *sql.Tx, a *event.Alert) error {
	if a.ID.IsZero() {
		return fmt.Errorf("an alert of rule %s has no ID", a.Rule.ID)
	}
	old, err := s.alert(tx, a.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return s.writeAlert(tx, a)
	}
	if err != nil {
		return err
	}
	s.touched = append(s.touched, hourOf(old.First.UnixNano())) // it may begin earlier than we knew
	old.Merge(a)
	return s.writeAlert(tx, &old)
}

func (s *Store) alert(tx *sql.Tx, id event.ID) (event.Alert, error) {
	var text []byte
	if err := tx.QueryRow(`SELECT json FROM alert WHERE id=?`, id[:]).Scan(&text); err != nil {
		return event.Alert{}, err
	}
	var e event.Event
	if err := s.alerts.Decode(text, &e); err != nil {
		return event.Alert{}, fmt.Errorf("table alert, %s: damaged: %w", id, err)
	}
	return event.AlertOf(&e)
}

func (s *Store) writeAlert(tx *sql.Tx, a *event.Alert) error {
	e := a.Event()
	place := e.Place()
	s.touched = append(s.touched, hourOf(e.Time.UnixNano()))
	status := e.Get("tocsin.alert.status").Str()
	_, err := tx.Exec(`REPLACE INTO alert VALUES (?,?,?,?,?,?,?)`, a.ID[:], place[:], e.Time.UnixNano(), a.Severity, a.Rule.ID, status, e.AppendJSON(nil))
	return err
}
