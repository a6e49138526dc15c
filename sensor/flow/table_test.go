package flow

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/sensor/packet"
)

const (
	fin = packet.FIN
	syn = packet.SYN
	rst = packet.RST
	ack = packet.ACK
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var (
	client = netip.MustParseAddr("192.0.2.10")
	server = netip.MustParseAddr("198.51.100.80")
)

// bench feeds a table by hand.
type bench struct {
	*Table
	at  time.Duration
	got []string
}

func newBench(cfg Config) *bench {
	b := &bench{}
	b.Table = New(cfg, func(r *Record, why Reason) {
		f := r.Flow()
		b.got = append(b.got, fmt.Sprintf("%v:%d>%v:%d %s %s %s %d+%d", f.Src.IP, f.Src.Port, f.Dst.IP, f.Dst.Port,
			f.State, f.History, why, f.Src.Packets, f.Dst.Packets))
	})
	return b
}

func (b *bench) packet(p *packet.Packet) {
	b.Advance(int64(b.at))
	p.Time = epoch.Add(b.at)
	p.IPVersion = 4
	p.IPLen = 20 + p.PayloadLen
	b.Packet(p)
}

// step is a TCP packet in the short form "> SA 100 1 5": direction, flags, and
// optionally sequence number, acknowledgement and payload length; or "+5s", a
// pause.
func (b *bench) step(s string) {
	if pause, ok := strings.CutPrefix(s, "+"); ok {
		d, err := time.ParseDuration(pause)
		if err != nil {
			panic(err)
		}
		b.at += d
		return
	}
	var dir, flags string
	var seq, acked uint32
	var n int
	fmt.Sscan(s, &dir, &flags, &seq, &acked, &n)
	p := packet.Packet{Proto: packet.ProtoTCP, Src: client, Dst: server, SrcPort: 40000, DstPort: 4711, PayloadLen: n}
	if dir == "<" {
		p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
	}
	p.TCP = packet.TCP{Seq: seq, Ack: acked, Window: 1000}
	for _, f := range flags {
		switch f {
		case 'S':
			p.TCP.Flags |= syn
		case 'A':
			p.TCP.Flags |= ack
		case 'F':
			p.TCP.Flags |= fin
		case 'R':
			p.TCP.Flags |= rst
		case 'W':
			p.TCP.Window = 0
		}
	}
	b.packet(&p)
}

// TestStories are the lives of TCP connections: what was seen, and the state
// and history that Zeek gives it.
func TestStories(t *testing.T) {
	const from, to = "192.0.2.10:40000>198.51.100.80:4711 ", "198.51.100.80:4711>192.0.2.10:40000 "
	f := func(name, want string, steps ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			b := newBench(DefaultConfig())
			for _, s := range steps {
				b.step(s)
			}
			b.Close()
			if got := strings.Join(b.got, "; "); got != want {
				t.Errorf("\ngot  %s\nwant %s", got, want)
			}
		})
	}
	open := []string{"> S 100", "< SA 500 101", "> A 101 501"}
	after := func(more ...string) []string { return append(slices.Clone(open), more...) }

	f("attempt", from+"S0 S eof 1+0", "> S 100")
	f("attempt, repeated", from+"S0 S eof 2+0", "> S 100", "> S 100")
	f("attempt that times out", from+"S0 S idle 1+0; "+to+"OTH A eof 1+0", "> S 100", "+6s", "< A 500 101 0")
	f("scan finds an open port", from+"RSTO ShR rst 2+1", "> S 100", "< SA 500 101", "> R 101")
	f("rejected", from+"REJ Sr rst 1+1", "> S 100", "< RA 0 101")
	f("rejected thrice", from+"REJ Sr rst 1+1; "+from+"REJ Sr rst 1+1", "> S 100", "< RA 0 101", "> S 100", "< RA 0 101")
	f("established", from+"S1 ShA eof 2+1", open...)
	f("normal", from+"SF ShADadFf fin 4+4", after("> A 101 501 10", "< A 501 111", "< A 501 111 20", "> FA 111 521", "< FA 521 112")...)
	f("late acknowledgement is counted", from+"SF ShAFfa fin 3+3", after("> FA 101 501", "< FA 501 102", "+1s", "< A 502 102")...)
	f("closed by the originator only", from+"S2 ShAF eof 3+1", after("> FA 101 501")...)
	f("closed by the responder only", from+"S3 ShAf eof 2+2", after("< FA 501 101")...)
	f("reset by the originator", from+"RSTO ShAR rst 3+1", after("> R 101 0")...)
	f("reset by the responder", from+"RSTR ShAr rst 2+2", after("< R 501 0")...)
	f("reset after FIN", from+"RSTR ShAFr rst 3+2", after("> FA 101 501", "< R 501 0")...)
	f("SYN then RST", from+"RSTOS0 SR rst 2+0", "> S 100", "> R 101")
	f("SYN then FIN", from+"SH SF fin 2+0", "> S 100", "> F 101")
	f("SYN-ACK and FIN of the responder only", to+"SH HF fin 2+0", "< SA 500 101", "< FA 501 101")
	f("reset of nothing", from+"OTH R rst 1+0", "> R 100")
	f("reset of the middle", from+"RSTRH Dr rst 1+1", "> A 100 500 10", "< R 500 0")
	f("mid-stream", from+"OTH DdA eof 2+1", "> A 100 500 10", "< A 500 110 10", "> A 110 510")
	f("SYN-ACK before SYN", from+"S1 Hs^A eof 2+1", "< SA 500 101", "> S 100", "> A 101 501")
	f("retransmitted", from+"S1 ShADT eof 4+1", after("> A 101 501 10", "> A 101 501 10")...)
	f("retransmitted ten times", from+"S1 ShADTT eof 13+1", after(slices.Repeat([]string{"> A 101 501 10"}, 11)...)...)
	f("no window", from+"S1 ShAaw eof 2+2", after("< AW 501 101")...)
	f("FIN and RST at once", from+"RSTO ShAI rst 3+1", after("> FR 101 501")...)
	f("SYN and FIN at once", from+"SH Q fin 1+0", "> SF 100")
	f("simultaneous open", from+"S0 S idle 1+0; "+to+"S0 S eof 1+0", "> S 100", "< S 500")
	f("ports used again", from+"SF ShAFf fin 3+2; "+from+"S0 S eof 1+0",
		after("> FA 101 501", "< FA 501 102", "> S 900")...)
	f("ports used again without an end", from+"S1 ShA idle 2+1; "+from+"S0 S eof 1+0", after("> S 900")...)
	f("silent too long", from+"S1 ShA idle 2+1; "+from+"OTH D eof 1+0", after("+301s", "> A 101 501 1")...)
	f("silent almost too long", from+"S1 ShAD eof 3+1", after("+299s", "> A 101 501 1")...)
}

func TestInterimReports(t *testing.T) {
	b := newBench(DefaultConfig())
	b.step("> S 100")
	b.step("< SA 500 101")
	for i := range 36 {
		b.step(fmt.Sprintf("> A %d 501 1", 101+i))
		b.step("+4m")
	}
	b.Close()
	want := []string{
		"192.0.2.10:40000>198.51.100.80:4711 S1 ShD active 16+1",
		"192.0.2.10:40000>198.51.100.80:4711 S1 ShD active 31+1",
		"192.0.2.10:40000>198.51.100.80:4711 S1 ShD eof 37+1",
	}
	if !slices.Equal(b.got, want) {
		t.Errorf("got %q", b.got)
	}
	if c := b.Counters(); c.Interim != 2 || c.Created != 1 || c.Ended != 1 || c.Live != 0 {
		t.Errorf("%+v", c)
	}
}

func datagram(src, dst netip.Addr, sport, dport uint16) *packet.Packet {
	return &packet.Packet{Proto: packet.ProtoUDP, Src: src, Dst: dst, SrcPort: sport, DstPort: dport, PayloadLen: 8}
}

func TestUDPAndICMP(t *testing.T) {
	b := newBench(DefaultConfig())
	b.packet(datagram(client, server, 5000, 53))
	b.packet(datagram(server, client, 53, 5000))
	b.packet(datagram(server, client, 53, 5001)) // the question was missed
	b.packet(datagram(server, netip.MustParseAddr("255.255.255.255"), 67, 68))
	b.packet(datagram(client, server, 53, 53))
	for range 3 {
		b.packet(&packet.Packet{Proto: packet.ProtoICMP, Src: client, Dst: server, SrcPort: 8, DstPort: 0})
		b.packet(&packet.Packet{Proto: packet.ProtoICMP, Src: server, Dst: client, SrcPort: 0, DstPort: 8})
	}
	b.packet(&packet.Packet{Proto: packet.ProtoICMP, Src: server, Dst: client, SrcPort: 3, DstPort: 3, OneWay: true})
	b.packet(&packet.Packet{Proto: packet.ProtoICMP, Src: client, Dst: server, SrcPort: 3, DstPort: 3, OneWay: true})
	b.at = 61 * time.Second
	b.packet(datagram(client, server, 5000, 53))
	b.Close()
	want := []string{
		"192.0.2.10:5000>198.51.100.80:53 SF Dd idle 1+1",
		"192.0.2.10:5001>198.51.100.80:53 SHR ^d idle 0+1",
		"198.51.100.80:67>255.255.255.255:68 S0 D idle 1+0",
		"192.0.2.10:53>198.51.100.80:53 S0 D idle 1+0",
		"192.0.2.10:8>198.51.100.80:0 OTH  idle 3+3",
		"198.51.100.80:3>192.0.2.10:3 OTH  idle 1+0",
		"192.0.2.10:3>198.51.100.80:3 OTH  idle 1+0",
		"192.0.2.10:5000>198.51.100.80:53 S0 D eof 1+0",
	}
	slices.Sort(want)
	slices.Sort(b.got)
	if !slices.Equal(b.got, want) {
		t.Errorf("got\n%s", strings.Join(b.got, "\n"))
	}
}

// TestTwin compares the table with a slow and obvious one, a map, on random
// packets over few ports, with pauses: same flows, same counters, whatever the
// order in the wheel and the index.
func TestTwin(t *testing.T) {
	cfg := DefaultConfig()
	cfg.UDPServers = nil
	type ends struct{ a, b uint16 }
	type twin struct {
		n    [2]uint64
		from uint16
		last time.Duration
	}
	rapid.Check(t, func(t *rapid.T) {
		var got, want []string
		table := New(cfg, func(r *Record, why Reason) {
			f := r.Flow()
			got = append(got, fmt.Sprintf("%d>%d %d+%d %v", f.Src.Port, f.Dst.Port, f.Src.Packets, f.Dst.Packets, why))
		})
		live := map[ends]*twin{}
		end := func(k ends, why Reason) {
			w := live[k]
			to, i := k.b, 0
			if w.from != k.a {
				to, i = k.a, 1
			}
			want = append(want, fmt.Sprintf("%d>%d %d+%d %v", w.from, to, w.n[i], w.n[i^1], why))
			delete(live, k)
		}
		var at time.Duration
		ports := rapid.Uint16Range(1, 30)
		for range rapid.IntRange(0, 200).Draw(t, "packets") {
			at += time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 400, 20_000, 59_999, 60_000, 90_000, 5_000_000}).Draw(t, "pause")) * time.Millisecond
			p := datagram(client, client, ports.Draw(t, "from"), ports.Draw(t, "to"))
			p.IPVersion, p.Time = 4, epoch.Add(at)
			table.Advance(int64(at))
			table.Packet(p)

			k, side := ends{p.SrcPort, p.DstPort}, 0
			if k.a > k.b {
				k, side = ends{k.b, k.a}, 1
			}
			if w := live[k]; w != nil && at-w.last >= cfg.UDP {
				end(k, Idle)
			}
			if live[k] == nil {
				live[k] = &twin{from: p.SrcPort}
			}
			live[k].n[side]++
			live[k].last = at
		}
		for k, w := range maps.Clone(live) {
			if at.Truncate(time.Second)-w.last >= cfg.UDP {
				end(k, Idle)
			} else {
				end(k, EOF)
			}
		}
		table.Close()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
		if c := table.Counters(); c.Created != c.Ended+c.Evicted+c.Live || c.Live != 0 || c.Created != uint64(len(got)) {
			t.Fatalf("%+v", c)
		}
	})
}

// TestFull fills a small table: attempts go before connections, and all is
// accounted for.
func TestFull(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxFlows = 100
	b := newBench(cfg)
	for _, s := range []string{"> S 100", "< SA 500 101", "> A 101 501"} {
		b.step(s)
	}
	for i := range 10_000 {
		b.at += time.Millisecond
		b.packet(&packet.Packet{Proto: packet.ProtoTCP, Src: server, Dst: client, SrcPort: uint16(i + 1), DstPort: 9,
			TCP: packet.TCP{Flags: syn, Seq: uint32(i), Window: 1}})
		if b.live > cfg.MaxFlows {
			t.Fatalf("%d flows", b.live)
		}
	}
	c := b.Counters()
	if c.Evicted != 10_001-100 || c.Created != 10_001 {
		t.Errorf("%+v", c)
	}
	for i, s := range b.got {
		if !strings.Contains(s, " S0 S evicted ") {
			t.Fatalf("evicted too early: number %d: %s", i, s)
		}
	}
	// Who was there first went first.
	if !strings.Contains(b.got[0], ":1>") || !strings.Contains(b.got[9000], ":9001>") {
		t.Errorf("order of eviction: %s … %s", b.got[0], b.got[9000])
	}
	b.Close()
	if c := b.Counters(); c.Live != 0 || c.Created != c.Ended+c.Evicted || len(b.got) != 10_001 {
		t.Errorf("%+v, %d reports", c, len(b.got))
	}
}

func TestOneFlow(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxFlows = 1
	b := newBench(cfg)
	for i := range 1000 {
		b.at += time.Duration(i%7) * 30 * time.Second
		b.packet(datagram(client, server, uint16(i%5), 9))
	}
	b.Close()
	if c := b.Counters(); c.Created != c.Ended+c.Evicted || uint64(len(b.got)) != c.Created {
		t.Errorf("%+v", c)
	}
}

func TestGap(t *testing.T) {
	var history string
	table := New(DefaultConfig(), func(r *Record, _ Reason) { history = r.Flow().History })
	b := &bench{Table: table}
	for _, s := range []string{"> S 100", "< SA 500 101", "> A 101 501"} {
		b.step(s)
	}
	p := packet.Packet{Proto: packet.ProtoTCP, IPVersion: 4, Src: client, Dst: server, SrcPort: 40000, DstPort: 4711,
		TCP: packet.TCP{Flags: ack, Seq: 101, Ack: 900, Window: 1}}
	r, side := table.Packet(&p)
	for range 12 {
		r.Gap(side ^ 1)
	}
	table.Close()
	if history != "ShAgg" {
		t.Errorf("history %q", history)
	}
}

func TestRecordsAreFound(t *testing.T) {
	b := newBench(DefaultConfig())
	for i := range 20_000 {
		b.packet(datagram(client, server, uint16(i), 9))
	}
	for i := range 20_000 {
		b.packet(datagram(server, client, 9, uint16(i)))
	}
	if c := b.Counters(); c.Live != 20_000 || c.Created != 20_000 {
		t.Errorf("%+v", c)
	}
}

// TestPacketDoesNotAllocate asks that packets of known flows, and flows that
// come and go, allocate nothing once the table has its size.
func TestPacketDoesNotAllocate(t *testing.T) {
	table := New(DefaultConfig(), func(*Record, Reason) {})
	p := packet.Packet{Proto: packet.ProtoTCP, IPVersion: 4, Src: client, Dst: server, SrcPort: 1, DstPort: 2, Time: epoch}
	var now int64
	round := func() {
		now += int64(10 * time.Second)
		table.Advance(now)
		for port := range uint16(100) {
			p.SrcPort = port
			p.TCP = packet.TCP{Flags: syn, Seq: 100, Window: 1}
			table.Packet(&p)
			p.TCP = packet.TCP{Flags: ack, Seq: 101, Ack: 1, Window: 1}
			table.Packet(&p)
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPacket(b *testing.B) {
	for _, flows := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.MaxFlows = flows
			table := New(cfg, func(*Record, Reason) {})
			// Packets that differ in their sender only, so that what is measured
			// is the table's memory and not theirs.
			const ahead = 32
			var packets [ahead]packet.Packet
			var lookups [ahead]Lookup
			for i := range packets {
				packets[i] = *datagram(netip.Addr{}, server, 5000, 53)
				packets[i].IPVersion, packets[i].Time = 4, epoch
			}
			from := func(p *packet.Packet, i int) {
				p.Src = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			}
			for i := range flows {
				from(&packets[0], i)
				table.Packet(&packets[0])
			}
			at := 0
			for b.Loop() {
				j := at % ahead
				if j == 0 {
					for k := range packets {
						from(&packets[k], (at+k)*7919%flows)
						table.Prepare(&lookups[k], &packets[k])
					}
					for k := range lookups {
						table.Approach(&lookups[k])
					}
				}
				table.Take(&lookups[j], &packets[j])
				at++
			}
		})
	}
}

func TestValidate(t *testing.T) {
	cfg := DefaultConfig()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.UDP = 0
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "udp") {
		t.Errorf("%v", err)
	}
	cfg = DefaultConfig()
	cfg.MaxFlows = 0
	if cfg.Validate() == nil {
		t.Error("no error")
	}
}

// FuzzTable gives the table TCP packets of few ports in any order: it must
// stay in step with its account.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 2, 1, 0, 1, 18, 1, 0, 0, 16, 2, 5})
	f.Fuzz(func(t *testing.T, ops []byte) {
		cfg := DefaultConfig()
		cfg.MaxFlows = 3
		reports := uint64(0)
		table := New(cfg, func(r *Record, why Reason) {
			f := r.Flow()
			if f.State == "" || len(f.History) > maxHistory || f.End.Before(f.Start) {
				t.Fatalf("%+v", f)
			}
			if why != Active {
				reports++
			}
		})
		var at time.Duration
		for ; len(ops) >= 4; ops = ops[4:] {
			at += time.Duration(ops[3]) * time.Duration(ops[3]) * 10 * time.Millisecond
			table.Advance(int64(at))
			p := packet.Packet{Proto: packet.ProtoTCP, IPVersion: 4, Src: client, Dst: server, SrcPort: uint16(ops[0] % 6), DstPort: 80,
				Time: epoch.Add(at), PayloadLen: int(ops[3] % 3),
				TCP: packet.TCP{Flags: ops[1], Seq: uint32(ops[2] % 16), Ack: uint32(ops[2] / 16)}}
			if ops[0] >= 128 {
				p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
			}
			r, side := table.Packet(&p)
			if r.Dir(side) > 1 || r.Side(r.Dir(side)) != side {
				t.Fatal("sides")
			}
		}
		table.Close()
		if c := table.Counters(); c.Live != 0 || c.Created != c.Ended+c.Evicted || reports != c.Created {
			t.Fatalf("%+v, %d reports", c, reports)
		}
	})
}
