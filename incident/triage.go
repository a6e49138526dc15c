// Package incident is what people make of alerts. So far that is triage: who
// acknowledged an alert, what it turned out to be, and why.
package incident

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// Statuses and Verdicts are the words of event.Triage; a verdict may be empty.
var (
	Statuses = []string{"open", "acknowledged", "closed"}
	Verdicts = []string{"true_positive", "false_positive", "benign"}
)

// ErrDecision is wrapped by the errors of decisions that make no sense.
var ErrDecision = errors.New("decision")

// Decision changes the triage of an alert. What is nil stays as it is.
type Decision struct {
	Status  *string // one of Statuses; nil: closed if a verdict is given
	Verdict *string // one of Verdicts, which needs a reason; empty: takes the verdict back
	Reason  *string
}

// Apply returns t with the changes of d.
func (d Decision) Apply(t event.Triage) (event.Triage, error) {
	if d.Status == nil && d.Verdict == nil && d.Reason == nil {
		return t, fmt.Errorf("%w: nothing to change: give a status, a verdict or a reason", ErrDecision)
	}
	if d.Reason != nil {
		t.Reason = strings.TrimSpace(*d.Reason)
	}
	if d.Verdict != nil {
		t.Verdict = *d.Verdict
		if t.Verdict != "" {
			t.Status = "closed"
			if !slices.Contains(Verdicts, t.Verdict) {
				return t, fmt.Errorf("%w: verdict %q: want one of %s", ErrDecision, t.Verdict, strings.Join(Verdicts, ", "))
			}
			if d.Reason == nil || t.Reason == "" {
				return t, fmt.Errorf("%w: a verdict needs a reason", ErrDecision)
			}
		}
	}
	if d.Status != nil {
		t.Status = *d.Status
		if !slices.Contains(Statuses, t.Status) {
			return t, fmt.Errorf("%w: status %q: want one of %s", ErrDecision, t.Status, strings.Join(Statuses, ", "))
		}
	}
	if t.Status == "open" {
		t.Verdict = "" // what is open is not judged
	}
	return t, nil
}

// Judge records a person's decision about an alert and returns the alert as it
// is then. The error wraps store.ErrNotFound where there is no such alert, and
// ErrDecision where the decision makes no sense.
func Judge(ctx context.Context, s store.Store, id event.ID, d Decision, by string, at time.Time) (event.Alert, error) {
	e, err := s.Get(ctx, id)
	if err != nil {
		return event.Alert{}, err
	}
	a, err := event.AlertOf(&e)
	if err != nil {
		return event.Alert{}, fmt.Errorf("%w: %w", err, store.ErrNotFound)
	}
	if a.Triage, err = d.Apply(a.Triage); err != nil {
		return event.Alert{}, err
	}
	a.Triage.By, a.Triage.At = by, at
	return a, s.Update(ctx, id, a.Triage)
}
