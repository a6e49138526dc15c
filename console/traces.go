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

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
)

func (c *Console) registerTraces() {
	handle(c, operation("trace", "GET", "/traces/{seed}", account.Read, "", "The path of an attack, from an alert or an address back to its source and on to its target"), c.trace)
	op := operation("export-trace", "GET", "/traces/{seed}/{format}", account.Export, "export", "A trace as a file")
	content := map[string]*huma.MediaType{}
	for _, f := range c.Formats {
		content[f.MIME] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	op.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: content}}
	handle(c, op, c.exportTrace)
}

// TraceSeed is what a trace begins from.
type TraceSeed struct {
	Seed string    `path:"seed" maxLength:"64" doc:"An alert's event.id, or an IPv4 or IPv6 address"`
	From time.Time `query:"from" doc:"With an address: earliest time"`
	To   time.Time `query:"to" doc:"With an address: latest time"`
}

func (c *Console) build(ctx context.Context, in *TraceSeed) (*trace.Trace, error) {
	seed := trace.Seed{From: in.From, To: in.To}
	if a, err := netip.ParseAddr(in.Seed); err == nil {
		seed.Address = a.WithZone("")
	} else {
		id, err := event.ParseID(in.Seed)
		if err != nil {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%q is neither an address nor an alert's id", in.Seed))
		}
		if _, err := c.Store.Get(ctx, id); err != nil {
			return nil, err
		}
		seed.Alert = id
	}
	t, err := c.Build(ctx, c.Store, seed)
	return t, answer(err)
}

func (c *Console) trace(ctx context.Context, in *TraceSeed) (*body[*trace.Trace], error) {
	t, err := c.build(ctx, in)
	if err != nil {
		return nil, err
	}
	return &body[*trace.Trace]{t}, nil
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

func (c *Console) exportTrace(ctx context.Context, in *exportInput) (*download, error) {
	i := slices.IndexFunc(c.Formats, func(f trace.Format) bool { return f.Name == in.Format })
	if i < 0 {
		names := each(c.Formats, func(f trace.Format) string { return f.Name })
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
