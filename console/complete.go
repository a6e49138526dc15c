package console

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

type completeInput struct {
	Text string    `query:"text" maxLength:"8192" doc:"The query as far as it is written"`
	At   int       `query:"at" minimum:"-1" default:"-1" doc:"Where the caret is, in characters; -1: at the end"`
	Set  string    `query:"set" enum:"alerts,events" default:"alerts"`
	From time.Time `query:"from" doc:"Values of this time"`
	To   time.Time `query:"to"`
}

type completion struct {
	From    int              `json:"from" doc:"First character that an item replaces"`
	To      int              `json:"to" doc:"The one behind the last"`
	Items   []completionItem `json:"items" nullable:"false" doc:"The likeliest first"`
	Sampled bool             `json:"sampled" doc:"Counts are those of the latest records, not of all"`
}

type completionItem struct {
	Text  string `json:"text"`
	Kind  string `json:"kind" enum:"field,value,operator"`
	Help  string `json:"help,omitempty"`
	Count uint64 `json:"count,omitempty"`
}

// Bounds of completion: it is asked for at every key.
const (
	maxCompletions = 20
	sampleRecords  = 3000
	sampleTime     = 60 * time.Millisecond
	maxValue       = 200 // bytes of a value that is worth offering
)

var (
	atValue = regexp.MustCompile(`(?:^|[\s(!-])([A-Za-z@_][\w@.*-]*)\s*(?::|==|!=|<=|>=|<|>|=)\s*(?:\(\s*)?("?)([^"\s()]*)$`)
	atField = regexp.MustCompile(`(?:^|[\s(!-])([\w@.*]*)$`)
	begun   = regexp.MustCompile(`(?i)(?:^|\(|\b(?:and|or|not)|&&|\|\||!)\s*$`)
)

func (c *Console) complete(ctx context.Context, in *completeInput) (*body[completion], error) {
	runes := []rune(in.Text)
	at := len(runes)
	if in.At >= 0 {
		at = min(in.At, at)
	}
	before := string(runes[:at])
	out := completion{From: at, To: at, Items: []completionItem{}}
	if strings.Count(before, `"`)%2 == 0 || atValue.MatchString(before) {
		if m := atValue.FindStringSubmatch(before); m != nil {
			out.From = at - utf8.RuneCountInString(m[2]+m[3])
			field := m[1]
			if i := slices.IndexFunc(query.Aliases(), func(a query.Alias) bool { return a.Name == field }); i >= 0 {
				field = query.Aliases()[i].Fields[0]
			}
			items, sampled, err := c.values(ctx, in, field, m[3])
			if err != nil {
				return nil, err
			}
			out.Items, out.Sampled = items, sampled
		} else if m := atField.FindStringSubmatch(before); m != nil {
			out.From = at - utf8.RuneCountInString(m[1])
			out.Items = c.names(m[1], begun.MatchString(strings.TrimSuffix(before, m[1])))
		}
	}
	return &body[completion]{out}, nil
}

// names offers fields, those that begin with a text first, and operators where
// one may stand.
func (c *Console) names(text string, first bool) []completionItem {
	type ranked struct {
		item completionItem
		rank int
	}
	var list []ranked
	low := strings.ToLower(text)
	for _, op := range []string{"and", "or", "not"} {
		if (op == "not") == first && strings.HasPrefix(op, low) {
			list = append(list, ranked{completionItem{Text: op + " ", Kind: "operator"}, 0})
		}
	}
	if first || low != "" {
		for _, d := range c.Schema.Fields() {
			rank := 0
			switch i := strings.Index(d.Name, low); {
			case i < 0:
				continue
			case i == 0:
				rank = 1
			case d.Name[i-1] == '.':
				rank = 2
			default:
				rank = 3
			}
			list = append(list, ranked{completionItem{Text: d.Name + ": ", Kind: "field", Help: d.Help}, rank})
		}
	}
	slices.SortStableFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(strings.Count(a.item.Text, "."), strings.Count(b.item.Text, ".")), cmp.Compare(a.item.Text, b.item.Text))
	})
	return each(list[:min(len(list), maxCompletions)], func(r ranked) completionItem { return r.item })
}

// values offers what a field holds in the latest records, the most frequent
// first: to count all of them would take longer than a person waits for it.
func (c *Console) values(ctx context.Context, in *completeInput, field, text string) ([]completionItem, bool, error) {
	counts := map[string]uint64{}
	for _, v := range fixedValues(field) {
		counts[v] = 0
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	q := store.Query{Set: sets[in.Set], Where: query.Exists{Field: field}, From: in.From, To: in.To, Desc: true, Limit: sampleRecords}
	n := 0
	path := query.ResolvePath(field)
	low := strings.ToLower(text)
	for e, err := range c.Store.Search(ctx, q) {
		if err != nil {
			if ctx.Err() != nil {
				break // what was seen until now
			}
			return nil, false, err
		}
		n++
		path.Values(&e, func(v event.Value) bool {
			if s := v.String(); len(s) <= maxValue && s != "" {
				counts[s]++
			}
			return true
		})
	}
	list := []completionItem{}
	for v, count := range counts {
		if strings.Contains(strings.ToLower(v), low) {
			list = append(list, completionItem{Text: v, Kind: "value", Count: count})
		}
	}
	starts := func(s string) int {
		if strings.HasPrefix(strings.ToLower(s), low) {
			return 0
		}
		return 1
	}
	slices.SortFunc(list, func(a, b completionItem) int {
		return cmp.Or(cmp.Compare(starts(a.Text), starts(b.Text)), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	list = list[:min(len(list), maxCompletions)]
	for i := range list {
		// As it stands in a query: in quotes where it needs them.
		whole := query.String(query.Compare{Field: "x", Value: query.Literal{Text: list[i].Text, Quoted: true}})
		list[i].Text = strings.TrimPrefix(whole, "x: ")
	}
	return list, n == sampleRecords || ctx.Err() != nil, nil
}

// fixedValues are the words that a field may hold.
func fixedValues(field string) []string {
	switch field {
	case "tocsin.alert.status":
		return incident.Statuses
	case "tocsin.alert.verdict":
		return incident.Verdicts
	case levelField:
		return []string{"informational", "low", "medium", "high", "critical"}
	}
	return nil
}
