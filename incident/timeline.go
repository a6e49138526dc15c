package incident

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// Moment is a line of the timeline, which mixes what the sensors saw with what
// people wrote and did.
type Moment struct {
	Time     time.Time
	Kind     string // alert, event, comment, change, task
	By       string
	ID       string // of the alert or event
	Text     string
	Severity int
	Event    *event.Event // of an alert or event
}

// Timeline returns an incident's moments by time, and the IDs of alerts and
// events that are not kept any more.
func (b *Book) Timeline(ctx context.Context, i *Incident) (list []Moment, missing []string, err error) {
	missing = []string{}
	add := func(text, kind string) error {
		id, err := event.ParseID(text)
		if err != nil {
			return err
		}
		e, err := b.Store.Get(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			missing = append(missing, text)
			return nil
		}
		if err != nil {
			return err
		}
		if e.Kind == event.KindAlert {
			kind = "alert"
		}
		m := Moment{Time: e.Time, Kind: kind, ID: text, Text: string(e.Kind), Event: &e}
		if a, err := event.AlertOf(&e); err == nil {
			m.Text, m.Severity = a.Message, a.Severity
		}
		list = append(list, m)
		return nil
	}
	for _, id := range i.Alerts {
		if err := add(id, "alert"); err != nil {
			return nil, nil, err
		}
	}
	for _, id := range i.Pins {
		if !slices.Contains(i.Alerts, id) {
			if err := add(id, "event"); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, c := range i.Comments {
		list = append(list, Moment{Time: c.At, Kind: "comment", By: c.By, Text: c.Text})
	}
	for _, c := range i.History {
		kind := "change"
		if c.What == "task" {
			kind = "task"
		}
		text := c.What
		switch {
		case c.From != "" && c.To != "":
			text += ": " + c.From + " → " + c.To
		case c.From+c.To != "":
			text += ": " + c.From + c.To
		}
		list = append(list, Moment{Time: c.At, Kind: kind, By: c.By, Text: text})
	}
	slices.SortStableFunc(list, func(a, b Moment) int { return a.Time.Compare(b.Time) })
	return list, missing, nil
}
