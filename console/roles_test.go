package console

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/console/account"
)

const password = "correct horse battery"

// signIn makes a user with roles, and returns what makes a request theirs.
func (f *fixture) signIn(t *testing.T, name string, roles ...account.Role) func(*http.Request) {
	t.Helper()
	if _, err := account.New(f.Desk).Add(t.Context(), name, "", roles, password, false); err != nil {
		t.Fatal(err)
	}
	return f.session(t, name)
}

func (f *fixture) session(t *testing.T, name string) func(*http.Request) {
	t.Helper()
	status, h, b := f.do(t, "POST", "/api/v1/session", fmt.Sprintf(`{"name":%q,"password":%q}`, name, password))
	var s sessionBody
	if err := json.Unmarshal(b, &s); err != nil || status != http.StatusOK || s.CSRF == "" {
		t.Fatalf("sign in as %s: %d %s", name, status, b)
	}
	cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
	return func(r *http.Request) {
		r.Header.Set("Cookie", cookie)
		r.Header.Set(csrfHeader, s.CSRF)
	}
}

// needed says what each operation needs, as docs/API.md does. It is written
// down once more on purpose: a change of who may do what has to be made twice.
var needed = map[string]account.Permission{
	"GET /session": "anybody", "POST /session": "anybody", "DELETE /session": "session", "POST /session/setup": "anybody",
	"PUT /session/password": "session", "GET /session/oidc": "anybody", "GET /session/oidc/callback": "anybody",
	"GET /users": "people", "POST /users": "admin", "PATCH /users/{name}": "admin",
	"GET /tokens": "session", "POST /tokens": "session", "DELETE /tokens/{id}": "session",
	"GET /audit": "audit", "GET /audit/verify": "audit",
	"GET /alerts": "read", "GET /alerts/summary": "read", "GET /alerts/groups": "read", "GET /alerts/{id}": "read", "GET /alerts/stream": "read",
	"PATCH /alerts/{id}": "triage", "POST /triage": "triage", "GET /triage": "read", "POST /triage/{action}/undo": "triage",
	"GET /suppressions": "read", "POST /suppressions": "triage", "DELETE /suppressions/{id}": "triage",
	"GET /events": "read", "GET /events/{id}": "read", "GET /events/{id}/packets": "payload", "GET /fields": "session",
	"GET /counts": "read", "GET /facets": "read", "GET /complete": "read", "GET /talkers": "read", "GET /export": "export",
	"GET /status": "read", "GET /situation": "read", "GET /sensors": "read",
	"GET /incidents": "read", "POST /incidents": "case", "GET /incidents/{id}": "read", "PATCH /incidents/{id}": "case",
	"POST /incidents/{id}/links": "case", "POST /incidents/{id}/pins": "respond", "POST /incidents/{id}/comments": "case",
	"POST /incidents/{id}/tasks": "case", "PATCH /incidents/{id}/tasks/{task}": "case", "POST /incidents/{id}/merge": "respond",
	"POST /incidents/{id}/split": "respond", "GET /incidents/{id}/timeline": "read", "GET /incidents/{id}/report": "export",
	"GET /incident-types": "read",
	"GET /searches":       "read", "POST /searches": "search", "PATCH /searches/{id}": "search", "DELETE /searches/{id}": "search", "POST /searches/rule": "search",
	"GET /assets": "read", "GET /rules": "read", "GET /rules/{id}": "read", "POST /rules/backtest": "search",
	"GET /reputation": "read", "GET /reputation/lookup": "read",
	"GET /traces/{seed}": "read", "GET /traces/{seed}/{format}": "export",
}

var may = map[account.Role]string{
	"viewer": "read", "analyst": "read payload triage case search export", "responder": "read payload triage case search export respond",
	"auditor": "audit people", "administrator": "admin people",
}

// TestNoActionReachesBeyondItsRole asks every operation as every role, and as
// nobody. An operation that the table does not have is an error.
func TestNoActionReachesBeyondItsRole(t *testing.T) {
	f := newFixture(t)
	as := map[account.Role]func(*http.Request){account.Administrator: f.signIn(t, "first", account.Administrator)}
	for _, r := range account.Roles {
		if r != account.Administrator {
			as[r] = f.signIn(t, string(r)+"1", r)
		}
	}
	as[""] = func(*http.Request) {}
	doc := get[struct {
		Paths map[string]map[string]json.RawMessage
	}](t, f, "/openapi.json")
	seen := map[string]bool{}
	fill := strings.NewReplacer("{id}", "none", "{name}", "none", "{action}", "none", "{task}", "1", "{seed}", "192.0.2.250", "{format}", "json")
	for path, methods := range doc.Paths {
		for method := range methods {
			op := strings.ToUpper(method) + " " + strings.TrimPrefix(path, prefix)
			needs, ok := needed[op]
			if !ok {
				t.Errorf("%s: nobody has said who may: add it to the table", op)
				continue
			}
			seen[op] = true
			if op == "GET /alerts/stream" || op == "DELETE /session" {
				continue // one has no end, the other ends the session: below
			}
			for role, who := range as {
				body := ""
				if method == "post" || method == "patch" || method == "put" {
					body = "{}"
				}
				status, _, text := f.do(t, strings.ToUpper(method), fill.Replace(path), body, who)
				allowed := needs == "anybody" || role != "" && needs == "session" || slices.Contains(strings.Fields(may[role]), string(needs))
				want := map[bool]int{true: http.StatusForbidden, false: http.StatusUnauthorized}[role != ""]
				switch {
				case allowed && (status == http.StatusForbidden || status == http.StatusUnauthorized) && !strings.Contains(string(text), "code"):
					if op != "PUT /session/password" && op != "POST /session" && op != "GET /session/oidc/callback" {
						t.Errorf("%s as %q: %d %s, and it may", op, role, status, text)
					}
				case !allowed && status != want:
					t.Errorf("%s as %q: %d, want %d", op, role, status, want)
				}
				if status >= 500 {
					t.Errorf("%s as %q: %d %s", op, role, status, text)
				}
			}
		}
	}
	for _, op := range slices.Sorted(maps.Keys(needed)) {
		if !seen[op] {
			t.Errorf("%s: is in the table and not in the API", op)
		}
	}
	for role, who := range as {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		r, err := http.NewRequestWithContext(ctx, "GET", f.URL+streamPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		who(r)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		cancel()
		if ok := strings.Contains(may[role], "read"); ok != (resp.StatusCode == http.StatusOK) {
			t.Errorf("stream as %q: %d", role, resp.StatusCode)
		}
	}
}

// TestSessions: a session is a cookie that scripts do not see, and changes need
// more than the cookie; it ends when it is ended, and when the user is disabled.
func TestSessions(t *testing.T) {
	f := newFixture(t)
	f.signIn(t, "chief", account.Administrator)
	admin := f.session(t, "chief")
	analyst := f.signIn(t, "li", account.Analyst)
	if status, h, _ := f.do(t, "POST", "/api/v1/session", `{"name":"li","password":"`+password+`"}`); status != 200 ||
		!strings.Contains(h.Get("Set-Cookie"), "HttpOnly") || !strings.Contains(h.Get("Set-Cookie"), "SameSite=Strict") {
		t.Errorf("cookie %q", h.Get("Set-Cookie"))
	}
	alert := "/api/v1/alerts/" + f.alerts[0].ID.String()
	const ack = `{"status":"acknowledged"}`
	if status, _, b := f.do(t, "PATCH", alert, ack, analyst, func(r *http.Request) { r.Header.Del(csrfHeader) }); status != http.StatusForbidden {
		t.Errorf("without the header: %d %s", status, b)
	}
	if status, _, b := f.do(t, "PATCH", alert, ack, analyst); status != http.StatusOK {
		t.Fatalf("%d %s", status, b)
	}
	if by := get2[struct {
		Tocsin struct{ Alert struct{ By string } }
	}](t, f, strings.Replace(alert, "alerts", "events", 1), analyst).Tocsin.Alert.By; by != "li" {
		t.Errorf("judged by %q", by)
	}
	// Only who may change the owner does.
	_, _, b := f.do(t, "POST", "/api/v1/incidents", `{"title":"x"}`, analyst)
	var i struct{ ID string }
	if err := json.Unmarshal(b, &i); err != nil || i.ID == "" {
		t.Fatalf("%s", b)
	}
	if status, _, _ := f.do(t, "PATCH", "/api/v1/incidents/"+i.ID, `{"state":"closed"}`, analyst); status != http.StatusForbidden {
		t.Errorf("an analyst closes an incident: %d", status)
	}
	// Tokens have no more than their scopes, and make none.
	_, _, b = f.do(t, "POST", "/api/v1/tokens", `{"name":"x","scopes":["read"],"days":1}`, analyst)
	var token newToken
	if err := json.Unmarshal(b, &token); err != nil || token.Secret == "" {
		t.Fatalf("%s", b)
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.Secret) }
	for path, want := range map[string]int{"GET /alerts": 200, "GET /export": 403, "PATCH " + strings.TrimPrefix(alert, prefix): 403, "POST /tokens": 403} {
		method, path, _ := strings.Cut(path, " ")
		body := map[string]string{"PATCH": ack, "POST": `{"name":"y","scopes":["read"],"days":1}`}[method]
		if status, _, b := f.do(t, method, prefix+path, body, bearer); status != want {
			t.Errorf("%s %s with a token: %d %s, want %d", method, path, status, b, want)
		}
	}
	if status, _, _ := f.do(t, "POST", "/api/v1/tokens", `{"name":"x","scopes":["admin"],"days":1}`, analyst); status != http.StatusUnprocessableEntity {
		t.Errorf("a token of more than its user may: %d", status)
	}
	if status, _, _ := f.do(t, "GET", "/api/v1/alerts", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.Secret+"x") }); status != http.StatusUnauthorized {
		t.Errorf("a token that is none: %d", status)
	}
	// Disabled, and everything ends at once.
	if status, _, b := f.do(t, "PATCH", "/api/v1/users/li", `{"disabled":true}`, admin); status != 200 {
		t.Fatalf("%d %s", status, b)
	}
	for name, who := range map[string]func(*http.Request){"session": analyst, "token": bearer} {
		if status, _, _ := f.do(t, "GET", "/api/v1/alerts", "", who); status != http.StatusUnauthorized {
			t.Errorf("%s of a disabled user: %d", name, status)
		}
	}
	if status, _, _ := f.do(t, "POST", "/api/v1/session", `{"name":"li","password":"`+password+`"}`); status != http.StatusUnauthorized {
		t.Errorf("a disabled user signs in: %d", status)
	}
	if status, _, _ := f.do(t, "PATCH", "/api/v1/users/chief", `{"roles":["viewer"]}`, admin); status != http.StatusConflict {
		t.Errorf("the last administrator steps down: %d", status)
	}
	if status, _, _ := f.do(t, "DELETE", "/api/v1/session", "", admin); status >= 300 {
		t.Errorf("sign out: %d", status)
	}
	if status, _, _ := f.do(t, "GET", "/api/v1/users", "", admin); status != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", status)
	}
}

func get2[T any](t *testing.T, f *fixture, path string, who func(*http.Request)) (v T) {
	t.Helper()
	status, _, b := f.do(t, "GET", path, "", who)
	if err := json.Unmarshal(b, &v); err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, status, b)
	}
	return v
}

// TestGuessing: who guesses waits, and the owner of the name does not.
func TestGuessing(t *testing.T) {
	f := newFixture(t)
	f.signIn(t, "chief", account.Administrator)
	const wrong = `{"name":"chief","password":"not the password"}`
	var status int
	var h http.Header
	for range 6 {
		status, h, _ = f.do(t, "POST", "/api/v1/session", wrong)
	}
	if status != http.StatusTooManyRequests || h.Get("Retry-After") == "" {
		t.Errorf("after six wrong passwords: %d %v", status, h)
	}
	entries := 0
	for e, err := range f.Audit.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Action == "session.begin" && e.Outcome == "refused" && e.Actor == "chief" && e.From == "127.0.0.1" {
			entries++
		}
	}
	if entries != 6 {
		t.Errorf("%d failed sign-ins in the audit log", entries)
	}
}

// TestLocalMode: without users whoever is here is the operator; with the first
// one, or through a proxy, nobody is.
func TestLocalMode(t *testing.T) {
	f := newFixture(t)
	if s := get[sessionBody](t, f, "/api/v1/session"); s.Mode != "local" || s.User == nil || s.User.Name != operator {
		t.Errorf("%+v", s)
	}
	if status, _, _ := f.do(t, "GET", "/api/v1/alerts", "", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.1") }); status != http.StatusForbidden {
		t.Errorf("through a proxy: %d", status)
	}
	if status, _, b := f.do(t, "POST", "/api/v1/users", `{"name":"chief","roles":["administrator"],"password":"`+password+`"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, b)
	}
	if status, _, _ := f.do(t, "GET", "/api/v1/alerts", ""); status != http.StatusUnauthorized {
		t.Errorf("with a user: %d", status)
	}
	if s := get[sessionBody](t, f, "/api/v1/session"); s.Mode != "sign-in" || s.User != nil {
		t.Errorf("%+v", s)
	}
}

// TestSetup: beyond loopback the printed code makes the first administrator,
// once.
func TestSetup(t *testing.T) {
	f := newFixture(t)
	cfg := f.Config
	cfg.Local, cfg.SetupCode, cfg.Secure = false, "abcdef", true
	f.Server.Close()
	f.Server = httptest.NewServer(New(cfg))
	if s := get[sessionBody](t, f, "/api/v1/session"); s.Mode != "sign-in" || !s.Setup {
		t.Errorf("%+v", s)
	}
	if status, _, _ := f.do(t, "GET", "/api/v1/alerts", ""); status != http.StatusUnauthorized {
		t.Errorf("before: %d", status)
	}
	for _, c := range []struct {
		code string
		want int
	}{{"abcdeg", 403}, {"abcdef", 200}, {"abcdef", 409}} {
		status, h, b := f.do(t, "POST", "/api/v1/session/setup", `{"code":"`+c.code+`","name":"chief","password":"`+password+`"}`)
		if status != c.want || status == 200 && !strings.Contains(h.Get("Set-Cookie"), "__Host-tocsin=") {
			t.Errorf("code %s: %d %s, want %d", c.code, status, b, c.want)
		}
	}
}

// TestRateLimit: a client that asks too often is told when to come back.
func TestRateLimit(t *testing.T) {
	const burst = atOnce * usualRate
	l := newLimiter(usualRate)
	at := start
	refused := 0
	for range 2 * burst {
		if l.take("a", at) > 0 {
			refused++
		}
	}
	if refused != burst || l.take("b", at) > 0 || l.take("a", at.Add(time.Second)) > 0 {
		t.Errorf("%d of %d refused", refused, 2*burst)
	}
}
