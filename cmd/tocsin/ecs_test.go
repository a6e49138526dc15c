package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/golden"
)

// ownGroups are groups of fields for which ECS has no words: Tocsin's own,
// those of control systems, and one for each protocol with facts of its own.
var ownGroups = []string{"arp", "ics", "tocsin",
	"bacnet", "cip", "dnp3", "enip", "ethercat", "fins", "goose", "hart", "iec104", "mms", "modbus", "opcua", "profinet", "s7comm", "sv", "synchrophasor", "umas"}

// apart are the fields that differ from ECS: of another type, or beside those
// that ECS has in a group. ECS is its type there, "" if it has no such field.
var apart = map[string]struct{ ecs, why string }{
	"message":                     {"match_only_text", "Analysts look for sentences as a whole or for words in any field; nothing is analysed as text."},
	"network.inner.vlan.id":       {"keyword", "A number, so that ranges can be asked for; a keyword's terms find it as well."},
	"network.vlan.id":             {"keyword", "A number, so that ranges can be asked for; a keyword's terms find it as well."},
	"threat.indicator.confidence": {"keyword", "0 to 100, as lists give it; ECS has None, Low, Medium and High."},
	"tls.client.ja4":              {"", "ECS has JA3 only; named beside it."},
	"url.full":                    {"wildcard", "The same questions and answers; all servers have keyword."},
	"url.original":                {"wildcard", "The same questions and answers; all servers have keyword."},
	"url.path":                    {"wildcard", "The same questions and answers; all servers have keyword."},
}

// ofECS are the fields of groups that ECS has.
func ofECS(s *event.Schema) []event.FieldDoc {
	return slices.DeleteFunc(slices.Clone(s.Fields()), func(d event.FieldDoc) bool {
		group, _, _ := strings.Cut(d.Name, ".")
		return slices.Contains(ownGroups, group)
	})
}

// TestCorpusECS compares the fields with the list that ECS publishes.
func TestCorpusECS(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	text, err := os.ReadFile(filepath.Join(corpus, "ecs", "ecs_flat.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var ecs map[string]struct{ Type string }
	if err := yaml.Unmarshal(text, &ecs); err != nil {
		t.Fatal(err)
	}
	for name := range ecs {
		if group, _, dotted := strings.Cut(name, "."); dotted && slices.Contains(ownGroups, group) {
			t.Errorf("%s is a field of ECS, but its group is ours", name)
		}
	}
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	left := maps.Clone(apart)
	for _, d := range ofECS(s) {
		why, explained := left[d.Name]
		delete(left, d.Name)
		switch theirs := ecs[d.Name].Type; {
		case theirs == string(d.Type) && explained:
			t.Errorf("%s is as in ECS, but explained", d.Name)
		case theirs == string(d.Type):
		case !explained:
			t.Errorf("%s is %s; ECS has %q", d.Name, d.Type, theirs)
		case why.ecs != theirs:
			t.Errorf("%s: explained as %q in ECS; ECS has %q", d.Name, why.ecs, theirs)
		}
	}
	for name := range left {
		t.Errorf("%s is explained, but no field", name)
	}
}

// TestDocsOfECS compares docs/ECS.md with the code; make generate writes it.
func TestDocsOfECS(t *testing.T) {
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	fields := ofECS(s)
	groups := slices.DeleteFunc(slices.Clone(ownGroups), func(g string) bool {
		return !slices.ContainsFunc(s.Fields(), func(d event.FieldDoc) bool { return strings.HasPrefix(d.Name, g+".") })
	})
	var b strings.Builder
	fmt.Fprintf(&b, `# Elastic Common Schema

Of the %d fields, %d are those of ECS (9.5.0-dev), with its names and types but for those in the first table. The groups
%s are ours: ECS has no words for them. Dates are indexed with nanoseconds where they are the capture's own. The test that
compares the fields with the list of ECS runs with `+"`make corpus`"+`; this page is made from the code by `+"`make generate`"+`.

## What differs

| field | here | in ECS | why |
|---|---|---|---|
`, len(s.Fields()), len(fields)-len(slices.DeleteFunc(slices.Collect(maps.Values(apart)), func(a struct{ ecs, why string }) bool { return a.ecs != "" })),
		"`"+strings.Join(groups, ".*`, `")+".*`")
	for _, name := range slices.Sorted(maps.Keys(apart)) {
		d, ok := s.Lookup(name)
		if !ok {
			t.Fatalf("%s is explained, but no field", name)
		}
		theirs := apart[name].ecs
		if theirs == "" {
			theirs = "–"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, d.Type, theirs, apart[name].why)
	}
	b.WriteString("\n## What is the same\n\n| field | type |\n|---|---|\n")
	for _, d := range fields {
		if _, ok := apart[d.Name]; !ok {
			fmt.Fprintf(&b, "| `%s` | %s |\n", d.Name, d.Type)
		}
	}
	golden.Check(t, filepath.Join("..", "..", "docs", "ECS.md"), []byte(b.String()))
}
