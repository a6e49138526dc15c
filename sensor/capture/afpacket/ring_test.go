//go:build linux

package afpacket

import (
	"bytes"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/sensor/capture"
)

// filledRing returns a ring as the kernel would have filled it: in each block
// as many packets as are given, every one of which has a VLAN tag in its header
// if tag is not zero.
func filledRing(blocks, size int, packets [][]byte, tag uint16) *ring {
	r := &ring{memory: make([]byte, blocks*size), block: size}
	for b := range blocks {
		at := b * size
		first := at + 48
		pos := first
		for i, data := range packets {
			h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.memory[pos]))
			const mac = 96
			*h = unix.Tpacket3Hdr{
				Sec: uint32(1000 + b), Nsec: uint32(i), Mac: mac,
				Snaplen: uint32(len(data)), Len: uint32(len(data)) + 7,
			}
			if tag != 0 {
				h.Status = unix.TP_STATUS_VLAN_VALID | unix.TP_STATUS_VLAN_TPID_VALID
				h.Hv1.Vlan_tci, h.Hv1.Vlan_tpid = uint32(tag), unix.ETH_P_8021AD
			}
			copy(r.memory[pos+mac:], data)
			next := (mac + len(data) + 15) &^ 15
			h.Next_offset = uint32(next)
			pos += next
		}
		r.at = at
		h := r.header()
		h.Num_pkts, h.Offset_to_first_pkt = uint32(len(packets)), uint32(first-at)
		h.Block_status = unix.TP_STATUS_USER
	}
	r.at = 0
	return r
}

func TestRing(t *testing.T) {
	packets := [][]byte{[]byte("the first packet"), []byte("and the second one"), []byte("short")}
	r := filledRing(3, 4096, packets, 0)
	var p capture.Packet
	for b := range 3 {
		for i, want := range packets {
			if !r.next(&p) {
				t.Fatalf("block %d, packet %d: there is none", b, i)
			}
			if !bytes.Equal(p.Data, want) || p.Length != len(want)+7 || !p.Time.Equal(time.Unix(int64(1000+b), int64(i))) || p.Time.Location() != time.UTC {
				t.Errorf("block %d, packet %d: %+v", b, i, p)
			}
		}
	}
	if r.next(&p) {
		t.Error("more packets than there are")
	}
	for b := range 3 {
		r.at = b * r.block
		if s := r.header().Block_status; s != unix.TP_STATUS_KERNEL {
			t.Errorf("block %d was not given back: status %d", b, s)
		}
	}
}

// A block may be handed over that has no packets.
func TestRingEmptyBlock(t *testing.T) {
	r := filledRing(2, 4096, [][]byte{[]byte("packet")}, 0)
	r.header().Num_pkts = 0
	var p capture.Packet
	if !r.next(&p) || p.Time.Unix() != 1001 {
		t.Errorf("got %+v", p)
	}
	if r.next(&p) {
		t.Error("more packets than there are")
	}
}

func TestRingRestoresTag(t *testing.T) {
	r := filledRing(1, 4096, [][]byte{[]byte("destinsource\x08\x00payload"), []byte("too short")}, 0x6005)
	var p capture.Packet
	if want := "destinsource\x88\xa8\x60\x05\x08\x00payload"; !r.next(&p) || string(p.Data) != want || p.Length != len(want)+7 {
		t.Errorf("got %q, %d bytes on the wire", p.Data, p.Length)
	}
	if !r.next(&p) || string(p.Data) != "too short" {
		t.Errorf("got %q", p.Data)
	}
}

func TestRingAllocates(t *testing.T) {
	packets := make([][]byte, 20)
	for i := range packets {
		packets[i] = make([]byte, 60)
	}
	s := &Source{ctx: t.Context(), ring: *filledRing(100, 4096, packets, 5)}
	var p capture.Packet
	if n := testing.AllocsPerRun(1900, func() {
		if err := s.Next(&p); err != nil || len(p.Data) != 64 {
			t.Fatal(err, len(p.Data))
		}
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

// A batch ends with its block, and before a packet that the counters tell of.
func TestBatches(t *testing.T) {
	packets := make([][]byte, 5)
	for i := range packets {
		packets[i] = bytes.Repeat([]byte{byte(i)}, 60)
	}
	packets[3] = append(packets[3], "more"...)
	s := &Source{ctx: t.Context(), longest: 60 + 7 + tagLength, ring: *filledRing(2, 4096, packets, 5)}
	var ps [4]capture.Packet
	var got []int
	for range 2 * 2 {
		n, err := s.NextBatch(ps[:])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
		for i, p := range ps[:n] {
			if want := byte(s.received) - byte(n-i); p.Data[20] != want%5 || p.Offset != -1 {
				t.Errorf("packet %d of %d is % x, at %d", i, n, p.Data[20], p.Offset)
			}
		}
		if want := uint64(len(got) / 2); s.oversize != want {
			t.Errorf("after batch %d, %d packets were too long, want %d", len(got), s.oversize, want)
		}
	}
	if !slices.Equal(got, []int{3, 2, 3, 2}) || s.received != 10 {
		t.Errorf("batches of %d, %d in all", got, s.received)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"capture: no interface is named":                                           func(c *Config) { c.Interface = "" },
		"capture on a-name-of-17-bytes: names of interfaces have at most 15 bytes": func(c *Config) { c.Interface = "a-name-of-17-bytes" },
		"capture on eth0: snaplen 10 is not between 64 and 262144":                 func(c *Config) { c.SnapLen = 10 },
		"capture on eth0: ring of 1000 bytes is not between 524288 and 1073741824": func(c *Config) { c.Ring = 1000 },
		"capture on eth0: 0 sockets are not between 1 and 64":                      func(c *Config) { c.Sockets = 0 },
	} {
		c := DefaultConfig("eth0")
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
