package flow_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/flow"
	"github.com/tocsin/tocsin/sensor/packet"
)

// conn is a line of a conn.log.
type conn struct {
	Proto       string
	Src, Dst    string
	Sport       uint16
	Dport       uint16
	Duration    *float64
	State       string
	History     string
	OrigPayload *uint64 `json:"orig_payload"`
	RespPayload *uint64 `json:"resp_payload"`
	OrigPkts    uint64  `json:"orig_pkts"`
	RespPkts    uint64  `json:"resp_pkts"`
	OrigBytes   uint64  `json:"orig_ip_bytes"`
	RespBytes   uint64  `json:"resp_ip_bytes"`
}

func (c *conn) tuple() string {
	return fmt.Sprintf("%s %s:%d > %s:%d", c.Proto, c.Src, c.Sport, c.Dst, c.Dport)
}

func (c *conn) counts() string {
	return fmt.Sprintf("%d/%d %d/%d", c.OrigPkts, c.OrigBytes, c.RespPkts, c.RespBytes)
}

var protoNames = map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}

// connLog reads a capture as Zeek would.
func connLog(t *testing.T, path string) []conn {
	src, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var log []conn
	table := flow.New(flow.DefaultConfig(), func(r *flow.Record, why flow.Reason) {
		f := r.Flow()
		d := f.End.Sub(f.Start).Seconds()
		proto := protoNames[f.Transport]
		if proto == "" {
			proto = "unknown_transport"
		}
		log = append(log, conn{
			Proto: proto, Src: f.Src.IP.String(), Dst: f.Dst.IP.String(), Sport: f.Src.Port, Dport: f.Dst.Port,
			Duration: &d, State: f.State, History: f.History, OrigPayload: &f.Src.Payload, RespPayload: &f.Dst.Payload,
			OrigPkts: f.Src.Packets, RespPkts: f.Dst.Packets, OrigBytes: f.Src.Bytes, RespBytes: f.Dst.Bytes,
		})
	})
	dec := packet.Decoder{Defrag: packet.NewDefrag(packet.DefaultDefragConfig())}
	var raw capture.Packet
	var p packet.Packet
	var first time.Time
	for {
		if err := src.Next(&raw); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Logf("%s: %v", path, err)
			}
			break
		}
		if first.IsZero() {
			first = raw.Time
		}
		table.Advance(int64(raw.Time.Sub(first)))
		if dec.Decode(&p, &raw) == packet.OK && p.IPVersion != 0 {
			table.Packet(&p)
		}
	}
	table.Close()
	return log
}

// TestConnLog compares records with the conn.log files of Zeek's own tests.
func TestConnLog(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS names no corpus")
	}
	f, err := os.Open(filepath.Join(corpus, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	ours := map[string][]conn{}
	asked := map[string]bool{}
	var total, same int
	parts := map[string]int{}
	for lines.Scan() {
		var c struct {
			ID, Pcap, Oracle string
			Expect           struct{ Flows []conn }
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil || !strings.Contains(strings.ToLower(c.Oracle), "zeek") {
			continue
		}
		if len(c.Expect.Flows) == 0 {
			continue
		}
		if ours[c.Pcap] == nil {
			ours[c.Pcap] = connLog(t, filepath.Join(corpus, c.Pcap))
		}
		left := append([]conn(nil), ours[c.Pcap]...)
		for _, want := range c.Expect.Flows {
			if want.History == "-" {
				want.History = ""
			}
			best, score := -1, -1
			for i := range left {
				g := &left[i]
				if g.tuple() != want.tuple() {
					continue
				}
				n := 0
				for _, same := range []bool{g.State == want.State, g.History == want.History, g.counts() == want.counts()} {
					if same {
						n++
					}
				}
				if n > score {
					best, score = i, n
				}
			}
			text := fmt.Sprintf("%s: %s %s %q %s", c.Pcap, want.tuple(), want.State, want.History, want.counts())
			if asked[text] {
				if best >= 0 {
					left = append(left[:best], left[best+1:]...)
				}
				continue // several baselines of one capture
			}
			asked[text] = true
			total++
			if best < 0 {
				parts["missing"]++
				t.Logf("%s: no such flow", text)
				continue
			}
			g := left[best]
			left = append(left[:best], left[best+1:]...)
			if want.Duration != nil {
				if d := *want.Duration - *g.Duration; d > 2e-6 || d < -2e-6 {
					parts["duration"]++
					t.Logf("%s: duration %v, want %v", text, *g.Duration, *want.Duration)
				}
				if want.OrigPayload != nil && (*want.OrigPayload != *g.OrigPayload || *want.RespPayload != *g.RespPayload) {
					parts["payload"]++
					t.Logf("%s: payload %d %d, want %d %d", text, *g.OrigPayload, *g.RespPayload, *want.OrigPayload, *want.RespPayload)
				}
			}
			if score == 3 {
				same++
				continue
			}
			parts["other"]++
			t.Logf("%s: have %s %q %s", text, g.State, g.History, g.counts())
		}
	}
	t.Logf("%d of %d records agree in state, history and counters; differences: %v", same, total, parts)
	if 100*same < 97*total {
		t.Errorf("less than 97 %% agree")
	}
}

