package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Config says how much of the past a ring keeps.
type Config struct {
	// Dir is the ring's folder. One process at a time writes there.
	Dir string
	// Bytes bounds what is on disk: packets, their index, and what is pinned.
	// Pinned slices are never deleted to keep it; the rest makes room for them.
	Bytes int64
	// Wait makes recording wait for the disk rather than leave packets out, as
	// suits captures that are replayed.
	Wait bool
}

// MinBytes is the least that a ring can be bounded to.
const MinBytes = 4 << 20

// Bounds of the parts.
const (
	chunkBytes   = 1 << 20          // of packets, compressed as one; found and read as one
	chunkTime    = time.Second      // after which a chunk is written even if it is not full
	waiting      = 8                // chunks that wait for the disk, per tap
	segmentTime  = time.Minute      // of packet time in a file
	segmentParts = 16               // how many files the ring has at least, when it is full
	maxSegment   = 64 << 20         // bytes of a file
	freeAtOnce   = 2                // files deleted at a time when the disk is full
	settle       = 10 * time.Second // after the end of a pin's time, until late packets are written
)

// Ring keeps the packets of taps on disk, the latest in place of the oldest.
type Ring struct {
	cfg     Config
	segment int64 // bytes of a file at most

	mu       sync.Mutex
	segments []*segment // closed, by the time of their first packets
	open     map[*Recorder]*segment
	used     int64 // bytes of segments, closed and open
	pins     map[string]*pin
	pinned   int64 // bytes
	newest   time.Time
	stats    Stats
	closed   bool

	wake    chan struct{} // there is a pin to serve
	stop    chan struct{}
	serving sync.WaitGroup
	writing sync.WaitGroup
	lock    *os.File
}

// Stats is a ring's account since it was opened.
type Stats struct {
	Recorded  uint64 `json:"recorded"` // packets on disk
	Behind    uint64 `json:"behind"`   // packets left out because the disk was too slow
	Full      uint64 `json:"full"`     // packets left out because the disk was full, or failed
	Deleted   uint64 `json:"deleted"`  // packets deleted to make room
	Failure   string `json:"failure"`  // of the disk, the latest; "" if none
	Segments  int    `json:"segments"` // files
	Bytes     int64  `json:"bytes"`    // of packets and index, pins not included
	Pinned    int64  `json:"pinned"`   // bytes of pins
	PinnedFor int    `json:"pins"`     // pins
	Unserved  int    `json:"unserved"` // pins whose time is not over, or that are being cut out
	Oldest    string `json:"oldest"`   // time of the first packet, RFC 3339; "" if there is none
	Newest    string `json:"newest"`   // of the last
}

const (
	ringFolder = "ring"
	pinFolder  = "pins"
	dataEnding = ".pcapng.zst"
	idxEnding  = ".idx"
)

// Open opens a ring, with what it kept before.
func Open(cfg Config) (*Ring, error) {
	if cfg.Bytes < MinBytes {
		return nil, fmt.Errorf("evidence: %d bytes: want at least %d", cfg.Bytes, MinBytes)
	}
	for _, d := range []string{ringFolder, pinFolder} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("evidence: %w", err)
		}
	}
	r := &Ring{
		cfg: cfg, segment: min(cfg.Bytes/segmentParts, maxSegment), open: map[*Recorder]*segment{}, pins: map[string]*pin{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	var err error
	if r.lock, err = os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if err := syscall.Flock(int(r.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("evidence: %s: another process records there", cfg.Dir), r.lock.Close())
	}
	if err := r.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("evidence: %w", err), r.lock.Close())
	}
	r.serving.Add(1)
	go r.serve()
	return r, nil
}

// load reads what is on disk.
func (r *Ring) load() error {
	var err error
	if r.segments, err = loadSegments(filepath.Join(r.cfg.Dir, ringFolder)); err != nil {
		return err
	}
	for _, s := range r.segments {
		r.used += s.bytes
		if s.last.After(r.newest) {
			r.newest = s.last
		}
	}
	if r.pins, err = loadPins(filepath.Join(r.cfg.Dir, pinFolder)); err != nil {
		return err
	}
	for _, p := range r.pins {
		r.pinned += p.bytes
	}
	return nil
}

// loadSegments lists the files of a ring's folder.
func loadSegments(dir string) (list []*segment, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+dataEnding))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		s, err := loadSegment(strings.TrimSuffix(name, dataEnding))
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *segment) int { return cmp.Or(a.first.Compare(b.first), strings.Compare(a.base, b.base)) })
	return list, nil
}

// Recorder records one tap. It is for one goroutine.
type Recorder struct {
	ring *Ring
	tap  capture.Interface
	now  *chunk
	full chan *chunk
	free chan *chunk
	done chan struct{}

	behind  atomic.Uint64
	skipped []gap // chunks that were left out, to be written down
}

// Recorder returns what records a tap. It is to be closed before the ring.
func (r *Ring) Recorder(tap capture.Interface) *Recorder {
	rec := &Recorder{ring: r, tap: tap, full: make(chan *chunk, waiting), free: make(chan *chunk, waiting+2), done: make(chan struct{})}
	r.writing.Add(1)
	go rec.write()
	return rec
}

// Add keeps a copy of a packet. It does not wait for the disk, unless the ring
// was told to.
func (rec *Recorder) Add(p *capture.Packet) {
	c := rec.now
	if c != nil && (len(c.raw)+len(p.Data)+64 > chunkBytes && c.packets > 0 || p.Time.Sub(c.first).Abs() >= chunkTime) {
		rec.hand()
		c = nil
	}
	if c == nil {
		select {
		case c = <-rec.free:
		default:
			c = &chunk{raw: make([]byte, 0, chunkBytes+chunkBytes/8)}
		}
		c.begin(rec.tap)
		rec.now = c
	}
	c.add(p)
}

// Idle writes what is there: no packet came for a while.
func (rec *Recorder) Idle() {
	if rec.now != nil && rec.now.packets > 0 {
		rec.hand()
	}
}

// hand gives the chunk to the disk, or leaves it out.
func (rec *Recorder) hand() {
	c := rec.now
	rec.now = nil
	if len(rec.skipped) > 0 {
		c.before = append(c.before[:0], rec.skipped...)
		rec.skipped = rec.skipped[:0]
	}
	if rec.ring.cfg.Wait {
		rec.full <- c
		return
	}
	select {
	case rec.full <- c:
	default:
		rec.behind.Add(c.packets)
		rec.skip(c)
	}
}

// maxGaps bounds what is remembered of chunks that were left out until one is
// not; neighbours become one.
const maxGaps = 16

func (rec *Recorder) skip(c *chunk) {
	list := append(c.before, gap{first: c.first, last: c.last, packets: c.packets})
	for len(list) > maxGaps {
		a, b := list[len(list)-2], list[len(list)-1]
		list = append(list[:len(list)-2], gap{first: a.first, last: b.last, packets: a.packets + b.packets})
	}
	rec.skipped = append(rec.skipped[:0], list...)
	c.before = c.before[:0]
	select {
	case rec.free <- c:
	default:
	}
}

// Close writes what is left.
func (rec *Recorder) Close() error {
	if rec.now != nil && rec.now.packets > 0 {
		c := rec.now
		rec.now = nil
		c.before = append(c.before, rec.skipped...)
		rec.full <- c
	}
	close(rec.full)
	<-rec.done
	return nil
}

// write puts chunks into files.
func (rec *Recorder) write() {
	r := rec.ring
	defer r.writing.Done()
	defer close(rec.done)
	x := newIndexer()
	for c := range rec.full {
		n := c.packets
		err := r.store(rec, x, c)
		r.mu.Lock()
		if err != nil {
			r.stats.Full += n
			r.stats.Failure = err.Error()
		} else {
			r.stats.Recorded += n
			if c.last.After(r.newest) {
				r.newest = c.last
			}
		}
		r.stats.Behind += rec.behind.Swap(0)
		r.mu.Unlock()
		c.before = c.before[:0]
		select {
		case rec.free <- c:
		default:
		}
	}
	r.finish(rec)
	r.mu.Lock()
	r.stats.Behind += rec.behind.Swap(0)
	r.mu.Unlock()
}

// store writes one chunk, making room as often as that helps.
func (r *Ring) store(rec *Recorder, x *indexer, c *chunk) error {
	frame := x.compress(c)
	r.mu.Lock()
	s := r.open[rec]
	r.mu.Unlock()
	if s != nil && (s.bytes+int64(len(frame)) > r.segment || c.first.Sub(s.first) >= segmentTime || c.first.Before(s.first)) {
		r.finish(rec)
		s = nil
	}
	for {
		r.makeRoom(int64(len(frame)))
		err := func() (err error) {
			if s == nil {
				if s, err = createSegment(filepath.Join(r.cfg.Dir, ringFolder), rec.tap, c.first); err != nil {
					return err
				}
				r.mu.Lock()
				r.open[rec] = s
				r.mu.Unlock()
			}
			if err := s.append(frame, x, c); err != nil {
				return err
			}
			r.mu.Lock()
			r.used += s.commit(c)
			r.mu.Unlock()
			return nil
		}()
		if err == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return err
		}
		if !r.free(freeAtOnce) {
			return err
		}
	}
}

// finish closes the file that a tap is recorded in.
func (r *Ring) finish(rec *Recorder) {
	r.mu.Lock()
	s := r.open[rec]
	delete(r.open, rec)
	r.mu.Unlock()
	if s == nil {
		return
	}
	err := s.close()
	r.mu.Lock()
	if err != nil {
		r.stats.Failure = err.Error()
	}
	if s.packets > 0 {
		at, _ := slices.BinarySearchFunc(r.segments, s, func(a, b *segment) int { return cmp.Or(a.first.Compare(b.first), strings.Compare(a.base, b.base)) })
		r.segments = slices.Insert(r.segments, at, s)
	} else {
		r.used -= s.bytes
		s.remove()
	}
	r.mu.Unlock()
	r.rouse()
}

// makeRoom deletes the oldest files until so many more bytes are within the
// bound. What is pinned counts, but a little of the past is always kept.
func (r *Ring) makeRoom(more int64) {
	for {
		r.mu.Lock()
		over := r.used+r.pinned+more > r.cfg.Bytes && r.used+more > 2*r.segment
		r.mu.Unlock()
		if !over || !r.free(1) {
			return
		}
	}
}

// free deletes files: the oldest that no pin needs and nobody reads. It reports
// whether there was one.
func (r *Ring) free(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	freed := false
	for i := 0; i < len(r.segments) && n > 0; {
		s := r.segments[i]
		if s.readers > 0 || r.needed(s) {
			i++
			continue
		}
		r.segments = slices.Delete(r.segments, i, i+1)
		r.used -= s.bytes
		r.stats.Deleted += s.packets
		s.remove()
		freed = true
		n--
	}
	return freed
}

// needed reports whether a pin has not been cut out of a file yet.
func (r *Ring) needed(s *segment) bool {
	for _, p := range r.pins {
		if p.wants(s) {
			return true
		}
	}
	return false
}

func (r *Ring) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Stats returns the account so far.
func (r *Ring) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Segments, s.Bytes, s.Pinned, s.PinnedFor = len(r.segments)+len(r.open), r.used, r.pinned, len(r.pins)
	for _, p := range r.pins {
		if !p.Served {
			s.Unserved++
		}
	}
	if len(r.segments) > 0 {
		s.Oldest = r.segments[0].first.UTC().Format(time.RFC3339Nano)
	}
	if !r.newest.IsZero() {
		s.Newest = r.newest.UTC().Format(time.RFC3339Nano)
	}
	return s
}

// Close ends the ring, whose recorders are closed.
func (r *Ring) Close() error {
	r.writing.Wait()
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	r.serving.Wait()
	return r.lock.Close()
}

// Tee is a source that records what it hands out.
type Tee struct {
	capture.Source
	ring      *Ring
	recorders []*Recorder
}

// batchTee is a Tee of a source that hands out batches.
type batchTee struct {
	Tee
	batch capture.BatchSource
}

// NewTee records the packets of a source in a ring.
func NewTee(src capture.Source, r *Ring) capture.Source {
	if b, ok := src.(capture.BatchSource); ok {
		return &batchTee{Tee{Source: src, ring: r}, b}
	}
	return &Tee{Source: src, ring: r}
}

// Next implements capture.Source.
func (t *Tee) Next(p *capture.Packet) error {
	err := t.Source.Next(p)
	if err == nil {
		t.record(p)
	} else {
		t.idle(err)
	}
	return err
}

// NextBatch implements capture.BatchSource.
func (t *batchTee) NextBatch(ps []capture.Packet) (int, error) {
	n, err := t.batch.NextBatch(ps)
	for i := range n {
		t.record(&ps[i])
	}
	if err != nil {
		t.idle(err)
	}
	return n, err
}

func (t *Tee) record(p *capture.Packet) {
	for p.Iface >= len(t.recorders) {
		t.recorders = append(t.recorders, t.ring.Recorder(t.Source.Interfaces()[len(t.recorders)]))
	}
	t.recorders[p.Iface].Add(p)
}

// idle writes what is there while no packet comes.
func (t *Tee) idle(err error) {
	if errors.Is(err, capture.ErrIdle) {
		for _, rec := range t.recorders {
			rec.Idle()
		}
	}
}

// Close ends the recording and the source.
func (t *Tee) Close() error {
	var errs []error
	for _, rec := range t.recorders {
		errs = append(errs, rec.Close())
	}
	t.recorders = nil
	return errors.Join(append(errs, t.Source.Close())...)
}
