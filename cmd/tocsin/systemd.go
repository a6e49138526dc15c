package main

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// onDuty tells systemd that a service has started, and then, as often as its
// watchdog wants to hear, that it works, until ctx ends; see sd_notify(3). It
// does nothing where systemd does not ask. Where moved is set, it is asked
// before each word to the watchdog, which is not told anything when it reports
// false: that nothing has happened since it was asked last.
func onDuty(ctx context.Context, moved func() bool) {
	addr := os.Getenv("NOTIFY_SOCKET")
	if addr == "" {
		return
	}
	tell := func(state string) {
		c, err := net.Dial("unixgram", addr) // a leading @ is that of an abstract socket
		if err != nil {
			return // systemd does without, or starts us again
		}
		defer c.Close()
		c.Write([]byte(state))
	}
	tell("READY=1")
	every, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || every <= 0 {
		return
	}
	go func() {
		t := time.NewTicker(max(time.Duration(every)*time.Microsecond/3, time.Millisecond))
		defer t.Stop()
		for {
			select {
			case <-t.C:
				if moved == nil || moved() {
					tell("WATCHDOG=1")
				}
			case <-ctx.Done():
				tell("STOPPING=1")
				return
			}
		}
	}()
}
