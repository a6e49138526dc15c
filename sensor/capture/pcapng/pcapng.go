// Package pcapng writes packets as tools of the trade read them
// (draft-ietf-opsawg-pcapng): little-endian, times in nanoseconds, with
// comments. capture/file reads them.
package pcapng

import (
	"encoding/binary"
	"io"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Block types and option codes, sections 4 and 3.5 of the draft.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 6 // enhanced

	optEnd         = 0
	optComment     = 1
	optSectionApp  = 4
	optName        = 2
	optDescription = 3
	optResolution  = 9
)

// maxComment is how long an option can be: its length has 16 bits.
const maxComment = 65535

// Append functions add one block to b and return it.

// AppendSection begins a section. What follows belongs to it, until the next.
func AppendSection(b []byte, application, comment string) []byte {
	at := len(b)
	b = begin(b, blockSection)
	b = binary.LittleEndian.AppendUint32(b, 0x1a2b3c4d)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, ^uint64(0)) // length not known
	b = option(b, optComment, comment)
	b = option(b, optSectionApp, application)
	return end(b, at, comment+application != "")
}

// AppendInterface describes the interface that the next number of the section,
// from 0 on, stands for.
func AppendInterface(b []byte, link capture.LinkType, name, description string) []byte {
	at := len(b)
	b = begin(b, blockInterface)
	b = binary.LittleEndian.AppendUint16(b, uint16(link))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0) // no limit to lengths
	b = option(b, optName, name)
	b = option(b, optDescription, description)
	b = option(b, optResolution, "\x09")
	return end(b, at, true)
}

// AppendPacket adds a packet of an interface of the section.
func AppendPacket(b []byte, iface int, p *capture.Packet, comment string) []byte {
	at := len(b)
	b = begin(b, blockPacket)
	ns := uint64(p.Time.UnixNano())
	b = binary.LittleEndian.AppendUint32(b, uint32(iface))
	b = binary.LittleEndian.AppendUint32(b, uint32(ns>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(ns))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(max(p.Length, len(p.Data))))
	b = pad(append(b, p.Data...), len(p.Data))
	b = option(b, optComment, comment)
	return end(b, at, comment != "")
}

func begin(b []byte, kind uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, kind)
	return binary.LittleEndian.AppendUint32(b, 0) // see end
}

// end completes the block that begins at a place.
func end(b []byte, at int, options bool) []byte {
	if options {
		b = binary.LittleEndian.AppendUint32(b, optEnd)
	}
	n := uint32(len(b) - at + 4)
	binary.LittleEndian.PutUint32(b[at+4:], n)
	return binary.LittleEndian.AppendUint32(b, n)
}

func option(b []byte, code uint16, text string) []byte {
	if text == "" {
		return b
	}
	text = text[:min(len(text), maxComment)]
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return pad(append(b, text...), len(text))
}

// pad fills up to 32 bits.
func pad(b []byte, n int) []byte { return append(b, "\x00\x00\x00"[:-n&3]...) }

// Writer writes a file of one section. Interfaces are described when their
// first packet comes.
type Writer struct {
	w      io.Writer
	buf    []byte
	ifaces map[ifaceKey]int
}

type ifaceKey struct {
	tap  capture.Interface
	link capture.LinkType
}

// NewWriter returns a Writer; nothing is written before the first packet, or
// Close.
func NewWriter(w io.Writer, application, comment string) *Writer {
	return &Writer{w: w, buf: AppendSection(nil, application, comment), ifaces: map[ifaceKey]int{}}
}

// Packet writes a packet that a tap saw.
func (w *Writer) Packet(tap capture.Interface, p *capture.Packet, comment string) error {
	k := ifaceKey{tap, p.Link}
	i, ok := w.ifaces[k]
	if !ok {
		i = len(w.ifaces)
		w.ifaces[k] = i
		w.buf = AppendInterface(w.buf, p.Link, tap.Sensor, tap.Name)
	}
	w.buf = AppendPacket(w.buf, i, p, comment)
	if len(w.buf) < 64<<10 {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// Close writes what is left. It does not close what it writes to.
func (w *Writer) Close() error { return w.flush() }
