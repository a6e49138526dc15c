package flow

import (
	"net/netip"
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

// TestOpeningMakesRoom wants only connections that were asked for, and nothing
// more, to go while there are any, however many there are and whatever is due.
func TestOpeningMakesRoom(t *testing.T) {
	const kept, room = 500, 1000
	cfg := DefaultConfig()
	cfg.MaxFlows = room
	var opening, other int
	table := New(cfg, func(r *Record, why Reason) {
		if why == EOF || !r.HalfOpen() {
			other++
		}
		if why == Evicted {
			opening++
		}
	})
	at := time.Duration(0)
	send := func(p packet.Packet, src, dst netip.Addr, sport, dport uint16) {
		table.Advance(int64(at))
		p.Time, p.IPVersion, p.Src, p.Dst, p.SrcPort, p.DstPort = epoch.Add(at), 4, src, dst, sport, dport
		table.Packet(&p)
	}
	tcp := func(flags uint8, seq, acked uint32) packet.Packet {
		return packet.Packet{Proto: packet.ProtoTCP, TCP: packet.TCP{Flags: flags, Seq: seq, Ack: acked, Window: 1}}
	}
	for i := range uint16(kept / 2) {
		send(tcp(syn, 1, 0), client, server, 1000+i, 80)
		send(tcp(syn|ack, 9, 2), server, client, 80, 1000+i)
		send(tcp(ack, 2, 10), client, server, 1000+i, 80)
		send(packet.Packet{Proto: packet.ProtoUDP, PayloadLen: 5}, client, server, 1000+i, 53)
	}
	// Long enough for every datagram's flow to be nearly due, and with an answer
	// to each second SYN.
	for i := range 200_000 {
		at += 250 * time.Microsecond
		from := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		send(tcp(syn, uint32(i), 0), from, server, 5000, 81)
		if i%2 == 0 {
			send(tcp(syn|ack, 5, uint32(i)+1), server, from, 81, 5000)
		}
	}
	if c := table.Counters(); other != 0 || c.Live != room || c.Evicted != uint64(opening) || opening != 200_000+kept-room {
		t.Errorf("%d others ended, %d evicted: %+v", other, opening, c)
	}
	if table.fresh > room || len(table.opening) > 4*room+2*4096 {
		t.Errorf("%d records and a list of %d for %d flows", table.fresh, len(table.opening), room)
	}
	table.Close()
	if other != room {
		t.Errorf("%d flows at the end", other)
	}
}
