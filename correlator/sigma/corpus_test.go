package sigma

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestCorpus compiles SigmaHQ's network rules: each compiles or has a reason
// that names file, line and what to do.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	fsys := os.DirFS(filepath.Join(corpus, "sigma"))
	parsed, perrs := ParseFS(fsys)
	set, cerrs := Compile(parsed, Options{Schema: testSchema(t), Placeholders: map[string][]string{"domain_controller_ips": {"192.0.2.1"}}})
	kinds := map[string]int{}
	quoted := regexp.MustCompile(`"[^"]*"|from .*: network|carries [^ ;,]+|our [^ ;,]+|mean .*`)
	for _, e := range slices.Concat(perrs, cerrs) {
		if e.File == "" || e.Msg == "" || e.Line == 0 {
			t.Errorf("imprecise: %+v", e)
		}
		t.Log(e)
		kinds[quoted.ReplaceAllString(e.Msg, "…")]++
	}
	t.Logf("%d documents parsed, %d compile", len(parsed), len(set.Rules))
	for k, n := range kinds {
		t.Logf("%4d %s", n, k)
	}
	if len(set.Rules) < 74 {
		t.Errorf("only %d of %d rules compile", len(set.Rules), len(parsed))
	}
	// Every rule that compiles can be woken or is always evaluated: an event
	// of each kind passes without a panic.
	for kind := range set.index.plans {
		matches(set, at(0, kind, "192.0.2.1", "192.0.2.2", str("url.original", "/x?y"), str("dns.question.name", "a.example")))
	}
}
