package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// What other parts of the program know: the types in which they say it, and
// the operations that pass it on.

// Hosts are the hosts of a network as events show them.
type Hosts struct {
	Items []Host `json:"items" nullable:"false"`
	Left  int    `json:"left" doc:"Events of hosts beyond the bound, which are not in it"`
}

// Host is one host.
type Host struct {
	Addresses []string  `json:"addresses" nullable:"false"`
	Name      string    `json:"name,omitempty"`
	Zone      string    `json:"zone,omitempty"`
	Trust     string    `json:"trust,omitempty"`
	Role      string    `json:"role,omitempty"`
	Sector    string    `json:"sector,omitempty"`
	Owner     string    `json:"owner,omitempty"`
	Level     int64     `json:"level,omitempty" doc:"Of the Purdue model"`
	Vendor    string    `json:"vendor,omitempty"`
	Model     string    `json:"model,omitempty"`
	Firmware  string    `json:"firmware,omitempty"`
	MACs      []string  `json:"macs,omitempty"`
	Makers    []string  `json:"makers,omitempty" doc:"Of the network interfaces"`
	Software  []string  `json:"software,omitempty"`
	Uses      []string  `json:"uses,omitempty" doc:"Protocols that it speaks as a client"`
	Services  []Service `json:"services,omitempty"`
	Sensors   []string  `json:"sensors" nullable:"false"`
	Events    uint64    `json:"events"`
	Clients   int       `json:"clients" doc:"Addresses that spoke to it"`
	Servers   int       `json:"servers" doc:"Addresses that it spoke to"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// Service is what a host offers.
type Service struct {
	Transport string `json:"transport"`
	Port      uint16 `json:"port"`
	Protocol  string `json:"protocol,omitempty"`
	Flows     uint64 `json:"flows"`
}

// Rule is a detection rule and what became of it.
type Rule struct {
	ID          string     `json:"id"`
	Title       string     `json:"title"`
	Description string     `json:"description,omitempty"`
	Level       string     `json:"level"`
	File        string     `json:"file,omitempty"`
	State       string     `json:"state" doc:"active, shadow or disabled"`
	Techniques  []string   `json:"techniques" nullable:"false"`
	References  []string   `json:"references,omitempty"`
	Exceptions  int        `json:"exceptions"`
	Correlation bool       `json:"correlation" doc:"It counts what other rules match"`
	Seen        uint64     `json:"seen" doc:"Events that it was asked about"`
	Matches     uint64     `json:"matches" doc:"Events that matched"`
	Alerts      uint64     `json:"alerts" doc:"In the store"`
	Spent       float64    `json:"spent_ms" doc:"Time that it took, estimated"`
	LastTrue    *time.Time `json:"last_true,omitempty" doc:"When an alert of it was last called true"`
	LastFalse   *time.Time `json:"last_false,omitempty"`
}

// RuleText is how a rule is written, and the events that show what it does.
type RuleText struct {
	Text  string        `json:"text,omitempty" doc:"YAML"`
	Fires []event.Event `json:"-"`
	Quiet []event.Event `json:"-"`
}

// BacktestQuery says what to try on the past: one of Q, YAML and Rule.
type BacktestQuery struct {
	Q    string
	YAML string
	Rule string // ID of one that is loaded
	From time.Time
	To   time.Time
	Top  int
}

// Backtest is what would have been.
type Backtest struct {
	Seen     uint64  `json:"seen" doc:"Events that were looked at"`
	Matches  uint64  `json:"matches"`
	Alerts   int     `json:"alerts"`
	Days     []Day   `json:"days" nullable:"false"`
	Groups   []count `json:"groups" nullable:"false" doc:"What matched most"`
	Complete bool    `json:"complete" doc:"All events were looked at; else those until the time was over"`
}

// Day is one day of a backtest, UTC.
type Day struct {
	Day     string `json:"day"`
	Matches uint64 `json:"matches"`
	Alerts  int    `json:"alerts"`
}

// Counts lists the top values of counts.
func Counts(counts map[string]uint64, top int) []count {
	list := make([]count, 0, len(counts))
	for v, n := range counts {
		list = append(list, count{Value: v, Count: n})
	}
	slices.SortFunc(list, func(a, b count) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value)) })
	return list[:min(top, len(list))]
}

// Unfit is an error of what the client has asked for.
func Unfit(err error) error { return newProblem(http.StatusUnprocessableEntity, err.Error()) }

// Reputation is the lists in use.
type Reputation struct {
	Values int    `json:"values" doc:"In all lists together"`
	Feeds  []Feed `json:"feeds" nullable:"false"`
}

// Feed is one list.
type Feed struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind" enum:"feed,list"`
	Values  int        `json:"values"`
	Tried   *time.Time `json:"tried,omitempty" doc:"When it was last fetched, or tried to be"`
	Changed *time.Time `json:"changed,omitempty" doc:"When it last had something new"`
	Next    *time.Time `json:"next,omitempty" doc:"When it is to be fetched again"`
	Problem string     `json:"problem,omitempty"`
	Path    string     `json:"path,omitempty"`
}

// Verdict is what lists say of a value.
type Verdict struct {
	Listed     bool    `json:"listed"`
	Confidence int     `json:"confidence"`
	Claims     []Claim `json:"claims" nullable:"false"`
}

// Claim is what one list says.
type Claim struct {
	List        string  `json:"list"`
	Value       string  `json:"value"`
	Confidence  int     `json:"confidence" doc:"By now: old claims are worth less"`
	AgeDays     float64 `json:"age_days,omitempty"`
	Description string  `json:"description,omitempty"`
	Reference   string  `json:"reference,omitempty"`
	TLP         string  `json:"tlp,omitempty"`
}

func (c *Console) registerKnowledge() {
	handle(c, operation("assets", "GET", "/assets", account.Read, "", "Hosts as the stored events show them"), c.assets)
	handle(c, operation("list-rules", "GET", "/rules", account.Read, "", "Rules, and what became of them"), c.rules)
	handle(c, operation("get-rule", "GET", "/rules/{id}", account.Read, "", "One rule with its text and fixtures"), c.rule)
	handle(c, operation("backtest", "POST", "/rules/backtest", account.Search, "", "Try a rule or a query on what is stored"), c.backtest)
	handle(c, operation("reputation", "GET", "/reputation", account.Read, "", "Reputation lists: how many values, how fresh"), c.reputation)
	handle(c, operation("lookup", "GET", "/reputation/lookup", account.Read, "", "What the lists say of an address, name, URL or fingerprint"), c.lookup)
}

// absent is a problem where the part that knows is not there.
func absent(what string) error {
	return newProblem(http.StatusNotFound, "this console has no "+what+"; see tocsin serve --help")
}

type assetsInput struct {
	Selection
	Unknown bool `query:"unknown" doc:"Only hosts that the file of assets does not name"`
}

type assetsBody struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Hosts
}

func (c *Console) assets(ctx context.Context, in *assetsInput) (*body[assetsBody], error) {
	if c.Hosted == nil {
		return nil, absent("inventory")
	}
	q, err := c.query(&in.Selection, store.Events)
	if err != nil {
		return nil, err
	}
	out := assetsBody{}
	if out.From, out.To, err = c.bounds(ctx, &spanInput{in.From, in.To}); err != nil {
		return nil, err
	}
	q.From, q.To = out.From, out.To
	all, err := c.Hosted(ctx, c.Store, q)
	if err != nil {
		return nil, err
	}
	out.Left, out.Items = all.Left, []Host{}
	for _, h := range all.Items {
		if !in.Unknown || h.Name == "" {
			out.Items = append(out.Items, h)
		}
	}
	return &body[assetsBody]{out}, nil
}

func (c *Console) rules(ctx context.Context, _ *struct{}) (*body[items[Rule]], error) {
	if c.Rules == nil {
		return nil, absent("rules")
	}
	return listOf(c.Rules(ctx, c.Store))
}

type ruleID struct {
	ID string `path:"id" maxLength:"128"`
}

type ruleDetail struct {
	Rule
	RuleText
	Fires []Record `json:"fires" nullable:"false" doc:"Events that raise its alert"`
	Quiet []Record `json:"quiet" nullable:"false" doc:"Events that are alike and do not"`
}

func (c *Console) rule(ctx context.Context, in *ruleID) (*body[ruleDetail], error) {
	if c.Rules == nil || c.RuleText == nil {
		return nil, absent("rules")
	}
	list, err := c.Rules(ctx, c.Store)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.ID != in.ID {
			continue
		}
		out := ruleDetail{Rule: r}
		if out.RuleText, err = c.RuleText(ctx, in.ID); err != nil {
			return nil, err
		}
		record := func(e event.Event) Record { return newRecord(&e) }
		out.Fires, out.Quiet = each(out.RuleText.Fires, record), each(out.RuleText.Quiet, record)
		return &body[ruleDetail]{out}, nil
	}
	return nil, newProblem(http.StatusNotFound, "no rule "+in.ID)
}

type backtestInput struct {
	Body struct {
		Q    string    `json:"q,omitempty" maxLength:"8192"`
		YAML string    `json:"yaml,omitempty" maxLength:"262144"`
		Rule string    `json:"rule,omitempty" maxLength:"128" doc:"ID of a rule that is loaded"`
		From time.Time `json:"from,omitempty"`
		To   time.Time `json:"to,omitempty"`
		Top  int       `json:"top,omitempty" minimum:"1" maximum:"100" default:"10"`
	}
}

func (c *Console) backtest(ctx context.Context, in *backtestInput) (*body[Backtest], error) {
	if c.Backtest == nil {
		return nil, absent("rules")
	}
	b, n := in.Body, 0
	for _, s := range []string{b.Q, b.YAML, b.Rule} {
		if s != "" {
			n++
		}
	}
	if n != 1 {
		return nil, newProblem(http.StatusUnprocessableEntity, "want one of q, yaml and rule")
	}
	out, err := c.Backtest(ctx, c.Store, BacktestQuery{b.Q, b.YAML, b.Rule, b.From, b.To, b.Top})
	return &body[Backtest]{out}, err
}

func (c *Console) reputation(ctx context.Context, _ *struct{}) (*body[Reputation], error) {
	if c.Reputation == nil {
		return &body[Reputation]{Reputation{Feeds: []Feed{}}}, nil
	}
	out, err := c.Reputation(ctx)
	if out.Feeds == nil {
		out.Feeds = []Feed{}
	}
	return &body[Reputation]{out}, err
}

type lookupInput struct {
	Value string    `query:"value" required:"true" minLength:"1" maxLength:"2048"`
	At    time.Time `query:"at" doc:"As of this time; absent: now"`
}

func (c *Console) lookup(ctx context.Context, in *lookupInput) (*body[Verdict], error) {
	if c.Lookup == nil {
		return &body[Verdict]{Verdict{Claims: []Claim{}}}, nil
	}
	at := in.At
	if at.IsZero() {
		at = time.Now()
	}
	out, err := c.Lookup(ctx, in.Value, at)
	if out.Claims == nil {
		out.Claims = []Claim{}
	}
	return &body[Verdict]{out}, err
}
