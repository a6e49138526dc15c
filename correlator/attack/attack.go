// Package attack knows the techniques of MITRE ATT&CK, Enterprise and ICS, by
// their identifiers.
//
// attack.tsv is made by go generate from MITRE's STIX bundles, of which the
// environment variables ATTACK_ENTERPRISE and ATTACK_ICS name the files.
//
// © 2025 The MITRE Corporation. This work is reproduced and distributed with
// the permission of The MITRE Corporation. See NOTICE.
package attack

import (
	_ "embed" // the table
	"strings"
	"sync"

	"github.com/tocsin/tocsin/event"
)

//go:generate go run ./generate

// Version is the release of ATT&CK that the table is from.
const Version = "18.1"

//go:embed attack.tsv
var table string

var techniques = sync.OnceValue(func() map[string]event.Technique {
	m := map[string]event.Technique{}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Split(strings.TrimRight(line, "\n"), "\t")
		t := event.Technique{ID: c[0], Name: c[1]}
		if c[2] != "" {
			t.Tactics = strings.Split(c[2], ";")
		}
		m[t.ID] = t
	}
	return m
})

// Lookup finds a technique by its identifier, such as T0855 or t1110.001. Of a
// sub-technique the name has that of its technique before it.
func Lookup(id string) (event.Technique, bool) {
	t, ok := techniques()[strings.ToUpper(id)]
	return t, ok
}
