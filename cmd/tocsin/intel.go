package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/all"
	"github.com/tocsin/tocsin/correlator/intel/feed"
	"github.com/tocsin/tocsin/event"
)

func newIntel() *cobra.Command {
	cmd := &cobra.Command{Use: "intel", Short: "Check reputation lists, fetch them, and look values up in them and in the past"}
	cmd.AddCommand(newIntelCheck(), newIntelLookup(), newIntelUpdate(), newIntelRetro())
	return cmd
}

func feedsFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("feeds", "", "`FILE` that names feeds of reputation lists, YAML; docs/INTEL.md describes it")
}

func newIntelCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [NAME=]FILE...",
		Short: "Read reputation lists and name every line that cannot be used",
		Example: `  tocsin intel check ipsum=levels/3.txt own.csv
  tocsin intel check --feeds feeds.yml`,
	}
	feeds := feedsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && *feeds == "" {
			return usagef("intel check: give lists, or --feeds")
		}
		config := &feed.Config{}
		if *feeds != "" {
			var err error
			if config, err = feed.Read(*feeds, all.Formats()); err != nil {
				return err
			}
		}
		table, reports, missing, err := config.Table(parseLists(args), all.Formats())
		bad := printIntel(cmd.OutOrStdout(), cmd.ErrOrStderr(), reports)
		for _, name := range missing {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: never fetched: run tocsin intel update\n", name)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d values in all\n", table.Len())
		if bad > 0 {
			return fmt.Errorf("%d lines cannot be used", bad)
		}
		return nil
	}
	return cmd
}

func newIntelLookup() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "lookup VALUE...",
		Short:   "Say what reputation lists hold against addresses, names, URLs and fingerprints",
		Example: "  tocsin intel lookup 203.0.113.7 --intel own.csv",
		Args:    cobra.MinimumNArgs(1),
	}
	lists, feeds := cmd.Flags().StringArray("intel", nil, "reputation list `[NAME=]FILE`; may be repeated"), feedsFlag(cmd)
	at := cmd.Flags().String("at", "", "as of this `TIME`, RFC 3339; now, if not given")
	asJSON := cmd.Flags().Bool("json", false, "print JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(*lists) == 0 && *feeds == "" {
			return usagef("intel lookup: give at least one list with --intel, or --feeds")
		}
		when := time.Now()
		if *at != "" {
			var err error
			if when, err = time.Parse(time.RFC3339, *at); err != nil {
				return usagef("intel lookup: --at: want a time such as 2026-01-31T12:00:00Z: %v", err)
			}
		}
		r, err := loadReputation(*lists, *feeds, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		found := false
		for _, arg := range args {
			v, ok, err := lookUp(r.rules.Table(), arg, when)
			if err != nil {
				return usageError{err}
			}
			found = found || ok
			switch {
			case *asJSON && ok:
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(verdictJSON(arg, &v)); err != nil {
					return err
				}
			case ok:
				printVerdict(cmd.OutOrStdout(), arg, &v)
			case !*asJSON:
				fmt.Fprintf(cmd.OutOrStdout(), "%s is not listed\n", arg)
			}
		}
		if !found {
			return errNothing
		}
		return nil
	}
	return cmd
}

func printVerdict(w io.Writer, arg string, v *intel.Verdict) {
	fmt.Fprintf(w, "%s is listed as %s with confidence %d%s\n", arg, v.Value, v.Confidence, suffix(", TLP:", v.TLP))
	for _, c := range v.Claims() {
		fmt.Fprintf(w, "  %s: %s, confidence %d", c.Provider, c.Value, c.Confidence)
		if c.Stated != c.Confidence {
			fmt.Fprintf(w, " of %d", c.Stated)
		}
		fmt.Fprint(w, suffix(", ", c.Description))
		if !c.Seen.IsZero() {
			fmt.Fprintf(w, ", last seen %s", c.Seen.Format(time.DateOnly))
		}
		if !c.Until.IsZero() {
			fmt.Fprintf(w, ", expires %s", c.Until.Format(time.DateOnly))
		}
		fmt.Fprintln(w, suffix(": ", c.Reference))
	}
}

func verdictJSON(arg string, v *intel.Verdict) map[string]any {
	var claims []map[string]any
	for _, c := range v.Claims() {
		claim := map[string]any{"provider": c.Provider, "listed": c.Value, "confidence": c.Confidence, "stated": c.Stated}
		for name, text := range map[string]string{"description": c.Description, "reference": c.Reference, "tlp": c.TLP} {
			if text != "" {
				claim[name] = text
			}
		}
		for name, t := range map[string]time.Time{"last_seen": c.Seen, "until": c.Until} {
			if !t.IsZero() {
				claim[name] = t
			}
		}
		claims = append(claims, claim)
	}
	return map[string]any{"value": arg, "type": v.Type, "listed": v.Value, "confidence": v.Confidence, "provider": v.Provider, "claims": claims}
}

func newIntelUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update [NAME...]",
		Short: "Fetch feeds that have changed, and keep what was there where they are worse",
		Long: `Fetch feeds, all or those named. A feed that cannot be fetched or read, or that
has lost more of its entries than the file of feeds allows, is not used: what
there was before stays in use.`,
		Example: `  tocsin intel update --feeds feeds.yml
  tocsin intel update --feeds feeds.yml --accept blocklist`,
	}
	feeds := feedsFlag(cmd)
	accept := cmd.Flags().StringArray("accept", nil, "use feed `NAME` even if it shrank; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *feeds == "" {
			return usagef("intel update: give --feeds")
		}
		config, err := feed.Read(*feeds, all.Formats())
		if err != nil {
			return err
		}
		var names []string
		for _, f := range config.Feeds {
			names = append(names, f.Name)
		}
		for _, name := range slices.Concat(args, *accept) {
			if !slices.Contains(names, name) {
				return usagef("intel update: %s names no feed %s; it names %s", *feeds, name, strings.Join(names, ", "))
			}
		}
		failed := 0
		for i := range config.Feeds {
			f := &config.Feeds[i]
			if f.Path != "" || len(args) > 0 && !slices.Contains(args, f.Name) {
				continue
			}
			s, err := config.Update(cmd.Context(), feedClient, f, all.Formats(), time.Now(), slices.Contains(*accept, f.Name))
			switch {
			case err != nil:
				return err
			case !s.Healthy():
				failed++
				complain(cmd.ErrOrStderr(), fmt.Errorf("feed %s: %s", f.Name, s.Problem))
			case s.Changed.Equal(s.Tried):
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d entries\n", f.Name, s.Entries)
			default:
				fmt.Fprintf(cmd.OutOrStdout(), "%s: has not changed, %d entries\n", f.Name, s.Entries)
			}
		}
		if failed > 0 {
			return fmt.Errorf("%d feeds were not renewed", failed)
		}
		return nil
	}
	return cmd
}

func newIntelRetro() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retro [[NAME=]FILE...]",
		Short: "Look for what lists name in what is stored",
		Long: `Match stored events with lists, as if the lists had been there when the events
came, and store the alerts. tocsin run does so by itself with what is new on its
feeds. Doing it again changes nothing.`,
		Example: `  tocsin intel retro partner.stix.json --last 90d
  tocsin intel retro --feeds feeds.yml`,
	}
	feeds, where := feedsFlag(cmd), storeFlags(cmd)
	last := lastFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && *feeds == "" {
			return usagef("intel retro: give lists, or --feeds")
		}
		r, err := loadReputation(args, *feeds, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		st, err := where.openToFill(cmd.Context())
		if err != nil {
			return err
		}
		defer st.Close()
		_, latest, err := st.Span(cmd.Context())
		if err != nil {
			return err
		}
		since, err := last.since(cmd.Context(), st)
		if err != nil {
			return err
		}
		var first time.Time
		n, err := lookBack(cmd.Context(), st, r.rules.Table(), since, func(ctx context.Context, alerts []event.Alert) error {
			for _, a := range alerts {
				if first.IsZero() || a.First.Before(first) {
					first = a.First
				}
			}
			return st.Put(ctx, nil, alerts)
		})
		if err != nil {
			return err
		}
		if n == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "nothing listed was seen")
			return errNothing
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d alerts; first seen %s, %d days before the latest event\n", n, first.Format(time.DateTime), int(latest.Sub(first).Hours()/24))
		return nil
	}
	return cmd
}

func suffix(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}

func lookUp(table *intel.Table, arg string, at time.Time) (intel.Verdict, bool, error) {
	if a, err := netip.ParseAddr(arg); err == nil {
		v, ok := table.Address(a, at)
		return v, ok, nil
	}
	if strings.Contains(arg, "://") {
		v, ok := table.URL(arg, at)
		return v, ok, nil
	}
	if print, ok := intel.Fingerprint(arg); ok {
		v, ok := table.Fingerprint(intel.Client, print, at)
		if !ok {
			v, ok = table.Fingerprint(intel.Certificate, print, at)
		}
		return v, ok, nil
	}
	name, err := intel.Domain(arg)
	if err != nil {
		return intel.Verdict{}, false, err
	}
	v, ok := table.Domain(name, at)
	return v, ok, nil
}

// printIntel tells what became of lists and returns how many lines were bad.
func printIntel(out, errs io.Writer, reports []intel.Report) (bad int) {
	for _, r := range reports {
		fmt.Fprintf(out, "%s: %s, %d entries, %d left out, %d lines not usable\n", r.List.Path, r.Format, r.Entries, r.Left, r.Bad)
		for _, e := range r.Errors {
			fmt.Fprintf(errs, "tocsin: %v\n", e)
		}
		if more := r.Bad + r.Left - len(r.Errors); more > 0 {
			fmt.Fprintf(errs, "tocsin: %s: and %d more lines\n", r.List.Path, more)
		}
		bad += r.Bad
	}
	return bad
}
