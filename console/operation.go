package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/incident/audit"
	"github.com/tocsin/tocsin/incident/desk"
)

// What an operation needs beside account's permissions.
const (
	anybody  account.Permission = "anybody"
	signedIn account.Permission = "session" // whoever is known, with whatever permissions
)

// Keys of an operation's metadata.
const (
	needsKey  = "needs"
	actionKey = "action"
)

// operation describes one: its method and path below /api/v1, what it needs,
// and the action that it is in the audit log; empty: it is not in it.
func operation(id, method, path string, needs account.Permission, action, summary string) huma.Operation {
	o := huma.Operation{
		OperationID: id, Method: method, Path: prefix + path, Summary: summary, MaxBodyBytes: maxBody,
		Metadata: map[string]any{needsKey: needs, actionKey: action},
	}
	switch needs {
	case anybody:
	case signedIn:
		o.Description = "Needs a session or a token."
	default:
		o.Description = "Needs the permission " + string(needs) + "."
	}
	if needs != anybody {
		o.Security = []map[string][]string{{"session": {}}, {"token": {}}}
		o.Errors = []int{http.StatusUnauthorized, http.StatusForbidden}
	}
	o.Errors = append(o.Errors, http.StatusUnprocessableEntity, http.StatusTooManyRequests)
	if strings.Contains(path, "{") {
		o.Errors = append(o.Errors, http.StatusNotFound)
	}
	return o
}

const prefix = "/api/v1"

// handle registers an operation. What it did, or did not, is in the audit log
// before the client learns of it.
func handle[I, O any](c *Console, o huma.Operation, fn func(context.Context, *I) (*O, error)) {
	if needs, ok := o.Metadata[needsKey].(account.Permission); !ok || needs == "" {
		panic("console: operation " + o.OperationID + " does not say what it needs")
	}
	action, _ := o.Metadata[actionKey].(string)
	huma.Register(c.api, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if action == "" {
			return out, answer(err)
		}
		outcome := "ok"
		var p *problem
		switch err = answer(err); {
		case errors.As(err, &p) && p.Status < http.StatusInternalServerError:
			outcome = "refused"
		case err != nil:
			outcome = "failed"
		}
		if logged := c.log(ctx, action, outcome); logged != nil {
			c.Log.Error("console: the audit log cannot be written", "error", logged)
			return nil, newProblem(http.StatusInternalServerError, "the audit log cannot be written; what was asked for may have been done")
		}
		return out, err
	})
}

// note is what is known of an action while it goes on.
type note struct {
	target string
	actor  string // where it is not who asks, as at a sign-in
	detail map[string]string
}

type noteKey struct{}

// tell adds to the audit entry of the operation that goes on.
func tell(ctx context.Context, key, value string) {
	if n, ok := ctx.Value(noteKey{}).(*note); ok && value != "" {
		n.detail[key] = value
	}
}

func (c *Console) log(ctx context.Context, action, outcome string) error {
	p := who(ctx)
	e := audit.Entry{Time: time.Now(), Actor: p.name, Via: p.via, From: p.from, Action: action, Outcome: outcome}
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		e.Target, e.Detail = n.target, n.detail
		if n.actor != "" {
			e.Actor = n.actor
		}
	}
	return c.Audit.Append(e)
}

// permit lets through who has the permission that an operation needs.
func (c *Console) permit(h huma.Context, next func(huma.Context)) {
	needs, _ := h.Operation().Metadata[needsKey].(account.Permission)
	u := h.URL()
	h = huma.WithValue(h, noteKey{}, &note{target: strings.TrimPrefix(u.Path, prefix+"/"), detail: map[string]string{}})
	p := who(h.Context())
	switch {
	case needs == anybody:
	case p.name == "":
		h.SetHeader("WWW-Authenticate", `Bearer realm="tocsin"`)
		refuse(h, newProblem(http.StatusUnauthorized, "sign in, or send a token"))
		return
	case needs == signedIn || p.may(needs):
	default:
		action, _ := h.Operation().Metadata[actionKey].(string)
		if action == "" {
			action = h.Operation().OperationID
		}
		if err := c.log(h.Context(), action, "refused"); err != nil {
			c.Log.Error("console: the audit log cannot be written", "error", err)
		}
		refuse(h, newProblem(http.StatusForbidden, p.name+" lacks the permission "+string(needs)))
		return
	}
	next(h)
}

func refuse(h huma.Context, p *problem) {
	h.SetHeader("Content-Type", "application/problem+json")
	h.SetStatus(p.Status)
	// An error here means that the client is gone.
	_ = json.NewEncoder(h.BodyWriter()).Encode(p)
}

// domainStatus is the status of errors that the parts behind the console return.
func domainStatus(err error) int {
	switch {
	case errors.Is(err, incident.ErrDecision), errors.Is(err, account.ErrInvalid):
		return http.StatusUnprocessableEntity
	case errors.Is(err, desk.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, incident.ErrNotYours):
		return http.StatusForbidden
	case errors.Is(err, incident.ErrStale), errors.Is(err, account.ErrExists), errors.Is(err, account.ErrLast):
		return http.StatusConflict
	case errors.Is(err, account.ErrWrong):
		return http.StatusUnauthorized
	}
	return 0
}
