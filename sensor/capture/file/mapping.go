package file

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"
	"unsafe"
)

// mapping is a capture file as memory. Nothing of it is copied: a packet of which
// nobody looks at the payload costs only its headers.
type mapping struct {
	file     *os.File
	all      []byte // as long as the file was
	ready    int    // bytes from the beginning whose pages were asked for
	released int    // bytes from the beginning whose pages were let go
	touched  byte   // keeps the compiler from leaving out what is read for the caches
}

const (
	// smallest is the size of a file that is worth a mapping, and long how much of it
	// a packet takes on average: those that are shorter are copied in no time.
	smallest = 4 << 20
	long     = 256
	// stride is how much of a mapping is made ready at a time: a part of the
	// second cache, where the headers of its packets are to wait.
	stride = 1 << 20
	// behind is how much of a mapping stays in memory behind the place that is
	// being read. Whatever else is still needed of it would come back.
	behind = 4 * stride
)

// Map implements capture.Mapper: a plain file in pcap's usual byte order is
// mapped. The others stay as they are.
func (r *Reader) Map() {
	f, ok := r.file.(*os.File)
	if !ok || r.plain != nil || r.pcap.header == 0 || r.pcap.swapped || r.in.mapped != nil || strconv.IntSize < 64 {
		return
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < smallest || info.Size() < r.in.base+int64(r.in.end) {
		return
	}
	if !r.long() {
		return
	}
	all := mapFile(f, int(info.Size()))
	if all == nil {
		return
	}
	at := int(r.in.offset())
	r.in.mapped = &mapping{file: f, all: all, ready: at, released: at &^ (stride - 1)}
	r.in.block = r.in.buf
	r.in.buf, r.in.base, r.in.pos, r.in.end = all, 0, at, at
}

// long reports whether packets are long, as far as was read.
func (r *Reader) long() bool {
	b, n := r.in.buf[r.in.pos:r.in.end], 0
	for at := 0; len(b)-at >= 16; n++ {
		at += r.pcap.header + int(binary.LittleEndian.Uint32(b[at+8:])%maxPacket)
	}
	return len(b) > n*long
}

// Fault implements capture.Mapper.
func (r *Reader) Fault(addr uintptr) error {
	m := r.in.mapped
	if m == nil {
		return nil
	}
	at := addr - uintptr(unsafe.Pointer(&m.all[0]))
	if at >= uintptr(len(m.all)) {
		return nil
	}
	if info, err := m.file.Stat(); err == nil && info.Size() < int64(len(m.all)) {
		return r.errorf("cut off at byte %d while it was read: it had %d bytes; read it again", info.Size(), len(m.all))
	}
	return r.errorf("byte %d: cannot be read from the disk", at)
}

// advance makes more of the file ready, n bytes from pos on at least. It reports
// false if that goes beyond its end.
func (m *mapping) advance(pos, n int) bool {
	for m.ready < pos+n {
		to := min(m.ready&^(stride-1)+stride, len(m.all))
		info, err := m.file.Stat()
		if to == m.ready || err != nil || info.Size() < int64(to) || !populate(m.all[m.ready&^(stride-1):to]) {
			return false
		}
		m.ahead(pos, to)
		m.ready = to
	}
	if m.ready-m.released >= 2*behind {
		release(m.all[m.released : m.released+behind])
		m.released += behind
	}
	return true
}

// ahead brings the headers of the packets in a part of the file into the caches.
// Where the next header lies is known only when the one before was fetched from
// memory, so that to go through them one after the other is to wait for each. So
// the part is gone through from many places at once. These are guesses: where
// one is wrong, nothing is the worse for it.
func (m *mapping) ahead(from, to int) {
	const chains, guess = 16, 4096
	var at, end [chains]int
	step := (to - from) / chains
	if step < 2*guess {
		return
	}
	at[0] = from
	first := binary.LittleEndian.Uint32(m.all[from:])
	for i := range at {
		end[i] = from + (i+1)*step
		if i > 0 {
			at[i] = plausible(m.all[:end[i]], from+i*step, guess, first)
		}
	}
	const need = 128 // bytes, of the record's header and the packet's
	for live := true; live; {
		live = false
		for i, k := range at {
			if k+need > end[i] {
				continue
			}
			live = true
			b := m.all[k : k+need]
			m.touched += b[need-1] ^ b[need/2]
			at[i] = k + 16 + int(binary.LittleEndian.Uint32(b[8:])&(maxPacket-1))
		}
	}
}

// plausible looks for what may be the header of a packet from a place on, in n
// bytes: one with a time near another's, and captured no longer than it was. If
// there is none it returns the end.
func plausible(b []byte, from, n int, time uint32) int {
	const hour = 3600
	for at := from; at < min(from+n, len(b)-16); at++ {
		h := b[at : at+16]
		if binary.LittleEndian.Uint32(h)-time+hour > 2*hour || binary.LittleEndian.Uint32(h[4:]) >= 1e9 {
			continue
		}
		captured, length := binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
		if captured >= 14 && captured <= length && length <= 1<<16 {
			return at
		}
	}
	return len(b)
}

// unmap leaves the mapping at the window's place: the rest, if there is any, is
// read. Packets that were handed out stay where they are.
func (w *window) unmap() {
	at := w.offset()
	f := w.mapped.file
	w.buf, w.base, w.pos, w.end = w.block, at, 0, 0
	w.block = nil
	w.in = f
	if _, w.err = f.Seek(at, io.SeekStart); w.err != nil {
		w.err = errors.Unwrap(w.err) // which would name the file again
	}
}
