package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/tocsin/tocsin/event"
)

// Hash says which worker of several a packet belongs to. It is the same for
// both directions between two hosts, for all protocols between them, and in
// every run. Packets without IP are hashed by their MAC addresses, ARP by the
// addresses that it asks and answers for.
//
// Fragments must be put together first: the addresses inside a tunnel are known
// only then. So each of several workers that read one file reassembles all
// fragments, and after that leaves out what is not its own.
func Hash(p *Packet) uint32 {
	var h uint64
	switch {
	case p.IPVersion != 0:
		h = hashIP(p.Src) + hashIP(p.Dst)
	case p.ARP.Op != 0:
		h = hashIP(p.ARP.SenderIP) + hashIP(p.ARP.TargetIP)
	default:
		h = hashMAC(p.SrcMAC) + hashMAC(p.DstMAC)
	}
	return fold(h)
}

func fold(h uint64) uint32 { return uint32(mix(h, mulB) >> 16) }

// hashPair is the Hash between two hosts.
func hashPair(a, b uint64) uint32 { return fold(a + b) }

// Odd numbers without pattern: 2^64 divided by the golden ratio, and a prime.
const (
	mulA = 0x9e3779b97f4a7c15
	mulB = 0xc2b2ae3d27d4eb4f
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^mulA, b^mulB>>1)
	return hi ^ lo
}

func hashIP(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return hash4(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return hash16(b[:])
}

func hash4(a uint32) uint64 { return mix(uint64(a), mulB) }

func hash16(b []byte) uint64 {
	return mix(mix(binary.BigEndian.Uint64(b[:8]), mulB), binary.BigEndian.Uint64(b[8:16]))
}

func hashMAC(m event.MAC) uint64 {
	return mix(uint64(binary.BigEndian.Uint16(m[:2]))<<32|uint64(binary.BigEndian.Uint32(m[2:])), mulB)
}
