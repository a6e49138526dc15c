// Package taxii serves what was released to recipients by TAXII 2.1 (OASIS
// Standard, 2021): a collection for each, which only they see. It is read only.
package taxii

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/share"
)

// media is what the standard's answers are (section 1.6.8), and stixMedia the
// type of what is in collections.
const (
	media     = "application/taxii+json;version=2.1"
	stixMedia = "application/stix+json;version=2.1"
	root      = "/taxii2/tocsin/"
)

// maxPage is how many objects an answer has at most.
const maxPage = 1000

// Server answers requests.
type Server struct {
	Policy func() *share.Policy // as it is now
	Shelf  *share.Shelf
	Title  string
	Log    func(recipient, path string, status int) // of each request; may be nil
}

// Handler returns what serves HTTP.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /taxii2/{$}", s.discovery)
	mux.HandleFunc("GET "+root+"{$}", s.apiRoot)
	mux.HandleFunc("GET "+root+"collections/{$}", s.collections)
	mux.HandleFunc("GET "+root+"collections/{id}/{$}", s.collection)
	mux.HandleFunc("GET "+root+"collections/{id}/manifest/{$}", s.manifest)
	mux.HandleFunc("GET "+root+"collections/{id}/objects/{$}", s.objects)
	mux.HandleFunc("GET "+root+"collections/{id}/objects/{object}/{$}", s.objects)
	mux.HandleFunc("GET "+root+"collections/{id}/objects/{object}/versions/{$}", s.versions)
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodGet && q.Method != http.MethodHead {
			fail(w, http.StatusMethodNotAllowed, "collections are read only")
			return
		}
		fail(w, http.StatusNotFound, "there is nothing here; begin at /taxii2/")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		seen := &status{ResponseWriter: w}
		r := s.who(q)
		switch {
		case r == nil:
			w.Header().Set("WWW-Authenticate", `Basic realm="taxii", charset="UTF-8"`)
			fail(seen, http.StatusUnauthorized, "the name or the token is missing or wrong")
		case !accepts(q.Header.Get("Accept")):
			fail(seen, http.StatusNotAcceptable, "this server speaks "+media)
		default:
			// The path, as clients that leave out the last slash mean it.
			if !strings.HasSuffix(q.URL.Path, "/") {
				q.URL.Path += "/"
			}
			q.Header.Set(recipientHeader, r.Name)
			mux.ServeHTTP(seen, q)
		}
		if s.Log != nil {
			name := ""
			if r != nil {
				name = r.Name
			}
			s.Log(name, q.URL.Path, cmp.Or(seen.code, http.StatusOK))
		}
	})
}

// recipientHeader carries who asks within the server; what a client sends there
// is overwritten.
const recipientHeader = "Tocsin-Recipient"

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// who finds the recipient by name and token, or by the token alone.
func (s *Server) who(q *http.Request) *share.Recipient {
	name, token, basic := q.BasicAuth()
	if !basic {
		var ok bool
		if token, ok = strings.CutPrefix(q.Header.Get("Authorization"), "Bearer "); !ok {
			return nil
		}
	}
	sum := sha256.Sum256([]byte(token))
	given := hex.EncodeToString(sum[:])
	p := s.Policy()
	var found *share.Recipient
	for i := range p.Recipients {
		r := &p.Recipients[i]
		if r.Token != "" && subtle.ConstantTimeCompare([]byte(strings.ToLower(r.Token)), []byte(given)) == 1 && (!basic || r.Name == name) {
			found = r
		}
	}
	return found
}

func accepts(header string) bool {
	if header == "" {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		kind := strings.ReplaceAll(strings.TrimSpace(part), " ", "")
		kind, _, _ = strings.Cut(kind, ";q=")
		switch kind {
		case "*/*", "application/*", "application/taxii+json", media:
			return true
		}
	}
	return false
}

func fail(w http.ResponseWriter, code int, title string) {
	w.Header().Set("Content-Type", media)
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]string{"title": title, "http_status": strconv.Itoa(code)}) // who has gone does not read it
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", media)
	json.NewEncoder(w).Encode(v)
}

func (s *Server) discovery(w http.ResponseWriter, q *http.Request) {
	answer(w, map[string]any{"title": s.Title, "default": root, "api_roots": []string{root}})
}

func (s *Server) apiRoot(w http.ResponseWriter, q *http.Request) {
	answer(w, map[string]any{"title": s.Title, "versions": []string{media}, "max_content_length": 0})
}

// Collection is the identifier of a recipient's collection.
func Collection(recipient string) string {
	sum := sha256.Sum256([]byte("tocsin collection " + recipient))
	b := sum[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	x := hex.EncodeToString(b)
	return fmt.Sprintf("%s-%s-%s-%s-%s", x[:8], x[8:12], x[12:16], x[16:20], x[20:])
}

func describe(recipient string) map[string]any {
	return map[string]any{
		"id": Collection(recipient), "title": "Released to " + recipient, "can_read": true, "can_write": false, "media_types": []string{stixMedia},
	}
}

func (s *Server) collections(w http.ResponseWriter, q *http.Request) {
	answer(w, map[string]any{"collections": []any{describe(q.Header.Get(recipientHeader))}})
}

// mine reports whether the collection that is asked for is the asker's own.
// That there are others is nobody's business.
func mine(w http.ResponseWriter, q *http.Request) bool {
	if q.PathValue("id") == Collection(q.Header.Get(recipientHeader)) {
		return true
	}
	fail(w, http.StatusNotFound, "no such collection")
	return false
}

func (s *Server) collection(w http.ResponseWriter, q *http.Request) {
	if mine(w, q) {
		answer(w, describe(q.Header.Get(recipientHeader)))
	}
}

// item is a version of an object in a collection.
type item struct {
	object  share.Object
	id      string
	kind    string
	version string // of an observable, when it was added
	added   time.Time
}

const stamp = "2006-01-02T15:04:05.000000Z"

// items lists a recipient's collection in the order in which it grew.
func (s *Server) items(recipient string) (list []item, err error) {
	releases, err := s.Shelf.List(recipient)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	add := func(o share.Object, at time.Time) {
		text := func(name string) string { v, _ := o[name].(string); return v }
		i := item{object: o, id: text("id"), kind: text("type"), version: cmp.Or(text("modified"), text("created")), added: at}
		if i.version == "" {
			i.version = at.Format(stamp)
			if have[i.id] {
				return // an observable is what it is
			}
		}
		if k := i.id + i.version; !have[k] {
			have[k], have[i.id] = true, true
			list = append(list, i)
		}
	}
	// Releases and recalls, in the order in which they happened.
	type happening struct {
		at     time.Time
		recall bool
		*share.Release
	}
	var all []happening
	for i := range releases {
		e := &releases[i]
		if err := s.Shelf.Load(e); err != nil {
			return nil, err
		}
		all = append(all, happening{e.At, false, e})
		if !e.Recalled.IsZero() {
			all = append(all, happening{e.Recalled, true, e})
		}
	}
	slices.SortStableFunc(all, func(a, b happening) int { return a.at.Compare(b.at) })
	for _, h := range all {
		for _, o := range h.Bundle {
			_, versioned := o["modified"]
			switch {
			case h.recall && versioned:
				revoked := share.Object{}
				for _, name := range []string{"type", "id", "spec_version", "created", "created_by_ref", "object_marking_refs"} {
					if v, ok := o[name]; ok {
						revoked[name] = v
					}
				}
				for name, v := range required(o) {
					revoked[name] = v
				}
				revoked["modified"], revoked["revoked"] = h.at.UTC().Format("2006-01-02T15:04:05.000Z"), true
				add(revoked, h.at)
			case !h.recall && h.Recalled.IsZero():
				add(o, h.at)
			case !h.recall && o["type"] == "marking-definition":
				add(o, h.at)
			}
		}
	}
	return list, nil
}

// required are the members that an object of a type must have though it is
// revoked (STIX 2.1, section 4 and 5), without what they said.
func required(o share.Object) share.Object {
	switch o["type"] {
	case "identity", "infrastructure", "attack-pattern", "incident":
		return share.Object{"name": "recalled"}
	case "indicator":
		return share.Object{"pattern": "[ipv4-addr:value = '0.0.0.0']", "pattern_type": "stix", "valid_from": o["valid_from"]}
	case "relationship":
		return share.Object{"relationship_type": o["relationship_type"], "source_ref": o["source_ref"], "target_ref": o["target_ref"]}
	case "report":
		return share.Object{"name": "recalled", "published": o["published"], "object_refs": []any{o["created_by_ref"]}}
	case "note":
		return share.Object{"content": "recalled", "object_refs": []any{o["created_by_ref"]}}
	case "observed-data":
		return share.Object{"first_observed": o["first_observed"], "last_observed": o["last_observed"], "number_observed": 1, "object_refs": o["object_refs"]}
	}
	return nil
}

// page is what a request asks for, and whether there is more behind it.
type page struct {
	items []item
	next  string
}

// find filters, and cuts to a page (sections 3.4 and 3.5). It has answered if it
// returns false.
func (s *Server) find(w http.ResponseWriter, q *http.Request, allVersions bool) (p page, ok bool) {
	list, err := s.items(q.Header.Get(recipientHeader))
	if err != nil {
		fail(w, http.StatusInternalServerError, "the collection cannot be read")
		return p, false
	}
	form := q.URL.Query()
	wanted := func(name string) []string {
		if v := form.Get("match[" + name + "]"); v != "" {
			return strings.Split(v, ",")
		}
		return nil
	}
	var after time.Time
	if v := form.Get("added_after"); v != "" {
		if after, err = time.Parse(time.RFC3339Nano, v); err != nil {
			fail(w, http.StatusBadRequest, "added_after: want a time such as 2026-01-31T12:00:00.000000Z")
			return p, false
		}
	}
	limit := maxPage
	if v := form.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			fail(w, http.StatusBadRequest, "limit: want a number from 1 on")
			return p, false
		}
		limit = min(n, maxPage)
	}
	from := 0
	if v := form.Get("next"); v != "" {
		if from, err = strconv.Atoi(v); err != nil || from < 0 {
			fail(w, http.StatusBadRequest, "next: want what an answer said")
			return p, false
		}
	}
	ids, kinds, versions, specs := wanted("id"), wanted("type"), wanted("version"), wanted("spec_version")
	if o := q.PathValue("object"); o != "" {
		ids = []string{o}
		if !slices.ContainsFunc(list, func(i item) bool { return i.id == o }) {
			fail(w, http.StatusNotFound, "no such object")
			return p, false
		}
	}
	if len(versions) == 0 && !allVersions {
		versions = []string{"last"}
	}
	first, last := map[string]string{}, map[string]string{}
	for _, i := range list {
		if v, ok := first[i.id]; !ok || i.version < v {
			first[i.id] = i.version
		}
		last[i.id] = max(last[i.id], i.version)
	}
	for at, i := range list {
		if at < from || !i.added.After(after) && !after.IsZero() ||
			len(ids) > 0 && !slices.Contains(ids, i.id) || len(kinds) > 0 && !slices.Contains(kinds, i.kind) || len(specs) > 0 && !slices.Contains(specs, "2.1") {
			continue
		}
		if len(versions) > 0 && !slices.ContainsFunc(versions, func(v string) bool {
			return v == "all" || v == "first" && first[i.id] == i.version || v == "last" && last[i.id] == i.version || same(v, i.version)
		}) {
			continue
		}
		if len(p.items) == limit {
			p.next = strconv.Itoa(at)
			break
		}
		p.items = append(p.items, i)
	}
	if n := len(p.items); n > 0 {
		w.Header().Set("X-TAXII-Date-Added-First", p.items[0].added.Format(stamp))
		w.Header().Set("X-TAXII-Date-Added-Last", p.items[n-1].added.Format(stamp))
	}
	return p, true
}

// same compares times however many digits they have.
func same(a, b string) bool {
	x, err := time.Parse(time.RFC3339Nano, a)
	y, err2 := time.Parse(time.RFC3339Nano, b)
	return err == nil && err2 == nil && x.Equal(y)
}

// more adds what says that there is more.
func (p *page) more(v map[string]any) map[string]any {
	if p.next != "" {
		v["more"], v["next"] = true, p.next
	}
	return v
}

func (s *Server) objects(w http.ResponseWriter, q *http.Request) {
	if !mine(w, q) {
		return
	}
	p, ok := s.find(w, q, false)
	if !ok {
		return
	}
	v := p.more(map[string]any{})
	if len(p.items) > 0 {
		list := make([]share.Object, len(p.items))
		for i := range p.items {
			list[i] = p.items[i].object
		}
		v["objects"] = list
	}
	answer(w, v)
}

func (s *Server) manifest(w http.ResponseWriter, q *http.Request) {
	if !mine(w, q) {
		return
	}
	p, ok := s.find(w, q, false)
	if !ok {
		return
	}
	v := p.more(map[string]any{})
	if len(p.items) > 0 {
		list := make([]any, len(p.items))
		for n, i := range p.items {
			list[n] = map[string]any{"id": i.id, "date_added": i.added.Format(stamp), "version": i.version, "media_type": stixMedia}
		}
		v["objects"] = list
	}
	answer(w, v)
}

func (s *Server) versions(w http.ResponseWriter, q *http.Request) {
	if !mine(w, q) {
		return
	}
	p, ok := s.find(w, q, true)
	if !ok {
		return
	}
	v := p.more(map[string]any{})
	var list []string
	for _, i := range p.items {
		list = append(list, i.version)
	}
	if len(list) > 0 {
		v["versions"] = list
	}
	answer(w, v)
}
