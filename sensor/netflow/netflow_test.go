package netflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// gather is a sink that keeps what it is given.
type gather struct {
	mu     sync.Mutex
	events []event.Event
}

func (g *gather) Publish(_ context.Context, batch []event.Event) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range batch {
		g.events = append(g.events, batch[i].Clone())
	}
	return nil
}

// one direction of a conversation, and what went that way.
type way struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	proto            uint8
}

type total struct{ packets, bytes uint64 }

// TestExporter lets a real exporter read a capture and compares what it reports
// with what our own sensor saw in the same capture: every flow, packet and byte.
func TestExporter(t *testing.T) {
	pcap := filepath.Join(t.TempDir(), "capture.pcap")
	compressed, err := os.ReadFile("../../testdata/scenarios/intrusion/substation.pcap.zst")
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := z.DecodeAll(compressed, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pcap, plain, 0o644); err != nil {
		t.Fatal(err)
	}
	var seen gather
	cfg := sensor.DefaultConfig()
	s, err := sensor.New(cfg, func(int) (capture.Source, error) { return file.Open(pcap) }, &seen)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[way]total{}
	for i := range seen.events {
		add(want, &seen.events[i], true)
	}
	if len(want) < 20 {
		t.Fatalf("only %d ways in the capture", len(want))
	}
	for _, version := range []string{"5", "9", "10"} {
		t.Run("version "+version, func(t *testing.T) {
			conn, err := Listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var got gather
			ctx, stop := context.WithCancel(t.Context())
			var listening sync.WaitGroup
			listening.Go(func() {
				if err := New(DefaultConfig()).Run(ctx, conn, &got); err != nil {
					t.Error(err)
				}
			})
			exporting, giveUp := context.WithTimeout(t.Context(), 30*time.Second)
			defer giveUp()
			cmd := exec.CommandContext(exporting, "softflowd", "-D", "-r", pcap, "-v", version, "-n", conn.LocalAddr().String(),
				"-p", filepath.Join(t.TempDir(), "pid"), "-c", "none")
			cmd.WaitDelay = time.Second
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("softflowd: %v: %s", err, out)
			}
			time.Sleep(2 * patience) // what is on its way on loopback
			stop()
			listening.Wait()
			have := map[way]total{}
			for i := range got.events {
				e := &got.events[i]
				add(have, e, false)
				if e.Kind == event.KindLedger {
					ledger := event.Ledger{}
					ledger.Add(e)
					if ledger.Off() != 0 || ledger.Dropped() != 0 {
						t.Errorf("ledger %v", ledger)
					}
				}
			}
			for w, n := range want {
				if have[w] != n {
					t.Errorf("%v: exported %v, in the capture %v", w, have[w], n)
				}
			}
			if len(have) != len(want) {
				t.Errorf("%d ways exported, %d in the capture", len(have), len(want))
			}
		})
	}
}

// add adds up TCP and UDP over IPv4, which every version can tell of.
func add(sums map[way]total, e *event.Event, both bool) {
	f := &e.Flow
	if e.Kind != event.KindFlow || f.Transport != event.ProtoTCP && f.Transport != event.ProtoUDP || !f.Src.IP.Is4() {
		return
	}
	plus := func(w way, p *event.Endpoint) {
		if p.Packets > 0 {
			sums[w] = total{sums[w].packets + p.Packets, sums[w].bytes + p.Bytes}
		}
	}
	plus(way{f.Src.IP, f.Dst.IP, f.Src.Port, f.Dst.Port, f.Transport}, &f.Src)
	plus(way{f.Dst.IP, f.Src.IP, f.Dst.Port, f.Src.Port, f.Transport}, &f.Dst)
}

var (
	exporterAddr = netip.MustParseAddr("192.0.2.250")
	now          = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

// version5 writes a NetFlow 5 datagram with records that are alike but for
// their source port.
func version5(sequence uint32, ports ...uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, 5)
	b = binary.BigEndian.AppendUint16(b, uint16(len(ports)))
	for _, n := range []uint32{60_000, uint32(now.Unix()), 0, sequence, 0} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, port := range ports {
		b = append(b, 10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 2)
		for _, n := range []uint32{3, 180, 1_000, 2_000} {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		b = binary.BigEndian.AppendUint16(b, port)
		b = append(b, 0, 80, 0, flagSYN, event.ProtoTCP, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return b
}

func collect(t *testing.T, c *Collector, datagrams ...[]byte) (flows []event.Event, ledger event.Ledger, errs []string) {
	t.Helper()
	ledger = event.Ledger{}
	emit := func(e *event.Event) {
		if e.Kind == event.KindLedger {
			ledger.Add(e)
		} else {
			flows = append(flows, e.Clone())
		}
	}
	for _, d := range datagrams {
		if err := c.Datagram(exporterAddr, now, d, emit); err != nil {
			errs = append(errs, err.Error())
		}
	}
	c.Close(emit)
	if ledger.Off() != 0 {
		t.Errorf("the ledger does not balance: %v", ledger)
	}
	return flows, ledger, errs
}

func TestVersion5(t *testing.T) {
	flows, ledger, errs := collect(t, New(DefaultConfig()), version5(0, 1000, 1001), version5(2, 1002), version5(10, 1003))
	if len(flows) != 4 || len(errs) != 0 || ledger["dropped.sequence_gap"] != 7 || ledger["decoded"] != 4 {
		t.Fatalf("%d flows, ledger %v, %v", len(flows), ledger, errs)
	}
	f := flows[0].Flow
	if f.Src.IP.String() != "10.0.0.1" || f.Dst.Port != 80 || f.Src.Packets != 3 || f.Src.Bytes != 180 || f.State != "S0" ||
		!f.Start.Equal(now.Add(-59*time.Second)) || !f.End.Equal(now.Add(-58*time.Second)) || flows[0].Sensor != "netflow-192.0.2.250" {
		t.Errorf("%+v", flows[0])
	}
	again, _, _ := collect(t, New(DefaultConfig()), version5(0, 1000))
	if again[0].ID != flows[0].ID {
		t.Error("the same record has another id")
	}
}

// oneWay writes a NetFlow 5 datagram with one direction of a connection.
func oneWay(reverse bool, flags byte, packets, first, last uint32) []byte {
	b := version5(0, 40_000)
	r := b[header5:]
	if reverse {
		r[3], r[7] = 2, 1
		binary.BigEndian.PutUint16(r[32:], 80)
		binary.BigEndian.PutUint16(r[34:], 40_000)
	}
	binary.BigEndian.PutUint32(r[16:], packets)
	binary.BigEndian.PutUint32(r[24:], first)
	binary.BigEndian.PutUint32(r[28:], last)
	r[37] = flags
	return b
}

// TestPairs: two directions that come near each other are one flow, from the one
// who began; others stay alone.
func TestPairs(t *testing.T) {
	const all = flagSYN | flagACK | flagFIN
	type arrival struct {
		after time.Duration
		b     []byte
	}
	for _, c := range []struct {
		name     string
		arrivals []arrival
		want     []string // originator, packets of both, state
	}{
		{"answer first", []arrival{{0, oneWay(true, all, 4, 1001, 2001)}, {time.Second, oneWay(false, all, 5, 1000, 2000)}}, []string{"10.0.0.1 5 4 SF"}},
		{"begun together", []arrival{{0, oneWay(true, flagRST|flagACK, 1, 1000, 1000)}, {0, oneWay(false, flagSYN, 1, 1000, 1000)}}, []string{"10.0.0.1 1 1 REJ"}},
		{"too late", []arrival{{0, oneWay(false, flagSYN, 5, 1000, 2000)}, {11 * time.Second, oneWay(true, all, 4, 1000, 2000)}}, []string{"10.0.0.1 5 0 S0", "10.0.0.2 4 0 OTH"}},
		{"of another time", []arrival{{0, oneWay(false, all, 5, 1000, 2000)}, {0, oneWay(true, all, 4, 9000, 9500)}}, []string{"10.0.0.1 5 0 OTH", "10.0.0.2 4 0 OTH"}},
		{"a direction twice", []arrival{{0, oneWay(false, flagSYN|flagACK, 5, 1000, 2000)}, {0, oneWay(false, flagACK|flagFIN, 6, 2000, 3000)}, {0, oneWay(true, flagACK|flagFIN, 4, 1000, 3000)}},
			[]string{"10.0.0.1 5 0 OTH", "10.0.0.1 6 4 OTH"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := New(DefaultConfig())
			var got []string
			ledger := event.Ledger{}
			emit := func(e *event.Event) {
				if e.Kind == event.KindLedger {
					ledger.Add(e)
					return
				}
				f := &e.Flow
				got = append(got, fmt.Sprint(f.Src.IP, " ", f.Src.Packets, " ", f.Dst.Packets, " ", f.State))
			}
			at := now
			for _, a := range c.arrivals {
				at = at.Add(a.after)
				if err := k.Datagram(exporterAddr, at, a.b, emit); err != nil {
					t.Fatal(err)
				}
			}
			k.Close(emit)
			if !slices.Equal(got, c.want) {
				t.Errorf("flows %q, want %q", got, c.want)
			}
			if ledger["decoded"] != uint64(len(c.arrivals)) || ledger["events"] != uint64(len(c.want)) || ledger.Off() != 0 {
				t.Errorf("ledger %v", ledger)
			}
		})
	}
	cfg := DefaultConfig()
	cfg.MaxWaiting = 3
	k := New(cfg)
	n := 0
	emit := func(e *event.Event) {
		if e.Kind == event.KindFlow {
			n++
		}
	}
	k.Datagram(exporterAddr, now, version5(0, 1, 2, 3, 4, 5), emit)
	if n == 0 || len(k.exporters[exporterAddr].pairs.open) > 3 {
		t.Errorf("%d flows told of, %d wait", n, len(k.exporters[exporterAddr].pairs.open))
	}
	k.Tick(now.Add(cfg.Wait), emit)
	if n != 5 || k.exporters[exporterAddr].pairs.queue != nil {
		t.Errorf("%d flows after the wait", n)
	}
}

// template9 writes a NetFlow 9 datagram with a template of two fields; data9 one
// with records of it.
func template9(id uint16) []byte {
	b := header9(0)
	return append(b, 0, 0, 0, 24, byte(id>>8), byte(id), 0, 4, 0, 8, 0, 4, 0, 12, 0, 4, 0, 1, 0, 4, 0, 2, 0, 4)
}

func header9(sequence uint32) []byte {
	b := []byte{0, 9, 0, 1}
	for _, n := range []uint32{60_000, uint32(now.Unix()), sequence, 1} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func data9(id uint16, sequence uint32) []byte {
	b := append(header9(sequence), byte(id>>8), byte(id), 0, 20, 10, 0, 0, 1, 10, 0, 0, 2)
	return append(b, 0, 0, 1, 0, 0, 0, 0, 4)
}

func TestTemplates(t *testing.T) {
	flows, ledger, errs := collect(t, New(DefaultConfig()), data9(256, 0), template9(256), data9(256, 2), data9(256, 5))
	if len(flows) != 2 || ledger["dropped.no_template"] != 1 || ledger["dropped.sequence_gap"] == 0 || len(errs) != 0 {
		t.Errorf("%d flows, ledger %v, %v", len(flows), ledger, errs)
	}
	if len(flows) > 0 && (flows[0].Flow.Src.Bytes != 256 || flows[0].Flow.Src.Packets != 4) {
		t.Errorf("%+v", flows[0].Flow)
	}
	cfg := DefaultConfig()
	cfg.MaxTemplates, cfg.MaxExporters = 1, 1
	c := New(cfg)
	_, ledger, _ = collect(t, c, template9(256), template9(257), template9(258))
	if ledger["dropped.refused_export"] != 2 {
		t.Errorf("ledger %v", ledger)
	}
	if err := c.Datagram(netip.MustParseAddr("192.0.2.251"), now, template9(256), nil); err == nil || !strings.Contains(err.Error(), "there are 1 others already") {
		t.Errorf("another exporter: %v", err)
	}
	// A template of nothing would have records without end.
	empty := append(header9(0), 0, 0, 0, 12, 1, 0, 0, 1, 0, 8, 0, 0)
	_, ledger, _ = collect(t, New(DefaultConfig()), empty)
	if ledger["dropped.refused_export"] != 1 {
		t.Errorf("ledger %v", ledger)
	}
}

func TestMalformed(t *testing.T) {
	_, ledger, errs := collect(t, New(DefaultConfig()), nil, []byte{0, 7, 0, 0}, version5(0, 1, 2)[:60])
	if len(errs) != 3 || ledger["dropped.malformed_export"] != 3 {
		t.Errorf("ledger %v, %v", ledger, errs)
	}
}

func TestSFlow(t *testing.T) {
	frame := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x9c, 0x40, 1, 0xf6, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0, 0, 0}
	u32 := func(b []byte, ns ...uint32) []byte {
		for _, n := range ns {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	padded := append(frame, make([]byte, (4-len(frame)%4)%4)...)
	raw := append(u32(nil, 1, 1500, 4, uint32(len(frame))), padded...)
	flow := append(u32(nil, 1, uint32(len(raw))), raw...)
	sample := append(u32(nil, 7, 3, 512, 1000, 0, 3, 4, 1), flow...)
	datagram := append(u32(nil, 5, 1, 0xc0000201, 0, 9, 1000, 1, 1, uint32(len(sample))), sample...)
	flows, ledger, errs := collect(t, New(DefaultConfig()), datagram)
	if len(flows) != 1 || len(errs) != 0 || ledger["decoded"] != 1 {
		t.Fatalf("%d flows, ledger %v, %v", len(flows), ledger, errs)
	}
	f := flows[0].Flow
	if f.Src.Packets != 512 || f.Src.Bytes != 512*1500 || f.Dst.Port != 502 || f.Src.Port != 40000 || !flows[0].Time.Equal(now) {
		t.Errorf("%+v", f)
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add(version5(0, 1, 2))
	f.Add(template9(256))
	f.Add(data9(256, 1))
	f.Add([]byte{0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add(binary.BigEndian.AppendUint32(nil, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(DefaultConfig())
		ledger := event.Ledger{}
		emit := func(e *event.Event) {
			if e.Kind == event.KindLedger {
				ledger.Add(e)
			} else if e.ID.IsZero() || !e.Flow.Src.IP.IsValid() {
				t.Fatalf("%+v", e)
			}
		}
		// With the template that comes before it, and twice.
		for _, d := range [][]byte{template9(256), b, b} {
			c.Datagram(exporterAddr, now, d, emit)
		}
		c.Close(emit)
		if ledger.Off() != 0 {
			t.Fatalf("the ledger does not balance: %v", ledger)
		}
	})
}
