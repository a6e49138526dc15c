// Package all lists the formats of traces.
package all

import (
	"fmt"
	"strings"

	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/csv"
	"github.com/tocsin/tocsin/trace/html"
	"github.com/tocsin/tocsin/trace/json"
	"github.com/tocsin/tocsin/trace/stix"
)

// Formats returns every format, in the order in which they are offered.
func Formats() []trace.Format {
	return []trace.Format{json.Format, csv.Format, html.Format, stix.Format}
}

// Find returns the format of a name.
func Find(name string) (trace.Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return trace.Format{}, fmt.Errorf("format %q: want one of %s", name, strings.Join(names, ", "))
}
