// Package html writes a trace as one self-contained page for people: a
// sentence, the hop graph, the hops with their reasons, and the timeline. It
// needs no network, no script and no font of its own, and prints.
package html

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
)

// Format is the HTML format.
var Format = trace.Format{Name: "html", MIME: "text/html; charset=utf-8", Ext: ".html", Write: write}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") },
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
	"percent": func(f float64) string { return fmt.Sprintf("%.0f %%", 100*f) },
	"signed":  func(f float64) string { return fmt.Sprintf("%+.1f", f) },
	"bytes":   size,
	"level":   event.LevelOf,
	"join":    func(s []string) string { return strings.Join(s, ", ") },
	"add":     func(a, b int) int { return a + b },
}).Parse(pageText))

func write(w io.Writer, t *trace.Trace) error {
	return page.Execute(w, struct {
		*trace.Trace
		Graph graph
		Lanes lanes
	}{t, draw(t), timeline(t)})
}

func size(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// The graph: the path runs from left to right in the middle row; what hangs
// beside it stands above and below the node it hangs on.
type (
	graph struct {
		Width, Height int
		Boxes         []box
		Arrows        []arrow
	}
	box struct {
		X, Y, W, H    int
		Address, Name string
		Zone, Role    string
	}
	arrow struct {
		Path         string
		X, Y         int // of the label
		Label, Under string
		Role         string
		Branch       bool
	}
)

const (
	boxW, boxH = 190, 64
	gapX, gapY = 150, 46
	margin     = 24
)

// maxDrawn bounds the branches drawn on one side of a node; all are listed.
const maxDrawn = 4

func draw(t *trace.Trace) graph {
	nodes := map[netip.Addr]trace.Node{}
	for _, n := range t.Nodes {
		nodes[n.Address] = n
	}
	column := map[netip.Addr]int{}
	order := []netip.Addr{t.Origin}
	for _, h := range t.Path {
		order = append(order, h.To)
	}
	if len(t.Path) == 0 && t.Target.IsValid() && t.Target != t.Origin {
		order = append(order, t.Target)
	}
	above, below := map[int][]trace.Hop{}, map[int][]trace.Hop{}
	for i, a := range order {
		if _, ok := column[a]; !ok {
			column[a] = i
		}
	}
	up, down := 0, 0 // rows
	for _, h := range t.Branches {
		c, ok := column[h.From]
		if _, drawn := column[h.To]; !ok || drawn {
			continue
		}
		side := above
		if len(above[c]) > len(below[c]) {
			side = below
		}
		if len(side[c]) < maxDrawn {
			side[c] = append(side[c], h)
			up, down = max(up, len(above[c])), max(down, len(below[c]))
		}
	}
	middle := margin + up*(boxH+gapY)
	g := graph{Width: 2*margin + len(order)*boxW + (len(order)-1)*gapX, Height: middle + boxH + down*(boxH+gapY) + margin}
	at := func(col, row int) (x, y int) { return margin + col*(boxW+gapX), middle + row*(boxH+gapY) }
	place := func(a netip.Addr, x, y int) {
		n := nodes[a]
		g.Boxes = append(g.Boxes, box{X: x, Y: y, W: boxW, H: boxH, Address: a.String(), Name: n.Name, Zone: n.Zone, Role: n.Role})
	}
	for i, a := range order {
		x, y := at(i, 0)
		place(a, x, y)
	}
	for i, h := range t.Path {
		x, y := at(i, 0)
		g.Arrows = append(g.Arrows, arrow{
			Path: fmt.Sprintf("M%d %dH%d", x+boxW, y+boxH/2, x+boxW+gapX-6),
			X:    x + boxW + gapX/2, Y: y + boxH/2 - 10, Role: h.Role,
			Label: fmt.Sprintf("%s/%d", h.Protocol, h.Port), Under: fmt.Sprintf("%.0f %%", 100*h.Confidence),
		})
	}
	for c := range order {
		for side, hops := range map[int][]trace.Hop{-1: above[c], 1: below[c]} {
			for i, h := range hops {
				x, y := at(c, side*(i+1))
				place(h.To, x+30, y)
				from := middle
				if side > 0 {
					from = middle + boxH
				}
				to := y + boxH/2
				g.Arrows = append(g.Arrows, arrow{
					Path: fmt.Sprintf("M%d %dV%dH%d", x+12, from, to, x+24),
					X:    x + 30 + boxW/2, Y: y - 8, Label: h.Role + " · " + h.Protocol, Role: h.Role, Branch: true,
				})
			}
		}
	}
	slices.SortFunc(g.Arrows, func(a, b arrow) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(g.Boxes, func(a, b box) int { return (a.Y-b.Y)*100000 + a.X - b.X })
	return g
}

// The timeline: a lane for each address that was acted upon.
type (
	lanes struct {
		Width, Height int
		Rows          []lane
		Ticks         []tick
	}
	lane struct {
		Y     int
		Name  string
		Marks []mark
	}
	mark struct {
		X, W  int
		Level string
		Text  string
	}
	tick struct {
		X    int
		Text string
	}
)

const (
	laneH    = 26
	laneName = 190
	laneW    = 900
)

func timeline(t *trace.Trace) lanes {
	span := t.To.Sub(t.From)
	if span <= 0 {
		span = time.Second
	}
	x := func(at time.Time) int {
		f := float64(at.Sub(t.From)) / float64(span)
		return laneName + int(min(max(f, 0), 1)*(laneW-12))
	}
	l := lanes{Width: laneName + laneW}
	index := map[string]int{}
	row := func(a netip.Addr) *lane {
		name := "several"
		if a.IsValid() {
			name = a.String()
		}
		i, ok := index[name]
		if !ok {
			i = len(l.Rows)
			index[name] = i
			l.Rows = append(l.Rows, lane{Y: 24 + i*laneH, Name: name})
		}
		return &l.Rows[i]
	}
	for _, h := range t.Path {
		r := row(h.To)
		r.Marks = append(r.Marks, mark{X: x(h.Start), W: max(x(h.End)-x(h.Start), 3), Level: "hop", Text: fmt.Sprintf("%s from %s", h.Protocol, h.From)})
	}
	for _, s := range t.Steps {
		if s.Severity == 0 {
			continue
		}
		r := row(s.To)
		r.Marks = append(r.Marks, mark{X: x(s.Time), W: 8, Level: event.LevelOf(s.Severity), Text: s.Time.UTC().Format("15:04:05 ") + s.Text})
	}
	l.Height = 30 + len(l.Rows)*laneH
	for i := range 6 {
		at := t.From.Add(span * time.Duration(i) / 5)
		l.Ticks = append(l.Ticks, tick{X: laneName + i*(laneW-60)/5, Text: at.UTC().Format("15:04:05")})
	}
	return l
}
