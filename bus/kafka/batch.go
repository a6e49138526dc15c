package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Record is a message that is to be published.
type Record struct {
	Key     []byte // decides the partition
	All     bool   // a copy goes to every partition, whatever the key
	Value   []byte
	Time    time.Time // in whole milliseconds on the topic
	Headers []Header
}

// Header is a named value beside a message.
type Header struct {
	Name  string
	Value []byte
}

// batchHeader is the length of what comes before the records of a batch
// (https://kafka.apache.org/documentation/#recordbatch), with the four bytes
// before it that say in a request how long the batch is.
const batchHeader = 4 + 61

// batch is a record batch of version 2 that is being written.
type batch struct {
	buf         []byte // batchHeader bytes, then the records
	n           int
	first, last int64 // time of the first record, and the latest, in milliseconds
	done        chan struct{}
	err         error         // once done
	refused     map[int]error // once done, by number of the record
}

func newBatch(buf []byte) *batch {
	if buf == nil {
		buf = make([]byte, batchHeader, 64<<10)
	}
	return &batch{buf: buf[:batchHeader], done: make(chan struct{})}
}

// add appends a record; see https://kafka.apache.org/documentation/#record.
func (b *batch) add(r *Record) {
	at := r.Time.UnixMilli()
	if b.n == 0 {
		b.first, b.last = at, at
	}
	b.last = max(b.last, at)
	delta := at - b.first
	size := 1 + varintSize(delta) + varintSize(int64(b.n)) + bytesSize(len(r.Key)) + bytesSize(len(r.Value)) + varintSize(int64(len(r.Headers)))
	for i := range r.Headers {
		size += bytesSize(len(r.Headers[i].Name)) + bytesSize(len(r.Headers[i].Value))
	}
	w := binary.AppendVarint(b.buf, int64(size))
	w = append(w, 0)
	w = binary.AppendVarint(w, delta)
	w = binary.AppendVarint(w, int64(b.n))
	w = appendBytes(w, r.Key)
	w = appendBytes(w, r.Value)
	w = binary.AppendVarint(w, int64(len(r.Headers)))
	for i := range r.Headers {
		w = binary.AppendVarint(w, int64(len(r.Headers[i].Name)))
		w = append(w, r.Headers[i].Name...)
		w = appendBytes(w, r.Headers[i].Value)
	}
	b.buf = w
	b.n++
}

// part returns a batch of some of the records.
func (b *batch) part(from, to int) *batch {
	part := newBatch(nil)
	part.first, part.last = b.first, b.last
	rest := b.buf[batchHeader:]
	for n := range to {
		size, used := binary.Varint(rest)
		record := rest[used : used+int(size)]
		rest = rest[used+int(size):]
		if n < from {
			continue
		}
		_, time := binary.Varint(record[1:])
		_, offset := binary.Varint(record[1+time:])
		head := binary.AppendVarint(record[:1+time:1+time], int64(n-from))
		tail := record[1+time+offset:]
		part.buf = binary.AppendVarint(part.buf, int64(len(head)+len(tail)))
		part.buf = append(append(part.buf, head...), tail...)
		part.n++
	}
	return part
}

func appendBytes(b, x []byte) []byte {
	b = binary.AppendVarint(b, int64(len(x)))
	return append(b, x...)
}

func bytesSize(n int) int { return varintSize(int64(n)) + n }

// varintSize is how many bytes AppendVarint appends.
func varintSize(x int64) int {
	u := uint64(x<<1) ^ uint64(x>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// recordSize bounds the size of a record in a batch.
func recordSize(r *Record) int {
	n := 32 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 8 + len(r.Headers[i].Name) + len(r.Headers[i].Value)
	}
	return n
}

// Compression of batches.
type Compression string

// Compressions, in the order of how much they cost and gain.
const (
	None   Compression = "none"
	Snappy Compression = "snappy"
	LZ4    Compression = "lz4"
	Zstd   Compression = "zstd"
)

// Attributes of a batch, by compression.
var codecs = map[Compression]uint16{None: 0, Snappy: 2, LZ4: 3, Zstd: 4}

// Validate says whether a compression is known.
func (c Compression) Validate() error {
	if _, ok := codecs[c]; !ok {
		return fmt.Errorf("kafka: compression %q is not known: want %s, %s, %s or %s", string(c), None, Snappy, LZ4, Zstd)
	}
	return nil
}

// compressor compresses batches, for one goroutine.
type compressor struct {
	codec Compression
	buf   []byte
	lz4   *lz4.Writer
	zstd  *zstd.Encoder
}

// seal completes a batch and returns its bytes with their length before them.
// They are valid until the next call or change of the batch.
func (c *compressor) seal(b *batch) ([]byte, error) {
	whole := b.buf
	if c.codec != None {
		packed, err := c.compress(b.buf[batchHeader:])
		if err != nil {
			return nil, fmt.Errorf("kafka: %s: %w", c.codec, err)
		}
		whole = packed
	}
	be := binary.BigEndian
	be.PutUint32(whole, uint32(len(whole)-4))
	h := whole[4:]
	be.PutUint64(h[0:], 0)                                   // base offset
	be.PutUint32(h[8:], uint32(len(h)-12))                   // length of what follows
	be.PutUint32(h[12:], 0xffffffff)                         // leader's epoch: not known
	h[16] = 2                                                // magic
	be.PutUint16(h[21:], codecs[c.codec])                    // attributes
	be.PutUint32(h[23:], uint32(b.n-1))                      // last offset
	be.PutUint64(h[27:], uint64(b.first))                    // base timestamp
	be.PutUint64(h[35:], uint64(b.last))                     // largest timestamp
	be.PutUint64(h[43:], 0xffffffffffffffff)                 // producer's id: none
	be.PutUint16(h[51:], 0xffff)                             // producer's epoch
	be.PutUint32(h[53:], 0xffffffff)                         // base sequence
	be.PutUint32(h[57:], uint32(b.n))                        // records
	be.PutUint32(h[17:], crc32.Checksum(h[21:], castagnoli)) // of what follows
	return whole, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *compressor) compress(records []byte) ([]byte, error) {
	if c.buf == nil {
		c.buf = make([]byte, batchHeader, batchHeader+len(records)/2)
	}
	switch c.codec {
	case Snappy:
		need := batchHeader + s2.MaxEncodedLen(len(records))
		if cap(c.buf) < need {
			c.buf = make([]byte, need)
		}
		n := len(s2.EncodeSnappy(c.buf[batchHeader:need], records))
		return c.buf[:batchHeader+n], nil
	case Zstd:
		if c.zstd == nil {
			var err error
			if c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
				return nil, err
			}
		}
		c.buf = c.zstd.EncodeAll(records, c.buf[:batchHeader])
		return c.buf, nil
	}
	out := bytes.NewBuffer(c.buf[:batchHeader])
	if c.lz4 == nil {
		c.lz4 = lz4.NewWriter(nil)
		if err := c.lz4.Apply(lz4.BlockSizeOption(lz4.Block256Kb), lz4.ChecksumOption(false)); err != nil {
			return nil, err
		}
	}
	c.lz4.Reset(out)
	if _, err := c.lz4.Write(records); err != nil {
		return nil, err
	}
	if err := c.lz4.Close(); err != nil {
		return nil, err
	}
	c.buf = out.Bytes()
	return c.buf, nil
}

// partitionOf is where other programs, too, put a key: the hash of the Java
// client, murmur2, without its sign.
func partitionOf(key []byte, n int) int {
	const m, seed = 0x5bd1e995, 0x9747b28c
	h := uint32(seed) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return int(h&0x7fffffff) % n
}
