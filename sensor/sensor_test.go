package sensor_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/all"
)

// collector is a sink that keeps copies.
type collector struct{ events []event.Event }

func (c *collector) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		c.events = append(c.events, batch[i].Clone())
	}
	return nil
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)

// tape is a source that hands out packets from memory.
type tape struct {
	packets []capture.Packet
	at      int
	err     error // at the end, instead of io.EOF
	lost    map[string]uint64
	closed  bool
}

func (s *tape) Next(p *capture.Packet) error {
	if s.at == len(s.packets) {
		return cmp.Or(s.err, io.EOF)
	}
	*p = s.packets[s.at]
	s.at++
	return nil
}

func (s *tape) Interfaces() []capture.Interface {
	return []capture.Interface{{Sensor: "tap-a", Name: "a.pcap"}, {Sensor: "tap-b", Name: "b.pcap"}}
}

func (s *tape) Counters() capture.Counters {
	c := capture.Counters{Received: uint64(s.at), Dropped: map[string]uint64{}}
	if s.at > len(s.packets)/2 {
		c.Filtered = 7
		for cause, n := range s.lost {
			c.Dropped[cause] = n
		}
	}
	return c
}

func (s *tape) Close() error {
	s.closed = true
	return nil
}

// recorder makes packets.
type recorder struct {
	at      time.Time
	packets []capture.Packet
	iface   int
}

func (r *recorder) add(link capture.LinkType, b []byte) {
	r.packets = append(r.packets, capture.Packet{Time: r.at, Data: b, Length: len(b), Link: link, Iface: r.iface, Offset: int64(len(r.packets))})
}

func (r *recorder) ipv4(proto byte, src, dst netip.Addr, l4 []byte) {
	b := make([]byte, 20, 20+len(l4))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(l4)))
	b[8], b[9] = 64, proto
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	r.add(packet.LinkRaw, append(b, l4...))
}

func (r *recorder) udp(src, dst netip.AddrPort, payload string) {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	r.ipv4(17, src.Addr(), dst.Addr(), append(b, payload...))
}

func (r *recorder) tcp(src, dst netip.AddrPort, flags byte, seq, ack uint32, payload string) {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], 8192)
	r.ipv4(6, src.Addr(), dst.Addr(), append(b, payload...))
}

func (r *recorder) arp(op uint16, from, to byte) {
	b := make([]byte, 42)
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, from, 8, 6, 0, 1, 8, 0, 6, 4})
	binary.BigEndian.PutUint16(b[20:], op)
	copy(b[22:], []byte{2, 0, 0, 0, 0, from, 192, 0, 2, from, 0, 0, 0, 0, 0, 0, 192, 0, 2, to})
	r.add(packet.LinkEthernet, b)
}

// call is one TCP connection with its sequence numbers.
type call struct {
	*recorder
	a, b       netip.AddrPort
	seqA, seqB uint32
}

func (r *recorder) call(a, b netip.AddrPort) *call {
	c := &call{r, a, b, 1000, 9000}
	c.tcp(a, b, packet.SYN, c.seqA, 0, "")
	c.tcp(b, a, packet.SYN|packet.ACK, c.seqB, c.seqA+1, "")
	c.seqA++
	c.seqB++
	c.tcp(a, b, packet.ACK, c.seqA, c.seqB, "")
	return c
}

func (c *call) say(s string) {
	c.tcp(c.a, c.b, packet.ACK|packet.PSH, c.seqA, c.seqB, s)
	c.seqA += uint32(len(s))
}

func (c *call) hear(s string) {
	c.tcp(c.b, c.a, packet.ACK|packet.PSH, c.seqB, c.seqA, s)
	c.seqB += uint32(len(s))
}

func (c *call) hangUp() {
	c.tcp(c.a, c.b, packet.ACK|packet.FIN, c.seqA, c.seqB, "")
	c.tcp(c.b, c.a, packet.ACK|packet.FIN, c.seqB, c.seqA+1, "")
	c.tcp(c.a, c.b, packet.ACK, c.seqA+1, c.seqB+1, "")
}

// shout is a protocol of lines in capitals after "SHOUT": each line is an
// event. "BAD" is an error, "BUG" a panic, and "DONE" the end.
var shout = proto.Protocol{
	Name: "shout", Transport: proto.TCP | proto.UDP, Ports: []uint16{7777},
	Probe: func(_ proto.Dir, b []byte) proto.Verdict {
		switch word := []byte("SHOUT"); {
		case bytes.HasPrefix(b, word):
			return proto.Yes
		case bytes.HasPrefix(word, b):
			return proto.Maybe
		}
		return proto.No
	},
	New: func() proto.Parser { return &shouting{} },
}

type shouting struct{ gaps int }

func (p *shouting) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (int, error) {
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return n, nil
		}
		line := b[n : n+i]
		n += i + 1
		if bytes.HasPrefix(line, []byte("#")) {
			continue
		}
		switch string(line) {
		case "DONE":
			return n, proto.ErrDone
		case "BAD":
			return n, errors.New("bad line")
		case "BUG":
			panic("a bug")
		}
		out.Emit(now, []event.Field{
			{Name: "shout.text", Value: out.Text(line)}, {Name: "shout.dir", Value: event.Uint(uint64(dir))}, {Name: "shout.gaps", Value: event.Uint(uint64(p.gaps))},
		})
	}
}
func (p *shouting) Gap(_ proto.Dir, n int) { p.gaps += n }
func (p *shouting) End(out *proto.Out) {
	out.Emit(epoch, []event.Field{{Name: "shout.text", Value: event.Str("end")}})
}

// listen runs a sensor and returns its events as JSON lines.
func listen(t testing.TB, cfg sensor.Config, open sensor.Open) (lines []string, s *sensor.Sensor, events []event.Event, err error) {
	t.Helper()
	var sink collector
	s, err = sensor.New(cfg, open, &sink)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(context.Background())
	for i := range sink.events {
		lines = append(lines, string(sink.events[i].AppendJSON(nil)))
	}
	return lines, s, sink.events, err
}

func play(packets []capture.Packet) sensor.Open {
	return func(int) (capture.Source, error) {
		return &tape{packets: packets, lost: map[string]uint64{"kernel": 3}}, nil
	}
}

func ap(host byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), port)
}

func config(workers int) sensor.Config {
	cfg := sensor.DefaultConfig()
	cfg.Workers = workers
	cfg.Protocols = []proto.Protocol{shout}
	return cfg
}

// texts are the events of shout in short.
func texts(events []event.Event) (s []string) {
	for i := range events {
		if e := &events[i]; e.Kind == "shout" {
			s = append(s, strings.TrimSpace(fmt.Sprintf("%v %v %v", e.Get("shout.text"), e.Get("shout.dir"), e.Get("shout.gaps"))))
		}
	}
	return s
}

// Protocols whose messages do not begin as a flow does are not asked about it.
func TestStrangersAreNotAsked(t *testing.T) {
	asked := 0
	stranger := shout
	stranger.Name = "stranger"
	stranger.Probe = func(_ proto.Dir, b []byte) proto.Verdict {
		if len(b) > 1 {
			asked++
		}
		if b[0] == 'X' {
			return proto.Maybe
		}
		return proto.No
	}
	stranger.First = func(c byte) bool { return c == 'X' }
	cfg := config(1)
	cfg.Protocols = []proto.Protocol{stranger, shout}
	r := &recorder{at: epoch}
	c := r.call(ap(1, 40000), ap(2, 7777))
	c.say("SHOUT\n")
	c = r.call(ap(1, 40001), ap(2, 9))
	c.say("nothing known")
	c.hear("nor this")
	r.udp(ap(1, 40002), ap(2, 9), "nothing known")
	r.udp(ap(1, 40003), ap(2, 9), "SHOUT\n")
	_, _, events, err := listen(t, cfg, play(r.packets))
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(events); asked > 0 || len(got) != 4 {
		t.Errorf("asked %d times, and events %q", asked, got)
	}
	r.udp(ap(1, 40004), ap(2, 9), "X marks the spot")
	if _, _, _, err = listen(t, cfg, play(r.packets)); err != nil || asked != 1 {
		t.Errorf("asked %d times of what may be its own, %v", asked, err)
	}
}

// TestConversations are what parsers get of TCP and UDP.
func TestConversations(t *testing.T) {
	f := func(name string, want []string, errs map[string]uint64, record func(r *recorder)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			r := &recorder{at: epoch}
			record(r)
			_, s, events, err := listen(t, config(1), play(r.packets))
			if err != nil {
				t.Fatal(err)
			}
			if got := texts(events); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if got := s.Counters().ParserErrors["shout"]; fmt.Sprint(got) != fmt.Sprint(errs) {
				t.Errorf("errors %v, want %v", got, errs)
			}
			for i := range events {
				if e := &events[i]; e.Kind == event.KindFlow && len(want) > 0 && e.Flow.Service != "shout" {
					t.Errorf("service %q", e.Flow.Service)
				}
			}
		})
	}
	f("two ways", []string{"SHOUT 0 0", "HELLO 1 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\n")
		c.hear("HELLO\n")
		c.hangUp()
	})
	f("nothing of interest comes any more", []string{"SHOUT 0 0"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\nDONE\nX\n")
		c.hear("Y\n")
		c.say("Z\n")
		c.hangUp()
	})
	f("recognised on any port, cut anyhow", []string{"SHOUT 0 0", "ABC 0 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 1))
		for _, s := range []string{"S", "HO", "UT\nA", "B", "C\n"} {
			c.say(s)
		}
	})
	f("the responder speaks first", []string{"SHOUT 1 0", "X 0 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.hear("SHOUT\n")
		c.say("X\n")
	})
	f("what came before recognition is a gap", []string{"SHOUT 1 5", "X 0 5", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("hello")
		c.hear("SHOUT\n")
		c.say("X\n")
	})
	f("what waited is given first", []string{"SHOUT 0 0", "SHOUT 1 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHO")
		c.hear("SHO")
		c.say("UT\n")
		c.hear("UT\n")
	})
	f("lost", []string{"SHOUT 0 0", "C 0 3", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\nx")
		c.seqA += 3
		c.hear("") // acknowledges what was never seen
		c.say("C\n")
	})
	f("out of order", []string{"SHOUT 0 0", "A 0 0", "B 0 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\n")
		c.seqA += 2
		c.say("B\n")
		c.seqA -= 4
		c.say("A\n")
	})
	f("an RST, forged or not, is no data and ends nothing", []string{"SHOUT 0 0", "A 0 0", "B 1 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\n")
		c.tcp(c.a, c.b, packet.RST|packet.ACK, c.seqA, c.seqB, "EVIL\n") // whose text RFC 9293 section 3.5.2 allows
		c.say("A\n")
		c.tcp(c.b, c.a, packet.RST, c.seqB+5000, 0, "")
		c.hear("B\n")
		c.hangUp()
	})
	f("urgent data stays in its place", []string{"SHOUT 0 0", "ABC 0 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\n")
		c.tcp(c.a, c.b, packet.ACK|packet.URG, c.seqA, c.seqB, "AB")
		c.seqA += 2
		c.say("C\n")
	})
	f("one side only, from the middle", []string{"SHOUT 0 0", "A 0 0", "end"}, nil, func(r *recorder) {
		c := &call{r, ap(1, 40000), ap(2, 7777), 5000, 9000}
		c.say("SHOUT\n")
		c.say("A\n")
	})
	f("a segment far outside the window is no data", []string{"SHOUT 0 0", "A 0 0", "end"}, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\n")
		c.tcp(c.a, c.b, packet.ACK, c.seqA+1<<30, c.seqB, "EVIL\n")
		c.say("A\n")
	})
	f("error", []string{"SHOUT 0 0"}, map[string]uint64{"bad line": 1}, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\nBAD\nA\n")
		c.say("B\n")
	})
	f("panic", []string{"SHOUT 0 0"}, map[string]uint64{"panic": 1}, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\nBUG\nA\n")
		c.say("B\n")
	})
	f("endless", []string{"SHOUT 0 0"}, map[string]uint64{"message too long": 1}, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("SHOUT\n")
		for range 80 {
			c.say(strings.Repeat("A", 1000))
		}
	})
	f("another protocol", nil, nil, func(r *recorder) {
		c := r.call(ap(1, 40000), ap(2, 7777))
		c.say("hello\n")
		c.hear("hello\n")
		c.say("SHOUT\n")
	})
	f("datagrams", []string{"SHOUT 0 0", "A 1 0", "end"}, nil, func(r *recorder) {
		r.udp(ap(1, 40000), ap(2, 7777), "noise")
		r.udp(ap(1, 40000), ap(2, 7777), "SHOUT\n")
		r.udp(ap(2, 7777), ap(1, 40000), "A\nrest is dropped")
	})
	f("cut datagram is a gap", []string{"SHOUT 0 0", "A 1 100", "end"}, nil, func(r *recorder) {
		r.udp(ap(1, 40000), ap(2, 7777), "SHOUT\n")
		r.udp(ap(1, 40000), ap(2, 7777), strings.Repeat("x", 100))
		last := &r.packets[len(r.packets)-1]
		last.Data = last.Data[:60]
		r.udp(ap(2, 7777), ap(1, 40000), "A\n")
	})
}

// town is traffic of many hosts: calls that overlap, lose and reorder, scans,
// datagrams, ARP, fragments, nonsense, on two taps and over some minutes.
func town(seed uint64, n int) []capture.Packet {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &recorder{at: epoch}
	var calls []*call
	for len(r.packets) < n {
		r.at = r.at.Add(time.Duration(rng.IntN(40)) * time.Millisecond)
		r.iface = rng.IntN(2)
		switch k := rng.IntN(100); {
		case k < 10:
			calls = append(calls, r.call(ap(byte(rng.IntN(40)), uint16(1024+rng.IntN(5000))), ap(byte(100+rng.IntN(20)), 7777)))
			calls[len(calls)-1].say("SHOUT\n")
		case k < 60 && len(calls) > 0:
			c := calls[rng.IntN(len(calls))]
			switch rng.IntN(12) {
			case 0:
				c.seqA += 20
			case 1:
				c.seqA -= 4
			case 2:
				c.hangUp()
			case 3:
				c.say("BUG\n")
			case 4, 5, 6, 7:
				c.hear("ANSWER\n")
			default:
				c.say("AGAIN\n")
			}
		case k < 70:
			r.udp(ap(byte(rng.IntN(40)), uint16(rng.IntN(100))), ap(byte(rng.IntN(40)), 53), "SHOUT\n")
		case k < 80:
			r.tcp(ap(250, uint16(rng.IntN(60000))), ap(byte(rng.IntN(250)), uint16(rng.IntN(1000))), packet.SYN, rng.Uint32(), 0, "")
		case k < 85:
			r.arp(1, byte(rng.IntN(5)), byte(rng.IntN(5)))
		case k < 87:
			r.add(packet.LinkRaw, []byte{0x45, 0, 0})
		case k < 88:
			r.add(999, []byte("what is this"))
		case k < 90:
			id := uint16(rng.IntN(4))
			b := make([]byte, 28)
			b[0], b[3], b[8], b[9] = 0x45, 28, 64, 17
			binary.BigEndian.PutUint16(b[4:], id)
			if rng.IntN(2) == 0 {
				b[6] = 0x20
			} else {
				b[7] = 1
			}
			copy(b[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2, 0, 9, 0, 9, 0, 16, 0, 0})
			r.add(packet.LinkRaw, b)
		case k < 91:
			r.at = r.at.Add(time.Duration(rng.IntN(90)) * time.Second)
		case k < 92:
			r.at = r.at.Add(-time.Duration(rng.IntN(2000)) * time.Millisecond)
		}
	}
	return r.packets[:n]
}

// checkLedger asks that every ledger event balances, and returns the sums.
func checkLedger(t *testing.T, events []event.Event) map[string]uint64 {
	t.Helper()
	sum := map[string]uint64{}
	made := uint64(0)
	for i := range events {
		e := &events[i]
		if e.Kind != event.KindLedger {
			made++
			continue
		}
		var seen, parts uint64
		for _, f := range e.Fields {
			n, _ := f.Value.Uint()
			name := strings.TrimPrefix(f.Name, "tocsin.ledger.")
			sum[name] += n
			switch {
			case name == "seen":
				seen = n
			case name == "decoded", name == "filtered", strings.HasPrefix(name, "dropped."):
				parts += n
			}
		}
		if seen != parts {
			t.Errorf("ledger does not balance: %s", e.AppendJSON(nil))
		}
	}
	if sum["events"] != made {
		t.Errorf("ledger has %d events, there are %d", sum["events"], made)
	}
	return sum
}

// TestWorkers asks that any number of workers gives the same events in the
// same order, also at the bounds, and that all packets are accounted for.
func TestWorkers(t *testing.T) {
	for seed := range uint64(3) {
		packets := town(seed, 20_000)
		for _, small := range []bool{false, true} {
			var want []string
			for _, workers := range []int{1, 2, 4, 16} {
				cfg := config(workers)
				if small {
					cfg.Flow.MaxFlows = 160
					cfg.MaxConversations = 64
					cfg.StreamBytes, cfg.StreamTotal = 4096, 16*4096
				}
				got, s, events, err := listen(t, cfg, play(packets))
				if !errors.Is(err, sensor.ErrLinkType) {
					t.Fatal(err)
				}
				sum := checkLedger(t, events)
				if sum["seen"] != uint64(len(packets))+7+3 {
					t.Errorf("%d workers: %d packets seen of %d", workers, sum["seen"], len(packets)+10)
				}
				if sum["fragments_lost"] == 0 || sum["dropped.fragment_dropped"] == 0 || sum["dropped.kernel"] != 3 {
					t.Errorf("fragments or kernel's losses are missing: %v", sum)
				}
				if small && (sum["flows_evicted"] == 0 || sum["flows_unparsed"] == 0) {
					t.Errorf("bounds not reached: %v", sum)
				}
				for name, n := range s.Counters().Ledger {
					if sum[name] != n {
						t.Errorf("counter %s is %d, ledger says %d", name, n, sum[name])
					}
				}
				if want == nil {
					want = got
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%d workers, small %v: %s", workers, small, firstDifference(got, want))
				}
			}
			ids := slices.Clone(want)
			for i := range ids {
				ids[i] = ids[i][strings.Index(ids[i], `"id":"`):][:40]
			}
			slices.Sort(ids)
			if n := len(slices.Compact(ids)); n != len(want) {
				t.Errorf("%d identifiers for %d events", n, len(want))
			}
		}
	}
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("event %d:\n%s\n%s", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d and %d events", len(got), len(want))
}

// TestScenarioWorkers reads the project's own recordings, all taps together,
// with all protocols and different numbers of workers.
// TestManyEndAtOnce lets more flows of each shard end at one time than go into
// a batch, in the middle of a capture and at its end.
func TestManyEndAtOnce(t *testing.T) {
	const hosts, ports = 40, 1100
	r := &recorder{at: epoch}
	for range 2 {
		for host := range byte(hosts) {
			for port := range uint16(ports) {
				r.udp(ap(host, 1024+port), ap(100, 9999), "x")
			}
		}
		r.at = r.at.Add(2 * time.Minute) // they are over, and so is a minute of the ledger
	}
	var want []string
	for _, workers := range []int{1, 3, 16} {
		got, _, events, err := listen(t, config(workers), play(r.packets))
		if err != nil {
			t.Fatal(err)
		}
		if n := checkLedger(t, events)["flows"]; n != 2*hosts*ports {
			t.Errorf("%d workers: %d flows of %d", workers, n, 2*hosts*ports)
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d workers: %s", workers, firstDifference(got, want))
		}
	}
	full := errors.New("disk full")
	s, err := sensor.New(config(2), play(r.packets), failing{full})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

func TestScenarioWorkers(t *testing.T) {
	scenarios, err := filepath.Glob(filepath.Join("..", "testdata", "scenarios", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range scenarios {
		taps, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(taps) == 0 {
			continue
		}
		var want []string
		for _, workers := range []int{1, 3} {
			cfg := sensor.DefaultConfig()
			cfg.Workers, cfg.Protocols = workers, all.Protocols()
			got, s, events, err := listen(t, cfg, func(int) (capture.Source, error) { return file.Open(taps...) })
			if err != nil {
				t.Fatal(err)
			}
			if sum := checkLedger(t, events); sum["decoded"] == 0 || sum["stream_overflows"] > 0 || sum["clock_jumps"] > 0 {
				t.Errorf("%s: ledger %v", dir, sum)
			}
			for kind, causes := range s.Counters().ParserErrors {
				if causes["panic"] > 0 {
					t.Errorf("%s: %s panics", dir, kind)
				}
			}
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s", dir, firstDifference(got, want))
			}
		}
		t.Logf("%s: %d events", dir, len(want))
	}
}

// TestCorpusWorkers reads foreign captures with all protocols and 1 and 4
// workers.
func TestCorpusWorkers(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS names no corpus")
	}
	paths, err := filepath.Glob(filepath.Join(corpus, "*", "pcap", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no captures", err)
	}
	schema, err := event.NewSchema(sensor.Fields(), fieldsOf(all.Protocols()))
	if err != nil {
		t.Fatal(err)
	}
	errs := map[string]uint64{}
	kinds := map[event.Kind]int{}
	var packets uint64
	start := time.Now()
	for _, path := range paths {
		if stat, err := os.Stat(path); err != nil || stat.IsDir() {
			continue
		}
		open := func(int) (capture.Source, error) { return file.Open(path) }
		if src, err := file.Open(path); err != nil {
			continue
		} else {
			src.Close()
		}
		var want []string
		for _, workers := range []int{1, 4} {
			cfg := sensor.DefaultConfig()
			cfg.Workers, cfg.Protocols = workers, all.Protocols()
			got, s, events, err := listen(t, cfg, open)
			if err != nil && workers == 1 {
				t.Logf("%s: %v", path, err)
			}
			packets += checkLedger(t, events)["seen"]
			if workers == 4 {
				if !slices.Equal(got, want) {
					t.Errorf("%s: %s", path, firstDifference(got, want))
				}
				continue
			}
			want = got
			for kind, causes := range s.Counters().ParserErrors {
				for cause, n := range causes {
					errs[string(kind)+": "+cause] += n
					if cause == "panic" {
						t.Errorf("%s: %s panics", path, kind)
					}
				}
			}
			for i := range events {
				kinds[events[i].Kind]++
				for _, f := range events[i].Fields {
					if _, ok := schema.Lookup(f.Name); !ok {
						t.Errorf("%s: field %s is not documented", path, f.Name)
					}
				}
			}
		}
	}
	t.Logf("%d captures, %d packets in %v: %v; parsers gave up: %v", len(paths), packets, time.Since(start), kinds, errs)
}

func fieldsOf(protocols []proto.Protocol) (docs []event.FieldDoc) {
	for i := range protocols {
		docs = append(docs, protocols[i].Fields...)
	}
	return docs
}

// TestClock gives packets whose clock jumps: nothing hangs, and flows that
// were alive before stay alive or time out once.
func TestClock(t *testing.T) {
	r := &recorder{at: epoch}
	for i, jump := range []time.Duration{0, time.Second, -30 * time.Second, 0, -400 * 24 * time.Hour, time.Second, 800 * 24 * time.Hour, 0, -time.Hour, time.Second} {
		r.at = r.at.Add(jump)
		r.udp(ap(1, uint16(i%2+5000)), ap(2, 99), "x")
	}
	for _, at := range []time.Time{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0), time.Unix(1<<62, 0), time.Unix(-1<<62, 0)} {
		r.at = at
		r.udp(ap(1, 5000), ap(2, 99), "x")
	}
	var want []string
	for _, workers := range []int{1, 4} {
		got, s, events, err := listen(t, config(workers), play(r.packets))
		if err != nil {
			t.Fatal(err)
		}
		if sum := checkLedger(t, events); sum["clock_jumps"] != 7 || s.Counters().Ledger["clock_jumps"] != 7 {
			t.Errorf("%d clock jumps", sum["clock_jumps"])
		}
		var packets uint64
		for i := range events {
			packets += events[i].Flow.Src.Packets
		}
		if packets != uint64(len(r.packets)) {
			t.Errorf("flows have %d packets of %d", packets, len(r.packets))
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Error(firstDifference(got, want))
		}
	}
}

func TestARP(t *testing.T) {
	r := &recorder{at: epoch}
	for range 100 {
		r.arp(1, 1, 2)
		r.at = r.at.Add(time.Second)
	}
	r.arp(2, 2, 1)
	_, _, events, err := listen(t, config(1), play(r.packets))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var repeats uint64
	for i := range events {
		if e := &events[i]; e.Kind == event.KindARP {
			got = append(got, fmt.Sprintf("%v %v %v>%v %v", e.Time.Sub(epoch), e.Get("arp.operation"), e.Flow.Src.IP, e.Flow.Dst.IP, e.Get("arp.repeats")))
			n, _ := e.Get("arp.repeats").Uint()
			repeats += n
		}
	}
	want := []string{
		"0s request 192.0.2.1>192.0.2.2 ",
		"59s request 192.0.2.1>192.0.2.2 59",
		"1m40s reply 192.0.2.2>192.0.2.1 ",
		"1m39s request 192.0.2.1>192.0.2.2 40",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || repeats != 99 {
		t.Errorf("%d repeats in\n%s", repeats, strings.Join(got, "\n"))
	}
}

// TestErrors: what lies before a fault is published, and everything is closed.
func TestErrors(t *testing.T) {
	r := &recorder{at: epoch}
	r.udp(ap(1, 5000), ap(2, 99), "x")
	broken := errors.New("a.pcap: broken at offset 24")
	var tapes []*tape
	open := func(int) (capture.Source, error) {
		tapes = append(tapes, &tape{packets: r.packets, err: broken})
		return tapes[len(tapes)-1], nil
	}
	_, _, events, err := listen(t, config(2), open)
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if len(events) != 2 || events[0].Kind != event.KindFlow && events[1].Kind != event.KindFlow {
		t.Errorf("%d events", len(events))
	}
	for _, tp := range tapes {
		if !tp.closed {
			t.Error("source not closed")
		}
	}

	full := errors.New("disk full")
	packets := town(1, 20_000)
	s, err := sensor.New(config(4), play(packets), failing{full})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}

	if _, err := sensor.New(sensor.Config{}, open, failing{}); err == nil {
		t.Error("an empty configuration was taken")
	}
	none := errors.New("no such file")
	s, err = sensor.New(config(2), func(n int) (capture.Source, error) {
		if n == 1 {
			return nil, none
		}
		return &tape{}, nil
	}, failing{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); !errors.Is(err, none) {
		t.Errorf("error %v", err)
	}
}

// Packets of a link type that nothing is known of are named at the end, after
// everything else was told: a capture of them must not pass for a quiet one.
func TestUnknownLinkType(t *testing.T) {
	r := &recorder{at: epoch}
	r.add(147, []byte("radio"))
	r.add(packet.LinkEthernet, make([]byte, 60))
	for link := range capture.LinkType(40) {
		r.add(1000+link, []byte("x"))
	}
	for _, workers := range []int{1, 4} {
		lines, s, _, err := listen(t, config(workers), func(int) (capture.Source, error) {
			return &tape{packets: r.packets}, nil
		})
		if !errors.Is(err, sensor.ErrLinkType) || !strings.HasPrefix(err.Error(), "a.pcap: 1 packets passed over: unknown link type 147; ") {
			t.Errorf("%d workers: error %v", workers, err)
		}
		if told := strings.Count(err.Error(), "\n") + 1; told != 16 || !strings.Contains(err.Error(), "26 packets passed over: unknown link type 1014;") {
			t.Errorf("%d workers: %d link types told:\n%v", workers, told, err)
		}
		if n := s.Counters().Ledger["dropped.unknown_link_type"]; n != 41 || len(lines) == 0 {
			t.Errorf("%d workers: %d packets and %d events", workers, n, len(lines))
		}
	}
}

type failing struct{ err error }

func (f failing) Publish(context.Context, []event.Event) error { return f.err }

// radio is a live source: packets until its context is done.
type radio struct {
	tape
	ctx  context.Context
	step time.Duration
}

func (s *radio) Next(p *capture.Packet) error {
	if s.ctx.Err() != nil {
		return io.EOF
	}
	if s.tape.Next(p) != nil {
		select {
		case <-s.ctx.Done():
			return io.EOF
		case <-time.After(time.Millisecond):
		}
		s.step += time.Minute
		*p = capture.Packet{Time: epoch.Add(s.step)}
		return capture.ErrIdle
	}
	return nil
}

// first waits for a number of flow events.
type first struct {
	n    int
	done func()
}

func (f *first) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		if batch[i].Kind == event.KindFlow {
			if f.n--; f.n == 0 {
				f.done()
			}
		}
	}
	return nil
}

// TestLive: flows of an idle interface time out and go on, and the sensor ends
// with its context.
func TestLive(t *testing.T) {
	r := &recorder{at: epoch}
	r.udp(ap(1, 5000), ap(2, 99), "x")
	r.udp(ap(3, 5000), ap(4, 99), "x")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cfg := config(1)
	cfg.Live = true
	sink := &first{n: 2, done: cancel}
	s, err := sensor.New(cfg, func(int) (capture.Source, error) {
		return &radio{tape: tape{packets: r.packets}, ctx: ctx}, nil
	}, sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if sink.n > 0 {
		t.Errorf("%d flows missing", sink.n)
	}

	// Of a sink that fails, a source that goes on for ever is stopped.
	full := errors.New("disk full")
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err = sensor.New(cfg, func(int) (capture.Source, error) {
		return &radio{tape: tape{packets: r.packets}, ctx: ctx}, nil
	}, failing{full})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx); !errors.Is(err, full) || ctx.Err() != nil {
		t.Errorf("error %v, context %v", err, ctx.Err())
	}
}

// TestSteadyStateDoesNotAllocate reads twice as many packets of the same
// connections and asks that the sensor allocates no more.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	record := func(rounds int) []capture.Packet {
		r := &recorder{at: epoch}
		var calls []*call
		for i := range 50 {
			calls = append(calls, r.call(ap(byte(i), 5000), ap(100, 7777)))
			calls[i].say("SHOUT\n")
		}
		for range rounds {
			r.at = r.at.Add(10 * time.Millisecond)
			for _, c := range calls {
				c.say("#\n")
				c.hear("#\n")
				r.udp(c.a, ap(101, 53), "x")
			}
		}
		return r.packets
	}
	allocations := func(packets []capture.Packet) float64 {
		return testing.AllocsPerRun(3, func() {
			s, err := sensor.New(config(1), play(packets), failing{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
	short, long := record(100), record(200)
	few, many := allocations(short), allocations(long)
	more := float64(len(long) - len(short))
	// Batches are handed over every few thousand packets.
	if per := (many - few) / more; per > 0.001 {
		t.Errorf("%.3f allocations per packet (%v for %d packets, %v for %d)", per, few, len(short), many, len(long))
	}
}

func BenchmarkSensor(b *testing.B) {
	packets := town(1, 100_000)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, err := sensor.New(config(workers), play(packets), failing{})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Run(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(packets)), "ns/packet")
		})
	}
}

// BenchmarkSteady is the normal path: connections in order, and datagrams.
func BenchmarkSteady(b *testing.B) {
	r := &recorder{at: epoch}
	var calls []*call
	for i := range 1000 {
		calls = append(calls, r.call(ap(byte(i), uint16(5000+i)), ap(100, 7777)))
		calls[i].say("SHOUT\n")
	}
	line := "#" + strings.Repeat(".", 500) + "\n"
	for range 40 {
		r.at = r.at.Add(10 * time.Millisecond)
		for _, c := range calls {
			c.say(line)
			c.hear(line)
			r.udp(c.a, ap(101, 53), line)
		}
	}
	for _, protocols := range [][]proto.Protocol{nil, {shout}} {
		b.Run(fmt.Sprintf("protocols=%d", len(protocols)), func(b *testing.B) {
			b.ReportAllocs()
			cfg := config(1)
			cfg.Protocols = protocols
			for b.Loop() {
				s, err := sensor.New(cfg, play(r.packets), failing{})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Run(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(r.packets)), "ns/packet")
		})
	}
}

func TestFieldsAreASchema(t *testing.T) {
	if _, err := event.NewSchema(sensor.Fields(), fieldsOf(all.Protocols())); err != nil {
		t.Error(err)
	}
}

// FuzzSensor reads frames and times from bytes: length, pause, link type,
// frame.
func FuzzSensor(f *testing.F) {
	var seed []byte
	for _, p := range town(5, 60) {
		link := byte(0)
		if p.Link == packet.LinkEthernet {
			link = 1
		}
		seed = append(seed, byte(len(p.Data)), 1, link)
		seed = append(seed, p.Data...)
	}
	f.Add(seed)
	protocols := append(all.Protocols(), shout)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &recorder{at: epoch}
		for len(b) >= 3 {
			n := min(int(b[0]), len(b)-3)
			r.at = r.at.Add(time.Duration(int8(b[1])) * time.Second)
			link := packet.LinkRaw
			if b[2]&1 != 0 {
				link = packet.LinkEthernet
			}
			r.iface = int(b[2] >> 1 & 1)
			r.add(link, b[3:3+n])
			b = b[3+n:]
		}
		var want []string
		for _, workers := range []int{1, 3} {
			cfg := config(workers)
			cfg.Protocols = protocols
			cfg.Flow.MaxFlows = 32
			got, s, events, err := listen(t, cfg, play(r.packets))
			if err != nil {
				t.Fatal(err)
			}
			checkLedger(t, events)
			for kind, causes := range s.Counters().ParserErrors {
				if causes["panic"] > 0 && kind != "shout" {
					t.Fatalf("%s panics", kind)
				}
			}
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Fatal(firstDifference(got, want))
			}
		}
	})
}

// What is in a tunnel has its own flow, with the tunnel in every event; the
// tunnel has another, and the packet counts once.
func TestTunnels(t *testing.T) {
	r := &recorder{at: epoch}
	in := func(vni byte, from, to byte, inner []byte) {
		b := []byte{8, 0, 0, 0, 0, 0, vni, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}
		r.udp(ap(from, 50000), ap(to, 4789), string(append(b, inner...)))
	}
	inner := &recorder{at: epoch}
	c := inner.call(ap(1, 5000), ap(2, 7777))
	c.say("SHOUT\n")
	c.hear("SHOUT\n")
	c.hangUp()
	for i, p := range inner.packets {
		if p.Data[15] == 1 {
			in(7, 201, 202, p.Data)
		} else {
			in(8, 202, 201, p.Data)
		}
		r.at = r.at.Add(time.Duration(i) * time.Millisecond)
	}
	r.udp(ap(201, 50000), ap(202, 4789), "SHOUT\n") // no VXLAN, in its flow
	var want []string
	for workers := 1; workers <= 4; workers++ {
		lines, s, events, err := listen(t, config(workers), play(r.packets))
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = lines
		}
		if !slices.Equal(lines, want) {
			t.Error(firstDifference(lines, want))
		}
		checkLedger(t, events)
		if n := s.Counters().Ledger["decoded"]; n != uint64(len(r.packets)) {
			t.Errorf("%d packets decoded, of %d", n, len(r.packets))
		}
		var carriers, flows, shouts int
		for i := range events {
			e := &events[i]
			tunnel := e.Get("tocsin.tunnel.type").String() + e.Get("tocsin.tunnel.source.ip").String() +
				e.Get("tocsin.tunnel.destination.ip").String() + e.Get("tocsin.tunnel.id").String()
			switch {
			case e.Kind == event.KindLedger:
			case e.Flow.Dst.Port == 4789:
				carriers++
				if e.Kind != event.KindFlow || e.Flow.Service != "vxlan" || e.Flow.Dst.Packets != 0 || tunnel != "" {
					t.Errorf("carrier: %s %+v %s", e.Kind, e.Flow, tunnel)
				}
			default:
				if e.Kind == event.KindFlow {
					flows++
				} else {
					shouts++
				}
				if want := `["vxlan"]["192.0.2.201"]["192.0.2.202"][7]`; tunnel != want {
					t.Errorf("%s: tunnel %s, want %s", e.Kind, tunnel, want)
				}
				if e.Flow.Src.Port != 5000 || e.Kind == event.KindFlow && e.Flow.State != "SF" {
					t.Errorf("%+v", e.Flow)
				}
			}
		}
		if carriers != 2 || flows != 1 || shouts == 0 {
			t.Errorf("%d carriers, %d flows, %d shouts", carriers, flows, shouts)
		}
	}
}

// A flow event says what headers and streams tell of both sides.
func TestFlowFields(t *testing.T) {
	r := &recorder{at: epoch}
	c := &call{r, ap(1, 5000), ap(2, 7777), 1000, 9000}
	c.tcp(c.a, c.b, packet.SYN, c.seqA, 0, "")
	r.at = r.at.Add(20 * time.Millisecond)
	c.tcp(c.b, c.a, packet.SYN|packet.ACK, c.seqB, c.seqA+1, "")
	c.seqA, c.seqB, r.at = c.seqA+1, c.seqB+1, r.at.Add(time.Millisecond)
	c.tcp(c.a, c.b, packet.ACK, c.seqA, c.seqB, "")
	c.tcp(c.a, c.b, packet.ACK, c.seqA+6, c.seqB, "SHOUT\n") // out of order
	c.tcp(c.a, c.b, packet.ACK, c.seqA, c.seqB, "SHOUT\n")
	c.tcp(c.a, c.b, packet.ACK, c.seqA, c.seqB, "SHOUT\n") // again
	c.seqA += 12
	c.hangUp()
	r.udp(ap(3, 5000), ap(4, 53), "one way")
	unknown := r.call(ap(1, 5000), ap(2, 9999))
	unknown.say(strings.Repeat("ab", 100)) // one bit of the 7.6 that 200 bytes can have
	unknown.hear("too short to say")
	want := map[uint16]map[string]string{
		7777: {
			"source_flags": "FSA", "destination_flags": "FSA", "source_ttl": "64", "source_rtt": "1000000", "source_syn": "0:8192,0", "source_reordered": "1", "source_retransmitted": "6",
			"destination_ttl": "64", "destination_rtt": "20000000", "destination_syn": "0:8192,0",
		},
		53:   {"source_ttl": "64"},
		9999: {"source_flags": "SPA", "destination_flags": "SPA", "source_entropy": "0.13", "source_ttl": "64", "source_syn": "0:8192,0", "destination_ttl": "64", "destination_syn": "0:8192,0"},
	}
	_, _, events, err := listen(t, config(1), play(r.packets))
	if err != nil {
		t.Fatal(err)
	}
	flows := 0
	for i := range events {
		e := &events[i]
		if e.Kind != event.KindFlow {
			continue
		}
		flows++
		got := map[string]string{}
		for _, f := range e.Fields {
			got[strings.TrimPrefix(f.Name, "tocsin.flow.")] = f.Value.String()
		}
		if want := want[e.Flow.Dst.Port]; !maps.Equal(got, want) {
			t.Errorf("port %d:\ngot  %v\nwant %v", e.Flow.Dst.Port, got, want)
		}
	}
	if flows != len(want) {
		t.Errorf("%d flows", flows)
	}
}
