package main

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

var (
	little = binary.LittleEndian
	big    = binary.BigEndian
)

// linkEthernet is LINKTYPE_ETHERNET; other captures cannot go into the same file.
const linkEthernet = 1

// Limits of what is taken of captures.
const (
	maxSpan   = 10 * time.Minute // what comes later comes then
	maxCopies = 1 << 12          // as addresses have bits to tell copies apart
)

// frame is a recorded packet.
type frame struct {
	at     time.Duration // since the first packet of its recording
	data   []byte
	length int
}

// load reads a recording.
func load(path string) (frames []frame, err error) {
	src, err := file.Open(path)
	if err != nil {
		return nil, err
	}
	var p capture.Packet
	var begin time.Time
	for err = src.Next(&p); err == nil; err = src.Next(&p) {
		if begin.IsZero() {
			begin = p.Time
		}
		if p.Link == linkEthernet {
			at := min(max(p.Time.Sub(begin), 0), maxSpan)
			frames = append(frames, frame{at, slices.Clone(p.Data), p.Length})
		}
	}
	if err != io.EOF && len(frames) == 0 {
		return nil, err // a capture that was cut off gives what it has
	}
	slices.SortStableFunc(frames, func(a, b frame) int { return cmp.Compare(a.at, b.at) })
	return frames, src.Close()
}

// multiply writes copies of a mix of recordings until there are enough packets.
func multiply(path string, mix []part, packets int) error {
	recorded := make([][]frame, len(mix))
	each := 0 // packets of a copy
	last := time.Duration(0)
	most := 1
	for i, p := range mix {
		frames, err := load(p.path)
		if err != nil {
			return err
		}
		recorded[i] = frames
		each += len(frames) * p.times
		most = max(most, p.times)
		if len(frames) > 0 {
			last = max(last, frames[len(frames)-1].at)
		}
	}
	if each == 0 {
		return fmt.Errorf("no Ethernet frames in %v", mix)
	}
	copies := (packets + each - 1) / each
	if copies*most > maxCopies {
		return fmt.Errorf("%d frames in %v are too few for %d packets", each, mix, packets)
	}
	// Half of the copies overlap at any time.
	stagger := last / time.Duration(copies)
	var running copying
	for n := range copies {
		for i, p := range mix {
			for k := range p.times {
				c := cursor{copy: n*p.times + k, start: stagger*time.Duration(n) + stagger*time.Duration(k)/time.Duration(p.times), frames: recorded[i]}
				if len(c.frames) > 0 {
					running = append(running, c)
				}
			}
		}
	}
	heap.Init(&running)
	return write(path, func(w *writer) error {
		var scratch []byte
		for len(running) > 0 {
			c := &running[0]
			f := &c.frames[0]
			scratch = append(scratch[:0], f.data...)
			readdress(scratch, uint32(c.copy))
			w.packet(c.start+f.at, scratch, f.length)
			if c.frames = c.frames[1:]; len(c.frames) == 0 {
				heap.Pop(&running)
			} else {
				heap.Fix(&running, 0)
			}
		}
		return nil
	})
}

// cursor is how far a copy has been written.
type cursor struct {
	copy   int
	start  time.Duration
	frames []frame
}

// copying are copies, the one that has the next packet first.
type copying []cursor

func (c copying) Len() int      { return len(c) }
func (c copying) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c copying) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(c[i].start+c[i].frames[0].at, c[j].start+c[j].frames[0].at), cmp.Compare(c[i].copy, c[j].copy)) < 0
}
func (c *copying) Push(x any) { *c = append(*c, x.(cursor)) }
func (c *copying) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}

// readdress gives an Ethernet frame the addresses of a copy: it turns over bits
// of the network's part of unicast addresses, so that the copies of different
// addresses are different, and corrects checksums by what has changed.
func readdress(b []byte, number uint32) {
	if len(b) < 14 {
		return
	}
	kind, b := big.Uint16(b[12:]), b[14:]
	for (kind == 0x8100 || kind == 0x88a8) && len(b) >= 4 {
		kind, b = big.Uint16(b[2:]), b[4:]
	}
	mask := number<<16&0xff0000 | number>>8<<12&0xf000
	switch {
	case kind == 0x0800 && len(b) >= 20:
		header := int(b[0]&15) * 4
		change := flip4(b[12:16], mask) + flip4(b[16:20], mask)
		correct(b[10:12], change)
		if header >= 20 && len(b) >= header && big.Uint16(b[6:])&0x1fff == 0 {
			transport(b[9], b[header:], change)
		}
	case kind == 0x86dd && len(b) >= 40:
		change := flip6(b[8:24], number) + flip6(b[24:40], number)
		transport(b[6], b[40:], change)
	case kind == 0x0806 && len(b) >= 28 && big.Uint16(b[2:]) == 0x0800:
		flip4(b[14:18], mask)
		flip4(b[24:28], mask)
	}
}

// flip4 changes a unicast IPv4 address. It returns what the sum of its 16-bit
// words grows by, in one's complement.
func flip4(a []byte, mask uint32) uint32 {
	old := big.Uint32(a)
	if old == 0 || a[0] >= 224 {
		return 0
	}
	big.PutUint32(a, old^mask)
	return change(uint16(old>>16), uint16((old^mask)>>16)) + change(uint16(old), uint16(old^mask))
}

// flip6 changes a unicast IPv6 address, likewise.
func flip6(a []byte, number uint32) uint32 {
	if a[0] == 0xff || big.Uint64(a) == 0 {
		return 0
	}
	word := a[8:10]
	old := big.Uint16(word)
	big.PutUint16(word, old^uint16(number))
	return change(old, old^uint16(number))
}

func change(from, to uint16) uint32 { return uint32(^from) + uint32(to) }

// transport corrects the checksum of a protocol that sums up addresses.
func transport(protocol byte, b []byte, change uint32) {
	switch {
	case protocol == 6 && len(b) >= 18:
		correct(b[16:18], change)
	case protocol == 17 && len(b) >= 8 && big.Uint16(b[6:]) != 0:
		correct(b[6:8], change)
	case protocol == 58 && len(b) >= 4:
		correct(b[2:4], change)
	}
}

// correct updates an Internet checksum (RFC 1624, equation 3).
func correct(sum []byte, change uint32) {
	if change == 0 {
		return
	}
	s := uint32(^big.Uint16(sum)) + change
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	big.PutUint16(sum, ^uint16(s))
}
