package feed_test

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator/intel/feed"
	"github.com/tocsin/tocsin/event"
)

// TestEvent checks that what an event of a feed carries is documented.
func TestEvent(t *testing.T) {
	schema, err := event.NewSchema(feed.Fields)
	if err != nil {
		t.Fatal(err)
	}
	s := feed.State{Name: "partner", Tried: time.Unix(1_767_225_600, 0).UTC(), Fetched: time.Unix(1_767_222_000, 0).UTC(), Entries: 4, Problem: "connection refused"}
	e := s.Event()
	line := e.AppendJSON(nil)
	var back event.Event
	if err := schema.Decode(line, &back); err != nil {
		t.Fatal(err)
	}
	if back.ID != e.ID || back.Get("tocsin.feed.status").Str() != "failed" || back.Get("tocsin.feed.problem").Str() != "connection refused" {
		t.Errorf("%s came back as %s", line, back.AppendJSON(nil))
	}
	s.Problem = ""
	if e := s.Event(); e.Get("tocsin.feed.status").Str() != "ok" {
		t.Errorf("%s", e.AppendJSON(nil))
	}
}
