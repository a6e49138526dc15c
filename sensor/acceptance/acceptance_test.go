package acceptance_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/golden"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/acceptance"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	protocols "github.com/tocsin/tocsin/sensor/proto/all"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const scenarios = "../../testdata/scenarios"

// tape is a source that hands out packets from memory.
type tape struct {
	packets []capture.Packet
	at      int
	lost    map[string]uint64
	closed  int
	err     error // at the end, instead of io.EOF
}

func (s *tape) Next(p *capture.Packet) error {
	if s.at == len(s.packets) {
		return cmp.Or(s.err, io.EOF)
	}
	*p = s.packets[s.at]
	s.at++
	return nil
}

func (s *tape) Interfaces() []capture.Interface {
	return []capture.Interface{{Sensor: "tap", Name: "tap.pcap"}}
}

func (s *tape) Counters() capture.Counters {
	return capture.Counters{Received: uint64(s.at), Dropped: s.lost}
}

func (s *tape) Close() error {
	s.closed++
	return nil
}

// record reads a capture into memory.
func record(t *testing.T, path string) []capture.Packet {
	t.Helper()
	src, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var list []capture.Packet
	for {
		var p capture.Packet
		if err := src.Next(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		p.Data = slices.Clone(p.Data)
		list = append(list, p)
	}
}

func config() acceptance.Config {
	c := acceptance.Config{Sensor: sensor.DefaultConfig()}
	c.Sensor.Protocols = protocols.Protocols()
	return c
}

func judge(t *testing.T, cfg acceptance.Config, s *tape) acceptance.Report {
	t.Helper()
	r, err := acceptance.Run(t.Context(), s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s.closed != 1 {
		t.Errorf("the source was closed %d times", s.closed)
	}
	return r
}

// findings are the checks that are not well, with their levels.
func findings(r *acceptance.Report) string {
	var list []string
	for _, v := range r.Verdicts {
		if v.Level == acceptance.Warning || v.Level == acceptance.Fault {
			list = append(list, fmt.Sprintf("%s %s", v.Level, v.Check))
		}
	}
	return strings.Join(list, ", ")
}

// Frames of the recordings are Ethernet without tags.
const (
	etherType = 12
	header    = 14
)

func copied(p capture.Packet) capture.Packet {
	p.Data = slices.Clone(p.Data)
	return p
}

func isIPv4(p *capture.Packet) bool { return binary.BigEndian.Uint16(p.Data[etherType:]) == 0x0800 }

func isTCP(p *capture.Packet) bool { return isIPv4(p) && p.Data[header+9] == 6 }

func source(p *capture.Packet) uint32 { return binary.BigEndian.Uint32(p.Data[header+12:]) }

func destination(p *capture.Packet) uint32 { return binary.BigEndian.Uint32(p.Data[header+16:]) }

func later(p capture.Packet, d time.Duration) capture.Packet {
	p.Time = p.Time.Add(d)
	return p
}

// tag puts a packet into a VLAN.
func tag(p capture.Packet, id uint16) capture.Packet {
	b := slices.Clone(p.Data[:etherType])
	b = binary.BigEndian.AppendUint16(b, 0x8100)
	b = binary.BigEndian.AppendUint16(b, id)
	p.Data = append(b, p.Data[etherType:]...)
	p.Length += 4
	return p
}

// each makes new packets of every one.
func each(list []capture.Packet, f func(i int, p capture.Packet) []capture.Packet) (made []capture.Packet) {
	for i := range list {
		made = append(made, f(i, list[i])...)
	}
	return made
}

func keep(list []capture.Packet, wanted func(i int, p *capture.Packet) bool) []capture.Packet {
	return each(list, func(i int, p capture.Packet) []capture.Packet {
		if !wanted(i, &p) {
			return nil
		}
		return []capture.Packet{p}
	})
}

// onward reports whether a packet goes from the smaller address to the greater.
func onward(p *capture.Packet) bool {
	switch binary.BigEndian.Uint16(p.Data[etherType:]) {
	case 0x0800:
		return source(p) < destination(p)
	case 0x86dd:
		return bytes.Compare(p.Data[header+8:header+24], p.Data[header+24:header+40]) < 0
	}
	return true
}

// routed is a packet behind a router.
func routed(p capture.Packet) capture.Packet {
	p = copied(p)
	copy(p.Data, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2})
	if !isIPv4(&p) {
		p.Data[header+7]--
		return p
	}
	p.Data[header+8]--
	sum := uint32(binary.BigEndian.Uint16(p.Data[header+10:])) + 0x100 // RFC 1141
	binary.BigEndian.PutUint16(p.Data[header+10:], uint16(sum+sum>>16))
	return p
}

// join is what a card does that joins segments: the headers of the first, the
// data of all, and a checksum that is nobody's.
func join(list []capture.Packet) (made []capture.Packet) {
	data := func(p *capture.Packet) []byte {
		ip := p.Data[header:]
		n := int(ip[0]&15) * 4
		return ip[n+int(ip[n+12]>>4)*4 : binary.BigEndian.Uint16(ip[2:])]
	}
	seq := func(p *capture.Packet) uint32 {
		return binary.BigEndian.Uint32(p.Data[header+int(p.Data[header]&15)*4+4:])
	}
	for i := 0; i < len(list); i++ {
		p := copied(list[i])
		if isTCP(&p) && len(data(&p)) >= 1400 {
			for i+1 < len(list) && isTCP(&list[i+1]) && source(&list[i+1]) == source(&p) && destination(&list[i+1]) == destination(&p) &&
				seq(&list[i+1]) == seq(&p)+uint32(len(data(&p))) && len(p.Data)+len(data(&list[i+1])) < 60000 {
				i++
				p.Data = append(p.Data[:header+int(binary.BigEndian.Uint16(p.Data[header+2:]))], data(&list[i])...)
				p.Length = len(p.Data)
				binary.BigEndian.PutUint16(p.Data[header+2:], uint16(p.Length-header))
				p.Data[header+10], p.Data[header+11] = 0, 0
			}
		}
		made = append(made, p)
	}
	return made
}

func odd(p *capture.Packet) bool { return isIPv4(p) && (source(p)+destination(p))%2 == 1 }

// TestBroken breaks a clean recording in every way that taps, mirrors and cards
// do, and expects that to be found and nothing else.
func TestBroken(t *testing.T) {
	clean := record(t, scenarios+"/benign/border.pcap.zst")
	quiet := record(t, scenarios+"/intrusion/substation.pcap.zst")
	half := len(clean) / 2
	one := func(p capture.Packet) []capture.Packet { return []capture.Packet{p} }
	var words strings.Builder
	for _, c := range []struct {
		name  string
		tape  tape
		setup func(*acceptance.Config)
		want  string
	}{
		{"nothing comes", tape{}, nil, "fault traffic"},
		{"only broadcasts", tape{packets: keep(quiet, func(_ int, p *capture.Packet) bool { return p.Data[0]&1 != 0 })}, nil, "fault unicast"},
		{"only the machine's own", tape{packets: clean}, func(c *acceptance.Config) {
			for i := range clean {
				c.Own = append(c.Own, event.MAC(clean[i].Data[6:12]))
			}
		}, "warning unicast"},
		{"one direction", tape{packets: keep(clean, func(_ int, p *capture.Packet) bool { return onward(p) })}, nil, "fault directions"},
		{"directions in two VLANs", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			if onward(&p) {
				return one(tag(p, 10))
			}
			return one(tag(p, 20))
		})}, nil, "fault vlans"},
		{"one direction of a VLAN", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			switch {
			case !odd(&p):
				return one(tag(p, 10))
			case source(&p) < destination(&p):
				return one(tag(p, 20))
			}
			return nil
		})}, nil, "fault vlans"},
		{"one direction of some", tape{packets: keep(clean, func(_ int, p *capture.Packet) bool { return !odd(p) || source(p) < destination(p) })}, nil, "fault asymmetry"},
		{"everything twice", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			return []capture.Packet{p, later(p, 5*time.Microsecond)}
		})}, nil, "fault duplicates"},
		{"everything twice, once tagged", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			return []capture.Packet{p, later(tag(p, 20), 5*time.Microsecond)}
		})}, nil, "fault duplicates"},
		{"everything before and behind a router", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			if binary.BigEndian.Uint16(p.Data[etherType:]) == 0x0806 {
				return one(p)
			}
			return []capture.Packet{p, later(routed(p), 50*time.Microsecond)}
		})}, nil, "fault duplicates"},
		{"every 50th lost", tape{packets: keep(clean, func(i int, _ *capture.Packet) bool { return i%50 != 49 })}, nil, "fault loss"},
		{"a full ring", tape{packets: clean, lost: map[string]uint64{"kernel": 500, "interface": 20, "unread": 7}}, func(c *acceptance.Config) { c.Interface = "eth1" }, "fault drops"},
		{"neighbours swapped", tape{packets: each(clean, func(i int, p capture.Packet) []capture.Packet {
			if other := i ^ 1; other < len(clean) && clean[other].Time.Sub(p.Time).Abs() < 5*time.Millisecond {
				at := p.Time
				p = clean[other]
				p.Time = at
			}
			return one(p)
		})}, nil, "fault reordering"},
		{"cut", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			p.Data = p.Data[:min(len(p.Data), 96)]
			return one(p)
		})}, nil, "fault snaplen"},
		{"joined by the card", tape{packets: join(clean)}, nil, "warning offload"},
		{"joined, live", tape{packets: join(clean)}, func(c *acceptance.Config) { c.Live, c.Interface, c.MTU = true, "eth1", 1500 }, "warning offload"},
		{"no checksums yet", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			if isTCP(&p) && source(&p) < destination(&p) {
				p = copied(p)
				at := header + int(p.Data[header]&15)*4 + 16
				p.Data[at], p.Data[at+1] = 0, 0
			}
			return one(p)
		})}, nil, "warning checksums"},
		{"damaged", tape{packets: each(clean, func(i int, p capture.Packet) []capture.Packet {
			if i%40 == 0 && isIPv4(&p) {
				p = copied(p)
				p.Data[binary.BigEndian.Uint16(p.Data[header+2:])+header-1] ^= 4
			}
			return one(p)
		})}, nil, "fault checksums"},
		{"MACsec", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			p = copied(p)
			binary.BigEndian.PutUint16(p.Data[etherType:], 0x88e5)
			return one(p)
		})}, nil, "fault encapsulation"},
		{"a header of its own", tape{packets: each(clean, func(i int, p capture.Packet) []capture.Packet {
			if i%10 == 0 {
				p.Link = 147 // the first that users may take for what they like
			}
			return one(p)
		})}, nil, "fault decoding"},
		{"the clock jumps back", tape{packets: each(clean, func(i int, p capture.Packet) []capture.Packet {
			if i > half {
				p.Time = p.Time.Add(-time.Hour)
			}
			return one(p)
		})}, nil, "fault clock"},
		{"no clock", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			p.Time = time.Unix(0, 0).Add(p.Time.Sub(clean[0].Time))
			return one(p)
		})}, nil, "fault clock"},
		{"from the future", tape{packets: clean}, func(c *acceptance.Config) { c.Now = clean[0].Time.Add(-90 * 24 * time.Hour) }, "warning clock"},
		{"from the future, live", tape{packets: clean}, func(c *acceptance.Config) {
			c.Live, c.Interface, c.Now = true, "eth1", clean[0].Time.Add(-90*time.Minute)
		}, "fault clock"},
		{"from the past", tape{packets: clean}, func(c *acceptance.Config) {
			c.Live, c.Interface, c.Now = true, "eth1", clean[len(clean)-1].Time.Add(37*time.Second)
		}, "fault clock"},
		{"coarse times", tape{packets: each(clean, func(_ int, p capture.Packet) []capture.Packet {
			p.Time = p.Time.Truncate(10 * time.Millisecond)
			return one(p)
		})}, nil, "warning clock"},
		{"a full port", tape{packets: clean}, func(c *acceptance.Config) { c.Speed = 100_000_000 }, "warning load"},
		{"too little", tape{packets: clean}, func(c *acceptance.Config) {
			c.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.7.0/24")}
			c.Protocols = []string{"dns", "modbus"}
		}, "fault expected"},
	} {
		cfg := config()
		if c.setup != nil {
			c.setup(&cfg)
		}
		r := judge(t, cfg, &c.tape)
		if got := findings(&r); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
		fmt.Fprintf(&words, "%s\n", c.name)
		for _, v := range r.Verdicts {
			if v.Level == acceptance.Warning || v.Level == acceptance.Fault {
				fmt.Fprintf(&words, "  %s %s: %s\n  → %s\n", v.Level, v.Check, v.Says, v.Fix)
			}
			if strings.Contains(v.Says+v.Fix, "%!") {
				t.Errorf("%s: %+v", c.name, v)
			}
		}
	}
	golden.Check(t, filepath.Join("testdata", "broken.txt"), []byte(words.String()))
}

// TestClean is silent on every recording of the project.
func TestClean(t *testing.T) {
	files, err := filepath.Glob(scenarios + "/*/*.pcap*")
	if err != nil || len(files) < 9 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		silent(t, f)
	}
}

func silent(t *testing.T, path string) acceptance.Report {
	t.Helper()
	src, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := acceptance.Run(t.Context(), src, config())
	if err != nil {
		t.Fatal(err)
	}
	if got := findings(&r); got != "" || r.Level != acceptance.OK {
		t.Errorf("%s: %s, %s", path, r.Level, got)
		for _, v := range r.Verdicts {
			t.Logf("%s %s: %s", v.Level, v.Check, v.Says)
		}
	}
	return r
}

// TestCorpusClean is silent on foreign captures in which nothing is wrong, and
// finds what is wrong in others, by the word of tshark: copies are
// retransmissions within microseconds there, and cut frames longer than they
// were captured.
func TestCorpusClean(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS names no corpus")
	}
	for _, name := range []string{
		"ndpi/pcap/ieee_c37118.pcap", "ndpi/pcap/synscan.pcap", "ndpi/pcap/tor.pcap", "ndpi/pcap/icmp-tunnel.pcap", "ndpi/pcap/bad-dns-traffic.pcap",
		"ndpi/pcap/dns-tunnel-iodine.pcap", "ndpi/pcap/bot.pcap", "arkime/pcap/modbus.pcap", "zeek/pcap/dce-rpc__mapi.pcap",
		"zeek/pcap/ftp__bruteforce.pcap", "zeek/pcap/http__methods.pcap", "zeek/pcap/rdp__rdp-to-ssl.pcap", "zeek/pcap/dhcp__dhcp_flood.pcap",
		"quickdraw/pcap/modbus_test_data_part2.pcap",
	} {
		silent(t, filepath.Join(corpus, name))
	}
	for name, want := range map[string]string{
		"ndpi/pcap/s7comm-plus.pcap":        "fault duplicates",
		"ndpi/pcap/opc-ua.pcap":             "warning checksums",
		"zeek/pcap/tls__heartbleed.pcap":    "warning offload",
		"zeek/pcap/tcp__miss_end_data.pcap": "fault loss",
		"quickdraw/pcap/bacnet_test.pcap":   "fault snaplen",
		"ndpi/pcap/syslog.pcap":             "fault clock",
		"arkime/pcap/igmp.pcap":             "fault unicast",
	} {
		r, err := acceptance.Run(t.Context(), &tape{packets: record(t, filepath.Join(corpus, name))}, config())
		if err != nil {
			t.Fatal(err)
		}
		if got := findings(&r); got != want {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
}

// TestWrapped says what packets are wrapped in.
func TestWrapped(t *testing.T) {
	clean := record(t, scenarios+"/phish/dmz.pcapng.zst")
	wrapped := each(clean, func(_ int, p capture.Packet) []capture.Packet { return []capture.Packet{tag(tag(p, 20), 100)} })
	r := judge(t, config(), &tape{packets: wrapped})
	if got := findings(&r); got != "" {
		t.Errorf("found %s", got)
	}
	for check, want := range map[string]string{
		"encapsulation": "100 % QinQ of packets, and the sensor looks inside",
		"vlans":         "all conversations are in one network, VLAN 100.20",
	} {
		if got := said(&r, check); got != want {
			t.Errorf("%s: %s", check, got)
		}
	}
}

func said(r *acceptance.Report, check string) string {
	for _, v := range r.Verdicts {
		if v.Check == check {
			return v.Says
		}
	}
	return ""
}

// TestSure ends a live test when enough was seen, but not before what is
// expected has come.
func TestSure(t *testing.T) {
	clean := record(t, scenarios+"/intrusion/border.pcap.zst")
	span := clean[len(clean)-1].Time.Sub(clean[0].Time) + time.Second
	var long []capture.Packet
	for n := range 8 {
		for _, p := range clean {
			if isTCP(&p) { // other addresses each time
				p = copied(p)
				p.Data[header+13] ^= byte(n)
				p.Data[header+17] ^= byte(n)
			}
			long = append(long, later(p, time.Duration(n)*span))
		}
	}
	live := func(expect string) *tape {
		s := &tape{packets: long}
		cfg := config()
		cfg.Live, cfg.Interface = true, "eth1"
		if expect != "" {
			cfg.Protocols = []string{expect}
		}
		judge(t, cfg, s)
		return s
	}
	if s := live(""); s.at < 50_000 || s.at > 60_000 {
		t.Errorf("ended after %d of %d packets", s.at, len(long))
	}
	if s := live("dns"); s.at < 50_000 || s.at > 60_000 {
		t.Errorf("with an expectation that is met, ended after %d of %d packets", s.at, len(long))
	}
	if s := live("modbus"); s.at != len(long) {
		t.Errorf("with an expectation that is not met, ended after %d of %d packets", s.at, len(long))
	}
}

// TestBrokenSource judges what was read before an error.
func TestBrokenSource(t *testing.T) {
	clean := record(t, scenarios+"/phish/border.pcap.zst")
	gone := errors.New("the interface no longer exists")
	r, err := acceptance.Run(t.Context(), &tape{packets: clean, err: gone}, config())
	if !errors.Is(err, gone) || r.Packets != uint64(len(clean)) || len(r.Verdicts) == 0 {
		t.Errorf("%d packets, %v", r.Packets, err)
	}
}

// TestEvent documents every field of a record, and gives the same test the same
// identity.
func TestEvent(t *testing.T) {
	clean := record(t, scenarios+"/phish/border.pcap.zst")
	docs := map[string]event.FieldType{}
	for _, d := range acceptance.Fields() {
		if docs[d.Name] != "" {
			t.Errorf("%s is documented twice", d.Name)
		}
		docs[d.Name] = d.Type
	}
	var id event.ID
	for range 2 {
		cut := each(clean, func(_ int, p capture.Packet) []capture.Packet {
			p.Data = p.Data[:min(len(p.Data), 96)]
			return []capture.Packet{p}
		})
		r := judge(t, config(), &tape{packets: cut})
		e := r.Event()
		if id != e.ID && !id.IsZero() {
			t.Error("the same test has two identities")
		}
		id = e.ID
		for _, f := range e.Fields {
			if docs[f.Name] == "" {
				t.Errorf("%s is not documented", f.Name)
			}
		}
		for name, want := range map[string]string{
			"event.dataset": "tocsin.tap", "event.kind": "metric", "observer.name": "tap",
			"tocsin.tap.level": "fault", "tocsin.tap.snaplen.level": "fault", "tocsin.tap.directions.level": "ok",
		} {
			if got := e.Get(name).String(); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		if n, _ := e.Get("tocsin.tap.packets").Uint(); n != uint64(len(clean)) {
			t.Errorf("%d packets", n)
		}
	}
}

// FuzzTap judges hostile frames: no panic, and memory has its bounds.
func FuzzTap(f *testing.F) {
	for _, path := range []string{"/phish/dmz.pcapng.zst", "/intrusion/substation.pcap.zst"} {
		src, err := file.Open(scenarios + path)
		if err != nil {
			f.Fatal(err)
		}
		var p capture.Packet
		for range 20 {
			if err := src.Next(&p); err != nil {
				f.Fatal(err)
			}
			f.Add(slices.Clone(p.Data), uint16(p.Link), int64(0))
		}
		src.Close()
	}
	f.Fuzz(func(t *testing.T, data []byte, link uint16, at int64) {
		s := &tape{}
		for n := range 3 {
			b := slices.Clone(data)
			if len(b) > 30 {
				b[30] += byte(n)
			}
			s.packets = append(s.packets, capture.Packet{Time: time.Unix(at>>30, at&(1<<29-1)), Data: b, Length: len(b) + n, Link: capture.LinkType(link)})
		}
		r := judge(t, config(), s)
		if len(r.Verdicts) == 0 || r.Packets != 3 {
			t.Errorf("%+v", r)
		}
		for _, v := range r.Verdicts {
			if v.Share != nil && (*v.Share < 0 || *v.Share > 1) {
				t.Errorf("%s: share %v", v.Check, *v.Share)
			}
		}
	})
}
