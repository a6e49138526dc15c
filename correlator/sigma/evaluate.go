package sigma

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// A field is a name in a rule, resolved to what events carry.
type field struct {
	name string // as events have it
	ref  event.Ref
	path string // within each object of a list of objects; "" for a plain field
	doc  event.FieldDoc

	values map[string][]string // see translation
}

// A test is one question about the values of one field. It is true of an event
// if it is true of any of the values.
type test struct {
	field *field // nil: a keyword, asked of every text in the event
	kind  testKind
	cased bool
	text  *pattern
	re    *regexp.Regexp
	net   netip.Prefix
	op    string // of number and date: gt, gte, lt, lte, eq
	num   number
	part  string // of date: minute, hour, day, week, month, year
	want  bool   // of exists
	other *field // of same
	how   patternKind
	label string // for people: contains 'x'

	before time.Time // of before
}

type testKind uint8

const (
	isText   testKind = iota // the value is like a pattern
	isRegexp                 // … has a match of a regular expression
	isInNet                  // … is an address in a prefix
	isNumber                 // … compares with a number
	isDate                   // … is a time whose part compares with a number
	isAbsent                 // the event does not have the field
	isThere                  // the event has the field, or not
	isSame                   // the value is like that of another field
	isBefore                 // the event is before a time; it has no field
)

// A number is an integer where it can be one: floats cannot hold them all.
type number struct {
	i     int64
	f     float64
	whole bool
}

func parseNumber(s string) (number, bool) {
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return number{i: i, f: float64(i), whole: true}, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return number{f: f}, err == nil && f == f
}

func (a number) compare(op string, b number) bool {
	var less, same bool
	if a.whole && b.whole {
		less, same = a.i < b.i, a.i == b.i
	} else {
		less, same = a.f < b.f, a.f == b.f
	}
	switch op {
	case "gt":
		return !less && !same
	case "gte":
		return !less
	case "lt":
		return less
	case "lte":
		return less || same
	}
	return same
}

// scratch is the memory of one evaluation at a time, so that asking does not
// allocate.
type scratch struct {
	raw, low []byte
	rawB     []byte
	lowOf    string // text whose lower case is in low

	// All texts of the event in lower case, one behind the other, for keywords.
	all      []byte
	ends     []int
	gathered bool

	known *memory // of shared nodes; nil: nothing is remembered
}

// next forgets the event.
func (s *scratch) next() {
	s.lowOf, s.gathered = "", false
}

// gather fills all, if that is not done for this event.
func (s *scratch) gather(e *event.Event) {
	if s.gathered {
		return
	}
	s.gathered, s.all, s.ends = true, s.all[:0], s.ends[:0]
	for i := range e.Fields {
		s.gatherValue(e.Fields[i].Value)
	}
	s.gatherValue(event.IP(e.Flow.Src.IP))
	s.gatherValue(event.IP(e.Flow.Dst.IP))
}

func (s *scratch) gatherValue(v event.Value) {
	switch v.Type() {
	case event.TypeNone:
		return
	case event.TypeList:
		for _, x := range v.List() {
			s.gatherValue(x)
		}
		return
	case event.TypeObject:
		for _, m := range v.Object() {
			s.gatherValue(m.Value)
		}
		return
	}
	s.all = append(s.all, s.text(v, false)...)
	s.ends = append(s.ends, len(s.all))
	if i, ok := whole(v); ok {
		s.all = strconv.AppendInt(s.all, i, 10)
		s.ends = append(s.ends, len(s.all))
	}
}

// whole returns the integer that a float is equal to: 2 and 2.0 are the same
// number, but a float is written with a point.
func whole(v event.Value) (int64, bool) {
	if v.Type() != event.TypeFloat {
		return 0, false
	}
	f, _ := v.Float()
	return int64(f), f == float64(int64(f))
}

// holds reports whether the test is true of the event.
func (t *test) holds(e *event.Event, s *scratch) bool {
	if t.kind == isBefore {
		return e.Time.Before(t.before)
	}
	if t.field == nil {
		return t.anywhere(e, s)
	}
	v, ok := e.Lookup(t.field.ref)
	switch t.kind {
	case isAbsent:
		return !ok || !t.field.any(v, func(event.Value) bool { return true })
	case isThere:
		return (ok && t.field.any(v, func(event.Value) bool { return true })) == t.want
	}
	return ok && t.anyOf(v, t.field.path, e, s)
}

// any reports whether f is true of any value of the field. It is for where
// allocation does not matter.
func (f *field) any(v event.Value, is func(event.Value) bool) bool {
	return anyValue(v, f.path, is)
}

func anyValue(v event.Value, path string, is func(event.Value) bool) bool {
	switch v.Type() {
	case event.TypeNone:
		return false
	case event.TypeList:
		for _, x := range v.List() {
			if anyValue(x, path, is) {
				return true
			}
		}
		return false
	case event.TypeObject:
		if path == "" {
			return is(v)
		}
		for _, m := range v.Object() {
			if m.Name == path && anyValue(m.Value, "", is) {
				return true
			}
		}
		return false
	}
	return path == "" && is(v)
}

// anyOf is anyValue for a test: written out, because a closure would allocate.
func (t *test) anyOf(v event.Value, path string, e *event.Event, s *scratch) bool {
	switch v.Type() {
	case event.TypeNone:
		return false
	case event.TypeList:
		for _, x := range v.List() {
			if t.anyOf(x, path, e, s) {
				return true
			}
		}
		return false
	case event.TypeObject:
		if path == "" {
			return t.one(v, e, s)
		}
		for _, m := range v.Object() {
			if m.Name == path && t.anyOf(m.Value, "", e, s) {
				return true
			}
		}
		return false
	}
	return path == "" && t.one(v, e, s)
}

// one asks the test of one value.
func (t *test) one(v event.Value, e *event.Event, s *scratch) bool {
	switch t.kind {
	case isText:
		if t.text.match(s.text(v, t.cased)) {
			return true
		}
		i, ok := whole(v)
		if ok {
			s.raw = strconv.AppendInt(s.raw[:0], i, 10)
		}
		return ok && t.text.match(s.raw)
	case isRegexp:
		if v.Type() == event.TypeString {
			return t.re.MatchString(v.Str())
		}
		return t.re.Match(s.text(v, true))
	case isInNet:
		a, ok := addressOf(v)
		return ok && t.net.Contains(a)
	case isNumber:
		n, ok := numberOf(v)
		return ok && n.compare(t.op, t.num)
	case isDate:
		at, ok := v.Time()
		return ok && datePart(at, t.part).compare(t.op, t.num)
	case isSame:
		return t.same(v, e, s)
	}
	return false
}

func (t *test) same(v event.Value, e *event.Event, s *scratch) bool {
	o, ok := e.Lookup(t.other.ref)
	if !ok {
		return false
	}
	// A copy: looking at the other field uses the scratch, too. This is rare
	// enough to allocate.
	mine := bytes.Clone(s.text(v, t.cased))
	return t.other.any(o, func(x event.Value) bool {
		other := s.text(x, t.cased)
		switch t.how {
		case prefix:
			return bytes.HasPrefix(mine, other)
		case suffix:
			return bytes.HasSuffix(mine, other)
		case infix:
			return bytes.Contains(mine, other)
		}
		return bytes.Equal(mine, other)
	})
}

// anywhere asks a keyword of every text that the event's protocol fields and
// its addresses hold.
func (t *test) anywhere(e *event.Event, s *scratch) bool {
	if t.kind == isText && !t.cased {
		s.gather(e)
		begin := 0
		for _, end := range s.ends {
			if t.text.match(s.all[begin:end]) {
				return true
			}
			begin = end
		}
		return false
	}
	for i := range e.Fields {
		if t.within(e.Fields[i].Value, e, s) {
			return true
		}
	}
	return t.within(event.IP(e.Flow.Src.IP), e, s) || t.within(event.IP(e.Flow.Dst.IP), e, s)
}

func (t *test) within(v event.Value, e *event.Event, s *scratch) bool {
	switch v.Type() {
	case event.TypeNone:
		return false
	case event.TypeList:
		for _, x := range v.List() {
			if t.within(x, e, s) {
				return true
			}
		}
		return false
	case event.TypeObject:
		for _, m := range v.Object() {
			if t.within(m.Value, e, s) {
				return true
			}
		}
		return false
	}
	return t.one(v, e, s)
}

// text returns a value as bytes, in lower case unless cased. They are valid
// until the next call.
func (s *scratch) text(v event.Value, cased bool) []byte {
	if v.Type() != event.TypeString {
		s.raw = v.AppendText(s.raw[:0])
		if cased || v.Type() != event.TypeObject {
			// Numbers, addresses and truth values have no upper case; times do.
			if !cased && v.Type() == event.TypeTime {
				s.raw = bytes.ToLower(s.raw)
			}
			return s.raw
		}
		s.lowOf, s.low = "", appendLower(s.low[:0], string(s.raw))
		return s.low
	}
	if cased {
		s.rawB = append(s.rawB[:0], v.Str()...)
		return s.rawB
	}
	// Several tests in a row ask for the same text.
	if str := v.Str(); str == "" || str != s.lowOf {
		s.lowOf, s.low = str, appendLower(s.low[:0], str)
	}
	return s.low
}

// addressOf returns an address, or a text that is one.
func addressOf(v event.Value) (netip.Addr, bool) {
	a, ok := v.IP()
	if !ok {
		a, ok = parseAddr(v.Str())
	}
	return a.Unmap().WithZone(""), ok
}

func parseAddr(s string) (netip.Addr, bool) {
	// ParseAddr allocates its error.
	if len(s) < 2 || len(s) > 45 || strings.Trim(s, "0123456789abcdefABCDEF:.") != "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

func numberOf(v event.Value) (number, bool) {
	switch v.Type() {
	case event.TypeInt:
		i, _ := v.Int()
		return number{i: i, f: float64(i), whole: true}, true
	case event.TypeUint, event.TypeFloat:
		f, _ := v.Float()
		return number{f: f}, true
	case event.TypeString:
		// ParseFloat allocates its error.
		if s := v.Str(); s != "" && len(s) <= 24 && strings.Trim(s, "0123456789+-.eE") == "" {
			return parseNumber(s)
		}
	}
	return number{}, false
}

func datePart(at time.Time, part string) number {
	var n int
	switch part {
	case "minute":
		n = at.Minute()
	case "hour":
		n = at.Hour()
	case "day":
		n = at.Day()
	case "week":
		_, n = at.ISOWeek()
	case "month":
		n = int(at.Month())
	case "year":
		n = at.Year()
	}
	return number{i: int64(n), f: float64(n), whole: true}
}

// value returns the first value of the event for which the test is true, for
// people to read.
func (t *test) value(e *event.Event, s *scratch) string {
	const most = 200
	var text string
	found := false
	is := func(v event.Value) bool {
		if !found && t.one(v, e, s) {
			found, text = true, v.String()
		}
		return found
	}
	if t.field != nil {
		if v, ok := e.Lookup(t.field.ref); ok {
			if t.kind == isThere {
				text = v.String()
			} else {
				t.field.any(v, is)
			}
		}
	} else {
		e.All(func(_ string, v event.Value) bool {
			eachText(v, func(x event.Value) { is(x) })
			return !found
		})
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func eachText(v event.Value, f func(event.Value)) {
	switch v.Type() {
	case event.TypeList:
		for _, x := range v.List() {
			eachText(x, f)
		}
	case event.TypeObject:
		for _, m := range v.Object() {
			eachText(m.Value, f)
		}
	default:
		f(v)
	}
}

// A node is a compiled detection: tests joined by logic. Trees are shared
// where a condition names a search identifier twice.
type node struct {
	op    nodeOp
	kids  []*node
	least int // of opLeast
	test  *test

	serial, users, slot int // see detections; of slot 0 nothing is remembered
}

type nodeOp uint8

const (
	opTest nodeOp = iota
	opAnd
	opOr
	opNot
	opLeast // at least so many of the kids
)

// holds reports whether the event is what the node describes.
func (n *node) holds(e *event.Event, s *scratch) bool {
	if n.slot == 0 || s.known == nil {
		return n.judge(e, s)
	}
	at := &s.known.held[n.slot]
	if *at>>1 != uint64(s.known.round) {
		*at = uint64(s.known.round) << 1
		if n.judge(e, s) {
			*at |= 1
		}
	}
	return *at&1 == 1
}

// judge asks, whatever is remembered.
func (n *node) judge(e *event.Event, s *scratch) bool {
	switch n.op {
	case opTest:
		return n.test.holds(e, s)
	case opAnd:
		for _, k := range n.kids {
			if !k.holds(e, s) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range n.kids {
			if k.holds(e, s) {
				return true
			}
		}
		return false
	case opNot:
		return !n.kids[0].holds(e, s)
	}
	have := 0
	for _, k := range n.kids {
		if k.holds(e, s) {
			if have++; have == n.least {
				return true
			}
		}
	}
	return false
}

// explain lists the tests that made the node true of the event, behind others.
func (n *node) explain(e *event.Event, s *scratch, out []event.Explain) []event.Explain {
	if n.slot == 0 || s.known == nil {
		return n.reasons(e, s, out)
	}
	at := &s.known.why[n.slot]
	if at.round != s.known.round {
		at.round, at.list = s.known.round, n.reasons(e, s, nil)
	}
	if len(out) == 0 {
		return slices.Clip(at.list)
	}
	for _, x := range at.list {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

func (n *node) reasons(e *event.Event, s *scratch, out []event.Explain) []event.Explain {
	switch n.op {
	case opTest:
		name := "any field"
		if n.test.field != nil {
			name = n.test.field.name
		}
		x := event.Explain{Field: name, Predicate: n.test.label, Value: n.test.value(e, s)}
		if slices.Contains(out, x) {
			return out
		}
		return append(out, x)
	case opNot:
		return out
	}
	for _, k := range n.kids {
		if n.op == opAnd || k.holds(e, s) { // of and, all hold
			out = k.explain(e, s, out)
		}
	}
	return out
}

func (t *test) describe() string {
	switch t.kind {
	case isText:
		verb := "like"
		text := t.text.String()
		switch t.text.kind {
		case exact:
			verb, text = "is", string(t.text.lit)
		case prefix:
			verb, text = "startswith", string(t.text.lit)
		case suffix:
			verb, text = "endswith", string(t.text.lit)
		case infix:
			verb, text = "contains", string(t.text.lit)
		case anything:
			return "is there"
		}
		return fmt.Sprintf("%s '%s'", verb, text)
	case isRegexp:
		return fmt.Sprintf("matches /%s/", t.re)
	case isInNet:
		return "in " + t.net.String()
	case isNumber, isDate:
		op := map[string]string{"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "=="}[t.op]
		num := strconv.FormatFloat(t.num.f, 'f', -1, 64)
		if t.num.whole {
			num = strconv.FormatInt(t.num.i, 10)
		}
		return strings.TrimSpace(t.part + " " + op + " " + num)
	case isBefore:
		return "before " + t.before.Format(time.RFC3339)
	case isAbsent:
		return "is absent"
	case isThere:
		if t.want {
			return "exists"
		}
		return "does not exist"
	}
	return map[patternKind]string{exact: "equals ", prefix: "startswith ", suffix: "endswith ", infix: "contains "}[t.how] + t.other.name
}
