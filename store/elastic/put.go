package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Stats count what a Store has written since it was opened.
type Stats struct {
	Events     uint64 // taken by the server
	Alerts     uint64 // reports written
	Duplicates uint64 // events that were there already, also when a request was sent again
	Refused    uint64 // given to Reject
	Requests   uint64 // bulk requests
	Again      uint64 // bulk requests that were sent again, whole or in part
	Conflicts  uint64 // reports of an alert that met another process's
	Blocked    bool   // a request waits for the server now
	BatchBytes int    // size at which a request is closed, as it adapts
}

type counters struct {
	events, alerts, duplicates, refused, requests, again, conflicts atomic.Uint64
	blocked                                                         atomic.Int64 // requests that wait
}

// Stats returns what has been counted.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Events: c.events.Load(), Alerts: c.alerts.Load(), Duplicates: c.duplicates.Load(), Refused: c.refused.Load(),
		Requests: c.requests.Load(), Again: c.again.Load(), Conflicts: c.conflicts.Load(), Blocked: c.blocked.Load() > 0, BatchBytes: s.size.limit(),
	}
}

// adaptive is the size of a bulk request. It grows while requests are answered
// soon, and is halved when the server is short of capacity or slow.
type adaptive struct {
	sync.Mutex
	bytes int
}

const (
	leastBatch = 64 << 10
	firstBatch = 1 << 20
	mostBatch  = 8 << 20

	soon = 500 * time.Millisecond
	late = 5 * time.Second
)

func (a *adaptive) reset() { a.bytes = firstBatch }

func (a *adaptive) limit() int {
	a.Lock()
	defer a.Unlock()
	return a.bytes
}

// took adapts to how long a request of n bytes took.
func (a *adaptive) took(n int, d time.Duration) {
	a.Lock()
	defer a.Unlock()
	switch {
	case d > late:
		a.bytes = max(a.bytes/2, leastBatch)
	case d < soon && n >= a.bytes/2:
		a.bytes = min(a.bytes+a.bytes/4, mostBatch)
	}
}

func (a *adaptive) tooMuch() {
	a.Lock()
	defer a.Unlock()
	a.bytes = max(a.bytes/2, leastBatch)
}

// batch is the body of a bulk request: two lines for each document.
type batch struct {
	buf  bytes.Buffer
	enc  event.Encoder
	docs []document
	line []byte
}

// document is one of a batch.
type document struct {
	id       event.ID
	index    string
	from, to int // in the buffer
	doc      int // where the JSON begins
}

func (b *batch) reset() {
	b.buf.Reset()
	b.docs = b.docs[:0]
}

// add appends a document: what to do with it, and its JSON without a line end.
func (b *batch) add(action, index string, id event.ID, condition string, json func([]byte) []byte) {
	d := document{id: id, index: index, from: b.buf.Len()}
	l := append(b.line[:0], `{"`...)
	l = append(l, action...)
	l = append(l, `":{"_index":"`...)
	l = append(l, index...)
	l = append(l, `","_id":"`...)
	l = append(l, id.String()...)
	l = append(l, '"')
	l = append(l, condition...)
	l = append(l, "}}\n"...)
	d.doc = d.from + len(l)
	if json != nil {
		l = append(json(l), '\n')
	}
	b.buf.Write(l)
	b.line = l
	d.to = b.buf.Len()
	b.docs = append(b.docs, d)
}

// keep leaves only the documents of some indices.
func (b *batch) keep(which []int) {
	all := b.buf.Bytes()
	n := 0
	for i, w := range which {
		d := b.docs[w]
		size := copy(all[n:], all[d.from:d.to])
		d.doc, d.from, d.to = d.doc-d.from+n, n, n+size
		b.docs[i] = d
		n += size
	}
	b.buf.Truncate(n)
	b.docs = b.docs[:len(which)]
}

func (b *batch) json(d *document) []byte {
	return bytes.TrimSuffix(b.buf.Bytes()[d.doc:d.to], []byte("\n"))
}

// result is what became of one document.
type result struct {
	status int
	kind   string
	reason string
}

// Put implements store.Store. It waits while the server has no capacity, is
// away, or may not write, until ctx ends: the caller's queue grows instead of
// events getting lost. Memory is bounded by Writers requests of 8 MB.
func (s *Store) Put(ctx context.Context, events []event.Event, alerts []event.Alert) error {
	for i := range events {
		if events[i].ID.IsZero() {
			return s.wrap("put", fmt.Errorf("event %d of %d has no ID", i+1, len(events)))
		}
	}
	for i := range alerts {
		if alerts[i].ID.IsZero() {
			return s.wrap("put", fmt.Errorf("alert %d of %d has no ID", i+1, len(alerts)))
		}
	}
	if err := ctx.Err(); err != nil {
		return s.wrap("put", err)
	}
	if s.closed.Load() {
		return s.wrap("put", errClosed)
	}
	for len(events) > 0 {
		n, err := s.putEvents(ctx, events)
		if err != nil {
			return s.wrap("put", err)
		}
		events = events[n:]
	}
	return s.wrap("put", s.putAlerts(ctx, alerts))
}

// slot waits for leave to send a request; release gives it back.
func (s *Store) slot(ctx context.Context) (b *batch, release func(), err error) {
	select {
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case b = <-s.slots:
		b.reset()
		return b, func() { s.slots <- b }, nil
	}
}

// putEvents puts as many events as a request has room for, and says how many.
func (s *Store) putEvents(ctx context.Context, events []event.Event) (int, error) {
	b, release, err := s.slot(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	limit := s.size.limit()
	n := 0
	var day event.ID // of index
	var index string
	for ; n < len(events) && (n == 0 || b.buf.Len() < limit); n++ {
		e := &events[n]
		if index == "" || !sameDay(day, e.ID) {
			day, index = e.ID, s.eventIndex(e.ID)
		}
		b.add("create", index, e.ID, "", func(to []byte) []byte { return b.enc.Append(to, e) })
	}
	return n, s.send(ctx, b, func(_ document, r result) error {
		switch {
		case r.status/100 == 2:
			s.stats.events.Add(1)
		case r.status == http.StatusConflict:
			s.stats.duplicates.Add(1)
		default:
			return errRefused
		}
		return nil
	})
}

func sameDay(a, b event.ID) bool {
	const day = 24 * 60 * 60 * 1000
	return a.Time().UnixMilli()/day == b.Time().UnixMilli()/day
}

// errRefused says that the server will never take a document.
var errRefused = errors.New("refused")

var bulkAnswer = url.Values{"filter_path": {"errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by"}}

// send sends a batch, again as often as needed, until each document is with
// the server or refused. settled is told of each; when it returns errRefused
// the document goes to Reject.
func (s *Store) send(ctx context.Context, b *batch, settled func(document, result) error) error {
	hold := holdUp{s: s}
	defer hold.end()
	for attempt := 0; len(b.docs) > 0; attempt++ {
		if attempt > 0 {
			s.stats.again.Add(1)
			if err := pause(ctx, attempt-1); err != nil {
				return errors.Join(err, hold.why)
			}
		}
		s.stats.requests.Add(1)
		began := time.Now()
		results, err := s.bulk(ctx, b)
		switch {
		case err != nil && ctx.Err() != nil:
			return errors.Join(err, hold.why)
		case isStatus(err, http.StatusRequestEntityTooLarge):
			s.size.tooMuch()
			if err := s.halve(ctx, b, settled); err != nil {
				return err
			}
			return nil
		case err != nil && passing(err):
			s.size.tooMuch()
			hold.because(err)
			continue
		case err != nil:
			return err
		}
		s.size.took(b.buf.Len(), time.Since(began))
		var again []int
		var refused []Refused
		for i, r := range results {
			d := b.docs[i]
			if r.status/100 != 2 && passingStatus(r.status, r.kind, r.reason) {
				again = append(again, i)
				hold.because(&fault{r.status, r.kind, r.reason})
				continue
			}
			s.wrote(d.index)
			switch err := settled(d, r); {
			case err == errRefused && r.status != http.StatusUnauthorized && r.status != http.StatusForbidden && r.status != http.StatusNotFound:
				refused = append(refused, Refused{ID: d.id, Index: d.index, Status: r.status, Reason: r.kind + ": " + r.reason, JSON: b.json(&d)})
			case err == errRefused:
				return &fault{r.status, r.kind, r.reason}
			case err != nil:
				return err
			}
		}
		if len(refused) > 0 {
			if err := s.reject(ctx, refused); err != nil {
				return err
			}
		}
		if len(again) > 0 {
			s.size.tooMuch()
		}
		b.keep(again)
	}
	return nil
}

// halve sends a batch that is too large for the server in two.
func (s *Store) halve(ctx context.Context, b *batch, settled func(document, result) error) error {
	if len(b.docs) < 2 {
		d := b.docs[0]
		return s.reject(ctx, []Refused{{ID: d.id, Index: d.index, Status: http.StatusRequestEntityTooLarge,
			Reason: "larger than http.max_content_length of the server", JSON: b.json(&d)}})
	}
	second := new(batch)
	middle := len(b.docs) / 2
	cut := b.docs[middle].from
	second.buf.Write(b.buf.Bytes()[cut:])
	for _, d := range b.docs[middle:] {
		d.from, d.doc, d.to = d.from-cut, d.doc-cut, d.to-cut
		second.docs = append(second.docs, d)
	}
	b.buf.Truncate(cut)
	b.docs = b.docs[:middle]
	if err := s.send(ctx, b, settled); err != nil {
		return err
	}
	return s.send(ctx, second, settled)
}

func (s *Store) reject(ctx context.Context, refused []Refused) error {
	if s.cfg.Reject == nil {
		r := refused[0]
		return fmt.Errorf("%d documents are refused; the first is %s in %s: %s", len(refused), r.ID, r.Index, r.Reason)
	}
	if err := s.cfg.Reject(ctx, refused); err != nil {
		return fmt.Errorf("put %d refused documents aside: %w", len(refused), err)
	}
	s.stats.refused.Add(uint64(len(refused)))
	return nil
}

// bulk sends a batch once.
func (s *Store) bulk(ctx context.Context, b *batch) ([]result, error) {
	text, err := s.do(ctx, http.MethodPost, "/_bulk", bulkAnswer, "application/x-ndjson", b.buf.Bytes())
	if err != nil {
		return nil, err
	}
	results := make([]result, len(b.docs))
	if bytes.HasPrefix(text, []byte(`{"errors":false`)) {
		for i := range results {
			results[i].status = http.StatusOK
		}
		return results, nil
	}
	var answer struct {
		Items []map[string]struct {
			Status int    `json:"status"`
			Error  *cause `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Items) != len(results) {
		return nil, fmt.Errorf("an answer for %d of %d documents: %w", len(answer.Items), len(results), err)
	}
	for i, item := range answer.Items {
		for _, x := range item {
			results[i].status = x.Status
			if x.Error != nil {
				results[i].kind, results[i].reason = x.Error.Type, x.Error.String()
			}
		}
	}
	return results, nil
}

// holdUp tells of a request that has to be sent again: once when it begins, and
// when it is over.
type holdUp struct {
	s     *Store
	why   error
	since time.Time
}

func (h *holdUp) because(err error) {
	if h.why == nil {
		h.since = time.Now()
		h.s.stats.blocked.Add(1)
		h.s.cfg.Log.Warn("elasticsearch: waiting", "cluster", h.s.name, "why", err.Error())
	}
	h.why = err
}

func (h *holdUp) end() {
	if h.why != nil {
		h.s.stats.blocked.Add(-1)
		h.s.cfg.Log.Info("elasticsearch: waiting no longer", "cluster", h.s.name, "after", time.Since(h.since).Round(time.Millisecond))
	}
}
