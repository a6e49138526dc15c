// Package scan finds hosts that look for services: many ports of one host
// (vertical), or one port of many hosts (horizontal). What counts is a
// connection that the other side refused or never answered: a scan is mostly
// failure, as Jung, Paxson, Berger and Balakrishnan observed ("Fast Portscan
// Detection Using Sequential Hypothesis Testing", IEEE S&P 2004). A scan whose
// every probe succeeds is not found here.
package scan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

// Config says how many are many.
type Config struct {
	Span  time.Duration // within which probes are counted; default 5 minutes
	Ports int           // of one host, that make a vertical scan; default 15
	Hosts int           // on one port, that make a horizontal scan; default 10
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, 5*time.Minute)
	c.Ports = cmp.Or(c.Ports, 15)
	c.Hosts = cmp.Or(c.Hosts, 10)
	return c
}

var technique = []event.Technique{{ID: "T1046", Name: "Network Service Discovery", Tactics: []string{"Discovery"}}}

// Detector returns the detector.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	sum := sha256.Sum256(fmt.Appendf(nil, "scan 1 %+v", c))
	hash := hex.EncodeToString(sum[:])
	vertical := &correlator.Rule{
		Rule:     event.Rule{ID: "tocsin-scan-ports", Name: "Port scan", Ruleset: "behaviour", Version: "1", Hash: hash},
		Severity: 50, Techniques: technique, Message: "{source} probed many ports of {target}, which refused or did not answer",
		Window: window.Distinct("destination.port", c.Span, window.AtLeast(c.Ports)),
	}
	horizontal := &correlator.Rule{
		Rule:     event.Rule{ID: "tocsin-scan-hosts", Name: "Host scan", Ruleset: "behaviour", Version: "1", Hash: hash},
		Severity: 50, Techniques: technique,
		Window: window.Distinct("destination.ip", c.Span, window.AtLeast(c.Hosts)),
	}
	return correlator.Detector{
		Name: "scan", Rules: []*correlator.Rule{vertical, horizontal}, Kinds: []event.Kind{event.KindFlow},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			if !failed(&e.Flow) {
				return
			}
			src, dst := e.Flow.Src.IP.String(), e.Flow.Dst.IP.String()
			port := strconv.Itoa(int(e.Flow.Dst.Port))
			s := correlator.Of(vertical, "source.ip="+src+" destination.ip="+dst, e)
			s.Value = event.Str(e.Get("network.transport").Str() + "/" + port)
			emit(s)
			s = correlator.Of(horizontal, "source.ip="+src+" destination.port="+port, e)
			s.Value = event.Str(dst)
			s.Note = &correlator.Note{Message: "{source} probed port " + port + " of {targets} hosts, which refused or did not answer"}
			emit(s)
		},
	}
}

// maxProbe is the mean payload of a UDP probe's packets. Scanners ask for little.
// A tap that sees one direction only shows every call of a QUIC client without
// an answer, but these are of 1200 bytes and more (RFC 9000 section 14.1).
const maxProbe = 512

// failed reports whether a flow is a probe that led to nothing. Of UDP, where
// silence is common, it takes short requests to unicast addresses only.
func failed(f *event.Flow) bool {
	if !f.Dst.IP.IsValid() || f.Dst.IP.IsMulticast() {
		return false
	}
	switch f.Transport {
	case event.ProtoTCP:
		switch f.State {
		case "S0", "REJ", "RSTOS0", "SH":
			return true
		case "RSTO", "RSTR": // answered, then cut off before any data: a half-open or banner-less connect
			return f.Src.Payload == 0 && f.Dst.Payload == 0
		case "SF": // a full connect that says nothing
			return f.Src.Payload == 0 && f.Dst.Payload == 0
		}
	case event.ProtoUDP:
		return f.State == "S0" && f.Dst.IP != broadcast && f.Src.Payload <= maxProbe*f.Src.Packets
	}
	return false
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
