package sigma

import (
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tocsin/tocsin/event"
)

// The index wakes rules: of each rule it knows a set of literal texts, one of
// which must be in the event for the rule to match, chosen to be rare. An event
// is looked at once, however many rules there are; only rules that it wakes are
// evaluated. Rules without such texts are evaluated for every event of their kind.
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
}

// An anchor is a text that wakes a rule.
type anchor struct {
	field *field // nil: any
	whole bool   // the value is the text, rather than has it
	text  string // in lower case
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
			return []anchor{{t.field, true, text}}, cost, true
		}
		return within(t.field, []string{string(appendLower(nil, string(t.text.longest())))})
	case isRegexp:
		re, err := syntax.Parse(t.re.String(), syntax.Perl)
		if err != nil {
			return nil, 0, false
		}
		return within(t.field, required(re.Simplify()))
	}
	return nil, 0, false
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
		as = append(as, anchor{f, false, text[:min(len(text), maxAnchor)]})
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

func newIndex(rules []*compiled) *index {
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

func newPlan(rules []*compiled, kind event.Kind) *plan {
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
			if a.whole {
				pi.exact[a.text] = append(pi.exact[a.text], int32(i))
				continue
			}
			if sets[pi] == nil {
				sets[pi] = &patternSet{}
			}
			sets[pi].add(a.text, int32(i))
		}
	}
	for pi, set := range sets {
		pi.within = set.automaton()
	}
	if len(keywords.rules) > 0 {
		p.keywords = keywords.automaton()
	}
	return p
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
	m.bytes(pi, m.scratch.text(v, false))
	if i, ok := whole(v); ok {
		m.scratch.raw = strconv.AppendInt(m.scratch.raw[:0], i, 10)
		m.bytes(pi, m.scratch.raw)
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
