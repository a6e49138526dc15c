package sensor

import (
	"context"
	"sync/atomic"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// feed reads a capture once for several workers. A goroutine of its own cuts the
// packets, takes a first look at each, and gives every worker the same rounds of
// them, which nobody changes; a worker passes over what is not its own. Only the
// copying of the file and the first look are not shared out, so that two workers
// together take little more than one.
type feed struct {
	src    capture.BlockSource
	mapped capture.Mapper // src, if its packets lie in the file
	first  looker
	free   chan *round
	shares []*share
	block  *block   // that src reads into
	blocks []*block // all of them
}

const (
	// roundSize is how many packets a worker gets at a time: so many that
	// handing them over does not matter.
	roundSize = 512
	// rounds is how many there are: enough that the reader and a worker that
	// differ for a moment need not wait for each other.
	rounds = 6
)

// round is some packets that come one after the other.
type round struct {
	raws    [roundSize]capture.Packet
	looks   [roundSize]look
	n       int
	err     error // of the source, instead of packets
	block   *block
	holders atomic.Int32 // workers that have not finished with it

	interfaces []capture.Interface // of the source, when the round was read
	counters   capture.Counters
}

// block is memory that packets of some rounds lie in.
type block struct {
	bytes   []byte
	holders atomic.Int32 // rounds, and the reader
}

// share is a worker's end of a feed.
type share struct {
	feed       *feed
	rounds     chan *round
	interfaces []capture.Interface
	counters   capture.Counters
}

func newFeed(src capture.BlockSource, cfg *Config) *feed {
	f := &feed{src: src, free: make(chan *round, rounds)}
	f.first.dec = &packet.Decoder{DropBadChecksums: cfg.DropBadChecksums}
	for range rounds {
		f.free <- new(round)
	}
	for range cfg.Workers {
		f.shares = append(f.shares, &share{feed: f, rounds: make(chan *round, rounds)})
	}
	f.mapped = mapped(src)
	f.block = f.add(src.Exchange(f.exchange))
	return f
}

// add takes a block into account that the reader has.
func (f *feed) add(bytes []byte) *block {
	b := &block{bytes: bytes}
	b.holders.Add(1)
	f.blocks = append(f.blocks, b)
	return b
}

// exchange lets the source have a block that nobody needs for the one it has
// read into. There are never more blocks than one for each round and one to read.
func (f *feed) exchange([]byte) []byte {
	used := f.block
	for _, b := range f.blocks {
		if b != used && b.holders.Load() == 0 {
			b.holders.Add(1)
			f.block = b
			break
		}
	}
	if f.block == used {
		f.block = f.add(make([]byte, len(used.bytes)))
	}
	used.holders.Add(-1)
	return f.block.bytes
}

// run reads until the source ends or nobody wants any more.
func (f *feed) run(ctx context.Context) {
	for {
		var r *round
		select {
		case r = <-f.free:
		case <-ctx.Done():
			return
		}
		gone := read(f.mapped, func() {
			r.n, r.err = f.src.NextBatch(r.raws[:])
			f.first.look(r.raws[:r.n], r.looks[:r.n])
		})
		if gone != nil {
			r.n, r.err = 0, gone
		}
		r.block = f.block
		r.block.holders.Add(1)
		r.interfaces, r.counters = f.src.Interfaces(), f.src.Counters()
		r.holders.Store(int32(len(f.shares)))
		err := r.err // the round is not the reader's any more once it was handed over
		for _, s := range f.shares {
			s.rounds <- r // which has room for all
		}
		if err != nil {
			return
		}
	}
}

// ready returns the next round if it need not be waited for, or nil. It is for
// one goroutine, which gives every round back with done.
func (s *share) ready() *round {
	select {
	case r := <-s.rounds:
		s.interfaces, s.counters = r.interfaces, r.counters
		return r
	default:
		return nil
	}
}

// next returns the next round, or nil if nobody wants any more.
func (s *share) next(ctx context.Context) *round {
	select {
	case r := <-s.rounds:
		s.interfaces, s.counters = r.interfaces, r.counters
		return r
	case <-ctx.Done():
		return nil
	}
}

func (s *share) done(r *round) {
	if r.holders.Add(-1) == 0 {
		r.block.holders.Add(-1)
		s.feed.free <- r // which has room for all
	}
}

// Interfaces are those of the source when the present round was read.
func (s *share) Interfaces() []capture.Interface { return s.interfaces }

// Counters are those of the source when the present round was read.
func (s *share) Counters() capture.Counters { return s.counters }

// Close closes the source, if it is the first share. Nobody may read any more.
func (s *share) Close() error {
	if s == s.feed.shares[0] {
		return s.feed.src.Close()
	}
	return nil
}
