package spread

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// Checkpoint is committed with the offset of a partition of signals.
type Checkpoint struct {
	Start   int64         `json:"start"`   // what is remembered was at this offset or later
	Horizon time.Duration `json:"horizon"` // of the memory, in nanoseconds
	Marks   []int64       `json:"marks"`   // of each partition of events, two numbers: Next, and Time in milliseconds, rounded down
}

// maxCheckpoint is how much text Kafka keeps with a commit by default
// (offset.metadata.max.bytes).
const maxCheckpoint = 4096

// String is the text to be committed. Where it would be too long, the marks are
// left out: whoever goes on then waits for new ones.
func (c Checkpoint) String() string {
	text, _ := json.Marshal(c) // numbers cannot fail
	if len(text) > maxCheckpoint {
		c.Marks = nil
		text, _ = json.Marshal(c)
	}
	return string(text)
}

// ParseCheckpoint is the inverse of String.
func ParseCheckpoint(text string) (c Checkpoint, err error) {
	if err = json.Unmarshal([]byte(text), &c); err != nil {
		return c, fmt.Errorf("checkpoint %.40q: %w", text, err)
	}
	if c.Start < 0 || len(c.Marks)%2 != 0 {
		return c, fmt.Errorf("checkpoint %.40q: want a start of 0 or more and two numbers for each mark", text)
	}
	return c, nil
}

// Keeper is stage two of one partition of signals.
type Keeper struct {
	memory *correlator.Memory
	marks  []Mark // of all partitions of events
	next   int64
	newest time.Time // of all signals and losses taken
	trail  []step
}

// step says that everything before an offset was at most so new.
type step struct {
	offset int64
	newest time.Time
}

// stepLength is how many messages lie between two steps of the trail: a memory
// is read again from at most so many messages earlier than would do.
const stepLength = 256

// NewKeeper makes a Keeper with an empty memory, which is its own from now on.
// sources is the number of partitions of events. Give it the partition of
// signals from offset next on.
func NewKeeper(memory *correlator.Memory, sources int, next int64) *Keeper {
	k := &Keeper{memory: memory, marks: make([]Mark, sources), next: next, trail: []step{{offset: next}}}
	for i := range k.marks {
		k.marks[i].Partition = i
	}
	return k
}

// Resume tells a Keeper that was made to begin at the Start of a checkpoint what
// its predecessor knew. Report when the committed offset is reached.
func (k *Keeper) Resume(c Checkpoint) {
	for i := range min(len(c.Marks)/2, len(k.marks)) {
		k.marks[i].Next = c.Marks[2*i]
		if ms := c.Marks[2*i+1]; ms > 0 {
			k.marks[i].Time = time.UnixMilli(ms).UTC()
		}
	}
	if clock := k.Clock(); !clock.IsZero() {
		k.memory.Resume(clock)
	}
}

// Suits reports whether the checkpoint's Start is early enough for the rules of
// today; where it is not, begin with the earliest offset there is.
func (k *Keeper) Suits(c Checkpoint) bool { return c.Horizon >= k.memory.Horizon() }

// Take remembers messages, the last of which is before the offset next.
func (k *Keeper) Take(messages []Message, next int64) {
	var signals []correlator.Signal
	var losses []correlator.Loss
	for i := range messages {
		switch m := &messages[i]; {
		case m.Signal != nil:
			signals = append(signals, *m.Signal)
			k.see(m.Signal.Time)
		case m.Loss != nil:
			losses = append(losses, *m.Loss)
			k.see(m.Loss.Minute)
		case m.Mark != nil:
			k.mark(m.Mark)
		}
	}
	k.memory.Add(signals, losses)
	k.next = next
	if next-k.trail[len(k.trail)-1].offset >= stepLength {
		k.trail = append(k.trail, step{next, k.newest})
	}
}

func (k *Keeper) see(t time.Time) {
	if t.After(k.newest) {
		k.newest = t
	}
}

func (k *Keeper) mark(m *Mark) {
	for m.Partition >= len(k.marks) { // the topic has grown
		k.marks = append(k.marks, Mark{Partition: len(k.marks)})
	}
	known := &k.marks[m.Partition]
	known.Next = max(known.Next, m.Next)
	if m.Time.After(known.Time) {
		known.Time = m.Time
	}
}

// Clock is the time up to which all partitions of events are read; zero while
// one of them has not been heard of.
func (k *Keeper) Clock() time.Time {
	clock := k.marks[0].Time
	for _, m := range k.marks {
		if m.Time.Before(clock) {
			clock = m.Time
		}
	}
	return clock
}

// Latest is the latest time of all marks.
func (k *Keeper) Latest() (t time.Time) {
	for _, m := range k.marks {
		if m.Time.After(t) {
			t = m.Time
		}
	}
	return t
}

// Reached reports whether every partition of events was read up to its offset in
// ends, as far as this partition of signals says.
func (k *Keeper) Reached(ends []int64) bool {
	for i, end := range ends {
		if end > 0 && (i >= len(k.marks) || k.marks[i].Next < end) {
			return false
		}
	}
	return true
}

// Report returns the alerts that are new or have changed. They are to be stored
// before Checkpoint and Next are committed.
func (k *Keeper) Report() []event.Alert {
	k.memory.Advance(k.Clock())
	return k.memory.Report()
}

// Flush says that no more events come and returns the alerts that were held
// back because a later one might have undone them.
func (k *Keeper) Flush() []event.Alert {
	k.memory.Advance(k.Clock())
	return k.memory.Flush()
}

// Next is the offset to commit: of the first message that was not taken.
func (k *Keeper) Next() int64 { return k.next }

// Checkpoint is what to commit with it.
func (k *Keeper) Checkpoint() Checkpoint {
	needed := k.Clock().Add(-k.memory.Horizon())
	n := 0
	for n+1 < len(k.trail) && k.trail[n+1].newest.Before(needed) {
		n++
	}
	k.trail = slices.Delete(k.trail, 0, n)
	c := Checkpoint{Start: k.trail[0].offset, Horizon: k.memory.Horizon()}
	for _, m := range k.marks {
		ms := int64(0)
		if !m.Time.IsZero() {
			ms = m.Time.UnixMilli()
		}
		c.Marks = append(c.Marks, m.Next, ms)
	}
	return c
}
