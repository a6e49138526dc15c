package console

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/tocsin/tocsin/console/account"
)

// TestSignInWithOpenIDConnect goes the whole way with a provider: there, its
// own sign-in page, and back.
func TestSignInWithOpenIDConnect(t *testing.T) {
	f := newFixture(t)
	f.signIn(t, "chief", account.Administrator)
	var op http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { op.ServeHTTP(w, r) }))
	defer idp.Close()
	issuer := strings.Replace(idp.URL, "127.0.0.1", "localhost", 1) + "/"
	var h http.Handler
	console := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	defer console.Close()
	storage.RegisterClients(storage.WebClient("tocsin", "a secret", console.URL+callbackPath))
	was := slog.Default()
	op = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), slog.New(slog.DiscardHandler), false)
	slog.SetDefault(was)

	start := func(roles map[string][]account.Role) *http.Client {
		cfg := f.Config
		var err error
		cfg.Provider, err = account.NewProvider(account.ProviderConfig{
			Issuer: issuer, Client: "tocsin", Secret: "a secret", Redirect: console.URL + callbackPath,
			Claim: "preferred_username", Roles: roles,
		})
		if err != nil {
			t.Fatal(err)
		}
		h = New(cfg)
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Client{Jar: jar}
	}
	read := func(resp *http.Response, err error) (*http.Response, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	// signIn begins at the console and fills in the provider's page.
	signIn := func(browser *http.Client, password string) (*http.Response, string) {
		resp, page := read(browser.Get(console.URL + "/api/v1/session/oidc?return=%2Falerts"))
		id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(page)
		if resp.Request.URL.Path != "/login/username" || id == nil {
			t.Fatalf("at %s: %s", resp.Request.URL, page)
		}
		return read(browser.PostForm(resp.Request.URL.String(), url.Values{"id": {id[1]}, "username": {"test-user@localhost"}, "password": {password}}))
	}
	browser := start(map[string][]account.Role{"test-user@localhost": {account.Analyst}})
	if resp, _ := signIn(browser, "guessed"); !strings.HasPrefix(resp.Request.URL.String(), idp.URL) && !strings.HasPrefix(resp.Request.URL.String(), issuer) {
		t.Errorf("with a wrong password one comes to %s", resp.Request.URL)
	}
	if resp, page := signIn(browser, "verysecure"); resp.Request.URL.String() != console.URL+"/alerts" {
		t.Fatalf("one comes to %s: %s", resp.Request.URL, page)
	}
	_, body := read(browser.Get(console.URL + sessionPath))
	for _, want := range []string{`"name":"test-user@localhost"`, `"display":"Test User"`, `"roles":["analyst"]`, `"csrf":"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the session lacks %s: %s", want, body)
		}
	}
	if resp, _ := read(browser.Get(console.URL + prefix + "/alerts")); resp.StatusCode != http.StatusOK {
		t.Errorf("alerts: %d", resp.StatusCode)
	}

	// What comes back is good for the browser that went, and once.
	stranger := start(map[string][]account.Role{"test-user@localhost": {account.Analyst}})
	browser2 := &http.Client{Jar: stranger.Jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), console.URL+callbackPath) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, _ := signIn(browser2, "verysecure")
	back := resp.Header.Get("Location")
	if resp, page := read(http.Get(back)); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("another browser with the code: %d %s", resp.StatusCode, page)
	}
	if resp, _ := read(stranger.Get(back)); resp.StatusCode != http.StatusOK {
		t.Errorf("the browser itself: %d", resp.StatusCode)
	}
	if resp, _ := read(stranger.Get(back)); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a second time: %d", resp.StatusCode)
	}

	// Whom the provider knows and gives no role here does not come in.
	if resp, page := signIn(start(map[string][]account.Role{"nobody": {account.Viewer}}), "verysecure"); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("without a role: %d %s", resp.StatusCode, page)
	}
}

// TestReturnStaysHere: what comes after a sign-in is a place on our own page.
func TestReturnStaysHere(t *testing.T) {
	for to, want := range map[string]string{
		"/alerts?q=x": "/alerts?q=x", "": "/", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/", "alerts": "/", "/a\r\nb": "/",
	} {
		if got := ours(to); got != want {
			t.Errorf("%q: %q", to, got)
		}
	}
}
