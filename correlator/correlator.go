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

// Config says what a Correlator looks for and how much it may remember.
type Config struct {
	Detectors []Detector
	Enrichers []Enricher // run in this order
	// Lateness is how far behind the latest event of any sensor an event may
	// come and still count exactly. Default 15 minutes.
	Lateness time.Duration
	// MaxGroups bounds the groups remembered per rule; the one whose latest
	// signal is oldest goes first. Default 30,000.
	MaxGroups int
	// MaxSignals bounds the signals remembered per group and bucket; the
	// earliest stay, later ones only move the alert's end. Default 10,000.
	MaxSignals int
	// MaxKept bounds the signals remembered in all, at some 400 bytes each; the
	// groups whose latest signal is oldest go first. Default 500,000.
	MaxKept int
}

func (c Config) withDefaults() Config {
	c.Lateness = cmp.Or(c.Lateness, 15*time.Minute)
	c.MaxGroups = cmp.Or(c.MaxGroups, 30_000)
	c.MaxSignals = cmp.Or(c.MaxSignals, 10_000)
	c.MaxKept = cmp.Or(c.MaxKept, 500_000)
	return c
}

// Correlator turns batches of events into alerts. Its methods may be called
// from several goroutines: matching runs in parallel, the state has one lock.
type Correlator struct {
	cfg    Config
	byKind map[event.Kind][]*Detector // of kinds that a detector names
	rest   []*Detector                // for every other kind
	rules  []*Rule

	events, signals, reported, late atomic.Uint64
	ledger                          map[*Rule]*ruleLedger // fixed keys

	mu    sync.Mutex
	state *state
	seen  map[event.Kind]uint64 // events processed
	lost  Alerts                // to be returned again
}

type ruleLedger struct {
	kinds   []event.Kind // nil: all but alerts and ledgers
	signals atomic.Uint64
}

// New makes a Correlator with an empty memory.
func New(cfg Config) (*Correlator, error) {
	cfg = cfg.withDefaults()
	c := &Correlator{cfg: cfg, byKind: map[event.Kind][]*Detector{}, ledger: map[*Rule]*ruleLedger{}, seen: map[event.Kind]uint64{}}
	seen := map[string]string{}
	for i := range cfg.Detectors {
		d := &cfg.Detectors[i]
		for _, r := range d.Rules {
			if r.ID == "" {
				return nil, fmt.Errorf("detector %s: rule %q has no id", d.Name, r.Name)
			}
			if other, ok := seen[r.ID]; ok {
				return nil, fmt.Errorf("detector %s: rule id %s is taken by %q; give one of them a new id", d.Name, r.ID, other)
			}
			seen[r.ID] = r.Name
			c.rules = append(c.rules, r)
			c.ledger[r] = &ruleLedger{kinds: d.Kinds}
			if r.Kinds != nil {
				c.ledger[r].kinds = r.Kinds
			}
		}
		for _, k := range d.Kinds {
			c.byKind[k] = nil
		}
	}
	for i := range cfg.Detectors {
		d := &cfg.Detectors[i]
		if d.Kinds == nil {
			c.rest = append(c.rest, d)
		}
		for k := range c.byKind {
			if sees(d.Kinds, k) {
				c.byKind[k] = append(c.byKind[k], d)
			}
		}
	}
	c.state = newState(cfg, c.rules)
	return c, nil
}

// sees reports whether what asks for kinds, as Detector.Kinds does, is given k.
func sees(kinds []event.Kind, k event.Kind) bool {
	if kinds == nil {
		return k != event.KindLedger && k != event.KindTap && k != event.KindAlert
	}
	return slices.Contains(kinds, k)
}

// Fields documents what the enrichers add to events.
func (c *Correlator) Fields() []event.FieldDoc {
	var docs []event.FieldDoc
	for _, en := range c.cfg.Enrichers {
		docs = append(docs, en.Fields...)
	}
	return docs
}

// Process enriches the events of a batch in place and returns the alerts that
// are new or have changed, sorted by ID. They are to be stored together with
// the events: an alert may be returned again and again as it grows, and
// event.Alert.Merge makes one of all its reports. If they cannot be stored, give
// them to Again before the batch comes again: what is remembered counts an event
// once, and an alert that was returned is returned again only when it changes.
func (c *Correlator) Process(ctx context.Context, batch []event.Event) ([]event.Alert, error) {
	return c.run(ctx, batch, true)
}

// Warm rebuilds the memory from events that were processed before, as they
// were stored; nothing is reported. Feed it the events of the last Horizon.
func (c *Correlator) Warm(ctx context.Context, batch []event.Event) error {
	_, err := c.run(ctx, batch, false)
	return err
}

// Horizon is how much event time the memory reaches back.
func (c *Correlator) Horizon() time.Duration { return c.state.horizon }

// Again makes the next Process or Flush return these alerts once more, joined
// with what is new of them: for a caller that could not store them.
func (c *Correlator) Again(alerts []event.Alert) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost.Add(alerts)
}

// Flush says that no more events come and returns the alerts that were held
// back because a later event might have undone them.
func (c *Correlator) Flush() []event.Alert {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.returned(c.state.flush())
}

func (c *Correlator) run(ctx context.Context, batch []event.Event, report bool) ([]event.Alert, error) {
	var signals []Signal
	var reports []*event.Event
	var last time.Time
	emit := func(s Signal) { signals = append(signals, s) }
	for i := range batch {
		e := &batch[i]
		if i%64 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		if e.Time.After(last) {
			last = e.Time
		}
		switch e.Kind {
		case event.KindAlert:
			continue
		case event.KindLedger:
			reports = append(reports, e)
		default:
			if report {
				for j := range c.cfg.Enrichers {
					c.cfg.Enrichers[j].Enrich(e)
				}
			}
		}
		detectors, ok := c.byKind[e.Kind]
		if !ok && e.Kind != event.KindLedger {
			detectors = c.rest
		}
		for _, d := range detectors {
			d.Match(e, emit)
		}
	}
	for i := range signals {
		if l := c.ledger[signals[i].Rule]; l != nil {
			l.signals.Add(1)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range reports {
		c.state.account(e)
	}
	late := c.state.insert(signals, last)
	alerts := c.state.report(report)
	if !report {
		return nil, nil
	}
	for i := range batch {
		c.seen[batch[i].Kind]++
	}
	c.events.Add(uint64(len(batch)))
	c.signals.Add(uint64(len(signals)))
	c.late.Add(uint64(late))
	return c.returned(alerts), nil
}

func (c *Correlator) returned(alerts []event.Alert) []event.Alert {
	all := c.lost
	all.Add(alerts)
	c.lost = Alerts{}
	c.reported.Add(uint64(len(all.byID)))
	return all.Sorted()
}

// Stats are counters since New.
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

// Stats returns the counters, the rules by ID.
func (c *Correlator) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state.stats()
	s.Events, s.Signals, s.Reports, s.Late = c.events.Load(), c.signals.Load(), c.reported.Load(), c.late.Load()
	for _, r := range c.rules {
		l := c.ledger[r]
		rs := RuleStats{ID: r.ID, Name: r.Name, Signals: l.signals.Load(), Alerts: c.state.alerts[r]}
		for kind, n := range c.seen {
			if sees(l.kinds, kind) {
				rs.Seen += n
			}
		}
		s.Rules = append(s.Rules, rs)
	}
	slices.SortFunc(s.Rules, func(a, b RuleStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}
