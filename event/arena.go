package event

import (
	"unicode/utf8"
	"unsafe"
)

// Arena is memory for what the values of many events refer to, all of which is
// given back at once: by Reset, after which none of it may be used any more.
// To take from it costs a few nanoseconds, and nothing of the collector's work.
// It is for one goroutine. The zero Arena is ready.
type Arena struct {
	texts  slab[byte]
	values slab[Value]
	fields slab[Field]
}

// slab gives out parts of chunks.
type slab[T any] struct {
	rest   []T // of the chunk at hand
	chunks [][]T
	used   int // chunks
}

// Of a slab.
const (
	chunkBytes = 16 << 10
	// maxChunks is how many chunks are used again after a reset; what a burst
	// took beyond is the collector's.
	maxChunks = 64
)

// take returns an empty slice with room for n.
func (s *slab[T]) take(n int) []T {
	if n > len(s.rest) {
		return s.more(n)
	}
	t := s.rest[:0:n]
	s.rest = s.rest[n:]
	return t
}

func (s *slab[T]) more(n int) []T {
	var zero T
	size := chunkBytes / int(unsafe.Sizeof(zero))
	if n > size/4 {
		return make([]T, 0, n) // rather than to leave much of a chunk unused
	}
	if s.used == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, size))
	}
	s.rest = s.chunks[s.used]
	s.used++
	return s.take(n)
}

func (s *slab[T]) reset() {
	clear(s.chunks[min(len(s.chunks), maxChunks):])
	s.chunks = s.chunks[:min(len(s.chunks), maxChunks)]
	s.rest, s.used = nil, 0
}

// Reset takes back everything that the arena has given.
func (a *Arena) Reset() {
	a.texts.reset()
	a.values.reset()
	a.fields.reset()
}

// Values returns an empty list with room for n values.
func (a *Arena) Values(n int) []Value { return a.values.take(n) }

// Fields returns an empty list with room for n fields.
func (a *Arena) Fields(n int) []Field { return a.fields.take(n) }

// Bytes returns an empty text with room for n bytes; see Own.
func (a *Arena) Bytes(n int) []byte { return a.texts.take(n) }

// Own makes a text value of bytes that the arena gave, which do not change any
// more. They are UTF-8.
func Own(b []byte) Value { return Str(unsafe.String(unsafe.SliceData(b), len(b))) }

// Str returns a text value that is a copy of bytes, which are UTF-8.
func (a *Arena) Str(b []byte) Value { return Own(append(a.texts.take(len(b)), b...)) }

// Text is as the function Text.
func (a *Arena) Text(b []byte) Value {
	for i := 0; i < len(b); {
		if c := b[i]; 0x20 <= c && c < 0x7f && c != '\\' {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if escaped(b[i:], r, n) {
			return Own(appendEscaped(a.texts.take(4*len(b)), b))
		}
		i += n
	}
	return a.Str(b)
}

// Clone returns a copy of e whose fields and texts are the arena's.
func (a *Arena) Clone(e *Event) Event {
	c := *e
	c.Fields = a.cloneFields(e.Fields)
	c.Flow.CommunityID = a.cloneText(e.Flow.CommunityID)
	c.Flow.History = a.cloneText(e.Flow.History)
	return c
}

func (a *Arena) cloneText(s string) string {
	b := append(a.texts.take(len(s)), s...)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (a *Arena) cloneFields(fs []Field) []Field {
	if fs == nil {
		return nil
	}
	out := a.fields.take(len(fs))
	for i := range fs {
		out = append(out, Field{fs[i].Name, a.cloneValue(&fs[i].Value)})
	}
	return out
}

func (a *Arena) cloneValue(v *Value) Value {
	switch v.typ {
	case TypeString:
		return Str(a.cloneText(v.text()))
	case TypeList:
		list := v.List()
		out := a.values.take(len(list))
		for i := range list {
			out = append(out, a.cloneValue(&list[i]))
		}
		return List(out...)
	case TypeObject:
		return Object(a.cloneFields(v.Object())...)
	}
	return *v
}

// size is how much of everything a clone of e takes.
func (e *Event) size() (texts, values, fields int) {
	var count func(v *Value)
	count = func(v *Value) {
		switch v.typ {
		case TypeString:
			texts += int(v.n1)
		case TypeList:
			list := v.List()
			values += len(list)
			for i := range list {
				count(&list[i])
			}
		case TypeObject:
			fs := v.Object()
			fields += len(fs)
			for i := range fs {
				count(&fs[i].Value)
			}
		}
	}
	texts, fields = len(e.Flow.CommunityID)+len(e.Flow.History), len(e.Fields)
	for i := range e.Fields {
		count(&e.Fields[i].Value)
	}
	return texts, values, fields
}

// Clone returns a copy of e that shares nothing with it which may change.
func (e *Event) Clone() Event {
	texts, values, fields := e.size()
	var a Arena
	a.texts.rest, a.values.rest, a.fields.rest = make([]byte, texts), make([]Value, values), make([]Field, fields)
	return a.Clone(e)
}
