package intel

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
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
	build := NewBuilder()
	var listed []netip.Addr
	for build.Len() < entries {
		a := address()
		value := a.String()
		if rnd.IntN(5) == 0 {
			value = netip.PrefixFrom(a, a.BitLen()-8).Masked().String()
		}
		if err := build.Add([]string{"blocklist", "feodo", "spamhaus-drop"}[rnd.IntN(3)], Raw{Value: value, Confidence: 10 + rnd.IntN(90)}); err != nil {
			b.Fatal(err)
		}
		listed = append(listed, a)
	}
	before := live()
	table := build.Table()
	size := live() - before
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
		}
		// The texts of the entries are shared with the builder, which is
		// thrown away: they belong to the table.
		b.ReportMetric(float64(size+texts(table))/1e6, "MB")
		b.ReportMetric(0, "ns/op")
	})
	runtime.KeepAlive(build)
	build = nil
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
				if _, ok := table.Lookup(a); ok {
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

// texts is how many bytes the texts of a table's entries take, as allocated.
func texts(t *Table) (n int64) {
	for _, e := range t.prefixes.All() {
		n += int64(len(e.value)+7) / 8 * 8
	}
	return n
}
