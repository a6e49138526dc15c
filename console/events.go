package console

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

func (c *Console) registerEvents() {
	handle(c, operation("search-events", "GET", "/events", account.Read, "", "Events that match a query"), c.searchEvents)
	handle(c, operation("get-event", "GET", "/events/{id}", account.Read, "", "One event or alert"), c.event)
	handle(c, operation("get-packets", "GET", "/events/{id}/packets", account.Payload, "payload", "The packets of an event, as far as they are kept"), c.packets)
	handle(c, operation("fields", "GET", "/fields", signedIn, "", "Every field that a query may name"), c.fields)
	handle(c, operation("counts", "GET", "/counts", account.Read, "", "Counts of what matches a query, over time or by a field or both"), c.counts)
	handle(c, operation("facets", "GET", "/facets", account.Read, "", "The most frequent values of several fields of what matches a query"), c.facets)
	handle(c, operation("complete", "GET", "/complete", account.Read, "", "What may follow in a query that is being written"), c.complete)
	handle(c, operation("talkers", "GET", "/talkers", account.Read, "", "Who speaks with whom, and what of it is new"), c.talkers)
	o := operation("export", "GET", "/export", account.Export, "export", "All that matches a query, as a file")
	o.Responses = map[string]*huma.Response{"200": {
		Description: "The file. It ends early, without the end of the transfer, if the store fails.",
		Headers:     map[string]*huma.Header{totalHeader: {Description: "Records in it", Schema: &huma.Schema{Type: huma.TypeInteger}}},
		Content: map[string]*huma.MediaType{
			"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}, "application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}}
	handle(c, o, c.export)
}

func (c *Console) searchEvents(ctx context.Context, in *SearchPage) (*body[recordPage], error) {
	q, err := c.query(&in.Selection, store.Events)
	if err != nil {
		return nil, err
	}
	return c.page(ctx, in, q)
}

func (c *Console) event(ctx context.Context, in *RecordID) (*body[Record], error) {
	e, err := c.get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &body[Record]{newRecord(&e)}, nil
}

// Packet is one packet of an event.
type Packet struct {
	Time      time.Time `json:"time"`
	Sensor    string    `json:"sensor"`
	Interface string    `json:"interface,omitempty"`
	Length    int       `json:"length" doc:"On the wire, bytes; hex may hold fewer"`
	Hex       string    `json:"hex" doc:"From the link layer on"`
	Source    string    `json:"source,omitempty"`
	Target    string    `json:"destination,omitempty"`
	Protocol  string    `json:"protocol,omitempty"`
}

type packetsBody struct {
	Packets []Packet `json:"packets" nullable:"false"`
	Missing []string `json:"missing" nullable:"false" doc:"What is not there, and why"`
}

func (c *Console) packets(ctx context.Context, in *RecordID) (*body[packetsBody], error) {
	e, err := c.get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := packetsBody{Packets: []Packet{}, Missing: []string{}}
	if c.Packets == nil {
		out.Missing = append(out.Missing, "this console has no packets: they are kept where they were captured")
		return &body[packetsBody]{out}, nil
	}
	packets, missing, err := c.Packets(ctx, &e)
	out.Packets, out.Missing = append(out.Packets, packets...), append(out.Missing, missing...)
	tell(ctx, "packets", strconv.Itoa(len(packets)))
	return &body[packetsBody]{out}, err
}

type fieldDoc struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Help  string `json:"help"`
	Class string `json:"class" doc:"How carefully its values are to be handled"`
}

func (c *Console) fields(context.Context, *struct{}) (*body[[]fieldDoc], error) {
	return &body[[]fieldDoc]{each(c.Schema.Fields(), func(d event.FieldDoc) fieldDoc {
		return fieldDoc{d.Name, string(d.Type), d.Help, d.Class.String()}
	})}, nil
}

// Owner is what the file of assets says of an address.
type Owner struct {
	Name   string `json:"name,omitempty"`
	Zone   string `json:"zone,omitempty"`
	Role   string `json:"role,omitempty"`
	Sector string `json:"sector,omitempty"`
	Level  int    `json:"level,omitempty"`
}

type talkersInput struct {
	Selection
	Top int `query:"top" minimum:"1" maximum:"2000" default:"200" doc:"So many edges: those with the most flows, new ones first"`
}

type talker struct {
	Address string `json:"address"`
	Name    string `json:"name,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Role    string `json:"role,omitempty"`
	Flows   uint64 `json:"flows"`
	Bytes   uint64 `json:"bytes"`
	New     bool   `json:"new" doc:"Not seen in the stretch of equal length before"`
}

type edge struct {
	Source    string    `json:"source"`
	Target    string    `json:"target"`
	Protocols []string  `json:"protocols" nullable:"false"`
	Ports     []uint16  `json:"ports" nullable:"false" doc:"Of the target; 20 at most"`
	Flows     uint64    `json:"flows"`
	Bytes     uint64    `json:"bytes"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	New       bool      `json:"new"`
}

type talkersBody struct {
	From         time.Time  `json:"from"`
	To           time.Time  `json:"to"`
	BaselineFrom *time.Time `json:"baseline_from,omitempty" doc:"Start of the stretch before; absent where nothing was stored then, so that nothing is called new"`
	LookedAt     int        `json:"looked_at" doc:"Events"`
	Complete     bool       `json:"complete" doc:"All events were looked at; else the latest ones"`
	Nodes        []talker   `json:"nodes" nullable:"false"`
	Edges        []edge     `json:"edges" nullable:"false"`
	Pairs        int        `json:"pairs" doc:"Of which edges are a part"`
}

// Bounds of a graph of talkers.
const (
	maxTalkEvents = 300_000
	maxPairs      = 50_000
	maxPorts      = 20
)

type pair struct{ src, dst netip.Addr }

func (c *Console) talkers(ctx context.Context, in *talkersInput) (*body[talkersBody], error) {
	q, err := c.query(&in.Selection, store.Events)
	if err != nil {
		return nil, err
	}
	out := talkersBody{Nodes: []talker{}, Edges: []edge{}, Complete: true}
	if out.From, out.To, err = c.span(ctx, q); err != nil {
		return nil, err
	}
	q.From, q.To, q.Desc, q.Limit = out.From, out.To, true, maxTalkEvents+1
	q.Where = both(query.OfKind(event.KindFlow), orAll(q.Where))
	pairs := map[pair]*edge{}
	for e, err := range c.Store.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		if out.LookedAt++; out.LookedAt > maxTalkEvents {
			out.LookedAt, out.Complete = maxTalkEvents, false
			break
		}
		f := &e.Flow
		if !f.Src.IP.IsValid() || !f.Dst.IP.IsValid() {
			continue
		}
		x := pairs[pair{f.Src.IP, f.Dst.IP}]
		if x == nil {
			if len(pairs) >= maxPairs {
				out.Complete = false
				continue
			}
			x = &edge{Source: f.Src.IP.String(), Target: f.Dst.IP.String(), Last: e.Time, Protocols: []string{}, Ports: []uint16{}}
			pairs[pair{f.Src.IP, f.Dst.IP}] = x
		}
		x.First = e.Time // latest first
		x.Flows++
		x.Bytes += f.Src.Bytes + f.Dst.Bytes
		if f.Service != "" && !slices.Contains(x.Protocols, f.Service) {
			x.Protocols = append(x.Protocols, f.Service)
		}
		if len(x.Ports) < maxPorts && f.Dst.Port != 0 && !slices.Contains(x.Ports, f.Dst.Port) {
			x.Ports = append(x.Ports, f.Dst.Port)
		}
	}
	before, known, err := c.before(ctx, in, &out)
	if err != nil {
		return nil, err
	}
	nodes := map[netip.Addr]*talker{}
	list := make([]pair, 0, len(pairs))
	for p, x := range pairs {
		x.New = before != nil && !before[p]
		slices.Sort(x.Protocols)
		slices.Sort(x.Ports)
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b pair) int {
		x, y := pairs[a], pairs[b]
		if x.New != y.New {
			if x.New {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(y.Flows, x.Flows), a.src.Compare(b.src), a.dst.Compare(b.dst))
	})
	out.Pairs = len(list)
	for _, p := range list[:min(in.Top, len(list))] {
		x := pairs[p]
		out.Edges = append(out.Edges, *x)
		for _, a := range []netip.Addr{p.src, p.dst} {
			n := nodes[a]
			if n == nil {
				n = &talker{Address: a.String(), New: known != nil && !known[a]}
				if c.Owner != nil {
					o, _ := c.Owner(a)
					n.Name, n.Zone, n.Role = o.Name, o.Zone, o.Role
				}
				nodes[a] = n
			}
			n.Flows += x.Flows
			n.Bytes += x.Bytes
		}
	}
	for _, n := range nodes {
		out.Nodes = append(out.Nodes, *n)
	}
	slices.SortFunc(out.Nodes, func(a, b talker) int { return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Address, b.Address)) })
	return &body[talkersBody]{out}, nil
}

func orAll(n query.Node) query.Node {
	if n == nil {
		return query.And{}
	}
	return n
}

// before says who spoke with whom in the stretch of equal length before; nil
// where nothing was stored then, or too much to be looked at.
func (c *Console) before(ctx context.Context, in *talkersInput, out *talkersBody) (map[pair]bool, map[netip.Addr]bool, error) {
	first, _, err := c.Store.Span(ctx)
	if err != nil || !first.Before(out.From) {
		return nil, nil, err
	}
	q := store.Query{
		Set: store.Events, Where: query.OfKind(event.KindFlow),
		From: out.From.Add(-out.To.Sub(out.From)), To: out.From, Desc: true, Limit: maxTalkEvents + 1,
	}
	pairs, known := map[pair]bool{}, map[netip.Addr]bool{}
	n := 0
	for e, err := range c.Store.Search(ctx, q) {
		if err != nil {
			return nil, nil, err
		}
		if n++; n > maxTalkEvents {
			return nil, nil, nil
		}
		pairs[pair{e.Flow.Src.IP, e.Flow.Dst.IP}] = true
		known[e.Flow.Src.IP], known[e.Flow.Dst.IP] = true, true
	}
	if n > 0 {
		out.BaselineFrom = &q.From
		return pairs, known, nil
	}
	return nil, nil, nil
}

const (
	exportPath  = prefix + "/export"
	totalHeader = "X-Tocsin-Total"
)

type exportRecords struct {
	Selection
	Sighting
	Set     string   `query:"set" enum:"alerts,events,all" default:"events"`
	Format  string   `query:"format" enum:"csv,json" default:"json" doc:"json: a record a line"`
	Columns []string `query:"columns" maxItems:"64" doc:"Of CSV: fields, separated by commas"`
	Order   string   `query:"order" enum:"asc,desc" default:"asc"`
}

// usualColumns are those of CSV where none are asked for.
var usualColumns = map[string][]string{
	"alerts": {"@timestamp", "event.id", "tocsin.alert.level", "event.severity", "rule.name", "message", "tocsin.alert.source", "tocsin.alert.target",
		"threat.technique.id", "tocsin.alert.count", "tocsin.alert.status", "tocsin.alert.verdict", "tocsin.alert.reason", "tocsin.alert.by"},
	"events": {"@timestamp", "event.id", "event.dataset", "observer.name", "source.ip", "source.port", "destination.ip", "destination.port",
		"network.transport", "network.protocol", "network.packets", "network.bytes"},
}

// stalled is how long a client may not read before an export ends.
const stalled = time.Minute

func (c *Console) export(ctx context.Context, in *exportRecords) (*huma.StreamResponse, error) {
	tell(ctx, "q", in.Q)
	tell(ctx, "set", in.Set)
	tell(ctx, "format", in.Format)
	for name, t := range map[string]time.Time{"from": in.From, "to": in.To} {
		if !t.IsZero() {
			tell(ctx, name, t.UTC().Format(time.RFC3339))
		}
	}
	var q store.Query
	var err error
	if in.Set == "alerts" {
		q, _, err = c.alertQuery(ctx, &in.Selection, in.Sighting)
	} else {
		q, err = c.query(&in.Selection, sets[in.Set])
	}
	if err != nil {
		return nil, err
	}
	q.Desc = in.Order == "desc"
	// What comes while it runs may be in it, or not; the count is that of now.
	total := uint64(0)
	buckets, err := c.Store.Count(ctx, q, store.By{})
	if err != nil {
		return nil, err
	}
	for _, b := range buckets {
		total += b.Count
	}
	tell(ctx, "records", strconv.FormatUint(total, 10))
	columns := in.Columns
	if len(columns) == 0 {
		if columns = usualColumns[in.Set]; columns == nil {
			columns = usualColumns["events"]
		}
	}
	select {
	case c.exports <- struct{}{}:
	default:
		return nil, huma.ErrorWithHeaders(newProblem(http.StatusTooManyRequests, fmt.Sprintf("%d exports are running; try again when one has ended", maxExports)), http.Header{"Retry-After": {"10"}})
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		defer func() { <-c.exports }()
		name := "tocsin-" + in.Set + "-" + time.Now().UTC().Format("20060102T150405Z")
		mime, ext := "application/x-ndjson", ".jsonl"
		if in.Format == "csv" {
			mime, ext = "text/csv; charset=utf-8", ".csv"
		}
		h.SetHeader("Content-Type", mime)
		h.SetHeader("Content-Disposition", `attachment; filename="`+name+ext+`"`)
		h.SetHeader(totalHeader, strconv.FormatUint(total, 10))
		if err := c.writeExport(h, q, in.Format == "csv", columns); err != nil {
			c.Log.Warn("console: export", "error", err)
			// The status has gone out: only a broken transfer tells the client.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

func (c *Console) writeExport(h huma.Context, q store.Query, asCSV bool, columns []string) error {
	out := pacer{h.BodyWriter()}
	if asCSV {
		w := csv.NewWriter(out)
		if err := w.Write(columns); err != nil {
			return err
		}
		refs := each(columns, event.Resolve)
		row := make([]string, len(columns))
		for e, err := range c.Store.Search(h.Context(), q) {
			if err != nil {
				return err
			}
			for i, ref := range refs {
				v, _ := e.Lookup(ref)
				row[i] = cell(v)
			}
			if err := w.Write(row); err != nil {
				return err
			}
		}
		w.Flush()
		return w.Error()
	}
	w := bufio.NewWriterSize(out, 32<<10)
	var line []byte
	for e, err := range c.Store.Search(h.Context(), q) {
		if err != nil {
			return err
		}
		line = append(e.AppendJSON(line[:0]), '\n')
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return w.Flush()
}

// cell is a value in CSV. What a spreadsheet would take for a formula, such as
// a name that an attacker chose, gets an apostrophe (OWASP, CSV injection).
func cell(v event.Value) string {
	s := v.String()
	if v.Type() == event.TypeList {
		s = strings.Join(each(v.List(), event.Value.String), " ")
	}
	if v.Type() != event.TypeInt && v.Type() != event.TypeFloat && s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// pacer lets a write take as long as stalled, and no longer.
type pacer struct{ w io.Writer }

// Write implements io.Writer.
func (p pacer) Write(b []byte) (int, error) {
	if w, ok := p.w.(http.ResponseWriter); ok {
		// An error means that there is no deadline to be set, as for a command.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stalled))
	}
	return p.w.Write(b)
}
