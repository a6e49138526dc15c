package setting_test

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/correlator/setting"
)

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"# nothing":               "",
		"name: a\nlist: [1]":      "",
		"nam: a\nlist: [x]":       "line 1: nam is no setting here; line 2: cannot unmarshal !!str `x` into int",
		"name: [":                 "did not find expected node content",
		"name: a\nname: b":        "already defined",
		"inner:\n  - {there: 1}":  "line 2: there is no setting here",
		"inner:\n  - {here: one}": "",
	} {
		var into struct {
			Name  string `yaml:"name"`
			List  []int  `yaml:"list"`
			Inner []struct {
				Here string `yaml:"here"`
			} `yaml:"inner"`
		}
		err := setting.Decode(strings.NewReader(text), &into)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
