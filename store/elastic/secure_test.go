package elastic_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/servers"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
	"github.com/tocsin/tocsin/store/storetest"
)

// TestSecured uses a server with TLS and users as the operator would.
func TestSecured(t *testing.T) {
	server := servers.NewElasticsearch(t, servers.ElasticsearchConfig{Secured: true})
	ca, err := os.ReadFile(server.CA)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ca)
	sum := sha256.Sum256(block.Bytes)
	good := func(change func(*elastic.Config)) elastic.Config {
		cfg := elastic.DefaultConfig()
		cfg.Addresses, cfg.Schema = []string{server.URL}, storetest.Schema()
		cfg.Username, cfg.Password, cfg.CACert = "writer", servers.ElasticPassword, ca
		cfg.Patience = time.Second
		change(&cfg)
		return cfg
	}
	for name, change := range map[string]func(*elastic.Config){
		"authority":   func(*elastic.Config) {},
		"fingerprint": func(c *elastic.Config) { c.CACert, c.Fingerprint = nil, hex.EncodeToString(sum[:]) },
		"user in the URL": func(c *elastic.Config) {
			c.Username, c.Addresses[0] = "", strings.Replace(server.URL, "//", "//writer:"+servers.ElasticPassword+"@", 1)
		},
	} {
		s, err := elastic.Open(t.Context(), good(change))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := s.Prepare(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		events := storetest.NewGenerator(31).Events(50)
		if err := s.Put(t.Context(), events, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := s.Count(t.Context(), store.Query{}, store.By{}); err != nil || n[0].Count != 50 {
			t.Errorf("%s: %v %v", name, n, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	reader, err := elastic.Open(t.Context(), good(func(c *elastic.Config) { c.Username = "reader" }))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	n := 0
	for _, err := range reader.Search(t.Context(), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if _, err := reader.Get(t.Context(), storetest.NewGenerator(31).Events(1)[0].ID); n != 50 || err != nil {
		t.Errorf("a reader finds %d events, and %v", n, err)
	}
	for name, c := range map[string]struct {
		change func(*elastic.Config)
		says   string
	}{
		"wrong password":    {func(c *elastic.Config) { c.Password = servers.ElasticPassword + "-hush" }, "check the user, password or API key"},
		"unknown authority": {func(c *elastic.Config) { c.CACert = nil }, "certificate signed by unknown authority"},
		"wrong fingerprint": {func(c *elastic.Config) { c.CACert, c.Fingerprint = nil, strings.Repeat("00", 32) }, "fingerprint"},
		"plain text":        {func(c *elastic.Config) { c.Addresses[0] = strings.Replace(server.URL, "https", "http", 1) }, ""},
		"reader":            {func(c *elastic.Config) { c.Username = "reader" }, "check the user, password or API key and its privileges"},
		"prefix of others":  {func(c *elastic.Config) { c.Prefix = "other" }, "check the user, password or API key and its privileges"},
	} {
		s, err := elastic.Open(t.Context(), good(c.change))
		if err == nil {
			err = s.Put(t.Context(), storetest.NewGenerator(32).Events(1), nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), servers.ElasticPassword) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFullServer meets recorded answers of a server with lifecycle policies and
// API keys, which the one that the tests start does not have.
func TestFullServer(t *testing.T) {
	var mu sync.Mutex
	bodies := map[string]map[string]any{}
	full := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.Header().Set("Content-Type", "application/json")
		if !strings.EqualFold(r.Header.Get("Authorization"), "ApiKey VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw==") {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error":{"type":"security_exception","reason":"unable to authenticate with provided credentials"},"status":401}`)
			return
		}
		var body map[string]any
		json.NewDecoder(r.Body).Decode(&body)
		mu.Lock()
		bodies[r.Method+" "+r.URL.Path] = body
		mu.Unlock()
		switch {
		case r.URL.Path == "/_ilm/status":
			io.WriteString(w, `{"operation_mode":"RUNNING"}`)
		case r.URL.Path == "/_cluster/health":
			io.WriteString(w, `{"status":"green"}`)
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":{"type":"resource_not_found_exception","reason":"index template matching [tocsin-events] not found"},"status":404}`)
		default:
			io.WriteString(w, `{"acknowledged":true}`)
		}
	}))
	defer full.Close()
	cfg := elastic.DefaultConfig()
	cfg.Addresses, cfg.Schema = []string{full.URL}, storetest.Schema()
	cfg.CACert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: full.Certificate().Raw})
	if _, err := elastic.Open(t.Context(), cfg); err == nil {
		t.Error("opened without a key")
	}
	cfg.APIKey = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="
	s, err := elastic.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := func(v any, path ...string) any {
		for _, p := range path {
			m, _ := v.(map[string]any)
			v = m[p]
		}
		return v
	}
	for name, least := range map[string]time.Duration{"tocsin-events": 30 * 24 * time.Hour, "tocsin-alerts": 180 * 24 * time.Hour} {
		age, _ := at(bodies["PUT /_ilm/policy/"+name], "policy", "phases", "delete", "min_age").(string)
		if d, err := time.ParseDuration(age); err != nil || d < least {
			t.Errorf("%s are deleted after %q, want at least %s", name, age, least)
		}
		if at(bodies["PUT /_ilm/policy/"+name], "policy", "phases", "hot") == nil {
			t.Errorf("%s: no hot phase", name)
		}
		index := at(bodies["PUT /_index_template/"+name], "template", "settings", "index")
		if at(index, "lifecycle.name") != name {
			t.Errorf("%s: template without its policy: %v", name, index)
		}
	}
}
