package sigma

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/event"
)

// A template is a message with fields in braces.
type template []templatePart

type templatePart struct {
	text  string
	field *field // nil: text
}

// later are the braces that the alert fills in; see correlator.Rule.Message.
var later = []string{"count", "sources", "targets", "source", "target"}

// template reads a message such as "{source.ip} wrote {ics.objects.value}".
func (c *compiler) template(s string) (template, error) {
	var t template
	for s != "" {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			return append(t, templatePart{text: s}), nil
		}
		end := strings.IndexByte(s[open:], '}')
		if end < 0 {
			return nil, errors.New("a brace is not closed: write a field as {source.ip}")
		}
		name := s[open+1 : open+end]
		if slices.Contains(later, name) {
			t = append(t, templatePart{text: s[:open+end+1]})
		} else {
			f, err := c.resolve(name)
			if err != nil {
				return nil, err
			}
			t = append(t, templatePart{text: s[:open]}, templatePart{field: f})
		}
		s = s[open+end+1:]
	}
	return t, nil
}

func (t template) render(e *event.Event) string {
	var b strings.Builder
	for _, p := range t {
		if p.field == nil {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(p.field.phrase(e))
	}
	return b.String()
}

// phrase is the field's value in a sentence: a long list is cut.
func (f *field) phrase(e *event.Event) string {
	const most = 5
	v, _ := e.Lookup(f.ref)
	var words []string
	n := 0
	f.any(v, func(x event.Value) bool {
		if n++; n <= most {
			words = append(words, x.String())
		}
		return false
	})
	switch {
	case n == 0:
		return "?"
	case n > most:
		words = append(words, fmt.Sprintf("%d more", n-most))
	}
	// A value from the wire cannot ask for the alert's numbers.
	return strings.NewReplacer("{", "(", "}", ")").Replace(strings.Join(words, ", "))
}

// addr returns the first address of the field.
func (f *field) addr(e *event.Event) (a netip.Addr) {
	v, _ := e.Lookup(f.ref)
	f.any(v, func(x event.Value) bool {
		var ok bool
		a, ok = x.IP()
		return ok
	})
	return a
}

// all returns the field's values: one, or a list.
func (f *field) all(e *event.Event) event.Value {
	v, _ := e.Lookup(f.ref)
	if f.path == "" {
		return v
	}
	var vs []event.Value
	f.any(v, func(x event.Value) bool {
		vs = append(vs, x)
		return false
	})
	if len(vs) == 0 {
		return event.Value{}
	}
	return event.List(vs...)
}

// groupKey writes the group of an event: name=value of each field. Strict, an
// event without one of them is of no group; otherwise the field is left out.
func groupKey(fields []groupField, e *event.Event, strict bool) (string, bool) {
	var b []byte
	for _, g := range fields {
		v := g.field.all(e)
		if v.IsZero() {
			if strict {
				return "", false
			}
			continue
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, g.name...)
		b = append(b, '=')
		if text := v.String(); strings.ContainsAny(text, " \"=") {
			b = strconv.AppendQuote(b, text)
		} else {
			b = append(b, text...)
		}
	}
	return string(b), true
}
