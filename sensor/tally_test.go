package sensor_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/tocsin/tocsin/event"
)

// TestTally wants what is only counted to be what is made.
func TestTally(t *testing.T) {
	packets := town(7, 20000)
	_, made, events, _ := listen(t, config(1), play(packets))
	kinds := map[event.Kind]uint64{}
	flows := map[string]uint64{}
	for i := range events {
		e := &events[i]
		kinds[e.Kind]++
		if e.Kind == event.KindFlow {
			f := &e.Flow
			key := fmt.Sprint(f.Transport, " ", f.State)
			flows[key+" events"]++
			flows[key+" packets"] += f.Src.Packets + f.Dst.Packets
			flows[key+" bytes"] += f.Src.Bytes + f.Dst.Bytes
			flows[key+" payload"] += f.Src.Payload + f.Dst.Payload
		}
	}
	if kinds[event.KindFlow] == 0 || kinds[event.KindARP] == 0 || kinds["shout"] == 0 {
		t.Fatalf("a town without %v", kinds)
	}
	for _, workers := range []int{1, 3} {
		cfg := config(workers)
		cfg.CountOnly = true
		_, s, ledger, _ := listen(t, cfg, play(packets))
		got := s.Tally()
		got.Kinds[event.KindLedger] = uint64(len(ledger))
		if !maps.Equal(got.Kinds, kinds) {
			t.Errorf("%d workers: %v, want %v", workers, got.Kinds, kinds)
		}
		sums := map[string]uint64{}
		for _, f := range got.Flows {
			key := fmt.Sprint(f.Transport, " ", f.State)
			sums[key+" events"], sums[key+" packets"], sums[key+" bytes"], sums[key+" payload"] = f.Events, f.Packets, f.Bytes, f.Payload
		}
		if !maps.Equal(sums, flows) {
			t.Errorf("%d workers: %v, want %v", workers, sums, flows)
		}
		if a, b := s.Counters().Ledger, made.Counters().Ledger; !maps.Equal(a, b) {
			t.Errorf("%d workers: account %v, want %v", workers, a, b)
		}
	}
	if tally := made.Tally(); len(tally.Kinds) > 0 || len(tally.Flows) > 0 {
		t.Errorf("a sensor that makes events has counted %v", tally)
	}
}
