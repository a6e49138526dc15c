// Package certificate finds servers that show certificates outside their time
// of validity (RFC 5280, section 4.1.2.5): a neglected service, a device whose
// clock is wrong, or somebody in between who did not care.
package certificate

import (
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/event"
)

// skew is how far a clock may be off without being remarked.
const skew = 5 * time.Minute

var (
	notAfter  = event.Resolve("tls.server.not_after")
	notBefore = event.Resolve("tls.server.not_before")
)

// Detector returns the detector.
func Detector() correlator.Detector {
	revision := behaviour.Revise("certificate", 1, skew)
	rule := func(id, name, message string) *correlator.Rule {
		return &correlator.Rule{
			Rule:     revision.Rule("certificate-"+id, name),
			Severity: 25, Message: message, Bucket: 24 * time.Hour,
		}
	}
	expired := rule("expired", "Expired certificate in use", "{target} shows a certificate that has expired")
	early := rule("early", "Certificate in use that is not valid yet", "{target} shows a certificate that is not valid yet")
	return correlator.Detector{
		Name: "certificate", Rules: []*correlator.Rule{expired, early}, Kinds: []event.Kind{"tls"},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			if v, ok := e.Lookup(notAfter); ok {
				if t, ok := v.Time(); ok && e.Time.Add(-skew).After(t) {
					emit(signal(expired, e, "tls.server.not_after", "is before the connection of ", t))
				}
			}
			if v, ok := e.Lookup(notBefore); ok {
				if t, ok := v.Time(); ok && e.Time.Add(skew).Before(t) {
					emit(signal(early, e, "tls.server.not_before", "is after the connection of ", t))
				}
			}
		},
	}
}

func signal(rule *correlator.Rule, e *event.Event, field, predicate string, t time.Time) correlator.Signal {
	s := correlator.Of(rule, "destination.ip="+e.Flow.Dst.IP.String()+" "+field+"="+t.UTC().Format(time.RFC3339), e)
	s.Note = &correlator.Note{Explain: []event.Explain{{
		Field: field, Predicate: predicate + e.Time.UTC().Format(time.RFC3339), Value: t.UTC().Format(time.RFC3339),
	}}}
	return s
}
