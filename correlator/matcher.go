package correlator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
	cfg   Config
	force atomic.Pointer[inForce]

	events, signals atomic.Uint64

	mu   sync.Mutex
	seen map[event.Kind]uint64 // events matched
}

// inForce is what a batch is matched against: the detectors of one moment. It
// does not change; Replace puts another in its place.
type inForce struct {
	byKind map[event.Kind][]*Detector // of kinds that a detector names
	rest   []*Detector                // for every other kind
	rules  []*Rule
	byID   map[string]*Rule
	ledger map[*Rule]*ruleLedger // fixed keys
}

type ruleLedger struct {
	kinds   []event.Kind // nil: all but alerts and ledgers
	signals atomic.Uint64
	before  map[event.Kind]uint64 // events that had been matched when the rule came into force
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
	m := &Matcher{cfg: cfg.withDefaults(), seen: map[event.Kind]uint64{}}
	f, err := newInForce(m.cfg.Detectors, nil, nil)
	if err != nil {
		return nil, err
	}
	m.force.Store(f)
	return m, nil
}

// replace puts other detectors in force, from the next batch on. Rules that stay,
// as the same pointers, keep their ledger. After an error nothing has changed.
func (m *Matcher) replace(detectors []Detector) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := newInForce(slices.Clone(detectors), m.force.Load().ledger, maps.Clone(m.seen))
	if err != nil {
		return err
	}
	m.force.Store(f)
	return nil
}

func newInForce(detectors []Detector, known map[*Rule]*ruleLedger, seen map[event.Kind]uint64) (*inForce, error) {
	f := &inForce{byKind: map[event.Kind][]*Detector{}, byID: map[string]*Rule{}, ledger: map[*Rule]*ruleLedger{}}
	for i := range detectors {
		d := &detectors[i]
		for _, r := range d.Rules {
			if r.ID == "" {
				return nil, fmt.Errorf("detector %s: rule %q has no id", d.Name, r.Name)
			}
			if other := f.byID[r.ID]; other != nil {
				return nil, fmt.Errorf("detector %s: rule id %s is taken by %q; give one of them a new id", d.Name, r.ID, other.Name)
			}
			f.byID[r.ID] = r
			f.rules = append(f.rules, r)
			if f.ledger[r] = known[r]; f.ledger[r] != nil {
				continue
			}
			f.ledger[r] = &ruleLedger{kinds: d.Kinds, before: seen}
			if r.Kinds != nil {
				f.ledger[r].kinds = r.Kinds
			}
		}
		for _, k := range d.Kinds {
			f.byKind[k] = nil
		}
	}
	for i := range detectors {
		d := &detectors[i]
		if d.Kinds == nil {
			f.rest = append(f.rest, d)
		}
		for k := range f.byKind {
			if sees(d.Kinds, k) {
				f.byKind[k] = append(f.byKind[k], d)
			}
		}
	}
	return f, nil
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
func (m *Matcher) Rule(id string) *Rule { return m.force.Load().byID[id] }

// Match enriches the events of a batch in place and returns what they say.
func (m *Matcher) Match(ctx context.Context, batch []event.Event) (Matches, error) {
	force := m.force.Load()
	found, err := m.match(ctx, force, batch, true)
	if err != nil {
		return Matches{}, err
	}
	for i := range found.Signals {
		if l := force.ledger[found.Signals[i].Rule]; l != nil {
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

func (m *Matcher) match(ctx context.Context, force *inForce, batch []event.Event, enrich bool) (found Matches, err error) {
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
		detectors, ok := force.byKind[e.Kind]
		if !ok && e.Kind != event.KindLedger {
			detectors = force.rest
		}
		before := len(found.Signals)
		for _, d := range detectors {
			d.Match(e, emit)
		}
		if news := found.Signals[before:]; len(news) > 0 {
			if places := e.Places(); places != nil {
				for j := range news {
					news[j].Places = places
				}
			}
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
	force := m.force.Load()
	for _, r := range force.rules {
		l := force.ledger[r]
		rs := RuleStats{ID: r.ID, Name: r.Name, Signals: l.signals.Load(), Alerts: alerts[r]}
		for kind, n := range m.seen {
			if sees(l.kinds, kind) {
				rs.Seen += n - l.before[kind]
			}
		}
		s.Rules = append(s.Rules, rs)
	}
	slices.SortFunc(s.Rules, func(a, b RuleStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}
