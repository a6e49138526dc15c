package sensor

import (
	"fmt"
	"slices"

	"github.com/tocsin/tocsin/event"
)

// flowDocs has most fields twice, for what either side sent.
var flowDocs = func() (docs []event.FieldDoc) {
	for _, side := range []string{"destination", "source"} {
		doc := func(name string, typ event.FieldType, help string) {
			docs = append(docs, event.FieldDoc{Name: "tocsin.flow." + side + "_" + name, Type: typ, Help: fmt.Sprintf(help, side), Class: event.ClassTechnical})
		}
		doc("entropy", event.Double, "How random the first 256 bytes of the %s look, of a TCP stream of no known protocol, from 0 to 1: of the most that so many bytes can have. What is encrypted or compressed has 0.85 and more, text 0.5 to 0.8.")
		doc("flags", event.Keyword, "TCP flags that segments of the %s had, all together: F, S, R, P, A, U, E (ECN echo) and C (congestion window reduced).")
		doc("missed", event.Long, "Bytes that the %s sent over TCP and that were never captured.")
		doc("reordered", event.Long, "TCP segments with new bytes of the %s that came after later ones: the network changed their order, or lost them before the tap and they were sent again.")
		doc("retransmitted", event.Long, "Bytes that the %s sent over TCP more than once.")
		doc("rtt", event.Long, "From the tap to the %s and back in the TCP handshake, nanoseconds. Those of both sides together are the connection's round trip. Absent where one of its packets was repeated or missed.")
		doc("syn", event.Keyword, "What the SYN of the %s offered, as p0f writes it: maximum segment size, window, window scale, and the order of the options. It tells systems apart.")
		doc("ttl", event.Long, "Least time to live (hop limit) of what the %s sent.")
		doc("ttl_max", event.Long, "Greatest time to live of what the %s sent, if it is another: there are several ways, or several senders.")
		doc("zero_windows", event.Long, "TCP segments of the %s that forbade the other side to send: it is too slow to read.")
	}
	docs = append(docs, event.FieldDoc{Name: "tocsin.flow.pulses", Type: event.Long, Help: "When data came again after half a second and more without, from either side: milliseconds since the flow's start, the first 64. Of TCP connections that a person may sit behind, if there are at least 4. A connection that passes on another one has the same.", Class: event.ClassTechnical})
	return append(docs, event.FieldDoc{Name: "tocsin.flow.conflicting", Type: event.Long, Help: "Bytes of a TCP stream that came again with other content: damage, or an attempt to evade detection.", Class: event.ClassTechnical})
}()

var tunnelDocs = []event.FieldDoc{
	{Name: "tocsin.tunnel.destination.ip", Type: event.IPType, Help: "Ends of the tunnels, outermost first, on the side of the flow's destination.", Class: event.ClassTopology},
	{Name: "tocsin.tunnel.id", Type: event.Long, Help: "Of the tunnels that have one: network identifier of VXLAN, Geneve and NVGRE, key of GRE, tunnel endpoint identifier of GTP-U, session of L2TP and ERSPAN. Where each direction has its own, that of the flow's first packet.", Class: event.ClassTechnical},
	{Name: "tocsin.tunnel.source.ip", Type: event.IPType, Help: "Ends of the tunnels, outermost first, on the side of the flow's source.", Class: event.ClassTopology},
	{Name: "tocsin.tunnel.type", Type: event.Keyword, Help: "Tunnels that the flow is in, outermost first: ipip, 6in4, 4in6, 6in6, gre, nvgre, erspan, vxlan, geneve, gtpu, teredo, l2tp. A tunnel over UDP also has a flow of its own, whose protocol is the tunnel.", Class: event.ClassTechnical},
}

var arpDocs = []event.FieldDoc{
	{Name: "arp.operation", Type: event.Keyword, Help: "request, reply, or the number of another operation.", Class: event.ClassTechnical},
	{Name: "arp.sender.ip", Type: event.IPType, Help: "Address that the sender claims.", Class: event.ClassTopology},
	{Name: "arp.sender.mac", Type: event.Keyword, Help: "MAC address that the sender claims for it.", Class: event.ClassTopology},
	{Name: "arp.target.ip", Type: event.IPType, Help: "Address asked for, or answered to.", Class: event.ClassTopology},
	{Name: "arp.target.mac", Type: event.Keyword, Help: "MAC address answered to.", Class: event.ClassTopology},
	{Name: "arp.repeats", Type: event.Long, Help: "Same messages within the minute before, which made no event of their own.", Class: event.ClassTechnical},
}

// Fields documents the fields, beyond event.CoreFields and those of the
// protocols, that a sensor's events may carry.
func Fields() []event.FieldDoc {
	return slices.Concat(flowDocs, floodDocs[:], tunnelDocs, arpDocs, stateDocs, []event.FieldDoc{unbalanced}, ledgerDocs[:])
}
