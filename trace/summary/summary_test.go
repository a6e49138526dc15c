package summary_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/trace/summary"
)

// TestWordsAreComplete looks up every key that the reports use, and holds the
// languages to the same values.
func TestWordsAreComplete(t *testing.T) {
	words := summary.Words()
	verbs := regexp.MustCompile(`%(\[\d\])?[a-z]`)
	for key, w := range words {
		if (w[0] == "") != (w[1] == "") {
			t.Errorf("%q lacks a language", key)
		}
		if a, b := len(verbs.FindAllString(w[0], -1)), len(verbs.FindAllString(w[1], -1)); a != b {
			t.Errorf("%q takes %d values in English and %d in Chinese", key, a, b)
		}
		if w[0] != "" && strings.ContainsFunc(w[0], func(r rune) bool { return r > 0x2e80 }) {
			t.Errorf("%q has Chinese in English", key)
		}
	}
	used := regexp.MustCompile(`[sS]ay(?:\(| )"([^"]+)"`)
	for _, file := range []string{"../html/page.html", "../html/html.go", "../pdf/pdf.go", "../pdf/paper.go", "summary.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllStringSubmatch(string(text), -1) {
			if _, ok := words[m[1]]; !ok && !strings.HasSuffix(m[1], ".") {
				t.Errorf("%s says %q, which the catalogue lacks", file, m[1])
			}
		}
	}
}
