package console

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

func (c *Console) registerSituation() {
	handle(c, operation("status", "GET", "/status", account.Read, "", "What is stored, by whom it was seen, and what was lost"), c.status)
	handle(c, operation("situation", "GET", "/situation", account.Read, "", "How things stand: level, alerts, sectors, zones, techniques, and what is not seen"), c.situation)
	handle(c, operation("sensors", "GET", "/sensors", account.Read, "", "The sensors' accounts, taps and clocks"), c.sensorList)
}

type spanInput struct {
	From time.Time `query:"from" doc:"Absent: 24 hours before to"`
	To   time.Time `query:"to" doc:"Absent: the newest that is stored, since captures may be old"`
}

// bounds of a time that is asked about: by default the last of the data, not of
// the wall clock.
func (c *Console) bounds(ctx context.Context, in *spanInput) (from, to time.Time, err error) {
	from, to = in.From, in.To
	if to.IsZero() {
		_, last, err := c.Store.Span(ctx)
		if err != nil || last.IsZero() {
			return from, last, err
		}
		to = last.Add(1)
	}
	if from.IsZero() {
		from = to.Add(-ledgerSpan)
	}
	return from, to, nil
}

type count struct {
	Value string `json:"value"`
	Name  string `json:"name,omitempty"`
	Count uint64 `json:"count"`
}

type technique struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Tactics []string  `json:"tactics" nullable:"false"`
	Count   uint64    `json:"count"`
	Last    time.Time `json:"last"`
}

type unseen struct {
	Loss    float64  `json:"loss" doc:"Share of packets that were dropped, 0 to 1"`
	Seen    uint64   `json:"seen" doc:"Packets"`
	Dropped uint64   `json:"dropped"`
	Causes  []bucket `json:"causes" nullable:"false"`
	Silent  []string `json:"silent" nullable:"false" doc:"Sensors that have reported nothing for the last 10 minutes of the data"`
	Blind   []count  `json:"blind" nullable:"false" doc:"Services in which nothing can be read: flows that no parser has understood, by transport and port"`
}

type situationBody struct {
	From       time.Time         `json:"from"`
	To         time.Time         `json:"to"`
	Interval   int64             `json:"interval_ms"`
	Level      string            `json:"level" enum:"none,blue,yellow,orange,red" doc:"Of the worst alert that is not closed: blue low, yellow medium, orange high, red critical"`
	Because    string            `json:"because,omitempty" doc:"event.id of that alert"`
	Open       map[string]uint64 `json:"open" nullable:"false" doc:"Alerts that are not closed, by level"`
	Unassigned uint64            `json:"unassigned" doc:"Of them, whose nobody's task is"`
	Incidents  map[string]int    `json:"incidents" nullable:"false" doc:"By state"`
	Histogram  []bucket          `json:"histogram" nullable:"false" doc:"Alerts by time and level"`
	Sectors    []count           `json:"sectors" nullable:"false" doc:"Of the targets, or else the sources, as the file of assets names them"`
	Zones      []count           `json:"zones" nullable:"false"`
	Sources    []count           `json:"sources" nullable:"false"`
	Targets    []count           `json:"targets" nullable:"false"`
	Rules      []count           `json:"rules" nullable:"false"`
	Techniques []technique       `json:"techniques" nullable:"false" doc:"The newest first"`
	Unseen     unseen            `json:"unseen"`
}

// colours are the warning levels of an alert's level.
var colours = map[string]string{"low": "blue", "medium": "yellow", "high": "orange", "critical": "red"}

const (
	situationTop = 10
	silence      = 10 * time.Minute
)

// tally counts and remembers names.
type tally map[string]*count

func (t tally) add(value, name string) {
	if value == "" {
		return
	}
	x := t[value]
	if x == nil {
		x = &count{Value: value, Name: name}
		t[value] = x
	}
	x.Count++
}

func (t tally) top() []count {
	list := []count{}
	for _, x := range t {
		list = append(list, *x)
	}
	slices.SortFunc(list, func(a, b count) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value)) })
	return list[:min(len(list), situationTop)]
}

func (c *Console) situation(ctx context.Context, in *spanInput) (*body[situationBody], error) {
	from, to, err := c.bounds(ctx, in)
	if err != nil {
		return nil, err
	}
	step := stepFor(to.Sub(from))
	out := situationBody{
		From: from, To: to, Interval: step.Milliseconds(), Level: "none", Open: map[string]uint64{}, Incidents: map[string]int{},
		Histogram: []bucket{}, Techniques: []technique{},
	}
	q, _, err := c.alertQuery(ctx, &Selection{From: from, To: to}, Sighting{})
	if err != nil {
		return nil, err
	}
	type cell struct {
		at    int64
		level string
	}
	cells := map[cell]uint64{}
	sectors, zones, sources, targets, rules := tally{}, tally{}, tally{}, tally{}, tally{}
	techniques := map[string]*technique{}
	worst := 0
	for e, err := range c.Store.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			return nil, err
		}
		cells[cell{e.Time.Truncate(step).UnixNano(), a.Level}]++
		if a.Triage.Status != "closed" {
			out.Open[a.Level]++
			if a.Triage.Assignee == "" {
				out.Unassigned++
			}
			if a.Severity >= worst {
				worst, out.Because, out.Level = a.Severity, a.ID.String(), cmp.Or(colours[a.Level], "none")
			}
		}
		rules.add(a.Rule.ID, a.Rule.Name)
		c.places(&a, sectors, zones)
		for _, x := range a.Sources {
			sources.add(x.String(), c.nameOf(x))
		}
		for _, x := range a.Targets {
			targets.add(x.String(), c.nameOf(x))
		}
		for _, t := range a.Techniques {
			x := techniques[t.ID]
			if x == nil {
				x = &technique{ID: t.ID, Name: t.Name, Tactics: append([]string{}, t.Tactics...)}
				techniques[t.ID] = x
			}
			x.Count++
			x.Last = e.Time // they come in order of time
		}
	}
	if out.Level == "none" {
		out.Because = ""
	}
	for k, n := range cells {
		at := time.Unix(0, k.at).UTC()
		out.Histogram = append(out.Histogram, bucket{Time: &at, Value: k.level, Count: n})
	}
	slices.SortFunc(out.Histogram, func(a, b bucket) int { return cmp.Or(a.Time.Compare(*b.Time), cmp.Compare(a.Value, b.Value)) })
	out.Sectors, out.Zones, out.Sources, out.Targets, out.Rules = sectors.top(), zones.top(), sources.top(), targets.top(), rules.top()
	for _, t := range techniques {
		out.Techniques = append(out.Techniques, *t)
	}
	slices.SortFunc(out.Techniques, func(a, b technique) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID)) })
	incidents, err := c.book.List(ctx, incident.Filter{})
	if err != nil {
		return nil, err
	}
	for _, i := range incidents {
		out.Incidents[i.State]++
	}
	out.Unseen, err = c.unseen(ctx, from, to)
	return &body[situationBody]{out}, err
}

// places counts where an alert has happened: at its targets, or else at its
// sources. One that touches a zone twice counts once.
func (c *Console) places(a *event.Alert, sectors, zones tally) {
	if c.Owner == nil {
		return
	}
	for _, side := range [][]netip.Addr{a.Targets, a.Sources} {
		sector, zone := map[string]bool{}, map[string]bool{}
		for _, x := range side {
			if o, ok := c.Owner(x); ok {
				sector[o.Sector], zone[o.Zone] = true, true
			}
		}
		for s := range sector {
			sectors.add(s, "")
		}
		for z := range zone {
			zones.add(z, "")
		}
		if len(sector)+len(zone) > 0 {
			return
		}
	}
}

func (c *Console) unseen(ctx context.Context, from, to time.Time) (unseen, error) {
	u := unseen{Causes: []bucket{}, Silent: []string{}, Blind: []count{}}
	sensors, err := c.accounting(ctx, from, to)
	if err != nil {
		return u, err
	}
	causes := map[string]uint64{}
	for _, s := range sensors {
		u.Seen += s.Seen
		u.Dropped += s.Dropped
		for _, b := range s.Causes {
			causes[b.Value] += b.Count
		}
		if s.Silent >= silence.Seconds() {
			u.Silent = append(u.Silent, s.Name)
		}
	}
	u.Loss = float64(u.Dropped) / float64(max(u.Seen, 1))
	for cause, n := range causes {
		u.Causes = append(u.Causes, bucket{Value: cause, Count: n})
	}
	slices.SortFunc(u.Causes, byCount)
	// Connections that carried something, and of which nobody knows what.
	where := query.And{
		query.OfKind(event.KindFlow), query.Not{Node: query.Exists{Field: "network.protocol"}},
		query.Compare{Field: "tocsin.flow.state", Value: query.Literal{Text: "SF", Quoted: true}},
	}
	blind, err := c.Store.Count(ctx, store.Query{Set: store.Events, Where: where, From: from, To: to}, store.By{Field: "destination.port", Top: situationTop})
	for _, b := range blind {
		u.Blind = append(u.Blind, count{Value: b.Value.String(), Count: b.Count})
	}
	return u, err
}

func byCount(a, b bucket) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
}

type minuteAccount struct {
	Time     time.Time `json:"time"`
	Seen     uint64    `json:"seen"`
	Decoded  uint64    `json:"decoded"`
	Filtered uint64    `json:"filtered"`
	Dropped  uint64    `json:"dropped"`
	Events   uint64    `json:"events"`
}

type sensorAccount struct {
	sensorStatus
	Silent  float64         `json:"silent_s" doc:"How far behind the newest of all sensors, seconds"`
	Off     int64           `json:"off" doc:"seen - decoded - filtered - dropped; 0: the account balances"`
	Loss    float64         `json:"loss" doc:"Share of packets that were dropped, 0 to 1"`
	Other   []bucket        `json:"other" nullable:"false" doc:"What else the account has, such as events by kind of loss"`
	Minutes []minuteAccount `json:"minutes" nullable:"false" doc:"The last 1440 at most"`
	Tap     Record          `json:"tap,omitempty" doc:"The newest verdict on the tap"`
	Clock   *clock          `json:"clock,omitempty" doc:"Absent of captures that are replayed"`
}

// clock is how a sensor knows the time.
type clock struct {
	Source       string `json:"source" doc:"Who stamps packets: hardware, which is the network card, or kernel"`
	Synchronized bool   `json:"synchronized" doc:"NTP or PTP keeps the clock of the sensor's system"`
	Error        int64  `json:"error_ns,omitempty" doc:"How far that may be wrong at most, as its kernel estimates"`
	Offset       int64  `json:"offset_ns,omitempty" doc:"How far the card's clock is ahead of it"`
}

// clockOf reads the clock of a ledger event; nil: it says nothing of one.
func clockOf(e *event.Event) *clock {
	v := e.Get("tocsin.tap.clock.source")
	if v.IsZero() {
		return nil
	}
	k := &clock{Source: v.Str()}
	k.Synchronized, _ = e.Get("tocsin.tap.clock.synchronized").Bool()
	k.Error, _ = e.Get("tocsin.tap.clock.error").Int()
	k.Offset, _ = e.Get("tocsin.tap.clock.offset").Int()
	return k
}

const maxMinutes = 1440

func (c *Console) sensorList(ctx context.Context, in *spanInput) (*body[items[sensorAccount]], error) {
	from, to, err := c.bounds(ctx, in)
	if err != nil {
		return nil, err
	}
	return listOf(c.accounting(ctx, from, to))
}

// accounting adds up the ledger events of a time, by sensor, and finds the
// newest verdict on each tap.
func (c *Console) accounting(ctx context.Context, from, to time.Time) ([]sensorAccount, error) {
	accounts, minutes, clocks := map[string]event.Ledger{}, map[string][]minuteAccount{}, map[string]*clock{}
	var newest time.Time
	for e, err := range c.Store.Search(ctx, store.Query{Set: store.Events, Where: query.OfKind(event.KindLedger), From: from, To: to}) {
		if err != nil {
			return nil, err
		}
		if accounts[e.Sensor] == nil {
			accounts[e.Sensor] = event.Ledger{}
		}
		accounts[e.Sensor].Add(&e)
		one := event.Ledger{}
		one.Add(&e)
		m := minuteAccount{e.Time, one["seen"], one["decoded"], one["filtered"], one.Dropped(), one["events"]}
		list := minutes[e.Sensor]
		if n := len(list); n > 0 && list[n-1].Time.Equal(m.Time) { // several interfaces of one sensor
			was := &list[n-1]
			was.Seen, was.Decoded, was.Filtered = was.Seen+m.Seen, was.Decoded+m.Decoded, was.Filtered+m.Filtered
			was.Dropped, was.Events = was.Dropped+m.Dropped, was.Events+m.Events
		} else {
			minutes[e.Sensor] = append(list, m)
		}
		if k := clockOf(&e); k != nil {
			clocks[e.Sensor] = k
		}
		newest = e.Time // they come in order of time
	}
	taps := map[string]Record{}
	for e, err := range c.Store.Search(ctx, store.Query{Set: store.Events, Where: query.OfKind(event.KindTap), From: from, To: to}) {
		if err != nil {
			return nil, err
		}
		taps[e.Sensor] = newRecord(&e)
	}
	out := []sensorAccount{}
	for name, a := range accounts {
		list := minutes[name]
		last := list[len(list)-1].Time
		s := sensorAccount{
			sensorStatus: newSensorStatus(name, last, a), Silent: newest.Sub(last).Seconds(), Off: a.Off(),
			Loss:  float64(a.Dropped()) / float64(max(a["seen"], 1)),
			Other: []bucket{}, Clock: clocks[name], Minutes: list[max(0, len(list)-maxMinutes):], Tap: taps[name],
		}
		for field, n := range a {
			switch {
			case n == 0, field == "seen", field == "decoded", field == "filtered", field == "events", strings.HasPrefix(field, event.DroppedPrefix):
			default:
				s.Other = append(s.Other, bucket{Value: field, Count: n})
			}
		}
		slices.SortFunc(s.Other, byCount)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b sensorAccount) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}
