package intel

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

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

// prints are the fields that hold fingerprints. That of a client names the
// originator's software, that of a certificate the responder.
var prints = []struct {
	ref  event.Ref
	kind Kind
	verb string
}{
	{event.Resolve("tls.server.hash.sha256"), Certificate, "was shown the certificate"},
	{event.Resolve("tls.server.hash.sha1"), Certificate, "was shown the certificate"},
	{event.Resolve("tls.client.hash.sha256"), Certificate, "showed the certificate"},
	{event.Resolve("tls.client.ja4"), Client, "uses TLS software with JA4"},
	{event.Resolve("tls.client.ja3"), Client, "uses TLS software with JA3"},
}

var (
	resolved = event.Resolve("dns.resolved_ip")
	fullURL  = event.Resolve("url.full")
)

// revision stands for the hash of a rule's text. What the lists said is in the
// alert's explanation, claim by claim, as lists change from hour to hour.
const revision = "reputation-2"

// bucket is the length of the time buckets of the rules. What lists say is
// judged at the start of an event's bucket, so that all signals of an alert
// have the same confidence.
const bucket = time.Hour

// Reputation is the rules of reputation over a table that can be exchanged
// while events are matched.
type Reputation struct {
	table             atomic.Pointer[Table]
	from, to, name    *correlator.Rule
	url, client, cert *correlator.Rule
}

// NewReputation returns the rules over a table.
func NewReputation(t *Table) *Reputation {
	rule := func(id, name string, techniques ...event.Technique) *correlator.Rule {
		return &correlator.Rule{
			Rule:     event.Rule{ID: "tocsin-reputation-" + id, Name: name, Ruleset: "reputation", Version: "2", Hash: revision},
			Severity: 50, Techniques: techniques, Bucket: bucket,
		}
	}
	// Whoever calls something listed may be controlled from there.
	control := event.Technique{ID: "T1071", Name: "Application Layer Protocol", Tactics: []string{"Command and Control"}}
	encrypted := event.Technique{ID: "T1573", Name: "Encrypted Channel", Tactics: []string{"Command and Control"}}
	r := &Reputation{
		from:   rule("from", "Contact from a listed address"),
		to:     rule("to", "Traffic to a listed address", control),
		name:   rule("name", "Use of a listed name", control),
		url:    rule("url", "Request of a listed URL", control),
		client: rule("client", "TLS software with a listed fingerprint", encrypted),
		cert:   rule("certificate", "Listed certificate", encrypted),
	}
	r.table.Store(t)
	return r
}

// Swap exchanges the table. Events that are matched from now on are looked up
// in the new one.
func (r *Reputation) Swap(t *Table) { r.table.Store(t) }

// Table is the table in use.
func (r *Reputation) Table() *Table { return r.table.Load() }

// Detector returns the detector: what talks to, resolves, asks for or shows
// something listed. Its alerts are grouped by the host and the entry, and are
// as severe as the lists are sure.
func (r *Reputation) Detector() correlator.Detector {
	return correlator.Detector{
		Name:  "reputation",
		Rules: []*correlator.Rule{r.from, r.to, r.name, r.url, r.client, r.cert},
		Match: r.match,
	}
}

func (r *Reputation) match(e *event.Event, emit func(correlator.Signal)) {
	t := r.table.Load()
	at := e.Time.Truncate(bucket)
	src, dst := e.Flow.Src.IP, e.Flow.Dst.IP
	if e.Kind == event.KindFlow {
		// Other events belong to a flow that is reported anyway.
		if v, ok := t.address(src, at); ok {
			emit(signal(r.from, e, v, "source.ip", src.String(), dst.String(), "was contacted by"))
		}
		if v, ok := t.address(dst, at); ok {
			emit(signal(r.to, e, v, "destination.ip", dst.String(), src.String(), "talked to"))
		}
		return
	}
	if v, ok := e.Lookup(fullURL); ok {
		if found, ok := t.URL(v.Str(), at); ok {
			emit(signal(r.url, e, found, "url.full", v.Str(), src.String(), "requested"))
		}
	}
	for _, p := range prints {
		v, ok := e.Lookup(p.ref)
		if !ok {
			continue
		}
		if found, ok := t.Fingerprint(p.kind, v.Str(), at); ok {
			rule := r.cert
			if p.kind == Client {
				rule = r.client
			}
			emit(signal(rule, e, found, p.ref.Name(), found.Value, src.String(), p.verb))
			break
		}
	}
	for _, n := range names {
		v, ok := e.Lookup(n.ref)
		if !ok {
			continue
		}
		if found, ok := t.Domain(v.Str(), at); ok {
			emit(signal(r.name, e, found, n.ref.Name(), v.Str(), src.String(), n.verb))
			return
		}
	}
	if v, ok := e.Lookup(resolved); ok {
		for _, x := range v.List() {
			a, _ := x.IP()
			if found, ok := t.address(a, at); ok {
				emit(signal(r.name, e, found, resolved.Name(), a.String(), src.String(), "was told the address"))
				return
			}
		}
	}
}

func (t *Table) address(a netip.Addr, at time.Time) (Verdict, bool) {
	if !a.IsValid() {
		return Verdict{}, false
	}
	return t.Address(a, at)
}

func signal(rule *correlator.Rule, e *event.Event, v Verdict, field, value, who, verb string) correlator.Signal {
	s := correlator.Of(rule, "host="+who+" indicator="+v.Value, e)
	note := &correlator.Note{
		Message:   fmt.Sprintf("%s %s %s, which %s", who, verb, value, v.says()),
		Severity:  severity(v.Confidence),
		Indicator: v.Indicator,
	}
	for _, c := range v.Claims() {
		note.Explain = append(note.Explain, event.Explain{Field: field, Predicate: c.predicate(), Value: value})
	}
	if v.Type == string(Name) {
		note.Hosts = []string{value}
	}
	s.Note = note
	return s
}

// says tells in a few words who lists the value and how sure that is.
func (v *Verdict) says() string {
	b := new(strings.Builder)
	if v.n == 1 {
		fmt.Fprintf(b, "%s lists", v.Provider)
	} else {
		fmt.Fprintf(b, "%d lists hold", v.n)
	}
	if v.Description != "" {
		fmt.Fprintf(b, " as %s", v.Description)
	}
	fmt.Fprintf(b, " with confidence %d", v.Confidence)
	return b.String()
}

// predicate is what a claim says, such as "is listed as 192.0.2.0/24 by feodo
// with confidence 40 (80 when last seen on 2026-03-01)".
func (c *Claim) predicate() string {
	b := new(strings.Builder)
	fmt.Fprintf(b, "is listed as %s by %s with confidence %d", c.Value, c.Provider, c.Confidence)
	if !c.Seen.IsZero() {
		if c.Stated != c.Confidence {
			fmt.Fprintf(b, " (%d when last seen on %s)", c.Stated, c.Seen.Format(time.DateOnly))
		} else {
			fmt.Fprintf(b, " (last seen on %s)", c.Seen.Format(time.DateOnly))
		}
	}
	return b.String()
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
