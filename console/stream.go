package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store"
)

const streamPath = prefix + "/alerts/stream"

// changed tells a page that what it shows may be out of date. It is a state
// and not a difference, so a page that missed some misses nothing.
type changed struct {
	Alerts uint64    `json:"alerts" doc:"Alerts in the store"`
	Judged uint64    `json:"judged" doc:"Decisions made through this server since it started"`
	To     time.Time `json:"to" doc:"Time of the newest event or alert"`
}

// liveAlert is an alert that has come or changed.
type liveAlert struct {
	Why   string `json:"why" enum:"new,updated,judged"`
	Alert Record `json:"alert"`
}

// liveIncident is an incident that has changed.
type liveIncident struct {
	ID string `json:"id"`
}

// reset says that more was missed than is remembered.
type reset struct{}

// The hub looks at the store each second, or less often where looking takes so
// long that it would take more than a tenth of the time.
const (
	poll       = time.Second
	idleness   = 10
	remembered = 4096 // messages for those who come back
	watched    = 500  // newest alerts, by their own time, that are looked at one by one
	proof      = 15 * time.Second
)

// message is one that was sent, or is to be.
type message struct {
	id   int
	data any
}

// hub tells all open streams what happens. It looks only while there is one,
// and the first stream after a pause begins with what is there.
type hub struct {
	c *Console

	mu      sync.Mutex
	streams map[*stream]bool
	last    int       // number of the newest message
	ring    []message // the newest, in their order
	state   changed
	known   bool // state and seen are those of now
	seen    map[event.ID][sha256.Size]byte
	stop    context.CancelFunc // of who looks; nil: nobody does
}

type stream struct{ wake chan struct{} }

// start makes the hub ready. Numbers of messages go on where another process
// cannot have come to: a stream that comes back to a new server is told so.
func (h *hub) start(c *Console) {
	h.c, h.streams = c, map[*stream]bool{}
	h.last = int(time.Now().UnixMicro())
}

func (h *hub) send(data any) {
	h.last++
	h.ring = append(h.ring, message{h.last, data})
	if len(h.ring) > remembered {
		h.ring = append(h.ring[:0], h.ring[len(h.ring)-remembered:]...)
	}
	for s := range h.streams {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// judged tells of decisions.
func (h *hub) judged(alerts []event.Alert) {
	if len(alerts) == 0 {
		return
	}
	h.c.judged.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Judged = h.c.judged.Load()
	for _, a := range alerts[:min(len(alerts), watched)] {
		e := a.Event()
		r := newRecord(&e)
		if h.known {
			h.seen[e.ID] = sha256.Sum256(r)
		}
		h.send(liveAlert{"judged", r})
	}
	h.send(h.state)
}

// touch tells that something about what is shown has changed.
func (h *hub) touch() {
	h.c.judged.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Judged = h.c.judged.Load()
	h.send(h.state)
}

func (h *hub) incident(i incident.Incident) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send(liveIncident{i.ID})
}

// look finds out what has changed in the store.
func (h *hub) look(ctx context.Context) error {
	now := changed{Judged: h.c.judged.Load()}
	var err error
	if now.Alerts, err = h.c.total(ctx, store.Alerts); err != nil {
		return err
	}
	if _, now.To, err = h.c.Store.Span(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	was, known := h.state, h.known
	h.mu.Unlock()
	if known && now.Alerts == was.Alerts && now.To.Equal(was.To) {
		return nil // an alert that grows has newer events
	}
	type seen struct {
		id  event.ID
		sum [sha256.Size]byte
		r   Record
	}
	var newest []seen
	for e, err := range h.c.Store.Search(ctx, store.Query{Set: store.Alerts, Desc: true, Limit: watched}) {
		if err != nil {
			return err
		}
		r := newRecord(&e)
		newest = append(newest, seen{e.ID, sha256.Sum256(r), r})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err // the last stream has left
	}
	sums := make(map[event.ID][sha256.Size]byte, len(newest))
	var news []liveAlert
	for _, x := range newest {
		sums[x.id] = x.sum
		switch old, had := h.seen[x.id]; {
		case !had:
			news = append(news, liveAlert{"new", x.r})
		case !bytes.Equal(old[:], x.sum[:]):
			news = append(news, liveAlert{"updated", x.r})
		}
	}
	h.seen = sums
	now.Judged = h.c.judged.Load()
	if h.known {
		for i := len(news) - 1; i >= 0; i-- { // earliest first
			h.send(news[i])
		}
	}
	if now != h.state || !h.known {
		h.state = now
		h.send(now)
	}
	h.known = true
	return nil
}

// watch looks at the store until ctx ends.
func (h *hub) watch(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			h.c.Log.Warn("console: live alerts", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(poll, idleness*time.Since(began))):
		}
	}
}

// join opens a stream. The first one begins to look, the last one ends it.
func (h *hub) join() (*stream, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) >= maxStreams {
		return nil, false
	}
	s := &stream{wake: make(chan struct{}, 1)}
	h.streams[s] = true
	if h.stop == nil {
		var ctx context.Context
		ctx, h.stop = context.WithCancel(context.Background())
		go h.watch(ctx)
	}
	return s, true
}

func (h *hub) leave(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
	if len(h.streams) == 0 {
		h.stop()
		h.stop, h.known, h.seen = nil, false, nil
	}
}

// after returns what was sent after a message, and whether that is all.
func (h *hub) after(id int) (list []message, whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id > h.last {
		return nil, false
	}
	first := h.last - len(h.ring) // the newest that is forgotten
	if id < first {
		return nil, false
	}
	return append([]message(nil), h.ring[id-first:]...), true
}

func (h *hub) now() (changed, int, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.last, h.known
}

type streamInput struct {
	LastID string `header:"Last-Event-ID" maxLength:"32" doc:"id of the last message that came; browsers send it by themselves"`
}

func (c *Console) registerStream(api huma.API) {
	o := operation("watch-alerts", "GET", "/alerts/stream", account.Read, "", "Server-sent events: alerts as they come, change and are judged; see docs/API.md")
	sse.Register(api, o, map[string]any{
		"changed": changed{}, "alert": liveAlert{}, "incident": liveIncident{}, "reset": reset{},
	}, c.stream)
}

func (c *Console) stream(ctx context.Context, in *streamInput, send sse.Sender) {
	s, ok := c.hub.join()
	if !ok {
		return // the browser tries again by itself
	}
	defer c.hub.leave(s)
	at, err := strconv.Atoi(in.LastID)
	resumes := err == nil && in.LastID != ""
	if resumes {
		if _, whole := c.hub.after(at); !whole {
			if send(sse.Message{Data: reset{}}) != nil {
				return
			}
			resumes = false
		}
	}
	if !resumes {
		// Begin with what is there now, once the hub knows it.
		for {
			now, id, known := c.hub.now()
			if known {
				if at = id; send(sse.Message{ID: id, Data: now}) != nil {
					return
				}
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			case <-time.After(poll):
			}
		}
	}
	proofs := time.NewTicker(proof)
	defer proofs.Stop()
	for {
		list, whole := c.hub.after(at)
		if !whole { // a client that reads more slowly than alerts come
			now, id, _ := c.hub.now()
			if send(sse.Message{Data: reset{}}) != nil || send(sse.Message{ID: id, Data: now}) != nil {
				return
			}
			at = id
		}
		for _, m := range list {
			if send(sse.Message{ID: m.id, Data: m.data}) != nil {
				return
			}
			at = m.id
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-proofs.C:
			if !c.lasts(ctx) {
				return
			}
		}
	}
}

// lasts reports whether who asked may still: a stream can be open for longer
// than a session or token lasts.
func (c *Console) lasts(ctx context.Context) bool {
	p := who(ctx)
	if p.again == nil {
		return true
	}
	now, err := p.again(ctx)
	return err == nil && now.name == p.name && now.may(account.Read)
}
