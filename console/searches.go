package console

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store/query"
)

func (c *Console) registerSearches() {
	handle(c, operation("list-searches", "GET", "/searches", account.Read, "", "Saved searches: the own, and those that are shared"), c.searches)
	handle(c, operation("save-search", "POST", "/searches", account.Search, "search.save", "Save a search"), c.saveSearch)
	handle(c, operation("edit-search", "PATCH", "/searches/{id}", account.Search, "search.save", "Change an own search"), c.editSearch)
	handle(c, operation("delete-search", "DELETE", "/searches/{id}", account.Search, "search.delete", "Forget an own search"), c.deleteSearch)
	handle(c, operation("rule-of-search", "POST", "/searches/rule", account.Search, "", "A Sigma rule that matches what a query matches"), c.ruleOfSearch)
}

func (c *Console) searches(ctx context.Context, _ *struct{}) (*body[items[incident.Search]], error) {
	return listOf(incident.Searches(ctx, c.Desk, who(ctx).name))
}

type saveSearchInput struct {
	Body struct {
		Name    string   `json:"name" minLength:"1" maxLength:"200"`
		Q       string   `json:"q" maxLength:"8192"`
		Set     string   `json:"set" enum:"alerts,events"`
		Last    string   `json:"last,omitempty" maxLength:"32"`
		Columns []string `json:"columns,omitempty" maxItems:"64"`
		Shared  bool     `json:"shared,omitempty"`
	}
}

func (c *Console) saveSearch(ctx context.Context, in *saveSearchInput) (*body[incident.Search], error) {
	b := in.Body
	return c.keepSearch(ctx, incident.Search{Name: b.Name, Q: b.Q, Set: b.Set, Last: b.Last, Columns: b.Columns, Shared: b.Shared})
}

func (c *Console) keepSearch(ctx context.Context, s incident.Search) (*body[incident.Search], error) {
	tell(ctx, "name", s.Name)
	tell(ctx, "q", s.Q)
	if _, err := c.query(&Selection{Q: s.Q}, sets[s.Set]); err != nil {
		return nil, err
	}
	s.By, s.Changed = who(ctx).name, time.Now().UTC().Truncate(time.Millisecond)
	s, err := incident.SaveSearch(ctx, c.Desk, s)
	return &body[incident.Search]{s}, err
}

type searchID struct {
	ID string `path:"id" maxLength:"32"`
}

type editSearchInput struct {
	ID   string `path:"id" maxLength:"32"`
	Body struct {
		Name    *string   `json:"name,omitempty" minLength:"1" maxLength:"200"`
		Q       *string   `json:"q,omitempty" maxLength:"8192"`
		Set     *string   `json:"set,omitempty" enum:"alerts,events"`
		Last    *string   `json:"last,omitempty" maxLength:"32"`
		Columns *[]string `json:"columns,omitempty" maxItems:"64"`
		Shared  *bool     `json:"shared,omitempty"`
	}
}

func change[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (c *Console) editSearch(ctx context.Context, in *editSearchInput) (*body[incident.Search], error) {
	s, err := incident.GetSearch(ctx, c.Desk, in.ID, who(ctx).name)
	if err != nil {
		return nil, err
	}
	b := in.Body
	change(&s.Name, b.Name)
	change(&s.Q, b.Q)
	change(&s.Set, b.Set)
	change(&s.Last, b.Last)
	change(&s.Columns, b.Columns)
	change(&s.Shared, b.Shared)
	return c.keepSearch(ctx, s)
}

func (c *Console) deleteSearch(ctx context.Context, in *searchID) (*struct{}, error) {
	return nil, incident.DeleteSearch(ctx, c.Desk, in.ID, who(ctx).name)
}

type ruleInput struct {
	Body struct {
		Q     string `json:"q" minLength:"1" maxLength:"8192"`
		Title string `json:"title" minLength:"1" maxLength:"200"`
		Level string `json:"level,omitempty" enum:"informational,low,medium,high,critical" default:"medium"`
	}
}

type ruleBody struct {
	YAML    string   `json:"yaml" doc:"Goes into a file below a folder that --rules names"`
	LeftOut []string `json:"left_out" nullable:"false" doc:"What the rule cannot say, or says otherwise"`
}

func (c *Console) ruleOfSearch(ctx context.Context, in *ruleInput) (*body[ruleBody], error) {
	q, err := c.query(&Selection{Q: in.Body.Q}, 0)
	if err != nil {
		return nil, err
	}
	text, left, err := sigmaOf(q.Where, in.Body.Title, in.Body.Level, who(ctx).name, time.Now().UTC())
	var no errNoRule
	if errors.As(err, &no) {
		return nil, newProblem(422, no.Error()+"; the query is "+query.String(q.Where))
	}
	return &body[ruleBody]{ruleBody{text, left}}, err
}
