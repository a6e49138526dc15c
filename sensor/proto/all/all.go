// Package all is the list of protocols that a sensor parses.
package all

import (
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/bacnet"
	"github.com/tocsin/tocsin/sensor/proto/dnp3"
	"github.com/tocsin/tocsin/sensor/proto/dns"
	"github.com/tocsin/tocsin/sensor/proto/enip"
	"github.com/tocsin/tocsin/sensor/proto/hartip"
	"github.com/tocsin/tocsin/sensor/proto/http"
	"github.com/tocsin/tocsin/sensor/proto/iec104"
	"github.com/tocsin/tocsin/sensor/proto/modbus"
	"github.com/tocsin/tocsin/sensor/proto/s7comm"
	"github.com/tocsin/tocsin/sensor/proto/ssh"
	"github.com/tocsin/tocsin/sensor/proto/synchrophasor"
	"github.com/tocsin/tocsin/sensor/proto/tls"
)

// Protocols returns every protocol, the most certain of their own bytes first:
// where several would do, the first is taken.
func Protocols() []proto.Protocol {
	return []proto.Protocol{
		tls.Protocol,
		ssh.Protocol,
		http.Protocol,
		dns.Protocol,
		dns.Stream,
		s7comm.Protocol,
		dnp3.Stream,
		dnp3.Protocol,
		bacnet.Protocol,
		enip.Protocol,
		enip.Datagrams,
		synchrophasor.Stream,
		synchrophasor.Protocol,
		hartip.Stream,
		hartip.Protocol,
		iec104.Protocol,
		modbus.Protocol,
	}
}

// Fields documents the fields that events of all protocols may carry beyond
// event.CoreFields. A field that several share is listed once.
func Fields() []event.FieldDoc {
	var docs []event.FieldDoc
	seen := map[string]bool{}
	for _, p := range Protocols() {
		for _, d := range p.Fields {
			if !seen[d.Name] {
				seen[d.Name] = true
				docs = append(docs, d)
			}
		}
	}
	return docs
}
