package evidence_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/capture/pcapng"
	"github.com/tocsin/tocsin/sensor/evidence"
)

// frame is an Ethernet frame with a UDP datagram.
func frame(src, dst string, sport, dport uint16, payload string) []byte {
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	b := append(make([]byte, 12), 0x08, 0)
	n := 28 + len(payload)
	b = append(b, 0x45, 0, byte(n>>8), byte(n), 0, 0, 0, 0, 64, 17, 0, 0)
	b = append(append(b, s[:]...), d[:]...)
	b = append(b, byte(sport>>8), byte(sport), byte(dport>>8), byte(dport), byte((n-20)>>8), byte(n-20), 0, 0)
	return append(b, payload...)
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func TestTakeFindsSessions(t *testing.T) {
	var in bytes.Buffer
	w := pcapng.NewWriter(&in, "test", "")
	put := func(seconds int, data []byte) {
		t.Helper()
		if err := w.Packet(capture.Interface{Name: "eth0"}, &capture.Packet{Time: at(seconds), Data: data, Length: len(data) + 7, Link: 1}, ""); err != nil {
			t.Fatal(err)
		}
	}
	put(0, frame("10.0.0.1", "10.0.0.2", 1000, 53, "early"))
	put(10, frame("10.0.0.1", "10.0.0.2", 1000, 53, "ask"))
	put(11, frame("10.0.0.2", "10.0.0.1", 53, 1000, "answer"))
	put(12, frame("10.0.0.1", "10.0.0.2", 1001, 53, "other"))
	put(30, frame("10.0.0.1", "10.0.0.2", 1000, 53, "second"))
	put(40, frame("10.0.0.1", "10.0.0.2", 1000, 53, "late"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	session := func(from, to int, sensor, comment string) evidence.Session {
		return evidence.Session{
			Sensor: sensor, Transport: event.ProtoUDP, From: at(from), To: at(to), Comment: comment,
			Src: netip.MustParseAddrPort("10.0.0.1:1000"), Dst: netip.MustParseAddrPort("10.0.0.2:53"),
		}
	}
	src, err := file.New(bytes.NewReader(in.Bytes()), "tap.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var out bytes.Buffer
	to := pcapng.NewWriter(&out, "test", "case 7")
	var taken evidence.Taken
	wanted := evidence.Want([]evidence.Session{session(10, 10, "tap", "first"), session(29, 30, "", "second"), session(40, 40, "elsewhere", "")})
	if err := wanted.Take(t.Context(), src, to, &taken); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if taken.Packets != 3 || taken.Counts[0] != 2 || taken.Counts[1] != 1 || taken.Counts[2] != 0 {
		t.Errorf("%+v", taken)
	}
	back, err := file.New(bytes.NewReader(out.Bytes()), "back.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	for _, want := range []struct {
		seconds int
		payload string
	}{{10, "ask"}, {11, "answer"}, {30, "second"}} {
		var p capture.Packet
		if err := back.Next(&p); err != nil {
			t.Fatal(err)
		}
		if !p.Time.Equal(at(want.seconds)) || string(p.Data[42:]) != want.payload || p.Length != len(p.Data)+7 || p.Link != 1 {
			t.Errorf("%s %q of %d bytes, want %s %q", p.Time, p.Data[42:], p.Length, at(want.seconds), want.payload)
		}
	}
	for _, comment := range []string{"first", "second", "case 7"} {
		if bytes.Count(out.Bytes(), []byte(comment)) < 1 {
			t.Errorf("no comment %q", comment)
		}
	}
}
