package sigma

import (
	_ "embed" // the tables below
	"fmt"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
)

//go:embed logsources.tsv
var logSourceTable string

//go:embed fields.tsv
var fieldTable string

// rows returns the lines of a table that are not comments.
func rows(table string) (out [][]string) {
	for line := range strings.Lines(table) {
		if line = strings.TrimRight(line, "\n"); line != "" && line[0] != '#' {
			out = append(out, strings.Split(line, "\t"))
		}
	}
	return out
}

// logSources maps log sources to the kinds of events that they mean; nil is
// every kind.
var logSources = func() map[LogSource][]event.Kind {
	m := map[LogSource][]event.Kind{}
	word := func(s string) string { return strings.TrimPrefix(s, "-") }
	for _, r := range rows(logSourceTable) {
		var kinds []event.Kind
		if r[3] != "*" {
			for k := range strings.SplitSeq(r[3], ",") {
				kinds = append(kinds, event.Kind(k))
			}
		}
		m[LogSource{word(r[0]), word(r[1]), word(r[2])}] = kinds
	}
	return m
}()

// A translation is what a foreign name means in events of one kind.
type translation struct {
	ours    []string            // the first that the schema has
	values  map[string][]string // where values have other words, too: theirs in lower case → ours
	guarded bool                // an event without the field says nothing about it
	never   string              // why no event has it
}

// foreign maps a kind and a foreign name to ours.
var foreign = func() map[[2]string]translation {
	m := map[[2]string]translation{}
	for _, r := range rows(fieldTable) {
		var t translation
		if why, ok := strings.CutPrefix(r[2], "never: "); ok {
			t.never = why
		} else {
			names, guarded := strings.CutSuffix(r[2], "!")
			t.ours, t.guarded = strings.Split(names, "|"), guarded
		}
		if len(r) > 3 {
			t.values = map[string][]string{}
			for pair := range strings.SplitSeq(r[3], ";") {
				theirs, ours, _ := strings.Cut(pair, "=")
				for word := range strings.SplitSeq(theirs, ",") {
					t.values[word] = strings.Split(ours, ",")
				}
			}
		}
		m[[2]string{r[0], r[1]}] = t
	}
	return m
}()

// kinds says which events a log source means.
func (l LogSource) kinds(known []event.Kind) ([]event.Kind, error) {
	if kinds, ok := logSources[l]; ok {
		for _, k := range kinds {
			if len(known) > 0 && !slices.Contains(known, k) {
				return nil, fmt.Errorf("%s means events of kind %s, which no sensor makes", l, k)
			}
		}
		return kinds, nil
	}
	if l.Product == "tocsin" && l.Category == "" {
		if len(known) == 0 || slices.Contains(known, event.Kind(l.Service)) {
			return []event.Kind{event.Kind(l.Service)}, nil
		}
		names := make([]string, len(known))
		for i, k := range known {
			names[i] = string(k)
		}
		return nil, fmt.Errorf("no sensor makes events of kind %s%s", l.Service, didYouMean(l.Service, names))
	}
	if l == (LogSource{}) {
		return nil, fmt.Errorf("want product, category or service, for example product: tocsin, service: dns")
	}
	if l.Product == "zeek" {
		var logs []string
		for k := range logSources {
			if k.Product == "zeek" {
				logs = append(logs, k.Service)
			}
		}
		slices.Sort(logs)
		return nil, fmt.Errorf("no event is made of Zeek's log %q; there are %s", l.Service, strings.Join(logs, ", "))
	}
	if _, ok := logSources[LogSource{Category: l.Product}]; ok && l.Product != "" && l.Category == "" {
		return nil, fmt.Errorf("no event comes from %s; did you mean category: %s?", l, l.Product)
	}
	return nil, fmt.Errorf("no event comes from %s, which is what a device or a host writes about itself and no packet carries; network traffic is product: tocsin with the protocol as service, zeek's and suricata's logs of it, and the categories dns, proxy, webserver, firewall and network_connection", l)
}

// always stands for what is true of every event.
var always = &field{name: "=true"}

// resolve finds the field that a rule means by a name.
func (c *compiler) resolve(name string) (*field, error) {
	fs, err := c.resolveAny(name)
	if err != nil {
		return nil, err
	}
	if fs[0] == always {
		return nil, fmt.Errorf("%s is not a field of our events: it is true of all of them", name)
	}
	return fs[0], nil
}

// resolveAny finds the fields any of which a rule means by a name: one or more.
func (c *compiler) resolveAny(name string) ([]*field, error) {
	if f := c.known(name); f != nil {
		return []*field{f}, nil
	}
	var missing, never string
	for _, kind := range append(slices.Clone(c.kinds), "*") {
		means := foreign[[2]string{string(kind), name}]
		if never == "" {
			never = means.never
		}
		for _, choice := range means.ours {
			if choice == always.name {
				return []*field{always}, nil
			}
			var fs []*field
			for ours := range strings.SplitSeq(choice, "+") {
				if f := c.known(ours); f != nil {
					f.values = means.values
					if means.guarded {
						c.guards[f.name] = f
					}
					fs = append(fs, f)
				}
			}
			if len(fs) > 0 {
				return fs, nil
			}
			if missing == "" {
				missing = choice
			}
		}
	}
	if never != "" {
		return nil, fmt.Errorf("no event carries %s: %s", name, never)
	}
	if missing != "" {
		return nil, fmt.Errorf("no event carries %s, which is our %s", name, missing)
	}
	names := make([]string, 0, len(c.schema.Fields()))
	for _, d := range c.schema.Fields() {
		names = append(names, d.Name)
	}
	return nil, fmt.Errorf("no event carries %s%s", name, didYouMean(name, names))
}

// known returns a documented field.
func (c *compiler) known(name string) *field {
	doc, ok := c.schema.Lookup(name)
	if !ok {
		return nil
	}
	f := &field{name: name, doc: doc, ref: event.Resolve(name)}
	// A name below a list of objects is looked for in each of them.
	for i := len(name) - 1; i > 0; i-- {
		if name[i] != '.' {
			continue
		}
		if group, ok := c.schema.Lookup(name[:i]); ok && group.Type == event.Nested {
			f.ref, f.path = event.Resolve(name[:i]), name[i+1:]
		}
	}
	return f
}
