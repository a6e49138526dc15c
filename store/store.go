// Package store keeps events and alerts and finds them again. embedded keeps
// them on the local disk; storetest is the contract as code; query is the
// language in which they are asked.
package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store/query"
)

// ErrNotFound is returned for an ID that the store does not have.
var ErrNotFound = errors.New("not found")

// Store keeps events and alerts. All methods may be called from several
// goroutines. Returned values are the caller's.
type Store interface {
	// Put keeps events and alerts and returns when they would survive the death
	// of the process. An event whose ID is there already is passed over; an
	// alert whose ID is there is joined with event.Alert.Merge, and its triage
	// stays: to put the same again changes nothing. What is not fit to be kept,
	// such as an event without an ID, fails all. A Put that fails for another
	// reason has kept nothing, if the store is embedded; of elastic a part may
	// be there, and putting the same again completes it.
	Put(ctx context.Context, events []event.Event, alerts []event.Alert) error
	// Get returns the event or alert (as event.Alert.Event makes it) of an ID.
	Get(ctx context.Context, id event.ID) (event.Event, error)
	// Search returns what matches, ordered by event.Event.Place, as the store
	// was when it began. It ends after an error. The store may be asked and
	// written within the loop.
	Search(ctx context.Context, q Query) iter.Seq2[event.Event, error]
	// Count counts what matches, in groups. All counts are exact. Limit, Desc
	// and After of the query say nothing to it.
	Count(ctx context.Context, q Query, by By) ([]Bucket, error)
	// Update changes the triage of an alert. Of an ID that is no alert's it
	// returns ErrNotFound.
	Update(ctx context.Context, id event.ID, t event.Triage) error
	// Span returns the times of the earliest and the latest event or alert;
	// both are zero if there is none.
	Span(ctx context.Context) (from, to time.Time, err error)
	// Expire forgets events (not alerts) before a time and says how many.
	Expire(ctx context.Context, before time.Time) (int, error)
	// Close ends the store: what is asked afterwards is an error.
	Close() error
}

// MultiCounter is a store that counts in several ways faster together than one
// after the other. The answers are those of Count, in the order asked for.
type MultiCounter interface {
	CountAll(ctx context.Context, q Query, by []By) ([][]Bucket, error)
}

// Query says what to find. The zero Query matches every event and alert.
type Query struct {
	Where query.Node // nil: everything
	Set   Set
	From  time.Time // inclusive; zero: no bound
	To    time.Time // exclusive; zero: no bound
	Limit int       // 0: no limit
	Desc  bool      // latest first
	After event.ID  // continue behind this event.Event.Place, in the order asked for; zero: from the start
}

// Set restricts a query to events or to alerts.
type Set uint8

// Sets.
const (
	Both Set = iota
	Events
	Alerts
)

// By says how Count groups: over time in steps of Interval, if that is not
// zero, and by the values of Field, if that is not empty. With neither there is
// one bucket. A list counts once for each of its distinct values; what does not
// have the field is not counted. Buckets begin at multiples of Interval since
// 1970; those with nothing in them are left out.
type By struct {
	Interval time.Duration
	Field    string
	Top      int // keep the Top values of Field with the highest counts; 0: all, at most MaxBuckets
}

// MaxBuckets bounds the values of Field that a Count returns.
const MaxBuckets = 10_000

// Bucket is one group: its start, its value, and how many are in it. Buckets
// come ordered by time, then by falling count, then by value.
type Bucket struct {
	Time  time.Time
	Value event.Value
	Count uint64
}
