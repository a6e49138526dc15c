package account

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// ProviderConfig says how people sign in with OpenID Connect.
type ProviderConfig struct {
	Issuer   string // URL, as in its discovery document
	Client   string // our ID there
	Secret   string // ours; empty for a public client
	Title    string // what the page calls it
	Redirect string // URL of the console's /api/v1/session/oidc/callback, as registered there
	Scopes   []string
	Claim    string            // of the ID token, or of what the provider says beside it, that lists groups
	Roles    map[string][]Role // of each group
	HTTP     *http.Client      // nil: the usual one
}

// Provider is an identity provider.
type Provider struct {
	cfg  ProviderConfig
	seal cipher.AEAD // of what a browser carries there and back

	mu       sync.Mutex
	provider *oidc.Provider
}

// NewProvider returns a provider; it asks nobody yet.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	if cfg.Claim == "" {
		cfg.Claim = "groups"
	}
	if cfg.Title == "" {
		cfg.Title = "OpenID Connect"
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	for group, roles := range cfg.Roles {
		if _, err := checkRoles(roles); err != nil {
			return nil, fmt.Errorf("group %s: %w", group, err)
		}
	}
	return &Provider{cfg: cfg, seal: seal}, nil
}

// Name is what the page calls it.
func (p *Provider) Name() string { return p.cfg.Title }

// discover asks the provider about itself, once it answers.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider == nil {
		// Its keys are fetched with this context for as long as it lives.
		found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.cfg.HTTP), p.cfg.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("identity provider %s: %w", p.cfg.Issuer, err)
		}
		p.provider = found
	}
	return p.provider, &oauth2.Config{
		ClientID: p.cfg.Client, ClientSecret: p.cfg.Secret, RedirectURL: p.cfg.Redirect,
		Endpoint: p.provider.Endpoint(), Scopes: append([]string{oidc.ScopeOpenID, "profile"}, p.cfg.Scopes...),
	}, nil
}

// flight is what a browser carries to the provider and back, sealed.
type flight struct {
	State, Nonce, Verifier, Return string
	Until                          time.Time
}

const flightTime = 10 * time.Minute

// Begin returns where to send the browser, and what it is to bring back. to is
// where it wants to go then.
func (p *Provider) Begin(ctx context.Context, to string) (url, carry string, err error) {
	_, client, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	f := flight{State: random(24), Nonce: random(24), Verifier: oauth2.GenerateVerifier(), Return: to, Until: time.Now().Add(flightTime)}
	plain, err := json.Marshal(f)
	if err != nil {
		return "", "", err
	}
	nonce := make([]byte, p.seal.NonceSize())
	rand.Read(nonce)
	sealed := p.seal.Seal(nonce, nonce, plain, nil)
	return client.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), base64.RawURLEncoding.EncodeToString(sealed), nil
}

var errFlight = errors.New("the browser did not begin here, or too long ago")

// End checks what came back and says who it is.
func (p *Provider) End(ctx context.Context, carry, state, code string) (o Outside, to string, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(carry)
	if err != nil || len(sealed) < p.seal.NonceSize() {
		return o, "", errFlight
	}
	n := p.seal.NonceSize()
	plain, err := p.seal.Open(nil, sealed[:n], sealed[n:], nil)
	if err != nil {
		return o, "", errFlight
	}
	var f flight
	if err := json.Unmarshal(plain, &f); err != nil || time.Now().After(f.Until) || subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 {
		return o, "", errFlight
	}
	provider, client, err := p.discover(ctx)
	if err != nil {
		return o, "", err
	}
	ctx = oidc.ClientContext(ctx, p.cfg.HTTP)
	tokens, err := client.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return o, "", fmt.Errorf("identity provider %s: %w", p.cfg.Issuer, err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return o, "", fmt.Errorf("identity provider %s: no ID token", p.cfg.Issuer)
	}
	id, err := provider.Verifier(&oidc.Config{ClientID: p.cfg.Client}).Verify(ctx, raw)
	if err != nil {
		return o, "", fmt.Errorf("identity provider %s: %w", p.cfg.Issuer, err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.Nonce)) != 1 {
		return o, "", errFlight
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return o, "", fmt.Errorf("identity provider %s: %w", p.cfg.Issuer, err)
	}
	// Many providers put only what is needed into the ID token, and the rest
	// where it is asked for (OpenID Connect Core 5.3 and 5.4).
	if provider.UserInfoEndpoint() != "" {
		info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
		if err != nil {
			return o, "", fmt.Errorf("identity provider %s: %w", p.cfg.Issuer, err)
		}
		if info.Subject != id.Subject {
			return o, "", fmt.Errorf("identity provider %s: speaks of another person than its ID token", p.cfg.Issuer)
		}
		var more map[string]any
		if err := info.Claims(&more); err != nil {
			return o, "", fmt.Errorf("identity provider %s: %w", p.cfg.Issuer, err)
		}
		for k, v := range more {
			if _, has := claims[k]; !has {
				claims[k] = v
			}
		}
	}
	o = Outside{Issuer: id.Issuer, Subject: id.Subject}
	o.Name, _ = claims["preferred_username"].(string)
	o.Display, _ = claims["name"].(string)
	if o.Name == "" && claims["email_verified"] == true {
		o.Name, _ = claims["email"].(string)
	}
	for _, g := range texts(claims[p.cfg.Claim]) {
		for _, r := range p.cfg.Roles[g] {
			if !slices.Contains(o.Roles, r) {
				o.Roles = append(o.Roles, r)
			}
		}
	}
	return o, f.Return, nil
}

// texts reads a claim that is a text or a list of them.
func texts(claim any) (list []string) {
	switch c := claim.(type) {
	case string:
		return []string{c}
	case []any:
		for _, x := range c {
			if s, ok := x.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}
