package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/policy"
	"github.com/tocsin/tocsin/event"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Learn, check and compare who may do what to which industrial device"}
	cmd.AddCommand(newPolicyLearn(), newPolicyCheck(), newPolicyDiff())
	return cmd
}

func newPolicyLearn() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "learn [QUERY]",
		Short: "Propose a policy that allows what is stored",
		Long: `Propose a policy from stored industrial events: one readable file in which those
who do the same stand together, to be corrected and kept by a person. Learning
makes no alerts; what is proposed allows what was seen and nothing else.`,
		Example: `  tocsin policy learn --last 7d > policy.yml
  tocsin policy learn 'destination.ip: 10.50.0.0/24' -o policy.yml`,
		Args: cobra.MaximumNArgs(1),
	}
	stored := pastFlags(cmd)
	path := cmd.Flags().StringP("output", "o", "-", "write to `FILE`; - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text := "ics.protocol: *"
		if len(args) == 1 {
			text += " and (" + args[0] + ")"
		}
		var l policy.Learner
		if err := stored.each(cmd.Context(), text, func(e *event.Event) error { l.Add(e); return nil }); err != nil {
			return err
		}
		if l.Acts() == 0 {
			return errNothing
		}
		if *path == "-" {
			return l.Propose(cmd.OutOrStdout())
		}
		f, err := os.OpenFile(*path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if err != nil {
			return fmt.Errorf("%w; a policy that somebody corrected is not written over", err)
		}
		if err := l.Propose(f); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	}
	return cmd
}

func newPolicyCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a policy, and with --stored say what it would have reported",
		Example: `  tocsin policy check policy.yml
  tocsin policy check policy.yml --stored --last 30d`,
		Args: cobra.ExactArgs(1),
	}
	stored := pastFlags(cmd)
	try := cmd.Flags().Bool("stored", false, "try the policy on stored events; nothing is changed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := policy.Load(args[0])
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "%d devices, %d talkers, %d windows, %d grants\n", len(p.Devices), len(p.Talkers), len(p.Windows), len(p.Allow))
		if !*try {
			return nil
		}
		c, err := correlator.New(correlator.Config{Detectors: p.Detectors()})
		if err != nil {
			return err
		}
		var found correlator.Alerts
		batch := make([]event.Event, 0, logBatch)
		flush := func() error {
			alerts, err := c.Process(cmd.Context(), batch)
			found.Add(alerts)
			batch = batch[:0]
			return err
		}
		err = stored.each(cmd.Context(), "", func(e *event.Event) error {
			if batch = append(batch, *e); len(batch) < logBatch {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		found.Add(c.Flush())
		printViolations(out, found.Sorted())
		return nil
	}
	return cmd
}

// mostSaid bounds the sentences that are printed.
const mostSaid = 50

// printViolations prints what was violated, the worst first.
func printViolations(out io.Writer, alerts []event.Alert) {
	slices.SortStableFunc(alerts, func(a, b event.Alert) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), a.First.Compare(b.First))
	})
	fmt.Fprintf(out, "%d violations\n", len(alerts))
	for _, a := range alerts[:min(len(alerts), mostSaid)] {
		fmt.Fprintf(out, "%s  %-8s  %6d×  %s\n", a.First.UTC().Format(time.DateTime), a.Level, a.Count, a.Message)
	}
	if more := len(alerts) - mostSaid; more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
}

func newPolicyDiff() *cobra.Command {
	return &cobra.Command{
		Use:     "diff OLD NEW",
		Short:   "Say in sentences what a policy allows more and less than another",
		Example: "  tocsin policy diff policy.yml proposed.yml",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			older, err := policy.Load(args[0])
			if err != nil {
				return err
			}
			newer, err := policy.Load(args[1])
			if err != nil {
				return err
			}
			lines := older.Diff(newer)
			for _, l := range lines {
				fmt.Fprintln(cmd.OutOrStdout(), l)
			}
			if len(lines) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "both allow the same")
			}
			return nil
		},
	}
}
