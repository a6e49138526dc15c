package console

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/incident/desk"
)

// principal is who asks.
type principal struct {
	name        string
	display     string
	roles       []account.Role
	permissions []account.Permission
	via         string // as audit.Entry.Via
	from        string // address of the client
	session     *account.Session
	alone       bool // the operator of a console without users

	again func(context.Context) (*principal, error) // who it is by now; nil: nobody else
}

// How somebody came here.
const (
	viaPage    = "page"
	viaToken   = "token"
	viaCommand = "command"
	viaServer  = "server"
)

type principalKey struct{}

// who is who asks; nobody has no name and no permissions.
func who(ctx context.Context) *principal {
	if p, ok := ctx.Value(principalKey{}).(*principal); ok {
		return p
	}
	return &principal{via: viaPage}
}

func (p *principal) may(what account.Permission) bool { return slices.Contains(p.permissions, what) }

// by is who changes something now.
func by(ctx context.Context) incident.By {
	return incident.By{Name: who(ctx).name, At: time.Now().UTC().Truncate(time.Millisecond)}
}

// operator is who asks where there is no sign-in.
const operator = "operator"

const (
	csrfHeader = "X-Tocsin-CSRF"
	asHeader   = "X-Tocsin-As"
	keyScheme  = "Tocsin-Command "
)

// cookieName: with the prefix __Host- a browser takes the cookie over TLS only,
// and from no neighbour in the domain.
func cookieName(secure bool) string {
	if secure {
		return "__Host-tocsin"
	}
	return "tocsin"
}

// identify finds out who asks. A token or session that does not hold is
// refused, not taken for nobody: whoever sends one should know.
func (c *Console) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			next.ServeHTTP(w, r)
			return
		}
		p, err := c.principal(r)
		var pr *problem
		switch {
		case errors.As(err, &pr):
			if pr.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="tocsin"`)
			}
			writeProblem(w, pr.Status, pr.Detail)
			return
		case err != nil:
			c.Log.Error("console: accounts", "error", err)
			writeProblem(w, http.StatusInternalServerError, "the accounts cannot be read")
			return
		}
		p.again = func(ctx context.Context) (*principal, error) { return c.principal(r.WithContext(ctx)) }
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, p)))
	})
}

func (c *Console) principal(r *http.Request) (*principal, error) {
	p := &principal{via: viaPage, from: client(r)}
	ctx := r.Context()
	if auth := r.Header.Get("Authorization"); auth != "" {
		if key, ok := strings.CutPrefix(auth, keyScheme); ok {
			if c.CommandKey == "" || subtle.ConstantTimeCompare([]byte(key), []byte(c.CommandKey)) != 1 {
				return nil, newProblem(http.StatusUnauthorized, "the command's key is not that of this console")
			}
			p.name, p.roles, p.permissions, p.via = r.Header.Get(asHeader), account.Roles, account.Permissions, viaCommand
			if p.name == "" || len(p.name) > incident.MaxName {
				return nil, newProblem(http.StatusUnauthorized, "a command says who it is in "+asHeader)
			}
			return p, nil
		}
		secret, ok := strings.CutPrefix(auth, "Bearer ")
		if !ok {
			return nil, newProblem(http.StatusUnauthorized, "want Authorization: Bearer and a token")
		}
		t, u, err := c.accounts.Token(ctx, strings.TrimSpace(secret))
		if errors.Is(err, desk.ErrNotFound) {
			return nil, newProblem(http.StatusUnauthorized, "the token is not known, revoked or over")
		}
		if err != nil {
			return nil, err
		}
		p.name, p.display, p.roles, p.via = u.Name, u.Display, u.Roles, viaToken
		for _, x := range account.Grants(u.Roles) {
			if slices.Contains(t.Scopes, x) {
				p.permissions = append(p.permissions, x)
			}
		}
		return p, nil
	}
	if cookie, err := r.Cookie(cookieName(c.Secure)); err == nil && cookie.Value != "" {
		s, u, err := c.accounts.Session(ctx, cookie.Value)
		switch {
		case errors.Is(err, desk.ErrNotFound):
			// What is left of a session that is over: the page asks to sign in.
		case err != nil:
			return nil, err
		default:
			if safe := r.Method == http.MethodGet || r.Method == http.MethodHead; !safe && r.URL.Path != sessionPath &&
				subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(s.CSRF)) != 1 {
				return nil, newProblem(http.StatusForbidden, "the header "+csrfHeader+" is missing or not that of the session; see GET "+sessionPath)
			}
			p.name, p.display, p.roles, p.permissions, p.session = u.Name, u.Display, u.Roles, account.Grants(u.Roles), &s
			return p, nil
		}
	}
	if !c.Local {
		return p, nil
	}
	any, err := c.accounts.Any(ctx)
	if err != nil || any {
		return p, err
	}
	// A proxy on this machine would make everybody the operator.
	if r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("X-Real-Ip") != "" {
		return nil, newProblem(http.StatusForbidden, "this console has no users and takes whoever reaches it for its operator, so it does not answer through a proxy; make a user with tocsin user add")
	}
	p.name, p.roles, p.permissions, p.alone = operator, account.Roles, account.Permissions, true
	return p, nil
}

// client is the address of who asks, as far as it is known.
func client(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().WithZone("").String()
	}
	return host
}

// The budget of one client, unless Config says otherwise: requests a second,
// and four times as many at once.
const (
	usualRate = 50
	atOnce    = 4
	maxBudget = 10_000 // clients that are remembered
)

// limiter gives each client a budget of requests (a token bucket).
type limiter struct {
	rate    float64
	mu      sync.Mutex
	clients *lru.Cache[string, *budget]
}

type budget struct {
	left float64
	at   time.Time
}

func newLimiter(rate int) *limiter {
	clients, err := lru.New[string, *budget](maxBudget)
	if err != nil {
		panic(err) // the size is a constant
	}
	return &limiter{rate: float64(rate), clients: clients}
}

// take returns how long a client has to wait; 0: not at all.
func (l *limiter) take(client string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	burst := atOnce * l.rate
	b, ok := l.clients.Get(client)
	if !ok {
		b = &budget{left: burst, at: now}
		l.clients.Add(client, b)
	}
	b.left = min(burst, b.left+l.rate*now.Sub(b.at).Seconds())
	b.at = now
	if b.left < 1 {
		return time.Duration((1 - b.left) / l.rate * float64(time.Second))
	}
	b.left--
	return 0
}

// limit refuses clients that ask too often. The page's own files are free.
func (c *Console) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			from := client(r)
			if a, err := netip.ParseAddr(from); err == nil && a.Is6() {
				// Whoever has one address of IPv6 has a /64 of them.
				if p, err := a.Prefix(64); err == nil {
					from = p.String()
				}
			}
			if wait := c.limiter.take(from, time.Now()); wait > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
				writeProblem(w, http.StatusTooManyRequests, "too many requests: this client may ask "+strconv.Itoa(c.Rate)+" times a second")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
