package event

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// filled makes an event of everything that can lie in an arena.
func filled(a *Arena, n int) Event {
	list := a.Values(3)
	for i := range 3 {
		list = append(list, a.Str(fmt.Appendf(a.Bytes(16), "value %d of %d", i, n)))
	}
	object := append(a.Fields(2), Field{"name", a.Text([]byte("tab\there"))}, Field{"list", List(list...)})
	return Event{Kind: "test", Flow: Flow{CommunityID: "1:abc=", History: "ShAdDa"}, Fields: []Field{
		{"test.objects", List(Object(object...), Object(object[:1]...))}, {"test.text", a.Text(fmt.Appendf(nil, "text %d, käse", n))}, {"test.n", Int(int64(n))},
	}}
}

func TestArena(t *testing.T) {
	var a Arena
	var clones []Event
	var want [][]byte
	for round := range 3 {
		var events []Event
		for n := range 2000 { // many chunks
			e := filled(&a, round*10000+n)
			events = append(events, e)
			want = append(want, e.AppendJSON(nil))
		}
		for i := range events {
			if got := events[i].AppendJSON(nil); !bytes.Equal(got, want[len(want)-len(events)+i]) {
				t.Fatalf("before the reset: %s", got)
			}
			clones = append(clones, events[i].Clone())
		}
		a.Reset()
		b := a.Bytes(chunkBytes / 4)
		for i := range b[:cap(b)] {
			b[:cap(b)][i] = '?'
		}
	}
	for i := range clones {
		if got := clones[i].AppendJSON(nil); !bytes.Equal(got, want[i]) {
			t.Fatalf("clone: %s, want %s", got, want[i])
		}
	}
}

// What an arena gives has its own room, also what is larger than a chunk.
func TestArenaRoom(t *testing.T) {
	var a Arena
	for _, n := range []int{0, 1, chunkBytes / 4, chunkBytes/4 + 1, 3 * chunkBytes} {
		x, y := a.Bytes(n), a.Bytes(n)
		x, y = append(x, strings.Repeat("x", n)...), append(y, strings.Repeat("y", n)...)
		x = append(x, 'z')
		if len(x) != n+1 || string(y) != strings.Repeat("y", n) {
			t.Errorf("%d bytes: %q %q", n, x, y)
		}
	}
	for _, s := range []string{"", "plain", `back\slash`, `\x41`, "control\x01", "\xff", "käse\r\n"} {
		if got, want := a.Text([]byte(s)), Text([]byte(s)); !got.Equal(want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func TestArenaAllocates(t *testing.T) {
	var a Arena
	use := func() {
		for range 1000 {
			a.Text([]byte("GET /index.html"))
			List(append(a.Values(4), Int(1), Int(2))...)
			Object(append(a.Fields(2), Field{"a", Int(1)})...)
		}
		a.Reset()
	}
	use()
	if n := testing.AllocsPerRun(10, use); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
