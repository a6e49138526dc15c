package query

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tocsin/tocsin/event"
)

// Lang is a way to write queries.
type Lang uint8

// Languages. All of them give the same tree.
const (
	Auto   Lang = iota // Arkime where == or != or EXISTS! stands; else KQL with what Lucene has beyond it
	KQL                // Kibana: field: value, and or not, wildcards
	Lucene             // field:[1 TO 5], AND OR NOT in capitals, + and -, _exists_:field
	Arkime             // field == value, && || !, lists in brackets, EXISTS!
)

// Bounds on what is read: a query is typed by a person, or sent by anybody.
const (
	maxText  = 16 << 10
	maxDepth = 64
	maxNodes = 2000
)

// Error says what is wrong with a query, and where.
type Error struct {
	Col int    // of the character, from 1
	Msg string // what was expected
}

// Error says where and what: query, column 3: …
func (e *Error) Error() string { return fmt.Sprintf("query, column %d: %s", e.Col, e.Msg) }

// Parse reads a query. Names are checked against the schema, and values
// against the types of their fields; without a schema any name is taken. Of an
// empty text everything is true. Errors are of type *Error.
func Parse(text string, schema *event.Schema, lang Lang) (n Node, err error) {
	p := &parser{text: text, schema: schema, lang: lang, now: time.Now}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			n, err = nil, e
		}
	}()
	if len(text) > maxText {
		p.fail(0, "the query is longer than %d bytes", maxText)
	}
	if !utf8.ValidString(text) {
		p.fail(0, "the query is not UTF-8")
	}
	if lang == Auto {
		p.lang = KQL
		p.lucene = true
		if isArkime(text) {
			p.lang = Arkime
		}
	}
	if p.lang == Lucene {
		p.lucene = true
	}
	if p.space(); p.end() {
		return And{}, nil
	}
	n = p.or()
	if p.space(); !p.end() {
		if p.peek(")") {
			p.fail(p.at, "this ) closes nothing")
		}
		p.fail(p.at, "want and, or, or the end")
	}
	return n, nil
}

// isArkime looks for what only Arkime has, outside of quotes.
func isArkime(text string) bool {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && (strings.HasPrefix(text[i:], "==") || strings.HasPrefix(text[i:], "!=") || strings.HasPrefix(text[i:], "EXISTS!")):
			return true
		}
	}
	return false
}

type parser struct {
	text   string
	at     int
	depth  int
	nodes  int
	schema *event.Schema
	lang   Lang
	lucene bool // what only Lucene has is read, too
	now    func() time.Time
}

// fail ends the parse; Parse recovers. It keeps the grammar readable.
func (p *parser) fail(at int, format string, args ...any) {
	panic(&Error{Col: utf8.RuneCountInString(p.text[:at]) + 1, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) end() bool          { return p.at == len(p.text) }
func (p *parser) peek(s string) bool { return strings.HasPrefix(p.text[p.at:], s) }

func (p *parser) take(s string) bool {
	if p.peek(s) {
		p.at += len(s)
		return true
	}
	return false
}

func (p *parser) space() {
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if !unicode.IsSpace(r) {
			return
		}
		p.at += n
	}
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.at, "nested deeper than %d", maxDepth)
	}
}

// keyword takes and, or, or not, written so that it cannot be a part of a word.
func (p *parser) keyword(word, sign string) bool {
	if (p.lucene || p.lang == Arkime) && p.take(sign) {
		return true
	}
	rest := p.text[p.at:]
	if p.lang == Arkime || len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
		return false
	}
	if p.lang == Lucene && rest[:len(word)] != strings.ToUpper(word) {
		return false
	}
	if next, _ := utf8.DecodeRuneInString(rest[len(word):]); len(rest) > len(word) && !unicode.IsSpace(next) && !strings.ContainsRune(`()"`, next) {
		return false
	}
	p.at += len(word)
	return true
}

// or reads any of several; and reads all of several, where the word and may be
// left out.
func (p *parser) or() Node {
	p.enter()
	ns := []Node{p.and()}
	for p.space(); p.keyword("or", "||"); p.space() {
		ns = append(ns, p.and())
	}
	p.depth--
	return disjoin(ns)
}

func (p *parser) and() Node {
	ns := []Node{p.not()}
	for {
		p.space()
		if !p.keyword("and", "&&") {
			if p.end() || p.peek(")") || p.lang == Arkime {
				break
			}
			at := p.at
			if p.keyword("or", "||") {
				p.at = at
				break
			}
		}
		ns = append(ns, p.not())
	}
	return conjoin(ns)
}

func (p *parser) not() Node {
	p.space()
	if p.keyword("not", "!") || p.lucene && p.lang != Arkime && p.sign('-') {
		p.enter()
		n := Not{p.not()}
		p.depth--
		return n
	}
	if p.lucene && p.lang != Arkime {
		p.sign('+') // demanded, as everything is
	}
	if p.take("(") {
		n := p.or()
		p.space()
		if !p.take(")") {
			p.fail(p.at, "want ) here")
		}
		return n
	}
	return p.term()
}

// sign takes a + or - that something follows at once.
func (p *parser) sign(c byte) bool {
	if p.at+1 < len(p.text) && p.text[p.at] == c && !strings.ContainsRune(" \t\r\n)", rune(p.text[p.at+1])) {
		p.at++
		return true
	}
	return false
}

// conjoin makes one node of several of which all must be true: no And directly
// within an And, and none of one node.
func conjoin(ns []Node) Node {
	flat := And{}
	for _, n := range ns {
		if a, ok := n.(And); ok {
			flat = append(flat, a...)
		} else {
			flat = append(flat, n)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return flat
}

func disjoin(ns []Node) Node {
	flat := Or{}
	for _, n := range ns {
		if o, ok := n.(Or); ok {
			flat = append(flat, o...)
		} else {
			flat = append(flat, n)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return flat
}

// word is a piece of text as it was written.
type word struct {
	at      int
	raw     string
	pattern string // * and ? are wildcards; a backslash makes the next one itself
	wild    bool
	quoted  bool
}

func (w word) literal() Literal {
	if w.wild {
		return Literal{Text: w.pattern}
	}
	return Literal{Text: Unescape(w.pattern), Quoted: true}
}

// word reads up to white space or one of the characters in stop.
func (p *parser) word(stop string) word {
	w := word{at: p.at}
	var b strings.Builder
	for p.at < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.at:])
		if unicode.IsSpace(r) || strings.ContainsRune(stop, r) {
			break
		}
		if p.lang == Arkime && (p.peek("&&") || p.peek("||")) {
			break
		}
		if r == '\\' {
			if p.at+1 == len(p.text) {
				p.fail(p.at, `a character must follow \`)
			}
			p.at++
			r, n = utf8.DecodeRuneInString(p.text[p.at:])
			if strings.ContainsRune(`*?\`, r) {
				b.WriteByte('\\')
			}
		} else if r == '*' || r == '?' {
			w.wild = true
		}
		b.WriteRune(r)
		p.at += n
	}
	w.raw, w.pattern = p.text[w.at:p.at], b.String()
	return w
}

// quote reads a text in quotation marks, in which \" and \\ are escapes. In
// Arkime's * and ? are wildcards even so.
func (p *parser) quote() word {
	w := word{at: p.at, quoted: true}
	p.at++
	var b strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			p.at++
			w.raw, w.pattern = p.text[w.at:p.at], b.String()
			return w
		case c == '\\' && p.at+1 < len(p.text) && strings.ContainsRune(`"\*?`, rune(p.text[p.at+1])):
			next := p.text[p.at+1]
			switch {
			case next == '"':
				b.WriteByte('"')
			case next == '\\' || p.lang == Arkime:
				b.WriteByte('\\')
				b.WriteByte(next)
			default: // a backslash and a star, both themselves
				b.WriteString(`\\\`)
				b.WriteByte(next)
			}
			p.at++
		case c == '\\':
			b.WriteString(`\\`)
		case (c == '*' || c == '?') && p.lang == Arkime:
			w.wild = true
			b.WriteByte(c)
		case c == '*' || c == '?':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
		p.at++
	}
	p.fail(w.at, "this quotation mark is never closed")
	return w
}

// term reads a field with its value, or a bare word.
func (p *parser) term() Node {
	p.space()
	if p.end() {
		p.fail(p.at, "want a field or a word here")
	}
	if p.peek(")") {
		p.fail(p.at, "want a field or a word before )")
	}
	if p.peek(`"`) {
		w := p.quote()
		if p.lang == Arkime {
			p.fail(w.at, "want a field: Arkime's language has no bare words")
		}
		return p.bare(w)
	}
	if p.lucene && p.lang != Arkime && p.peek("/") {
		p.fail(p.at, "regular expressions are not supported: use * and ? for any characters")
	}
	start := p.at
	if p.lang != Arkime {
		// An address of IPv6 is no field, for all its colons.
		w := p.word(`()"`)
		if _, ok := w.literal().Prefix(); ok {
			return p.address(w)
		}
		p.at = start
	}
	stop := `()":<>=`
	if p.lang == Arkime {
		stop = `()":<>=![],`
	}
	name := p.word(stop)
	if name.raw == "" {
		p.fail(p.at, "want a field or a word before %q", string([]rune(p.text[p.at:])[:1]))
	}
	p.space()
	if p.lang == Arkime {
		return p.arkime(name)
	}
	switch {
	case p.take(":"):
		p.space()
		if p.lucene && name.raw == "_exists_" {
			w := p.word(`()"`)
			if w.raw == "" {
				p.fail(p.at, "want a field after _exists_:")
			}
			return p.exists(p.fields(w))
		}
		fields := p.fields(name)
		return p.value(fields)
	case p.peek("<"), p.peek(">"):
		fields := p.fields(name)
		return p.value(fields)
	case p.peek("="):
		p.fail(p.at, "want : for equality, as in %s: value (or == in Arkime's language)", name.raw)
	}
	p.at = name.at + len(name.raw)
	return p.bare(name)
}

// bare makes a node of a bare word or phrase.
func (p *parser) bare(w word) Node {
	p.count(w.at)
	if !w.quoted && strings.Trim(w.pattern, "*") == "" {
		return And{}
	}
	return Text{Pattern: w.pattern}
}

func (p *parser) count(at int) {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(at, "more than %d comparisons", maxNodes)
	}
}

// address looks for a bare address in every field that holds addresses.
func (p *parser) address(w word) Node {
	fields := []string{"source.ip", "destination.ip"}
	if p.schema != nil {
		fields = fields[:0]
		for _, d := range p.schema.Fields() {
			if d.Type == event.IPType {
				fields = append(fields, d.Name)
			}
		}
	}
	return p.compare(fields, Eq, w)
}

// fields finds what a name stands for.
func (p *parser) fields(w word) []string {
	name := w.raw
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@*-") != "" {
		p.fail(w.at, "a field's name is letters, digits, _ and dots, and * for any of them, not %s", name)
	}
	fields, ok := resolve(name, p.schema)
	if !ok {
		if near := nearest(name, p.schema); near != "" {
			p.fail(w.at, "there is no field %s; did you mean %s?", name, near)
		}
		p.fail(w.at, "there is no field %s", name)
	}
	return fields
}

func (p *parser) exists(fields []string) Node {
	ns := make([]Node, len(fields))
	for i, f := range fields {
		ns[i] = Exists{f}
	}
	return disjoin(ns)
}

func (p *parser) operator() (Op, bool) {
	switch {
	case p.take(">="):
		return Ge, true
	case p.take("<="):
		return Le, true
	case p.take(">"):
		return Gt, true
	case p.take("<"):
		return Lt, true
	}
	return Eq, false
}

// value reads what a field is compared with.
func (p *parser) value(fields []string) Node {
	op, ordered := p.operator()
	p.space()
	if !ordered {
		switch {
		case p.take("("):
			n := p.valueOr(fields)
			p.space()
			if !p.take(")") {
				p.fail(p.at, "want ) here")
			}
			return n
		case p.lucene && (p.peek("[") || p.peek("{")):
			return p.span(fields)
		case p.lucene && p.peek("/"):
			p.fail(p.at, "regular expressions are not supported: use * and ? for any characters")
		}
	}
	w := p.operand(`()"`)
	if !ordered && !w.quoted && w.pattern != "" && strings.Trim(w.pattern, "*") == "" {
		p.count(w.at)
		return p.exists(fields)
	}
	return p.compare(fields, op, w)
}

// operand reads a word or a quoted text.
func (p *parser) operand(stop string) word {
	if p.peek(`"`) {
		return p.quote()
	}
	w := p.word(stop)
	if w.raw == "" {
		p.fail(p.at, "want a value here")
	}
	return w
}

// valueOr, valueAnd and valueNot read the values of one field in parentheses.
func (p *parser) valueOr(fields []string) Node {
	p.enter()
	p.space()
	ns := []Node{p.valueAnd(fields)}
	for p.space(); p.keyword("or", "||"); p.space() {
		ns = append(ns, p.valueAnd(fields))
	}
	p.depth--
	return disjoin(ns)
}

func (p *parser) valueAnd(fields []string) Node {
	ns := []Node{p.valueNot(fields)}
	for {
		p.space()
		if !p.keyword("and", "&&") {
			at := p.at
			if p.end() || p.peek(")") {
				break
			}
			if p.keyword("or", "||") {
				p.at = at
				break
			}
			p.fail(p.at, "want and, or, or ) here")
		}
		ns = append(ns, p.valueNot(fields))
	}
	return conjoin(ns)
}

func (p *parser) valueNot(fields []string) Node {
	p.space()
	if p.keyword("not", "!") {
		p.enter()
		n := Not{p.valueNot(fields)}
		p.depth--
		return n
	}
	return p.value(fields)
}

// span reads a range of Lucene: [ and ] take their ends in, { and } do not.
func (p *parser) span(fields []string) Node {
	lowOp, highOp := Ge, Le
	if p.text[p.at] == '{' {
		lowOp = Gt
	}
	p.at++
	p.space()
	low := p.operand(`()"[]{}`)
	p.space()
	if !p.take("TO") {
		p.fail(p.at, "want TO, as in [1 TO 5]")
	}
	p.space()
	high := p.operand(`()"[]{}`)
	p.space()
	switch {
	case p.take("}"):
		highOp = Lt
	case !p.take("]"):
		p.fail(p.at, "want ] or } here")
	}
	ns := make([]Node, 0, len(fields))
	for _, f := range fields {
		var both []Node
		if low.pattern != "*" {
			both = append(both, p.compare([]string{f}, lowOp, low))
		}
		if high.pattern != "*" {
			both = append(both, p.compare([]string{f}, highOp, high))
		}
		if len(both) == 0 {
			both = append(both, Exists{f})
		}
		ns = append(ns, conjoin(both))
	}
	return disjoin(ns)
}

// arkime reads what follows a field in Arkime's language.
func (p *parser) arkime(name word) Node {
	fields := p.fields(name)
	negate := false
	op := Eq
	switch {
	case p.take("=="):
	case p.take("!="):
		negate = true
	default:
		var ok bool
		if op, ok = p.operator(); !ok {
			p.fail(p.at, "want one of == != < <= > >= after %s", name.raw)
		}
	}
	p.space()
	var n Node
	switch {
	case p.take("EXISTS!"):
		n = p.exists(fields)
	case p.peek("/"):
		p.fail(p.at, "regular expressions are not supported: use * and ? for any characters")
	case op == Eq && p.take("["):
		var ns []Node
		for {
			p.space()
			ns = append(ns, p.arkimeValue(fields, op))
			p.space()
			if p.take("]") {
				break
			}
			if !p.take(",") {
				p.fail(p.at, "want , or ] in the list")
			}
		}
		n = disjoin(ns)
	default:
		n = p.arkimeValue(fields, op)
	}
	if negate {
		return Not{n}
	}
	return n
}

func (p *parser) arkimeValue(fields []string, op Op) Node {
	w := p.operand(`()",[]`)
	if op == Eq && w.pattern != "" && strings.Trim(w.pattern, "*") == "" {
		p.count(w.at)
		return p.exists(fields)
	}
	return p.compare(fields, op, w)
}

// compare makes a comparison with each of the fields, and checks that it makes sense.
func (p *parser) compare(fields []string, op Op, w word) Node {
	ns := make([]Node, len(fields))
	for i, f := range fields {
		p.count(w.at)
		lit := w.literal()
		if op != Eq && w.wild {
			p.fail(w.at, "%s cannot be compared so with wildcards", f)
		}
		if p.schema != nil {
			if doc, ok := p.schema.Lookup(f); ok {
				lit = p.check(doc, op, lit, w)
			}
		}
		ns[i] = Compare{Field: f, Op: op, Value: lit}
	}
	return disjoin(ns)
}

// check refuses a value that nothing of the field's type can be compared with.
func (p *parser) check(d event.FieldDoc, op Op, lit Literal, w word) Literal {
	const stars = "; * and ? are for texts only"
	have := fmt.Sprintf(", not %q", Unescape(w.pattern))
	if w.wild {
		have += stars
	}
	switch d.Type {
	case event.Nested:
		p.fail(w.at, "%s is a group: ask for one of its fields, as in %s.*: value", d.Name, d.Name)
	case event.IPType:
		if _, ok := lit.Prefix(); !ok || w.wild {
			p.fail(w.at, "%s: want an address, or a prefix such as 10.0.0.0/8%s", d.Name, have)
		}
	case event.Long, event.Double:
		if w.wild || !lit.Number() {
			p.fail(w.at, "%s: want a number%s", d.Name, have)
		}
	case event.Boolean:
		if op != Eq || lit.Text != "true" && lit.Text != "false" {
			p.fail(w.at, "%s: want true or false%s", d.Name, have)
		}
	case event.Date:
		if at, ok := p.relative(lit.Text); ok && !w.wild {
			return Literal{Text: at.UTC().Format(time.RFC3339Nano), Quoted: true}
		}
		if _, _, ok := lit.Period(); !ok || w.wild {
			p.fail(w.at, "%s: want a time such as 2026-11-22T15:04:05Z, 2026-11-22 or now-15m%s", d.Name, have)
		}
	case event.Keyword:
		if strings.HasSuffix(d.Name, ".mac") && op == Eq && !w.wild {
			if m, err := event.ParseMAC(lit.Text); err == nil {
				return Literal{Text: m.String(), Quoted: true}
			}
		}
		if d.Name == "event.id" {
			lit.Text = strings.ToLower(lit.Text)
		}
	}
	return lit
}

// relative reads now, or a time before or after it: now-15m, now+1d.
func (p *parser) relative(s string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(s, "now")
	if !ok {
		return time.Time{}, false
	}
	if rest == "" {
		return p.now(), true
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	unit, ok := units[rest[len(rest)-1]]
	n := 0
	for _, c := range rest[1:max(1, len(rest)-1)] {
		if c < '0' || c > '9' || n > 1_000_000 {
			return time.Time{}, false
		}
		n = 10*n + int(c-'0')
	}
	if !ok || len(rest) < 3 || time.Duration(n) > 200*365*24*time.Hour/unit {
		return time.Time{}, false
	}
	switch rest[0] {
	case '-':
		return p.now().Add(-time.Duration(n) * unit), true
	case '+':
		return p.now().Add(time.Duration(n) * unit), true
	}
	return time.Time{}, false
}
