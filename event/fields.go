package event

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// FieldType is a field's type in the words of ECS and Elasticsearch.
type FieldType string

// The types that fields have. A field of any type may hold a list of values.
const (
	Keyword FieldType = "keyword"
	IPType  FieldType = "ip"
	Long    FieldType = "long"
	Double  FieldType = "double"
	Boolean FieldType = "boolean"
	Date    FieldType = "date"
	Nested  FieldType = "object" // list of objects, each with the sub-fields documented under its name
)

// DataClass says how carefully a field's values are kept, shown and shared.
type DataClass uint8

// Data classes, from least to most guarded.
const (
	ClassTechnical DataClass = iota // protocol facts, counters, rule names
	ClassTopology                   // who talks to whom: addresses, host names, assets
	ClassProcess                    // industrial process: objects and their values
	ClassPersonal                   // may name or describe a person: user names, mail addresses, URLs
	ClassContent                    // content of communication
)

// String returns the class's name.
func (c DataClass) String() string {
	return [...]string{"technical", "topology", "process", "personal", "content"}[c]
}

// FieldDoc documents one field. Manual, index mapping, rule linter, query
// completion and masking are all made from these, and from nothing else.
type FieldDoc struct {
	Name  string // dotted path: [a-z0-9_] between the dots
	Type  FieldType
	Help  string // one sentence
	Class DataClass
}

// Schema is a set of documented fields. It does not change once made.
type Schema struct {
	docs   []FieldDoc // by name
	byName map[string]int
}

// NewSchema joins the core fields with those of other stages. Two documents of
// one name must be equal; no name may be both a value and a group of others.
func NewSchema(lists ...[]FieldDoc) (*Schema, error) {
	s := &Schema{byName: map[string]int{}}
	for _, list := range append([][]FieldDoc{CoreFields(), AlertFields()}, lists...) {
		for _, d := range list {
			if i, ok := s.byName[d.Name]; ok {
				if s.docs[i] != d {
					return nil, fmt.Errorf("field %s: documented twice, as %v and %v", d.Name, s.docs[i], d)
				}
				continue
			}
			if err := checkName(d.Name); err != nil {
				return nil, err
			}
			s.byName[d.Name] = len(s.docs)
			s.docs = append(s.docs, d)
		}
	}
	slices.SortFunc(s.docs, func(a, b FieldDoc) int { return cmp.Compare(a.Name, b.Name) })
	for i, d := range s.docs {
		s.byName[d.Name] = i
	}
	for _, d := range s.docs {
		for p := d.Name; ; {
			dot := strings.LastIndexByte(p, '.')
			if dot < 0 {
				break
			}
			p = p[:dot]
			if i, ok := s.byName[p]; ok && s.docs[i].Type != Nested {
				return nil, fmt.Errorf("field %s: lies under %s, which is a value", d.Name, p)
			}
		}
	}
	return s, nil
}

func checkName(n string) error {
	if n == "@timestamp" {
		return nil
	}
	for part := range strings.SplitSeq(n, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return fmt.Errorf("field %q: a name is [a-z0-9_] between dots", n)
		}
	}
	return nil
}

// Fields returns all documents, by name. They may not be changed.
func (s *Schema) Fields() []FieldDoc { return s.docs }

// Lookup finds the document of a name.
func (s *Schema) Lookup(name string) (FieldDoc, bool) {
	if i, ok := s.byName[name]; ok {
		return s.docs[i], true
	}
	return FieldDoc{}, false
}

// Ref is a resolved field name: resolve once, look up in every event. The zero
// Ref is found in no event.
type Ref struct {
	name string
	core coreField
}

// Resolve makes a Ref of any name, documented or not.
func Resolve(name string) Ref { return Ref{name: name, core: coreByName[name]} }

// Name returns the field's name.
func (r Ref) Name() string { return r.name }

// Core reports whether r is one of CoreFields, which an event has without
// listing it in Fields.
func (r Ref) Core() bool { return r.core != 0 }

// Lookup returns the value of a field, core or not. It does not allocate,
// except for a list or time zone conversion that the value itself needs.
func (e *Event) Lookup(r Ref) (Value, bool) {
	if r.core != 0 {
		v := e.core(r.core)
		return v, !v.IsZero()
	}
	for i := range e.Fields {
		if e.Fields[i].Name == r.name {
			return e.Fields[i].Value, true
		}
	}
	return Value{}, false
}

// Get looks a field up by name; where a name is used often, use Resolve and Lookup.
func (e *Event) Get(name string) Value {
	v, _ := e.Lookup(Resolve(name))
	return v
}

// All calls yield with every field of e, core fields first, until yield
// returns false.
func (e *Event) All(yield func(name string, v Value) bool) {
	for c := coreField(1); c < numCore; c++ {
		if v := e.core(c); !v.IsZero() && !yield(coreNames[c], v) {
			return
		}
	}
	for i := range e.Fields {
		if !yield(e.Fields[i].Name, e.Fields[i].Value) {
			return
		}
	}
}
