package main

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnDuty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000")
	ctx, stop := context.WithCancel(t.Context())
	var works atomic.Bool
	works.Store(true)
	onDuty(ctx, works.Load)
	heard := func(want string) {
		t.Helper()
		buf := make([]byte, 64)
		for range 100 {
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if string(buf[:n]) == want {
				return
			}
		}
		t.Errorf("%s was not told", want)
	}
	heard("READY=1")
	heard("WATCHDOG=1")
	// What does not get anywhere is not told to be well, so that it is started again.
	works.Store(false)
	time.Sleep(50 * time.Millisecond)
	buf := make([]byte, 64)
	for c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); ; {
		if _, err := c.Read(buf); err != nil {
			break // what was told before
		}
	}
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.Read(buf); err == nil {
		t.Errorf("%s was told of a service that is stuck", buf[:n])
	}
	works.Store(true)
	heard("WATCHDOG=1")
	stop()
	heard("STOPPING=1")
}
