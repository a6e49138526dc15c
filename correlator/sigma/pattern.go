package sigma

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A pattern is text with wildcards: * for any text, ? for one character.
type pattern struct {
	elems []elem
	// What match needs, made by compile.
	kind patternKind
	lit  []byte
}

type elem struct {
	lit  byte
	wild byte // '*', '?', or 0 for lit
}

type patternKind uint8

const (
	general patternKind = iota
	exact
	prefix
	suffix
	infix
	anything
)

// parsePattern reads a value as Sigma writes it: a backslash before *, ? or
// another backslash makes them plain; any other backslash is itself.
func parsePattern(s string) *pattern {
	p := &pattern{}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '?' || s[i+1] == '\\'):
			i++
			p.elems = append(p.elems, elem{lit: s[i]})
		case c == '*' || c == '?':
			p.elems = append(p.elems, elem{wild: c})
		default:
			p.elems = append(p.elems, elem{lit: c})
		}
	}
	p.compile()
	return p
}

// literal makes a pattern without wildcards.
func literal(b []byte) *pattern {
	p := &pattern{}
	for _, c := range b {
		p.elems = append(p.elems, elem{lit: c})
	}
	p.compile()
	return p
}

// plain returns the text of a pattern without wildcards.
func (p *pattern) plain() ([]byte, bool) {
	b := make([]byte, 0, len(p.elems))
	for _, e := range p.elems {
		if e.wild != 0 {
			return nil, false
		}
		b = append(b, e.lit)
	}
	return b, true
}

// open returns the pattern with anything allowed before it, behind it, or both.
func (p *pattern) open(before, behind bool) *pattern {
	star := []elem{{wild: '*'}}
	q := &pattern{elems: p.elems}
	if before {
		q.elems = slices.Concat(star, q.elems)
	}
	if behind {
		q.elems = slices.Concat(q.elems, star)
	}
	q.compile()
	return q
}

// lower returns the pattern for text in lower case.
func (p *pattern) lower() *pattern {
	q := &pattern{}
	for i := 0; i < len(p.elems); {
		if p.elems[i].wild != 0 {
			q.elems = append(q.elems, p.elems[i])
			i++
			continue
		}
		run := p.run(i)
		for _, c := range appendLower(nil, string(run)) {
			q.elems = append(q.elems, elem{lit: c})
		}
		i += len(run)
	}
	q.compile()
	return q
}

// run returns the literal text that begins at element i.
func (p *pattern) run(i int) []byte {
	var b []byte
	for ; i < len(p.elems) && p.elems[i].wild == 0; i++ {
		b = append(b, p.elems[i].lit)
	}
	return b
}

// longest returns the longest literal text in the pattern.
func (p *pattern) longest() []byte {
	var best []byte
	for i := 0; i < len(p.elems); {
		run := p.run(i)
		if len(run) > len(best) {
			best = run
		}
		i += max(len(run), 1)
	}
	return best
}

func (p *pattern) compile() {
	// Two stars are as good as one, and cost less.
	p.elems = slices.CompactFunc(slices.Clone(p.elems), func(a, b elem) bool { return a.wild == '*' && b.wild == '*' })
	es := p.elems
	before := len(es) > 0 && es[0].wild == '*'
	behind := len(es) > 1 && es[len(es)-1].wild == '*'
	inner := es
	if before {
		inner = inner[1:]
	}
	if behind {
		inner = inner[:len(inner)-1]
	}
	lit, ok := (&pattern{elems: inner}).plain()
	p.lit = lit
	switch {
	case !ok:
		p.kind = general
	case before && len(inner) == 0:
		p.kind = anything
	case before && behind:
		p.kind = infix
	case before:
		p.kind = suffix
	case behind:
		p.kind = prefix
	default:
		p.kind = exact
	}
}

// match reports whether the whole of b is as the pattern says.
func (p *pattern) match(b []byte) bool {
	switch p.kind {
	case exact:
		return bytes.Equal(b, p.lit)
	case prefix:
		return bytes.HasPrefix(b, p.lit)
	case suffix:
		return bytes.HasSuffix(b, p.lit)
	case infix:
		return bytes.Contains(b, p.lit)
	case anything:
		return true
	}
	// The usual way with wildcards: on a mismatch, let the last star take one
	// more byte.
	i, j := 0, 0
	star, mark := -1, 0
	for i < len(b) {
		if j < len(p.elems) {
			switch e := p.elems[j]; {
			case e.wild == '*':
				star, mark = j, i
				j++
				continue
			case e.wild == '?':
				_, n := utf8.DecodeRune(b[i:])
				i, j = i+n, j+1
				continue
			case e.lit == b[i]:
				i, j = i+1, j+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, n := utf8.DecodeRune(b[mark:])
		mark += n
		i, j = mark, star+1
	}
	for j < len(p.elems) && p.elems[j].wild == '*' {
		j++
	}
	return j == len(p.elems)
}

// String returns the pattern as a rule would write it.
func (p *pattern) String() string {
	var b strings.Builder
	for i, e := range p.elems {
		switch {
		case e.wild != 0:
			b.WriteByte(e.wild)
			continue
		case e.lit == '*' || e.lit == '?':
			b.WriteByte('\\')
		case e.lit == '\\' && i+1 < len(p.elems) && (p.elems[i+1].wild != 0 || strings.IndexByte(`\*?`, p.elems[i+1].lit) >= 0):
			b.WriteByte('\\')
		}
		b.WriteByte(e.lit)
	}
	return b.String()
}

// appendLower appends s in lower case, letter by letter, as both sides of every
// comparison without regard to case are written.
func appendLower(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return appendLowerUnicode(dst, s[i:])
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func appendLowerUnicode(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 {
			dst = append(dst, s[i])
			i++
			continue
		}
		dst = utf8.AppendRune(dst, unicode.ToLower(r))
		i += n
	}
	return dst
}
