package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// sayings is what a command says while it runs.
type sayings struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *sayings) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *sayings) wait(t *testing.T, what string) {
	t.Helper()
	for range 200 {
		n.mu.Lock()
		text := n.b.String()
		n.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("nobody said %q, but %s", what, n.b.String())
}

// TestRulesAreWatched: rules change while events are matched; what is wrong
// changes nothing.
func TestRulesAreWatched(t *testing.T) {
	dir := t.TempDir()
	write := func(port string) {
		t.Helper()
		text := "title: watched " + port + "\nid: watched\nlogsource: {product: tocsin, service: flow}\ndetection: {s: {destination.port: " + port + "}, condition: s}\n"
		if err := os.WriteFile(filepath.Join(dir, "rule.yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("80")
	paths, none := []string{dir}, []string{}
	from := ruleset{paths: &paths, lists: &none, now: new(inForce)}
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	set, err := from.load(fields)
	if err != nil {
		t.Fatal(err)
	}
	from.now.set.Store(set)
	from.now.detectors = []correlator.Detector{set.Detector()}
	c, err := correlator.New(correlator.Config{Detectors: from.now.detectors})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	fires := func(port uint16) string {
		n++
		e := event.Event{Kind: event.KindFlow, Time: time.Date(2026, 3, 4, 5, 6, n, 0, time.UTC), ID: event.ID{15: byte(n)}}
		e.Flow = event.Flow{Transport: event.ProtoTCP, Src: event.Endpoint{IP: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", n))}, Dst: event.Endpoint{IP: netip.MustParseAddr("192.0.2.200"), Port: port}}
		alerts, err := c.Process(t.Context(), []event.Event{e})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, a := range alerts {
			names = append(names, a.Rule.Name)
		}
		return strings.Join(names, ", ")
	}
	var said sayings
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := from.watch(ctx, c, &said); err != nil {
			t.Error(err)
		}
	})
	if got := fires(80); got != "watched 80" {
		t.Errorf("before: %q", got)
	}
	write("eighty")
	said.wait(t, "those from before stay in force")
	said.wait(t, `destination.port is a number and never "eighty"`)
	if got := fires(80); got != "watched 80" {
		t.Errorf("with a bad rule: %q", got)
	}
	write("8080")
	said.wait(t, "1 are in force")
	if got := fires(80) + fires(8080); got != "watched 8080" {
		t.Errorf("after: %q", got)
	}
	stop()
	watching.Wait()
}
