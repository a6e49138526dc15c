// Package pcap captures from a live interface through libpcap, and filters
// packets of any source by libpcap's filter language.
package pcap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/gopacket/pcap"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Config says what to capture, and how.
type Config struct {
	Interface   string // such as "eth0", or "any"
	Sensor      string // observer.name; the interface's name if empty
	Filter      string // in the language of pcap-filter(7); empty for everything
	SnapLen     int    // bytes of each packet that are captured, at most 262,144
	Promiscuous bool   // also capture what is not addressed to this machine
	Buffer      int    // bytes of the kernel's ring; what does not fit is dropped and counted
}

// DefaultConfig returns a configuration that captures whole packets of the
// interface and bears bursts of 32 MiB.
func DefaultConfig(iface string) Config {
	return Config{Interface: iface, SnapLen: 262144, Promiscuous: true, Buffer: 32 << 20}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.Interface == "":
		return errors.New("capture: no interface is named")
	case c.SnapLen < 64 || c.SnapLen > 262144:
		return fmt.Errorf("capture on %s: snaplen %d is not between 64 and 262144", c.Interface, c.SnapLen)
	case c.Buffer < 64<<10 || c.Buffer > 1<<30:
		return fmt.Errorf("capture on %s: buffer of %d bytes is not between 64 KiB and 1 GiB", c.Interface, c.Buffer)
	}
	return nil
}

// How often Next looks whether it is to stop, and how long nothing must have
// come until it says so.
const (
	poll = 100 * time.Millisecond
	idle = time.Second
)

// Source captures from one interface. It is a capture.Source.
type Source struct {
	ctx      context.Context // asked by Next, which the contract gives none
	handle   *pcap.Handle
	link     capture.LinkType
	taps     []capture.Interface
	received uint64
	since    time.Time // of the last packet or ErrIdle
	last     capture.Counters
}

// Open starts to capture. When ctx is done, Next returns io.EOF.
func Open(ctx context.Context, c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	handle, err := activate(c)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", c.Interface, err)
	}
	if c.Filter != "" {
		if err := handle.SetBPFFilter(c.Filter); err != nil {
			handle.Close()
			return nil, fmt.Errorf("capture on %s: filter %q: %w", c.Interface, c.Filter, err)
		}
	}
	if c.Sensor == "" {
		c.Sensor = c.Interface
	}
	return &Source{
		ctx:    ctx,
		handle: handle,
		link:   capture.LinkType(handle.LinkType()),
		taps:   []capture.Interface{{Sensor: c.Sensor, Name: c.Interface}},
		since:  time.Now(),
	}, nil
}

// permissionDenied is what the pcap package says when libpcap may not capture.
const permissionDenied = "Permission Denied"

func activate(c Config) (*pcap.Handle, error) {
	inactive, err := pcap.NewInactiveHandle(c.Interface)
	if err != nil {
		return nil, err
	}
	defer inactive.CleanUp()
	if err := errors.Join(
		inactive.SetSnapLen(c.SnapLen),
		inactive.SetPromisc(c.Promiscuous),
		inactive.SetBufferSize(c.Buffer),
		inactive.SetTimeout(poll),
	); err != nil {
		return nil, err
	}
	handle, err := inactive.Activate()
	if err != nil {
		hint := ""
		if err.Error() == permissionDenied {
			hint = " (capturing needs root, or the capabilities cap_net_raw and cap_net_admin)"
		}
		// Which of many reasons it was, only the inactive handle knows.
		if why := inactive.Error(); why != nil && why.Error() != "" {
			err = fmt.Errorf("%w: %w", err, why)
		}
		return nil, fmt.Errorf("%w%s", err, hint)
	}
	return handle, nil
}

// Next implements capture.Source.
func (s *Source) Next(p *capture.Packet) error {
	if s.received%256 == 0 && s.ctx.Err() != nil { // however busy the interface is
		return io.EOF
	}
	for {
		data, info, err := s.handle.ZeroCopyReadPacketData()
		switch {
		case err == nil:
			s.received++
			p.Time = info.Timestamp.UTC()
			p.Data = data
			p.Length = max(info.Length, len(data))
			p.Link = s.link
			p.Iface = 0
			p.Offset = -1
			s.since = p.Time
			return nil
		case s.ctx.Err() != nil || errors.Is(err, io.EOF):
			return io.EOF
		case err != pcap.NextErrorTimeoutExpired:
			if why := s.handle.Error(); why != nil {
				err = why
			}
			return fmt.Errorf("capture on %s: %w", s.taps[0].Name, err)
		}
		if now := time.Now(); now.Sub(s.since) >= idle {
			s.since = now
			*p = capture.Packet{Time: now.UTC(), Link: s.link, Offset: -1}
			return capture.ErrIdle
		}
	}
}

// Interfaces implements capture.Source.
func (s *Source) Interfaces() []capture.Interface { return s.taps }

// Counters implements capture.Source. Packets for which the ring had no room
// are dropped by "kernel", those that the interface lost by "interface". What
// the filter left out the kernel does not count. It is to be called by the
// goroutine that calls Next.
func (s *Source) Counters() capture.Counters {
	dropped := s.last.Dropped
	if s.handle != nil {
		if stats, err := s.handle.Stats(); err == nil {
			dropped = map[string]uint64{
				"kernel":    uint64(max(0, stats.PacketsDropped)),
				"interface": uint64(max(0, stats.PacketsIfDropped)),
			}
		}
	}
	state := capture.State{Stamps: "kernel"}
	state.Synchronized, state.ClockError = capture.SystemClock()
	s.last = capture.Counters{Received: s.received, Dropped: dropped, State: &state}
	return s.last
}

// Close implements capture.Source. It takes back the memory that packets lie
// in, so it must not be called while one is looked at; to stop Next, cancel
// the context of Open.
func (s *Source) Close() error {
	if s.handle != nil {
		s.Counters()
		s.handle.Close()
		s.handle = nil
	}
	return nil
}
