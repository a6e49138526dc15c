package query

import (
	"bytes"
	"cmp"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tocsin/tocsin/event"
)

// Match reports whether a query is true of an event; nil is true of all. Where
// many events are looked at, use Compile.
func Match(n Node, e *event.Event) bool { return Compile(n)(e) }

// Compile makes a function of a query: names are resolved and literals read
// once. The function may be used by several goroutines. It does not allocate,
// but for texts that the event itself makes on demand: bare words look at MAC
// addresses, for example.
func Compile(n Node) func(*event.Event) bool {
	switch n := n.(type) {
	case And:
		fs := compileAll(n)
		return func(e *event.Event) bool {
			for _, f := range fs {
				if !f(e) {
					return false
				}
			}
			return true
		}
	case Or:
		fs := compileAll(n)
		return func(e *event.Event) bool {
			for _, f := range fs {
				if f(e) {
					return true
				}
			}
			return false
		}
	case Not:
		f := Compile(n.Node)
		return func(e *event.Event) bool { return !f(e) }
	case Exists:
		p := ResolvePath(n.Field)
		return func(e *event.Event) bool {
			return !p.Values(e, func(event.Value) bool { return false })
		}
	case Compare:
		return compileCompare(n)
	case Text:
		return compileText(n)
	}
	return func(*event.Event) bool { return true }
}

func compileAll(ns []Node) []func(*event.Event) bool {
	fs := make([]func(*event.Event) bool, len(ns))
	for i, n := range ns {
		fs[i] = Compile(n)
	}
	return fs
}

func compileCompare(c Compare) func(*event.Event) bool {
	// The two names whose values an event would have to make as text.
	if c.Op == Eq && (c.Value.exact() || !hasWildcard(c.Value.text())) {
		switch c.Field {
		case "event.id":
			id, err := event.ParseID(strings.ToLower(c.Value.plain()))
			if err != nil || c.Value.plain() != id.String() {
				return func(*event.Event) bool { return false }
			}
			return func(e *event.Event) bool { return e.ID == id && !id.IsZero() }
		case "event.dataset":
			kind, ok := strings.CutPrefix(c.Value.plain(), "tocsin.")
			return func(e *event.Event) bool { return ok && string(e.Kind) == kind }
		}
	}
	p, t := ResolvePath(c.Field), newTest(c.Op, c.Value)
	return func(e *event.Event) bool {
		return !p.Values(e, func(v event.Value) bool { return !t.match(v) })
	}
}

// Path is a field name, or a pattern of field names with *, made ready to be
// looked up in many events.
type Path struct {
	name string
	ref  event.Ref
	core bool
	glob *glob
}

// ResolvePath makes a Path of a name or pattern.
func ResolvePath(name string) Path {
	p := Path{name: name, ref: event.Resolve(name), core: event.Resolve(name).Core()}
	if strings.Contains(name, "*") {
		p.glob = newGlob(name, false, false)
	}
	return p
}

// Names reports whether the path, or the pattern that it was made of, names a
// field.
func (p *Path) Names(field string) bool {
	if p.glob != nil {
		return p.glob.match(field)
	}
	return p.name == field
}

// Values calls yield with each single value that the field has in e: the
// elements of lists, and of objects in lists those under the rest of the name.
// An object itself is equal to nothing. Values stops, and returns false, when
// yield does.
func (p *Path) Values(e *event.Event, yield func(event.Value) bool) bool {
	if p.glob != nil {
		for name, v := range e.All {
			if !p.named(name, v, yield) {
				return false
			}
		}
		return true
	}
	if p.core {
		v, ok := e.Lookup(p.ref)
		return !ok || each(v, yield)
	}
	for i := range e.Fields {
		f := &e.Fields[i]
		if f.Name == p.name {
			return each(f.Value, yield)
		}
		if len(f.Name) < len(p.name) && p.name[len(f.Name)] == '.' && p.name[:len(f.Name)] == f.Name {
			if !below(f.Value, p.name[len(f.Name)+1:], yield) {
				return false
			}
		}
	}
	return true
}

func (p *Path) named(name string, v event.Value, yield func(event.Value) bool) bool {
	switch v.Type() {
	case event.TypeList:
		for _, x := range v.List() {
			if !p.named(name, x, yield) {
				return false
			}
		}
		return true
	case event.TypeObject:
		for _, f := range v.Object() {
			if !p.named(name+"."+f.Name, f.Value, yield) {
				return false
			}
		}
		return true
	}
	return !p.glob.match(name) || yield(v)
}

// each calls yield with v, or with the elements of a list.
func each(v event.Value, yield func(event.Value) bool) bool {
	switch v.Type() {
	case event.TypeNone:
		return true
	case event.TypeList:
		for _, x := range v.List() {
			if !each(x, yield) {
				return false
			}
		}
		return true
	}
	return yield(v)
}

// below calls yield with the values of the field rest of an object, or of the
// objects in a list.
func below(v event.Value, rest string, yield func(event.Value) bool) bool {
	for _, x := range v.List() {
		if !below(x, rest, yield) {
			return false
		}
	}
	for _, f := range v.Object() {
		if f.Name == rest {
			if !each(f.Value, yield) {
				return false
			}
		} else if len(f.Name) < len(rest) && rest[len(f.Name)] == '.' && rest[:len(f.Name)] == f.Name {
			if !below(f.Value, rest[len(f.Name)+1:], yield) {
				return false
			}
		}
	}
	return true
}

// exact says that * and ? are themselves.
func (l Literal) exact() bool { return l.Quoted || l.Text == "" }

func (l Literal) text() string {
	if l.Text == "" && !l.V.IsZero() {
		return l.V.String()
	}
	return l.Text
}

// plain is the text without escapes.
func (l Literal) plain() string {
	if l.exact() {
		return l.text()
	}
	return Unescape(l.Text)
}

// Exact returns the text that a value must be equal to, if the literal has no
// wildcards.
func (l Literal) Exact() (string, bool) {
	return l.plain(), l.exact() || !hasWildcard(l.Text)
}

// Prefix returns the addresses that the literal stands for, if it is an
// address or a prefix.
func (l Literal) Prefix() (netip.Prefix, bool) {
	s := l.plain()
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// Period returns the stretch of time [from, to) that the literal stands for,
// if it is a time: RFC 3339, or less of it, such as 2026-11-22 or 2026-11.
func (l Literal) Period() (from, to time.Time, ok bool) {
	s := l.plain()
	if len(s) < 4 || s[0] < '0' || s[0] > '9' {
		return from, to, false
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		t = t.UTC()
		switch {
		case strings.Contains(s, "."):
			return t, t.Add(1), true
		default:
			return t, t.Add(time.Second), true
		}
	}
	for _, f := range [...]struct {
		layout  string
		years   int
		months  int
		days    int
		shorter time.Duration
	}{
		{"2006-01-02T15:04:05", 0, 0, 0, time.Second},
		{"2006-01-02T15:04Z07:00", 0, 0, 0, time.Minute},
		{"2006-01-02T15:04", 0, 0, 0, time.Minute},
		{"2006-01-02", 0, 0, 1, 0},
		{"2006-01", 0, 1, 0, 0},
		{"2006", 1, 0, 0, 0},
	} {
		if t, err := time.Parse(f.layout, s); err == nil {
			t = t.UTC()
			return t, t.AddDate(f.years, f.months, f.days).Add(f.shorter), true
		}
	}
	return from, to, false
}

// Number reports whether the literal is a number.
func (l Literal) Number() bool {
	t := newTest(Eq, l)
	return t.isInt || t.isFloat
}

// Int returns the whole number that the literal stands for, if it is one that
// an int64 holds: also 53.0.
func (l Literal) Int() (n int64, ok bool) {
	t := newTest(Lt, l) // of no operator but Eq has a * a meaning
	return t.i, t.isInt
}

// Float returns the number that the literal stands for, if it is one.
func (l Literal) Float() (f float64, ok bool) {
	t := newTest(Lt, l)
	return t.f, t.isFloat
}

// test is a comparison with every reading of its literal.
type test struct {
	op   Op
	text string
	glob *glob // of an equality with wildcards

	isIP   bool
	lo, hi [16]byte // addresses as IPv6, IPv4 mapped

	isInt   bool
	i       int64
	isUint  bool // beyond int64
	u       uint64
	isFloat bool
	f       float64

	isBool, b bool

	isTime   bool
	from, to int64 // nanoseconds; [from, to)
}

func newTest(op Op, l Literal) *test {
	t := &test{op: op, text: l.plain()}
	if op == Eq && !l.exact() && hasWildcard(l.Text) {
		t.glob = newGlob(l.Text, false, false)
		return t
	}
	s := t.text
	if p, ok := l.Prefix(); ok {
		t.isIP = true
		t.lo, t.hi = p.Addr().As16(), p.Addr().As16()
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		for i := bits; i < 128; i++ {
			t.hi[i/8] |= 0x80 >> (i % 8)
		}
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		t.isInt, t.i = true, i
	} else if u, err := strconv.ParseUint(s, 10, 64); err == nil {
		t.isUint, t.u = true, u
	}
	if s != "" && strings.Trim(s, "0123456789+-.eE") == "" {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			t.isFloat, t.f = true, f
			if i := int64(f); !t.isInt && !t.isUint && float64(i) == f && math.Abs(f) < 1<<53 {
				t.isInt, t.i = true, i
			}
		}
	}
	switch s {
	case "true":
		t.isBool, t.b = true, true
	case "false":
		t.isBool = true
	}
	if from, to, ok := l.Period(); ok {
		t.isTime, t.from, t.to = true, from.UnixNano(), to.UnixNano()
	}
	return t
}

func (t *test) match(v event.Value) bool {
	switch v.Type() {
	case event.TypeString:
		if t.glob != nil {
			return t.glob.match(v.Str())
		}
		if t.op == Eq {
			return v.Str() == t.text
		}
		return t.ordered(strings.Compare(v.Str(), t.text))
	case event.TypeIP:
		if !t.isIP {
			return false
		}
		a, _ := v.IP()
		b := a.As16()
		return t.within(bytes.Compare(b[:], t.lo[:]), bytes.Compare(b[:], t.hi[:]))
	case event.TypeInt:
		n, _ := v.Int()
		switch {
		case t.isInt:
			return t.ordered(cmp.Compare(n, t.i))
		case t.isUint:
			return t.ordered(-1)
		}
		return t.isFloat && t.ordered(cmp.Compare(float64(n), t.f))
	case event.TypeUint:
		n, _ := v.Uint()
		switch {
		case t.isUint:
			return t.ordered(cmp.Compare(n, t.u))
		case t.isInt:
			return t.ordered(1)
		}
		return t.isFloat && t.ordered(cmp.Compare(float64(n), t.f))
	case event.TypeFloat:
		f, _ := v.Float()
		return t.isFloat && f == f && t.ordered(cmp.Compare(f, t.f))
	case event.TypeBool:
		b, _ := v.Bool()
		return t.isBool && t.op == Eq && b == t.b
	case event.TypeTime:
		if !t.isTime {
			return false
		}
		at, _ := v.Time()
		n := at.UnixNano()
		return t.within(cmp.Compare(n, t.from), cmp.Compare(n, t.to-1))
	}
	return false
}

func (t *test) ordered(c int) bool { return t.within(c, c) }

// within compares a value with a stretch of values, given how it compares with
// the first and the last of them.
func (t *test) within(first, last int) bool {
	switch t.op {
	case Eq:
		return first >= 0 && last <= 0
	case Lt:
		return first < 0
	case Le:
		return last <= 0
	case Gt:
		return last > 0
	}
	return first >= 0
}

// Identifier reports whether a field holds identifiers. They are random digits:
// a word of a few letters would be found in many of them by chance. A bare word
// is compared with them as a whole.
func Identifier(name string) bool {
	switch name {
	case "event.id", "network.community_id", "tocsin.alert.evidence", "tocsin.rule.hash":
		return true
	}
	return false
}

func compileText(x Text) func(*event.Event) bool {
	inside := newGlob(x.Pattern, true, true)
	whole := newGlob(x.Pattern, false, true)
	equal := newTest(Eq, Literal{Text: Unescape(x.Pattern), Quoted: true})
	var found func(name string, v event.Value) bool
	found = func(name string, v event.Value) bool {
		switch v.Type() {
		case event.TypeString:
			if Identifier(name) {
				return whole.match(v.Str())
			}
			return inside.match(v.Str())
		case event.TypeList:
			for _, y := range v.List() {
				if found(name, y) {
					return true
				}
			}
		case event.TypeObject:
			for _, f := range v.Object() {
				if found(f.Name, f.Value) {
					return true
				}
			}
		case event.TypeIP, event.TypeInt, event.TypeUint, event.TypeFloat:
			return equal.match(v)
		}
		return false
	}
	return func(e *event.Event) bool {
		for name, v := range e.All {
			if found(name, v) {
				return true
			}
		}
		return false
	}
}

// glob is a pattern in which * is any run of characters, ? any one, and a
// backslash makes the next one itself.
type glob struct {
	toks []rune // anyRun, anyOne, or the character itself
	fold bool   // without regard to case
}

const (
	anyRun rune = -1
	anyOne rune = -2
)

func newGlob(pattern string, inside, fold bool) *glob {
	g := &glob{fold: fold}
	add := func(r rune) {
		if r != anyRun || len(g.toks) == 0 || g.toks[len(g.toks)-1] != anyRun {
			g.toks = append(g.toks, r)
		}
	}
	if inside {
		add(anyRun)
	}
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			escaped = false
			add(g.folded(r))
		case r == '\\':
			escaped = true
		case r == '*':
			add(anyRun)
		case r == '?':
			add(anyOne)
		default:
			add(g.folded(r))
		}
	}
	if escaped {
		add('\\')
	}
	if inside {
		add(anyRun)
	}
	return g
}

func (g *glob) folded(r rune) rune {
	switch {
	case !g.fold:
		return r
	case r < utf8.RuneSelf:
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	return unicode.ToLower(r)
}

func (g *glob) match(s string) bool {
	t, i := 0, 0          // next token, next byte
	backT, backI := -1, 0 // after the last run: where to go on, taking one character more
	for {
		if t < len(g.toks) && g.toks[t] == anyRun {
			t++
			if t == len(g.toks) {
				return true
			}
			backT, backI = t, i
			continue
		}
		if i == len(s) {
			return t == len(g.toks)
		}
		if t < len(g.toks) {
			r, n := rune(s[i]), 1
			if r >= utf8.RuneSelf {
				r, n = utf8.DecodeRuneInString(s[i:])
			}
			if want := g.toks[t]; want == anyOne || want == g.folded(r) {
				t, i = t+1, i+n
				continue
			}
		}
		if backT < 0 {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[backI:])
		backI += n
		t, i = backT, backI
	}
}

// hasWildcard reports whether a pattern holds a * or ? that is not escaped.
func hasWildcard(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '*', '?':
			return true
		}
	}
	return false
}

// Unescape takes the backslashes before characters away.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
