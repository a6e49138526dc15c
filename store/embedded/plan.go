package embedded

import (
	"database/sql"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// plan is a query made ready for blocks.
type plan struct {
	store.Query
	match    func(*event.Event) bool
	from, to int64 // nanoseconds, [from, to)
	may      func(*meta, filter) bool
	filters  bool    // may looks at the filter
	want     parts   // what match looks at
	rows     rowTest // true of every row that matches; nil: of all
	exact    bool    // and of no other
}

func nanos(t time.Time, none int64) int64 {
	switch {
	case t.IsZero():
		return none
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func (s *Store) plan(tx *sql.Tx, q store.Query) (*plan, error) {
	p := &plan{Query: q, from: nanos(q.From, math.MinInt64), to: nanos(q.To, math.MaxInt64)}
	p.match = query.Compile(q.Where)
	p.want = wanted(q.Where)
	b := planner{s: s, tx: tx}
	p.may = b.may(q.Where)
	p.filters = b.filters
	p.rows, p.exact = rowTests(q.Where)
	return p, b.err
}

// inTime reports whether a time is within the bounds.
func (p *plan) inTime(t int64) bool { return p.from <= t && t < p.to }

// candidates lists the blocks that may hold what is asked for, in no order.
func (s *Store) candidates(tx *sql.Tx, p *plan) ([]meta, error) {
	if p.Set == store.Alerts {
		return nil, nil
	}
	metas, err := s.metas(tx, `r.min_time < ? AND r.max_time >= ? AND b.min_time < ? AND b.max_time >= ?`, p.to, p.from, p.to, p.from)
	if err != nil {
		return nil, s.wrap("read", err)
	}
	metas = slices.DeleteFunc(metas, func(m meta) bool { return !p.may(&m, nil) })
	if !p.filters {
		return metas, nil
	}
	refused, err := s.refused(tx, p, metas)
	if err != nil {
		return nil, s.wrap("read filters", err)
	}
	return slices.DeleteFunc(metas, func(m meta) bool { return refused[m.id] }), nil
}

// refused finds the blocks that their filters say have nothing. It reads all
// filters of the time asked for in one go.
func (s *Store) refused(tx *sql.Tx, p *plan, metas []meta) (map[int64]bool, error) {
	byID := make(map[int64]*meta, len(metas))
	for i := range metas {
		byID[metas[i].id] = &metas[i]
	}
	rows, err := tx.Query(`SELECT f.id, f.bits FROM run r CROSS JOIN filter f ON f.id BETWEEN r.id*64 AND r.id*64+63
		WHERE r.tier = -1 AND r.min_time < ? AND r.max_time >= ?`, p.to, p.from)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	refused := map[int64]bool{}
	for rows.Next() {
		var id int64
		var bits sql.RawBytes
		if err := rows.Scan(&id, &bits); err != nil {
			return nil, err
		}
		if m := byID[id]; m != nil && !p.may(m, filter(bits)) {
			refused[id] = true
		}
	}
	return refused, rows.Err()
}

// planner makes of a query a test of blocks that never refuses a block with
// a match.
type planner struct {
	s       *Store
	tx      *sql.Tx
	filters bool
	err     error
}

func always(*meta, filter) bool { return true }

func (b *planner) may(n query.Node) func(*meta, filter) bool {
	switch n := n.(type) {
	case query.And:
		fs := b.all(n)
		return func(m *meta, f filter) bool {
			for _, may := range fs {
				if !may(m, f) {
					return false
				}
			}
			return true
		}
	case query.Or:
		fs := b.all(n)
		return func(m *meta, f filter) bool {
			for _, may := range fs {
				if may(m, f) {
					return true
				}
			}
			return false
		}
	case query.Compare:
		return b.compare(n)
	}
	return always
}

func (b *planner) all(ns []query.Node) []func(*meta, filter) bool {
	fs := make([]func(*meta, filter) bool, len(ns))
	for i, n := range ns {
		fs[i] = b.may(n)
	}
	return fs
}

// ofKind reports whether a field says nothing but the event's kind.
func ofKind(field string) bool {
	switch field {
	case "event.dataset", "event.kind", "event.category", "event.type":
		return true
	}
	return false
}

func (b *planner) compare(c query.Compare) func(*meta, filter) bool {
	if ofKind(c.Field) {
		match := query.Compile(c)
		return func(m *meta, _ filter) bool {
			return slices.ContainsFunc(m.kinds, func(k event.Kind) bool { return match(&event.Event{Kind: k}) })
		}
	}
	switch c.Field {
	case "@timestamp":
		return mayTime(c)
	case "event.id":
		text, exact := c.Value.Exact()
		if id, err := event.ParseID(text); err == nil && exact && c.Op == query.Eq {
			return func(m *meta, _ filter) bool { return m.minID.Compare(id) <= 0 && m.maxID.Compare(id) >= 0 }
		}
		return always
	}
	if c.Op != query.Eq {
		return always
	}
	prefix, isPrefix := c.Value.Prefix()
	key, hashed := hashLiteral(c)
	switch {
	case isPrefix && (c.Field == "source.ip" || c.Field == "destination.ip" || c.Field == "source.*" || c.Field == "destination.*"):
		return b.holds(prefix)
	case isPrefix && hashed:
		// An address, or a text that reads like one.
		holds := b.holds(prefix)
		b.filters = true
		return func(m *meta, f filter) bool { return holds(m, f) || f.has(key) }
	case hashed && onlyText(c.Value):
		b.filters = true
		return func(_ *meta, f filter) bool { return f.has(key) }
	}
	return always
}

// onlyText reports whether nothing but a text can be equal to a literal.
func onlyText(l query.Literal) bool {
	text, _ := l.Exact()
	_, _, period := l.Period()
	return !period && !l.Number() && text != "true" && text != "false"
}

func mayTime(c query.Compare) func(*meta, filter) bool {
	start, end, ok := c.Value.Period()
	if !ok {
		return always
	}
	from, to := nanos(start, math.MinInt64), nanos(end, math.MaxInt64)
	switch c.Op {
	case query.Eq:
		return func(m *meta, _ filter) bool { return m.minTime < to && m.maxTime >= from }
	case query.Lt:
		return func(m *meta, _ filter) bool { return m.minTime < from }
	case query.Le:
		return func(m *meta, _ filter) bool { return m.minTime < to }
	case query.Gt:
		return func(m *meta, _ filter) bool { return m.maxTime >= to }
	}
	return func(m *meta, _ filter) bool { return m.maxTime >= from }
}

// holds makes a test of the postings of an address or prefix.
func (b *planner) holds(p netip.Prefix) func(*meta, filter) bool {
	if b.err != nil {
		return always
	}
	first, last := p.Addr().AsSlice(), lastAddr(p).AsSlice()
	sets := map[int64]uint64{}
	add := func(lo, hi []byte) {
		if b.err != nil {
			return
		}
		// A prefix can hold very many addresses: SQLite walks them, and we see
		// only those that it has.
		rows, err := b.tx.Query(`SELECT run.id, p.blocks FROM run CROSS JOIN posting p ON p.run = run.id
			WHERE run.tier = -1 AND p.address BETWEEN ? AND ? AND length(p.address) = ?`, lo, hi, len(lo))
		if err != nil {
			b.err = b.s.wrap("read", err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var run, mask int64
			if err := rows.Scan(&run, &mask); err != nil {
				b.err = b.s.wrap("read", err)
				return
			}
			sets[run] |= uint64(mask)
		}
		if err := rows.Err(); err != nil {
			b.err = b.s.wrap("read", err)
		}
	}
	add(first, last)
	// IPv4 addresses lie within ::ffff:0:0/96 for a prefix that is as wide.
	if mapped := netip.MustParsePrefix("::ffff:0:0/96"); p.Addr().Is6() && p.Overlaps(mapped) {
		add([]byte{0, 0, 0, 0}, []byte{255, 255, 255, 255})
	}
	return func(m *meta, _ filter) bool { return !m.final || sets[m.run()]&m.mask() != 0 }
}

func lastAddr(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(raw); i++ {
		raw[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// wanted says which parts of events a query looks at.
func wanted(n query.Node) parts {
	switch n := n.(type) {
	case nil:
		return 0
	case query.And:
		return wantedAll(n)
	case query.Or:
		return wantedAll(n)
	case query.Not:
		return wanted(n.Node)
	case query.Exists:
		return partsOf(n.Field)
	case query.Compare:
		return partsOf(n.Field)
	}
	return allParts
}

func wantedAll(ns []query.Node) (w parts) {
	for _, n := range ns {
		w |= wanted(n)
	}
	return w
}

// partsOf says which parts of an event a field is in.
func partsOf(field string) parts {
	switch field {
	case "@timestamp", "event.id", "observer.name", "source.ip", "destination.ip", "source.port", "destination.port",
		"network.transport", "network.type", "network.protocol", "tocsin.flow.state":
		return 0
	case "network.community_id":
		return partCommunity
	}
	switch {
	case ofKind(field):
		return 0
	case strings.Contains(field, "*"):
		return allParts
	case event.Resolve(field).Core():
		return partEndpoint | partCounters
	}
	return partFields
}
