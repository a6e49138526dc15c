// Package icmptunnel finds data that is carried in ICMP echoes. An honest host
// sends back what it was sent (RFC 792; RFC 4443, section 4.2), and asks with
// small packets; a tunnel answers with something else, or carries much. The
// signs are those of Singh, Nordström, Lu and dos Santos, "Malicious ICMP
// Tunneling: Defense against the Vulnerability" (ACISP 2003).
package icmptunnel

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/event"
)

// Config says what is more than an echo.
type Config struct {
	Packets  uint64 // fewest, in both directions together, that are looked at; default 10
	Mismatch uint64 // bytes by which requests and answers differ on average, where each has one; default 8
	Bytes    uint64 // of payload that make an echo a carrier, whatever it says; default 1 MB
}

func (c Config) withDefaults() Config {
	c.Packets = cmp.Or(c.Packets, 10)
	c.Mismatch = cmp.Or(c.Mismatch, 8)
	c.Bytes = cmp.Or(c.Bytes, 1_000_000)
	return c
}

// Types of echoes, which stand for the ports.
const (
	request4, answer4 = 8, 0
	request6, answer6 = 128, 129
)

// Detector returns the detector.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	revision := behaviour.Revise("icmptunnel", 1, c)
	rule := &correlator.Rule{
		Rule:       revision.Rule("icmp-tunnel", "Data in ICMP echoes"),
		Severity:   60,
		Techniques: []event.Technique{{ID: "T1095", Name: "Non-Application Layer Protocol", Tactics: []string{"Command and Control"}}},
		Message:    "{source} and {target} exchange data in ICMP echoes",
	}
	return correlator.Detector{
		Name: "icmptunnel", Rules: []*correlator.Rule{rule}, Kinds: []event.Kind{event.KindFlow},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			f := &e.Flow
			if f.Src.Packets+f.Dst.Packets < c.Packets {
				return
			}
			asks := [2]uint16{f.Src.Port, f.Dst.Port}
			var explain event.Explain
			var ok bool
			switch {
			case f.Transport == event.ProtoICMP && asks == [2]uint16{request4, answer4}, f.Transport == event.ProtoICMPv6 && asks == [2]uint16{request6, answer6}:
				explain, ok = c.judge(&f.Src, &f.Dst)
			case f.Transport == event.ProtoICMP && asks == [2]uint16{answer4, request4}, f.Transport == event.ProtoICMPv6 && asks == [2]uint16{answer6, request6}:
				// The flow was first seen with an answer.
				explain, ok = c.judge(&f.Dst, &f.Src)
			}
			if !ok {
				return
			}
			s := correlator.Of(rule, "source.ip="+f.Src.IP.String()+" destination.ip="+f.Dst.IP.String(), e)
			s.Note = &correlator.Note{Explain: []event.Explain{explain}}
			emit(s)
		},
	}
}

// judge says what of an exchange is no echo. Large requests may be lost, so
// that the answers are smaller on average; that they are larger is nobody's loss.
func (c Config) judge(requests, answers *event.Endpoint) (event.Explain, bool) {
	if requests.Packets == 0 || answers.Packets == 0 {
		return event.Explain{}, false // nobody answers: no exchange
	}
	if total := requests.Payload + answers.Payload; total >= c.Bytes {
		return event.Explain{Field: "network.bytes", Predicate: fmt.Sprintf("payload of echoes >= %d", c.Bytes), Value: strconv.FormatUint(total, 10)}, true
	}
	asked, said := requests.Payload/requests.Packets, answers.Payload/answers.Packets
	many, few := max(requests.Packets, answers.Packets), min(requests.Packets, answers.Packets)
	larger := said >= asked+c.Mismatch && many <= 2*few
	other := max(asked, said)-min(asked, said) >= c.Mismatch && 5*many <= 6*few
	if !larger && !other {
		return event.Explain{}, false
	}
	return event.Explain{
		Field: "destination.bytes", Predicate: fmt.Sprintf("answers differ from requests by >= %d bytes on average", c.Mismatch),
		Value: fmt.Sprintf("requests of %d bytes, answers of %d", asked, said),
	}, true
}
