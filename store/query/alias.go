package query

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
)

// Alias is another name for a field, or for several of which any may match.
type Alias struct {
	Name   string
	Fields []string
	Of     string // who calls it so
}

// Aliases lists the names that other tools have for our fields, by name. A
// documented field of the same name goes first.
func Aliases() []Alias { return slices.Clone(aliases) }

var aliases = []Alias{
	{"bytes", []string{"network.bytes"}, "Arkime"},
	{"bytes.dst", []string{"destination.bytes"}, "Arkime"},
	{"bytes.src", []string{"source.bytes"}, "Arkime"},
	{"communityId", []string{"network.community_id"}, "Arkime"},
	{"community_id", []string{"network.community_id"}, "Zeek, Suricata"},
	{"conn_state", []string{"tocsin.flow.state"}, "Zeek"},
	{"databytes.dst", []string{"tocsin.flow.destination_payload"}, "Arkime"},
	{"databytes.src", []string{"tocsin.flow.source_payload"}, "Arkime"},
	{"dataset", []string{"event.dataset"}, "short"},
	{"dest_ip", []string{"destination.ip"}, "Suricata"},
	{"dest_port", []string{"destination.port"}, "Suricata"},
	{"dns.host", []string{"dns.question.name"}, "Arkime"},
	{"dst", []string{"destination.ip"}, "short"},
	{"dst.ip", []string{"destination.ip"}, "short"},
	{"dst.port", []string{"destination.port"}, "short"},
	{"history", []string{"tocsin.flow.history"}, "Zeek"},
	{"host.dns", []string{"dns.question.name"}, "Arkime"},
	{"host.http", []string{"url.domain"}, "Arkime"},
	{"http.uri", []string{"url.original"}, "Arkime"},
	{"id", []string{"event.id"}, "short"},
	{"id.orig_h", []string{"source.ip"}, "Zeek"},
	{"id.orig_p", []string{"source.port"}, "Zeek"},
	{"id.resp_h", []string{"destination.ip"}, "Zeek"},
	{"id.resp_p", []string{"destination.port"}, "Zeek"},
	{"ip", []string{"source.ip", "destination.ip"}, "Arkime"},
	{"ip.dst", []string{"destination.ip"}, "Arkime"},
	{"ip.src", []string{"source.ip"}, "Arkime"},
	{"mac", []string{"source.mac", "destination.mac"}, "Arkime"},
	{"mac.dst", []string{"destination.mac"}, "Arkime"},
	{"mac.src", []string{"source.mac"}, "Arkime"},
	{"node", []string{"observer.name"}, "Arkime"},
	{"orig_bytes", []string{"tocsin.flow.source_payload"}, "Zeek"},
	{"orig_ip_bytes", []string{"source.bytes"}, "Zeek"},
	{"orig_pkts", []string{"source.packets"}, "Zeek"},
	{"packets", []string{"network.packets"}, "Arkime"},
	{"packets.dst", []string{"destination.packets"}, "Arkime"},
	{"packets.src", []string{"source.packets"}, "Arkime"},
	{"port", []string{"source.port", "destination.port"}, "Arkime"},
	{"port.dst", []string{"destination.port"}, "Arkime"},
	{"port.src", []string{"source.port"}, "Arkime"},
	{"proto", []string{"network.transport"}, "Zeek, Suricata"},
	{"protocols", []string{"network.protocol"}, "Arkime"},
	{"query", []string{"dns.question.name"}, "Zeek"},
	{"resp_bytes", []string{"tocsin.flow.destination_payload"}, "Zeek"},
	{"resp_ip_bytes", []string{"destination.bytes"}, "Zeek"},
	{"resp_pkts", []string{"destination.packets"}, "Zeek"},
	{"sensor", []string{"observer.name"}, "short"},
	{"service", []string{"network.protocol"}, "Zeek"},
	{"severity", []string{"event.severity"}, "short"},
	{"src", []string{"source.ip"}, "short"},
	{"src.ip", []string{"source.ip"}, "short"},
	{"src.port", []string{"source.port"}, "short"},
	{"src_ip", []string{"source.ip"}, "Suricata"},
	{"src_port", []string{"source.port"}, "Suricata"},
	{"time", []string{"@timestamp"}, "short"},
	{"ts", []string{"@timestamp"}, "Zeek"},
	{"vlan", []string{"network.vlan.id"}, "Arkime"},
}

// resolve finds the fields that a name stands for.
func resolve(name string, s *event.Schema) ([]string, bool) {
	if s != nil {
		if _, ok := s.Lookup(name); ok {
			return []string{name}, true
		}
	}
	if i, ok := slices.BinarySearchFunc(aliases, name, func(a Alias, n string) int { return cmp.Compare(a.Name, n) }); ok {
		return aliases[i].Fields, true
	}
	if s == nil {
		return []string{name}, true
	}
	if strings.Contains(name, "*") {
		g := newGlob(name, false, false)
		return []string{name}, slices.ContainsFunc(s.Fields(), func(d event.FieldDoc) bool { return g.match(d.Name) })
	}
	return nil, false
}

// nearest is the field or alias whose name is most like one that is not there.
func nearest(name string, s *event.Schema) string {
	var names []string
	for _, d := range s.Fields() {
		names = append(names, d.Name)
	}
	for _, a := range aliases {
		names = append(names, a.Name)
	}
	return event.Nearest(name, names)
}
