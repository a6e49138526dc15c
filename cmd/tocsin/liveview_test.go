package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/golden"
	"github.com/tocsin/tocsin/sensor"
)

type nowhere struct{}

func (nowhere) Publish(context.Context, []event.Event) error { return nil }

var liveStart = time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)

func flowOf(src, dst, service, end string, sent, received uint64) event.Event {
	return event.Event{Kind: event.KindFlow, Sensor: "border", Time: liveStart, Flow: event.Flow{
		Src:       event.Endpoint{IP: netip.MustParseAddr(src), Bytes: sent, Packets: sent / 100},
		Dst:       event.Endpoint{IP: netip.MustParseAddr(dst), Bytes: received, Packets: received / 100},
		Transport: event.ProtoTCP, Service: service, EndReason: end, CommunityID: "1:" + src + dst, Start: liveStart,
	}}
}

// fixedView is a view in a state that never changes.
func fixedView(t *testing.T) *liveView {
	t.Helper()
	v := &liveView{gossip: newGossip(), title: "border, plant", began: liveStart}
	for i := range 40 {
		n := uint64(i)
		l := event.Ledger{"seen": 1000*n*n + 12, "decoded": 1000 * n * n, "events": 7 * n, "dropped.kernel": 9, "dropped.bad_ip_header": 3}
		v.keep(sample{at: liveStart.Add(time.Duration(i) * time.Second), packets: l["seen"], bytes: 680_000 * n * n, events: l["events"], flows: 23_456, room: 200_000, ring: 0.034, ledger: l})
	}
	ledger := event.Event{Kind: event.KindLedger, Time: liveStart.Truncate(time.Minute)}
	for name, n := range map[string]uint64{"seen": 740_112, "decoded": 740_100, "dropped.kernel": 12} {
		ledger.Set(event.LedgerPrefix+name, event.Uint(n))
	}
	batch := []event.Event{
		ledger, {Kind: "dns"}, {Kind: "dns"},
		flowOf("10.0.0.1", "10.0.0.2", "tls", "fin", 1_000_000, 52_000_000),
		flowOf("10.0.0.3", "10.0.0.2", "", "rst", 400, 0),
		flowOf("2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8::1", "modbus", "active", 5000, 7000),
		flowOf("10.0.0.9", "10.0.0.9", "http", "fin", 300, 200),
	}
	if err := v.before(nowhere{}).Publish(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	grown := flowOf("2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8::1", "modbus", "", 6000, 9000)
	young := flowOf("10.0.0.1", "192.0.2.7", "quic", "", 2_000_000_000, 100)
	v.past[0].top = []sensor.Followed{{Sensor: "border", Flow: young.Flow}, {Sensor: "border", Flow: grown.Flow}}
	return v
}

// TestLiveView draws a state in the sizes of common terminals and of odd ones.
func TestLiveView(t *testing.T) {
	var text strings.Builder
	for _, size := range [][2]int{{80, 24}, {120, 16}, {40, 14}} {
		v := fixedView(t)
		v.order = order(size[0] / 60)
		if size[0] == 40 {
			v.paused = true
			fmt.Fprintln(&v.notes, "tocsin: capture on eth1:\ntocsin: the interface no longer exists")
		}
		lines := v.draw(size[0], size[1])
		if len(lines) != size[1] {
			t.Errorf("%d lines in %d", len(lines), size[1])
		}
		fmt.Fprintf(&text, "%dx%d\n", size[0], size[1])
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n != size[0] {
				t.Errorf("%d columns in %d: %q", n, size[0], l)
			}
			fmt.Fprintf(&text, "|%s|\n", l)
		}
		fmt.Fprintf(&text, "%s\n%s\n\n", v.line(), v.sum())
	}
	golden.Check(t, filepath.Join("testdata", "liveview.txt"), []byte(text.String()))
	for _, size := range [][2]int{{0, 0}, {1, 1}, {9, 3}, {500, 200}} {
		v := fixedView(t)
		v.colour = true
		if f := frame(v.draw(size[0], size[1]), size[1]); bytes.Count(f, []byte("\r\n")) >= max(size[1], 1) {
			t.Errorf("%v: %q", size, f)
		}
	}
	v := fixedView(t)
	if strings.Contains(strings.Join(v.draw(80, 24), ""), "\x1b") {
		t.Error("colour although there should be none")
	}
	v.colour = true
	v.past[0].ledger["dropped.kernel"]++
	if !strings.Contains(strings.Join(v.draw(80, 24), ""), inRed+"lost") {
		t.Error("losses are not red")
	}
}

// TestTalkers finds the hosts that moved the most among very many, in bounded
// memory, and counts a flow that was reported on its way once.
func TestTalkers(t *testing.T) {
	g := newGossip()
	const small = 100_000
	for i := range small {
		batch := []event.Event{flowOf("198.51.100.1", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(), "dns", "fin", 100, 100)}
		if i%1000 == 0 {
			batch = append(batch, flowOf("192.0.2.1", "192.0.2.2", "tls", "fin", 1_000_000, 0))
		}
		if err := g.before(nowhere{}).Publish(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range []string{"active", "active", "fin"} {
		g.note(&[]event.Event{flowOf("192.0.2.3", "192.0.2.4", "ssh", end, 60_000_000, 0)}[0])
	}
	hosts, protocols := g.all()
	byBytes.sort(hosts, protocols)
	if len(hosts) != maxTalkers || len(g.hosts) != maxTalkers || len(g.reported) != 0 {
		t.Errorf("%d hosts, %d reported", len(hosts), len(g.reported))
	}
	for i, want := range []talker{
		{addr: netip.MustParseAddr("192.0.2.1"), sent: 100_000_000, flows: 100},
		{addr: netip.MustParseAddr("192.0.2.2"), received: 100_000_000, flows: 100},
		{addr: netip.MustParseAddr("192.0.2.3"), sent: 60_000_000, flows: 1},
		{addr: netip.MustParseAddr("192.0.2.4"), received: 60_000_000, flows: 1},
		{addr: netip.MustParseAddr("198.51.100.1"), sent: 10_000_000, received: 10_000_000, flows: small},
	} {
		h := hosts[i]
		if h.addr != want.addr || h.sent != want.sent || h.received != want.received || h.flows != want.flows {
			t.Errorf("host %d is %+v, want %+v", i, h, want)
		}
	}
	byFlows.sort(hosts, protocols)
	if hosts[0].addr.String() != "198.51.100.1" || protocols[0].name != "dns" || protocols[0].flows != small || protocols[0].bytes != 200*small {
		t.Errorf("by flows: %+v, %+v", hosts[0], protocols[0])
	}
}

// pseudoTerminal opens a terminal of 80 columns and 24 lines: what is shown on
// screen can be read from keys, and what is written to keys is typed.
func pseudoTerminal(t *testing.T) (keys, screen *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	fd := int(keys.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return keys, screen
}

// TestLiveTerminal replays a recording in a terminal, sorts, and quits.
func TestLiveTerminal(t *testing.T) {
	keys, screen := pseudoTerminal(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A capture that grows never ends by itself.
	cmd := exec.Command(self, "run", "-r", taps(t, "phish")[0], "--live", "--follow", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	cmd.Args[0] = "tocsin"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, screen, screen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	screen.Close()
	var seen bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	shown := make(chan []byte)
	go func() {
		defer close(shown)
		for {
			b := make([]byte, 4096)
			n, err := keys.Read(b)
			if err != nil {
				return
			}
			shown <- b[:n]
		}
	}()
	wait := func(text string) {
		t.Helper()
		late := time.After(20 * time.Second)
		for !strings.Contains(seen.String(), text) {
			select {
			case b, ok := <-shown:
				if !ok {
					t.Fatalf("the terminal closed before %q:\n%q", text, seen.String())
				}
				seen.Write(b)
			case <-late:
				t.Fatalf("no %q in\n%q", text, seen.String())
			}
		}
	}
	wait(enterScreen)
	wait("2.01 k packets")
	wait("HOSTS, by bytes")
	io.WriteString(keys, "s")
	wait("HOSTS, by packets")
	io.WriteString(keys, "p")
	wait("paused")
	io.WriteString(keys, "q")
	wait(leaveScreen)
	wait(" 2013 packets, ")
	if err := <-ended; err != nil {
		t.Errorf("%v:\n%q", err, seen.String())
	}
	for range shown {
	}
}

// TestLivePlain writes lines where there is no terminal.
func TestLivePlain(t *testing.T) {
	out := run(t, 0, "run", "-r", taps(t, "phish")[0], "--live", "--once", "--data", t.TempDir())
	if strings.Contains(out, "\x1b") || !strings.Contains(out, "2013 packets, 874 kB, ") || !strings.Contains(out, "lost 0 packets (0 %)\n") {
		t.Errorf("%q", out)
	}
}
