package evidence

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
)

// Pin keeps the packets of sessions until it is released, whatever becomes of
// the rest. The packets are cut out of the ring: those that it has already, from
// before whatever made somebody pin them, and those that come until the time of
// the sessions is over.
type Pin struct {
	ID       string    `json:"id"`   // of the alert or the incident
	Kind     string    `json:"kind"` // alert, incident
	Sessions []Session `json:"sessions"`
	Served   bool      `json:"served"`  // all is cut out
	Packets  uint64    `json:"packets"` // that were
	Bytes    int64     `json:"bytes"`   // on disk
}

// Bounds of pins.
const (
	maxPins         = 10_000
	maxPinSessions  = 200
	pinnedInPercent = 75 // of the ring's bound; beyond, nothing new is pinned
)

// ErrFull is returned for a pin for which there is no room: too much is pinned
// already. Release what is done with.
var ErrFull = errors.New("too much is pinned already")

// PinAlert is the pin of an alert: what its sources and targets exchanged from
// a while before it until a while after.
func PinAlert(a *event.Alert, before, after time.Duration) Pin {
	p := Pin{ID: a.ID.String(), Kind: "alert"}
	add := func(x, y netip.Addr) {
		if len(p.Sessions) < maxPinSessions {
			p.Sessions = append(p.Sessions, Session{Src: netip.AddrPortFrom(x, 0), Dst: netip.AddrPortFrom(y, 0), From: a.First.Add(-before), To: a.Last.Add(after)})
		}
	}
	for _, s := range a.Sources {
		for _, t := range a.Targets {
			add(s, t)
		}
		if len(a.Targets) == 0 {
			add(s, netip.Addr{})
		}
	}
	if len(a.Sources) == 0 {
		for _, t := range a.Targets {
			add(t, netip.Addr{})
		}
	}
	return p
}

// pin is a Pin under way.
type pin struct {
	Pin
	Done []string `json:"done"` // names of the files that it was cut out of, as long as the ring has them

	dir   string
	parts []*segment
	bytes int64
	from  time.Time
	to    time.Time
}

func (p *pin) wants(s *segment) bool {
	return !p.Served && !s.first.After(p.to) && !s.last.Before(p.from) && !slices.Contains(p.Done, filepath.Base(s.base))
}

func (p *pin) span() {
	for i := range p.Sessions {
		s := &p.Sessions[i]
		if i == 0 || s.From.Before(p.from) {
			p.from = s.From
		}
		if i == 0 || s.To.After(p.to) {
			p.to = s.To
		}
	}
}

func validID(id string) bool {
	return id != "" && len(id) <= 64 && strings.IndexFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// Pin pins packets. A pin that is there already takes the sessions on.
func (r *Ring) Pin(p Pin) error {
	switch {
	case !validID(p.ID):
		return fmt.Errorf("evidence: pin %q: want letters, digits, - and _, at most 64", p.ID)
	case len(p.Sessions) == 0 || len(p.Sessions) > maxPinSessions:
		return fmt.Errorf("evidence: pin %s: %d sessions: want 1 to %d", p.ID, len(p.Sessions), maxPinSessions)
	}
	for i := range p.Sessions {
		if s := &p.Sessions[i]; !s.Src.Addr().IsValid() || s.To.Before(s.From) {
			return fmt.Errorf("evidence: pin %s: session %d lacks an address, or ends before it begins", p.ID, i+1)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.pins[p.ID]
	if known == nil {
		if len(r.pins) >= maxPins || r.pinned > r.cfg.Bytes/100*pinnedInPercent {
			return fmt.Errorf("evidence: pin %s: %w", p.ID, ErrFull)
		}
		known = &pin{Pin: Pin{ID: p.ID, Kind: cmp.Or(p.Kind, "incident")}, dir: filepath.Join(r.cfg.Dir, pinFolder, p.ID)}
	}
	next := slices.Clone(known.Sessions)
	changed := len(next) == 0
	for _, s := range p.Sessions {
		i := slices.IndexFunc(next, func(x Session) bool {
			return x.Sensor == s.Sensor && x.Transport == s.Transport && x.Src == s.Src && x.Dst == s.Dst
		})
		switch {
		case i < 0 && len(next) < maxPinSessions:
			next = append(next, s)
			changed = true
		case i >= 0 && (s.From.Before(next[i].From) || s.To.After(next[i].To)):
			x := span{next[i].From, next[i].To}
			x.join(s.From, s.To)
			next[i].From, next[i].To = x.from, x.to
			changed = true
		}
	}
	if !changed {
		return nil
	}
	known.Sessions, known.Served, known.Done = next, false, nil
	known.span()
	if err := r.keep(known); err != nil {
		return fmt.Errorf("evidence: pin %s: %w", p.ID, err)
	}
	r.pins[p.ID] = known
	r.rouse()
	return nil
}

// keep writes down what is pinned, in the place of what was there. The lock is
// held.
func (r *Ring) keep(p *pin) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	write := func() error {
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return err
		}
		tmp := filepath.Join(p.dir, "pin.tmp")
		if err := os.WriteFile(tmp, text, 0o600); err != nil {
			return errors.Join(err, os.Remove(tmp))
		}
		return os.Rename(tmp, filepath.Join(p.dir, "pin.json"))
	}
	for {
		err := write()
		if err == nil || !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		r.mu.Unlock()
		freed := r.free(freeAtOnce)
		r.mu.Lock()
		if !freed {
			return err
		}
	}
}

// Release gives pinned packets up. It reports whether there were any.
func (r *Ring) Release(id string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pins[id]
	if p == nil {
		return false, nil
	}
	delete(r.pins, id)
	r.pinned -= p.bytes
	if err := os.RemoveAll(p.dir); err != nil {
		return true, fmt.Errorf("evidence: release %s: %w", id, err)
	}
	return true, nil
}

// Pins lists what is pinned, by ID.
func (r *Ring) Pins() []Pin {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Pin, 0, len(r.pins))
	for _, p := range r.pins {
		x := p.Pin
		x.Bytes = p.bytes
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Pin) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// loadPins reads what was pinned before.
func loadPins(dir string) (map[string]*pin, error) {
	pins := map[string]*pin{}
	names, err := filepath.Glob(filepath.Join(dir, "*", "pin.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		p := &pin{dir: filepath.Dir(name)}
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(p); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p.span()
		if p.parts, err = loadSegments(p.dir); err != nil {
			return nil, err
		}
		for _, s := range p.parts {
			p.bytes += s.bytes
		}
		pins[p.ID] = p
	}
	return pins, nil
}

// serve cuts pinned packets out of the ring.
func (r *Ring) serve() {
	defer r.serving.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	x := newIndexer()
	for {
		select {
		case <-r.stop:
			r.round(x)
			return
		case <-r.wake:
		case <-tick.C:
		}
		r.round(x)
	}
}

// round serves every pin as far as that can be done now.
func (r *Ring) round(x *indexer) {
	r.mu.Lock()
	var waits []*pin
	for _, p := range r.pins {
		if !p.Served {
			waits = append(waits, p)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(waits, func(a, b *pin) int { return strings.Compare(a.ID, b.ID) })
	for _, p := range waits {
		for {
			r.mu.Lock()
			i := slices.IndexFunc(r.segments, p.wants)
			if r.pins[p.ID] != p || i < 0 {
				r.mu.Unlock()
				break
			}
			s := r.segments[i]
			s.readers++
			w := Want(slices.Clone(p.Sessions))
			r.mu.Unlock()
			part, err := r.cut(x, p, w, s)
			r.mu.Lock()
			s.readers--
			if err != nil {
				r.stats.Failure = err.Error()
				r.mu.Unlock()
				break // tried again later
			}
			r.adopt(p, s, part)
			r.mu.Unlock()
		}
		r.mu.Lock()
		if r.pins[p.ID] == p && !slices.ContainsFunc(r.segments, p.wants) && r.over(p) {
			p.Served = true
			if err := r.keep(p); err != nil {
				r.stats.Failure = err.Error()
			}
		}
		r.mu.Unlock()
	}
}

// over reports whether no more packets can come for a pin. The lock is held.
func (r *Ring) over(p *pin) bool {
	for _, s := range r.open {
		if !s.first.After(p.to) {
			return false
		}
	}
	return r.newest.After(p.to.Add(settle)) || !r.cfg.Wait && time.Since(p.to) > settle+segmentTime
}

// adopt takes a part in the place of an earlier one of the same file. The lock
// is held.
func (r *Ring) adopt(p *pin, s, part *segment) {
	name := filepath.Base(s.base)
	if r.pins[p.ID] != p { // released meanwhile
		if part != nil {
			part.remove()
			os.Remove(p.dir) // if it is empty
		}
		return
	}
	p.parts = slices.DeleteFunc(p.parts, func(x *segment) bool {
		if filepath.Base(x.base) != name {
			return false
		}
		p.bytes -= x.bytes
		r.pinned -= x.bytes
		p.Packets -= min(p.Packets, x.packets)
		return true
	})
	if part != nil {
		p.parts = append(p.parts, part)
		p.bytes += part.bytes
		r.pinned += part.bytes
		p.Packets += part.packets
	}
	p.Done = append(p.Done, name)
	p.Done = slices.DeleteFunc(p.Done, func(n string) bool {
		return n != name && !slices.ContainsFunc(r.segments, func(x *segment) bool { return filepath.Base(x.base) == n })
	})
	if err := r.keep(p); err != nil {
		r.stats.Failure = err.Error()
	}
}

// cut writes what a pin wants of a file into one of the pin's own; nil if that
// is nothing.
func (r *Ring) cut(x *indexer, p *pin, w *Wanted, s *segment) (part *segment, err error) {
	src, err := openFrames([]*segment{s}, w)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	base := filepath.Join(p.dir, filepath.Base(s.base))
	abandon := func(err error) (*segment, error) {
		if part != nil {
			err = errors.Join(err, part.close())
			part.remove()
		}
		return nil, err
	}
	var c chunk
	write := func() error {
		for {
			r.makeRoom(int64(len(c.raw)))
			err := func() (err error) {
				if part == nil {
					if part, err = createPart(base, s.tap, c.first); err != nil {
						return err
					}
				}
				if err := part.append(x.compress(&c), x, &c); err != nil {
					return err
				}
				part.commit(&c)
				return nil
			}()
			if err == nil || !errors.Is(err, syscall.ENOSPC) || !r.free(freeAtOnce) {
				return err
			}
		}
	}
	var raw capture.Packet
	for {
		if err := src.Next(&raw); err != nil {
			break
		}
		if w.Find(s.tap.Sensor, &raw) < 0 {
			continue
		}
		if c.packets > 0 && len(c.raw)+len(raw.Data)+64 > chunkBytes {
			if err := write(); err != nil {
				return abandon(err)
			}
			c.packets = 0
		}
		if c.packets == 0 {
			c.begin(s.tap)
		}
		c.add(&raw)
	}
	if src.err != nil {
		return abandon(src.err)
	}
	if c.packets > 0 {
		if err := write(); err != nil {
			return abandon(err)
		}
	}
	if part == nil {
		return nil, nil
	}
	return part, part.close()
}

// createPart makes the files of a part, in the place of those that were left
// when a process ended.
func createPart(base string, tap capture.Interface, first time.Time) (s *segment, err error) {
	s = &segment{base: base, tap: tap, first: first, last: first}
	const how = os.O_CREATE | os.O_TRUNC | os.O_RDWR
	if s.data, err = os.OpenFile(base+dataEnding, how, 0o600); err != nil {
		return nil, err
	}
	if s.index, err = os.OpenFile(base+idxEnding, how, 0o600); err != nil {
		return nil, errors.Join(err, s.data.Close(), os.Remove(base+dataEnding))
	}
	return s, nil
}
