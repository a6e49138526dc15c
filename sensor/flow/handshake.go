package flow

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
)

// maxOptions is how many options of a SYN are kept; systems send up to eight.
const maxOptions = 10

// SYN is what a side offered when a connection began. Systems and programs
// differ in it. The zero value is that of a side whose SYN was not seen.
type SYN struct {
	Window uint16
	MSS    uint16 // 0 without the option
	Scale  uint8  // of the window, as a power of two
	// Options are the kinds in their order, padding included; Count says how
	// many are valid.
	Count   uint8
	Options [maxOptions]uint8
}

// Seen reports whether there was a SYN.
func (s *SYN) Seen() bool { return *s != SYN{} }

// String writes what p0f calls a signature's mss, wsize, scale and olayout:
// "1460:64240,7:mss,sok,ts,nop,ws".
func (s *SYN) String() string {
	b := strconv.AppendUint(make([]byte, 0, 48), uint64(s.MSS), 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, uint64(s.Window), 10)
	b = append(b, ',')
	b = strconv.AppendUint(b, uint64(s.Scale), 10)
	for i, kind := range s.Options[:s.Count] {
		if i == 0 {
			b = append(b, ':')
		} else {
			b = append(b, ',')
		}
		switch kind {
		case 0:
			b = append(b, "eol"...)
		case 1:
			b = append(b, "nop"...)
		case packet.OptionMSS:
			b = append(b, "mss"...)
		case packet.OptionWindowScale:
			b = append(b, "ws"...)
		case packet.OptionSACKPermitted:
			b = append(b, "sok"...)
		case packet.OptionTimestamps:
			b = append(b, "ts"...)
		default:
			b = strconv.AppendUint(append(b, '?'), uint64(kind), 10)
		}
	}
	return string(b)
}

// readSYN reads a header's window and options, as far as they are sound.
func readSYN(h *packet.TCP) SYN {
	s := SYN{Window: h.Window}
	for b := h.Options; len(b) > 0 && s.Count < maxOptions; {
		kind, n := b[0], 1
		if kind > 1 {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				break
			}
			n = int(b[1])
		}
		switch {
		case kind == packet.OptionMSS && n == 4:
			s.MSS = binary.BigEndian.Uint16(b[2:])
		case kind == packet.OptionWindowScale && n == 3:
			s.Scale = b[2]
		}
		s.Options[s.Count] = kind
		s.Count++
		if kind == 0 {
			break
		}
		b = b[n:]
	}
	return s
}

// handshake takes the times of a connection's first three packets, if they are
// SYN, SYN-ACK and ACK; where one was repeated, nobody knows which of them was
// answered. It is called with each of the first three packets of a record.
func (r *Record) handshake(s int, p *packet.Packet) {
	const syn, ack, all = packet.SYN, packet.ACK, packet.SYN | packet.ACK | packet.FIN | packet.RST
	e, peer := &r.sides[s], &r.sides[s^1]
	passed := func(since int64) uint32 {
		d := p.Time.UnixNano() - since
		if d < 0 || d > 1<<32-1 {
			return 0
		}
		return uint32(d)
	}
	switch {
	case e.packets == 1 && peer.packets == 1 && p.TCP.Flags&all == syn|ack && peer.tcp.letters == sawSYN && p.TCP.Ack == peer.tcp.start+1:
		r.rtt[s] = passed(r.start)
	case e.packets == 2 && peer.packets == 1 && p.TCP.Flags&all == ack && r.rtt[s^1] > 0 && p.TCP.Ack == peer.tcp.start+1:
		r.rtt[s] = passed(r.start + int64(r.rtt[s^1]))
	}
}

// Facts are what a record knows of one direction beyond event.Flow.
type Facts struct {
	MinTTL, MaxTTL uint8
	Flags          uint8  // of all its TCP segments together
	ZeroWindows    uint32 // TCP segments that forbade the other side to send
	SYN            SYN
	// RTT is how long the handshake took from the capturing machine to the
	// side that sends in this direction, and back; 0 if it was not seen whole,
	// or took more than four seconds.
	RTT time.Duration
}

// Facts returns what is known of a direction.
func (r *Record) Facts(d proto.Dir) Facts {
	i := r.Side(d)
	s := &r.sides[i]
	return Facts{MinTTL: s.minTTL, MaxTTL: s.maxTTL, Flags: s.flags, ZeroWindows: r.windows[i], SYN: r.syn[i], RTT: time.Duration(r.rtt[i])}
}
