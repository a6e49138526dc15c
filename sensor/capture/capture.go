// Package capture is where packets come from. Each kind of source is a folder:
// file reads capture files, afpacket a live interface of Linux, pcap one of any
// system through libpcap.
package capture

import (
	"errors"
	"fmt"
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
// the caller can let flows time out; Next may be called again. Sources of files
// return it only if they follow what is still being written. Their present is
// that of the packets, and zero before the first.
var ErrIdle = errors.New("no packet came")

// Interface is one tap that a source reads.
type Interface struct {
	Sensor string // observer.name: the tap's name
	Name   string // interface name or path of the capture file
}

// Counters are a source's account of what it handed out and what it could not.
// They only grow. Dropped is by cause: "kernel" for want of room in the capture
// ring, "interface" for want of room in the card, "damaged" for frames that came
// broken, or another. Outages is how often a live interface went down, Oversized
// how many packets were longer than the interface's MTU allows, and Broken how many
// files of a folder could not be read to their end.
type Counters struct {
	Received  uint64
	Filtered  uint64
	Dropped   map[string]uint64
	Outages   uint64
	Oversized uint64
	Broken    uint64
	RingFill  float64 // part of a live source's ring that waits to be read, from 0 to 1
	State     *State  // of a live interface; nil if the source is a file
}

// State is how a live interface is at the moment: what its packets' times are
// worth, and what stands between the wire and the capture.
type State struct {
	Stamps       string        // who gives packets their time: "hardware", which is the card, or "kernel"
	Synchronized bool          // whether the kernel says that NTP or PTP keeps the system's clock
	ClockError   time.Duration // of the system's clock at most, as the kernel estimates; zero if not Synchronized
	ClockOffset  time.Duration // by which the card's clock is ahead of the system's, if it stamps
	NoHardware   string        // why the card does not stamp although it could; empty otherwise
	Offloads     []string      // that join packets before they are captured, as ethtool calls them: "gro", "lro"
}

// Advice is what to do about the state of an interface, a sentence each with
// the command to type. It is empty if all is well.
func (s *State) Advice(iface string) (advice []string) {
	if len(s.Offloads) > 0 {
		off := ""
		for _, o := range s.Offloads {
			off += " " + o + " off"
		}
		advice = append(advice, fmt.Sprintf("%s joins packets before they are captured, so their sizes and number are not those on the wire; run: ethtool -K %s%s", iface, iface, off))
	}
	if s.NoHardware != "" {
		advice = append(advice, fmt.Sprintf("the card of %s could stamp packets but does not: %s", iface, s.NoHardware))
	}
	if !s.Synchronized {
		advice = append(advice, "nothing keeps the system's clock, so the times of packets may be wrong; run: timedatectl set-ntp true")
	}
	return advice
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

// BatchSource is a Source that can hand out several packets at a time, so that
// their reader can have asked for the memory that a later one needs before it
// deals with the earlier ones.
type BatchSource interface {
	Source
	// NextBatch fills the first n of ps, of which there is at least one, with
	// the packets that come next. All are valid until the next call of it or of
	// Next. It returns fewer than there is room for rather than wait, or move
	// memory; no packet, and an error, where Next would return the error. With
	// ErrIdle, the first of ps tells the time.
	//
	// What Counters then says is what it would say after the first of them: a
	// batch ends before a packet that comes after a loss became known.
	// Only Received counts all.
	NextBatch(ps []Packet) (n int, err error)
}

// BlockSource is a BatchSource whose packets can stay valid for longer: as long
// as the memory that they lie in is not given back to it.
type BlockSource interface {
	BatchSource
	// Exchange returns the block of memory that the source reads into. Where it
	// would otherwise overwrite packets that it has handed out, it calls swap
	// from now on, with that block, and goes on in the one that it gets, which
	// must be as long. All packets of a batch lie in the block of that moment.
	Exchange(swap func(used []byte) []byte) []byte
}

// Mapper is a Source that can hand out packets that lie in the file itself,
// mapped into memory, rather than in a copy of it.
type Mapper interface {
	Source
	// Map has it do so from now on, if it is possible. Packets are then valid
	// until the source is closed, and it never overwrites them.
	//
	// Whoever cuts the file off meanwhile takes memory away from those who read
	// it. Mostly that is noticed in time, and is an error of Next. But where
	// packets are looked at, Go has to panic rather than end the program (see
	// debug.SetPanicOnFault), and they must not be given to C.
	Map()
	// Fault says what a fault at an address is about, or nil if that is not in
	// the mapping.
	Fault(addr uintptr) error
}
