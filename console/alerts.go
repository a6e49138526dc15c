package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

func (c *Console) registerAlerts() {
	handle(c, operation("search-alerts", "GET", "/alerts", account.Read, "", "Alerts that match a query"), c.searchAlerts)
	handle(c, operation("alert-summary", "GET", "/alerts/summary", account.Read, "", "Alerts over time by level, and the most frequent values of fields, in one pass"), c.summary)
	handle(c, operation("alert-groups", "GET", "/alerts/groups", account.Read, "", "Alerts put together by a field"), c.groups)
	handle(c, operation("get-alert", "GET", "/alerts/{id}", account.Read, "", "One alert, its evidence, and what is like it"), c.alert)
}

// Sighting says which alerts are shown: those that are suppressed, or not.
type Sighting struct {
	Suppressed string `query:"suppressed" enum:"hide,show,only" default:"hide" doc:"Alerts that a suppression matches"`
}

// alertQuery is the query of the alerts that are meant, and of all of which
// those are the ones in sight.
func (c *Console) alertQuery(ctx context.Context, s *Selection, in Sighting) (q, all store.Query, err error) {
	if all, err = c.query(s, store.Alerts); err != nil {
		return q, all, err
	}
	q = all
	if in.Suppressed == "show" {
		return q, all, nil
	}
	list, err := incident.Suppressions(ctx, c.Desk)
	if err != nil {
		return q, all, err
	}
	hidden, err := incident.Hidden(list, c.Schema, time.Now())
	if err != nil {
		return q, all, err
	}
	only := in.Suppressed == "only"
	switch {
	case hidden == nil && only:
		q.Where = query.Or{} // nothing
	case hidden == nil:
	case only:
		q.Where = both(all.Where, hidden)
	default:
		q.Where = both(all.Where, query.Not{Node: hidden})
	}
	return q, all, nil
}

func both(a, b query.Node) query.Node {
	if a == nil {
		return b
	}
	return query.And{a, b}
}

type alertSearch struct {
	SearchPage
	Sighting
}

func (c *Console) searchAlerts(ctx context.Context, in *alertSearch) (*body[recordPage], error) {
	q, _, err := c.alertQuery(ctx, &in.Selection, in.Sighting)
	if err != nil {
		return nil, err
	}
	return c.page(ctx, &in.SearchPage, q)
}

type summaryInput struct {
	Selection
	Sighting
	Interval string   `query:"interval" maxLength:"16" default:"auto" doc:"Step of time: a duration such as 30s, 5m or 24h, or auto"`
	Fields   []string `query:"fields" maxItems:"16" doc:"Fields whose values to count, separated by commas"`
	Top      int      `query:"top" minimum:"1" maximum:"100" default:"10" doc:"So many values of each"`
}

type summaryBody struct {
	Total      uint64    `json:"total"`
	Suppressed uint64    `json:"suppressed" doc:"That match, too, and are not shown"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	Interval   int64     `json:"interval_ms"`
	Histogram  []bucket  `json:"histogram" nullable:"false" doc:"By time and level; all counts are exact"`
	Facets     []facet   `json:"facets" nullable:"false"`
}

const levelField = "tocsin.alert.level"

func (c *Console) summary(ctx context.Context, in *summaryInput) (*body[summaryBody], error) {
	q, all, err := c.alertQuery(ctx, &in.Selection, in.Sighting)
	if err != nil {
		return nil, err
	}
	out := summaryBody{Histogram: []bucket{}, Facets: []facet{}}
	if out.From, out.To, err = c.span(ctx, q); err != nil {
		return nil, err
	}
	step, err := interval(in.Interval, out.To.Sub(out.From))
	if err != nil {
		return nil, err
	}
	out.Interval = step.Milliseconds()
	asks := []store.By{{}, {Interval: step, Field: levelField}}
	for _, f := range in.Fields {
		asks = append(asks, store.By{Field: f, Top: in.Top})
	}
	answers, err := c.countAll(ctx, q, asks)
	if err != nil {
		return nil, err
	}
	for _, b := range answers[0] {
		out.Total += b.Count
	}
	for _, b := range answers[1] {
		out.Histogram = append(out.Histogram, newBucket(b))
	}
	for i, f := range in.Fields {
		out.Facets = append(out.Facets, newFacet(f, answers[2+i]))
	}
	if in.Suppressed == "hide" {
		buckets, err := c.Store.Count(ctx, all, store.By{})
		if err != nil {
			return nil, err
		}
		for _, b := range buckets {
			out.Suppressed += b.Count
		}
		out.Suppressed -= min(out.Total, out.Suppressed)
	}
	return &body[summaryBody]{out}, nil
}

// countAll counts in several ways, at once where the store can.
func (c *Console) countAll(ctx context.Context, q store.Query, by []store.By) ([][]store.Bucket, error) {
	if s, ok := c.Store.(store.MultiCounter); ok {
		return s.CountAll(ctx, q, by)
	}
	out := make([][]store.Bucket, len(by))
	for i, b := range by {
		var err error
		if out[i], err = c.Store.Count(ctx, q, b); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// groupFields are short names of fields to group by.
var groupFields = map[string]string{"rule": "rule.id", "source": "tocsin.alert.source", "target": "tocsin.alert.target"}

type groupsInput struct {
	Selection
	Sighting
	By  string `query:"by" default:"rule" maxLength:"256" doc:"A field, or rule, source or target"`
	Top int    `query:"top" minimum:"1" maximum:"1000" default:"100"`
}

type group struct {
	Value    string    `json:"value"`
	Name     string    `json:"name,omitempty" doc:"Of a rule its title, of an address the asset"`
	Count    uint64    `json:"count"`
	Open     uint64    `json:"open" doc:"Of them neither acknowledged nor closed"`
	Severity int       `json:"severity" doc:"Of the worst"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Newest   string    `json:"newest" doc:"event.id of the newest"`
	Sources  int       `json:"sources" doc:"Addresses that acted; 1000 stands for more"`
	Targets  int       `json:"targets" doc:"Addresses acted upon; 1000 stands for more"`

	sources, targets map[string]bool
}

type groupsBody struct {
	Items  []group `json:"items" nullable:"false" doc:"The worst and most frequent first"`
	Groups int     `json:"groups" doc:"How many there are"`
	More   bool    `json:"more" doc:"There were too many groups to be kept apart; narrow the query"`
}

// Bounds of grouping.
const (
	maxGroups  = 20_000
	maxMembers = 1000
)

func (c *Console) groups(ctx context.Context, in *groupsInput) (*body[groupsBody], error) {
	q, _, err := c.alertQuery(ctx, &in.Selection, in.Sighting)
	if err != nil {
		return nil, err
	}
	field := cmp.Or(groupFields[in.By], in.By)
	all := map[string]*group{}
	out := groupsBody{}
	path := query.ResolvePath(field)
	severity, status := event.Resolve("event.severity"), event.Resolve("tocsin.alert.status")
	source, target, name := event.Resolve("tocsin.alert.source"), event.Resolve("tocsin.alert.target"), event.Resolve("rule.name")
	for e, err := range c.Store.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		path.Values(&e, func(v event.Value) bool {
			text := v.String()
			if seen[text] {
				return true
			}
			seen[text] = true
			g := all[text]
			if g == nil {
				if len(all) >= maxGroups {
					out.More = true
					return true
				}
				g = &group{Value: text, First: e.Time, sources: map[string]bool{}, targets: map[string]bool{}}
				all[text] = g
			}
			g.Count++
			g.Last, g.Newest = e.Time, e.ID.String() // they come in order of time
			if v, ok := e.Lookup(severity); ok {
				n, _ := v.Int()
				g.Severity = max(g.Severity, int(n))
			}
			if v, ok := e.Lookup(status); !ok || v.Str() == "open" {
				g.Open++
			}
			if in.By == "rule" {
				if v, ok := e.Lookup(name); ok {
					g.Name = v.Str()
				}
			}
			for ref, set := range map[event.Ref]map[string]bool{source: g.sources, target: g.targets} {
				if v, ok := e.Lookup(ref); ok {
					for _, x := range v.List() {
						if len(set) < maxMembers {
							set[x.String()] = true
						}
					}
				}
			}
			return true
		})
	}
	list := make([]*group, 0, len(all))
	for _, g := range all {
		g.Sources, g.Targets = len(g.sources), len(g.targets)
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Open, a.Open), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	out.Groups, out.Items = len(list), []group{}
	for _, g := range list[:min(in.Top, len(list))] {
		if a, err := netip.ParseAddr(g.Value); err == nil {
			g.Name = c.nameOf(a)
		}
		out.Items = append(out.Items, *g)
	}
	return &body[groupsBody]{out}, nil
}

// nameOf is what the file of assets calls an address; empty: nothing.
func (c *Console) nameOf(a netip.Addr) string {
	if c.Owner == nil {
		return ""
	}
	o, _ := c.Owner(a)
	return o.Name
}

type incidentRef struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	State string `json:"state"`
}

type party struct {
	Address string `json:"address"`
	Owner
}

type alertDetail struct {
	Alert        Record        `json:"alert"`
	Evidence     []Record      `json:"evidence" nullable:"false" doc:"Events that took part, earliest first"`
	Missing      []string      `json:"missing" nullable:"false" doc:"Events that took part and are not kept any more"`
	Related      []Record      `json:"related" nullable:"false" doc:"Other alerts with the same source or target within an hour, 20 at most"`
	Incidents    []incidentRef `json:"incidents" nullable:"false"`
	Suppressions []suppression `json:"suppressions" nullable:"false" doc:"That match it"`
	Hosts        []party       `json:"hosts" nullable:"false" doc:"What the file of assets says of sources and targets"`
}

// What belongs to an alert.
const (
	relatedTime = time.Hour
	maxRelated  = 20
)

func (c *Console) alert(ctx context.Context, in *RecordID) (*body[alertDetail], error) {
	e, err := c.get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	a, err := event.AlertOf(&e)
	if err != nil {
		return nil, newProblem(http.StatusNotFound, err.Error())
	}
	out := alertDetail{
		Alert: newRecord(&e), Evidence: []Record{}, Missing: []string{}, Related: []Record{},
		Incidents: []incidentRef{}, Suppressions: []suppression{}, Hosts: []party{},
	}
	for _, id := range a.Evidence {
		e, err := c.Store.Get(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			out.Missing = append(out.Missing, id.String())
		case err != nil:
			return nil, err
		default:
			out.Evidence = append(out.Evidence, newRecord(&e))
		}
	}
	any := query.Or{}
	for _, x := range slices.Concat(a.Sources, a.Targets) {
		any = append(any, query.Compare{Field: "related.ip", Value: query.Literal{V: event.IP(x)}})
		if c.Owner != nil {
			if o, ok := c.Owner(x); ok {
				out.Hosts = append(out.Hosts, party{x.String(), o})
			}
		}
	}
	if len(any) > 0 {
		q := store.Query{Set: store.Alerts, Where: any, From: a.First.Add(-relatedTime), To: a.Last.Add(relatedTime), Limit: maxRelated + 1, Desc: true}
		for e, err := range c.Store.Search(ctx, q) {
			if err != nil {
				return nil, err
			}
			if e.ID != a.ID && len(out.Related) < maxRelated {
				out.Related = append(out.Related, newRecord(&e))
			}
		}
	}
	incidents, err := c.book.List(ctx, incident.Filter{Alert: in.ID})
	if err != nil {
		return nil, err
	}
	for _, i := range incidents {
		out.Incidents = append(out.Incidents, incidentRef{i.ID, i.Title, i.State})
	}
	list, err := incident.Suppressions(ctx, c.Desk)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		n, err := query.Parse(s.Q, c.Schema, query.KQL)
		if err == nil && !s.Expired(time.Now()) && query.Compile(n)(&e) {
			out.Suppressions = append(out.Suppressions, suppression{Suppression: s})
		}
	}
	return &body[alertDetail]{out}, nil
}
