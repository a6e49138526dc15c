package servers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The distribution that Elasticsearch's own integration tests run: the server
// with few modules. It has no scripts, no lifecycle policies, no API keys.
const elasticsearchVersion = "8.19.21"

// ElasticsearchEnv names an environment variable: the URL of an Elasticsearch
// that the tests may use.
const ElasticsearchEnv = "TOCSIN_TEST_ELASTICSEARCH"

const emptyPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tocsin</groupId><artifactId>elasticsearch</artifactId><version>1</version>
</project>
`

var sharedElasticsearch = service{
	env: ElasticsearchEnv,
	fetch: func(ctx context.Context) error {
		return fetch(ctx, "elasticsearch-"+elasticsearchVersion, func(ctx context.Context, dir string) error {
			if err := maven(ctx, emptyPOM, "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
				"-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:"+elasticsearchVersion+":zip", "-DoutputDirectory="+dir); err != nil {
				return err
			}
			return unpack(filepath.Join(dir, "elasticsearch-"+elasticsearchVersion+".zip"), dir)
		})
	},
	start: func(ctx context.Context) (string, func() error, error) {
		e, err := StartElasticsearch(ctx, ElasticsearchConfig{})
		if err != nil {
			return "", nil, err
		}
		return e.URL, e.Remove, nil
	},
}

// ElasticsearchURL returns the URL of the Elasticsearch that all tests share.
// Tests must not stop it; those that break things start one of their own.
func ElasticsearchURL(t testing.TB) string {
	t.Helper()
	return sharedElasticsearch.forTest(t)
}

// ForgetIndices deletes the indices and index templates whose names begin with
// a prefix and a hyphen.
func ForgetIndices(t testing.TB, url, prefix string) {
	t.Helper()
	ask := func(method, path string) []byte {
		req, err := http.NewRequest(method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Log(err) // the server may be gone
			return nil
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return b.Bytes()
	}
	var names map[string]struct {
		Aliases map[string]any
	}
	json.Unmarshal(ask(http.MethodGet, "/"+prefix+"-*/_alias?allow_no_indices=true"), &names)
	for name := range names {
		if strings.HasPrefix(name, prefix+"-") {
			ask(http.MethodDelete, "/"+name)
		}
	}
	ask(http.MethodDelete, "/_index_template/"+prefix+"-*")
}

// ElasticsearchConfig says what is special about a server.
type ElasticsearchConfig struct {
	// Secured serves TLS only, and asks for a user: elastic, who may do all, or
	// writer or reader, whose password is ElasticPassword too. They have the
	// privileges that docs/OPERATIONS.md asks for, with indices "tocsin-*".
	Secured bool
	// Settings are added to the server's, or take their place.
	Settings map[string]string
	// Java are added to the options of the Java machine, and win over those
	// that it has: the heap is 512 MB, and code is compiled in a hurry.
	Java []string
}

// ElasticPassword is the password of the users of a secured server.
const ElasticPassword = "elastic-secret"

// Elasticsearch is one node, which is a cluster. It listens on loopback.
type Elasticsearch struct {
	URL string
	*Certificates

	dir, home string
	p         *process
	http      *http.Client
	secured   bool
}

// NewElasticsearch starts a server for one test.
func NewElasticsearch(t testing.TB, cfg ElasticsearchConfig) *Elasticsearch {
	t.Helper()
	e, err := StartElasticsearch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Remove(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// StartElasticsearch starts a server with empty data and waits until it
// serves. Call Remove when it is no longer needed.
func StartElasticsearch(ctx context.Context, cfg ElasticsearchConfig) (*Elasticsearch, error) {
	home, err := fetched("elasticsearch-" + elasticsearchVersion)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tocsin-elasticsearch-")
	if err != nil {
		return nil, err
	}
	e := &Elasticsearch{dir: dir, http: &http.Client{Timeout: 10 * time.Second}, secured: cfg.Secured}
	if e.home, err = readable(home, filepath.Join(dir, "home")); err == nil {
		err = e.configure(cfg)
	}
	if err == nil {
		err = e.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return e, nil
}

func (e *Elasticsearch) configure(cfg ElasticsearchConfig) error {
	ports := make([]int, 2)
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return err
		}
	}
	e.URL = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	settings := map[string]string{
		"cluster.name":           "tocsin-test",
		"node.name":              "tocsin-test-1",
		"discovery.type":         "single-node",
		"network.host":           "127.0.0.1",
		"http.port":              strconv.Itoa(ports[0]),
		"transport.port":         strconv.Itoa(ports[1]),
		"path.data":              filepath.Join(e.dir, "data"),
		"path.logs":              filepath.Join(e.dir, "logs"),
		"xpack.security.enabled": strconv.FormatBool(cfg.Secured),
		// The machine's disk is nobody's business here.
		"cluster.routing.allocation.disk.threshold_enabled": "false",
	}
	if err := os.CopyFS(e.config(), os.DirFS(filepath.Join(e.home, "config"))); err != nil {
		return err
	}
	if cfg.Secured {
		e.URL = strings.Replace(e.URL, "http:", "https:", 1)
		if err := e.certify(settings); err != nil {
			return err
		}
	}
	for name, value := range cfg.Settings {
		settings[name] = value
	}
	text, err := json.MarshalIndent(settings, "", "  ") // JSON is YAML
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(e.config(), "elasticsearch.yml"), text, 0o644); err != nil {
		return err
	}
	options, err := os.ReadFile(filepath.Join(e.config(), "jvm.options"))
	if err != nil {
		return err
	}
	lines := slices.DeleteFunc(strings.Split(string(options), "\n"), func(l string) bool { return strings.Contains(l, "Xlog:gc") })
	if err := os.WriteFile(filepath.Join(e.config(), "jvm.options"), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		return err
	}
	java := slices.Concat([]string{"-Xms512m", "-Xmx512m", "-XX:-AlwaysPreTouch", "-XX:TieredStopAtLevel=1", "-Xlog:disable", "-Xlog:all=warning:stderr"}, cfg.Java)
	folder := filepath.Join(e.config(), "jvm.options.d")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "test.options"), []byte(strings.Join(java, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"data", "logs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(e.dir, name), 0o755); err != nil {
			return err
		}
	}
	if cfg.Secured {
		if err := os.WriteFile(filepath.Join(e.config(), "roles.yml"), []byte(`writer:
  cluster: [monitor, manage_index_templates]
  indices:
    - names: ["tocsin-*"]
      privileges: [auto_configure, create_index, index, read, view_index_metadata, maintenance]
reader:
  indices:
    - names: ["tocsin-*"]
      privileges: [read, view_index_metadata]
`), 0o644); err != nil {
			return err
		}
	}
	if err := handOver(e.dir); err != nil {
		return err
	}
	if !cfg.Secured {
		return nil
	}
	if err := e.tool("elasticsearch-keystore", "", "create"); err != nil {
		return err
	}
	if err := e.tool("elasticsearch-keystore", ElasticPassword, "add", "-x", "bootstrap.password"); err != nil {
		return err
	}
	for _, name := range []string{"writer", "reader"} {
		if err := e.tool("elasticsearch-users", "", "useradd", name, "-p", ElasticPassword, "-r", name); err != nil {
			return err
		}
	}
	return nil
}

// certify makes certificates and adds TLS to the settings.
func (e *Elasticsearch) certify(settings map[string]string) error {
	var err error
	if e.Certificates, err = NewCertificates(e.config()); err != nil {
		return err
	}
	pem, err := os.ReadFile(e.CA)
	if err != nil {
		return err
	}
	// Like a server that has made its certificates by itself, this one shows
	// that of the authority, too: clients know its fingerprint.
	chain, err := os.ReadFile(e.ServerCert)
	if err != nil {
		return err
	}
	if err := os.WriteFile(e.ServerCert, append(chain, pem...), 0o600); err != nil {
		return err
	}
	settings["xpack.security.http.ssl.enabled"] = "true"
	settings["xpack.security.http.ssl.key"] = e.ServerKey
	settings["xpack.security.http.ssl.certificate"] = e.ServerCert
	settings["xpack.security.http.ssl.certificate_authorities"] = e.CA
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	e.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	return nil
}

func (e *Elasticsearch) config() string { return filepath.Join(e.dir, "config") }
func (e *Elasticsearch) log() string    { return filepath.Join(e.dir, "server.log") }
func (e *Elasticsearch) pid() string    { return filepath.Join(e.dir, "server.pid") }

func (e *Elasticsearch) command(program string, args ...string) (*exec.Cmd, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("servers: %w; run: make setup-test", err)
	}
	if java, err = filepath.EvalSymlinks(java); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(e.home, "bin", program), args...)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "HOME="+e.dir, "ES_JAVA_HOME="+filepath.Dir(filepath.Dir(java)), "ES_PATH_CONF="+e.config(),
		"ES_TMPDIR="+filepath.Join(e.dir, "tmp"), "CLI_JAVA_OPTS=-XX:TieredStopAtLevel=1 -Xmx64m")
	return cmd, nil
}

// tool runs one of the programs that come with the server.
func (e *Elasticsearch) tool(name, input string, args ...string) error {
	cmd, err := e.command(name, args...)
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(input)
	p, err := start(cmd, e.log())
	if err != nil {
		return err
	}
	<-p.done
	if !p.cmd.ProcessState.Success() {
		text, _ := os.ReadFile(e.log())
		return fmt.Errorf("servers: %s %s: %v: %s", name, args[0], p.cmd.ProcessState, tail(text))
	}
	return nil
}

// Start starts a server that was stopped or killed again, with its data and at
// its address, and waits until it serves.
func (e *Elasticsearch) Start(ctx context.Context) error {
	for _, old := range []string{e.log(), e.pid()} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	cmd, err := e.command("elasticsearch", "-p", e.pid())
	if err != nil {
		return err
	}
	if e.p, err = start(cmd, e.log()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		if e.p.ended() {
			return e.failed(e.p.cmd.ProcessState)
		}
		if e.serves(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(e.failed(ctx.Err()), e.Kill9())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// serves reports whether the cluster has a master and all of its indices.
func (e *Elasticsearch) serves(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL+"/_cluster/health?filter_path=status", nil)
	if err != nil {
		return false
	}
	if e.secured {
		req.SetBasicAuth("elastic", ElasticPassword)
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var health struct{ Status string }
	return json.NewDecoder(resp.Body).Decode(&health) == nil && (health.Status == "green" || health.Status == "yellow")
}

func (e *Elasticsearch) failed(why any) error {
	text, _ := os.ReadFile(e.log())
	return fmt.Errorf("servers: elasticsearch: start: %v: %s", why, tail(text))
}

// PID returns the process id of the running server: not that of the program
// that started it, which looks after it and is our child.
func (e *Elasticsearch) PID() int {
	text, _ := os.ReadFile(e.pid())
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(text)))
	return pid
}

// Stop ends the server in good order; its data stay.
func (e *Elasticsearch) Stop() error { return e.p.stop(syscall.SIGTERM, time.Minute) }

// Kill9 ends the server at once; its data stay.
func (e *Elasticsearch) Kill9() error {
	if pid := e.PID(); pid > 0 && !e.p.ended() {
		syscall.Kill(pid, syscall.SIGKILL)
		// The program that started it ends when it sees that.
		select {
		case <-e.p.done:
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	return e.p.stop(syscall.SIGKILL, time.Minute)
}

// Remove ends the server and removes its data.
func (e *Elasticsearch) Remove() error {
	return errors.Join(e.Kill9(), os.RemoveAll(e.dir))
}
