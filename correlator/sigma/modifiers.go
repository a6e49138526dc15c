package sigma

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/event"
)

// modifierNames are all that Sigma 2.1 lists.
var modifierNames = []string{
	"all", "startswith", "endswith", "contains", "exists", "cased", "neq", "windash", "re", "i", "m", "s",
	"ignorecase", "multiline", "dotall", "base64", "base64offset", "utf16", "utf16le", "utf16be", "wide",
	"lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year", "cidr", "expand", "fieldref",
}

// modifiers is what the modifiers behind a field's name ask for.
type modifiers struct {
	all, cased, neq, exists, re, cidr, expand, ref bool
	flags                                          string // of re
	compare                                        string // lt, lte, gt, gte
	part                                           string // minute …
	affix                                          string // contains, startswith, endswith
	transform                                      []string
}

func parseModifiers(words []string) (m modifiers, err error) {
	for i, w := range words {
		if slices.Contains(words[:i], w) {
			return m, fmt.Errorf("modifier %s is given twice", w)
		}
		var slot *string
		switch w {
		case "all":
			m.all = true
		case "cased":
			m.cased = true
		case "neq":
			m.neq = true
		case "exists":
			m.exists = true
		case "re":
			m.re = true
		case "cidr":
			m.cidr = true
		case "expand":
			m.expand = true
		case "fieldref":
			m.ref = true
		case "i", "ignorecase":
			m.flags += "i"
		case "m", "multiline":
			m.flags += "m"
		case "s", "dotall":
			m.flags += "s"
		case "lt", "lte", "gt", "gte":
			slot = &m.compare
		case "minute", "hour", "day", "week", "month", "year":
			slot = &m.part
		case "contains", "startswith", "endswith":
			slot = &m.affix
		case "windash", "base64", "base64offset", "utf16", "utf16le", "utf16be", "wide":
			if m.affix != "" && w != "windash" {
				return m, fmt.Errorf("modifier %s must come before %s", w, m.affix)
			}
			m.transform = append(m.transform, w)
		default:
			return m, fmt.Errorf("unknown modifier %q%s", w, didYouMean(w, modifierNames))
		}
		if slot != nil {
			if *slot != "" {
				return m, fmt.Errorf("modifiers %s and %s exclude each other", *slot, w)
			}
			*slot = w
		}
	}
	text := m.affix != "" || len(m.transform) > 0
	switch {
	case m.flags != "" && !m.re:
		return m, errors.New("modifiers i, m and s belong to re: write |re|i")
	case m.exists && len(words) > 1:
		return m, errors.New("modifier exists stands alone")
	case m.re && (text || m.cidr || m.compare != "" || m.part != "" || m.ref || m.cased):
		return m, errors.New("modifier re goes with i, m, s, all, neq and expand only: write the rest into the expression")
	case m.cidr && (text || m.compare != "" || m.part != "" || m.ref || m.cased):
		return m, errors.New("modifier cidr goes with all, neq and expand only")
	case (m.compare != "" || m.part != "") && (text || m.ref || m.cased || m.expand):
		return m, errors.New("a comparison of numbers goes with no modifier for text")
	case m.ref && (len(m.transform) > 0 || m.expand):
		return m, errors.New("modifier fieldref names a field: it cannot be encoded or expanded")
	}
	return m, nil
}

// What windash and expand make of one value is bounded in number and in bytes.
const (
	maxVariants     = 1024
	maxVariantBytes = 1 << 20
)

// texts is a value as it stands, or with each of the values of its placeholders.
func (m *modifiers) texts(raw string, placeholders map[string][]string) ([]string, error) {
	if !m.expand {
		return []string{raw}, nil
	}
	return expand(raw, placeholders)
}

// variants applies the transformations to one text and returns the patterns to
// look for.
func (m *modifiers) variants(raw string, placeholders map[string][]string) ([]*pattern, error) {
	texts, err := m.texts(raw, placeholders)
	if err != nil {
		return nil, err
	}
	var ps []*pattern
	for _, t := range texts {
		ps = append(ps, parsePattern(t))
	}
	encoded := false
	for _, tr := range m.transform {
		var next []*pattern
		for _, p := range ps {
			if tr == "windash" {
				vs, err := windash(p)
				if err != nil {
					return nil, err
				}
				next = append(next, vs...)
				continue
			}
			b, ok := p.plain()
			if !ok {
				return nil, fmt.Errorf("modifier %s: the value may not have wildcards; put \\ before * or ? to mean the character", tr)
			}
			if encoded = strings.HasPrefix(tr, "utf16") || tr == "wide"; encoded {
				b = toUTF16(b, tr)
			}
			switch tr {
			case "base64":
				next = append(next, literal([]byte(base64.StdEncoding.EncodeToString(b))))
			case "base64offset":
				for _, v := range base64Offsets(b) {
					next = append(next, literal(v))
				}
			default:
				next = append(next, literal(b))
			}
		}
		ps = next
	}
	for i, p := range ps {
		if encoded {
			// Raw bytes, which events hold in their escaped form.
			b, _ := p.plain()
			p = literal([]byte(event.Text(b).Str()))
		}
		switch m.affix {
		case "contains":
			p = p.open(true, true)
		case "startswith":
			p = p.open(false, true)
		case "endswith":
			p = p.open(true, false)
		}
		if !m.cased {
			p = p.lower()
		}
		ps[i] = p
	}
	return ps, nil
}

func toUTF16(b []byte, how string) []byte {
	var out []byte
	units := utf16.Encode([]rune(string(b)))
	if how == "utf16" {
		out = append(out, 0xff, 0xfe)
	}
	for _, u := range units {
		if how == "utf16be" {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return out
}

// base64Offsets returns what of the encoding of b is the same whatever comes
// before and behind it, for each of the three places it may have in a group.
func base64Offsets(b []byte) [3][]byte {
	var out [3][]byte
	for shift := range 3 {
		padded := append(make([]byte, shift), b...)
		text := base64.StdEncoding.EncodeToString(padded)
		// Sextets that hold a bit of the filling before or the unknown behind.
		start := (shift*8 + 5) / 6
		end := len(padded) * 8 / 6
		out[shift] = []byte(text[min(start, end):end])
	}
	return out
}

const dashes = "-/–—―"

// windash returns p with each dash at the beginning of a word replaced by each
// other one.
func windash(p *pattern) ([]*pattern, error) {
	var parts []*pattern // alternately fixed text and a dash
	var fixed pattern
	word := false
	var run []byte // literal text from here on
	for i := 0; i < len(p.elems); {
		e := p.elems[i]
		if e.wild != 0 {
			fixed.elems, word, i = append(fixed.elems, e), false, i+1
			continue
		}
		if len(run) == 0 {
			run = p.run(i)
		}
		r, n := utf8.DecodeRune(run)
		next, _ := utf8.DecodeRune(run[n:])
		if strings.ContainsRune(dashes, r) && !word && isWord(next) {
			parts = append(parts, &pattern{elems: fixed.elems})
			fixed = pattern{}
		} else {
			fixed.elems = append(fixed.elems, p.elems[i:i+n]...)
		}
		word = isWord(r)
		i, run = i+n, run[n:]
	}
	out := []*pattern{{elems: fixed.elems}}
	for i := len(parts) - 1; i >= 0; i-- {
		if n := 5 * len(out); n > maxVariants || n*len(p.elems) > maxVariantBytes {
			return nil, fmt.Errorf("modifier windash: more than %d variants, or %d bytes of them: split the value", maxVariants, maxVariantBytes)
		}
		var longer []*pattern
		for _, d := range dashes {
			for _, tail := range out {
				longer = append(longer, &pattern{elems: slices.Concat(parts[i].elems, literal([]byte(string(d))).elems, tail.elems)})
			}
		}
		out = longer
	}
	for _, q := range out {
		q.compile()
	}
	return out, nil
}

func isWord(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// expand replaces each %name% by each of its values. \% is a plain percent sign.
func expand(s string, placeholders map[string][]string) ([]string, error) {
	out := []string{""}
	add := func(tails ...string) error {
		if n := len(out) * len(tails); n > maxVariants || n > 1 && n*len(s) > maxVariantBytes {
			return fmt.Errorf("modifier expand: more than %d variants, or %d bytes of them", maxVariants, maxVariantBytes)
		}
		var longer []string
		for _, o := range out {
			for _, t := range tails {
				longer = append(longer, o+t)
			}
		}
		out = longer
		return nil
	}
	for s != "" {
		i := strings.IndexByte(s, '%')
		switch {
		case i < 0:
			i = len(s)
		case i > 0 && s[i-1] == '\\':
			if err := add(s[:i-1] + "%"); err != nil {
				return nil, err
			}
			s = s[i+1:]
			continue
		}
		if err := add(s[:i]); err != nil {
			return nil, err
		}
		if s = s[i:]; s == "" {
			break
		}
		end := strings.IndexByte(s[1:], '%')
		if end < 0 {
			return nil, errors.New("modifier expand: a placeholder is not closed with %")
		}
		name := s[1 : 1+end]
		values, ok := placeholders[name]
		if !ok || len(values) == 0 {
			return nil, fmt.Errorf("placeholder %%%s%% has no values: configure them, or leave the rule out", name)
		}
		if err := add(values...); err != nil {
			return nil, err
		}
		s = s[end+2:]
	}
	return out, nil
}

// compileField makes the node of one field: its values, joined by or, or by and
// with the modifier all.
func (c *compiler) compileField(key, v *yaml.Node, path string) *node {
	words := strings.Split(key.Value, "|")
	name := words[0]
	m, err := parseModifiers(words[1:])
	if err != nil {
		c.errorf(key, path, "%v", err)
		return nil
	}
	fields := []*field{nil}
	if name != "" {
		if fields, err = c.resolveAny(name); err != nil {
			// A rule asks for the same field again and again.
			if c.absent = true; !c.missing[name] {
				c.errorf(key, path, "%v", err)
			}
			c.missing[name] = true
			return nil
		}
		if fields[0].values != nil {
			return c.compileWords(key, v, fields[0], &m, path)
		}
		if fields[0] == always {
			if v.Kind != yaml.ScalarNode || len(words) > 1 || !strings.EqualFold(v.Value, "true") {
				c.errorf(v, path, "%s is true of all events: no other value can match", name)
				return nil
			}
			return &node{op: opAnd}
		}
	} else if m.exists || m.ref || m.compare != "" || m.part != "" || m.cidr || m.neq {
		c.errorf(key, path, "a keyword has no field: only all, cased, re and modifiers of text are possible")
		return nil
	}
	values := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		values = v.Content
		if len(values) == 0 {
			c.errorf(v, path, "the list is empty: no event can match")
			return nil
		}
	} else if m.all {
		c.errorf(key, path, "modifier all wants a list of values")
		return nil
	}
	for _, x := range values {
		if x.Kind != yaml.ScalarNode {
			c.errorf(x, path, "want a value, have %s", kindOf(x))
			return nil
		}
		if x.Tag == "!!null" && len(values) > 1 {
			c.errorf(x, path, "null cannot be one of several values: make a search identifier of its own for it")
			return nil
		}
	}
	any := &node{op: opOr}
	for _, f := range fields {
		top := &node{op: opOr}
		if m.all {
			top.op = opAnd
		}
		for _, x := range values {
			tests, err := c.tests(f, &m, x)
			if err != nil {
				c.errorf(x, path, "%v", err)
				return nil
			}
			alternatives := &node{op: opOr}
			for _, t := range tests {
				if t.kind == isAbsent || t.kind == isThere && !t.want {
					any.op = opAnd // none of the fields may be there
				}
				t.label = t.describe()
				alternatives.kids = append(alternatives.kids, &node{op: opTest, test: t})
			}
			top.kids = append(top.kids, flat(alternatives))
		}
		any.kids = append(any.kids, flat(top))
	}
	n := flat(any)
	if m.neq {
		n = &node{op: opNot, kids: []*node{n}}
	}
	return n
}

// compileWords makes the node of a field whose values have other words here: a
// firewall's blocked: false is a connection that was answered.
func (c *compiler) compileWords(key, v *yaml.Node, f *field, m *modifiers, path string) *node {
	values := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		values = v.Content
	}
	if m.all || m.affix != "" || m.re || m.cidr || m.expand || m.ref || m.compare != "" || m.part != "" || m.exists || len(m.transform) > 0 {
		c.errorf(key, path, "means our %s, of which only whole values are known: remove the modifier", f.name)
		return nil
	}
	any := &node{op: opOr}
	for _, x := range values {
		ours, ok := f.values[strings.ToLower(x.Value)]
		if !ok {
			c.errorf(x, path, "means our %s, which has no %s; there are %s", f.name, kindOf(x), strings.Join(slices.Sorted(maps.Keys(f.values)), ", "))
			return nil
		}
		for _, word := range ours {
			t := &test{field: f, kind: isText, text: literal([]byte(word)).lower()}
			t.label = t.describe()
			any.kids = append(any.kids, &node{op: opTest, test: t})
		}
	}
	if m.neq {
		return &node{op: opNot, kids: []*node{flat(any)}}
	}
	return flat(any)
}

// flat removes a level that has one kid, or the same meaning as its kid.
func flat(n *node) *node {
	var kids []*node
	for _, k := range n.kids {
		if k.op == n.op && (n.op == opAnd || n.op == opOr) {
			kids = append(kids, k.kids...)
		} else {
			kids = append(kids, k)
		}
	}
	n.kids = kids
	if len(kids) == 1 && n.op != opNot && n.op != opTest {
		return kids[0]
	}
	return n
}

// tests makes the tests of one value, any of which may hold.
func (c *compiler) tests(f *field, m *modifiers, x *yaml.Node) ([]*test, error) {
	switch {
	case m.exists:
		return existsTest(f, x.Value)
	case x.Tag == "!!null":
		return nullTest(f, m)
	case m.ref:
		other, err := c.resolve(x.Value)
		if err != nil {
			return nil, err
		}
		how := map[string]patternKind{"": exact, "startswith": prefix, "endswith": suffix, "contains": infix}[m.affix]
		return []*test{{field: f, kind: isSame, other: other, how: how, cased: m.cased}}, nil
	case m.compare != "" || m.part != "":
		return numberTest(f, m, x.Value)
	case m.cidr, m.re:
		texts, err := m.texts(x.Value, c.placeholders)
		if err != nil {
			return nil, err
		}
		if m.cidr {
			return netTests(f, texts)
		}
		return regexpTests(f, m.flags, texts)
	}
	ps, err := m.variants(x.Value, c.placeholders)
	if err != nil {
		return nil, err
	}
	return textTests(f, m.cased, ps)
}

func existsTest(f *field, value string) ([]*test, error) {
	switch strings.ToLower(value) {
	case "true", "yes":
		return []*test{{field: f, kind: isThere, want: true}}, nil
	case "false", "no":
		return []*test{{field: f, kind: isThere}}, nil
	}
	return nil, fmt.Errorf("modifier exists wants true or false, has %q", value)
}

func nullTest(f *field, m *modifiers) ([]*test, error) {
	if f == nil {
		return nil, errors.New("a keyword cannot be null")
	}
	if m.affix != "" || len(m.transform) > 0 || m.re || m.cidr || m.compare != "" || m.part != "" || m.ref {
		return nil, errors.New("null goes with no modifier but neq")
	}
	return []*test{{field: f, kind: isAbsent}}, nil
}

// numberTest compares a number, or a part of a time, with a value.
func numberTest(f *field, m *modifiers, value string) ([]*test, error) {
	n, ok := parseNumber(value)
	if !ok {
		return nil, fmt.Errorf("want a number, have %q", value)
	}
	t := &test{field: f, kind: isNumber, op: m.compare, num: n, part: m.part}
	if m.part != "" {
		t.kind = isDate
		if t.op == "" {
			t.op = "eq"
		}
		if f.doc.Type != event.Date {
			return nil, fmt.Errorf("modifier %s wants a time, but %s is of type %s", m.part, f.name, f.doc.Type)
		}
	} else if f.doc.Type == event.IPType || f.doc.Type == event.Boolean || f.doc.Type == event.Date {
		return nil, fmt.Errorf("modifier %s wants a number, but %s is of type %s", m.compare, f.name, f.doc.Type)
	}
	return []*test{t}, nil
}

func netTests(f *field, texts []string) ([]*test, error) {
	var ts []*test
	for _, text := range texts {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, err
		}
		ts = append(ts, &test{field: f, kind: isInNet, net: p})
	}
	return ts, nil
}

func regexpTests(f *field, flags string, texts []string) ([]*test, error) {
	var ts []*test
	for _, text := range texts {
		if flags != "" {
			text = "(?" + flags + ")" + text
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("%v; Sigma allows . ^ $ * + ? {n,m} [] | () in expressions", err)
		}
		ts = append(ts, &test{field: f, kind: isRegexp, re: re})
	}
	return ts, nil
}

// textTests looks for patterns in a field, or, without one, in every event.
func textTests(f *field, cased bool, ps []*pattern) ([]*test, error) {
	var ts []*test
	for _, p := range ps {
		if f == nil {
			if p = p.open(true, true); p.kind == anything {
				return nil, errors.New("the keyword is in every event")
			}
		} else {
			var err error
			if p, err = fit(f, p); err != nil {
				return nil, err
			}
		}
		ts = append(ts, &test{field: f, kind: isText, text: p, cased: cased})
	}
	return ts, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if a, aerr := netip.ParseAddr(s); aerr == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil {
		return p, fmt.Errorf("%q is no prefix: write it as 192.0.2.0/24 or 2001:db8::/32", s)
	}
	return p.Masked(), nil
}

// fit rejects a value that the field can never have, and writes an address as
// events do.
func fit(f *field, p *pattern) (*pattern, error) {
	if p.kind != exact || f.doc.Type != event.IPType && f.doc.Type != event.Long && f.doc.Type != event.Double {
		return p, nil
	}
	text := string(p.lit)
	if f.doc.Type != event.IPType {
		if _, ok := parseNumber(text); !ok {
			return nil, fmt.Errorf("%s is a number and never %q", f.name, text)
		}
		return p, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		if strings.Contains(text, "/") {
			return nil, fmt.Errorf("%s is an address and never %q: write %s|cidr", f.name, text, f.name)
		}
		return nil, fmt.Errorf("%s is an address and never %q", f.name, text)
	}
	return literal([]byte(a.WithZone("").String())), nil
}
