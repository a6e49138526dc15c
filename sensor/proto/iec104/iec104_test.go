package iec104

import (
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

// cases are a conversation of a real station with a control centre, and written
// ones: of what that station does not do, and of what no station should.
func cases(t testing.TB) []prototest.Case {
	load := func(name string) prototest.Case {
		return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt"), Recovers: true}
	}
	reports := load("reports")
	reports.Allocs = 0.2
	return []prototest.Case{load("station"), reports, load("odd"), load("files")}
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// The standard takes 67 types; their sizes are those of sections 7.3.1 to 7.3.6
// of IEC 60870-5-101.
func TestTypes(t *testing.T) {
	n := 0
	for id, x := range types {
		if x.name == "" || x.form == secure {
			continue
		}
		n++
		a := make([]byte, asduHead+ioaLen+int(x.size)+int(x.tag))
		a[0], a[1] = byte(id), 1
		if !fits(a) || fits(a[:len(a)-1]) {
			t.Errorf("type %d does not fit its own size", id)
		}
	}
	if n != 67 {
		t.Errorf("%d types, want 67", n)
	}
}
