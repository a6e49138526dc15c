// Package merge reads several captures as one, packets in order of time.
package merge

import (
	"errors"
	"io"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Source reads several sources. It is a capture.BatchSource.
//
// Packets of one source keep their order, even where their times go back. Of
// packets with the same time, those of the source that was named first come
// first. A source that fails does not stop the others: when everything that can
// be read has been, Next returns the errors of all, or io.EOF.
//
// It is for sources that never wait, such as files: the next packet is known
// only when every source has shown its own.
type Source struct {
	open       []*input // those that have a packet
	all        []*input
	interfaces []capture.Interface
	last       *input // whose packet was handed out last, and was the last that it had
	started    bool
	err        error
	one        [1]capture.Packet // for Next
}

type input struct {
	source  capture.Source
	batch   capture.BatchSource // source, if it is one
	packets [batchSize]capture.Packet
	left    []capture.Packet // of packets; the first one comes next
	order   time.Time        // of that, but never before the packets ahead of it
	ifaces  []int            // index in Source.interfaces of each of the source's own
}

// batchSize is how many packets are asked of a source at a time.
const batchSize = 32

// Open opens n sources and reads them as one; a single source stays as it is.
// If one cannot be opened, those before it are closed.
func Open(n int, open func(i int) (capture.Source, error)) (capture.Source, error) {
	sources := make([]capture.Source, 0, n)
	for i := range n {
		src, err := open(i)
		if err != nil {
			for _, s := range sources {
				err = errors.Join(err, s.Close())
			}
			return nil, err
		}
		sources = append(sources, src)
	}
	if n == 1 {
		return sources[0], nil
	}
	return New(sources...), nil
}

// New merges sources. It closes them when it is closed.
func New(sources ...capture.Source) *Source {
	s := &Source{}
	for _, src := range sources {
		in := &input{source: src}
		in.batch, _ = src.(capture.BatchSource)
		s.all = append(s.all, in)
	}
	return s
}

// Next implements capture.Source.
func (s *Source) Next(p *capture.Packet) error {
	if _, err := s.NextBatch(s.one[:]); err != nil {
		return err
	}
	*p = s.one[0]
	return nil
}

// NextBatch implements capture.BatchSource. A batch ends where one of the sources
// has to be asked for more.
func (s *Source) NextBatch(ps []capture.Packet) (n int, err error) {
	if !s.started {
		s.started = true
		s.open = append(s.open, s.all...)
		for _, in := range s.all {
			s.refill(in)
		}
	} else if s.last != nil {
		s.refill(s.last)
	}
	s.last = nil
	if len(s.open) == 0 {
		if s.err == nil {
			return 0, io.EOF
		}
		return 0, s.err
	}
	for n < len(ps) && s.last == nil {
		// Taps are few: looking at each is quicker than to keep a heap.
		next := s.open[0]
		for _, in := range s.open[1:] {
			if in.order.Before(next.order) {
				next = in
			}
		}
		ps[n] = next.left[0]
		n++
		if next.left = next.left[1:]; len(next.left) > 0 {
			s.show(next)
		} else {
			s.last = next
		}
	}
	return n, nil
}

// refill reads the next packets of a source, or takes the source out.
func (s *Source) refill(in *input) {
	n, err := 1, error(nil)
	if in.batch != nil {
		n, err = in.batch.NextBatch(in.packets[:])
	} else {
		err = in.source.Next(&in.packets[0])
	}
	if err != nil {
		if err != io.EOF {
			s.err = errors.Join(s.err, err)
		}
		for i := range s.open {
			if s.open[i] == in {
				s.open = append(s.open[:i], s.open[i+1:]...)
				break
			}
		}
		return
	}
	in.left = in.packets[:n]
	s.show(in)
}

// show makes the next packet of a source ready to be handed out.
func (s *Source) show(in *input) {
	p := &in.left[0]
	if p.Time.After(in.order) {
		in.order = p.Time
	}
	if p.Iface >= len(in.ifaces) {
		for _, iface := range in.source.Interfaces()[len(in.ifaces):] {
			in.ifaces = append(in.ifaces, len(s.interfaces))
			s.interfaces = append(s.interfaces, iface)
		}
	}
	p.Iface = in.ifaces[p.Iface]
}

// Interfaces implements capture.Source.
func (s *Source) Interfaces() []capture.Interface { return s.interfaces }

// Counters implements capture.Source: the sums over all sources.
func (s *Source) Counters() capture.Counters {
	sum := capture.Counters{Dropped: make(map[string]uint64)}
	for _, in := range s.all {
		c := in.source.Counters()
		sum.Received += c.Received
		sum.Filtered += c.Filtered
		sum.Broken += c.Broken
		sum.Oversized += c.Oversized
		for cause, n := range c.Dropped {
			sum.Dropped[cause] += n
		}
	}
	return sum
}

// Close implements capture.Source.
func (s *Source) Close() error {
	var errs []error
	for _, in := range s.all {
		errs = append(errs, in.source.Close())
	}
	return errors.Join(errs...)
}
