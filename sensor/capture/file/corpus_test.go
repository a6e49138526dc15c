package file_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// TestCorpus reads every capture of the corpus and compares the number of
// packets and their bytes with what tshark counted.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	verdicts, err := filepath.Glob(filepath.Join(corpus, "tshark", "*.json"))
	if err != nil || len(verdicts) < 300 {
		t.Fatalf("%d verdicts of tshark, %v", len(verdicts), err)
	}
	for _, path := range verdicts {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Pcap      string
			Packets   int
			Bytes     int  `json:"frame_bytes"`
			Truncated bool `json:"truncated_or_error"`
		}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		s, err := file.Open(filepath.Join(corpus, want.Pcap))
		if err != nil {
			t.Errorf("%s: %v", want.Pcap, err)
			continue
		}
		packets, bytes := 0, 0
		var p capture.Packet
		for err = s.Next(&p); err == nil; err = s.Next(&p) {
			packets++
			bytes += p.Length
			if p.Iface >= len(s.Interfaces()) {
				t.Fatalf("%s: interface %d of %v", want.Pcap, p.Iface, s.Interfaces())
			}
		}
		if err != io.EOF && (!want.Truncated || !strings.Contains(err.Error(), "cut off at byte")) {
			t.Errorf("%s: %v", want.Pcap, err)
		}
		if packets != want.Packets || bytes != want.Bytes {
			t.Errorf("%s: %d packets of %d bytes, tshark: %d of %d", want.Pcap, packets, bytes, want.Packets, want.Bytes)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", want.Pcap, err)
		}
	}
}
