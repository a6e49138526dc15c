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
	// MaxFlows is how many flows are tracked at a time. At the bound the flow
	// that would time out soonest is ended to make room: attempts without an
	// answer and closed connections go before answered and established ones.
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

// key is what packets of one flow have in common, whichever way they go.
type key struct {
	ip          [2][16]byte // IPv4 addresses mapped into IPv6
	port        [2]uint16
	vlan, inner uint16
	iface       uint16
	proto       uint8
	version     uint8 // 4 or 6; 0x80 is set for an ICMP message that has no answer
}

const oneWay = 0x80

// makeKey returns the key of a packet's flow, and which of the key's two sides
// sent it.
func makeKey(p *packet.Packet) (k key, side int) {
	src, dst := p.Src.As16(), p.Dst.As16()
	k.vlan, k.inner, k.iface, k.proto, k.version = p.VLAN, p.InnerVLAN, uint16(p.Iface), p.Proto, p.IPVersion
	if p.OneWay {
		k.version |= oneWay
	} else if c := p.Dst.Compare(p.Src); c < 0 || c == 0 && p.DstPort < p.SrcPort {
		side = 1
	}
	k.ip[side], k.ip[side^1] = src, dst
	k.port[side], k.port[side^1] = p.SrcPort, p.DstPort
	return k, side
}

// side is what one end sent.
type side struct {
	packets        uint64
	bytes          uint64
	payload        uint64
	mac            event.MAC
	minTTL, maxTTL uint8
	tcp            endpoint
}

// maxHistory bounds the letters of a record: the ones that may repeat without
// limit are S, H, F and R, each with another sequence number.
const maxHistory = 28

// Record is one flow. It belongs to its Table and is valid until the table has
// reported its end.
type Record struct {
	// What every packet looks at comes first, so that it shares cache lines.
	key        key
	orig       uint8 // which side is the originator
	closed     bool
	used       bool
	tunnelled  bool // Table.tunnels knows more
	historyLen uint8
	// Mark is the caller's, zero at first.
	Mark uint8

	now   int64 // last packet, on the table's clock
	last  int64 // last packet, nanoseconds since 1970
	sides [2]side

	start    int64  // first packet, nanoseconds since 1970
	since    int64  // first packet, or once it is closed its end, on the table's clock
	active   int64  // when the next interim report is due
	reported uint64 // packets in the last interim report
	due      int64  // second in whose wheel slot it is
	prev     uint32 // in the wheel slot: slot plus one
	next     uint32 // likewise, or in the free list
	hash     uint32

	// Slot is a small number that no other live flow of the table has.
	Slot uint32
	// Reports is how many interim reports were made.
	Reports uint32
	// Generation tells flows of the same ends apart that began in the same
	// nanosecond of a coarse clock: how many came directly before.
	Generation uint32
	history    [maxHistory]byte
	rtt        [2]uint32 // nanoseconds; see Facts
	syn        [2]SYN
}

// Dir is the direction of what the given side sends.
func (r *Record) Dir(side int) proto.Dir { return proto.Dir(uint8(side) ^ r.orig) }

// Side is the side that sends in the given direction.
func (r *Record) Side(d proto.Dir) int { return int(uint8(d) ^ r.orig) }

// Transport is the IP protocol number.
func (r *Record) Transport() uint8 { return r.key.proto }

// Port is the port of a side.
func (r *Record) Port(side int) uint16 { return r.key.port[side] }

// Last is when the last packet came; see Flow.
func (r *Record) Last() time.Time { return time.Unix(0, r.last).UTC() }

// Iface is the index of the interface that the flow was seen on.
func (r *Record) Iface() int { return int(r.key.iface) }

func (r *Record) addr(side int) netip.Addr {
	a := netip.AddrFrom16(r.key.ip[side])
	if r.key.version&^oneWay == 4 {
		a = a.Unmap()
	}
	return a
}

func (r *Record) endpoint(side int) event.Endpoint {
	s := &r.sides[side]
	return event.Endpoint{IP: r.addr(side), Port: r.key.port[side], MAC: s.mac}
}

// Tuple returns what every event of the flow says of it: addresses, ports and
// start.
func (r *Record) Tuple() event.Flow {
	o := int(r.orig)
	return event.Flow{
		Src: r.endpoint(o), Dst: r.endpoint(o ^ 1), Transport: r.key.proto,
		VLAN: r.key.vlan, InnerVLAN: r.key.inner,
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

// State is Zeek's conn_state.
func (r *Record) State() string {
	o, p := &r.sides[r.orig], &r.sides[r.orig^1]
	switch r.key.proto {
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
		r.scaled(side, &e.gaps, 'G')
	}
}
