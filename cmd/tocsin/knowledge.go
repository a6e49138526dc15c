package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/console"
	"github.com/tocsin/tocsin/correlator/enrich"
	"github.com/tocsin/tocsin/correlator/sigma"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/inventory"
	"github.com/tocsin/tocsin/rules"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// knowledge is what the other parts know that the console shows. Its zero value
// knows nothing.
type knowledge struct {
	assets *enrich.Assets
	rules  *ruleset
	lists  *reputation
	ledger *shelf // of the rules' ledger; nil: none
}

// tell makes a console know it.
func (k knowledge) tell(cfg *console.Config) {
	cfg.Hosted = k.hosts
	if k.assets != nil {
		cfg.Owner = k.owner
	}
	if k.rules != nil {
		cfg.Rules, cfg.RuleText, cfg.Backtest = k.ruleList, k.ruleText, k.backtest
	}
	if k.lists != nil && k.lists.rules != nil {
		cfg.Reputation, cfg.Lookup = k.reputation, k.lookup
	}
}

func (k knowledge) owner(a netip.Addr) (console.Owner, bool) {
	e := event.Event{Flow: event.Flow{Src: event.Endpoint{IP: a}, Dst: event.Endpoint{IP: a}}}
	k.assets.Enricher().Enrich(&e)
	get := func(name string) string { return e.Get("tocsin.source." + name).Str() }
	level, _ := e.Get("tocsin.source.level").Int()
	o := console.Owner{Name: get("name"), Zone: get("zone"), Role: get("role"), Sector: get("sector"), Level: int(level)}
	return o, o != console.Owner{}
}

func (k knowledge) hosts(ctx context.Context, s store.Store, q store.Query) (console.Hosts, error) {
	var inv inventory.Inventory
	if makers, err := inventory.LoadMakers(registry); err == nil {
		inv.Maker = makers.Of
	}
	if k.assets != nil {
		inv.Owner = k.assets.Owner
	}
	for e, err := range s.Search(ctx, q) {
		if err != nil {
			return console.Hosts{}, err
		}
		inv.Add(&e)
	}
	out := console.Hosts{Left: int(inv.Left)}
	for _, h := range inv.Hosts() {
		x := console.Host{
			Addresses: texts(h.Addresses), Name: h.Name, Zone: h.Zone, Trust: h.Trust, Role: h.Role, Sector: h.Sector, Owner: h.Owner, Level: h.Level,
			Vendor: h.Vendor, Model: h.Model, Firmware: h.Firmware, MACs: h.MACs, Makers: h.Makers, Software: h.Software, Uses: h.Uses,
			Sensors: append([]string{}, h.Sensors...), Events: uint64(h.Events), Clients: h.Clients, Servers: h.Servers, First: h.First.UTC(), Last: h.Last.UTC(),
		}
		for _, v := range h.Services {
			x.Services = append(x.Services, console.Service{Transport: v.Transport, Port: v.Port, Protocol: v.Protocol, Flows: uint64(v.Flows)})
		}
		out.Items = append(out.Items, x)
	}
	return out, nil
}

// ruleList lists the rules in force with what became of them: Sigma rules, and
// those of behaviours and lists.
func (k knowledge) ruleList(ctx context.Context, s store.Store) ([]console.Rule, error) {
	book := map[string]ruleLedger{}
	if k.ledger != nil {
		data, err := k.ledger.read(ctx)
		if err != nil {
			return nil, fmt.Errorf("rules' ledger: %w", err)
		}
		if book, err = parseLedgers(data); err != nil {
			return nil, err
		}
	}
	alerts := map[string]uint64{}
	counts, err := s.Count(ctx, store.Query{Set: store.Alerts}, store.By{Field: "rule.id"})
	if err != nil {
		return nil, err
	}
	for _, b := range counts {
		alerts[b.Value.String()] = b.Count
	}
	lastTrue, lastFalse := map[string]time.Time{}, map[string]time.Time{}
	for e, err := range s.Search(ctx, store.Query{Set: store.Alerts, Where: query.Exists{Field: "tocsin.alert.verdict"}}) {
		if err != nil {
			return nil, err
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return nil, err
		}
		last := lastFalse
		if a.Triage.Verdict == "true_positive" {
			last = lastTrue
		}
		last[a.Rule.ID] = later(last[a.Rule.ID], a.Triage.At)
	}
	finish := func(r console.Rule) console.Rule {
		l := book[r.ID]
		r.Seen, r.Matches, r.Spent, r.Alerts = l.Seen, l.Matches, float64(l.Spent)/float64(time.Millisecond), alerts[r.ID]
		if t := lastTrue[r.ID]; !t.IsZero() {
			r.LastTrue = &t
		}
		if t := lastFalse[r.ID]; !t.IsZero() {
			r.LastFalse = &t
		}
		return r
	}
	var list []console.Rule
	set := k.rules.now.set.Load()
	known := map[string]bool{}
	for _, r := range set.Rules {
		known[r.ID] = true
		list = append(list, finish(console.Rule{
			ID: r.ID, Title: r.Title, Description: r.Description, Level: r.Level, File: r.File, State: string(set.State(r.ID)),
			Techniques: techniquesOf(r.Tags), References: r.References, Exceptions: set.Exceptions(r.ID), Correlation: r.Correlation != nil,
		}))
	}
	for _, d := range k.rules.now.detectors {
		for _, r := range d.Rules {
			if known[r.ID] || r.Silent {
				continue
			}
			known[r.ID] = true
			x := console.Rule{ID: r.ID, Title: r.Name, Level: event.LevelOf(r.Severity), File: d.Name, State: "active", Techniques: []string{}, Correlation: r.Window != nil}
			for _, t := range r.Techniques {
				x.Techniques = append(x.Techniques, t.ID)
			}
			list = append(list, finish(x))
		}
	}
	return list, nil
}

// techniquesOf are the ATT&CK techniques among a rule's tags.
func techniquesOf(tags []string) []string {
	list := []string{}
	for _, t := range tags {
		if id, ok := strings.CutPrefix(t, "attack.t"); ok {
			list = append(list, "T"+strings.ToUpper(id))
		}
	}
	return list
}

// fixtures is how many events of each kind a rule is shown with.
const fixtures = 50

func (k knowledge) ruleText(_ context.Context, id string) (out console.RuleText, err error) {
	set := k.rules.now.set.Load()
	i := slices.IndexFunc(set.Rules, func(r *sigma.Rule) bool { return r.ID == id })
	if i < 0 {
		return out, nil // of a behaviour or a list, which are no text
	}
	path := set.Rules[i].File
	read := os.ReadFile
	if inside, ok := strings.CutPrefix(filepath.ToSlash(path), "rules/"); ok {
		if _, err := fs.Stat(rules.FS, inside); err == nil {
			path, read = inside, func(name string) ([]byte, error) { return fs.ReadFile(rules.FS, filepath.ToSlash(name)) }
		}
	}
	text, err := read(path)
	if err != nil {
		return out, fmt.Errorf("rule %s: %w", id, err)
	}
	out.Text = string(text)
	fields, err := schema()
	if err != nil {
		return out, err
	}
	for name, list := range map[string]*[]event.Event{"fires.jsonl": &out.Fires, "quiet.jsonl": &out.Quiet} {
		data, err := read(filepath.Join(filepath.Dir(path), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("rule %s: %w", id, err)
		}
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() && len(*list) < fixtures {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			var e event.Event
			if err := fields.Decode(lines.Bytes(), &e); err != nil {
				return out, fmt.Errorf("rule %s: %s: %w", id, name, err)
			}
			*list = append(*list, e)
		}
	}
	return out, nil
}

// backtestTime is how long a backtest for the page may look at events: it then
// says what it has found until there.
const backtestTime = 25 * time.Second

func (k knowledge) backtest(ctx context.Context, s store.Store, in console.BacktestQuery) (out console.Backtest, err error) {
	b := &backtest{days: map[string]*backtestDay{}, groups: map[string]uint64{}}
	fields, err := schema()
	if err != nil {
		return out, err
	}
	q := store.Query{Set: store.Events, From: in.From, To: in.To}
	opt := sigma.Options{Schema: fields, Kinds: kinds()}
	var chosen []*sigma.Rule
	var wrong ruleErrors
	switch {
	case in.Q != "":
		if q.Where, err = query.Parse(in.Q, fields, query.Auto); err != nil {
			return out, console.Unfit(err)
		}
	case in.YAML != "":
		chosen, wrong = sigma.Parse("rule", []byte(in.YAML))
	default:
		all := k.rules.now.set.Load().Rules
		i := slices.IndexFunc(all, func(r *sigma.Rule) bool { return r.ID == in.Rule })
		if i < 0 {
			return out, fmt.Errorf("rule %s: %w", in.Rule, store.ErrNotFound)
		}
		chosen = []*sigma.Rule{all[i]}
		if all[i].Correlation != nil {
			chosen = all // with those that it counts
		}
	}
	if in.Q == "" {
		if len(wrong) > 0 {
			return out, console.Unfit(wrong)
		}
		set, errs := sigma.Compile(chosen, opt)
		if len(errs) > 0 {
			return out, console.Unfit(ruleErrors(errs))
		}
		if err := b.rules(set.Detector()); err != nil {
			return out, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, backtestTime)
	defer cancel()
	err = b.run(limited, s, q)
	if out.Complete = err == nil; err != nil && (limited.Err() == nil || ctx.Err() != nil) {
		return out, err
	}
	out.Seen, out.Matches, out.Alerts = b.seen, b.matches, len(b.found)
	out.Days, out.Groups = []console.Day{}, console.Counts(b.groups, max(in.Top, 10))
	for day, n := range b.days {
		out.Days = append(out.Days, console.Day{Day: day, Matches: n.matches, Alerts: int(n.alerts)})
	}
	slices.SortFunc(out.Days, func(x, y console.Day) int { return strings.Compare(x.Day, y.Day) })
	return out, nil
}

func (k knowledge) reputation(context.Context) (out console.Reputation, err error) {
	out.Values = k.lists.rules.Table().Len()
	some := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	if k.lists.feeds != nil {
		for i := range k.lists.feeds.Feeds {
			f := &k.lists.feeds.Feeds[i]
			x := console.Feed{Name: f.Name, Kind: "feed", Path: f.Path, Values: k.lists.values(f.Path)}
			if f.Path == "" {
				s, err := k.lists.feeds.State(f)
				if err != nil {
					return out, err
				}
				x.Values, x.Problem, x.Tried, x.Changed = s.Entries, s.Problem, some(s.Tried), some(s.Changed)
				if !s.Tried.IsZero() {
					x.Next = some(s.Tried.Add(f.Interval))
				}
			}
			out.Feeds = append(out.Feeds, x)
		}
	}
	for _, l := range k.lists.lists {
		x := console.Feed{Name: l.Provider, Kind: "list", Path: l.Path, Values: k.lists.values(l.Path)}
		if x.Name == "" {
			x.Name = filepath.Base(l.Path)
		}
		if info, err := os.Stat(l.Path); err == nil {
			x.Changed = some(info.ModTime().UTC())
		} else {
			x.Problem = err.Error()
		}
		out.Feeds = append(out.Feeds, x)
	}
	return out, nil
}

func (k knowledge) lookup(_ context.Context, value string, at time.Time) (out console.Verdict, err error) {
	v, ok, err := lookUp(k.lists.rules.Table(), value, at)
	if err != nil {
		return out, console.Unfit(err)
	}
	if !ok {
		return out, nil
	}
	out.Listed, out.Confidence = true, v.Confidence
	for _, c := range v.Claims() {
		x := console.Claim{List: c.Provider, Value: c.Value, Confidence: c.Confidence, Description: c.Description, Reference: c.Reference, TLP: c.TLP}
		if !c.Seen.IsZero() {
			x.AgeDays = float64(int(at.Sub(c.Seen).Hours()/2.4)) / 10
		}
		out.Claims = append(out.Claims, x)
	}
	return out, nil
}
