// Package all lists the formats of logs.
package all

import (
	"slices"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/log"
	"github.com/tocsin/tocsin/sensor/log/eve"
	"github.com/tocsin/tocsin/sensor/log/zeek"
)

// Formats returns the formats of other sensors, in the order in which a log is
// shown to them.
func Formats() []log.Format { return []log.Format{eve.Format, zeek.Format} }

// Kinds are the kinds of events that logs become.
func Kinds() (ks []event.Kind) {
	for _, f := range Formats() {
		for _, k := range f.Kinds {
			if !slices.Contains(ks, k) {
				ks = append(ks, k)
			}
		}
	}
	return ks
}

// Fields documents what logs know beyond what is documented already: a parser
// of our own says best what its fields mean.
func Fields(known ...[]event.FieldDoc) (docs []event.FieldDoc) {
	seen := map[string]bool{}
	for _, list := range append(known, event.CoreFields(), event.AlertFields()) {
		for _, d := range list {
			seen[d.Name] = true
		}
	}
	for _, f := range Formats() {
		for _, d := range f.Fields {
			if !seen[d.Name] {
				seen[d.Name] = true
				docs = append(docs, d)
			}
		}
	}
	return docs
}
