// Package dashboards makes what people look at in Kibana: views of the indices
// and boards of charts, as saved objects that Kibana imports. The boards are
// data, and each of their fields is checked against the schema.
package dashboards

import "github.com/tocsin/tocsin/event"

// View is a set of indices.
type View struct {
	ID, Name string
	Indices  string // pattern
}

// Views of the indices of a store whose names begin with "tocsin".
var (
	Events = View{"tocsin-events", "Tocsin events", "tocsin-events-*"}
	Alerts = View{"tocsin-alerts", "Tocsin alerts", "tocsin-alerts-*"}
)

// Shape is how a chart is drawn.
type Shape uint8

// Shapes.
const (
	Times  Shape = iota // bars over time, split by the first of By
	Top                 // a table of the values of By with the highest Sum
	Shares              // a ring of the values of the first of By
	Number              // Sum alone
)

// Chart is one panel: a sum over what matches, in a shape.
type Chart struct {
	Title  string
	View   View
	Where  string // KQL
	Shape  Shape
	Sum    string   // the field that is added up; of nothing, documents are counted
	By     []string // fields
	Values int      // how many values of a field, 10 if it is not said
}

// Board is a page of charts, in rows of three; a number is half as wide.
type Board struct {
	ID, Title, Help string
	Charts          []Chart
}

// Boards are the pages.
func Boards() []Board {
	flows := "event.dataset: " + quoted(event.KindFlow)
	ledger := "event.dataset: " + quoted(event.KindLedger)
	dns, tls, http, ssh := "event.dataset: "+quoted("dns"), "event.dataset: "+quoted("tls"), "event.dataset: "+quoted("http"), "event.dataset: "+quoted("ssh")
	return []Board{
		{"tocsin-overview", "Tocsin: overview", "What was found, who took part, and what was seen.", []Chart{
			{Title: "Alerts", View: Alerts, Shape: Number},
			{Title: "Open alerts of high severity", View: Alerts, Where: "event.severity >= 60 and tocsin.alert.status: open", Shape: Number},
			{Title: "Events", View: Events, Shape: Number},
			{Title: "Bytes on the wire", View: Events, Where: flows, Shape: Number, Sum: "network.bytes"},
			{Title: "Packets seen by sensors", View: Events, Where: ledger, Shape: Number, Sum: "tocsin.ledger.seen"},
			{Title: "Packets dropped by the kernel", View: Events, Where: ledger, Shape: Number, Sum: "tocsin.ledger.dropped.kernel"},
			{Title: "Alerts over time, by level", View: Alerts, Shape: Times, By: []string{"tocsin.alert.level"}},
			{Title: "Rules", View: Alerts, Shape: Top, By: []string{"rule.name", "tocsin.alert.level"}},
			{Title: "Techniques", View: Alerts, Shape: Top, By: []string{"threat.technique.id", "threat.technique.name"}},
			{Title: "Who acted", View: Alerts, Shape: Top, By: []string{"tocsin.alert.source"}},
			{Title: "Who was acted upon", View: Alerts, Shape: Top, By: []string{"tocsin.alert.target"}},
			{Title: "Events over time, by kind", View: Events, Where: "not " + ledger, Shape: Times, By: []string{"event.dataset"}},
		}},
		{"tocsin-alerts", "Tocsin: alerts", "Alerts by rule, technique, address, indicator and judgement.", []Chart{
			{Title: "Alerts over time, by rule", View: Alerts, Shape: Times, By: []string{"rule.name"}},
			{Title: "From whom to whom", View: Alerts, Shape: Top, By: []string{"source.ip", "destination.ip", "rule.name"}, Values: 20},
			{Title: "Tactics", View: Alerts, Shape: Shares, By: []string{"threat.tactic.name"}},
			{Title: "Reputation", View: Alerts, Where: "threat.indicator.name: *", Shape: Top, By: []string{"threat.indicator.provider", "threat.indicator.name"}},
			{Title: "Families of rules", View: Alerts, Shape: Shares, By: []string{"rule.ruleset"}},
			{Title: "Judgement", View: Alerts, Shape: Top, By: []string{"tocsin.alert.status", "tocsin.alert.verdict"}},
			{Title: "Hosts", View: Alerts, Shape: Top, By: []string{"related.hosts"}},
			{Title: "Accounts", View: Alerts, Shape: Top, By: []string{"related.user"}},
			{Title: "Sensors", View: Alerts, Shape: Shares, By: []string{"tocsin.alert.sensors"}},
		}},
		{"tocsin-control", "Tocsin: control systems", "What is done to controllers, by whom, and what they answer.", []Chart{
			{Title: "Operations over time", View: Events, Where: "ics.protocol: *", Shape: Times, By: []string{"ics.operation"}},
			{Title: "Writes and commands", View: Events, Where: "ics.operation: (write or control or program or mode or firmware)", Shape: Top, By: []string{"source.ip", "destination.ip", "ics.function.name"}, Values: 20},
			{Title: "Functions", View: Events, Where: "ics.protocol: *", Shape: Top, By: []string{"ics.protocol", "ics.function.name"}},
			{Title: "Refused", View: Events, Where: "ics.status.code > 0", Shape: Top, By: []string{"destination.ip", "ics.status.name"}},
			{Title: "Protocols", View: Events, Where: "ics.protocol: *", Shape: Shares, By: []string{"ics.protocol"}},
			{Title: "Units", View: Events, Where: "ics.protocol: *", Shape: Top, By: []string{"destination.ip", "ics.unit"}},
		}},
		{"tocsin-network", "Tocsin: network", "Flows, names, sessions.", []Chart{
			{Title: "Bytes over time, by protocol", View: Events, Where: flows, Shape: Times, Sum: "network.bytes", By: []string{"network.protocol"}},
			{Title: "Who sends", View: Events, Where: flows, Shape: Top, Sum: "source.bytes", By: []string{"source.ip"}},
			{Title: "Who is sent to", View: Events, Where: flows, Shape: Top, Sum: "network.bytes", By: []string{"destination.ip", "destination.port"}},
			{Title: "How flows end", View: Events, Where: flows, Shape: Shares, By: []string{"tocsin.flow.state"}},
			{Title: "Transports", View: Events, Where: flows, Shape: Shares, Sum: "network.packets", By: []string{"network.transport"}},
			{Title: "Names asked for", View: Events, Where: dns, Shape: Top, By: []string{"dns.question.name"}},
			{Title: "Answers to names", View: Events, Where: dns, Shape: Shares, By: []string{"dns.response_code"}},
			{Title: "TLS servers", View: Events, Where: tls, Shape: Top, By: []string{"tls.client.server_name", "tls.version"}},
			{Title: "TLS clients", View: Events, Where: tls, Shape: Top, By: []string{"tls.client.ja4"}},
			{Title: "Web servers", View: Events, Where: http, Shape: Top, By: []string{"url.domain", "http.response.status_code"}},
			{Title: "Programs on the web", View: Events, Where: http, Shape: Top, By: []string{"user_agent.original"}},
			{Title: "SSH logins", View: Events, Where: ssh, Shape: Top, By: []string{"source.ip", "destination.ip", "event.outcome"}},
		}},
		{"tocsin-sensors", "Tocsin: sensors", "What sensors saw, and what they know they did not see.", []Chart{
			{Title: "Packets over time, by sensor", View: Events, Where: ledger, Shape: Times, Sum: "tocsin.ledger.seen", By: []string{"observer.name"}},
			{Title: "Dropped by the kernel", View: Events, Where: ledger, Shape: Times, Sum: "tocsin.ledger.dropped.kernel", By: []string{"observer.name"}},
			{Title: "Events over time, by sensor", View: Events, Where: ledger, Shape: Times, Sum: "tocsin.ledger.events", By: []string{"observer.name"}},
			{Title: "Packets by sensor", View: Events, Where: ledger, Shape: Top, Sum: "tocsin.ledger.seen", By: []string{"observer.name"}},
			{Title: "Decoded by sensor", View: Events, Where: ledger, Shape: Top, Sum: "tocsin.ledger.decoded", By: []string{"observer.name"}},
			{Title: "Interfaces", View: Events, Where: ledger, Shape: Top, Sum: "tocsin.ledger.seen", By: []string{"observer.name", "observer.ingress.interface.name"}},
		}},
	}
}

func quoted(k event.Kind) string {
	e := event.Event{Kind: k}
	return e.Get("event.dataset").Str()
}
