package prototest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Recording runs a sensor over a capture of real implementations, and compares
// with the truth: what was done, a line for each event of the protocols, in
// their order, with the values of some fields that a blank parts; "-" is one
// that an event lacks. Lines of the truth that begin with "#" are for people.
// It returns the events.
func Recording(t *testing.T, path string, fields []string, truth string, protocols ...proto.Protocol) []event.Event {
	t.Helper()
	cfg := sensor.DefaultConfig()
	cfg.Protocols = protocols
	var all collector
	s, err := sensor.New(cfg, func(int) (capture.Source, error) { return file.Open(path) }, &all)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, causes := range s.Counters().ParserErrors {
		for cause, n := range causes {
			t.Errorf("%s: %s: %q %d times", path, name, cause, n)
		}
	}
	var events []event.Event
	var have []string
	for _, e := range all.events {
		if !slices.ContainsFunc(protocols, func(p proto.Protocol) bool { return p.Name == e.Kind }) {
			continue // of flows, and of the sensor itself
		}
		events = append(events, e)
		line := ""
		for _, f := range fields {
			v := e.Get(f).String()
			if v == "" {
				v = "-"
			}
			line += " " + v
		}
		have = append(have, line[1:])
	}
	var want []string
	for line := range strings.Lines(truth) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			want = append(want, line)
		}
	}
	for i := range max(len(have), len(want)) {
		h, w := "nothing", "nothing"
		if i < len(have) {
			h = have[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if h != w {
			t.Errorf("%s: event %d of %d, want %d\n have %s\n want %s\nall:\n%s", path, i+1, len(have), len(want), h, w, strings.Join(have, "\n"))
			break
		}
	}
	return events
}

// collector keeps what a sensor publishes.
type collector struct{ events []event.Event }

// Publish keeps a batch; see sensor.Sink.
func (c *collector) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		c.events = append(c.events, batch[i].Clone())
	}
	return nil
}
