// Package packet reads the headers of captured packets: Ethernet and other
// link layers, VLAN tags, IPv4, IPv6 with its extension headers, TCP, UDP,
// ICMP, SCTP and ARP, and what tunnels carry: IP in IP, GRE, VXLAN and others;
// see Tunnel. It puts datagrams together from their fragments.
//
// Decoding allocates nothing: a Decoder fills a Packet that the caller owns,
// and every slice in it points into the captured bytes.
package packet

import (
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Packet is what the headers of one captured packet say, or of one datagram
// that was put together from fragments. Slices point into the captured bytes
// and are valid until the next call of Source.Next or Decoder.Decode.
//
// A packet with IPVersion 0 and EtherType ARP has ARP set; any other packet
// with IPVersion 0 is a frame of a protocol that does not use IP, such as
// GOOSE or PROFINET, and Payload is what follows its EtherType. It may have
// been in a tunnel over UDP, whose headers are in Outer.
type Packet struct {
	Time     time.Time
	Iface    int   // index into Source.Interfaces
	Offset   int64 // of the captured bytes, as capture.Packet has it; of a datagram its last fragment's
	Length   int   // bytes on the wire; of a datagram the sum of its fragments
	Captured int   // bytes captured; of a datagram the sum of its fragments

	// Link layer, of the outermost frame.
	SrcMAC, DstMAC event.MAC
	VLAN           uint16 // identifier in the outermost tag, 0 if there is none
	InnerVLAN      uint16 // identifier in the second tag, 0 if there is none
	EtherType      uint16 // of what was decoded last; 0 for an 802.3 frame without SNAP

	// IP, of the innermost header where IP is carried in IP.
	IPVersion   uint8  // 4, 6, or 0 for none
	Proto       uint8  // IP protocol number above the last header that was read
	TTL         uint8  // IPv4 time to live, IPv6 hop limit
	TOS         uint8  // IPv4 type of service, IPv6 traffic class
	ID          uint16 // IPv4 identification, 0 for IPv6
	Tunnel      Tunnel
	BadChecksum bool // the checksum of an IPv4 header is wrong
	Truncated   bool // fewer bytes were captured than the headers promise
	Fragment    bool // a fragment; has neither ports nor flags, Payload is its part of the IP payload
	Fragments   int  // how many captured packets the datagram was put together from, 0 if it was never cut
	IPLen       int  // length of the IP datagram, headers included
	Src, Dst    netip.Addr

	// Outer are the tunnels that the packet was in and that have addresses of
	// their own, outermost first. It is valid until the next call of Decode.
	Outer []Layer

	// SrcPort and DstPort are set for TCP, UDP and SCTP. For ICMP and ICMPv6
	// they pair requests with replies as Zeek does: SrcPort is the type, and
	// DstPort the type of the answer to it, or the code where OneWay is set.
	SrcPort, DstPort uint16
	OneWay           bool // an ICMP message that has no answer, such as unreachable

	TCP  TCP
	ICMP ICMP
	ARP  ARP

	// Payload is what follows the transport header, or the IP header where the
	// transport is not known, without the padding of the frame.
	Payload []byte
	// PayloadLen is the payload's length by the headers. It exceeds
	// len(Payload) when the capture cut the packet.
	PayloadLen int

	frag     fragment
	depth    uint8 // IP headers and nested frames read so far
	uncommon bool  // Decode filled it in: there may be more in it than Common sets anew
}

// TCP is a TCP header (RFC 9293, section 3.1). It is set if Proto is 6.
type TCP struct {
	Seq, Ack uint32
	Window   uint16
	Flags    uint8  // FIN, SYN, …
	Options  []byte // as on the wire; see NextOption
}

// Flags of TCP.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// ICMP is the header of ICMP (RFC 792) or ICMPv6 (RFC 4443). It is set if Proto
// is 1 or 58.
type ICMP struct {
	Type, Code uint8
	ID, Seq    uint16 // of echo messages; of others whatever is in their place
}

// ARP is an ARP message for IPv4 over Ethernet (RFC 826).
type ARP struct {
	Op                   uint16 // 1 request, 2 reply; 0 if the packet is not ARP
	SenderMAC, TargetMAC event.MAC
	SenderIP, TargetIP   netip.Addr
}

// EtherTypes that the decoder knows.
const (
	EtherTypeIPv4      = 0x0800
	EtherTypeARP       = 0x0806
	EtherTypeVLAN      = 0x8100 // 802.1Q
	EtherTypeIPv6      = 0x86dd
	EtherTypeMPLS      = 0x8847
	EtherTypeMPLSMulti = 0x8848
	EtherTypePPPoE     = 0x8864 // the session stage
	EtherTypeQinQ      = 0x88a8 // 802.1ad
	EtherTypeVNTag     = 0x8926 // of virtual interfaces, before 802.1Qbh was written
	EtherTypeQinQOld   = 0x9100 // before 802.1ad was written
	EtherTypeTEB       = 0x6558 // Ethernet in GRE, Geneve
	EtherTypeERSPAN    = 0x88be // types I and II, in GRE
	EtherTypeERSPAN3   = 0x22eb // type III
	EtherTypeHSR       = 0x892f // the tag of a seamless ring: IEC 62439-3
)

// IP protocol numbers that the decoder knows.
const (
	ProtoHopByHop = 0
	ProtoICMP     = 1
	ProtoIPv4     = 4
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoIPv6     = 41
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoGRE      = 47
	ProtoESP      = 50
	ProtoAH       = 51
	ProtoICMPv6   = 58
	ProtoNone     = 59
	ProtoDestOpts = 60
	ProtoL2TP     = 115
	ProtoSCTP     = 132
	ProtoMobility = 135
	ProtoHIP      = 139
	ProtoShim6    = 140
)

// TCPOption is one option of a TCP header: its kind, and its data without kind
// and length.
type TCPOption struct {
	Kind uint8
	Data []byte
}

// Kinds of TCP options.
const (
	OptionMSS           = 2
	OptionWindowScale   = 3
	OptionSACKPermitted = 4
	OptionTimestamps    = 8
)

// NextOption cuts the first option from a TCP header's options, skipping
// padding. It returns false at the end of the list, or where the list is broken.
func NextOption(options []byte) (opt TCPOption, rest []byte, ok bool) {
	for len(options) > 0 && options[0] == 1 { // no operation
		options = options[1:]
	}
	if len(options) < 2 || options[0] == 0 { // end of list
		return TCPOption{}, nil, false
	}
	n := int(options[1])
	if n < 2 || n > len(options) {
		return TCPOption{}, nil, false
	}
	return TCPOption{options[0], options[2:n]}, options[n:], true
}

// Outcome is what became of a captured packet.
type Outcome uint8

// Outcomes. Of the packets that are neither OK nor Held only the headers
// before the fault are decoded, and nobody should look further at them.
const (
	OK              Outcome = iota // decoded, maybe without all of its payload: see Packet.Truncated
	Held                           // a fragment that waits for the rest of its datagram
	UnknownLink                    // a link type that the decoder does not know
	TruncatedLink                  // ends within the link layer's header, a tag or a label
	BadLink                        // a link-layer or tunnel header that contradicts itself
	TruncatedIP                    // ends within the IP header or an extension header
	BadIPHeader                    // wrong version, or lengths that contradict each other
	BadIPLength                    // the IP header promises more than was on the wire
	BadIPChecksum                  // the IPv4 header's checksum is wrong; only if Decoder.DropBadChecksums
	TruncatedL4                    // captured only up to within the transport header
	BadL4Header                    // no room for the transport header, or lengths that contradict each other
	BadL4Checksum                  // TCP or UDP checksum is wrong; only if Decoder.DropBadChecksums
	TooDeep                        // more tags, extension headers or nested IP headers than the decoder follows
	FragmentDropped                // a fragment that cannot belong to a datagram; Defrag.Counters says why
	numOutcomes
)

var outcomes = [numOutcomes]string{
	OK:              "ok",
	Held:            "fragment_held",
	UnknownLink:     "unknown_link_type",
	TruncatedLink:   "truncated_link_header",
	BadLink:         "bad_link_header",
	TruncatedIP:     "truncated_ip_header",
	BadIPHeader:     "bad_ip_header",
	BadIPLength:     "bad_ip_length",
	BadIPChecksum:   "bad_ip_checksum",
	TruncatedL4:     "truncated_transport_header",
	BadL4Header:     "bad_transport_header",
	BadL4Checksum:   "bad_transport_checksum",
	TooDeep:         "too_many_headers",
	FragmentDropped: "fragment_dropped",
}

// String returns the outcome's name in the ledger.
func (o Outcome) String() string { return outcomes[o] }
