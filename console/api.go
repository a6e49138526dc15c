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

func (c *Console) register(api huma.API) {
	c.registerSession()
	c.registerPeople()
	c.registerAlerts()
	c.registerTriage()
	c.registerStream(api)
	c.registerEvents()
	c.registerSituation()
	c.registerIncidents()
	c.registerSearches()
	c.registerKnowledge()
	c.registerTraces()
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
func (c *Console) query(s *Selection, set store.Set) (store.Query, error) {
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

// answer makes of an error of the parts behind what the client should see.
func answer(err error) error {
	var p *problem
	var h huma.HeadersError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p), errors.As(err, &h):
		return err
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusServiceUnavailable, "the search took longer than "+maxTime.String()+"; narrow the time or the query")
	case errors.Is(err, context.Canceled):
		return newProblem(statusGone, "the client has gone")
	}
	if status := domainStatus(err); status != 0 {
		return newProblem(status, err.Error())
	}
	return newProblem(http.StatusInternalServerError, err.Error())
}

// statusGone is what servers note for a client that did not wait (nginx: 499).
const statusGone = 499

type body[T any] struct{ Body T }

// each maps a list; the result is never nil, so that JSON has [] and not null.
func each[T, U any](in []T, f func(T) U) []U {
	out := make([]U, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}

// SearchPage says which page of what matches.
type SearchPage struct {
	Selection
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Records in this answer"`
	Cursor string `query:"cursor" maxLength:"32" doc:"The next of the answer before"`
	Order  string `query:"order" enum:"asc,desc" default:"desc" doc:"By time: earliest or latest first"`
}

type recordPage struct {
	Items []Record `json:"items" nullable:"false"`
	Next  string   `json:"next,omitempty" doc:"Cursor of the records that follow; absent at the end"`
}

// page answers a search.
func (c *Console) page(ctx context.Context, in *SearchPage, q store.Query) (_ *body[recordPage], err error) {
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

func (c *Console) get(ctx context.Context, text string) (event.Event, error) {
	id, err := event.ParseID(text)
	if err != nil {
		return event.Event{}, newProblem(http.StatusUnprocessableEntity, err.Error())
	}
	e, err := c.Store.Get(ctx, id)
	return e, answer(err)
}
