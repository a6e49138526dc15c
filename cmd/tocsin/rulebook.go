package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// ruleBookFile is where the rules' ledger lies in the folder of the embedded store.
const ruleBookFile = "rules.json"

// ruleLedger is what became of one rule, over all runs.
type ruleLedger struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Seen      uint64        `json:"seen"`    // events that it was asked about
	Matches   uint64        `json:"matches"` // events that matched
	Shadow    uint64        `json:"shadow"`  // alerts that it would have made, in the shadow
	Spent     time.Duration `json:"spent"`   // estimated
	Alerts    uint64        `json:"-"`       // in the store
	LastTrue  time.Time     `json:"-"`       // when an analyst last called an alert of it true
	LastFalse time.Time     `json:"-"`
}

// ruleBook adds what a run sees of rules to what runs before it saw.
type ruleBook struct {
	path   string
	before map[string]ruleLedger
	mu     sync.Mutex // one writer at a time
}

// openRuleBook reads the ledgers of a file, which need not be there. Without a
// path nothing is kept.
func openRuleBook(path string) (*ruleBook, error) {
	b := &ruleBook{path: path, before: map[string]ruleLedger{}}
	if path == "" {
		return b, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rules' ledger: %w", err)
	}
	var list []ruleLedger
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("rules' ledger: %s: %w; remove the file to begin a new one", path, err)
	}
	for _, l := range list {
		b.before[l.ID] = l
	}
	return b, nil
}

// keeping is how often the ledger is written.
const keeping = 30 * time.Second

// keep writes the ledger until ctx ends.
func (b *ruleBook) keep(ctx context.Context, c *correlator.Correlator, now *inForce) error {
	if b.path == "" {
		return nil
	}
	writes := time.NewTicker(keeping)
	defer writes.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-writes.C:
			if err := b.write(c, now); err != nil {
				return err
			}
		}
	}
}

// write puts the ledger in the place of the one that is there.
func (b *ruleBook) write(c *correlator.Correlator, now *inForce) error {
	if b.path == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]ruleLedger{}
	for id, l := range b.before {
		all[id] = l
	}
	set := now.set.Load()
	spent := set.Spent()
	for _, r := range c.Stats().Rules {
		l := b.before[r.ID]
		l.ID, l.Name = r.ID, r.Name
		l.Seen += r.Seen
		l.Matches += r.Signals
		l.Spent += spent[r.ID]
		if set.State(r.ID) == "shadow" {
			l.Shadow += r.Alerts
		}
		all[r.ID] = l
	}
	list := make([]ruleLedger, 0, len(all))
	for _, l := range all {
		list = append(list, l)
	}
	slices.SortFunc(list, func(x, y ruleLedger) int { return cmp.Compare(x.ID, y.ID) })
	data, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return fmt.Errorf("rules' ledger: %w", err)
	}
	tmp := b.path + ".new"
	if err := errors.Join(os.WriteFile(tmp, append(data, '\n'), 0o600), os.Rename(tmp, b.path)); err != nil {
		return fmt.Errorf("rules' ledger: %w", err)
	}
	return nil
}

// readLedgers returns what became of rules, by ID: what runs wrote down, and
// what the alerts in the store say.
func readLedgers(ctx context.Context, s store.Store, where storing) (map[string]ruleLedger, error) {
	all := map[string]ruleLedger{}
	if where.embedded() {
		b, err := openRuleBook(filepath.Join(*where.data, ruleBookFile))
		if err != nil {
			return nil, err
		}
		all = b.before
	}
	for e, err := range s.Search(ctx, store.Query{Set: store.Alerts}) {
		if err != nil {
			return nil, err
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return nil, err
		}
		l := all[a.Rule.ID]
		l.Alerts++
		switch a.Triage.Verdict {
		case "true_positive":
			l.LastTrue = later(l.LastTrue, a.Triage.At)
		case "false_positive", "benign":
			l.LastFalse = later(l.LastFalse, a.Triage.At)
		}
		all[a.Rule.ID] = l
	}
	return all, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
