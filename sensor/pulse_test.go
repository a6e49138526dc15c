package sensor

import (
	"slices"
	"testing"
	"time"
)

// TestPulses has data come at given milliseconds, and wants those that end a
// pause.
func TestPulses(t *testing.T) {
	const start = 1_800_000_000_000_000_000
	for _, c := range []struct {
		name       string
		data, want []int
	}{
		{"a stream without pause", []int{0, 100, 400, 899, 1300}, []int{0}},
		{"a person", []int{0, 40, 700, 720, 2000, 2499, 2999}, []int{0, 700, 2000, 2999}},
		{"just long enough", []int{0, 500, 999}, []int{0, 500}},
	} {
		var x conversation
		var want []uint32
		for _, at := range c.want {
			want = append(want, uint32(at))
		}
		for _, at := range c.data {
			x.pulse(start, start+int64(at)*int64(time.Millisecond))
		}
		if !slices.Equal(x.pulses, want) {
			t.Errorf("%s: %v, want %v", c.name, x.pulses, want)
		}
	}
	var x conversation
	for n := range 1000 {
		x.pulse(start, start+int64(n)*int64(time.Second))
	}
	if len(x.pulses) != maxPulses {
		t.Errorf("%d pulses are kept, want %d", len(x.pulses), maxPulses)
	}
}
