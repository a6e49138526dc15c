package acceptance

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/sensor/packet"
)

// maxOrdered bounds the connections whose order is looked at.
const maxOrdered = 1 << 15

// overtakeWindow is how far apart a segment and one that overtook it come. What
// is sent again comes later: see copyWindow.
const overtakeWindow = 100 * time.Millisecond

// order finds TCP segments that were captured later than others which were
// sent after them. What was lost before the tap and sent again comes late too,
// but in a younger packet: its IP identification or its TCP time stamp is
// greater.
type order struct {
	talks    map[ends]*sequence
	segments uint64 // with data
	overtook uint64 // of these, captured after a later one of the same side
	late     uint64 // of these, captured after their acknowledgement
	// lateBytes is what the stream had given up when it came.
	lateBytes uint64
	answered  uint64 // connections of which both sides were seen
}

// ends are the two ends of a connection, in their own order.
type ends struct{ a, b netip.AddrPort }

type sequence struct {
	sides    [2]progress
	answered bool
}

// progress is how far one side is.
type progress struct {
	seen     bool
	at       int64  // when it was captured
	next     uint32 // behind the last byte captured
	id       uint16 // of the packet that was the last then
	stamp    uint32 // likewise, of TCP
	confirms uint32 // what the side has acknowledged of the other
	hasAck   bool
}

func newOrder() order { return order{talks: map[ends]*sequence{}} }

func (o *order) packet(p *packet.Packet, outcome packet.Outcome) {
	if outcome != packet.OK || p.IPVersion == 0 || p.Proto != packet.ProtoTCP || p.Fragment {
		return
	}
	k, side := ends{netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)}, 0
	if k.a.Compare(k.b) > 0 {
		k.a, k.b, side = k.b, k.a, 1
	}
	t := o.talks[k]
	fresh := p.TCP.Flags&packet.SYN != 0 && p.TCP.Flags&packet.ACK == 0
	if p.TCP.Flags&packet.RST != 0 {
		delete(o.talks, k)
		return
	}
	if t == nil {
		if len(o.talks) >= maxOrdered {
			return
		}
		t = new(sequence)
		o.talks[k] = t
	} else if fresh && t.sides[side].seen && t.sides[side].next != p.TCP.Seq+1 {
		*t = sequence{} // another connection of the same ports
	}
	me, peer := &t.sides[side], &t.sides[side^1]
	if peer.seen && !t.answered {
		t.answered = true
		o.answered++
	}
	end := p.TCP.Seq + uint32(p.PayloadLen)
	if p.TCP.Flags&packet.SYN != 0 {
		end++
	}
	at := p.Time.UnixNano()
	stamp := timestamp(p.TCP.Options)
	if p.PayloadLen > 0 && me.seen {
		o.segments++
		confirmed := peer.hasAck && int32(peer.confirms-end) >= 0
		behind := int32(end-me.next) <= 0
		overtaken := behind && at-me.at < int64(overtakeWindow) && older(p.ID, me.id, stamp, me.stamp)
		if overtaken {
			o.overtook++
		}
		if confirmed && (overtaken || !behind) {
			o.late++
			o.lateBytes += uint64(p.PayloadLen)
		}
	}
	if !me.seen || int32(end-me.next) > 0 {
		*me = progress{seen: true, at: at, next: end, id: p.ID, stamp: stamp, confirms: me.confirms, hasAck: me.hasAck}
	}
	if p.TCP.Flags&packet.ACK != 0 && (!me.hasAck || int32(p.TCP.Ack-me.confirms) > 0) {
		me.hasAck, me.confirms = true, p.TCP.Ack
	}
}

// older reports whether a packet was sent before another of the same sender.
// Senders count their packets up (RFC 6864 does not ask for it, all do), or
// leave the number out.
func older(id, than uint16, stamp, thanStamp uint32) bool {
	if stamp != 0 && thanStamp != 0 && stamp != thanStamp {
		return int32(stamp-thanStamp) < 0
	}
	return id != 0 && than != 0 && int16(id-than) < 0
}

// timestamp is the sender's time in a TCP header (RFC 7323), or 0.
func timestamp(options []byte) uint32 {
	for opt, rest, ok := packet.NextOption(options); ok; opt, rest, ok = packet.NextOption(rest) {
		if opt.Kind == packet.OptionTimestamps && len(opt.Data) == 8 {
			return binary.BigEndian.Uint32(opt.Data)
		}
	}
	return 0
}
