package netflow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
)

// Bounds of listening: bytes of a datagram, events published at a time, how long
// an event waits for others, and how much the kernel keeps for us.
const (
	maxDatagram = 64 << 10
	batchSize   = 1024
	patience    = 200 * time.Millisecond
	queue       = 8 << 20
)

// Listen opens the port that exporters send to.
func Listen(addr string) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("netflow: %w", err)
	}
	if u, ok := conn.(*net.UDPConn); ok {
		u.SetReadBuffer(queue) // as much of it as the kernel allows; what is lost shows in the sequence numbers
	}
	return conn, nil
}

// Run publishes the flows that come on conn until ctx ends, and then what it has.
// What cannot be read is counted in the ledger of its exporter.
func (c *Collector) Run(ctx context.Context, conn net.PacketConn, sink sensor.Sink) error {
	var batch []event.Event
	emit := func(e *event.Event) { batch = append(batch, *e) }
	publish := func(ctx context.Context) error {
		if len(batch) == 0 {
			return nil
		}
		err := sink.Publish(ctx, batch)
		batch = batch[:0]
		return err
	}
	buf := make([]byte, maxDatagram)
	oldest := time.Now()
	for ctx.Err() == nil {
		now := time.Now()
		if len(batch) == 0 {
			oldest = now
		}
		if len(batch) >= batchSize || len(batch) > 0 && now.Sub(oldest) >= patience {
			if err := publish(ctx); err != nil {
				return err
			}
		}
		if err := conn.SetReadDeadline(now.Add(patience)); err != nil {
			return fmt.Errorf("netflow: %w", err)
		}
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.Tick(now, emit)
			continue
		}
		if err != nil {
			return fmt.Errorf("netflow: %w", err)
		}
		if u, ok := from.(*net.UDPAddr); ok {
			addr, _ := netip.AddrFromSlice(u.IP)
			c.Datagram(addr, time.Now(), buf[:n], emit) // its error is counted
		}
	}
	c.Close(emit)
	return publish(context.WithoutCancel(ctx))
}
