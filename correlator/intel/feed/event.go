package feed

import (
	"time"

	"github.com/tocsin/tocsin/event"
)

// Kind is the kind of events that say how a feed is doing.
const Kind event.Kind = "feed"

// Fields documents what these events carry.
var Fields = []event.FieldDoc{
	{Name: "tocsin.feed.entries", Type: event.Long, Help: "Entries of the list that is in use.", Class: event.ClassTechnical},
	{Name: "tocsin.feed.fetched", Type: event.Date, Help: "When the list that is in use was fetched, or found to be still so.", Class: event.ClassTechnical},
	{Name: "tocsin.feed.name", Type: event.Keyword, Help: "Name of the feed.", Class: event.ClassTechnical},
	{Name: "tocsin.feed.problem", Type: event.Keyword, Help: "Why the last try to fetch the list failed, or why what came is not used.", Class: event.ClassTechnical},
	{Name: "tocsin.feed.status", Type: event.Keyword, Help: "ok or failed.", Class: event.ClassTechnical},
}

// Event says how a feed was doing when it was last tried.
func (s *State) Event() event.Event {
	h := event.NewHasher()
	h.Str("feed")
	h.Str(s.Name)
	h.Time(s.Tried)
	status := "ok"
	if !s.Healthy() {
		status = "failed"
	}
	e := event.Event{ID: h.ID(s.Tried), Time: s.Tried.Truncate(time.Millisecond), Kind: Kind, Fields: []event.Field{
		{Name: "tocsin.feed.entries", Value: event.Int(int64(s.Entries))},
		{Name: "tocsin.feed.name", Value: event.Str(s.Name)},
		{Name: "tocsin.feed.status", Value: event.Str(status)},
	}}
	if !s.Fetched.IsZero() {
		e.Fields = append(e.Fields, event.Field{Name: "tocsin.feed.fetched", Value: event.Time(s.Fetched)})
	}
	if s.Problem != "" {
		e.Fields = append(e.Fields, event.Field{Name: "tocsin.feed.problem", Value: event.Str(s.Problem)})
	}
	return e
}
