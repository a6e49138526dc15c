package dns_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/dns"
)

// Where tshark counts other messages, and why.
var differences = map[string]string{
	"arkime/pcap/gtp-iphone.pcap":            "within GTP-U",
	"ndpi/pcap/badpackets.pcap":              "datagrams of which the capture holds only the first fragment or part",
	"ndpi/pcap/doq.pcapng":                   "within QUIC",
	"zeek/pcap/radiotap.pcap":                "over IEEE 802.11",
	"zeek/pcap/tunnels__gre-sample.pcap":     "tshark also counts what ICMP errors quote",
	"zeek/pcap/tunnels__gtp__gtp7_ipv6.pcap": "within GTP-U",
}

// tally is a sink that counts questions, each time they were sent, and answers.
type tally struct{ questions, answers int }

func (n *tally) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		e := &batch[i]
		if _, asked := e.Get("tocsin.dns.query_length").Int(); asked {
			again, _ := e.Get("tocsin.dns.repeats").Int()
			n.questions += 1 + int(again)
		}
		if answered, _ := e.Get("tocsin.dns.answered").Bool(); answered {
			n.answers++
		}
	}
	return nil
}

// TestCorpus compares the number of questions and answers with tshark's.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	f, err := os.Open(filepath.Join(corpus, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	compared, agree := 0, 0
	for lines.Scan() {
		var c struct {
			Pcap   string
			Expect struct{ Counts map[string]map[string]int }
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			continue // cases about other things have other shapes
		}
		want := c.Expect.Counts["dns.flags.response"]
		if want == nil {
			continue
		}
		cfg := sensor.DefaultConfig()
		cfg.Protocols = []proto.Protocol{dns.Protocol, dns.Stream}
		var got tally
		path := filepath.Join(corpus, c.Pcap)
		s, err := sensor.New(cfg, func(int) (capture.Source, error) { return file.Open(path) }, &got)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(context.Background()); err != nil {
			t.Logf("%s: %v", c.Pcap, err)
		}
		compared++
		reason, excused := differences[c.Pcap]
		switch {
		case got == tally{want["0"], want["1"]}:
			agree++
		case excused:
			t.Logf("%s: %+v, tshark %v: %s", c.Pcap, got, want, reason)
		default:
			t.Errorf("%s: %+v, tshark %v", c.Pcap, got, want)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if compared == 0 {
		t.Error("the corpus has nothing to compare")
	}
	t.Logf("%d of %d captures agree", agree, compared)
}
