package correlator_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

// BenchmarkRemember is what a signal takes in memory that is the only one of its
// group.
func BenchmarkRemember(b *testing.B) {
	const groups = 1_000_000
	for name, w := range map[string]*correlator.Window{
		"count":    window.Count("source.ip", time.Hour, window.AtLeast(5)),
		"distinct": window.Distinct("destination.ip", time.Hour, window.AtLeast(5)),
	} {
		b.Run(name, func(b *testing.B) {
			m, err := correlator.NewMatcher(correlator.Config{MaxGroups: 2 * groups, MaxKept: 2 * groups})
			if err != nil {
				b.Fatal(err)
			}
			rule := &correlator.Rule{Window: w}
			rule.ID = "r"
			for b.Loop() {
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				began := time.Now()
				memory := m.NewMemory(1)
				at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
				for n := range uint32(groups) {
					var ip [4]byte
					binary.BigEndian.PutUint32(ip[:], 10<<24|n)
					src := netip.AddrFrom4(ip)
					var id event.ID
					binary.BigEndian.PutUint32(id[:], n)
					memory.Add([]correlator.Signal{{
						Rule: rule, Group: "source.ip=" + src.String(), ID: id, Time: at.Add(time.Duration(n) * time.Millisecond), Sensor: "border",
						Source: src, Target: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Value: event.Str("x"),
						Note: &correlator.Note{Message: "m"},
					}}, nil)
					if n%1000 == 999 {
						memory.Report()
					}
				}
				took := time.Since(began)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/groups, "B/group")
				b.ReportMetric(groups/took.Seconds(), "signals/s")
				runtime.KeepAlive(memory)
			}
		})
	}
}
