// Package all lists the behaviours that are looked for.
package all

import (
	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour/beacon"
	"github.com/tocsin/tocsin/correlator/behaviour/bruteforce"
	"github.com/tocsin/tocsin/correlator/behaviour/certificate"
	"github.com/tocsin/tocsin/correlator/behaviour/exfil"
	"github.com/tocsin/tocsin/correlator/behaviour/icmptunnel"
	"github.com/tocsin/tocsin/correlator/behaviour/lateral"
	"github.com/tocsin/tocsin/correlator/behaviour/neighbour"
	"github.com/tocsin/tocsin/correlator/behaviour/scan"
)

// Detectors returns every behaviour with its defaults.
func Detectors() []correlator.Detector {
	return []correlator.Detector{
		scan.Detector(scan.Config{}),
		bruteforce.Detector(bruteforce.Config{}),
		beacon.Detector(beacon.Config{}),
		icmptunnel.Detector(icmptunnel.Config{}),
		exfil.Detector(exfil.Config{}),
		lateral.Detector(lateral.Config{}),
		neighbour.Detector(neighbour.Config{}),
		certificate.Detector(),
	}
}
