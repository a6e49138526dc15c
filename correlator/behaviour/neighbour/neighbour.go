// Package neighbour finds IPv6 neighbour advertisements of several hosts for one
// address (RFC 4861, section 4.4): a conflict of addresses, or somebody who
// wants to be in between, as RFC 3756 section 4.1.1 describes. Our events tell
// of the packets' addresses, not of what is in them, so a host that advertises
// a stranger's address under its own is not found.
package neighbour

import (
	"cmp"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

// Config says when two claims are one too many.
type Config struct {
	Span time.Duration // within which an address is claimed; default 10 minutes
	MACs int           // that claim it; default 2
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, 10*time.Minute)
	c.MACs = cmp.Or(c.MACs, 2)
	return c
}

// Types of ICMPv6, which stand for the ports (RFC 4861, section 4).
const (
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

// Detector returns the detector.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	revision := behaviour.Revise("neighbour", 1, c)
	rule := &correlator.Rule{
		Rule:       revision.Rule("neighbour", "One IPv6 address claimed by two hosts"),
		Severity:   50,
		Techniques: []event.Technique{{ID: "T1557", Name: "Adversary-in-the-Middle", Tactics: []string{"Credential Access", "Collection"}}},
		Window:     window.Distinct("source.mac", c.Span, window.AtLeast(c.MACs)),
	}
	return correlator.Detector{
		Name: "neighbour", Rules: []*correlator.Rule{rule}, Kinds: []event.Kind{event.KindFlow},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			f := &e.Flow
			if f.Transport != event.ProtoICMPv6 {
				return
			}
			switch f.Src.Port {
			case neighbourAdvertisement, routerAdvertisement:
				claim(rule, e, &f.Src, emit)
			case neighbourSolicitation: // the answer is the flow's other direction
				if f.Dst.Packets > 0 {
					claim(rule, e, &f.Dst, emit)
				}
			}
		},
	}
}

// claim tells that a side of a flow uses its address. A tap may see the same
// packet on both sides of a router, so a claim belongs to a sensor and a VLAN.
func claim(rule *correlator.Rule, e *event.Event, by *event.Endpoint, emit func(correlator.Signal)) {
	if by.MAC == (event.MAC{}) || by.IP.IsMulticast() || by.IP.IsUnspecified() {
		return
	}
	ip := by.IP.String()
	s := correlator.Of(rule, "observer.name="+e.Sensor+" network.vlan.id="+strconv.Itoa(int(e.Flow.VLAN))+" address="+ip, e)
	s.Value = event.Str(by.MAC.String())
	s.Note = &correlator.Note{Message: ip + " is claimed by several MAC addresses"}
	emit(s)
}
