package main

import (
	"context"
	"errors"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/afpacket"
)

// openRings opens an interface through rings that are shared with the kernel,
// one for each worker. If it is one that only libpcap can read, the error is
// errNoRings.
func openRings(ctx context.Context, name, device, filter string, workers int) ([]capture.Source, error) {
	c := afpacket.DefaultConfig(device)
	c.Sensor, c.Filter, c.Sockets = name, filter, workers
	c.Ring = max(8<<20, c.Ring/workers)
	if err := c.Validate(); err != nil {
		return nil, usageError{err}
	}
	rings, err := afpacket.Open(ctx, c)
	if errors.Is(err, afpacket.ErrLinkType) {
		return nil, errors.Join(errNoRings, err)
	} else if err != nil {
		return nil, err
	}
	sources := make([]capture.Source, len(rings))
	for i, r := range rings {
		sources[i] = r
	}
	return sources, nil
}
