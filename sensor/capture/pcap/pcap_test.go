package pcap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/cable"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

func TestLive(t *testing.T) {
	cable.Network(t)
	cable.IP(t, "link set lo up")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	config := DefaultConfig("lo")
	config.Sensor = "border"
	config.Filter = "udp port 9999"
	config.Buffer = 1 << 20
	s, err := Open(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, want := s.Interfaces(), (capture.Interface{Sensor: "border", Name: "lo"}); len(got) != 1 || got[0] != want {
		t.Errorf("Interfaces() = %v, want %v", got, want)
	}

	for _, port := range []string{"9998", "9999", "9999"} {
		c, err := net.Dial("udp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("to port " + port)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	var p capture.Packet
	for range 2 {
		if err := s.Next(&p); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(p.Data, []byte("to port 9999")) || p.Link != 1 || p.Offset != -1 || p.Length != len(p.Data) {
			t.Errorf("got %+v", p)
		}
		if age := time.Since(p.Time); age < -time.Second || age > time.Minute || p.Time.Location() != time.UTC {
			t.Errorf("time is %v", p.Time)
		}
	}
	if err := s.Next(&p); err != capture.ErrIdle || len(p.Data) != 0 || time.Since(p.Time) > time.Minute {
		t.Errorf("on a quiet interface: %v, %+v", err, p)
	}
	if c := s.Counters(); c.Received != 2 || c.Dropped["kernel"] != 0 || c.Dropped["interface"] != 0 {
		t.Errorf("Counters() = %+v", c)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if err := s.Next(&p); err != io.EOF {
		t.Errorf("after cancel: %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("stopping took %v", d)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if c := s.Counters(); c.Received != 2 {
		t.Errorf("Counters() after Close = %+v", c)
	}
}

// A ring that is not emptied overflows, and says so.
func TestLiveDrops(t *testing.T) {
	cable.Network(t)
	cable.IP(t, "link set lo up")
	config := DefaultConfig("lo")
	config.Buffer = 64 << 10
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2000 {
		c.Write(make([]byte, 1000)) // every second one fails: nobody listens
	}
	if got := s.Counters(); got.Dropped["kernel"] == 0 {
		t.Errorf("2000 packets in a ring of 64 KiB: %+v", got)
	}
}

func TestOpenErrors(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		c := DefaultConfig("no-such-if")
		change(&c)
		s, err := Open(t.Context(), c)
		if err == nil {
			s.Close()
			t.Fatal("no error")
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
		if os.Geteuid() == 0 && strings.Contains(err.Error(), "needs root") {
			t.Errorf("got %q, but root it is", err)
		}
	}
	f(func(c *Config) {}, "capture on no-such-if: ")
	f(func(c *Config) { c.Interface = "" }, "no interface")
	f(func(c *Config) { c.SnapLen = 1 }, "snaplen 1 is not between")
	f(func(c *Config) { c.Buffer = 1 }, "buffer of 1 bytes")
}

// record makes a pcap file of the given link type.
func record(link uint32, packets ...[]byte) io.Reader {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, link)
	for i, p := range packets {
		for _, v := range []int{1000 + i, 0, len(p), len(p)} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		b = append(b, p...)
	}
	return bytes.NewReader(b)
}

// udp makes an IPv4 packet with a UDP header.
func udp(port uint16) []byte {
	b := []byte{0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 0, 0, 8, 0, 0}
	binary.BigEndian.PutUint16(b[22:], port)
	return b
}

func TestFilter(t *testing.T) {
	ethernet := func(ip []byte) []byte {
		return append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, ip...)
	}
	f := func(link uint32, packets [][]byte, want int) {
		t.Helper()
		r, err := file.New(record(link, packets...), "test.pcap")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Filter(r, "udp port 53")
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		var p capture.Packet
		for err = s.Next(&p); err == nil; err = s.Next(&p) {
			got++
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("link type %d: %d packets match, want %d", link, got, want)
		}
		if c := s.Counters(); c.Received != uint64(want) || c.Filtered != uint64(len(packets)-want) {
			t.Errorf("Counters() = %+v", c)
		}
	}
	f(1, [][]byte{ethernet(udp(53)), ethernet(udp(54)), {}, ethernet(udp(53))}, 2)
	f(101, [][]byte{udp(53), udp(54)}, 1)
	f(228, [][]byte{udp(53), udp(54)}, 1)

	if _, err := Filter(nil, "udp prot 53"); err == nil || !strings.Contains(err.Error(), `filter "udp prot 53"`) {
		t.Errorf("wrong filter: %v", err)
	}
	r, _ := file.New(record(276, udp(53)), "test.pcap")
	s, _ := Filter(r, "udp")
	if err := s.Next(new(capture.Packet)); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "276") {
		t.Errorf("link type 276: %v", err)
	}
}

func TestFilterAllocates(t *testing.T) {
	packets := make([][]byte, 300)
	for i := range packets {
		packets[i] = udp(53)
	}
	r, _ := file.New(record(101, packets...), "test.pcap")
	s, _ := Filter(r, "udp port 53")
	var p capture.Packet
	if n := testing.AllocsPerRun(200, func() {
		if err := s.Next(&p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
