package mem_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/bus"
	"github.com/tocsin/tocsin/bus/bustest"
	"github.com/tocsin/tocsin/bus/mem"
	"github.com/tocsin/tocsin/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBus(t *testing.T) {
	bustest.Test(t, func(*testing.T) bus.Bus { return mem.New(mem.DefaultConfig()) })
}

func TestSmallQueues(t *testing.T) {
	bustest.Test(t, func(*testing.T) bus.Bus { return mem.New(mem.Config{Partitions: 3, Capacity: 1000, Batch: 7}) })
}

func TestPublishBlocksWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := mem.New(mem.Config{Partitions: 1, Capacity: 2, Batch: 1})
		two := make([]event.Event, 2)
		if err := b.Publish(t.Context(), two); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Publish(ctx, two); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("full bus: %v, want to wait until the deadline", err)
		}
		if n, _ := b.Waiting(); n != 2 {
			t.Fatalf("%d events wait, want 2: a refused batch leaves nothing behind", n)
		}
		blocked := make(chan error, 1)
		go func() { blocked <- b.Publish(t.Context(), two) }()
		synctest.Wait()
		select {
		case err := <-blocked:
			t.Fatalf("Publish returns %v while the bus is full", err)
		default:
		}
		done := make(chan error, 1)
		seen := 0
		go func() {
			done <- b.Subscribe(t.Context(), func(_ context.Context, batch []event.Event) error {
				seen += len(batch)
				return nil
			})
		}()
		if err := <-blocked; err != nil {
			t.Fatal(err)
		}
		b.Close()
		if err := <-done; err != nil || seen != 4 {
			t.Fatalf("%d events, %v", seen, err)
		}
	})
}
