package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// fault is an error that Elasticsearch answered.
type fault struct {
	Status int    // of HTTP
	Type   string // such as index_not_found_exception
	Reason string
}

func (f *fault) Error() string {
	switch {
	case f.Type == "":
		return fmt.Sprintf("status %d: %s", f.Status, f.Reason)
	case f.Status == http.StatusUnauthorized, f.Status == http.StatusForbidden && f.Type == "security_exception":
		return fmt.Sprintf("status %d: %s; check the user, password or API key and its privileges", f.Status, f.Reason)
	}
	return fmt.Sprintf("status %d: %s: %s", f.Status, f.Type, f.Reason)
}

// cause is an error as Elasticsearch writes it.
type cause struct {
	Type     string `json:"type"`
	Reason   string `json:"reason"`
	CausedBy *cause `json:"caused_by"`
}

// String is what went wrong, down to the first cause.
func (c *cause) String() string {
	s := c.Reason
	for c = c.CausedBy; c != nil; c = c.CausedBy {
		if c.Reason != "" {
			s += ": " + c.Reason
		}
	}
	return s
}

// errStatus makes an error of an answer that is not 2xx.
func errStatus(status int, body []byte) error {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	f := &fault{Status: status, Reason: http.StatusText(status)}
	if json.Unmarshal(body, &answer) != nil || len(answer.Error) == 0 {
		return f
	}
	var c cause
	if json.Unmarshal(answer.Error, &c) == nil {
		f.Type, f.Reason = c.Type, c.String()
	} else {
		json.Unmarshal(answer.Error, &f.Reason)
	}
	return f
}

// passing reports whether an error may go away by itself: a server that does
// not answer, has no capacity, or may not write because its disk is full.
func passing(err error) bool {
	var f *fault
	if !errors.As(err, &f) {
		var gone *url.Error
		var broken *brokenError
		return errors.As(err, &gone) || errors.As(err, &broken)
	}
	return passingStatus(f.Status, f.Type, f.Reason)
}

func passingStatus(status int, kind, reason string) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return true
	}
	// An index that is read-only for now, and a cluster that has all the shards
	// it may have: people put that right.
	return kind == "cluster_block_exception" || kind == "validation_exception" && strings.Contains(reason, "maximum")
}

// brokenError is a connection that did not bring an answer.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// do sends a request once and returns the body of a 2xx answer.
func (s *Store) do(ctx context.Context, method, path string, query url.Values, contentType string, body []byte) ([]byte, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeout, &brokenError{fmt.Errorf("no answer within %s", s.cfg.Timeout)})
	defer cancel()
	target := url.URL{Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == nil {
		req.Body, req.GetBody, req.ContentLength = http.NoBody, nil, 0
	} else {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.es.Perform(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &brokenError{err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &brokenError{err}
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("an answer of more than %d MB", maxAnswer>>20)
	case resp.StatusCode/100 != 2:
		return nil, errStatus(resp.StatusCode, text)
	}
	return text, nil
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 256 << 20

// ask sends a request as JSON, again for some time while what goes wrong may go
// away, and decodes the answer.
func (s *Store) ask(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	return s.askUntil(ctx, time.Now().Add(s.cfg.Patience), method, path, query, body, answer)
}

// forever is until the context ends.
var forever time.Time

// askUntil is ask with a time until which requests are sent again.
func (s *Store) askUntil(ctx context.Context, until time.Time, method, path string, query url.Values, body, answer any) error {
	hold := holdUp{s: s}
	defer hold.end()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		got, err := s.do(ctx, method, path, query, "application/json", text)
		if err == nil {
			if answer == nil {
				return nil
			}
			dec := json.NewDecoder(bytes.NewReader(got))
			dec.UseNumber()
			return dec.Decode(answer)
		}
		if ctx.Err() != nil || !passing(err) || until != forever && time.Now().After(until) {
			return err
		}
		hold.because(err)
		if err := pause(ctx, n); err != nil {
			return errors.Join(err, hold.why)
		}
	}
}

// pause waits before another attempt, longer each time, up to 5 s.
func pause(ctx context.Context, n int) error {
	wait := min(50*time.Millisecond<<min(n, 10), 5*time.Second)
	wait = wait/2 + rand.N(wait/2)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wait):
		return nil
	}
}

func isStatus(err error, status int) bool {
	var f *fault
	return errors.As(err, &f) && f.Status == status
}
