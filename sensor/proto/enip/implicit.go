package enip

import (
	"encoding/binary"
	"time"

	"github.com/tocsin/tocsin/sensor/proto"
)

// io is an implicit message (volume 2, section 3-2.2).
type io struct {
	connection, sequence uint32
	size                 int
}

// implicit reads a datagram of two items: the connection with its sequence
// number, and the data.
func implicit(b []byte) (x io, ok bool) {
	if len(b) < 18 || binary.LittleEndian.Uint16(b) != 2 || binary.LittleEndian.Uint16(b[2:]) != 0x8002 ||
		binary.LittleEndian.Uint16(b[4:]) != 8 || binary.LittleEndian.Uint16(b[14:]) != 0xb1 {
		return x, false
	}
	x = io{binary.LittleEndian.Uint32(b[6:]), binary.LittleEndian.Uint32(b[10:]), int(binary.LittleEndian.Uint16(b[16:]))}
	return x, x.size <= len(b)-18
}

// stream is what is counted of one implicit connection in one direction.
type stream struct {
	dir         proto.Dir
	connection  uint32
	sequence    uint32
	first, last time.Time
	packets     uint64
	bytes       uint64
	lost, late  uint64
	longest     time.Duration
}

// count takes an implicit message.
func (p *parser) count(dir proto.Dir, x io, now time.Time, out *proto.Out) {
	var s *stream
	for i := range p.streams {
		if p.streams[i].connection == x.connection && p.streams[i].dir == dir {
			s = &p.streams[i]
			break
		}
	}
	if s == nil {
		if len(p.streams) == maxStreams {
			return
		}
		p.streams = append(p.streams, stream{dir: dir, connection: x.connection, sequence: x.sequence, first: now, last: now, packets: 1, bytes: uint64(x.size)})
		return
	}
	if now.Sub(s.first) >= account {
		p.emitStream(s, out)
		s.first, s.packets, s.bytes, s.lost, s.late, s.longest = now, 0, 0, 0, 0, 0
	}
	s.packets++
	s.bytes += uint64(x.size)
	switch ahead := x.sequence - s.sequence; {
	case ahead == 0 || ahead > 1<<31:
		s.late++
	default:
		s.lost += uint64(min(ahead-1, 1<<16))
		s.sequence = x.sequence
	}
	s.longest = max(s.longest, now.Sub(s.last))
	s.last = now
}

// emitStream says what was counted.
func (p *parser) emitStream(s *stream, out *proto.Out) {
	if s.packets == 0 {
		return
	}
	e := &p.rec
	e.Begin(out, "cip", "report", "implicit_io")
	e.Num("cip.connection.id", uint64(s.connection))
	e.Num("cip.io.packets", s.packets)
	e.Num("cip.io.bytes", s.bytes)
	if s.lost > 0 {
		e.Num("cip.io.lost", s.lost)
	}
	if s.late > 0 {
		e.Num("cip.io.late", s.late)
	}
	if s.packets > 1 {
		e.Num("cip.io.interval.mean", uint64(max(s.last.Sub(s.first), 0))/(s.packets-1))
		e.Num("cip.io.interval.max", uint64(max(s.longest, 0)))
	}
	e.Emit(s.first, 0)
}
