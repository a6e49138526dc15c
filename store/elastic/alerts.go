package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// kept is an alert as the index has it, with what says that nobody has changed
// it since.
type kept struct {
	alert   event.Alert
	seq     json.Number
	term    json.Number
	missing bool
}

// condition lets a write fail if the alert is no longer as it was read.
func (k *kept) condition() (action, condition string) {
	if k.missing {
		return "create", ""
	}
	return "index", `,"if_seq_no":` + k.seq.String() + `,"if_primary_term":` + k.term.String()
}

// alertBatch is how many alerts are read and written at a time.
const alertBatch = 200

// putAlerts joins reports of alerts with those that are kept. Where another
// process has written an alert since it was read, it is read again: joining
// is commutative and idempotent, so that all orders come to the same.
func (s *Store) putAlerts(ctx context.Context, alerts []event.Alert) error {
	reports := map[event.ID]*event.Alert{}
	var ids []event.ID
	for i := range alerts {
		a := alerts[i]
		if have := reports[a.ID]; have != nil {
			have.Merge(&a)
			continue
		}
		reports[a.ID] = &a
		ids = append(ids, a.ID)
	}
	for len(ids) > 0 {
		n := min(len(ids), alertBatch)
		if err := s.change(ctx, forever, ids[:n], func(k *kept, id event.ID) bool {
			if k.missing {
				k.alert = *reports[id]
				return true
			}
			before := s.alertJSON(&k.alert)
			k.alert.Merge(reports[id])
			return string(before) != string(s.alertJSON(&k.alert))
		}); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, id event.ID, t event.Triage) error {
	missing := false
	err := s.change(ctx, time.Now().Add(s.cfg.Patience), []event.ID{id}, func(k *kept, _ event.ID) bool {
		if missing = k.missing; missing {
			return false
		}
		k.alert.Triage = t
		return true
	})
	if err == nil && missing {
		err = fmt.Errorf("alert %s: %w", id, store.ErrNotFound)
	}
	return s.wrap("update", err)
}

// change reads alerts, changes them, and writes those for which fn returns
// true, again as long as other processes come between.
func (s *Store) change(ctx context.Context, until time.Time, ids []event.ID, fn func(k *kept, id event.ID) bool) error {
	for attempt := 0; len(ids) > 0; attempt++ {
		if attempt > 0 {
			if err := pause(ctx, attempt-1); err != nil {
				return err
			}
		}
		now, err := s.alerts(ctx, until, ids)
		if err != nil {
			return err
		}
		again, err := s.write(ctx, ids, now, fn)
		if err != nil {
			return err
		}
		ids = again
	}
	return nil
}

// write writes what fn changes, and returns what another process has changed
// meanwhile.
func (s *Store) write(ctx context.Context, ids []event.ID, now []kept, fn func(*kept, event.ID) bool) (again []event.ID, err error) {
	b, release, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	for i, id := range ids {
		k := &now[i]
		if !fn(k, id) {
			continue
		}
		action, condition := k.condition()
		b.add(action, s.alertIndex(id), id, condition, func(to []byte) []byte { return append(to, s.alertJSON(&k.alert)...) })
	}
	err = s.send(ctx, b, func(d document, r result) error {
		switch {
		case r.status/100 == 2:
			s.stats.alerts.Add(1)
		case r.status == http.StatusConflict:
			s.stats.conflicts.Add(1)
			again = append(again, d.id)
		default:
			return errRefused
		}
		return nil
	})
	return again, err
}

// alertJSON is an alert's document.
func (s *Store) alertJSON(a *event.Alert) []byte {
	e := a.Event()
	e.Set(placeField, event.Str(e.Place().String()))
	return e.AppendJSON(nil)
}

// found is a document that was asked for by its identifier, or searched.
type found struct {
	Index  string          `json:"_index"`
	Found  bool            `json:"found"`
	Seq    json.Number     `json:"_seq_no"`
	Term   json.Number     `json:"_primary_term"`
	Source json.RawMessage `json:"_source"`
	Sort   json.RawMessage `json:"sort"`
	Error  *cause          `json:"error"`
}

// documents gets documents by identifier, in any index, as they are now.
func (s *Store) documents(ctx context.Context, until time.Time, indices []string, ids []event.ID) ([]found, error) {
	type key struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	var body struct {
		Docs []key `json:"docs"`
	}
	for i, id := range ids {
		body.Docs = append(body.Docs, key{indices[i], id.String()})
	}
	for n := 0; ; n++ {
		var answer struct {
			Docs []found `json:"docs"`
		}
		if err := s.askUntil(ctx, until, http.MethodPost, "/_mget", nil, body, &answer); err != nil {
			return nil, err
		}
		if len(answer.Docs) != len(ids) {
			return nil, fmt.Errorf("asked for %d documents, %d answered", len(ids), len(answer.Docs))
		}
		i := slices.IndexFunc(answer.Docs, func(d found) bool { return d.Error != nil && d.Error.Type != "index_not_found_exception" })
		if i < 0 {
			return answer.Docs, nil
		}
		// A shard that has not come back yet, for example.
		e := answer.Docs[i].Error
		if until != forever && time.Now().After(until) {
			return nil, &fault{Status: http.StatusServiceUnavailable, Type: e.Type, Reason: e.String()}
		}
		if err := pause(ctx, n); err != nil {
			return nil, fmt.Errorf("%w: %s: %s", err, e.Type, e.String())
		}
	}
}

// alerts reads alerts as they are now, whether searches see them yet or not.
func (s *Store) alerts(ctx context.Context, until time.Time, ids []event.ID) ([]kept, error) {
	indices := make([]string, len(ids))
	for i, id := range ids {
		indices[i] = s.alertIndex(id)
	}
	docs, err := s.documents(ctx, until, indices, ids)
	if err != nil {
		return nil, err
	}
	alerts := make([]kept, len(ids))
	for i, d := range docs {
		k := &alerts[i]
		if k.missing = !d.Found; k.missing {
			continue
		}
		var e event.Event
		if err := s.decode(d.Source, &e); err != nil {
			return nil, err
		}
		if k.alert, err = event.AlertOf(&e); err != nil {
			return nil, err
		}
		k.seq, k.term = d.Seq, d.Term
	}
	return alerts, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, id event.ID) (e event.Event, err error) {
	docs, err := s.documents(ctx, time.Now().Add(s.cfg.Patience), []string{s.eventIndex(id), s.alertIndex(id)}, []event.ID{id, id})
	if err != nil {
		return e, s.wrap("get", err)
	}
	for _, d := range docs {
		if d.Found {
			err = s.decode(d.Source, &e)
			return e, s.wrap("get", err)
		}
	}
	return e, s.wrap("get", fmt.Errorf("%s: %w", id, store.ErrNotFound))
}

// decode reads a document.
func (s *Store) decode(source []byte, e *event.Event) error {
	if len(source) == 0 {
		return errors.New("a document without _source: was its index made by Tocsin's template?")
	}
	if err := s.cfg.Schema.Decode(source, e); err != nil {
		return err
	}
	for i := range e.Fields {
		if e.Fields[i].Name == placeField {
			e.Fields = append(e.Fields[:i], e.Fields[i+1:]...)
			break
		}
	}
	return nil
}
