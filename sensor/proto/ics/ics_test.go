package ics

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Messages of the test begin with 'M' and their length.
var framing = Framing{
	Size: func(b []byte) int {
		switch {
		case len(b) > 0 && b[0] != 'M' || len(b) > 1 && b[1] < 2:
			return -1
		case len(b) < 2:
			return 0
		}
		return int(b[1])
	},
	Valid: func(m []byte) bool { return m[len(m)-1] != '?' },
	Max:   16,
}

func TestFrames(t *testing.T) {
	message := func(size int, fill byte) []byte {
		return append([]byte{'M', byte(size)}, bytes.Repeat([]byte{fill}, size-2)...)
	}
	var f Frames
	next := func(b []byte, want []byte, used int, odd Odd) {
		t.Helper()
		m, n, o, err := f.Next(&framing, proto.Orig, b)
		if !bytes.Equal(m, want) || n != used || o != odd || err != nil {
			t.Errorf("have %q after %d bytes, %b, %v; want %q after %d, %b", m, n, o, err, want, used, odd)
		}
	}
	short, long := message(5, 'a'), message(20, 'b')
	next(short, short, 5, 0)
	next(short[:4], nil, 0, 0)
	next(append([]byte("xx"), short...), short, 7, SkippedBytes)
	next(long[:15], nil, 0, 0)
	next(long[:17], long[:16], 16, Truncated)
	next(append(long[16:], short...), short, 9, 0)
	// After a loss a message that is not believable is passed over, and one
	// that may yet become whole waited for.
	f.Gap(proto.Orig, 3)
	next(append(message(4, '?'), short[:3]...), nil, 4, 0)
	next(short, short, 5, 0)
	if _, _, _, err := f.Next(&framing, proto.Resp, make([]byte, maxSkip+1)); err == nil {
		t.Error("bytes without a message have no end")
	}
}

func TestMemory(t *testing.T) {
	var m Memory
	key := []byte("a")
	if !m.Get(key).IsZero() {
		t.Error("something is known of nothing")
	}
	text := []byte("text")
	m.Set(key, event.Own(text))
	text[0] = '?'
	if got := m.Get(key).Str(); got != "text" {
		t.Errorf("the text became %q", got)
	}
	m.Set(key, event.Str(strings.Repeat("x", maxKeptValue+1)))
	if !m.Get(key).IsZero() {
		t.Error("an old value outlived a new one that is too long")
	}
	for i := range 2 * maxValues {
		m.Set([]byte{byte(i), byte(i >> 8)}, event.Int(int64(i)))
	}
	if len(m.values) != maxValues {
		t.Errorf("%d values, want %d", len(m.values), maxValues)
	}
}

func TestWaiting(t *testing.T) {
	var w Waiting[[]byte]
	for i := range byte(3) {
		x := w.Add()
		*x = append((*x)[:0], i)
	}
	w.Remove(1)
	if w.Len() != 2 || (*w.At(1))[0] != 2 || w.Find(func(b *[]byte) bool { return (*b)[0] == 1 }) >= 0 {
		t.Error("the second is still there")
	}
	if x := w.Add(); cap(*x) == 0 || len(w.all) != 3 {
		t.Error("the room of the one removed is not used")
	}
}
