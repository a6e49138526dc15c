// Package json writes a trace as one JSON document with the names of the API.
package json

import (
	"encoding/json"
	"io"

	"github.com/tocsin/tocsin/trace"
)

// Format is the JSON format.
var Format = trace.Format{Name: "json", MIME: "application/json", Ext: ".json", Write: write}

func write(w io.Writer, t *trace.Trace) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(t)
}
