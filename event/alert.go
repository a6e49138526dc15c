package event

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// MaxEvidence is how many event IDs an alert lists: the earliest ones, so that
// the list is the same in whatever order the events came.
const MaxEvidence = 100

// Alert is a finding of one rule about one group within one of the rule's time
// buckets. An alert may be reported several times while events come in; all
// reports have the same ID, and Merge makes of them what one report after the
// last event would say.
type Alert struct {
	ID         ID
	Rule       Rule
	Severity   int    // 1 to 100
	Level      string // informational, low, medium, high, critical
	Message    string // one sentence: who did what to whom
	Group      string // what the rule grouped by: "source.ip=192.0.2.1 …"; "" if nothing
	Techniques []Technique
	Sources    []netip.Addr // who acted, sorted; at most MaxRelated
	Targets    []netip.Addr // who was acted upon, sorted; at most MaxRelated
	Hosts      []string     // names involved, sorted; at most MaxRelated
	Users      []string     // accounts involved, sorted; at most MaxRelated
	Sensors    []string     // observer names, sorted
	Places     []Place      // where public ones of Sources and Targets are, sorted; at most 2*MaxRelated
	Indicator  Indicator    // of a reputation match; zero otherwise
	Count      uint64       // events that took part
	First      time.Time    // earliest of them
	Last       time.Time    // latest of them
	Evidence   []ID         // of events, sorted, the earliest MaxEvidence
	Explain    []Explain    // why the rule fired, of the earliest event
	Loss       float64      // share of packets unseen by the sensors between First and Last, 0 to 1
	Triage     Triage       // a person's judgement; no stage before the store sets it
}

// MaxRelated bounds each list of addresses and names on an alert.
const MaxRelated = 50

// Rule says which rule an alert is of.
type Rule struct {
	ID      string // stable identifier; of a Sigma rule its UUID
	Name    string
	Ruleset string // family, such as "sigma" or "behaviour"
	Version string // date or number of the rule's revision
	Hash    string // SHA-256 of the rule's text or parameters, hexadecimal
}

// Technique is one of MITRE ATT&CK.
type Technique struct {
	ID      string   `json:"id"` // T0855, T1110.001
	Name    string   `json:"name"`
	Tactics []string `json:"tactics"` // names as ATT&CK writes them: "Impair Process Control"
}

// Indicator is what a reputation list says of a value that was seen.
type Indicator struct {
	Type        string // ECS threat.indicator.type: ipv4-addr, ipv6-addr, domain-name, url, x509-certificate, software
	Value       string // address, prefix, name, URL or fingerprint as listed
	Provider    string // the list; of several, the one that is surest
	Confidence  int    // 0 to 100, of all lists together
	Reference   string
	Description string    // what the list takes it for, such as the name of a family
	TLP         string    // RED, AMBER+STRICT, AMBER, GREEN, CLEAR; empty if the list does not say
	Seen        time.Time // when the list saw it last, UTC; zero if it does not say
}

// Explain is one reason why a rule fired: a predicate and the value it met.
type Explain struct {
	Field     string
	Predicate string // "contains 'x'", "count >= 20"
	Value     string
}

// Triage is what people decided about an alert.
type Triage struct {
	Status   string // open (also ""), acknowledged, closed
	Verdict  string // "", true_positive, false_positive, benign
	Reason   string
	Assignee string // whose task it is; "" if nobody's
	By       string
	At       time.Time
}

// Merge joins another report of the same alert into a. It is commutative,
// associative and idempotent up to Triage, which stays a's.
func (a *Alert) Merge(b *Alert) {
	// The report that knows more events knows better why.
	switch earlier := cmp.Or(b.First.Compare(a.First), firstEvidence(b).Compare(firstEvidence(a))) < 0; {
	case b.Count > a.Count:
		a.Count, a.Message, a.Explain = b.Count, b.Message, b.Explain
	case b.Count == a.Count && earlier:
		a.Message, a.Explain = b.Message, b.Explain
	}
	if b.First.Before(a.First) {
		a.First = b.First
	}
	if b.Last.After(a.Last) {
		a.Last = b.Last
	}
	a.Loss = max(a.Loss, b.Loss)
	a.Evidence = union(a.Evidence, b.Evidence, ID.Compare, MaxEvidence)
	a.Sources = union(a.Sources, b.Sources, netip.Addr.Compare, MaxRelated)
	a.Targets = union(a.Targets, b.Targets, netip.Addr.Compare, MaxRelated)
	a.Hosts = union(a.Hosts, b.Hosts, cmp.Compare[string], MaxRelated)
	a.Users = union(a.Users, b.Users, cmp.Compare[string], MaxRelated)
	a.Sensors = union(a.Sensors, b.Sensors, cmp.Compare[string], MaxRelated)
	a.Places = UnionPlaces(a.Places, b.Places)
}

func firstEvidence(a *Alert) ID {
	if len(a.Evidence) == 0 {
		return ID{}
	}
	return a.Evidence[0]
}

// union returns the sorted union of two sorted lists, cut at limit.
func union[T comparable](a, b []T, compare func(T, T) int, limit int) []T {
	if slices.Equal(a, b) {
		return a
	}
	u := slices.Concat(a, b)
	slices.SortFunc(u, compare)
	u = slices.Compact(u)
	return u[:min(len(u), limit)]
}

// LevelOf names a severity: 1–19 informational, 20–39 low, 40–59 medium,
// 60–79 high, 80–100 critical.
func LevelOf(severity int) string {
	levels := [...]string{"informational", "low", "medium", "high", "critical"}
	return levels[min(max(severity, 0)/20, len(levels)-1)]
}

var alertDocs = []FieldDoc{
	{"event.severity", Long, "How bad, 1 to 100.", ClassTechnical},
	{"message", Keyword, "One sentence: who did what to whom.", ClassTopology},
	{"related.hosts", Keyword, "Names involved.", ClassTopology},
	{"related.ip", IPType, "Addresses involved.", ClassTopology},
	{"related.user", Keyword, "Accounts involved.", ClassPersonal},
	{"rule.id", Keyword, "Stable identifier of the rule.", ClassTechnical},
	{"rule.name", Keyword, "Title of the rule.", ClassTechnical},
	{"rule.ruleset", Keyword, "Family of the rule.", ClassTechnical},
	{"rule.version", Keyword, "Revision of the rule.", ClassTechnical},
	{"threat.framework", Keyword, "MITRE ATT&CK.", ClassTechnical},
	{"threat.indicator.confidence", Long, "Confidence of the lists together at that time, 0 to 100.", ClassTechnical},
	{"threat.indicator.description", Keyword, "What the list takes it for.", ClassTechnical},
	{"threat.indicator.last_seen", Date, "When the list saw it last.", ClassTechnical},
	{"threat.indicator.marking.tlp", Keyword, "TLP 2.0 marking of the list's entry, such as AMBER.", ClassTechnical},
	{"threat.indicator.name", Keyword, "Value as listed.", ClassTopology},
	{"threat.indicator.provider", Keyword, "The list.", ClassTechnical},
	{"threat.indicator.reference", Keyword, "Where the list explains the entry.", ClassTechnical},
	{"threat.indicator.type", Keyword, "ipv4-addr, ipv6-addr, domain-name, url, x509-certificate, or software (a fingerprint of a TLS client).", ClassTechnical},
	{"threat.tactic.name", Keyword, "ATT&CK tactics.", ClassTechnical},
	{"threat.technique.id", Keyword, "ATT&CK techniques.", ClassTechnical},
	{"threat.technique.name", Keyword, "Names of the techniques.", ClassTechnical},
	{"tocsin.alert.assignee", Keyword, "Whose task it is.", ClassPersonal},
	{"tocsin.alert.by", Keyword, "Who judged.", ClassPersonal},
	{"tocsin.alert.count", Long, "Events that took part.", ClassTechnical},
	{"tocsin.alert.evidence", Keyword, "Identifiers of the earliest events that took part.", ClassTechnical},
	{"tocsin.alert.explain", Nested, "Why the rule fired.", ClassTechnical},
	{"tocsin.alert.explain.field", Keyword, "Field that was looked at.", ClassTechnical},
	{"tocsin.alert.explain.predicate", Keyword, "What was asked of it.", ClassTechnical},
	{"tocsin.alert.explain.value", Keyword, "What it was.", ClassContent},
	{"tocsin.alert.first", Date, "Earliest event that took part.", ClassTechnical},
	{"tocsin.alert.group", Keyword, "What the rule grouped by.", ClassTopology},
	{"tocsin.alert.judged", Date, "When it was judged.", ClassTechnical},
	{"tocsin.alert.last", Date, "Latest event that took part.", ClassTechnical},
	{"tocsin.alert.level", Keyword, "informational, low, medium, high, critical.", ClassTechnical},
	{"tocsin.alert.places", Nested, "Where public addresses are, and whose.", ClassTopology},
	{"tocsin.alert.places.as", Long, "Autonomous system.", ClassTopology},
	{"tocsin.alert.places.city", Keyword, "City, in English.", ClassTopology},
	{"tocsin.alert.places.country", Keyword, "Country, ISO 3166-1 alpha-2.", ClassTopology},
	{"tocsin.alert.places.database", Keyword, "Databases that say so, and when each was built.", ClassTechnical},
	{"tocsin.alert.places.ip", Keyword, "The address.", ClassTopology},
	{"tocsin.alert.places.organization", Keyword, "Whose autonomous system it is.", ClassTopology},
	{"tocsin.alert.reason", Keyword, "Why it was judged so.", ClassTechnical},
	{"tocsin.alert.sensors", Keyword, "Sensors that saw it.", ClassTopology},
	{"tocsin.alert.source", IPType, "Addresses that acted.", ClassTopology},
	{"tocsin.alert.status", Keyword, "open, acknowledged, closed.", ClassTechnical},
	{"tocsin.alert.target", IPType, "Addresses acted upon.", ClassTopology},
	{"tocsin.alert.techniques", Nested, "Techniques with their tactics.", ClassTechnical},
	{"tocsin.alert.techniques.id", Keyword, "Technique.", ClassTechnical},
	{"tocsin.alert.techniques.name", Keyword, "Name of the technique.", ClassTechnical},
	{"tocsin.alert.techniques.tactics", Keyword, "Names of its tactics.", ClassTechnical},
	{"tocsin.alert.verdict", Keyword, "true_positive, false_positive, benign.", ClassTechnical},
	{"tocsin.loss", Double, "Share of packets that the sensors did not see, 0 to 1.", ClassTechnical},
	{"tocsin.rule.hash", Keyword, "SHA-256 of the rule.", ClassTechnical},
}

// AlertFields documents the fields of alerts.
func AlertFields() []FieldDoc { return append(PlaceFields(), alertDocs...) }

// Event returns the alert as an event of KindAlert: the form in which it is
// stored, searched, shown and sent. source.ip and destination.ip are set where
// there is exactly one.
func (a *Alert) Event() Event {
	e := Event{ID: a.ID, Time: a.First, Kind: KindAlert, Flow: Flow{Start: a.First, End: a.Last}}
	if len(a.Sources) == 1 {
		e.Flow.Src.IP = a.Sources[0]
	}
	if len(a.Targets) == 1 {
		e.Flow.Dst.IP = a.Targets[0]
	}
	if len(a.Sensors) == 1 {
		e.Sensor = a.Sensors[0]
	}
	set := func(name string, v Value) {
		if !v.IsZero() && !(v.Type() == TypeList && len(v.List()) == 0) {
			e.Fields = append(e.Fields, Field{name, v})
		}
	}
	set("event.severity", Int(int64(a.Severity)))
	set("message", strValue(a.Message))
	set("rule.id", strValue(a.Rule.ID))
	set("rule.name", strValue(a.Rule.Name))
	set("rule.ruleset", strValue(a.Rule.Ruleset))
	set("rule.version", strValue(a.Rule.Version))
	set("tocsin.rule.hash", strValue(a.Rule.Hash))
	if a.Indicator != (Indicator{}) {
		set("threat.indicator.type", strValue(a.Indicator.Type))
		set("threat.indicator.name", strValue(a.Indicator.Value))
		set("threat.indicator.provider", strValue(a.Indicator.Provider))
		set("threat.indicator.confidence", Int(int64(a.Indicator.Confidence)))
		set("threat.indicator.reference", strValue(a.Indicator.Reference))
		set("threat.indicator.description", strValue(a.Indicator.Description))
		set("threat.indicator.marking.tlp", strValue(a.Indicator.TLP))
		if !a.Indicator.Seen.IsZero() {
			set("threat.indicator.last_seen", Time(a.Indicator.Seen))
		}
	}
	var ids, names, tactics []string
	var objects []Value
	for _, t := range a.Techniques {
		ids = append(ids, t.ID)
		names = append(names, t.Name)
		for _, x := range t.Tactics {
			if !slices.Contains(tactics, x) {
				tactics = append(tactics, x)
			}
		}
		objects = append(objects, Object(Field{"id", Str(t.ID)}, Field{"name", Str(t.Name)}, Field{"tactics", Strs(t.Tactics)}))
	}
	if len(ids) > 0 {
		set("threat.framework", Str("MITRE ATT&CK"))
	}
	set("threat.technique.id", Strs(ids))
	set("threat.technique.name", Strs(names))
	set("threat.tactic.name", Strs(tactics))
	set("tocsin.alert.techniques", List(objects...))
	set("related.ip", addrs(union(slices.Clone(a.Sources), a.Targets, netip.Addr.Compare, 2*MaxRelated)))
	set("related.hosts", Strs(a.Hosts))
	set("related.user", Strs(a.Users))
	set("tocsin.alert.source", addrs(a.Sources))
	set("tocsin.alert.target", addrs(a.Targets))
	set("tocsin.alert.sensors", Strs(a.Sensors))
	set("tocsin.alert.group", strValue(a.Group))
	set("tocsin.alert.count", Uint(a.Count))
	set("tocsin.alert.first", timeValue(a.First))
	set("tocsin.alert.last", timeValue(a.Last))
	set("tocsin.alert.level", strValue(a.Level))
	evidence := make([]Value, len(a.Evidence))
	for i, id := range a.Evidence {
		evidence[i] = Str(id.String())
	}
	set("tocsin.alert.evidence", List(evidence...))
	explain := make([]Value, len(a.Explain))
	for i, x := range a.Explain {
		explain[i] = Object(Field{"field", Str(x.Field)}, Field{"predicate", Str(x.Predicate)}, Field{"value", Str(x.Value)})
	}
	set("tocsin.alert.explain", List(explain...))
	a.setPlaces(set)
	set("tocsin.loss", Float(a.Loss))
	set("tocsin.alert.status", Str(cmp.Or(a.Triage.Status, "open")))
	set("tocsin.alert.verdict", strValue(a.Triage.Verdict))
	set("tocsin.alert.reason", strValue(a.Triage.Reason))
	set("tocsin.alert.assignee", strValue(a.Triage.Assignee))
	set("tocsin.alert.by", strValue(a.Triage.By))
	set("tocsin.alert.judged", timeValue(a.Triage.At))
	return e
}

// part is the value of an object's field.
func part(o Value, name string) Value {
	for _, f := range o.Object() {
		if f.Name == name {
			return f.Value
		}
	}
	return Value{}
}

func addrs(as []netip.Addr) Value {
	vs := make([]Value, len(as))
	for i, a := range as {
		vs[i] = IP(a)
	}
	return List(vs...)
}

// AlertOf is the inverse of Alert.Event.
func AlertOf(e *Event) (Alert, error) {
	if e.Kind != KindAlert {
		return Alert{}, fmt.Errorf("event %s is of kind %s, not an alert", e.ID, e.Kind)
	}
	str := func(name string) string { return e.Get(name).Str() }
	num := func(name string) int64 { n, _ := e.Get(name).Int(); return n }
	at := func(name string) time.Time {
		if t, ok := e.Get(name).Time(); ok {
			return t
		}
		return time.Time{}
	}
	ips := func(name string) (as []netip.Addr) {
		for _, v := range e.Get(name).List() {
			if a, ok := v.IP(); ok {
				as = append(as, a)
			}
		}
		return as
	}
	strs := func(v Value) (ss []string) {
		for _, x := range v.List() {
			ss = append(ss, x.String())
		}
		return ss
	}
	a := Alert{
		ID:       e.ID,
		Rule:     Rule{ID: str("rule.id"), Name: str("rule.name"), Ruleset: str("rule.ruleset"), Version: str("rule.version"), Hash: str("tocsin.rule.hash")},
		Severity: int(num("event.severity")), Level: str("tocsin.alert.level"),
		Message: str("message"), Group: str("tocsin.alert.group"),
		Sources: ips("tocsin.alert.source"), Targets: ips("tocsin.alert.target"),
		Hosts: strs(e.Get("related.hosts")), Users: strs(e.Get("related.user")), Sensors: strs(e.Get("tocsin.alert.sensors")),
		Indicator: Indicator{Type: str("threat.indicator.type"), Value: str("threat.indicator.name"), Provider: str("threat.indicator.provider"),
			Confidence: int(num("threat.indicator.confidence")), Reference: str("threat.indicator.reference"),
			Description: str("threat.indicator.description"), TLP: str("threat.indicator.marking.tlp"), Seen: at("threat.indicator.last_seen")},
		Count: uint64(num("tocsin.alert.count")), First: at("tocsin.alert.first"), Last: at("tocsin.alert.last"),
		Triage: Triage{Status: str("tocsin.alert.status"), Verdict: str("tocsin.alert.verdict"), Reason: str("tocsin.alert.reason"), Assignee: str("tocsin.alert.assignee"), By: str("tocsin.alert.by"), At: at("tocsin.alert.judged")},
	}
	a.Loss, _ = e.Get("tocsin.loss").Float()
	a.Places = placesOf(e.Get("tocsin.alert.places"))
	for _, s := range strs(e.Get("tocsin.alert.evidence")) {
		id, err := ParseID(s)
		if err != nil {
			return a, fmt.Errorf("alert %s: evidence: %w", e.ID, err)
		}
		a.Evidence = append(a.Evidence, id)
	}
	for _, o := range e.Get("tocsin.alert.explain").List() {
		a.Explain = append(a.Explain, Explain{part(o, "field").Str(), part(o, "predicate").Str(), part(o, "value").Str()})
	}
	for _, o := range e.Get("tocsin.alert.techniques").List() {
		a.Techniques = append(a.Techniques, Technique{part(o, "id").Str(), part(o, "name").Str(), strs(part(o, "tactics"))})
	}
	return a, nil
}
