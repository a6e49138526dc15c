// Package all lists the formats of reputation lists.
package all

import (
	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/csv"
	"github.com/tocsin/tocsin/correlator/intel/plain"
)

// Formats returns every format, in the order in which they are tried.
func Formats() []intel.Format { return []intel.Format{csv.Format, plain.Format} }
