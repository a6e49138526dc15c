package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

var (
	protocolRef  = event.Resolve("ics.protocol")
	operationRef = event.Resolve("ics.operation")
	unitRef      = event.Resolve("ics.unit")
	codeRef      = event.Resolve("ics.function.code")
	functionRef  = event.Resolve("ics.function.name")
	objectsRef   = event.Resolve("ics.objects")
	stepsRef     = event.Resolve("iec104.steps")
)

// act is what an event says that somebody did.
type act struct {
	src, dst            netip.Addr
	at                  time.Time
	protocol, operation string
	unit                int64
	hasUnit             bool
	code                int64
	function            string
	objects             []event.Value
	executed, selected  bool // as commands are in protocols that know select before operate
}

// actOf reads an industrial event; false for any other.
func actOf(e *event.Event) (act, bool) {
	p, ok := e.Lookup(protocolRef)
	if !ok {
		return act{}, false
	}
	a := act{src: e.Flow.Src.IP, dst: e.Flow.Dst.IP, at: e.Time, protocol: p.Str()}
	if !a.src.IsValid() || !a.dst.IsValid() {
		return act{}, false // not over IP: there are no talkers that could be named
	}
	if v, ok := e.Lookup(operationRef); ok {
		a.operation = v.Str()
	}
	if v, ok := e.Lookup(unitRef); ok {
		a.unit, a.hasUnit = v.Int()
	}
	if v, ok := e.Lookup(codeRef); ok {
		a.code, _ = v.Int()
	}
	if v, ok := e.Lookup(functionRef); ok {
		a.function = v.Str()
	}
	if v, ok := e.Lookup(objectsRef); ok {
		a.objects = v.List()
	}
	switch a.protocol {
	case "iec104":
		steps, _ := e.Lookup(stepsRef)
		for _, s := range steps.List() {
			switch s.Str() {
			case "select":
				a.selected = true
			case "execute":
				a.executed = true
			}
			if a.executed {
				break // what is selected later is another command's
			}
		}
	case "dnp3": // IEEE 1815, section 4.4: operate, direct operate, direct operate without response
		const operate, direct, unanswered = 4, 5, 6
		a.executed = a.code == operate || a.code == direct || a.code == unanswered
		a.selected = a.code == operate // or the outstation refuses it
	}
	return a, a.operation != ""
}

// changes reports whether an operation changes something in the device.
func changes(operation string) bool {
	return slices.Contains([]string{"write", "control", "program", "mode", "firmware", "time"}, operation)
}

// object reads one of an act's objects: a type, the addresses, the values.
func object(v event.Value) (o Objects, values []event.Value) {
	count := int64(1)
	for _, f := range v.Object() {
		switch f.Name {
		case "type":
			o.Type = f.Value.Str()
		case "address":
			o.From, _ = f.Value.Int()
		case "count":
			count, _ = f.Value.Int()
		case "value":
			values = []event.Value{f.Value}
			if f.Value.Type() == event.TypeList {
				values = f.Value.List()
			}
		}
	}
	o.To = o.From + max(count, 1) - 1
	return o, values
}

// rules are the ways in which a policy is violated.
type rules struct{ device, talker, operation, object, value, selects, time, silence *correlator.Rule }

func (p *Policy) rules() rules {
	rule := func(id, name, message string, techniques ...event.Technique) *correlator.Rule {
		return &correlator.Rule{
			Rule:     event.Rule{ID: "tocsin-policy-" + id, Name: name, Ruleset: "policy", Version: "1", Hash: p.hash},
			Severity: 60, Techniques: techniques, Message: message,
		}
	}
	command := event.Technique{ID: "T0855", Name: "Unauthorized Command Message", Tactics: []string{"Impair Process Control"}}
	return rules{
		device:    rule("device", "Device that no policy names", ""),
		talker:    rule("talker", "Talker that the policy does not allow", "", event.Technique{ID: "T0848", Name: "Rogue Master", Tactics: []string{"Initial Access"}}),
		operation: rule("operation", "Operation that the policy does not allow", "", command),
		object:    rule("object", "Object that the policy does not allow", "", command),
		value:     rule("value", "Value out of the policy's range", "", event.Technique{ID: "T0836", Name: "Modify Parameter", Tactics: []string{"Impair Process Control"}}),
		selects:   rule("select", "Command that was not selected before", "", command),
		time:      rule("time", "Operation outside the policy's times", "", command),
		silence:   rule("silence", "Silence where there was polling", "", event.Technique{ID: "T0814", Name: "Denial of Service", Tactics: []string{"Inhibit Response Function"}}),
	}
}

// Detectors returns the detectors of the policy: one of what is done, and one
// of what is no longer done.
func (p *Policy) Detectors() []correlator.Detector {
	r := p.rules()
	x := p.index()
	done := correlator.Detector{
		Name:  "policy",
		Rules: []*correlator.Rule{r.device, r.talker, r.operation, r.object, r.value, r.selects, r.time},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			a, ok := actOf(e)
			if !ok {
				return
			}
			if v := x.judge(r, &a); v.rule != nil {
				emit(v.signal(e, &a))
			}
		},
	}
	ds := []correlator.Detector{done}
	if d, ok := p.silence(r.silence, x); ok {
		ds = append(ds, d)
	}
	return ds
}

// index finds devices and talkers by address.
type index struct {
	p       *Policy
	windows map[string]*Window
	grants  map[string][]*Grant // by device
}

func (p *Policy) index() *index {
	x := &index{p: p, windows: map[string]*Window{}, grants: map[string][]*Grant{}}
	for i := range p.Windows {
		x.windows[p.Windows[i].Name] = &p.Windows[i]
	}
	for i := range p.Allow {
		for _, to := range p.Allow[i].To {
			x.grants[to] = append(x.grants[to], &p.Allow[i])
		}
	}
	return x
}

func holds(prefixes []addresses, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p addresses) bool { return p.Contains(a) })
}

// device finds the device of an act: one that names its unit before one that
// names none.
func (x *index) device(a *act) *Device {
	var any *Device
	for i := range x.p.Devices {
		d := &x.p.Devices[i]
		if !holds(d.Addresses, a.dst) {
			continue
		}
		if slices.Contains(d.Units, a.unit) || !a.hasUnit {
			return d
		}
		if len(d.Units) == 0 && any == nil {
			any = d
		}
	}
	return any
}

// talker returns the names of who acts.
func (x *index) talker(a *act) (names []string) {
	for i := range x.p.Talkers {
		if holds(x.p.Talkers[i].Addresses, a.src) {
			names = append(names, x.p.Talkers[i].Name)
		}
	}
	return names
}

// violation is what a policy has against an act.
type violation struct {
	rule     *correlator.Rule
	severity int
	who, to  string
	sentence string
	explain  event.Explain
}

// judge compares an act with what is allowed, from the coarse to the fine, and
// says the first thing that no grant allows.
func (x *index) judge(r rules, a *act) violation {
	v := violation{who: a.src.String(), to: a.device("")}
	d := x.device(a)
	if d == nil {
		v.rule, v.severity = r.device, 40
		v.sentence = fmt.Sprintf("%s: the policy names no such device", a.did(v.who, v.to))
		v.explain = event.Explain{Field: "destination.ip", Predicate: "is a device of the policy", Value: a.dst.String()}
		if changes(a.operation) {
			v.severity = 70
		}
		return v
	}
	v.to = a.device(d.Name)
	names := x.talker(a)
	if len(names) > 0 {
		v.who = fmt.Sprintf("%s (%s)", names[0], a.src)
	}
	left := keep(x.grants[d.Name], func(g *Grant) bool {
		return (g.Protocol == "" || g.Protocol == a.protocol) && slices.ContainsFunc(g.Who, func(w string) bool { return slices.Contains(names, w) })
	})
	if len(left) == 0 {
		v.rule, v.severity = r.talker, 60
		if changes(a.operation) {
			v.severity = 85
		}
		v.sentence = fmt.Sprintf("%s: only %s may talk %s to it", a.did(v.who, v.to), x.who(d.Name, a.protocol), a.protocol)
		v.explain = event.Explain{Field: "source.ip", Predicate: "is one of " + x.who(d.Name, a.protocol), Value: a.src.String()}
		return v
	}
	may := keep(left, func(g *Grant) bool {
		return slices.Contains(g.Operations, a.operation) && (len(g.Functions) == 0 || slices.Contains(g.Functions, a.code))
	})
	if len(may) == 0 {
		v.rule, v.severity = r.operation, 50
		if changes(a.operation) {
			v.severity = 80
		}
		v.sentence = fmt.Sprintf("%s: it is not allowed to %s there with function %d", a.did(v.who, v.to), a.operation, a.code)
		v.explain = event.Explain{Field: "ics.operation", Predicate: "is one that " + v.who + " may do", Value: fmt.Sprintf("%s, function %d", a.operation, a.code)}
		return v
	}
	for _, o := range a.objects {
		objects, values := object(o)
		within := keep(may, func(g *Grant) bool { return g.covers(objects) })
		if len(within) == 0 {
			v.rule, v.severity = r.object, 50
			if changes(a.operation) {
				v.severity = 80
			}
			v.sentence = fmt.Sprintf("%s: it may %s %s only", a.did(v.who, v.to), a.operation, objectsOf(may))
			v.explain = event.Explain{Field: "ics.objects", Predicate: "is within " + objectsOf(may), Value: objects.String()}
			return v
		}
		if !changes(a.operation) {
			continue
		}
		for _, value := range values {
			n, ok := value.Float()
			if !ok {
				continue
			}
			inRange := keep(within, func(g *Grant) bool { return g.Values == nil || n >= g.Values.From && n <= g.Values.To })
			if len(inRange) == 0 {
				v.rule, v.severity = r.value, 80
				bounds := within[0].Values
				v.sentence = fmt.Sprintf("%s: %g is not within %g to %g", a.did(v.who, v.to), n, bounds.From, bounds.To)
				v.explain = event.Explain{Field: "ics.objects.value", Predicate: fmt.Sprintf("is within %g to %g", bounds.From, bounds.To), Value: value.String()}
				return v
			}
			within = inRange
		}
		may = within
	}
	if a.executed && !a.selected {
		direct := keep(may, func(g *Grant) bool { return !g.Select })
		if len(direct) == 0 {
			v.rule, v.severity = r.selects, 80
			v.sentence = fmt.Sprintf("%s, which it had not selected before", a.did(v.who, v.to))
			v.explain = event.Explain{Field: "ics.function.code", Predicate: "is executed after a selection", Value: fmt.Sprintf("%d (%s), executed without", a.code, a.function)}
			return v
		}
		may = direct
	}
	if !slices.ContainsFunc(may, func(g *Grant) bool { return x.inTime(g, a.at) }) {
		times := x.times(may)
		v.rule, v.severity = r.time, 70
		v.sentence = fmt.Sprintf("%s, outside %s", a.did(v.who, v.to), times)
		v.explain = event.Explain{Field: "@timestamp", Predicate: "is within " + times, Value: a.at.UTC().Format(time.RFC3339)}
	}
	return v
}

func keep(gs []*Grant, f func(*Grant) bool) (kept []*Grant) {
	for _, g := range gs {
		if f(g) {
			kept = append(kept, g)
		}
	}
	return kept
}

// covers reports whether all of the objects are among those of the grant.
func (g *Grant) covers(o Objects) bool {
	return len(g.Objects) == 0 || slices.ContainsFunc(g.Objects, func(have Objects) bool {
		return have.Type == o.Type && have.From <= o.From && o.To <= have.To
	})
}

func (x *index) inTime(g *Grant, at time.Time) bool {
	return len(g.When) == 0 || slices.ContainsFunc(g.When, func(w string) bool { return x.windows[w].holds(at) })
}

func (x *index) times(gs []*Grant) string {
	var ts []string
	for _, g := range gs {
		for _, w := range g.When {
			if t := x.windows[w].String(); !slices.Contains(ts, t) {
				ts = append(ts, t)
			}
		}
	}
	return strings.Join(ts, " and ")
}

// who names those who may talk to a device.
func (x *index) who(device, protocol string) string {
	var names []string
	for _, g := range x.grants[device] {
		if g.Protocol != "" && g.Protocol != protocol {
			continue
		}
		for _, w := range g.Who {
			if !slices.Contains(names, w) {
				names = append(names, w)
			}
		}
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// maxNamed bounds how much of a policy a sentence repeats.
const maxNamed = 5

func objectsOf(gs []*Grant) string {
	var names []string
	for _, g := range gs {
		for _, o := range g.Objects {
			if n := o.String(); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	if len(names) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

func (a *act) device(name string) string {
	if name != "" {
		return name
	}
	if a.hasUnit {
		return fmt.Sprintf("unit %d of %s", a.unit, a.dst)
	}
	return a.dst.String()
}

// verbs say in the past what an operation is.
var verbs = map[string]string{
	"read": "read", "write": "wrote", "control": "operated", "program": "changed the program of", "upload": "took the program of",
	"mode": "changed the mode of", "firmware": "changed the firmware of", "diagnose": "diagnosed", "discover": "explored",
	"report": "reported to", "time": "set the clock of", "session": "opened a session with", "auth": "signed in to",
}

// did is the sentence of an act: "scada (10.40.0.20) wrote coil 17 of PLC-3".
func (a *act) did(who, to string) string {
	verb := verbs[a.operation]
	if verb == "" {
		verb = a.operation
	}
	if len(a.objects) > 0 && slices.Contains([]string{"read", "write", "control"}, a.operation) {
		o, _ := object(a.objects[0])
		more := ""
		if n := len(a.objects) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		return fmt.Sprintf("%s %s %s%s of %s", who, verb, o, more, to)
	}
	if slices.Contains([]string{"read", "write"}, a.operation) {
		verb += " (" + a.function + ")"
	}
	return fmt.Sprintf("%s %s %s", who, verb, to)
}

func (v *violation) signal(e *event.Event, a *act) correlator.Signal {
	group := fmt.Sprintf("source.ip=%s destination.ip=%s ics.operation=%s", a.src, a.dst, a.operation)
	if a.hasUnit {
		group = fmt.Sprintf("source.ip=%s destination.ip=%s ics.unit=%d ics.operation=%s", a.src, a.dst, a.unit, a.operation)
	}
	s := correlator.Of(v.rule, group, e)
	s.Note = &correlator.Note{Message: v.sentence, Severity: v.severity, Explain: []event.Explain{v.explain}}
	return s
}
