package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/console"
	people "github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/incident/audit"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/all"
)

// serving are the flags of commands that show the console.
type serving struct {
	cmd                                  *cobra.Command
	listen, desk                         *string
	cert, key                            *string
	plain                                *bool
	names                                *[]string
	issuer, client, secretFile, redirect *string
	title, claim                         *string
	scopes, roles                        *[]string
}

func listenFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("listen", "127.0.0.1:8080", "`ADDRESS` of the console; beyond loopback it needs TLS")
}

func deskFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("desk", "", "`DIR` of incidents, searches, accounts and the audit log; that of the embedded store, if not given")
}

func serveFlags(cmd *cobra.Command) serving {
	f := cmd.Flags()
	return serving{
		cmd: cmd, listen: listenFlag(cmd), desk: deskFlag(cmd),
		cert:       f.String("tls-cert", "", "`FILE` with the console's certificate and those up to its authority, PEM"),
		key:        f.String("tls-key", "", "`FILE` with the certificate's key, PEM"),
		plain:      f.Bool("behind-tls", false, "speak plain HTTP beyond loopback, because a proxy in front of the console speaks TLS"),
		names:      f.StringSlice("console-name", nil, "`NAME` under which browsers ask for the console, beside localhost and addresses; may be repeated"),
		issuer:     f.String("oidc-issuer", "", "`URL` of an OpenID Connect provider where people sign in"),
		client:     f.String("oidc-client", "", "`ID` of the console there"),
		secretFile: f.String("oidc-secret-file", "", "`FILE` with the console's secret there; or in TOCSIN_OIDC_SECRET"),
		redirect:   f.String("oidc-redirect", "", "`URL` of the console's /api/v1/session/oidc/callback, as registered there"),
		title:      f.String("oidc-title", "", "what the sign-in page calls the provider"),
		claim:      f.String("oidc-claim", "groups", "`CLAIM` of the ID token that lists groups"),
		scopes:     f.StringSlice("oidc-scope", nil, "further `SCOPE` to ask for, such as groups; may be repeated"),
		roles:      f.StringArray("oidc-role", nil, "`GROUP=ROLE` that members of a group have here: viewer, analyst, responder, auditor, administrator; may be repeated"),
	}
}

// dir is where the desk is.
func (s serving) dir(where storing) string {
	if *s.desk != "" {
		return *s.desk
	}
	return *where.data
}

// loopback reports whether an address is of this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// open opens the console's port, with TLS if there is a certificate.
func (s serving) open() (net.Listener, error) {
	if (*s.cert == "") != (*s.key == "") {
		return nil, usagef("--tls-cert and --tls-key: want both or none")
	}
	if !loopback(*s.listen) && *s.cert == "" && !*s.plain {
		return nil, usagef("--listen %s: beyond loopback the console wants --tls-cert and --tls-key, or --behind-tls where a proxy speaks TLS; or reach it by an SSH tunnel", *s.listen)
	}
	l, err := listenOn(*s.listen)
	if err != nil || *s.cert == "" {
		return l, err
	}
	pair, err := tls.LoadX509KeyPair(*s.cert, *s.key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--tls-cert, --tls-key: %w", err), l.Close())
	}
	return tlsListener{tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), pair.Certificate[0]}, nil
}

// tlsListener knows its certificate.
type tlsListener struct {
	net.Listener
	leaf []byte
}

// listenOn opens a port.
func listenOn(addr string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usagef("--listen %s: want HOST:PORT, such as 127.0.0.1:8080", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("console: %w; choose another address with --listen", err)
	}
	return l, nil
}

// provider is where people sign in, if the flags name one.
func (s serving) provider() (*people.Provider, error) {
	if *s.issuer == "" {
		return nil, nil
	}
	if *s.client == "" || *s.redirect == "" {
		return nil, usagef("--oidc-issuer: want --oidc-client and --oidc-redirect, too")
	}
	cfg := people.ProviderConfig{
		Issuer: *s.issuer, Client: *s.client, Title: *s.title, Redirect: *s.redirect, Scopes: *s.scopes, Claim: *s.claim, Roles: map[string][]people.Role{},
	}
	var err error
	if cfg.Secret, err = secret("TOCSIN_OIDC_SECRET", *s.secretFile); err != nil {
		return nil, err
	}
	for _, r := range *s.roles {
		group, role, ok := strings.Cut(r, "=")
		if !ok || group == "" {
			return nil, usagef("--oidc-role %s: want GROUP=ROLE", r)
		}
		cfg.Roles[group] = append(cfg.Roles[group], people.Role(role))
	}
	p, err := people.NewProvider(cfg)
	if err != nil {
		return nil, usageError{fmt.Errorf("--oidc-role: %w", err)}
	}
	return p, nil
}

// office is a desk with its audit log.
type office struct {
	dir   string
	desk  *desk.Desk
	audit *audit.Log
}

func openOffice(dir string) (*office, error) {
	d, err := desk.Open(dir)
	if err != nil {
		return nil, err
	}
	l, err := audit.Open(dir)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &office{dir, d, l}, nil
}

// Close ends it.
func (o *office) Close() error { return errors.Join(o.desk.Close(), o.audit.Close()) }

// consoleConfig is what every console is made of.
func consoleConfig(s store.Store, o *office, k knowledge) (console.Config, error) {
	fields, err := schema()
	if err != nil {
		return console.Config{}, err
	}
	cfg := console.Config{
		Store: s, Desk: o.desk, Audit: o.audit, Schema: fields, Build: trace.Build, Formats: all.Formats(), Version: buildVersion(),
	}
	k.tell(&cfg)
	return cfg, nil
}

// callFile says where the console of a desk answers, and holds the key with
// which commands of the desk's owner ask it.
const callFile = "console.json"

type call struct {
	URL string `json:"url"`
	Key string `json:"key"`
	// Leaf is the SHA-256 of the console's certificate, hexadecimal.
	Leaf string `json:"leaf,omitempty"`
}

// show serves the console until ctx ends.
func (s serving) show(ctx context.Context, l net.Listener, st store.Store, o *office, k knowledge) error {
	cfg, err := consoleConfig(st, o, k)
	if err != nil {
		return err
	}
	if cfg.Provider, err = s.provider(); err != nil {
		return err
	}
	errs := s.cmd.ErrOrStderr()
	cfg.Log = slog.New(slog.NewTextHandler(errs, nil))
	_, secure := l.(tlsListener)
	cfg.Secure = secure || *s.plain
	cfg.Local = loopback(l.Addr().String()) && !*s.plain && cfg.Provider == nil
	cfg.Hosts = *s.names
	to := call{Key: randomText(32)}
	cfg.CommandKey = to.Key
	url := "http://" + l.Addr().String()
	if t, ok := l.(tlsListener); ok {
		sum := sha256.Sum256(t.leaf)
		url, to.Leaf = "https://"+l.Addr().String(), hex.EncodeToString(sum[:])
	}
	to.URL = reachable(url)
	any, err := people.New(o.desk).Any(ctx)
	if err != nil {
		return err
	}
	switch {
	case any:
	case cfg.Local:
		fmt.Fprintln(s.cmd.OutOrStdout(), "no users: whoever reaches the console from this machine is its operator; tocsin user add NAME --role administrator makes it ask for a password")
	default:
		cfg.SetupCode = randomText(20)
		fmt.Fprintf(errs, "tocsin: no users: make the first administrator at %s/setup?code=%s, until this program ends, or with tocsin user add NAME --role administrator\n", url, cfg.SetupCode)
	}
	path := filepath.Join(o.dir, callFile)
	text, err := json.Marshal(to)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(path+".new", text, 0o600), os.Rename(path+".new", path)); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	defer os.Remove(path)
	return serve(ctx, l, console.New(cfg))
}

// announce tells where the console is.
func announce(cmd *cobra.Command, l net.Listener) {
	scheme := "http"
	if _, ok := l.(tlsListener); ok {
		scheme = "https"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "console at %s://%s\n", scheme, l.Addr())
}

// reachable is a URL under which this machine reaches its own server.
func reachable(url string) string {
	for _, any := range []string{"0.0.0.0", "[::]"} {
		url = strings.Replace(url, "//"+any+":", "//localhost:", 1)
	}
	return url
}

func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}
