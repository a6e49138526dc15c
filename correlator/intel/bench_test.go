package intel

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// BenchmarkLookup asks a table of a million prefixes, most of them single
// addresses as in lists of compromised hosts, of which a tenth is IPv6. hot
// asks for the same addresses again and again, cold for another each time.
func BenchmarkLookup(b *testing.B) {
	const entries = 1_000_000
	rnd := rand.New(rand.NewPCG(1, 1))
	address := func() netip.Addr {
		if rnd.IntN(10) == 0 {
			return netip.AddrFrom16([16]byte{0x20, 0x01, byte(rnd.Int()), byte(rnd.Int()), byte(rnd.Int()), byte(rnd.Int()), 14: byte(rnd.Int()), 15: byte(rnd.Int())})
		}
		return netip.AddrFrom4([4]byte{byte(11 + rnd.IntN(80)), byte(rnd.Int()), byte(rnd.Int()), byte(rnd.Int())})
	}
	listed := make([]netip.Addr, entries)
	for i := range listed {
		listed[i] = address()
	}
	before := live()
	build := NewBuilder()
	for _, a := range listed {
		value := a.String()
		if rnd.IntN(5) == 0 {
			value = netip.PrefixFrom(a, a.BitLen()-8).Masked().String()
		}
		if err := build.Add(List{Provider: []string{"blocklist", "feodo", "spamhaus-drop"}[rnd.IntN(3)]}, Raw{Value: value, Confidence: 10 + rnd.IntN(90)}); err != nil {
			b.Fatal(err)
		}
	}
	table := build.Table()
	build = nil
	size := live() - before
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(float64(size)/1e6, "MB")
		b.ReportMetric(0, "ns/op")
	})
	at := time.Unix(1_700_000_000, 0)
	for _, n := range []int{256, len(listed)} {
		name := map[bool]string{true: "cold", false: "hot"}[n == len(listed)]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			found, i := 0, 0
			for b.Loop() {
				// Half of what is asked for is not listed.
				a := listed[i*7919%n]
				if i&1 == 0 {
					a = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
				}
				if _, ok := table.Address(a, at); ok {
					found++
				}
				i++
			}
			if b.N > 100 && found == 0 {
				b.Fatalf("nothing found in %d", b.N)
			}
		})
	}
}

// live is how many bytes of the heap are in use.
func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
