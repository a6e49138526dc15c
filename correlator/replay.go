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

// Replay runs the events of JSON lines through a new Correlator and returns the
// alerts as they stand at the end, sorted by ID. An event without event.id gets
// one from its line.
func Replay(cfg Config, schema *event.Schema, lines io.Reader) ([]event.Alert, error) {
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	var all Alerts
	sc := bufio.NewScanner(lines)
	sc.Buffer(nil, maxLine)
	h := event.NewHasher()
	for n := 1; sc.Scan(); n++ {
		line := bytes.TrimSpace(sc.Bytes())
		if len(line) == 0 {
			continue
		}
		batch := make([]event.Event, 1)
		if err := schema.Decode(line, &batch[0]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if batch[0].Time.IsZero() || batch[0].Kind == "" {
			return nil, fmt.Errorf("line %d: an event needs @timestamp and event.dataset", n)
		}
		if batch[0].ID.IsZero() {
			h.Reset()
			h.Bytes(line)
			batch[0].ID = h.ID(batch[0].Time)
		}
		alerts, err := c.Process(context.Background(), batch)
		if err != nil {
			return nil, err
		}
		all.Add(alerts)
	}
	if err := sc.Err(); err != nil {
		return nil, err
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
	FiresFile = "fires.jsonl" // events that must make an alert
	QuietFile = "quiet.jsonl" // events, like those, that must not
)

// TestRule checks the rules in cfg against the events in a folder: FiresFile
// must make an alert of every rule that makes alerts, and QuietFile none.
func TestRule(cfg Config, schema *event.Schema, fsys fs.FS, dir string) error {
	var errs []error
	run := func(name string) []event.Alert {
		data, err := fs.ReadFile(fsys, path.Join(dir, name))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w; a rule has events that fire it and events that do not", path.Join(dir, name), err))
			return nil
		}
		alerts, err := Replay(cfg, schema, bytes.NewReader(data))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path.Join(dir, name), err))
		}
		return alerts
	}
	before := len(errs)
	fired := map[string]bool{}
	for _, a := range run(FiresFile) {
		fired[a.Rule.ID] = true
	}
	if len(errs) == before {
		for _, d := range cfg.Detectors {
			for _, r := range d.Rules {
				if !r.Silent && !fired[r.ID] {
					errs = append(errs, fmt.Errorf("%s: no alert of rule %s %q", path.Join(dir, FiresFile), r.ID, r.Name))
				}
			}
		}
	}
	for _, a := range run(QuietFile) {
		var why []string
		for _, x := range a.Explain {
			why = append(why, fmt.Sprintf("%s %s (%s)", x.Field, x.Predicate, x.Value))
		}
		errs = append(errs, fmt.Errorf("%s: rule %s %q fired on event %s: %s", path.Join(dir, QuietFile), a.Rule.ID, a.Rule.Name, firstOf(a.Evidence), strings.Join(why, ", ")))
	}
	return errors.Join(errs...)
}

func firstOf(ids []event.ID) string {
	if len(ids) == 0 {
		return "?"
	}
	return ids[0].String()
}
