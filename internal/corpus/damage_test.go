package corpus

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCorpusDamaged flips bits in the packets of every plain pcap file, and
// cuts the file off in the middle. Whatever comes of it, nothing may break,
// hang or panic.
func TestCorpusDamaged(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS names no corpus")
	}
	const (
		fileHeader   = 24
		recordHeader = 16
		most         = 4 << 20 // of a capture, so that it stays quick
	)
	path := filepath.Join(t.TempDir(), "damaged.pcap")
	done := map[string]bool{}
	rnd := rand.New(rand.NewPCG(7, 8))
	for _, c := range load(t, corpus) {
		if done[c.Pcap] || strings.HasSuffix(c.Pcap, "/") {
			continue
		}
		done[c.Pcap] = true
		b, err := os.ReadFile(filepath.Join(corpus, c.Pcap))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > most {
			b = b[:most]
		}
		var order binary.ByteOrder = binary.LittleEndian
		switch {
		case len(b) < fileHeader:
			continue
		case b[0] == 0xa1: // the magic number's first byte
			order = binary.BigEndian
		case b[3] != 0xa1:
			continue // pcapng, or compressed
		}
		for at := fileHeader; at+recordHeader < len(b); {
			size := int(order.Uint32(b[at+8:]))
			at += recordHeader
			data := b[at:min(at+max(size, 0), len(b))]
			at += len(data)
			for range rnd.IntN(3) {
				if len(data) > 0 {
					data[rnd.IntN(len(data))] ^= 1 << rnd.IntN(8)
				}
			}
		}
		if err := os.WriteFile(path, b[:len(b)-rnd.IntN(len(b)/2)], 0o600); err != nil {
			t.Fatal(err)
		}
		s := read(path, false)
		if s.took > limit/2 {
			t.Errorf("%s, damaged: took %v", c.Pcap, s.took.Round(time.Second))
		}
		if s.panics > 0 {
			t.Errorf("%s, damaged: %d panics", c.Pcap, s.panics)
		}
	}
}
