package incident_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store/embedded"
)

var begin = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// scene is a store with five alerts, and a desk.
func scene(t *testing.T) (*incident.Book, []event.Alert) {
	t.Helper()
	s, err := embedded.Open(t.TempDir(), embedded.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	d, err := desk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	var alerts []event.Alert
	for i := range 5 {
		at := begin.Add(time.Duration(i) * time.Minute)
		h := event.NewHasher()
		h.Uint(uint64(i))
		alerts = append(alerts, event.Alert{
			ID: h.ID(at), Rule: event.Rule{ID: "r", Name: "Rule"}, Severity: 10 + 20*i, Level: event.LevelOf(10 + 20*i), Message: "something",
			Sources: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Count: 1, First: at, Last: at, Evidence: []event.ID{event.FirstID(at)},
		})
	}
	if err := s.Put(t.Context(), nil, alerts); err != nil {
		t.Fatal(err)
	}
	return &incident.Book{Desk: d, Store: s}, alerts
}

func ids(alerts []event.Alert) (list []string) {
	for _, a := range alerts {
		list = append(list, a.ID.String())
	}
	return list
}

func text(s string) *string { return &s }

var li = incident.By{Name: "li", At: begin.Add(time.Hour)}

func TestIncidentFromReportToLessons(t *testing.T) {
	b, alerts := scene(t)
	ctx := t.Context()
	i, err := b.Create(ctx, incident.Incident{Title: " Writes ", Type: "ot_manipulation", Alerts: ids(alerts[:2]), Assets: []string{"10.0.0.1"}}, li)
	if err != nil || i.ID != "2026-0001" || i.Title != "Writes" || i.Severity != 30 || i.State != "report" || len(i.Tasks) < 8 {
		t.Fatalf("%+v %v", i, err)
	}
	// Every task of the check-list is said in both languages.
	for _, task := range i.Tasks {
		if task.Title.En == "" || task.Title.Zh == "" || task.Title.En == task.Title.Zh || !slices.Contains(incident.States, task.Phase) {
			t.Errorf("%+v", task)
		}
	}
	if i, err = b.Link(ctx, i.ID, ids(alerts[1:4]), nil, false, li); err != nil || len(i.Alerts) != 4 || i.Severity != 70 {
		t.Errorf("%+v %v", i, err)
	}
	done := true
	if i, err = b.EditTask(ctx, i.ID, 1, incident.TaskEdit{Done: &done}, li); err != nil || !i.Tasks[0].Done || i.Tasks[0].By != "li" {
		t.Errorf("%+v %v", i.Tasks[0], err)
	}
	if i, err = b.Comment(ctx, i.ID, "called the operator", li); err != nil || len(i.Comments) != 1 {
		t.Errorf("%+v %v", i, err)
	}
	if i, err = b.Pin(ctx, i.ID, ids(alerts[:1]), false, li); err != nil || len(i.Pins) != 2 { // with its evidence
		t.Errorf("%v %v", i.Pins, err)
	}
	pinned, err := b.Pinned(ctx)
	if err != nil || len(pinned) != 5 || !slices.Contains(pinned, alerts[0].Evidence[0]) {
		t.Errorf("%v %v", pinned, err)
	}
	if _, err = b.Edit(ctx, i.ID, incident.Edit{Title: text("x"), Revision: 1}, li); !errors.Is(err, incident.ErrStale) {
		t.Errorf("on an old revision: %v", err)
	}
	if _, err = b.Edit(ctx, i.ID, incident.Edit{State: text("closed")}, li); !errors.Is(err, incident.ErrDecision) {
		t.Errorf("closed without lessons: %v", err)
	}
	moments, missing, err := b.Timeline(ctx, &i)
	if err != nil || len(missing) != 1 || !slices.IsSortedFunc(moments, func(a, b incident.Moment) int { return a.Time.Compare(b.Time) }) {
		t.Errorf("%v %v %v", moments, missing, err)
	}
	if i, err = b.Edit(ctx, i.ID, incident.Edit{State: text("closed"), Lessons: text("lock the cabinet")}, li); err != nil || i.Closed == nil {
		t.Fatalf("%+v %v", i, err)
	}
	if _, err = b.AddTask(ctx, i.ID, "x", li); !errors.Is(err, incident.ErrDecision) {
		t.Errorf("a task of a closed one: %v", err)
	}
	if pinned, err = b.Pinned(ctx); err != nil || len(pinned) != 0 {
		t.Errorf("pinned when closed: %v %v", pinned, err)
	}
	if i, err = b.Edit(ctx, i.ID, incident.Edit{State: text("respond")}, li); err != nil || i.Closed != nil {
		t.Errorf("opened again: %+v %v", i, err)
	}
}

func TestMergeAndSplit(t *testing.T) {
	b, alerts := scene(t)
	ctx := t.Context()
	one, err := b.Create(ctx, incident.Incident{Title: "one", Alerts: ids(alerts[:2])}, li)
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.Create(ctx, incident.Incident{Title: "two", Alerts: ids(alerts[1:])}, li)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Comment(ctx, two.ID, "a thought", li); err != nil {
		t.Fatal(err)
	}
	if one, err = b.Merge(ctx, one.ID, []string{two.ID}, li); err != nil || len(one.Alerts) != 5 || one.Severity != 90 || len(one.Comments) != 1 {
		t.Fatalf("%+v %v", one, err)
	}
	if two, err = b.Get(ctx, two.ID); err != nil || two.State != "closed" || two.MergedInto != one.ID {
		t.Errorf("%+v %v", two, err)
	}
	if _, err := b.Merge(ctx, one.ID, []string{one.ID}, li); !errors.Is(err, incident.ErrDecision) {
		t.Errorf("into itself: %v", err)
	}
	three, err := b.Split(ctx, one.ID, "three", ids(alerts[3:]), nil, li)
	if err != nil || len(three.Alerts) != 2 || three.SplitFrom != one.ID {
		t.Fatalf("%+v %v", three, err)
	}
	if one, err = b.Get(ctx, one.ID); err != nil || len(one.Alerts) != 3 {
		t.Errorf("%+v %v", one, err)
	}
	if _, err := b.Split(ctx, one.ID, "four", ids(alerts[3:]), nil, li); !errors.Is(err, incident.ErrDecision) {
		t.Errorf("alerts that are not its own: %v", err)
	}
	list, err := b.List(ctx, incident.Filter{State: "open", Alert: alerts[4].ID.String()})
	if err != nil || len(list) != 1 || list[0].ID != three.ID {
		t.Errorf("%v %v", list, err)
	}
}

func TestTriageIsUndone(t *testing.T) {
	b, alerts := scene(t)
	ctx := t.Context()
	all := make([]event.ID, len(alerts))
	for i, a := range alerts {
		all[i] = a.ID
	}
	unknown := event.FirstID(begin.Add(-time.Hour))
	act, changed, err := incident.Triage(ctx, b.Store, b.Desk, append(all, unknown), incident.Decision{Verdict: text("benign"), Reason: text("a drill")}, "li", li.At)
	if err != nil || act.Changed != 5 || len(changed) != 5 || len(act.Failed) != 1 || act.Failed[0].ID != unknown.String() {
		t.Fatalf("%+v %v", act, err)
	}
	if again, _, err := incident.Triage(ctx, b.Store, b.Desk, all, incident.Decision{Verdict: text("benign"), Reason: text("a drill")}, "wu", li.At); err != nil || again.Unchanged != 5 {
		t.Errorf("the same once more: %+v %v", again, err)
	}
	if _, err := incident.Judge(ctx, b.Store, all[0], incident.Decision{Status: text("open")}, "chen", li.At.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	restored, kept, err := incident.Undo(ctx, b.Store, b.Desk, act.ID)
	if err != nil || len(restored) != 4 || len(kept) != 1 || kept[0] != all[0].String() {
		t.Fatalf("%d %v %v", len(restored), kept, err)
	}
	for i, id := range all {
		e, err := b.Store.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		a, err := event.AlertOf(&e)
		if want := map[bool]string{true: "chen", false: ""}[i == 0]; err != nil || a.Triage.By != want || a.Triage.Verdict != "" {
			t.Errorf("alert %d: %+v %v", i, a.Triage, err)
		}
	}
	if _, _, err := incident.Undo(ctx, b.Store, b.Desk, act.ID); !errors.Is(err, incident.ErrDecision) {
		t.Errorf("a second time: %v", err)
	}
	if _, _, err := incident.Undo(ctx, b.Store, b.Desk, "99"); !errors.Is(err, desk.ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestSuppressionsEnd(t *testing.T) {
	b, alerts := scene(t)
	ctx := t.Context()
	schema, err := event.NewSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []incident.Suppression{
		{Q: "rule.id: r", Reason: "x", At: begin, Expires: begin}, {Q: "rule.id: r", Reason: " ", At: begin, Expires: begin.Add(time.Hour)},
		{Q: " ", Reason: "x", At: begin, Expires: begin.Add(time.Hour)}, {Q: "rule.id: r", Reason: "x", At: begin, Expires: begin.AddDate(2, 0, 0)},
	} {
		if _, err := incident.Suppress(ctx, b.Desk, bad); !errors.Is(err, incident.ErrDecision) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	like, err := incident.Like(&alerts[0], "rule_source")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := incident.Like(&alerts[0], "rule_target"); !errors.Is(err, incident.ErrDecision) {
		t.Errorf("a target where there is none: %v", err)
	}
	if q := like; q == nil {
		t.Error("no query")
	}
	s, err := incident.Suppress(ctx, b.Desk, incident.Suppression{Q: "event.severity < 50", Reason: "x", By: "li", At: begin, Expires: begin.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if n, last, err := s.Hits(ctx, b.Store, schema); err != nil || n != 2 || !last.Equal(alerts[1].First) {
		t.Errorf("%d %v %v", n, last, err)
	}
	list, err := incident.Suppressions(ctx, b.Desk)
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]bool{0: true, time.Hour: false} {
		n, err := incident.Hidden(list, schema, begin.Add(after))
		if err != nil || (n != nil) != want {
			t.Errorf("after %v: %v %v", after, n, err)
		}
	}
	if _, err := incident.EndSuppression(ctx, b.Desk, s.ID); err != nil {
		t.Error(err)
	}
	if _, err := incident.EndSuppression(ctx, b.Desk, s.ID); !errors.Is(err, desk.ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
}

func TestSearchesAreTheirOwners(t *testing.T) {
	b, _ := scene(t)
	ctx := t.Context()
	own, err := incident.SaveSearch(ctx, b.Desk, incident.Search{Name: "own", Q: "x", By: "li"})
	if err != nil {
		t.Fatal(err)
	}
	shared, err := incident.SaveSearch(ctx, b.Desk, incident.Search{Name: "shared", Q: "x", By: "li", Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := incident.Searches(ctx, b.Desk, "wu"); err != nil || len(list) != 1 || list[0].ID != shared.ID {
		t.Errorf("%v %v", list, err)
	}
	if err := incident.DeleteSearch(ctx, b.Desk, own.ID, "wu"); !errors.Is(err, desk.ErrNotFound) {
		t.Errorf("another's own: %v", err)
	}
	shared.By = "wu"
	if _, err := incident.SaveSearch(ctx, b.Desk, shared); !errors.Is(err, incident.ErrNotYours) {
		t.Errorf("another's shared: %v", err)
	}
	if err := incident.DeleteSearch(ctx, b.Desk, own.ID, "li"); err != nil {
		t.Error(err)
	}
}
