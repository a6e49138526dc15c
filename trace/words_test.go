package trace

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var blank = regexp.MustCompile(`\{[a-z]+\}`)

// TestWords wants every message in both languages, with the same blanks, and
// the catalogue to have all keys that the code says, and no others.
func TestWords(t *testing.T) {
	said := map[string][]string{} // blanks by key
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") || f.Name() == "words.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					keys[s] = true
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if name != "say" && name != "gap" && name != "add" {
				return true
			}
			for i, arg := range call.Args {
				lit, ok := arg.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					continue
				}
				key, _ := strconv.Unquote(lit.Value)
				if i > 1 {
					break // the first text is the key
				}
				var blanks []string
				for j := i + 1; j < len(call.Args); j += 2 {
					if lit, ok := call.Args[j].(*ast.BasicLit); ok {
						s, _ := strconv.Unquote(lit.Value)
						blanks = append(blanks, "{"+s+"}")
					}
				}
				slices.Sort(blanks)
				said[key] = blanks
				break
			}
			return true
		})
	}
	for key, blanks := range said {
		w, ok := words[key]
		if !ok {
			t.Errorf("the catalogue has no %q", key)
			continue
		}
		for _, text := range []string{w.en, w.zh} {
			has := blank.FindAllString(text, -1)
			slices.Sort(has)
			if !slices.Equal(slices.Compact(has), blanks) {
				t.Errorf("%s: %q has the blanks %v, the code fills %v", key, text, has, blanks)
			}
		}
	}
	for key, w := range words {
		if !keys[key] {
			t.Errorf("nothing says %q", key)
		}
		if w.en == "" || w.zh == "" || w.en == w.zh {
			t.Errorf("%s is not in both languages", key)
		}
	}
	m := say("writes", "n", 3)
	if m.Text != "3 changes to an industrial process" || m.In("zh") != "对工业过程的更改 3 次" {
		t.Errorf("%q, %q", m.Text, m.In("zh"))
	}
}
