package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/trace"
)

func newTrace() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace ALERT-ID|ADDRESS",
		Short: "Reconstruct an attack: who, from where, through what, to what, and how we know",
		Long: `Reconstruct an attack from what is stored, and write it in one of several forms.

package is one archive that others can open and check without us: reports in
English and Chinese, graph, timeline, flows, alerts, rules, packets, STIX 2.1,
ATT&CK and GB/T 36643, with hashes, a signature and a custody log; tocsin verify
checks it. pcap is the packets alone, as pcapng. Packets are taken from captures
given with -r, and from where sensors keep them (--evidence).`,
		Example: `  tocsin trace 10.3.0.10
  tocsin trace 019e0b7c5a2a4b6f8d1e2f3a4b5c6d7e --format pdf -o trace.pdf
  tocsin trace 10.3.0.10 --format package -r border.pcap.zst -r dmz.pcap.zst -o case.zip`,
		Args: cobra.ExactArgs(1),
	}
	where := storeFlags(cmd)
	format := cmd.Flags().String("format", "json", "`FORMAT`: "+strings.Join(traceFormats(), ", "))
	output := cmd.Flags().StringP("output", "o", "-", "`FILE` to write, - for standard output")
	from := timeFlag(cmd, "from", "look at events from this `TIME` on (RFC 3339)")
	to := timeFlag(cmd, "to", "look at events before this `TIME` (RFC 3339)")
	packing := packingFlags(cmd, where)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		packs := *format == formatPackage || *format == formatPackets
		f, err := findFormat(*format)
		if err != nil && !packs {
			return usagef("format %q: want one of %s", *format, strings.Join(traceFormats(), ", "))
		}
		seed := trace.Seed{From: time.Time(*from), To: time.Time(*to)}
		if id, err := event.ParseID(args[0]); err == nil {
			seed.Alert = id
		} else if a, err := netip.ParseAddr(args[0]); err == nil {
			seed.Address = a
		} else {
			return usagef("%q is neither the identifier of an alert nor an address", args[0])
		}
		s, err := where.open(cmd.Context(), embedded.ReadOnly)
		if err != nil {
			return err
		}
		defer s.Close()
		t, err := trace.Build(cmd.Context(), s, seed)
		if errors.Is(err, store.ErrNotFound) {
			fmt.Fprintf(cmd.ErrOrStderr(), "tocsin: %v\n", err)
			return errNothing
		}
		if err != nil {
			return err
		}
		write := func(w io.Writer) error { return f.Write(w, t) }
		if packs {
			c, err := packing.prepare(t, s, *format)
			if err != nil {
				return err
			}
			write = func(w io.Writer) error { return packing.write(cmd.Context(), w, c, *format) }
		}
		return writeTo(*output, cmd.OutOrStdout(), write)
	}
	return cmd
}

// writeTo gives write a file, or standard output for "-". A file that could
// not be written whole is removed.
func writeTo(path string, stdout io.Writer, write func(io.Writer) error) error {
	if path == "-" {
		w := bufio.NewWriter(stdout)
		return errors.Join(write(w), w.Flush())
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	if err := errors.Join(write(w), w.Flush(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// timeValue is a flag that holds a time.
type timeValue time.Time

func timeFlag(cmd *cobra.Command, name, usage string) *timeValue {
	v := new(timeValue)
	cmd.Flags().Var(v, name, usage)
	return v
}

func (v *timeValue) Set(s string) error {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			*v = timeValue(t.UTC())
			return nil
		}
	}
	return fmt.Errorf("%q: want a time such as 2026-01-31T12:00:00Z", s)
}

func (v *timeValue) String() string {
	if time.Time(*v).IsZero() {
		return ""
	}
	return time.Time(*v).Format(time.RFC3339Nano)
}

func (v *timeValue) Type() string { return "time" }
