package main

import (
	"context"
	"io"
	"runtime"
	"sync"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
)

func newEvents() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events FILE...",
		Short: "Print the events of captures as JSON lines",
		Long: `Print what a sensor makes of captures (pcap, pcapng, plain or compressed by
gzip or zstd; - for standard input): flows, transactions of protocols, and the
sensor's accounts. Several captures are read as one, in the order of time.

With --count, print tables instead: how many events of each kind there are, and
how many flows, packets and bytes of each transport and state.`,
		Example: "  tocsin events capture.pcap.gz | jq -c 'select(.event.dataset==\"tocsin.dns\")'\n  tocsin events --count --protocols none capture.pcap.gz",
		Args:    cobra.MinimumNArgs(1),
	}
	in := sensingFlags(cmd)
	onlyCount := cmd.Flags().Bool("count", false, "print how many events and flows there are, not the events")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		defer collectAt(eventsGC)()
		inputs := openInputs(cmd.Context(), args, cmd.InOrStdin())
		if *onlyCount {
			made := uncounted{}
			s, err := in.files(inputs, made, func(c *sensor.Config) { c.CountOnly = true })
			if err != nil {
				return err
			}
			return count(cmd.Context(), s, made, cmd.OutOrStdout())
		}
		s, err := in.files(inputs, &lines{w: cmd.OutOrStdout()})
		if err != nil {
			return err
		}
		return replay(cmd.Context(), s)
	}
	return cmd
}

// eventsGC is the garbage collector's percentage while events are printed.
// Against 100, it takes 7 to 10 % less CPU where there are many events, and up
// to a fifth more memory.
const eventsGC = 150

// lines is a sink that writes events as JSON lines. To make the lines takes a
// good part of a sensor's time, and one goroutine that does it would hold back
// several workers: of a large batch, several goroutines make a part each.
type lines struct {
	w     io.Writer
	parts [8]linesPart
}

// linesPart is what one goroutine needs.
type linesPart struct {
	enc event.Encoder
	buf []byte
	_   [64]byte // of another's cache line
}

// linesAtLeast is how many events are worth a goroutine: a tenth of a
// millisecond of work.
const linesAtLeast = 128

// Publish implements sensor.Sink.
func (l *lines) Publish(_ context.Context, batch []event.Event) error {
	n := max(1, min(len(l.parts), runtime.GOMAXPROCS(0), len(batch)/linesAtLeast))
	var making sync.WaitGroup
	for i := n - 1; i > 0; i-- {
		making.Go(func() { l.parts[i].encode(batch[i*len(batch)/n : (i+1)*len(batch)/n]) })
	}
	l.parts[0].encode(batch[:len(batch)/n])
	making.Wait()
	for i := range l.parts[:n] {
		if _, err := l.w.Write(l.parts[i].buf); err != nil {
			return err
		}
	}
	return nil
}

func (p *linesPart) encode(events []event.Event) {
	p.buf = p.buf[:0]
	for i := range events {
		p.buf = append(p.enc.Append(p.buf, &events[i]), '\n')
	}
}
