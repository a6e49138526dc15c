// Package follow reads captures that are still being written: a file that grows,
// or a folder into which another program puts one file after the other.
package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// Config says what to follow, and how.
type Config struct {
	Path   string // of a capture, plain or compressed, or of a folder of captures
	Sensor string // observer.name; what the path is called if empty
	// Once reads what there is, and ends.
	Once bool
	// Report is told of files of a folder that could not be read to their end.
	// It is called by a goroutine of the source's own, and may be nil.
	Report func(error)
}

// Source follows a capture or a folder of captures. It is a capture.Source.
//
// A file ends when another takes its name, or when it becomes shorter; then the
// other is read. The files of a folder are read in the order of their first
// packets; new ones as they come. A file is done when it ends with a whole
// packet, or does not grow any more, and another waits. Until then nothing that
// is missing at its end is an error.
//
// All files of a folder are one tap, and flows go on from one file to the next.
// A file that is damaged, or no capture, is reported, counted and left; it is
// no reason to stop. Files whose names begin with a dot are not looked at.
type Source struct {
	ctx     context.Context
	stop    context.CancelFunc
	config  Config
	folder  *folder // nil if the path is of a file
	taps    []capture.Interface
	full    chan *batch
	free    chan *batch
	reading sync.WaitGroup

	now  *batch // of which packets are handed out
	next int    // of them
	// The clock of the packets, which goes on while none come.
	last    time.Time // of the packets
	arrived time.Time // by the system's clock, of last

	received uint64
	mu       sync.Mutex
	broken   uint64
	dropped  map[string]uint64 // as the files say
	err      error             // why reading ended
}

// batch is packets with a memory of their own.
type batch struct {
	packets []capture.Packet // Data begins anywhere in memory
	ends    []int            // of the packets' data, in memory
	memory  []byte
}

// Sizes of batches, and how often files are looked at.
const (
	batchPackets = 256
	batchBytes   = 256 << 10
	poll         = 100 * time.Millisecond
	settled      = time.Second // without growth, and another file waits
	idle         = time.Second
	// Programs that write captures keep the last packets for a while, so the
	// clock of the packets is behind when none come.
	writers = 10 * time.Second
)

// Open begins to follow. When ctx is done, Next returns io.EOF.
func Open(ctx context.Context, c Config) (*Source, error) {
	info, err := os.Stat(c.Path)
	if err != nil {
		return nil, fmt.Errorf("capture %w", err)
	}
	s := &Source{
		config: c, dropped: map[string]uint64{},
		full: make(chan *batch), free: make(chan *batch, 2),
	}
	if c.Sensor == "" {
		abs, err := filepath.Abs(c.Path)
		if err != nil {
			return nil, fmt.Errorf("capture %w", err)
		}
		s.config.Sensor = file.SensorName(abs)
	}
	if info.IsDir() {
		if s.folder, err = openFolder(c.Path); err != nil {
			return nil, fmt.Errorf("capture %w", err)
		}
	}
	s.taps = []capture.Interface{{Sensor: s.config.Sensor, Name: c.Path}}
	s.ctx, s.stop = context.WithCancel(ctx)
	for range cap(s.free) {
		s.free <- new(batch)
	}
	s.reading.Go(func() {
		defer close(s.full)
		if err := s.read(); err != nil && s.ctx.Err() == nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	})
	return s, nil
}

// Next implements capture.Source. While no packets come it returns
// capture.ErrIdle, with the time that the packets' clock has come to.
func (s *Source) Next(p *capture.Packet) error {
	for s.now == nil || s.next == len(s.now.packets) {
		if s.now != nil {
			s.free <- s.now // never waits: there are as many places as batches
			s.now = nil
		}
		if err := s.wait(p); err != nil {
			return err
		}
	}
	*p = s.now.packets[s.next]
	from := 0
	if s.next > 0 {
		from = s.now.ends[s.next-1]
	}
	p.Data = s.now.memory[from:s.now.ends[s.next]:s.now.ends[s.next]]
	s.next++
	s.received++
	s.last = p.Time
	return nil
}

// wait waits for the next batch.
func (s *Source) wait(p *capture.Packet) error {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
		return io.EOF
	case b, more := <-s.full:
		if !more {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.err != nil && s.ctx.Err() == nil {
				return s.err
			}
			return io.EOF
		}
		s.now, s.next, s.arrived = b, 0, time.Now()
		return nil
	case now := <-timer.C:
		*p = capture.Packet{Offset: -1}
		if !s.last.IsZero() {
			p.Time = s.last.Add(max(0, now.Sub(s.arrived)-writers))
		}
		return capture.ErrIdle
	}
}

// Interfaces implements capture.Source.
func (s *Source) Interfaces() []capture.Interface { return s.taps }

// Counters implements capture.Source. What the programs that wrote the files
// say they lost is under "kernel" and "interface".
func (s *Source) Counters() capture.Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := capture.Counters{Received: s.received, Broken: s.broken, Dropped: make(map[string]uint64, len(s.dropped))}
	for cause, n := range s.dropped {
		c.Dropped[cause] = n
	}
	return c
}

// Close implements capture.Source. It waits until the file at hand is closed.
func (s *Source) Close() error {
	s.stop()
	s.reading.Wait()
	return nil
}

// report counts a file that could not be read to its end, and tells of it.
func (s *Source) report(err error) {
	s.mu.Lock()
	s.broken++
	s.mu.Unlock()
	if s.config.Report != nil {
		s.config.Report(err)
	}
}

// read reads everything, in its own goroutine.
func (s *Source) read() error {
	if s.folder == nil {
		for s.ctx.Err() == nil {
			if err := s.readFile(s.config.Path); err != nil || s.config.Once {
				return err
			}
		}
	}
	for s.ctx.Err() == nil {
		if err := s.look(); err != nil {
			return err
		}
		path, ok := s.folder.take()
		if !ok {
			if s.config.Once {
				return nil
			}
			s.pause()
			continue
		}
		if err := s.readFile(path); err != nil && s.ctx.Err() == nil && !errors.Is(err, os.ErrNotExist) {
			s.report(err)
		}
		s.folder.leave(path)
	}
	return nil
}

// look looks what is new in the folder.
func (s *Source) look() error {
	grown, err := s.folder.scan()
	for _, path := range grown {
		s.report(fmt.Errorf("%s: grew after it was read; files of a folder are read one after the other, so write into one at a time", path))
	}
	return err
}

// pause waits before the next look. It reports false if that is the end.
func (s *Source) pause() bool {
	select {
	case <-s.ctx.Done():
		return false
	case <-time.After(poll):
		return true
	}
}

// readFile reads a file until it ends, and lets its packets go.
func (s *Source) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("capture %w", err)
	}
	defer f.Close()
	t := &tail{source: s, file: f, path: path, grew: time.Now()}
	r, err := file.New(t, path)
	if err != nil {
		return err
	}
	defer r.Close()
	var told map[string]uint64
	for {
		var p capture.Packet
		if err = r.Next(&p); err != nil {
			break
		}
		if s.folder != nil {
			p.Offset = -1 // of which of its files, nobody could say
		}
		if err = t.add(&p); err != nil {
			break
		}
		if t.batch != nil && len(t.batch.packets) == 1 {
			told = s.told(r, told)
		}
	}
	s.told(r, told)
	if e := t.flush(); err == io.EOF {
		err = e
	}
	if s.ctx.Err() != nil {
		return nil
	}
	return err
}

// told adds what a file says since the last time of what its writer lost.
func (s *Source) told(r *file.Reader, before map[string]uint64) map[string]uint64 {
	c := r.Counters()
	if len(c.Dropped) == 0 {
		return before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for cause, n := range c.Dropped {
		s.dropped[cause] += n - before[cause]
	}
	return c.Dropped
}

// tail reads a file beyond its present end, when there is more.
type tail struct {
	source *Source
	file   *os.File
	path   string
	grew   time.Time
	last   time.Time // since when another waits; zero if none does
	read   int64     // bytes
	batch  *batch    // being filled; nil if none is
}

// Read implements io.Reader. When it must wait, what was read before goes on.
func (t *tail) Read(b []byte) (int, error) {
	for {
		n, err := t.file.Read(b)
		if n > 0 {
			t.grew = time.Now()
			t.read += int64(n)
			return n, nil
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if err := t.flush(); err != nil {
			return 0, err
		}
		if done, err := t.done(); err != nil {
			return 0, err
		} else if done {
			// What came between the last look and the end is still read.
			n, err := t.file.Read(b)
			t.read += int64(n)
			return n, err
		}
		if !t.source.pause() {
			return 0, io.EOF
		}
	}
}

// done reports whether the file, which is at its end, will not grow any more.
func (t *tail) done() (bool, error) {
	s := t.source
	if s.config.Once {
		return true, nil
	}
	if s.folder != nil {
		if err := s.look(); err != nil {
			return true, nil // it is said when the next file is looked for
		}
		// Its writer may make the next one before it ends this one.
		if !s.folder.waiting() {
			t.last = time.Time{}
		} else if t.last.IsZero() {
			t.last = time.Now()
		}
		return !t.last.IsZero() && time.Since(t.last) >= settled && time.Since(t.grew) >= settled, nil
	}
	mine, err := t.file.Stat()
	if err != nil {
		return true, err
	}
	if mine.Size() < t.read {
		return true, nil // it begins anew
	}
	now, err := os.Stat(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // it may still be written, and another take its place
	} else if err != nil {
		return true, err
	}
	return !os.SameFile(mine, now), nil
}

// add puts a packet into the batch.
func (t *tail) add(p *capture.Packet) error {
	if t.batch == nil {
		select {
		case t.batch = <-t.source.free:
			t.batch.packets, t.batch.ends, t.batch.memory = t.batch.packets[:0], t.batch.ends[:0], t.batch.memory[:0]
		case <-t.source.ctx.Done():
			return io.EOF
		}
	}
	b := t.batch
	b.memory = append(b.memory, p.Data...)
	p.Data, p.Iface = nil, 0
	b.packets = append(b.packets, *p)
	b.ends = append(b.ends, len(b.memory))
	if len(b.packets) == batchPackets || len(b.memory) >= batchBytes {
		return t.flush()
	}
	return nil
}

// flush lets the batch go.
func (t *tail) flush() error {
	if t.batch == nil {
		return nil
	}
	select {
	case t.source.full <- t.batch:
		t.batch = nil
		return nil
	case <-t.source.ctx.Done():
		return io.EOF
	}
}
