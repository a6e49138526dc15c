package all_test

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour/all"
	"github.com/tocsin/tocsin/event"
)

// story makes events one second apart.
type story struct {
	events []event.Event
	step   time.Duration // between events, if not a second
}

func (s *story) add(e event.Event, src, dst string, port int) {
	e.Time = time.Unix(1_700_000_000, 0).UTC().Add(time.Duration(len(s.events)) * cmp.Or(s.step, time.Second))
	e.Flow.Src.IP, e.Flow.Dst.IP, e.Flow.Dst.Port = netip.MustParseAddr(src), netip.MustParseAddr(dst), uint16(port)
	if e.Flow.Transport == 0 {
		e.Flow.Transport = event.ProtoTCP
	}
	if e.Flow.CommunityID == "" {
		e.Flow.CommunityID = fmt.Sprintf("1:%d", len(s.events))
	}
	h := event.NewHasher()
	h.Uint(uint64(len(s.events)))
	e.ID = h.ID(e.Time)
	s.events = append(s.events, e)
}

func flow(state string) event.Event {
	return event.Event{Kind: event.KindFlow, Flow: event.Flow{State: state}}
}

// calls are outbound connections, with the seconds between them.
func calls(s *story, dst string, port int, seconds ...float64) {
	at := 1_700_000_000.0
	for n, sec := range seconds {
		at += sec
		e := flow("SF")
		e.Flow.Src.Payload, e.Flow.Dst.Payload = 300, 500
		e.Flow.Start = time.UnixMicro(int64(at * 1e6)).UTC()
		e.Flow.CommunityID = fmt.Sprintf("1:%s/%d", dst, n)
		e.Fields = []event.Field{{Name: "network.direction", Value: event.Str("outbound")}}
		s.add(e, "10.0.0.1", dst, port)
		if n%2 == 0 { // a second sensor sees some of them too
			e.Flow.Start = e.Flow.Start.Add(20 * time.Microsecond)
			s.add(e, "10.0.0.1", dst, port)
		}
	}
}

// callFrom is one call from a host inside, some seconds after the story began.
func callFrom(s *story, src, dst string, second float64, sent int64) {
	e := flow("SF")
	e.Flow.Src.Payload, e.Flow.Dst.Payload = uint64(sent), 500
	e.Flow.Start = time.UnixMicro(int64((1_700_000_000.0 + second) * 1e6)).UTC()
	e.Fields = []event.Field{{Name: "network.direction", Value: event.Str("outbound")}}
	s.add(e, src, dst, 443)
}

// echo is an exchange of ICMP echoes.
func echo(s *story, src, dst string, out, outBytes, in, inBytes uint64) {
	e := flow("OTH")
	e.Flow.Transport, e.Flow.Src.Port = event.ProtoICMP, 8
	if netip.MustParseAddr(dst).Is6() {
		e.Flow.Transport, e.Flow.Src.Port = event.ProtoICMPv6, 128
	}
	e.Flow.Src.Packets, e.Flow.Src.Payload, e.Flow.Dst.Packets, e.Flow.Dst.Payload = out, outBytes, in, inBytes
	answer := 0
	if e.Flow.Transport == event.ProtoICMPv6 {
		answer = 129
	}
	s.add(e, src, dst, answer)
}

// certificate is a handshake with a server whose certificate is valid from and
// to so long after the story begins.
func certificate(s *story, server string, from, to time.Duration) {
	begin := time.Unix(1_700_000_000, 0).UTC()
	s.add(event.Event{Kind: "tls", Fields: []event.Field{
		{Name: "tls.server.not_after", Value: event.Time(begin.Add(to))},
		{Name: "tls.server.not_before", Value: event.Time(begin.Add(from))},
	}}, "10.0.9.9", server, 443)
}

// upload is a flow from inside that took so long and was reported at its end.
func upload(s *story, dst, id string, took time.Duration, out, in uint64) {
	e := flow("SF")
	e.Flow.Src.Payload, e.Flow.Dst.Payload, e.Flow.CommunityID = out, in, id
	e.Flow.End = time.Unix(1_700_000_000, 0).UTC().Add(time.Duration(len(s.events)) * s.step)
	e.Flow.Start = e.Flow.End.Add(-took)
	e.Fields = []event.Field{{Name: "network.direction", Value: event.Str("outbound")}}
	s.add(e, "10.0.0.1", dst, 443)
}

// session is a flow between hosts inside, which began so long after the story.
func session(s *story, src, dst string, port int, began time.Duration, bytes uint64) {
	e := flow("SF")
	e.Flow.Src.Payload, e.Flow.Dst.Payload = bytes, bytes
	e.Flow.Start = time.Unix(1_700_000_000, 0).UTC().Add(began)
	e.Fields = []event.Field{{Name: "network.direction", Value: event.Str("internal")}}
	s.add(e, src, dst, port)
}

// neighbour is an advertisement by one MAC, or a solicitation that it answered.
func neighbour(s *story, ip string, mac byte, answered bool) {
	e := flow("OTH")
	e.Sensor = "tap"
	e.Flow.Transport, e.Flow.Src.Port, e.Flow.Src.MAC, e.Flow.Src.Packets = event.ProtoICMPv6, 136, event.MAC{2, 0, 0, 0, 0, mac}, 1
	if answered {
		e.Flow.Src.Port, e.Flow.Src.MAC = 135, event.MAC{2, 0, 0, 0, 0, 99}
		e.Flow.Dst.MAC, e.Flow.Dst.Packets = event.MAC{2, 0, 0, 0, 0, mac}, 1
		s.add(e, "fd00::99", ip, 136)
		return
	}
	s.add(e, ip, "ff02::1", 0)
}

func login(outcome string) event.Event {
	return event.Event{Kind: "ssh", Fields: []event.Field{{Name: "event.outcome", Value: event.Str(outcome)}}}
}

// text is what alerts become at the end.
func text(alerts []event.Alert) string {
	var all correlator.Alerts
	all.Add(alerts)
	var b strings.Builder
	for _, a := range all.Sorted() {
		e := a.Event()
		b.Write(append(e.AppendJSON(nil), '\n'))
	}
	return b.String()
}

// backwards tells a story from its end, event by event.
func backwards(t *testing.T, events []event.Event) string {
	t.Helper()
	k, err := correlator.New(correlator.Config{Detectors: all.Detectors(), Lateness: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var alerts []event.Alert
	for _, e := range slices.Backward(events) {
		more, err := k.Process(t.Context(), []event.Event{e})
		if err != nil {
			t.Fatal(err)
		}
		alerts = append(alerts, more...)
	}
	return text(append(alerts, k.Flush()...))
}

func TestBehaviours(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(*story)
		want []string // rule, group
	}{
		{"port scan", func(s *story) {
			for p := range 15 {
				s.add(flow("REJ"), "192.0.2.1", "10.0.0.1", 1000+p)
			}
		}, []string{"tocsin-scan-ports source.ip=192.0.2.1 destination.ip=10.0.0.1"}},
		{"host scan over IPv6", func(s *story) {
			for n := range 10 {
				s.add(flow("S0"), "2001:db8::1", fmt.Sprintf("fd00::%x", n+1), 502)
			}
		}, []string{"tocsin-scan-hosts source.ip=2001:db8::1 destination.port=502"}},
		{"host scan over UDP", func(s *story) {
			for n := range 10 {
				e := flow("S0")
				e.Flow.Transport, e.Flow.Src.Packets, e.Flow.Src.Payload = event.ProtoUDP, 2, 2*46
				s.add(e, "192.0.2.1", fmt.Sprintf("10.0.0.%d", n+1), 161)
			}
		}, []string{"tocsin-scan-hosts source.ip=192.0.2.1 destination.port=161"}},
		{"QUIC on a tap that sees one direction", func(s *story) {
			for n := range 40 {
				e := flow("S0")
				e.Flow.Transport, e.Flow.Src.Packets, e.Flow.Src.Payload = event.ProtoUDP, 1, 1250
				s.add(e, "10.0.0.1", fmt.Sprintf("192.0.2.%d", n+1), 443)
			}
		}, nil},
		{"one short of a scan", func(s *story) {
			for p := range 14 {
				s.add(flow("REJ"), "192.0.2.1", "10.0.0.1", 1000+p)
			}
		}, nil},
		{"the same port again and again", func(s *story) {
			for range 40 {
				s.add(flow("REJ"), "192.0.2.1", "10.0.0.1", 22)
			}
		}, nil},
		{"many ports that answer with data", func(s *story) {
			for p := range 40 {
				e := flow("SF")
				e.Flow.Src.Payload, e.Flow.Dst.Payload = 100, 1000
				s.add(e, "192.0.2.1", "10.0.0.1", 1000+p)
			}
		}, nil},
		{"guessing", func(s *story) {
			for range 5 {
				s.add(login("failure"), "192.0.2.1", "10.0.0.1", 22)
			}
		}, []string{"tocsin-bruteforce source.ip=192.0.2.1 destination.ip=10.0.0.1 protocol=ssh"}},
		{"guessing that works", func(s *story) {
			for range 5 {
				s.add(login("failure"), "192.0.2.1", "10.0.0.1", 22)
			}
			s.add(login("success"), "192.0.2.1", "10.0.0.1", 22)
		}, []string{
			"tocsin-bruteforce source.ip=192.0.2.1 destination.ip=10.0.0.1 protocol=ssh",
			"tocsin-bruteforce-success source.ip=192.0.2.1 destination.ip=10.0.0.1 protocol=ssh",
		}},
		{"a beacon, one call of which is missed", func(s *story) {
			calls(s, "192.0.2.1", 443, 0, 6, 6.2, 5.9, 6, 12, 6, 6.1, 6, 5.8, 6)
		}, []string{"tocsin-beacon destination.ip=192.0.2.1 destination.port=443"}},
		{"what everybody calls, and what three hosts call", func(s *story) {
			for at := range 12 {
				for n := range 12 {
					callFrom(s, fmt.Sprintf("10.0.1.%d", n+1), "192.0.2.9", 60*float64(at)+float64(at%2)*float64(n), 300+int64(n*at*20))
					if n < 3 {
						callFrom(s, fmt.Sprintf("10.0.1.%d", n+1), "192.0.2.8", 60*float64(at)+float64(at%2)*float64(n), 300)
					}
				}
			}
		}, []string{"tocsin-beacon destination.ip=192.0.2.8 destination.port=443"}},
		{"nine calls, a person, a page, and a clock", func(s *story) {
			calls(s, "192.0.2.1", 443, 0, 6, 6, 6, 6, 6, 6, 6, 6)
			calls(s, "192.0.2.2", 443, 0, 3, 40, 7, 1, 90, 15, 6, 33, 2, 61, 20)
			calls(s, "192.0.2.3", 443, 0, .1, .1, .1, .1, .1, .1, .1, .1, .1, .1, .1)
			calls(s, "192.0.2.4", 123, 0, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64)
		}, nil},
		{"one guess at each of many hosts", func(s *story) {
			for n := range 6 {
				s.add(login("failure"), "192.0.2.1", fmt.Sprintf("10.0.0.%d", n+1), 22)
			}
		}, []string{"tocsin-bruteforce-spray source.ip=192.0.2.1 protocol=ssh"}},
		{"pings, some lost, one large, and one that nobody answers", func(s *story) {
			echo(s, "10.0.0.1", "10.0.0.2", 100, 100*56, 100, 100*56)
			echo(s, "10.0.0.1", "10.0.0.3", 100, 100*56+20*1400, 70, 70*56)
			echo(s, "10.0.0.1", "10.0.0.4", 100, 100*56, 0, 0)
			echo(s, "10.0.0.1", "10.0.0.5", 4, 4*1400, 4, 4*56)
		}, nil},
		{"answers that are no echoes, and many bytes", func(s *story) {
			echo(s, "10.0.0.1", "192.0.2.2", 20, 20*60, 20, 20*900)
			echo(s, "10.0.0.1", "2001:db8::2", 900, 900*1000, 900, 900*1000)
		}, []string{"tocsin-icmp-tunnel source.ip=10.0.0.1 destination.ip=192.0.2.2", "tocsin-icmp-tunnel source.ip=10.0.0.1 destination.ip=2001:db8::2"}},
		{"certificates: one that is valid, one since a minute, one too old, one too young", func(s *story) {
			certificate(s, "10.0.0.1", -time.Hour, time.Hour)
			certificate(s, "10.0.0.2", time.Minute, time.Hour)
			certificate(s, "10.0.0.3", -2*time.Hour, -time.Hour)
			certificate(s, "10.0.0.4", time.Hour, 2*time.Hour)
		}, []string{
			"tocsin-certificate-expired destination.ip=10.0.0.3 tls.server.not_after=2023-11-14T21:13:20Z",
			"tocsin-certificate-early destination.ip=10.0.0.4 tls.server.not_before=2023-11-14T23:13:20Z",
		}},
		{"a slow port scan, and a slow host scan over UDP", func(s *story) {
			s.step = time.Minute
			for p := range 25 {
				s.add(flow("REJ"), "192.0.2.1", "10.0.0.1", 1000+p)
				e := flow("S0")
				e.Flow.Transport, e.Flow.Src.Packets, e.Flow.Src.Payload = event.ProtoUDP, 1, 46
				s.add(e, "192.0.2.2", fmt.Sprintf("10.0.0.%d", p+1), 161)
			}
		}, []string{
			"tocsin-scan-ports-slow source.ip=192.0.2.1 destination.ip=10.0.0.1",
			"tocsin-scan-hosts-slow source.ip=192.0.2.2 destination.port=161",
		}},
		{"too slow, and the same few ports for long", func(s *story) {
			s.step = 4 * time.Minute
			for p := range 30 {
				s.add(flow("REJ"), "192.0.2.1", "10.0.0.1", 1000+p)
				s.add(flow("REJ"), "192.0.2.2", "10.0.0.1", 1000+p%4)
			}
		}, nil},
		{"a sparse scan by echoes and connections, and echoes that are answered", func(s *story) {
			s.step = 2 * time.Minute
			for n := range 16 {
				e := flow("S0")
				if n%2 == 0 {
					e = flow("OTH")
					e.Flow.Transport, e.Flow.Src.Port, e.Flow.Src.Packets = event.ProtoICMPv6, 128, 1
				}
				s.add(e, "2001:db8:1::1", fmt.Sprintf("2001:db8:2:%x::%x", n, n*n+1), 1000+n)
			}
			s.step = time.Second
			for n := range 40 {
				echo(s, "2001:db8:1::2", fmt.Sprintf("2001:db8:2::%x", n+1), 2, 112, 2, 112)
			}
		}, []string{"tocsin-scan-sparse source.ip=2001:db8:1::1 destination.network=2001:db8:2::/48"}},
		{"an upload in pieces, seen by two sensors", func(s *story) {
			s.step = 10 * time.Second
			for n := range 6 {
				upload(s, "192.0.2.1", fmt.Sprint("1:", n), time.Second, 1_000_000, 9000)
				upload(s, "192.0.2.1", fmt.Sprint("1:", n), time.Second, 999_000, 9000)
			}
		}, []string{"tocsin-exfiltration source.ip=10.0.0.1 destination.ip=192.0.2.1"}},
		{"half of it, seen by two sensors; a call with pictures; a backup that goes on as ever; a long flow, reported twice", func(s *story) {
			s.step = 30 * time.Second
			for n := range 4 {
				upload(s, "192.0.2.1", fmt.Sprint("1:", n), time.Second, 1_000_000, 9000)
				upload(s, "192.0.2.1", fmt.Sprint("1:", n), time.Second, 999_000, 9000)
			}
			upload(s, "192.0.2.2", "1:call", time.Minute, 90_000_000, 100_000_000)
			s.step = 4 * time.Minute
			s.events = s.events[:0]
			for n := range 30 {
				// Slowly it becomes what is usual.
				upload(s, "192.0.2.3", fmt.Sprint("1:backup ", n), time.Second, 700_000+30_000*uint64(n), 9000)
			}
			upload(s, "192.0.2.4", "1:long", 3*time.Hour, 40_000_000, 9000)
			upload(s, "192.0.2.4", "1:long", 4*time.Hour, 50_000_000, 9000)
		}, nil},
		{"from host to host by RDP, the first session ending last", func(s *story) {
			session(s, "10.0.0.2", "10.0.0.3", 3389, 10*time.Second, 9000)
			session(s, "10.0.0.1", "10.0.0.2", 3389, 0, 9000)
		}, []string{"tocsin-lateral host.ip=10.0.0.2 protocol=rdp"}},
		{"back to where it came from; on before it came; on by another protocol; refused", func(s *story) {
			session(s, "10.0.0.1", "10.0.0.2", 445, 0, 9000)
			session(s, "10.0.0.2", "10.0.0.1", 445, 10*time.Second, 9000)
			session(s, "10.0.1.1", "10.0.1.2", 22, 10*time.Second, 9000)
			session(s, "10.0.1.2", "10.0.1.3", 22, 0, 9000)
			session(s, "10.0.2.1", "10.0.2.2", 22, 0, 9000)
			session(s, "10.0.2.2", "10.0.2.3", 5985, 10*time.Second, 9000)
			session(s, "10.0.3.1", "10.0.3.2", 22, 0, 9000)
			session(s, "10.0.3.2", "10.0.3.3", 22, 10*time.Second, 100)
		}, nil},
		{"on by SSH on another port; from an administrator, and through one", func(s *story) {
			session(s, "10.0.0.1", "10.0.0.2", 2222, 0, 9000)
			session(s, "10.0.0.2", "10.0.0.3", 22, 10*time.Second, 9000)
			s.events[0].Flow.Service = "ssh"
			session(s, "10.0.1.1", "10.0.1.2", 22, 0, 9000)
			session(s, "10.0.1.2", "10.0.1.3", 22, 10*time.Second, 9000)
			s.events[2].Set("tocsin.source.role", event.Str("administrator"))
			session(s, "10.0.2.1", "10.0.2.2", 22, 0, 9000)
			session(s, "10.0.2.2", "10.0.2.3", 22, 10*time.Second, 9000)
			s.events[4].Set("tocsin.destination.role", event.Str("administrator"))
			s.events[5].Set("tocsin.source.role", event.Str("administrator"))
		}, []string{"tocsin-lateral host.ip=10.0.0.2 protocol=ssh"}},
		{"two neighbours with one address, and one that repeats itself", func(s *story) {
			neighbour(s, "fd00::1", 1, true)
			neighbour(s, "fd00::1", 2, false)
			neighbour(s, "fd00::2", 3, true)
			neighbour(s, "fd00::2", 3, false)
		}, []string{"tocsin-neighbour observer.name=tap network.vlan.id=0 address=fd00::1"}},
		{"four failures, each seen by two sensors, and a success", func(s *story) {
			for n := range 8 {
				e := login("failure")
				e.Flow.CommunityID = fmt.Sprintf("1:%d", n/2)
				s.add(e, "192.0.2.1", "10.0.0.1", 22)
			}
			s.add(login("success"), "192.0.2.1", "10.0.0.1", 22)
		}, nil},
		{"a success before failures, and a mistyped password", func(s *story) {
			s.add(login("success"), "192.0.2.1", "10.0.0.1", 22)
			s.add(login("failure"), "192.0.2.2", "10.0.0.1", 22)
			s.add(login("success"), "192.0.2.2", "10.0.0.1", 22)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s story
			c.tell(&s)
			k, err := correlator.New(correlator.Config{Detectors: all.Detectors()})
			if err != nil {
				t.Fatal(err)
			}
			alerts, err := k.Process(context.Background(), s.events)
			if err != nil {
				t.Fatal(err)
			}
			alerts = append(alerts, k.Flush()...)
			if again := backwards(t, s.events); again != text(alerts) {
				t.Errorf("the last event first:\n%s\nin order:\n%s", again, text(alerts))
			}
			got := map[string]bool{}
			for _, a := range alerts {
				got[a.Rule.ID+" "+a.Group] = true
				if a.Message == "" || len(a.Explain) == 0 || len(a.Techniques) == 0 && a.Rule.ID[:18] != "tocsin-certificate" {
					t.Errorf("alert %+v does not explain itself", a)
				}
			}
			for _, w := range c.want {
				if !got[w] {
					t.Errorf("no alert %s in %v", w, got)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("alerts %v, want %v", got, c.want)
			}
		})
	}
}
