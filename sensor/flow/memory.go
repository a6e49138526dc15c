package flow

import (
	"math/bits"
	"unsafe"
)

// chunk is how many records are taken from the memory at a time.
const chunk = 256

// Bytes is about what a flow takes in a table: its record, its part of the index
// at the least that it is filled, and its entries in the lists of who is due, who
// is opening, and who is free.
const Bytes = int(unsafe.Sizeof(Record{})) + 22 + 34

const chunkBytes = int(unsafe.Sizeof([chunk]Record{}))

// Memory is where tables have their records; see Config. The zero value is
// ready to use. It is for one goroutine.
//
// Records lie anywhere in it, and with pages of the usual size nearly every
// look-up in a large table would wait twice: until it is found where the page
// is, and for the record. So where the system has huge pages it is of those. It is
// not the collector's, which need not look at it, as records have no pointers,
// and would let the heap grow by a multiple of it.
type Memory struct {
	left  []byte   // of the last region
	all   [][]byte // what Release gives back
	total int      // bytes of all regions
	// spare are former indices, by their length, a power of two.
	spare [64][][]uint64
}

// chunk returns memory for some records. All of it is zero.
func (m *Memory) chunk() *[chunk]Record {
	b := m.cut(chunkBytes)
	if b == nil {
		return new([chunk]Record)
	}
	return (*[chunk]Record)(unsafe.Pointer(&b[0]))
}

// cut returns n bytes, a multiple of a cache line, or nil.
func (m *Memory) cut(n int) []byte {
	if len(m.left) < n {
		if m.left = m.region(n); len(m.left) < n {
			return nil
		}
	}
	b := m.left[:n:n]
	m.left = m.left[n:]
	return b
}

// smallIndex is the number of entries up to which an index is the heap's: one
// of a few pages is no better elsewhere.
const smallIndex = 8 << 10

// index returns an empty index of n entries, a power of two.
func (m *Memory) index(n int) []uint64 {
	if n <= smallIndex {
		return make([]uint64, n)
	}
	spare := &m.spare[bits.Len(uint(n))-1]
	if k := len(*spare); k > 0 {
		index := (*spare)[k-1]
		*spare = (*spare)[:k-1]
		clear(index)
		return index
	}
	b := m.cut(8 * n)
	if b == nil {
		return make([]uint64, n)
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), n)
}

// outgrown takes back an index. Other tables, which share the flows evenly, will
// soon need one of its size.
func (m *Memory) outgrown(index []uint64) {
	if len(index) > smallIndex {
		spare := &m.spare[bits.Len(uint(len(index)))-1]
		*spare = append(*spare, index)
	}
}
