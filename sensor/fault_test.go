package sensor_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// shrinking is a capture file that is cut off to nothing when so many batches of
// it are about to be handed out: later than the file's reader could notice.
type shrinking struct {
	*file.Reader
	path    string
	batches int
}

func (s *shrinking) NextBatch(ps []capture.Packet) (int, error) {
	n, err := s.Reader.NextBatch(ps)
	if s.batches--; s.batches == 0 {
		if e := os.Truncate(s.path, 0); e != nil {
			err = errors.Join(err, e)
		}
	}
	return n, err
}

// TestFileCutWhileMapped asks that a mapped capture that is gone from under the
// packets is an error that names it, that what was seen before is published, and
// that the accounts balance. A parser that is called with such a packet has not
// failed.
func TestFileCutWhileMapped(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	r := &recorder{at: epoch}
	c := r.call(ap(1, 4000), ap(2, 7777))
	c.say("SHOUT\n")
	for range 6000 {
		c.say(strings.Repeat("#", 999) + "\n")
	}
	content := pcapOf(r.packets[0].Link, r.packets)
	for _, workers := range []int{1, 2} {
		path := filepath.Join(t.TempDir(), "border.pcap")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, s, events, err := listen(t, config(workers), func(int) (capture.Source, error) {
			src, err := file.Open(path)
			if err != nil {
				return nil, err
			}
			return &shrinking{Reader: src.(*file.Reader), path: path, batches: 4}, nil
		})
		if err == nil || !strings.Contains(err.Error(), "border.pcap: cut off at byte 0") {
			t.Errorf("%d workers: error %v", workers, err)
		}
		if len(events) == 0 && workers == 1 { // several may not have come to the first packet
			t.Error("no events")
		}
		if n := s.Counters().ParserErrors; len(n) > 0 {
			t.Errorf("%d workers: %v", workers, n)
		}
		checkLedger(t, events)
	}
	// Nor does a bug end more than its flow, when there is a mapping.
	r.packets = r.packets[:0]
	c = r.call(ap(1, 4000), ap(2, 7777))
	c.say("SHOUT\nBUG\n")
	for range 6000 {
		c.say(strings.Repeat("#", 999) + "\n")
	}
	path := filepath.Join(t.TempDir(), "border.pcap")
	if err := os.WriteFile(path, pcapOf(r.packets[0].Link, r.packets), 0o600); err != nil {
		t.Fatal(err)
	}
	_, s, events, err := listen(t, config(1), func(int) (capture.Source, error) { return file.Open(path) })
	if err != nil || s.Counters().ParserErrors["shout"]["panic"] != 1 {
		t.Errorf("a bug: %v, %v", s.Counters().ParserErrors, err)
	}
	checkLedger(t, events)
}

var _ capture.Mapper = (*file.Reader)(nil)
