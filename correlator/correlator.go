package correlator

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Config says what a Correlator looks for and how much it may remember.
type Config struct {
	Detectors []Detector
	Enrichers []Enricher // run in this order
	// Lateness is how far behind the latest event of any sensor an event may
	// come and still count exactly. Default DefaultLateness.
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

// DefaultLateness is the Lateness of a Config that has none.
const DefaultLateness = 15 * time.Minute

func (c Config) withDefaults() Config {
	c.Lateness = cmp.Or(c.Lateness, DefaultLateness)
	c.MaxGroups = cmp.Or(c.MaxGroups, 30_000)
	c.MaxSignals = cmp.Or(c.MaxSignals, 10_000)
	c.MaxKept = cmp.Or(c.MaxKept, 500_000)
	return c
}

// Correlator turns batches of events into alerts: both stages in one process.
// Its methods may be called from several goroutines: matching runs in parallel,
// the memory has one lock.
type Correlator struct {
	*Matcher
	memory *Memory

	mu   sync.Mutex
	lost Alerts // to be returned again
}

// New makes a Correlator with an empty memory.
func New(cfg Config) (*Correlator, error) {
	m, err := NewMatcher(cfg)
	if err != nil {
		return nil, err
	}
	return &Correlator{Matcher: m, memory: m.NewMemory(1)}, nil
}

// Replace puts other detectors in the place of those there are, from the next
// batch on, while others go on matching: every event is matched against all of
// the old ones or all of the new ones. Rules that stay, as the same pointers, go
// on with what is remembered of them; what is remembered of others is given up,
// and new ones begin with nothing. After an error nothing has changed.
func (c *Correlator) Replace(detectors []Detector) error {
	if err := c.replace(detectors); err != nil {
		return err
	}
	c.memory.keep(c.force.Load().rules)
	return nil
}

// Process enriches the events of a batch in place and returns the alerts that
// are new or have changed, sorted by ID. They are to be stored together with
// the events: an alert may be returned again and again as it grows, and
// event.Alert.Merge makes one of all its reports. If they cannot be stored, give
// them to Again before the batch comes again: what is remembered counts an event
// once, and an alert that was returned is returned again only when it changes.
func (c *Correlator) Process(ctx context.Context, batch []event.Event) ([]event.Alert, error) {
	found, err := c.Match(ctx, batch)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.follow(found)
	return c.returned(c.memory.Report()), nil
}

// Resume says that a Correlator stopped when the latest event was of the time
// last, and that this one, with an empty memory, goes on. Give the events of the
// Horizon before it to Warm. What may still change is reported again.
func (c *Correlator) Resume(last time.Time) { c.memory.Resume(last) }

// Warm rebuilds the memory from events that were processed before, as they
// were stored, in any order. Alerts that they could still change are reported
// with the next batch.
func (c *Correlator) Warm(ctx context.Context, batch []event.Event) error {
	found, err := c.match(ctx, c.force.Load(), batch, false)
	if err == nil {
		c.memory.follow(found)
		c.memory.trim()
	}
	return err
}

// Horizon is how much event time the memory reaches back.
func (c *Correlator) Horizon() time.Duration { return c.memory.Horizon() }

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
	return c.returned(c.memory.Flush())
}

func (c *Correlator) returned(alerts []event.Alert) []event.Alert {
	all := c.lost
	all.Add(alerts)
	c.lost = Alerts{}
	return all.Sorted()
}

// Stats returns the counters, the rules by ID.
func (c *Correlator) Stats() Stats { return c.Matcher.Stats(c.memory) }
