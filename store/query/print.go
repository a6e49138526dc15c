package query

import (
	"strings"
	"unicode"
)

// String writes a query as KQL. Parse of it gives the same tree back, if it was
// Parse that made the tree.
func String(n Node) string {
	var b strings.Builder
	write(&b, n, 0)
	return b.String()
}

// Precedence: what binds less than its surroundings gets parentheses.
const (
	inOr = iota
	inAnd
	inNot
)

func write(b *strings.Builder, n Node, within int) {
	switch n := n.(type) {
	case And:
		writeList(b, n, " and ", "*", within > inAnd || within == inAnd && len(n) > 1, inAnd)
	case Or:
		writeList(b, n, " or ", "not *", within > inOr, inOr)
	case Not:
		b.WriteString("not ")
		write(b, n.Node, inNot)
	case Exists:
		b.WriteString(n.Field)
		b.WriteString(": *")
	case Compare:
		b.WriteString(n.Field)
		b.WriteString([...]string{": ", " < ", " <= ", " > ", " >= "}[n.Op])
		if text, exact := n.Value.Exact(); exact {
			writeText(b, text, ":")
		} else {
			writePattern(b, n.Value.Text)
		}
	case Text:
		if hasWildcard(n.Pattern) {
			writePattern(b, n.Pattern)
			break
		}
		text := Unescape(n.Pattern)
		if _, ok := (Literal{Text: text, Quoted: true}).Prefix(); ok {
			quote(b, text)
			break
		}
		writeText(b, text, "")
	default:
		b.WriteByte('*')
	}
}

func writeList(b *strings.Builder, ns []Node, sep, none string, parens bool, within int) {
	if len(ns) == 0 {
		b.WriteString(none)
		return
	}
	if parens = parens && len(ns) > 1; parens {
		b.WriteByte('(')
	}
	for i, n := range ns {
		if i > 0 {
			b.WriteString(sep)
		}
		write(b, n, within)
	}
	if parens {
		b.WriteByte(')')
	}
}

// writeText writes a text bare if that cannot be misread.
func writeText(b *strings.Builder, s, also string) {
	plain := s != "" && !strings.ContainsAny(s[:1], "-./:")
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_./-"+also, r) {
			plain = false
		}
	}
	switch strings.ToLower(s) {
	case "and", "or", "not":
		plain = false
	}
	if plain {
		b.WriteString(s)
		return
	}
	quote(b, s)
}

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
}

// writePattern writes a text with wildcards, whose own escapes stay.
func writePattern(b *strings.Builder, s string) {
	escaped := false
	for _, r := range s {
		if escaped || r == '\\' {
			escaped = !escaped
			b.WriteRune(r)
			continue
		}
		if unicode.IsSpace(r) || strings.ContainsRune(`()":<>={}[]/!+-&|,`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
}
