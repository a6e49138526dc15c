package incident

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store"
)

// Incident is a case: what alerts have in common, who works on it, and what was
// done about it.
type Incident struct {
	ID         string     `json:"id"`
	Revision   int        `json:"revision" doc:"Counts the changes"`
	Title      string     `json:"title"`
	Type       string     `json:"type"`
	Severity   int        `json:"severity" doc:"1 to 100: of the worst alert, unless set"`
	State      string     `json:"state" enum:"report,assess,respond,recover,learn,closed"`
	Owner      string     `json:"owner,omitempty"`
	Summary    string     `json:"summary,omitempty"`
	Lessons    string     `json:"lessons,omitempty"`
	By         string     `json:"by"`
	Created    time.Time  `json:"created"`
	Changed    time.Time  `json:"changed"`
	Closed     *time.Time `json:"closed,omitempty"`
	MergedInto string     `json:"merged_into,omitempty"`
	SplitFrom  string     `json:"split_from,omitempty"`
	Alerts     []string   `json:"alerts" nullable:"false" doc:"event.id of each"`
	Assets     []string   `json:"assets" nullable:"false" doc:"Addresses or names"`
	Pins       []string   `json:"pins" nullable:"false" doc:"Events whose evidence is kept until it is closed"`
	Tasks      []Task     `json:"tasks" nullable:"false"`
	Comments   []Comment  `json:"comments" nullable:"false"`
	History    []Change   `json:"history" nullable:"false" doc:"What was changed, earliest first"`
}

// Task is something to be done.
type Task struct {
	ID       int        `json:"id"`
	Phase    string     `json:"phase"`
	Title    Text       `json:"title"`
	Done     bool       `json:"done"`
	By       string     `json:"by,omitempty" doc:"Who did it"`
	At       *time.Time `json:"at,omitempty" doc:"When it was done"`
	Assignee string     `json:"assignee,omitempty"`
	Note     string     `json:"note,omitempty"`
}

// Comment is what a person wrote.
type Comment struct {
	ID   int       `json:"id"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Change is a line of an incident's history.
type Change struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	What string    `json:"what"` // created, title, state, owner, severity, type, summary, lessons, alerts, assets, pins, task, merged, split
	From string    `json:"from,omitempty"`
	To   string    `json:"to,omitempty"`
}

// Bounds of an incident.
const (
	MaxLinks    = 10_000 // alerts, assets and pins, of each
	MaxTasks    = 500
	MaxComments = 5000
	MaxText     = 64 << 10 // bytes of a comment, summary or lesson
	maxHistory  = 10_000
)

const kindIncident = "incident"

// Book is the incidents on a desk, and the store that their alerts are in.
type Book struct {
	Desk  *desk.Desk
	Store store.Store
}

// By says who changes something, and when.
type By struct {
	Name string
	At   time.Time
}

func bounded(what, s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > MaxText {
		return s, fmt.Errorf("%w: %s: at most %d bytes", ErrDecision, what, MaxText)
	}
	return s, nil
}

// Create begins an incident with its title, type, summary, alerts and assets.
func (b *Book) Create(ctx context.Context, n Incident, by By) (Incident, error) {
	t, ok := typeOf(cmp.Or(n.Type, "other"))
	if !ok {
		return n, fmt.Errorf("%w: type %q: there is none", ErrDecision, n.Type)
	}
	i := Incident{
		Type: t.Name, State: States[0], Severity: n.Severity, SplitFrom: n.SplitFrom, By: by.Name, Created: by.At, Changed: by.At, Revision: 1,
		Alerts: []string{}, Assets: []string{}, Pins: []string{}, Tasks: []Task{}, Comments: []Comment{},
		History: []Change{{At: by.At, By: by.Name, What: "created"}},
	}
	var err error
	if i.Title, err = title("title", n.Title); err != nil {
		return n, err
	}
	if i.Summary, err = bounded("summary", n.Summary); err != nil {
		return n, err
	}
	for k, task := range t.Tasks {
		i.Tasks = append(i.Tasks, Task{ID: k + 1, Phase: task.Phase, Title: task.Text})
	}
	if err := b.link(ctx, &i, n.Alerts, n.Assets); err != nil {
		return n, err
	}
	if i.Severity < 0 || i.Severity > 100 {
		return n, fmt.Errorf("%w: severity %d: want 1 to 100", ErrDecision, i.Severity)
	}
	return i, b.Desk.Update(ctx, func(tx *desk.Tx) error { return number(tx, &i) })
}

// number gives an incident its number within the year, and keeps it.
func number(tx *desk.Tx, i *Incident) error {
	year := strconv.Itoa(i.Created.Year())
	k, err := desk.Next(tx, kindIncident+year)
	if err != nil {
		return err
	}
	i.ID = fmt.Sprintf("%s-%04d", year, k)
	return desk.Put(tx, kindIncident, i.ID, *i)
}

// link adds alerts and assets, and the worst alert's severity.
func (b *Book) link(ctx context.Context, i *Incident, alerts, assets []string) error {
	for _, text := range alerts {
		id, err := event.ParseID(text)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDecision, err)
		}
		a, err := alert(ctx, b.Store, id)
		if err != nil {
			return err
		}
		i.Severity = max(i.Severity, a.Severity)
	}
	var err error
	if i.Alerts, err = join(i.Alerts, alerts, "alerts"); err == nil {
		i.Assets, err = join(i.Assets, assets, "assets")
	}
	return err
}

func join(have, more []string, what string) ([]string, error) {
	for _, x := range more {
		if x = strings.TrimSpace(x); x != "" && !slices.Contains(have, x) {
			have = append(have, x)
		}
	}
	if len(have) > MaxLinks {
		return have, fmt.Errorf("%w: %d %s are more than an incident has (%d)", ErrDecision, len(have), what, MaxLinks)
	}
	return have, nil
}

func without(have, gone []string) []string {
	return slices.DeleteFunc(have, func(x string) bool { return slices.Contains(gone, x) })
}

// Get returns an incident. The error wraps desk.ErrNotFound if there is none.
func (b *Book) Get(ctx context.Context, id string) (i Incident, err error) {
	err = b.Desk.View(ctx, func(tx *desk.Tx) error {
		i, err = desk.Get[Incident](tx, kindIncident, id)
		return err
	})
	return i, err
}

// Filter chooses incidents. Empty texts choose all.
type Filter struct {
	State string // one of States, or "open": all but closed
	Owner string
	Text  string // in title or summary, without regard to case; or the ID
	Alert string // that is linked
}

// List returns the incidents of a filter, the one that changed last first.
func (b *Book) List(ctx context.Context, f Filter) (list []Incident, err error) {
	err = b.Desk.View(ctx, func(tx *desk.Tx) error {
		list, err = desk.List[Incident](tx, kindIncident)
		return err
	})
	text := strings.ToLower(f.Text)
	list = slices.DeleteFunc(list, func(i Incident) bool {
		return f.State == "open" && i.State == closed ||
			f.State != "" && f.State != "open" && i.State != f.State ||
			f.Owner != "" && i.Owner != f.Owner ||
			f.Alert != "" && !slices.Contains(i.Alerts, f.Alert) ||
			text != "" && i.ID != f.Text && !strings.Contains(strings.ToLower(i.Title+"\n"+i.Summary), text)
	})
	slices.SortFunc(list, func(a, b Incident) int { return cmp.Or(b.Changed.Compare(a.Changed), cmp.Compare(b.ID, a.ID)) })
	return list, err
}

// change changes an incident as it is now. A revision other than 0 must be the
// one that it has: the error wraps ErrStale.
func (b *Book) change(ctx context.Context, id string, revision int, by By, fn func(tx *desk.Tx, i *Incident) error) (i Incident, err error) {
	return i, b.Desk.Update(ctx, func(tx *desk.Tx) error {
		if i, err = desk.Get[Incident](tx, kindIncident, id); err != nil {
			return err
		}
		if revision != 0 && revision != i.Revision {
			return fmt.Errorf("incident %s: %w: it has revision %d, and you saw %d", id, ErrStale, i.Revision, revision)
		}
		if err := fn(tx, &i); err != nil {
			return err
		}
		return save(tx, &i, by)
	})
}

func save(tx *desk.Tx, i *Incident, by By) error {
	i.Revision++
	i.Changed = by.At
	return desk.Put(tx, kindIncident, i.ID, *i)
}

// log adds a line to the history.
func (i *Incident) log(by By, what, from, to string) error {
	if len(i.History) >= maxHistory {
		return fmt.Errorf("%w: incident %s has %d changes, and no room for more: split it", ErrDecision, i.ID, maxHistory)
	}
	i.History = append(i.History, Change{At: by.At, By: by.Name, What: what, From: from, To: to})
	return nil
}

// open is an error for an incident that is closed.
func (i *Incident) open() error {
	if i.State == closed {
		return fmt.Errorf("%w: incident %s is closed: open it again first", ErrDecision, i.ID)
	}
	return nil
}

// Edit is a change of an incident's own fields. What is nil stays.
type Edit struct {
	Title    *string `json:"title,omitempty"`
	Type     *string `json:"type,omitempty"`
	Severity *int    `json:"severity,omitempty" minimum:"1" maximum:"100"`
	Summary  *string `json:"summary,omitempty"`
	Lessons  *string `json:"lessons,omitempty"`
	Owner    *string `json:"owner,omitempty" doc:"Empty: nobody's"`
	State    *string `json:"state,omitempty" enum:"report,assess,respond,recover,learn,closed"`
	Revision int     `json:"revision,omitempty" doc:"Of the incident that was seen; absent: whichever"`
}

// Edit changes an incident.
func (b *Book) Edit(ctx context.Context, id string, e Edit, by By) (Incident, error) {
	return b.change(ctx, id, e.Revision, by, func(_ *desk.Tx, i *Incident) error {
		set := func(what string, field *string, to *string, check func(string, string) (string, error)) error {
			if to == nil {
				return nil
			}
			v, err := check(what, *to)
			if err != nil || v == *field {
				return err
			}
			from, now := *field, v
			if what == "summary" || what == "lessons" { // long; what they are now is there
				from, now = "", ""
			}
			*field = v
			return i.log(by, what, from, now)
		}
		if i.State == closed && (e.State == nil || *e.State == closed) {
			return i.open()
		}
		if e.Type != nil {
			if _, ok := typeOf(*e.Type); !ok {
				return fmt.Errorf("%w: type %q: there is none", ErrDecision, *e.Type)
			}
		}
		if e.State != nil && !slices.Contains(States, *e.State) {
			return fmt.Errorf("%w: state %q: want one of %s", ErrDecision, *e.State, strings.Join(States, ", "))
		}
		if e.Severity != nil && *e.Severity != i.Severity {
			if *e.Severity < 1 || *e.Severity > 100 {
				return fmt.Errorf("%w: severity %d: want 1 to 100", ErrDecision, *e.Severity)
			}
			if err := i.log(by, "severity", strconv.Itoa(i.Severity), strconv.Itoa(*e.Severity)); err != nil {
				return err
			}
			i.Severity = *e.Severity
		}
		name := func(what, s string) (string, error) {
			if s = strings.TrimSpace(s); len(s) > MaxName {
				return s, fmt.Errorf("%w: %s: at most %d bytes", ErrDecision, what, MaxName)
			}
			return s, nil
		}
		was := i.State
		err := errors.Join(
			set("title", &i.Title, e.Title, title), set("type", &i.Type, e.Type, name), set("summary", &i.Summary, e.Summary, bounded),
			set("lessons", &i.Lessons, e.Lessons, bounded), set("owner", &i.Owner, e.Owner, name), set("state", &i.State, e.State, name))
		if err != nil || i.State == was {
			return err
		}
		if i.Closed = nil; i.State == closed {
			if i.Lessons == "" {
				return fmt.Errorf("%w: write down what was learnt (lessons) before it is closed", ErrDecision)
			}
			i.Closed = &by.At
		}
		i.MergedInto = ""
		return nil
	})
}

// Link adds alerts and assets to an incident, or takes them off.
func (b *Book) Link(ctx context.Context, id string, alerts, assets []string, remove bool, by By) (Incident, error) {
	return b.change(ctx, id, 0, by, func(_ *desk.Tx, i *Incident) error {
		if err := i.open(); err != nil {
			return err
		}
		na, nh := len(i.Alerts), len(i.Assets)
		if remove {
			i.Alerts, i.Assets = without(i.Alerts, alerts), without(i.Assets, assets)
		} else if err := b.link(ctx, i, alerts, assets); err != nil {
			return err
		}
		if len(i.Alerts) != na {
			if err := i.log(by, "alerts", strconv.Itoa(na), strconv.Itoa(len(i.Alerts))); err != nil {
				return err
			}
		}
		if len(i.Assets) != nh {
			return i.log(by, "assets", strconv.Itoa(nh), strconv.Itoa(len(i.Assets)))
		}
		return nil
	})
}

// Pin keeps the evidence of events until the incident is closed. Of an alert,
// the evidence is pinned with it.
func (b *Book) Pin(ctx context.Context, id string, events []string, remove bool, by By) (Incident, error) {
	var all []string
	for _, text := range events {
		k, err := event.ParseID(text)
		if err != nil {
			return Incident{}, fmt.Errorf("%w: %w", ErrDecision, err)
		}
		e, err := b.Store.Get(ctx, k)
		if err != nil && !(remove && errors.Is(err, store.ErrNotFound)) {
			return Incident{}, err
		}
		all = append(all, k.String())
		if a, err := event.AlertOf(&e); err == nil {
			for _, x := range a.Evidence {
				all = append(all, x.String())
			}
		}
	}
	return b.change(ctx, id, 0, by, func(_ *desk.Tx, i *Incident) (err error) {
		if err := i.open(); err != nil {
			return err
		}
		n := len(i.Pins)
		if remove {
			i.Pins = without(i.Pins, all)
		} else if i.Pins, err = join(i.Pins, all, "pins"); err != nil {
			return err
		}
		if len(i.Pins) == n {
			return nil
		}
		return i.log(by, "pins", strconv.Itoa(n), strconv.Itoa(len(i.Pins)))
	})
}

// Pinned lists the events whose evidence open incidents keep, and the alerts
// that these are about, sorted: what retention leaves alone.
func (b *Book) Pinned(ctx context.Context) ([]event.ID, error) {
	list, err := b.List(ctx, Filter{State: "open"})
	var ids []event.ID
	for _, i := range list {
		for _, text := range slices.Concat(i.Pins, i.Alerts) {
			if id, err := event.ParseID(text); err == nil {
				ids = append(ids, id)
			}
		}
	}
	slices.SortFunc(ids, event.ID.Compare)
	return slices.Compact(ids), err
}

// Comment adds a comment.
func (b *Book) Comment(ctx context.Context, id, text string, by By) (Incident, error) {
	return b.change(ctx, id, 0, by, func(_ *desk.Tx, i *Incident) error {
		text, err := bounded("comment", text)
		if err == nil && text == "" {
			err = fmt.Errorf("%w: the comment is empty", ErrDecision)
		}
		if err == nil && len(i.Comments) >= MaxComments {
			err = fmt.Errorf("%w: incident %s has %d comments, and no room for more", ErrDecision, id, MaxComments)
		}
		if err != nil {
			return err
		}
		i.Comments = append(i.Comments, Comment{ID: len(i.Comments) + 1, By: by.Name, At: by.At, Text: text})
		return nil
	})
}

// AddTask adds a task in the incident's phase.
func (b *Book) AddTask(ctx context.Context, id, what string, by By) (Incident, error) {
	return b.change(ctx, id, 0, by, func(_ *desk.Tx, i *Incident) error {
		if err := i.open(); err != nil {
			return err
		}
		what, err := title("title", what)
		if err == nil && len(i.Tasks) >= MaxTasks {
			err = fmt.Errorf("%w: incident %s has %d tasks, and no room for more", ErrDecision, id, MaxTasks)
		}
		if err != nil {
			return err
		}
		next := 1
		for _, t := range i.Tasks {
			next = max(next, t.ID+1)
		}
		i.Tasks = append(i.Tasks, Task{ID: next, Phase: i.State, Title: Text{what, what}})
		return i.log(by, "task", "", what)
	})
}

// TaskEdit is a change of a task. What is nil stays.
type TaskEdit struct {
	Done     *bool   `json:"done,omitempty"`
	Title    *string `json:"title,omitempty" maxLength:"200"`
	Assignee *string `json:"assignee,omitempty" maxLength:"64"`
	Note     *string `json:"note,omitempty" maxLength:"4096"`
}

// EditTask changes a task.
func (b *Book) EditTask(ctx context.Context, id string, task int, e TaskEdit, by By) (Incident, error) {
	return b.change(ctx, id, 0, by, func(_ *desk.Tx, i *Incident) error {
		if err := i.open(); err != nil {
			return err
		}
		k := slices.IndexFunc(i.Tasks, func(t Task) bool { return t.ID == task })
		if k < 0 {
			return fmt.Errorf("task %d of incident %s: %w", task, id, desk.ErrNotFound)
		}
		t := &i.Tasks[k]
		if e.Title != nil {
			s, err := title("title", *e.Title)
			if err != nil {
				return err
			}
			t.Title = Text{s, s}
		}
		if e.Assignee != nil {
			t.Assignee = strings.TrimSpace(*e.Assignee)
		}
		if e.Note != nil {
			t.Note = strings.TrimSpace(*e.Note)
		}
		if e.Done != nil && *e.Done != t.Done {
			if t.Done = *e.Done; t.Done {
				t.By, t.At = by.Name, &by.At
				return i.log(by, "task", "", t.Title.En)
			}
			t.By, t.At = "", nil
			return i.log(by, "task", t.Title.En, "")
		}
		return nil
	})
}

// Merge takes what other incidents have into one, and closes those.
func (b *Book) Merge(ctx context.Context, id string, from []string, by By) (Incident, error) {
	return b.change(ctx, id, 0, by, func(tx *desk.Tx, i *Incident) (err error) {
		if err := i.open(); err != nil {
			return err
		}
		if len(from) == 0 || slices.Contains(from, id) {
			return fmt.Errorf("%w: give the other incidents to be merged into %s", ErrDecision, id)
		}
		for _, f := range from {
			other, err := desk.Get[Incident](tx, kindIncident, f)
			if err != nil {
				return err
			}
			if err := other.open(); err != nil {
				return err
			}
			if i.Alerts, err = join(i.Alerts, other.Alerts, "alerts"); err != nil {
				return err
			}
			if i.Assets, err = join(i.Assets, other.Assets, "assets"); err != nil {
				return err
			}
			if i.Pins, err = join(i.Pins, other.Pins, "pins"); err != nil {
				return err
			}
			if i.Comments = append(i.Comments, other.Comments...); len(i.Comments) > MaxComments {
				return fmt.Errorf("%w: together they have more than %d comments", ErrDecision, MaxComments)
			}
			i.Severity = max(i.Severity, other.Severity)
			other.State, other.MergedInto, other.Closed = closed, i.ID, &by.At
			if err := errors.Join(other.log(by, "merged", "", i.ID), i.log(by, "merged", other.ID, ""), save(tx, &other, by)); err != nil {
				return err
			}
		}
		slices.SortStableFunc(i.Comments, func(a, b Comment) int { return a.At.Compare(b.At) })
		for k := range i.Comments {
			i.Comments[k].ID = k + 1
		}
		return nil
	})
}

// Split moves alerts and assets to a new incident, and returns that.
func (b *Book) Split(ctx context.Context, id, name string, alerts, assets []string, by By) (Incident, error) {
	if len(alerts) == 0 {
		return Incident{}, fmt.Errorf("%w: give the alerts that go to the new incident", ErrDecision)
	}
	old, err := b.Get(ctx, id)
	if err != nil {
		return old, err
	}
	for _, a := range alerts {
		if !slices.Contains(old.Alerts, a) {
			return old, fmt.Errorf("%w: alert %s is not linked to incident %s", ErrDecision, a, id)
		}
	}
	t, _ := typeOf(old.Type)
	fresh := Incident{
		Type: t.Name, State: States[0], SplitFrom: id, Owner: old.Owner, By: by.Name, Created: by.At, Changed: by.At, Revision: 1,
		Alerts: []string{}, Assets: []string{}, Pins: []string{}, Tasks: []Task{}, Comments: []Comment{},
	}
	if fresh.Title, err = title("title", name); err != nil {
		return old, err
	}
	for k, task := range t.Tasks {
		fresh.Tasks = append(fresh.Tasks, Task{ID: k + 1, Phase: task.Phase, Title: task.Text})
	}
	if err := b.link(ctx, &fresh, alerts, assets); err != nil {
		return old, err
	}
	_, err = b.change(ctx, id, old.Revision, by, func(tx *desk.Tx, i *Incident) error {
		if err := i.open(); err != nil {
			return err
		}
		i.Alerts, i.Assets = without(i.Alerts, alerts), without(i.Assets, assets)
		fresh.History = []Change{{At: by.At, By: by.Name, What: "split", From: id}}
		if err := number(tx, &fresh); err != nil {
			return err
		}
		return i.log(by, "split", "", fresh.ID)
	})
	return fresh, err
}
