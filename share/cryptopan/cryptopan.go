// Package cryptopan makes pseudonyms of addresses such that two addresses that
// have a prefix in common have pseudonyms that have one of the same length:
// networks stay recognisable, and nothing else does. Who has the key can undo
// it. Source: Xu, Fan, Ammar and Moon, "Prefix-Preserving IP Address
// Anonymization" (ICNP 2002); for IPv6 the same over 128 bits.
//
// What it cannot hide: who knows the true address of some pseudonyms knows the
// prefixes of others, and who can send traffic to be recorded can find out
// which pseudonym is whose (Brekne et al., 2005).
package cryptopan

import (
	"crypto/aes"
	"crypto/cipher"
	"net/netip"
)

// KeySize is the length of a key.
const KeySize = 32

// Table makes pseudonyms under one key. It does not change, and may be used by
// several goroutines.
type Table struct {
	block cipher.Block
	pad   [16]byte
}

// New returns the table of a key: the first half of it is the cipher's, the
// other is where the padding comes from.
func New(key [KeySize]byte) *Table {
	b, err := aes.NewCipher(key[:16])
	if err != nil {
		panic(err) // of a length that is constant
	}
	t := &Table{block: b}
	b.Encrypt(t.pad[:], key[16:])
	return t
}

// Address returns the pseudonym of an address. An IPv4 address mapped into IPv6
// is one of IPv4.
func (t *Table) Address(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	switch {
	case a.Is4():
		b := a.As4()
		t.mask(b[:], b[:])
		return netip.AddrFrom4(b)
	case a.Is6():
		b := a.As16()
		t.mask(b[:], b[:])
		return netip.AddrFrom16(b)
	}
	return a
}

// mask flips each bit of an address or not, by a function of the bits before
// it: the first bit of the cipher of these, with the rest from the pad.
func (t *Table) mask(dst, address []byte) {
	var original [16]byte
	n := copy(original[:], address)
	in, out := t.pad, [16]byte{}
	for bit := range 8 * n {
		t.block.Encrypt(out[:], in[:])
		at, mask := bit/8, byte(0x80)>>(bit%8)
		if out[0]&0x80 != 0 {
			dst[at] ^= mask
		}
		in[at] = in[at]&^mask | original[at]&mask // the next has one bit more of the address
	}
}
