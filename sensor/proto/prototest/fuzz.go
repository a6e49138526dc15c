package prototest

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/tocsin/tocsin/sensor/proto"
)

// Fuzz lets the fuzzer write conversations, with gaps, beginning from those
// of the seeds. Whatever it sends, the parser may refuse but not break.
func Fuzz(f *testing.F, p proto.Protocol, seeds ...Case) {
	for _, c := range seeds {
		f.Add(script(c.Pieces))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pl := newPlayer(t, p)
		pl.keep = false
		for at := time.Duration(0); len(b) >= 3; at += time.Second {
			n := int(binary.BigEndian.Uint16(b[1:]))
			dir := proto.Dir(b[0] & 1)
			gap := b[0]&2 != 0
			b = b[3:]
			if gap {
				pl.gap(dir, n)
				continue
			}
			data := b[:min(n, len(b))]
			b = b[len(data):]
			if v := p.Probe(dir, data[:min(len(data), proto.MaxProbe)]); v > proto.Yes {
				t.Fatalf("Probe says %d", v)
			}
			pl.play(dir, data, at)
		}
		pl.end()
	})
}

// script writes pieces as the fuzzer's bytes: of each piece its direction (bit
// 1 says that it is lost), two bytes of length, and the data.
func script(ps []Piece) (b []byte) {
	for _, x := range ps {
		for data := x.Data; len(data) > 0; {
			n := min(len(data), 1<<16-1)
			b = append(b, byte(x.Dir))
			b = binary.BigEndian.AppendUint16(b, uint16(n))
			b = append(b, data[:n]...)
			data = data[n:]
		}
	}
	return b
}
