// Package pdf writes a trace as a document to print, in English or Chinese: the
// sentence, the path with its branches, the hops with their reasons, the ranked
// sources, the timeline and, in a package, what else is there. The font is
// inside; a document holds of it what it uses.
package pdf

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/summary"
)

// Format is the PDF format, in English.
var Format = trace.Format{Name: "pdf", MIME: "application/pdf", Ext: ".pdf", Write: func(w io.Writer, t *trace.Trace) error {
	return Write(w, t, summary.English, nil)
}}

// Chinese is the same in Chinese.
var Chinese = trace.Format{Name: "pdf-zh", MIME: "application/pdf", Ext: ".zh.pdf", Write: func(w io.Writer, t *trace.Trace) error {
	return Write(w, t, summary.Chinese, nil)
}}

// Write writes the document in a language. The annex is what a package adds;
// nil if there is none.
func Write(w io.Writer, t *trace.Trace, l summary.Language, annex *summary.Annex) error {
	marking := "TLP:AMBER"
	if annex != nil {
		marking = annex.Marking
	}
	p, err := open(l, l.Title(t), marking, t.To)
	if err != nil {
		return err
	}
	r := report{paper: p, l: l, t: t}
	r.head(marking)
	r.path()
	r.sources()
	r.missing()
	r.hops()
	r.timeline()
	r.branches()
	r.rejected()
	r.addresses()
	if annex != nil {
		r.annex(annex)
	}
	return p.finish(w)
}

type report struct {
	*paper
	l summary.Language
	t *trace.Trace
}

func (r *report) say(key string, values ...any) string { return r.l.Say(key, values...) }

func (r *report) role(name string) string { return r.l.Say("role." + name) }

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

func percent(f float64) string { return fmt.Sprintf("%.0f %%", 100*f) }

func (r *report) head(marking string) {
	r.text(r.say("kicker")+" · "+marking, small, soft)
	r.space(4)
	r.text(r.l.Title(r.t), title, ink)
	r.space(3)
	r.text(r.say("span", moment(r.t.From), moment(r.t.To))+"   "+r.say("seed")+" "+r.t.Seed, small, soft)
	r.text(r.say("unseen", fmt.Sprintf("%.3g %%", 100*r.t.Loss)), small, soft)
}

// path draws the addresses of the path from top to bottom, with the branches of
// each to its right.
func (r *report) path() {
	r.heading(r.say("path"))
	nodes := map[netip.Addr]trace.Node{}
	for _, n := range r.t.Nodes {
		nodes[n.Address] = n
	}
	beside := map[netip.Addr][]trace.Hop{}
	for _, h := range r.t.Branches {
		beside[h.From] = append(beside[h.From], h)
	}
	order := []netip.Addr{r.t.Origin}
	for _, h := range r.t.Path {
		order = append(order, h.To)
	}
	const most = 4 // branches drawn; all are in the table
	drawn := map[netip.Addr]bool{}
	for i, a := range order {
		var lines []string
		if !drawn[a] {
			drawn[a] = true
			for k, h := range beside[a] {
				if k == most {
					lines = append(lines, fmt.Sprintf("… +%d", len(beside[a])-most))
					break
				}
				lines = append(lines, fmt.Sprintf("%s: %s %s", r.role(h.Role), h.To, port(h)))
			}
		}
		n := nodes[a]
		label := ""
		if i < len(r.t.Path) {
			h := r.t.Path[i]
			label = fmt.Sprintf("%s   %s   %s %s", r.say("hop by", h.Protocol, h.Port), moment(h.Start), r.say("confidence"), percent(h.Confidence))
		}
		r.node(a.String(), strings.Trim(strings.Join([]string{n.Name, n.Zone, r.role(n.Role)}, " · "), " ·"), n.Role, lines, label)
	}
	if len(r.t.Path) == 0 {
		r.space(6)
		r.text(r.say("no path"), normal, ink)
	}
}

func port(h trace.Hop) string {
	if h.Port == 0 {
		return h.Protocol
	}
	return fmt.Sprintf("%s/%d", h.Protocol, h.Port)
}

func (r *report) hops() {
	if len(r.t.Path) == 0 {
		return
	}
	r.heading(r.say("reasons"))
	for i, h := range r.t.Path {
		r.keep(60)
		r.text(fmt.Sprintf("%d. %s → %s   %s", i+1, h.From, h.To, r.say("hop by", h.Protocol, h.Port)), large, ink)
		r.text(fmt.Sprintf("%s – %s · %s · %s · %s · %s %s", moment(h.Start), h.End.UTC().Format("15:04:05.000"), r.say("hop facts", h.Flows, summary.Bytes(h.Bytes)),
			r.role(h.Role), r.say("seen by", strings.Join(h.Sensors, ", ")), r.say("confidence"), percent(h.Confidence)), small, soft)
		for _, t := range h.Techniques {
			r.text(fmt.Sprintf("%s %s (%s)", t.ID, t.Name, strings.Join(t.Tactics, ", ")), small, ink)
		}
		for _, x := range h.Reasons {
			sign := "+"
			if x.Weight < 0 {
				sign = "−"
			}
			r.indented(sign, fmt.Sprintf("%s (%+.1f)", x.In(string(r.l)), x.Weight), normal, ink)
		}
		var ids []string
		for _, id := range h.Evidence {
			ids = append(ids, id.String())
		}
		r.text(r.say("evidence")+": "+strings.Join(ids, " "), tiny, soft)
		r.space(6)
	}
}

func (r *report) sources() {
	list := summary.Sources(r.t)
	if len(list) == 0 {
		return
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{fmt.Sprint(s.Rank), s.Address.String(), strings.Trim(s.Name+" · "+s.Zone, " ·"), r.role(s.Role), percent(s.Confidence), moment(s.First)})
	}
	r.heading(r.say("sources"))
	r.table([]column{{r.say("rank"), 6}, {r.say("address"), 24}, {r.say("name"), 24}, {r.say("role"), 14}, {r.say("confidence"), 11}, {r.say("first"), 21}}, rows)
}

func (r *report) missing() {
	if len(r.t.Missing) == 0 {
		return
	}
	r.heading(r.say("missing"))
	for _, m := range r.l.Missing(r.t) {
		r.indented("·", m, normal, ink)
	}
}

func (r *report) timeline() {
	if len(r.t.Steps) == 0 {
		return
	}
	var rows [][]string
	for _, s := range r.t.Steps {
		var ids []string
		for _, t := range s.Techniques {
			ids = append(ids, t.ID)
		}
		level := ""
		if s.Severity > 0 {
			level = fmt.Sprintf("%s %d", r.say("level."+event.LevelOf(s.Severity)), s.Severity)
		}
		rows = append(rows, []string{moment(s.Time), s.Text, strings.Join(ids, " "), level})
	}
	r.heading(r.say("timeline"))
	r.table([]column{{r.say("time"), 20}, {r.say("what"), 54}, {r.say("techniques"), 13}, {r.say("severity"), 13}}, rows)
}

func (r *report) branches() {
	if len(r.t.Branches) == 0 {
		return
	}
	var rows [][]string
	for _, h := range r.t.Branches {
		rows = append(rows, []string{h.From.String(), h.To.String() + " " + port(h), r.role(h.Role), moment(h.Start), r.reasons(h, false)})
	}
	r.heading(r.say("branches"))
	r.table([]column{{r.say("from"), 17}, {r.say("to"), 20}, {r.say("what"), 11}, {r.say("when"), 20}, {r.say("why"), 32}}, rows)
}

func (r *report) rejected() {
	if len(r.t.Rejected) == 0 {
		return
	}
	var rows [][]string
	for _, h := range r.t.Rejected {
		rows = append(rows, []string{h.From.String(), h.To.String() + " " + port(h), moment(h.Start), percent(h.Confidence), r.reasons(h, true)})
	}
	r.heading(r.say("rejected"))
	r.table([]column{{r.say("from"), 16}, {r.say("to"), 19}, {r.say("when"), 19}, {r.say("confidence"), 10}, {r.say("reasons"), 36}}, rows)
}

func (r *report) reasons(h trace.Hop, weights bool) string {
	var parts []string
	for _, x := range h.Reasons {
		if weights {
			parts = append(parts, fmt.Sprintf("%s (%+.1f)", x.In(string(r.l)), x.Weight))
		} else {
			parts = append(parts, x.In(string(r.l)))
		}
	}
	return strings.Join(parts, "; ")
}

func (r *report) addresses() {
	if len(r.t.Nodes) == 0 {
		return
	}
	var rows [][]string
	for _, n := range r.t.Nodes {
		rows = append(rows, []string{n.Address.String(), n.Name, n.Zone, r.role(n.Role), moment(n.First), moment(n.Last)})
	}
	r.heading(r.say("addresses"))
	r.table([]column{{r.say("address"), 22}, {r.say("name"), 15}, {r.say("zone"), 11}, {r.say("role"), 12}, {r.say("first"), 20}, {r.say("last"), 20}}, rows)
}

func (r *report) annex(a *summary.Annex) {
	r.heading(r.say("package"))
	packets := fmt.Sprint(a.Packets)
	if a.NoSource != "" {
		packets = r.say("no packets", a.NoSource)
	}
	rows := [][]string{{r.say("marking"), a.Marking}}
	if a.By != "" {
		rows = append(rows, []string{r.say("made by"), a.By})
	}
	r.table([]column{{"", 24}, {"", 76}}, append(rows,
		[]string{r.say("made with"), "Tocsin " + a.Version},
		[]string{r.say("events"), fmt.Sprint(a.Events)},
		[]string{r.say("sessions"), r.say("sessions n", a.Sessions, a.Packed)},
		[]string{r.say("packets"), packets},
		[]string{r.say("key"), a.KeyPrint},
		[]string{r.say("check"), r.say("check how")},
	))
	if len(a.Sensors) > 0 {
		var rows [][]string
		for _, s := range a.Sensors {
			rows = append(rows, []string{s.Name, moment(s.From), moment(s.To), fmt.Sprint(s.Seen), fmt.Sprint(s.Dropped), fmt.Sprintf("%.3g %%", 100*s.Loss), s.Clock(r.l)})
		}
		r.heading(r.say("sensors"))
		r.table([]column{{r.say("sensor"), 13}, {r.say("from"), 18}, {r.say("to"), 18}, {r.say("seen"), 12}, {r.say("dropped"), 10}, {r.say("loss"), 9}, {r.say("clock"), 20}}, rows)
	}
	if len(a.Rules) > 0 {
		var rows [][]string
		for _, x := range a.Rules {
			text := r.say("built in")
			if x.File != "" && x.Same {
				text = r.say("same")
			} else if x.File != "" {
				text = r.say("other text")
			}
			rows = append(rows, []string{x.Name, fmt.Sprint(x.Alerts), x.Hash, text})
		}
		r.heading(r.say("rules"))
		r.table([]column{{r.say("rule"), 30}, {r.say("alerts"), 8}, {r.say("hash"), 44}, {r.say("text"), 18}}, rows)
	}
}
