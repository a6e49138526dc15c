// Package scan finds hosts that look for services: many ports of one host
// (vertical), or one port of many hosts (horizontal), at once or a few every
// minutes for an hour (slow), or addresses here and there in an IPv6 network,
// which nobody can scan whole (sparse; RFC 7707). What counts is a
// connection that the other side refused or never answered: a scan is mostly
// failure, as Jung, Paxson, Berger and Balakrishnan observed ("Fast Portscan
// Detection Using Sequential Hypothesis Testing", IEEE S&P 2004). A scan whose
// every probe succeeds is not found here.
package scan

import (
	"cmp"
	"net/netip"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

// Config says how many are many.
type Config struct {
	Span  time.Duration // within which probes are counted; default 5 minutes
	Ports int           // of one host, that make a vertical scan; default 15
	Hosts int           // on one port, that make a horizontal scan; default 10

	SlowSpan  time.Duration // within which probes of slow and sparse scans are counted; default 1 hour
	SlowSlots int           // of the twelve parts of SlowSpan, in which a slow scan must go on; default 5
	SlowPorts int           // of one host, that make a slow vertical scan; default 20
	SlowHosts int           // on one port, that make a slow horizontal scan; default 15
	Sparse    int           // addresses of one IPv6 network that make a sparse scan; default 16
	Network   int           // length of that network's prefix, bits; default 48: a site (RFC 6177)
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, 5*time.Minute)
	c.Ports = cmp.Or(c.Ports, 15)
	c.Hosts = cmp.Or(c.Hosts, 10)
	c.SlowSpan = cmp.Or(c.SlowSpan, time.Hour)
	c.SlowSlots = cmp.Or(c.SlowSlots, 5)
	c.SlowPorts = cmp.Or(c.SlowPorts, 20)
	c.SlowHosts = cmp.Or(c.SlowHosts, 15)
	c.Sparse = cmp.Or(c.Sparse, 16)
	c.Network = cmp.Or(c.Network, 48)
	return c
}

var technique = []event.Technique{{ID: "T1046", Name: "Network Service Discovery", Tactics: []string{"Discovery"}}}

// Detector returns the detector.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	revision := behaviour.Revise("scan", 2, c)
	vertical := &correlator.Rule{
		Rule:     revision.Rule("scan-ports", "Port scan"),
		Severity: 50, Techniques: technique, Message: "{source} probed many ports of {target}, which refused or did not answer",
		Window: window.Distinct("destination.port", c.Span, window.AtLeast(c.Ports)),
	}
	horizontal := &correlator.Rule{
		Rule:     revision.Rule("scan-hosts", "Host scan"),
		Severity: 50, Techniques: technique,
		Window: window.Distinct("destination.ip", c.Span, window.AtLeast(c.Hosts)),
	}
	slowly := func(id, name, message, field string, need int) *correlator.Rule {
		return &correlator.Rule{
			Rule:     revision.Rule(id, name),
			Severity: 50, Techniques: technique, Message: message,
			Window: slow(field, c.SlowSpan, need, c.SlowSlots),
		}
	}
	slowVertical := slowly("scan-ports-slow", "Slow port scan", "{source} probes port after port of {target}, slowly", "destination.port", c.SlowPorts)
	slowHorizontal := slowly("scan-hosts-slow", "Slow host scan", "{source} probes one port of host after host, {targets} of them, slowly", "destination.ip", c.SlowHosts)
	sparse := &correlator.Rule{
		Rule:     revision.Rule("scan-sparse", "Sparse scan of an IPv6 network"),
		Severity: 50, Techniques: technique, Message: "{source} looked for {targets} addresses of one IPv6 network, which refused or did not answer",
		Window: window.Distinct("destination.ip", c.SlowSpan, window.AtLeast(c.Sparse)),
	}
	return correlator.Detector{
		Name: "scan", Rules: []*correlator.Rule{vertical, horizontal, slowVertical, slowHorizontal, sparse}, Kinds: []event.Kind{event.KindFlow},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			echo := unanswered(&e.Flow)
			if !echo && !failed(&e.Flow) {
				return
			}
			src, dst := e.Flow.Src.IP.String(), e.Flow.Dst.IP.String()
			if ip := e.Flow.Dst.IP; ip.Is6() && !ip.IsLinkLocalUnicast() {
				if network, err := ip.Prefix(c.Network); err == nil {
					s := correlator.Of(sparse, "source.ip="+src+" destination.network="+network.String(), e)
					s.Value = event.Str(dst)
					emit(s)
				}
			}
			if echo {
				return
			}
			port := strconv.Itoa(int(e.Flow.Dst.Port))
			s := correlator.Of(vertical, "source.ip="+src+" destination.ip="+dst, e)
			s.Value = event.Str(e.Get("network.transport").Str() + "/" + port)
			emit(s)
			s.Rule = slowVertical
			emit(s)
			s = correlator.Of(horizontal, "source.ip="+src+" destination.port="+port, e)
			s.Value = event.Str(dst)
			s.Note = &correlator.Note{Message: "{source} probed port " + port + " of {targets} hosts, which refused or did not answer"}
			emit(s)
			s.Rule, s.Note = slowHorizontal, nil
			emit(s)
		},
	}
}

// unanswered reports whether a flow is an IPv6 echo request (RFC 4443, section
// 4.1) that nobody answered.
func unanswered(f *event.Flow) bool {
	const echoRequest = 128
	return f.Transport == event.ProtoICMPv6 && f.Src.Port == echoRequest && f.Dst.Packets == 0 && f.Dst.IP.IsValid() && !f.Dst.IP.IsMulticast()
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
