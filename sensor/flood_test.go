package sensor_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// siege is a source of connections that go on while another host is flooded with
// SYNs from random addresses, which are never there twice at the same time.
type siege struct {
	syns     int // that are sent
	answered bool

	calls [][]capture.Packet // packets of each connection that are left
	sent  int
	turn  int
	rng   *rand.Rand
	buf   [40]byte
	reply bool
}

func newSiege(syns int, answered bool) *siege {
	s := &siege{syns: syns, answered: answered, rng: rand.New(rand.NewPCG(3, 4))}
	for n := range besieged {
		r := &recorder{}
		c := r.call(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 40000), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(n % 50)}), 502))
		for range 4 {
			c.say("question")
			c.hear("the answer")
		}
		c.hangUp()
		s.calls = append(s.calls, r.packets)
	}
	return s
}

const besieged = 1000

// Next implements capture.Source. In each round there are some SYNs, and then a
// packet of one of the connections.
func (s *siege) Next(p *capture.Packet) error {
	at := epoch.Add(time.Duration(s.sent) * 10 * time.Microsecond)
	every := s.syns / (besieged * len("SAadaddaddaFfa"))
	if s.sent%every == every-1 && !s.reply && s.turn < besieged*14 {
		c := &s.calls[s.turn%besieged]
		s.turn++
		if len(*c) > 0 {
			*p = (*c)[0]
			*c = (*c)[1:]
			p.Time = at
			return nil
		}
	}
	if s.sent == s.syns && !s.reply {
		for i := range s.calls {
			if c := &s.calls[i]; len(*c) > 0 {
				*p = (*c)[0]
				*c = (*c)[1:]
				p.Time = at
				return nil
			}
		}
		return io.EOF
	}
	b := s.buf[:]
	from, to := b[12:16], b[16:20]
	if s.reply {
		from, to = to, from
		copy(b[12:20], append(slices.Clone(b[16:20]), b[12:16]...))
		copy(b[20:24], []byte{b[22], b[23], b[20], b[21]})
		binary.BigEndian.PutUint32(b[28:], binary.BigEndian.Uint32(b[24:])+1)
		b[33] = packet.SYN | packet.ACK
		s.reply = false
	} else {
		clear(b)
		b[0], b[3], b[8], b[9], b[32] = 0x45, 40, 64, 6, 5<<4
		binary.BigEndian.PutUint32(from, 0x0b000000|s.rng.Uint32()>>8)
		copy(to, []byte{10, 2, 0, 99})
		binary.BigEndian.PutUint16(b[20:], uint16(s.sent))
		binary.BigEndian.PutUint16(b[22:], 102)
		binary.BigEndian.PutUint32(b[24:], s.rng.Uint32())
		b[33] = packet.SYN
		s.sent++
		s.reply = s.answered
	}
	*p = capture.Packet{Time: at, Data: b, Length: len(b), Link: packet.LinkRaw}
	return nil
}

func (s *siege) Interfaces() []capture.Interface {
	return []capture.Interface{{Sensor: "tap", Name: "siege.pcap"}}
}
func (s *siege) Counters() capture.Counters { return capture.Counters{} }
func (s *siege) Close() error               { return nil }

// TestFlood wants every connection whole that goes on during a flood, and every
// packet of the flood in the count, within a table that has room for few.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		name     string
		syns     int
		answered bool
	}{{"unanswered", 2_000_000, false}, {"answered", 300_000, true}} {
		t.Run(c.name, func(t *testing.T) {
			var before []string
			for _, workers := range []int{1, 3} {
				cfg := sensor.DefaultConfig()
				cfg.Workers = workers
				cfg.Flow.MaxFlows = 8 * besieged
				lines, s, events, err := listen(t, cfg, func(int) (capture.Source, error) { return newSiege(c.syns, c.answered), nil })
				if err != nil {
					t.Fatal(err)
				}
				if before != nil && !slices.Equal(lines, before) {
					t.Errorf("%d workers make other events", workers)
				}
				before = lines
				checkSiege(t, events, c.syns, c.answered)
				l := s.Counters().Ledger
				if l["events"] != uint64(len(events)-kindOf(events, event.KindLedger)) {
					t.Errorf("%d events in the ledger, of %d", l["events"], len(events))
				}
				if n := l["flows"] - l["flows_flooded"]; n != uint64(kindOf(events, event.KindFlow)) {
					t.Errorf("%d flows less %d of a flood, but %d events", l["flows"], l["flows_flooded"], kindOf(events, event.KindFlow))
				}
				if c.syns > 1_000_000 {
					break // once is enough
				}
			}
		})
	}
}

func kindOf(events []event.Event, kind event.Kind) (n int) {
	for i := range events {
		if events[i].Kind == kind {
			n++
		}
	}
	return n
}

func checkSiege(t *testing.T, events []event.Event, syns int, answered bool) {
	t.Helper()
	per := uint64(1)
	if answered {
		per = 2
	}
	whole := 0
	var counted, alone, floods uint64
	for i := range events {
		e := &events[i]
		f := &e.Flow
		switch {
		case e.Kind == event.KindFlood:
			floods++
			n := func(name string) uint64 { v, _ := e.Get("tocsin.flood." + name).Uint(); return v }
			if f.Dst.IP != netip.MustParseAddr("10.2.0.99") || f.Dst.Port != 102 || f.Src.IP.IsValid() {
				t.Errorf("flood of %v:%d", f.Dst.IP, f.Dst.Port)
			}
			if n("packets") != per*n("flows") || answered && n("answered") != n("flows") || !answered && n("answered") != 0 {
				t.Errorf("%s", e.AppendJSON(nil))
			}
			// Each SYN has an address of its own, nearly.
			if ratio := float64(n("sources")) / float64(n("flows")); n("flows") > 1000 && (ratio < 0.75 || ratio > 1.25) {
				t.Errorf("%d sources of %d flows", n("sources"), n("flows"))
			}
			counted += n("packets")
			alone += n("reported")
			if strings.Contains(string(e.AppendJSON(nil)), `"source"`) {
				t.Errorf("a source: %s", e.AppendJSON(nil))
			}
		case e.Kind == event.KindFlow && f.Dst.Port == 502:
			whole++
			if f.State != "SF" || f.Src.Packets != 8 || f.Dst.Packets != 6 || f.Src.Payload != 32 || f.Dst.Payload != 40 {
				t.Errorf("%s", e.AppendJSON(nil))
			}
		case e.Kind == event.KindFlow:
			alone--
		}
	}
	if whole != besieged {
		t.Errorf("%d connections, want %d", whole, besieged)
	}
	if counted != per*uint64(syns) {
		t.Errorf("%d packets of the flood counted, %d sent", counted, per*uint64(syns))
	}
	if alone != 0 {
		t.Errorf("as many flows have an event as are said to, but for %d", int64(alone))
	}
	if floods == 0 || floods > 2 {
		t.Errorf("%d events of floods: %s", floods, fmt.Sprint(len(events)))
	}
}
