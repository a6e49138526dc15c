package flow

import (
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/stream"
)

// What is known of the bytes that an end sends, as long as they come in order.
const (
	orderStarted   = 1 << iota // endpoint.next is known
	orderDelivered             // there were bytes
	orderFinished              // they ended at endpoint.next
)

// BeginOrder begins to follow the bytes of a TCP connection, with the packet
// that has just been counted; see Follow.
func (r *Record) BeginOrder() {
	for s := range r.sides {
		if first, ok := r.SYN(s); ok {
			r.sides[s].tcp.next, r.sides[s].tcp.order = first, orderStarted
		}
	}
}

// Follow follows the bytes of a TCP connection as two stream.Half would whose
// content nobody wants, for as long as nothing is missing, repeated or out of
// order: there is then nothing to keep but a number for each side. It reports
// false at the first packet for which that is not so, and leaves it, and
// everything after it, to halves that go on from Order.
func (r *Record) Follow(s int, p *packet.Packet) bool {
	e, o := &r.sides[s].tcp, &r.sides[s^1].tcp
	flags := p.TCP.Flags
	if flags&packet.RST != 0 {
		return true // its numbers are not to be trusted, and its text is no data
	}
	if flags&packet.SYN != 0 {
		return false
	}
	if flags&packet.ACK != 0 && o.order&(orderStarted|orderFinished) == orderStarted {
		if d := int32(p.TCP.Ack - o.next); d > 0 && d <= stream.Window {
			return false // of what was not seen
		}
	}
	seq, n := p.TCP.Seq, uint32(min(len(p.Payload), p.PayloadLen))
	order, next := e.order, e.next
	if order&orderStarted == 0 {
		order, next = order|orderStarted, seq
	}
	if n > 0 {
		if seq != next {
			return false
		}
		if order&orderFinished == 0 {
			order, next = order|orderDelivered, next+n
		}
	}
	if flags&packet.FIN != 0 && order&orderFinished == 0 {
		d := int32(seq + uint32(p.PayloadLen) - next)
		if d > 0 && d <= stream.Window {
			return false
		}
		if d == 0 {
			order |= orderFinished
		}
	}
	e.order, e.next = order, next
	return true
}

// Order says how far a side was followed: what comes next, if that is known;
// whether there were bytes before it; and whether they end there.
func (r *Record) Order(s int) (next uint32, started, delivered, finished bool) {
	e := &r.sides[s].tcp
	return e.next, e.order&orderStarted != 0, e.order&orderDelivered != 0, e.order&orderFinished != 0
}
