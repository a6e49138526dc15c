package sigma

import (
	"fmt"
	"strconv"
	"strings"
)

// maxDepth bounds the nesting of conditions and of detections.
const maxDepth = 64

// A condition is the tree of a rule's condition.
type condition struct {
	op    string // "and", "or", "not", "of", "name"
	kids  []*condition
	name  string // of "name", the search identifier; of "of", the pattern or "them"
	least int    // of "of": how many must match; all is -1
}

// parseCondition reads a condition as Sigma's specification has it: or binds
// least, then and, then not, then "N of", then parentheses.
func parseCondition(s string) (*condition, error) {
	p := &conditionParser{}
	if err := p.split(s); err != nil {
		return nil, err
	}
	c, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t != "" {
		return nil, fmt.Errorf("%q after the end of the condition: join it with and, or", t)
	}
	return c, nil
}

type conditionParser struct{ tokens []string }

func (p *conditionParser) split(s string) error {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '(' || c == ')':
			p.tokens = append(p.tokens, s[i:i+1])
			i++
		case isNameByte(c):
			start := i
			for i < len(s) && isNameByte(s[i]) {
				i++
			}
			p.tokens = append(p.tokens, s[start:i])
		default:
			return fmt.Errorf("unexpected %q", []rune(s[i:])[0])
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.' || c == '*' || c == '?'
}

func (p *conditionParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *conditionParser) take(word string) bool {
	if strings.EqualFold(p.peek(), word) {
		p.tokens = p.tokens[1:]
		return true
	}
	return false
}

func (p *conditionParser) or(depth int) (*condition, error) {
	return p.chain("or", depth, p.and)
}

func (p *conditionParser) and(depth int) (*condition, error) {
	return p.chain("and", depth, p.not)
}

func (p *conditionParser) chain(word string, depth int, next func(int) (*condition, error)) (*condition, error) {
	first, err := next(depth)
	if err != nil {
		return nil, err
	}
	kids := []*condition{first}
	for p.take(word) {
		kid, err := next(depth)
		if err != nil {
			return nil, err
		}
		kids = append(kids, kid)
	}
	if len(kids) == 1 {
		return first, nil
	}
	return &condition{op: word, kids: kids}, nil
}

func (p *conditionParser) not(depth int) (*condition, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if p.take("not") {
		kid, err := p.not(depth + 1)
		if err != nil {
			return nil, err
		}
		return &condition{op: "not", kids: []*condition{kid}}, nil
	}
	if p.take("(") {
		c, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, fmt.Errorf("a parenthesis is not closed")
		}
		return c, nil
	}
	t := p.peek()
	switch strings.ToLower(t) {
	case "":
		return nil, fmt.Errorf("the condition ends where a search identifier is expected")
	case ")", "and", "or", "of", "them":
		return nil, fmt.Errorf("%q where a search identifier is expected", t)
	}
	p.tokens = p.tokens[1:]
	least, err := strconv.Atoi(t)
	switch {
	case strings.EqualFold(t, "all"):
		least = -1
	case strings.EqualFold(t, "any"):
		least = 1
	case err != nil:
		least = 0
	case least < 1:
		return nil, fmt.Errorf("%s of: want a number from 1", t)
	}
	if least == 0 || !p.take("of") {
		return &condition{op: "name", name: t}, nil
	}
	pattern := p.peek()
	if pattern == "" || pattern == "(" || pattern == ")" {
		return nil, fmt.Errorf("%s of: want them or a pattern such as selection*", t)
	}
	p.tokens = p.tokens[1:]
	return &condition{op: "of", name: pattern, least: least}, nil
}

// names returns the search identifiers that a pattern of "of" means.
func (c *condition) names(all []string) []string {
	var out []string
	for _, n := range all {
		if strings.EqualFold(c.name, "them") {
			if !strings.HasPrefix(n, "_") {
				out = append(out, n)
			}
		} else if parsePattern(c.name).match([]byte(n)) {
			out = append(out, n)
		}
	}
	return out
}

// String writes the condition with all parentheses.
func (c *condition) String() string {
	switch c.op {
	case "name":
		return c.name
	case "of":
		if c.least == -1 {
			return "(all of " + c.name + ")"
		}
		return fmt.Sprintf("(%d of %s)", c.least, c.name)
	case "not":
		return "(not " + c.kids[0].String() + ")"
	}
	parts := make([]string, len(c.kids))
	for i, k := range c.kids {
		parts[i] = k.String()
	}
	return "(" + strings.Join(parts, " "+c.op+" ") + ")"
}
