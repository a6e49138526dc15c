package console

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin/tocsin/console/account"
)

const (
	sessionPath  = prefix + "/session"
	callbackPath = sessionPath + "/oidc/callback"
)

type person struct {
	Name        string               `json:"name"`
	Display     string               `json:"display,omitempty"`
	Roles       []account.Role       `json:"roles" nullable:"false"`
	Permissions []account.Permission `json:"permissions" nullable:"false"`
}

type sessionBody struct {
	Mode     string     `json:"mode" enum:"local,sign-in" doc:"local: there are no users, and whoever reaches this address is the operator"`
	User     *person    `json:"user,omitempty" doc:"Absent: nobody has signed in"`
	CSRF     string     `json:"csrf,omitempty" doc:"To be sent as X-Tocsin-CSRF with every request that is not GET"`
	Expires  *time.Time `json:"expires,omitempty"`
	Ways     []string   `json:"ways" nullable:"false" doc:"How to sign in: password, oidc"`
	OIDCName string     `json:"oidc_name,omitempty" doc:"What the identity provider is called"`
	Setup    bool       `json:"setup" doc:"There is no user yet, and the code that the server printed makes the first"`
	Version  string     `json:"version"`
}

type sessionOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      sessionBody
}

type passwordInput struct {
	Body struct {
		Name     string `json:"name" minLength:"1" maxLength:"64"`
		Password string `json:"password" minLength:"1" maxLength:"256"`
	}
}

type setupInput struct {
	Body struct {
		Code     string `json:"code" minLength:"1" maxLength:"64"`
		Name     string `json:"name" minLength:"1" maxLength:"64"`
		Password string `json:"password" minLength:"12" maxLength:"256"`
	}
}

type newPasswordInput struct {
	Body struct {
		Old string `json:"old" maxLength:"256"`
		New string `json:"new" minLength:"12" maxLength:"256"`
	}
}

type redirect struct {
	Status    int
	Location  string        `header:"Location"`
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

func (c *Console) registerSession() {
	handle(c, operation("get-session", "GET", "/session", anybody, "", "Who is asking, and how to sign in"), c.session)
	handle(c, operation("sign-in", "POST", "/session", anybody, "session.begin", "Sign in with a name and a password"), c.signIn)
	handle(c, operation("sign-out", "DELETE", "/session", signedIn, "session.end", "Sign out"), c.signOut)
	handle(c, operation("setup", "POST", "/session/setup", anybody, "user.setup", "Make the first administrator, with the code that the server printed"), c.setup)
	handle(c, operation("change-password", "PUT", "/session/password", signedIn, "user.password", "Change the own password"), c.changePassword)
	to := operation("oidc", "GET", "/session/oidc", anybody, "", "Go to the identity provider to sign in")
	back := operation("oidc-callback", "GET", "/session/oidc/callback", anybody, "session.begin", "Come back from the identity provider")
	for _, o := range []*huma.Operation{&to, &back} {
		o.DefaultStatus = http.StatusSeeOther
	}
	handle(c, to, c.toProvider)
	handle(c, back, c.fromProvider)
}

func (c *Console) session(ctx context.Context, _ *struct{}) (*sessionOutput, error) {
	p := who(ctx)
	any, err := c.accounts.Any(ctx)
	if err != nil {
		return nil, err
	}
	out := sessionBody{Mode: "sign-in", Ways: []string{}, Version: c.Version, Setup: !any && !p.alone && c.SetupCode != ""}
	if p.alone {
		out.Mode = "local"
	} else {
		out.Ways = append(out.Ways, "password")
	}
	if c.Provider != nil {
		out.Ways = append(out.Ways, "oidc")
		out.OIDCName = c.Provider.Name()
	}
	if p.name != "" {
		out.User = &person{p.name, p.display, p.roles, p.permissions}
	}
	if p.session != nil {
		out.CSRF, out.Expires = p.session.CSRF, &p.session.Expires
	}
	return &sessionOutput{Body: out}, nil
}

// cookie is what a browser is given; an empty secret takes it back. Strict: it
// comes with no request that another site's page has made.
func (c *Console) cookie(secret string) http.Cookie {
	k := http.Cookie{Name: cookieName(c.Secure), Value: secret, Path: "/", HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteStrictMode}
	if secret == "" {
		k.MaxAge = -1
	}
	return k
}

func (c *Console) begun(secret string, s account.Session, u account.User) *sessionOutput {
	out := sessionBody{
		Mode: "sign-in", Ways: []string{"password"}, Version: c.Version, CSRF: s.CSRF, Expires: &s.Expires,
		User: &person{u.Name, u.Display, u.Roles, account.Grants(u.Roles)},
	}
	if c.Provider != nil {
		out.Ways, out.OIDCName = append(out.Ways, "oidc"), c.Provider.Name()
	}
	return &sessionOutput{[]http.Cookie{c.cookie(secret)}, out}
}

func (c *Console) signIn(ctx context.Context, in *passwordInput) (*sessionOutput, error) {
	actor(ctx, in.Body.Name)
	secret, s, u, err := c.accounts.SignIn(ctx, in.Body.Name, in.Body.Password, who(ctx).from)
	if err != nil {
		return nil, slow(err)
	}
	return c.begun(secret, s, u), nil
}

// actor says in the audit log who is signing in.
func actor(ctx context.Context, name string) {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		n.actor = strings.ToLower(strings.TrimSpace(name))
	}
}

// slow makes of too many failed sign-ins what tells the client when to come back.
func slow(err error) error {
	var s *account.SlowError
	if errors.As(err, &s) {
		after := strconv.Itoa(int(s.After/time.Second) + 1)
		return huma.ErrorWithHeaders(newProblem(http.StatusTooManyRequests, s.Error()), http.Header{"Retry-After": {after}})
	}
	return err
}

type signedOut struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

func (c *Console) signOut(ctx context.Context, _ *struct{}) (*signedOut, error) {
	if s := who(ctx).session; s != nil {
		if err := c.accounts.SignOut(ctx, *s); err != nil {
			return nil, err
		}
	}
	return &signedOut{[]http.Cookie{c.cookie("")}}, nil
}

func (c *Console) setup(ctx context.Context, in *setupInput) (*sessionOutput, error) {
	actor(ctx, in.Body.Name)
	if c.SetupCode == "" || subtle.ConstantTimeCompare([]byte(in.Body.Code), []byte(c.SetupCode)) != 1 {
		return nil, newProblem(http.StatusForbidden, "the code is not the one that this server printed when it started")
	}
	if _, err := c.accounts.Add(ctx, in.Body.Name, "", []account.Role{account.Administrator}, in.Body.Password, true); err != nil {
		return nil, err
	}
	secret, s, u, err := c.accounts.SignIn(ctx, in.Body.Name, in.Body.Password, who(ctx).from)
	if err != nil {
		return nil, slow(err)
	}
	return c.begun(secret, s, u), nil
}

func (c *Console) changePassword(ctx context.Context, in *newPasswordInput) (*signedOut, error) {
	p := who(ctx)
	if p.session == nil {
		return nil, newProblem(http.StatusForbidden, "only who has signed in with a browser changes the own password")
	}
	if err := c.accounts.ChangePassword(ctx, p.name, p.from, in.Body.Old, in.Body.New); err != nil {
		return nil, slow(err)
	}
	return &signedOut{[]http.Cookie{c.cookie("")}}, nil
}

// flightName is the cookie that a browser carries to the identity provider and
// back. It is not Strict: the way back begins at another site.
const flightName = "tocsin-oidc"

func (c *Console) flight(value string) http.Cookie {
	k := http.Cookie{Name: flightName, Value: value, Path: sessionPath, HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode, MaxAge: 600}
	if value == "" {
		k.MaxAge = -1
	}
	return k
}

type toProviderInput struct {
	Return string `query:"return" maxLength:"2048" doc:"Where on the page to go afterwards, beginning with /"`
}

func (c *Console) toProvider(ctx context.Context, in *toProviderInput) (*redirect, error) {
	if c.Provider == nil {
		return nil, newProblem(http.StatusNotFound, "there is no identity provider; see tocsin serve --help")
	}
	to, flight, err := c.Provider.Begin(ctx, ours(in.Return))
	if err != nil {
		c.Log.Error("console: identity provider", "error", err)
		return nil, newProblem(http.StatusBadGateway, "the identity provider does not answer")
	}
	return &redirect{http.StatusSeeOther, to, []http.Cookie{c.flight(flight)}}, nil
}

// ours is a place on our own page; anything else is its start.
func ours(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

type fromProviderInput struct {
	Code   string      `query:"code" maxLength:"4096"`
	State  string      `query:"state" maxLength:"256"`
	Error  string      `query:"error" maxLength:"256"`
	Flight http.Cookie `cookie:"tocsin-oidc"`
}

func (c *Console) fromProvider(ctx context.Context, in *fromProviderInput) (*redirect, error) {
	if c.Provider == nil {
		return nil, newProblem(http.StatusNotFound, "there is no identity provider")
	}
	if in.Error != "" {
		return nil, newProblem(http.StatusUnauthorized, "the identity provider says: "+in.Error)
	}
	o, to, err := c.Provider.End(ctx, in.Flight.Value, in.State, in.Code)
	if err != nil {
		c.Log.Warn("console: sign-in at the identity provider", "error", err)
		return nil, newProblem(http.StatusUnauthorized, "the identity provider's answer does not hold; begin again at the sign-in page")
	}
	actor(ctx, o.Name)
	secret, _, u, err := c.accounts.SignInOutside(ctx, o)
	if err != nil {
		return nil, err
	}
	actor(ctx, u.Name)
	return &redirect{http.StatusSeeOther, ours(to), []http.Cookie{c.cookie(secret), c.flight("")}}, nil
}
