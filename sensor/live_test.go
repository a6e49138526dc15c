package sensor_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// shared is one worker's share of a live link. It ends when all shares have.
type shared struct {
	tape
	others *sync.WaitGroup
	ended  bool
	stays  bool // is never at an end by itself
}

func (s *shared) Next(p *capture.Packet) error {
	err := s.tape.Next(p)
	if err == nil {
		return nil
	}
	if s.stays {
		*p = capture.Packet{Time: epoch}
		return capture.ErrIdle
	}
	if !s.ended {
		s.ended = true
		s.others.Done()
	}
	s.others.Wait()
	return err
}

func (s *shared) Counters() capture.Counters {
	c := s.tape.Counters()
	c.Outages = c.Filtered
	return c
}

// Workers of a live link see what one would see, each a part of it, and their
// accounts add up.
func TestLiveWorkers(t *testing.T) {
	packets := town(3, 3000)
	var one []string
	for _, workers := range []int{1, 3} {
		shares := make([]*shared, workers)
		var others sync.WaitGroup
		for n := range shares {
			shares[n] = &shared{tape: tape{lost: map[string]uint64{"kernel": 3}}, others: &others}
			others.Add(1)
		}
		var dec packet.Decoder
		for _, raw := range packets {
			var p packet.Packet
			dec.Decode(&p, &raw)
			s := shares[packet.Hash(&p)%uint32(workers)]
			s.packets = append(s.packets, raw)
		}
		cfg := config(workers)
		cfg.Live = true
		_, s, events, err := listen(t, cfg, func(n int) (capture.Source, error) { return shares[n], nil })
		if !errors.Is(err, sensor.ErrLinkType) {
			t.Fatal(err)
		}
		sum := checkLedger(t, events)
		if want := uint64(workers); sum["seen"] != uint64(len(packets))+10*want || sum["dropped.kernel"] != 3*want || sum["filtered"] != 7*want || sum["interface_down"] != 7*want {
			t.Errorf("%d workers: ledger %v, want %d packets and 10 that are not there of each worker", workers, sum, len(packets))
		}
		if total := s.Counters().Ledger; total["seen"] != sum["seen"] || total["events"] != sum["events"] {
			t.Errorf("%d workers: counters %v, ledger %v", workers, total, sum)
		}
		ids := map[event.ID]bool{}
		var lines []string
		for i := range events {
			if e := &events[i]; ids[e.ID] {
				t.Errorf("%d workers: twice: %s", workers, e.AppendJSON(nil))
			} else if ids[e.ID] = true; e.Kind != event.KindLedger {
				lines = append(lines, string(e.AppendJSON(nil)))
			}
		}
		slices.Sort(lines)
		if one == nil {
			one = lines
		} else if !slices.Equal(lines, one) {
			t.Errorf("%d workers: %s", workers, firstDifference(lines, one))
		}
	}
}

// When one worker can see no more, the others do not go on as if nothing was.
func TestLiveWorkerFails(t *testing.T) {
	gone := errors.New("capture on eth0: the interface no longer exists")
	cfg := config(2)
	cfg.Live = true
	var others sync.WaitGroup
	others.Add(1)
	_, _, _, err := listen(t, cfg, func(n int) (capture.Source, error) {
		return &shared{tape: tape{err: gone}, others: &others, stays: n == 1}, nil
	})
	if !errors.Is(err, gone) || err.Error() != gone.Error() {
		t.Errorf("got %v, want %v", err, gone)
	}
}
