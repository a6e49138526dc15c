package flow

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	hugePage = 2 << 20 // of the processors that matter
	// maxRegion bounds what is asked of the system at a time.
	maxRegion = 64 << 20
)

// region asks the system for more memory, at least n bytes: the more there is
// already, the more. It returns none if the system has none; the caller then takes the heap's, and
// the table goes on.
func (m *Memory) region(n int) []byte {
	n = max(n, min(m.total/4, maxRegion))
	n = (n + hugePage - 1) &^ (hugePage - 1)
	b, err := unix.Mmap(-1, 0, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil
	}
	m.all = append(m.all, b)
	m.total += n
	// A huge page begins at a multiple of its size. What lies before and behind
	// is never touched, and costs nothing.
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (hugePage - 1)
	b = b[skip : skip+n : skip+n]
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // without it, it is slower
	return b
}

// Release gives everything back to the system. No table that has used m, and no
// record, may be used any more.
func (m *Memory) Release() {
	for _, b := range m.all {
		_ = unix.Munmap(b) // fails for what is not mapped, and this is
	}
	*m = Memory{}
}
