package file_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// order is a byte order that can append, as both of encoding/binary can.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var orders = []order{binary.LittleEndian, binary.BigEndian}

func u32s(o order, vs ...uint32) []byte {
	var b []byte
	for _, v := range vs {
		b = o.AppendUint32(b, v)
	}
	return b
}

// header is that of a pcap file.
func header(o order, magic, link uint32) []byte {
	b := u32s(o, magic)
	b = o.AppendUint16(b, 2)
	b = o.AppendUint16(b, 4)
	return append(b, u32s(o, 0, 0, 65535, link)...)
}

// record is a packet of a pcap file.
func record(o order, sec, frac, length uint32, data string) []byte {
	return append(u32s(o, sec, frac, uint32(len(data)), length), data...)
}

// block is one of a pcapng file, padded.
func block(o order, kind uint32, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	n := uint32(12 + len(b))
	return slices.Concat(u32s(o, kind, n), b, u32s(o, n))
}

func section(o order) []byte {
	return block(o, 0x0a0d0d0a, u32s(o, 0x1a2b3c4d), []byte(o.AppendUint16(o.AppendUint16(nil, 1), 0)), bytes.Repeat([]byte{0xff}, 8))
}

func option(o order, code uint16, value []byte) []byte {
	b := o.AppendUint16(o.AppendUint16(nil, code), uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func iface(o order, link uint16, snaplen uint32, options ...[]byte) []byte {
	return block(o, 1, o.AppendUint16(o.AppendUint16(nil, link), 0), u32s(o, snaplen), slices.Concat(options...))
}

func enhanced(o order, id uint32, at uint64, length uint32, data string) []byte {
	return block(o, 6, u32s(o, id, uint32(at>>32), uint32(at), uint32(len(data)), length), []byte(data))
}

// read returns every packet as a line of text, and the error after the last.
func read(s capture.Source) (lines []string, err error) {
	var p capture.Packet
	for err = s.Next(&p); err == nil; err = s.Next(&p) {
		lines = append(lines, fmt.Sprintf("%s if%d link%d @%d %d %s",
			p.Time.Format("15:04:05.000000000"), p.Iface, p.Link, p.Offset, p.Length, p.Data))
	}
	return lines, err
}

// batched is a source whose packets come in batches of up to three.
type batched struct {
	*file.Reader
	ps   [3]capture.Packet
	left []capture.Packet
}

func (b *batched) Next(p *capture.Packet) error {
	if len(b.left) == 0 {
		n, err := b.NextBatch(b.ps[:])
		if err != nil {
			return err
		}
		b.left = b.ps[:n]
	}
	*p, b.left = b.left[0], b.left[1:]
	return nil
}

// ways are how packets may be had of a reader.
var ways = map[string]func(*file.Reader) capture.Source{
	"one by one": func(r *file.Reader) capture.Source { return r },
	"in batches": func(r *file.Reader) capture.Source { return &batched{Reader: r} },
}

func TestRead(t *testing.T) {
	f := func(name string, content []byte, want ...string) {
		t.Helper()
		for how, in := range map[string]io.Reader{
			"whole":           bytes.NewReader(content),
			"by the byte":     iotest.OneByteReader(bytes.NewReader(content)),
			"gzip":            bytes.NewReader(gzipped(content)),
			"zstd":            bytes.NewReader(zstded(content)),
			"data with error": iotest.DataErrReader(bytes.NewReader(content)),
			"in batches":      bytes.NewReader(content),
		} {
			r, err := file.New(in, name)
			if err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
				continue
			}
			way := ways["one by one"]
			if other, ok := ways[how]; ok {
				way = other
			}
			got, err := read(way(r))
			if err != io.EOF {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: got\n%s\nwant\n%s", name, how, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if c := r.Counters(); c.Received != uint64(len(want)) {
				t.Errorf("%s, %s: %+v", name, how, c)
			}
			if err := r.Close(); err != nil {
				t.Errorf("%s, %s: close: %v", name, how, err)
			}
		}
	}
	for _, o := range orders {
		f("microseconds", slices.Concat(header(o, 0xa1b2c3d4, 1), record(o, 3600, 5, 100, "abc"), record(o, 3601, 999999, 2, "de"), record(o, 1, 0, 0, "")),
			"01:00:00.000005000 if0 link1 @40 100 abc",
			"01:00:01.999999000 if0 link1 @59 2 de",
			"00:00:01.000000000 if0 link1 @77 0 ")
		f("nanoseconds", slices.Concat(header(o, 0xa1b23c4d, 101), record(o, 3600, 5, 0, "abc")),
			"01:00:00.000000005 if0 link101 @40 3 abc")
		modified := record(o, 3600, 5, 3, "")
		o.PutUint32(modified[8:], 3)
		f("Kuznetsov's", slices.Concat(header(o, 0xa1b2cd34, 1), modified, make([]byte, 8), []byte("abc")),
			"01:00:00.000005000 if0 link1 @48 3 abc")
		f("frame check sequence", slices.Concat(header(o, 0xa1b2c3d4, 0x24000001), record(o, 0, 0, 3, "abc")),
			"00:00:00.000000000 if0 link1 @40 3 abc")
		f("no packets", header(o, 0xa1b2c3d4, 1))

		f("pcapng", slices.Concat(section(o), iface(o, 1, 0), enhanced(o, 0, 3600e6+5, 100, "abc"), enhanced(o, 0, 3601e6, 4, "defg")),
			"01:00:00.000005000 if0 link1 @76 100 abc",
			"01:00:01.000000000 if0 link1 @112 4 defg")
		f("pcapng resolutions", slices.Concat(section(o),
			iface(o, 1, 0, option(o, 9, []byte{9})),
			iface(o, 1, 0, option(o, 9, []byte{0x80 | 10})),
			iface(o, 1, 0, option(o, 9, []byte{0})),
			iface(o, 1, 0, option(o, 9, []byte{12})),
			iface(o, 1, 0, option(o, 9, []byte{6}), option(o, 14, o.AppendUint64(nil, 3600))),
			iface(o, 1, 0, option(o, 9, []byte{0x80 | 63})),
			enhanced(o, 0, 3600e9+7, 1, "a"), enhanced(o, 1, 3600<<10|512, 1, "b"), enhanced(o, 2, 3600, 1, "c"),
			enhanced(o, 3, 3600e12+7000, 1, "d"), enhanced(o, 4, 9, 1, "e"), enhanced(o, 5, 1<<63|1<<62, 1, "f")),
			"01:00:00.000000007 if0 link1 @236 1 a",
			"01:00:00.500000000 if0 link1 @272 1 b",
			"01:00:00.000000000 if0 link1 @308 1 c",
			"01:00:00.000000007 if0 link1 @344 1 d",
			"01:00:00.000009000 if0 link1 @380 1 e",
			"00:00:01.500000000 if0 link1 @416 1 f")
		other := orders[0]
		if o == other {
			other = orders[1]
		}
		named := func(o order, link uint16, name string) []byte { return iface(o, link, 0, option(o, 2, []byte(name))) }
		f("pcapng sections in both orders", slices.Concat(
			section(o), named(o, 1, "eth0"), named(o, 101, "tun0"), enhanced(o, 1, 1e6, 1, "a"), enhanced(o, 0, 2e6, 1, "b"),
			section(other), named(other, 113, "any"), named(other, 1, "eth0"), enhanced(other, 0, 3e6, 1, "c"), enhanced(other, 1, 4e6, 1, "d")),
			"00:00:01.000000000 if1 link101 @112 1 a",
			"00:00:02.000000000 if0 link1 @148 1 b",
			"00:00:03.000000000 if2 link113 @268 1 c",
			"00:00:04.000000000 if0 link1 @304 1 d")
		f("pcapng other blocks", slices.Concat(section(o),
			block(o, 4, make([]byte, 100)), iface(o, 1, 4), block(o, 0x80000bad, make([]byte, 3<<20)),
			block(o, 2, o.AppendUint16(o.AppendUint16(nil, 0), 7), u32s(o, 0, 5e6, 3, 9), []byte("abc")),
			block(o, 3, u32s(o, 9), []byte("defg")), block(o, 3, u32s(o, 2), []byte("hi"))),
			"00:00:05.000000000 if0 link1 @3145928 9 abc",
			"00:00:05.000000000 if0 link1 @3145948 9 defg",
			"00:00:05.000000000 if0 link1 @3145968 2 hi")
	}
}

func TestInterfaces(t *testing.T) {
	o := binary.LittleEndian
	r, err := file.New(bytes.NewReader(slices.Concat(section(o), iface(o, 1, 0, option(o, 2, []byte("eth0\x00"))), iface(o, 1, 0),
		block(o, 5, u32s(o, 0, 0, 0), option(o, 5, o.AppendUint64(nil, 3)), option(o, 7, o.AppendUint64(nil, 4))),
		block(o, 5, u32s(o, 0, 0, 0), option(o, 5, o.AppendUint64(nil, 5)), option(o, 7, o.AppendUint64(nil, 4))),
		block(o, 5, u32s(o, 1, 0, 0), option(o, 7, o.AppendUint64(nil, 1))),
	)), "taps/border.pcapng.gz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(r); err != io.EOF {
		t.Fatal(err)
	}
	want := []capture.Interface{{Sensor: "border", Name: "eth0"}, {Sensor: "border", Name: "taps/border.pcapng.gz"}}
	if got := r.Interfaces(); !slices.Equal(got, want) {
		t.Errorf("Interfaces() = %v", got)
	}
	if c := r.Counters(); c.Dropped["interface"] != 5 || c.Dropped["kernel"] != 5 {
		t.Errorf("Counters() = %+v", c)
	}
}

func TestSensorName(t *testing.T) {
	for path, want := range map[string]string{
		"/data/border.pcap": "border", "dmz.pcapng.zst": "dmz", "a.b.cap.gz": "a.b", "x": "x", "stdin": "stdin",
		".pcap": ".pcap", "plant.pcap.pcap": "plant.pcap", "UPPER.PCAP": "UPPER",
	} {
		if got := file.SensorName(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// What is wrong with a file is said with its name and the place, after every
// packet before the place.
func TestDamage(t *testing.T) {
	f := func(content []byte, packets int, want string) {
		t.Helper()
		for _, way := range ways {
			r, err := file.New(bytes.NewReader(content), "border.pcap")
			var got []string
			if err == nil {
				got, err = read(way(r))
				if again := r.Next(new(capture.Packet)); again != err {
					t.Errorf("the second time: %v", again)
				}
			}
			if err == nil || err.Error() != want || len(got) != packets {
				t.Errorf("%d packets, then %v\nwant %d,        %s", len(got), err, packets, want)
			}
		}
	}
	f(nil, 0, "border.pcap: is empty; even a capture without packets has a header")
	f([]byte("ab"), 0, "border.pcap: not a pcap or pcapng capture: it is only 2 bytes long")
	f([]byte("hello, world, this is text"), 0, `border.pcap: not a pcap or pcapng capture: it begins with text "hello, world, th"`)
	f([]byte("\x7fELF\x02\x01\x01"), 0, "border.pcap: not a pcap or pcapng capture: it begins with bytes 7f 45 4c 46 02 01 01")
	f([]byte("\xfd7zXZ\x00\x00"), 0, "border.pcap: not a pcap or pcapng capture: it begins with xz data, which is not read: decompress it first")

	for _, o := range orders {
		two := slices.Concat(header(o, 0xa1b2c3d4, 1), record(o, 1, 0, 1500, strings.Repeat("a", 1500)), record(o, 2, 0, 1500, strings.Repeat("b", 1500)))
		f(two[:20], 0, "border.pcap: cut off at byte 20: the file's header has 24 bytes, 20 are left")
		f(two[:24+8], 0, "border.pcap: cut off at byte 32: a packet's header has 16 bytes, 8 are left")
		f(two[:24+16+1500+16+200], 1, "border.pcap: cut off at byte 1756: packet header says 1500 bytes, 200 are left")
		f(two[:24+16+1500+16], 1, "border.pcap: cut off at byte 1556: packet header says 1500 bytes, 0 are left")
		o.PutUint32(two[24+16+1500+8:], 0x80000000)
		f(two, 1, "border.pcap: damaged at byte 1540: packet header says 2147483648 bytes, more than 262144")

		head := slices.Concat(section(o), iface(o, 1, 0))
		one := slices.Concat(head, enhanced(o, 0, 0, 4, "abcd"))
		f(section(o)[:10], 0, "border.pcap: cut off at byte 10: a block has at least 12 bytes, 10 are left")
		f(one[:len(one)-1], 0, "border.pcap: cut off at byte 83: a block says 36 bytes, 35 are left")
		f(slices.Concat(one, one[len(head):][:20]), 1, "border.pcap: cut off at byte 104: a block says 36 bytes, 20 are left")
		f(slices.Concat(one, block(o, 77, make([]byte, 100))[:50]), 1, "border.pcap: cut off at byte 134: block of type 0x4d says 112 bytes, 50 are left")
		f(slices.Concat(one, u32s(o, 6, 0x7ffffffc, 0)), 1, "border.pcap: damaged at byte 84: block of type 0x6 says 2147483644 bytes, more than 393216")
		f(slices.Concat(one, u32s(o, 6, 8, 0)), 1, "border.pcap: damaged at byte 84: block says it has 8 bytes")
		f(slices.Concat(one, u32s(o, 6, 16, 0, 20)), 1, "border.pcap: damaged at byte 84: block says 16 bytes at its start and 20 at its end")
		f(slices.Concat(one, block(o, 6, u32s(o, 0))), 1, "border.pcap: damaged at byte 84: block of type 0x6 has no room for its fields")
		f(slices.Concat(one, block(o, 6, u32s(o, 0, 0, 0, 99, 99))), 1, "border.pcap: damaged at byte 84: packet says 99 bytes, its block has room for 0")
		f(slices.Concat(one, enhanced(o, 1, 0, 4, "abcd")), 1, "border.pcap: damaged at byte 84: packet is of interface 1, the section has described 1")
		f(slices.Concat(one, section(o), block(o, 3, u32s(o, 4), []byte("abcd"))), 1, "border.pcap: damaged at byte 112: packet is of interface 0, the section has described 0")
		f(slices.Concat(head, iface(o, 1, 0, option(o, 9, []byte{20}))), 0, "border.pcap: byte 48: interface has a time resolution of 0x14, which is not to be expressed")
		f(block(o, 0x0a0d0d0a, u32s(o, 7, 0, 0, 0)), 0, fmt.Sprintf("border.pcap: damaged at byte 0: section header has byte-order magic % x", u32s(o, 7)))
		f(block(o, 0x0a0d0d0a, u32s(o, 0x1a2b3c4d), []byte(o.AppendUint16(nil, 2)), make([]byte, 10)), 0,
			"border.pcap: byte 0: section is of pcapng version 2, only 1 is known")
	}

	o := binary.LittleEndian
	content := slices.Concat(header(o, 0xa1b2c3d4, 1), record(o, 1, 0, 4, "abcd"), record(o, 2, 0, 4, "efgh"))
	r, err := file.New(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(content))), "border.pcap")
	if err == nil {
		_, err = read(r)
	}
	if !errors.Is(err, iotest.ErrTimeout) || !strings.HasPrefix(err.Error(), "border.pcap: ") {
		t.Errorf("an input that fails: %v", err)
	}
}

// A compressed file that is cut gives what can be decompressed.
func TestDamagedCompression(t *testing.T) {
	o := binary.LittleEndian
	content := header(o, 0xa1b2c3d4, 1)
	const n = 20000
	for i := range uint32(n) {
		content = append(content, record(o, i, i*7919%1000000, 60, fmt.Sprintf("%060x", i*2654435761))...)
	}
	for name, b := range map[string][]byte{"gzip": gzipped(content), "zstd": zstded(content)} {
		for _, cut := range []int{len(b) / 2, len(b) - 3} {
			r, err := file.New(bytes.NewReader(b[:cut]), "border.pcap."+name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(r)
			if err == nil || err == io.EOF || !strings.HasPrefix(err.Error(), "border.pcap."+name+": ") || !strings.Contains(err.Error(), "byte") {
				t.Errorf("%s cut at %d: %v", name, cut, err)
			}
			if cut == len(b)/2 && (len(got) < n/10 || len(got) >= n) {
				t.Errorf("%s cut at %d: %d packets", name, cut, len(got))
			}
		}
	}
	window := zstded(content, zstd.WithWindowSize(128<<20), zstd.WithSingleSegment(false))
	if r, err := file.New(bytes.NewReader(window), "border.pcap.zst"); err == nil {
		_, err = read(r)
		t.Errorf("a window of 128 MiB: %v", err)
	}
}

func TestOpen(t *testing.T) {
	o := binary.LittleEndian
	dir := t.TempDir()
	write := func(name string, content ...[]byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, slices.Concat(content...), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	head := header(o, 0xa1b2c3d4, 1)
	dmz := write("dmz.pcap", head, record(o, 1, 0, 1, "a"), record(o, 3, 0, 1, "c"))
	border := write("border.pcap", head, record(o, 1, 0, 1, "b"), record(o, 2, 0, 1, "!"))
	text := write("notes.txt", []byte("not packets"))

	s, err := file.Open(dmz)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(s); len(got) != 2 || err != io.EOF {
		t.Errorf("one: %v %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Next(new(capture.Packet)); err == nil || err == io.EOF {
		t.Errorf("Next after Close: %v", err)
	}

	if s, err = file.Open(dmz, border); err != nil {
		t.Fatal(err)
	}
	got, err := read(s)
	want := []string{
		"00:00:01.000000000 if0 link1 @40 1 a",
		"00:00:01.000000000 if1 link1 @40 1 b",
		"00:00:02.000000000 if1 link1 @57 1 !",
		"00:00:03.000000000 if0 link1 @57 1 c",
	}
	if err != io.EOF || !slices.Equal(got, want) {
		t.Errorf("two: %v %v", got, err)
	}
	if got := s.Interfaces(); len(got) != 2 || got[0] != (capture.Interface{Sensor: "dmz", Name: dmz}) || got[1].Sensor != "border" {
		t.Errorf("Interfaces() = %v", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	if _, err := file.Open(dmz, filepath.Join(dir, "missing.pcap")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := file.Open(dmz, text); err == nil || !strings.Contains(err.Error(), `text "not packets"`) {
		t.Errorf("text: %v", err)
	}
	if _, err := file.Open(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("folder: %v", err)
	}
}

// Packets of a pipe come out when they have come in, not a block later.
func TestPipe(t *testing.T) {
	o := binary.LittleEndian
	in, out := io.Pipe()
	go func() {
		out.Write(header(o, 0xa1b2c3d4, 1))
		out.Write(record(o, 1, 0, 1, "a"))
	}()
	done := make(chan error, 1)
	go func() {
		r, err := file.New(in, "stdin")
		if err == nil {
			err = r.Next(new(capture.Packet))
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the packet does not come out")
	}
	out.Close()
}

func gzipped(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	// Two members, as "cat a.gz b.gz" makes.
	w.Write(b[:len(b)/2])
	w.Close()
	w.Reset(&buf)
	w.Write(b[len(b)/2:])
	w.Close()
	return buf.Bytes()
}

func zstded(b []byte, options ...zstd.EOption) []byte {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, options...)
	if err != nil {
		panic(err)
	}
	w.Write(b)
	w.Close()
	return buf.Bytes()
}

// long makes captures with n packets of size bytes.
func long(n, size int) (pcap, pcapng []byte) {
	o := binary.LittleEndian
	data := strings.Repeat("x", size)
	pcap = header(o, 0xa1b2c3d4, 1)
	pcapng = append(section(o), iface(o, 1, 0)...)
	for i := range n {
		pcap = append(pcap, record(o, uint32(i), 0, uint32(size), data)...)
		pcapng = append(pcapng, enhanced(o, 0, uint64(i)*1e6, uint32(size), data)...)
	}
	return pcap, pcapng
}

// Across many blocks of the window nothing is lost, doubled or allocated.
func TestNextAllocates(t *testing.T) {
	pcap, pcapng := long(10000, 1000)
	for name, content := range map[string][]byte{"pcap": pcap, "pcapng": pcapng} {
		for how, way := range ways {
			r, err := file.New(bytes.NewReader(content), name)
			if err != nil {
				t.Fatal(err)
			}
			s := way(r)
			var p capture.Packet
			i := int64(0)
			if n := testing.AllocsPerRun(9000, func() {
				if err := s.Next(&p); err != nil || p.Time.Unix() != i || len(p.Data) != 1000 || p.Data[999] != 'x' {
					t.Fatalf("%s %s: packet %d: %v at %v", name, how, i, err, p.Time)
				}
				i++
			}); n != 0 {
				t.Errorf("%s %s: %v allocations per packet", name, how, n)
			}
		}
	}
}

func fuzz(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := file.New(bytes.NewReader(b), "fuzz")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz: ") {
				t.Errorf("error without the file's name: %v", err)
			}
			return
		}
		defer r.Close()
		again, err := file.New(bytes.NewReader(b), "fuzz")
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		batches := &batched{Reader: again}
		var p, same capture.Packet
		for n := 0; ; n++ {
			err := r.Next(&p)
			if other := batches.Next(&same); fmt.Sprint(err) != fmt.Sprint(other) || err == nil && !reflect.DeepEqual(p, same) {
				t.Fatalf("packet %d: %+v, %v; in batches %+v, %v", n, p, err, same, other)
			}
			if cap(batches.left) == len(batches.ps)-1 && !maps.Equal(r.Counters().Dropped, batches.Counters().Dropped) {
				t.Fatalf("after packet %d: %+v; at the beginning of a batch %+v", n, r.Counters(), batches.Counters())
			}
			if err != nil {
				if err != io.EOF && !strings.HasPrefix(err.Error(), "fuzz: ") {
					t.Errorf("error without the file's name: %v", err)
				}
				return
			}
			if n > len(b) || p.Length < len(p.Data) || p.Iface < 0 || p.Iface >= len(r.Interfaces()) {
				t.Fatalf("packet %d of %d bytes of input: %+v", n, len(b), p)
			}
			if at := int(p.Offset); b[0] != 0x1f && b[0] != 0x28 && !bytes.Equal(p.Data, b[at:at+len(p.Data)]) {
				t.Fatalf("the packet is not at %d", at)
			}
		}
	})
}

func FuzzPcap(f *testing.F) {
	for _, o := range orders {
		f.Add(slices.Concat(header(o, 0xa1b2c3d4, 1), record(o, 1, 0, 3, "abc"), record(o, 2, 0, 1, "d")))
		f.Add(slices.Concat(header(o, 0xa1b23c4d, 101), record(o, 1, 0, 3, "abc")))
		f.Add(slices.Concat(header(o, 0xa1b2cd34, 1), make([]byte, 24)))
	}
	fuzz(f)
}

func FuzzPcapng(f *testing.F) {
	for _, o := range orders {
		f.Add(slices.Concat(section(o), iface(o, 1, 0, option(o, 2, []byte("eth0")), option(o, 9, []byte{9})), enhanced(o, 0, 1, 3, "abc"),
			block(o, 5, u32s(o, 0, 0, 0), option(o, 5, make([]byte, 8))), block(o, 77, []byte("abcd"))))
		f.Add(slices.Concat(section(o), iface(o, 1, 4), block(o, 3, u32s(o, 9), []byte("abcd")), block(o, 2, make([]byte, 20)), section(o)))
	}
	fuzz(f)
}

func BenchmarkNext(b *testing.B) {
	pcap, pcapng := long(40000, 200)
	for _, c := range []struct {
		name    string
		content []byte
	}{{"pcap", pcap}, {"pcapng", pcapng}} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "b."+c.name)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				b.Fatal(err)
			}
			var s capture.Source
			var p capture.Packet
			b.ReportAllocs()
			for range b.N {
				if s != nil && s.Next(&p) == nil {
					continue
				}
				var err error
				if s != nil {
					s.Close()
				}
				if s, err = file.Open(path); err != nil {
					b.Fatal(err)
				}
			}
			s.Close()
		})
	}
}

// A compressed file that breaks off within its first block has no capture to
// show, and says where it ends as any other does.
func TestCutBeforeHeader(t *testing.T) {
	var zipped bytes.Buffer
	z, err := zstd.NewWriter(&zipped)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(bytes.Repeat([]byte("\xd4\xc3\xb2\xa1"), 1000))
	z.Close()
	_, err = file.New(bytes.NewReader(zipped.Bytes()[:zipped.Len()/2]), "half.zst")
	if err == nil || !strings.HasPrefix(err.Error(), "half.zst: cut off at byte 0: ") {
		t.Errorf("error %v", err)
	}
}
