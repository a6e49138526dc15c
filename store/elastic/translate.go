package elastic

import (
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// clause is a query in Elasticsearch's language, to be written as JSON.
type clause = map[string]any

var (
	everything = clause{"match_all": clause{}}
	nothing    = clause{"match_none": clause{}}
)

func all(cs []clause) clause {
	switch len(cs) {
	case 0:
		return everything
	case 1:
		return cs[0]
	}
	return clause{"bool": clause{"filter": cs}}
}

func anyOf(cs []clause) clause {
	switch len(cs) {
	case 0:
		return nothing
	case 1:
		return cs[0]
	}
	return clause{"bool": clause{"should": cs, "minimum_should_match": 1}}
}

func not(c clause) clause { return clause{"bool": clause{"must_not": c}} }

func exists(field string) clause { return clause{"exists": clause{"field": field}} }

func term(field string, value any) clause {
	return clause{"term": clause{field: clause{"value": value}}}
}

func between(field string, bounds clause) clause { return clause{"range": clause{field: bounds}} }

// bounds are the names of the comparisons other than equality.
var bounds = [...]string{query.Lt: "lt", query.Le: "lte", query.Gt: "gt", query.Ge: "gte"}

// filter says which documents a query asks for; its Set is chosen by the index.
func (s *Store) filter(q store.Query) clause {
	cs := []clause{}
	if !q.From.IsZero() || !q.To.IsZero() {
		span := clause{}
		if !q.From.IsZero() {
			span["gte"] = nanos(q.From)
		}
		if !q.To.IsZero() {
			span["lt"] = nanos(q.To)
		}
		cs = append(cs, between("@timestamp", span))
	}
	if q.Where != nil {
		cs = append(cs, s.fields.clause(q.Where))
	}
	return all(cs)
}

func nanos(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

// fields are the documented fields, which alone are indexed.
type fields struct {
	schema *event.Schema
}

// clause says in Elasticsearch's words what query.Match says in code. A field
// that is not documented is in no index, and found nowhere.
func (f fields) clause(n query.Node) clause {
	switch n := n.(type) {
	case query.And:
		return all(f.clauses(n))
	case query.Or:
		return anyOf(f.clauses(n))
	case query.Not:
		return not(f.clause(n.Node))
	case query.Exists:
		var cs []clause
		for _, d := range f.leaves(n.Field) {
			cs = append(cs, exists(d.Name))
		}
		return anyOf(cs)
	case query.Compare:
		var cs []clause
		for _, d := range f.named(n.Field) {
			if c := compare(d, n.Op, n.Value); c != nil {
				cs = append(cs, c)
			}
		}
		return anyOf(cs)
	case query.Text:
		return f.text(n.Pattern)
	}
	return everything
}

func (f fields) clauses(ns []query.Node) []clause {
	cs := make([]clause, len(ns))
	for i, n := range ns {
		cs[i] = f.clause(n)
	}
	return cs
}

// named are the fields of a name or pattern that hold values.
func (f fields) named(name string) []event.FieldDoc {
	if !strings.Contains(name, "*") {
		if d, ok := f.schema.Lookup(name); ok && d.Type != event.Nested {
			return []event.FieldDoc{d}
		}
		return nil
	}
	p := query.ResolvePath(name)
	var ds []event.FieldDoc
	for _, d := range f.schema.Fields() {
		if d.Type != event.Nested && p.Names(d.Name) {
			ds = append(ds, d)
		}
	}
	return ds
}

// leaves are the fields of a name or pattern, and of an object those in it.
func (f fields) leaves(name string) []event.FieldDoc {
	if d, ok := f.schema.Lookup(name); ok && d.Type == event.Nested {
		return f.named(name + ".*")
	}
	return f.named(name)
}

// compare compares a field; nil is nothing.
func compare(d event.FieldDoc, op query.Op, l query.Literal) clause {
	switch d.Type {
	case event.Keyword:
		text, exact := l.Exact()
		switch {
		case op != query.Eq:
			return between(d.Name, clause{bounds[op]: text})
		case exact:
			return term(d.Name, text)
		}
		return clause{"wildcard": clause{d.Name: clause{"value": l.Text}}}
	case event.IPType:
		p, ok := l.Prefix()
		if !ok {
			return nil
		}
		first, last := p.Addr().String(), lastOf(p).String()
		return span(d.Name, op, first, last)
	case event.Long:
		return compareLong(d.Name, op, l)
	case event.Double:
		x, ok := l.Float()
		switch {
		case !ok:
			return nil
		case op == query.Eq:
			return term(d.Name, x)
		}
		return between(d.Name, clause{bounds[op]: x})
	case event.Boolean:
		if text, _ := l.Exact(); op == query.Eq && (text == "true" || text == "false") {
			return term(d.Name, text == "true")
		}
	case event.Date:
		from, to, ok := l.Period()
		if !ok {
			return nil
		}
		return span(d.Name, op, nanos(from), nanos(to.Add(-1)))
	}
	return nil
}

// span compares with a stretch of values, of which the first and the last are
// given: equal is within, less is before the first, greater is behind the last.
func span(field string, op query.Op, first, last string) clause {
	switch op {
	case query.Lt:
		return between(field, clause{"lt": first})
	case query.Le:
		return between(field, clause{"lte": last})
	case query.Gt:
		return between(field, clause{"gt": last})
	case query.Ge:
		return between(field, clause{"gte": first})
	}
	if first == last {
		return term(field, first)
	}
	return between(field, clause{"gte": first, "lte": last})
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// compareLong compares a field of whole numbers with any number.
func compareLong(field string, op query.Op, l query.Literal) clause {
	if n, ok := l.Int(); ok {
		if op == query.Eq {
			return term(field, n)
		}
		return between(field, clause{bounds[op]: n})
	}
	x, ok := l.Float()
	if !ok || op == query.Eq { // a fraction, or more than any whole number that is kept
		return nil
	}
	less := op == query.Lt || op == query.Le
	switch {
	case x >= math.MaxInt64:
		if less {
			return exists(field)
		}
		return nil
	case x < math.MinInt64:
		if less {
			return nil
		}
		return exists(field)
	case less:
		return between(field, clause{"lte": int64(math.Floor(x))})
	}
	return between(field, clause{"gte": int64(math.Ceil(x))})
}

// text finds a bare word: within texts, equal to identifiers, addresses and
// numbers.
func (f fields) text(pattern string) clause {
	equal := query.Literal{Text: query.Unescape(pattern), Quoted: true}
	var cs []clause
	for _, d := range f.schema.Fields() {
		switch d.Type {
		case event.Keyword:
			cs = append(cs, contains(d.Name, pattern, query.Identifier(d.Name)))
		case event.IPType, event.Long, event.Double:
			if c := compare(d, query.Eq, equal); c != nil {
				cs = append(cs, c)
			}
		}
	}
	return anyOf(cs)
}

// contains finds a pattern within a field, or as the whole of it, in any case.
func contains(field, pattern string, whole bool) clause {
	ascii := true
	for _, r := range pattern {
		ascii = ascii && r < unicode.MaxASCII
	}
	if ascii {
		if !whole {
			if trailing := len(pattern) - len(strings.TrimRight(pattern, `\`)); trailing%2 == 1 {
				pattern += `\` // at the end it is itself
			}
			pattern = "*" + pattern + "*"
		}
		return clause{"wildcard": clause{field: clause{"value": pattern, "case_insensitive": true}}}
	}
	// Elasticsearch folds the case of ASCII only: other letters are written out.
	var b strings.Builder
	if !whole {
		b.WriteString(".*")
	}
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			escaped = false
			writeFolded(&b, r)
		case r == '\\':
			escaped = true
		case r == '*':
			b.WriteString(".*")
		case r == '?':
			b.WriteString(".")
		default:
			writeFolded(&b, r)
		}
	}
	if escaped {
		writeFolded(&b, '\\')
	}
	if !whole {
		b.WriteString(".*")
	}
	return clause{"regexp": clause{field: clause{"value": b.String(), "flags": "NONE"}}}
}

// writeFolded writes a character of a regular expression in all of its cases.
func writeFolded(b *strings.Builder, r rune) {
	forms := []rune{r}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		if unicode.ToLower(other) == unicode.ToLower(r) {
			forms = append(forms, other)
		}
	}
	if len(forms) > 1 {
		b.WriteByte('(')
	}
	for i, form := range forms {
		if i > 0 {
			b.WriteByte('|')
		}
		if form < unicode.MaxASCII && !unicode.IsLetter(form) && !unicode.IsDigit(form) {
			b.WriteByte('\\')
		}
		b.WriteRune(form)
	}
	if len(forms) > 1 {
		b.WriteByte(')')
	}
}
