package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

func newAlerts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alerts FILE...",
		Short: "Print the alerts of captures or event logs as JSON lines",
		Long: `Detect in captures, or in logs of events as tocsin events prints them, and
print the alerts, in the order of time. The result depends on nothing but the
files, the rules, the lists and the assets.`,
		Example: "  tocsin alerts border.pcap.zst dmz.pcap.zst --assets assets.yml --table\n  tocsin events big.pcap | tocsin alerts -",
		Args:    cobra.MinimumNArgs(1),
	}
	in, what := sensingFlags(cmd), detectingFlags(cmd)
	table := cmd.Flags().Bool("table", false, "print a table for people")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := what.correlator(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		found := findings{}
		sink := &detect{c: c, found: found}
		inputs := openInputs(cmd.Context(), args, cmd.InOrStdin())
		logs, err := areLogs(inputs)
		if err != nil {
			return err
		}
		// What was found before an error is printed all the same.
		var failed error
		if logs {
			failed = readLogs(cmd.Context(), inputs, sink)
		} else {
			s, err := in.files(inputs, sink)
			if err != nil {
				return err
			}
			failed = replay(cmd.Context(), s)
		}
		found.add(c.Flush())
		alerts := found.sorted()
		w := bufio.NewWriter(cmd.OutOrStdout())
		if *table {
			printAlerts(w, alerts)
		} else {
			for _, a := range alerts {
				e := a.Event()
				w.Write(append(e.AppendJSON(nil), '\n'))
			}
		}
		if err := errors.Join(failed, w.Flush()); err != nil {
			return err
		}
		if len(alerts) == 0 {
			return errNothing
		}
		return nil
	}
	return cmd
}

func printAlerts(w io.Writer, alerts []*event.Alert) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "TIME (UTC)\tLEVEL\tCOUNT\tTECHNIQUES\tRULE\tWHAT")
	for _, a := range alerts {
		var techniques []string
		for _, x := range a.Techniques {
			techniques = append(techniques, x.ID)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", a.First.Format(timeLayout), a.Level, a.Count, strings.Join(techniques, " "), a.Rule.Name, a.Message)
	}
	t.Flush()
}

const timeLayout = "2006-01-02 15:04:05.000"

// detect is a sink that keeps the alerts.
type detect struct {
	c     *correlator.Correlator
	found findings
}

// Publish implements sensor.Sink.
func (d *detect) Publish(ctx context.Context, batch []event.Event) error {
	// A correlator remembers texts of events.
	kept := make([]event.Event, len(batch))
	for i := range batch {
		kept[i] = batch[i].Clone()
	}
	alerts, err := d.c.Process(ctx, kept)
	d.found.add(alerts)
	return err
}

// areLogs reports whether the inputs are logs of events. What can be read only
// once is looked at without taking anything from it.
func areLogs(inputs []input) (bool, error) {
	logs := 0
	for _, in := range inputs {
		head := make([]byte, 64)
		if in.once != nil {
			peeked, err := in.once.Peek(1)
			if err != nil && !errors.Is(err, io.EOF) {
				return false, fmt.Errorf("%s: %w", in.name, err)
			}
			head = peeked
		} else {
			f, err := os.Open(in.name)
			if err != nil {
				return false, err
			}
			n, err := io.ReadFull(f, head)
			if err := errors.Join(f.Close(), whole(err)); err != nil {
				return false, fmt.Errorf("%s: %w", in.name, err)
			}
			head = head[:n]
		}
		if bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{")) {
			logs++
		}
	}
	if logs > 0 && logs < len(inputs) {
		return false, usagef("some of the files are captures and some are logs of events; give one kind at a time")
	}
	return logs > 0, nil
}

// whole forgives the end of a file that is shorter than what was asked for.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Bounds of reading logs: bytes of one event, lines named that are none, and
// events given on at a time.
const (
	maxLogLine   = 4 << 20
	maxLogErrors = 20
	logBatch     = 1024
)

// readLogs gives the events of logs to a sink. A line that is no event is
// passed over; the error names the file and the line of each, up to
// maxLogErrors of them, and the first fault of reading.
func readLogs(ctx context.Context, inputs []input, sink *detect) error {
	fields, err := schema()
	if err != nil {
		return err
	}
	var bad []error
	count := 0
	reject := func(in input, n int, err error) {
		if count++; count <= maxLogErrors {
			bad = append(bad, fmt.Errorf("%s:%d: %w", in.name, n, err))
		}
	}
	var batch []event.Event
	for _, in := range inputs {
		err := eachLine(in, func(n int, line []byte, err error) error {
			if err != nil {
				reject(in, n, err)
				return nil
			}
			var e event.Event
			err = fields.Decode(line, &e)
			if err == nil && (e.Time.IsZero() || e.ID.IsZero()) {
				err = errors.New("no @timestamp or no event.id: this is no event of tocsin events")
			}
			if err != nil {
				reject(in, n, err)
				return nil
			}
			if batch = append(batch, e); len(batch) < logBatch {
				return nil
			}
			err = errors.Join(ctx.Err(), sink.Publish(ctx, batch))
			batch = batch[:0]
			return err
		})
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", in.name, err))
			break
		}
	}
	if err := sink.Publish(ctx, batch); err != nil {
		bad = append(bad, err)
	}
	if more := count - maxLogErrors; more > 0 {
		bad = append(bad, fmt.Errorf("and %d more lines that are no events", more))
	}
	return errors.Join(bad...)
}

// eachLine calls fn for each line that is not blank, with an error instead of
// those longer than an event can be. The line is valid until fn returns.
func eachLine(in input, fn func(n int, line []byte, err error) error) error {
	r := in.once
	if r == nil {
		f, err := os.Open(in.name)
		if err != nil {
			return err
		}
		defer f.Close()
		r = bufio.NewReaderSize(f, 64<<10)
	}
	var line []byte
	for n, long := 1, false; ; {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLogLine; !long {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if long {
			if err := fn(n, nil, fmt.Errorf("longer than %d bytes", maxLogLine)); err != nil {
				return err
			}
		} else if line = bytes.TrimSpace(line); len(line) > 0 {
			if err := fn(n, line, nil); err != nil {
				return err
			}
		}
		if err != nil {
			return whole(err)
		}
		n, long, line = n+1, false, line[:0]
	}
}
