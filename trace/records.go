package trace

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// What is missing is as telling as what is there. Sensors keep accounts: how
// many packets they saw and did not see, and how many events they made, by the
// minute. So a trace knows of packets that nobody saw, and of records that were
// made and are not stored, without knowing what they said.

// slackRecords is the share of records by which a count may be off where a
// stretch of time is cut out of a longer store: an event is counted in the
// minute when it was made, and stored at the time that it is about.
const slackRecords = 0.02

// margin is how far before and after the act the accounts are read.
const margin = time.Hour

// loss is one minute of one sensor's account.
type loss struct {
	at            time.Time
	seen, dropped uint64
}

func (r *Records) missing() float64 {
	if r.Made == 0 || r.Stored >= r.Made {
		return 0
	}
	return float64(r.Made-r.Stored) / float64(r.Made)
}

// account reads the sensors' accounts about a stretch of time, and counts what is
// stored. act is when the act ended that the trace is about, zero if there is
// none.
func (b *builder) account(ctx context.Context, first, last, from, to, act time.Time) error {
	from, to = later(from.Add(-margin), first).Truncate(time.Minute), earlier(to.Add(margin), last.Add(time.Millisecond))
	b.records.From, b.records.To = from, to
	whole := !from.After(first) && !to.Before(last)
	accounts := map[string]*accounted{}
	var end time.Time // last minute of which any sensor has an account
	q := store.Query{Set: store.Events, From: from, To: to, Where: query.OfKind(event.KindLedger)}
	for e, err := range b.s.Search(ctx, q) {
		if err != nil {
			return err
		}
		account := event.Ledger{}
		account.Add(&e)
		a := accounts[e.Sensor]
		if a == nil {
			a = &accounted{minutes: map[time.Time]bool{}}
			accounts[e.Sensor] = a
		}
		minute := e.Time.Truncate(time.Minute)
		a.made += account["events"]
		a.minutes[minute] = true
		if a.first.IsZero() {
			a.first = minute
		}
		a.last = later(a.last, minute)
		end = later(end, minute)
		b.losses = append(b.losses, loss{at: e.Time, seen: account["seen"], dropped: account.Dropped()})
	}
	if len(b.losses) == 0 { // events of other programs, or of a sensor whose accounts are gone
		b.unaccounted = true
		return nil
	}
	q.Where = query.Not{Node: query.OfKind(event.KindLedger)}
	counts, err := b.s.Count(ctx, q, store.By{Field: "observer.name", Interval: time.Minute})
	if err != nil {
		return err
	}
	stored := map[string]uint64{}
	for _, c := range counts {
		name := c.Value.Str()
		stored[name] += c.Count
		// What is newer than the last account is accounted for in a minute.
		if a := accounts[name]; a == nil || !c.Time.After(end) && !a.minutes[c.Time.UTC()] {
			b.unaccounted = true
		}
	}
	var made uint64
	for name, a := range accounts {
		made += a.made
		b.records.Stored += min(stored[name], a.made)
		if len(a.minutes) < int(a.last.Sub(a.first)/time.Minute)+1 {
			b.unaccounted = true
		}
	}
	b.records.Made = made
	b.unaccounted = b.unaccounted || !act.IsZero() && !act.Before(end.Add(time.Minute))
	if !whole && b.records.missing() <= slackRecords {
		b.records.Stored = made
	}
	return nil
}

// accounted is what one sensor says that it made, and of which minutes.
type accounted struct {
	made    uint64
	first   time.Time
	last    time.Time
	minutes map[time.Time]bool
}

// incomplete reports whether records are known to be missing.
func (b *builder) incomplete() bool {
	return b.unaccounted || b.records.Made > b.records.Stored
}

// lossBetween is the share of packets, over all sensors, that were not seen in
// the minutes that touch a stretch of time.
func (b *builder) lossBetween(from, to time.Time) float64 {
	from, to = from.Add(-time.Minute), to.Add(time.Minute)
	first, _ := slices.BinarySearchFunc(b.losses, from, func(l loss, t time.Time) int { return l.at.Compare(t) })
	var seen, dropped uint64
	for _, l := range b.losses[first:] {
		if l.at.After(to) {
			break
		}
		seen += l.seen
		dropped += l.dropped
	}
	if seen == 0 {
		return 0
	}
	return float64(dropped) / float64(seen)
}

func percent(share float64) string { return fmt.Sprintf("%.2g", 100*share) }
