package flow

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
)

func TestSYN(t *testing.T) {
	f := func(window uint16, options []byte, want string) {
		t.Helper()
		s := readSYN(&packet.TCP{Window: window, Options: options})
		if got := s.String(); got != want {
			t.Errorf("%x: %s, want %s", options, got, want)
		}
	}
	f(64240, []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7}, "1460:64240,7:mss,sok,ts,nop,ws")
	f(8192, []byte{2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2}, "1460:8192,8:mss,nop,ws,nop,nop,sok")
	f(5840, []byte{2, 4, 2, 24, 0, 9, 9, 9}, "536:5840,0:mss,eol")
	f(1024, nil, "0:1024,0")
	f(1024, []byte{34, 2, 30, 4, 1, 1, 254, 9}, "0:1024,0:?34,?30") // the last is cut
	f(1024, []byte{2, 3, 1, 3, 4, 1, 1, 8, 1}, "0:1024,0:mss,ws")   // odd sizes, and one that cannot be
	f(1024, []byte{2}, "0:1024,0")
	f(1, make([]byte, 40), "0:1,0:eol")
	f(1, []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "0:1,0:nop,nop,nop,nop,nop,nop,nop,nop,nop,nop")
}

func TestFacts(t *testing.T) {
	options := []byte{2, 4, 5, 0xb4}
	type step struct {
		after  time.Duration
		answer bool
		flags  uint8
		seq    uint32
		ack    uint32
		ttl    uint8
		window uint16
	}
	s, sa, a := step{0, false, syn, 100, 0, 64, 1000}, step{30 * time.Millisecond, true, syn | ack, 900, 101, 50, 500}, step{2 * time.Millisecond, false, ack, 101, 901, 64, 1000}
	f := func(what string, steps []step, want [2]Facts) {
		t.Helper()
		var got [2]Facts
		table := New(DefaultConfig(), func(r *Record, _ Reason) {
			got = [2]Facts{r.Facts(proto.Orig), r.Facts(proto.Resp)}
		})
		at := epoch
		for _, x := range steps {
			at = at.Add(x.after)
			p := packet.Packet{Time: at, IPVersion: 4, Proto: packet.ProtoTCP, Src: client, Dst: server, SrcPort: 40000, DstPort: 4711, TTL: x.ttl,
				TCP: packet.TCP{Flags: x.flags, Seq: x.seq, Ack: x.ack, Window: x.window}}
			if x.answer {
				p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
			}
			if x.flags&syn != 0 {
				p.TCP.Options = options
			}
			table.Packet(&p)
		}
		table.Close()
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
		}
	}
	offer := func(window uint16) SYN {
		return SYN{Window: window, MSS: 1460, Count: 1, Options: [maxOptions]uint8{2}}
	}
	client := Facts{MinTTL: 64, MaxTTL: 64, Flags: syn | ack, SYN: offer(1000), RTT: 2 * time.Millisecond}
	server := Facts{MinTTL: 50, MaxTTL: 50, Flags: syn | ack, SYN: offer(500), RTT: 30 * time.Millisecond}
	without := func(x Facts) Facts { x.RTT = 0; return x }
	f("handshake", []step{s, sa, a}, [2]Facts{client, server})
	tried := without(client)
	tried.Flags = syn
	f("attempt", []step{s}, [2]Facts{tried, {}})
	f("SYN again", []step{s, s, sa, a}, [2]Facts{without(client), without(server)})
	f("SYN-ACK again", []step{s, sa, sa, a}, [2]Facts{without(client), server})
	slow := sa
	slow.after = 4900 * time.Millisecond
	f("too slow", []step{s, slow, a}, [2]Facts{without(client), without(server)})
	back := sa
	back.after = -time.Second
	f("clock set back", []step{s, back, a}, [2]Facts{without(client), without(server)})
	other := sa
	other.ack = 77
	f("answer to another SYN", []step{s, other, a}, [2]Facts{without(client), without(server)})
	f("begun before", []step{sa, a}, [2]Facts{without(server), {MinTTL: 64, MaxTTL: 64, Flags: ack}})
	near, far, full := a, a, a
	near.ttl, far.ttl, full.window = 63, 255, 0
	want := client
	want.MinTTL, want.MaxTTL, want.ZeroWindows = 63, 255, 1
	f("ways", []step{s, sa, a, near, far, full}, [2]Facts{want, server})
}
