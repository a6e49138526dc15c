package main

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// Of the stress capture.
const (
	stressSeed  = 20260105
	perSecond   = 8_000 // flows that begin
	maxPerFlow  = 7     // packets
	answerAfter = 20 * time.Millisecond
)

// stress writes flows of a few small packets until there are enough packets:
// connections tried and never answered, refused ones, datagrams with and without
// an answer, and whole connections that carry a few bytes. Nearly every flow has
// addresses and a port that no other has; there are two flows to five packets,
// and never fewer than a million.
func stress(w *writer, packets int) error {
	packets = max(packets, 2_600_000)
	rnd := rand.New(rand.NewPCG(stressSeed, 0))
	var waiting talks
	for n := 0; w.packets < packets; n++ {
		at := time.Duration(n) * time.Second / perSecond
		for len(waiting) > 0 && waiting[0].at < at {
			waiting[0].step(w)
			if waiting[0].left == 0 {
				heap.Pop(&waiting)
			} else {
				heap.Fix(&waiting, 0)
			}
		}
		t := &talk{at: at, from: uint32(10<<24 | rnd.IntN(1<<22)), to: uint32(172<<24 | 16<<16 | rnd.IntN(1<<18)), port: uint16(1024 + rnd.IntN(60000)), seq: rnd.Uint32()}
		switch p := rnd.IntN(100); {
		case p < 30:
			t.kind, t.left, t.service = attempt, 1, 445
		case p < 50:
			t.kind, t.left, t.service = refused, 2, 22
		case p < 65:
			t.kind, t.left, t.service = datagrams, 1, 9999
		case p < 85:
			t.kind, t.left, t.service = datagrams, 2, 161
		default:
			t.kind, t.left, t.service = whole, maxPerFlow, 8080
		}
		heap.Push(&waiting, t)
	}
	return nil
}

// concurrent writes flows that all last from the first packet of the first to
// the last packet of the last: datagrams forth, back and forth.
func concurrent(w *writer) error {
	const flows, span = 100_000, 10 * time.Second
	for sent := range 3 {
		for n := range flows {
			t := &talk{at: span * time.Duration(sent*flows+n) / flows, from: uint32(10<<24 | n), to: 172<<24 | 16<<16 | 1, port: uint16(1024 + n%60000), service: 9999}
			t.udp(w, sent == 1, []byte("status 0042\n"))
		}
	}
	return nil
}

// How a flow goes.
const (
	attempt   = iota // SYN
	refused          // SYN, RST
	datagrams        // and back
	whole            // handshake, a line each way, both FINs
)

// talk is a flow of the stress capture that still has packets to send.
type talk struct {
	at            time.Duration
	from, to      uint32
	port, service uint16
	seq           uint32
	kind          int
	sent, left    int
}

// talks are the flows under way, the one that sends next first.
type talks []*talk

func (t talks) Len() int           { return len(t) }
func (t talks) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t talks) Less(i, j int) bool { return t[i].at < t[j].at }
func (t *talks) Push(x any)        { *t = append(*t, x.(*talk)) }
func (t *talks) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	*t = (*t)[:last]
	return x
}

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// step writes the next packet of a flow.
func (t *talk) step(w *writer) {
	line := []byte("status 0042\n")
	size := uint32(len(line))
	const answer = 1 << 20 // where the responder's numbers begin
	up, down := false, true
	switch t.kind {
	case attempt:
		t.tcp(w, up, syn, t.seq, 0, nil)
	case refused:
		if t.sent == 0 {
			t.tcp(w, up, syn, t.seq, 0, nil)
		} else {
			t.tcp(w, down, rst|ack, 0, t.seq+1, nil)
		}
	case datagrams:
		t.udp(w, t.sent == 1, line)
	case whole:
		switch t.sent {
		case 0:
			t.tcp(w, up, syn, t.seq, 0, nil)
		case 1:
			t.tcp(w, down, syn|ack, answer, t.seq+1, nil)
		case 2:
			t.tcp(w, up, psh|ack, t.seq+1, answer+1, line)
		case 3:
			t.tcp(w, down, psh|ack, answer+1, t.seq+1+size, line)
		case 4:
			t.tcp(w, up, fin|ack, t.seq+1+size, answer+1+size, nil)
		case 5:
			t.tcp(w, down, fin|ack, answer+1+size, t.seq+2+size, nil)
		case 6:
			t.tcp(w, up, ack, t.seq+2+size, answer+2+size, nil)
		}
	}
	t.sent++
	t.left--
	t.at += answerAfter
}

func (t *talk) tcp(w *writer, back bool, flags byte, seq, acked uint32, data []byte) {
	src, dst := t.ports(back)
	h := big.AppendUint16(nil, src)
	h = big.AppendUint16(h, dst)
	h = big.AppendUint32(h, seq)
	h = big.AppendUint32(h, acked)
	h = append(h, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	t.ip(w, back, 6, 16, append(h, data...))
}

func (t *talk) udp(w *writer, back bool, data []byte) {
	src, dst := t.ports(back)
	h := big.AppendUint16(nil, src)
	h = big.AppendUint16(h, dst)
	h = big.AppendUint16(h, uint16(8+len(data)))
	h = append(h, 0, 0)
	t.ip(w, back, 17, 6, append(h, data...))
}

func (t *talk) ports(back bool) (src, dst uint16) {
	if back {
		return t.service, t.port
	}
	return t.port, t.service
}

// ip sends a segment whose checksum is at the given place.
func (t *talk) ip(w *writer, back bool, protocol byte, sum int, segment []byte) {
	from, to := t.from, t.to
	if back {
		from, to = to, from
	}
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0}
	b = big.AppendUint16(b, uint16(20+len(segment)))
	b = append(b, 0, 0, 0x40, 0, 64, protocol, 0, 0)
	b = big.AppendUint32(b, from)
	b = big.AppendUint32(b, to)
	big.PutUint16(b[24:], ^add(0, b[14:34]))
	pseudo := add(uint32(protocol)+uint32(len(segment)), b[26:34])
	big.PutUint16(segment[sum:], ^add(uint32(pseudo), segment))
	b = append(b, segment...)
	for len(b) < 60 {
		b = append(b, 0)
	}
	w.packet(t.at, b, len(b))
}

// add sums up 16-bit words in one's complement.
func add(s uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(big.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
