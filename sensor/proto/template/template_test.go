package template

import (
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

func cases(t testing.TB) []prototest.Case {
	return []prototest.Case{
		{Name: "examples_of_the_rfc", Pieces: prototest.Load(t, "testdata/examples_of_the_rfc.txt"), Recovers: true, Allocs: 2},
		{Name: "unanswered", Pieces: prototest.Load(t, "testdata/unanswered.txt"), Recovers: true},
	}
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }
