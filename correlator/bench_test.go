package correlator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// BenchmarkProcess is the cost of stage two: every event is a signal for six
// rules, in many groups or in one.
func BenchmarkProcess(b *testing.B) {
	for _, users := range []int{1000, 1} {
		b.Run(fmt.Sprintf("groups-%d", users), func(b *testing.B) {
			c, err := correlator.New(correlator.Config{Detectors: []correlator.Detector{detector()}})
			if err != nil {
				b.Fatal(err)
			}
			var batch []event.Event
			n, events := 0, 0
			for b.Loop() {
				b.StopTimer()
				batch = batch[:0]
				for range 500 {
					n++
					batch = append(batch, ev(time.Duration(n)*10*time.Millisecond, fmt.Sprint(n%users), string("abc"[n%3]), n%200))
				}
				b.StartTimer()
				if _, err := c.Process(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				events += len(batch)
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
