package console

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/incident/audit"
)

func (c *Console) registerPeople() {
	handle(c, operation("list-users", "GET", "/users", account.People, "", "Users by name"), c.users)
	add := operation("add-user", "POST", "/users", account.Admin, "user.add", "Make a user")
	add.Errors = append(add.Errors, http.StatusConflict)
	handle(c, add, c.addUser)
	edit := operation("edit-user", "PATCH", "/users/{name}", account.Admin, "user.edit", "Change a user's roles or password, or disable them")
	edit.Errors = append(edit.Errors, http.StatusConflict)
	handle(c, edit, c.editUser)
	handle(c, operation("list-tokens", "GET", "/tokens", signedIn, "", "Tokens, the newest first"), c.tokens)
	handle(c, operation("add-token", "POST", "/tokens", signedIn, "token.add", "Make a token; its secret is shown once"), c.addToken)
	handle(c, operation("revoke-token", "DELETE", "/tokens/{id}", signedIn, "token.revoke", "Revoke a token"), c.revokeToken)
	handle(c, operation("audit", "GET", "/audit", account.Audit, "", "The audit log, the newest first"), c.auditLog)
	handle(c, operation("verify-audit", "GET", "/audit/verify", account.Audit, "audit.verify", "Check that no line of the audit log was changed, removed or put elsewhere"), c.verifyAudit)
}

type items[T any] struct {
	Items []T `json:"items" nullable:"false"`
}

func listOf[T any](list []T, err error) (*body[items[T]], error) {
	if err != nil {
		return nil, err
	}
	if list == nil {
		list = []T{}
	}
	return &body[items[T]]{items[T]{list}}, nil
}

func (c *Console) users(ctx context.Context, _ *struct{}) (*body[items[account.User]], error) {
	return listOf(c.accounts.Users(ctx))
}

type addUserInput struct {
	Body struct {
		Name     string         `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._@-]*$"`
		Display  string         `json:"display,omitempty" maxLength:"100"`
		Roles    []account.Role `json:"roles" nullable:"false" maxItems:"5" enum:"viewer,analyst,responder,auditor,administrator"`
		Password string         `json:"password" minLength:"12" maxLength:"256"`
	}
}

func rolesText(roles []account.Role) string {
	return strings.Join(each(roles, func(r account.Role) string { return string(r) }), " ")
}

func (c *Console) addUser(ctx context.Context, in *addUserInput) (*body[account.User], error) {
	tell(ctx, "name", in.Body.Name)
	tell(ctx, "roles", rolesText(in.Body.Roles))
	u, err := c.accounts.Add(ctx, in.Body.Name, in.Body.Display, in.Body.Roles, in.Body.Password, false)
	return &body[account.User]{u}, err
}

type editUserInput struct {
	Name string `path:"name" maxLength:"64"`
	Body account.UserEdit
}

func (c *Console) editUser(ctx context.Context, in *editUserInput) (*body[account.User], error) {
	if in.Body.Roles != nil {
		tell(ctx, "roles", rolesText(*in.Body.Roles))
	}
	if in.Body.Disabled != nil {
		tell(ctx, "disabled", fmt.Sprint(*in.Body.Disabled))
	}
	if in.Body.Password != nil {
		tell(ctx, "password", "changed")
	}
	u, err := c.accounts.Edit(ctx, in.Name, in.Body)
	return &body[account.User]{u}, err
}

type tokensInput struct {
	All bool `query:"all" doc:"Of everybody; needs the permission people"`
}

func (c *Console) tokens(ctx context.Context, in *tokensInput) (*body[items[account.Token]], error) {
	p := who(ctx)
	name := p.name
	if in.All {
		if !p.may(account.People) {
			return nil, newProblem(http.StatusForbidden, p.name+" lacks the permission people")
		}
		name = ""
	}
	return listOf(c.accounts.Tokens(ctx, name))
}

type addTokenInput struct {
	Body struct {
		Name   string               `json:"name" minLength:"1" maxLength:"100" doc:"To know it by"`
		Scopes []account.Permission `json:"scopes" nullable:"false" minItems:"1" maxItems:"10" enum:"read,payload,triage,case,search,export,respond,audit,people,admin"`
		Days   int                  `json:"days" minimum:"1" maximum:"366" doc:"How long it lasts"`
		User   string               `json:"user,omitempty" maxLength:"64" doc:"Whose; absent: the own. Another's needs the permission admin and a command"`
	}
}

type newToken struct {
	account.Token
	Secret string `json:"secret" doc:"Not kept: it is shown this once"`
}

func (c *Console) addToken(ctx context.Context, in *addTokenInput) (*body[newToken], error) {
	p := who(ctx)
	tell(ctx, "name", in.Body.Name)
	tell(ctx, "scopes", strings.Join(each(in.Body.Scopes, func(s account.Permission) string { return string(s) }), " "))
	user := p.name
	switch {
	case p.via == viaToken:
		return nil, newProblem(http.StatusForbidden, "a token makes no tokens")
	case p.alone:
		return nil, newProblem(http.StatusUnprocessableEntity, "there are no users yet, and a token is a user's: make one with tocsin user add")
	case in.Body.User != "" && in.Body.User != p.name:
		// A token of another is to be that person: only who has the machine may.
		if p.via != viaCommand {
			return nil, newProblem(http.StatusForbidden, "a token of another is made by a command on the server: tocsin token create --user")
		}
		user = in.Body.User
		tell(ctx, "user", user)
	}
	secret, t, err := c.accounts.NewToken(ctx, user, in.Body.Name, in.Body.Scopes, in.Body.Days)
	return &body[newToken]{newToken{t, secret}}, err
}

type tokenInput struct {
	ID string `path:"id" maxLength:"32"`
}

func (c *Console) revokeToken(ctx context.Context, in *tokenInput) (*struct{}, error) {
	p := who(ctx)
	user := p.name
	if p.may(account.Admin) {
		user = ""
	}
	return nil, c.accounts.Revoke(ctx, in.ID, user)
}

type auditInput struct {
	From   time.Time `query:"from"`
	To     time.Time `query:"to"`
	Actor  string    `query:"actor" maxLength:"64"`
	Action string    `query:"action" maxLength:"64" doc:"One, or with a * at its end all that begin so"`
	Limit  int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor uint64    `query:"cursor" doc:"The next of the answer before"`
}

type auditPage struct {
	Items []audit.Entry `json:"items" nullable:"false"`
	Next  uint64        `json:"next,omitempty"`
}

func (c *Console) auditLog(ctx context.Context, in *auditInput) (*body[auditPage], error) {
	prefix, open := strings.CutSuffix(in.Action, "*")
	// A window of the last so many that match: the log is read from its begin.
	var last []audit.Entry
	more := false
	for e, err := range c.Audit.Entries() {
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if in.Cursor > 0 && e.Seq >= in.Cursor {
			break
		}
		if !in.From.IsZero() && e.Time.Before(in.From) || !in.To.IsZero() && !e.Time.Before(in.To) || in.Actor != "" && e.Actor != in.Actor ||
			in.Action != "" && e.Action != in.Action && !(open && strings.HasPrefix(e.Action, prefix)) {
			continue
		}
		if len(last) == 2*in.Limit {
			last = append(last[:0], last[in.Limit:]...)
			more = true
		}
		last = append(last, e)
	}
	if len(last) > in.Limit {
		last, more = last[len(last)-in.Limit:], true
	}
	out := auditPage{Items: make([]audit.Entry, 0, len(last))}
	for i := len(last) - 1; i >= 0; i-- {
		out.Items = append(out.Items, last[i])
	}
	if more {
		out.Next = out.Items[len(out.Items)-1].Seq
	}
	return &body[auditPage]{out}, nil
}

type verifyInput struct {
	Known string `query:"known" maxLength:"64" doc:"The head of an earlier report, which must still be in the log"`
}

type auditReport struct {
	Intact bool `json:"intact"`
	audit.Report
}

func (c *Console) verifyAudit(_ context.Context, in *verifyInput) (*body[auditReport], error) {
	r, err := c.Audit.Verify(in.Known)
	return &body[auditReport]{auditReport{len(r.Problems) == 0, r}}, err
}
