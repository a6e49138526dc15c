package graph

import (
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/tocsin/tocsin/trace"
)

// SVG is the picture: it needs no font, script or other file.
var SVG = trace.Format{Name: "svg", MIME: "image/svg+xml", Ext: ".svg", Write: func(w io.Writer, t *trace.Trace) error {
	d := Layout(t)
	return picture.Execute(w, struct {
		Drawing
		Title string
	}{d, t.Title})
}}

var picture = template.Must(template.New("svg").Funcs(template.FuncMap{
	"add":  func(a, b int) int { return a + b },
	"path": func(ps []Point) string { return Path(ps) },
}).Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}" role="img" font-family="sans-serif" font-size="12" fill="#14202b">
<title>{{.Title}}</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#1f6feb"/></marker></defs>
<rect width="{{.Width}}" height="{{.Height}}" fill="#ffffff"/>
{{range .Arrows}}<path d="{{path .Points}}" fill="none" marker-end="url(#tip)" {{if .Branch}}stroke="#5b6b78" stroke-width="1.5" stroke-dasharray="5 4"{{else}}stroke="#1f6feb" stroke-width="2"{{end}}/>
<text x="{{.X}}" y="{{.Y}}" text-anchor="middle">{{.Label}}</text>{{if not .Branch}}<text x="{{.X}}" y="{{add .Y 26}}" text-anchor="middle" fill="#5b6b78" font-size="11">{{.Percent}}</text>{{end}}
{{end}}{{range .Boxes}}<rect x="{{.X}}" y="{{.Y}}" width="{{.W}}" height="{{.H}}" rx="6" fill="#f4f7f9" stroke="{{.Colour}}" stroke-width="2"/>
<text x="{{add .X 10}}" y="{{add .Y 20}}">{{.Address}}</text><text x="{{add .X 10}}" y="{{add .Y 37}}">{{.Name}}</text><text x="{{add .X 10}}" y="{{add .Y 54}}" fill="#5b6b78" font-size="11">{{.Zone}}{{if .Zone}} · {{end}}{{.Role}}</text>
{{end}}</svg>
`))

// Path is the points of a line as SVG writes it.
func Path(points []Point) string {
	var b strings.Builder
	for i, p := range points {
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		fmt.Fprintf(&b, "%s%d %d", letter, p.X, p.Y)
	}
	return b.String()
}

// Colour is the frame's colour of the role, as #rrggbb.
func (b Box) Colour() string {
	switch b.Role {
	case "origin", "c2", "exfiltration":
		return "#b3123f"
	case "target":
		return "#c2410c"
	case "stepping-stone":
		return "#1f6feb"
	}
	return "#ccd5dc"
}
