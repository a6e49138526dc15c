package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

func (c *console) register(api huma.API) {
	get := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary}
	}
	huma.Register(api, get("status", "/api/v1/status", "What is stored, by whom it was seen, and what was lost"), c.status)
	huma.Register(api, get("fields", "/api/v1/fields", "Every field that a query may name"), c.fields)
	huma.Register(api, get("search-alerts", "/api/v1/alerts", "Alerts that match a query"), c.searchAlerts)
	huma.Register(api, get("search-events", "/api/v1/events", "Events that match a query"), c.searchEvents)
	huma.Register(api, get("counts", "/api/v1/counts", "Counts of what matches a query, over time or by a field or both"), c.counts)
	huma.Register(api, get("facets", "/api/v1/facets", "The most frequent values of several fields of what matches a query"), c.facets)
	huma.Register(api, get("get-event", "/api/v1/events/{id}", "One event or alert"), c.event)
	huma.Register(api, get("get-alert", "/api/v1/alerts/{id}", "One alert and the events that are its evidence"), c.alert)
	huma.Register(api, huma.Operation{
		OperationID: "judge-alert", Method: http.MethodPatch, Path: "/api/v1/alerts/{id}",
		Summary: "Acknowledge, judge or reopen an alert", MaxBodyBytes: maxBody,
	}, c.judge)
	c.registerStream(api)
	c.registerTraces(api, get)
}

// Record is an event or an alert, as the contract's JSON.
type Record []byte

func newRecord(e *event.Event) Record { return e.AppendJSON(nil) }

// MarshalJSON implements json.Marshaler.
func (r Record) MarshalJSON() ([]byte, error) { return r, nil }

// Schema implements huma.SchemaProvider.
func (Record) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "An event or alert in nested ECS; /api/v1/fields documents its fields."}
}

// Selection is how every operation says which records it means. Like RecordID
// and TraceSeed it is exported only because huma finds the parameters of
// embedded types by reflection.
type Selection struct {
	Q    string    `query:"q" maxLength:"8192" doc:"Query; empty: everything" example:"source.ip: 10.0.0.0/8 and event.severity >= 60"`
	From time.Time `query:"from" doc:"Earliest time, inclusive"`
	To   time.Time `query:"to" doc:"Latest time, exclusive"`
}

// query reads the text. Its error is for the client.
func (c *console) query(s *Selection, set store.Set) (store.Query, error) {
	q := store.Query{Set: set, From: s.From, To: s.To}
	if strings.TrimSpace(s.Q) == "" {
		return q, nil
	}
	where, err := query.Parse(s.Q, c.Schema, query.Auto)
	if err != nil {
		p := newProblem(http.StatusUnprocessableEntity, err.Error())
		var at *query.Error
		if errors.As(err, &at) {
			p.Column = at.Col
		}
		return q, p
	}
	q.Where = where
	return q, nil
}

// answer makes of an error of the store what the client should see.
func answer(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusServiceUnavailable, "the search took longer than "+maxTime.String()+"; narrow the time or the query")
	}
	return newProblem(http.StatusInternalServerError, err.Error())
}

type body[T any] struct{ Body T }

// each maps a list; the result is never nil, so that JSON has [] and not null.
func each[T, U any](in []T, f func(T) U) []U {
	out := make([]U, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}

type searchInput struct {
	Selection
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Records in this answer"`
	Cursor string `query:"cursor" maxLength:"32" doc:"The next of the answer before"`
	Order  string `query:"order" enum:"asc,desc" default:"desc" doc:"By time: earliest or latest first"`
}

type recordPage struct {
	Items []Record `json:"items" nullable:"false"`
	Next  string   `json:"next,omitempty" doc:"Cursor of the records that follow; absent at the end"`
}

func (c *console) searchAlerts(ctx context.Context, in *searchInput) (*body[recordPage], error) {
	return c.search(ctx, in, store.Alerts)
}

func (c *console) searchEvents(ctx context.Context, in *searchInput) (*body[recordPage], error) {
	return c.search(ctx, in, store.Events)
}

func (c *console) search(ctx context.Context, in *searchInput, set store.Set) (*body[recordPage], error) {
	q, err := c.query(&in.Selection, set)
	if err != nil {
		return nil, err
	}
	q.Limit = in.Limit + 1 // one more tells whether there is a next page
	q.Desc = in.Order == "desc"
	if in.Cursor != "" {
		if q.After, err = event.ParseID(in.Cursor); err != nil {
			return nil, newProblem(http.StatusUnprocessableEntity, "cursor: "+err.Error())
		}
	}
	out := recordPage{Items: []Record{}}
	var last event.ID
	for e, err := range c.Store.Search(ctx, q) {
		if err != nil {
			return nil, answer(err)
		}
		if len(out.Items) == in.Limit {
			out.Next = last.String()
			break
		}
		out.Items = append(out.Items, newRecord(&e))
		last = e.Place()
	}
	return &body[recordPage]{out}, nil
}

// RecordID is the identifier in the path of an operation on one record.
type RecordID struct {
	ID string `path:"id" minLength:"32" maxLength:"32" pattern:"^[0-9a-f]{32}$" doc:"event.id"`
}

func (c *console) get(ctx context.Context, text string) (event.Event, error) {
	id, err := event.ParseID(text)
	if err != nil {
		return event.Event{}, newProblem(http.StatusUnprocessableEntity, err.Error())
	}
	e, err := c.Store.Get(ctx, id)
	return e, answer(err)
}

func (c *console) event(ctx context.Context, in *RecordID) (*body[Record], error) {
	e, err := c.get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &body[Record]{newRecord(&e)}, nil
}

type alertDetail struct {
	Alert    Record   `json:"alert"`
	Evidence []Record `json:"evidence" nullable:"false" doc:"Events that took part, earliest first"`
	Missing  []string `json:"missing" nullable:"false" doc:"Events that took part and are not kept any more"`
}

func (c *console) alert(ctx context.Context, in *RecordID) (*body[alertDetail], error) {
	e, err := c.get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	a, err := event.AlertOf(&e)
	if err != nil {
		return nil, newProblem(http.StatusNotFound, err.Error())
	}
	out := alertDetail{Alert: newRecord(&e), Evidence: []Record{}, Missing: []string{}}
	for _, id := range a.Evidence {
		e, err := c.Store.Get(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			out.Missing = append(out.Missing, id.String())
		case err != nil:
			return nil, answer(err)
		default:
			out.Evidence = append(out.Evidence, newRecord(&e))
		}
	}
	return &body[alertDetail]{out}, nil
}

type fieldDoc struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Help  string `json:"help"`
	Class string `json:"class" doc:"How carefully its values are to be handled"`
}

func (c *console) fields(context.Context, *struct{}) (*body[[]fieldDoc], error) {
	return &body[[]fieldDoc]{each(c.Schema.Fields(), func(d event.FieldDoc) fieldDoc {
		return fieldDoc{d.Name, string(d.Type), d.Help, d.Class.String()}
	})}, nil
}
