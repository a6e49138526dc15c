package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
)

// piece is one fragment of a datagram's payload.
type piece struct {
	offset int
	data   []byte
	more   bool
}

// pieces cuts a payload into fragments of at most size bytes.
func pieces(payload []byte, size int) []piece {
	var ps []piece
	for at := 0; at < len(payload); at += size {
		to := min(at+size, len(payload))
		ps = append(ps, piece{at, payload[at:to], to < len(payload)})
	}
	return ps
}

func (f piece) v4(id uint16, proto uint8) []byte {
	b := v4(proto, len(f.data))
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], uint16(f.offset/8))
	if f.more {
		b[6] |= 0x20
	}
	return raw(b, f.data)
}

func (f piece) v6(id uint32, next uint8) []byte {
	h := []byte{next, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(f.offset))
	if f.more {
		h[3] |= 1
	}
	binary.BigEndian.PutUint32(h[4:], id)
	return raw(v6(ProtoFragment, 8+len(f.data)), h, f.data)
}

// udpOf is a UDP header with n bytes behind it.
func udpOf(n int) []byte {
	b := make([]byte, 8+n)
	copy(b, udpBytes()[:4])
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	for i := range n {
		b[8+i] = byte(i * 7 >> 3)
	}
	return b
}

// feed decodes raw IP packets and returns the last outcome.
func feed(d *Decoder, p *Packet, at time.Time, packets ...[]byte) (o Outcome) {
	for _, b := range packets {
		o = d.Decode(p, &capture.Packet{Time: at, Data: b, Length: len(b), Link: LinkRaw})
	}
	return o
}

func newDecoder(c DefragConfig) *Decoder { return &Decoder{Defrag: NewDefrag(c)} }

// balance checks that every packet has one fate.
func balance(t *testing.T, d *Decoder) Counters {
	t.Helper()
	c := d.Counters()
	sum := c.Decoded + c.Pending
	for _, n := range c.Dropped {
		sum += n
	}
	if c.Seen != sum {
		t.Errorf("the account does not balance: %+v", c)
	}
	f := d.Defrag.Counters()
	sum = f.Joined + f.Pending
	for _, n := range f.Dropped {
		sum += n
	}
	if f.Fragments != sum {
		t.Errorf("the account of fragments does not balance: %+v", f)
	}
	return c
}

// Fragments of any size, in any order, interleaved with those of another
// datagram and repeated, give the datagram.
func TestDefragOrders(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		d := newDecoder(DefragConfig{})
		payloads := [][]byte{udpOf(r.IntN(4000) + 20), udpOf(r.IntN(4000) + 20)}
		var packets [][]byte
		for i, payload := range payloads {
			size := 8 * (1 + r.IntN(200))
			for _, f := range pieces(payload, size) {
				b := f.v4(uint16(i), ProtoUDP)
				if round%2 == 1 {
					b = f.v6(uint32(i), ProtoUDP)
				}
				packets = append(packets, b)
				if r.IntN(10) == 0 && f.more { // a repeated last piece would open a new datagram
					packets = append(packets, b)
				}
			}
		}
		r.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
		var p Packet
		got := 0
		for _, b := range packets {
			if feed(d, &p, when, b) != OK {
				continue
			}
			got++
			want := payloads[0]
			if len(p.Payload)+8 != len(want) {
				want = payloads[1]
			}
			header := 20
			if p.IPVersion == 6 {
				header = 40
			}
			if !bytes.Equal(p.Payload, want[8:]) || p.SrcPort != 5353 || p.Fragment || p.Fragments > 0 && p.IPLen != header+len(want) || p.Truncated {
				t.Fatalf("round %d: %s", round, describe(p))
			}
			if p.Fragments > 1 && p.Length < len(want)+header*p.Fragments {
				t.Fatalf("round %d: %d fragments of %d bytes", round, p.Fragments, p.Length)
			}
		}
		c := balance(t, d)
		if dup := d.Defrag.Counters().Dropped["duplicate"]; got != 2 || c.Decoded+dup+c.Pending != uint64(len(packets)) {
			t.Fatalf("round %d: %d datagrams, %+v", round, got, c)
		}
	}
}

func TestDefragFaults(t *testing.T) {
	const ospf = 89 // has no header that the decoder reads
	payload := udpOf(92)
	a, b, c := piece{0, payload[:48], true}, piece{48, payload[48:96], true}, piece{96, payload[96:], false}
	evil := bytes.Repeat([]byte{0xee}, 200)

	f := func(name string, v6 bool, want Outcome, cause string, ps ...piece) (*Decoder, Packet) {
		t.Helper()
		d := newDecoder(DefragConfig{})
		var p Packet
		var o Outcome
		for _, f := range ps {
			if v6 {
				o = feed(d, &p, when, f.v6(1, ospf))
			} else {
				o = feed(d, &p, when, f.v4(1, ospf))
			}
		}
		if o != want {
			t.Errorf("%s: %v, want %v", name, o, want)
		}
		if cause != "" && d.Counters().Dropped["fragment_"+cause] == 0 {
			t.Errorf("%s: %+v, want %s", name, d.Counters(), cause)
		}
		balance(t, d)
		return d, p
	}
	// IPv4: what came first stays.
	d, p := f("overlap", false, OK, "", a, piece{40, evil[:56], true}, c)
	if got, want := p.Payload, raw(payload[:48], evil[:48], payload[96:]); !bytes.Equal(got, want) {
		t.Errorf("overlap: got %x\nwant %x", got, want)
	}
	if n := d.Defrag.Counters().Overlaps; n != 1 {
		t.Errorf("%d overlaps", n)
	}
	_, p = f("overlap from behind", false, OK, "", b, piece{0, evil[:64], true}, c)
	if want := raw(evil[:48], payload[48:]); !bytes.Equal(p.Payload, want) {
		t.Errorf("overlap from behind: got %x\nwant %x", p.Payload, want)
	}
	d, _ = f("other content at the same place", false, OK, "duplicate", a, b, piece{48, evil[:48], true}, c)
	if n := d.Defrag.Counters().Overlaps; n != 1 {
		t.Errorf("%d overlaps", n)
	}
	// IPv6: nothing of it is believed (RFC 5722).
	f("IPv6 overlap", true, FragmentDropped, "overlap", a, piece{40, evil[:56], true}, c)
	f("IPv6 overlap, then all again", true, FragmentDropped, "overlap", a, piece{40, evil[:56], true}, a, b, c)
	f("IPv6 other content at the same place", true, FragmentDropped, "overlap", a, piece{0, evil[:48], true}, b, c)
	f("IPv6 repetition", true, OK, "duplicate", a, b, b, c)

	f("two ends", false, FragmentDropped, "conflicting_end", c, piece{104, evil[:8], false})
	f("beyond the end", false, FragmentDropped, "conflicting_end", c, piece{104, evil[:8], true})
	f("end before the last", false, FragmentDropped, "conflicting_end", b, piece{8, evil[:8], false})
	f("oversize", false, FragmentDropped, "oversize", piece{65528, evil[:16], true})
	f("odd length", false, FragmentDropped, "bad_length", piece{0, evil[:47], true})
	f("empty", false, FragmentDropped, "bad_length", piece{0, nil, true})

	d = newDecoder(DefragConfig{})
	feed(d, &p, when, piece{0, payload[:16], true}.v4(1, ProtoTCP), piece{0, payload[:8], true}.v4(1, ProtoUDP))
	if n := d.Defrag.Counters().Tiny; n != 1 {
		t.Errorf("%d tiny fragments, want that of TCP", n)
	}

	// Fragments that were captured in part.
	d = newDecoder(DefragConfig{})
	cut := a.v4(1, ProtoUDP)
	if o := d.Decode(&p, &capture.Packet{Time: when, Data: cut[:40], Length: len(cut), Link: LinkRaw}); o != FragmentDropped {
		t.Errorf("cut: %v", o)
	}
	if n := d.Counters().Dropped["fragment_truncated"]; n != 1 {
		t.Errorf("cut: %+v", d.Counters())
	}

	// The same identifier of other hosts, protocols or VLANs is another datagram.
	d = newDecoder(DefragConfig{})
	if o := feed(d, &p, when, a.v4(1, ProtoUDP), b.v4(1, ProtoICMP), c.v4(1, ProtoUDP)); o != Held {
		t.Errorf("two protocols: %v", o)
	}
	if o := feed(d, &p, when, b.v4(1, ProtoUDP)); o != OK {
		t.Errorf("two protocols, complete: %v", o)
	}
}

func TestDefragBounds(t *testing.T) {
	var p Packet
	first := piece{0, udpOf(1000)[:1000], true}

	d := newDecoder(DefragConfig{Datagrams: 10})
	for i := range 100 {
		feed(d, &p, when, first.v4(uint16(i), ProtoUDP))
	}
	if c := balance(t, d); c.Pending != 10 || c.Dropped["fragment_evicted"] != 90 {
		t.Errorf("datagrams: %+v", c)
	}

	// 50,000 bytes ask for buffers of 64 KiB, of which three fit.
	d = newDecoder(DefragConfig{Bytes: 200_000})
	far := piece{50_000, make([]byte, 1000), true}
	for i := range 100 {
		feed(d, &p, when, far.v4(uint16(i), ProtoUDP))
		if d.Defrag.bytes > 200_000 {
			t.Fatalf("%d bytes are held", d.Defrag.bytes)
		}
	}
	if c := balance(t, d); c.Pending != 3 || c.Dropped["fragment_evicted"] != 97 {
		t.Errorf("bytes: %+v", c)
	}
	if len(d.Defrag.datagrams) != 3 {
		t.Errorf("%d datagrams", len(d.Defrag.datagrams))
	}
	d = newDecoder(DefragConfig{Bytes: 1000})
	if o := feed(d, &p, when, far.v4(1, ProtoUDP)); o != FragmentDropped || len(d.Defrag.datagrams) != 0 || d.Defrag.bytes != 0 {
		t.Errorf("larger than the bound: %v, %+v", o, d.Counters())
	}

	d = newDecoder(DefragConfig{Timeout: 30 * time.Second})
	feed(d, &p, when, first.v4(1, ProtoUDP))
	feed(d, &p, when.Add(30*time.Second), first.v4(2, ProtoUDP))
	if c := balance(t, d); c.Pending != 2 {
		t.Errorf("before the timeout: %+v", c)
	}
	feed(d, &p, when.Add(31*time.Second), first.v4(3, ProtoUDP))
	if c := balance(t, d); c.Pending != 2 || c.Dropped["fragment_timeout"] != 1 {
		t.Errorf("after the timeout: %+v", c)
	}

	// Every second block of 8 bytes: as many pieces as fragments.
	d = newDecoder(DefragConfig{})
	for i := range 2000 {
		feed(d, &p, when, piece{i * 16, make([]byte, 8), true}.v4(1, ProtoUDP))
	}
	if c := balance(t, d); c.Dropped["fragment_too_many_pieces"] < maxPieces {
		t.Errorf("pieces: %+v", c)
	}
}

// A datagram inside a tunnel whose packets are fragmented themselves.
func TestDefragNested(t *testing.T) {
	payload := udpOf(3000)
	var packets [][]byte
	for _, inner := range pieces(payload, 1600) {
		for _, outer := range pieces(inner.v4(5, ProtoUDP), 800) {
			packets = append(packets, outer.v6(uint32(100+inner.offset), ProtoIPv4))
		}
	}
	for round := range 20 {
		d := newDecoder(DefragConfig{})
		rand.New(rand.NewPCG(uint64(round), 1)).Shuffle(len(packets), func(i, j int) {
			packets[i], packets[j] = packets[j], packets[i]
		})
		var p Packet
		if o := feed(d, &p, when, packets...); o != OK || p.IPVersion != 4 || p.Tunnel != IPinIP ||
			p.Fragments != len(packets) || !bytes.Equal(p.Payload, payload[8:]) {
			t.Errorf("%v %s", o, describe(p))
		}
		if c := balance(t, d); c.Decoded != uint64(len(packets)) {
			t.Errorf("%+v", c)
		}
	}
}

// FuzzDefrag reads its input as fragments and checks the bounds, the
// bookkeeping and the account.
func FuzzDefrag(f *testing.F) {
	f.Add([]byte{1, 0, 1, 0, 1, 1, 0, 2, 0}, false)
	f.Add([]byte{1, 2, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1}, true)
	f.Add([]byte{1, 0, 3, 1, 1, 1, 1, 1, 4, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		d := newDecoder(DefragConfig{Datagrams: 3, Bytes: 32 << 10})
		var p Packet
		for i := 0; i+3 <= len(b) && i < 600; i += 3 {
			// An identifier of two bits, a place, a length, and whether more follow.
			id, offset, n := b[i]&3, int(b[i+1]), int(b[i+2]>>1)
			fr := piece{offset * 8, bytes.Repeat([]byte{byte(i)}, n*8), b[i+2]&1 == 0}
			packet := fr.v4(uint16(id), 89)
			if v6 {
				packet = fr.v6(uint32(id), 89)
			}
			o := feed(d, &p, when.Add(time.Duration(i)*time.Second), packet)
			if o == OK && p.Fragments > 0 && len(p.Payload) != p.PayloadLen {
				t.Fatalf("%s", describe(p))
			}
			if d.Defrag.bytes < 0 || d.Defrag.bytes > 48<<10 || len(d.Defrag.datagrams) > 3 {
				t.Fatalf("%d bytes, %d datagrams", d.Defrag.bytes, len(d.Defrag.datagrams))
			}
			for _, g := range d.Defrag.datagrams {
				for j, s := range g.have {
					if s.from >= s.to || s.to > len(g.buf) || j > 0 && g.have[j-1].to >= s.from {
						t.Fatalf("spans %v", g.have)
					}
				}
			}
		}
		balance(t, d)
	})
}

func BenchmarkDefrag(b *testing.B) {
	var packets [][]byte
	for _, f := range pieces(udpOf(8000), 1480) {
		packets = append(packets, f.v4(1, ProtoUDP))
	}
	d := newDecoder(DefragConfig{})
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		if feed(d, &p, when, packets...) != OK {
			b.Fatal("not OK")
		}
	}
}
