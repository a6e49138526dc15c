package servers_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/servers"
)

func TestElasticsearchComesBack(t *testing.T) {
	e := servers.NewElasticsearch(t, servers.ElasticsearchConfig{Secured: true})
	pem, err := os.ReadFile(e.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	put := func(user, password, path string) int {
		req, err := http.NewRequest(http.MethodPut, e.URL+path, strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, c := range []struct {
		user, password, path string
		status               int
	}{
		{"elastic", servers.ElasticPassword, "/tocsin-x/_doc/1", 201},
		{"writer", servers.ElasticPassword, "/tocsin-x/_doc/2", 201},
		{"writer", servers.ElasticPassword, "/other/_doc/1", 403},
		{"writer", "wrong", "/tocsin-x/_doc/3", 401},
	} {
		if got := put(c.user, c.password, c.path); got != c.status {
			t.Errorf("%s puts %s: status %d, want %d", c.user, c.path, got, c.status)
		}
	}
	if os.Geteuid() == 0 {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(e.PID()) + "/status")
		if err == nil && strings.Contains(string(text), "\nUid:\t0\t") {
			t.Error("the server runs as root")
		}
	}
	if err := e.Kill9(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(e.URL); err == nil {
		t.Fatal("a killed server serves")
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := put("writer", servers.ElasticPassword, "/tocsin-x/_doc/2"); got != 200 {
		t.Errorf("after the restart: status %d, want 200: what was put is gone", got)
	}
}
