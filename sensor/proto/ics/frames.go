package ics

import (
	"errors"

	"github.com/tocsin/tocsin/sensor/proto"
)

// Framing says how the messages of a protocol follow each other in a stream.
type Framing struct {
	// Size returns how long the message is that b begins with: 0 where b is too
	// short to tell, -1 where it begins with none.
	Size func(b []byte) int
	// Valid reports whether a whole message, or its first Max bytes, is
	// believable. After lost bytes only such a one is taken for the next.
	Valid func(m []byte) bool
	// Max is how much of a message is given to the parser; what is longer is
	// given without its end, which is passed over. It bounds what waits.
	Max int
}

// maxSkip is how many bytes of a direction may pass without a message before
// the flow is given up.
const maxSkip = 64 << 10

var errNoMessage = errors.New("no message in 64 KiB")

// Frames cuts the two directions of a flow into messages. The zero Frames is
// ready.
type Frames struct {
	Lost  bool // packets of the flow were not seen
	sides [2]frameSide
}

type frameSide struct {
	torn    bool // the next byte may be inside of a message
	skipped int  // bytes passed over since the last message
	rest    int  // bytes of an overlong message that are still to come
}

// Next takes a message off b, of which n bytes are then used. m is nil where
// there is none yet. It is a message's first Max bytes; odd says what came
// before it, and whether it is all.
func (f *Frames) Next(g *Framing, dir proto.Dir, b []byte) (m []byte, n int, odd Odd, err error) {
	s := &f.sides[dir]
	for n < len(b) {
		if s.rest > 0 {
			take := min(s.rest, len(b)-n)
			s.rest -= take
			n += take
			continue
		}
		if s.torn {
			skip := g.resync(b[n:])
			n += skip
			s.skipped += skip
			if s.skipped > maxSkip {
				return nil, n, 0, errNoMessage
			}
		}
		size := g.Size(b[n:])
		have := min(size, g.Max)
		switch {
		case size < 0:
			// Whoever wants to blind us sends a byte of nonsense, so look for
			// the next message instead of giving up.
			s.torn = true
			continue
		case size == 0 || len(b)-n < have:
			return nil, n, 0, nil
		}
		if s.skipped > 0 && !f.Lost {
			odd |= SkippedBytes
		}
		if size > have {
			odd |= Truncated
			s.rest = size - have
		}
		s.torn, s.skipped = false, 0
		return b[n : n+have : n+have], n + have, odd, nil
	}
	return nil, n, 0, nil
}

// resync returns how many bytes of b to pass over to where a message may begin.
func (g *Framing) resync(b []byte) int {
	first := len(b)
	for i := range b {
		size := g.Size(b[i:])
		have := min(size, g.Max)
		switch {
		case size < 0:
		case size > 0 && len(b)-i >= have:
			// A whole message is believed sooner than one before it that may
			// yet become whole.
			if g.Valid(b[i : i+have]) {
				return i
			}
		default:
			first = min(first, i)
		}
	}
	return first
}

// Gap says that n bytes of a direction were never seen.
func (f *Frames) Gap(dir proto.Dir, n int) {
	s := &f.sides[dir]
	f.Lost = true
	if n > 0 && n <= s.rest {
		s.rest -= n // nothing of it would have been looked at
		return
	}
	s.rest, s.torn = 0, true
}
