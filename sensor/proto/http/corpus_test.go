package http_test

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/http"
)

// Where tshark counts other messages, and why.
var differences = map[string]string{
	"arkime/pcap/CVE-2018-6794.pcap":                                 "tshark takes no request from what it calls a retransmission",
	"arkime/pcap/gre-erspan-vxlan.pcap":                              "within ERSPAN or VXLAN",
	"arkime/pcap/no-syn-ack.pcap":                                    "tshark wants the whole body before it shows a response",
	"arkime/pcap/sctp-www.pcap":                                      "over SCTP",
	"arkime/pcap/socks5-reverse.pcap":                                "within SOCKS",
	"arkime/pcap/twovlan.pcap":                                       "tshark wants the whole body before it shows a response",
	"community-id/pcap/combined.pcap.gz":                             "the capture holds only the beginning of the packet",
	"community-id/pcap/tcp.pcap":                                     "the capture holds only the beginning of the packet",
	"icsnpp-profinet-io-cm/pcap/profinet_io_cm_mixed_1.pcap":         "SSDP over UDP",
	"icsnpp-profinet-io-cm/pcap/profinet_io_cm_mixed_2.pcapng":       "SSDP over UDP",
	"ja4/pcap/latest.pcapng":                                         "SSDP over UDP",
	"zeek/pcap/dce-rpc__mapi.pcap":                                   "tshark wants the whole body before it shows a response",
	"zeek/pcap/http__methods.pcap":                                   "a method that is not known is taken only from a whole request line",
	"zeek/pcap/nflog-http.pcap":                                      "link type NFLOG",
	"zeek/pcap/socks.pcap":                                           "within SOCKS",
	"zeek/pcap/tcp__retransmit-timeout.pcapng":                       "the request sent again after five minutes counts twice",
	"zeek/pcap/tunnels__gtp__gtp1_gn_normal_incl_fragmentation.pcap": "within GTP-U",
}

// tally is a sink that counts methods and status codes.
type tally struct{ methods, codes map[string]int }

func (n *tally) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		if m := batch[i].Get("http.request.method"); !m.IsZero() {
			n.methods[m.String()]++
		}
		if c := batch[i].Get("http.response.status_code"); !c.IsZero() {
			n.codes[c.String()]++
		}
	}
	return nil
}

// TestCorpus compares methods and status codes with tshark's.
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
		methods, codes := c.Expect.Counts["http.request.method"], c.Expect.Counts["http.response.code"]
		if methods == nil && codes == nil {
			continue
		}
		cfg := sensor.DefaultConfig()
		cfg.Protocols = []proto.Protocol{http.Protocol}
		got := tally{map[string]int{}, map[string]int{}}
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
		case maps.Equal(got.methods, methods) && maps.Equal(got.codes, codes):
			agree++
		case excused:
			t.Logf("%s: %v, tshark %v %v: %s", c.Pcap, got, methods, codes, reason)
		default:
			t.Errorf("%s: %v, tshark %v %v", c.Pcap, got, methods, codes)
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
