//go:build linux

package afpacket

import (
	"math"

	"golang.org/x/sys/unix"
)

// between counts the packets of an interface that none of the sockets on it was
// given. When the interface goes down, the kernel takes them off it, some moments
// after packets could have come last, and puts them back some moments after it
// came up. A socket on all interfaces stays where it is, and is asked first: a
// packet that it has and the others do not came between.
type between struct {
	all    *counting // on all interfaces, of packets of the one
	began  int64     // what measure returned when all sockets had begun
	before int64     // what it returned last; math.MaxInt64 if it did not know
	missed uint64
}

// countAll begins to count the packets of an interface, whatever becomes of it.
func countAll(dev nature) (*counting, error) {
	const index = 0xfffff000 + 8 // SKF_AD_OFF + SKF_AD_IFINDEX of linux/filter.h
	return count([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: index},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(dev.index), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1},
		{Code: unix.BPF_RET | unix.BPF_K},
	}, 0, dev.loopback)
}

// Of measure: how often it looks, and how many good looks are enough.
const (
	maxLooks = 64
	looks    = 8
)

// measure is how many packets more all has than others tells of. It cannot ask
// for both at the same time, so it looks again until nothing came meanwhile; and
// as a packet may be on its way from the one to the others, it takes the least
// of some looks. It reports false if packets come too fast.
func (b *between) measure(others func() uint64) (more int64, ok bool) {
	more = math.MaxInt64
	for good, n := 0, 0; n < maxLooks && good < looks; n++ {
		first := others()
		all := b.all.packets()
		if others() == first {
			more = min(more, int64(all-first))
			good++
		}
	}
	return more, more != math.MaxInt64
}

// look finds out how many packets have come between so far. What it finds counts
// when it was so the last time as well: the processor that had a packet in hand
// may have been taken from this machine.
func (b *between) look(others func() uint64) {
	more, ok := b.measure(others)
	if !ok {
		return
	}
	if sure := min(more, b.before) - b.began; b.before != math.MaxInt64 && sure > int64(b.missed) {
		b.missed = uint64(sure)
	}
	b.before = more
}
