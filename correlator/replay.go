package correlator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
)

// maxLine bounds one event in a file of JSON lines.
const maxLine = 4 << 20

// readLines reads events, one of JSON a line. An event without event.id gets
// one from its line.
func readLines(schema *event.Schema, lines io.Reader) ([]event.Event, error) {
	var events []event.Event
	sc := bufio.NewScanner(lines)
	sc.Buffer(nil, maxLine)
	h := event.NewHasher()
	for n := 1; sc.Scan(); n++ {
		line := bytes.TrimSpace(sc.Bytes())
		if len(line) == 0 {
			continue
		}
		var e event.Event
		if err := schema.Decode(line, &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if e.Time.IsZero() || e.Kind == "" {
			return nil, fmt.Errorf("line %d: an event needs @timestamp and event.dataset", n)
		}
		if e.ID.IsZero() {
			h.Reset()
			h.Bytes(line)
			e.ID = h.ID(e.Time)
		}
		events = append(events, e)
	}
	return events, sc.Err()
}

// replay runs events through a new Correlator and returns the alerts as they
// stand at the end, sorted by ID.
func replay(cfg Config, events []event.Event) ([]event.Alert, error) {
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	var all Alerts
	for batch := range slices.Chunk(events, 256) {
		alerts, err := c.Process(context.Background(), batch)
		if err != nil {
			return nil, err
		}
		all.Add(alerts)
	}
	all.Add(c.Flush())
	return all.Sorted(), nil
}

// Alerts joins the reports of alerts as a store would. The zero value is empty.
type Alerts struct{ byID map[event.ID]*event.Alert }

// Add joins reports to what is there.
func (as *Alerts) Add(reports []event.Alert) {
	if as.byID == nil {
		as.byID = map[event.ID]*event.Alert{}
	}
	for i := range reports {
		if a, ok := as.byID[reports[i].ID]; ok {
			a.Merge(&reports[i])
		} else {
			a := reports[i]
			as.byID[a.ID] = &a
		}
	}
}

// Sorted returns the alerts by ID.
func (as *Alerts) Sorted() []event.Alert {
	var out []event.Alert
	for _, id := range slices.SortedFunc(maps.Keys(as.byID), event.ID.Compare) {
		out = append(out, *as.byID[id])
	}
	return out
}

// Names of the files beside a rule that prove it.
const (
	firesFile = "fires.jsonl" // events that must make an alert
	quietFile = "quiet.jsonl" // events, like those, that must not
)

// TestRule checks the rules in cfg against the events, one of JSON a line, in a
// folder: fires.jsonl must make an alert of every rule that makes alerts, the
// evidence of each must make that alert again by itself, and quiet.jsonl must
// make none. The error joins everything that is wrong, and names file and rule.
func TestRule(cfg Config, schema *event.Schema, fsys fs.FS, dir string) error {
	var errs []error
	run := func(name string) ([]event.Event, []event.Alert) {
		name = path.Join(dir, name)
		f, err := fsys.Open(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w; a rule has events that fire it and events that do not", err))
			return nil, nil
		}
		defer f.Close()
		events, err := readLines(schema, f)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			return nil, nil
		}
		alerts, err := replay(cfg, events)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		return events, alerts
	}
	events, alerts := run(firesFile)
	if len(errs) == 0 {
		for _, d := range cfg.Detectors {
			for _, r := range d.Rules {
				if !r.Silent && !slices.ContainsFunc(alerts, func(a event.Alert) bool { return a.Rule.ID == r.ID }) {
					errs = append(errs, fmt.Errorf("%s: no alert of rule %s %q", path.Join(dir, firesFile), r.ID, r.Name))
				}
			}
		}
	}
	for _, a := range alerts {
		if a.Count > event.MaxEvidence {
			continue // the list of its evidence is cut
		}
		again, err := replay(cfg, slices.DeleteFunc(slices.Clone(events), func(e event.Event) bool {
			return !slices.Contains(a.Evidence, e.ID)
		}))
		if err != nil || !slices.ContainsFunc(again, func(x event.Alert) bool { return x.ID == a.ID }) {
			errs = append(errs, fmt.Errorf("%s: rule %s %q does not fire again on the evidence of its alert %s", path.Join(dir, firesFile), a.Rule.ID, a.Rule.Name, a.ID))
		}
	}
	_, alerts = run(quietFile)
	for _, a := range alerts {
		var why []string
		for _, x := range a.Explain {
			why = append(why, fmt.Sprintf("%s %s (%s)", x.Field, x.Predicate, x.Value))
		}
		errs = append(errs, fmt.Errorf("%s: rule %s %q fired on event %s: %s", path.Join(dir, quietFile), a.Rule.ID, a.Rule.Name, a.Evidence[0], strings.Join(why, ", ")))
	}
	return errors.Join(errs...)
}
