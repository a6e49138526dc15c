package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/tocsin/tocsin/correlator/sigma"
)

// TestSigmaHQ compiles SigmaHQ's rules against every field that our events have:
// each compiles, or is one of those that cannot, for a reason that is known.
func TestSigmaHQ(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	rules, parsing := sigma.ParseFS(os.DirFS(filepath.Join(corpus, "sigma")))
	set, compiling := sigma.Compile(rules, sigma.Options{
		Schema: fields, Kinds: kinds(), Placeholders: map[string][]string{"legit_ips": {"192.0.2.1"}},
	})
	reasons := []struct {
		what  string
		like  *regexp.Regexp
		files map[string]bool
	}{
		{what: "a program on a host", like: regexp.MustCompile(`program on a host`)},
		{what: "a log of a device or a host", like: regexp.MustCompile(`what a device or a host writes about itself|the host that wrote a log`)},
		{what: "a secret", like: regexp.MustCompile(`cookies are secrets`)},
		{what: "not kept", like: regexp.MustCompile(`lengths of names are not kept|bodies are not kept|which is our source.domain`)},
		{what: "not Sigma", like: regexp.MustCompile(`is judged, for example timeframe|unexpected '>'|did you mean category: dns|Initiated is true of all events`)},
		{what: "needs a rule with errors", like: regexp.MustCompile(`-events \(.*\) has errors`)},
	}
	bad := map[string]bool{}
	for _, e := range append(parsing, compiling...) {
		if e.Line == 0 || e.Key == "" || e.Msg == "" {
			t.Errorf("imprecise: %+v", e)
		}
		bad[e.File] = true
		known := false
		for i := range reasons {
			r := &reasons[i]
			if r.like.MatchString(e.Msg) {
				if r.files == nil {
					r.files = map[string]bool{}
				}
				known, r.files[e.File] = true, true
				break
			}
		}
		if !known {
			t.Errorf("a reason that nobody has thought about: %v", e)
		}
	}
	good := map[string]bool{}
	for _, r := range set.Rules {
		if !bad[r.File] {
			good[r.File] = true
		}
	}
	for _, r := range reasons {
		t.Logf("%3d files: %s", len(r.files), r.what)
	}
	t.Logf("%d files compile, %d do not, %d warnings", len(good), len(bad), len(set.Warnings))
	const least = 102
	if len(good) < least {
		t.Errorf("%d files compile, want %d", len(good), least)
	}
}
