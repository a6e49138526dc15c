package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/dashboards"
	"github.com/tocsin/tocsin/metrics"
)

// TestBoardAsksForMetrics checks every name and label of the expressions of the
// board for Grafana.
func TestBoardAsksForMetrics(t *testing.T) {
	names := regexp.MustCompile(`tocsin_[a-z_]+`)
	grouped := regexp.MustCompile(`by \(([^)]*)\)`)
	documented := map[string]*metrics.Metric{}
	for _, m := range metrics.Documented() {
		documented[m.Name] = m
	}
	for _, g := range dashboards.Graphs() {
		for _, l := range g.Lines {
			for _, name := range names.FindAllString(l.Expr, -1) {
				m := documented[name]
				if m == nil {
					t.Errorf("%s: no metric %s", g.Title, name)
					continue
				}
				for _, by := range grouped.FindAllStringSubmatch(l.Expr, -1) {
					for label := range strings.SplitSeq(by[1], ", ") {
						if label != "instance" && !slices.Contains(m.Labels, label) {
							t.Errorf("%s: %s has no label %s", g.Title, name, label)
						}
					}
				}
				if (m.Kind == metrics.Counter) != strings.Contains(l.Expr, "rate("+name) {
					t.Errorf("%s: %s is a %s: %s", g.Title, name, m.Kind, l.Expr)
				}
			}
		}
	}
}
