package main

import (
	"cmp"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/policy"
	"github.com/tocsin/tocsin/correlator/spread/spreadtest"
	"github.com/tocsin/tocsin/event"
)

// learned returns the policy that tocsin would propose after a scenario.
func learned(t *testing.T, name string, events []event.Event) *policy.Policy {
	t.Helper()
	assets, err := loadAssets(filepath.Join(scenarios, name, "assets.yml"))
	if err != nil {
		t.Fatal(err)
	}
	enrich := assets.Enricher().Enrich
	var l policy.Learner
	for i := range events {
		e := events[i].Clone()
		enrich(&e)
		l.Add(&e)
	}
	var text strings.Builder
	if err := l.Propose(&text); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// clones returns copies, for a correlator enriches what it is given.
func clones(events []event.Event) []event.Event {
	out := make([]event.Event, len(events))
	for i := range events {
		out[i] = events[i].Clone()
	}
	return out
}

// TestCorrectUnderEverything: whatever happens to the events on their way and
// to the correlator, the alerts of a recorded scenario are the same, byte for
// byte: with all rules and behaviours that come with Tocsin, reputation, and
// the policy that is learned where nothing is wrong.
func TestCorrectUnderEverything(t *testing.T) {
	benign := learned(t, "benign", eventsOf(t, "benign"))
	for _, name := range []string{"intrusion", "phish", "benign"} {
		t.Run(name, func(t *testing.T) {
			events := eventsOf(t, name)
			slices.SortFunc(events, func(a, b event.Event) int { return cmp.Or(a.Time.Compare(b.Time), a.ID.Compare(b.ID)) })
			base := configOf(t, name)
			base.Detectors = append(base.Detectors, benign.Detectors()...)
			begin := func(lateness time.Duration) *correlator.Correlator {
				cfg := base
				cfg.Lateness = lateness
				c, err := correlator.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			process := func(c *correlator.Correlator, into *correlator.Alerts, events []event.Event, size int) {
				for batch := range slices.Chunk(clones(events), size) {
					alerts, err := c.Process(t.Context(), batch)
					if err != nil {
						t.Error(err)
						return
					}
					into.Add(alerts)
				}
			}
			var want correlator.Alerts
			c := begin(0)
			process(c, &want, events, 100)
			want.Add(c.Flush())
			all := want.Sorted()
			if name != "benign" && len(all) < 10 {
				t.Fatalf("%d alerts", len(all))
			}
			same := func(what string, got *correlator.Alerts) {
				t.Helper()
				if diff := spreadtest.Difference(got.Sorted(), all); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}

			for _, workers := range []int{2, 4, 16} {
				// Workers may be apart by as much as there is.
				c := begin(24 * time.Hour)
				found := make([]correlator.Alerts, workers)
				var wg sync.WaitGroup
				for w := range workers {
					var share []event.Event
					for i := w; i < len(events); i += workers {
						share = append(share, events[i])
					}
					wg.Go(func() { process(c, &found[w], share, 50) })
				}
				wg.Wait()
				var got correlator.Alerts
				for i := range found {
					got.Add(found[i].Sorted())
				}
				got.Add(c.Flush())
				same(plural(workers, "worker"), &got)
			}

			chance := rand.New(rand.NewPCG(1, uint64(len(events))))
			arrival := map[event.ID]time.Time{}
			for _, e := range events {
				arrival[e.ID] = e.Time.Add(time.Duration(chance.Int64N(int64(correlator.DefaultLateness))))
			}
			late := slices.Clone(events)
			slices.SortFunc(late, func(a, b event.Event) int { return arrival[a.ID].Compare(arrival[b.ID]) })
			var got correlator.Alerts
			c = begin(0)
			process(c, &got, late, 33)
			got.Add(c.Flush())
			same("shuffled", &got)

			got = correlator.Alerts{}
			c = begin(24 * time.Hour)
			process(c, &got, events, 200)
			process(c, &got, events, 70)
			got.Add(c.Flush())
			same("replayed", &got)

			// Five times it stops, and another goes on with what is stored.
			got = correlator.Alerts{}
			c = begin(0)
			done := 0
			for range 5 {
				at := done + chance.IntN(len(events)/5)
				process(c, &got, events[done:at], 60)
				if done = at; done == 0 {
					continue
				}
				last := events[done-1].Time
				c = begin(0)
				c.Resume(last)
				past := slices.DeleteFunc(clones(events[:done]), func(e event.Event) bool { return e.Time.Before(last.Add(-c.Horizon())) })
				for i := range past { // as they were stored
					for _, x := range base.Enrichers {
						x.Enrich(&past[i])
					}
				}
				chance.Shuffle(len(past), func(i, j int) { past[i], past[j] = past[j], past[i] })
				if err := c.Warm(t.Context(), past); err != nil {
					t.Fatal(err)
				}
			}
			process(c, &got, events[done:], 60)
			got.Add(c.Flush())
			same("stopped five times", &got)
		})
	}
}
