// Package html writes a trace as one self-contained page for people, in English
// or Chinese: a sentence, the hop graph, the hops with their reasons, the
// ranked sources and the timeline. It needs no network, no script and no font
// of its own, and prints.
package html

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/graph"
	"github.com/tocsin/tocsin/trace/summary"
)

// Format is the HTML format, in English.
var Format = trace.Format{Name: "html", MIME: "text/html; charset=utf-8", Ext: ".html", Write: func(w io.Writer, t *trace.Trace) error {
	return Write(w, t, summary.English, nil)
}}

// Chinese is the same in Chinese.
var Chinese = trace.Format{Name: "html-zh", MIME: "text/html; charset=utf-8", Ext: ".zh.html", Write: func(w io.Writer, t *trace.Trace) error {
	return Write(w, t, summary.Chinese, nil)
}}

// Write writes the page in a language. The annex is what a package adds; nil if
// there is none.
func Write(w io.Writer, t *trace.Trace, l summary.Language, annex *summary.Annex) error {
	return pages[l].Execute(w, struct {
		*trace.Trace
		Language summary.Language
		Title    string
		Marking  string
		Graph    graph.Drawing
		Lanes    lanes
		Sources  []summary.Source
		Annex    *summary.Annex
	}{t, l, l.Title(t), marking(annex), graph.Layout(t), timeline(t, l), summary.Sources(t), annex})
}

func marking(a *summary.Annex) string {
	if a == nil {
		return "TLP:AMBER"
	}
	return a.Marking
}

//go:embed page.html
var pageText string

// pages has the template for each language: the words are looked up when it runs.
var pages = func() map[summary.Language]*template.Template {
	m := map[summary.Language]*template.Template{}
	for _, l := range summary.Languages() {
		m[l] = template.Must(template.New("page").Funcs(template.FuncMap{
			"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") },
			"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
			"percent": func(f float64) string { return fmt.Sprintf("%.0f %%", 100*f) },
			"share":   func(f float64) string { return fmt.Sprintf("%.3g %%", 100*f) },
			"signed":  func(f float64) string { return fmt.Sprintf("%+.1f", f) },
			"bytes":   summary.Bytes,
			"level":   event.LevelOf,
			"join":    func(s []string) string { return strings.Join(s, ", ") },
			"add":     func(a, b int) int { return a + b },
			"line":    graph.Path,
			"say":     l.Say,
			"reason":  func(r trace.Reason) string { return r.In(string(l)) },
			"missing": l.Missing,
			"sensed":  func(s summary.Sensor) string { return s.Clock(l) },
		}).Parse(pageText))
	}
	return m
}()

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

func timeline(t *trace.Trace, language summary.Language) lanes {
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
		name := language.Say("several")
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
