package hartip

import (
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

func device(t testing.TB) prototest.Case {
	return prototest.Case{Name: "device", Pieces: prototest.Load(t, "testdata/device.txt"), Recovers: true, Allocs: 0.5}
}

func datagrams(t testing.TB) prototest.Case {
	return prototest.Case{Name: "datagrams", Pieces: prototest.Load(t, "testdata/datagrams.txt"), Recovers: true}
}

func TestStream(t *testing.T) { prototest.Test(t, Stream, device(t)) }

func TestDatagrams(t *testing.T) { prototest.Test(t, Protocol, datagrams(t)) }

func FuzzStream(f *testing.F) { prototest.Fuzz(f, Stream, device(f)) }

func FuzzDatagrams(f *testing.F) { prototest.Fuzz(f, Protocol, device(f), datagrams(f)) }
