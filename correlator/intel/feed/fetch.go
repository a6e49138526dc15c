package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/correlator/intel"
)

// request makes a request with the feed's credentials.
func request(ctx context.Context, f *Feed, target string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "tocsin")
	switch {
	case f.Token != "":
		r.Header.Set("Authorization", "Bearer "+f.Token)
	case f.User != "":
		r.SetBasicAuth(f.User, f.Password)
	}
	return r, nil
}

// get asks and checks the answer's status. The URL in errors of package http
// has no password in it; ours is not in the URL at all.
func get(client *http.Client, r *http.Request, also ...int) (*http.Response, error) {
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK || slices.Contains(also, resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status says enough
	return nil, fmt.Errorf("%s answers %s: %q", r.URL.Redacted(), resp.Status, text)
}

// fetch gets a list by a conditional request (RFC 9110, section 13) into the
// file fresh; false: it has not changed.
func fetch(ctx context.Context, client *http.Client, f *Feed, s *State, fresh string) (bool, error) {
	r, err := request(ctx, f, f.URL)
	if err != nil {
		return false, err
	}
	if s.ETag != "" {
		r.Header.Set("If-None-Match", s.ETag)
	}
	if s.Modified != "" {
		r.Header.Set("If-Modified-Since", s.Modified)
	}
	resp, err := get(client, r, http.StatusNotModified)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return false, nil
	}
	s.ETag, s.Modified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	out, err := os.Create(fresh)
	if err != nil {
		return false, err
	}
	n, err := io.Copy(out, io.LimitReader(resp.Body, intel.MaxDocument+1))
	if err == nil && n > intel.MaxDocument {
		err = fmt.Errorf("%s is longer than %d MB", r.URL.Redacted(), intel.MaxDocument>>20)
	}
	if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
		err = fmt.Errorf("%s ends after %d of %d bytes", r.URL.Redacted(), n, resp.ContentLength)
	}
	if err == nil {
		err = out.Sync()
	}
	return true, errors.Join(err, out.Close())
}

// mediaType is what TAXII 2.1 asks for, section 1.6.8.
const mediaType = "application/taxii+json;version=2.1"

// Bounds of what one collection may hold here, and of how many pages of it are
// read at a time.
const (
	maxObjects = 2_000_000
	maxPages   = 10_000
	pageSize   = "5000" // objects; a server may give fewer
)

// taxii reads what a collection of a TAXII 2.1 server has got since the last
// time (sections 3.4 and 5.4) and joins it with what there is.
func taxii(ctx context.Context, client *http.Client, f *Feed, s *State, old, fresh string) (bool, error) {
	base, err := url.Parse(strings.TrimSuffix(f.TAXII, "/") + "/objects/")
	if err != nil {
		return false, err
	}
	var objects []json.RawMessage
	seen := map[string]bool{} // id and version
	if text, err := os.ReadFile(old); err == nil {
		var bundle envelope
		if err := json.Unmarshal(text, &bundle); err != nil {
			return false, fmt.Errorf("%s: %w; remove it to fetch everything again", old, err)
		}
		for _, o := range bundle.Objects {
			objects, _ = join(objects, seen, o)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return false, err
	} else {
		s.Added = ""
	}
	changed := false
	after, next := s.Added, ""
	for page := 0; ; page++ {
		if page == maxPages {
			return false, fmt.Errorf("%s: more than %d pages", base.Redacted(), maxPages)
		}
		query := url.Values{"limit": {pageSize}}
		if after != "" {
			query.Set("added_after", after)
		}
		if next != "" {
			query.Set("next", next)
		}
		target := *base
		target.RawQuery = query.Encode()
		r, err := request(ctx, f, target.String())
		if err != nil {
			return false, err
		}
		r.Header.Set("Accept", mediaType)
		var e envelope
		last, err := ask(client, r, &e)
		if err != nil {
			return false, err
		}
		for _, o := range e.Objects {
			var isNew bool
			objects, isNew = join(objects, seen, o)
			changed = changed || isNew
		}
		if len(objects) > maxObjects {
			return false, fmt.Errorf("%s: more than %d objects", base.Redacted(), maxObjects)
		}
		if last != "" {
			s.Added = last
		}
		if !e.More || len(e.Objects) == 0 {
			break
		}
		// A server that gives no cookie is asked for what came after the last.
		if next = e.Next; next == "" {
			if last == "" || last == after {
				return false, fmt.Errorf("%s says that there is more but not where", base.Redacted())
			}
			after = last
		}
	}
	if !changed {
		return false, nil
	}
	text, err := json.Marshal(envelope{Type: "bundle", ID: "bundle--" + f.Name, Objects: objects})
	if err != nil {
		return false, err
	}
	return true, os.WriteFile(fresh, text, 0o640)
}

type envelope struct {
	Type    string            `json:"type,omitempty"`
	ID      string            `json:"id,omitempty"`
	More    bool              `json:"more,omitempty"`
	Next    string            `json:"next,omitempty"`
	Objects []json.RawMessage `json:"objects"`
}

// ask gets one page, and the time at which its last object was added.
func ask(client *http.Client, r *http.Request, e *envelope) (string, error) {
	resp, err := get(client, r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, intel.MaxDocument)).Decode(e); err != nil {
		return "", fmt.Errorf("%s: %w", r.URL.Redacted(), err)
	}
	return resp.Header.Get("X-TAXII-Date-Added-Last"), nil
}

// join adds an object, unless it is there in the same version.
func join(objects []json.RawMessage, seen map[string]bool, o json.RawMessage) ([]json.RawMessage, bool) {
	var head struct {
		ID       string `json:"id"`
		Modified string `json:"modified"`
	}
	if json.Unmarshal(o, &head) == nil && head.ID != "" { // of another the format says what is wrong
		key := head.ID + " " + head.Modified
		if seen[key] {
			return objects, false
		}
		seen[key] = true
	}
	return append(objects, o), true
}
