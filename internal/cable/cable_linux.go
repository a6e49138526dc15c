// Package cable gives a test a network of its own with a cable in it, so that
// capturing live is tested on packets that nobody else sends.
package cable

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Network puts the test into a network namespace in which nothing is but the
// loopback interface, down. Its thread ends with the test. The test is skipped
// where it may not do that.
func Network(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("capturing live needs root; CI runs as root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
}

// Plug puts the test into a Network with a cable whose ends are called here
// and there, and the loopback interface, all up.
func Plug(t testing.TB) {
	t.Helper()
	Network(t)
	// Nothing but the test is to send.
	for _, which := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	IP(t, "link add here type veth peer name there")
	for _, name := range []string{"lo", "here", "there"} {
		IP(t, "link set "+name+" up")
	}
	Wait(t)
}

// IP runs the command ip.
func IP(t testing.TB, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// Wait waits until the cable carries packets.
func Wait(t testing.TB) {
	t.Helper()
	for range 500 {
		if i, err := net.InterfaceByName("here"); err != nil {
			t.Fatal(err)
		} else if i.Flags&net.FlagRunning != 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the cable is dead")
}

// Sender returns what puts frames on the cable at the end that is called here.
func Sender(t testing.TB) (send func(frame []byte)) {
	t.Helper()
	i, err := net.InterfaceByName("here")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	to := &unix.SockaddrLinklayer{Ifindex: i.Index}
	return func(frame []byte) {
		t.Helper()
		for {
			err := unix.Sendto(fd, frame, 0, to)
			if err == nil {
				return
			}
			if err != unix.ENOBUFS && err != unix.EINTR {
				t.Fatal(err)
			}
		}
	}
}
