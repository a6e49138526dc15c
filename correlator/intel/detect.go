package intel

import (
	"fmt"
	"net/netip"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// names are the fields that hold domain names, with what an alert calls them.
var names = []struct {
	ref  event.Ref
	verb string
}{
	{event.Resolve("dns.question.name"), "asked for"},
	{event.Resolve("tls.client.server_name"), "opened TLS to"},
	{event.Resolve("url.domain"), "requested a page from"},
}

var resolved = event.Resolve("dns.resolved_ip")

// Detector returns the detector of this table: what talks to, resolves or asks
// for something listed. Its alerts are grouped by the host and the entry, and
// are as severe as the list is sure.
func (t *Table) Detector() correlator.Detector {
	rule := func(id, name string, techniques ...event.Technique) *correlator.Rule {
		return &correlator.Rule{
			Rule:     event.Rule{ID: id, Name: name, Ruleset: "reputation", Version: "1", Hash: t.hash},
			Severity: 50, Techniques: techniques,
		}
	}
	// Whoever calls something listed may be controlled from there.
	control := event.Technique{ID: "T1071", Name: "Application Layer Protocol", Tactics: []string{"Command and Control"}}
	r := reputation{
		from: rule("tocsin-reputation-from", "Contact from a listed address"),
		to:   rule("tocsin-reputation-to", "Traffic to a listed address", control),
		name: rule("tocsin-reputation-name", "Use of a listed name", control),
	}
	return correlator.Detector{
		Name:  "reputation",
		Rules: []*correlator.Rule{r.from, r.to, r.name},
		Match: func(e *event.Event, emit func(correlator.Signal)) { t.match(e, r, emit) },
	}
}

// reputation is the rules of the detector.
type reputation struct{ from, to, name *correlator.Rule }

func (t *Table) match(e *event.Event, r reputation, emit func(correlator.Signal)) {
	if e.Kind == event.KindFlow {
		// Other events belong to a flow that is reported anyway.
		if ind, ok := t.lookupValid(e.Flow.Src.IP); ok {
			emit(signal(r.from, e, ind, "source.ip", e.Flow.Src.IP.String(), e.Flow.Dst.IP.String(), "was contacted by"))
		}
		if ind, ok := t.lookupValid(e.Flow.Dst.IP); ok {
			emit(signal(r.to, e, ind, "destination.ip", e.Flow.Dst.IP.String(), e.Flow.Src.IP.String(), "talked to"))
		}
		return
	}
	for _, n := range names {
		v, ok := e.Lookup(n.ref)
		if !ok {
			continue
		}
		if ind, ok := t.LookupDomain(v.Str()); ok {
			emit(signal(r.name, e, ind, n.ref.Name(), v.Str(), e.Flow.Src.IP.String(), n.verb))
			return
		}
	}
	if v, ok := e.Lookup(resolved); ok {
		for _, x := range v.List() {
			a, _ := x.IP()
			if ind, ok := t.lookupValid(a); ok {
				emit(signal(r.name, e, ind, resolved.Name(), a.String(), e.Flow.Src.IP.String(), "was told the address"))
				return
			}
		}
	}
}

func (t *Table) lookupValid(a netip.Addr) (event.Indicator, bool) {
	if !a.IsValid() {
		return event.Indicator{}, false
	}
	return t.Lookup(a)
}

func signal(rule *correlator.Rule, e *event.Event, ind event.Indicator, field, value, who, verb string) correlator.Signal {
	s := correlator.Of(rule, "host="+who+" indicator="+ind.Value, e)
	note := &correlator.Note{
		Message:   fmt.Sprintf("%s %s %s, which %s lists with confidence %d", who, verb, value, ind.Provider, ind.Confidence),
		Severity:  severity(ind.Confidence),
		Explain:   []event.Explain{{Field: field, Predicate: "is listed as " + ind.Value + " by " + ind.Provider, Value: value}},
		Indicator: ind,
	}
	if ind.Type == "domain-name" {
		note.Hosts = []string{value}
	}
	s.Note = note
	return s
}

// severity of an alert: a list that is certain makes a high alert, never a
// critical one, for an entry alone does not show what was done.
func severity(confidence int) int {
	switch {
	case confidence >= 80:
		return 70
	case confidence >= 50:
		return 50
	}
	return 30
}
