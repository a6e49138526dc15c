package packet_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/packet"
)

// drops are the captures of the corpus in which packets cannot be decoded.
var drops = map[string]map[string]uint64{
	// IP headers that promise more than the frame holds. A host drops them, and
	// nDPI and Zeek do; tshark shows what is there.
	"ndpi/pcap/badpackets.pcap":      {"bad_ip_length": 93},
	"ndpi/pcap/telnet.pcap":          {"bad_ip_length": 5},
	"zeek/pcap/modbus__fuzz-72.pcap": {"bad_ip_length": 2},
	// Version 4 with a header of 16 bytes.
	"zeek/pcap/modbus__fuzz-1011.pcap": {"bad_ip_header": 1},
}

type talk struct {
	proto  string
	a, b   string
	ap, bp uint16
}

type volume struct{ packets, bytes int }

// TestCorpus decodes every capture of the corpus, and compares packets and bytes
// between each pair of ports with what tshark says, where that says all: streams
// in tunnels it leaves out, and of long lists it keeps the first 400.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	verdicts, err := filepath.Glob(filepath.Join(corpus, "tshark", "*.json"))
	if err != nil || len(verdicts) < 300 {
		t.Fatalf("%d verdicts of tshark, %v", len(verdicts), err)
	}
	compared := 0
	for _, path := range verdicts {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Pcap  string
			Flows []struct {
				Proto        string
				Src, Dst     string
				Sport, Dport uint16
				Pkts         [2]int
				Bytes        [2]int `json:"frame_bytes"`
			}
			FlowCount int `json:"flow_count"`
			Tunnelled int `json:"tunnelled_packets_skipped_in_flows"`
		}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		s, err := file.Open(filepath.Join(corpus, want.Pcap))
		if err != nil {
			t.Fatal(err)
		}
		d := packet.Decoder{Defrag: packet.NewDefrag(packet.DefaultDefragConfig())}
		var raw capture.Packet
		var p packet.Packet
		got := make(map[talk]volume)
		fragments := false
		for err = s.Next(&raw); err == nil; err = s.Next(&raw) {
			if d.Decode(&p, &raw) != packet.OK || p.IPVersion == 0 || p.Tunnel&^packet.MPLS&^packet.PPPoE != 0 {
				continue
			}
			fragments = fragments || p.Fragments > 0
			proto := map[uint8]string{packet.ProtoTCP: "tcp", packet.ProtoUDP: "udp"}[p.Proto]
			if proto == "" {
				continue
			}
			k := talkOf(proto, p.Src.String(), p.SrcPort, p.Dst.String(), p.DstPort)
			v := got[k]
			got[k] = volume{v.packets + 1, v.bytes + p.Length}
		}
		if err != io.EOF {
			t.Errorf("%s: %v", want.Pcap, err)
		}
		s.Close()

		c := d.Counters()
		sum := c.Decoded + c.Pending
		for _, n := range c.Dropped {
			sum += n
		}
		if c.Seen != sum {
			t.Errorf("%s: the account does not balance: %+v", want.Pcap, c)
		}
		if !maps.Equal(c.Dropped, drops[want.Pcap]) {
			t.Errorf("%s: dropped %v, want %v", want.Pcap, c.Dropped, drops[want.Pcap])
		}

		if fragments || want.Tunnelled > 0 || want.FlowCount != len(want.Flows) || drops[want.Pcap] != nil {
			continue
		}
		compared++
		theirs := make(map[talk]volume)
		for _, f := range want.Flows {
			k := talkOf(f.Proto, f.Src, f.Sport, f.Dst, f.Dport)
			v := theirs[k]
			theirs[k] = volume{v.packets + f.Pkts[0] + f.Pkts[1], v.bytes + f.Bytes[0] + f.Bytes[1]}
		}
		if !maps.Equal(got, theirs) {
			t.Errorf("%s:\n%s", want.Pcap, differences(got, theirs))
		}
	}
	if compared < 280 {
		t.Errorf("only %d captures were compared", compared)
	}
}

func talkOf(proto, a string, ap uint16, b string, bp uint16) talk {
	if a > b || a == b && ap > bp {
		a, b, ap, bp = b, a, bp, ap
	}
	return talk{proto, a, b, ap, bp}
}

func differences(got, want map[talk]volume) (text string) {
	for k, v := range got {
		if want[k] != v {
			text += fmt.Sprintf("%v: got %v, tshark %v\n", k, v, want[k])
		}
	}
	for k, v := range want {
		if _, ok := got[k]; !ok {
			text += fmt.Sprintf("%v: missing, tshark %v\n", k, v)
		}
	}
	return text
}
