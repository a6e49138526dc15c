// Package all lists the formats of reputation lists.
package all

import (
	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/csv"
	"github.com/tocsin/tocsin/correlator/intel/iprep"
	"github.com/tocsin/tocsin/correlator/intel/jsonlist"
	"github.com/tocsin/tocsin/correlator/intel/misp"
	"github.com/tocsin/tocsin/correlator/intel/plain"
	"github.com/tocsin/tocsin/correlator/intel/stix"
)

// Formats returns every format, in the order in which they are tried: what
// takes more than others stands behind them.
func Formats() []intel.Format {
	return []intel.Format{misp.Format, stix.Format, jsonlist.Format, iprep.Format, csv.Format, plain.Format}
}
