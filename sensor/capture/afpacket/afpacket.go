//go:build linux

// Package afpacket captures from a live interface of Linux through AF_PACKET
// sockets with a ring of memory that is shared with the kernel. Several
// sockets can share the packets of one interface, so that several workers can.
package afpacket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"runtime"
	"sync"
	"time"

	"github.com/google/gopacket/pcap"
	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Config says what to capture, and how.
type Config struct {
	Interface   string // such as "eth0"
	Sensor      string // observer.name; the interface's name if empty
	Filter      string // in the language of pcap-filter(7); empty for everything
	SnapLen     int    // bytes of each packet that are captured, at most 262,144
	Promiscuous bool   // also capture what is not addressed to this machine
	Ring        int    // bytes of each socket's ring; what does not fit is dropped and counted
	Sockets     int    // that share the packets; 1 to 64
}

// DefaultConfig returns a configuration of one socket that captures whole
// packets of the interface, also those that its offloads have joined to 64 KiB,
// and bears bursts of 32 MiB.
func DefaultConfig(iface string) Config {
	return Config{Interface: iface, SnapLen: 96 << 10, Promiscuous: true, Ring: 32 << 20, Sockets: 1}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.Interface == "":
		return errors.New("capture: no interface is named")
	case len(c.Interface) >= unix.IFNAMSIZ:
		return fmt.Errorf("capture on %s: names of interfaces have at most %d bytes", c.Interface, unix.IFNAMSIZ-1)
	case c.SnapLen < 64 || c.SnapLen > 262144:
		return fmt.Errorf("capture on %s: snaplen %d is not between 64 and 262144", c.Interface, c.SnapLen)
	case c.Ring < 4*c.block() || c.Ring > 1<<30:
		return fmt.Errorf("capture on %s: ring of %d bytes is not between %d and %d", c.Interface, c.Ring, 4*c.block(), 1<<30)
	case c.Sockets < 1 || c.Sockets > 64:
		return fmt.Errorf("capture on %s: %d sockets are not between 1 and 64", c.Interface, c.Sockets)
	}
	return nil
}

// block is how many bytes the blocks of the ring have: enough for a packet
// with its headers, and a power of two, as the kernel wants. Small blocks are
// better than large ones, for a block that is not full when its time is over
// is a block nevertheless.
func (c Config) block() int {
	const headers = 4096
	return max(128<<10, 1<<bits.Len(uint(c.SnapLen+headers-1)))
}

// How often Next looks whether it is to stop, how long nothing must have come
// until it says so, and after how long the kernel hands over a block that is
// not full.
const (
	poll   = 100 * time.Millisecond
	idle   = time.Second
	retire = 50 * time.Millisecond
)

// ErrLinkType is in the error of Open if the interface's packets begin with
// something that only libpcap knows to read.
var ErrLinkType = errors.New("not an Ethernet, loopback or raw IP interface")

// Source captures what one socket gets. It is a capture.Source.
type Source struct {
	ctx      context.Context // asked by Next, which the contract gives none
	fd       int
	ring     ring
	link     capture.LinkType
	taps     []capture.Interface
	index    int       // of the interface
	device   *device   // nil if another source tells of it
	card     *card     // likewise
	left     *counting // what the filter leaves out; nil without filter, and likewise
	between  *between  // likewise
	group    []*Source // all that share the packets
	longest  int       // a frame can be, without offloads
	received uint64
	stats    stats
	outages  uint64
	oversize uint64
	last     capture.State // as of the last call of Counters
	quiet    time.Time     // since when nothing has come; zero if something has
	gone     bool          // the interface; what is in the ring is still read
}

// stats are what the kernel says of a socket. The first source of several asks
// for all of theirs.
type stats struct {
	mu      sync.Mutex
	arrived uint64 // whether there was room or not
	dropped uint64 // for want of room in the ring
	freezes uint64
}

// Open starts to capture on as many sockets as the configuration says. Each
// packet goes to one of them, and all packets between two addresses go to the
// same; see share. When ctx is done, Next of all returns io.EOF. The sources
// may be used by different goroutines, and should all be closed when one is.
//
// On loopback interfaces each packet is captured once, when it arrives. On
// others, packets that this machine sends are captured too.
func Open(ctx context.Context, c Config) (sources []*Source, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		for _, s := range sources {
			s.Close()
		}
		sources, err = nil, fmt.Errorf("capture on %s: %w", c.Interface, err)
	}()
	dev, err := find(c.Interface)
	if err != nil {
		return nil, err
	}
	accept, err := compile(c)
	if err != nil {
		return nil, err
	}
	if c.Sensor == "" {
		c.Sensor = c.Interface
	}
	card, err := newCard(c.Interface)
	if err != nil {
		return nil, err
	}
	longest, err := card.longest()
	if err != nil {
		return nil, errors.Join(err, card.close())
	}
	for n := range c.Sockets {
		s := &Source{
			ctx: ctx, fd: -1, link: dev.link, index: dev.index, longest: longest,
			taps: []capture.Interface{{Sensor: c.Sensor, Name: c.Interface}},
		}
		sources = append(sources, s)
		if n == 0 {
			s.card = card
		}
		if err := s.open(c, dev, n == 0); err != nil {
			return sources, err
		}
		if err := stampSocket(s.fd, card.clock != nil); err != nil {
			return sources, fmt.Errorf("time stamps: %w", err)
		}
	}
	if c.Sockets > 1 {
		if err := fanOut(sources, dev); err != nil {
			return sources, err
		}
	}
	if sources[0].device, err = watchDevice(dev.index); err != nil {
		return sources, err
	}
	if c.Filter != "" {
		if sources[0].left, err = countRemainder(accept, dev); err != nil {
			return sources, fmt.Errorf("count what filter %q leaves out: %w", c.Filter, err)
		}
	}
	all, err := countAll(dev)
	if err != nil {
		return sources, fmt.Errorf("count what comes while the interface goes down and up: %w", err)
	}
	sources[0].between, sources[0].group = &between{all: all, before: math.MaxInt64}, sources
	// Only now that all share may any of them see packets.
	for _, s := range sources {
		if err := attach(s.fd, accept); err != nil {
			return sources, fmt.Errorf("filter %q: %w", c.Filter, err)
		}
	}
	if began, ok := sources[0].between.measure(sources[0].given); ok {
		sources[0].between.began = began
	} else {
		sources[0].between.began = math.MaxInt64 / 2 // it will never be known
	}
	return sources, nil
}

// ask asks the kernel for the socket's statistics, by any goroutine.
func (s *Source) ask() (arrived, dropped, freezes uint64) {
	t := &s.stats
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.fd >= 0 {
		// The kernel begins anew each time that it is asked.
		if n, err := unix.GetsockoptTpacketStatsV3(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			t.arrived += uint64(n.Packets)
			t.dropped += uint64(n.Drops)
			t.freezes += uint64(n.Freeze_q_cnt)
		}
	}
	return t.arrived, t.dropped, t.freezes
}

// given is how many packets the kernel has given to the sockets of the group,
// or left out by their filter.
func (s *Source) given() (n uint64) {
	for _, other := range s.group {
		arrived, _, _ := other.ask()
		n += arrived
	}
	if s.left != nil {
		n += s.left.packets()
	}
	return n
}

// nature is what must be known of an interface.
type nature struct {
	index    int
	link     capture.LinkType
	loopback bool
}

// find looks an interface up.
func find(name string) (nature, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nature{}, err
	}
	defer unix.Close(fd)
	ask := func(request uint) (*unix.Ifreq, error) {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return nil, err
		}
		return r, unix.IoctlIfreq(fd, request, r)
	}
	var d nature
	r, err := ask(unix.SIOCGIFINDEX)
	if errors.Is(err, unix.ENODEV) {
		return d, errors.New("there is no interface of that name")
	} else if err != nil {
		return d, err
	}
	d.index = int(r.Uint32())
	if r, err = ask(unix.SIOCGIFFLAGS); err != nil {
		return d, err
	}
	if r.Uint16()&unix.IFF_UP == 0 {
		return d, fmt.Errorf("the interface is down; run: ip link set %s up", name)
	}
	if r, err = ask(unix.SIOCGIFHWADDR); err != nil {
		return d, err
	}
	const (
		ethernet = 1
		rawIP    = 101
	)
	switch hardware := r.Uint16(); hardware {
	case unix.ARPHRD_ETHER:
		d.link = ethernet
	case unix.ARPHRD_LOOPBACK:
		d.link, d.loopback = ethernet, true
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP:
		d.link = rawIP
	default:
		return d, fmt.Errorf("%w (its hardware type is %d)", ErrLinkType, hardware)
	}
	return d, nil
}

// compile makes the program of the filter. libpcap does it for the interface
// rather than for Ethernet in general, as tags of VLANs are not in the packet
// when the kernel filters it: "vlan 5" finds them nevertheless, and the rest of
// the expression looks behind them.
func compile(c Config) ([]unix.SockFilter, error) {
	if c.Filter == "" {
		return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: uint32(c.SnapLen)}}, nil
	}
	inactive, err := pcap.NewInactiveHandle(c.Interface)
	if err != nil {
		return nil, err
	}
	defer inactive.CleanUp()
	if err := errors.Join(inactive.SetSnapLen(c.SnapLen), inactive.SetBufferSize(1<<20), inactive.SetTimeout(poll)); err != nil {
		return nil, err
	}
	handle, err := inactive.Activate()
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, privilege)
	}
	defer handle.Close()
	program, err := handle.CompileBPFFilter(c.Filter)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", c.Filter, err)
	}
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return code, nil
}

const privilege = "capturing needs root, or the capabilities cap_net_raw and cap_net_admin"

// open makes the socket and its ring. Nothing comes until a filter is attached
// that lets something through.
func (s *Source) open(c Config, dev nature, first bool) (err error) {
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("%w (%s)", err, privilege)
		}
		return err
	}
	if err := attach(s.fd, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	set := func(what string, option, value int) {
		if e := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, option, value); e != nil && err == nil {
			err = fmt.Errorf("%s: %w", what, e)
		}
	}
	set("use TPACKET_V3", unix.PACKET_VERSION, unix.TPACKET_V3)
	set("reserve room for VLAN tags", unix.PACKET_RESERVE, tagLength)
	if dev.loopback {
		set("ignore outgoing packets (Linux 4.20 or later)", unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err != nil {
		return err
	}
	s.ring.block = c.block()
	blocks := c.Ring / s.ring.block
	request := unix.TpacketReq3{
		Block_size: uint32(s.ring.block), Block_nr: uint32(blocks),
		Frame_size: uint32(s.ring.block), Frame_nr: uint32(blocks), // frames are as long as packets are
		Retire_blk_tov: uint32(retire / time.Millisecond),
	}
	if err := unix.SetsockoptTpacketReq3(s.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("ring of %d bytes: %w", c.Ring, err)
	}
	if s.ring.memory, err = unix.Mmap(s.fd, 0, blocks*s.ring.block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map ring: %w", err)
	}
	if first && c.Promiscuous && !dev.loopback {
		m := unix.PacketMreq{Ifindex: int32(dev.index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("promiscuous mode: %w", err)
		}
	}
	return bind(s.fd, dev.index)
}

// attach attaches a filter in place of another.
func attach(fd int, code []unix.SockFilter) error {
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
	runtime.KeepAlive(code)
	return err
}

// fanOut lets sockets share the packets.
func fanOut(sources []*Source, dev nature) error {
	const how = unix.PACKET_FANOUT_CBPF
	flags := unix.PACKET_FANOUT_FLAG_UNIQUEID
	common := 0
	if dev.loopback {
		common = unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	}
	var group int
	for n, s := range sources {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, group|(how|flags|common)<<16); err != nil {
			return fmt.Errorf("share packets among %d sockets: %w", len(sources), err)
		}
		if n > 0 {
			continue
		}
		made, err := unix.GetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
		if err != nil {
			return fmt.Errorf("share packets: %w", err)
		}
		group, flags = made&0xffff, 0
		code := share()
		program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
		if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, &program); err != nil {
			return fmt.Errorf("share packets: %w", err)
		}
	}
	return nil
}

// Next implements capture.Source. While the interface is down it returns
// capture.ErrIdle; when it no longer exists, an error.
func (s *Source) Next(p *capture.Packet) error {
	if s.ring.left == 0 && s.ctx.Err() != nil { // however busy the interface is
		return io.EOF
	}
	for !s.ring.next(p) {
		if err := s.wait(); err == capture.ErrIdle {
			*p = capture.Packet{Time: time.Now().UTC(), Link: s.link, Offset: -1}
			return err
		} else if err != nil {
			return err
		}
	}
	s.quiet = time.Time{}
	if p.Length > s.longest {
		s.oversize++
	}
	s.complete(p)
	return nil
}

// complete fills in what the ring does not know of a packet.
func (s *Source) complete(p *capture.Packet) {
	s.received++
	p.Link = s.link
	p.Iface = 0
	p.Offset = -1
}

// NextBatch implements capture.BatchSource. A batch ends where the ring's block
// does, as its packets are the kernel's again after that, and before a packet
// that Counters tells of.
func (s *Source) NextBatch(ps []capture.Packet) (n int, err error) {
	if err := s.Next(&ps[0]); err != nil {
		return 0, err
	}
	for n = 1; n < len(ps) && s.ring.left > 0 && s.ring.length() <= s.longest; n++ {
		s.ring.next(&ps[n])
		s.complete(&ps[n])
	}
	return n, nil
}

// wait waits until the ring may have packets. It returns capture.ErrIdle if it
// has had none for long.
func (s *Source) wait() error {
	if s.ctx.Err() != nil {
		return io.EOF
	}
	if s.gone {
		return fmt.Errorf("capture on %s: the interface no longer exists", s.taps[0].Name)
	}
	if s.quiet.IsZero() {
		s.quiet = time.Now()
	}
	fds := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], int(poll/time.Millisecond))
	switch {
	case err != nil && err != unix.EINTR:
		return fmt.Errorf("capture on %s: %w", s.taps[0].Name, err)
	case err == nil && fds[0].Revents&unix.POLLERR != 0:
		return s.trouble()
	case n > 0:
		return nil
	}
	if now := time.Now(); now.Sub(s.quiet) >= idle {
		s.quiet = now
		// An interface that is down may vanish without a word.
		if err := s.look(); err != nil {
			return err
		}
		return capture.ErrIdle
	}
	return nil
}

// trouble finds out what the socket complains of.
func (s *Source) trouble() error {
	code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR) // and takes it back
	switch why := unix.Errno(code); {
	case err != nil:
		return fmt.Errorf("capture on %s: %w", s.taps[0].Name, err)
	case why == 0:
	case why == unix.ENETDOWN:
		// The kernel takes the socket up again together with the interface.
		s.outages++
		return s.look()
	default:
		return fmt.Errorf("capture on %s: %w", s.taps[0].Name, why)
	}
	return nil
}

// look looks whether the interface still exists. The kernel unbinds the
// sockets of one that does not.
func (s *Source) look() error {
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("capture on %s: %w", s.taps[0].Name, err)
	}
	if to, ok := bound.(*unix.SockaddrLinklayer); ok && to.Ifindex != s.index {
		s.gone = true
		time.Sleep(2 * retire) // until the kernel has handed over the last block
	}
	return nil
}

// Interfaces implements capture.Source.
func (s *Source) Interfaces() []capture.Interface { return s.taps }

// Counters implements capture.Source. Packets for which the ring had no room
// are dropped by "kernel", those that the interface lost since Open by
// "interface", those that came to it broken are "damaged", and those that were
// still in the ring when the context of Open
// ended are "unread". What concerns the interface as a whole, and what the
// filter left out, the first source of several tells. It is to be called by the
// goroutine that calls Next.
func (s *Source) Counters() capture.Counters {
	arrived, dropped, _ := s.ask()
	c := capture.Counters{Received: s.received, Oversized: s.oversize, Dropped: map[string]uint64{"kernel": dropped}}
	if s.ctx.Err() != nil {
		c.Dropped["unread"] = arrived - min(arrived, dropped+s.received)
	}
	if s.device != nil {
		lost := s.device.lost()
		c.Dropped["interface"], c.Dropped["damaged"] = lost.noRoom+s.missed(), lost.damaged
		c.Outages = s.outages
	}
	if s.left != nil {
		c.Filtered = s.left.packets()
	}
	if s.card != nil {
		c.State = s.state()
	}
	c.RingFill = s.ring.fill()
	return c
}

// missed is how many packets came while the interface went down or up. It is known
// a reading later, and at the end.
func (s *Source) missed() uint64 {
	if s.fd < 0 {
		return s.between.missed
	}
	// A ring that is never empty leaves nobody to hear of it.
	if code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && unix.Errno(code) == unix.ENETDOWN {
		s.outages++
	}
	if s.outages > 0 {
		s.between.look(s.given)
		if s.ctx.Err() != nil {
			time.Sleep(time.Millisecond)
			s.between.look(s.given)
		}
	}
	return s.between.missed
}

// state is how the interface is; after Close, how it was.
func (s *Source) state() *capture.State {
	if s.fd >= 0 {
		s.last = capture.State{Stamps: "kernel", NoHardware: s.card.why, Offloads: s.card.offloads()}
		if s.ring.stamp == unix.TP_STATUS_TS_RAW_HARDWARE {
			s.last.Stamps, s.last.ClockOffset = "hardware", s.card.offset()
		}
		s.last.Synchronized, s.last.ClockError = capture.SystemClock()
	}
	state := s.last
	return &state
}

// Freezes is how often the ring was full, as of the last call of Counters.
func (s *Source) Freezes() uint64 {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.freezes
}

// Close implements capture.Source. It takes back the memory that packets lie
// in, so it must not be called while one is looked at; to stop Next, cancel
// the context of Open.
func (s *Source) Close() error {
	if s.fd < 0 {
		return nil
	}
	s.Counters()
	var err error
	if s.device != nil {
		err = s.device.close()
	}
	if s.left != nil {
		err = errors.Join(err, s.left.close())
	}
	if s.between != nil {
		err = errors.Join(err, s.between.all.close())
	}
	if s.card != nil {
		err = errors.Join(err, s.card.close())
	}
	if s.ring.memory != nil {
		err = errors.Join(err, unix.Munmap(s.ring.memory))
		s.ring = ring{}
	}
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	err = errors.Join(err, unix.Close(s.fd))
	s.fd = -1
	return err
}
