package incident_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
)

func to(s string) *string { return &s }

func TestApply(t *testing.T) {
	acknowledged := event.Triage{Status: "acknowledged"}
	closed := event.Triage{Status: "closed", Verdict: "benign", Reason: "planned"}
	for _, c := range []struct {
		name string
		was  event.Triage
		d    incident.Decision
		want event.Triage
		ok   bool
	}{
		{"acknowledge", event.Triage{}, incident.Decision{Status: to("acknowledged")}, acknowledged, true},
		{"a verdict closes", acknowledged, incident.Decision{Verdict: to("benign"), Reason: to(" planned ")}, closed, true},
		{"what is opened again is not judged", closed, incident.Decision{Status: to("open")}, event.Triage{Status: "open", Reason: "planned"}, true},
		{"a verdict is taken back", closed, incident.Decision{Verdict: to("")}, event.Triage{Status: "closed", Reason: "planned"}, true},
		{"nothing", closed, incident.Decision{}, closed, false},
		{"a verdict without a reason of its own", event.Triage{Reason: "old"}, incident.Decision{Verdict: to("benign")}, event.Triage{}, false},
		{"a verdict with an empty reason", event.Triage{}, incident.Decision{Verdict: to("benign"), Reason: to("  ")}, event.Triage{}, false},
		{"a strange verdict", event.Triage{}, incident.Decision{Verdict: to("odd"), Reason: to("x")}, event.Triage{}, false},
		{"a strange status", event.Triage{}, incident.Decision{Status: to("odd")}, event.Triage{}, false},
	} {
		got, err := c.d.Apply(c.was)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, incident.ErrDecision) {
			t.Errorf("%s: error %v", c.name, err)
		}
		if c.ok && got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	ctx := context.Background()
	s, err := embedded.Open(t.TempDir(), embedded.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	h := event.NewHasher()
	h.Str("alert")
	a := event.Alert{ID: h.ID(at), First: at, Last: at, Count: 1, Severity: 50}
	h.Str("event")
	e := event.Event{ID: h.ID(at), Time: at, Kind: event.KindFlow}
	if err := s.Put(ctx, []event.Event{e}, []event.Alert{a}); err != nil {
		t.Fatal(err)
	}
	if _, err := incident.Judge(ctx, s, a.ID, incident.Decision{Verdict: to("true_positive"), Reason: to("seen")}, "ann", at); err != nil {
		t.Fatal(err)
	}
	kept, err := s.Get(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.AlertOf(&kept)
	want := event.Triage{Status: "closed", Verdict: "true_positive", Reason: "seen", By: "ann", At: at}
	if err != nil || got.Triage != want {
		t.Errorf("kept %+v, %v; want %+v", got.Triage, err, want)
	}
	for name, id := range map[string]event.ID{"an event": e.ID, "nothing": event.FirstID(at)} {
		if _, err := incident.Judge(ctx, s, id, incident.Decision{Status: to("closed")}, "ann", at); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
	if _, err := incident.Judge(ctx, s, a.ID, incident.Decision{}, "ann", at); !errors.Is(err, incident.ErrDecision) {
		t.Errorf("an empty decision: %v", err)
	}
}
