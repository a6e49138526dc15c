// Package evidence keeps packets and finds them again: a bounded ring on disk
// of everything that a tap saw, slices of it that are pinned until a case is
// closed, and the packets of given sessions out of rings and capture files.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/pcapng"
	"github.com/tocsin/tocsin/sensor/packet"
)

// Session is a flow whose packets are wanted, or more than a flow: without a
// transport it is all that two addresses exchange, and without a destination,
// too, all of one address.
type Session struct {
	Sensor    string         `json:"sensor"`    // that saw it; "" for any
	Transport uint8          `json:"transport"` // IP protocol; 0 for any, and then the ports are 0
	Src       netip.AddrPort `json:"source"`    // ports of ICMP as flows have them: type and code
	Dst       netip.AddrPort `json:"destination"`
	From      time.Time      `json:"from"` // first packet
	To        time.Time      `json:"to"`   // last packet
	Comment   string         `json:"comment,omitempty"`
}

// SessionOf makes a session of a flow event.
func SessionOf(e *event.Event) Session {
	f := &e.Flow
	s := Session{
		Sensor: e.Sensor, Transport: f.Transport, From: f.Start, To: f.End,
		Src: netip.AddrPortFrom(f.Src.IP, f.Src.Port), Dst: netip.AddrPortFrom(f.Dst.IP, f.Dst.Port),
	}
	if s.To.IsZero() {
		s.To = e.Time
	}
	return s
}

// pair is a session without its time; the lesser end is first.
type pair struct {
	transport uint8
	a, b      netip.AddrPort
}

func pairOf(transport uint8, a, b netip.AddrPort) pair {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return pair{transport, a, b}
}

// Wanted finds of which session a packet is. It is for one goroutine.
type Wanted struct {
	sessions []Session
	by       map[pair][]int32 // by start
	portless map[pair][]int32 // likewise; of fragments the ports are not known
	wide     bool             // some are more than flows
	peers    map[[2]netip.Addr]*span
	from, to time.Time
	dec      packet.Decoder
	packet   packet.Packet
}

// span is a stretch of time.
type span struct{ from, to time.Time }

func (s *span) join(from, to time.Time) {
	if from.Before(s.from) {
		s.from = from
	}
	if to.After(s.to) {
		s.to = to
	}
}

func (s *span) overlaps(from, to time.Time) bool { return !from.After(s.to) && !to.Before(s.from) }

// Want prepares to look for sessions. Of one that is there twice, the packets
// go to the first.
func Want(sessions []Session) *Wanted {
	w := &Wanted{sessions: sessions, by: map[pair][]int32{}, portless: map[pair][]int32{}, peers: map[[2]netip.Addr]*span{}}
	for i := range sessions {
		s := &sessions[i]
		if i == 0 || s.From.Before(w.from) {
			w.from = s.From
		}
		if to := s.To.Add(linger); i == 0 || to.After(w.to) {
			w.to = to
		}
		ends := [2]netip.Addr{s.Src.Addr(), s.Dst.Addr()}
		if p := w.peers[ends]; p != nil {
			p.join(s.From, s.To.Add(linger))
		} else {
			w.peers[ends] = &span{s.From, s.To.Add(linger)}
		}
		k := pairOf(s.Transport, s.Src, s.Dst)
		if s.Transport == 0 {
			w.wide = true
			k = pairOf(0, portless(s.Src), portless(s.Dst))
		}
		w.by[k] = append(w.by[k], int32(i))
		k = withoutPorts(k)
		w.portless[k] = append(w.portless[k], int32(i))
	}
	for _, m := range []map[pair][]int32{w.by, w.portless} {
		for _, list := range m {
			slices.SortStableFunc(list, func(a, b int32) int { return sessions[a].From.Compare(sessions[b].From) })
		}
	}
	return w
}

func portless(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }

func withoutPorts(k pair) pair { return pairOf(k.transport, portless(k.a), portless(k.b)) }

// Span is the time in which packets that are wanted may have come.
func (w *Wanted) Span() (from, to time.Time) { return w.from, w.to }

// mayBeIn reports whether a chunk may have packets that are wanted.
func (w *Wanted) mayBeIn(f *frame) bool {
	if f.kind != kindChunk || f.first.After(w.to) || f.last.Before(w.from) || len(f.bloom) == 0 {
		return false
	}
	for ends, s := range w.peers {
		if s.overlaps(f.first, f.last) && mayHave(f.bloom, ends[0]) && (!ends[1].IsValid() || mayHave(f.bloom, ends[1])) {
			return true
		}
	}
	return false
}

// Find returns the number of the session that a packet of a sensor is of, and
// -1 for none.
func (w *Wanted) Find(sensor string, raw *capture.Packet) int {
	if raw.Time.Before(w.from) || raw.Time.After(w.to) {
		return -1
	}
	p := &w.packet
	if o := w.dec.Decode(p, raw); o != packet.OK && o != packet.Held || p.IPVersion == 0 {
		return -1
	}
	found := w.match(sensor, p, raw.Time)
	for i := 0; found < 0 && i < len(p.Outer); i++ { // what carries a tunnel is a flow, too
		l := &p.Outer[i]
		c := l.Carrier(p)
		found = w.match(sensor, &c, raw.Time)
	}
	return found
}

func (w *Wanted) match(sensor string, p *packet.Packet, t time.Time) int {
	k := pairOf(p.Proto, netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort))
	found := -1
	if p.Fragment {
		found = w.at(w.portless[withoutPorts(k)], sensor, t)
	} else {
		found = w.at(w.by[k], sensor, t)
	}
	if found < 0 && w.wide {
		k.transport = 0
		found = w.at(w.by[withoutPorts(k)], sensor, t)
		for _, a := range [2]netip.Addr{p.Src, p.Dst} {
			if found < 0 {
				found = w.at(w.by[pairOf(0, netip.AddrPortFrom(a, 0), netip.AddrPort{})], sensor, t)
			}
		}
	}
	return found
}

// linger is how long after the end of a flow its packets may still come: what
// follows the last FIN is counted, and moves the end no more.
const linger = 5 * time.Second

func (w *Wanted) at(list []int32, sensor string, t time.Time) int {
	late := -1
	for _, i := range list {
		s := &w.sessions[i]
		if s.From.After(t) {
			break
		}
		if s.Sensor != "" && s.Sensor != sensor {
			continue
		}
		if !t.After(s.To) {
			return int(i)
		}
		if t.Sub(s.To) <= linger {
			late = int(i)
		}
	}
	return late
}

// Taken is what was found of sessions.
type Taken struct {
	Packets uint64   // in all
	Counts  []uint64 // of each session
	Broken  []string // captures that could not be read to their end, with why
}

// Take writes the packets of the wanted sessions that a source has, in its
// order. The first packet of each session carries the session's comment. A
// source that breaks off is told of in Taken, and what came before is kept.
func (w *Wanted) Take(ctx context.Context, src capture.Source, to *pcapng.Writer, t *Taken) error {
	if t.Counts == nil {
		t.Counts = make([]uint64, len(w.sessions))
	}
	var raw capture.Packet
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		err := src.Next(&raw)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, capture.ErrIdle):
			continue
		case err != nil:
			t.Broken = append(t.Broken, err.Error())
			return nil
		}
		tap := src.Interfaces()[raw.Iface]
		tap.Name = filepath.Base(tap.Name) // where it lay is nobody's business
		i := w.Find(tap.Sensor, &raw)
		if i < 0 {
			continue
		}
		comment := ""
		if t.Counts[i] == 0 {
			comment = w.sessions[i].Comment
		}
		t.Counts[i]++
		t.Packets++
		if err := to.Packet(tap, &raw, comment); err != nil {
			return fmt.Errorf("evidence: write packets: %w", err)
		}
	}
}
