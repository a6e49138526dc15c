package main

import (
	"bytes"
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/spread/spreadtest"
	"github.com/tocsin/tocsin/event"
)

// eventsOf returns the events of a scenario as sensors make them.
func eventsOf(t *testing.T, name string) (events []event.Event) {
	t.Helper()
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(run(t, 0, append([]string{"events"}, taps(t, name)...)...)) {
		var e event.Event
		if err := fields.Decode([]byte(strings.TrimSuffix(line, "\n")), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// configOf is the configuration with what the scenario's operator knows.
func configOf(t *testing.T, name string) correlator.Config {
	t.Helper()
	none, assets := []string{}, filepath.Join(scenarios, name, "assets.yml")
	lists := []string{}
	if list := filepath.Join(scenarios, name, "reputation.csv"); exists(list) {
		lists = append(lists, list)
	}
	var errs bytes.Buffer
	no := ""
	cfg, _, err := (&detecting{rules: ruleset{paths: &none, lists: &none, shipped: true, now: new(inForce)}, geo: &atlas{paths: &none}, intel: &lists, feeds: &no, assets: &assets, policy: &no}).config(&errs)
	if err != nil {
		t.Fatal(err, errs.String())
	}
	return cfg
}

// TestSpreadScenarios: the recorded scenarios give the same alerts, byte for
// byte, to several processes that die and share the work anew as to one.
func TestSpreadScenarios(t *testing.T) {
	for _, name := range []string{"intrusion", "phish", "benign"} {
		events := eventsOf(t, name)
		slices.SortStableFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Time.Unix()/60, b.Time.Unix()/60) })
		one, err := correlator.New(configOf(t, name))
		if err != nil {
			t.Fatal(err)
		}
		var want correlator.Alerts
		for batch := range slices.Chunk(events, 100) {
			batch = slices.Clone(batch)
			for i := range batch {
				batch[i] = batch[i].Clone()
			}
			alerts, err := one.Process(context.Background(), batch)
			if err != nil {
				t.Fatal(err)
			}
			want.Add(alerts)
		}
		want.Add(one.Flush())
		p := spreadtest.Play{
			Matcher: func() (*correlator.Matcher, error) { return correlator.NewMatcher(configOf(t, name)) },
			Sources: 4, Keepers: 3, Workers: 2, Mishaps: true, Seed: 1, Mixed: 3,
		}
		if diff := spreadtest.Difference(p.Run(t, events), want.Sorted()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
