package cryptopan_test

import (
	"bufio"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/share/cryptopan"
)

// The key and addresses of the sample that the authors published with their
// implementation.
var sample = [cryptopan.KeySize]byte{21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131, 121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2}

func TestSample(t *testing.T) {
	table := cryptopan.New(sample)
	lines := bufio.NewScanner(strings.NewReader(`
128.11.68.132 135.242.180.132
129.118.74.4 134.136.186.123
130.132.252.244 133.68.164.234
141.223.7.43 141.167.8.160
141.233.145.108 141.129.237.235
152.163.225.39 151.140.114.167
156.29.3.236 147.225.12.42
165.247.96.84 162.9.99.234
166.107.77.190 160.132.178.185
192.102.249.13 252.138.62.131
192.215.32.125 252.43.47.189
192.233.80.103 252.25.108.8
`))
	for lines.Scan() {
		from, want, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue
		}
		if got := table.Address(netip.MustParseAddr(from)); got.String() != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

func address(t *rapid.T, name string) netip.Addr {
	if rapid.Bool().Draw(t, name+" is IPv6") {
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))).Unmap()
	}
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)))
}

// common is how many bits two addresses of one family have in common.
func common(a, b netip.Addr) int {
	for n := a.BitLen(); n > 0; n-- {
		if netip.PrefixFrom(a, n).Masked() == netip.PrefixFrom(b, n).Masked() {
			return n
		}
	}
	return 0
}

func TestPrefixesStayInCommon(t *testing.T) {
	table := cryptopan.New(sample)
	rapid.Check(t, func(t *rapid.T) {
		a := address(t, "a")
		b := a
		bytes := a.AsSlice()
		if i := rapid.IntRange(0, 8*len(bytes)).Draw(t, "first bit that differs"); i < 8*len(bytes) {
			bytes[i/8] ^= 0x80 >> (i % 8)
			b, _ = netip.AddrFromSlice(bytes)
		}
		pa, pb := table.Address(a), table.Address(b)
		if a.Is4() != pa.Is4() || a.Is4() == b.Is4() && common(a, b) != common(pa, pb) {
			t.Fatalf("%s and %s have %d bits in common, %s and %s %d", a, b, common(a, b), pa, pb, common(pa, pb))
		}
	})
}
