package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// ID identifies an event or an alert. It is derived from content only, so the
// same packets make the same IDs however often they are read.
//
// The first 6 bytes are the big-endian number of milliseconds since 1970 of
// the event's time, the last 10 the head of a SHA-256: IDs sort by time, which
// lets every store find an ID, or see that it already has it, by looking at
// one small stretch of time; and nobody can choose packets whose events
// overwrite another's.
type ID [16]byte

// String returns 32 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler; an unset ID is empty.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id = ID{}
	if len(b) > 0 {
		*id, err = ParseID(string(b))
	}
	return err
}

// Time is the time that the ID carries, in whole milliseconds.
func (id ID) Time() time.Time {
	var b [8]byte
	copy(b[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:]))).UTC()
}

// Compare orders IDs by time and then by hash.
func (id ID) Compare(o ID) int { return bytes.Compare(id[:], o[:]) }

// IsZero reports whether the ID is unset.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("id %q: want %d hexadecimal digits, have %d characters", s, 2*len(id), len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id %q: %w", s, err)
	}
	return id, nil
}

// FirstID is the smallest ID of time t.
func FirstID(t time.Time) ID {
	var id ID
	putMillis(&id, t)
	return id
}

// LastID is the largest ID of time t.
func LastID(t time.Time) ID {
	id := FirstID(t)
	for i := 6; i < len(id); i++ {
		id[i] = 0xff
	}
	return id
}

func putMillis(id *ID, t time.Time) {
	ms := max(t.UnixMilli(), 0)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(ms))
	copy(id[:6], b[2:])
}

// Hasher makes IDs. It keeps a scratch buffer and is for one goroutine.
// Every part is written with its length, so no two sequences of parts collide
// by their borders.
type Hasher struct {
	buf []byte
}

// NewHasher returns a Hasher that is ready for Reset.
func NewHasher() *Hasher { return &Hasher{buf: make([]byte, 0, 256)} }

// Reset forgets all parts.
func (h *Hasher) Reset() { h.buf = h.buf[:0] }

// Str adds a string.
func (h *Hasher) Str(s string) {
	h.Uint(uint64(len(s)))
	h.buf = append(h.buf, s...)
}

// Bytes adds bytes.
func (h *Hasher) Bytes(b []byte) {
	h.Uint(uint64(len(b)))
	h.buf = append(h.buf, b...)
}

// Uint adds a number.
func (h *Hasher) Uint(n uint64) { h.buf = binary.BigEndian.AppendUint64(h.buf, n) }

// Time adds a time with its nanoseconds.
func (h *Hasher) Time(t time.Time) { h.Uint(uint64(t.UnixNano())) }

// ID returns the identifier at time t of the parts added since Reset.
func (h *Hasher) ID(t time.Time) ID {
	sum := sha256.Sum256(h.buf)
	var id ID
	putMillis(&id, t)
	copy(id[6:], sum[:])
	return id
}
