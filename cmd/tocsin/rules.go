package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator/sigma"
	"github.com/tocsin/tocsin/rules"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{Use: "rules", Short: "Check, list and test detection rules"}
	cmd.AddCommand(newRulesCheck(), newRulesList(), newRulesTest(), &cobra.Command{
		Use: "backtest", Short: "Run rules over stored events (not yet)", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("rules backtest: not yet: it comes with the rules' life cycle; tocsin events FILE | tocsin alerts - --rules FOLDER does it for captures")
		},
	})
	return cmd
}

func newRulesCheck() *cobra.Command {
	return &cobra.Command{
		Use:     "check [PATH...]",
		Short:   "Compile rules and say precisely what is wrong with those that do not",
		Long:    "Compile the rules in files and folders, or, without any, those that come with Tocsin.",
		Example: "  tocsin rules check my-rules/",
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := rulesAt(args)
			var wrong ruleErrors
			if err != nil && !errors.As(err, &wrong) {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d rules compile, %d errors\n", len(set.Rules), len(wrong))
			return err
		},
	}
}

// rulesAt compiles the rules at paths, or, without any, those that come with
// Tocsin.
func rulesAt(paths []string) (*sigma.Set, error) {
	fields, err := schema()
	if err != nil {
		return nil, err
	}
	return loadRules(fields, paths, len(paths) == 0)
}

func newRulesList() *cobra.Command {
	return &cobra.Command{
		Use:     "list [PATH...]",
		Short:   "List rules with level and techniques",
		Example: "  tocsin rules list",
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := rulesAt(args)
			var wrong ruleErrors
			if err != nil && !errors.As(err, &wrong) {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "FILE\tLEVEL\tTECHNIQUES\tTITLE")
			for _, r := range set.Rules {
				var techniques []string
				for _, t := range r.Tags {
					if id, ok := strings.CutPrefix(t, "attack.t"); ok {
						techniques = append(techniques, "T"+strings.ToUpper(id))
					}
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.File, r.Level, strings.Join(techniques, " "), r.Title)
			}
			return errors.Join(err, w.Flush())
		},
	}
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
