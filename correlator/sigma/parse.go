package sigma

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the size of a rule file.
const maxFile = 1 << 20

// Rule is one document of a rule file: a rule over single events, or a
// correlation of other rules.
type Rule struct {
	File string
	Line int    // of the document
	Hash string // SHA-256 of the file, hexadecimal

	ID, Name, Title     string
	Status, Level       string
	Description, Author string
	Date, Modified      string
	Tags, References    []string
	FalsePositives      []string
	LogSource           LogSource
	Correlation         *Correlation  // nil for a rule over single events
	Filters             []string      // of a filter, the names or ids of the rules that it narrows; nil for a rule
	Message             string        // tocsin.message
	GroupBy             []string      // tocsin.group-by
	Source, Target      string        // tocsin.source, tocsin.target: fields with the addresses
	Bucket              time.Duration // tocsin.bucket

	tocsin     map[string]*yaml.Node
	detections map[string]*yaml.Node
	conditions []*condition
	lines      map[string]int
}

// LogSource says which events a rule is about.
type LogSource struct{ Product, Category, Service string }

// String joins what is given, as "product: tocsin, service: modbus".
func (l LogSource) String() string {
	var parts []string
	for _, p := range [][2]string{{"product", l.Product}, {"category", l.Category}, {"service", l.Service}} {
		if p[1] != "" {
			parts = append(parts, p[0]+": "+p[1])
		}
	}
	return strings.Join(parts, ", ")
}

// Correlation is the correlation section of a rule.
type Correlation struct {
	Type     string   // one of correlationTypes; value_median is read as a percentile of 50
	Rules    []string // names or IDs
	GroupBy  []string
	Span     time.Duration
	Aliases  map[string]map[string]string // alias → rule → field
	Generate bool
	Field    []string // of the condition
	Percent  float64  // of value_percentile; 0: the share of the value itself, in percent
	Limits   []Limit
}

// Limit is a criterion of a correlation's condition.
type Limit struct {
	Op string // gt, gte, lt, lte, eq, neq
	N  float64
}

// Parse reads the documents of one rule file. Rules with errors are left out.
func Parse(file string, data []byte) ([]*Rule, []*Error) {
	var errs errorList
	if len(data) > maxFile {
		errs.add(file, 0, "", "larger than %d bytes", maxFile)
		return nil, errs
	}
	sum := sha256.Sum256(data)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var rules []*Rule
	collection := collection{}
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, msg := yamlError(err)
			errs.add(file, line, "", "%s", msg)
			break
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue // an empty document between two lines of ---
		}
		p := &ruleParser{errs: &errs, rule: &Rule{
			File: file, Line: doc.Content[0].Line, Hash: hex.EncodeToString(sum[:]),
			detections: map[string]*yaml.Node{}, lines: map[string]int{}, tocsin: map[string]*yaml.Node{},
		}}
		before := len(errs)
		root := collection.next(p, doc.Content[0])
		if root == nil {
			continue
		}
		p.document(root)
		if len(errs) > before {
			continue
		}
		collection.name(p.rule)
		rules = append(rules, p.rule)
		if p.aggregation != nil {
			rules = append(rules, p.aggregation.correlation(p.rule))
		}
	}
	if len(rules) == 0 && len(errs) == 0 {
		errs.add(file, 1, "", "the file holds no rule")
	}
	return rules, errs.sorted()
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

func yamlError(err error) (int, string) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := yamlLine.FindStringSubmatchIndex(msg); m != nil {
		line, _ = strconv.Atoi(msg[m[2]:m[3]])
		msg = msg[:m[0]] + msg[m[1]:]
	}
	return line, "no valid YAML: " + msg
}

type ruleParser struct {
	rule        *Rule
	errs        *errorList
	aggregation *aggregation // of Sigma 1, behind a | in the condition
}

func (p *ruleParser) errorf(n *yaml.Node, key, format string, args ...any) {
	p.errs.add(p.rule.File, n.Line, key, format, args...)
}

var topKeys = []string{
	"title", "id", "related", "name", "taxonomy", "status", "description", "license", "author", "references",
	"reference", "date", "modified", "logsource", "detection", "correlation", "fields", "falsepositives", "level",
	"tags", "scope", "generate", "filter", "action", "tocsin",
}

var levels = []string{"informational", "low", "medium", "high", "critical"}
var statuses = []string{"stable", "test", "experimental", "deprecated", "unsupported"}

func (p *ruleParser) document(n *yaml.Node) {
	r := p.rule
	var detection, correlation, filter, logsource, generate *yaml.Node
	p.mapping(n, "", func(key *yaml.Node, v *yaml.Node) {
		r.lines[key.Value] = key.Line
		switch k := key.Value; k {
		case "title":
			r.Title = p.text(v, k)
		case "id":
			r.ID = p.text(v, k)
		case "name":
			r.Name = p.text(v, k)
		case "status":
			r.Status = p.oneOf(v, k, statuses)
		case "level":
			r.Level = p.oneOf(v, k, levels)
		case "description":
			r.Description = p.text(v, k)
		case "author":
			r.Author = p.text(v, k)
		case "date":
			r.Date = p.text(v, k)
		case "modified":
			r.Modified = p.text(v, k)
		case "taxonomy", "license":
			p.text(v, k)
		case "tags":
			r.Tags = p.texts(v, k)
		case "references", "reference":
			r.References = p.texts(v, k)
		case "falsepositives":
			r.FalsePositives = p.texts(v, k)
		case "fields", "scope":
			p.texts(v, k)
		case "related":
			p.related(v)
		case "logsource":
			logsource = v
			p.logsource(v)
		case "detection":
			detection = v
		case "correlation":
			correlation = v
		case "generate":
			generate = v
		case "tocsin":
			p.custom(v)
		case "filter":
			filter = v
		default:
			p.errorf(key, k, "unknown key%s; Tocsin's own keys belong under tocsin:", didYouMean(k, topKeys))
		}
	})
	if r.Title == "" {
		p.errorf(n, "title", "missing: say in a few words what the rule finds")
	}
	switch {
	case filter != nil && (detection != nil || correlation != nil):
		p.errorf(filter, "filter", "a filter is a document of its own: put it behind a line of ---")
	case filter != nil:
		p.filter(filter)
	case detection != nil && correlation != nil:
		p.errorf(n, "correlation", "a rule has either detection or correlation: make two documents of it")
	case correlation != nil:
		if logsource != nil {
			p.errorf(logsource, "logsource", "a correlation takes its events from its rules: remove it")
		}
		p.correlation(correlation)
		if generate != nil {
			r.Correlation.Generate = p.boolean(generate, "generate")
		}
	case detection != nil:
		if logsource == nil {
			p.errorf(n, "logsource", "missing: say which events the rule is about, for example product: tocsin, service: modbus")
		}
		if generate != nil {
			p.errorf(generate, "generate", "belongs to a correlation")
		}
		p.detection(detection)
	default:
		p.errorf(n, "detection", "missing: a rule has a detection or a correlation")
	}
}

// mapping calls f for each key of a mapping, once.
func (p *ruleParser) mapping(n *yaml.Node, path string, f func(key, v *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.errorf(n, path, "want key: value, have %s", kindOf(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			p.errorf(k, path, "a key must be text")
		case k.Tag == "!!merge" || v.Kind == yaml.AliasNode:
			p.errorf(k, path, "YAML aliases are not allowed in rules: write the value out")
		case seen[k.Value]:
			p.errorf(k, join(path, k.Value), "given twice")
		default:
			seen[k.Value] = true
			f(k, v)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

func (p *ruleParser) text(n *yaml.Node, key string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.errorf(n, key, "want text, have %s", kindOf(n))
		return ""
	}
	return n.Value
}

func (p *ruleParser) texts(n *yaml.Node, key string) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{p.text(n, key)}
	}
	if n.Kind != yaml.SequenceNode {
		p.errorf(n, key, "want a list, have %s", kindOf(n))
		return nil
	}
	var out []string
	for _, x := range n.Content {
		out = append(out, p.text(x, key))
	}
	return out
}

func (p *ruleParser) boolean(n *yaml.Node, key string) bool {
	b, err := strconv.ParseBool(strings.ToLower(n.Value))
	if err != nil || n.Kind != yaml.ScalarNode {
		p.errorf(n, key, "want true or false, have %s", kindOf(n))
	}
	return b
}

func (p *ruleParser) oneOf(n *yaml.Node, key string, words []string) string {
	w := p.text(n, key)
	if w != "" && !slices.Contains(words, w) {
		p.errorf(n, key, "%q is none of %s", w, strings.Join(words, ", "))
	}
	return w
}

func (p *ruleParser) related(n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		p.errorf(n, "related", "want a list, have %s", kindOf(n))
		return
	}
	for _, x := range n.Content {
		p.mapping(x, "related", func(k, v *yaml.Node) {
			switch k.Value {
			case "id":
				p.text(v, "related.id")
			case "type":
				p.oneOf(v, "related.type", []string{"derived", "obsolete", "obsoletes", "merged", "renamed", "similar", "correlation"})
			default:
				p.errorf(k, join("related", k.Value), "unknown key: want id and type")
			}
		})
	}
}

func (p *ruleParser) logsource(n *yaml.Node) {
	p.mapping(n, "logsource", func(k, v *yaml.Node) {
		text := p.text(v, join("logsource", k.Value))
		switch k.Value {
		case "product":
			p.rule.LogSource.Product = strings.ToLower(text)
		case "category":
			p.rule.LogSource.Category = strings.ToLower(text)
		case "service":
			p.rule.LogSource.Service = strings.ToLower(text)
		case "definition":
		default:
			p.errorf(k, join("logsource", k.Value), "unknown key: want product, category, service, definition")
		}
	})
}

func (p *ruleParser) custom(n *yaml.Node) {
	r := p.rule
	p.mapping(n, "tocsin", func(k, v *yaml.Node) {
		key := join("tocsin", k.Value)
		r.tocsin[k.Value] = v
		switch k.Value {
		case "message":
			r.Message = p.text(v, key)
		case "group-by":
			r.GroupBy = p.texts(v, key)
		case "source":
			r.Source = p.text(v, key)
		case "target":
			r.Target = p.text(v, key)
		case "bucket":
			r.Bucket = p.span(v, key)
		default:
			p.errorf(k, key, "unknown key%s", didYouMean(k.Value, []string{"message", "group-by", "source", "target", "bucket"}))
		}
	})
}

func (p *ruleParser) detection(n *yaml.Node) {
	r := p.rule
	var timeframe *yaml.Node
	p.mapping(n, "detection", func(k, v *yaml.Node) {
		switch k.Value {
		case "condition":
			list := []*yaml.Node{v}
			if v.Kind == yaml.SequenceNode {
				list = v.Content
			}
			for _, x := range list {
				text := p.text(x, "detection.condition")
				if before, behind, ok := strings.Cut(text, "|"); ok {
					text = before
					p.aggregate(x, behind, len(list))
				}
				p.condition(x, "detection.condition", text)
			}
		case "timeframe":
			timeframe = v
		default:
			r.detections[k.Value] = v
		}
	})
	if len(r.detections) == 0 {
		p.errorf(n, "detection", "no search identifier: add for example selection: with fields and values")
	}
	if len(r.conditions) == 0 && !slices.ContainsFunc(*p.errs, func(e *Error) bool { return e.Key == "detection.condition" }) {
		p.errorf(n, "detection.condition", "missing: say how the search identifiers are combined, for example condition: selection")
	}
	switch a := p.aggregation; {
	case a == nil && timeframe != nil && len(r.conditions) > 0:
		p.errorf(timeframe, "detection.timeframe", "nothing is counted: remove it, or write a correlation rule with timespan: %s", timeframe.Value)
	case a != nil && timeframe == nil:
		p.errorf(n, "detection.timeframe", "missing: say within which time %s is judged, for example timeframe: 10m", a.text)
	case a != nil:
		a.span = p.span(timeframe, "detection.timeframe")
	}
}

func (p *ruleParser) condition(n *yaml.Node, key, text string) {
	c, err := parseCondition(text)
	if err != nil {
		p.errorf(n, key, "%v", err)
		return
	}
	p.rule.conditions = append(p.rule.conditions, c)
}

// filter reads the filter section of a filter: which rules it narrows, and the
// events that they are not to match.
func (p *ruleParser) filter(n *yaml.Node) {
	r := p.rule
	p.mapping(n, "filter", func(k, v *yaml.Node) {
		switch k.Value {
		case "rules":
			r.lines["filter.rules"] = k.Line
			r.Filters = p.texts(v, "filter.rules")
		case "condition":
			p.condition(v, "filter.condition", p.text(v, "filter.condition"))
		default:
			r.detections[k.Value] = v
		}
	})
	if len(r.Filters) == 0 {
		p.errorf(n, "filter.rules", "missing: want the names or ids of the rules that it narrows, or any")
	}
	if len(r.detections) == 0 {
		p.errorf(n, "filter", "no search identifier: add for example selection: with fields and values")
	}
	if len(r.conditions) == 0 && !slices.ContainsFunc(*p.errs, func(e *Error) bool { return e.Key == "filter.condition" }) {
		p.errorf(n, "filter.condition", "missing: say which events the rules are not to match, for example condition: selection")
	}
}

var correlationTypes = []string{"event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg", "value_percentile", "value_median"}

func (p *ruleParser) correlation(n *yaml.Node) {
	c := &Correlation{Aliases: map[string]map[string]string{}}
	p.rule.Correlation = c
	seen := map[string]bool{}
	p.mapping(n, "correlation", func(k, v *yaml.Node) {
		key := join("correlation", k.Value)
		seen[k.Value] = true
		p.rule.lines[key] = k.Line
		switch k.Value {
		case "type":
			c.Type = p.oneOf(v, key, correlationTypes)
		case "rules":
			c.Rules = p.texts(v, key)
		case "group-by":
			c.GroupBy = p.texts(v, key)
		case "timespan", "timeframe":
			c.Span = p.span(v, key)
			seen["timespan"] = true
		case "generate":
			c.Generate = p.boolean(v, key)
		case "aliases":
			p.mapping(v, key, func(alias, rules *yaml.Node) {
				c.Aliases[alias.Value] = map[string]string{}
				p.mapping(rules, join(key, alias.Value), func(rule, field *yaml.Node) {
					c.Aliases[alias.Value][rule.Value] = p.text(field, join(join(key, alias.Value), rule.Value))
				})
			})
		case "condition":
			p.limits(v, c)
		default:
			p.errorf(k, key, "unknown key%s", didYouMean(k.Value, []string{"type", "rules", "group-by", "timespan", "generate", "aliases", "condition"}))
		}
	})
	for _, must := range []struct{ key, how string }{
		{"type", "one of " + strings.Join(correlationTypes, ", ")},
		{"rules", "the names or ids of the rules whose events it looks at"},
		{"timespan", "how close events must be, for example 10m"},
	} {
		if !seen[must.key] {
			p.errorf(n, join("correlation", must.key), "missing: want %s", must.how)
		}
	}
	temporal := strings.HasPrefix(c.Type, "temporal")
	switch {
	case temporal && c.Type == "temporal_ordered" && len(c.Limits) > 0:
		p.errorf(n, "correlation.condition", "temporal_ordered needs all of its rules: remove the condition")
	case temporal && len(c.Field) > 0:
		p.errorf(n, "correlation.condition.field", "does not belong to %s", c.Type)
	case temporal && len(c.Rules) < 2:
		p.errorf(n, "correlation.rules", "%s wants two rules or more", c.Type)
	case temporal || c.Type == "":
	case len(c.Limits) == 0:
		p.errorf(n, "correlation.condition", "missing: for example gte: 10")
	case strings.HasPrefix(c.Type, "value_") && len(c.Field) == 0:
		p.errorf(n, "correlation.condition.field", "missing: say the field whose values count")
	case c.Type != "value_count" && len(c.Field) > 1:
		p.errorf(n, "correlation.condition.field", "%s wants one field", c.Type)
	case c.Type != "value_percentile" && c.Percent != 0:
		p.errorf(n, "correlation.condition.percentile", "does not belong to %s", c.Type)
	case c.Type == "event_count" && len(c.Field) > 0:
		p.errorf(n, "correlation.condition.field", "event_count counts events: use value_count to count values")
	}
}

func (p *ruleParser) limits(n *yaml.Node, c *Correlation) {
	p.mapping(n, "correlation.condition", func(k, v *yaml.Node) {
		key := join("correlation.condition", k.Value)
		switch k.Value {
		case "field":
			c.Field = p.texts(v, key)
		case "gt", "gte", "lt", "lte", "eq", "neq", "percentile":
			x, err := strconv.ParseFloat(v.Value, 64)
			if err != nil {
				p.errorf(v, key, "want a number, have %s", kindOf(v))
				return
			}
			if k.Value != "percentile" {
				c.Limits = append(c.Limits, Limit{k.Value, x})
			} else if c.Percent = x; !(x > 0 && x <= 100) {
				p.errorf(v, key, "want more than 0 and at most 100")
			}
		default:
			p.errorf(k, key, "unknown key: want gt, gte, lt, lte, eq, neq, field, percentile")
		}
	})
}

// maxSpan bounds timespans and buckets: what a rule remembers is in memory.
const maxSpan = 31 * 24 * time.Hour

func (p *ruleParser) span(n *yaml.Node, key string) time.Duration {
	d, err := parseSpan(n.Value)
	if err != nil {
		p.errorf(n, key, "%v", err)
	}
	return d
}

func parseSpan(s string) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	if len(s) < 2 || units[s[len(s)-1]] == 0 {
		return 0, fmt.Errorf("%q is no timespan: write a number and s, m, h or d, such as 90m", s)
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no timespan: write a number and s, m, h or d, such as 90m", s)
	}
	d := units[s[len(s)-1]]
	if time.Duration(n) > maxSpan/d {
		return 0, fmt.Errorf("%q is longer than 31d, the most that is kept in memory", s)
	}
	return time.Duration(n) * d, nil
}
