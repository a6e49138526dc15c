package embedded

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store/query"
)

// A filter says which texts a block does not hold, so that a query for a name
// or a community ID reads few blocks: a Bloom filter over hash(field, text) of
// 10 bits per text and 7 probes, which lets 1 % of the blocks through for
// nothing. Its hash is part of the file format.
type filter []byte

const (
	filterBitsPerKey = 10
	filterProbes     = 7
)

// Names of the core fields whose texts are in the filter, beside those of
// Event.Fields.
var (
	keySensor    = hashName("observer.name")
	keyIface     = hashName("observer.ingress.interface.name")
	keyService   = hashName("network.protocol")
	keyCommunity = hashName("network.community_id")
)

// filtered reports whether a field's texts are in the filter.
func filtered(name string) bool {
	switch name {
	case "observer.name", "observer.ingress.interface.name", "network.protocol", "network.community_id":
		return true
	}
	return !event.Resolve(name).Core() && !strings.Contains(name, "*")
}

// FNV-1a (draft-eastlake-fnv), 64 bits.
const (
	fnvBasis = 14695981039346656037
	fnvPrime = 1099511628211
)

func hashName(name string) uint64 { return fnv(fnvBasis, name) }

// hashBelow is hashName of a name with a dot and another name behind it.
func hashBelow(key uint64, name string) uint64 {
	return fnv((key^'.')*fnvPrime, name)
}

func hashText(key uint64, text string) uint64 { return fnv(key*fnvPrime, text) }

func fnv(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

// probe finishes a hash (the finaliser of MurmurHash3) and splits it in two.
func probe(h uint64) (a, b uint64) {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h, bits.RotateLeft64(h, 32) | 1
}

// makeFilter makes a filter of keys, which it sorts.
func makeFilter(keys []uint64) filter {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	f := make(filter, (len(keys)*filterBitsPerKey+7)/8+8)
	n := uint64(len(f)) * 8
	for _, k := range keys {
		a, b := probe(k)
		for range filterProbes {
			hi, _ := bits.Mul64(a, n)
			f[hi/8] |= 1 << (hi % 8)
			a += b
		}
	}
	return f
}

// has reports whether a key may be in the filter. An empty filter knows nothing.
func (f filter) has(key uint64) bool {
	if len(f) == 0 {
		return true
	}
	a, b := probe(key)
	n := uint64(len(f)) * 8
	for range filterProbes {
		hi, _ := bits.Mul64(a, n)
		if f[hi/8]&(1<<(hi%8)) == 0 {
			return false
		}
		a += b
	}
	return true
}

// hashLiteral is the key of an exact comparison of a field with a text.
func hashLiteral(c query.Compare) (uint64, bool) {
	text, exact := c.Value.Exact()
	if !exact || c.Op != query.Eq || !filtered(c.Field) {
		return 0, false
	}
	return hashText(hashName(c.Field), text), true
}
