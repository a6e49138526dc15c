// Package console is the analysts' door: an HTTP API that describes itself at
// /openapi.json, and the page in web/, which uses that API and nothing else.
// docs/API.md is the map.
//
// Who may do what is said by each operation (see operation.go): one that does
// not say it cannot be registered. As long as there are no users, a console on
// a loopback address takes whoever reaches it for the operator. It defends
// itself against the two ways in which a stranger's web page reaches a server
// through its victim's browser: a DNS name that points here (DNS rebinding) and
// requests across origins.
package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/klauspost/compress/gzhttp"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/incident/audit"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/trace"
)

// Config is what a console is made of.
type Config struct {
	Store   store.Store
	Desk    *desk.Desk    // incidents, searches, accounts
	Audit   *audit.Log    // who did what
	Schema  *event.Schema // fields offered for completion
	Build   func(ctx context.Context, s trace.Searcher, from trace.Seed) (*trace.Trace, error)
	Formats []trace.Format // in which a trace can be downloaded, in the order shown
	Version string         // of the program, shown on the page
	Hosts   []string       // names under which the console may be asked for, besides localhost and any address
	Log     *slog.Logger   // nil: slog.Default
	Rate    int            // requests a second of one client; 0: 50

	// Local lets whoever reaches the console be the operator as long as there
	// are no users. Only for a loopback address.
	Local bool
	// Secure says that clients speak TLS, here or with a proxy in front:
	// cookies are then for TLS only.
	Secure bool
	// SetupCode, if not empty, lets the first administrator be made by whoever
	// has it, as long as there are no users.
	SetupCode string
	// CommandKey, if not empty, lets commands on this machine be who they say
	// they are, with every role: whoever has it can read the desk's files.
	CommandKey string
	// Provider is where people sign in with OpenID Connect; nil: nowhere.
	Provider *account.Provider

	// What other parts of the program know. Where nil, the operations say that
	// it is not there.
	Owner      func(netip.Addr) (Owner, bool)
	Hosted     func(ctx context.Context, s store.Store, q store.Query) (Hosts, error)
	Rules      func(ctx context.Context, s store.Store) ([]Rule, error)
	RuleText   func(ctx context.Context, id string) (RuleText, error) // wraps store.ErrNotFound
	Backtest   func(ctx context.Context, s store.Store, b BacktestQuery) (Backtest, error)
	Reputation func(ctx context.Context) (Reputation, error)
	Lookup     func(ctx context.Context, value string, at time.Time) (Verdict, error)
	Packets    func(ctx context.Context, e *event.Event) (packets []Packet, missing []string, err error)
}

// Limits of one request.
const (
	maxBody    = 1 << 20          // of a request's body, bytes
	maxQuery   = 8 << 10          // of a query's text, characters; as Selection says
	maxTime    = 30 * time.Second // that a request may take; streams are exempt
	maxStreams = 64               // that may be open at once
	maxExports = 4                // that may run at once
)

// Console is the analysts' door. It implements http.Handler.
type Console struct {
	Config
	accounts *account.Accounts
	book     incident.Book
	hub      hub
	limiter  *limiter
	exports  chan struct{} // one element per running export
	judged   atomic.Uint64 // counts decisions made here, so that other pages learn of them
	api      huma.API
	routes   http.Handler // without what guards strangers' requests
	outside  http.Handler
}

// New returns the console. It starts nothing: an open stream polls the store
// for as long as its request lives, so the server should give its requests a
// context that ends before it waits for them (http.Server.BaseContext).
func New(cfg Config) *Console {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Rate == 0 {
		cfg.Rate = usualRate
	}
	c := &Console{
		Config: cfg, accounts: account.New(cfg.Desk), book: incident.Book{Desk: cfg.Desk, Store: cfg.Store},
		limiter: newLimiter(cfg.Rate), exports: make(chan struct{}, maxExports),
	}
	c.hub.start(c)

	mux := http.NewServeMux()
	conf := huma.DefaultConfig("Tocsin", cfg.Version)
	conf.Info.Description = "Alerts, events, incidents and traces of one Tocsin. Times are RFC 3339; every list is paged by a cursor; errors are RFC 9457 problems."
	conf.DocsPath = ""     // it would load scripts from elsewhere
	conf.SchemasPath = ""  // all schemas are in /openapi.json
	conf.CreateHooks = nil // no $schema link in every answer
	conf.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	conf.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "A token of a user, made with POST /api/v1/tokens."},
		"session": {Type: "apiKey", In: "cookie", Name: cookieName(cfg.Secure), Description: "What signing in gives the browser; changes also need the header " + csrfHeader + "."},
	}
	c.api = humago.New(mux, conf)
	c.api.UseMiddleware(c.permit)
	c.register(c.api)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "no such operation: "+r.Method+" "+r.URL.Path+"; see /openapi.json")
	})
	mux.Handle("/", newPage(built()))

	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024))
	if err != nil {
		panic(err) // the options are constants
	}
	compressed := compress(mux)
	c.routes = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case streamPath:
			mux.ServeHTTP(w, r) // one small message now and then: a compressor would only hold it back
			return
		case exportPath:
			compressed.ServeHTTP(w, r) // as long as the client reads
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), maxTime)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		compressed.ServeHTTP(w, r.WithContext(ctx))
	})
	c.outside = guard(c.limit(c.identify(c.routes)), cfg.Hosts)
	return c
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.outside.ServeHTTP(w, r) }

// As serves requests of the program itself, as somebody with every role.
func (c *Console) As(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := &principal{name: name, roles: account.Roles, permissions: account.Permissions, via: viaCommand}
		c.routes.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, who)))
	})
}

// schemaName names a type in the API's description: one of another package
// with the package's name before it, since two may call theirs the same.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		t = t.Elem()
	}
	own := reflect.TypeFor[Console]().PkgPath()
	if pkg := t.PkgPath(); pkg != "" && pkg != own && t.Name() != "" && !strings.Contains(t.Name(), "[") {
		base := path.Base(pkg)
		return strings.ToUpper(base[:1]) + base[1:] + name
	}
	return name
}
