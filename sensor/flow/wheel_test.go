package flow

import (
	"testing"
	"time"
	"unsafe"

	"github.com/tocsin/tocsin/sensor/packet"
)

// TestLines holds records to the cache lines that are asked for.
func TestLines(t *testing.T) {
	const line = 64
	var r Record
	if n := unsafe.Sizeof(r); n != 6*line {
		t.Errorf("a record has %d bytes", n)
	}
	if n := unsafe.Sizeof(r.sides[0]); n != line {
		t.Errorf("a side has %d bytes", n)
	}
	if at := unsafe.Offsetof(r.sides); at != line {
		t.Errorf("sides are at %d", at)
	}
	var m Memory
	defer m.Release()
	if at := uintptr(unsafe.Pointer(m.chunk())) % line; at != 0 {
		t.Errorf("a chunk begins %d bytes into a line", at)
	}
}

// Somebody who opens connections with the same ports again and again ends a flow
// each time, long before it is due.
func TestWheelIsBounded(t *testing.T) {
	ended := 0
	table := New(DefaultConfig(), func(*Record, Reason) { ended++ })
	p := packet.Packet{Time: epoch, IPVersion: 4, Proto: packet.ProtoTCP, Src: client, Dst: server, SrcPort: 40000, DstPort: 4711, TCP: packet.TCP{Flags: syn}}
	const times = 1_000_000
	for i := range times {
		p.TCP.Seq = uint32(i)
		table.Packet(&p)
	}
	if ended != times-1 {
		t.Errorf("%d of %d flows have ended", ended, times)
	}
	if n := len(table.wheel.leaves); n > 1000 {
		t.Errorf("the wheel has %d leaves for %d entries and %d flows", n, table.wheel.entries, table.live)
	}
	table.Close()
	if ended != times {
		t.Errorf("%d of %d flows have ended", ended, times)
	}
}

// What was taken out of the wheel for being late or sooner is seen once, when
// it is due.
func TestWheelSweep(t *testing.T) {
	var w wheel
	for i := range uint32(5000) {
		w.add(int(i%7), entry{i, i})
	}
	for range 3 {
		w.pop(2)
	}
	w.sweep(func(e entry) bool { return e.slot == e.ticket && e.slot%2 == 0 })
	seen := 0
	for at := 0; w.entries > 0; at = w.soonest((at + 1) % wheelSize) {
		for w.slots[at].first != 0 {
			if flow := w.pop(at).slot; flow%2 != 0 || int(flow%7) != at {
				t.Fatalf("flow %d at %d", flow, at)
			}
			seen++
		}
		if w.entries == 0 {
			break
		}
	}
	if want := 2500 - 2; seen != want { // of the three taken out, 2 and 16 are even
		t.Errorf("%d flows, want %d", seen, want)
	}
}

func TestMemory(t *testing.T) {
	var m Memory
	a := m.index(2 * smallIndex)
	a[5] = 1
	m.outgrown(a)
	if b := m.index(2 * smallIndex); &b[0] != &a[0] || b[5] != 0 {
		t.Error("what was outgrown is not used again, or not empty")
	}
	table := New(Config{MaxFlows: 100_000, UDP: time.Minute, Active: time.Hour, Memory: &m}, func(*Record, Reason) {})
	for i := range 100_000 {
		p := datagram(client, server, uint16(i), uint16(i>>16))
		p.IPVersion, p.Time = 4, epoch
		table.Packet(p)
	}
	if c := table.Counters(); c.Live != 100_000 {
		t.Errorf("%+v", c)
	}
	m.Release()
	if m.total != 0 || m.all != nil || m.left != nil {
		t.Errorf("left after its release: %d bytes", m.total)
	}
}
