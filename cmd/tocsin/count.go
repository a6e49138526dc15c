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

// uncounted is a sink that counts the events that a sensor makes even if it only
// counts: of its ledger, and of floods.
type uncounted map[event.Kind]uint64

// Publish implements sensor.Sink.
func (u uncounted) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		u[batch[i].Kind]++
	}
	return nil
}

// count runs a sensor that only counts, and prints tables of the events it would
// have made, and of flows by state.
func count(ctx context.Context, s *sensor.Sensor, made uncounted, out io.Writer) error {
	err := replay(ctx, s)
	t := s.Tally()
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "EVENTS\tKIND\t")
	maps.Copy(made, t.Kinds)
	for _, kind := range slices.Sorted(maps.Keys(made)) {
		fmt.Fprintf(w, "%d\t%s\t\n", made[kind], kind)
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
