// Package flow keeps the table of flows: who talks to whom, how much, and what
// became of it. A Record is bidirectional; its originator is who sent the
// first packet, unless the packets say otherwise. States and history are those
// of Zeek's conn.log (https://docs.zeek.org, base/protocols/conn), so that
// analysts find what they know.
//
// Everything that ends or reports a flow is decided on the clock that the
// caller advances, never on the machine's; the same packets make the same
// records.
package flow

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Config bounds a table and says when a flow is over. Timeouts are by packet
// time; the defaults are Zeek's.
type Config struct {
	// MaxFlows is how many flows are tracked at a time. At the bound, flows are
	// ended to make room: first connections that were asked for and nothing
	// more, the oldest of them first, and then what would time out soonest, so
	// that closed connections go before established ones.
	MaxFlows int
	// TCPAttempt is how long after the first SYN an answer may come.
	TCPAttempt time.Duration
	// TCPInactive is how long a connection may be silent.
	TCPInactive time.Duration
	// TCPClosed is how long after its end a connection's late packets are
	// still counted to it.
	TCPClosed time.Duration
	// UDP, ICMP and Other are how long flows of these transports may be silent.
	UDP, ICMP, Other time.Duration
	// Active is after how long a flow that goes on is reported, again and again.
	Active time.Duration
	// TCPServers and UDPServers are ports that the responder of a flow
	// probably has. They orient flows whose beginning was not seen.
	TCPServers, UDPServers []uint16
	// Memory, if it is set, is shared with other tables of the same goroutine.
	// Whoever made it releases it.
	Memory *Memory
}

// DefaultConfig returns a table for a link of some hundred Mbit/s.
func DefaultConfig() Config {
	return Config{
		MaxFlows:    200_000,
		TCPAttempt:  5 * time.Second,
		TCPInactive: 5 * time.Minute,
		TCPClosed:   5 * time.Second,
		UDP:         time.Minute,
		ICMP:        time.Minute,
		Other:       time.Minute,
		Active:      time.Hour,
		TCPServers: []uint16{21, 22, 23, 25, 53, 80, 81, 88, 102, 110, 139, 143, 389, 443, 445, 465, 502, 587, 631, 636,
			853, 989, 990, 993, 995, 1080, 1433, 1521, 1883, 2404, 3128, 3268, 3306, 3389, 4840, 5060, 5222, 5269, 5432,
			5900, 6379, 6667, 8000, 8080, 8443, 8883, 8888, 9200, 20000, 44818},
		UDPServers: []uint16{53, 67, 69, 88, 123, 137, 161, 162, 389, 443, 500, 514, 1812, 1813, 2123, 2152, 2222, 3544, 4500, 4789,
			5060, 5353, 5355, 6081, 20000, 44818, 47808},
	}
}

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	if c.MaxFlows < 1 || c.MaxFlows > 1<<28 {
		return fmt.Errorf("max_flows is %d: want 1 to %d", c.MaxFlows, 1<<28)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"tcp_attempt", c.TCPAttempt}, {"tcp_inactive", c.TCPInactive}, {"tcp_closed", c.TCPClosed},
		{"udp", c.UDP}, {"icmp", c.ICMP}, {"other", c.Other}, {"active", c.Active},
	} {
		if d.d < time.Second {
			return fmt.Errorf("timeout %s is %v: want at least 1s", d.name, d.d)
		}
	}
	return nil
}

// Reason says why a record is reported.
type Reason uint8

// Reasons.
const (
	Fin     Reason = iota // closed by its ends
	Rst                   // reset
	Idle                  // silent for too long, or succeeded by another connection of the same ports
	Active                // goes on; an interim report
	Evicted               // the table was full
	EOF                   // no more packets
)

// String returns the reason as tocsin.flow.end_reason has it.
func (r Reason) String() string {
	return [...]string{"fin", "rst", "idle", "active", "evicted", "eof"}[r]
}

// key is what packets of one flow have in common, whichever way they go: in
// words, which are compared and hashed as such.
type key struct {
	pair
	what what
}

// pair are two ends.
type pair struct {
	ip   [4]uint64 // of either side, IPv4 mapped into IPv6, in the order of numbers
	ends uint64    // port of either side, VLAN, inner VLAN
}

func (p *pair) port(side int) uint16 { return uint16(p.ends >> (48 - 16*side)) }
func (p *pair) vlan() uint16         { return uint16(p.ends >> 16) }
func (p *pair) inner() uint16        { return uint16(p.ends) }

// what is interface, protocol, and version; it is not zero.
type what uint32

// oneWay is set in the version of an ICMP message that has no answer.
const oneWay = 0x80

func (w what) iface() uint16  { return uint16(w >> 16) }
func (w what) proto() uint8   { return uint8(w >> 8) }
func (w what) version() uint8 { return uint8(w) &^ oneWay }

// mapped is before an IPv4 address that is written as an IPv6 one (RFC 4291,
// section 2.5.5.2).
const mapped = 0xffff << 32

// set makes the key of a packet's flow. It returns which of the key's two sides
// sent it: the one with the smaller address is the first, unless the packet is
// the only kind that such a flow has.
func (k *key) set(p *packet.Packet) (side int) {
	var srcHigh, srcLow, dstHigh, dstLow uint64
	if p.IPVersion == 4 && p.Src.Is4() && p.Dst.Is4() {
		src, dst := p.Src.As4(), p.Dst.As4()
		srcLow = mapped | uint64(binary.BigEndian.Uint32(src[:]))
		dstLow = mapped | uint64(binary.BigEndian.Uint32(dst[:]))
	} else {
		src, dst := p.Src.As16(), p.Dst.As16()
		srcHigh, srcLow = binary.BigEndian.Uint64(src[:8]), binary.BigEndian.Uint64(src[8:])
		dstHigh, dstLow = binary.BigEndian.Uint64(dst[:8]), binary.BigEndian.Uint64(dst[8:])
	}
	k.what = what(uint16(p.Iface))<<16 | what(p.Proto)<<8 | what(p.IPVersion)
	srcPort, dstPort := uint64(p.SrcPort), uint64(p.DstPort)
	first := srcHigh < dstHigh || srcHigh == dstHigh && (srcLow < dstLow || srcLow == dstLow && srcPort <= dstPort)
	if p.OneWay {
		k.what |= oneWay
		first = true
	}
	if first {
		k.ip = [4]uint64{srcHigh, srcLow, dstHigh, dstLow}
	} else {
		side = 1
		k.ip = [4]uint64{dstHigh, dstLow, srcHigh, srcLow}
		srcPort, dstPort = dstPort, srcPort
	}
	k.ends = srcPort<<48 | dstPort<<32 | uint64(p.VLAN)<<16 | uint64(p.InnerVLAN)
	return side
}

// side is what one end sent. It has the size of a cache line.
type side struct {
	packets        uint64
	bytes          uint64
	payload        uint64
	minTTL, maxTTL uint8
	flags          uint8 // of TCP, of all packets
	tcp            endpoint
}

// maxHistory bounds the letters of a record: the ones that may repeat without
// limit are S, H, F and R, each with another sequence number.
const maxHistory = 28

// Record is one flow. It belongs to its Table and is valid until the table has
// reported its end.
//
// What every packet needs is in three of its six cache lines: the flow, and
// either side. The others are for the first packets, and for the end.
type Record struct {
	pair
	what       what
	orig       uint8 // which side is the originator
	closed     bool
	historyLen uint8
	// Mark is the caller's, zero at first.
	Mark  uint8
	now   int64 // last packet, on the table's clock
	last  int64 // last packet, nanoseconds since 1970
	sides [2]side

	start    int64  // first packet, nanoseconds since 1970
	since    int64  // first packet, or once it is closed its end, on the table's clock
	active   int64  // when the next interim report is due
	due      int64  // second in whose wheel slot it is
	reported uint64 // packets in the last interim report
	hash     uint32
	ticket   uint32 // of its entry there; 0 once it has ended

	// Slot is a small number that no other live flow of the table has.
	Slot uint32
	// Reports is how many interim reports were made.
	Reports uint32
	// Generation tells flows of the same ends apart that began in the same
	// nanosecond of a coarse clock: how many came directly before.
	Generation  uint32
	history     [maxHistory]byte
	rtt         [2]uint32 // nanoseconds; see Facts
	retransmits [2]uint32
	gaps        [2]uint32
	windows     [2]uint32 // TCP segments that forbade the peer to send
	mac         [2]event.MAC
	syn         [2]SYN
	birth       uint32 // of its entry in Table.opening
	tunnelled   bool   // Table.tunnels knows more
	_           [23]byte
}

func (r *Record) is(k *key) bool {
	return (r.ip[0]^k.ip[0])|(r.ip[1]^k.ip[1])|(r.ip[2]^k.ip[2])|(r.ip[3]^k.ip[3])|(r.ends^k.ends)|uint64(r.what^k.what) == 0
}

func (r *Record) addr(side int) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], r.ip[2*side])
	binary.BigEndian.PutUint64(b[8:], r.ip[2*side+1])
	a := netip.AddrFrom16(b)
	if r.what.version() == 4 {
		a = a.Unmap()
	}
	return a
}

// Dir is the direction of what the given side sends.
func (r *Record) Dir(side int) proto.Dir { return proto.Dir(uint8(side) ^ r.orig) }

// Side is the side that sends in the given direction.
func (r *Record) Side(d proto.Dir) int { return int(uint8(d) ^ r.orig) }

// Transport is the IP protocol number.
func (r *Record) Transport() uint8 { return r.what.proto() }

// Port is the port of a side.
func (r *Record) Port(side int) uint16 { return r.port(side) }

// Last is when the last packet came; see Flow.
func (r *Record) Last() time.Time { return time.Unix(0, r.last).UTC() }

// Bytes are those of the IP packets of both sides.
func (r *Record) Bytes() uint64 { return r.sides[0].bytes + r.sides[1].bytes }

// Iface is the index of the interface that the flow was seen on.
func (r *Record) Iface() int { return int(r.what.iface()) }

func (r *Record) endpoint(side int) event.Endpoint {
	return event.Endpoint{IP: r.addr(side), Port: r.port(side), MAC: r.mac[side]}
}

// Tuple returns what every event of the flow says of it: addresses, ports and
// start.
func (r *Record) Tuple() event.Flow {
	o := int(r.orig)
	return event.Flow{
		Src: r.endpoint(o), Dst: r.endpoint(o ^ 1), Transport: r.what.proto(),
		VLAN: r.vlan(), InnerVLAN: r.inner(),
		Start: time.Unix(0, r.start).UTC(),
	}
}

// SYN returns the sequence number of the first byte that a side sends over
// TCP, if its SYN was seen.
func (r *Record) SYN(side int) (first uint32, ok bool) {
	e := &r.sides[side].tcp
	return e.start + 1, e.letters&sawSYN != 0
}

// Flow returns what a flow event says, except for CommunityID, Service and
// EndReason.
//
// As in Zeek, a TCP connection ends, for its duration, with the packet that
// closed its second half; the acknowledgement after that is counted only.
// Other than Zeek's orig_bytes and resp_bytes, which are differences of
// sequence numbers, Payload counts what packets carried by their headers:
// retransmitted bytes twice, bytes never captured not at all.
func (r *Record) Flow() event.Flow {
	f := r.Tuple()
	f.End = time.Unix(0, r.last).UTC()
	for _, x := range []struct {
		e *event.Endpoint
		s *side
	}{{&f.Src, &r.sides[r.orig]}, {&f.Dst, &r.sides[r.orig^1]}} {
		x.e.Packets, x.e.Bytes, x.e.Payload = x.s.packets, x.s.bytes, x.s.payload
	}
	f.State, f.History = r.State(), string(r.history[:r.historyLen])
	return f
}

// Sums returns what both sides have sent so far; see event.Endpoint.
func (r *Record) Sums() (packets, bytes, payload uint64) {
	a, b := &r.sides[0], &r.sides[1]
	return a.packets + b.packets, a.bytes + b.bytes, a.payload + b.payload
}

// HalfOpen reports whether all that was seen of a connection is that it was asked
// for, and maybe answered or refused.
func (r *Record) HalfOpen() bool {
	return r.what.proto() == packet.ProtoTCP && r.sides[r.orig].tcp.letters == sawSYN &&
		r.sides[r.orig^1].tcp.letters&^(sawSYN|sawRST|sawACK) == 0 && r.sides[r.orig^1].payload == 0 && r.sides[r.orig].payload == 0
}

// Answer reports whether a half-open connection was agreed to, or refused.
func (r *Record) Answer() (agreed, refused bool) {
	p := r.sides[r.orig^1].tcp.letters
	return p&sawSYN != 0, p&sawRST != 0
}

// Responder is to whom a flow goes.
func (r *Record) Responder() (ip netip.Addr, port, vlan, inner uint16) {
	s := int(r.orig ^ 1)
	return r.addr(s), r.port(s), r.vlan(), r.inner()
}

// Originator is the address that a flow comes from.
func (r *Record) Originator() netip.Addr { return r.addr(int(r.orig)) }

// Span is when the first packet came, and the last, in nanoseconds since 1970.
func (r *Record) Span() (first, last int64) { return r.start, r.last }

// State is Zeek's conn_state.
func (r *Record) State() string {
	o, p := &r.sides[r.orig], &r.sides[r.orig^1]
	switch r.what.proto() {
	case packet.ProtoTCP:
		return connState(&o.tcp, &p.tcp, r.history[:r.historyLen])
	case packet.ProtoUDP:
		switch {
		case o.packets > 0 && p.packets > 0:
			return "SF"
		case o.packets > 0:
			return "S0"
		}
		return "SHR"
	}
	return "OTH"
}

// letter appends to the history: as it is for the originator, in lower case
// for the responder.
func (r *Record) letter(side int, c byte) {
	if uint8(side) != r.orig {
		c |= 0x20
	}
	r.note(c)
}

func (r *Record) note(c byte) {
	if r.historyLen < maxHistory {
		r.history[r.historyLen] = c
		r.historyLen++
	}
}

// scaled counts what is noted on a logarithmic scale: the first time, the
// tenth, the hundredth …
func (r *Record) scaled(side int, n *uint32, c byte) {
	*n++
	for t := uint32(1); t != 0 && t <= *n; t *= 10 {
		if t == *n {
			r.letter(side, c)
		}
	}
}

// Gap says that bytes from a side were never captured although they were
// received: it is noted for a connection that is in order otherwise.
func (r *Record) Gap(side int) {
	e, p := &r.sides[side].tcp, &r.sides[side^1].tcp
	if e.clean() && p.clean() {
		r.scaled(side, &r.gaps[side], 'G')
	}
}
