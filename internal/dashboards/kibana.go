package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/tocsin/tocsin/event"
)

type object = map[string]any

// reference names another saved object.
type reference struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// saved is a saved object as Kibana exports and imports it.
type saved struct {
	ID         string      `json:"id"`
	Type       string      `json:"type"`
	Core       string      `json:"coreMigrationVersion"`
	Version    string      `json:"typeMigrationVersion"` // of the form of the attributes
	Managed    bool        `json:"managed"`
	Attributes object      `json:"attributes"`
	References []reference `json:"references"`
}

// The forms of Kibana 8.9, which later ones read.
const (
	coreForm      = "8.8.0"
	viewForm      = "8.0.0"
	lensForm      = "8.9.0"
	dashboardForm = "8.9.0"
)

// Kibana writes views and boards, one saved object a line.
func Kibana(schema *event.Schema) ([]byte, error) {
	var all []saved
	for _, v := range []View{Events, Alerts} {
		all = append(all, view(v, schema))
	}
	for _, b := range Boards() {
		var charts []saved
		for i, c := range b.Charts {
			x, err := lens(fmt.Sprintf("%s-%02d", b.ID, i+1), c, schema)
			if err != nil {
				return nil, fmt.Errorf("board %s: %s: %w", b.ID, c.Title, err)
			}
			charts = append(charts, x)
		}
		all = append(all, charts...)
		all = append(all, dashboard(b, charts))
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for i := range all {
		if err := enc.Encode(&all[i]); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// text is JSON within JSON, as Kibana keeps some of its state.
func text(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // maps of texts and numbers
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

func view(v View, schema *event.Schema) saved {
	formats := object{}
	for _, d := range schema.Fields() {
		switch {
		case d.Type == event.Long && len(d.Name) > 6 && d.Name[len(d.Name)-6:] == ".bytes":
			formats[d.Name] = object{"id": "bytes"}
		case d.Name == "event.duration":
			formats[d.Name] = object{"id": "duration", "params": object{"inputFormat": "nanoseconds", "outputFormat": "humanizePrecise", "outputPrecision": 1}}
		case d.Type == event.Long && len(d.Name) > 5 && d.Name[len(d.Name)-5:] == ".port":
			formats[d.Name] = object{"id": "number", "params": object{"pattern": "0"}} // no comma in thousands
		}
	}
	return saved{
		ID: v.ID, Type: "index-pattern", Core: coreForm, Version: viewForm, References: []reference{},
		Attributes: object{"title": v.Indices, "name": v.Name, "timeFieldName": "@timestamp", "fieldFormatMap": text(formats)},
	}
}

const layer = "layer1"

// lens is a chart as Kibana's editor keeps it.
func lens(id string, c Chart, schema *event.Schema) (saved, error) {
	columns, order := object{}, []string{}
	add := func(name string, column object) {
		columns[name] = column
		order = append(order, name)
	}
	if c.Shape == Times {
		add("time", object{"label": "@timestamp", "dataType": "date", "operationType": "date_histogram", "sourceField": "@timestamp",
			"isBucketed": true, "scale": "interval", "params": object{"interval": "auto", "includeEmptyRows": true, "dropPartials": false}})
	}
	values := c.Values
	if values == 0 {
		values = 10
	}
	var by []string
	for i, field := range c.By {
		d, ok := schema.Lookup(field)
		if !ok {
			return saved{}, fmt.Errorf("no field %s", field)
		}
		name := "by" + strconv.Itoa(i+1)
		by = append(by, name)
		add(name, object{"label": field, "customLabel": true, "dataType": dataType(d.Type), "operationType": "terms", "sourceField": field,
			"isBucketed": true, "scale": "ordinal", "params": object{"size": values, "orderBy": object{"type": "column", "columnId": "sum"}, "orderDirection": "desc",
				"otherBucket": c.Shape == Times || c.Shape == Shares, "missingBucket": false, "parentFormat": object{"id": "terms"}}})
	}
	if c.Sum == "" {
		add("sum", object{"label": "Count", "customLabel": true, "dataType": "number", "operationType": "count", "sourceField": "___records___",
			"isBucketed": false, "scale": "ratio", "params": object{"emptyAsNull": false}})
	} else {
		if d, ok := schema.Lookup(c.Sum); !ok || d.Type != event.Long && d.Type != event.Double {
			return saved{}, fmt.Errorf("%s is no field of numbers", c.Sum)
		}
		add("sum", object{"label": "Sum of " + c.Sum, "customLabel": true, "dataType": "number", "operationType": "sum", "sourceField": c.Sum,
			"isBucketed": false, "scale": "ratio", "params": object{"emptyAsNull": false}})
	}
	kind, drawn := drawing(c.Shape, by)
	return saved{
		ID: id, Type: "lens", Core: coreForm, Version: lensForm,
		References: []reference{{ID: c.View.ID, Type: "index-pattern", Name: "indexpattern-datasource-layer-" + layer}},
		Attributes: object{
			"title": "[Tocsin] " + c.Title, "description": "", "visualizationType": kind,
			"state": object{
				"datasourceStates": object{"formBased": object{"layers": object{layer: object{
					"columns": columns, "columnOrder": order, "incompleteColumns": object{}, "sampling": 1}}}},
				"visualization": drawn, "filters": []any{}, "internalReferences": []any{}, "adHocDataViews": object{},
				"query": object{"query": c.Where, "language": "kuery"},
			},
		},
	}, nil
}

func dataType(t event.FieldType) string {
	switch t {
	case event.IPType:
		return "ip"
	case event.Long, event.Double:
		return "number"
	case event.Boolean:
		return "boolean"
	}
	return "string"
}

// drawing is the part of a chart's state that its shape decides.
func drawing(s Shape, by []string) (kind string, state object) {
	switch s {
	case Times:
		l := object{"layerId": layer, "layerType": "data", "seriesType": "bar_stacked", "xAccessor": "time", "accessors": []string{"sum"}, "position": "top", "showGridlines": false}
		if len(by) > 0 {
			l["splitAccessor"] = by[0]
		}
		return "lnsXY", object{"preferredSeriesType": "bar_stacked", "layers": []any{l}, "legend": object{"isVisible": true, "position": "right"},
			"valueLabels": "hide", "fittingFunction": "None"}
	case Shares:
		return "lnsPie", object{"shape": "donut", "layers": []any{object{"layerId": layer, "layerType": "data", "primaryGroups": by, "metrics": []string{"sum"},
			"numberDisplay": "percent", "categoryDisplay": "default", "legendDisplay": "default", "nestedLegend": false}}}
	case Number:
		return "lnsMetric", object{"layerId": layer, "layerType": "data", "metricAccessor": "sum"}
	}
	var columns []any
	for _, name := range append(by, "sum") {
		columns = append(columns, object{"columnId": name, "isTransposed": false})
	}
	return "lnsDatatable", object{"layerId": layer, "layerType": "data", "columns": columns}
}

// dashboard lays charts out: the page is 48 columns wide.
func dashboard(b Board, charts []saved) saved {
	const page = 48
	var panels []any
	var references []reference
	x, y, height := 0, 0, 0
	for i, c := range charts {
		w, h := page/3, 13
		switch b.Charts[i].Shape {
		case Number:
			w, h = page/6, 6
		case Times:
			w = page / 3 * 2
		}
		if x+w > page {
			x, y = 0, y+height
			height = 0
		}
		name := strconv.Itoa(i + 1)
		panels = append(panels, object{
			"type": "lens", "panelIndex": name, "panelRefName": "panel_" + name, "embeddableConfig": object{"enhancements": object{}},
			"gridData": object{"x": x, "y": y, "w": w, "h": h, "i": name},
		})
		references = append(references, reference{ID: c.ID, Type: "lens", Name: name + ":panel_" + name})
		x, height = x+w, max(height, h)
	}
	return saved{
		ID: b.ID, Type: "dashboard", Core: coreForm, Version: dashboardForm, References: references,
		Attributes: object{
			"title": b.Title, "description": b.Help, "version": 1, "timeRestore": false,
			"panelsJSON":            text(panels),
			"optionsJSON":           text(object{"useMargins": true, "syncColors": true, "syncCursor": true, "syncTooltips": false, "hidePanelTitles": false}),
			"kibanaSavedObjectMeta": object{"searchSourceJSON": text(object{"query": object{"query": "", "language": "kuery"}, "filter": []any{}})},
		},
	}
}
