package flow

import "github.com/tocsin/tocsin/sensor/packet"

// tcpState is the state of one end of a connection, judged from the packets
// that it sent. The states and the moves between them are those that Zeek
// draws; RFC 9293 has more, which an observer cannot tell apart.
type tcpState uint8

const (
	inactive    tcpState = iota // sent nothing
	synSent                     // sent a SYN
	synAckSent                  // originator, as far as we know, began with SYN and ACK
	partial                     // sent something else first
	established                 // sent a SYN, and it was answered
	closed                      // sent a FIN
	reset                       // sent an RST
)

// Letters that an end gets once.
const (
	sawSYN = 1 << iota
	sawFIN
	sawRST
	sawData
	sawACK
	sawMulti
	sawFINRST
)

// endpoint is one end of a TCP connection.
type endpoint struct {
	state, before             tcpState // now, and before the last move
	letters                   uint8    // noted in the history
	closed                    bool     // its closing was taken note of
	fin                       bool     // sent a FIN
	order                     uint8    // see Follow
	start                     uint32   // of the SYN, or as if there had been one
	last                      uint32   // behind the last byte sent
	acked                     uint32   // behind the last byte that the peer has acknowledged
	lastSYN, lastFIN, lastRST uint32
	next                      uint32 // likewise
}

func (e *endpoint) move(s tcpState) {
	if s != e.state {
		e.before, e.state = e.state, s
	}
}

// clean reports whether e was established, and at most closed since.
func (e *endpoint) clean() bool {
	return e.state == established || e.state == closed && e.before == established
}

// size is how many bytes e sent by its sequence numbers, which an RST of a
// half-open connection may have wrong.
func (e *endpoint) size(peer *endpoint) uint32 {
	if e.before == synSent && e.state == reset && peer.state == inactive && e.acked != e.start {
		return 0
	}
	end := e.last
	if int32(e.acked-end) > 0 {
		end = e.acked
	}
	n := end - e.start
	if n > 0 {
		n-- // the SYN
	}
	if n > 0 && e.fin {
		n--
	}
	return n
}

func (e *endpoint) init(start, last uint32) { e.start, e.acked, e.last = start, start, last }

// begin learns where the end's sequence numbers start.
func (e *endpoint) begin(syn bool, seq, end uint32) {
	switch e.state {
	case inactive:
		if syn {
			e.init(seq, end)
		} else {
			e.init(seq-1, seq)
		}
	case synSent, synAckSent:
		if syn && seq != e.start {
			e.init(seq, end)
		}
	case established, partial:
		if syn {
			e.init(seq, end)
		}
	case reset:
		if syn && e.before == inactive {
			e.init(seq, end) // the RST before may have been forged
		}
	}
}

// farSequence is how far a SYN or RST may be from what was seen and still tell
// where the sequence numbers are.
const farSequence = 1 << 20

// tcp takes a TCP packet of a side into the record. It reports whether it has
// closed the connection.
func (r *Record) tcp(s int, p *packet.Packet) bool {
	const syn, fin, rst, ack = packet.SYN, packet.FIN, packet.RST, packet.ACK
	e, peer := &r.sides[s].tcp, &r.sides[s^1].tcp
	flags, seq, n := p.TCP.Flags, p.TCP.Seq, uint32(p.PayloadLen)
	r.sides[s].flags |= flags

	length := n
	if flags&rst != 0 {
		length = 0 // an explanation at most, not part of the stream
	}
	if flags&syn != 0 {
		length++
	}
	if flags&fin != 0 {
		length++
	}
	end := seq + length

	if flags&syn != 0 && !r.syn[s].Seen() {
		r.syn[s] = readSYN(&p.TCP)
	}
	e.begin(flags&syn != 0, seq, end)
	r.tcpLetters(s, e, flags, seq, n)
	if p.TCP.Window == 0 && flags&rst == 0 && peer.state != closed && e.state != reset {
		r.scaled(s, &r.windows[s], 'W')
	}
	if flags&fin != 0 {
		e.fin = true
	}
	if flags&ack != 0 {
		if peer.state == inactive {
			peer.init(p.TCP.Ack-1, p.TCP.Ack-1)
		} else if d := int32(p.TCP.Ack - peer.acked); flags&rst == 0 && d > 0 && !(p.TCP.Ack == 0 && d > farSequence) {
			peer.acked = p.TCP.Ack
		}
	}

	switch ahead := int32(end - e.last); {
	case flags&(syn|rst) != 0 && (ahead > farSequence || ahead < -farSequence):
	case flags&fin != 0 && e.last == e.start+1:
		e.last = end // all between SYN and FIN may have been filtered out
	case e.state == reset:
	case ahead > 0:
		e.last = end
	case n > 0:
		r.scaled(s, &r.retransmits[s], 'T')
	}

	if !r.move(s, e, peer, flags, seq, n) || e.closed {
		return false
	}
	e.closed = true
	return e.state == reset || peer.closed || peer.state == inactive
}

// tcpLetters notes in the history what kind of packet an end has sent.
func (r *Record) tcpLetters(s int, e *endpoint, flags uint8, seq, n uint32) {
	const syn, fin, rst = packet.SYN, packet.FIN, packet.RST
	once := func(bit uint8, c byte) bool {
		if e.letters&bit != 0 {
			return false
		}
		e.letters |= bit
		r.letter(s, c)
		return true
	}
	again := func(bit uint8, c byte, last *uint32, place uint32) {
		if !once(bit, c) && place != *last {
			r.letter(s, c)
		}
		*last = place
	}
	switch flags & (syn | fin | rst) {
	case 0:
		if n > 0 {
			once(sawData, 'D')
		} else if flags&packet.ACK != 0 {
			once(sawACK, 'A')
		}
	case syn:
		c := byte('S')
		if flags&packet.ACK != 0 {
			c = 'H'
		}
		again(sawSYN, c, &e.lastSYN, seq)
	case fin:
		again(sawFIN, 'F', &e.lastFIN, seq+n)
	case rst:
		again(sawRST, 'R', &e.lastRST, seq)
	default:
		if flags&fin != 0 && flags&rst != 0 {
			once(sawFINRST, 'I')
		} else {
			once(sawMulti, 'Q')
		}
	}
}

// move lets an end's state follow a packet. It reports whether the packet
// closes that end.
func (r *Record) move(s int, e, peer *endpoint, flags uint8, seq, n uint32) (closes bool) {
	syn, fin, rst, ack := flags&packet.SYN != 0, flags&packet.FIN != 0, flags&packet.RST != 0, flags&packet.ACK != 0
	orig := uint8(s) == r.orig
	switch e.state {
	case inactive:
		if syn {
			switch {
			case orig && ack:
				e.move(synAckSent)
			case orig:
				e.move(synSent)
			default:
				if !ack && peer.state == synAckSent && seq == e.start {
					// The SYN of the SYN-ACK that came first: two
					// interfaces were captured out of step.
					r.flip()
					peer.move(established)
				}
				if peer.state == synSent {
					peer.move(established)
				}
				e.move(established)
			}
		}
		if fin {
			e.move(closed)
		}
		if rst {
			e.move(reset)
		}
		if e.state != inactive {
			return fin || rst
		}
		switch {
		case !orig && n == 0 && peer.state == synSent:
			// Some acknowledge a SYN before they answer it.
		case ack && peer.state == established:
			e.move(established) // only its SYN was missed
		default:
			e.move(partial)
		}
	case synSent, synAckSent:
		if fin {
			e.move(closed)
		}
		if rst {
			e.move(reset)
		}
		return fin || rst
	case established, partial:
		if syn && !ack && e.state == partial && peer.state == inactive {
			e.move(synSent)
		}
		if fin && !rst {
			e.move(closed)
			if peer.state == reset && peer.before == closed {
				peer.move(closed) // FIN and then RST is how some end a connection
			}
		}
		if rst {
			e.move(reset)
		}
		return fin || rst
	case closed:
		if rst && peer.state != closed {
			e.move(reset)
			return true
		}
	}
	return false
}

func (r *Record) flip() {
	r.orig ^= 1
	r.note('^')
}

// reuses reports whether a packet begins another connection between the same
// ports: it is over, or its SYN was another one.
func (r *Record) reuses(s int, p *packet.Packet) bool {
	if p.TCP.Flags&packet.SYN == 0 {
		return false
	}
	o, q := &r.sides[r.orig].tcp, &r.sides[r.orig^1].tcp
	first := o
	if p.TCP.Flags&packet.ACK != 0 {
		if o.state != inactive {
			return false
		}
		first = q
	}
	if o.closed || q.closed {
		return true
	}
	if p.TCP.Seq == first.start {
		return false
	}
	return !(p.TCP.Flags&packet.ACK == 0 && first.state == synAckSent && q.state == inactive && p.TCP.Seq == q.start)
}

// attempt reports whether a connection was asked for and not answered.
func (r *Record) attempt() bool {
	o := r.sides[r.orig].tcp.state
	return (o == synSent || o == synAckSent) && r.sides[r.orig^1].tcp.state == inactive
}

// connState is Zeek's conn_state of a TCP connection.
func connState(o, r *endpoint, history []byte) string {
	origSilent := o.state == inactive || o.state == partial
	respSilent := r.state == inactive || r.state == partial
	switch {
	case r.state == reset:
		switch {
		case o.state == synSent || o.state == synAckSent || o.state == reset && o.size(r) == 0 && r.size(o) == 0:
			return "REJ"
		case origSilent:
			return "RSTRH"
		}
		return "RSTR"
	case o.state == reset:
		switch {
		case !respSilent:
			return "RSTO"
		case onlySYN(history):
			return "RSTOS0"
		}
		return "OTH"
	case o.state == closed && r.state == closed:
		return "SF"
	case o.state == closed:
		if respSilent {
			return "SH"
		}
		return "S2"
	case r.state == closed:
		if origSilent {
			return "SHR"
		}
		return "S3"
	case o.state == synSent && r.state == inactive:
		return "S0"
	case o.state == established && r.state == established:
		return "S1"
	}
	return "OTH"
}

// onlySYN reports whether an originator sent nothing that matters between its
// SYN and its RST.
func onlySYN(history []byte) bool {
	if len(history) > 0 && history[0] == '^' {
		history = history[1:]
	}
	if len(history) == 0 || history[0] != 'S' {
		return false
	}
	for _, c := range history[1:] {
		switch c {
		case 'R':
			return true
		case 'H', 'A', 'F', 'G', 'I', 'Q':
			return false
		}
	}
	return false
}
