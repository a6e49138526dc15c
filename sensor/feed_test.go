package sensor_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// pcapOf writes the packets of one link type as a capture of nanoseconds.
func pcapOf(link capture.LinkType, packets []capture.Packet) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(link))
	for i := range packets {
		p := &packets[i]
		if p.Link != link {
			continue
		}
		for _, n := range []int{int(p.Time.Unix()), p.Time.Nanosecond(), len(p.Data), p.Length} {
			b = binary.LittleEndian.AppendUint32(b, uint32(n))
		}
		b = append(b, p.Data...)
	}
	return b
}

// TestOneReader asks that workers that get packets from one reader make what one
// that reads by itself does, where more flows end at a time than the workers'
// queues hold, and where the capture breaks off; and that it is opened once.
func TestOneReader(t *testing.T) {
	r := &recorder{at: epoch}
	for range 3 {
		for host := range byte(20) {
			for port := range uint16(1500) {
				r.udp(ap(host, 1024+port), ap(100, 9999), "x")
			}
		}
		r.at = r.at.Add(2 * time.Minute)
	}
	many := pcapOf(r.packets[0].Link, r.packets)
	if len(many) < 3<<20 {
		t.Fatalf("the capture has only %d bytes, no more than a few blocks", len(many))
	}
	small := town(7, 20_000)
	mixed := pcapOf(r.packets[0].Link, small)
	for name, content := range map[string][]byte{"many": many, "mixed": mixed, "cut": many[:len(many)-5]} {
		var want []string
		for _, workers := range []int{1, 2, 5} {
			opened := 0
			got, _, events, err := listen(t, config(workers), func(int) (capture.Source, error) {
				opened++
				return file.New(bytes.NewReader(content), "tap.pcap")
			})
			if (err != nil && !errors.Is(err, sensor.ErrLinkType)) != (name == "cut") {
				t.Errorf("%s, %d workers: error %v", name, workers, err)
			}
			if opened != 1 {
				t.Errorf("%s, %d workers: opened %d times", name, workers, opened)
			}
			checkLedger(t, events)
			if want == nil {
				want = got
			}
			if len(got) == 0 || !slices.Equal(got, want) {
				t.Errorf("%s, %d workers: %s", name, workers, firstDifference(got, want))
			}
		}
	}
}
