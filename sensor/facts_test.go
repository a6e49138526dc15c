package sensor

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestEntropy(t *testing.T) {
	f := func(b []byte, from, to uint8) {
		t.Helper()
		if got := entropy(b); got < from || got > to {
			t.Errorf("entropy of %.40q… is %d, want %d to %d", b, got, from, to)
		}
	}
	random := make([]byte, 1000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	f(nil, 0, 0)
	f(random[:minEntropy-1], 0, 0)
	f(random[:minEntropy], 85, 100)
	f(random, 85, 95)
	f(bytes.Repeat([]byte{7}, 100), 1, 1)
	f(append(make([]byte, maxEntropy), random...), 1, 1) // what comes later does not count
	f(bytes.Repeat([]byte("0123456789abcdef"), 16), 50, 50)
	f([]byte("USER anonymous\r\nPASS guest@example.org\r\nLIST /pub/incoming\r\nRETR readme.txt\r\n"), 70, 80)
	distinct := make([]byte, 256)
	for i := range distinct {
		distinct[i] = byte(i)
	}
	f(distinct, 100, 100)
}

func BenchmarkEntropy(b *testing.B) {
	data := make([]byte, maxEntropy)
	for i := range data {
		data[i] = byte(i * i)
	}
	for b.Loop() {
		entropy(data)
	}
}
