package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator/intel/feed"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
)

// TestKeepFresh serves a list that names an address only after traffic with it
// was stored: the traffic of before and that of later are both reported.
func TestKeepFresh(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "203.0.113.7")
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "feeds.yml")
	if err := os.WriteFile(path, []byte("cache: kept\nfeeds:\n  - {name: partner, url: '"+server.URL+"'}\n  - {name: gone, url: 'http://127.0.0.1:1/'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := embedded.Open(t.TempDir(), embedded.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	flow := func(day int) event.Event {
		at := time.Date(2026, 3, day, 0, 0, 0, 0, time.UTC)
		h := event.NewHasher()
		h.Time(at)
		return event.Event{ID: h.ID(at), Time: at, Kind: event.KindFlow, Flow: event.Flow{
			Src: event.Endpoint{IP: netip.MustParseAddr("10.0.0.1")}, Dst: event.Endpoint{IP: netip.MustParseAddr("203.0.113.7")}}}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := st.Put(ctx, []event.Event{flow(1), flow(9)}, nil); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	r, err := loadReputation(nil, path, &said)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "feed partner was never fetched") {
		t.Errorf("said %q", said.String())
	}
	var health sync.Map
	done := make(chan error, 1)
	alerts := make(chan event.Alert, 10)
	go func() {
		done <- r.keepFresh(ctx, &said, st, func(_ context.Context, es []event.Event) error {
			for _, e := range es {
				if e.Kind != feed.Kind {
					t.Errorf("published a %s", e.Kind)
				}
				health.Store(e.Get("tocsin.feed.name").Str(), e.Get("tocsin.feed.status").Str())
			}
			return nil
		}, func(ctx context.Context, as []event.Alert) error {
			for _, a := range as {
				alerts <- a
			}
			return st.Put(ctx, nil, as)
		})
	}()
	for range 2 {
		select {
		case a := <-alerts:
			if a.Rule.ID != "tocsin-reputation-to" || a.Indicator.Provider != "partner" {
				t.Errorf("alert %+v", a)
			}
		case err := <-done:
			t.Fatalf("ended: %v", err)
		case <-time.After(30 * time.Second):
			t.Fatal("no alert of what was stored")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"partner": "ok", "gone": "failed"} {
		if got, _ := health.Load(name); got != want {
			t.Errorf("feed %s is %v, want %s", name, got, want)
		}
	}
	if v, ok := r.rules.Table().Address(netip.MustParseAddr("203.0.113.7"), time.Now()); !ok || v.Provider != "partner" {
		t.Errorf("the new table is not in use: %+v", v.Indicator)
	}
	buckets, err := st.Count(context.Background(), store.Query{Set: store.Alerts}, store.By{})
	if err != nil || len(buckets) != 1 || buckets[0].Count != 2 {
		t.Errorf("%+v alerts stored, %v; want one for each day", buckets, err)
	}
}
