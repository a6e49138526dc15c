package event

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// simple is what Encoder does, without its short cuts: all fields by name, and
// the text of each by way of a Value.
func simple(e *Event) string {
	var fs []Field
	e.All(func(name string, v Value) bool {
		fs = append(fs, Field{name, v})
		return true
	})
	slices.SortStableFunc(fs, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	w := nester{dst: []byte{'{'}}
	for i := range fs {
		w.field(&fs[i])
	}
	return string(w.end())
}

// arbitrary makes an event in which anything may be missing.
func arbitrary(r *rand.Rand) Event {
	maybe := func() bool { return r.IntN(3) > 0 }
	text := func() string {
		const letters = "abcdefgh 012\"\\\n\t\r\x00\x1f\x20\x7f\x80\xffé例\u2028"
		var b []byte
		for range r.IntN(20) {
			b = append(b, letters[r.IntN(len(letters))])
		}
		if maybe() {
			return strings.ToValidUTF8(string(b), "")
		}
		return string(b)
	}
	moment := func() time.Time {
		switch r.IntN(8) {
		case 0:
			return time.Time{}
		case 1:
			return time.Unix(-r.Int64N(1e9), -r.Int64N(1e9))
		case 2:
			return time.Unix(r.Int64N(20), 0)
		}
		return time.Unix(1e9+r.Int64N(20), r.Int64N(1e9)/1e5*1e5).UTC()
	}
	address := func() netip.Addr {
		switch r.IntN(5) {
		case 0:
			return netip.Addr{}
		case 1:
			return netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(r.Int())}).WithZone("eth0")
		case 2:
			return netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 15: byte(r.Int())})
		}
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(r.Int())})
	}
	number := func() uint64 { return r.Uint64() >> r.IntN(65) }
	end := func() (x Endpoint) {
		x = Endpoint{IP: address(), Port: uint16(number()), Packets: number(), Bytes: number(), Payload: number()}
		if maybe() {
			x.MAC = MAC{1, 2, 0xab, 0xcd, 5, byte(r.Int())}
		}
		return x
	}
	kinds := []Kind{KindFlow, KindFlow, KindARP, KindLedger, KindAlert, "dns", "x\"y"}
	e := Event{Time: moment(), Kind: kinds[r.IntN(len(kinds))], Sensor: text(), Iface: text()}
	if maybe() {
		e.ID[r.IntN(16)] = byte(r.Int())
	}
	e.Flow = Flow{Src: end(), Dst: end(), Transport: []uint8{0, 1, 6, 17, 58, 132, 99}[r.IntN(7)], CommunityID: text(), Start: moment(), End: moment(),
		Service: text(), State: text(), History: text(), EndReason: text()}
	if !maybe() {
		e.Flow.VLAN, e.Flow.InnerVLAN = uint16(r.IntN(3)), uint16(r.IntN(3))
	}
	names := []string{"!", "a", "destination.as.number", "destination.zz", "dns.question.name", "dns.question.type", "dns.a.b.c", "event.a", "event.risk_score",
		"network.inner.x", "network.vlan.name", "observer.a", "source.aa", "source.zz", "tocsin.flow.missed", "tocsin.x", "url", "zz.z"}
	for i := range 40 {
		names = append(names, fmt.Sprintf("many.n%02d", i))
	}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:r.IntN(12)*r.IntN(5)] {
		vs := []Value{{}, Str(text()), Text([]byte(text())), Int(int64(number())), Uint(number()), Float(r.NormFloat64()), Bool(maybe()), IP(address()),
			Time(moment()), Strs([]string{text(), text()}), List(), Object(), List(Object(Field{"a.b", Str(text())}, Field{"a.c", Int(1)}, Field{"d", Value{}}))}
		e.Fields = append(e.Fields, Field{name, vs[r.IntN(len(vs))]})
	}
	return e
}

func TestEncoderAgreesWithTheSimpleOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var enc Encoder
	for range 20_000 {
		e := arbitrary(r)
		before := fmt.Sprint(e.Fields)
		got, want := string(enc.Append([]byte("# "), &e)), "# "+simple(&e)
		if got != want || !json.Valid([]byte(got[2:])) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		if fmt.Sprint(e.Fields) != before {
			t.Fatal("the event has changed")
		}
	}
}

func BenchmarkEncoder(b *testing.B) {
	flow := sample()
	flow.Kind, flow.Fields = KindFlow, nil
	for _, e := range []Event{sample(), flow} {
		b.Run(string(e.Kind), func(b *testing.B) {
			b.ReportAllocs()
			var enc Encoder
			var buf []byte
			for b.Loop() {
				buf = enc.Append(buf[:0], &e)
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}
