package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/pcapng"
	"github.com/tocsin/tocsin/sensor/packet"
)

// A segment is two files: NAME.pcapng.zst has the packets, NAME.idx says where
// in it they are. Each chunk of packets is a whole pcapng section in a zstd
// frame of its own, so any tool that knows pcapng and zstd reads the file, and
// we read a chunk alone. The index has a record for each chunk: its place, its
// times, and a Bloom filter of the addresses in it.
type segment struct {
	base    string // path without ending
	tap     capture.Interface
	first   time.Time
	last    time.Time
	packets uint64
	bytes   int64 // of both files
	data    *os.File
	index   *os.File
	at      int64 // end of data
	end     int64 // of index
	readers int   // who keep it from being deleted; the ring's lock
}

// chunk is packets on their way to disk.
type chunk struct {
	raw         []byte // pcapng
	links       []capture.LinkType
	tap         capture.Interface
	first, last time.Time
	packets     uint64
	before      []gap // what was left out ahead of it
}

// gap is a stretch of time of which packets were left out.
type gap struct {
	first, last time.Time
	packets     uint64
}

func (c *chunk) begin(tap capture.Interface) {
	c.raw, c.links, c.tap, c.packets = c.raw[:0], c.links[:0], tap, 0
	c.raw = pcapng.AppendSection(c.raw, "Tocsin", "")
}

func (c *chunk) add(p *capture.Packet) {
	i := 0
	for i < len(c.links) && c.links[i] != p.Link {
		i++
	}
	if i == len(c.links) {
		c.links = append(c.links, p.Link)
		c.raw = pcapng.AppendInterface(c.raw, p.Link, c.tap.Sensor, c.tap.Name)
	}
	c.raw = pcapng.AppendPacket(c.raw, i, p, "")
	if c.packets == 0 || p.Time.Before(c.first) {
		c.first = p.Time
	}
	if c.packets == 0 || p.Time.After(c.last) {
		c.last = p.Time
	}
	c.packets++
}

// indexer compresses chunks and finds out whose packets are in them. It is for
// one goroutine.
type indexer struct {
	zip    *zstd.Encoder
	frame  []byte
	dec    packet.Decoder
	packet packet.Packet
	hosts  map[netip.Addr]struct{}
	record []byte
}

func newIndexer() *indexer {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		panic(err) // of options that are constant
	}
	return &indexer{zip: z, hosts: map[netip.Addr]struct{}{}}
}

// compress returns the chunk as it is on disk, valid until the next call, and
// takes note of the addresses in it.
func (x *indexer) compress(c *chunk) []byte {
	clear(x.hosts)
	walk(c.raw, c.links, func(raw *capture.Packet) {
		if o := x.dec.Decode(&x.packet, raw); o != packet.OK && o != packet.Held || x.packet.IPVersion == 0 {
			return
		}
		x.hosts[x.packet.Src], x.hosts[x.packet.Dst] = struct{}{}, struct{}{}
		for i := range x.packet.Outer {
			carrier := x.packet.Outer[i].Carrier(&x.packet)
			x.hosts[carrier.Src], x.hosts[carrier.Dst] = struct{}{}, struct{}{}
		}
	})
	x.frame = x.zip.EncodeAll(c.raw, x.frame[:0])
	return x.frame
}

// walk calls f for the packets of a section of ours. Data is within raw.
func walk(raw []byte, links []capture.LinkType, f func(*capture.Packet)) {
	for len(raw) >= 12 {
		n := int(binary.LittleEndian.Uint32(raw[4:]))
		if n < 12 || n > len(raw) {
			return
		}
		if b := raw[8 : n-4]; binary.LittleEndian.Uint32(raw) == 6 {
			if len(b) < 20 {
				return
			}
			iface, size := int(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint32(b[12:]))
			if iface >= len(links) || size > len(b)-20 {
				return
			}
			ns := uint64(binary.LittleEndian.Uint32(b[4:]))<<32 | uint64(binary.LittleEndian.Uint32(b[8:]))
			f(&capture.Packet{Time: time.Unix(0, int64(ns)).UTC(), Data: b[20 : 20+size : 20+size], Length: int(binary.LittleEndian.Uint32(b[16:])), Link: links[iface], Offset: -1})
		}
		raw = raw[n:]
	}
}

// sectionLinks lists the link types of a section's interfaces.
func sectionLinks(raw []byte) (links []capture.LinkType) {
	for len(raw) >= 12 {
		n := int(binary.LittleEndian.Uint32(raw[4:]))
		if n < 12 || n > len(raw) {
			return links
		}
		if binary.LittleEndian.Uint32(raw) == 1 && n >= 16 {
			links = append(links, capture.LinkType(binary.LittleEndian.Uint16(raw[8:])))
		}
		raw = raw[n:]
	}
	return links
}

// Records of the index: length and checksum of what follows, then kind, times,
// packets, place and length of the chunk, its length unpacked, and the filter.
const (
	recordHead  = 8
	recordFixed = 1 + 8 + 8 + 8 + 8 + 8 + 8
	kindChunk   = 1
	kindGap     = 2
	bloomProbes = 6
)

// frame is what an index says of a chunk, or of a gap, which has no length.
type frame struct {
	kind        byte
	first, last time.Time
	packets     uint64
	at, length  int64
	unpacked    int64
	bloom       []byte
}

func appendRecord(b []byte, f *frame) []byte {
	at := len(b)
	b = append(b, make([]byte, recordHead)...)
	b = append(b, f.kind)
	for _, n := range []uint64{uint64(f.first.UnixNano()), uint64(f.last.UnixNano()), f.packets, uint64(f.at), uint64(f.length), uint64(f.unpacked)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, f.bloom...)
	body := b[at+recordHead:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.ChecksumIEEE(body))
	return b
}

// readRecords calls f for the records of an index up to one that is not whole:
// the process or the machine ended then.
func readRecords(b []byte, f func(*frame)) (whole int64) {
	for len(b) >= recordHead {
		n := int(binary.LittleEndian.Uint32(b))
		if n < recordFixed || n > len(b)-recordHead {
			break
		}
		body := b[recordHead : recordHead+n]
		if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(b[4:]) {
			break
		}
		u := func(i int) uint64 { return binary.LittleEndian.Uint64(body[1+8*i:]) }
		f(&frame{
			kind: body[0], first: time.Unix(0, int64(u(0))).UTC(), last: time.Unix(0, int64(u(1))).UTC(), packets: u(2),
			at: int64(u(3)), length: int64(u(4)), unpacked: int64(u(5)), bloom: body[recordFixed:],
		})
		b = b[recordHead+n:]
		whole += int64(recordHead + n)
	}
	return whole
}

// bloomOf makes a filter of 10 bits an address: one in a hundred is found that
// is not there.
func bloomOf(hosts map[netip.Addr]struct{}) []byte {
	b := make([]byte, max(8, (len(hosts)*10+7)/8))
	for a := range hosts {
		probe(b, a, func(i uint64) bool { b[i/8] |= 1 << (i % 8); return true })
	}
	return b
}

// mayHave reports whether an address may be in a filter.
func mayHave(b []byte, a netip.Addr) bool {
	return probe(b, a, func(i uint64) bool { return b[i/8]&(1<<(i%8)) != 0 })
}

func probe(b []byte, a netip.Addr, f func(bit uint64) bool) bool {
	h := fnv.New64a()
	x := a.As16()
	h.Write(x[:])
	s := h.Sum64()
	step := s>>32 | s<<32 | 1
	for range bloomProbes {
		if !f(s % uint64(8*len(b))) {
			return false
		}
		s += step
	}
	return true
}

// tapName names the files of a tap; what a file's name cannot have is a dash.
func tapName(t capture.Interface) string {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' {
				return r
			}
			return '-'
		}, s[max(0, len(s)-60):])
	}
	return clean(t.Sensor) + "@" + clean(filepath.Base(t.Name))
}

func createSegment(dir string, tap capture.Interface, first time.Time) (s *segment, err error) {
	s = &segment{base: filepath.Join(dir, fmt.Sprintf("%020d-%s", first.UnixNano(), tapName(tap))), tap: tap, first: first, last: first}
	for n := 0; ; n++ { // two workers of a tap may begin with packets of one time
		if n > 0 {
			s.base = filepath.Join(dir, fmt.Sprintf("%020d-%s-%d", first.UnixNano(), tapName(tap), n))
		}
		s.data, err = os.OpenFile(s.base+dataEnding, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if !errors.Is(err, os.ErrExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if s.index, err = os.OpenFile(s.base+idxEnding, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600); err != nil {
		return nil, errors.Join(err, s.data.Close(), os.Remove(s.base+dataEnding))
	}
	return s, nil
}

// append writes a chunk. If that fails, the files are as they were.
func (s *segment) append(data []byte, x *indexer, c *chunk) error {
	b := x.record[:0]
	for _, g := range c.before {
		b = appendRecord(b, &frame{kind: kindGap, first: g.first, last: g.last, packets: g.packets})
	}
	b = appendRecord(b, &frame{kind: kindChunk, first: c.first, last: c.last, packets: c.packets, at: s.at, length: int64(len(data)), unpacked: int64(len(c.raw)), bloom: bloomOf(x.hosts)})
	x.record = b
	_, err := s.data.WriteAt(data, s.at)
	if err == nil {
		_, err = s.index.WriteAt(b, s.end)
	}
	if err != nil {
		return errors.Join(err, s.data.Truncate(s.at), s.index.Truncate(s.end))
	}
	s.at += int64(len(data))
	s.end += int64(len(b))
	return nil
}

// commit takes note of a chunk that append has written, and returns by how many
// bytes the files have grown. Of a file that others see, it is called under
// their lock.
func (s *segment) commit(c *chunk) (grown int64) {
	grown = s.at + s.end - s.bytes
	s.bytes += grown
	s.packets += c.packets
	if c.last.After(s.last) {
		s.last = c.last
	}
	return grown
}

func (s *segment) close() error { return errors.Join(s.data.Close(), s.index.Close()) }

// remove deletes the files. Whoever has them open goes on reading.
func (s *segment) remove() {
	os.Remove(s.base + idxEnding)
	os.Remove(s.base + dataEnding)
}

// loadSegment reads what was on disk when a process ended, in whatever way.
func loadSegment(base string) (*segment, error) {
	s := &segment{base: base}
	name := filepath.Base(base)
	if _, tap, ok := strings.Cut(name, "-"); ok {
		s.tap.Sensor, s.tap.Name, _ = strings.Cut(tap, "@")
	}
	b, err := os.ReadFile(base + idxEnding)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	whole := readRecords(b, func(f *frame) {
		if f.kind != kindChunk {
			return
		}
		if s.packets == 0 || f.first.Before(s.first) {
			s.first = f.first
		}
		if f.last.After(s.last) {
			s.last = f.last
		}
		s.packets += f.packets
		s.at = max(s.at, f.at+f.length)
	})
	if s.packets > 0 { // the sensor's and the interface's names, as they are
		if _, ifaces, err := s.readFrameAt(b); err == nil && len(ifaces) > 0 {
			s.tap = ifaces[0]
		}
	}
	info, err := os.Stat(base + dataEnding)
	if err != nil {
		return nil, err
	}
	s.end = whole
	s.bytes = info.Size() + int64(len(b))
	return s, nil
}

// readFrameAt reads the interfaces that the first chunk describes.
func (s *segment) readFrameAt(index []byte) (frame, []capture.Interface, error) {
	var head *frame
	readRecords(index, func(f *frame) {
		if head == nil && f.kind == kindChunk {
			head = f
		}
	})
	if head == nil {
		return frame{}, nil, io.ErrUnexpectedEOF
	}
	file, err := os.Open(s.base + dataEnding)
	if err != nil {
		return frame{}, nil, err
	}
	defer file.Close()
	raw, err := readFrame(file, head, nil)
	if err != nil {
		return frame{}, nil, err
	}
	return *head, describe(raw), nil
}

// describe lists the names of a section's interfaces.
func describe(raw []byte) (list []capture.Interface) {
	for len(raw) >= 12 {
		n := int(binary.LittleEndian.Uint32(raw[4:]))
		if n < 12 || n > len(raw) {
			return list
		}
		if binary.LittleEndian.Uint32(raw) == 1 && n >= 20 {
			var i capture.Interface
			for b := raw[16 : n-4]; len(b) >= 4; {
				code, size := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
				if code == 0 || size > len(b)-4 {
					break
				}
				switch text := string(b[4 : 4+size]); code {
				case 2:
					i.Sensor = text
				case 3:
					i.Name = text
				}
				b = b[min(len(b), 4+(size+3)&^3):]
			}
			list = append(list, i)
		}
		raw = raw[n:]
	}
	return list
}

// maxUnpacked bounds a chunk that is read: one packet may be longer than a chunk.
const maxUnpacked = 64 << 20

var unzip = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		panic(err) // of options that are constant
	}
	return d
}()

// readFrame reads and unpacks a chunk into buf.
func readFrame(file io.ReaderAt, f *frame, buf []byte) ([]byte, error) {
	if f.length <= 0 || f.length > maxUnpacked || f.unpacked <= 0 || f.unpacked > maxUnpacked {
		return nil, fmt.Errorf("evidence: a chunk of %d bytes", f.length)
	}
	packed := make([]byte, f.length)
	if _, err := file.ReadAt(packed, f.at); err != nil {
		return nil, fmt.Errorf("evidence: read packets: %w", err)
	}
	raw, err := unzip.DecodeAll(packed, buf[:0])
	if err != nil {
		return nil, fmt.Errorf("evidence: unpack packets: %w", err)
	}
	return raw, nil
}
