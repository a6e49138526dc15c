// Package event is the vocabulary that every stage of Tocsin speaks: events
// that sensors make from packets, alerts that the correlator makes from
// events, and the documentation of every field that either may carry. It
// imports nothing but the standard library, and every other package may
// import it.
//
// Field names are those of the Elastic Common Schema (ECS); industrial
// protocols, for which ECS has no words, use the ics.* group, and what only
// Tocsin knows is under tocsin.*.
package event

import (
	"net/netip"
	"time"
)

// Event is one observation: a finished flow, a transaction of a protocol, or
// a report of a sensor about itself.
//
// An Event passed to a callback is borrowed: neither it nor its Fields, nor
// anything that these refer to, texts included, may be kept after the callback
// returns. Use Clone to keep one.
type Event struct {
	ID     ID
	Time   time.Time // UTC; of a flow its last packet, of a transaction its first
	Kind   Kind
	Sensor string // observer.name
	Iface  string // observer.ingress.interface.name: interface or capture file
	Flow   Flow
	Fields []Field // in no particular order, each name at most once
}

// Kind names what an event is about. It is the event's dataset without the
// prefix: Kind "dns" has event.dataset "tocsin.dns".
type Kind string

// Kinds that no protocol parser makes. A parser's kind is its protocol's name.
const (
	KindFlow   Kind = "flow"   // a flow record: final, or interim for a long flow
	KindARP    Kind = "arp"    // an ARP exchange
	KindLedger Kind = "ledger" // one minute of a sensor's accounts
	KindFlood  Kind = "flood"  // connections that were too many to have an event each
	KindTap    Kind = "tap"    // how the test of a tap went
	KindAlert  Kind = "alert"  // see Alert
)

// Place is where e stands in the order of time: its ID, with the milliseconds
// of its Time. Of an event that is the ID. Of an alert it is not: an alert's ID
// begins with the start of its time bucket, its Time is that of its earliest
// event.
func (e *Event) Place() ID {
	p := FirstID(e.Time)
	copy(p[6:], e.ID[6:])
	return p
}

// Set gives the field name the value v, replacing an earlier value.
func (e *Event) Set(name string, v Value) {
	for i := range e.Fields {
		if e.Fields[i].Name == name {
			e.Fields[i].Value = v
			return
		}
	}
	e.Fields = append(e.Fields, Field{name, v})
}

// Endpoint is one side of a flow. Counters belong to the packets that this
// side sent and are set in flow events only.
type Endpoint struct {
	IP      netip.Addr // invalid where the packet has none, such as ARP or GOOSE
	Port    uint16     // TCP, UDP, SCTP; ICMP: type (source) and code (destination)
	MAC     MAC
	Packets uint64
	Bytes   uint64 // bytes of the IP packets, headers included; of the frame where there is no IP
	Payload uint64 // bytes above the transport header
}

// MAC is an IEEE 802 address; the zero value means that it is not known.
type MAC [6]byte

// Flow says between whom an event happened.
type Flow struct {
	Src, Dst    Endpoint // originator and responder
	Transport   uint8    // IP protocol number; 0 where there is no IP
	VLAN        uint16   // outermost 802.1Q identifier, 0 if untagged
	InnerVLAN   uint16   // second tag of 802.1ad
	CommunityID string   // community-id v1, seed 0; empty where the transport has none
	Start, End  time.Time

	// In flow events only.
	Service   string // protocol recognised from the content, "" if none
	State     string // Zeek's conn_state: S0 S1 SF REJ S2 S3 RSTO RSTR RSTOS0 RSTRH SH SHR OTH
	History   string // Zeek's history letters
	EndReason string // fin rst idle active evicted eof
}

// Field is a named value beyond the ones that every event has.
type Field struct {
	Name  string // a documented name; see FieldDoc
	Value Value
}
