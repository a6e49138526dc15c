package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Entry is an event on its way. It is borrowed.
type Entry struct {
	Route  Route
	Time   time.Time
	Key    []byte // events of a key stay in order
	Sensor []byte
	Value  []byte // the event's JSON
}

// Route says where an entry goes.
type Route uint8

// Routes.
const (
	ToEvents  Route = iota // where all events go
	ToSensors              // accounts go there as well
	NumRoutes
)

// append appends what a record holds of an entry: route, time in nanoseconds
// since 1970, and key and sensor with their lengths before the value.
func (e *Entry) append(b []byte) []byte {
	b = append(b, byte(e.Route))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixNano()))
	b = binary.AppendUvarint(b, uint64(len(e.Key)))
	b = append(b, e.Key...)
	b = binary.AppendUvarint(b, uint64(len(e.Sensor)))
	b = append(b, e.Sensor...)
	return append(b, e.Value...)
}

var errEntry = errors.New("spool: a record holds no event")

// parse reads what append wrote.
func (e *Entry) parse(b []byte) error {
	if len(b) < 9 || Route(b[0]) >= NumRoutes {
		return errEntry
	}
	e.Route = Route(b[0])
	e.Time = time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))).UTC()
	b = b[9:]
	for _, part := range []*[]byte{&e.Key, &e.Sensor} {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			return errEntry
		}
		*part, b = b[used:used+int(n)], b[used+int(n):]
	}
	e.Value = b
	return nil
}

// ClassOf returns the class of an event.
func ClassOf(e *event.Event) Class {
	switch e.Kind {
	case event.KindAlert, event.KindLedger:
		return Alerts
	case event.KindARP:
		return Assets
	case event.KindFlow:
		return Flows
	}
	switch e.Get("ics.operation").Str() {
	case "write", "control", "program", "download", "mode", "firmware":
		return Writes
	case "discover":
		return Assets
	}
	return Bulk
}

// Sink puts the events of a sensor into a spool. It never fails: what the spool
// does not take is counted, and goes into the next account of the sensor.
type Sink struct {
	spool *Spool
	key   func(*event.Event) string

	mu    sync.Mutex
	enc   event.Encoder
	json  []byte
	bufs  [NumClasses][]byte
	ends  [NumClasses][]int
	parts [][]byte
	told  Stats // of it, what went into accounts
}

// NewSink returns a sink, which several sensors may share. The key of an event
// says with which others it stays in order.
func NewSink(s *Spool, key func(*event.Event) string) *Sink { return &Sink{spool: s, key: key} }

// Publish implements sensor.Sink. It returns when the events are on disk, as
// far as Config.Sync says.
func (k *Sink) Publish(_ context.Context, batch []event.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range NumClasses {
		k.bufs[c], k.ends[c] = k.bufs[c][:0], k.ends[c][:0]
	}
	for i := range batch {
		e := &batch[i]
		c := ClassOf(e)
		if e.Kind != event.KindLedger {
			k.add(c, e, ToEvents)
			continue
		}
		account := e.Clone()
		k.account(&account)
		k.add(c, &account, ToEvents)
		k.add(c, &account, ToSensors)
	}
	for c := range NumClasses {
		if len(k.ends[c]) == 0 {
			continue
		}
		k.parts = k.parts[:0]
		from := 0
		for _, end := range k.ends[c] {
			k.parts = append(k.parts, k.bufs[c][from:end])
			from = end
		}
		k.spool.Append(c, k.parts...)
	}
	return nil
}

func (k *Sink) add(c Class, e *event.Event, to Route) {
	k.json = k.enc.Append(k.json[:0], e)
	entry := Entry{Route: to, Time: e.Time, Key: []byte(k.key(e)), Sensor: []byte(e.Sensor), Value: k.json}
	k.bufs[c] = entry.append(k.bufs[c])
	k.ends[c] = append(k.ends[c], len(k.bufs[c]))
}

// Names of what an account says of the spool, behind event.LedgerPrefix.
const (
	fullPrefix   = "spool_full."
	failedPrefix = "spool_failed."
	spooledName  = "spooled"
)

// account adds to a sensor's account what became of events since the last.
func (k *Sink) account(e *event.Event) {
	now := k.spool.Stats()
	var spooled uint64
	for c := range NumClasses {
		spooled += now.Spooled[c] - k.told.Spooled[c]
		if n := now.Full[c] - k.told.Full[c]; n > 0 {
			e.Set(event.LedgerPrefix+fullPrefix+c.String(), event.Uint(n))
		}
		if n := now.Failed[c] - k.told.Failed[c]; n > 0 {
			e.Set(event.LedgerPrefix+failedPrefix+c.String(), event.Uint(n))
		}
	}
	e.Set(event.LedgerPrefix+spooledName, event.Uint(spooled))
	k.told = now
}

// Fields documents what a sink adds to accounts.
func Fields() []event.FieldDoc {
	docs := []event.FieldDoc{{Name: event.LedgerPrefix + spooledName, Type: event.Long, Help: "Events, accounts included, that the spool took since the last account.", Class: event.ClassTechnical}}
	for c := range NumClasses {
		docs = append(docs,
			event.FieldDoc{Name: event.LedgerPrefix + fullPrefix + c.String(), Type: event.Long, Help: "Events of this class that were discarded because the spool was full, since the last account.", Class: event.ClassTechnical},
			event.FieldDoc{Name: event.LedgerPrefix + failedPrefix + c.String(), Type: event.Long, Help: "Events of this class that the spool's disk did not take, since the last account.", Class: event.ClassTechnical})
	}
	return docs
}
