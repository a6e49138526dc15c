// Package bustest is the contract of bus.Bus as code. Every bus passes it.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bus"
	"github.com/tocsin/tocsin/event"
)

// Test runs the contract against buses that open makes; each is empty.
func Test(t *testing.T, open func(t *testing.T) bus.Bus) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, bus.Bus)
	}{
		{"everything arrives in the order of its key", order},
		{"several subscribers share the work", share},
		{"a failed batch comes again", redelivery},
		{"close drains", drain},
		{"a batch is the publisher's again", reuse},
		{"the end of the context stops a subscriber", stop},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

const limit = 60 * time.Second

// numbered makes event number n of a key.
func numbered(key string, n int) event.Event {
	at := time.Unix(int64(1_700_000_000+n), 0).UTC()
	h := event.NewHasher()
	h.Str(key)
	h.Uint(uint64(n))
	return event.Event{
		ID: h.ID(at), Time: at, Kind: event.KindFlow, Sensor: "test",
		Flow:   event.Flow{CommunityID: key, Transport: event.ProtoTCP, Src: event.Endpoint{IP: netip.MustParseAddr("192.0.2.1"), Port: 1}, Dst: event.Endpoint{IP: netip.MustParseAddr("192.0.2.2"), Port: 2}},
		Fields: []event.Field{{Name: "rule.version", Value: event.Str(fmt.Sprint(n))}},
	}
}

func number(e *event.Event) string { return e.Get("rule.version").Str() }

func publish(t *testing.T, b bus.Bus, keys, each int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for n := range each {
		var batch []event.Event
		for k := range keys {
			batch = append(batch, numbered(fmt.Sprintf("1:key%d", k), n))
		}
		if err := b.Publish(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
}

// log notes what came, by key.
type log struct {
	mu     sync.Mutex
	byKey  map[string][]string
	inside map[string]bool
	errs   []string
}

func newLog() *log { return &log{byKey: map[string][]string{}, inside: map[string]bool{}} }

func (l *log) note(_ context.Context, batch []event.Event) error {
	l.mu.Lock()
	keys := map[string]bool{}
	for i := range batch {
		keys[batch[i].Flow.CommunityID] = true
	}
	for k := range keys {
		if l.inside[k] {
			l.errs = append(l.errs, k+" is delivered by two calls at a time")
		}
		l.inside[k] = true
	}
	l.mu.Unlock()
	time.Sleep(100 * time.Microsecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		k := batch[i].Flow.CommunityID
		l.byKey[k] = append(l.byKey[k], number(&batch[i]))
	}
	for k := range keys {
		l.inside[k] = false
	}
	return nil
}

func (l *log) check(t *testing.T, keys, each int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.errs {
		t.Error(e)
	}
	if len(l.byKey) != keys {
		t.Errorf("%d keys arrived, want %d", len(l.byKey), keys)
	}
	for k, got := range l.byKey {
		if len(got) != each {
			t.Errorf("%s: %d events, want %d", k, len(got), each)
		}
		for i, n := range got {
			if n != fmt.Sprint(i) {
				t.Errorf("%s: event %s at place %d", k, n, i)
				break
			}
		}
	}
}

func closeAndWait(t *testing.T, b bus.Bus, done chan error) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(done) {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(limit):
			t.Fatal("subscriber does not end after Close")
		}
	}
}

func subscribe(b bus.Bus, n int, fn func(context.Context, []event.Event) error) chan error {
	done := make(chan error, n)
	for range n {
		go func() { done <- b.Subscribe(context.Background(), fn) }()
	}
	return done
}

func order(t *testing.T, b bus.Bus) {
	l := newLog()
	done := subscribe(b, 1, l.note)
	publish(t, b, 7, 200)
	closeAndWait(t, b, done)
	l.check(t, 7, 200)
}

func share(t *testing.T, b bus.Bus) {
	l := newLog()
	done := subscribe(b, 4, l.note)
	publish(t, b, 20, 200)
	closeAndWait(t, b, done)
	l.check(t, 20, 200)
}

func redelivery(t *testing.T, b bus.Bus) {
	publish(t, b, 3, 50)
	broken := errors.New("broken")
	err := b.Subscribe(context.Background(), func(context.Context, []event.Event) error { return broken })
	if !errors.Is(err, broken) {
		t.Fatalf("Subscribe returns %v, want the error of fn", err)
	}
	l := newLog()
	done := subscribe(b, 1, l.note)
	closeAndWait(t, b, done)
	l.check(t, 3, 50)
}

func drain(t *testing.T, b bus.Bus) {
	publish(t, b, 5, 100)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	l := newLog()
	done := subscribe(b, 2, l.note)
	closeAndWait(t, b, done)
	l.check(t, 5, 100)
	if err := b.Publish(context.Background(), []event.Event{numbered("1:x", 0)}); err == nil {
		t.Error("Publish after Close: no error")
	}
}

func reuse(t *testing.T, b bus.Bus) {
	batch := []event.Event{numbered("1:key0", 0)}
	if err := b.Publish(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	batch[0].Fields[0].Value = event.Str("overwritten")
	batch[0].Flow.CommunityID = "1:other"
	l := newLog()
	done := subscribe(b, 1, l.note)
	closeAndWait(t, b, done)
	l.check(t, 1, 1)
}

func stop(t *testing.T, b bus.Bus) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Subscribe(ctx, newLog().note) }()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Subscribe returns %v, want the context's error", err)
		}
	case <-time.After(limit):
		t.Error("Subscribe goes on after its context ended")
	}
}
