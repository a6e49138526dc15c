package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
)

// sent is what one end sent to another, in all flows of the same ends.
type sent struct {
	packets, bytes, payload uint64
	ttl, ttlMax             uint64
	flags                   string
	offers                  string // of the SYNs: maximum segment size and window
	mac                     string // of the first packet
}

// ends are sender and receiver.
type ends struct {
	transport string
	from, to  netip.AddrPort
}

// TestFlowsAgainstTshark compares what flow events say of either direction with
// what tshark reads of each packet: packets, bytes, payload, TTLs, TCP flags, what
// SYNs offered, MAC addresses, and how long handshakes took.
func TestFlowsAgainstTshark(t *testing.T) {
	tshark := os.Getenv("TOCSIN_TSHARK")
	if tshark == "" {
		t.Skip("TOCSIN_TSHARK is not set; make test sets it")
	}
	files, err := filepath.Glob(filepath.Join(scenarios, "*", "*.pcap*"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	directions, handshakes := 0, 0
	for _, file := range files {
		theirs, theirRTT := flowsOfTshark(t, tshark, file)
		ours, ourRTT := flowsOfOurs(t, file)
		for k, want := range theirs {
			if got := ours[k]; got == nil || *got != *want {
				t.Errorf("%s: %v: have %+v, tshark %+v", file, k, got, *want)
			}
		}
		for k, got := range ours {
			if theirs[k] == nil {
				t.Errorf("%s: %v: have %+v, which tshark has not", file, k, *got)
			}
		}
		directions += len(theirs)
		for k, got := range ourRTT {
			want, ok := theirRTT[k]
			if !ok || (got-want).Abs() > time.Microsecond {
				t.Errorf("%s: %v: the handshake took %v, by tshark %v", file, k, got, want)
			}
			handshakes++
		}
	}
	if directions < 1000 || handshakes < 500 {
		t.Errorf("only %d directions and %d handshakes compared", directions, handshakes)
	}
}

func flowsOfTshark(t *testing.T, tshark, file string) (map[ends]*sent, map[ends]time.Duration) {
	names := []string{
		"ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.len", "ipv6.plen", "ip.ttl", "ipv6.hlim", "eth.src",
		"tcp.srcport", "tcp.dstport", "tcp.len", "tcp.flags", "tcp.options.mss_val", "tcp.window_size_value", "tcp.analysis.initial_rtt",
		"udp.srcport", "udp.dstport", "udp.length", "tcp.stream", "tcp.seq",
	}
	args := []string{"-r", file, "-Y", "(tcp or udp) and not icmp and not icmpv6", "-T", "fields", "-E", "occurrence=f"}
	for _, n := range names {
		args = append(args, "-e", n)
	}
	out, err := exec.Command(tshark, args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	flows, rtts := map[ends]*sent{}, map[ends]time.Duration{}
	for line := range strings.Lines(string(out)) {
		f := map[string]string{}
		for i, v := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			f[names[i]] = v
		}
		number := func(name string) uint64 {
			n, err := strconv.ParseUint(f[name], 0, 64)
			if f[name] != "" && err != nil {
				t.Fatalf("tshark: %s is %q", name, f[name])
			}
			return n
		}
		k := ends{transport: "tcp"}
		src, dst, bytes, ttl := f["ip.src"], f["ip.dst"], number("ip.len"), number("ip.ttl")
		if src == "" {
			src, dst, bytes, ttl = f["ipv6.src"], f["ipv6.dst"], 40+number("ipv6.plen"), number("ipv6.hlim")
		}
		sport, dport, payload := number("tcp.srcport"), number("tcp.dstport"), number("tcp.len")
		if f["udp.srcport"] != "" {
			k.transport, sport, dport, payload = "udp", number("udp.srcport"), number("udp.dstport"), number("udp.length")-8
		}
		k.from, k.to = netip.AddrPortFrom(netip.MustParseAddr(src), uint16(sport)), netip.AddrPortFrom(netip.MustParseAddr(dst), uint16(dport))
		s := flows[k]
		if s == nil {
			s = &sent{ttl: ttl, mac: strings.ToUpper(strings.ReplaceAll(f["eth.src"], ":", "-"))}
			flows[k] = s
		}
		s.packets, s.bytes, s.payload = s.packets+1, s.bytes+bytes, s.payload+payload
		s.ttl, s.ttlMax = min(s.ttl, ttl), max(s.ttlMax, ttl)
		flags := number("tcp.flags")
		s.flags = letters(s.flags, flags)
		if flags&2 != 0 {
			s.offers = fmt.Sprintf("%d:%d", number("tcp.options.mss_val"), number("tcp.window_size_value"))
		}
		if r := f["tcp.analysis.initial_rtt"]; r != "" {
			x, err := strconv.ParseFloat(r, 64)
			if err != nil {
				t.Fatal(err)
			}
			d := time.Duration(x * 1e9)
			rtts[k] = d
			k.from, k.to = k.to, k.from
			rtts[k] = d
		}
	}
	return flows, rtts
}

// letters joins flags in letters with those of a segment.
func letters(have string, flags uint64) (all string) {
	for bit, letter := range "FSRPAUEC" {
		if flags&(1<<bit) != 0 || strings.ContainsRune(have, letter) {
			all += string(letter)
		}
	}
	return all
}

func flowsOfOurs(t *testing.T, file string) (map[ends]*sent, map[ends]time.Duration) {
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	flows, rtts := map[ends]*sent{}, map[ends]time.Duration{}
	for line := range strings.Lines(run(t, 0, "events", "--protocols", "none", file)) {
		var e event.Event
		if err := fields.Decode([]byte(strings.TrimSuffix(line, "\n")), &e); err != nil {
			t.Fatal(err)
		}
		transport := e.Get("network.transport").Str()
		if e.Kind != event.KindFlow || transport != "tcp" && transport != "udp" {
			continue
		}
		number := func(name string) uint64 {
			n, _ := e.Get("tocsin.flow." + name).Uint()
			return n
		}
		for side, p := range map[string][2]event.Endpoint{"source": {e.Flow.Src, e.Flow.Dst}, "destination": {e.Flow.Dst, e.Flow.Src}} {
			if p[0].Packets == 0 {
				continue
			}
			k := ends{transport, netip.AddrPortFrom(p[0].IP, p[0].Port), netip.AddrPortFrom(p[1].IP, p[1].Port)}
			s := flows[k]
			if s == nil {
				s = &sent{ttl: 255, mac: p[0].MAC.String()}
				flows[k] = s
			}
			s.packets, s.bytes, s.payload = s.packets+p[0].Packets, s.bytes+p[0].Bytes, s.payload+p[0].Payload
			s.ttl, s.ttlMax = min(s.ttl, number(side+"_ttl")), max(s.ttlMax, number(side+"_ttl"), number(side+"_ttl_max"))
			for _, letter := range e.Get("tocsin.flow." + side + "_flags").Str() {
				s.flags = letters(s.flags+string(letter), 0)
			}
			if offer := e.Get("tocsin.flow." + side + "_syn").Str(); offer != "" {
				s.offers, _, _ = strings.Cut(offer, ",")
			}
			if there, back := number("source_rtt"), number("destination_rtt"); there > 0 && back > 0 {
				rtts[k] = time.Duration(there + back)
			}
		}
	}
	return flows, rtts
}
