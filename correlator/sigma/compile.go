package sigma

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/event"
)

// maxTests bounds the tests that one rule compiles to.
const maxTests = 100_000

// compiler makes the tree of one rule.
type compiler struct {
	rule         *Rule
	schema       *event.Schema
	kinds        []event.Kind
	placeholders map[string][]string
	errs         *errorList
	warnings     *errorList
	count        int
	idents       map[string]*node
	guards       map[string]*field // fields without which an event is not looked at
	missing      map[string]bool   // names of fields that were complained of
	absent       bool              // such a field was asked for since this was last set to false
}

func (c *compiler) errorf(n *yaml.Node, path, format string, args ...any) {
	c.errs.add(c.rule.File, n.Line, path, format, args...)
}

// compile makes the tree of a rule over single events; nil after an error.
func (c *compiler) compile() *node {
	before := len(*c.errs)
	c.idents, c.guards, c.missing = map[string]*node{}, map[string]*field{}, map[string]bool{}
	names := slices.Sorted(maps.Keys(c.rule.detections))
	section := "detection"
	if c.rule.Filters != nil {
		section = "filter"
	}
	for _, name := range names {
		if strings.HasPrefix(name, optional) && !c.asks(name, names) {
			c.idents[name] = c.exception(name, section)
			continue
		}
		c.idents[name] = c.identifier(c.rule.detections[name], section+"."+name, 0)
	}
	top := &node{op: opOr}
	for _, cond := range c.rule.conditions {
		n, err := c.condition(cond, names)
		if err != "" {
			c.errs.add(c.rule.File, c.rule.lines[section], section+".condition", "%s", err)
			return nil
		}
		top.kids = append(top.kids, n)
	}
	if len(*c.errs) > before {
		return nil
	}
	if len(c.guards) > 0 {
		all := &node{op: opAnd}
		for _, name := range slices.Sorted(maps.Keys(c.guards)) {
			t := &test{field: c.guards[name], kind: isThere, want: true}
			t.label = t.describe()
			all.kids = append(all.kids, &node{op: opTest, test: t})
		}
		top = &node{op: opAnd, kids: append([]*node{flat(top)}, all.kids...)}
	}
	return flat(top)
}

// optional is how SigmaHQ begins the names of exceptions that are not needed
// where they do not apply.
const optional = "filter_optional"

// exception compiles an optional exception. One that asks for a field that no
// event carries is left out, with a warning: it could not keep the rule from
// firing.
func (c *compiler) exception(name, section string) *node {
	keep, known := *c.errs, maps.Clone(c.missing)
	mark := len(keep)
	c.absent = false
	n := c.identifier(c.rule.detections[name], section+"."+name, 0)
	if n != nil && len(*c.errs) == mark || !c.absent {
		return n
	}
	for _, e := range (*c.errs)[mark:] {
		c.warnings.add(e.File, e.Line, e.Key, "this exception is left out, so the rule may fire more often: %s", e.Msg)
	}
	*c.errs, c.missing = keep, known
	return &node{op: opOr}
}

// asks reports whether a condition demands a search identifier, rather than
// only excluding it.
func (c *compiler) asks(name string, names []string) bool {
	var asks func(cond *condition, negative bool) bool
	asks = func(cond *condition, negative bool) bool {
		switch cond.op {
		case "name":
			return !negative && cond.name == name
		case "of":
			return !negative && slices.Contains(cond.names(names), name)
		}
		for _, k := range cond.kids {
			if asks(k, negative != (cond.op == "not")) {
				return true
			}
		}
		return false
	}
	return slices.ContainsFunc(c.rule.conditions, func(cond *condition) bool { return asks(cond, false) })
}

// identifier compiles what is under one search identifier.
func (c *compiler) identifier(n *yaml.Node, path string, depth int) *node {
	if depth > maxDepth {
		c.errorf(n, path, "nested deeper than %d", maxDepth)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		if len(n.Content) == 0 {
			c.errorf(n, path, "empty: every event would match")
			return nil
		}
		all := &node{op: opAnd}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			where := path + "." + key.Value
			if seen[key.Value] {
				c.errorf(key, where, "given twice; to ask one field for several things, use the modifier all or two search identifiers")
				continue
			}
			seen[key.Value] = true
			if kid := c.compileField(key, n.Content[i+1], where); kid != nil {
				c.grow(kid, key, where)
				all.kids = append(all.kids, kid)
			}
		}
		return flat(all)
	case yaml.SequenceNode:
		if len(n.Content) == 0 {
			c.errorf(n, path, "the list is empty: no event can match")
			return nil
		}
		any := &node{op: opOr}
		for _, x := range n.Content {
			if kid := c.identifier(x, path, depth+1); kid != nil {
				any.kids = append(any.kids, kid)
			}
		}
		return flat(any)
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			c.errorf(n, path, "empty: add fields and values, or a list of keywords")
			return nil
		}
		kid := c.compileField(&yaml.Node{Kind: yaml.ScalarNode, Line: n.Line}, n, path)
		if kid != nil {
			c.grow(kid, n, path)
		}
		return kid
	}
	c.errorf(n, path, "YAML aliases are not allowed in rules: write the value out")
	return nil
}

func (c *compiler) grow(n *node, at *yaml.Node, path string) {
	before := c.count
	c.count += len(n.kids) + 1
	if before <= maxTests && c.count > maxTests {
		c.errorf(at, path, "the rule makes more than %d comparisons: divide it", maxTests)
	}
}

// condition makes the tree of a condition; an error is text.
func (c *compiler) condition(cond *condition, names []string) (*node, string) {
	lookup := func(name string) (*node, string) {
		n, ok := c.idents[name]
		switch {
		case !ok:
			return nil, "there is no search identifier " + name + didYouMean(name, names)
		case n == nil: // its own error is reported
			return &node{op: opAnd}, ""
		}
		return n, ""
	}
	switch cond.op {
	case "name":
		return lookup(cond.name)
	case "of":
		matching := cond.names(names)
		if len(matching) == 0 {
			return nil, "no search identifier is like " + cond.name + didYouMean(strings.Trim(cond.name, "*"), names)
		}
		if c.count += len(matching); c.count > maxTests {
			return nil, fmt.Sprintf("makes more than %d comparisons", maxTests)
		}
		n := &node{op: opLeast, least: cond.least}
		for _, name := range matching {
			kid, _ := lookup(name)
			n.kids = append(n.kids, kid)
		}
		switch {
		case n.least == -1 || n.least == len(n.kids):
			n.op = opAnd
		case n.least == 1:
			n.op = opOr
		case n.least > len(n.kids):
			return nil, "asks for more search identifiers like " + cond.name + " than there are"
		}
		return flat(n), ""
	}
	n := &node{op: map[string]nodeOp{"and": opAnd, "or": opOr, "not": opNot}[cond.op]}
	for _, k := range cond.kids {
		kid, err := c.condition(k, names)
		if err != "" {
			return nil, err
		}
		n.kids = append(n.kids, kid)
	}
	return flat(n), ""
}
