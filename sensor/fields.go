package sensor

import (
	"slices"

	"github.com/tocsin/tocsin/event"
)

var flowDocs = []event.FieldDoc{
	{Name: "tocsin.flow.destination_missed", Type: event.Long, Help: "Bytes that the destination sent over TCP and that were never captured.", Class: event.ClassTechnical},
	{Name: "tocsin.flow.destination_retransmitted", Type: event.Long, Help: "Bytes that the destination sent over TCP more than once.", Class: event.ClassTechnical},
	{Name: "tocsin.flow.source_missed", Type: event.Long, Help: "Bytes that the source sent over TCP and that were never captured.", Class: event.ClassTechnical},
	{Name: "tocsin.flow.source_retransmitted", Type: event.Long, Help: "Bytes that the source sent over TCP more than once.", Class: event.ClassTechnical},
	{Name: "tocsin.flow.conflicting", Type: event.Long, Help: "Bytes of a TCP stream that came again with other content: damage, or an attempt to evade detection.", Class: event.ClassTechnical},
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
func Fields() []event.FieldDoc { return slices.Concat(flowDocs, arpDocs, ledgerDocs[:]) }
