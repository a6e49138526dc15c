package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/store/embedded"
)

func newExpire() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "expire",
		Short: "Delete old events from a store",
		Long: `Delete the events before a midnight (UTC); alerts stay. Elasticsearch that executes
lifecycle policies does this by itself; where it does not, run this once a day. The
embedded store must not be in use.`,
		Example: "  tocsin expire --keep 720h --elasticsearch http://127.0.0.1:9200\n  tocsin expire --before 2026-01-01 --data data",
		Args:    cobra.NoArgs,
	}
	where := storeFlags(cmd)
	keep := cmd.Flags().Duration("keep", 0, "keep events of this `DURATION` until now, such as 720h for 30 days")
	before := timeFlag(cmd, "before", "delete events of days before this `TIME` (RFC 3339)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		at := time.Time(*before)
		switch {
		case (*keep > 0) == !at.IsZero() || *keep < 0:
			return usagef("expire: say either how much to --keep or --before when to delete")
		case *keep > 0:
			at = time.Now().Add(-*keep)
		}
		s, err := where.open(cmd.Context(), embedded.ReadWrite)
		if err != nil {
			return err
		}
		defer s.Close()
		at = at.UTC().Truncate(24 * time.Hour)
		n, err := s.Expire(cmd.Context(), at)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "deleted %d events before %s\n", n, at.Format(time.RFC3339))
		return nil
	}
	return cmd
}
