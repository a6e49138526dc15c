package taxii_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/share"
	"github.com/tocsin/tocsin/share/taxii"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/tlp"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func token(of string) string { return "token of " + of }

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// served has two recipients, to each of whom two cases were released.
func served(t *testing.T) (*httptest.Server, *share.Shelf, []share.Release) {
	t.Helper()
	p := &share.Policy{Marking: tlp.Green}
	for _, name := range []string{"one", "two"} {
		p.Recipients = append(p.Recipients, share.Recipient{Name: name, Clearance: tlp.Amber, Token: hash(token(name))})
	}
	p.Recipients = append(p.Recipients, share.Recipient{Name: "no token", Clearance: tlp.Amber})
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	shelf, err := share.OpenShelf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	master, err := shelf.Master()
	if err != nil {
		t.Fatal(err)
	}
	var list []share.Release
	for i, name := range []string{"one", "two", "one", "two"} {
		r, err := p.Recipient(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := p.Lens(r, master)
		if err != nil {
			t.Fatal(err)
		}
		evil, web := netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i+1)), netip.MustParseAddr("10.0.0.1")
		out, err := l.Release(&trace.Trace{
			Seed: evil.String(), From: noon, To: noon.Add(time.Minute), Origin: evil, Target: web,
			Path:  []trace.Hop{{From: evil, To: web, Port: 22, Transport: "tcp", Protocol: "ssh", Start: noon, End: noon, Confidence: 0.9, Role: "access"}},
			Nodes: []trace.Node{{Address: evil, Role: "origin", First: noon, Last: noon}, {Address: web, Name: "web", Role: "target", First: noon, Last: noon}},
		}, tlp.Green, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := shelf.Put(r, "case", out, "somebody", noon.Add(time.Duration(i)*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	s := &taxii.Server{Policy: func() *share.Policy { return p }, Shelf: shelf, Title: "test"}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return srv, shelf, list
}

type reply struct {
	Objects  []map[string]any
	Versions []string
	More     bool
	Next     string
	Title    string
}

func get(t *testing.T, srv *httptest.Server, who, path string, want int) (r reply, head http.Header) {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "application/taxii+json;version=2.1")
	if who != "" {
		q.SetBasicAuth(who, token(who))
	}
	a, err := srv.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != want {
		t.Errorf("%s for %q: %s, want %d\n%s", path, who, a.Status, want, text)
	}
	if kind := a.Header.Get("Content-Type"); kind != "application/taxii+json;version=2.1" {
		t.Errorf("%s: Content-Type %s", path, kind)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Errorf("%s: %v\n%s", path, err, text)
	}
	return r, a.Header
}

func objects(who string) string {
	return "/taxii2/tocsin/collections/" + taxii.Collection(who) + "/objects/"
}

// TestEachSeesTheirOwn asks for everything as everybody.
func TestEachSeesTheirOwn(t *testing.T) {
	srv, _, _ := served(t)
	for _, path := range []string{"/taxii2/", "/taxii2/tocsin/", "/taxii2/tocsin/collections/", objects("one")} {
		get(t, srv, "", path, http.StatusUnauthorized)
		get(t, srv, "no token", path, http.StatusUnauthorized)
		get(t, srv, "one", path, http.StatusOK)
	}
	get(t, srv, "one", objects("two"), http.StatusNotFound)
	get(t, srv, "two", strings.TrimSuffix(objects("one"), "objects/"), http.StatusNotFound)
	get(t, srv, "two", strings.TrimSuffix(objects("one"), "objects/")+"manifest/", http.StatusNotFound)
	get(t, srv, "one", "/taxii2/other/", http.StatusNotFound)
	one, _ := get(t, srv, "one", objects("one"), http.StatusOK)
	two, _ := get(t, srv, "two", objects("two"), http.StatusOK)
	text := func(r reply) string { b, _ := json.Marshal(r.Objects); return string(b) }
	if len(one.Objects) < 10 || !strings.Contains(text(one), "198.51.100.1") || !strings.Contains(text(one), "198.51.100.3") || strings.Contains(text(one), "198.51.100.2") || strings.Contains(text(two), "198.51.100.3") {
		t.Errorf("one sees %s", text(one))
	}
	if strings.Contains(text(one), "10.0.0.1") || strings.Contains(text(one), `"web"`) {
		t.Error("our own got out")
	}
}

func TestPagesAndFilters(t *testing.T) {
	srv, _, list := served(t)
	whole, _ := get(t, srv, "one", objects("one"), http.StatusOK)
	var pages []map[string]any
	next := ""
	for range 100 {
		path := objects("one") + "?limit=3"
		if next != "" {
			path += "&next=" + next
		}
		r, head := get(t, srv, "one", path, http.StatusOK)
		if len(r.Objects) > 3 || head.Get("X-TAXII-Date-Added-First") == "" {
			t.Fatalf("%d objects, %v", len(r.Objects), head)
		}
		pages = append(pages, r.Objects...)
		if next = r.Next; !r.More {
			break
		}
	}
	a, _ := json.Marshal(whole.Objects)
	b, _ := json.Marshal(pages)
	if !bytes.Equal(a, b) {
		t.Errorf("pages have %d objects, the whole %d", len(pages), len(whole.Objects))
	}
	kinds, _ := get(t, srv, "one", objects("one")+"?match[type]=indicator,report", http.StatusOK)
	if len(kinds.Objects) != 4 {
		t.Errorf("%d indicators and reports, want 4", len(kinds.Objects))
	}
	late, _ := get(t, srv, "one", objects("one")+"?added_after="+list[0].At.Format("2006-01-02T15:04:05.000000Z"), http.StatusOK)
	if n := len(late.Objects); n == 0 || n >= len(whole.Objects) {
		t.Errorf("%d objects since the first release", n)
	}
	id := kinds.Objects[0]["id"].(string)
	if r, _ := get(t, srv, "one", objects("one")+id+"/", http.StatusOK); len(r.Objects) != 1 {
		t.Errorf("%s: %d objects", id, len(r.Objects))
	}
	if r, _ := get(t, srv, "one", objects("one")+id+"/versions/", http.StatusOK); len(r.Versions) != 1 {
		t.Errorf("%s: versions %v", id, r.Versions)
	}
	get(t, srv, "one", objects("one")+"indicator--00000000-0000-4000-8000-000000000000/", http.StatusNotFound)
	for _, bad := range []string{"?limit=0", "?limit=x", "?added_after=yesterday", "?next=-1"} {
		get(t, srv, "one", objects("one")+bad, http.StatusBadRequest)
	}
	if r, _ := get(t, srv, "one", objects("one")+"?match[spec_version]=2.0", http.StatusOK); len(r.Objects) != 0 {
		t.Error("STIX 2.0 is there")
	}
}

// TestRecall takes a release back: what it said is gone, and its objects are
// told as revoked.
func TestRecall(t *testing.T) {
	srv, shelf, list := served(t)
	before, _ := get(t, srv, "one", objects("one")+"?match[type]=indicator", http.StatusOK)
	if err := shelf.Recall(list[0].ID, "a mistake", noon.Add(10*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := shelf.Recall(list[0].ID, "", noon); err == nil {
		t.Error("recalled twice")
	}
	after, _ := get(t, srv, "one", objects("one"), http.StatusOK)
	text, _ := json.Marshal(after.Objects)
	if strings.Contains(string(text), "198.51.100.1") || !strings.Contains(string(text), "198.51.100.3") {
		t.Errorf("what was recalled is there, or what was not is gone")
	}
	revoked := map[any]bool{}
	for _, o := range after.Objects {
		if o["revoked"] == true {
			revoked[o["id"]] = true
		}
	}
	if !revoked[before.Objects[0]["id"]] || revoked[before.Objects[1]["id"]] {
		t.Errorf("revoked: %v", revoked)
	}
	news, _ := get(t, srv, "one", objects("one")+"?added_after="+noon.Add(9*time.Hour).Format(time.RFC3339), http.StatusOK)
	if len(news.Objects) == 0 {
		t.Error("who has fetched already does not hear of the recall")
	}
	if validator := os.Getenv("TOCSIN_STIX_VALIDATOR"); validator != "" {
		path := t.TempDir() + "/revoked.json"
		bundle, _ := json.Marshal(map[string]any{"type": "bundle", "id": "bundle--5d0092c5-5f74-4287-9642-33f4c354e56d", "objects": news.Objects})
		if err := os.WriteFile(path, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(validator, "--version", "2.1", path).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("Valid")) {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestPublicClient asks by the public client of the standard, which make test
// installs.
func TestPublicClient(t *testing.T) {
	python := os.Getenv("TOCSIN_PYTHON")
	if python == "" {
		t.Skip("TOCSIN_PYTHON is not set; make test sets it")
	}
	srv, _, _ := served(t)
	out, err := exec.Command(python, "-c", `
import sys
from taxii2client.v21 import Server, as_pages
s = Server(sys.argv[1] + "/taxii2/", user="one", password=sys.argv[2])
root = s.default
print(s.title, root.title, len(root.collections))
c = root.collections[0]
print(c.title, c.can_read, c.can_write)
whole = c.get_objects()["objects"]
pages = [o for page in as_pages(c.get_objects, per_request=4) for o in page.get("objects", [])]
print(len(whole) == len(pages), len({o["id"] for o in whole}) == len(whole))
i = c.get_objects(type="indicator")["objects"]
print(len(i), sorted(o["pattern"] for o in i))
print(len(c.get_manifest()["objects"]) == len(whole))
print(c.get_object(i[0]["id"])["objects"][0]["id"] == i[0]["id"], len(c.object_versions(i[0]["id"])["versions"]))
try:
    Server(sys.argv[1] + "/taxii2/", user="two", password=sys.argv[2]).title
except Exception as e:
    print("401" in str(e))
`, srv.URL, token("one")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "test test 1\nReleased to one True False\nTrue True\n2 [\"[ipv4-addr:value = '198.51.100.1']\", \"[ipv4-addr:value = '198.51.100.3']\"]\nTrue\nTrue 1\nTrue\n"
	if got := string(out); got != want {
		t.Errorf("the client sees\n%s\nwant\n%s", got, want)
	}
}

// TestChangedOnDisk does not hand out what was not released.
func TestChangedOnDisk(t *testing.T) {
	_, shelf, list := served(t)
	e := list[0]
	e.Hash = hash("another")
	if err := shelf.Load(&e); err == nil || !strings.Contains(err.Error(), "hash") {
		t.Error(err)
	}
}
