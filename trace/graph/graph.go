// Package graph draws the hops of a trace: as a picture (SVG), and as data for
// tools that draw and measure graphs (GraphML, DOT). Layout is what the pages
// and the printed report draw, too.
package graph

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/trace"
)

// Drawing is a graph laid out in units of a hundredth of an inch or so: the
// path runs from left to right in the middle row, and what hangs beside it
// stands above and below the node that it hangs on.
type Drawing struct {
	Width, Height int
	Boxes         []Box   // from the top, then from the left
	Arrows        []Arrow // behind the boxes
}

// Box is one address.
type Box struct {
	X, Y, W, H    int // of the upper left corner, and the size
	Address, Name string
	Zone, Role    string
}

// Arrow is one hop: a line of two or three points, with its point at the last.
type Arrow struct {
	Points     []Point
	X, Y       int // of the middle of the label's base line
	Protocol   string
	Port       uint16
	Role       string
	Confidence float64 // 0 to 1
	Branch     bool    // beside the path
}

// Point is a place in a Drawing.
type Point struct{ X, Y int }

const (
	boxW, boxH = 190, 64
	gapX, gapY = 150, 46
	margin     = 24
	indent     = 30 // of a box beside the path
)

// maxDrawn bounds the branches drawn on one side of a node; all are listed.
const maxDrawn = 4

// Layout places the path and the branches of a trace.
func Layout(t *trace.Trace) Drawing {
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
	for i, a := range order {
		if _, ok := column[a]; !ok {
			column[a] = i
		}
	}
	above, below := map[int][]trace.Hop{}, map[int][]trace.Hop{}
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
	d := Drawing{
		Width:  2*margin + len(order)*boxW + (len(order)-1)*gapX + indent,
		Height: middle + boxH + down*(boxH+gapY) + margin,
	}
	at := func(col, row int) (x, y int) { return margin + col*(boxW+gapX), middle + row*(boxH+gapY) }
	place := func(a netip.Addr, x, y int) {
		n := nodes[a]
		d.Boxes = append(d.Boxes, Box{X: x, Y: y, W: boxW, H: boxH, Address: a.String(), Name: n.Name, Zone: n.Zone, Role: n.Role})
	}
	for i, a := range order {
		x, y := at(i, 0)
		place(a, x, y)
	}
	for i, h := range t.Path {
		x, y := at(i, 0)
		a := arrowOf(h, false)
		a.Points = []Point{{x + boxW, y + boxH/2}, {x + boxW + gapX - 4, y + boxH/2}}
		a.X, a.Y = x+boxW+gapX/2, y+boxH/2-10
		d.Arrows = append(d.Arrows, a)
	}
	for c := range order {
		for _, side := range []struct {
			rows int
			hops []trace.Hop
		}{{-1, above[c]}, {1, below[c]}} {
			for i, h := range side.hops {
				x, y := at(c, side.rows*(i+1))
				place(h.To, x+indent, y)
				from := middle
				if side.rows > 0 {
					from = middle + boxH
				}
				a := arrowOf(h, true)
				a.Points = []Point{{x + 12, from}, {x + 12, y + boxH/2}, {x + indent - 4, y + boxH/2}}
				a.X, a.Y = x+indent+boxW/2, y-8
				d.Arrows = append(d.Arrows, a)
			}
		}
	}
	slices.SortStableFunc(d.Boxes, func(a, b Box) int { return cmp.Or(a.Y-b.Y, a.X-b.X) })
	return d
}

func arrowOf(h trace.Hop, branch bool) Arrow {
	return Arrow{Protocol: h.Protocol, Port: h.Port, Role: h.Role, Confidence: h.Confidence, Branch: branch}
}

// Label is what is written at the arrow.
func (a *Arrow) Label() string {
	if a.Branch {
		return strings.TrimSuffix(a.Role+" · "+a.Protocol, " · ")
	}
	if a.Port == 0 {
		return a.Protocol
	}
	return fmt.Sprintf("%s/%d", a.Protocol, a.Port)
}

// Percent is the confidence as it is written below the line.
func (a *Arrow) Percent() string { return fmt.Sprintf("%.0f %%", 100*a.Confidence) }
