package ics

import (
	"strings"

	"github.com/tocsin/tocsin/event"
)

// Of what a flow remembers, so that a write can say what was there before.
// Objects beyond are not remembered.
const (
	maxValues    = 1024
	maxKey       = 128
	maxKeptValue = 64 // bytes of a text
)

// Memory is the values that a flow has seen of objects, by whatever bytes name
// an object. The zero Memory is empty.
type Memory struct {
	values map[string]*event.Value
}

// Get returns the value that an object had last, or the absent Value.
func (m *Memory) Get(key []byte) event.Value {
	if v := m.values[string(key)]; v != nil {
		return *v
	}
	return event.Value{}
}

// Set remembers a number, a truth value or a short text; of any other value it
// remembers that the old one is not known any more.
func (m *Memory) Set(key []byte, v event.Value) {
	p := m.values[string(key)]
	switch v.Type() {
	case event.TypeInt, event.TypeUint, event.TypeFloat, event.TypeBool, event.TypeTime:
	case event.TypeString:
		if len(v.Str()) > maxKeptValue {
			v = event.Value{}
		} else if p == nil || !p.Equal(v) {
			v = event.Str(strings.Clone(v.Str()))
		} else {
			return
		}
	default:
		v = event.Value{}
	}
	switch {
	case p != nil:
		*p = v
	case v.IsZero() || len(key) > maxKey || len(m.values) == maxValues:
	default:
		if m.values == nil {
			m.values = map[string]*event.Value{}
		}
		kept := v // v itself would be allocated by every call
		m.values[string(key)] = &kept
	}
}
