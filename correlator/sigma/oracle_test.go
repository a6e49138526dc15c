package sigma

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// The oracle reads rules as a person does: it walks the YAML for every event,
// turns every value into a regular expression, and knows no index. It speaks a
// part of Sigma: text modifiers, cidr, comparisons, exists, null, lists, and
// conditions.
type oracle struct{ doc map[string]*yaml.Node }

func newOracle(t testing.TB, text string) *oracle {
	var doc struct{ Detection map[string]yaml.Node }
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	o := &oracle{map[string]*yaml.Node{}}
	for k, n := range doc.Detection {
		o.doc[k] = &n
	}
	return o
}

func (o *oracle) matches(e *event.Event) bool {
	// A condition of our generator is a sum of products of names.
	for product := range strings.SplitSeq(o.doc["condition"].Value, " or ") {
		all := true
		for name := range strings.SplitSeq(product, " and ") {
			name, not := strings.CutPrefix(name, "not ")
			all = all && o.search(o.doc[name], e) != not
		}
		if all {
			return true
		}
	}
	return false
}

func (o *oracle) search(n *yaml.Node, e *event.Event) bool {
	switch n.Kind {
	case yaml.SequenceNode:
		return slices.ContainsFunc(n.Content, func(x *yaml.Node) bool { return o.search(x, e) })
	case yaml.ScalarNode: // a keyword
		return slices.ContainsFunc(values(e, ""), func(v event.Value) bool { return sigmaRegexp(n.Value, false, true, true).MatchString(v.String()) })
	}
	for i := 0; i < len(n.Content); i += 2 {
		if !o.entry(n.Content[i].Value, n.Content[i+1], e) {
			return false
		}
	}
	return true
}

func (o *oracle) entry(key string, v *yaml.Node, e *event.Event) bool {
	words := strings.Split(key, "|")
	has := func(m string) bool { return slices.Contains(words[1:], m) }
	list := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		list = v.Content
	}
	have := values(e, words[0])
	one := func(x *yaml.Node) bool {
		switch {
		case has("exists"):
			return (len(have) > 0) == (x.Value == "true")
		case x.Tag == "!!null":
			return len(have) == 0
		}
		return slices.ContainsFunc(have, func(v event.Value) bool {
			switch {
			case has("cidr"):
				a, err := netip.ParseAddr(v.String())
				return err == nil && netip.MustParsePrefix(x.Value).Contains(a)
			case has("gt"), has("lte"):
				f, ok := v.Float()
				var want float64
				fmt.Sscan(x.Value, &want)
				return ok && (f > want) == has("gt")
			case has("re"):
				return regexp.MustCompile(x.Value).MatchString(v.String())
			}
			text := v.String()
			if v.Type() == event.TypeFloat {
				text = strings.TrimSuffix(text, ".0") // no rule of ours is written so
			}
			return sigmaRegexp(x.Value, has("cased"), has("contains") || has("endswith"), has("contains") || has("startswith")).MatchString(text)
		})
	}
	if has("all") {
		return !slices.ContainsFunc(list, func(x *yaml.Node) bool { return !one(x) })
	}
	return slices.ContainsFunc(list, one) != has("neq")
}

// values returns the values of a field, or of all protocol fields and addresses.
func values(e *event.Event, name string) (out []event.Value) {
	e.All(func(n string, v event.Value) bool {
		core := slices.ContainsFunc(event.CoreFields(), func(d event.FieldDoc) bool { return d.Name == n })
		for _, x := range append([]event.Value{v}, v.List()...) {
			switch {
			case x.Type() == event.TypeObject:
				for _, f := range x.Object() {
					if name == "" || n+"."+f.Name == name {
						out = append(out, f.Value)
					}
				}
			case x.Type() != event.TypeList && (n == name || name == "" && (!core || n == "source.ip" || n == "destination.ip")):
				out = append(out, x)
			}
		}
		return true
	})
	return out
}

var sigmaRegexps = map[string]*regexp.Regexp{}

// sigmaRegexp translates a value, with anything allowed before or behind it.
func sigmaRegexp(p string, cased, before, behind bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s")
	if !cased {
		b.WriteString("i")
	}
	b.WriteString(")^")
	if before {
		b.WriteString(".*")
	}
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p) && strings.ContainsRune(`\*?`, rune(p[i+1])):
			i++
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		case p[i] == '*':
			b.WriteString(".*")
		case p[i] == '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	if behind {
		b.WriteString(".*")
	}
	text := b.String() + "$"
	if sigmaRegexps[text] == nil {
		sigmaRegexps[text] = regexp.MustCompile(text)
	}
	return sigmaRegexps[text]
}

// generator makes rules and events from few letters, so that they meet.
type generator struct{ *rand.Rand }

func (g generator) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g generator) word() string {
	n := g.IntN(5)
	b := make([]byte, n)
	for i := range b {
		b[i] = `abAB.\ `[g.IntN(7)]
	}
	return string(b)
}

func (g generator) value() string {
	w := g.word()
	for g.IntN(3) == 0 {
		i := g.IntN(len(w) + 1)
		w = w[:i] + g.pick("*", "?", `\*`, `\\`, "*") + w[i:]
	}
	return "'" + w + "'"
}

func (g generator) list(one func() string) string {
	if g.IntN(2) == 0 {
		return one()
	}
	vs := []string{one()}
	for range g.IntN(4) {
		vs = append(vs, one())
	}
	return "[" + strings.Join(vs, ", ") + "]"
}

func (g generator) entry() string {
	field := g.pick("dns.question.name", "url.original", "user.name", "ics.objects.type")
	switch g.IntN(12) {
	case 0:
		return field + ": null"
	case 1:
		return field + "|exists: " + g.pick("true", "false")
	case 2:
		return g.pick("source.ip", "dns.resolved_ip") + "|cidr: " + g.list(func() string { return g.pick("10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24") })
	case 3:
		return g.pick("ics.function.code", "ics.objects.value", "dns.score") + "|" + g.pick("gt", "lte") + ": " + g.pick("1", "2", "5")
	case 4:
		return g.pick("ics.function.code", "ics.objects.value", "dns.score", "destination.port") + ": " + g.list(func() string { return g.pick("1", "2", "502", "7") })
	case 5:
		return field + "|re: " + g.pick(`'a+b'`, `'^a.*b$'`, `'(ab|ba)a'`, `'[ab]{2}\.'`)
	case 6:
		return field + "|" + g.pick("contains", "startswith", "endswith") + "|all: [" + g.value() + ", " + g.value() + "]"
	case 7:
		return field + "|neq: " + g.list(g.value)
	}
	return field + g.pick("", "|contains", "|startswith", "|endswith", "|contains|cased", "|cased") + ": " + g.list(g.value)
}

func (g generator) search() string {
	if g.IntN(8) == 0 {
		return "['a" + g.word() + "', 'b" + g.word() + "']"
	}
	entries := map[string]string{}
	for range 1 + g.IntN(2) {
		k, v, _ := strings.Cut(g.entry(), ": ")
		entries[k] = v
	}
	var parts []string
	for k, v := range entries {
		parts = append(parts, k+": "+v)
	}
	slices.Sort(parts)
	m := "{" + strings.Join(parts, ", ") + "}"
	if g.IntN(5) == 0 {
		m = "[" + m + ", {" + g.entry() + "}]"
	}
	return m
}

func (g generator) rule() string {
	var b strings.Builder
	b.WriteString("title: r\nlogsource: {product: tocsin" + g.pick("", ", service: dns", ", service: flow") + "}\ndetection:\n")
	names := []string{"a", "b", "c"}[:1+g.IntN(3)]
	for _, n := range names {
		b.WriteString("  " + n + ": " + g.search() + "\n")
	}
	cond := "a"
	for _, n := range names[1:] {
		cond += g.pick(" or ", " and ", " and not ") + n
	}
	b.WriteString("  condition: " + g.pick("", "", "", "not ") + cond + "\n")
	return b.String()
}

func (g generator) event(i int) event.Event {
	e := at(i, event.Kind(g.pick("dns", "flow", "http")), g.pick("10.1.2.3", "192.0.2.1", "10.2.0.1"), "192.0.2.2")
	set := func(name string, v event.Value) {
		if g.IntN(3) > 0 {
			e.Fields = append(e.Fields, event.Field{Name: name, Value: v})
		}
	}
	set("dns.question.name", event.Str(g.word()))
	set("url.original", event.Strs([]string{g.word(), g.word()}))
	set("user.name", event.Str(g.word()+g.pick("", "Ä", "ä")))
	set("ics.function.code", event.Int(int64(g.IntN(4))))
	set("dns.score", event.Float(float64(g.IntN(6))/2))
	set("dns.resolved_ip", event.List(event.IP(netip.MustParseAddr(g.pick("10.1.0.1", "192.0.2.1")))))
	set("ics.objects", event.List(
		event.Object(str("type", g.word()), num("value", g.IntN(8))),
		event.Object(str("type", g.word()))))
	return e
}

// TestOracle holds the index and the compiled tests to the oracle, on rules and
// events that nobody thought of.
func TestOracle(t *testing.T) {
	const rounds, perRound, events = 25, 40, 50
	hits := 0
	for seed := range uint64(rounds) {
		g := generator{rand.New(rand.NewPCG(seed, 0))}
		var texts []string
		var oracles []*oracle
		var rules []*Rule
		for len(oracles) < perRound {
			text := g.rule()
			rs, errs := Parse(fmt.Sprint(len(oracles)), []byte(text))
			if len(errs) > 0 {
				t.Fatalf("%s\n%v", text, errs[0])
			}
			rs[0].ID = fmt.Sprint(len(oracles))
			if _, errs := Compile(rs, Options{Schema: testSchema(t)}); len(errs) > 0 {
				if strings.Contains(errs[0].Msg, "in every event") {
					continue
				}
				t.Fatalf("%s\n%v", text, errs[0])
			}
			rules, texts, oracles = append(rules, rs...), append(texts, text), append(oracles, newOracle(t, text))
		}
		set, errs := Compile(rules, Options{Schema: testSchema(t)})
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		for i := range events {
			e := g.event(i)
			got := map[string]bool{}
			set.Match(&e, func(s correlator.Signal) { got[s.Rule.ID] = true })
			for k, o := range oracles {
				want := o.matches(&e) && (!strings.Contains(texts[k], "service") || strings.Contains(texts[k], "service: "+string(e.Kind)+"}"))
				if want {
					hits++
				}
				if got[fmt.Sprint(k)] != want {
					t.Fatalf("seed %d: got %v, want %v\n%s%s", seed, !want, want, texts[k], e.AppendJSON(nil))
				}
			}
		}
	}
	if total := rounds * perRound * events; hits < total/50 || hits > total*49/50 {
		t.Errorf("%d of %d matches: the generator makes too easy cases", hits, total)
	}
	t.Logf("%d of %d matched", hits, rounds*perRound*events)
}
