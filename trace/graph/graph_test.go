package graph_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/graph"
)

// hostile is a name that breaks what forgets to escape.
const hostile = `</text>"];\ <b>"&` + "\n𝒳"

func sample() *trace.Trace {
	at := time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
	hop := func(from, to string, port uint16, role string, confidence float64) trace.Hop {
		return trace.Hop{
			From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Port: port, Transport: "tcp", Protocol: "ssh", Start: at, End: at.Add(time.Minute),
			Flows: 3, Bytes: 4000, Role: role, Confidence: confidence, Techniques: []event.Technique{{ID: "T1021", Name: "Remote Services"}},
		}
	}
	t := &trace.Trace{
		Title: hostile, Origin: netip.MustParseAddr("192.0.2.1"), Target: netip.MustParseAddr("2001:db8::5"), From: at, To: at.Add(time.Hour),
		Path:     []trace.Hop{hop("192.0.2.1", "10.0.0.1", 22, "access", 0.9), hop("10.0.0.1", "2001:db8::5", 22, "access", 0.7)},
		Rejected: []trace.Hop{hop("10.9.9.9", "10.0.0.1", 22, "contact", 0.2)},
	}
	for i := range 7 { // twice the same pair
		t.Branches = append(t.Branches, hop("10.0.0.1", fmt.Sprintf("198.51.100.%d", i/2), 443, "c2", 0.6))
	}
	t.Nodes = []trace.Node{
		{Address: t.Origin, Role: "origin"}, {Address: netip.MustParseAddr("10.0.0.1"), Name: hostile, Zone: "dmz", Role: "stepping-stone", First: at, Last: at},
		{Address: t.Target, Role: "target"},
	}
	return t
}

func written(t *testing.T, f trace.Format) (path string) {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "trace"+f.Ext)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestGraphMLOpens gives the graph to networkx, which make test installs.
func TestGraphMLOpens(t *testing.T) {
	python := os.Getenv("TOCSIN_PYTHON")
	if python == "" {
		t.Skip("TOCSIN_PYTHON is not set; make test sets it")
	}
	out, err := exec.Command(python, "-c", `
import sys, networkx as nx
g = nx.read_graphml(sys.argv[1])
print(type(g).__name__, g.number_of_nodes(), g.number_of_edges())
print(sorted(d["confidence"] for _, _, d in g.edges(data=True) if d["part"] == "path"))
print(nx.shortest_path(nx.DiGraph([(a, b) for a, b, d in g.edges(data=True) if d["part"] == "path"]), "192.0.2.1", "2001:db8::5"))
print(repr(g.nodes["10.0.0.1"]["name"]))
`, written(t, graph.GraphML)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "MultiDiGraph 8 10\n[0.7, 0.9]\n['192.0.2.1', '10.0.0.1', '2001:db8::5']\n" + `'</text>"];\\ <b>"&\n𝒳'` + "\n"
	if string(out) != want {
		t.Errorf("networkx sees\n%s\nwant\n%s", out, want)
	}
}

// TestDOTDraws gives the graph to Graphviz, which make test installs.
func TestDOTDraws(t *testing.T) {
	dot := os.Getenv("TOCSIN_DOT")
	if dot == "" {
		t.Skip("TOCSIN_DOT is not set; make test sets it")
	}
	out, err := exec.Command(dot, "-Tplain", written(t, graph.DOT)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Three of the path, four of the branches; the candidate is not drawn.
	if n, e := strings.Count(string(out), "\nnode "), strings.Count(string(out), "\nedge "); n != 7 || e != 9 {
		t.Errorf("Graphviz draws %d nodes and %d edges, want 7 and 9\n%s", n, e, out)
	}
}

// TestSVGIsAlone looks for anything that would be loaded or run.
func TestSVGIsAlone(t *testing.T) {
	text, err := os.ReadFile(written(t, graph.SVG))
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"<script", "href", "<b>", "url(http"} {
		if strings.Contains(string(text), never) {
			t.Errorf("the picture has %s", never)
		}
	}
	if !strings.Contains(string(text), "192.0.2.1") || strings.Contains(strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", ""), "http") {
		t.Errorf("the picture lacks the origin, or names a place\n%s", text)
	}
}

// TestLayoutDoesNotOverlap holds boxes apart and inside.
func TestLayoutDoesNotOverlap(t *testing.T) {
	d := graph.Layout(sample())
	for i, a := range d.Boxes {
		if a.X < 0 || a.Y < 0 || a.X+a.W > d.Width || a.Y+a.H > d.Height {
			t.Errorf("box %s lies outside: %+v of %dx%d", a.Address, a, d.Width, d.Height)
		}
		for _, b := range d.Boxes[i+1:] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("boxes %s and %s overlap", a.Address, b.Address)
			}
		}
	}
}
