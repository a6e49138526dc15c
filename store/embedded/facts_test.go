package embedded

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
	"github.com/tocsin/tocsin/store/storetest"
)

// TestFactsFollowTheAlerts: what is counted by facts is what a reader counts,
// who has none, whatever happens to the alerts between two counts.
func TestFactsFollowTheAlerts(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, ReadWrite)
	r := mustOpen(t, dir, ReadOnly)
	g := storetest.NewGenerator(11)
	g.Step = time.Minute
	by := []store.By{{}, {Interval: time.Hour, Field: "tocsin.alert.level"}, {Field: "tocsin.alert.status"}, {Field: "tocsin.alert.source"}, {Field: "rule.id", Top: 3}}
	var ids []event.ID
	for step := range 30 {
		es := g.Events(40)
		a := g.Alert(es)
		if err := w.Put(t.Context(), es, []event.Alert{a}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, a.ID)
		if step%3 == 0 {
			// The same alert, which began earlier than was known.
			a.First = a.First.Add(-3 * time.Hour)
			if err := w.Put(t.Context(), nil, []event.Alert{a}); err != nil {
				t.Fatal(err)
			}
		}
		if step%2 == 0 {
			if err := w.Update(t.Context(), ids[step/2], event.Triage{Status: "closed", Verdict: "benign", Reason: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		from := storetest.Start.Add(time.Duration(step) * 17 * time.Minute)
		for _, q := range []store.Query{
			{Set: store.Alerts}, {Set: store.Alerts, From: from, To: from.Add(5 * time.Hour)},
			{Set: store.Alerts, Where: query.Compare{Field: "tocsin.alert.status", Value: query.Literal{Text: "open"}}},
			{Set: store.Alerts, Where: query.Exists{Field: "tocsin.alert.evidence"}},
		} {
			have, err := w.CountAll(t.Context(), q, by)
			if err != nil {
				t.Fatal(err)
			}
			want, err := r.CountAll(t.Context(), q, by)
			if err != nil {
				t.Fatal(err)
			}
			for i := range by {
				if x, y := fmt.Sprint(have[i]), fmt.Sprint(want[i]); x != y {
					t.Fatalf("step %d, %+v by %+v:\nhave %s\nwant %s", step, q, by[i], x, y)
				}
			}
			one, err := w.Count(t.Context(), q, by[1])
			if err != nil || !slices.EqualFunc(one, have[1], func(a, b store.Bucket) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
				t.Fatalf("step %d: %v %v", step, one, err)
			}
		}
	}
	if len(w.facts.hours) == 0 {
		t.Error("nothing was counted by facts")
	}
}
