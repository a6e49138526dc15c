package console

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
	"github.com/tocsin/tocsin/trace"
)

// ledgerSpan is how much of the sensors' accounts the status adds up: the last
// of the data, not of the wall clock, since captures may be old.
const ledgerSpan = 24 * time.Hour

type sensorStatus struct {
	Name     string    `json:"name"`
	Newest   time.Time `json:"newest" doc:"Start of the last minute that it reported"`
	Seen     uint64    `json:"seen" doc:"Packets on the tap: decoded, filtered and dropped"`
	Decoded  uint64    `json:"decoded"`
	Filtered uint64    `json:"filtered"`
	Dropped  uint64    `json:"dropped"`
	Causes   []bucket  `json:"causes" nullable:"false" doc:"Dropped packets by cause, by falling count"`
	Events   uint64    `json:"events" doc:"Events made"`
}

type formatStatus struct {
	Name string `json:"name"`
	Ext  string `json:"ext"`
	MIME string `json:"mime"`
}

type statusBody struct {
	Version string         `json:"version"`
	From    *time.Time     `json:"from,omitempty" doc:"Time of the earliest event or alert; absent if there is none"`
	To      *time.Time     `json:"to,omitempty" doc:"Time of the latest"`
	Alerts  uint64         `json:"alerts" doc:"Alerts in the store"`
	Events  uint64         `json:"events" doc:"Events in the store"`
	Sensors []sensorStatus `json:"sensors" nullable:"false" doc:"Accounts of the last 24 hours of the data, by name"`
	Formats []formatStatus `json:"formats" nullable:"false" doc:"In which a trace can be had"`
}

func (c *Console) status(ctx context.Context, _ *struct{}) (*body[statusBody], error) {
	out := statusBody{Version: c.Version, Formats: each(c.Formats, func(f trace.Format) formatStatus {
		return formatStatus{f.Name, f.Ext, f.MIME}
	})}
	first, last, err := c.Store.Span(ctx)
	if err != nil {
		return nil, err
	}
	if !last.IsZero() {
		out.From, out.To = &first, &last
	}
	if out.Alerts, err = c.total(ctx, store.Alerts); err != nil {
		return nil, err
	}
	if out.Events, err = c.total(ctx, store.Events); err != nil {
		return nil, err
	}
	out.Sensors, err = c.sensors(ctx, last.Add(-ledgerSpan))
	return &body[statusBody]{out}, answer(err)
}

func (c *Console) total(ctx context.Context, set store.Set) (n uint64, err error) {
	buckets, err := c.Store.Count(ctx, store.Query{Set: set}, store.By{})
	for _, b := range buckets {
		n += b.Count
	}
	return n, err
}

// sensors adds up the ledger events since a time.
func (c *Console) sensors(ctx context.Context, since time.Time) ([]sensorStatus, error) {
	accounts, newest := map[string]event.Ledger{}, map[string]time.Time{}
	for e, err := range c.Store.Search(ctx, store.Query{Set: store.Events, Where: query.OfKind(event.KindLedger), From: since}) {
		if err != nil {
			return nil, err
		}
		if accounts[e.Sensor] == nil {
			accounts[e.Sensor] = event.Ledger{}
		}
		accounts[e.Sensor].Add(&e)
		newest[e.Sensor] = e.Time // they come in order of time
	}
	out := []sensorStatus{}
	for name, a := range accounts {
		out = append(out, newSensorStatus(name, newest[name], a))
	}
	slices.SortFunc(out, func(a, b sensorStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func newSensorStatus(name string, newest time.Time, a event.Ledger) sensorStatus {
	s := sensorStatus{
		Name: name, Newest: newest, Seen: a["seen"], Decoded: a["decoded"], Filtered: a["filtered"],
		Dropped: a.Dropped(), Events: a["events"], Causes: []bucket{},
	}
	for field, n := range a {
		if cause, ok := strings.CutPrefix(field, event.DroppedPrefix); ok && n > 0 {
			s.Causes = append(s.Causes, bucket{Value: cause, Count: n})
		}
	}
	slices.SortFunc(s.Causes, byCount)
	return s
}
