package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/follow"
	"github.com/tocsin/tocsin/sensor/capture/pcap"
)

// Ways to capture live.
const (
	captureAuto = "auto"     // rings where they can be, else libpcap
	captureRing = "afpacket" // rings shared with the kernel, and several workers
	captureLib  = "pcap"     // libpcap, and one worker
)

// errNoRings says that an interface, or the system, has no rings.
var errNoRings = errors.New("this interface can be captured on with --capture pcap only")

// tap is an interface that is captured on: a source for each worker.
type tap []capture.Source

// openTap opens an interface, given as [NAME=]INTERFACE.
func openTap(ctx context.Context, iface, how, filter string, workers int) (tap, error) {
	name, device, named := strings.Cut(iface, "=")
	if !named {
		name, device = iface, iface
	}
	const all = "any" // to libpcap, but to nobody else
	if how == captureRing || how == captureAuto && device != all {
		sources, err := openRings(ctx, name, device, filter, workers)
		if err == nil || how == captureRing || !errors.Is(err, errNoRings) {
			return sources, err
		}
	}
	c := pcap.DefaultConfig(device)
	c.Sensor, c.Filter = name, filter
	if err := c.Validate(); err != nil {
		return nil, usageError{err}
	}
	source, err := pcap.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	return tap{source}, nil
}

// openTaps opens interfaces.
func (s sensing) openTaps(ctx context.Context, ifaces []string, how string) (taps []tap, err error) {
	switch how {
	case captureAuto, captureRing, captureLib:
	default:
		return nil, usagef("--capture %s: want %s, %s or %s", how, captureAuto, captureRing, captureLib)
	}
	workers, err := s.workerCount()
	if err != nil {
		return nil, err
	}
	for _, iface := range ifaces {
		t, err := openTap(ctx, iface, how, *s.filter, workers)
		if err != nil {
			return nil, errors.Join(err, closeTaps(taps))
		}
		taps = append(taps, t)
	}
	return taps, nil
}

// advise says what to do about the state of taps, each thing once.
func advise(w io.Writer, taps []tap) {
	said := map[string]bool{}
	for _, t := range taps {
		state := t[0].Counters().State
		if state == nil {
			continue
		}
		for _, advice := range state.Advice(t[0].Interfaces()[0].Name) {
			if !said[advice] {
				said[advice] = true
				fmt.Fprintf(w, "tocsin: %s\n", advice)
			}
		}
	}
}

// closeTaps closes what is still open.
func closeTaps(taps []tap) error {
	var errs []error
	for _, t := range taps {
		for _, source := range t {
			errs = append(errs, source.Close())
		}
	}
	return errors.Join(errs...)
}

// openFollowed opens a capture, or a folder of captures, that is being written.
func (s sensing) openFollowed(ctx context.Context, c follow.Config) (tap, error) {
	source, err := follow.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	if *s.filter == "" {
		return tap{source}, nil
	}
	filtered, err := pcap.Filter(source, *s.filter)
	if err != nil {
		return nil, errors.Join(usageError{err}, source.Close())
	}
	return tap{filtered}, nil
}

// live makes a sensor of an interface.
func (s sensing) live(t tap, sink sensor.Sink) (*sensor.Sensor, error) {
	cfg, err := s.config()
	if err != nil {
		return nil, err
	}
	cfg.Live, cfg.Workers = true, len(t)
	return sensor.New(cfg, func(worker int) (capture.Source, error) { return t[worker], nil }, sink)
}
