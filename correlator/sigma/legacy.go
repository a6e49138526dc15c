package sigma

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// What Sigma 1 had and Sigma 2 has no longer, read as what Sigma 2 has instead:
// collections of rules with an action, and aggregation in a condition.

// A collection is a file of Sigma 1 whose documents share what those with an
// action say.
type collection struct {
	global   *yaml.Node     // joined into every document that follows
	previous *yaml.Node     // what action: repeat varies
	ids      map[string]int // how many rules of the collection have an id already
	names    map[string]int
}

// next returns the document with what it shares with others, nil if it only says
// what is shared.
func (c *collection) next(p *ruleParser, n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return n
	}
	own := *n
	own.Content = nil
	var action *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "action" {
			action = n.Content[i+1]
			continue
		}
		own.Content = append(own.Content, n.Content[i], n.Content[i+1])
	}
	switch {
	case action == nil:
		if c.global != nil {
			own = *joined(c.global, &own)
		}
		c.previous = &own
		return &own
	case action.Value == "global":
		c.global = &own
		c.ids, c.names = map[string]int{}, map[string]int{}
		return nil
	case action.Value == "reset":
		c.global, c.ids, c.names = nil, nil, nil
		if len(own.Content) == 0 {
			return nil
		}
		c.previous = &own
		return &own
	case action.Value == "repeat" && c.previous != nil:
		if c.ids == nil {
			c.ids, c.names = map[string]int{}, map[string]int{}
			for _, x := range []struct {
				key  string
				seen map[string]int
			}{{"id", c.ids}, {"name", c.names}} {
				if v := valueOf(c.previous, x.key); v != nil {
					x.seen[v.Value] = 1
				}
			}
		}
		c.previous = joined(c.previous, &own)
		return c.previous
	case action.Value == "repeat":
		p.errorf(action, "action", "there is no rule before it to repeat")
	default:
		p.errorf(action, "action", "%q is none of global, reset, repeat", action.Value)
	}
	return nil
}

// name tells rules of a collection apart that share an id: the second is id-2.
func (c *collection) name(r *Rule) {
	if c.ids == nil {
		return
	}
	for _, x := range []struct {
		at   *string
		seen map[string]int
	}{{&r.ID, c.ids}, {&r.Name, c.names}} {
		if *x.at == "" {
			continue
		}
		if x.seen[*x.at]++; x.seen[*x.at] > 1 {
			*x.at += "-" + strconv.Itoa(x.seen[*x.at])
		}
	}
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// joined returns a mapping with what both say; where both do, mappings are
// joined and anything else is as the second has it.
func joined(a, b *yaml.Node) *yaml.Node {
	out := *b
	out.Content = slices.Clone(b.Content)
	for i := 0; i+1 < len(a.Content); i += 2 {
		key, mine := a.Content[i], a.Content[i+1]
		at := slices.IndexFunc(out.Content, func(n *yaml.Node) bool { return n == valueOf(&out, key.Value) })
		switch {
		case at < 0:
			out.Content = append(out.Content, key, mine)
		case mine.Kind == yaml.MappingNode && out.Content[at].Kind == yaml.MappingNode:
			out.Content[at] = joined(mine, out.Content[at])
		}
	}
	return &out
}

// An aggregation is what a condition of Sigma 1 counts or adds up.
type aggregation struct {
	text  string
	kind  string // of the correlation that means the same
	field string
	by    []string
	limit Limit
	span  time.Duration
	line  int
}

var aggregationForm = regexp.MustCompile(`^(\w+)\s*\(\s*([\w.@()-]*?)\s*\)(?:\s+by\s+([\w.@, -]+?))?\s*(>=|<=|==|!=|>|<|=)\s*(-?\d+(?:\.\d+)?)$`)

// aggregate reads what stands behind the | of a condition.
func (p *ruleParser) aggregate(n *yaml.Node, text string, conditions int) {
	text = strings.TrimSpace(text)
	if conditions > 1 {
		p.errorf(n, "detection.condition", "of several conditions none can count: make a rule of each")
		return
	}
	if word, _, _ := strings.Cut(text, " "); word == "near" {
		p.errorf(n, "detection.condition", "near is no longer Sigma: make a rule of each side and a correlation of type temporal over them")
		return
	}
	m := aggregationForm.FindStringSubmatch(text)
	if m == nil {
		p.errorf(n, "detection.condition", "%q is no aggregation: want count(field) by field > number, or a correlation rule instead", text)
		return
	}
	a := &aggregation{text: text, field: m[2], line: n.Line}
	a.kind = map[string]string{"count": "event_count", "sum": "value_sum", "avg": "value_avg"}[m[1]]
	switch {
	case a.kind == "":
		p.errorf(n, "detection.condition", "%s(…) cannot be aggregated: there are count, sum and avg; a percentile or median needs a correlation rule", m[1])
		return
	case m[1] == "count" && a.field != "":
		a.kind = "value_count"
	case m[1] != "count" && a.field == "":
		p.errorf(n, "detection.condition", "%s() wants a field", m[1])
		return
	}
	for by := range strings.SplitSeq(m[3], ",") {
		if by = strings.TrimSpace(by); by != "" {
			a.by = append(a.by, by)
		}
	}
	a.limit.Op = map[string]string{">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "eq", "==": "eq", "!=": "neq"}[m[4]]
	a.limit.N, _ = strconv.ParseFloat(m[5], 64) // the form has only numbers
	p.aggregation = a
}

// correlation makes the rule that judges the aggregation, which takes the id
// and everything that an alert shows; the rule over single events keeps the rest.
func (a *aggregation) correlation(events *Rule) *Rule {
	c := *events
	c.ID = cmp.Or(events.ID, generatedID(events))
	c.Correlation = &Correlation{
		Type: a.kind, GroupBy: a.by, Span: a.span, Limits: []Limit{a.limit}, Rules: []string{c.ID + "-events"},
	}
	if a.field != "" {
		c.Correlation.Field = []string{a.field}
	}
	c.detections, c.conditions, c.LogSource = nil, nil, LogSource{}
	c.lines = map[string]int{"tags": events.lines["tags"], "correlation": a.line}
	for _, key := range []string{"rules", "group-by", "condition"} {
		c.lines["correlation."+key] = a.line
	}
	events.ID, events.Name, events.Title = c.ID+"-events", "", events.Title+", events"
	events.Tags, events.Message, events.GroupBy, events.Source, events.Target, events.Bucket = nil, "", nil, "", "", 0
	events.tocsin = map[string]*yaml.Node{}
	return &c
}

// generatedID is the id of a rule that has none: the text says which rule it
// is, as long as it is the same text.
func generatedID(r *Rule) string { return fmt.Sprintf("sigma-%s-%d", r.Hash[:16], r.Line) }
