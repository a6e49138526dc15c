// Package behaviour is what the detectors of behaviour have in common. Each is a
// folder: what it finds and by which measure, its parameters with units and
// defaults, and where the idea is from. all lists them.
package behaviour

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/tocsin/tocsin/event"
)

// Revision is of a detector's code and parameters.
type Revision struct{ number, hash string }

// Revise makes the Revision of a detector: its name, the number of its code's
// revision, which changes when the same events may make other alerts, and its
// parameters.
func Revise(detector string, number int, parameters any) Revision {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %+v", detector, number, parameters))
	return Revision{strconv.Itoa(number), hex.EncodeToString(sum[:])}
}

// Rule says on alerts which rule of the detector they are of: "tocsin-" and an id.
func (r Revision) Rule(id, name string) event.Rule {
	return event.Rule{ID: "tocsin-" + id, Name: name, Ruleset: "behaviour", Version: r.number, Hash: r.hash}
}
