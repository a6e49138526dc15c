package event

import (
	"strconv"
	"time"
)

type coreField uint8

// The fields that every event may have without listing them in Fields, in the
// order of their names: AppendJSON merges on that.
const (
	_ coreField = iota
	cTimestamp
	cDstBytes
	cDstIP
	cDstMAC
	cDstPackets
	cDstPort
	cCategory
	cDataset
	cDuration
	cEnd
	cID
	cKind
	cStart
	cType
	cNetBytes
	cCommunityID
	cInnerVLAN
	cNetPackets
	cProtocol
	cTransport
	cNetType
	cVLAN
	cIface
	cObserver
	cSrcBytes
	cSrcIP
	cSrcMAC
	cSrcPackets
	cSrcPort
	cDstPayload
	cEndReason
	cHistory
	cSrcPayload
	cState
	numCore
)

var coreDocs = [numCore]FieldDoc{
	cTimestamp:   {"@timestamp", Date, "Time of the event on the wire: of a flow its last packet, of a transaction its first.", ClassTechnical},
	cDstBytes:    {"destination.bytes", Long, "Bytes of IP packets sent by the destination.", ClassTechnical},
	cDstIP:       {"destination.ip", IPType, "Address of the responder.", ClassTopology},
	cDstMAC:      {"destination.mac", Keyword, "MAC address of the responder's side.", ClassTopology},
	cDstPackets:  {"destination.packets", Long, "Packets sent by the destination.", ClassTechnical},
	cDstPort:     {"destination.port", Long, "Port of the responder; of ICMP the code.", ClassTechnical},
	cCategory:    {"event.category", Keyword, "ECS category: network, or intrusion_detection for alerts.", ClassTechnical},
	cDataset:     {"event.dataset", Keyword, "What the event is about: tocsin.flow, tocsin.dns, …", ClassTechnical},
	cDuration:    {"event.duration", Long, "From start to end, in nanoseconds.", ClassTechnical},
	cEnd:         {"event.end", Date, "Last packet.", ClassTechnical},
	cID:          {"event.id", Keyword, "Identifier derived from the content; sorts by time.", ClassTechnical},
	cKind:        {"event.kind", Keyword, "event, alert, or metric for a sensor's report about itself.", ClassTechnical},
	cStart:       {"event.start", Date, "First packet.", ClassTechnical},
	cType:        {"event.type", Keyword, "ECS type: connection, protocol, indicator, info.", ClassTechnical},
	cNetBytes:    {"network.bytes", Long, "Bytes of IP packets in both directions.", ClassTechnical},
	cCommunityID: {"network.community_id", Keyword, "Community ID version 1, seed 0, of the flow.", ClassTopology},
	cInnerVLAN:   {"network.inner.vlan.id", Long, "Inner VLAN identifier of a double-tagged frame.", ClassTechnical},
	cNetPackets:  {"network.packets", Long, "Packets in both directions.", ClassTechnical},
	cProtocol:    {"network.protocol", Keyword, "Application protocol, recognised from the content.", ClassTechnical},
	cTransport:   {"network.transport", Keyword, "tcp, udp, icmp, ipv6-icmp, sctp, or the IP protocol's number.", ClassTechnical},
	cNetType:     {"network.type", Keyword, "ipv4 or ipv6.", ClassTechnical},
	cVLAN:        {"network.vlan.id", Long, "Outer VLAN identifier.", ClassTechnical},
	cIface:       {"observer.ingress.interface.name", Keyword, "Interface or capture file that the packets came from.", ClassTopology},
	cObserver:    {"observer.name", Keyword, "Name of the sensor.", ClassTopology},
	cSrcBytes:    {"source.bytes", Long, "Bytes of IP packets sent by the source.", ClassTechnical},
	cSrcIP:       {"source.ip", IPType, "Address of the originator.", ClassTopology},
	cSrcMAC:      {"source.mac", Keyword, "MAC address of the originator's side.", ClassTopology},
	cSrcPackets:  {"source.packets", Long, "Packets sent by the source.", ClassTechnical},
	cSrcPort:     {"source.port", Long, "Port of the originator; of ICMP the type.", ClassTechnical},
	cDstPayload:  {"tocsin.flow.destination_payload", Long, "Bytes above the transport header sent by the destination.", ClassTechnical},
	cEndReason:   {"tocsin.flow.end_reason", Keyword, "Why the record was written: fin, rst, idle, active, evicted, eof.", ClassTechnical},
	cHistory:     {"tocsin.flow.history", Keyword, "What happened in order, in Zeek's letters.", ClassTechnical},
	cSrcPayload:  {"tocsin.flow.source_payload", Long, "Bytes above the transport header sent by the source.", ClassTechnical},
	cState:       {"tocsin.flow.state", Keyword, "State at the end, in Zeek's words: S0 S1 SF REJ S2 S3 RSTO RSTR RSTOS0 RSTRH SH SHR OTH.", ClassTechnical},
}

var coreNames = func() (names [numCore]string) {
	for i, d := range coreDocs {
		names[i] = d.Name
	}
	return names
}()

var coreByName = func() map[string]coreField {
	m := make(map[string]coreField, numCore)
	for c := coreField(1); c < numCore; c++ {
		m[coreDocs[c].Name] = c
	}
	return m
}()

// CoreFields documents the fields that an event of any kind may have.
func CoreFields() []FieldDoc { return append([]FieldDoc(nil), coreDocs[1:]...) }

// flowFields are those that only events of flows have.
const flowFields uint64 = 1<<cSrcBytes | 1<<cDstBytes | 1<<cNetBytes | 1<<cSrcPackets | 1<<cDstPackets | 1<<cNetPackets |
	1<<cSrcPayload | 1<<cDstPayload | 1<<cState | 1<<cHistory | 1<<cEndReason

// present tells which core fields an event has: those whose core is not absent,
// a bit for each.
func (e *Event) present() uint64 {
	f := &e.Flow
	p := uint64(1<<cTimestamp | 1<<cKind | 1<<cCategory | 1<<cType | 1<<cDataset)
	if e.Kind == KindFlow {
		p |= flowFields &^ (1<<cState | 1<<cHistory | 1<<cEndReason)
		p |= some(f.State != "", cState) | some(f.History != "", cHistory) | some(f.EndReason != "", cEndReason)
	}
	if !f.Start.IsZero() {
		p |= 1<<cStart | some(!f.End.IsZero(), cDuration)
	}
	if f.Src.IP.IsValid() {
		p |= 1<<cSrcIP | 1<<cNetType
	}
	switch f.Transport {
	case ProtoTCP, ProtoUDP, ProtoSCTP, ProtoICMP, ProtoICMPv6:
		p |= some(e.Kind != KindFlood, cSrcPort) | 1<<cDstPort // a flood comes from many
	default:
		p |= some(f.Src.Port != 0, cSrcPort) | some(f.Dst.Port != 0, cDstPort)
	}
	return p | some(!f.End.IsZero(), cEnd) | some(!e.ID.IsZero(), cID) | some(e.Sensor != "", cObserver) | some(e.Iface != "", cIface) |
		some(f.Dst.IP.IsValid(), cDstIP) | some(f.Src.MAC != MAC{}, cSrcMAC) | some(f.Dst.MAC != MAC{}, cDstMAC) |
		some(f.Transport != 0, cTransport) | some(f.CommunityID != "", cCommunityID) | some(f.VLAN != 0, cVLAN) |
		some(f.InnerVLAN != 0, cInnerVLAN) | some(f.Service != "", cProtocol)
}

func some(yes bool, c coreField) uint64 {
	if yes {
		return 1 << c
	}
	return 0
}

func (e *Event) core(c coreField) Value {
	f := &e.Flow
	switch c {
	case cTimestamp:
		return Time(e.Time)
	case cID:
		if e.ID.IsZero() {
			return Value{}
		}
		return Str(e.ID.String())
	case cKind:
		switch e.Kind {
		case KindAlert:
			return Str("alert")
		case KindLedger, KindTap:
			return Str("metric")
		}
		return Str("event")
	case cCategory:
		if e.Kind == KindAlert {
			return Str("intrusion_detection")
		}
		return Str("network")
	case cType:
		switch e.Kind {
		case KindAlert:
			return Str("indicator")
		case KindLedger, KindTap:
			return Str("info")
		case KindFlow, KindFlood:
			return Str("connection")
		}
		return Str("protocol")
	case cDataset:
		return Str(dataset(e.Kind))
	case cStart:
		return timeValue(f.Start)
	case cEnd:
		return timeValue(f.End)
	case cDuration:
		if f.Start.IsZero() || f.End.IsZero() {
			return Value{}
		}
		return Int(int64(f.End.Sub(f.Start)))
	case cObserver:
		return strValue(e.Sensor)
	case cIface:
		return strValue(e.Iface)
	case cSrcIP:
		return IP(f.Src.IP)
	case cDstIP:
		return IP(f.Dst.IP)
	case cSrcMAC:
		return macValue(f.Src.MAC)
	case cDstMAC:
		return macValue(f.Dst.MAC)
	case cSrcPort:
		return f.port(f.Src.Port)
	case cDstPort:
		return f.port(f.Dst.Port)
	case cTransport:
		return transport(f.Transport)
	case cNetType:
		switch {
		case !f.Src.IP.IsValid():
			return Value{}
		case f.Src.IP.Is4():
			return Str("ipv4")
		}
		return Str("ipv6")
	case cCommunityID:
		return strValue(f.CommunityID)
	case cVLAN:
		return numValue(uint64(f.VLAN))
	case cInnerVLAN:
		return numValue(uint64(f.InnerVLAN))
	case cProtocol:
		return strValue(f.Service)
	}
	if e.Kind != KindFlow {
		return Value{} // see flowFields
	}
	switch c {
	case cSrcBytes:
		return Uint(f.Src.Bytes)
	case cDstBytes:
		return Uint(f.Dst.Bytes)
	case cNetBytes:
		return Uint(f.Src.Bytes + f.Dst.Bytes)
	case cSrcPackets:
		return Uint(f.Src.Packets)
	case cDstPackets:
		return Uint(f.Dst.Packets)
	case cNetPackets:
		return Uint(f.Src.Packets + f.Dst.Packets)
	case cSrcPayload:
		return Uint(f.Src.Payload)
	case cDstPayload:
		return Uint(f.Dst.Payload)
	case cState:
		return strValue(f.State)
	case cHistory:
		return strValue(f.History)
	case cEndReason:
		return strValue(f.EndReason)
	}
	return Value{}
}

const datasetPrefix = "tocsin."

func dataset(k Kind) string {
	switch k { // the most frequent ones, so that a look-up does not allocate
	case KindFlow:
		return "tocsin.flow"
	case KindAlert:
		return "tocsin.alert"
	case "dns":
		return "tocsin.dns"
	case "http":
		return "tocsin.http"
	case "tls":
		return "tocsin.tls"
	case "ssh":
		return "tocsin.ssh"
	case "modbus":
		return "tocsin.modbus"
	}
	return datasetPrefix + string(k)
}

func strValue(s string) Value {
	if s == "" {
		return Value{}
	}
	return Str(s)
}

func numValue(n uint64) Value {
	if n == 0 {
		return Value{}
	}
	return Uint(n)
}

func timeValue(t time.Time) Value {
	if t.IsZero() {
		return Value{}
	}
	return Time(t)
}

// IP protocol numbers that the house speaks of by name.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// port of a transport that has ports, or whose type and code stand for them.
func (f *Flow) port(p uint16) Value {
	switch f.Transport {
	case ProtoTCP, ProtoUDP, ProtoSCTP, ProtoICMP, ProtoICMPv6:
		return Uint(uint64(p))
	}
	return numValue(uint64(p))
}

func transport(p uint8) Value {
	switch p {
	case 0:
		return Value{}
	case ProtoTCP:
		return Str("tcp")
	case ProtoUDP:
		return Str("udp")
	case ProtoICMP:
		return Str("icmp")
	case ProtoICMPv6:
		return Str("ipv6-icmp")
	case ProtoSCTP:
		return Str("sctp")
	}
	return Str(strconv.Itoa(int(p)))
}

func macValue(m MAC) Value {
	if m == (MAC{}) {
		return Value{}
	}
	return Str(m.String())
}

// String returns the address as ECS asks (RFC 7042): upper-case pairs with hyphens.
func (m MAC) String() string { return string(m.append(make([]byte, 0, 17))) }

func (m MAC) append(b []byte) []byte {
	const digits = "0123456789ABCDEF"
	text := [...]byte{
		digits[m[0]>>4], digits[m[0]&15], '-', digits[m[1]>>4], digits[m[1]&15], '-', digits[m[2]>>4], digits[m[2]&15], '-',
		digits[m[3]>>4], digits[m[3]&15], '-', digits[m[4]>>4], digits[m[4]&15], '-', digits[m[5]>>4], digits[m[5]&15],
	}
	return append(b, text[:]...)
}
