package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/all"
	"github.com/tocsin/tocsin/correlator/intel/feed"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// reputation is the lists in use, and what keeps them up to date.
type reputation struct {
	rules *intel.Reputation // nil: no lists
	feeds *feed.Config      // nil: none to be fetched
	lists []intel.List      // given one by one

	mu      sync.Mutex
	entries map[string]int // by path, of files that were read last
}

// loadReputation reads the lists and what was fetched of the feeds. Bad lines
// and feeds that were never fetched are told on errs.
func loadReputation(lists []string, feeds string, errs io.Writer) (*reputation, error) {
	r := &reputation{lists: parseLists(lists)}
	if feeds == "" && len(lists) == 0 {
		return r, nil
	}
	var err error
	if feeds != "" {
		if r.feeds, err = feed.Read(feeds, all.Formats()); err != nil {
			return nil, err
		}
	}
	table, err := r.table(errs)
	if err != nil {
		return nil, err
	}
	r.rules = intel.NewReputation(table)
	return r, nil
}

func parseLists(args []string) []intel.List {
	var lists []intel.List
	for _, a := range args {
		l := intel.List{Path: a}
		if _, err := os.Stat(a); err != nil { // a path may hold '='
			l = intel.ParseList(a)
		}
		lists = append(lists, l)
	}
	return lists
}

// table reads everything from the disk.
func (r *reputation) table(errs io.Writer) (*intel.Table, error) {
	feeds := r.feeds
	if feeds == nil {
		feeds = &feed.Config{}
	}
	table, reports, missing, err := feeds.Table(r.lists, all.Formats())
	printIntel(io.Discard, errs, reports)
	r.mu.Lock()
	r.entries = map[string]int{}
	for _, x := range reports {
		r.entries[x.List.Path] = x.Entries
	}
	r.mu.Unlock()
	for _, name := range missing {
		complain(errs, fmt.Errorf("feed %s was never fetched: run tocsin intel update", name))
	}
	return table, err
}

// values is how many entries of a file are in use.
func (r *reputation) values(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[path]
}

// detectors are those of reputation.
func (r *reputation) detectors() []correlator.Detector {
	if r.rules == nil {
		return nil
	}
	return []correlator.Detector{r.rules.Detector()}
}

// folders are those that fetched lists are written to.
func (r *reputation) folders() []string {
	if r.feeds == nil || !r.feeds.Fetches() {
		return nil
	}
	return []string{r.feeds.Cache}
}

// reach adds what keepFresh needs of the system.
func (r *reputation) reach(may *reach) {
	if r.feeds == nil || !r.feeds.Fetches() {
		return // nothing is read again
	}
	may.connects = true
	may.write = append(may.write, r.folders()...)
	may.read = append(may.read, r.feeds.Warninglists...)
	for _, l := range r.lists {
		may.read = append(may.read, l.Path)
	}
	for _, f := range r.feeds.Feeds {
		if f.Path != "" {
			may.read = append(may.read, f.Path)
		}
	}
}

// fetchTimeout is how long a feed may take to be fetched.
const fetchTimeout = 5 * time.Minute

// feedClient fetches feeds.
var feedClient = &http.Client{Timeout: fetchTimeout}

// keepFresh fetches feeds when it is time until ctx ends. publish is given an
// event each time, to be detected in and stored like any other. What is new on
// a list is looked for in what is stored: alerts are kept by put.
func (r *reputation) keepFresh(ctx context.Context, errs io.Writer, st store.Store, publish func(context.Context, []event.Event) error, put func(context.Context, []event.Alert) error) error {
	if r.feeds == nil {
		return nil
	}
	for {
		changed, next := false, time.Now().Add(time.Hour)
		for i := range r.feeds.Feeds {
			f := &r.feeds.Feeds[i]
			before, err := r.feeds.State(f)
			if err != nil {
				return err
			}
			due := before.Tried.Add(f.Interval)
			if f.Path == "" && !time.Now().Before(due) {
				now := time.Now()
				s, err := r.feeds.Update(ctx, feedClient, f, all.Formats(), now, false)
				if ctx.Err() != nil {
					return nil
				}
				if err != nil {
					complain(errs, err)
					s.Name, s.Tried, s.Problem = f.Name, now.UTC(), err.Error()
				}
				changed = changed || s.Changed.After(before.Changed)
				if err := publish(ctx, []event.Event{s.Event()}); err != nil {
					return err
				}
				due = now.Add(f.Interval)
			}
			if f.Path == "" && due.Before(next) {
				next = due
			}
		}
		if changed {
			if err := r.renew(ctx, errs, st, put); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(next)):
		}
	}
}

// renew puts what is on the disk into use, and looks for what is new in the past.
func (r *reputation) renew(ctx context.Context, errs io.Writer, st store.Store, put func(context.Context, []event.Alert) error) error {
	table, err := r.table(errs)
	if err != nil {
		complain(errs, fmt.Errorf("the lists of before are still used: %w", err))
		return nil
	}
	news := table.Beyond(r.rules.Table())
	r.rules.Swap(table)
	_, err = lookBack(ctx, st, news, time.Time{}, put)
	return err
}

// lookBack matches what is stored since a time with a table, and returns how
// many alerts there are of it. They are those that would have been made if the
// table had been there.
func lookBack(ctx context.Context, st store.Store, table *intel.Table, since time.Time, put func(context.Context, []event.Alert) error) (int, error) {
	if table.Len() == 0 {
		return 0, nil
	}
	c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{intel.NewReputation(table).Detector()}})
	if err != nil {
		return 0, err
	}
	found := map[event.ID]bool{}
	keep := func(alerts []event.Alert) error {
		for i := range alerts {
			found[alerts[i].ID] = true
		}
		if len(alerts) == 0 {
			return nil
		}
		return put(ctx, alerts)
	}
	const size = 1000
	batch := make([]event.Event, 0, size)
	flush := func() error {
		alerts, err := c.Process(ctx, batch)
		if err != nil {
			return err
		}
		batch = batch[:0]
		return keep(alerts)
	}
	for e, err := range st.Search(ctx, store.Query{Set: store.Events, From: since}) {
		if err != nil {
			return len(found), err
		}
		if batch = append(batch, e); len(batch) == size {
			if err := flush(); err != nil {
				return len(found), err
			}
		}
	}
	if err := flush(); err != nil {
		return len(found), err
	}
	return len(found), keep(c.Flush())
}
