package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/trace"
)

// A trail of ten hops through five days of traffic, in which the hosts of the
// trail are busy as well.

const (
	trailHops = 10
	trailDays = 5
)

var trailStart = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// traffic makes events: hosts of an office, stones among them, that look up
// names, browse, poll, and log in to each other.
type traffic struct {
	dice *rand.Rand
	h    *event.Hasher
	made uint64
	at   time.Time
	step time.Duration
}

func newTraffic(n int) *traffic {
	return &traffic{dice: rand.New(rand.NewPCG(1, 9)), h: event.NewHasher(), at: trailStart, step: trailDays * 24 * time.Hour / time.Duration(n)}
}

func stone(i int) netip.Addr {
	if i == 0 {
		return netip.MustParseAddr("198.51.100.66")
	}
	return netip.AddrFrom4([4]byte{10, byte(20 + i), 0, 10})
}

func (x *traffic) flow(at time.Time, src, dst netip.Addr, port uint16, service string, lasts time.Duration, fields ...event.Field) event.Event {
	x.made++
	x.h.Reset()
	x.h.Uint(x.made)
	e := event.Event{Time: at.Add(lasts), Kind: event.KindFlow, Sensor: []string{"border", "core"}[x.dice.IntN(2)], Iface: "eth0", Fields: fields}
	f := &e.Flow
	f.Src = event.Endpoint{IP: src, Port: uint16(1024 + x.dice.IntN(60000)), Packets: 20, Bytes: 3000 + x.dice.Uint64N(4000), Payload: 2000 + x.dice.Uint64N(3000)}
	f.Dst = event.Endpoint{IP: dst, Port: port, Packets: 20, Bytes: 5000 + x.dice.Uint64N(90000), Payload: 4000 + x.dice.Uint64N(80000)}
	f.Transport, f.Service, f.State, f.History, f.EndReason = event.ProtoTCP, service, "SF", "ShADadFf", "fin"
	f.Start, f.End = at, at.Add(lasts)
	f.CommunityID = fmt.Sprintf("1:%027d=", x.made)
	zone := func(a netip.Addr) string {
		if a.Is4() && a.As4()[0] == 10 {
			return "inside"
		}
		return "internet"
	}
	e.Set("tocsin.source.zone", event.Str(zone(src)))
	e.Set("tocsin.destination.zone", event.Str(zone(dst)))
	e.ID = x.h.ID(e.Time)
	return e
}

// next makes the event that comes next.
func (x *traffic) next() event.Event {
	d := x.dice
	x.at = x.at.Add(time.Duration(d.Int64N(int64(2 * x.step))))
	host := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(1 + d.IntN(8)), byte(d.IntN(16)), byte(d.IntN(250))})
	}
	src, dst := host(), host()
	// One event in a hundred is about a host of the trail.
	trail := d.IntN(100) == 0
	if trail {
		if s := stone(1 + d.IntN(trailHops)); d.IntN(2) == 0 {
			src = s
		} else {
			dst = s
		}
	}
	kind := d.IntN(1000)
	switch {
	case kind < 20 && (!trail || kind < 5): // administration; of the stones less, but every day
		return x.flow(x.at, src, dst, 22, "ssh", time.Duration(d.Int64N(int64(10*time.Minute))))
	case kind < 400:
		return x.flow(x.at, src, netip.AddrFrom4([4]byte{203, 0, 113, byte(d.IntN(250))}), 443, "tls", time.Duration(d.Int64N(int64(time.Minute))))
	case kind < 500:
		return x.flow(x.at, src, dst, 502, "modbus", time.Hour)
	}
	e := x.flow(x.at, src, dst, 53, "dns", 20*time.Millisecond)
	e.Flow.Transport = event.ProtoUDP
	if kind < 800 {
		e.Kind = "dns"
		e.Set("dns.question.name", event.Str(fmt.Sprintf("host%d.example.org", d.IntN(3000))))
	}
	return e
}

// intrude makes the events and alerts of the trail: sessions within sessions,
// each going on as the next, and a change to a controller at the end.
func (x *traffic) intrude() (events []event.Event, alerts []event.Alert) {
	began := trailStart.Add(4*24*time.Hour + 13*time.Hour)
	last := began.Add(time.Duration(trailHops) * 2 * time.Minute)
	alert := func(name string, severity int, from, to netip.Addr, at time.Time, tactic string) {
		x.h.Reset()
		x.h.Str(name + from.String())
		alerts = append(alerts, event.Alert{
			ID: x.h.ID(at), Rule: event.Rule{ID: name, Name: name, Ruleset: "bench"}, Severity: severity, Level: event.LevelOf(severity),
			Message: name, Sources: []netip.Addr{from}, Targets: []netip.Addr{to}, Sensors: []string{"core"}, Count: 1, First: at, Last: at,
			Techniques: []event.Technique{{ID: "T0001", Name: name, Tactics: []string{tactic}}},
		})
	}
	for i := range trailHops - 1 {
		start := began.Add(time.Duration(i) * 2 * time.Minute)
		// What is typed after a hop goes through it: the last keys through all.
		var pulses []event.Value
		keys := rand.New(rand.NewPCG(7, 7))
		for at := began; at.Before(last); at = at.Add(600*time.Millisecond + time.Duration(keys.Int64N(int64(50*time.Second)))) {
			if !at.Before(start) {
				pulses = append(pulses, event.Uint(uint64(at.Add(time.Duration(20*i)*time.Millisecond).Sub(start)/time.Millisecond)))
			}
		}
		events = append(events, x.flow(start, stone(i), stone(i+1), 22, "ssh", last.Sub(start),
			event.Field{Name: "tocsin.flow.pulses", Value: event.List(pulses[:min(len(pulses), 64)]...)}))
		e := &events[len(events)-1]
		e.Sensor = "core"
		login := x.flow(start, stone(i), stone(i+1), 22, "ssh", time.Second, event.Field{Name: "event.outcome", Value: event.Str("success")})
		login.Kind, login.Sensor, login.Flow.Src.Port, login.Flow.Start, login.Flow.CommunityID = "ssh", "core", e.Flow.Src.Port, start, e.Flow.CommunityID
		events = append(events, login)
	}
	plc, from := stone(trailHops), stone(trailHops-1)
	at := last.Add(-20 * time.Second)
	events = append(events, x.flow(at, from, plc, 502, "modbus", 10*time.Second))
	w := x.flow(at, from, plc, 502, "modbus", time.Second, event.Field{Name: "ics.operation", Value: event.Str("write")})
	w.Kind = "modbus"
	events = append(events, w)
	alert("Login from the internet", 50, stone(0), stone(1), began, "Initial Access")
	alert("Write by a stranger", 90, from, plc, at, "Impair Process Control")
	return events, alerts
}

// fill puts n events and the trail into a store.
func fill(tb testing.TB, s store.Store, n int) (act event.ID) {
	tb.Helper()
	x := newTraffic(n)
	batch := make([]event.Event, 0, 8192)
	made := map[time.Time]map[string]uint64{} // by minute and sensor
	put := func(alerts []event.Alert) {
		for i := range batch {
			m := batch[i].Time.Truncate(time.Minute)
			if made[m] == nil {
				made[m] = map[string]uint64{}
			}
			made[m][batch[i].Sensor]++
		}
		if err := s.Put(tb.Context(), batch, alerts); err != nil {
			tb.Fatal(err)
		}
		batch = batch[:0]
	}
	for range n {
		if batch = append(batch, x.next()); len(batch) == cap(batch) {
			put(nil)
		}
	}
	events, alerts := x.intrude()
	batch = append(batch, events...)
	put(alerts)
	ledgers := make([]event.Event, 0, 2*len(made))
	for m, sensors := range made {
		for name, count := range sensors {
			x.h.Reset()
			x.h.Str(name)
			x.h.Time(m)
			ledgers = append(ledgers, event.Event{ID: x.h.ID(m), Time: m, Kind: event.KindLedger, Sensor: name, Fields: []event.Field{
				{Name: "tocsin.ledger.events", Value: event.Uint(count)}, {Name: "tocsin.ledger.seen", Value: event.Uint(20 * count)}}})
		}
	}
	if err := s.Put(tb.Context(), ledgers, nil); err != nil {
		tb.Fatal(err)
	}
	return alerts[len(alerts)-1].ID
}

// peak measures the greatest heap while f runs, in megabytes beyond what was
// there before.
func peak(f func()) float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	var most atomic.Uint64
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapAlloc))
			}
		}
	}()
	f()
	close(done)
	<-stopped
	return float64(most.Load()-min(before, most.Load())) / 1e6
}

func benchEvents() int {
	if n, err := strconv.Atoi(os.Getenv("TOCSIN_BENCH_EVENTS")); err == nil {
		return n
	}
	return 20_000
}

// BenchmarkTenHops traces the ten hops, from the alert at their end:
// TOCSIN_BENCH_EVENTS=10000000 for the goal of the design, TOCSIN_BENCH_STORE to
// keep and use again the embedded store in a folder.
func BenchmarkTenHops(b *testing.B) {
	n := benchEvents()
	b.Run("embedded", func(b *testing.B) {
		dir := os.Getenv("TOCSIN_BENCH_STORE")
		filled := dir != "" && exists(dir+"/act")
		if dir == "" {
			dir = b.TempDir()
		}
		s, err := embedded.Open(dir, embedded.ReadWrite)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		var act event.ID
		if filled {
			text, err := os.ReadFile(dir + "/act")
			if err == nil {
				act, err = event.ParseID(string(text))
			}
			if err != nil {
				b.Fatal(err)
			}
		} else {
			act = fill(b, s, n)
			if err := os.WriteFile(dir+"/act", []byte(act.String()), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		tenHops(b, s, act)
	})
	b.Run("elastic", func(b *testing.B) {
		s := elasticStore(b)
		tenHops(b, s, fill(b, s, min(n, 2_000_000)))
	})
}

func elasticStore(tb testing.TB) store.Store {
	tb.Helper()
	fields, err := schema()
	if err != nil {
		tb.Fatal(err)
	}
	url := servers.ElasticsearchURL(tb)
	cfg := elastic.DefaultConfig()
	cfg.Addresses, cfg.Schema = []string{url}, fields
	cfg.Prefix = "trail" + strconv.FormatInt(time.Now().UnixNano(), 36)
	s, err := elastic.Open(tb.Context(), cfg)
	if err == nil {
		err = s.Prepare(tb.Context())
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		s.Close()
		servers.ForgetIndices(tb, url, cfg.Prefix)
	})
	return s
}

func tenHops(b *testing.B, s store.Store, act event.ID) {
	b.Helper()
	var most float64
	for b.Loop() {
		var t *trace.Trace
		var err error
		most = max(most, peak(func() { t, err = trace.Build(context.Background(), s, trace.Seed{Alert: act}) }))
		if err != nil {
			b.Fatal(err)
		}
		if len(t.Path) != trailHops || t.Origin != stone(0) {
			b.Fatalf("%s: %d hops: %v", t.Title, len(t.Path), t.Missing)
		}
	}
	b.ReportMetric(most, "MB-heap")
}

// TestTrailsAlike wants the same bytes of both stores, of every recorded
// intrusion: from the first host of the path and from the last alert.
func TestTrailsAlike(t *testing.T) {
	for _, name := range intrusions {
		t.Run(name, func(t *testing.T) {
			r := record(t, name)
			local, far := r.open(t, nil), elasticStore(t)
			if err := far.Put(t.Context(), r.events, r.alerts); err != nil {
				t.Fatal(err)
			}
			seeds := r.seeds()
			for _, seed := range []trace.Seed{seeds[0], seeds[len(seeds)-1]} {
				var texts [2][]byte
				for i, s := range []store.Store{local, far} {
					found, err := trace.Build(t.Context(), s, seed)
					if err != nil {
						t.Fatal(err)
					}
					if texts[i], err = json.MarshalIndent(found, "", " "); err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(texts[0], texts[1]) {
					t.Errorf("from %s %s: %s", seed.Alert, seed.Address, difference(string(texts[0]), string(texts[1])))
				}
			}
		})
	}
}
