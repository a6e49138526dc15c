package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/store/query"
)

func newLedger() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show what each sensor saw and could not see",
		Long: `Add up the sensors' accounts: packets seen = decoded + filtered + dropped, by
cause. Exit 1 if an account does not balance.`,
		Example: "  tocsin ledger\n  tocsin ledger --minutes --data data",
		Args:    cobra.NoArgs,
	}
	where := storeFlags(cmd)
	minutes := cmd.Flags().Bool("minutes", false, "a line for each minute instead of the total")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := where.open(cmd.Context(), embedded.ReadOnly)
		if err != nil {
			return err
		}
		defer s.Close()
		q := store.Query{Set: store.Events, Where: query.OfKind(event.KindLedger)}
		accounts := map[string]event.Ledger{}
		for e, err := range s.Search(cmd.Context(), q) {
			if err != nil {
				return err
			}
			key := e.Sensor
			if *minutes {
				key += "\t" + e.Time.Format("2006-01-02 15:04")
			}
			if accounts[key] == nil {
				accounts[key] = event.Ledger{}
			}
			accounts[key].Add(&e)
		}
		if len(accounts) == 0 {
			return errNothing
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		head := "SENSOR\t"
		if *minutes {
			head += "MINUTE (UTC)\t"
		}
		fmt.Fprintln(w, head+"SEEN\t=\tDECODED\t+\tFILTERED\t+\tDROPPED\tLOSS\tEVENTS\tBALANCE\tDROPPED BY CAUSE, AND WHAT ELSE WAS NOT SEEN")
		wrong := 0
		for _, key := range slices.Sorted(maps.Keys(accounts)) {
			a := accounts[key]
			balance := "ok"
			if off := a.Off(); off != 0 {
				balance = fmt.Sprintf("off by %d", off)
				wrong++
			}
			fmt.Fprintf(w, "%s\t%d\t=\t%d\t+\t%d\t+\t%d\t%.3g %%\t%d\t%s\t%s\n",
				key, a["seen"], a["decoded"], a["filtered"], a.Dropped(), 100*float64(a.Dropped())/float64(max(a["seen"], 1)), a["events"], balance, rest(a))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if wrong > 0 {
			return fmt.Errorf("ledger: %d accounts do not balance", wrong)
		}
		return nil
	}
	return cmd
}

// rest lists what is not zero and has no column of its own: first the causes of
// dropped packets.
func rest(a event.Ledger) string {
	var dropped, other []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		text := fmt.Sprintf("%s %d", name, a[name])
		switch {
		case a[name] == 0, name == "seen", name == "decoded", name == "filtered", name == "events":
		case strings.HasPrefix(name, event.DroppedPrefix):
			dropped = append(dropped, text)
		default:
			other = append(other, text)
		}
	}
	return strings.Join(append(dropped, other...), ", ")
}
