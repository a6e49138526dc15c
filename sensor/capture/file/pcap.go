package file

import (
	"encoding/binary"
	"io"
	"math/bits"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
)

// pcapFormat is what the header of a pcap file says
// (draft-ietf-opsawg-pcap).
type pcapFormat struct {
	swapped bool             // big-endian
	nanos   bool             // fractions of seconds are nanoseconds, not microseconds
	header  int              // bytes before each packet
	link    capture.LinkType //
}

// magic recognises the first four bytes of a file.
func (f *pcapFormat) magic(b [4]byte) bool {
	m := binary.LittleEndian.Uint32(b[:])
	for range 2 {
		switch m {
		case 0xa1b2c3d4:
			f.header = 16
			return true
		case 0xa1b23c4d:
			f.header, f.nanos = 16, true
			return true
		case 0xa1b2cd34: // Kuznetsov's: interface, protocol and type after each header
			f.header = 24
			return true
		}
		m = bits.ReverseBytes32(m)
		f.swapped = !f.swapped
	}
	return false
}

func (f *pcapFormat) uint32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if f.swapped {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func (r *Reader) openPcap() error {
	const n = 24
	b, err := r.in.peek(n)
	if err != nil {
		return r.cut(err, "the file's header has", n)
	}
	// The upper bits may tell of a frame check sequence behind each packet,
	// which IP lengths let us ignore.
	r.pcap.link = capture.LinkType(r.pcap.uint32(b[20:]))
	r.in.pos += n
	_, err = r.addInterface(r.name)
	return err
}

func (r *Reader) nextPcap(p *capture.Packet) error {
	f, n := &r.pcap, r.pcap.header
	b, err := r.in.peek(n)
	if err != nil {
		if err == errStill || len(b) == 0 && err == io.EOF {
			return err
		}
		return r.cut(err, "a packet's header has", n)
	}
	sec, frac := f.uint32(b), f.uint32(b[4:])
	captured, length := f.uint32(b[8:]), f.uint32(b[12:])
	if captured > maxPacket {
		return r.errorf("damaged at byte %d: packet header says %d bytes, more than %d",
			r.in.offset(), captured, maxPacket)
	}
	b, err = r.in.peek(n + int(captured))
	if err != nil {
		if err == errStill {
			return err
		}
		r.in.pos += n
		return r.cut(err, "packet header says", int(captured))
	}
	if !f.nanos {
		frac *= 1000
	}
	p.Time = time.Unix(int64(sec), int64(frac)).UTC()
	p.Data = b[n:]
	p.Length = int(max(captured, length))
	p.Link = f.link
	p.Iface = 0
	p.Offset = r.in.offset() + int64(n)
	r.in.pos += len(b)
	return nil
}

// nextsPcap reads packets as nextPcap does, but only such as are in the window
// whole, in the file's byte order of nearly all machines, and without fault. It
// returns how many.
func (r *Reader) nextsPcap(ps []capture.Packet) int {
	f := &r.pcap
	if f.swapped {
		return 0
	}
	scale := uint32(1000)
	if f.nanos {
		scale = 1
	}
	b := r.in.buf[:r.in.end]
	pos, head, base := r.in.pos, f.header, r.in.base
	for i := range ps {
		if len(b)-pos < 24 { // the longest header
			r.in.pos = pos
			return i
		}
		h := b[pos : pos+16 : pos+16]
		captured := binary.LittleEndian.Uint32(h[8:])
		at := pos + head
		if captured > maxPacket || int(captured) > len(b)-at {
			r.in.pos = pos
			return i
		}
		p := &ps[i]
		p.Time = time.Unix(int64(binary.LittleEndian.Uint32(h)), int64(binary.LittleEndian.Uint32(h[4:])*scale)).UTC()
		pos = at + int(captured)
		p.Data = b[at:pos]
		p.Length = int(max(captured, binary.LittleEndian.Uint32(h[12:])))
		p.Link = f.link
		p.Iface = 0
		p.Offset = base + int64(at)
	}
	r.in.pos = pos
	return len(ps)
}
