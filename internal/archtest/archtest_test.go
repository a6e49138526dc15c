// Package archtest keeps the house in order: it reads the imports of every Go
// file and says why one goes the wrong way.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tocsin/tocsin"

// arrows lists, for each top-level folder, which others its code may import.
// Tests may also import internal and, to be run against a real neighbour, what
// testsMay names.
var arrows = map[string][]string{
	"event":      {},
	"sensor":     {"event"},
	"bus":        {"event"},
	"rules":      {"event"},
	"correlator": {"event"},
	"store":      {"event"},
	"trace":      {"event", "store"},
	"incident":   {"event", "store"},
	"inventory":  {"event"},
	"share":      {"event", "store", "trace"},
	"console":    {"event", "store", "trace", "incident"},
	"metrics":    {"event", "sensor", "bus", "correlator", "store"},
	"cmd":        {"event", "sensor", "bus", "rules", "correlator", "store", "trace", "incident", "inventory", "console", "share", "metrics"},
	"internal":   {"event"},
	"testdata":   {"event", "sensor", "bus", "internal"}, // programs that make test data and measure
}

var testsMay = map[string][]string{
	"correlator": {"rules"},
	"rules":      {"correlator"},
	"share":      {"correlator"},
	"trace":      {"sensor", "correlator", "rules"},
	"console":    {"sensor", "correlator", "rules"},
	"internal":   {"sensor", "bus", "rules", "correlator", "store", "trace", "console"},
}

// fences keeps a foreign package's types within the folders that name it.
var fences = []struct {
	pkg     string
	folders []string
	why     string
}{
	{"github.com/google/gopacket", []string{"sensor/capture", "sensor/packet"}, "its last release is of 2020; a seam two folders wide can be replaced"},
	{"github.com/mattn/go-sqlite3", []string{"store/embedded", "incident/desk"}, "the store's contract, not SQL, is what other stages know"},
	{"github.com/segmentio/kafka-go", []string{"bus/kafka"}, "stages know the bus, not Kafka"},
	{"github.com/elastic/go-elasticsearch", []string{"store/elastic"}, "stages know the store, not Elasticsearch"},
	{"github.com/danielgtaylor/huma", []string{"console"}, "only the console speaks HTTP"},
	{"github.com/prometheus/client_golang", []string{"metrics"}, "parts keep their numbers themselves; only what shows them knows Prometheus"},
	{"github.com/netsampler/goflow2", []string{"sensor/netflow"}, "stages know flows, not how exporters write them"},
	{"github.com/signintech/gopdf", []string{"trace/pdf"}, "reports say what they show, not how a page is drawn"},
	{"github.com/spf13/cobra", []string{"cmd"}, "only commands read flags"},
}

// clocks are packages in which nothing may depend on the wall clock or chance:
// what they make is a pure function of packets or events.
var clocks = []string{"event", "sensor/flow", "sensor/stream", "sensor/proto", "sensor/packet", "correlator", "trace"}

func TestImportsGoOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "data") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		files++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		checkFile(t, filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("only %d Go files found: the test looks at the wrong folder", files)
	}
}

func checkFile(t *testing.T, rel, path string) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	top, _, _ := strings.Cut(rel, "/")
	allowed, known := arrows[top]
	if !known {
		t.Errorf("%s: folder %s is not in the plan of the house (docs/ARCHITECTURE.md)", rel, top)
		return
	}
	// A package named …test is a contract as code: it is only ever imported by tests.
	isTest := strings.HasSuffix(rel, "_test.go") || strings.HasSuffix(filepath.Base(filepath.Dir(path)), "test")
	for _, imp := range f.Imports {
		p, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		if own, ok := strings.CutPrefix(p, module+"/"); ok {
			to, _, _ := strings.Cut(own, "/")
			if to != top && !has(allowed, to) && !(isTest && (to == "internal" || has(testsMay[top], to))) {
				t.Errorf("%s imports %s: %s may import only %v", rel, own, top, allowed)
			}
			if strings.HasSuffix(own, "test") && !isTest {
				t.Errorf("%s imports %s: contracts as code are for tests", rel, own)
			}
		}
		for _, fence := range fences {
			if p != fence.pkg && !strings.HasPrefix(p, fence.pkg+"/") {
				continue
			}
			inside := false
			for _, folder := range fence.folders {
				inside = inside || strings.HasPrefix(rel, folder+"/")
			}
			if !inside {
				t.Errorf("%s imports %s, which belongs in %v: %s", rel, p, fence.folders, fence.why)
			}
		}
		// The flow table hashes with a random seed, so that nobody can choose
		// flows that collide; what it makes does not depend on it.
		keyed := p == "hash/maphash" && strings.HasPrefix(rel, "sensor/flow/")
		if !isTest && !keyed && (p == "math/rand" || p == "math/rand/v2" || p == "hash/maphash") {
			for _, c := range clocks {
				if strings.HasPrefix(rel, c+"/") {
					t.Errorf("%s imports %s: what it makes must be a function of its input", rel, p)
				}
			}
		}
	}
	if isTest {
		return
	}
	for _, c := range clocks {
		if !strings.HasPrefix(rel, c+"/") {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		for n, line := range strings.Split(string(src), "\n") {
			code, _, _ := strings.Cut(line, "//")
			for _, call := range []string{"time.Now(", "time.Since(", "time.After(", "time.Tick("} {
				if strings.Contains(code, call) {
					t.Errorf("%s:%d: %s…): what it makes must be a function of its input, not of the clock", rel, n+1, call)
				}
			}
		}
	}
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
