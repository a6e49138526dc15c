package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator/sigma"
	"github.com/tocsin/tocsin/rules"
	"github.com/tocsin/tocsin/store/embedded"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Check, list, test and try detection rules"}
	cmd.AddCommand(newRulesCheck(), newRulesList(), newRulesTest(), newRulesBacktest(), newRulesReplay())
	return cmd
}

func newRulesCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "check [PATH...]",
		Short:   "Compile rules and say precisely what is wrong with those that do not",
		Long:    "Compile the rules in files and folders, or, without any, those that come with Tocsin.",
		Example: "  tocsin rules check my-rules/ --placeholder servers=servers.txt",
	}
	lists := placeholderFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, wrong, err := rulesAt(args, lists)
		if err != nil {
			return err
		}
		for _, w := range set.Warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "tocsin: warning: %v\n", w)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d rules compile, %d errors", len(set.Rules), len(wrong))
		if n := len(set.Warnings); n > 0 {
			fmt.Fprintf(cmd.OutOrStdout(), ", %d warnings", n)
		}
		fmt.Fprintln(cmd.OutOrStdout())
		return wrong.err()
	}
	return cmd
}

// rulesAt compiles the rules at paths, or, without any, those that come with
// Tocsin.
func rulesAt(paths []string, lists *[]string) (*sigma.Set, ruleErrors, error) {
	fields, err := schema()
	if err != nil {
		return nil, nil, err
	}
	from := ruleset{paths: &paths, lists: lists, shipped: len(paths) == 0, now: &inForce{}}
	set, err := from.load(fields)
	var wrong ruleErrors
	if err != nil && !errors.As(err, &wrong) {
		return nil, nil, err
	}
	return set, wrong, nil
}

func newRulesList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PATH...]",
		Short: "List rules with level, techniques and what became of them",
		Long: `List rules. With --data, or Elasticsearch, also what became of them there: how
many alerts they made and when an analyst last called one of them true or false;
and the ledger that tocsin run and tocsin correlator keep: events that a rule was
asked about, events that matched, and the time it took, estimated of every 64th
event.`,
		Example: "  tocsin rules list\n  tocsin rules list my-rules/ --data data",
	}
	where, lists := storeFlags(cmd), placeholderFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, wrong, err := rulesAt(args, lists)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
		withStore := cmd.Flags().Changed("data") || !where.embedded()
		var seen map[string]ruleLedger
		if withStore {
			s, err := where.open(cmd.Context(), embedded.ReadOnly)
			if err != nil {
				return err
			}
			defer s.Close()
			if seen, err = readLedgers(cmd.Context(), s, where.shelf(s)); err != nil {
				return err
			}
			fmt.Fprint(w, "STATE\tSEEN\tMATCHES\tALERTS\tTIME\tLAST TRUE\tLAST FALSE\t")
		}
		fmt.Fprintln(w, "FILE\tLEVEL\tTECHNIQUES\tTITLE")
		for _, r := range set.Rules {
			if withStore {
				l := seen[r.ID]
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t", set.State(r.ID), l.Seen, l.Matches, l.Alerts, l.Spent.Round(time.Microsecond), day(l.LastTrue), day(l.LastFalse))
			}
			var techniques []string
			for _, t := range r.Tags {
				if id, ok := strings.CutPrefix(t, "attack.t"); ok {
					techniques = append(techniques, "T"+strings.ToUpper(id))
				}
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.File, r.Level, strings.Join(techniques, " "), r.Title)
		}
		return errors.Join(wrong.err(), w.Flush())
	}
	return cmd
}

func day(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.DateOnly)
}

func newRulesTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test [FOLDER...]",
		Short: "Run rules against the events beside them",
		Long: `Test each rule in a folder against fires.jsonl, whose events must raise its
alert, and quiet.jsonl, whose events must not. Without a folder, test the rules
that come with Tocsin.`,
		Example: "  tocsin rules test my-rules/",
		RunE: func(cmd *cobra.Command, args []string) error {
			fields, err := schema()
			if err != nil {
				return err
			}
			opt := sigma.Options{Schema: fields, Kinds: kinds()}
			passed := 0
			var failed []error
			test := func(fsys fs.FS, prefix string) error {
				dirs, err := sigma.Folders(fsys)
				if err != nil {
					return fmt.Errorf("rules: %w", err)
				}
				for _, dir := range dirs {
					if err := sigma.TestFolder(fsys, dir, opt); err != nil {
						failed = append(failed, fmt.Errorf("%s: %w", filepath.Join(prefix, dir), err))
						continue
					}
					passed++
				}
				return nil
			}
			if len(args) == 0 {
				err = test(rules.FS, "rules")
			}
			for _, dir := range args {
				err = errors.Join(err, test(os.DirFS(dir), dir))
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d folders passed, %d failed\n", passed, len(failed))
			if len(failed) == 0 && passed == 0 {
				return errNothing
			}
			return errors.Join(failed...)
		},
	}
}
