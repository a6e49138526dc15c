// Package file reads capture files: pcap and pcapng, plain or compressed by
// gzip or Zstandard, in any byte order and resolution of time. What a file is
// shows in its content; its name does not matter.
//
// Reading is by blocks of a megabyte and without copies: a packet's bytes lie in
// the block until the next one is read, or in the file itself if it was mapped.
package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/merge"
)

// Limits of what a file may ask for.
const (
	maxPacket     = 256 << 10 // captured bytes: libpcap's own limit (MAXIMUM_SNAPLEN)
	maxBlock      = maxPacket + 128<<10
	maxInterfaces = 4096
	maxWindow     = 64 << 20 // of Zstandard; level 19 needs 8 MiB
	blockSize     = 1 << 20
	// readSize is the most that is read at a time: so much that its cost does
	// not matter, and little enough that the bytes are still in the nearer
	// caches when it is their turn.
	readSize = 256 << 10
)

// Open opens captures to be read as one, packets in order of time. A single
// capture is read in the order of the file. If one cannot be opened, or is not
// a capture, none is.
func Open(paths ...string) (capture.Source, error) {
	return merge.Open(len(paths), func(i int) (capture.Source, error) { return open(paths[i]) })
}

func open(path string) (capture.Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("capture %w", err)
	}
	r, err := New(f, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.file = f
	return r, nil
}

// Reader reads one capture. It is a capture.Source.
type Reader struct {
	name   string
	sensor string
	file   io.Closer // nil if the input is the caller's
	plain  io.Closer // the decompressor, if there is one
	in     window    //
	next   func(*Reader, *capture.Packet) error
	err    error

	pcap pcapFormat
	ng   pcapngFormat

	interfaces []capture.Interface
	received   uint64
	dropped    map[string]uint64
}

// New reads a capture from in, up to and with its first header. The name stands
// in errors and makes the sensor's name; see SensorName.
func New(in io.Reader, name string) (*Reader, error) {
	r := &Reader{name: name, sensor: SensorName(name)}
	r.in.init(in)
	if err := r.open(); err != nil {
		if r.plain != nil {
			r.plain.Close()
		}
		return nil, err
	}
	return r, nil
}

// SensorName returns the sensor's name for a capture file: the file's name
// without folders and without the endings that say how it is written.
func SensorName(path string) string {
	name := filepath.Base(path)
	name = trimEnding(name, ".gz", ".zst")
	return trimEnding(name, ".pcap", ".pcapng", ".cap", ".dmp")
}

// trimEnding cuts one of the endings off, in any case, unless nothing else is left.
func trimEnding(name string, endings ...string) string {
	ext := filepath.Ext(name)
	if len(ext) < len(name) && slices.Contains(endings, strings.ToLower(ext)) {
		return name[:len(name)-len(ext)]
	}
	return name
}

func (r *Reader) open() error {
	head, err := r.in.peek(4)
	if err != nil {
		return r.headError(head, err)
	}
	switch {
	case head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(r.in.rest())
		if err != nil {
			return fmt.Errorf("%s: gzip: %w", r.name, err)
		}
		r.plain = z
		r.in.init(z)
	case string(head) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(r.in.rest(), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("%s: zstd: %w", r.name, err)
		}
		r.plain = z.IOReadCloser()
		r.in.init(z)
	}
	if r.plain != nil {
		if head, err = r.in.peek(4); err != nil {
			return r.headError(head, err)
		}
	}
	switch {
	case string(head) == "\x0a\x0d\x0d\x0a":
		r.next = (*Reader).nextPcapng
		r.ng.last = time.Unix(0, 0).UTC()
		return nil
	case r.pcap.magic([4]byte(head)):
		r.next = (*Reader).nextPcap
		return r.openPcap()
	}
	head, _ = r.in.peek(16)
	return fmt.Errorf("%s: not a pcap or pcapng capture: it begins with %s", r.name, describe(head))
}

func (r *Reader) headError(head []byte, err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF): // only a decompressor says so
		return fmt.Errorf("%s: cut off at byte %d: the compressed data breaks off before the capture's header", r.name, len(head))
	case err != io.EOF:
		return fmt.Errorf("%s: %w", r.name, err)
	case len(head) == 0:
		return fmt.Errorf("%s: is empty; even a capture without packets has a header", r.name)
	}
	return fmt.Errorf("%s: not a pcap or pcapng capture: it is only %d bytes long", r.name, len(head))
}

// describe shows the first bytes of a file that is something else.
func describe(b []byte) string {
	for _, known := range [...]struct{ magic, what string }{
		{"\xfd7zXZ\x00", "xz data, which is not read: decompress it first"},
		{"BZh", "bzip2 data, which is not read: decompress it first"},
		{"PK\x03\x04", "a zip archive, which is not read: unpack it first"},
		{"\x04\x22\x4d\x18", "lz4 data, which is not read: decompress it first"},
	} {
		if strings.HasPrefix(string(b), known.magic) {
			return known.what
		}
	}
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c > '~' {
			return fmt.Sprintf("bytes % x", b)
		}
	}
	return fmt.Sprintf("text %q", b)
}

// Next implements capture.Source.
func (r *Reader) Next(p *capture.Packet) error {
	if r.err != nil {
		return r.err
	}
	if err := r.next(r, p); err != nil {
		r.err = err
		return err
	}
	r.received++
	return nil
}

// NextBatch implements capture.BatchSource. A batch ends where the block that was
// read does.
func (r *Reader) NextBatch(ps []capture.Packet) (int, error) {
	if err := r.Next(&ps[0]); err != nil {
		return 0, err
	}
	n := 1
	if r.pcap.header > 0 {
		n += r.nextsPcap(ps[1:])
		r.received += uint64(n - 1)
		return n, nil
	}
	r.in.still = true
	for n < len(ps) {
		if err := r.next(r, &ps[n]); err != nil {
			if err != errStill {
				r.err = err // for the next call
			}
			break
		}
		n++
	}
	r.in.still = false
	r.received += uint64(n - 1)
	return n, nil
}

// Exchange implements capture.BlockSource.
func (r *Reader) Exchange(swap func(used []byte) []byte) []byte {
	r.in.swap = swap
	if r.in.block != nil {
		return r.in.block
	}
	return r.in.buf
}

// Interfaces implements capture.Source.
func (r *Reader) Interfaces() []capture.Interface { return r.interfaces }

// Counters implements capture.Source. What the program that wrote a pcapng file
// says it lost is under "kernel" and "interface".
func (r *Reader) Counters() capture.Counters {
	c := capture.Counters{Received: r.received, Dropped: make(map[string]uint64, len(r.dropped))}
	for cause, n := range r.dropped {
		c.Dropped[cause] = n
	}
	return c
}

// Close implements capture.Source.
func (r *Reader) Close() error {
	r.err = errors.New(r.name + ": is closed")
	var errs []error
	if r.plain != nil {
		errs = append(errs, r.plain.Close())
		r.plain = nil
	}
	if m := r.in.mapped; m != nil {
		r.in = window{}
		errs = append(errs, unmapFile(m.all))
	}
	if r.file != nil {
		errs = append(errs, r.file.Close())
		r.file = nil
	}
	return errors.Join(errs...)
}

// errorf makes an error that names the file.
func (r *Reader) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{r.name}, args...)...)
}

// cut makes the error for an input that ends at the place that the window is at,
// where n more bytes should be.
func (r *Reader) cut(err error, what string, n int) error {
	at, left := r.in.offset(), r.in.buffered()
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return r.errorf("cut off at byte %d: %s %d bytes, %d are left", at+int64(left), what, n, left)
	}
	return r.errorf("byte %d: %w", at+int64(left), err)
}

// addInterface returns the index of an interface in the list.
func (r *Reader) addInterface(name string) (int, error) {
	want := capture.Interface{Sensor: r.sensor, Name: name}
	for i, have := range r.interfaces {
		if have == want {
			return i, nil
		}
	}
	if len(r.interfaces) == maxInterfaces {
		return 0, r.errorf("byte %d: describes more than %d interfaces", r.in.offset(), maxInterfaces)
	}
	r.interfaces = append(r.interfaces, want)
	return len(r.interfaces) - 1, nil
}
