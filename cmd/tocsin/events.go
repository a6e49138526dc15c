package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
)

func newEvents() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events FILE...",
		Short: "Print the events of captures as JSON lines",
		Long: `Print what a sensor makes of captures (pcap, pcapng, plain or compressed by
gzip or zstd; - for standard input): flows, transactions of protocols, and the
sensor's accounts. Several captures are read as one, in the order of time.`,
		Example: "  tocsin events capture.pcap.gz | jq -c 'select(.event.dataset==\"tocsin.dns\")'",
		Args:    cobra.MinimumNArgs(1),
	}
	in := sensingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := in.files(openInputs(cmd.Context(), args, cmd.InOrStdin()), &lines{w: cmd.OutOrStdout()})
		if err != nil {
			return err
		}
		return replay(cmd.Context(), s)
	}
	return cmd
}

// lines is a sink that writes events as JSON lines, batches at once.
type lines struct {
	w   io.Writer
	enc event.Encoder
	buf []byte
}

func (l *lines) Publish(_ context.Context, batch []event.Event) error {
	l.buf = l.buf[:0]
	for i := range batch {
		l.buf = append(l.enc.Append(l.buf, &batch[i]), '\n')
	}
	_, err := l.w.Write(l.buf)
	return err
}
