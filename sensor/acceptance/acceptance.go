// Package acceptance judges a tap: whether what a sensor is given there is what
// goes over the link. It looks at each packet on its way into an ordinary
// sensor, and at the flows that come of it, and says for each thing that can be
// wrong with a mirror, a tap or the card behind it: fine, doubtful or at fault,
// with what was measured and what to do.
//
// What is wrong with the traffic itself is no matter here: hosts that do not
// answer, connections that were open before, segments that were sent again.
package acceptance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
)

// Config says what is known of a tap, and what of it is expected.
type Config struct {
	// Sensor is how the packets are looked into. It has one worker.
	Sensor sensor.Config
	// Live is for an interface: the test ends when it is sure, or when the
	// source does.
	Live bool
	// Interface is the name to use in commands to type. It is empty for a
	// capture file.
	Interface string
	// MTU of the interface in bytes, and Speed in bits per second, where they
	// are known; 0 where they are not.
	MTU   int
	Speed uint64
	// Loopback is for the interface of a machine to itself.
	Loopback bool
	// Own are the MAC addresses of the capturing machine.
	Own []event.MAC
	// Now is the time at the beginning of the test, against which packets are
	// held; zero if it says nothing about them.
	Now time.Time
	// Networks and Protocols must be seen. Protocols are kinds of events, names
	// of services, or transports as network.transport has them.
	Networks  []netip.Prefix
	Protocols []string
}

// Run reads a source to its end, or until the test is sure of a live one, and
// judges it. The source is closed. What was read until an error is judged
// as well.
func Run(ctx context.Context, src capture.Source, cfg Config) (Report, error) {
	cfg.Sensor.Workers, cfg.Sensor.Live = 1, cfg.Live
	w := newWatch(&cfg, src)
	s, err := sensor.New(cfg.Sensor, func(int) (capture.Source, error) { return w, nil }, w.talks)
	if err != nil {
		return Report{}, errors.Join(err, src.Close())
	}
	err = s.Run(ctx)
	if errors.Is(err, sensor.ErrLinkType) {
		err = nil // this the report says
	}
	if err != nil {
		err = fmt.Errorf("tap test: %w", err)
	}
	return w.report(), err
}

// Enough to be sure of a live tap before its time is over. A mirror that loses
// something in bursts, or a clock that jumps, takes longer to show than what is
// wrong with every packet.
const (
	sureAfter         = 20 * time.Second
	surePackets       = 50_000
	sureConversations = 200
)

// watch is a source that looks at the packets that it hands on.
type watch struct {
	src  capture.Source
	cfg  *Config
	link link
	dup  duplicates
	seq  order
	// talks is where the sensor's events go.
	talks *talks

	checked  uint64 // packets at the last look whether the test is sure
	counters capture.Counters
	taps     []capture.Interface
	closed   bool
}

func newWatch(cfg *Config, src capture.Source) *watch {
	return &watch{src: src, cfg: cfg, link: newLink(cfg), dup: newDuplicates(), seq: newOrder(), talks: newTalks()}
}

// Next implements capture.Source.
func (w *watch) Next(p *capture.Packet) error {
	if w.cfg.Live && w.sure() {
		return io.EOF
	}
	err := w.src.Next(p)
	if err != nil {
		return err
	}
	l := &w.link
	l.packet(p)
	if copied := w.dup.packet(p, &l.decoded, l.outcome); !copied {
		w.seq.packet(&l.decoded, l.outcome)
	}
	return nil
}

// sure reports whether more packets would not tell more.
func (w *watch) sure() bool {
	l := &w.link
	if l.packets < w.checked+1024 {
		return false
	}
	w.checked = l.packets
	return l.packets >= surePackets && l.last.Sub(l.first) >= sureAfter && w.seq.answered >= sureConversations &&
		len(w.absent()) == 0
}

// Interfaces implements capture.Source.
func (w *watch) Interfaces() []capture.Interface { return w.src.Interfaces() }

// Counters implements capture.Source.
func (w *watch) Counters() capture.Counters { return w.src.Counters() }

// Close implements capture.Source. The account is taken before.
func (w *watch) Close() error {
	if !w.closed {
		w.counters, w.taps, w.closed = w.src.Counters(), w.src.Interfaces(), true
	}
	return w.src.Close()
}
