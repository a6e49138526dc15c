package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
)

// ledgers is a sink that counts events: of a sensor that only counts, they are
// of its ledger.
type ledgers uint64

// Publish implements sensor.Sink.
func (n *ledgers) Publish(_ context.Context, batch []event.Event) error {
	*n += ledgers(len(batch))
	return nil
}

// count runs a sensor that only counts, and prints tables of the events it would
// have made, and of flows by state.
func count(ctx context.Context, s *sensor.Sensor, n *ledgers, out io.Writer) error {
	err := replay(ctx, s)
	t := s.Tally()
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "EVENTS\tKIND\t")
	if *n > 0 {
		if t.Kinds == nil {
			t.Kinds = map[event.Kind]uint64{}
		}
		t.Kinds[event.KindLedger] = uint64(*n)
	}
	for _, kind := range slices.Sorted(maps.Keys(t.Kinds)) {
		fmt.Fprintf(w, "%d\t%s\t\n", t.Kinds[kind], kind)
	}
	if len(t.Flows) > 0 {
		fmt.Fprintln(w, "\t\t\nFLOWS\tTRANSPORT\tSTATE\tPACKETS\tBYTES\tPAYLOAD\t")
	}
	for _, f := range t.Flows {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t\n", f.Events, transportName(f.Transport), f.State, f.Packets, f.Bytes, f.Payload)
	}
	if flushed := w.Flush(); err == nil {
		err = flushed
	}
	return err
}

// transportName is network.transport of an IP protocol.
func transportName(n uint8) string {
	e := event.Event{Flow: event.Flow{Transport: n}}
	return e.Get("network.transport").String()
}
