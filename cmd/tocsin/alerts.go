package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
		Long: `Detect in captures, or in logs of events, and print the alerts, in the order of
time. Logs are what tocsin events prints, Suricata's EVE JSON, and Zeek's logs, as
tab-separated values or JSON; each shows by its content which it is, and may be
compressed. The result depends on nothing but the files, the rules, the lists and
the assets.`,
		Example: "  tocsin alerts border.pcap.zst dmz.pcap.zst --assets assets.yml --table\n  tocsin events big.pcap | tocsin alerts -\n  tocsin alerts eve.json conn.log.gz dns.log.gz --table",
		Args:    cobra.MinimumNArgs(1),
	}
	in, what := sensingFlags(cmd), detectingFlags(cmd)
	table := cmd.Flags().Bool("table", false, "print a table for people")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := what.correlator(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		found := findings{}
		sink := &detect{c: c, found: found}
		inputs := openInputs(cmd.Context(), args, cmd.InOrStdin())
		captures, logs, err := divide(inputs)
		if err != nil {
			return err
		}
		if len(captures) > 0 && len(logs) > 0 {
			return usagef("some of the files are captures and some are logs of events; give one kind at a time")
		}
		// What was found before an error is printed all the same.
		var failed error
		if len(logs) > 0 {
			failed = readLogs(cmd.Context(), logs, sink, cmd.ErrOrStderr())
		} else {
			s, err := in.files(captures, sink)
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
