package stix

import (
	"fmt"
	"strings"

	"github.com/tocsin/tocsin/correlator/intel"
)

// value is what a pattern looks for.
type value struct {
	kind intel.Kind
	text string
}

// paths are the object paths that are looked up.
var paths = map[string]intel.Kind{
	"ipv4-addr:value":                   intel.Address,
	"ipv6-addr:value":                   intel.Address,
	"network-traffic:src_ref.value":     "",
	"network-traffic:dst_ref.value":     "",
	"domain-name:value":                 intel.Name,
	"url:value":                         intel.URL,
	"x509-certificate:hashes.'SHA-1'":   intel.Certificate,
	"x509-certificate:hashes.'SHA-256'": intel.Certificate,
	"x509-certificate:hashes.SHA-1":     intel.Certificate,
	"x509-certificate:hashes.SHA-256":   intel.Certificate,
}

// values are the values of which a pattern says that any one of them is enough:
// comparisons with = or IN, joined by OR, within or between observations. Any
// other pattern is an error that says why, for to match a part of it would
// match what it does not mean.
func values(pattern string) ([]value, error) {
	p := &parser{rest: pattern}
	vs, err := p.observations()
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("%q after the pattern: conditions of time or number are not looked up", p.peek())
	}
	return vs, err
}

type parser struct {
	rest  string
	depth int
}

// maxDepth bounds parentheses in each other.
const maxDepth = 50

// token takes the next token: a string in quotes, a word, or a sign.
func (p *parser) token() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" {
		return ""
	}
	n := 1
	switch c := p.rest[0]; {
	case strings.IndexByte("[](),", c) >= 0:
	case c == '\'':
		for n < len(p.rest) && p.rest[n] != '\'' {
			if p.rest[n] == '\\' {
				n++
			}
			n++
		}
		n = min(n+1, len(p.rest))
	case strings.IndexByte("=!<>", c) >= 0:
		for n < len(p.rest) && strings.IndexByte("=!<>", p.rest[n]) >= 0 {
			n++
		}
	default:
		// An object path may hold quotes.
		for n < len(p.rest) && strings.IndexByte(" \t\r\n[](),=!<>", p.rest[n]) < 0 {
			n++
		}
	}
	t := p.rest[:n]
	p.rest = p.rest[n:]
	return t
}

func (p *parser) peek() string {
	was := p.rest
	t := p.token()
	p.rest = was
	return t
}

func (p *parser) want(t string) error {
	if got := p.token(); got != t {
		return fmt.Errorf("%q where %q is wanted", got, t)
	}
	return nil
}

// or reads terms with OR between them.
func (p *parser) or(term func() ([]value, error)) ([]value, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("more than %d parentheses in each other", maxDepth)
	}
	defer func() { p.depth-- }()
	vs, err := term()
	for err == nil {
		switch next := p.peek(); next {
		case "OR":
			p.token()
			var more []value
			more, err = term()
			vs = append(vs, more...)
		case "AND", "FOLLOWEDBY":
			return nil, fmt.Errorf("%s: only values of which any one is enough can be looked up", next)
		default:
			return vs, nil
		}
	}
	return nil, err
}

func (p *parser) observations() ([]value, error) {
	return p.or(func() ([]value, error) {
		switch open := p.token(); open {
		case "(":
			vs, err := p.observations()
			if err == nil {
				err = p.want(")")
			}
			return vs, err
		case "[":
			vs, err := p.comparisons()
			if err == nil {
				err = p.want("]")
			}
			return vs, err
		default:
			return nil, fmt.Errorf("%q where [ is wanted", open)
		}
	})
}

func (p *parser) comparisons() ([]value, error) {
	return p.or(func() ([]value, error) {
		if p.peek() == "(" {
			p.token()
			vs, err := p.comparisons()
			if err == nil {
				err = p.want(")")
			}
			return vs, err
		}
		path := p.token()
		kind, ok := paths[path]
		if !ok {
			return nil, fmt.Errorf("%s is not looked up: addresses, domain names, URLs and certificates are", path)
		}
		one := func() (value, error) {
			text, err := p.text()
			return value{kind, text}, err
		}
		switch operator := p.token(); operator {
		case "=":
			v, err := one()
			return []value{v}, err
		case "ISSUBSET":
			if kind != intel.Address {
				return nil, fmt.Errorf("ISSUBSET of %s", path)
			}
			v, err := one()
			return []value{v}, err
		case "IN":
			if err := p.want("("); err != nil {
				return nil, err
			}
			var vs []value
			for {
				v, err := one()
				if err != nil {
					return nil, err
				}
				vs = append(vs, v)
				switch t := p.token(); t {
				case ")":
					return vs, nil
				case ",":
				default:
					return nil, fmt.Errorf("%q where , or ) is wanted", t)
				}
			}
		default:
			return nil, fmt.Errorf("operator %q: want =, IN or ISSUBSET", operator)
		}
	})
}

// text takes a string in quotes.
func (p *parser) text() (string, error) {
	t := p.token()
	if len(t) < 2 || t[0] != '\'' || t[len(t)-1] != '\'' {
		return "", fmt.Errorf("%q where a string in quotes is wanted", t)
	}
	return strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(t[1 : len(t)-1]), nil
}
