package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a file to be read, or returns nil.
func mapFile(f *os.File, size int) []byte {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	var b []byte
	if raw.Control(func(fd uintptr) {
		b, err = unix.Mmap(int(fd), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	}) != nil || err != nil {
		return nil
	}
	return b
}

// populate fetches pages of a mapping, in a system call rather than by a fault for
// every few, behind which the scheduler would not see that the disk is waited
// for. It reports false if they are not there any more.
func populate(b []byte) bool {
	// A kernel before 5.14 does not know how, and has the faults.
	err := unix.Madvise(b, unix.MADV_POPULATE_READ)
	return err == nil || err == unix.EINVAL
}

// release lets pages of a mapping go, out of the process, not out of the system's
// memory.
func release(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }

func unmapFile(b []byte) error { return unix.Munmap(b) }
