package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/all"
	"github.com/tocsin/tocsin/event"
)

func newIntel() *cobra.Command {
	cmd := &cobra.Command{Use: "intel", Short: "Check reputation lists and look values up in them"}
	cmd.AddCommand(newIntelCheck(), newIntelLookup(), &cobra.Command{
		Use: "update", Short: "Fetch reputation lists (not yet)", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("intel update: not yet: it comes with feeds over the network; give files with --intel")
		},
	})
	return cmd
}

func newIntelCheck() *cobra.Command {
	return &cobra.Command{
		Use:     "check [NAME=]FILE...",
		Short:   "Read reputation lists and name every line that cannot be used",
		Example: "  tocsin intel check ipsum=levels/3.txt own.csv",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			table, reports, err := loadIntel(args)
			bad := printIntel(cmd.OutOrStdout(), cmd.ErrOrStderr(), reports)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d entries in all\n", table.Len())
			if bad > 0 {
				return fmt.Errorf("%d lines cannot be used", bad)
			}
			return nil
		},
	}
}

func newIntelLookup() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "lookup ADDRESS|NAME...",
		Short:   "Say what reputation lists hold against addresses and names",
		Example: "  tocsin intel lookup 203.0.113.7 --intel own.csv",
		Args:    cobra.MinimumNArgs(1),
	}
	lists := cmd.Flags().StringArray("intel", nil, "reputation list `[NAME=]FILE`; may be repeated")
	asJSON := cmd.Flags().Bool("json", false, "print JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(*lists) == 0 {
			return usagef("intel lookup: give at least one list with --intel")
		}
		table, reports, err := loadIntel(*lists)
		if err != nil {
			return err
		}
		printIntel(io.Discard, cmd.ErrOrStderr(), reports)
		found := false
		for _, arg := range args {
			ind, ok, err := lookUp(table, arg)
			if err != nil {
				return usageError{err}
			}
			found = found || ok
			switch {
			case *asJSON && ok:
				line, err := json.Marshal(map[string]any{
					"value": arg, "listed": ind.Value, "type": ind.Type, "provider": ind.Provider,
					"confidence": ind.Confidence, "reference": ind.Reference,
				})
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
			case ok:
				fmt.Fprintf(cmd.OutOrStdout(), "%s is listed as %s by %s with confidence %d%s\n", arg, ind.Value, ind.Provider, ind.Confidence, suffix(": ", ind.Reference))
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

func suffix(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}

func lookUp(table *intel.Table, arg string) (event.Indicator, bool, error) {
	if a, err := netip.ParseAddr(arg); err == nil {
		ind, ok := table.Lookup(a)
		return ind, ok, nil
	}
	name, err := intel.Domain(arg)
	if err != nil {
		return event.Indicator{}, false, err
	}
	ind, ok := table.LookupDomain(name)
	return ind, ok, nil
}

// loadIntel reads the lists named on the command line.
func loadIntel(args []string) (*intel.Table, []intel.Report, error) {
	var lists []intel.List
	for _, a := range args {
		l := intel.List{Path: a}
		if _, err := os.Stat(a); err != nil { // a path may hold '='
			l = intel.ParseList(a)
		}
		lists = append(lists, l)
	}
	return intel.Load(lists, all.Formats())
}

// printIntel tells what became of lists and returns how many lines were bad.
func printIntel(out, errs io.Writer, reports []intel.Report) (bad int) {
	for _, r := range reports {
		fmt.Fprintf(out, "%s: %s, %d entries, %d lines not usable\n", r.List.Path, r.Format, r.Entries, r.Bad)
		for _, e := range r.Errors {
			fmt.Fprintf(errs, "tocsin: %v\n", e)
		}
		if more := r.Bad - len(r.Errors); more > 0 {
			fmt.Fprintf(errs, "tocsin: %s: and %d more lines\n", r.List.Path, more)
		}
		bad += r.Bad
	}
	return bad
}
