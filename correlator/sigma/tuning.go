package sigma

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// State says what becomes of a rule's alerts.
type State string

// States of a rule.
const (
	Enabled  State = "enabled"
	Shadow   State = "shadow"   // the rule is judged and counted, and its alerts are not reported
	Disabled State = "disabled" // the rule is left out
)

// TuningFile is the name of the file beside rules that has their tuning.
const TuningFile = "tuning.yml"

// Tuning is what a site makes of rules that others wrote: which of them are in
// force, what each of them is not to match, and the values of placeholders.
type Tuning struct {
	rules        map[string]*tuned // by ID
	placeholders map[string][]string
}

type tuned struct {
	file       string
	line       int
	state      State
	exceptions []exception
	used       bool
}

// An exception is what a rule is not to match, until it expires.
type exception struct {
	line           int
	when           *yaml.Node
	reason, author string
	expires        time.Time // exclusive
	hash           string
}

// Placeholders returns the values of %name%.
func (t *Tuning) Placeholders() map[string][]string {
	if t == nil {
		return nil
	}
	return t.placeholders
}

// State returns the state of the rule of an ID.
func (t *Tuning) State(id string) State {
	if t == nil || t.rules[id] == nil {
		return Enabled
	}
	return t.rules[id].state
}

// Exceptions is how many exceptions the rule of an ID has.
func (t *Tuning) Exceptions(id string) int {
	if t == nil || t.rules[id] == nil {
		return 0
	}
	return len(t.rules[id].exceptions)
}

// Join adds another file's tuning; of what both say, the other's holds.
func (t *Tuning) Join(o *Tuning) {
	for id, r := range o.rules {
		if t.rules == nil {
			t.rules = map[string]*tuned{}
		}
		t.rules[id] = r
	}
	for name, values := range o.placeholders {
		if t.placeholders == nil {
			t.placeholders = map[string][]string{}
		}
		t.placeholders[name] = values
	}
}

// ParseTuning reads a tuning file.
func ParseTuning(file string, data []byte) (*Tuning, []*Error) {
	var errs errorList
	t := &Tuning{rules: map[string]*tuned{}, placeholders: map[string][]string{}}
	if len(data) > maxFile {
		errs.add(file, 0, "", "larger than %d bytes", maxFile)
		return t, errs
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		line, msg := yamlError(err)
		errs.add(file, line, "", "%s", msg)
		return t, errs
	}
	if len(doc.Content) == 0 {
		return t, nil
	}
	p := &ruleParser{errs: &errs, rule: &Rule{File: file}}
	p.mapping(doc.Content[0], "", func(k, v *yaml.Node) {
		switch k.Value {
		case "placeholders":
			p.mapping(v, "placeholders", func(name, values *yaml.Node) {
				t.placeholders[name.Value] = p.texts(values, "placeholders."+name.Value)
			})
		case "rules":
			p.mapping(v, "rules", func(id, v *yaml.Node) {
				t.rules[id.Value] = p.tuned(id, v)
			})
		default:
			p.errorf(k, k.Value, "unknown key: want rules, placeholders")
		}
	})
	return t, errs.sorted()
}

func (p *ruleParser) tuned(id, n *yaml.Node) *tuned {
	r := &tuned{file: p.rule.File, line: id.Line, state: Enabled}
	path := "rules." + id.Value
	p.mapping(n, path, func(k, v *yaml.Node) {
		key := join(path, k.Value)
		switch k.Value {
		case "state":
			r.state = State(p.oneOf(v, key, []string{string(Enabled), string(Shadow), string(Disabled)}))
		case "exceptions":
			if v.Kind != yaml.SequenceNode {
				p.errorf(v, key, "want a list, have %s", kindOf(v))
				return
			}
			for _, x := range v.Content {
				r.exceptions = append(r.exceptions, p.exception(x, key))
			}
		default:
			p.errorf(k, key, "unknown key: want state, exceptions")
		}
	})
	return r
}

func (p *ruleParser) exception(n *yaml.Node, path string) exception {
	x := exception{line: n.Line}
	p.mapping(n, path, func(k, v *yaml.Node) {
		key := join(path, k.Value)
		switch k.Value {
		case "when":
			x.when = v
		case "reason":
			x.reason = p.text(v, key)
		case "author":
			x.author = p.text(v, key)
		case "expires":
			var err error
			if x.expires, err = parseExpiry(p.text(v, key)); err != nil {
				p.errorf(v, key, "%v", err)
			}
		default:
			p.errorf(k, key, "unknown key: want when, reason, author, expires")
		}
	})
	for _, must := range []struct {
		key, how string
		missing  bool
	}{
		{"when", "what the rule is not to match, as a search identifier has it", x.when == nil},
		{"reason", "why, for who comes after you", x.reason == ""},
		{"author", "who says so", x.author == ""},
		{"expires", "the first day on which it no longer holds, such as 2027-01-31", x.expires.IsZero()},
	} {
		if must.missing {
			p.errorf(n, join(path, must.key), "missing: say %s", must.how)
		}
	}
	text, err := yaml.Marshal(n)
	if err == nil {
		sum := sha256.Sum256(text)
		x.hash = hex.EncodeToString(sum[:])
	}
	return x
}

func parseExpiry(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, errors.New("want a day, such as 2027-01-31, or a time, such as 2027-01-31T12:00:00Z")
}

// tune leaves out what is disabled and narrows rules by their exceptions.
func (b *builder) tune(rules []*Rule) []*Rule {
	t := b.opt.Tuning
	if t == nil {
		return rules
	}
	kept := slices.DeleteFunc(slices.Clone(rules), func(r *Rule) bool {
		x := t.rules[r.ID]
		if x == nil {
			return false
		}
		x.used = true
		return x.state == Disabled
	})
	return kept
}

// except narrows the rules over single events by their exceptions, and says
// which entries are about no rule.
func (b *builder) except() {
	t := b.opt.Tuning
	if t == nil {
		return
	}
	for id, x := range t.rules {
		if !x.used {
			b.warnings.add(x.file, x.line, "rules."+id, "there is no rule with this id%s", didYouMean(id, b.allNames()))
			continue
		}
		if len(x.exceptions) == 0 {
			continue
		}
		r := b.named[id]
		if r == nil {
			continue // disabled, or it has errors of its own
		}
		if r.Correlation != nil {
			b.errs.add(x.file, x.line, "rules."+id+".exceptions", "the rule is a correlation: make exceptions of the rules that it counts")
			continue
		}
		c := b.single[r]
		if c == nil {
			continue
		}
		for i, e := range x.exceptions {
			f := &Rule{
				File: x.file, Line: e.line, Hash: e.hash, Filters: []string{id}, LogSource: r.LogSource,
				detections: map[string]*yaml.Node{fmt.Sprintf("exception %d", i+1): e.when},
				conditions: []*condition{{op: "of", name: "them", least: 1}},
				lines:      map[string]int{"filter": e.line},
			}
			b.narrow(c, f, e.expires)
		}
	}
}
