package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
)

func newSearch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "search [QUERY]",
		Short: "Search events and alerts",
		Long: `Search what is stored, in KQL (source.ip: 10.0.0.0/8 and not event.severity < 50),
in a subset of Lucene, or in Arkime's expressions. docs/QUERY.md has the language.`,
		Example: `  tocsin search 'event.kind: alert and event.severity >= 60'
  tocsin search 'ics.operation: write' --json
  tocsin search 'source.ip: 198.51.100.66' --last 1h`,
		Args: cobra.MaximumNArgs(1),
	}
	stored := pastFlags(cmd)
	limit := cmd.Flags().Int("limit", 1000, "show at most `N`; 0 for all")
	newest := cmd.Flags().Bool("newest", false, "newest first")
	asJSON := cmd.Flags().Bool("json", false, "print JSON lines")
	asCSV := cmd.Flags().Bool("csv", false, "print comma-separated values")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text := ""
		if len(args) == 1 {
			text = args[0]
		}
		s, q, err := stored.open(cmd.Context(), text)
		if err != nil {
			return err
		}
		defer s.Close()
		q.Desc = *newest
		if *limit > 0 {
			q.Limit = *limit + 1 // one more tells whether there is more
		}
		out := newPrinter(cmd.OutOrStdout(), *asJSON, *asCSV)
		n := 0
		for e, err := range s.Search(cmd.Context(), q) {
			if err != nil {
				return errors.Join(err, out.flush())
			}
			if n++; *limit > 0 && n > *limit {
				break
			}
			if err := out.print(&e); err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		switch {
		case n == 0:
			return errNothing
		case *limit > 0 && n > *limit:
			fmt.Fprintf(cmd.ErrOrStderr(), "tocsin: there is more than these %d; see --limit\n", *limit)
		}
		return nil
	}
	return cmd
}

// printer prints events in one of three ways.
type printer struct {
	print func(e *event.Event) error
	flush func() error
}

func newPrinter(out io.Writer, asJSON, asCSV bool) printer {
	switch {
	case asJSON:
		w := bufio.NewWriter(out)
		l := &lines{w: w}
		return printer{func(e *event.Event) error { return l.Publish(context.Background(), []event.Event{*e}) }, w.Flush}
	case asCSV:
		w := csv.NewWriter(out)
		head := []string{"@timestamp", "event.id", "event.dataset", "observer.name", "source.ip", "source.port", "destination.ip", "destination.port", "network.transport", "network.protocol", "summary"}
		w.Write(head)
		return printer{
			func(e *event.Event) error {
				record := make([]string, len(head))
				for i, name := range head[:len(head)-1] {
					record[i] = e.Get(name).String()
				}
				record[len(head)-1] = summary(e)
				return w.Write(record)
			},
			func() error { w.Flush(); return w.Error() },
		}
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	head := "TIME (UTC)\tID\tKIND\tSENSOR\tFROM\tTO\tWHAT\n"
	return printer{
		func(e *event.Event) error {
			io.WriteString(w, head)
			head = ""
			_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.Format(timeLayout), e.ID, e.Kind, e.Sensor,
				endpoint(e.Flow.Src), endpoint(e.Flow.Dst), summary(e))
			return err
		},
		w.Flush,
	}
}

func endpoint(p event.Endpoint) string {
	switch {
	case !p.IP.IsValid():
		return "-"
	case p.Port == 0:
		return p.IP.String()
	case p.IP.Is6():
		return "[" + p.IP.String() + "]:" + strconv.Itoa(int(p.Port))
	}
	return p.IP.String() + ":" + strconv.Itoa(int(p.Port))
}

// summaries are the fields that say the most about an event of a kind.
var summaries = map[event.Kind][]string{
	event.KindAlert:  {"tocsin.alert.level", "message"},
	event.KindFlow:   {"network.transport", "network.protocol", "tocsin.flow.state", "tocsin.flow.history", "network.packets", "network.bytes"},
	event.KindFlood:  {"tocsin.flood.flows", "tocsin.flood.sources", "tocsin.flood.packets", "tocsin.flood.answered"},
	event.KindLedger: {"tocsin.ledger.seen", "tocsin.ledger.decoded", "tocsin.ledger.events"},
	event.KindTap:    {"tocsin.tap.level", "tocsin.tap.packets", "tocsin.tap.fix"},
	"dns":            {"dns.question.type", "dns.question.name", "dns.response_code", "dns.resolved_ip"},
	"http":           {"http.request.method", "url.domain", "url.original", "http.response.status_code", "user_agent.original"},
	"tls":            {"tls.version", "tls.client.server_name", "tls.cipher", "tls.client.ja4"},
	"ssh":            {"event.outcome", "tocsin.ssh.client.software", "tocsin.ssh.server.software", "tocsin.ssh.hassh"},
	"modbus":         {"ics.operation", "ics.function.name", "ics.unit", "modbus.address", "modbus.quantity", "ics.status.name"},
}

// summary says in a line what an event is about.
func summary(e *event.Event) string {
	names, ok := summaries[e.Kind]
	var parts []string
	if ok {
		for _, n := range names {
			if v := e.Get(n); !v.IsZero() {
				parts = append(parts, v.String())
			}
		}
	} else {
		for _, f := range e.Fields {
			if len(parts) < 6 {
				parts = append(parts, f.Name+"="+f.Value.String())
			}
		}
	}
	return strings.Join(parts, " ")
}
