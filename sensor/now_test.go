package sensor_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto/all"
)

// witness asks a sensor how it is doing.
type witness struct {
	t     *testing.T
	s     *sensor.Sensor
	mu    sync.Mutex
	last  sensor.Now
	moved int
	top   map[string]uint64 // most bytes of the flows that were seen on their way
}

// Publish implements sensor.Sink.
func (w *witness) Publish(context.Context, []event.Event) error {
	w.look()
	return nil
}

func (w *witness) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.s.Now()
	l := event.Ledger(now.Ledger)
	if l["seen"] < w.last.Ledger["seen"] || now.Bytes < w.last.Bytes || now.At.Before(w.last.At) || l.Off() != 0 {
		w.t.Errorf("from %+v to %+v", w.last, now)
	}
	if l["seen"] > w.last.Ledger["seen"] && now.Flows > 0 {
		w.moved++
	}
	for i, f := range now.Top {
		if i > 0 && f.Src.Bytes+f.Dst.Bytes > now.Top[i-1].Src.Bytes+now.Top[i-1].Dst.Bytes || f.Sensor != "border" || len(now.Top) > 5 {
			w.t.Errorf("top: %+v", now.Top)
		}
		w.top[f.CommunityID+" "+f.Service] = f.Src.Bytes + f.Dst.Bytes
	}
	w.last = now
}

// watched is a source that has a witness look again and again while it is read:
// how far the events have come by then is the scheduler's business.
type watched struct {
	capture.Source
	packets int
	w       *witness
}

// Next implements capture.Source.
func (s *watched) Next(p *capture.Packet) error {
	if s.packets++; s.packets%500 == 0 {
		s.w.look()
	}
	return s.Source.Next(p)
}

// TestNow follows a sensor while it works, and compares what it says last with
// the account that it closes.
func TestNow(t *testing.T) {
	const path = "../testdata/scenarios/intrusion/border.pcap.zst"
	for _, workers := range []int{1, 3} {
		w := &witness{t: t, top: map[string]uint64{}}
		cfg := sensor.DefaultConfig()
		cfg.Workers, cfg.Protocols, cfg.Top = workers, all.Protocols(), 5
		s, err := sensor.New(cfg, func(int) (capture.Source, error) {
			source, err := file.Open(path)
			return &watched{Source: source, w: w}, err
		}, w)
		if err != nil {
			t.Fatal(err)
		}
		if now := s.Now(); !now.At.IsZero() || now.Ledger["seen"] != 0 {
			t.Errorf("before the beginning: %+v", now)
		}
		w.s = s
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := s.Now()
		// 11,123 packets of 3,819,041 bytes are what capinfos says.
		if !maps.Equal(now.Ledger, s.Counters().Ledger) || now.Ledger["seen"] != 11123 || now.Bytes != 3819041 || now.Flows != 0 {
			t.Errorf("%d workers: %+v, want %+v", workers, now, s.Counters().Ledger)
		}

		if len(w.top) < 5 {
			t.Errorf("%d workers: on their way were %v", workers, w.top)
		}
		if w.moved < 10 {
			t.Errorf("%d workers: it moved %d times", workers, w.moved)
		}
	}
}

// TestRoomLater has no room for the first words of a connection: what was said
// then is not missing, but not looked at.
func TestRoomLater(t *testing.T) {
	r := &recorder{at: epoch}
	// The bound of a shard is one, and two connections of the same addresses are
	// of the same shard.
	first := r.call(ap(3, 1000), ap(4, 7777))
	first.say("SHOUT\n")
	second := r.call(ap(3, 1001), ap(4, 7777))
	second.say("SHOUT\n")
	second.hear("#\n")
	first.hangUp()
	r.at = r.at.Add(10 * time.Second)
	second.say("SHOUT\n")
	second.hangUp()
	cfg := config(1)
	cfg.MaxConversations = sensor.Shards
	sink := &collector{}
	s, err := sensor.New(cfg, func(int) (capture.Source, error) { return &tape{packets: r.packets}, nil }, sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := s.Counters().Ledger; l["flows_unparsed"] != 1 || l["stream_gaps"] != 0 || l["stream_missed_bytes"] != 0 {
		t.Errorf("%v", l)
	}
	for i := range sink.events {
		if e := &sink.events[i]; e.Kind == event.KindFlow && (!e.Get("tocsin.flow.source_missed").IsZero() || e.Flow.State != "SF") {
			t.Errorf("%+v", e)
		}
	}
}
