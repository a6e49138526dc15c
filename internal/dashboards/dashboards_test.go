package dashboards_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/correlator/enrich"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/dashboards"
	"github.com/tocsin/tocsin/sensor"
	protocols "github.com/tocsin/tocsin/sensor/proto/all"
	"github.com/tocsin/tocsin/store/elastic"
	"github.com/tocsin/tocsin/store/query"
)

func schema(t *testing.T) *event.Schema {
	t.Helper()
	var none enrich.Assets
	s, err := event.NewSchema(sensor.Fields(), protocols.Fields(), none.Enricher().Fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type savedObject struct {
	ID, Type   string
	Attributes map[string]json.RawMessage
	References []struct{ ID, Name, Type string }
}

func (o *savedObject) attribute(t *testing.T, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(o.Attributes[name], v); err != nil {
		t.Fatalf("%s %s: %s: %v", o.Type, o.ID, name, err)
	}
}

// mapped looks a field up in the mappings of a view's indices.
func mapped(t *testing.T, view, field string, s *event.Schema) string {
	for _, tpl := range elastic.Templates("tocsin", s, 1) {
		if tpl.Name != view {
			continue
		}
		at := tpl.Mappings
		for part := range strings.SplitSeq(field, ".") {
			properties, _ := at["properties"].(map[string]any)
			at, _ = properties[part].(map[string]any)
		}
		kind, _ := at["type"].(string)
		return kind
	}
	t.Fatalf("no template %s", view)
	return ""
}

// TestKibana checks what can be checked without Kibana: that all references
// lead somewhere, that each field is one that the indices of the view have, of a
// type for which the operation is, and that each query is one.
func TestKibana(t *testing.T) {
	s := schema(t)
	file, err := dashboards.Kibana(s)
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]*savedObject{}
	var all []*savedObject
	for line := range bytes.Lines(file) {
		o := new(savedObject)
		dec := json.NewDecoder(bytes.NewReader(line))
		if err := dec.Decode(o); err != nil {
			t.Fatal(err)
		}
		if objects[o.Type+" "+o.ID] != nil {
			t.Errorf("%s %s is there twice", o.Type, o.ID)
		}
		objects[o.Type+" "+o.ID] = o
		all = append(all, o)
	}
	used := map[*savedObject]bool{}
	for _, o := range all {
		for _, r := range o.References {
			to := objects[r.Type+" "+r.ID]
			if to == nil {
				t.Errorf("%s %s: reference to %s %s, which is not there", o.Type, o.ID, r.Type, r.ID)
			}
			used[to] = true
		}
		switch o.Type {
		case "index-pattern":
		case "lens":
			checkLens(t, s, o)
		case "dashboard":
			checkDashboard(t, o)
		default:
			t.Errorf("%s: a saved object of type %s", o.ID, o.Type)
		}
	}
	for _, o := range all {
		if o.Type == "lens" && !used[o] {
			t.Errorf("chart %s is on no board", o.ID)
		}
	}
}

func checkLens(t *testing.T, s *event.Schema, o *savedObject) {
	var state struct {
		DatasourceStates struct {
			FormBased struct {
				Layers map[string]struct {
					Columns map[string]struct {
						OperationType, SourceField string
						IsBucketed                 bool
						Params                     struct{ OrderBy struct{ ColumnID string } }
					}
					ColumnOrder []string
				}
			}
		}
		Visualization json.RawMessage
		Query         struct{ Query, Language string }
	}
	o.attribute(t, "state", &state)
	if _, err := query.Parse(state.Query.Query, s, query.KQL); err != nil {
		t.Errorf("%s: %s: %v", o.ID, state.Query.Query, err)
	}
	if len(o.References) != 1 || o.References[0].Name != "indexpattern-datasource-layer-layer1" {
		t.Fatalf("%s: references %v", o.ID, o.References)
	}
	l := state.DatasourceStates.FormBased.Layers["layer1"]
	if len(l.ColumnOrder) != len(l.Columns) || len(l.Columns) == 0 {
		t.Errorf("%s: columns %v in the order %v", o.ID, l.Columns, l.ColumnOrder)
	}
	for _, name := range l.ColumnOrder {
		c, ok := l.Columns[name]
		if !ok {
			t.Fatalf("%s: no column %s", o.ID, name)
		}
		if !bytes.Contains(state.Visualization, []byte(`"`+name+`"`)) {
			t.Errorf("%s: column %s is not drawn", o.ID, name)
		}
		kind := mapped(t, o.References[0].ID, c.SourceField, s)
		switch c.OperationType {
		case "count":
			ok = c.SourceField == "___records___"
		case "sum":
			ok = kind == "long" || kind == "double"
		case "terms":
			_, there := l.Columns[c.Params.OrderBy.ColumnID]
			ok = there && c.IsBucketed && (kind == "keyword" || kind == "ip" || kind == "long" || kind == "boolean")
		case "date_histogram":
			ok = c.IsBucketed && kind == "date_nanos"
		default:
			ok = false
		}
		if !ok {
			t.Errorf("%s: %s of %s, which is %q in %s", o.ID, c.OperationType, c.SourceField, kind, o.References[0].ID)
		}
	}
}

func checkDashboard(t *testing.T, o *savedObject) {
	var text string
	o.attribute(t, "panelsJSON", &text)
	var panels []struct {
		PanelIndex, PanelRefName, Type string
		GridData                       struct {
			X, Y, W, H int
			I          string
		}
	}
	if err := json.Unmarshal([]byte(text), &panels); err != nil {
		t.Fatal(err)
	}
	if len(panels) != len(o.References) || len(panels) == 0 {
		t.Errorf("%s: %d panels, %d references", o.ID, len(panels), len(o.References))
	}
	taken := map[[2]int]string{}
	for i, p := range panels {
		if r := o.References[i]; r.Name != p.PanelIndex+":"+p.PanelRefName || p.GridData.I != p.PanelIndex || r.Type != p.Type {
			t.Errorf("%s: panel %+v refers to %+v", o.ID, p, r)
		}
		g := p.GridData
		if g.X < 0 || g.X+g.W > 48 || g.W < 1 || g.H < 1 {
			t.Errorf("%s: panel %s lies outside: %+v", o.ID, p.PanelIndex, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s: panels %s and %s overlap", o.ID, other, p.PanelIndex)
				}
				taken[[2]int{x, y}] = p.PanelIndex
			}
		}
	}
	for _, name := range []string{"optionsJSON"} {
		o.attribute(t, name, &text)
		if !json.Valid([]byte(text)) {
			t.Errorf("%s: %s is no JSON", o.ID, name)
		}
	}
}
