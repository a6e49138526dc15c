package sensor_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
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

// TestOrder wants the same account of a stream from whoever follows it: its
// record, as far as that goes, or a conversation from the start, of a protocol
// that is never found.
func TestOrder(t *testing.T) {
	deaf := proto.Protocol{
		Name: "deaf", Transport: proto.TCP,
		Probe: func(proto.Dir, []byte) proto.Verdict { return proto.No },
		New:   func() proto.Parser { return nil },
	}
	told := 0
	for seed := range uint64(20) {
		packets := town(seed, 3000)
		var accounts [2][]string
		for i, protocols := range [][]proto.Protocol{{deaf}, nil} {
			cfg := config(1)
			cfg.Protocols = protocols
			_, _, events, _ := listen(t, cfg, play(packets))
			for j := range events {
				e := &events[j]
				e.Fields = slices.DeleteFunc(e.Fields, func(f event.Field) bool {
					// What only a conversation tells.
					return strings.HasSuffix(f.Name, "_entropy") || f.Name == "tocsin.flow.pulses" || strings.HasSuffix(f.Name, ".conflicting") || strings.HasSuffix(f.Name, "stream_conflicting_bytes")
				})
				for k := range e.Fields {
					if strings.HasSuffix(e.Fields[k].Name, "_missed") || strings.HasSuffix(e.Fields[k].Name, "_retransmitted") {
						told++
					}
				}
				accounts[i] = append(accounts[i], string(e.AppendJSON(nil)))
			}
		}
		if !slices.Equal(accounts[0], accounts[1]) {
			for i := range min(len(accounts[0]), len(accounts[1])) {
				if accounts[0][i] != accounts[1][i] {
					t.Fatalf("seed %d: a conversation says\n%s\na record\n%s", seed, accounts[0][i], accounts[1][i])
				}
			}
			t.Fatalf("seed %d: %d events, not %d", seed, len(accounts[1]), len(accounts[0]))
		}
	}
	if told == 0 {
		t.Error("no stream had a fault")
	}
}
