// Package spool keeps events on disk until they have arrived elsewhere, so that
// a sensor never waits for a network. It is bounded: what there is no room for
// is discarded by class, the least important first, and counted.
//
// Each class has segments, files that are only appended to. A record in them is
//
//	length of the payload  4 bytes, big endian
//	CRC-32C of the payload 4 bytes, big endian
//	payload
//
// and a segment ends where a record is not whole: after a crash, what lies
// behind is cut. The file head of a class says how far it was acknowledged. It
// may lag behind, and then records are sent again.
package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Class is how important an event is: the first are sent first, and discarded
// last.
type Class uint8

// Classes.
const (
	Alerts Class = iota // alerts and accounts of the sensor itself
	Writes              // what changes an industrial process or its devices
	Assets              // who is there
	Flows               // flow records
	Bulk                // all other transactions
	NumClasses
)

var classNames = [NumClasses]string{"alerts", "writes", "assets", "flows", "bulk"}

// String returns the class's name.
func (c Class) String() string { return classNames[c] }

// Config of a Spool.
type Config struct {
	Dir   string
	Bytes int64 // on disk, in all classes
	// Sync is how often what was written is forced to disk. What Append took is
	// safe from the end of the process at once, and from the end of the machine
	// after this time; 0 does it before Append returns.
	Sync time.Duration
}

// DefaultConfig returns a configuration for a folder.
func DefaultConfig(dir string) Config {
	return Config{Dir: dir, Bytes: 4 << 30, Sync: 100 * time.Millisecond}
}

// minBytes is the least that a spool may be bounded to.
const minBytes = 1 << 20

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("spool: no folder given")
	case c.Bytes < minBytes:
		return fmt.Errorf("spool: %d bytes: want at least %d", c.Bytes, minBytes)
	case c.Sync < 0:
		return fmt.Errorf("spool: sync every %s: want 0 or more", c.Sync)
	}
	return nil
}

const (
	recordHeader = 8
	maxRecord    = 64 << 20
	headSize     = 20
)

// Counts are numbers of records by class.
type Counts [NumClasses]uint64

// Stats is what became of records since the spool was opened.
type Stats struct {
	Spooled      Counts // taken
	Acknowledged Counts // arrived elsewhere
	Full         Counts // discarded because the bound was reached
	Failed       Counts // discarded because the disk would not take or keep them
	Corrupt      uint64 // segments in which something was not as it was written
	Pending      Counts // on disk and not acknowledged
	Bytes        int64  // on disk
}

// Discarded is how many records were discarded, for whatever cause.
func (s Stats) Discarded() (n uint64) {
	for c := range NumClasses {
		n += s.Full[c] + s.Failed[c]
	}
	return n
}

// Spool is a bounded queue on disk. It is safe for use by many goroutines.
type Spool struct {
	cfg     Config
	segment int64 // size at which a segment is full
	lock    *os.File

	mu      sync.Mutex
	queues  [NumClasses]queue
	stats   Stats
	changed chan struct{} // has one when something was appended
	failure error         // what the disk said last; told once by Failure
	spare   [][]byte      // memory of batches, to use again
	closed  bool

	stop chan struct{}
	idle sync.WaitGroup
}

// queue is the records of a class.
type queue struct {
	dir      string
	segments []*segment // the first is the oldest; the last is written to
	acked    position
	head     *os.File
	next     uint64 // number of the next segment
	buf      []byte // of Append
}

type segment struct {
	number  uint64
	file    *os.File
	size    int64
	records int
	at      int64 // how far it was read
	read    int   // of records
	acked   int   // of those
	dirty   bool
}

type position struct {
	segment uint64
	offset  int64
}

// Open opens a spool, makes it if there is none, and cuts what a crash left
// unfinished. Only one process may have it open.
func Open(cfg Config) (*Spool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{
		cfg: cfg, lock: lock, changed: make(chan struct{}, 1), stop: make(chan struct{}),
		segment: max(64<<10, cfg.Bytes/64),
	}
	for c := range NumClasses {
		if err := s.recover(c); err != nil {
			return nil, errors.Join(fmt.Errorf("spool: %w", err), s.close())
		}
	}
	if cfg.Sync > 0 {
		s.idle.Go(s.syncing)
	}
	return s, nil
}

// recover reads what is on disk of a class.
func (s *Spool) recover(c Class) error {
	q := &s.queues[c]
	q.dir = filepath.Join(s.cfg.Dir, c.String())
	if err := os.MkdirAll(q.dir, 0o700); err != nil {
		return err
	}
	var err error
	if q.head, err = os.OpenFile(filepath.Join(q.dir, "head"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	q.acked = readHead(q.head)
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return err
	}
	var numbers []uint64
	for _, e := range entries {
		if text, ok := strings.CutSuffix(e.Name(), ".seg"); ok {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	q.next = q.acked.segment + 1
	for _, n := range numbers {
		q.next = max(q.next, n+1)
		if n < q.acked.segment {
			if err := os.Remove(q.path(n)); err != nil {
				return err
			}
			continue
		}
		seg, err := s.scan(q, n)
		if err != nil {
			return err
		}
		q.segments = append(q.segments, seg)
		s.stats.Bytes += seg.size
		s.stats.Pending[c] += uint64(seg.records - seg.acked)
	}
	return nil
}

func (q *queue) path(n uint64) string { return filepath.Join(q.dir, fmt.Sprintf("%020d.seg", n)) }

// scan counts the records of a segment, and cuts it where they end.
func (s *Spool) scan(q *queue, n uint64) (*segment, error) {
	f, err := os.OpenFile(q.path(n), os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	seg := &segment{number: n, file: f}
	data, err := os.ReadFile(q.path(n))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for {
		payload := whole(data[seg.size:])
		if payload == nil {
			break
		}
		seg.size += recordHeader + int64(len(payload))
		seg.records++
		if n == q.acked.segment && seg.size <= q.acked.offset {
			seg.acked++
		}
	}
	seg.read = seg.acked
	if n == q.acked.segment {
		q.acked.offset = min(q.acked.offset, seg.size)
		seg.at = q.acked.offset
	}
	if int64(len(data)) > seg.size {
		s.stats.Corrupt++
		if err := f.Truncate(seg.size); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return seg, nil
}

// whole returns the payload of the record that b begins with, or nil if there is
// no whole one.
func whole(b []byte) []byte {
	if len(b) < recordHeader {
		return nil
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n == 0 || n > maxRecord || recordHeader+n > int64(len(b)) {
		return nil
	}
	payload := b[recordHeader : recordHeader+n]
	if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return nil
	}
	return payload
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append takes records of a class. It never waits for anything but the disk;
// what there is no room for, or the disk refuses, is discarded and counted.
func (s *Spool) Append(c Class, payloads ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queues[c]
	q.buf = q.buf[:0]
	n := 0
	for _, p := range payloads {
		if len(p) == 0 || len(p) > maxRecord || s.closed {
			s.stats.Failed[c]++
			continue
		}
		q.buf = binary.BigEndian.AppendUint32(q.buf, uint32(len(p)))
		q.buf = binary.BigEndian.AppendUint32(q.buf, crc32.Checksum(p, castagnoli))
		q.buf = append(q.buf, p...)
		n++
		if int64(len(q.buf)) >= s.segment {
			s.write(c, n)
			n = 0
		}
	}
	if n > 0 {
		s.write(c, n)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// write appends the n records in the queue's buffer.
func (s *Spool) write(c Class, n int) {
	q := &s.queues[c]
	size := int64(len(q.buf))
	defer func() { q.buf = q.buf[:0] }()
	if !s.makeRoom(c, size) {
		s.stats.Full[c] += uint64(n)
		return
	}
	seg, err := s.open(q, size)
	if err == nil {
		_, err = seg.file.WriteAt(q.buf, seg.size)
	}
	if err == nil && s.cfg.Sync == 0 {
		err = seg.file.Sync()
	}
	if err != nil {
		// The next write takes the place of what may have been written.
		if seg != nil {
			err = errors.Join(err, seg.file.Truncate(seg.size))
		}
		s.failure = fmt.Errorf("spool: %w", err)
		s.stats.Failed[c] += uint64(n)
		return
	}
	seg.size += size
	seg.records += n
	seg.dirty = true
	s.stats.Bytes += size
	s.stats.Spooled[c] += uint64(n)
	s.stats.Pending[c] += uint64(n)
}

// open returns the segment to write to.
func (s *Spool) open(q *queue, size int64) (*segment, error) {
	if n := len(q.segments); n > 0 {
		seg := q.segments[n-1]
		if seg.size == 0 || seg.size+size <= s.segment {
			return seg, nil
		}
		if seg.acked == seg.records {
			s.remove(q, n-1) // it was kept to be written to
		}
	}
	f, err := os.OpenFile(q.path(q.next), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if s.cfg.Sync == 0 {
		if err := syncDir(q.dir); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	seg := &segment{number: q.next, file: f}
	q.next++
	q.segments = append(q.segments, seg)
	return seg, nil
}

// makeRoom discards what is less important than c, the oldest first, until so
// many bytes fit.
func (s *Spool) makeRoom(c Class, size int64) bool {
	for s.stats.Bytes+size > s.cfg.Bytes {
		if !s.discard(c) {
			return false
		}
	}
	return true
}

// discard removes the oldest segment of the least important class below c.
func (s *Spool) discard(c Class) bool {
	for victim := NumClasses - 1; victim > c; victim-- {
		q := &s.queues[victim]
		for i, seg := range q.segments {
			if seg.read > seg.acked || seg.size == 0 {
				continue // it is on its way
			}
			lost := uint64(seg.records - seg.acked)
			s.stats.Full[victim] += lost
			s.stats.Pending[victim] -= lost
			s.remove(q, i)
			return true
		}
	}
	return false
}

// remove removes a segment.
func (s *Spool) remove(q *queue, i int) {
	seg := q.segments[i]
	s.stats.Bytes -= seg.size
	q.segments = slices.Delete(q.segments, i, i+1)
	if err := errors.Join(os.Remove(q.path(seg.number)), seg.file.Close()); err != nil {
		s.failure = fmt.Errorf("spool: %w", err)
	}
}

// Batch is records of a class that were read. Give it to Ack when they have
// arrived; then they are gone.
type Batch struct {
	Class    Class
	Payloads [][]byte
	data     []byte // that they lie in
	seg      *segment
	end      int64
}

// Next reads records of the most important class that has any: about max bytes,
// at least one record. ok is false if there are none.
func (s *Spool) Next(max int) (b *Batch, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range NumClasses {
		if b := s.readFrom(c, max); b != nil {
			return b, true
		}
	}
	return nil, false
}

func (s *Spool) readFrom(c Class, most int) *Batch {
	q := &s.queues[c]
	for !s.closed {
		i := slices.IndexFunc(q.segments, func(seg *segment) bool { return seg.at < seg.size })
		if i < 0 {
			return nil
		}
		if b := s.records(c, q.segments[i], most); b != nil {
			return b
		}
	}
	return nil
}

// records reads some records of a segment.
func (s *Spool) records(c Class, seg *segment, most int) *Batch {
	q := &s.queues[c]
	data, err := s.readAt(seg.file, seg.at, min(seg.size-seg.at, int64(max(most, recordHeader))))
	b := &Batch{Class: c, seg: seg, data: data}
	at := 0
	for err == nil {
		payload := whole(data[at:])
		if payload == nil {
			break
		}
		b.Payloads = append(b.Payloads, payload)
		at += recordHeader + len(payload)
	}
	if len(b.Payloads) == 0 && err == nil {
		// A record that is larger than what was asked for.
		n := recordHeader + int64(binary.BigEndian.Uint32(data))
		if n <= seg.size-seg.at && n > int64(len(data)) {
			return s.records(c, seg, int(n))
		}
	}
	if len(b.Payloads) == 0 {
		// The disk has not kept it. What comes after it cannot be found.
		lost := uint64(seg.records - seg.read)
		s.stats.Corrupt++
		s.stats.Failed[c] += lost
		s.stats.Pending[c] -= lost
		s.failure = errors.Join(fmt.Errorf("spool: %s: what lies at byte %d is damaged; %d events are lost", seg.file.Name(), seg.at, lost), err)
		s.stats.Bytes -= seg.size - seg.at
		seg.size, seg.records = seg.at, seg.read
		if seg.read == seg.acked {
			s.remove(q, slices.Index(q.segments, seg))
		}
		return nil
	}
	seg.at += int64(at)
	b.end = seg.at
	seg.read += len(b.Payloads)
	return b
}

func (s *Spool) readAt(f *os.File, at, n int64) ([]byte, error) {
	var data []byte
	if k := len(s.spare); k > 0 {
		data, s.spare = s.spare[k-1], s.spare[:k-1]
	}
	if int64(cap(data)) < n {
		data = make([]byte, n)
	}
	data = data[:n]
	_, err := f.ReadAt(data, at)
	return data, err
}

// maxSpare is how many batches' memory is kept.
const maxSpare = 8

// Ack says that the records of a batch have arrived. Batches of a class are
// acknowledged in the order in which they were read.
func (s *Spool) Ack(b *Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queues[b.Class]
	n := len(b.Payloads)
	b.seg.acked += n
	s.stats.Acknowledged[b.Class] += uint64(n)
	s.stats.Pending[b.Class] -= uint64(n)
	q.acked = position{b.seg.number, b.end}
	if len(s.spare) < maxSpare {
		s.spare = append(s.spare, b.data)
	}
	b.data, b.Payloads = nil, nil
	// The last segment goes, too, once it is worth it: the next record opens
	// another.
	if i := slices.Index(q.segments, b.seg); b.seg.acked == b.seg.records && (i+1 < len(q.segments) || b.seg.size >= s.segment/4) {
		s.remove(q, i)
	}
	if s.closed {
		return nil
	}
	// A full disk may refuse that, and must not hold up what makes room on it.
	if err := writeHead(q.head, q.acked); err != nil {
		s.failure = err
	}
	return nil
}

func readHead(f *os.File) position {
	var b [headSize]byte
	if n, _ := f.ReadAt(b[:], 0); n != headSize || crc32.Checksum(b[:16], castagnoli) != binary.BigEndian.Uint32(b[16:]) {
		return position{}
	}
	return position{binary.BigEndian.Uint64(b[:]), int64(binary.BigEndian.Uint64(b[8:]))}
}

func writeHead(f *os.File, p position) error {
	var b [headSize]byte
	binary.BigEndian.PutUint64(b[:], p.segment)
	binary.BigEndian.PutUint64(b[8:], uint64(p.offset))
	binary.BigEndian.PutUint32(b[16:], crc32.Checksum(b[:16], castagnoli))
	if _, err := f.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Stats returns what became of records.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Pending is how many records are not acknowledged.
func (s *Spool) Pending() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.stats.Pending {
		n += x
	}
	return n
}

// Failure returns what the disk said when it last refused something, once.
func (s *Spool) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failure
	s.failure = nil
	return err
}

// syncing forces to disk what was written, every now and then.
func (s *Spool) syncing() {
	t := time.NewTicker(s.cfg.Sync)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := s.Sync(); err != nil {
				s.mu.Lock()
				s.failure = err
				s.mu.Unlock()
			}
		case <-s.stop:
			return
		}
	}
}

// Sync forces to disk what was written. Nobody waits for it meanwhile.
func (s *Spool) Sync() error {
	var files []*os.File
	var dirs []string
	s.mu.Lock()
	for c := range s.queues {
		q := &s.queues[c]
		for _, seg := range q.segments {
			if seg.dirty {
				seg.dirty = false
				files = append(files, seg.file)
				if len(dirs) == 0 || dirs[len(dirs)-1] != q.dir {
					dirs = append(dirs, q.dir)
				}
			}
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, f := range files {
		if err := f.Sync(); err != nil && !errors.Is(err, fs.ErrClosed) { // acknowledged meanwhile, and gone
			errs = append(errs, fmt.Errorf("spool: %w", err))
		}
	}
	for _, dir := range dirs {
		errs = append(errs, syncDir(dir))
	}
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Close forces everything to disk and closes the spool. What is pending is there
// when it is opened again.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.idle.Wait()
	return errors.Join(s.Sync(), s.close())
}

func (s *Spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for c := range s.queues {
		q := &s.queues[c]
		for _, seg := range q.segments {
			errs = append(errs, seg.file.Close())
		}
		if q.head != nil {
			errs = append(errs, q.head.Close())
		}
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
