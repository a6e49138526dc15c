package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/console"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
)

// asking are the flags of commands that do what the page does, by the same
// operations: of a console elsewhere, of the one that runs on this desk, or,
// if none does, of one that is made for the command.
type asking struct {
	cmd       *cobra.Command
	where     storing
	desk      *string
	url       *string
	tokenFile *string
	assets    *string
}

func askFlags(cmd *cobra.Command) *asking {
	return &asking{
		cmd: cmd, where: storeFlags(cmd), desk: deskFlag(cmd), assets: assetsFlag(cmd),
		url:       cmd.Flags().String("console", "", "`URL` of a console elsewhere, instead of the desk and store here"),
		tokenFile: cmd.Flags().String("token-file", "", "`FILE` with a token for --console; or in TOCSIN_TOKEN"),
	}
}

// myself is who runs the command.
func myself() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "somebody"
}

// client asks a console.
type client struct {
	http   *http.Client
	base   string // URL without a path
	header http.Header
	close  func() error
}

// open finds the console. Commands about people need no store, and withStore
// says whether this one does.
func (a *asking) open(withStore bool) (*client, error) {
	if *a.url != "" {
		token, err := secret("TOCSIN_TOKEN", *a.tokenFile)
		if err != nil {
			return nil, err
		}
		if token == "" {
			return nil, usagef("--console: want a token in --token-file or TOCSIN_TOKEN; tocsin token create makes one there")
		}
		return &client{
			http: &http.Client{}, base: strings.TrimSuffix(*a.url, "/"),
			header: http.Header{"Authorization": {"Bearer " + token}}, close: func() error { return nil },
		}, nil
	}
	dir := cmp.Or(*a.desk, *a.where.data)
	if c := running(dir); c != nil {
		return c, nil
	}
	o, err := openOffice(dir)
	if err != nil {
		return nil, err
	}
	var s store.Store
	if withStore {
		if s, err = a.where.open(a.cmd.Context(), embedded.ReadWrite); err != nil {
			return nil, errors.Join(err, o.Close())
		}
	}
	assets, err := loadAssets(*a.assets)
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	none := []string{}
	rules := ruleset{paths: &none, lists: &none, shipped: true, now: &inForce{}}
	fields, err := schema()
	if err == nil {
		set, bad := rules.load(fields)
		rules.now.set.Store(set)
		err = bad
	}
	k := knowledge{assets: assets, rules: &rules}
	k.ledger = a.where.shelf(s)
	cfg, wrong := consoleConfig(s, o, k)
	if err = errors.Join(err, wrong); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return &client{
		http: &http.Client{Transport: inProcess{console.New(cfg).As(myself())}}, base: "http://localhost", header: http.Header{},
		close: func() error {
			if s != nil {
				err = s.Close()
			}
			return errors.Join(err, o.Close())
		},
	}, nil
}

// running is the console that answers for a desk; nil: none does.
func running(dir string) *client {
	text, err := os.ReadFile(filepath.Join(dir, callFile))
	if err != nil {
		return nil
	}
	var to call
	if json.Unmarshal(text, &to) != nil {
		return nil
	}
	dial := &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12,
		// It is known by its very certificate, whatever name that has.
		InsecureSkipVerify: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) > 0 {
				if sum := sha256.Sum256(raw[0]); hex.EncodeToString(sum[:]) == to.Leaf {
					return nil
				}
			}
			return errors.New("another server answers at " + to.URL)
		},
	}}
	c := &client{
		http: &http.Client{Transport: dial}, base: to.URL,
		header: http.Header{"Authorization": {"Tocsin-Command " + to.Key}, "X-Tocsin-As": {myself()}},
		close:  func() error { dial.CloseIdleConnections(); return nil },
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, "/session", nil)
	if err != nil {
		return nil // left behind by one that was killed
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	return c
}

// inProcess hands requests to a handler of this process. What the handler writes
// goes through a pipe, so that an export need not fit into memory.
type inProcess struct{ h http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	in, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, ready: make(chan struct{})}
	go func() {
		var failed error
		defer func() {
			if x := recover(); x != nil {
				failed = fmt.Errorf("the answer broke off: %v", x)
			}
			w.WriteHeader(http.StatusOK)
			out.CloseWithError(failed)
		}()
		t.h.ServeHTTP(w, r)
	}()
	<-w.ready
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: in, ContentLength: -1, Request: r,
	}, nil
}

type pipeWriter struct {
	header, sent http.Header
	status       int
	out          *io.PipeWriter
	ready        chan struct{}
}

// Header implements http.ResponseWriter.
func (w *pipeWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *pipeWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	}
}

// Write implements http.ResponseWriter.
func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(b)
}

func (c *client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case json.RawMessage:
		in = bytes.NewReader(b)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, in)
	if err != nil {
		return nil, usageError{err}
	}
	r.Header = c.header.Clone()
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.http.Do(r)
}

// ask asks and returns the answer; a problem is an error.
func (c *client) ask(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var p struct {
		Detail string
		Errors []struct{ Message, Location string }
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		return nil, fmt.Errorf("console: %s %s: status %d", method, path, resp.StatusCode)
	}
	for _, e := range p.Errors {
		p.Detail += "; " + e.Location + ": " + e.Message
	}
	err = errors.New(p.Detail)
	if resp.StatusCode == http.StatusUnprocessableEntity {
		return nil, usageError{err}
	}
	return nil, err
}

// tellJSON asks and prints the answer as it is, indented.
func (c *client) tellJSON(cmd *cobra.Command, method, path string, body any) error {
	in, err := c.ask(cmd.Context(), method, path, body)
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return err
	}
	var out bytes.Buffer
	if json.Indent(&out, text, "", "  ") != nil {
		_, err = cmd.OutOrStdout().Write(text) // a page or YAML
		return err
	}
	out.WriteByte('\n')
	_, err = out.WriteTo(cmd.OutOrStdout())
	return err
}

// get asks and decodes.
func get[T any](ctx context.Context, c *client, method, path string, body any) (v T, err error) {
	in, err := c.ask(ctx, method, path, body)
	if err != nil {
		return v, err
	}
	defer in.Close()
	return v, json.NewDecoder(in).Decode(&v)
}
