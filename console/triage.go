package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store/query"
)

func (c *Console) registerTriage() {
	handle(c, operation("judge-alert", "PATCH", "/alerts/{id}", account.Triage, "alert.judge", "Acknowledge, judge, assign or reopen an alert"), c.judge)
	handle(c, operation("triage", "POST", "/triage", account.Triage, "alert.judge", "Judge many alerts at once; it can be undone"), c.triage)
	handle(c, operation("list-actions", "GET", "/triage", account.Read, "", "What was judged, the newest first"), c.actions)
	handle(c, operation("undo", "POST", "/triage/{action}/undo", account.Triage, "alert.undo", "Undo what was judged"), c.undo)
	handle(c, operation("list-suppressions", "GET", "/suppressions", account.Read, "", "What is not shown, why, and for how long"), c.suppressions)
	handle(c, operation("suppress", "POST", "/suppressions", account.Triage, "alert.suppress", "Keep alerts that match a query out of sight until some time"), c.suppress)
	handle(c, operation("end-suppression", "DELETE", "/suppressions/{id}", account.Triage, "alert.show", "End a suppression"), c.endSuppression)
}

func tellDecision(ctx context.Context, d incident.Decision) {
	for key, v := range map[string]*string{"status": d.Status, "verdict": d.Verdict, "reason": d.Reason, "assignee": d.Assignee} {
		if v != nil {
			tell(ctx, key, cmp.Or(*v, "(none)"))
		}
	}
}

type judgeInput struct {
	RecordID
	Body incident.Decision
}

func (c *Console) judge(ctx context.Context, in *judgeInput) (*body[Record], error) {
	tellDecision(ctx, in.Body)
	id, err := event.ParseID(in.ID)
	if err != nil {
		return nil, newProblem(http.StatusUnprocessableEntity, err.Error())
	}
	now := by(ctx)
	a, err := incident.Judge(ctx, c.Store, id, in.Body, now.Name, now.At)
	if err != nil {
		return nil, err
	}
	c.hub.judged([]event.Alert{a})
	e := a.Event()
	return &body[Record]{newRecord(&e)}, nil
}

type triageInput struct {
	Body struct {
		IDs       []string `json:"ids,omitempty" maxItems:"10000" doc:"event.id of each alert"`
		Selection *struct {
			Q    string    `json:"q,omitempty" maxLength:"8192"`
			From time.Time `json:"from,omitempty"`
			To   time.Time `json:"to,omitempty"`
		} `json:"selection,omitempty" doc:"Or all that are in sight and match; there must be at most 10000"`
		Decision incident.Decision `json:"decision"`
	}
}

func (c *Console) triage(ctx context.Context, in *triageInput) (*body[incident.Action], error) {
	tellDecision(ctx, in.Body.Decision)
	var ids []event.ID
	switch s := in.Body.Selection; {
	case (s != nil) == (len(in.Body.IDs) > 0):
		return nil, newProblem(http.StatusUnprocessableEntity, "want either ids or a selection")
	case s != nil:
		tell(ctx, "q", s.Q)
		q, _, err := c.alertQuery(ctx, &Selection{Q: s.Q, From: s.From, To: s.To}, Sighting{})
		if err != nil {
			return nil, err
		}
		q.Limit = incident.MaxBulk + 1
		for e, err := range c.Store.Search(ctx, q) {
			if err != nil {
				return nil, err
			}
			ids = append(ids, e.ID)
		}
	default:
		for _, text := range in.Body.IDs {
			id, err := event.ParseID(text)
			if err != nil {
				return nil, newProblem(http.StatusUnprocessableEntity, err.Error())
			}
			ids = append(ids, id)
		}
		slices.SortFunc(ids, event.ID.Compare)
		ids = slices.Compact(ids)
	}
	if len(ids) == 1 {
		tell(ctx, "alert", ids[0].String())
	}
	now := by(ctx)
	act, changed, err := incident.Triage(ctx, c.Store, c.Desk, ids, in.Body.Decision, now.Name, now.At)
	c.hub.judged(changed)
	tell(ctx, "action", act.ID)
	tell(ctx, "changed", strconv.Itoa(act.Changed))
	return &body[incident.Action]{act}, err
}

type actionsInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"20"`
}

func (c *Console) actions(ctx context.Context, in *actionsInput) (*body[items[incident.Action]], error) {
	return listOf(incident.Actions(ctx, c.Desk, in.Limit))
}

type undoInput struct {
	Action string `path:"action" maxLength:"32"`
}

type undone struct {
	Restored int      `json:"restored"`
	Kept     []string `json:"kept" nullable:"false" doc:"Alerts that were judged anew since, and stay so"`
}

func (c *Console) undo(ctx context.Context, in *undoInput) (*body[undone], error) {
	restored, kept, err := incident.Undo(ctx, c.Store, c.Desk, in.Action)
	c.hub.judged(restored)
	tell(ctx, "restored", strconv.Itoa(len(restored)))
	return &body[undone]{undone{len(restored), kept}}, err
}

type suppression struct {
	incident.Suppression
	Expired bool       `json:"expired"`
	Hits    uint64     `json:"hits" doc:"Stored alerts that match; in an alert's detail 0"`
	LastHit *time.Time `json:"last_hit,omitempty"`
}

func (c *Console) suppressions(ctx context.Context, _ *struct{}) (*body[items[suppression]], error) {
	list, err := incident.Suppressions(ctx, c.Desk)
	out := []suppression{}
	for _, s := range list {
		x := suppression{Suppression: s, Expired: s.Expired(time.Now())}
		n, last, err := s.Hits(ctx, c.Store, c.Schema)
		if err != nil {
			return nil, err
		}
		if x.Hits = n; n > 0 {
			x.LastHit = &last
		}
		out = append(out, x)
	}
	return listOf(out, err)
}

type suppressInput struct {
	Body struct {
		Q       string    `json:"q,omitempty" maxLength:"8192" doc:"Which alerts"`
		Alert   string    `json:"alert,omitempty" maxLength:"32" doc:"Or those that are like this one (event.id) …"`
		Scope   string    `json:"scope,omitempty" enum:"rule,rule_source,rule_target,rule_source_target" doc:"… in this"`
		Reason  string    `json:"reason" minLength:"1" maxLength:"4096"`
		Expires time.Time `json:"expires" doc:"Within a year"`
	}
}

func (c *Console) suppress(ctx context.Context, in *suppressInput) (*body[suppression], error) {
	now := by(ctx)
	s := incident.Suppression{Reason: in.Body.Reason, By: now.Name, At: now.At, Expires: in.Body.Expires.UTC()}
	var where query.Node
	switch {
	case (in.Body.Alert != "") == (strings.TrimSpace(in.Body.Q) != ""):
		return nil, newProblem(http.StatusUnprocessableEntity, "want either q, or alert and scope")
	case in.Body.Alert != "":
		e, err := c.get(ctx, in.Body.Alert)
		if err != nil {
			return nil, err
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return nil, newProblem(http.StatusUnprocessableEntity, err.Error())
		}
		if where, err = incident.Like(&a, in.Body.Scope); err != nil {
			return nil, err
		}
	default:
		q, err := c.query(&Selection{Q: in.Body.Q}, 0)
		if err != nil {
			return nil, err
		}
		where = q.Where
	}
	s.Q = query.String(where)
	tell(ctx, "q", s.Q)
	tell(ctx, "reason", s.Reason)
	tell(ctx, "expires", s.Expires.Format(time.RFC3339))
	if _, err := query.Parse(s.Q, c.Schema, query.KQL); err != nil {
		return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("the query cannot be kept as KQL: %v", err))
	}
	s, err := incident.Suppress(ctx, c.Desk, s)
	if err != nil {
		return nil, err
	}
	c.hub.touch()
	out := suppression{Suppression: s}
	n, last, err := s.Hits(ctx, c.Store, c.Schema)
	if out.Hits = n; n > 0 {
		out.LastHit = &last
	}
	return &body[suppression]{out}, err
}

type suppressionID struct {
	ID string `path:"id" maxLength:"32"`
}

func (c *Console) endSuppression(ctx context.Context, in *suppressionID) (*struct{}, error) {
	s, err := incident.EndSuppression(ctx, c.Desk, in.ID)
	tell(ctx, "q", s.Q)
	c.hub.touch()
	return nil, err
}
