package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/store/query"
)

func newRulesBacktest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backtest QUERY|PATH",
		Short: "Run a rule, or a query, over stored events",
		Long: `Run rules in a file or folder, or a query, over the events that are stored, and
say how many matched on each day, how many alerts that would have made, and which
groups matched most. Nothing is stored.`,
		Example: "  tocsin rules backtest new-rule.yml --data data --last 30d\n  tocsin rules backtest 'dns.question.type: TXT' --last 7d",
		Args:    cobra.ExactArgs(1),
	}
	where, lists := storeFlags(cmd), placeholderFlag(cmd)
	last := lastFlag(cmd)
	top := cmd.Flags().Int("top", 10, "how many `GROUPS` to list")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b := &backtest{days: map[string]*backtestDay{}, groups: map[string]uint64{}}
		q := store.Query{Set: store.Events}
		if _, statErr := os.Stat(args[0]); statErr == nil {
			set, wrong, err := rulesAt(args, lists)
			if err != nil {
				return err
			}
			if wrong != nil {
				return wrong
			}
			if err := b.rules(set.Detector()); err != nil {
				return err
			}
		} else {
			fields, err := schema()
			if err != nil {
				return err
			}
			if q.Where, err = query.Parse(args[0], fields, query.Auto); err != nil {
				return usageError{fmt.Errorf("%s is no file, and as a query: %w", args[0], err)}
			}
		}
		s, err := where.open(cmd.Context(), embedded.ReadOnly)
		if err != nil {
			return err
		}
		defer s.Close()
		if q.From, err = last.since(cmd.Context(), s); err != nil {
			return err
		}
		if err := b.run(cmd.Context(), s, q); err != nil {
			return err
		}
		b.print(cmd.OutOrStdout(), *top)
		if b.matches == 0 {
			return errNothing
		}
		return nil
	}
	return cmd
}

// backtest counts what would have been found.
type backtest struct {
	c       *correlator.Correlator // nil: every event matches
	found   findings
	days    map[string]*backtestDay
	groups  map[string]uint64
	seen    uint64
	matches uint64
}

type backtestDay struct{ matches, alerts uint64 }

func (b *backtest) rules(d correlator.Detector) error {
	match := d.Match
	var last event.ID
	d.Match = func(e *event.Event, emit func(correlator.Signal)) {
		match(e, func(s correlator.Signal) {
			if s.ID != last { // an event that several rules match counts once
				last = s.ID
				b.matched(e)
			}
			b.groups[s.Group]++
			emit(s)
		})
	}
	b.found = findings{}
	var err error
	b.c, err = correlator.New(correlator.Config{Detectors: []correlator.Detector{d}})
	return err
}

func (b *backtest) day(at time.Time) *backtestDay {
	key := at.UTC().Format(time.DateOnly)
	if b.days[key] == nil {
		b.days[key] = &backtestDay{}
	}
	return b.days[key]
}

func (b *backtest) matched(e *event.Event) {
	b.matches++
	b.day(e.Time).matches++
}

func (b *backtest) run(ctx context.Context, s store.Store, q store.Query) error {
	var batch []event.Event
	process := func() error {
		if b.c == nil || len(batch) == 0 {
			return nil
		}
		alerts, err := b.c.Process(ctx, batch)
		b.found.add(alerts)
		batch = batch[:0]
		return err
	}
	for e, err := range s.Search(ctx, q) {
		if err != nil {
			return err
		}
		b.seen++
		if b.c == nil {
			b.matched(&e)
			b.groups[pair(&e)]++
			continue
		}
		if batch = append(batch, e); len(batch) == logBatch {
			if err := process(); err != nil {
				return err
			}
		}
	}
	if err := process(); err != nil || b.c == nil {
		return err
	}
	b.found.add(b.c.Flush())
	for _, a := range b.found {
		b.day(a.First).alerts++
	}
	return nil
}

// pair is what an event is about, as rules group by if they do not say.
func pair(e *event.Event) string {
	if !e.Flow.Src.IP.IsValid() {
		return string(e.Kind)
	}
	return fmt.Sprintf("source.ip=%s destination.ip=%s", e.Flow.Src.IP, e.Flow.Dst.IP)
}

func (b *backtest) print(out io.Writer, top int) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DAY (UTC)\tMATCHES\tALERTS")
	keys := make([]string, 0, len(b.days))
	for k := range b.days {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%d\t%d\n", k, b.days[k].matches, b.days[k].alerts)
	}
	fmt.Fprintf(w, "all\t%d\t%d\n", b.matches, len(b.found))
	w.Flush()
	type group struct {
		key string
		n   uint64
	}
	var groups []group
	for k, n := range b.groups {
		groups = append(groups, group{k, n})
	}
	slices.SortFunc(groups, func(x, y group) int { return cmp.Or(cmp.Compare(y.n, x.n), cmp.Compare(x.key, y.key)) })
	fmt.Fprintf(out, "\n%d events looked at, %d groups matched\n", b.seen, len(groups))
	w = tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MATCHES\tGROUP")
	for _, g := range groups[:min(top, len(groups))] {
		fmt.Fprintf(w, "%d\t%s\n", g.n, cmp.Or(g.key, "(all)"))
	}
	w.Flush()
}

func newRulesReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay ALERT",
		Short: "Let a stored alert's rule run again on the alert's events",
		Long: `Take the events that a stored alert names as its evidence, run the rules on them
as they are now, and see whether the same alert comes of it, with the same id.
Exit 1 if it does not. Give the same --rules and --intel as when it was found.`,
		Example: "  tocsin rules replay 019cb73d329337dcdffc9c520dfb36c4 --data data",
		Args:    cobra.ExactArgs(1),
	}
	where, what := storeFlags(cmd), detectingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := event.ParseID(args[0])
		if err != nil {
			return usageError{err}
		}
		cfg, _, err := what.config(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		cfg.Enrichers = nil // what they know of an event is stored with it
		c, err := correlator.New(cfg)
		if err != nil {
			return err
		}
		s, err := where.open(cmd.Context(), embedded.ReadOnly)
		if err != nil {
			return err
		}
		defer s.Close()
		e, err := s.Get(cmd.Context(), id)
		if err != nil {
			return fmt.Errorf("alert %s: %w", id, err)
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return err
		}
		events, err := evidenceOf(cmd.Context(), s, &a)
		if err != nil {
			return err
		}
		return replayAlert(cmd.Context(), cmd.OutOrStdout(), c, &a, events)
	}
	return cmd
}

// evidenceOf returns the events of an alert. Of one with more than it can list,
// it returns everything of its time that its sources or targets took part in,
// and the sensors' accounts, of which silence is an alert.
func evidenceOf(ctx context.Context, s store.Store, a *event.Alert) ([]event.Event, error) {
	var events []event.Event
	if a.Count > uint64(len(a.Evidence)) {
		var any query.Or
		for _, addr := range slices.Concat(a.Sources, a.Targets) {
			any = append(any, query.Involves(addr))
		}
		q := store.Query{Set: store.Events, From: a.First, To: a.Last.Add(1)}
		if len(any) > 0 {
			ledger := event.Event{Kind: event.KindLedger}
			q.Where = append(any, query.Compare{Field: "event.dataset", Value: query.Literal{V: ledger.Get("event.dataset")}})
		}
		for e, err := range s.Search(ctx, q) {
			if err != nil {
				return nil, err
			}
			events = append(events, e)
		}
		return events, nil
	}
	for _, id := range a.Evidence {
		e, err := s.Get(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("event %s of the alert's evidence is no longer stored: it cannot be replayed", id)
		}
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	slices.SortFunc(events, func(x, y event.Event) int { return x.Place().Compare(y.Place()) })
	return events, nil
}

// replayAlert runs events through a correlator and says what becomes of the alert.
func replayAlert(ctx context.Context, out io.Writer, c *correlator.Correlator, a *event.Alert, events []event.Event) error {
	found := findings{}
	for batch := range slices.Chunk(events, logBatch) {
		alerts, err := c.Process(ctx, batch)
		if err != nil {
			return err
		}
		found.add(alerts)
	}
	found.add(c.Flush())
	again := found[a.ID]
	if again == nil {
		rule := c.Rule(a.Rule.ID)
		switch {
		case rule == nil:
			return fmt.Errorf("alert %s: its rule %s %q is not among those loaded; give its file with --rules", a.ID, a.Rule.ID, a.Rule.Name)
		case rule.Shadow:
			return fmt.Errorf("alert %s: its rule %s %q is in the shadow now", a.ID, a.Rule.ID, a.Rule.Name)
		case rule.Hash != a.Rule.Hash:
			return fmt.Errorf("alert %s: its rule %q has changed since, and does not fire on its %d events any more", a.ID, a.Rule.Name, len(events))
		}
		return fmt.Errorf("alert %s: rule %q does not fire on its %d events", a.ID, a.Rule.Name, len(events))
	}
	same := "the same revision of the rule"
	if again.Rule.Hash != a.Rule.Hash {
		same = "another revision of the rule"
	}
	fmt.Fprintf(out, "%s fires again on %d events, by %s: %s\n", a.ID, len(events), same, again.Message)
	for _, x := range again.Explain {
		fmt.Fprintf(out, "  %s %s: %s\n", x.Field, x.Predicate, x.Value)
	}
	return nil
}
