// Package stix writes a trace as a STIX 2.1 bundle (OASIS Standard, 2021): an
// incident and a report that refer to addresses, network traffic, observed
// data, the ATT&CK techniques used, the infrastructure of the attack,
// indicators of it, and the relationships between them, with a marking of TLP
// 2.0. Identifiers are derived from content, so the same trace is the same
// bundle.
package stix

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/tlp"
)

// Format is the STIX format, marked TLP:AMBER.
var Format = trace.Format{Name: "stix", MIME: "application/stix+json;version=2.1", Ext: ".stix.json", Write: func(w io.Writer, t *trace.Trace) error {
	return Write(w, t, tlp.Amber)
}}

// tlpExtension is what defines TLP 2.0 in STIX 2.1, with the identifier that
// OASIS fixed.
const tlpExtension = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"

// object is a STIX object; encoding/json sorts its members.
type object = map[string]any

// Namespaces of identifiers: the one that STIX 2.1 section 2.9 fixes for
// observables, and ours for everything else.
var (
	observables = [16]byte{0x00, 0xab, 0xed, 0xb4, 0xaa, 0x42, 0x46, 0x6c, 0x9c, 0x01, 0xfe, 0xd2, 0x33, 0x15, 0xa9, 0xb7}
	own         = [16]byte{'t', 'o', 'c', 's', 'i', 'n', ' ', 't', 'r', 'a', 'c', 'e'}
)

// identifier derives a UUID from a name, as version 5 does (RFC 9562). STIX
// asks for version 5 in observables and for random ones elsewhere; ours are
// derived everywhere, and say version 4 where that is asked for.
func identifier(kind string, namespace [16]byte, name string) string {
	h := sha1.New()
	h.Write(namespace[:])
	io.WriteString(h, name)
	u := h.Sum(nil)[:16]
	version := byte(0x40)
	if namespace == observables {
		version = 0x50
	}
	u[6] = u[6]&0x0f | version
	u[8] = u[8]&0x3f | 0x80
	x := hex.EncodeToString(u)
	return fmt.Sprintf("%s--%s-%s-%s-%s-%s", kind, x[:8], x[8:12], x[12:16], x[16:20], x[20:])
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// bundle collects objects, each once.
type bundle struct {
	t       *trace.Trace
	level   tlp.Level
	mark    string // of level: the marking definition
	created string
	author  string
	objects []object
	has     map[string]bool
	refs    []string // what the report refers to
}

// Write writes the bundle with a marking on each of its objects.
func Write(w io.Writer, t *trace.Trace, level tlp.Level) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(Bundle(t, level))
}

// Bundle makes the bundle: what encoding/json writes of it is STIX.
func Bundle(t *trace.Trace, level tlp.Level) map[string]any {
	b := &bundle{t: t, level: level, created: stamp(t.To), has: map[string]bool{}}
	b.marking()
	b.author = b.domain("identity", "author", object{
		"name": "Tocsin", "identity_class": "system",
		"description": "Network security situational awareness: reconstructed from the operator's own sensors.",
	})
	hosts := map[netip.Addr]string{}
	for _, n := range t.Nodes {
		hosts[n.Address] = b.node(n)
	}
	for i, h := range t.Path {
		b.hop(fmt.Sprintf("path %d", i+1), fmt.Sprintf("Hop %d of %d", i+1, len(t.Path)), h, hosts)
	}
	for i, h := range t.Branches {
		b.hop(fmt.Sprintf("branch %d", i+1), "Beside the path", h, hosts)
	}
	b.incident(hosts)
	if len(b.refs) == 0 {
		b.refs = []string{b.author} // a report refers to something
	}
	b.domain("report", "report", object{
		"name": t.Title, "published": b.created, "report_types": []string{"attack-pattern"},
		"description": strings.Join(append([]string{t.Title + "."}, t.Missing...), "\n"),
		"object_refs": slices.Clone(b.refs),
	})
	return object{"type": "bundle", "id": identifier("bundle", own, t.Seed+t.Title+b.created+b.mark), "objects": b.objects}
}

func (b *bundle) add(id string, o object) string {
	if !b.has[id] {
		b.has[id] = true
		o["id"] = id
		o["spec_version"] = "2.1"
		b.objects = append(b.objects, o)
	}
	return id
}

func (b *bundle) marking() {
	id, value := b.level.STIX()
	b.mark = b.add(id, object{
		"type": "marking-definition", "created": "2022-10-01T00:00:00.000Z", "name": b.level.String(),
		"extensions": object{tlpExtension: object{"extension_type": "property-extension", "tlp_2_0": value}},
	})
}

// domain adds a domain or relationship object of this trace.
func (b *bundle) domain(kind, name string, o object) string {
	id := identifier(kind, own, b.t.Seed+"\x00"+name)
	o["type"] = kind
	o["created"], o["modified"] = b.created, b.created
	if b.author != "" {
		o["created_by_ref"] = b.author
	}
	o["object_marking_refs"] = []string{b.mark}
	id = b.add(id, o)
	if kind != "report" && kind != "identity" {
		b.refs = append(b.refs, id)
	}
	return id
}

// observable adds a cyber-observable object, whose identifier is made of the
// members that the standard names, in canonical JSON (RFC 8785): for these
// plain values what encoding/json writes with sorted names.
func (b *bundle) observable(kind string, contributing, rest object) string {
	text, err := json.Marshal(contributing)
	if err != nil {
		panic(err) // strings and small numbers always encode
	}
	o := object{"type": kind, "object_marking_refs": []string{b.mark}}
	for _, part := range []object{contributing, rest} {
		for k, v := range part {
			o[k] = v
		}
	}
	id := identifier(kind, observables, string(text))
	if !b.has[id] {
		b.refs = append(b.refs, id)
	}
	return b.add(id, o)
}

func (b *bundle) address(a netip.Addr) string {
	kind := "ipv4-addr"
	if a.Is6() {
		kind = "ipv6-addr"
	}
	return b.observable(kind, object{"value": a.String()}, nil)
}

// node adds what an address was in the attack: infrastructure of the attacker,
// or an identity of the operator's system that was reached.
func (b *bundle) node(n trace.Node) string {
	addr := b.address(n.Address)
	name := n.Address.String()
	if n.Name != "" {
		name = n.Name + " (" + name + ")"
	}
	description := "Role in the attack: " + n.Role + "."
	if n.Zone != "" {
		description += " Network zone: " + n.Zone + "."
	}
	switch n.Role {
	case "origin", "c2", "exfiltration":
		kind := map[string]string{"origin": "unknown", "c2": "command-and-control", "exfiltration": "exfiltration"}[n.Role]
		id := b.domain("infrastructure", "host "+n.Address.String(), object{
			"name": name, "description": description, "infrastructure_types": []string{kind},
			"first_seen": stamp(n.First), "last_seen": stamp(n.Last),
		})
		b.relate(id, "consists-of", addr, "")
		b.indicator(n, id, kind)
		return id
	}
	id := b.domain("identity", "host "+n.Address.String(), object{"name": name, "description": description, "identity_class": "system"})
	b.refs = append(b.refs, id)
	return id
}

// validity is how long an indicator of an address is worth believing: hosts
// that attack are cleaned or given up within weeks.
const validity = 30 * 24 * time.Hour

// indicator says how to recognise a host of the attacker's.
func (b *bundle) indicator(n trace.Node, infrastructure, kind string) {
	if len(b.t.Path)+len(b.t.Branches) == 0 {
		return // nothing says that it attacked
	}
	value := "ipv4-addr"
	if n.Address.Is6() {
		value = "ipv6-addr"
	}
	sort := map[string]string{"command-and-control": "malicious-activity", "exfiltration": "malicious-activity"}[kind]
	if sort == "" {
		sort = "anomalous-activity"
	}
	from := n.First
	if from.IsZero() {
		from = b.t.From
	}
	until := n.Last
	if until.Before(from) {
		until = from
	}
	id := b.domain("indicator", "host "+n.Address.String(), object{
		"name": "Address of the attack: " + n.Address.String(), "description": "Role in the attack: " + n.Role + ".", "indicator_types": []string{sort},
		"pattern_type": "stix", "pattern_version": "2.1", "pattern": fmt.Sprintf("[%s:value = '%s']", value, n.Address),
		"valid_from": stamp(from), "valid_until": stamp(until.Add(validity)),
	})
	b.relate(id, "indicates", infrastructure, "")
}

// incident is the whole, and who was affected by it.
func (b *bundle) incident(hosts map[netip.Addr]string) {
	if len(b.t.Path)+len(b.t.Branches) == 0 {
		return
	}
	id := b.domain("incident", "incident", object{
		"name": b.t.Title, "description": strings.Join(append([]string{b.t.Title + "."}, b.t.Missing...), "\n"),
	})
	for _, n := range b.t.Nodes {
		if host := hosts[n.Address]; host != "" {
			b.relate(id, "related-to", host, n.Role)
		}
	}
}

func (b *bundle) relate(from, how, to, description string) {
	o := object{"relationship_type": how, "source_ref": from, "target_ref": to}
	if description != "" {
		o["description"] = description
	}
	b.domain("relationship", from+how+to, o)
}

// hop adds the traffic of a hop, when it was observed, and its techniques.
func (b *bundle) hop(name, title string, h trace.Hop, hosts map[netip.Addr]string) {
	protocols := []string{"ipv4"}
	if h.From.Is6() {
		protocols[0] = "ipv6"
	}
	for _, p := range []string{h.Transport, h.Protocol} {
		if p != "" && !slices.Contains(protocols, p) {
			protocols = append(protocols, p)
		}
	}
	contributing := object{
		"start": stamp(h.Start), "end": stamp(h.End), "src_ref": b.address(h.From), "dst_ref": b.address(h.To), "protocols": protocols,
	}
	if h.Transport == "tcp" || h.Transport == "udp" || h.Transport == "sctp" {
		contributing["dst_port"] = h.Port
	}
	traffic := b.observable("network-traffic", contributing, nil)
	reasons := make([]string, len(h.Reasons))
	for i, r := range h.Reasons {
		reasons[i] = fmt.Sprintf("%s (%+.2f)", r.Text, r.Weight)
	}
	evidence := make([]string, len(h.Evidence))
	for i, id := range h.Evidence {
		evidence[i] = id.String()
	}
	observed := b.domain("observed-data", name, object{
		"first_observed": stamp(h.Start), "last_observed": stamp(h.End), "number_observed": max(h.Flows, 1),
		"object_refs": []string{traffic, contributing["src_ref"].(string), contributing["dst_ref"].(string)},
		"confidence":  int(100*h.Confidence + 0.5),
	})
	b.domain("note", name, object{
		"abstract":    fmt.Sprintf("%s: %s → %s, %s", title, h.From, h.To, h.Role),
		"content":     strings.Join(append(reasons, "evidence: "+strings.Join(evidence, " "), "sensors: "+strings.Join(h.Sensors, " ")), "\n"),
		"object_refs": []string{observed, traffic},
	})
	for _, t := range h.Techniques {
		b.technique(t, hosts[h.To], hosts[h.From])
	}
}

// technique adds an ATT&CK technique and what it was used on and with.
func (b *bundle) technique(t event.Technique, target, source string) {
	chain, site := "mitre-attack", "https://attack.mitre.org/techniques/"
	if strings.HasPrefix(t.ID, "T0") {
		chain = "mitre-ics-attack"
	}
	phases := []object{}
	for _, tactic := range t.Tactics {
		phases = append(phases, object{"kill_chain_name": chain, "phase_name": strings.ReplaceAll(strings.ToLower(tactic), " ", "-")})
	}
	o := object{
		"name":                t.Name,
		"external_references": []object{{"source_name": chain, "external_id": t.ID, "url": site + strings.ReplaceAll(t.ID, ".", "/")}},
	}
	if t.Name == "" {
		o["name"] = t.ID
	}
	if len(phases) > 0 {
		o["kill_chain_phases"] = phases
	}
	id := b.domain("attack-pattern", t.ID, o)
	switch kind, _, _ := strings.Cut(target, "--"); kind {
	case "identity":
		b.relate(id, "targets", target, "")
	case "infrastructure":
		b.relate(id, "uses", target, "")
	}
	if strings.HasPrefix(source, "infrastructure--") {
		b.relate(id, "uses", source, "")
	}
}
