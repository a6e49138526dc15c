package pdf

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/signintech/gopdf"

	"github.com/tocsin/tocsin/trace/graph"
	"github.com/tocsin/tocsin/trace/summary"
)

//go:embed font/font.ttf.gz
var packed []byte

var font = sync.OnceValues(func() ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
})

// Sizes of the page and of letters, in points.
const (
	pageW, pageH = 595.28, 841.89 // A4
	edge         = 42
	bottom       = pageH - 48
	width        = pageW - 2*edge

	tiny, small, normal, large, heading, title = 6.5, 8, 9, 10.5, 13, 17
)

// lead is the distance of lines, in sizes of the letters.
const lead = 1.42

type colour [3]uint8

var (
	ink  = colour{0x14, 0x20, 0x2b}
	soft = colour{0x5b, 0x6b, 0x78}
	line = colour{0xcc, 0xd5, 0xdc}
	fill = colour{0xf4, 0xf7, 0xf9}
)

// paper is a document that grows downwards. The first error stays.
type paper struct {
	doc    gopdf.GoPdf
	lang   summary.Language
	foot   string
	y      float64
	widths map[rune]float64 // of a letter of size 1; negative: the font lacks it
	err    error
}

func open(l summary.Language, name, marking string, at time.Time) (*paper, error) {
	data, err := font()
	if err != nil {
		return nil, fmt.Errorf("pdf: font: %w", err)
	}
	p := &paper{lang: l, widths: map[rune]float64{}, foot: marking}
	p.doc.Start(gopdf.Config{PageSize: gopdf.Rect{W: pageW, H: pageH}})
	p.doc.SetInfo(gopdf.PdfInfo{Title: name, Creator: "Tocsin", CreationDate: at.UTC()})
	if err := p.doc.AddTTFFontData("text", data); err != nil {
		return nil, fmt.Errorf("pdf: font: %w", err)
	}
	p.page()
	return p, p.err
}

func (p *paper) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *paper) page() {
	p.doc.AddPage()
	p.y = edge
	p.fail(p.doc.SetFont("text", "", normal))
}

// keep begins a new page unless there is so much room on this one.
func (p *paper) keep(h float64) {
	if p.y+h > bottom {
		p.page()
	}
}

func (p *paper) space(h float64) { p.y += h }

// width of a letter of size 1. What the font lacks is written as \u{…} by clean.
func (p *paper) width(r rune) float64 {
	w, ok := p.widths[r]
	if !ok {
		w = -1
		if has, err := p.doc.IsCurrFontContainGlyph(r); err == nil && has && unicode.IsPrint(r) {
			p.fail(p.doc.SetFont("text", "", 100))
			full, err := p.doc.MeasureTextWidth(string(r))
			p.fail(err)
			w = full / 100
		}
		p.widths[r] = w
	}
	return w
}

// clean makes a text that the font can write: nothing vanishes.
func (p *paper) clean(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case p.width(r) < 0:
			fmt.Fprintf(&b, `\u{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// lines breaks a clean text: at spaces, between Chinese characters, and within
// words that are longer than a line.
func (p *paper) lines(s string, size, most float64) (list []string) {
	rs := []rune(s)
	for len(rs) > 0 {
		w, at, end := 0.0, 0, len(rs)
		for i, r := range rs {
			w += p.width(r) * size
			if w > most && i > 0 {
				end = i
				break
			}
			switch {
			case r == ' ' || r == ';' || r == ',' || r == '/':
				at = i + 1
			case r > 0x2e80 && !strings.ContainsRune("（“‘《", r):
				at = i + 1
			}
		}
		if end < len(rs) {
			switch {
			case at > 0 && strings.ContainsRune("，。；：、）”’》", rs[end]):
				end++ // a stop may stand beyond the edge, but not begin a line
			case at > 0:
				end = min(at, end)
			}
		}
		list = append(list, strings.TrimRight(string(rs[:end]), " "))
		rs = rs[end:]
		for len(rs) > 0 && rs[0] == ' ' {
			rs = rs[1:]
		}
	}
	return list
}

// put writes one line.
func (p *paper) put(x, y float64, s string, size float64, c colour) {
	p.fail(p.doc.SetFont("text", "", size))
	p.doc.SetTextColor(c[0], c[1], c[2])
	p.doc.SetXY(x, y+size) // of the base line
	p.fail(p.doc.Text(s))
}

// text writes a paragraph.
func (p *paper) text(s string, size float64, c colour) { p.paragraph(edge, width, s, size, c) }

func (p *paper) paragraph(x, w float64, s string, size float64, c colour) {
	for _, l := range p.lines(p.clean(s), size, w) {
		p.keep(size * lead)
		p.put(x, p.y, l, size, c)
		p.y += size * lead
	}
}

// indented writes a paragraph behind a sign.
func (p *paper) indented(sign, s string, size float64, c colour) {
	p.keep(size * lead)
	p.put(edge+6, p.y, sign, size, c)
	p.paragraph(edge+18, width-18, s, size, c)
}

func (p *paper) heading(s string) {
	p.keep(70)
	p.y += 12
	p.put(edge, p.y, p.clean(s), heading, ink)
	p.y += heading*lead + 2
}

func (p *paper) rule(x1, y, x2 float64) {
	p.doc.SetStrokeColor(line[0], line[1], line[2])
	p.doc.SetLineWidth(0.5)
	p.doc.Line(x1, y, x2, y)
}

// column is one of a table: its title, and its part of the width in percent.
type column struct {
	title string
	part  float64
}

// table writes rows; one that does not fit on the page begins the next.
func (p *paper) table(columns []column, rows [][]string) {
	const pad = 3
	titled := columns[0].title != "" || len(columns) > 2
	titles := func() {
		if !titled {
			return
		}
		x := float64(edge)
		deep := 0
		for _, c := range columns {
			w := width * c.part / 100
			for i, l := range p.lines(p.clean(c.title), small, w-2*pad) {
				p.put(x, p.y+float64(i)*small*lead, l, small, soft)
				deep = max(deep, i+1)
			}
			x += w
		}
		p.y += float64(deep)*small*lead + 2
		p.rule(edge, p.y, edge+width)
		p.y += 2
	}
	p.keep(3 * normal * lead)
	titles()
	for _, row := range rows {
		cells := make([][]string, len(columns))
		deep := 1
		for i, c := range columns {
			cells[i] = p.lines(p.clean(row[i]), small, width*c.part/100-2*pad)
			deep = max(deep, len(cells[i]))
		}
		for from := 0; from < deep; {
			room := int((bottom - p.y) / (small * lead))
			if room < min(deep-from, 4) {
				p.page()
				titles()
				room = int((bottom - p.y) / (small * lead))
			}
			n := min(room, deep-from)
			x := float64(edge)
			for i, c := range columns {
				for k := from; k < min(from+n, len(cells[i])); k++ {
					p.put(x, p.y+float64(k-from)*small*lead, cells[i][k], small, ink)
				}
				x += width * c.part / 100
			}
			p.y += float64(n)*small*lead + 2
			from += n
		}
		p.rule(edge, p.y, edge+width)
		p.y += 2
	}
}

// node draws an address of the path: a box, what hangs beside it, and the arrow
// to the next with its label.
func (p *paper) node(address, what, role string, beside []string, next string) {
	const w, h, gap = 236.0, 38.0, 32.0
	deep := max(h, float64(len(beside))*small*lead)
	p.keep(deep + gap)
	c := rgb(graph.Box{Role: role}.Colour())
	p.doc.SetStrokeColor(c[0], c[1], c[2])
	p.doc.SetFillColor(fill[0], fill[1], fill[2])
	p.doc.SetLineWidth(1.4)
	p.fail(p.doc.Rectangle(edge, p.y, edge+w, p.y+h, "DF", 4, 8))
	p.put(edge+9, p.y+4, p.fit(address, large, w-18), large, ink)
	p.put(edge+9, p.y+21, p.fit(what, small, w-18), small, soft)
	for i, l := range beside {
		y := p.y + float64(i)*small*lead
		p.put(edge+w+26, y, p.fit("– "+l, small, width-w-26), small, soft)
	}
	p.y += deep
	if next == "" {
		p.y += 4
		return
	}
	x := float64(edge + 24)
	blue := rgb("#1f6feb")
	p.doc.SetStrokeColor(blue[0], blue[1], blue[2])
	p.doc.SetFillColor(blue[0], blue[1], blue[2])
	p.doc.Line(x, p.y-deep+h+1, x, p.y+gap-6)
	p.doc.Polygon([]gopdf.Point{{X: x - 3.5, Y: p.y + gap - 7}, {X: x + 3.5, Y: p.y + gap - 7}, {X: x, Y: p.y + gap}}, "F")
	p.put(x+12, p.y+10, p.fit(next, small, width-40), small, ink)
	p.y += gap
}

// fit cuts a text to a width; what is cut is in a table of the document.
func (p *paper) fit(s string, size, most float64) string {
	s = p.clean(s)
	list := p.lines(s, size, most)
	if len(list) <= 1 {
		return s
	}
	return list[0] + "…"
}

func rgb(s string) (c colour) {
	fmt.Sscanf(s, "#%02x%02x%02x", &c[0], &c[1], &c[2]) // a constant of graph
	return c
}

// finish numbers the pages and writes the document.
func (p *paper) finish(w io.Writer) error {
	n := p.doc.GetNumberOfPages()
	for i := 1; i <= n; i++ {
		p.fail(p.doc.SetPage(i))
		p.put(edge, pageH-36, p.foot+"   ·   "+p.lang.Say("page", i, n), tiny+0.5, soft)
	}
	if p.err != nil {
		return fmt.Errorf("pdf: %w", p.err)
	}
	_, err := p.doc.WriteTo(w)
	return err
}
