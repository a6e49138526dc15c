package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
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

// A shelf is where the rules' ledger is kept.
type shelf struct {
	read   func(ctx context.Context) ([]byte, error) // nil: nothing is there yet
	change func(ctx context.Context, to func(old []byte) ([]byte, error)) error
}

// shelf is beside the embedded store, or in Elasticsearch, where every
// correlator adds to the same.
func (s storing) shelf(st store.Store) *shelf {
	if es, ok := st.(*elastic.Store); ok {
		const name = "rules"
		return &shelf{
			read:   func(ctx context.Context) ([]byte, error) { return es.Note(ctx, name) },
			change: func(ctx context.Context, to func([]byte) ([]byte, error)) error { return es.ChangeNote(ctx, name, to) },
		}
	}
	return fileShelf(filepath.Join(*s.data, ruleBookFile))
}

// fileShelf keeps the ledger in a file that one process at a time writes.
func fileShelf(path string) *shelf {
	read := func(context.Context) ([]byte, error) {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return data, err
	}
	return &shelf{read: read, change: func(ctx context.Context, to func([]byte) ([]byte, error)) error {
		old, err := read(ctx)
		if err != nil {
			return err
		}
		data, err := to(old)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path))
	}}
}

// parseLedgers reads what a shelf has.
func parseLedgers(data []byte) (map[string]ruleLedger, error) {
	all := map[string]ruleLedger{}
	if len(data) == 0 {
		return all, nil
	}
	var list []ruleLedger
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("rules' ledger: %w; remove it to begin a new one", err)
	}
	for _, l := range list {
		all[l.ID] = l
	}
	return all, nil
}

// ruleBook adds what this process sees of rules to what others saw.
type ruleBook struct {
	at    *shelf // nil: nothing is kept
	stats func() correlator.Stats
	now   *inForce

	mu      sync.Mutex            // one writer at a time
	written map[string]ruleLedger // of this process, as it was added last
}

func newRuleBook(at *shelf, stats func() correlator.Stats, now *inForce) *ruleBook {
	return &ruleBook{at: at, stats: stats, now: now, written: map[string]ruleLedger{}}
}

// keeping is how often the ledger is written.
const keeping = 30 * time.Second

// keep writes the ledger until ctx ends. What goes wrong is told, and tried
// again: detection does not depend on it.
func (b *ruleBook) keep(ctx context.Context, errs io.Writer) {
	if b.at == nil {
		return
	}
	wrong := newRepeats(errs, time.Now)
	writes := time.NewTicker(keeping)
	defer writes.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-writes.C:
			if err := b.write(ctx); err != nil && ctx.Err() == nil {
				wrong.tell(err)
			}
		}
	}
}

// write adds what was seen since it was last written.
func (b *ruleBook) write(ctx context.Context) error {
	if b.at == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	set := b.now.set.Load()
	spent := set.Spent()
	seen := map[string]ruleLedger{}
	for _, r := range b.stats().Rules {
		l := ruleLedger{ID: r.ID, Name: r.Name, Seen: r.Seen, Matches: r.Signals, Spent: spent[r.ID]}
		if set.State(r.ID) == "shadow" {
			l.Shadow = r.Alerts
		}
		seen[r.ID] = l
	}
	err := b.at.change(ctx, func(old []byte) ([]byte, error) {
		all, err := parseLedgers(old)
		if err != nil {
			return nil, err
		}
		for id, l := range seen {
			x, before := all[id], b.written[id]
			x.ID, x.Name = l.ID, l.Name
			x.Seen += since(l.Seen, before.Seen)
			x.Matches += since(l.Matches, before.Matches)
			x.Shadow += since(l.Shadow, before.Shadow)
			x.Spent += since(l.Spent, before.Spent)
			all[id] = x
		}
		list := slices.SortedFunc(maps.Values(all), func(x, y ruleLedger) int { return cmp.Compare(x.ID, y.ID) })
		data, err := json.MarshalIndent(list, "", " ")
		return append(data, '\n'), err
	})
	if err != nil {
		return fmt.Errorf("rules' ledger: %w", err)
	}
	b.written = seen
	return nil
}

// since is by how much a counter has grown; rules that are loaded again count
// from nothing.
func since[N uint64 | time.Duration](now, before N) N {
	if now < before {
		return now
	}
	return now - before
}

// readLedgers returns what became of rules, by ID: what runs wrote down, and
// what the alerts in the store say.
func readLedgers(ctx context.Context, s store.Store, at *shelf) (map[string]ruleLedger, error) {
	data, err := at.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("rules' ledger: %w", err)
	}
	all, err := parseLedgers(data)
	if err != nil {
		return nil, err
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
