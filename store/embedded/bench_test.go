package embedded_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/store/query"
	"github.com/tocsin/tocsin/store/storetest"
)

// benchEvents is how many events the benchmarks put into their store:
// TOCSIN_BENCH_EVENTS=10000000 for the goals of the design.
func benchEvents(b *testing.B) int {
	if n, err := strconv.Atoi(os.Getenv("TOCSIN_BENCH_EVENTS")); err == nil {
		return n
	}
	return 50_000
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStore fills one store with a week of flows of 50,000 addresses and
// then asks it what is usually asked.
func BenchmarkStore(b *testing.B) {
	n := benchEvents(b)
	dir := b.TempDir()
	s, err := embedded.Open(dir, embedded.ReadWrite)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	g := storetest.NewGenerator(1)
	g.Hosts = 50_000
	g.Step = 7 * 24 * time.Hour / time.Duration(n)
	g.FlowsOnly = true
	var rare netip.Addr
	var some event.ID
	// Jitter is 20 steps; batches are those of a busy sensor.
	spent := time.Duration(0)
	const batch = 4096
	for put := 0; put < n; put += batch {
		es := g.Events(min(batch, n-put))
		if put >= n/2 && !rare.IsValid() {
			rare, some = netip.MustParseAddr("203.0.113.77"), es[7].ID
			es[7].Flow.Dst.IP = rare
		}
		start := cpu()
		if err := s.Put(b.Context(), es, nil); err != nil {
			b.Fatal(err)
		}
		spent += cpu() - start
	}
	size := int64(0)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			size += info.Size()
		}
	}
	b.Run("Ingest", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(float64(n)/spent.Seconds(), "events/CPU-s")
		b.ReportMetric(float64(size)/float64(n), "bytes/event")
		b.ReportMetric(0, "ns/op")
	})
	lit := func(s string) query.Literal { return query.Literal{Text: s, Quoted: true} }
	find := func(name string, q store.Query, atLeast int) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				found := 0
				for _, err := range s.Search(b.Context(), q) {
					if err != nil {
						b.Fatal(err)
					}
					found++
				}
				if found < atLeast {
					b.Fatalf("found %d", found)
				}
				b.ReportMetric(float64(found), "events")
			}
		})
	}
	either := func(a string) query.Node {
		return query.Or{query.Compare{Field: "source.ip", Value: lit(a)}, query.Compare{Field: "destination.ip", Value: lit(a)}}
	}
	find("AddressOnce", store.Query{Where: either(rare.String())}, 1)
	find("AddressOften", store.Query{Where: either("10.1.0.3"), Limit: 100}, 0)
	find("Prefix", store.Query{Where: query.Compare{Field: "source.ip", Value: lit("10.1.1.0/28")}, Limit: 100}, 0)
	find("Latest", store.Query{Desc: true, Limit: 100}, 100)
	e, err := s.Get(b.Context(), some)
	if err != nil {
		b.Fatal(err)
	}
	find("CommunityID", store.Query{Where: query.Compare{Field: "network.community_id", Value: lit(e.Flow.CommunityID)}}, 1)
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Get(b.Context(), some); err != nil {
				b.Fatal(err)
			}
		}
	})
	day := store.Query{From: storetest.Start.Add(48*time.Hour + 17*time.Second), To: storetest.Start.Add(72*time.Hour + 17*time.Second)}
	count := func(name string, q store.Query, by store.By) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				bs, err := s.Count(b.Context(), q, by)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(bs)), "buckets")
			}
		})
	}
	count("Histogram24h", day, store.By{Interval: 10 * time.Minute, Field: "event.dataset"})
	count("Histogram7d", store.Query{}, store.By{Interval: time.Hour})
	count("TopPorts24h", day, store.By{Field: "destination.port", Top: 20})
	count("TopSources24h", day, store.By{Field: "source.ip", Top: 20})
	https := store.Query{From: day.From, To: day.To, Where: query.And{query.Compare{Field: "destination.port", Value: lit("443")}, query.Compare{Field: "tocsin.flow.state", Value: lit("SF")}}}
	count("HistogramFiltered24h", https, store.By{Interval: 10 * time.Minute})
	if testing.Verbose() {
		fmt.Printf("%d events, %d bytes\n", n, size)
	}
}
