package console

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
)

func (c *console) registerTraces(api huma.API, get func(id, path, summary string) huma.Operation) {
	huma.Register(api, get("trace", "/api/v1/traces/{seed}", "The path of an attack, from an alert or an address back to its source and on to its target"), c.trace)
	op := get("export-trace", "/api/v1/traces/{seed}/{format}", "A trace as a file")
	content := map[string]*huma.MediaType{}
	for _, f := range c.Formats {
		content[f.MIME] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	op.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: content}}
	huma.Register(api, op, c.export)
}

type TraceSeed struct {
	Seed string    `path:"seed" maxLength:"64" doc:"An alert's event.id, or an IPv4 or IPv6 address"`
	From time.Time `query:"from" doc:"With an address: earliest time"`
	To   time.Time `query:"to" doc:"With an address: latest time"`
}

func (c *console) build(ctx context.Context, in *TraceSeed) (*trace.Trace, error) {
	seed := trace.Seed{From: in.From, To: in.To}
	if a, err := netip.ParseAddr(in.Seed); err == nil {
		seed.Address = a.WithZone("")
	} else {
		id, err := event.ParseID(in.Seed)
		if err != nil {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%q is neither an address nor an alert's id", in.Seed))
		}
		if _, err := c.Store.Get(ctx, id); err != nil {
			return nil, answer(err)
		}
		seed.Alert = id
	}
	t, err := c.Build(ctx, c.Store, seed)
	return t, answer(err)
}

func (c *console) trace(ctx context.Context, in *TraceSeed) (*body[traceBody], error) {
	t, err := c.build(ctx, in)
	if err != nil {
		return nil, err
	}
	return &body[traceBody]{newTraceBody(t)}, nil
}

type exportInput struct {
	TraceSeed
	Format string `path:"format" maxLength:"32" doc:"Name of a format, as /api/v1/status lists them"`
}

type download struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

func (c *console) export(ctx context.Context, in *exportInput) (*download, error) {
	i := slices.IndexFunc(c.Formats, func(f trace.Format) bool { return f.Name == in.Format })
	if i < 0 {
		var names []string
		for _, f := range c.Formats {
			names = append(names, f.Name)
		}
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("no format %q; there are: %s", in.Format, strings.Join(names, ", ")))
	}
	f := c.Formats[i]
	t, err := c.build(ctx, &in.TraceSeed)
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	if err := f.Write(&file, t); err != nil {
		return nil, answer(fmt.Errorf("trace %s: write %s: %w", in.Seed, f.Name, err))
	}
	name := "trace-" + strings.ReplaceAll(in.Seed, ":", "-") + f.Ext
	return &download{f.MIME, `attachment; filename="` + name + `"`, file.Bytes()}, nil
}

// The trace as the API tells it: trace.Trace with names for JSON.
type (
	traceBody struct {
		Seed     string     `json:"seed"`
		Title    string     `json:"title"`
		From     time.Time  `json:"from"`
		To       time.Time  `json:"to"`
		Origin   string     `json:"origin,omitempty"`
		Target   string     `json:"target,omitempty"`
		Path     []hopBody  `json:"path" nullable:"false"`
		Branches []hopBody  `json:"branches" nullable:"false"`
		Nodes    []nodeBody `json:"nodes" nullable:"false"`
		Steps    []stepBody `json:"steps" nullable:"false"`
		Rejected []hopBody  `json:"rejected" nullable:"false" doc:"Candidates that were not taken, best first"`
		Loss     float64    `json:"loss" doc:"Share of packets unseen in that time, 0 to 1"`
		Missing  []string   `json:"missing" nullable:"false" doc:"What would have been needed and was not there"`
	}
	hopBody struct {
		From       string          `json:"from"`
		To         string          `json:"to"`
		Port       uint16          `json:"port,omitempty"`
		Transport  string          `json:"transport,omitempty"`
		Protocol   string          `json:"protocol,omitempty"`
		Start      time.Time       `json:"start"`
		End        time.Time       `json:"end"`
		Flows      int             `json:"flows"`
		Bytes      uint64          `json:"bytes"`
		Role       string          `json:"role"`
		Techniques []techniqueBody `json:"techniques" nullable:"false"`
		Confidence float64         `json:"confidence" doc:"0 to 1"`
		Reasons    []reasonBody    `json:"reasons" nullable:"false"`
		Evidence   []string        `json:"evidence" nullable:"false" doc:"event.id of alerts and events"`
		Sensors    []string        `json:"sensors" nullable:"false"`
	}
	techniqueBody struct {
		ID      string   `json:"id"`
		Name    string   `json:"name"`
		Tactics []string `json:"tactics" nullable:"false"`
	}
	reasonBody struct {
		Text   string  `json:"text"`
		Weight float64 `json:"weight" doc:"Negative if it speaks against"`
	}
	nodeBody struct {
		Address string    `json:"address"`
		Name    string    `json:"name,omitempty"`
		Zone    string    `json:"zone,omitempty"`
		Role    string    `json:"role"`
		First   time.Time `json:"first"`
		Last    time.Time `json:"last"`
	}
	stepBody struct {
		Time       time.Time       `json:"time"`
		ID         string          `json:"id"`
		Text       string          `json:"text"`
		Severity   int             `json:"severity" doc:"0 for a plain event"`
		From       string          `json:"from,omitempty"`
		To         string          `json:"to,omitempty"`
		Techniques []techniqueBody `json:"techniques" nullable:"false"`
	}
)

func newTraceBody(t *trace.Trace) traceBody {
	return traceBody{
		Seed: t.Seed, Title: t.Title, From: t.From, To: t.To,
		Origin: addrText(t.Origin), Target: addrText(t.Target),
		Path: each(t.Path, newHopBody), Branches: each(t.Branches, newHopBody), Rejected: each(t.Rejected, newHopBody),
		Nodes: each(t.Nodes, func(n trace.Node) nodeBody {
			return nodeBody{addrText(n.Address), n.Name, n.Zone, n.Role, n.First, n.Last}
		}),
		Steps: each(t.Steps, func(s trace.Step) stepBody {
			return stepBody{s.Time, s.ID.String(), s.Text, s.Severity, addrText(s.From), addrText(s.To), each(s.Techniques, newTechniqueBody)}
		}),
		Loss: t.Loss, Missing: append([]string{}, t.Missing...),
	}
}

func newHopBody(h trace.Hop) hopBody {
	return hopBody{
		From: addrText(h.From), To: addrText(h.To), Port: h.Port, Transport: h.Transport, Protocol: h.Protocol,
		Start: h.Start, End: h.End, Flows: h.Flows, Bytes: h.Bytes, Role: h.Role,
		Techniques: each(h.Techniques, newTechniqueBody), Confidence: h.Confidence,
		Reasons:  each(h.Reasons, func(r trace.Reason) reasonBody { return reasonBody(r) }),
		Evidence: each(h.Evidence, event.ID.String),
		Sensors:  append([]string{}, h.Sensors...),
	}
}

func newTechniqueBody(t event.Technique) techniqueBody {
	return techniqueBody{t.ID, t.Name, append([]string{}, t.Tactics...)}
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// each maps a list; the result is never nil, so that JSON has [] and not null.
func each[T, U any](in []T, f func(T) U) []U {
	out := make([]U, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}
