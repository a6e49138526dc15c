package evidence

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/merge"
	"github.com/tocsin/tocsin/sensor/capture/pcapng"
)

// Report is what became of a request for packets.
type Report struct {
	Packets uint64   `json:"packets"`
	Counts  []uint64 `json:"counts"` // of each session
	Missing []Gap    `json:"missing"`
	Broken  []string `json:"broken"` // what could not be read, with why
}

// Gap is a stretch of time of which a sensor's packets are not, or not all,
// there.
type Gap struct {
	Sensor  string    `json:"sensor"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Packets uint64    `json:"packets"` // left out; 0 if that is not known
	Why     string    `json:"why"`
}

// Plan is what a request will have to read.
type Plan struct {
	Bytes  int64 `json:"bytes"`  // of packets to look through, unpacked: at most so many come back
	Chunks int   `json:"chunks"` //
}

// snapshot holds the files that may have what is wanted, so that they are not
// deleted before release is called.
func (r *Ring) snapshot(w *Wanted) (list []*segment, release func()) {
	from, to := w.Span()
	r.mu.Lock()
	defer r.mu.Unlock()
	in := func(s *segment) bool { return s.packets > 0 && !s.first.After(to) && !s.last.Before(from) }
	there := map[string]bool{}
	for _, s := range r.segments {
		there[filepath.Base(s.base)] = true
		if in(s) {
			list = append(list, s)
		}
	}
	for _, s := range r.open {
		there[filepath.Base(s.base)] = true
		if in(s) {
			list = append(list, s)
		}
	}
	for _, p := range r.pins {
		for _, s := range p.parts {
			// What the ring still has is there once.
			if in(s) && !there[filepath.Base(s.base)] {
				list = append(list, s)
			}
		}
	}
	for _, s := range list {
		s.readers++
	}
	slices.SortFunc(list, func(a, b *segment) int { return cmp.Or(a.first.Compare(b.first), strings.Compare(a.base, b.base)) })
	return list, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, s := range list {
			s.readers--
		}
	}
}

// Fetch writes the packets of sessions as pcapng, in the order of time. before,
// if not nil, is told what there is to read before anything is written.
func (r *Ring) Fetch(ctx context.Context, sessions []Session, out io.Writer, before func(Plan)) (*Report, error) {
	w := Want(sessions)
	list, release := r.snapshot(w)
	defer release()
	report := &Report{Counts: make([]uint64, len(sessions)), Missing: []Gap{}, Broken: []string{}}
	var plan Plan
	var sources []capture.Source
	defer func() {
		for _, s := range sources {
			s.Close()
		}
	}()
	for _, taps := range byTap(list) {
		src, err := openFrames(taps, w)
		if err != nil {
			report.Broken = append(report.Broken, err.Error())
			continue
		}
		sources = append(sources, src)
		plan.Chunks += len(src.frames)
		for _, f := range src.frames {
			plan.Bytes += f.unpacked
		}
		report.Missing = append(report.Missing, src.gaps...)
	}
	report.Missing = append(report.Missing, r.beginnings(w)...)
	slices.SortStableFunc(report.Missing, func(a, b Gap) int { return cmp.Or(strings.Compare(a.Sensor, b.Sensor), a.From.Compare(b.From)) })
	if before != nil {
		before(plan)
	}
	to := pcapng.NewWriter(out, "Tocsin", "")
	taken := Taken{Counts: report.Counts}
	if len(sources) > 0 {
		if err := w.Take(ctx, &distinct{Source: merge.New(sources...)}, to, &taken); err != nil {
			return nil, err
		}
	}
	report.Packets, report.Counts = taken.Packets, taken.Counts
	report.Broken = append(report.Broken, taken.Broken...)
	return report, to.Close()
}

// byTap groups files by the tap that they are of. Files of one tap that overlap
// in time, as those of several workers and of several pins do, are in groups of
// their own.
func byTap(list []*segment) (groups [][]*segment) {
	for _, s := range list {
		i := slices.IndexFunc(groups, func(g []*segment) bool {
			last := g[len(g)-1]
			return last.tap == s.tap && last.last.Before(s.first)
		})
		if i < 0 {
			groups = append(groups, []*segment{s})
		} else {
			groups[i] = append(groups[i], s)
		}
	}
	return groups
}

// beginnings says where a ring that is asked for older packets begins.
func (r *Ring) beginnings(w *Wanted) (gaps []Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := map[string]time.Time{}
	see := func(s *segment) {
		if at, ok := oldest[s.tap.Sensor]; s.packets > 0 && (!ok || s.first.Before(at)) {
			oldest[s.tap.Sensor] = s.first
		}
	}
	for _, s := range r.segments {
		see(s)
	}
	for _, s := range r.open {
		see(s)
	}
	early := map[string]*Gap{}
	for i := range w.sessions {
		s := &w.sessions[i]
		at, ok := oldest[s.Sensor]
		why := "before the oldest packet that is kept; only what is pinned is left"
		if s.Sensor == "" {
			for _, t := range oldest {
				if !ok || t.Before(at) {
					at, ok = t, true
				}
			}
		}
		if !ok {
			at, why = s.To, "this ring has nothing of that sensor; only what is pinned is left"
		}
		if !s.From.Before(at) {
			continue
		}
		end := s.To
		if at.Before(end) {
			end = at
		}
		g := early[s.Sensor]
		if g == nil {
			early[s.Sensor] = &Gap{Sensor: s.Sensor, From: s.From, To: end, Why: why}
			continue
		}
		x := span{g.From, g.To}
		x.join(s.From, end)
		g.From, g.To = x.from, x.to
	}
	for _, g := range early {
		gaps = append(gaps, *g)
	}
	return gaps
}

// distinct leaves out packets that come twice: pins of several cases may have
// the same.
type distinct struct {
	capture.Source
	at   time.Time
	seen [][]byte // packets of that time
}

func (d *distinct) Next(p *capture.Packet) error {
	for {
		if err := d.Source.Next(p); err != nil {
			return err
		}
		if !p.Time.Equal(d.at) {
			d.at, d.seen = p.Time, d.seen[:0]
		}
		if !slices.ContainsFunc(d.seen, func(b []byte) bool { return bytes.Equal(b, p.Data) }) {
			d.seen = append(d.seen, bytes.Clone(p.Data))
			return nil
		}
	}
}

// frames is a source of the chunks of one tap that may have what is wanted.
type frames struct {
	tap    capture.Interface
	frames []located
	gaps   []Gap
	file   *os.File
	open   *segment
	buf    []byte
	queue  []capture.Packet // of the chunk, within buf
	next   int
	err    error
}

type located struct {
	frame
	in *segment
}

// openFrames looks into the indices of files, which are of one tap and in the
// order of time.
func openFrames(list []*segment, w *Wanted) (*frames, error) {
	src := &frames{tap: list[0].tap}
	for _, s := range list {
		index, err := os.ReadFile(s.base + idxEnding)
		if err != nil {
			return nil, fmt.Errorf("evidence: %w", err)
		}
		readRecords(index, func(f *frame) {
			switch {
			case f.kind == kindGap && !f.first.After(w.to) && !f.last.Before(w.from):
				src.gaps = append(src.gaps, Gap{Sensor: s.tap.Sensor, From: f.first, To: f.last, Packets: f.packets, Why: "left out because the disk was too slow"})
			case w.mayBeIn(f):
				l := located{*f, s}
				l.bloom = nil
				src.frames = append(src.frames, l)
			}
		})
	}
	return src, nil
}

// Next implements capture.Source. Packets are valid until those of the next
// chunk.
func (s *frames) Next(p *capture.Packet) error {
	for s.next == len(s.queue) {
		if len(s.frames) == 0 {
			return io.EOF
		}
		f := s.frames[0]
		s.frames = s.frames[1:]
		if s.open != f.in {
			if s.file != nil {
				s.file.Close()
			}
			var err error
			if s.file, err = os.Open(f.in.base + dataEnding); err != nil {
				s.err = fmt.Errorf("evidence: %w", err)
				return s.err
			}
			s.open = f.in
		}
		raw, err := readFrame(s.file, &f.frame, s.buf)
		if err != nil {
			s.err = err
			return err
		}
		s.buf, s.queue, s.next = raw, s.queue[:0], 0
		walk(raw, sectionLinks(raw), func(q *capture.Packet) { s.queue = append(s.queue, *q) })
	}
	*p = s.queue[s.next]
	s.next++
	return nil
}

// Interfaces implements capture.Source.
func (s *frames) Interfaces() []capture.Interface { return []capture.Interface{s.tap} }

// Counters implements capture.Source.
func (s *frames) Counters() capture.Counters { return capture.Counters{} }

// Close implements capture.Source.
func (s *frames) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// OpenReadOnly opens the folder of a ring to fetch from, while another process
// may record there. Files that are deleted meanwhile are missing.
func OpenReadOnly(dir string) (*Ring, error) {
	r := &Ring{cfg: Config{Dir: dir, Bytes: MinBytes}, open: map[*Recorder]*segment{}, pins: map[string]*pin{}, wake: make(chan struct{}, 1), stop: make(chan struct{}), closed: true}
	if _, err := os.Stat(filepath.Join(dir, ringFolder)); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return r, nil
}
