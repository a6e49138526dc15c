package spread

import (
	"context"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// Mark says how far a partition of events has been read: everything made from
// the events before Next is in the log of signals before the mark.
type Mark struct {
	Partition int       `json:"partition"`
	Next      int64     `json:"next"` // offset of the first event that was not read
	Time      time.Time `json:"time"` // of the latest event that was read
}

// Source is stage one of one partition of events.
type Source struct {
	matcher *correlator.Matcher
	read    Mark
	told    Mark // last
}

// NewSource begins to read a partition at an offset.
func NewSource(m *correlator.Matcher, partition int, next int64) *Source {
	return &Source{matcher: m, read: Mark{Partition: partition, Next: next}, told: Mark{Next: -1}}
}

// Match enriches a batch in place and returns what it says. next is the offset
// behind the batch.
func (s *Source) Match(ctx context.Context, batch []event.Event, next int64) (correlator.Matches, error) {
	found, err := s.matcher.Match(ctx, batch)
	if err != nil {
		return found, err
	}
	s.read.Next = next
	if found.Last.After(s.read.Time) {
		s.read.Time = found.Last
	}
	return found, nil
}

// Next is the offset of the first event that was not read.
func (s *Source) Next() int64 { return s.read.Next }

// Mark returns what is to be written to every partition of signals, once all
// that was matched is there and the offset is committed; false if that is not
// worth a message yet.
func (s *Source) Mark() (Mark, bool) {
	if s.read.Time.Truncate(time.Minute).Equal(s.told.Time.Truncate(time.Minute)) {
		return Mark{}, false
	}
	s.told = s.read
	return s.read, true
}

// Idle returns the mark of a partition that had nothing to be read from offset
// next on, after the latest time of all marks had been seen to be clock; false
// if that says nothing new.
func (s *Source) Idle(clock time.Time, next int64) (Mark, bool) {
	s.read.Next = next
	if clock.After(s.read.Time) {
		s.read.Time = clock
	}
	if s.read == s.told {
		return Mark{}, false
	}
	s.told = s.read
	return s.read, true
}
