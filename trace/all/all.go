// Package all lists the formats of traces.
package all

import (
	"fmt"
	"strings"

	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/csv"
	"github.com/tocsin/tocsin/trace/graph"
	"github.com/tocsin/tocsin/trace/html"
	"github.com/tocsin/tocsin/trace/json"
	"github.com/tocsin/tocsin/trace/pdf"
	"github.com/tocsin/tocsin/trace/stix"
)

// Formats returns every format, in the order in which they are offered.
func Formats() []trace.Format {
	return []trace.Format{json.Format, csv.Format, html.Format, html.Chinese, pdf.Format, pdf.Chinese, graph.SVG, graph.GraphML, graph.DOT, stix.Format}
}

// Names are those of the formats.
func Names() (names []string) {
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return names
}

// Find returns the format of a name.
func Find(name string) (trace.Format, error) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
	}
	return trace.Format{}, fmt.Errorf("format %q: want one of %s", name, strings.Join(Names(), ", "))
}
