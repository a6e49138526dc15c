package console

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/store/query"
)

// errNoRule says why a query is no rule.
type errNoRule struct{ why string }

func (e errNoRule) Error() string { return e.why }

// sigmaWriter makes of a query's tree the detections of a Sigma rule and the
// condition that joins them.
type sigmaWriter struct {
	detections yaml.Node
	n          int
	left       []string
}

// maxDetections bounds a rule.
const maxDetections = 200

func (w *sigmaWriter) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, l := range w.left {
		if l == text {
			return
		}
	}
	w.left = append(w.left, text)
}

// detection adds one and returns its name.
func (w *sigmaWriter) detection(body *yaml.Node) (string, error) {
	if w.n++; w.n > maxDetections {
		return "", errNoRule{fmt.Sprintf("a rule of more than %d comparisons is a list: use a placeholder", maxDetections)}
	}
	name := "c" + strconv.Itoa(w.n)
	w.detections.Content = append(w.detections.Content, scalar(name), body)
	return name, nil
}

func scalar(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

func mapping(pairs ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: pairs}
}

func (w *sigmaWriter) condition(n query.Node, nested bool) (string, error) {
	join := func(ns []query.Node, op string) (string, error) {
		parts := make([]string, len(ns))
		for i, x := range ns {
			var err error
			if parts[i], err = w.condition(x, true); err != nil {
				return "", err
			}
		}
		text := strings.Join(parts, op)
		if nested && len(parts) > 1 {
			text = "(" + text + ")"
		}
		return text, nil
	}
	switch n := n.(type) {
	case query.And:
		if len(n) == 0 {
			return "", errNoRule{"a rule that matches everything is none"}
		}
		return join(n, " and ")
	case query.Or:
		if len(n) == 0 {
			return "", errNoRule{"a rule that matches nothing is none"}
		}
		return join(n, " or ")
	case query.Not:
		inner, err := w.condition(n.Node, true)
		return "not " + inner, err
	case query.Exists:
		if strings.Contains(n.Field, "*") {
			return "", errNoRule{"a rule names its fields, and " + n.Field + " is a pattern"}
		}
		return w.detection(mapping(scalar(n.Field+"|exists"), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}))
	case query.Text:
		w.note("a bare word is looked for in texts only, not in numbers and addresses")
		return w.detection(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{scalar("*" + n.Pattern + "*")}})
	case query.Compare:
		return w.compare(n)
	}
	return "", errNoRule{"a query for everything is no rule"}
}

func (w *sigmaWriter) compare(n query.Compare) (string, error) {
	if strings.Contains(n.Field, "*") {
		return "", errNoRule{"a rule names its fields, and " + n.Field + " is a pattern"}
	}
	if n.Field == "@timestamp" {
		return "", errNoRule{"a rule looks at what comes, not at a time"}
	}
	text, exact := n.Value.Exact()
	number := func() *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }
	if n.Op != query.Eq {
		if !n.Value.Number() {
			return "", errNoRule{"a rule compares numbers, and " + text + " is none"}
		}
		op := map[query.Op]string{query.Lt: "lt", query.Le: "lte", query.Gt: "gt", query.Ge: "gte"}[n.Op]
		return w.detection(mapping(scalar(n.Field+"|"+op), number()))
	}
	if p, ok := n.Value.Prefix(); ok {
		return w.detection(mapping(scalar(n.Field+"|cidr"), scalar(p.String())))
	}
	switch {
	case exact && n.Value.Number():
		return w.detection(mapping(scalar(n.Field), number()))
	case exact && (text == "true" || text == "false"):
		return w.detection(mapping(scalar(n.Field), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: text}))
	case exact:
		return w.detection(mapping(scalar(n.Field+"|cased"), scalar(escapeSigma.Replace(text))))
	}
	// Wildcards and their escapes are written alike in both languages.
	return w.detection(mapping(scalar(n.Field+"|cased"), scalar(n.Value.Text)))
}

// escapeSigma makes wildcards of Sigma stand for themselves.
var escapeSigma = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)

// sigmaOf writes a query as a Sigma rule, and says what of it the rule says
// otherwise.
func sigmaOf(where query.Node, title, level, author string, at time.Time) (string, []string, error) {
	w := sigmaWriter{detections: yaml.Node{Kind: yaml.MappingNode}, left: []string{}}
	condition, err := w.condition(where, false)
	if err != nil {
		return "", nil, err
	}
	w.detections.Content = append(w.detections.Content, scalar("condition"), scalar(condition))
	sum := sha256.Sum256([]byte(title + "\x00" + query.String(where)))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562: version 8, of our own making
	id := fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	rule := mapping(
		scalar("title"), scalar(title), scalar("id"), scalar(id), scalar("status"), scalar("experimental"),
		scalar("description"), scalar("What the search finds: "+query.String(where)),
		scalar("author"), scalar(author), scalar("date"), &yaml.Node{Kind: yaml.ScalarNode, Value: at.Format(time.DateOnly)},
		scalar("logsource"), mapping(scalar("product"), scalar("tocsin")),
		scalar("detection"), &w.detections, scalar("level"), scalar(level),
	)
	text, err := yaml.Marshal(rule)
	return string(text), w.left, err
}
