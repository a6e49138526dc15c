package graph

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/trace"
)

// GraphML is a directed graph with every hop that was found or looked at, for
// yEd, Gephi, Cytoscape and networkx (GraphML 1.0). A pair of addresses may
// have several edges; each says of which part of the trace it is.
var GraphML = trace.Format{Name: "graphml", MIME: "application/graphml+xml", Ext: ".graphml", Write: writeGraphML}

// DOT is the same graph for Graphviz, without the candidates that were not
// taken.
var DOT = trace.Format{Name: "dot", MIME: "text/vnd.graphviz", Ext: ".dot", Write: writeDOT}

// parts are the hops of a trace with the name of the list that they are in.
func parts(t *trace.Trace, yield func(part string, number int, h *trace.Hop)) {
	for _, p := range []struct {
		name string
		hops []trace.Hop
	}{{"path", t.Path}, {"branch", t.Branches}, {"rejected", t.Rejected}} {
		for i := range p.hops {
			yield(p.name, i+1, &p.hops[i])
		}
	}
}

// addresses are all ends of hops, those that the trace knows more of first.
func addresses(t *trace.Trace) (list []trace.Node) {
	seen := map[netip.Addr]bool{}
	for _, n := range t.Nodes {
		seen[n.Address] = true
		list = append(list, n)
	}
	parts(t, func(_ string, _ int, h *trace.Hop) {
		for _, a := range []netip.Addr{h.From, h.To} {
			if !seen[a] {
				seen[a] = true
				list = append(list, trace.Node{Address: a})
			}
		}
	})
	return list
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func writeGraphML(w io.Writer, t *trace.Trace) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, xml.Header, `<graphml xmlns="http://graphml.graphdrawing.org/xmlns">`, "\n")
	for _, k := range []struct{ of, name, kind string }{
		{"node", "name", "string"}, {"node", "zone", "string"}, {"node", "role", "string"}, {"node", "first", "string"}, {"node", "last", "string"},
		{"edge", "part", "string"}, {"edge", "number", "int"}, {"edge", "role", "string"}, {"edge", "protocol", "string"}, {"edge", "port", "int"},
		{"edge", "start", "string"}, {"edge", "end", "string"}, {"edge", "flows", "int"}, {"edge", "bytes", "long"}, {"edge", "confidence", "double"}, {"edge", "techniques", "string"},
	} {
		fmt.Fprintf(b, "  <key id=%q for=%q attr.name=%q attr.type=%q/>\n", k.of+"_"+k.name, k.of, k.name, k.kind)
	}
	fmt.Fprintln(b, `  <graph id="trace" edgedefault="directed">`)
	data := func(of, name, value string) {
		if value != "" {
			fmt.Fprintf(b, "      <data key=\"%s_%s\">", of, name)
			xml.EscapeText(b, []byte(value)) // b keeps the error
			fmt.Fprintln(b, "</data>")
		}
	}
	for _, n := range addresses(t) {
		fmt.Fprintf(b, "    <node id=%q>\n", n.Address)
		data("node", "name", n.Name)
		data("node", "zone", n.Zone)
		data("node", "role", n.Role)
		data("node", "first", stamp(n.First))
		data("node", "last", stamp(n.Last))
		fmt.Fprintln(b, "    </node>")
	}
	parts(t, func(part string, number int, h *trace.Hop) {
		fmt.Fprintf(b, "    <edge id=\"%s%d\" source=%q target=%q>\n", part, number, h.From, h.To)
		data("edge", "part", part)
		data("edge", "number", strconv.Itoa(number))
		data("edge", "role", h.Role)
		data("edge", "protocol", h.Protocol)
		data("edge", "port", strconv.Itoa(int(h.Port)))
		data("edge", "start", stamp(h.Start))
		data("edge", "end", stamp(h.End))
		data("edge", "flows", strconv.Itoa(h.Flows))
		data("edge", "bytes", strconv.FormatUint(h.Bytes, 10))
		data("edge", "confidence", strconv.FormatFloat(h.Confidence, 'f', 4, 64))
		data("edge", "techniques", techniques(h))
		fmt.Fprintln(b, "    </edge>")
	})
	fmt.Fprint(b, "  </graph>\n</graphml>\n")
	return b.Flush()
}

func techniques(h *trace.Hop) string {
	var ids []string
	for _, t := range h.Techniques {
		ids = append(ids, t.ID)
	}
	return strings.Join(ids, " ")
}

// quote makes a DOT string: a backslash would begin an escape.
func quote(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ", "\r", " ").Replace(s)
	return `"` + s + `"`
}

func writeDOT(w io.Writer, t *trace.Trace) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "digraph trace {\n  rankdir=LR;\n  label=%s;\n  node [shape=box, style=\"rounded,filled\", fillcolor=\"#f4f7f9\", fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n", quote(t.Title))
	drawn := map[netip.Addr]bool{}
	parts(t, func(part string, _ int, h *trace.Hop) {
		if part != "rejected" {
			drawn[h.From], drawn[h.To] = true, true
		}
	})
	if len(drawn) == 0 && t.Origin.IsValid() {
		drawn[t.Origin] = true
	}
	for _, n := range addresses(t) {
		if !drawn[n.Address] {
			continue
		}
		lines := []string{n.Address.String()}
		for _, line := range []string{n.Name, strings.Trim(n.Zone+" · "+n.Role, " ·")} {
			if line != "" {
				lines = append(lines, line)
			}
		}
		label := strings.ReplaceAll(quote(strings.Join(lines, "\x00")), "\x00", `\n`)
		fmt.Fprintf(b, "  %s [label=%s, color=%q];\n", quote(n.Address.String()), label, Box{Role: n.Role}.Colour())
	}
	parts(t, func(part string, number int, h *trace.Hop) {
		if part == "rejected" {
			return
		}
		a := arrowOf(*h, part == "branch")
		label, style := fmt.Sprintf("%d: %s (%s)", number, a.Label(), a.Percent()), "bold"
		if a.Branch {
			label, style = a.Label(), "dashed"
		}
		fmt.Fprintf(b, "  %s -> %s [label=%s, style=%s];\n", quote(h.From.String()), quote(h.To.String()), quote(label), style)
	})
	fmt.Fprintln(b, "}")
	return b.Flush()
}
