package sigma

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// A detection is what rules look for. Rules that look for the same, as copies
// and variants of a rule often do, share it: it is woken, asked and explained
// once.
type detection struct {
	tree  *node
	kinds []event.Kind // nil: all
	rules []int32      // of Set.rules
}

// detections gathers those of rules, in the order of the rules, and returns how
// many nodes of their trees are remembered: what several of them ask of an event,
// such as a common exception, is asked once.
func detections(rules []*compiled) (ds []*detection, remembered int) {
	known := map[string]*detection{}
	nodes := nodes{}
	for i, r := range rules {
		r.tree = nodes.share(r.tree)
		key := fmt.Sprintf("%d %t %q", r.tree.serial, r.kinds == nil, r.kinds)
		d := known[key]
		if d == nil {
			d = &detection{tree: r.tree, kinds: r.kinds}
			known[key] = d
			ds = append(ds, d)
		}
		d.rules = append(d.rules, int32(i))
	}
	for _, n := range nodes {
		if n.users > 1 && n.op != opNot { // which is asked of its kid
			remembered++
			n.slot = remembered
		}
	}
	return ds, remembered
}

// nodes are those of all trees, by what they mean.
type nodes map[string]*node

// share returns the node that means what n means, and would be explained in the
// same words.
func (ns nodes) share(n *node) *node {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d", n.op, n.least)
	if n.test != nil {
		n.test.key(&b)
	}
	for i, k := range n.kids {
		n.kids[i] = ns.share(k)
		b.WriteByte(' ')
		b.WriteString(strconv.Itoa(n.kids[i].serial))
	}
	known := ns[b.String()]
	if known == nil {
		known = n
		n.serial, n.users = len(ns)+1, 0
		ns[b.String()] = n
	}
	known.users++
	return known
}

// memory is what is known of shared nodes in one round of a matcher.
type memory struct {
	round   uint32
	held    []uint64 // by slot: twice the round in which the node was asked, and one more if it held
	why     []reasons
	hosts   []string
	users   []string
	namedIn uint32 // round of hosts and users
}

// reasons are those of one node.
type reasons struct {
	round uint32
	list  []event.Explain
}

func newMemory(slots int) *memory {
	return &memory{held: make([]uint64, slots+1), why: make([]reasons, slots+1)}
}

// next begins another round.
func (m *memory) next() {
	if m.round++; m.round == 0 { // after 4 billion events
		clear(m.held)
		clear(m.why)
		m.namedIn, m.round = 0, 1
	}
}

// names are those of machines and accounts in the round's event.
func (m *memory) names(e *event.Event) (hosts, users []string) {
	if m.namedIn != m.round {
		m.namedIn = m.round
		m.hosts, m.users = correlator.Names(e)
	}
	return m.hosts, m.users
}

func (t *test) key(b *strings.Builder) {
	f := func(f *field) string {
		if f == nil {
			return ""
		}
		return f.name + "\x00" + f.ref.Name() + "\x00" + f.path
	}
	fmt.Fprintf(b, " %d %t %q %q %q %q %v %d %t %q %d", t.kind, t.cased, t.label, f(t.field), t.op, t.part, t.num, t.how, t.want, f(t.other), t.before.UnixNano())
	if t.text != nil {
		for _, e := range t.text.elems {
			b.WriteByte(e.wild)
			b.WriteByte(e.lit)
		}
	}
	if t.re != nil {
		fmt.Fprintf(b, " %q", t.re)
	}
	if t.net.IsValid() {
		b.WriteString(t.net.String())
	}
}

// sees reports whether the detection is about events of a kind.
func (d *detection) sees(kind event.Kind) bool {
	if d.kinds == nil {
		return true
	}
	for _, k := range d.kinds {
		if k == kind {
			return true
		}
	}
	return false
}
