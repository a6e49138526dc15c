package elastic_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
	"github.com/tocsin/tocsin/store/storetest"
)

// BenchmarkIndexing puts flows, and beside it sends the same documents as bulk
// requests of 5 MB that were made beforehand: what the server can take at most.
// Both take turns, into indices of the same template. The ratio is that of the
// medians.
func BenchmarkIndexing(b *testing.B) {
	const rounds, perRound = 3, 12_000
	b.Logf("rounds of %d flows, 1 shard, the log synced for each request", perRound)
	server := servers.ElasticsearchURL(b)
	prefix := "bench" + strconv.FormatInt(time.Now().UnixNano(), 36)
	for _, size := range []int{500, 2000, 5000} {
		b.Run(fmt.Sprintf("put=%d", size), func(b *testing.B) {
			for b.Loop() {
				ours, bare := make([]float64, rounds), make([]float64, rounds)
				var peak uint64
				var disk float64
				for i := range rounds + 1 { // the first warms the server up
					name := fmt.Sprintf("%s-%d-%d", prefix, size, i)
					g := storetest.NewGenerator(uint64(size + i))
					g.FlowsOnly = true
					events := g.Events(perRound)
					rate, heap, bytes := putAll(b, server, name+"a", events, size)
					disk = bytes / perRound
					other := sendAll(b, server, name+"b", events)
					peak = max(peak, heap)
					if i > 0 {
						ours[i-1], bare[i-1] = rate, other
					}
				}
				slices.Sort(ours)
				slices.Sort(bare)
				b.ReportMetric(ours[rounds/2], "events/s")
				b.ReportMetric(bare[rounds/2], "bare/s")
				b.ReportMetric(ours[rounds/2]/bare[rounds/2], "ratio")
				b.ReportMetric(float64(peak)/(1<<20), "MB")
				b.ReportMetric(disk, "disk-B/event")
			}
		})
	}
}

// putAll puts events as a correlator does and returns how many a second, how
// much memory that took beyond them, and how much disk.
func putAll(b *testing.B, server, prefix string, events []event.Event, size int) (rate float64, heap uint64, disk float64) {
	s := opened(b, server, prefix, nil)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for rest := events; len(rest) > 0; {
		n := min(len(rest), size)
		if err := s.Put(b.Context(), rest[:n], nil); err != nil {
			b.Fatal(err)
		}
		rest = rest[n:]
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	disk = onDisk(b, server, prefix)
	servers.ForgetIndices(b, server, prefix)
	return float64(len(events)) / took.Seconds(), after.HeapSys - min(before.HeapSys, after.HeapSys), disk
}

// onDisk is how many bytes the indices of a prefix take, merged.
func onDisk(b *testing.B, server, prefix string) float64 {
	resp, err := http.Post(server+"/"+prefix+"-events-*/_forcemerge?max_num_segments=1&flush=true", "application/json", nil)
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	if resp, err = http.Get(server + "/" + prefix + "-events-*/_stats/store"); err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var stats struct {
		All struct {
			Primaries struct {
				Store struct {
					Size float64 `json:"size_in_bytes"`
				}
			}
		} `json:"_all"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		b.Fatal(err)
	}
	return stats.All.Primaries.Store.Size
}

// sendAll sends the documents of events in requests that are as large as they
// may be, and looks at nothing but the status.
func sendAll(b *testing.B, server, prefix string, events []event.Event) float64 {
	opened(b, server, prefix, nil) // its templates
	const most = 5 << 20
	var bodies [][]byte
	var body bytes.Buffer
	for i := range events {
		e := &events[i]
		fmt.Fprintf(&body, `{"create":{"_index":"%s-events-%s","_id":"%s"}}`+"\n", prefix, e.ID.Time().Format("2006.01.02"), e.ID)
		body.Write(append(e.AppendJSON(nil), '\n'))
		if body.Len() > most || i == len(events)-1 {
			bodies = append(bodies, bytes.Clone(body.Bytes()))
			body.Reset()
		}
	}
	began := time.Now()
	for _, body := range bodies {
		resp, err := http.Post(server+"/_bulk?filter_path=errors", "application/x-ndjson", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(text), `"errors":false`) {
			b.Fatalf("%s %s %v", resp.Status, text, err)
		}
	}
	took := time.Since(began)
	servers.ForgetIndices(b, server, prefix)
	return float64(len(events)) / took.Seconds()
}
