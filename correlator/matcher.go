package correlator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Matcher is stage one: it enriches events and says which rules they are
// signals for. It remembers nothing of them, so any number of Matchers may share
// the work. Its methods may be called from several goroutines.
type Matcher struct {
	cfg    Config
	byKind map[event.Kind][]*Detector // of kinds that a detector names
	rest   []*Detector                // for every other kind
	rules  []*Rule
	byID   map[string]*Rule

	events, signals atomic.Uint64
	ledger          map[*Rule]*ruleLedger // fixed keys

	mu   sync.Mutex
	seen map[event.Kind]uint64 // events matched
}

type ruleLedger struct {
	kinds   []event.Kind // nil: all but alerts and ledgers
	signals atomic.Uint64
}

// Matches is what stage one has to tell stage two of a batch of events.
type Matches struct {
	Signals []Signal
	Losses  []Loss
	Last    time.Time // of the latest event; zero if there was none
}

// Loss says that a sensor did not see some of its packets.
type Loss struct {
	Sensor string
	Minute time.Time // its start
	Share  float64   // of the packets, above 0 to 1
}

// NewMatcher makes a Matcher.
func NewMatcher(cfg Config) (*Matcher, error) {
	m := &Matcher{cfg: cfg.withDefaults(), byKind: map[event.Kind][]*Detector{}, byID: map[string]*Rule{}, ledger: map[*Rule]*ruleLedger{}, seen: map[event.Kind]uint64{}}
	for i := range m.cfg.Detectors {
		d := &m.cfg.Detectors[i]
		for _, r := range d.Rules {
			if r.ID == "" {
				return nil, fmt.Errorf("detector %s: rule %q has no id", d.Name, r.Name)
			}
			if other := m.byID[r.ID]; other != nil {
				return nil, fmt.Errorf("detector %s: rule id %s is taken by %q; give one of them a new id", d.Name, r.ID, other.Name)
			}
			m.byID[r.ID] = r
			m.rules = append(m.rules, r)
			m.ledger[r] = &ruleLedger{kinds: d.Kinds}
			if r.Kinds != nil {
				m.ledger[r].kinds = r.Kinds
			}
		}
		for _, k := range d.Kinds {
			m.byKind[k] = nil
		}
	}
	for i := range m.cfg.Detectors {
		d := &m.cfg.Detectors[i]
		if d.Kinds == nil {
			m.rest = append(m.rest, d)
		}
		for k := range m.byKind {
			if sees(d.Kinds, k) {
				m.byKind[k] = append(m.byKind[k], d)
			}
		}
	}
	return m, nil
}

// sees reports whether what asks for kinds, as Detector.Kinds does, is given k.
func sees(kinds []event.Kind, k event.Kind) bool {
	if kinds == nil {
		return k != event.KindLedger && k != event.KindTap && k != event.KindAlert
	}
	return slices.Contains(kinds, k)
}

// Fields documents what the enrichers add to events.
func (m *Matcher) Fields() []event.FieldDoc {
	var docs []event.FieldDoc
	for _, en := range m.cfg.Enrichers {
		docs = append(docs, en.Fields...)
	}
	return docs
}

// Rule returns the rule of an ID; nil if there is none.
func (m *Matcher) Rule(id string) *Rule { return m.byID[id] }

// Match enriches the events of a batch in place and returns what they say.
func (m *Matcher) Match(ctx context.Context, batch []event.Event) (Matches, error) {
	found, err := m.match(ctx, batch, true)
	if err != nil {
		return Matches{}, err
	}
	for i := range found.Signals {
		if l := m.ledger[found.Signals[i].Rule]; l != nil {
			l.signals.Add(1)
		}
	}
	m.events.Add(uint64(len(batch)))
	m.signals.Add(uint64(len(found.Signals)))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		m.seen[batch[i].Kind]++
	}
	return found, nil
}

func (m *Matcher) match(ctx context.Context, batch []event.Event, enrich bool) (found Matches, err error) {
	emit := func(s Signal) { found.Signals = append(found.Signals, s) }
	for i := range batch {
		e := &batch[i]
		if i%64 == 0 {
			if err := ctx.Err(); err != nil {
				return Matches{}, err
			}
		}
		found.Last = latest(found.Last, e.Time)
		switch e.Kind {
		case event.KindAlert:
			continue
		case event.KindLedger:
			if l, ok := lossOf(e); ok {
				found.Losses = append(found.Losses, l)
			}
		default:
			if enrich {
				for j := range m.cfg.Enrichers {
					m.cfg.Enrichers[j].Enrich(e)
				}
			}
		}
		detectors, ok := m.byKind[e.Kind]
		if !ok && e.Kind != event.KindLedger {
			detectors = m.rest
		}
		for _, d := range detectors {
			d.Match(e, emit)
		}
	}
	return found, nil
}

// lossOf reads a sensor's ledger.
func lossOf(e *event.Event) (Loss, bool) {
	ledger := event.Ledger{}
	ledger.Add(e)
	total, lost := float64(ledger["seen"]), float64(ledger.Dropped())
	if lost <= 0 || total <= 0 {
		return Loss{}, false
	}
	minute := e.Time
	if !e.Flow.Start.IsZero() {
		minute = e.Flow.Start
	}
	return Loss{Sensor: e.Sensor, Minute: minute.Truncate(time.Minute), Share: min(lost/total, 1)}, true
}

// Stats are counters since the start.
type Stats struct {
	Events    uint64 // processed
	Signals   uint64 // matches of rules
	Reports   uint64 // alerts returned, each report of one counted
	Late      uint64 // signals that came after the memory of their time was given up
	Evicted   uint64 // groups given up because there were too many, or too many signals
	Truncated uint64 // signals beyond MaxSignals of a group's bucket
	Groups    int    // remembered now
	Kept      int    // signals remembered now
	Rules     []RuleStats
}

// RuleStats is the ledger of one rule.
type RuleStats struct {
	ID, Name string
	Seen     uint64 // events that it was asked about
	Signals  uint64 // events that matched
	Alerts   uint64 // different alerts reported
}

// Stats returns the counters of the Matcher and of memories, the rules by ID.
func (m *Matcher) Stats(memories ...*Memory) Stats {
	s := Stats{Events: m.events.Load(), Signals: m.signals.Load()}
	alerts := map[*Rule]uint64{}
	for _, mem := range memories {
		mem.stats(&s, alerts)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rules {
		l := m.ledger[r]
		rs := RuleStats{ID: r.ID, Name: r.Name, Signals: l.signals.Load(), Alerts: alerts[r]}
		for kind, n := range m.seen {
			if sees(l.kinds, kind) {
				rs.Seen += n
			}
		}
		s.Rules = append(s.Rules, rs)
	}
	slices.SortFunc(s.Rules, func(a, b RuleStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}
