//go:build linux

package afpacket

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/internal/cable"
	"github.com/tocsin/tocsin/sensor/capture"
)

// linkCounters are what the kernel says of the two ends of the cable.
func linkCounters(t *testing.T) (dropped, arrived uint64) {
	t.Helper()
	out, err := exec.Command("ip", "-json", "-statistics", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	var links []struct {
		Name  string `json:"ifname"`
		Stats struct {
			RX struct{ Packets uint64 }
			TX struct{ Dropped uint64 }
		} `json:"stats64"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		switch l.Name {
		case "here":
			dropped = l.Stats.TX.Dropped
		case "there":
			arrived = l.Stats.RX.Packets
		}
	}
	return dropped, arrived
}

// fastSender returns what puts frames on the cable in turn, as fast as one thread
// can, past the queue that would slow it, and says how many the kernel took.
func fastSender(t *testing.T) (send func(n int, frames ...[]byte) (taken uint64)) {
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
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrLinklayer{Ifindex: i.Index}
	return func(n int, frames ...[]byte) (taken uint64) {
		for k := range n {
			if unix.Sendto(fd, frames[k%len(frames)], 0, to) == nil {
				taken++
			}
		}
		return taken
	}
}

// Whatever is put on the cable as fast as a thread can is received, left out by
// the filter, or counted as lost, to the packet: with one socket and several,
// with rings too small, and while the interface goes down and up.
func TestAccountAtFullSpeed(t *testing.T) {
	const packets = 150_000
	for _, sockets := range []int{1, 2} {
		for _, filter := range []string{"", "udp port 53"} {
			for _, trouble := range []string{"none", "small ring", "flaps"} {
				t.Run(fmt.Sprintf("%d sockets, filter %q, %s", sockets, filter, trouble), func(t *testing.T) {
					cable.Plug(t)
					config := DefaultConfig("there")
					config.Sockets, config.Filter = sockets, filter
					if trouble == "small ring" {
						config.Ring = 4 * config.block()
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					sources, err := Open(ctx, config)
					if err != nil {
						t.Fatal(err)
					}
					var sent atomic.Bool
					var readers sync.WaitGroup
					var received atomic.Uint64
					for _, s := range sources {
						readers.Go(func() {
							var p capture.Packet
							for {
								switch err := s.Next(&p); err {
								case nil:
									if received.Add(1) == 1 && trouble == "small ring" {
										time.Sleep(50 * time.Millisecond) // it has other work
									}
								case capture.ErrIdle:
									if sent.Load() {
										return
									}
								default:
									t.Error(err)
									return
								}
							}
						})
					}
					var frames [][]byte
					for i := range uint16(100) {
						frames = append(frames, ethernet(unix.ETH_P_IP, udp(i, i+1000, 53+i%2, 0, 200)))
					}
					send := fastSender(t)
					droppedBefore, arrivedBefore := linkCounters(t)
					taken := make(chan uint64)
					go func() { taken <- send(packets, frames...) }()
					if trouble == "flaps" {
						for range 3 {
							time.Sleep(20 * time.Millisecond)
							cable.IP(t, "link set there down")
							time.Sleep(10 * time.Millisecond)
							cable.IP(t, "link set there up")
						}
					}
					put := <-taken
					sent.Store(true)
					readers.Wait()
					dropped, arrived := linkCounters(t)
					arrived -= arrivedBefore
					if dropped -= droppedBefore; trouble != "flaps" && (arrived != put || dropped != 0) {
						t.Errorf("%d packets were sent, %d dropped, %d arrived", put, dropped, arrived)
					}
					cancel()
					var sum capture.Counters
					lost := map[string]uint64{}
					for _, s := range sources {
						c := s.Counters()
						sum.Received += c.Received
						sum.Filtered += c.Filtered
						sum.Outages += c.Outages
						for cause, n := range c.Dropped {
							lost[cause] += n
						}
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					}
					total := sum.Received + sum.Filtered
					for _, n := range lost {
						total += n
					}
					if total != arrived || sum.Received != received.Load() {
						t.Errorf("%d received, %d filtered, lost %v: %d in all of %d", sum.Received, sum.Filtered, lost, total, arrived)
					}
					if trouble == "small ring" && lost["kernel"] == 0 {
						t.Errorf("nothing was lost: %v", lost)
					}
					if trouble == "flaps" && sum.Outages == 0 {
						t.Error("no outage")
					}
					if filter != "" && sum.Filtered == 0 {
						t.Error("nothing was filtered")
					}
					t.Logf("of %d: %d received, %d filtered, lost %v, %d outages", arrived, sum.Received, sum.Filtered, lost, sum.Outages)
				})
			}
		}
	}
}
