package pack

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/summary"
)

// technique is one of ATT&CK with where the trace shows it.
type technique struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	Matrix string     `json:"matrix"` // enterprise-attack, ics-attack
	Tactic []string   `json:"tactics"`
	Hops   []string   `json:"hops"`   // "path 1", "branch 2"
	Events []event.ID `json:"events"` // of the timeline
}

// matrixOf says to which of ATT&CK's matrices a technique belongs: those of
// industrial control systems are numbered from T0800 on.
func matrixOf(id string) string {
	if strings.HasPrefix(id, "T0") {
		return "ics-attack"
	}
	return "enterprise-attack"
}

func attackOf(t *trace.Trace) []technique {
	by := map[string]*technique{}
	get := func(x event.Technique) *technique {
		e := by[x.ID]
		if e == nil {
			e = &technique{ID: x.ID, Name: x.Name, Matrix: matrixOf(x.ID), Tactic: orEmpty(slices.Clone(x.Tactics)), Hops: []string{}, Events: []event.ID{}}
			by[x.ID] = e
		}
		return e
	}
	for part, hops := range map[string][]trace.Hop{"path": t.Path, "branch": t.Branches} {
		for i := range hops {
			for _, x := range hops[i].Techniques {
				e := get(x)
				e.Hops = append(e.Hops, fmt.Sprintf("%s %d", part, i+1))
			}
		}
	}
	for i := range t.Steps {
		for _, x := range t.Steps[i].Techniques {
			if e := get(x); !t.Steps[i].ID.IsZero() {
				e.Events = append(e.Events, t.Steps[i].ID)
			}
		}
	}
	list := []technique{}
	for _, e := range by {
		slices.Sort(e.Hops)
		slices.SortFunc(e.Events, event.ID.Compare)
		e.Events = slices.Compact(e.Events)
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b technique) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// layer is what ATT&CK Navigator opens (layer format 4.5).
type layer struct {
	Name        string            `json:"name"`
	Versions    map[string]string `json:"versions"`
	Domain      string            `json:"domain"`
	Description string            `json:"description"`
	Techniques  []layerTechnique  `json:"techniques"`
}

type layerTechnique struct {
	ID      string `json:"techniqueID"`
	Score   int    `json:"score"` // places in the trace
	Comment string `json:"comment"`
}

func layersOf(t *trace.Trace) (layers []layer) {
	for _, domain := range []string{"enterprise-attack", "ics-attack"} {
		l := layer{Name: t.Title, Versions: map[string]string{"layer": "4.5"}, Domain: domain, Description: "Tocsin, trace from " + t.Seed}
		for _, x := range attackOf(t) {
			if x.Matrix == domain {
				l.Techniques = append(l.Techniques, layerTechnique{x.ID, len(x.Hops) + len(x.Events), strings.Join(x.Hops, ", ")})
			}
		}
		if len(l.Techniques) > 0 {
			layers = append(layers, l)
		}
	}
	return layers
}

// gbt is the case in the eight components of GB/T 36643-2018, "Information
// security technology: cyber security threat information format"; the names of
// the components are the standard's, in Chinese and English. What the standard
// leaves to its users is as in STIX, of which it is a relative.
type gbt struct {
	Standard   string         `json:"standard"`
	Title      string         `json:"title"`
	From       time.Time      `json:"from"`
	To         time.Time      `json:"to"`
	Components []gbtComponent `json:"components"`
}

type gbtComponent struct {
	Name    string `json:"name"`    // 可观测数据
	English string `json:"english"` // observable data
	Domain  string `json:"domain"`  // 对象域, 方法域, 事件域: object, method, event
	Items   []any  `json:"items"`
}

type gbtObservable struct {
	ID       string     `json:"id"`
	Source   netip.Addr `json:"source_address"`
	Target   netip.Addr `json:"target_address"`
	Port     uint16     `json:"target_port"`
	Protocol string     `json:"protocol"`
	From     time.Time  `json:"first_observed"`
	To       time.Time  `json:"last_observed"`
	Flows    int        `json:"flows"`
	Bytes    uint64     `json:"bytes"`
	Sensors  []string   `json:"sensors"`
}

type gbtIndicator struct {
	ID         string    `json:"id"`
	Type       string    `json:"type"`
	Value      string    `json:"value"`
	Kind       string    `json:"attack_role"`
	Confidence float64   `json:"confidence"`
	From       time.Time `json:"valid_from"`
}

type gbtEvent struct {
	ID       event.ID  `json:"id"`
	Time     time.Time `json:"time"`
	Level    string    `json:"level"`
	Severity int       `json:"severity"`
	Text     string    `json:"description"`
	Rule     string    `json:"rule"`
	Methods  []string  `json:"attack_methods"`
}

type gbtCampaign struct {
	ID         string    `json:"id"`
	Title      string    `json:"title"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	Path       []string  `json:"path"`
	Confidence float64   `json:"confidence"`
	Unknown    []string  `json:"not_known"`
}

type gbtMethod struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Tactics []string `json:"tactics"`
	Source  string   `json:"catalogue"`
}

type gbtMeasure struct {
	ID      string `json:"id"`
	Measure string `json:"measure"`
	Chinese string `json:"measure_zh"`
	Object  string `json:"object"`
}

type gbtActor struct {
	ID         string     `json:"id"`
	Address    netip.Addr `json:"address"`
	Name       string     `json:"name"`
	Role       string     `json:"role"`
	Confidence float64    `json:"confidence"`
	Identity   string     `json:"identity"`
}

type gbtTarget struct {
	ID      string     `json:"id"`
	Address netip.Addr `json:"address"`
	Name    string     `json:"name"`
	Zone    string     `json:"zone"`
	Role    string     `json:"role"`
}

func gbtOf(t *trace.Trace, alerts []event.Event) gbt {
	part := func(name, english, domain string) gbtComponent { return gbtComponent{name, english, domain, []any{}} }
	observables := part("可观测数据", "observable data", "事件域 event")
	indicators := part("攻击指标", "attack indicator", "事件域 event")
	events := part("安全事件", "security event", "事件域 event")
	campaigns := part("攻击活动", "attack activity", "事件域 event")
	methods := part("攻击方法", "attack method", "方法域 method")
	measures := part("应对措施", "response measure", "方法域 method")
	actors := part("威胁主体", "threat actor", "对象域 object")
	targets := part("攻击目标", "attack target", "对象域 object")

	for _, list := range []struct {
		name string
		hops []trace.Hop
	}{{"path", t.Path}, {"branch", t.Branches}} {
		for i, h := range list.hops {
			observables.Items = append(observables.Items, gbtObservable{
				fmt.Sprintf("%s-%d", list.name, i+1), h.From, h.To, h.Port, h.Protocol, h.Start.UTC(), h.End.UTC(), h.Flows, h.Bytes, orEmpty(h.Sensors),
			})
		}
	}
	attacked := len(t.Path)+len(t.Branches) > 0
	for _, s := range summary.Sources(t) {
		if s.Role == "rejected" || !attacked {
			continue
		}
		switch s.Role {
		case "origin", "c2", "exfiltration":
			kind := "ipv4-addr"
			if s.Address.Is6() {
				kind = "ipv6-addr"
			}
			indicators.Items = append(indicators.Items, gbtIndicator{"indicator-" + s.Address.String(), kind, s.Address.String(), s.Role, s.Confidence, s.First.UTC()})
			measures.Items = append(measures.Items, gbtMeasure{"measure-" + s.Address.String(), "block at the border", "在边界阻断", s.Address.String()})
			actors.Items = append(actors.Items, gbtActor{"actor-" + s.Address.String(), s.Address, s.Name, s.Role, s.Confidence, "unknown: an address is not a person"})
		}
	}
	for i := range alerts {
		a, err := event.AlertOf(&alerts[i])
		if err != nil {
			continue // it was read before; see writeAlerts
		}
		ids := []string{}
		for _, x := range a.Techniques {
			ids = append(ids, x.ID)
		}
		events.Items = append(events.Items, gbtEvent{a.ID, a.First.UTC(), a.Level, a.Severity, a.Message, a.Rule.Name, ids})
	}
	if attacked {
		c := gbtCampaign{ID: "activity-" + t.Seed, Title: t.Title, From: t.From, To: t.To, Path: []string{t.Origin.String()}, Confidence: 1, Unknown: orEmpty(t.Missing)}
		for _, h := range t.Path {
			c.Path = append(c.Path, h.To.String())
			c.Confidence = min(c.Confidence, h.Confidence)
		}
		if len(t.Path) == 0 {
			c.Confidence = 0
		}
		campaigns.Items = append(campaigns.Items, c)
	}
	for _, x := range attackOf(t) {
		methods.Items = append(methods.Items, gbtMethod{x.ID, x.Name, x.Tactic, "MITRE ATT&CK, " + x.Matrix})
	}
	for _, n := range t.Nodes {
		switch n.Role {
		case "target", "stepping-stone":
			targets.Items = append(targets.Items, gbtTarget{"target-" + n.Address.String(), n.Address, n.Name, n.Zone, n.Role})
			measures.Items = append(measures.Items, gbtMeasure{"measure-" + n.Address.String(), "isolate, examine and restore", "隔离、取证并恢复", cmp.Or(n.Name, n.Address.String())})
		}
	}
	return gbt{"GB/T 36643-2018", t.Title, t.From.UTC(), t.To.UTC(), []gbtComponent{observables, indicators, events, campaigns, methods, measures, actors, targets}}
}
