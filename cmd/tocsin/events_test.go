package main

import (
	"bytes"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
)

// TestLines wants the lines of a batch in its order, whoever makes them.
func TestLines(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var want, got bytes.Buffer
	var enc event.Encoder
	l := &lines{w: &got}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	// Batches of all sizes around those that are divided.
	for _, size := range []int{0, 1, 2*linesAtLeast - 1, 2 * linesAtLeast, 3*linesAtLeast + 1, 9 * linesAtLeast, 5} {
		batch := make([]event.Event, size)
		for i := range batch {
			at = at.Add(time.Millisecond)
			batch[i] = event.Event{Time: at, Kind: "dns", Sensor: "tap", Fields: []event.Field{{Name: "dns.id", Value: event.Int(int64(i))}}}
			batch[i].Flow.Src.IP = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			want.Write(append(enc.Append(nil, &batch[i]), '\n'))
		}
		if err := l.Publish(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("not what one encoder writes")
	}
}

func TestLinesFail(t *testing.T) {
	full := errors.New("disk full")
	l := &lines{w: failingWriter{full}}
	if err := l.Publish(t.Context(), make([]event.Event, 4*linesAtLeast)); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
