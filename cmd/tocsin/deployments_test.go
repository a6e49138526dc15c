package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/tocsin/tocsin/internal/dashboards"
	"github.com/tocsin/tocsin/internal/golden"
	"github.com/tocsin/tocsin/store/elastic"
)

// TestDocsOfDeployments compares the files of deployments that are made from
// the code with the code; make generate writes them.
func TestDocsOfDeployments(t *testing.T) {
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join("..", "..", "deployments")
	for _, tpl := range elastic.Templates(elastic.DefaultConfig().Prefix, s, 1) {
		text, err := json.Marshal(&tpl)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := json.Indent(&out, text, "", "  "); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
		golden.Check(t, filepath.Join(folder, "elasticsearch", tpl.Name+".json"), out.Bytes())
	}
	kibana, err := dashboards.Kibana(s)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, filepath.Join(folder, "kibana", "tocsin.ndjson"), kibana)
	grafana, err := dashboards.Grafana()
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, filepath.Join(folder, "grafana", "tocsin.json"), grafana)
}
