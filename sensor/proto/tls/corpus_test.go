package tls_test

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/tls"
)

// Where other tools count other hellos than this package, and why.
var differences = map[string]string{
	"ja4/pcap/tls-handshake.pcapng":                               "hellos within QUIC, and second hellos of a handshake",
	"ja4/pcap/tls-sni.pcapng":                                     "hellos within QUIC, and second hellos of a handshake",
	"ja4/pcap/tls-non-ascii-alpn.pcapng":                          "FoxIO's program writes 99 for protocols that are no text; the definition takes hexadecimal digits",
	"ja4/pcap/chrome-cloudflare-quic-with-secrets.pcapng":         "hello within QUIC",
	"ndpi/pcap/doq.pcapng":                                        "hello within QUIC",
	"ndpi/pcap/quic-v2.pcapng":                                    "hello within QUIC",
	"zeek/pcap/quic__chromium-115.0.5790.110-api-cirrus-com.pcap": "hello within QUIC",
	"zeek/pcap/quic__curl-8.1.2-dev-http3-www-google-de.pcap":     "hello within QUIC",
	"zeek/pcap/quic__quicv2-echo-443.pcap":                        "hello within QUIC",
	"zeek/pcap/ftp__ftp-auth-tls.pcap":                            "TLS begins within FTP",
	"zeek/pcap/tls__imap-starttls.pcap":                           "TLS begins within IMAP",
	"zeek/pcap/tls__smtp-starttls.pcap":                           "TLS begins within SMTP",
	"zeek/pcap/http__connect-with-header.pcap":                    "TLS begins within HTTP",
}

// events is a sink that keeps what it is given.
type events []event.Event

func (e *events) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		*e = append(*e, batch[i].Clone())
	}
	return nil
}

func read(t *testing.T, path string) events {
	t.Helper()
	cfg := sensor.DefaultConfig()
	cfg.Protocols = []proto.Protocol{tls.Protocol}
	var sink events
	s, err := sensor.New(cfg, func(int) (capture.Source, error) { return file.Open(path) }, &sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err != nil {
		t.Logf("%s: %v", path, err)
	}
	return sink
}

func count(es events, field string) map[string]int {
	got := map[string]int{}
	for i := range es {
		if v := es[i].Get(field).Str(); v != "" {
			got[v]++
		}
	}
	return got
}

// TestCorpus compares JA3 with tshark, and JA4 with the program of those who
// defined it.
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
			Expect struct {
				Counts map[string]map[string]int
				JA4    []map[string]any
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			continue // cases about other things have other shapes
		}
		want, field := map[string]int{}, ""
		if ja3 := c.Expect.Counts["tls.handshake.ja3"]; len(ja3) > 0 {
			want, field = ja3, "tls.client.ja3"
		} else if len(c.Expect.JA4) > 0 {
			field = "tls.client.ja4"
			for _, stream := range c.Expect.JA4 {
				for name, v := range stream {
					// Those of QUIC begin with q.
					if s, ok := v.(string); ok && strings.HasPrefix(name, "JA4.") && s[0] == 't' {
						want[s]++
					}
				}
			}
		}
		if field == "" {
			continue
		}
		got := count(read(t, filepath.Join(corpus, c.Pcap)), field)
		compared++
		reason, excused := differences[c.Pcap]
		switch same := maps.Equal(got, want); {
		case same:
			agree++
		case excused:
			t.Logf("%s: %s differs: %s", c.Pcap, field, reason)
		default:
			t.Errorf("%s: %s\n got %v\nwant %v", c.Pcap, field, got, want)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if compared == 0 {
		t.Error("the corpus has nothing to compare")
	}
	t.Logf("%d of %d comparisons agree", agree, compared)
}
