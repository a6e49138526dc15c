package share

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/tlp"
)

// ErrMarking is returned for a case whose label is higher than the recipient is
// cleared for.
var ErrMarking = errors.New("the recipient is not cleared for that")

// Released is what a recipient sees of a case.
type Released struct {
	Trace      *trace.Trace
	Marking    tlp.Level
	Pseudonyms int // addresses that are told as others
	Withheld   int // hops and steps that are left out, as what they are about is marked higher
}

// Alerts finds an alert of the case by its identifier.
type Alerts func(event.ID) (event.Alert, bool)

// Release makes of a case what the recipient will see. It is marked with the
// highest label of what is in it.
func (l *Lens) Release(t *trace.Trace, marking tlp.Level, alerts Alerts) (*Released, error) {
	if !l.cleared(marking) {
		return nil, fmt.Errorf("share: %s for %s, who may have %s at most: %w", marking, l.recipient.Name, l.recipient.Clearance, ErrMarking)
	}
	r := &release{Lens: l, alerts: alerts, out: &Released{Marking: marking}, pseudonyms: map[netip.Addr]bool{}}
	seen := &trace.Trace{
		From: l.Time(t.From), To: l.Time(t.To), Loss: t.Loss,
		Path: []trace.Hop{}, Branches: []trace.Hop{}, Rejected: []trace.Hop{}, Nodes: []trace.Node{}, Steps: []trace.Step{}, Missing: []string{},
	}
	if id, err := event.ParseID(t.Seed); err == nil {
		seen.Seed = l.ID(id).String()
	} else if a, err := netip.ParseAddr(t.Seed); err == nil {
		if a, _, ok := l.Address(a); ok {
			seen.Seed = a.String()
		}
	}
	if seen.Seed == "" {
		seen.Seed = "withheld"
	}
	hidden := map[netip.Addr]bool{} // hosts whose names are marked
	for i := range t.Nodes {
		if n, ok := r.node(&t.Nodes[i]); ok {
			seen.Nodes = append(seen.Nodes, n)
		} else {
			hidden[t.Nodes[i].Address] = true
		}
	}
	r.hidden = hidden
	for i := range t.Path {
		if h, ok := r.hop(&t.Path[i]); ok {
			seen.Path = append(seen.Path, h)
		}
	}
	for i := range t.Branches {
		if h, ok := r.hop(&t.Branches[i]); ok {
			seen.Branches = append(seen.Branches, h)
		}
	}
	for i := range t.Steps {
		if s, ok := r.step(&t.Steps[i]); ok {
			seen.Steps = append(seen.Steps, s)
		}
	}
	seen.Origin, seen.Target = r.end(t.Origin), r.end(t.Target)
	if n := len(seen.Path); n > 0 {
		seen.Origin, seen.Target = seen.Path[0].From, seen.Path[n-1].To
	}
	seen.Title = title(seen)
	if r.out.Withheld > 0 {
		seen.Missing = append(seen.Missing, fmt.Sprintf("%d hops or steps are withheld", r.out.Withheld))
	}
	r.out.Pseudonyms = len(r.pseudonyms)
	if r.out.Pseudonyms > 0 {
		seen.Missing = append(seen.Missing, "addresses of the operator are pseudonyms that keep prefixes; they are no addresses of anybody")
	}
	slices.SortFunc(seen.Nodes, func(a, b trace.Node) int { return a.Address.Compare(b.Address) })
	r.out.Trace = seen
	return r.out, nil
}

type release struct {
	*Lens
	alerts     Alerts
	out        *Released
	hidden     map[netip.Addr]bool
	pseudonyms map[netip.Addr]bool
}

func (r *release) address(a netip.Addr) (netip.Addr, bool) {
	if r.hidden[a] {
		return netip.Addr{}, false
	}
	seen, pseudonym, ok := r.Address(a)
	if ok && pseudonym {
		r.pseudonyms[a] = true
	}
	return seen, ok
}

// end is the origin or the target; unset if it is withheld.
func (r *release) end(a netip.Addr) netip.Addr {
	seen, _ := r.address(a)
	return seen
}

// roles are those that are told as they are.
var roles = []string{"origin", "stepping-stone", "target", "c2", "exfiltration", "bystander", "access", "impact", "scan", "contact", "control"}

func role(name string) string {
	if slices.Contains(roles, name) {
		return name
	}
	return ""
}

func (r *release) node(n *trace.Node) (seen trace.Node, ok bool) {
	if seen.Address, ok = r.address(n.Address); !ok {
		return seen, false
	}
	if seen.Name, ok = r.Name("host", n.Name, event.ClassTopology); !ok {
		return seen, false
	}
	if seen.Zone, ok = r.Name("zone", n.Zone, event.ClassTopology); !ok {
		return seen, false
	}
	seen.Role, seen.First, seen.Last = role(n.Role), r.Time(n.First), r.Time(n.Last)
	if _, pseudonym, _ := r.Address(n.Address); pseudonym && slices.Contains([]string{"origin", "c2", "exfiltration"}, seen.Role) {
		seen.Role = "inside" // nobody must block a pseudonym
	}
	return seen, true
}

func (r *release) hop(h *trace.Hop) (seen trace.Hop, ok bool) {
	var to, from bool
	seen.From, from = r.address(h.From)
	seen.To, to = r.address(h.To)
	if !from || !to || r.marked(h.Evidence) {
		r.out.Withheld++
		return seen, false
	}
	seen.Port, seen.Transport, seen.Protocol = h.Port, word(h.Transport), word(h.Protocol)
	seen.Start, seen.End, seen.Flows, seen.Bytes = r.Time(h.Start), r.Time(h.End), int(volume(uint64(max(h.Flows, 0)))), volume(h.Bytes)
	seen.Role, seen.Confidence, seen.Techniques = role(h.Role), h.Confidence, techniques(h.Techniques)
	seen.Reasons, seen.Evidence, seen.Sensors = []trace.Reason{}, []event.ID{}, []string{}
	for i := range h.Reasons {
		if x, ok := r.reason(&h.Reasons[i], seen.Protocol); ok {
			seen.Reasons = append(seen.Reasons, x)
		}
	}
	for _, id := range h.Evidence {
		seen.Evidence = append(seen.Evidence, r.ID(id))
	}
	slices.SortFunc(seen.Evidence, event.ID.Compare)
	for _, s := range h.Sensors {
		if s, ok := r.Name("sensor", s, event.ClassTopology); ok {
			seen.Sensors = append(seen.Sensors, s)
		}
	}
	slices.Sort(seen.Sensors)
	return seen, true
}

// marked reports whether one of the alerts is of a rule, or of a list, whose
// label the recipient is not cleared for.
func (r *release) marked(ids []event.ID) bool {
	if r.alerts == nil {
		return false
	}
	return slices.ContainsFunc(ids, func(id event.ID) bool {
		a, ok := r.alerts(id)
		return ok && r.secret(&a)
	})
}

func (r *release) secret(a *event.Alert) bool {
	if a.Indicator.TLP != "" {
		if level, err := tlp.Parse(a.Indicator.TLP); err != nil || !r.cleared(level) {
			return true
		}
	}
	return slices.ContainsFunc(r.policy.Markings, func(m Marking) bool { return !r.cleared(m.TLP) && slices.Contains(m.Rules, a.Rule.ID) })
}

// word lets a name of a protocol through.
func word(s string) string {
	if len(s) > 24 || strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_') }) {
		return ""
	}
	return s
}

// techniques lets identifiers and names of ATT&CK through.
func techniques(list []event.Technique) []event.Technique {
	seen := []event.Technique{}
	for _, t := range list {
		if len(t.ID) > 1 && t.ID[0] == 'T' && !strings.ContainsFunc(t.ID[1:], func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
			seen = append(seen, t)
		}
	}
	return seen
}

func (r *release) step(s *trace.Step) (seen trace.Step, ok bool) {
	var to, from bool
	seen.From, from = r.address(s.From)
	seen.To, to = r.address(s.To)
	if !from || !to || r.marked([]event.ID{s.ID}) {
		r.out.Withheld++
		return seen, false
	}
	seen.Time, seen.ID, seen.Severity, seen.Techniques = r.Time(s.Time), r.ID(s.ID), s.Severity, techniques(s.Techniques)
	// What an alert says holds names and values; its rule's title does not.
	if r.alerts != nil {
		if a, ok := r.alerts(s.ID); ok {
			seen.Text = a.Rule.Name
		}
	}
	if r.recipient.may(event.ClassContent) && r.recipient.may(event.ClassPersonal) && r.recipient.may(event.ClassTopology) && r.recipient.may(event.ClassProcess) && len(r.policy.Markings) == 0 {
		seen.Text = s.Text
	}
	if seen.Text == "" {
		seen.Text = "a step of the attack"
	}
	return seen, true
}

func title(t *trace.Trace) string {
	name := func(a netip.Addr) string {
		if a.IsValid() {
			return a.String()
		}
		return "a host that is withheld"
	}
	if len(t.Path) == 0 {
		return name(t.Origin) + ": no path that can be told"
	}
	text := name(t.Origin) + " reached " + name(t.Target)
	if len(t.Path) > 1 {
		var via []string
		for _, h := range t.Path[1:] {
			via = append(via, name(h.From))
		}
		text += " through " + strings.Join(via, ", ")
	}
	return text
}
