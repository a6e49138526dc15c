package modbus

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

func cases(t testing.TB) []prototest.Case {
	load := func(name string) prototest.Case {
		return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt"), Recovers: true}
	}
	polling := load("old_values")
	polling.Allocs = 0.1
	return []prototest.Case{load("specification_examples"), polling, load("odd"), load("pipelined"), load("reversed"), load("nonsense_between"), load("function_scan")}
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// A write of more objects than an event lists is remembered beyond the list.
func TestManyObjects(t *testing.T) {
	p := new(parser)
	var got []event.Field
	out := proto.NewOut(new(event.Arena), func(_ time.Time, f []event.Field) { got = append(got[:0], f...) })
	now := time.Unix(0, 0)
	read := []byte{0, 1, 0, 0, 0, 6, 1, 1, 0, 0, 0x07, 0xd0} // 2000 coils
	answer := append([]byte{0, 1, 0, 0, 0, 253, 1, 1, 250}, make([]byte, 250)...)
	answer[9+249] = 0x80 // coil 1999 is on
	for _, m := range []struct {
		dir proto.Dir
		b   []byte
	}{{proto.Orig, read}, {proto.Resp, answer}} {
		if n, err := p.Parse(m.dir, m.b, now, out); n != len(m.b) || err != nil {
			t.Fatal(n, err)
		}
	}
	list := func() []event.Value {
		for _, f := range got {
			if f.Name == "ics.objects" {
				return f.Value.List()
			}
		}
		return nil
	}
	run := event.Event{Fields: list()[0].Object()}
	if count, _ := run.Get("count").Int(); count != 2000 || len(run.Get("value").List()) != maxObjects {
		t.Errorf("a run of %d with %d values, want 2000 with %d", count, len(run.Get("value").List()), maxObjects)
	}
	off := []byte{0, 2, 0, 0, 0, 6, 1, 5, 0x07, 0xcf, 0, 0}
	p.Parse(proto.Orig, off, now, out)
	p.Parse(proto.Resp, off, now, out)
	want := `[{"address":1999,"type":"coil","value":0,"old_value":1}]`
	if o := event.List(list()...).String(); o != want {
		t.Errorf("objects %s, want %s", o, want)
	}
}

// A flow that never has more than one request on its way has no room for more:
// there may be a hundred thousand such.
func TestRoomForRequests(t *testing.T) {
	p := new(parser)
	out := proto.NewOut(new(event.Arena), func(time.Time, []event.Field) {})
	now := time.Unix(0, 0)
	read := []byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1}
	answer := []byte{0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7}
	for range 100 {
		p.Parse(proto.Orig, read, now, out)
		p.Parse(proto.Resp, answer, now, out)
	}
	if len(p.pending) != 1 || cap(p.pending) != 1 {
		t.Errorf("room for %d requests, want 1", cap(p.pending))
	}
	for i := range byte(2 * maxPending) {
		read[1] = i
		p.Parse(proto.Orig, read, now, out)
	}
	if p.n != maxPending || len(p.pending) != maxPending {
		t.Errorf("%d requests wait in room for %d, want %d", p.n, len(p.pending), maxPending)
	}
}
