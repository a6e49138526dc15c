package feed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator/intel/all"
	"github.com/tocsin/tocsin/correlator/intel/feed"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func config(t *testing.T, text string) *feed.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "feeds.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := feed.Read(path, all.Formats())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keeper is somebody who keeps a list.
type keeper struct {
	text, etag string
	status     int
	cut        bool // announces more than it sends
	asked      int
	secret     string // what it saw of credentials
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.asked++
	k.secret = r.Header.Get("Authorization")
	switch {
	case k.status != 0:
		http.Error(w, "come back later", k.status)
	case r.Header.Get("If-None-Match") == k.etag && k.etag != "":
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", k.etag)
		if k.cut {
			w.Header().Set("Content-Length", fmt.Sprint(len(k.text)+100))
		}
		w.Write([]byte(k.text))
	}
}

// TestUpdate follows a list through good and bad days.
func TestUpdate(t *testing.T) {
	k := &keeper{text: "203.0.113.1\n203.0.113.2\n203.0.113.3\n203.0.113.4\n", etag: `"1"`}
	server := httptest.NewServer(k)
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(t, "cache: kept\nfeeds:\n  - {name: own, url: '"+server.URL+"', token_file: "+token+", confidence: 70}\n")
	f := &c.Feeds[0]
	hour := 0
	update := func(accept bool) feed.State {
		t.Helper()
		hour++
		s, err := c.Update(context.Background(), server.Client(), f, all.Formats(), now.Add(time.Duration(hour)*time.Hour), accept)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := c.State(f); err != nil || again != s {
			t.Errorf("the disk has %+v (%v), Update returned %+v", again, err, s)
		}
		return s
	}
	entries := func() int {
		t.Helper()
		table, _, missing, err := c.Table(nil, all.Formats())
		if err != nil || len(missing) > 0 {
			t.Fatal(missing, err)
		}
		return table.Len()
	}
	if _, _, missing, err := c.Table(nil, all.Formats()); err != nil || len(missing) != 1 {
		t.Errorf("before the first fetch: missing %q, %v", missing, err)
	}
	if s := update(false); !s.Healthy() || s.Entries != 4 || entries() != 4 {
		t.Errorf("first: %+v", s)
	}
	if k.secret != "Bearer hush" {
		t.Errorf("Authorization %q", k.secret)
	}
	if s := update(false); !s.Healthy() || s.Entries != 4 || !s.Fetched.Equal(now.Add(2*time.Hour)) || !s.Changed.Equal(now.Add(time.Hour)) {
		t.Errorf("not changed: %+v", s)
	}
	for name, worse := range map[string]keeper{
		"shrunk": {text: "203.0.113.1\n", etag: `"2"`},
		"empty":  {text: "", etag: `"2"`},
		"error":  {status: http.StatusServiceUnavailable},
		"page":   {text: "<html>\x00</html>", etag: `"2"`},
		"cut":    {text: "203.0.113.9\n", etag: `"2"`, cut: true},
	} {
		*k = worse
		if s := update(false); s.Healthy() || s.Entries != 4 || entries() != 4 || strings.Contains(s.Problem, "hush") {
			t.Errorf("%s: %+v with %d entries in use, want the 4 of before and a problem", name, s, entries())
		}
	}
	*k = keeper{text: "203.0.113.1\n", etag: `"2"`}
	if s := update(true); !s.Healthy() || s.Entries != 1 || entries() != 1 {
		t.Errorf("accepted: %+v", s)
	}
	*k = keeper{text: "203.0.113.1\n203.0.113.7\n", etag: `"3"`}
	if s := update(false); !s.Healthy() || s.Entries != 2 || entries() != 2 {
		t.Errorf("grown: %+v", s)
	}
	server.Close()
	if s := update(false); s.Healthy() || entries() != 2 {
		t.Errorf("gone: %+v", s)
	}
}

func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		"feeds:\n  - {name: a, pth: x}\n":                                            "line 2: pth is no setting here",
		"feeds:\n  - {name: a}\n":                                                    "want one of path, url and taxii",
		"feeds:\n  - {name: '../a', path: x}\n":                                      "name: want letters",
		"feeds:\n  - {name: a, url: 'ftp://x'}\n":                                    "want a URL of https or http",
		"feeds:\n  - {name: a, url: 'https://x'}\n":                                  "cache must name a folder",
		"feeds:\n  - {name: a, path: x, format: exe}\n":                              "want one of misp, stix",
		"feeds:\n  - {name: a, path: x, tlp: purple}\n":                              "want CLEAR, GREEN",
		"feeds:\n  - {name: a, path: x, half_life: soon}\n":                          "half_life: \"soon\": want a duration",
		"feeds:\n  - {name: a, path: x, interval: 1s}\n":                             "want a minute or more",
		"feeds:\n  - {name: a, path: x}\n  - {name: a, path: y}\n":                   "the name a is taken",
		"feeds:\n  - {name: a, path: x, token_file: none}\n":                         "token_file: open",
		"feeds:\n  - {name: a, path: x, half_life: 30d, tlp: amber, interval: 1h}\n": "",
	} {
		path := filepath.Join(t.TempDir(), "feeds.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := feed.Read(path, all.Formats())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestColumns reads a list whose columns have names of their own.
func TestColumns(t *testing.T) {
	c := config(t, "feeds:\n  - {name: own, path: list.csv, columns: {value: adresse, confidence: gewissheit}}\n")
	if err := os.WriteFile(c.Feeds[0].Path, []byte("gewissheit;adresse\n90;203.0.113.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	table, _, _, err := c.Table(nil, all.Formats())
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := table.Address(netip.MustParseAddr("203.0.113.1"), now); !ok || v.Confidence != 90 || v.Provider != "own" {
		t.Errorf("%+v", v.Indicator)
	}
}

const collection = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"

// TestTAXII fetches from a server that nobody here wrote, page by page, and
// later what was added.
func TestTAXII(t *testing.T) {
	program := os.Getenv("TOCSIN_TAXII_SERVER")
	if program == "" {
		t.Skip("TOCSIN_TAXII_SERVER names no TAXII server; make test sets it")
	}
	dir := t.TempDir()
	indicator := func(n int) map[string]any {
		stamp := fmt.Sprintf("2026-01-01T00:00:%02d.000Z", n)
		return map[string]any{
			"type": "indicator", "spec_version": "2.1", "id": fmt.Sprintf("indicator--00000000-0000-4000-8000-%012d", n),
			"created": stamp, "modified": stamp, "valid_from": stamp, "pattern_type": "stix", "pattern": fmt.Sprintf("[ipv4-addr:value = '203.0.113.%d']", n),
		}
	}
	var objects, manifest []map[string]any
	for n := 1; n <= 25; n++ {
		o := indicator(n)
		objects = append(objects, o)
		manifest = append(manifest, map[string]any{"id": o["id"], "date_added": o["created"], "version": o["modified"], "media_type": "application/stix+json;version=2.1"})
	}
	write := func(name string, v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	data := write("data.json", map[string]any{
		"/discovery": map[string]any{"title": "test", "api_roots": []string{"http://127.0.0.1/api1/"}},
		"api1": map[string]any{
			"information": map[string]any{"title": "one", "versions": []string{"application/taxii+json;version=2.1"}, "max_content_length": 9765625},
			"status":      []any{},
			"collections": []any{map[string]any{
				"id": collection, "title": "test", "can_read": true, "can_write": true, "media_types": []string{"application/stix+json;version=2.1"},
				"objects": objects, "manifest": manifest,
			}},
		},
	})
	settings := write("config.json", map[string]any{
		"backend": map[string]any{"module": "medallion.backends.memory_backend", "module_class": "MemoryBackend", "filename": data},
		"users":   map[string]string{"reader": "hush"}, "taxii": map[string]int{"max_page_size": 10},
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	server := exec.Command(program, "--port", port, settings)
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the TAXII server does not listen: %s", said.Bytes())
		}
	}
	at := "http://127.0.0.1:" + port + "/api1/collections/" + collection + "/"
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(t, "cache: kept\nfeeds:\n  - {name: partner, taxii: '"+at+"', user: reader, password_file: "+secret+", tlp: amber}\n")
	f := &c.Feeds[0]
	update := func() feed.State {
		t.Helper()
		s, err := c.Update(context.Background(), http.DefaultClient, f, all.Formats(), now, false)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := update(); !s.Healthy() || s.Entries != 25 {
		t.Fatalf("%+v, want 25 entries of three pages\n%s", s, said.Bytes())
	}
	before, err := c.State(f)
	if err != nil {
		t.Fatal(err)
	}
	if s := update(); !s.Healthy() || s.Entries != 25 || s.Added != before.Added {
		t.Errorf("nothing was added: %+v", s)
	}
	// Somebody adds one, and withdraws another.
	withdrawn := indicator(3)
	withdrawn["modified"], withdrawn["revoked"] = "2026-02-01T00:00:00.000Z", true
	body, _ := json.Marshal(map[string]any{"objects": []any{indicator(30), withdrawn}})
	r, _ := http.NewRequest(http.MethodPost, at+"objects/", bytes.NewReader(body))
	r.SetBasicAuth("reader", "hush")
	r.Header.Set("Content-Type", "application/taxii+json;version=2.1")
	r.Header.Set("Accept", "application/taxii+json;version=2.1")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("adding: %s\n%s", resp.Status, said.Bytes())
	}
	if s := update(); !s.Healthy() || s.Entries != 25 {
		t.Errorf("%+v, want 25: one came, one went", s)
	}
	table, _, _, err := c.Table(nil, all.Formats())
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"203.0.113.30": true, "203.0.113.3": false, "203.0.113.25": true} {
		v, ok := table.Address(netip.MustParseAddr(addr), now)
		if ok != want || ok && v.TLP != "AMBER" {
			t.Errorf("%s: listed %v with TLP %q", addr, ok, v.TLP)
		}
	}
	f.Password = "wrong"
	if s := update(); s.Healthy() || !strings.Contains(s.Problem, "401") || strings.Contains(s.Problem, "wrong") {
		t.Errorf("with a wrong password: %+v", s)
	}
}
