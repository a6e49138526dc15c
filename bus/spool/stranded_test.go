package spool

import (
	"math/rand/v2"
	"testing"
)

// TestNothingIsLeftBehind: however appending, reading and acknowledging follow
// one another, in the end nothing is pending, and of what arrived no file is left
// but the one that is written to.
func TestNothingIsLeftBehind(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		cfg := DefaultConfig(t.TempDir())
		cfg.Bytes, cfg.Sync = minBytes, 1<<40
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var batches []*Batch
		ack := func(n int) {
			for range min(n, len(batches)) {
				if err := s.Ack(batches[0]); err != nil {
					t.Fatal(err)
				}
				batches = batches[1:]
			}
		}
		for range 60 {
			switch rnd.IntN(4) {
			case 0, 1:
				payloads := make([][]byte, 1+rnd.IntN(3))
				for i := range payloads {
					payloads[i] = make([]byte, 1+rnd.IntN(40<<10))
				}
				s.Append(Class(rnd.IntN(int(NumClasses))), payloads...)
			case 2:
				if b, ok := s.Next(1 + rnd.IntN(100<<10)); ok {
					batches = append(batches, b)
				}
			case 3:
				ack(rnd.IntN(3))
			}
		}
		for {
			b, ok := s.Next(1 << 20)
			if !ok {
				break
			}
			batches = append(batches, b)
		}
		ack(len(batches))
		if n := s.Pending(); n != 0 {
			t.Errorf("seed %d: %d records are pending, and there is nothing to read", seed, n)
		}
		for c := range NumClasses {
			if n := len(s.queues[c].segments); n > 1 {
				t.Errorf("seed %d: class %s has %d segments of what has arrived", seed, c, n)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
