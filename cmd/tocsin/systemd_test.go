package main

import (
	"context"
	"net"
	"path/filepath"
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
	onDuty(ctx)
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
	stop()
	heard("STOPPING=1")
}
