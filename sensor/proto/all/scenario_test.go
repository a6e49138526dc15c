package all_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto/all"
)

const intrusion = "../../../testdata/scenarios/intrusion"

// stage is what the recording says that it did.
type stage struct {
	ID         string
	Start, End time.Time
	Source     []string
}

// log collects events.
type log struct{ events []event.Event }

// Publish keeps a batch; see sensor.Sink.
func (l *log) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		l.events = append(l.events, batch[i].Clone())
	}
	return nil
}

// record reads all taps of the recorded intrusion.
func record(t *testing.T) (map[string]stage, []event.Event) {
	text, err := os.ReadFile(filepath.Join(intrusion, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var truth struct{ Stages []stage }
	if err := json.Unmarshal(text, &truth); err != nil {
		t.Fatal(err)
	}
	stages := map[string]stage{}
	for _, s := range truth.Stages {
		stages[s.ID] = s
	}
	taps, err := filepath.Glob(filepath.Join(intrusion, "*.pcap*"))
	if err != nil || len(taps) == 0 {
		t.Fatal("no captures", err)
	}
	cfg := sensor.DefaultConfig()
	cfg.Protocols = all.Protocols()
	var l log
	s, err := sensor.New(cfg, func(int) (capture.Source, error) { return file.Open(taps...) }, &l)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return stages, l.events
}

// of returns the events of a kind that a stage's source began within it, at
// one tap.
func (s stage) of(events []event.Event, kind event.Kind, tap string) (out []event.Event) {
	for _, e := range events {
		if e.Kind == kind && e.Sensor == tap && !e.Time.Before(s.Start) && !e.Time.After(s.End) && slices.Contains(s.Source, e.Flow.Src.IP.String()) {
			out = append(out, e)
		}
	}
	return out
}

// The password guesses of the recorded intrusion fail but for one; the logins
// that follow, by password and by key, succeed. Every tap sees the same.
func TestScenario(t *testing.T) {
	stages, events := record(t)
	outcomes := func(id, tap string) (success, failure int) {
		for _, e := range stages[id].of(events, "ssh", tap) {
			switch e.Get("event.outcome").Str() {
			case "success":
				success++
			case "failure":
				failure++
			}
		}
		return success, failure
	}
	for _, tap := range []string{"border", "dmz"} {
		if ok, bad := outcomes("ssh-guess", tap); ok != 1 || bad < 5 {
			t.Errorf("%s: guessing: %d connections with a login and %d without, want 1 and at least 5", tap, ok, bad)
		}
		if ok, bad := outcomes("foothold", tap); ok != 1 || bad != 0 {
			t.Errorf("%s: foothold: %d logins and %d failures, want 1 and 0", tap, ok, bad)
		}
	}
	if ok, bad := outcomes("lateral-ssh", "dmz"); ok != 1 || bad != 0 {
		t.Errorf("lateral: %d logins and %d failures, want 1 and 0", ok, bad)
	}
	for id, operation := range map[string]string{
		"modbus-identify": "discover", "modbus-read": "read", "modbus-write": "write", "modbus-restart": "control",
	} {
		n := 0
		for _, e := range stages[id].of(events, "modbus", "substation") {
			if e.Get("ics.operation").Str() == operation {
				n++
			}
			if odd := e.Get("tocsin.protocol.anomaly"); !odd.IsZero() {
				t.Errorf("%s: a pymodbus client and server are odd: %v", id, odd)
			}
		}
		if n == 0 {
			t.Errorf("%s: no transaction is of operation %s", id, operation)
		}
	}
}
