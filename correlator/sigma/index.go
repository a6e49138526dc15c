package sigma

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tocsin/tocsin/event"
)

// The index wakes rules, that is their detections: of each it knows a set of anchors, one of which
// must be in the event for the rule to match, chosen to be rare: values, texts in
// values, prefixes of addresses, bounds of numbers. An event is looked at once,
// however many rules there are; only rules that it wakes are evaluated. Rules
// that only say what must not be are evaluated for every event of their kind.
type index struct {
	plans map[event.Kind]*plan
	other *plan // for kinds that no rule names
}

// A plan is what is looked at in events of one kind.
type plan struct {
	core     []*fieldIndex          // fields that every event may have
	byName   map[string]*fieldIndex // the others
	keywords *automaton             // over every text; nil if there are none
	always   []int32                // rules to evaluate in any case
}

type fieldIndex struct {
	ref   event.Ref
	paths []*pathIndex
}

// A pathIndex wakes rules by the values of a field, or of one name in its objects.
type pathIndex struct {
	path   string
	exact  map[string][]int32 // by the whole value
	within *automaton         // by what is in it
	nets   *netTable          // by the prefix that it is in
	above  []bound            // by the bounds at or below a number, ascending
	below  []bound            // by the bounds at or above a number, descending
	there  []int32            // by any value
}

// A bound wakes a rule by numbers on one side of it.
type bound struct {
	n    float64
	rule int32
}

// An anchor is a value, or a part or property of one, that wakes a rule.
type anchor struct {
	field *field // nil: any
	kind  anchorKind
	text  string // in lower case
	net   netip.Prefix
	n     float64
}

type anchorKind uint8

const (
	hasText   anchorKind = iota // the value has the text in it
	isWhole                     // … is the text
	inNet                       // … is an address in the prefix
	atLeast                     // … is a number, n or more
	atMost                      // … is a number, n or less
	isPresent                   // … is there
)

// A netTable finds prefixes that an address is in: one look-up for each length
// of prefix that there is.
type netTable struct {
	lengths []int // of IPv4 prefixes, and of IPv6 prefixes plus 200
	rules   map[netip.Prefix][]int32
}

func (t *netTable) add(p netip.Prefix, rule int32) {
	n := p.Bits()
	if p.Addr().Is6() {
		n += 200
	}
	if !slices.Contains(t.lengths, n) {
		t.lengths = append(t.lengths, n)
	}
	t.rules[p] = append(t.rules[p], rule)
}

// anchors returns texts of which the event must have one for the node to hold,
// and how often that may happen, from 0 to 1 and more; ok is false if there
// are none.
func (n *node) anchors() (as []anchor, cost float64, ok bool) {
	switch n.op {
	case opTest:
		return n.test.anchors()
	case opAnd:
		for _, k := range n.kids {
			if kas, kcost, kok := k.anchors(); kok && (!ok || kcost < cost) {
				as, cost, ok = kas, kcost, true
			}
		}
		return as, cost, ok
	case opOr, opLeast:
		for _, k := range n.kids {
			kas, kcost, kok := k.anchors()
			if !kok {
				return nil, 0, false
			}
			as, cost = append(as, kas...), cost+kcost
		}
		return as, cost, len(n.kids) > 0
	}
	return nil, 0, false
}

// maxAnchor is how much of a text the automaton knows: more makes it larger and
// hardly more selective.
const maxAnchor = 16

func (t *test) anchors() ([]anchor, float64, bool) {
	switch t.kind {
	case isText:
		if t.text.kind == exact {
			text := string(appendLower(nil, string(t.text.lit)))
			cost := 0.02
			switch {
			case t.field.doc.Type == event.IPType:
				cost = 0.001
			case t.field.doc.Type == event.Long:
				cost = 0.05
			case len(text) <= 4: // GET, A, tcp: one of few words
				cost = 0.2
			}
			return []anchor{{field: t.field, kind: isWhole, text: text}}, cost, true
		}
		if as, cost, ok := within(t.field, []string{string(appendLower(nil, string(t.text.longest())))}); ok {
			return as, cost, true
		}
	case isRegexp:
		if re, err := syntax.Parse(t.re.String(), syntax.Perl); err == nil {
			if as, cost, ok := within(t.field, required(re.Simplify())); ok {
				return as, cost, true
			}
		}
	case isInNet:
		// A network of 2^16 addresses is one of many that events are about.
		cost := min(0.5, 0.02*math.Exp2(float64(16-min(t.net.Bits(), 16))/4))
		return []anchor{{field: t.field, kind: inNet, net: t.net}}, cost, true
	case isNumber:
		switch a := (anchor{field: t.field, n: t.num.f}); t.op {
		case "gt", "gte":
			a.kind = atLeast
			return []anchor{a}, 0.4, true
		case "lt", "lte":
			a.kind = atMost
			return []anchor{a}, 0.4, true
		}
	case isAbsent:
		return nil, 0, false
	case isThere:
		if !t.want {
			return nil, 0, false
		}
	}
	if t.field == nil {
		return nil, 0, false
	}
	return []anchor{{field: t.field, kind: isPresent}}, 0.9, true
}

func within(f *field, texts []string) (as []anchor, cost float64, ok bool) {
	for _, text := range texts {
		if text == "" {
			return nil, 0, false
		}
		// How often a text of a hundred characters has this one, if one in 16
		// is a given letter or digit and one in 64 another character.
		often := 100.0
		for _, c := range []byte(text) {
			if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
				often /= 16
			} else {
				often /= 64
			}
		}
		cost += max(min(often, 0.5), 1e-4)
		as = append(as, anchor{field: f, text: text[:min(len(text), maxAnchor)]})
	}
	return as, cost, len(texts) > 0
}

// required returns texts, in lower case, of which each match of the expression
// has one; nil if there are none.
func required(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		var best, run []byte
		for _, r := range re.Rune {
			// Regard for case folds some letters to ones that lower case does
			// not: k and the kelvin sign, s and the long s.
			if re.Flags&syntax.FoldCase != 0 && (r >= utf8.RuneSelf || strings.ContainsRune("kKsS", r)) {
				run = nil
				continue
			}
			run = appendLower(run, string(r))
			if len(run) > len(best) {
				best = run
			}
		}
		if len(best) == 0 {
			return nil
		}
		return []string{string(best)}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpAlternate:
		var all []string
		for _, s := range re.Sub {
			texts := required(s)
			if texts == nil {
				return nil
			}
			all = append(all, texts...)
		}
		return all
	case syntax.OpConcat:
		var best []string
		var bestCost float64
		for _, s := range re.Sub {
			texts := required(s)
			if _, cost, ok := within(nil, texts); ok && (best == nil || cost < bestCost) {
				best, bestCost = texts, cost
			}
		}
		return best
	}
	return nil
}

func newIndex(rules []*detection) *index {
	x := &index{plans: map[event.Kind]*plan{}}
	for _, r := range rules {
		for _, k := range r.kinds {
			x.plans[k] = nil
		}
	}
	for kind := range x.plans {
		x.plans[kind] = newPlan(rules, kind)
	}
	x.other = newPlan(rules, "")
	return x
}

func newPlan(rules []*detection, kind event.Kind) *plan {
	p := &plan{byName: map[string]*fieldIndex{}}
	core := map[string]*fieldIndex{}
	var keywords patternSet
	sets := map[*pathIndex]*patternSet{}
	for i, r := range rules {
		if !r.sees(kind) {
			continue
		}
		as, _, ok := r.tree.anchors()
		if !ok {
			p.always = append(p.always, int32(i))
			continue
		}
		for _, a := range as {
			if a.field == nil {
				keywords.add(a.text, int32(i))
				continue
			}
			name := a.field.ref.Name()
			fi := p.byName[name]
			if a.field.ref.Core() {
				fi = core[name]
			}
			if fi == nil {
				fi = &fieldIndex{ref: a.field.ref}
				if a.field.ref.Core() {
					core[name] = fi
					p.core = append(p.core, fi)
				} else {
					p.byName[name] = fi
				}
			}
			pi := fi.at(a.field.path)
			if a.kind == hasText && sets[pi] == nil {
				sets[pi] = &patternSet{}
			}
			pi.add(a, int32(i), sets[pi])
		}
	}
	for _, fi := range slices.Concat(p.core, slices.Collect(maps.Values(p.byName))) {
		for _, pi := range fi.paths {
			slices.SortFunc(pi.above, func(a, b bound) int { return cmp.Compare(a.n, b.n) })
			slices.SortFunc(pi.below, func(a, b bound) int { return cmp.Compare(b.n, a.n) })
			if sets[pi] != nil {
				pi.within = sets[pi].automaton()
			}
		}
	}
	if len(keywords.rules) > 0 {
		p.keywords = keywords.automaton()
	}
	return p
}

// add makes an anchor wake a rule; texts are gathered in set.
func (pi *pathIndex) add(a anchor, rule int32, set *patternSet) {
	switch a.kind {
	case hasText:
		set.add(a.text, rule)
	case isWhole:
		pi.exact[a.text] = append(pi.exact[a.text], rule)
	case inNet:
		if pi.nets == nil {
			pi.nets = &netTable{rules: map[netip.Prefix][]int32{}}
		}
		pi.nets.add(a.net, rule)
	case atLeast:
		pi.above = append(pi.above, bound{a.n, rule})
	case atMost:
		pi.below = append(pi.below, bound{a.n, rule})
	case isPresent:
		pi.there = append(pi.there, rule)
	}
}

func (fi *fieldIndex) at(path string) *pathIndex {
	for _, pi := range fi.paths {
		if pi.path == path {
			return pi
		}
	}
	pi := &pathIndex{path: path, exact: map[string][]int32{}}
	fi.paths = append(fi.paths, pi)
	return pi
}

// wake calls for the evaluation of every rule that the event could match.
func (m *matcher) wake(e *event.Event) {
	p, ok := m.set.index.plans[e.Kind]
	if !ok {
		p = m.set.index.other
	}
	for _, r := range p.always {
		m.call(r)
	}
	for _, fi := range p.core {
		if v, ok := e.Lookup(fi.ref); ok {
			m.look(fi, v)
		}
	}
	if len(p.byName) > 0 {
		for i := range e.Fields {
			if fi := p.byName[e.Fields[i].Name]; fi != nil {
				m.look(fi, e.Fields[i].Value)
			}
		}
	}
	if p.keywords != nil {
		m.scratch.gather(e)
		begin := 0
		for _, end := range m.scratch.ends {
			m.scan(p.keywords, m.scratch.all[begin:end])
			begin = end
		}
	}
}

func (m *matcher) look(fi *fieldIndex, v event.Value) {
	for _, pi := range fi.paths {
		m.walk(pi, v, pi.path)
	}
}

// walk looks at the values that test.anyOf asks about.
func (m *matcher) walk(pi *pathIndex, v event.Value, path string) {
	switch v.Type() {
	case event.TypeNone:
	case event.TypeList:
		for _, x := range v.List() {
			m.walk(pi, x, path)
		}
	case event.TypeObject:
		if path == "" {
			m.leaf(pi, v)
			return
		}
		for _, f := range v.Object() {
			if f.Name == path {
				m.walk(pi, f.Value, "")
			}
		}
	default:
		if path == "" {
			m.leaf(pi, v)
		}
	}
}

func (m *matcher) leaf(pi *pathIndex, v event.Value) {
	for _, r := range pi.there {
		m.call(r)
	}
	if pi.nets != nil {
		m.address(pi.nets, v)
	}
	if len(pi.above)+len(pi.below) > 0 {
		m.number(pi, v)
	}
	if len(pi.exact) == 0 && pi.within == nil {
		return
	}
	m.bytes(pi, m.scratch.text(v, false))
	if i, ok := whole(v); ok {
		m.scratch.raw = strconv.AppendInt(m.scratch.raw[:0], i, 10)
		m.bytes(pi, m.scratch.raw)
	}
}

func (m *matcher) address(t *netTable, v event.Value) {
	a, ok := addressOf(v)
	if !ok {
		return
	}
	for _, n := range t.lengths {
		if a.Is6() != (n >= 200) {
			continue
		}
		p, _ := a.Prefix(n % 200) // the lengths are those of valid prefixes
		for _, r := range t.rules[p] {
			m.call(r)
		}
	}
}

func (m *matcher) number(pi *pathIndex, v event.Value) {
	n, ok := numberOf(v)
	if !ok {
		return
	}
	for _, b := range pi.above {
		if b.n > n.f {
			break
		}
		m.call(b.rule)
	}
	for _, b := range pi.below {
		if b.n < n.f {
			break
		}
		m.call(b.rule)
	}
}

func (m *matcher) bytes(pi *pathIndex, b []byte) {
	for _, r := range pi.exact[string(b)] {
		m.call(r)
	}
	if pi.within != nil {
		m.scan(pi.within, b)
	}
}

func (m *matcher) scan(a *automaton, b []byte) {
	state := int32(0)
	for _, c := range b {
		state = a.next[state+int32(a.class[c])]
		if out := a.out[state>>a.shift]; out != nil {
			for _, r := range out {
				m.call(r)
			}
		}
	}
}
