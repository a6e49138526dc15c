package sensor_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// lossy is a tape whose source has lost packets by a number of causes.
type lossy struct {
	tape
	counters capture.Counters
}

func (s *lossy) Counters() capture.Counters { return s.counters }

// Each kind of loss is done on purpose, a known number of times, to otherwise
// clean traffic; the ledger says that number under that cause and nothing else,
// with any number of workers.
func TestInjectedLosses(t *testing.T) {
	const n = 37
	clean := func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\n")
		c.hear("HELLO\n")
		c.hangUp()
	}
	for i, f := range []struct {
		cause  string // of the ledger
		count  uint64
		change func(*sensor.Config)
		source capture.Counters
		inject func(*recorder)
	}{
		{cause: "", inject: func(*recorder) {}},
		{cause: "dropped.kernel", count: n, source: capture.Counters{Dropped: map[string]uint64{"kernel": n}}},
		{cause: "dropped.interface", count: n, source: capture.Counters{Dropped: map[string]uint64{"interface": n}}},
		{cause: "dropped.damaged", count: n, source: capture.Counters{Dropped: map[string]uint64{"damaged": n}}},
		{cause: "dropped.unread", count: n, source: capture.Counters{Dropped: map[string]uint64{"unread": n}}},
		{cause: "dropped.other", count: n, source: capture.Counters{Dropped: map[string]uint64{"a cause of the future": n}}},
		{cause: "filtered", count: n, source: capture.Counters{Filtered: n}},
		{cause: "oversized", count: n, source: capture.Counters{Oversized: n}},
		{cause: "interface_down", count: n, source: capture.Counters{Outages: n}},
		{cause: "files_broken", count: n, source: capture.Counters{Broken: n}},
		{cause: "dropped.unknown_link_type", count: n, inject: func(r *recorder) {
			r.add(187, []byte("Bluetooth"))
		}},
		{cause: "dropped.truncated_link_header", count: n, inject: func(r *recorder) {
			r.add(packet.LinkEthernet, make([]byte, 9))
		}},
		{cause: "dropped.truncated_ip_header", count: n, inject: func(r *recorder) {
			r.udp(ap(1, 1), ap(2, 2), "x")
			p := &r.packets[len(r.packets)-1]
			p.Data = p.Data[:12]
		}},
		{cause: "dropped.truncated_transport_header", count: n, inject: func(r *recorder) {
			r.udp(ap(1, 1), ap(2, 2), "x")
			p := &r.packets[len(r.packets)-1]
			p.Data = p.Data[:22]
		}},
		{cause: "cut", count: n, inject: func(r *recorder) {
			r.udp(ap(1, 1), ap(2, 2), "a payload of which the end is missing")
			p := &r.packets[len(r.packets)-1]
			p.Data = p.Data[:40]
		}},
		{cause: "dropped.bad_ip_checksum", count: n, change: func(c *sensor.Config) { c.DropBadChecksums = true }, inject: func(r *recorder) {
			r.udp(ap(1, 1), ap(2, 2), "x")
			r.packets[len(r.packets)-1].Data[10] ^= 0x40
		}},
		{cause: "dropped.bad_transport_checksum", count: n, change: func(c *sensor.Config) { c.DropBadChecksums = true }, inject: func(r *recorder) {
			r.tcp(ap(1, 1), ap(2, 2), packet.SYN, 1, 0, "")
			r.packets[len(r.packets)-1].Data[36] ^= 0x40
		}},
		{cause: "dropped.bad_ip_length", count: n, inject: func(r *recorder) {
			r.udp(ap(1, 1), ap(2, 2), "x")
			binary.BigEndian.PutUint16(r.packets[len(r.packets)-1].Data[2:], 200)
		}},
		{cause: "fragments_lost", count: n, inject: func(r *recorder) { // the rest never comes
			r.udp(ap(1, 1), ap(2, 2), "12345678")
			b := r.packets[len(r.packets)-1].Data
			binary.BigEndian.PutUint16(b[4:], uint16(len(r.packets)))
			b[6] = 0x20
		}},
		{cause: "flows_evicted", count: n, change: func(c *sensor.Config) { c.Flow.MaxFlows = sensor.Shards }, inject: func(r *recorder) {
			r.udp(ap(1, uint16(1000+len(r.packets))), ap(2, 2), "x")
		}},
		{cause: "flows_unparsed", count: n, change: func(c *sensor.Config) { c.MaxConversations = sensor.Shards }, inject: func(r *recorder) {
			r.udp(ap(1, uint16(1000+len(r.packets))), ap(2, 7777), "SHOUT\n")
		}},
		{cause: "parser_errors", count: n, inject: func(r *recorder) {
			r.udp(ap(1, uint16(1000+len(r.packets))), ap(2, 7777), "SHOUT\nBAD\n")
		}},
		{cause: "stream_gaps", count: n, inject: func(r *recorder) {
			c := r.call(ap(3, uint16(1000+len(r.packets))), ap(4, 7777))
			c.say("SHOUT\n")
			c.seqA += 100
			c.say("#\n")
			c.hangUp()
		}},
		{cause: "stream_overflows", count: n, change: func(c *sensor.Config) { c.StreamBytes, c.StreamTotal = 4096, 1<<20 }, inject: func(r *recorder) {
			c := r.call(ap(3, uint16(1000+len(r.packets))), ap(4, 7777))
			c.say("SHOUT\n")
			c.seqA += 100
			for range 5 { // nothing tells that the hole will not be filled but the bound
				c.say("#" + strings.Repeat("x", 999))
			}
			c.hangUp()
		}},
		{cause: "stream_conflicting_bytes", count: n, inject: func(r *recorder) {
			c := r.call(ap(3, uint16(1000+len(r.packets))), ap(4, 7777))
			c.say("SHOUT\n")
			c.seqA++
			c.say("#2345\n")
			c.seqA -= 6
			c.say("#2X45\n")
			c.seqA -= 7
			c.say("#")
			c.seqA += 6
			c.hangUp()
		}},
	} {
		for _, workers := range []int{1, 3} {
			r := &recorder{at: epoch}
			clean(r)
			if f.inject != nil && i > 0 {
				for range n {
					f.inject(r)
				}
			}
			if f.cause == "flows_evicted" || f.cause == "flows_unparsed" {
				f.inject(r) // the bound of a shard is one
				r.packets = r.packets[len(r.packets)-n-1:]
			}
			cfg := config(workers)
			if f.change != nil {
				f.change(&cfg)
			}
			for i := range r.packets {
				checksum(r.packets[i].Data, f.cause)
			}
			_, s, events, err := listen(t, cfg, func(int) (capture.Source, error) {
				return &lossy{tape: tape{packets: r.packets}, counters: f.source}, nil
			})
			if err != nil && !errors.Is(err, sensor.ErrLinkType) {
				t.Fatal(err)
			}
			got := checkLedger(t, events)
			for _, harmless := range []string{"seen", "decoded", "events", "flows"} {
				delete(got, harmless)
			}
			if strings.HasPrefix(f.cause, "dropped.truncated") {
				if got["cut"] > n {
					t.Errorf("%s: %d packets are cut", f.cause, got["cut"])
				}
				delete(got, "cut")
			}
			if strings.HasPrefix(f.cause, "stream_") && f.cause != "stream_conflicting_bytes" {
				if got["stream_gaps"] != n || got["stream_missed_bytes"] != 100*n {
					t.Errorf("%s: %v, want %d gaps of 100 bytes", f.cause, got, n)
				}
				delete(got, "stream_missed_bytes")
				if f.cause != "stream_gaps" {
					delete(got, "stream_gaps")
				}
			}
			maps.DeleteFunc(got, func(_ string, n uint64) bool { return n == 0 })
			want := map[string]uint64{}
			if f.cause != "" {
				want[f.cause] = f.count
			}
			if !maps.Equal(got, want) {
				t.Errorf("%d workers: ledger %v, want %v", workers, got, want)
			}
			total := s.Counters().Ledger
			for name, n := range got {
				if total[name] != n {
					t.Errorf("%s: counters say %d, the ledger %d", name, total[name], n)
				}
			}
			if now := s.Now().Ledger; !maps.Equal(now, total) {
				t.Errorf("%s: %v at the end, counters %v", f.cause, now, total)
			}
		}
	}
}

// checksum fills in the checksums of an IPv4 packet, wrong ones where they are
// to be: what was put into them before is added.
func checksum(b []byte, cause string) {
	if len(b) < 28 || b[0] != 0x45 || binary.BigEndian.Uint16(b[2:]) != uint16(len(b)) {
		return
	}
	fold := func(sum uint32, b []byte) uint32 {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) > 0 {
			sum += uint32(b[0]) << 8
		}
		return sum
	}
	put := func(at []byte, sum uint32) {
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(at, binary.BigEndian.Uint16(at)^^uint16(sum))
	}
	wrong := binary.BigEndian.Uint16(b[10:])
	b[10], b[11] = 0, 0
	sum := fold(0, b[:20])
	binary.BigEndian.PutUint16(b[10:], wrong)
	put(b[10:], sum)
	if b[9] == 6 {
		wrong := binary.BigEndian.Uint16(b[36:])
		b[36], b[37] = 0, 0
		sum := fold(uint32(b[9])+uint32(len(b)-20), b[12:])
		binary.BigEndian.PutUint16(b[36:], wrong)
		put(b[36:], sum)
	}
}
