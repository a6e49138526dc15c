// Package capture is where packets come from. Each kind of source is a folder:
// file reads capture files, afpacket a live interface of Linux, pcap one of any
// system through libpcap.
package capture

import (
	"errors"
	"time"
)

// LinkType says how the first byte of a packet is to be read; the numbers are
// those of the LINKTYPE_ registry of tcpdump.org.
type LinkType uint16

// Packet is one captured packet. Data is valid until the next call of Next.
type Packet struct {
	Time   time.Time // UTC
	Data   []byte    // the captured part
	Length int       // bytes on the wire, at least len(Data)
	Link   LinkType
	Iface  int   // index into Source.Interfaces
	Offset int64 // of the packet's bytes within its file, after decompression; -1 if live
}

// ErrIdle is what a live source's Next returns when no packet came for about a
// second. The packet's Time is then the present, and its Data empty, so that
// the caller can let flows time out; Next may be called again. Sources that
// read files never return it.
var ErrIdle = errors.New("no packet came")

// Interface is one tap that a source reads.
type Interface struct {
	Sensor string // observer.name: the tap's name
	Name   string // interface name or path of the capture file
}

// Counters are a source's account of what it handed out and what it could not.
// They only grow. Dropped is by cause: "kernel" for want of room in the capture
// ring, "interface", or another. Outages is how often a live interface went down.
type Counters struct {
	Received uint64
	Filtered uint64
	Dropped  map[string]uint64
	Outages  uint64
}

// Source hands out packets, one after the other. It is for one goroutine.
type Source interface {
	// Next fills p with the next packet. After the last it returns io.EOF. An
	// error that names where the input is broken comes after every packet
	// before that place; Next may not be called again after an error, except
	// after ErrIdle.
	Next(p *Packet) error
	// Interfaces lists the taps; packets refer to them by index. A file may
	// reveal one only when its first packet is read.
	Interfaces() []Interface
	// Counters reports the account so far.
	Counters() Counters
	Close() error
}
