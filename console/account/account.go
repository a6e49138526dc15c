package account

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/incident/desk"
)

// Errors that callers tell apart.
var (
	ErrInvalid = errors.New("not possible")         // what is asked for makes no sense
	ErrWrong   = errors.New("name or password")     // do not match; it does not say which
	ErrExists  = errors.New("exists already")       // a user of that name
	ErrLast    = errors.New("last administrator")   // nobody would be left to make users
	ErrSlow    = errors.New("too many failed ones") // sign-ins; see SlowError
)

// SlowError says when to try again.
type SlowError struct{ After time.Duration }

func (e *SlowError) Error() string {
	return fmt.Sprintf("too many failed sign-ins; try again in %s", e.After.Round(time.Second))
}

// Unwrap makes it an ErrSlow.
func (e *SlowError) Unwrap() error { return ErrSlow }

// User is a person who may sign in.
type User struct {
	Name       string     `json:"name"`
	Display    string     `json:"display,omitempty"`
	Roles      []Role     `json:"roles" nullable:"false" enum:"viewer,analyst,responder,auditor,administrator"`
	Disabled   bool       `json:"disabled"`
	Source     string     `json:"source" enum:"local,oidc" doc:"Who says that it is them"`
	Created    time.Time  `json:"created"`
	LastSignIn *time.Time `json:"last_sign_in,omitempty"`
}

// kept is a user as the desk has it.
type kept struct {
	User
	Hash    string `json:"hash,omitempty"`
	Subject string `json:"subject,omitempty"` // issuer and subject of OpenID Connect
}

// Session is a person at a browser.
type Session struct {
	Key     string    `json:"key"` // SHA-256 of the secret, hexadecimal
	User    string    `json:"user"`
	CSRF    string    `json:"csrf"`
	Began   time.Time `json:"began"`
	Seen    time.Time `json:"seen"`
	Expires time.Time `json:"expires"`
}

// Token lets a program ask on behalf of a person: what both the token and, at
// that time, the person may.
type Token struct {
	ID       string       `json:"id"`
	Name     string       `json:"name"`
	User     string       `json:"user"`
	Scopes   []Permission `json:"scopes" nullable:"false" enum:"read,payload,triage,case,search,export,respond,audit,people,admin"`
	Created  time.Time    `json:"created"`
	Expires  time.Time    `json:"expires"`
	LastUsed *time.Time   `json:"last_used,omitempty"`
}

type keptToken struct {
	Token
	Key string `json:"key"` // SHA-256 of the secret, hexadecimal
}

// Kinds of documents.
const (
	kindUser    = "user"
	kindSession = "session"
	kindToken   = "token"
)

// Bounds.
const (
	MaxUsers        = 1000
	MaxTokensOfUser = 50
	MaxTokenDays    = 366
	maxSessions     = 5000
	sessionIdle     = time.Hour
	sessionLife     = 12 * time.Hour
	seenEvery       = time.Minute // how often the desk learns that a session or token is used
	TokenPrefix     = "tocsin_"   // so that scanners for leaked secrets find them
	tokenID         = 9           // random bytes of its ID, which stands in the secret
	maxDisplay      = 100
	throttledKeys   = 30_000
)

// Accounts are the people, sessions and tokens on a desk.
type Accounts struct {
	desk *desk.Desk
	now  func() time.Time

	mu       sync.Mutex
	failures map[string]*failures // by name, and by address
}

// New returns the accounts of a desk.
func New(d *desk.Desk) *Accounts {
	return &Accounts{desk: d, now: func() time.Time { return time.Now().UTC() }, failures: map[string]*failures{}}
}

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

// Any reports whether there is any user.
func (a *Accounts) Any(ctx context.Context) (any bool, err error) {
	err = a.desk.View(ctx, func(tx *desk.Tx) error {
		n, err := desk.Count(tx, kindUser)
		any = n > 0
		return err
	})
	return any, err
}

// Users lists the users by name.
func (a *Accounts) Users(ctx context.Context) ([]User, error) {
	list := []User{}
	return list, a.desk.View(ctx, func(tx *desk.Tx) error {
		all, err := desk.List[kept](tx, kindUser)
		for _, u := range all {
			list = append(list, u.User)
		}
		return err
	})
}

func checkRoles(roles []Role) ([]Role, error) {
	out := []Role{}
	for _, r := range roles {
		if !slices.Contains(Roles, r) {
			return nil, fmt.Errorf("%w: role %q: want viewer, analyst, responder, auditor or administrator", ErrInvalid, r)
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out, nil
}

// Add makes a local user. With first, it does so only if there is nobody yet.
func (a *Accounts) Add(ctx context.Context, name, display string, roles []Role, password string, first bool) (User, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	if !goodName.MatchString(name) {
		return User{}, fmt.Errorf("%w: a name has 1 to 64 letters a to z, digits and . _ @ -, and begins with a letter or digit", ErrInvalid)
	}
	if err := CheckPassword(name, password); err != nil {
		return User{}, err
	}
	roles, err := checkRoles(roles)
	if err != nil {
		return User{}, err
	}
	u := kept{User: User{Name: name, Display: display, Roles: roles, Source: "local", Created: a.now()}, Hash: hashPassword(password)}
	if len(u.Display) > maxDisplay {
		return User{}, fmt.Errorf("%w: display: at most %d bytes", ErrInvalid, maxDisplay)
	}
	return u.User, a.desk.Update(ctx, func(tx *desk.Tx) error {
		n, err := desk.Count(tx, kindUser)
		switch {
		case err != nil:
			return err
		case first && n > 0:
			return fmt.Errorf("%w: there are users", ErrExists)
		case n >= MaxUsers:
			return fmt.Errorf("%w: there are %d users, and no room for more", ErrInvalid, n)
		case n == 0 && !slices.Contains(roles, Administrator):
			return fmt.Errorf("%w: the first user is an administrator, who can make the others", ErrInvalid)
		}
		if _, err := desk.Get[kept](tx, kindUser, name); !errors.Is(err, desk.ErrNotFound) {
			return cmp.Or(err, fmt.Errorf("user %s: %w", name, ErrExists))
		}
		return desk.Put(tx, kindUser, name, u)
	})
}

// UserEdit changes a user. What is nil stays.
type UserEdit struct {
	Display  *string `json:"display,omitempty" maxLength:"100"`
	Roles    *[]Role `json:"roles,omitempty" enum:"viewer,analyst,responder,auditor,administrator"`
	Password *string `json:"password,omitempty" maxLength:"256"`
	Disabled *bool   `json:"disabled,omitempty"`
}

// Edit changes a user. Whoever is disabled, or gets another password or other
// roles, is signed out. The last administrator who can sign in stays one.
func (a *Accounts) Edit(ctx context.Context, name string, e UserEdit) (User, error) {
	var hash string
	if e.Password != nil {
		if err := CheckPassword(name, *e.Password); err != nil {
			return User{}, err
		}
		hash = hashPassword(*e.Password)
	}
	var u kept
	return u.User, a.desk.Update(ctx, func(tx *desk.Tx) (err error) {
		if u, err = desk.Get[kept](tx, kindUser, name); err != nil {
			return err
		}
		if e.Display != nil {
			u.Display = *e.Display
		}
		if e.Roles != nil {
			if u.Roles, err = checkRoles(*e.Roles); err != nil {
				return err
			}
		}
		if e.Password != nil {
			if u.Source != "local" {
				return fmt.Errorf("%w: user %s signs in through the identity provider and has no password here", ErrInvalid, name)
			}
			u.Hash = hash
		}
		if e.Disabled != nil {
			u.Disabled = *e.Disabled
		}
		if err := desk.Put(tx, kindUser, name, u); err != nil {
			return err
		}
		all, err := desk.List[kept](tx, kindUser)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(u kept) bool { return !u.Disabled && slices.Contains(u.Roles, Administrator) }) {
			return fmt.Errorf("%w: %s is the last administrator", ErrLast, name)
		}
		if e.Roles != nil || e.Password != nil || e.Disabled != nil {
			return endSessions(tx, name)
		}
		return nil
	})
}

func endSessions(tx *desk.Tx, user string) error {
	all, err := desk.List[Session](tx, kindSession)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.User == user {
			if err := desk.Delete(tx, kindSession, s.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// ChangePassword lets a person change the own password.
func (a *Accounts) ChangePassword(ctx context.Context, name, from, old, fresh string) error {
	if _, err := a.check(ctx, name, old, from); err != nil {
		return err
	}
	_, err := a.Edit(ctx, name, UserEdit{Password: &fresh})
	return err
}

// SignIn checks a password and begins a session. from is the client's address.
func (a *Accounts) SignIn(ctx context.Context, name, password, from string) (secret string, s Session, u User, err error) {
	if u, err = a.check(ctx, strings.ToLower(strings.TrimSpace(name)), password, from); err != nil {
		return "", s, u, err
	}
	secret, s, err = a.begin(ctx, u.Name)
	return secret, s, u, err
}

// nobody is compared with where there is no such user, so that it takes as long.
var nobody = sync.OnceValue(func() string { return hashPassword("nobody has this password") })

func (a *Accounts) check(ctx context.Context, name, password, from string) (User, error) {
	if err := a.throttle(name, from); err != nil {
		return User{}, err
	}
	var u kept
	err := a.desk.View(ctx, func(tx *desk.Tx) (err error) {
		u, err = desk.Get[kept](tx, kindUser, name)
		return err
	})
	if err != nil && !errors.Is(err, desk.ErrNotFound) {
		return User{}, err
	}
	hash := cmp.Or(u.Hash, nobody())
	ok, err := passwordIs(password[:min(len(password), MaxPassword)], hash)
	if err != nil {
		return User{}, err
	}
	if !ok || u.Hash == "" || u.Disabled || len(password) > MaxPassword {
		a.failed(name, from)
		return User{}, ErrWrong
	}
	a.succeeded(name, from)
	return u.User, nil
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func keyOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// begin begins a session. Those that have ended are forgotten.
func (a *Accounts) begin(ctx context.Context, user string) (string, Session, error) {
	secret, now := random(32), a.now()
	s := Session{Key: keyOf(secret), User: user, CSRF: random(32), Began: now, Seen: now, Expires: now.Add(sessionLife)}
	return secret, s, a.desk.Update(ctx, func(tx *desk.Tx) error {
		all, err := desk.List[Session](tx, kindSession)
		if err != nil {
			return err
		}
		slices.SortFunc(all, func(a, b Session) int { return a.Seen.Compare(b.Seen) })
		for i, x := range all {
			if x.over(now) || len(all)-i >= maxSessions {
				if err := desk.Delete(tx, kindSession, x.Key); err != nil {
					return err
				}
			}
		}
		u, err := desk.Get[kept](tx, kindUser, user)
		if err != nil {
			return err
		}
		u.LastSignIn = &now
		if err := desk.Put(tx, kindUser, user, u); err != nil {
			return err
		}
		return desk.Put(tx, kindSession, s.Key, s)
	})
}

func (s *Session) over(now time.Time) bool {
	return !now.Before(s.Expires) || now.Sub(s.Seen) >= sessionIdle
}

// Session finds the session of a secret, if it still lasts, and its user.
func (a *Accounts) Session(ctx context.Context, secret string) (s Session, u User, err error) {
	key, now := keyOf(secret), a.now()
	err = a.desk.View(ctx, func(tx *desk.Tx) error {
		if s, err = desk.Get[Session](tx, kindSession, key); err != nil {
			return err
		}
		k, err := desk.Get[kept](tx, kindUser, s.User)
		if u = k.User; err == nil && (s.over(now) || u.Disabled) {
			err = fmt.Errorf("session: %w", desk.ErrNotFound)
		}
		return err
	})
	if err != nil || now.Sub(s.Seen) < seenEvery {
		return s, u, err
	}
	return s, u, a.desk.Update(ctx, func(tx *desk.Tx) error {
		s, err := desk.Get[Session](tx, kindSession, key)
		if err != nil {
			return err
		}
		s.Seen = now
		return desk.Put(tx, kindSession, key, s)
	})
}

// SignOut ends a session.
func (a *Accounts) SignOut(ctx context.Context, s Session) error {
	err := a.desk.Update(ctx, func(tx *desk.Tx) error { return desk.Delete(tx, kindSession, s.Key) })
	if errors.Is(err, desk.ErrNotFound) {
		return nil
	}
	return err
}

// Outside is a person as an identity provider knows them.
type Outside struct {
	Issuer, Subject string
	Name            string // that they like to be called by: not unique
	Display         string
	Roles           []Role // as the provider says at each sign-in
}

// SignInOutside begins a session of a person whom an identity provider has
// recognised, and makes the user at the first time.
func (a *Accounts) SignInOutside(ctx context.Context, o Outside) (secret string, s Session, u User, err error) {
	roles, err := checkRoles(o.Roles)
	if err != nil {
		return "", s, u, err
	}
	if len(roles) == 0 {
		return "", s, u, fmt.Errorf("%w: the identity provider gives %s no role here", ErrInvalid, o.Name)
	}
	subject := o.Issuer + " " + o.Subject
	err = a.desk.Update(ctx, func(tx *desk.Tx) error {
		all, err := desk.List[kept](tx, kindUser)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(k kept) bool { return k.Subject == subject })
		k := kept{User: User{Source: "oidc", Created: a.now()}, Subject: subject}
		if i >= 0 {
			k = all[i]
		} else {
			if len(all) >= MaxUsers {
				return fmt.Errorf("%w: there are %d users, and no room for more", ErrInvalid, len(all))
			}
			k.Name = freeName(o, all)
		}
		if k.Disabled {
			return ErrWrong
		}
		k.Display, k.Roles = o.Display[:min(len(o.Display), maxDisplay)], roles
		u = k.User
		return desk.Put(tx, kindUser, k.Name, k)
	})
	if err != nil {
		return "", s, u, err
	}
	secret, s, err = a.begin(ctx, u.Name)
	return secret, s, u, err
}

// freeName is a name for a person from outside that nobody here has: nobody
// becomes another by calling themselves so at the provider.
func freeName(o Outside, all []kept) string {
	name := strings.ToLower(o.Name)
	if !goodName.MatchString(name) || len(name) > 50 {
		name = "person"
	}
	taken := func(n string) bool { return slices.ContainsFunc(all, func(k kept) bool { return k.Name == n }) }
	if !taken(name) {
		return name
	}
	return name + "-" + keyOf(o.Issuer + " " + o.Subject)[:12]
}

// NewToken makes a token of a user, of at most what the user may; its secret is
// returned and not kept.
func (a *Accounts) NewToken(ctx context.Context, user, name string, scopes []Permission, days int) (secret string, t Token, err error) {
	if name = strings.TrimSpace(name); name == "" || len(name) > maxDisplay {
		return "", t, fmt.Errorf("%w: a token has a name of at most %d bytes, to know it by", ErrInvalid, maxDisplay)
	}
	if days < 1 || days > MaxTokenDays {
		return "", t, fmt.Errorf("%w: a token lasts 1 to %d days", ErrInvalid, MaxTokenDays)
	}
	if len(scopes) == 0 {
		return "", t, fmt.Errorf("%w: a token has at least one scope, such as read", ErrInvalid)
	}
	now := a.now()
	t = Token{ID: random(tokenID), Name: name, User: user, Created: now, Expires: now.Add(time.Duration(days) * 24 * time.Hour)}
	secret = TokenPrefix + t.ID + random(32)
	return secret, t, a.desk.Update(ctx, func(tx *desk.Tx) error {
		u, err := desk.Get[kept](tx, kindUser, user)
		if err != nil {
			return err
		}
		may := Grants(u.Roles)
		for _, p := range scopes {
			if !slices.Contains(may, p) {
				return fmt.Errorf("%w: scope %q is more than %s may", ErrInvalid, p, user)
			}
			if !slices.Contains(t.Scopes, p) {
				t.Scopes = append(t.Scopes, p)
			}
		}
		all, err := desk.List[keptToken](tx, kindToken)
		if err != nil {
			return err
		}
		n := 0
		for _, x := range all {
			switch {
			case !now.Before(x.Expires):
				if err := desk.Delete(tx, kindToken, x.ID); err != nil {
					return err
				}
			case x.User == user:
				n++
			}
		}
		if n >= MaxTokensOfUser {
			return fmt.Errorf("%w: %s has %d tokens, and no room for more: revoke some", ErrInvalid, user, n)
		}
		return desk.Put(tx, kindToken, t.ID, keptToken{t, keyOf(secret)})
	})
}

// Tokens lists tokens of a user, or of all if that is empty, the newest first.
func (a *Accounts) Tokens(ctx context.Context, user string) ([]Token, error) {
	list := []Token{}
	err := a.desk.View(ctx, func(tx *desk.Tx) error {
		all, err := desk.List[keptToken](tx, kindToken)
		for _, t := range all {
			if user == "" || t.User == user {
				list = append(list, t.Token)
			}
		}
		return err
	})
	slices.SortFunc(list, func(a, b Token) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return list, err
}

// Revoke ends a token of a user, or of anybody if that is empty.
func (a *Accounts) Revoke(ctx context.Context, id, user string) error {
	return a.desk.Update(ctx, func(tx *desk.Tx) error {
		t, err := desk.Get[keptToken](tx, kindToken, id)
		if err != nil {
			return err
		}
		if user != "" && t.User != user {
			return fmt.Errorf("token %s: %w", id, desk.ErrNotFound)
		}
		return desk.Delete(tx, kindToken, id)
	})
}

// Token finds the token of a secret, if it still lasts, and its user.
func (a *Accounts) Token(ctx context.Context, secret string) (t Token, u User, err error) {
	const length = tokenID * 4 / 3
	rest, ok := strings.CutPrefix(secret, TokenPrefix)
	if !ok || len(rest) <= length {
		return t, u, fmt.Errorf("token: %w", desk.ErrNotFound)
	}
	now := a.now()
	err = a.desk.View(ctx, func(tx *desk.Tx) error {
		found, err := desk.Get[keptToken](tx, kindToken, rest[:length])
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare([]byte(found.Key), []byte(keyOf(secret))) != 1 || !now.Before(found.Expires) {
			return fmt.Errorf("token: %w", desk.ErrNotFound)
		}
		t = found.Token
		k, err := desk.Get[kept](tx, kindUser, t.User)
		if u = k.User; err == nil && u.Disabled {
			err = fmt.Errorf("token: %w", desk.ErrNotFound)
		}
		return err
	})
	if err != nil || t.LastUsed != nil && now.Sub(*t.LastUsed) < seenEvery {
		return t, u, err
	}
	return t, u, a.desk.Update(ctx, func(tx *desk.Tx) error {
		k, err := desk.Get[keptToken](tx, kindToken, t.ID)
		if err != nil {
			return err
		}
		k.LastUsed = &now
		return desk.Put(tx, kindToken, t.ID, k)
	})
}
