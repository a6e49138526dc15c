// Package incident is what people make of alerts: who acknowledged one, what it
// turned out to be, and why; what is not to be shown any more; and the
// incidents that alerts become, from the report to what was learnt.
//
// The judgement of an alert is kept with the alert, in the store; everything
// else on the desk.
package incident

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store"
)

// Statuses and Verdicts are the words of event.Triage; a verdict may be empty.
var (
	Statuses = []string{"open", "acknowledged", "closed"}
	Verdicts = []string{"true_positive", "false_positive", "benign"}
)

// ErrDecision is wrapped by the errors of decisions that make no sense.
var ErrDecision = errors.New("decision")

// ErrNotYours is wrapped by the errors of changes to what is another's, and
// ErrStale by those of changes to what has changed since it was read.
var (
	ErrNotYours = errors.New("not yours")
	ErrStale    = errors.New("changed since")
)

// Decision changes the triage of an alert. What is nil stays as it is.
type Decision struct {
	Status   *string `json:"status,omitempty" enum:"open,acknowledged,closed" doc:"Absent: as it is, or closed if a verdict is given"`
	Verdict  *string `json:"verdict,omitempty" enum:",true_positive,false_positive,benign" doc:"Needs a reason; empty: takes the verdict back"`
	Reason   *string `json:"reason,omitempty" maxLength:"4096" doc:"Why"`
	Assignee *string `json:"assignee,omitempty" maxLength:"64" doc:"Whose task it is; empty: nobody's"`
}

// MaxReason bounds a reason, and MaxName the name of a person, bytes.
const (
	MaxReason = 4096
	MaxName   = 64
)

// Apply returns t with the changes of d.
func (d Decision) Apply(t event.Triage) (event.Triage, error) {
	if d.Status == nil && d.Verdict == nil && d.Reason == nil && d.Assignee == nil {
		return t, fmt.Errorf("%w: nothing to change: give a status, a verdict, a reason or an assignee", ErrDecision)
	}
	if d.Reason != nil {
		t.Reason = strings.TrimSpace(*d.Reason)
		if len(t.Reason) > MaxReason {
			return t, fmt.Errorf("%w: a reason has at most %d bytes", ErrDecision, MaxReason)
		}
	}
	if d.Assignee != nil {
		t.Assignee = strings.TrimSpace(*d.Assignee)
		if len(t.Assignee) > MaxName {
			return t, fmt.Errorf("%w: a name has at most %d bytes", ErrDecision, MaxName)
		}
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
	a, err := alert(ctx, s, id)
	if err != nil {
		return a, err
	}
	if a.Triage, err = d.Apply(a.Triage); err != nil {
		return event.Alert{}, err
	}
	a.Triage.By, a.Triage.At = by, at
	return a, s.Update(ctx, id, a.Triage)
}

func alert(ctx context.Context, s store.Store, id event.ID) (event.Alert, error) {
	e, err := s.Get(ctx, id)
	if err != nil {
		return event.Alert{}, err
	}
	a, err := event.AlertOf(&e)
	if err != nil {
		return event.Alert{}, fmt.Errorf("%w: %w", err, store.ErrNotFound)
	}
	return a, nil
}

// MaxBulk is how many alerts one action may judge.
const MaxBulk = 10_000

// Action is a decision about one alert or many, and what it takes to undo it.
type Action struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	By        string    `json:"by"`
	Decision  Decision  `json:"decision"`
	Changed   int       `json:"changed"`
	Unchanged int       `json:"unchanged"`
	Failed    []Failure `json:"failed" nullable:"false"`
	Undone    bool      `json:"undone"`
}

// Failure is an alert that could not be judged.
type Failure struct {
	ID     string `json:"id"`
	Detail string `json:"detail"`
}

// undo is what an action's alerts were before.
type undo struct {
	Action Action                  `json:"action"`
	Before map[string]event.Triage `json:"before"`
}

const kindAction = "action"

// keptActions is how many actions can be undone: the newest.
const keptActions = 200

// Triage judges many alerts, and remembers what they were. An error of the
// decision itself is ErrDecision; what goes wrong with single alerts is in the
// action.
func Triage(ctx context.Context, s store.Store, d *desk.Desk, ids []event.ID, what Decision, by string, at time.Time) (Action, []event.Alert, error) {
	act := Action{At: at, By: by, Decision: what, Failed: []Failure{}}
	if len(ids) > MaxBulk {
		return act, nil, fmt.Errorf("%w: %d alerts are more than one action judges (%d): narrow it", ErrDecision, len(ids), MaxBulk)
	}
	if _, err := what.Apply(event.Triage{}); err != nil {
		return act, nil, err
	}
	u := undo{Before: map[string]event.Triage{}}
	var changed []event.Alert
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			act.Failed = append(act.Failed, Failure{id.String(), err.Error()})
			continue
		}
		a, err := alert(ctx, s, id)
		if err != nil {
			act.Failed = append(act.Failed, Failure{id.String(), err.Error()})
			continue
		}
		t, err := what.Apply(a.Triage)
		if err != nil {
			act.Failed = append(act.Failed, Failure{id.String(), err.Error()})
			continue
		}
		if t == a.Triage {
			act.Unchanged++
			continue
		}
		u.Before[id.String()] = a.Triage
		t.By, t.At = by, at
		a.Triage = t
		if err := s.Update(ctx, id, t); err != nil {
			delete(u.Before, id.String())
			act.Failed = append(act.Failed, Failure{id.String(), err.Error()})
			continue
		}
		act.Changed++
		changed = append(changed, a)
	}
	err := d.Update(context.WithoutCancel(ctx), func(tx *desk.Tx) error {
		n, err := desk.Next(tx, kindAction)
		if err != nil {
			return err
		}
		act.ID = fmt.Sprintf("%08d", n)
		u.Action = act
		if n > keptActions {
			if err := desk.Delete(tx, kindAction, fmt.Sprintf("%08d", n-keptActions)); err != nil && !errors.Is(err, desk.ErrNotFound) {
				return err
			}
		}
		return desk.Put(tx, kindAction, act.ID, u)
	})
	return act, changed, err
}

// Actions lists the newest actions, at most limit.
func Actions(ctx context.Context, d *desk.Desk, limit int) ([]Action, error) {
	list := []Action{}
	err := d.View(ctx, func(tx *desk.Tx) error {
		all, err := desk.List[struct {
			Action Action `json:"action"`
		}](tx, kindAction)
		slices.Reverse(all)
		for _, u := range all[:min(limit, len(all))] {
			list = append(list, u.Action)
		}
		return err
	})
	return list, err
}

// Undo gives an action's alerts the triage back that they had. Those that were
// judged anew since keep that; they are returned by their IDs.
func Undo(ctx context.Context, s store.Store, d *desk.Desk, action string) (restored []event.Alert, kept []string, err error) {
	var u undo
	err = d.View(ctx, func(tx *desk.Tx) error {
		u, err = desk.Get[undo](tx, kindAction, action)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if u.Action.Undone {
		return nil, nil, fmt.Errorf("%w: action %s was undone before", ErrDecision, action)
	}
	kept = []string{}
	for text, before := range u.Before {
		id, err := event.ParseID(text)
		if err != nil {
			return restored, kept, err
		}
		a, err := alert(ctx, s, id)
		if err != nil || a.Triage.By != u.Action.By || !a.Triage.At.Equal(u.Action.At) {
			kept = append(kept, text)
			continue
		}
		a.Triage = before
		if err := s.Update(ctx, id, before); err != nil {
			return restored, kept, err
		}
		restored = append(restored, a)
	}
	slices.Sort(kept)
	slices.SortFunc(restored, func(a, b event.Alert) int { return cmp.Or(a.First.Compare(b.First), a.ID.Compare(b.ID)) })
	return restored, kept, d.Update(context.WithoutCancel(ctx), func(tx *desk.Tx) error {
		u, err := desk.Get[undo](tx, kindAction, action)
		if err != nil {
			return err
		}
		u.Action.Undone = true
		return desk.Put(tx, kindAction, action, u)
	})
}
