//go:build linux

package afpacket

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/internal/cable"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/pcap"
)

func open(t testing.TB, c Config) []*Source {
	t.Helper()
	sources, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range sources {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return sources
}

func ethernet(etherType uint16, payload []byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	b = binary.BigEndian.AppendUint16(b, etherType)
	return append(b, payload...)
}

func tagged(tpid, id, etherType uint16, payload []byte) []byte {
	tag := binary.BigEndian.AppendUint16(nil, id)
	return ethernet(tpid, append(binary.BigEndian.AppendUint16(tag, etherType), payload...))
}

// udp is an IPv4 packet. Its addresses are 10.0.0.0 and numbers.
func udp(src, dst uint16, dport uint16, fragment uint16, size int) []byte {
	b := make([]byte, 28+size)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	b[12], b[16] = 10, 10
	binary.BigEndian.PutUint16(b[14:], src)
	binary.BigEndian.PutUint16(b[18:], dst)
	binary.BigEndian.PutUint16(b[20:], 40000+src)
	binary.BigEndian.PutUint16(b[22:], dport)
	binary.BigEndian.PutUint16(b[24:], uint16(8+size))
	return b
}

// udp6 is an IPv6 packet.
func udp6(src, dst byte, dport uint16) []byte {
	b := make([]byte, 48)
	b[0], b[5], b[6], b[7] = 0x60, 8, 17, 64
	b[8], b[23] = 0xfd, src
	b[24], b[39] = 0xfd, dst
	binary.BigEndian.PutUint16(b[42:], dport)
	binary.BigEndian.PutUint16(b[44:], 8)
	return b
}

// drain reads until nothing comes and returns the packets.
func drain(t *testing.T, s *Source) [][]byte {
	t.Helper()
	var all [][]byte
	var ps [7]capture.Packet
	for {
		n, err := s.NextBatch(ps[:])
		for _, p := range ps[:n] {
			if p.Length < len(p.Data) || p.Link != 1 || p.Iface != 0 || p.Offset != -1 || time.Since(p.Time).Abs() > time.Minute {
				t.Errorf("got %+v", p)
			}
			all = append(all, bytes.Clone(p.Data))
		}
		switch p := ps[0]; err {
		case nil:
		case capture.ErrIdle:
			if len(p.Data) != 0 || time.Since(p.Time).Abs() > time.Minute || p.Time.Location() != time.UTC {
				t.Errorf("on a quiet interface: %+v", p)
			}
			return all
		default:
			t.Fatal(err)
		}
	}
}

// What was put on the cable comes out of it, byte for byte.
func TestPackets(t *testing.T) {
	t.Parallel()
	cable.Plug(t)
	config := DefaultConfig("there")
	config.Sensor = "border"
	s := open(t, config)[0]
	if got, want := s.Interfaces(), (capture.Interface{Sensor: "border", Name: "there"}); len(got) != 1 || got[0] != want {
		t.Errorf("Interfaces() = %v, want %v", got, want)
	}
	send := cable.Sender(t)
	packet := udp(1, 2, 53, 0, 30)
	inner := append([]byte{0, 7, 8, 0}, packet...)
	frames := [][]byte{
		ethernet(unix.ETH_P_IP, packet),
		tagged(unix.ETH_P_8021Q, 0x6005, unix.ETH_P_IP, packet),
		tagged(unix.ETH_P_8021AD, 5, unix.ETH_P_8021Q, inner),
		ethernet(unix.ETH_P_IPV6, udp6(1, 2, 53)),
		ethernet(0x88b8, []byte("a GOOSE message, which no IP stack takes")), // IEC 61850-8-1
		ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 1472)),
	}
	before := time.Now()
	for _, f := range frames {
		send(f)
	}
	got := drain(t, s)
	if len(got) != len(frames) {
		t.Fatalf("%d packets, want %d", len(got), len(frames))
	}
	for i := range got {
		if !bytes.Equal(got[i], frames[i]) {
			t.Errorf("packet %d:\n got % x\nwant % x", i, got[i], frames[i])
		}
	}
	if d := time.Since(before); d < idle || d > 5*idle {
		t.Errorf("ErrIdle came after %v", d)
	}
	if c := s.Counters(); c.Received != uint64(len(frames)) || c.Dropped["kernel"] != 0 || c.Dropped["interface"] != 0 || c.Outages != 0 {
		t.Errorf("Counters() = %+v", c)
	}
}

func TestSnapLen(t *testing.T) {
	cable.Plug(t)
	config := DefaultConfig("there")
	config.SnapLen = 100
	s := open(t, config)[0]
	frame := ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 1000))
	cable.Sender(t)(frame)
	var p capture.Packet
	if err := s.Next(&p); err != nil || !bytes.Equal(p.Data, frame[:100]) || p.Length != len(frame) {
		t.Errorf("%v: %d bytes of %d", err, len(p.Data), p.Length)
	}
}

// Packets that offloads have joined are longer than the wire allows.
func TestOversized(t *testing.T) {
	cable.Plug(t)
	cable.IP(t, "link set here mtu 9000")
	s := open(t, DefaultConfig("there"))[0]
	send := cable.Sender(t)
	cable.IP(t, "link set there mtu 9000")
	for _, size := range []int{100, 1472, 1480, 1481, 5000} { // with headers, 8 bytes less than two tags allow
		send(ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, size)))
	}
	drain(t, s)
	if c := s.Counters(); c.Received != 5 || c.Oversized != 2 {
		t.Errorf("%+v, want 2 of 5 packets to be oversized", c)
	}
}

// What is known of a cable's end: the kernel stamps, and offloads are told of
// when they are on.
func TestState(t *testing.T) {
	cable.Plug(t)
	s := open(t, DefaultConfig("there"))[0]
	send := cable.Sender(t)
	for began := time.Now(); s.ring.stamp != unix.TP_STATUS_TS_SOFTWARE; {
		// The kernel needs a moment until it stamps.
		if time.Since(began) > 5*time.Second {
			t.Fatalf("stamped by %#x, want the kernel, when the packet came", s.ring.stamp)
		}
		before := time.Now()
		send(ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 50)))
		var p capture.Packet
		if err := s.Next(&p); err != nil || p.Time.After(time.Now()) || before.Sub(p.Time) > time.Second {
			t.Errorf("%v, stamp %v, now %v", err, p.Time, before)
		}
	}
	synchronized, most := capture.SystemClock()
	for _, want := range []string{"", "gro"} {
		if want != "" {
			if out, err := exec.Command("ethtool", "-K", "there", "gro", "on").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		got := s.Counters().State
		if got == nil || got.Stamps != "kernel" || got.Synchronized != synchronized || got.ClockError-most > time.Second || strings.Join(got.Offloads, " ") != want {
			t.Errorf("state %+v, want offloads %q", got, want)
		}
		advice := strings.Join(got.Advice("there"), "\n")
		if has := strings.Contains(advice, "run: ethtool -K there gro off"); has != (want != "") {
			t.Errorf("advice %q for offloads %q", advice, want)
		}
	}
}

// A card may stamp only if it can stamp everything, and its clock can be read.
func TestCanStamp(t *testing.T) {
	good := unix.EthtoolTsInfo{So_timestamping: 0x5f, Phc_index: 0, Rx_filters: 1<<unix.HWTSTAMP_FILTER_NONE | 1<<unix.HWTSTAMP_FILTER_ALL}
	for want, change := range map[string]func(*unix.EthtoolTsInfo){
		"can":               func(*unix.EthtoolTsInfo) {},
		"software only":     func(i *unix.EthtoolTsInfo) { i.So_timestamping = 0x18 },
		"no clock":          func(i *unix.EthtoolTsInfo) { i.Phc_index = -1 },
		"PTP messages only": func(i *unix.EthtoolTsInfo) { i.Rx_filters = 1 | 1<<12 },
	} {
		info := good
		change(&info)
		if got := canStamp(&info); got != (want == "can") {
			t.Errorf("%s: %v", want, got)
		}
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	cable.Plug(t)
	frames := [][]byte{
		ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 10)),
		ethernet(unix.ETH_P_IP, udp(1, 2, 54, 0, 10)),
		tagged(unix.ETH_P_8021Q, 5, unix.ETH_P_IP, udp(1, 2, 53, 0, 10)),
		tagged(unix.ETH_P_8021Q, 6, unix.ETH_P_IP, udp(1, 2, 54, 0, 10)),
	}
	send := cable.Sender(t)
	for expr, want := range map[string][]int{
		"udp port 54":             {1, 3},
		"vlan 5":                  {2},
		"vlan and udp port 54":    {3},
		"port 53 and not vlan":    {0},
		"host 10.0.0.2 or vlan":   {0, 1, 2, 3},
		"ether proto 0x88b8":      nil,
		"len > 10000 or tcp[0]=1": nil,
	} {
		config := DefaultConfig("there")
		config.Filter = expr
		s := open(t, config)[0]
		for _, f := range frames {
			send(f)
		}
		got := drain(t, s)
		if len(got) != len(want) {
			t.Errorf("%s: %d packets, want %d", expr, len(got), len(want))
			continue
		}
		if c := s.Counters(); c.Received != uint64(len(want)) || c.Filtered != uint64(len(frames)-len(want)) {
			t.Errorf("%s: %+v, want %d of %d", expr, c, len(want), len(frames))
		}
		for i, n := range want {
			if !bytes.Equal(got[i], frames[n]) {
				t.Errorf("%s: packet %d:\n got % x\nwant % x", expr, i, got[i], frames[n])
			}
		}
	}
	config := DefaultConfig("there")
	config.Filter = "udp prot 53"
	if _, err := Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), `capture on there: filter "udp prot 53"`) {
		t.Errorf("wrong filter: %v", err)
	}
}

// Every packet that was sent is received or counted as lost, however fast they
// come and however slowly they are read.
func TestAccount(t *testing.T) {
	cable.Plug(t)
	const sent = 100_000
	frame := ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 500))
	send := cable.Sender(t)
	for _, reading := range []bool{true, false} {
		config := DefaultConfig("there")
		if !reading {
			config.Ring = 4 << 20
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sources, err := Open(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		s := sources[0]
		defer s.Close()
		received := make(chan int, 1)
		read := func() {
			n := 0
			for p := (capture.Packet{}); s.Next(&p) == nil; n++ {
			}
			received <- n
		}
		if reading {
			go read()
		}
		for range sent {
			send(frame)
		}
		if !reading {
			go read()
		}
		n := <-received
		cancel()
		c := s.Counters()
		if left, told := c.Dropped["unread"]; left > 0 || !told {
			t.Errorf("something is left: %+v", c)
		}
		if lost := c.Dropped["kernel"] + c.Dropped["interface"]; uint64(n)+lost != sent || c.Received != uint64(n) {
			t.Errorf("%d received and %d lost of %d: %+v", n, lost, sent, c)
		}
		if !reading && (c.Dropped["kernel"] == 0 || s.Freezes() == 0) {
			t.Errorf("%d packets in 4 MiB: %+v, %d freezes", sent, c, s.Freezes())
		}
		t.Logf("%d received, %v lost", n, c.Dropped)
	}
}

// Sockets that share an interface see what belongs together, and all of it
// once.
func TestFanOut(t *testing.T) {
	t.Parallel()
	cable.Plug(t)
	config := DefaultConfig("there")
	config.Sockets = 2
	config.Ring = 8 << 20
	sources := open(t, config)
	send := cable.Sender(t)
	const (
		mpls          = 0x8847
		pairs         = 200
		moreFragments = 0x2000
	)
	// Each packet ends with the number of its pair.
	sent := 0
	pair := func(n uint16, frame []byte) {
		send(binary.BigEndian.AppendUint16(frame, n))
		sent++
	}
	for n := range uint16(pairs) {
		a, b := n+1, n+1001
		pair(n, ethernet(unix.ETH_P_IP, udp(a, b, 53, 0, 50)))
		pair(n, ethernet(unix.ETH_P_IP, udp(b, a, 80, 0, 50)))
		pair(n, ethernet(unix.ETH_P_IP, udp(b, a, 80, moreFragments, 48)))
		pair(n, ethernet(unix.ETH_P_IP, udp(b, a, 0, 7, 20)))
		pair(n, tagged(unix.ETH_P_8021Q, 5, unix.ETH_P_IP, udp(a, b, 53, 0, 50)))
		pair(n, tagged(unix.ETH_P_8021AD, 6, unix.ETH_P_8021Q, append([]byte{0, 7, 8, 0}, udp(b, a, 54, 0, 50)...)))
		x, y := byte(n), byte(n)^0xa5
		pair(pairs+n, ethernet(unix.ETH_P_IPV6, udp6(x, y, 53)))
		pair(pairs+n, ethernet(unix.ETH_P_IPV6, udp6(y, x, 54)))
		pair(pairs+n, tagged(unix.ETH_P_8021Q, 5, unix.ETH_P_IPV6, udp6(y, x, 54)))
		arp := func(sender, target uint16) []byte {
			m := make([]byte, 28)
			copy(m, []byte{0, 1, 8, 0, 6, 4, 0, 1})
			m[14], m[24] = 10, 10
			binary.BigEndian.PutUint16(m[16:], sender)
			binary.BigEndian.PutUint16(m[26:], target)
			return m
		}
		pair(n, ethernet(unix.ETH_P_ARP, arp(a, b)))
		pair(n, ethernet(unix.ETH_P_ARP, arp(b, a)))
		pair(2*pairs, ethernet(mpls, udp(a, b, 53, 0, 50))) // by MAC address
	}
	owner := map[uint16]int{}
	var total [2]int
	for i, s := range sources {
		for _, p := range drain(t, s) {
			n := binary.BigEndian.Uint16(p[len(p)-2:])
			if o, seen := owner[n]; seen && o != i {
				t.Errorf("packets of pair %d are on both sockets", n)
			}
			owner[n] = i
			total[i]++
		}
		if c := s.Counters(); c.Dropped["kernel"] != 0 {
			t.Errorf("socket %d: %+v", i, c)
		}
	}
	if total[0]+total[1] != sent {
		t.Errorf("%v packets of %d", total, sent)
	}
	if less := min(total[0], total[1]); less < sent/3 {
		t.Errorf("uneven: %v", total)
	}
}

func TestLoopbackOnce(t *testing.T) {
	t.Parallel()
	cable.Plug(t)
	for _, sockets := range []int{1, 2} {
		config := DefaultConfig("lo")
		config.Sockets = sockets
		sources := open(t, config)
		c, err := net.Dial("udp", "127.0.0.1:9999")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "hello")
		c.Close()
		n := 0
		for _, s := range sources {
			for _, p := range drain(t, s) {
				if bytes.HasSuffix(p, []byte("hello")) && p[23] == unix.IPPROTO_UDP {
					n++
				}
			}
		}
		if n != 1 {
			t.Errorf("with %d sockets the packet came %d times", sockets, n)
		}
	}
}

// An interface that goes down and comes up again is only an outage. One that
// vanishes is an error.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, sockets := range []int{1, 2} {
		cable.Plug(t)
		config := DefaultConfig("there")
		config.Sockets = sockets
		sources := open(t, config)
		frame := ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 50))
		cable.Sender(t)(frame)
		n := 0
		for _, s := range sources {
			n += len(drain(t, s))
		}
		cable.IP(t, "link set there down")
		for _, s := range sources {
			n += len(drain(t, s))
		}
		cable.IP(t, "link set there up")
		cable.Wait(t)
		cable.Sender(t)(frame)
		for _, s := range sources {
			n += len(drain(t, s))
		}
		if n != 2 {
			t.Errorf("%d sockets received %d packets, want 2", sockets, n)
		}
		for i, s := range sources {
			want := uint64(0)
			if i == 0 {
				want = 1
			}
			if c := s.Counters(); c.Outages != want {
				t.Errorf("source %d: %+v, want %d outages", i, c, want)
			}
		}
		cable.Sender(t)(frame)
		cable.IP(t, "link del there")
		for _, s := range sources {
			var err error
			for p := (capture.Packet{}); err == nil || err == capture.ErrIdle; {
				if err = s.Next(&p); err == nil {
					n++
				}
			}
			if err.Error() != "capture on there: the interface no longer exists" {
				t.Errorf("the interface vanished: %v", err)
			}
		}
		if n != 3 {
			t.Errorf("%d packets, want 3: what came before the interface vanished", n)
		}
	}
}

func TestStop(t *testing.T) {
	cable.Plug(t)
	ctx, cancel := context.WithCancel(context.Background())
	sources, err := Open(ctx, DefaultConfig("there"))
	if err != nil {
		t.Fatal(err)
	}
	s := sources[0]
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	var p capture.Packet
	if err := s.Next(&p); err != io.EOF || time.Since(start) > idle {
		t.Errorf("after cancel: %v after %v", err, time.Since(start))
	}
	send := cable.Sender(t)
	for range 1000 {
		send(ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 22)))
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if c := s.Counters(); c.Received != 0 || c.Dropped["unread"] != 1000 || c.Dropped["kernel"] != 0 {
		t.Errorf("Counters() after Close = %+v", c)
	}
}

func TestCannotOpen(t *testing.T) {
	cable.Plug(t)
	cable.IP(t, "link set there down")
	for iface, want := range map[string]string{
		"nowhere": "capture on nowhere: there is no interface of that name",
		"there":   "capture on there: the interface is down; run: ip link set there up",
	} {
		_, err := Open(t.Context(), DefaultConfig(iface))
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What a packet costs the thread that reads it, user and system time, when many
// are ready. What the kernel does to put it into the ring is not in it.
func BenchmarkNext(b *testing.B) {
	measure := func(open func(context.Context) (capture.Source, error)) func(*testing.B) {
		return func(b *testing.B) {
			cable.Plug(b)
			defer runtime.UnlockOSThread()
			s, err := open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			send := cable.Sender(b)
			frame := ethernet(unix.ETH_P_IP, udp(1, 2, 53, 0, 22))
			var p capture.Packet
			var spent time.Duration
			const burst = 20_000 // fits into the ring
			for n := 0; n < b.N; {
				for range burst {
					send(frame)
				}
				time.Sleep(2 * retire)
				before := cpu(b)
				for range burst {
					if err := s.Next(&p); err != nil {
						b.Fatal(err, s.Counters())
					}
				}
				spent += cpu(b) - before
				n += burst
			}
			rounds := (b.N + burst - 1) / burst * burst
			b.ReportMetric(float64(spent)/float64(rounds), "cpu-ns/packet")
			b.ReportMetric(0, "ns/op")
		}
	}
	b.Run("afpacket", measure(func(ctx context.Context) (capture.Source, error) {
		sources, err := Open(ctx, DefaultConfig("there"))
		if err != nil {
			return nil, err
		}
		return sources[0], nil
	}))
	b.Run("libpcap", measure(func(ctx context.Context) (capture.Source, error) {
		return pcap.Open(ctx, pcap.DefaultConfig("there"))
	}))
}

// cpu is what the thread has used.
func cpu(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
