// Package log reads what other sensors have written down: each line of their
// logs becomes an event with our kinds and fields, so that the same rules fire.
// Each format is a folder; all is the list of them.
package log

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
)

// Format is a way to write logs.
type Format struct {
	Name string
	// Recognise reports whether what begins with head is of this format. head
	// has the first bytes, not compressed, up to HeadLength.
	Recognise func(head []byte) bool
	// New makes a reader of one log. name is that of its file, without folder.
	New func(name string) Reader
	// Kinds are the kinds of events that readers make, Fields all their fields.
	Kinds  []event.Kind
	Fields []event.FieldDoc
}

// HeadLength is how much of a log Recognise is shown.
const HeadLength = 4096

// Reader turns lines into events. It is for one log and one goroutine.
type Reader interface {
	// Read sets e, which is empty, from a line, and reports whether it did: a
	// comment or a heading is no event. Of a line of a type that is not read
	// the error is an Unknown. The line is valid until Read returns.
	Read(line []byte, e *event.Event) (bool, error)
}

// Unknown is the type of a line, or of a whole log, that no event is made of.
type Unknown string

// Error names the type.
func (u Unknown) Error() string { return fmt.Sprintf("lines of type %q are not read", string(u)) }

// Recognise finds the format of what begins with head.
func Recognise(formats []Format, head []byte) (Format, bool) {
	i := slices.IndexFunc(formats, func(f Format) bool { return f.Recognise(head) })
	if i < 0 {
		return Format{}, false
	}
	return formats[i], true
}

// Source is one log.
type Source struct {
	Name   string // of its file, for messages
	Lines  io.Reader
	Reader Reader
}

// Bounds of reading: bytes of a line, lines named that are wrong, types named
// that are not known, events published at a time.
const (
	MaxLine   = 4 << 20
	maxErrors = 20
	maxTypes  = 100
	batchSize = 1024
)

// Report says what became of the lines.
type Report struct {
	Events  uint64
	Skipped map[string]uint64 // lines of types that are not read, by type
	Wrong   uint64            // lines that are no event
	errs    []error
}

// Err is what is wrong with lines, the first of them by file and line.
func (r *Report) Err() error {
	errs := r.errs
	if more := r.Wrong - uint64(len(errs)); more > 0 {
		errs = append(slices.Clip(errs), fmt.Errorf("and %d more lines that are no events", more))
	}
	return errors.Join(errs...)
}

// String lists the types of lines that are not read; it is empty if all are.
func (r *Report) String() string {
	var parts []string
	for _, t := range slices.Sorted(maps.Keys(r.Skipped)) {
		parts = append(parts, fmt.Sprintf("%s %d", t, r.Skipped[t]))
	}
	return strings.Join(parts, ", ")
}

// Run reads logs to their end and publishes their events. Each log is taken as
// being in the order of time, more or less, and they are read side by side,
// always the one whose next event is earliest: a day of flows before the same
// day of DNS would come too late for the rules. A line that is no event is
// passed over and reported; the error is that of reading or publishing.
func Run(ctx context.Context, sources []Source, sink sensor.Sink) (*Report, error) {
	report := &Report{Skipped: map[string]uint64{}}
	var open []*tail
	for _, s := range sources {
		t := &tail{source: s, lines: bufio.NewReaderSize(s.Lines, 64<<10), report: report}
		ok, err := t.next()
		if err != nil {
			return report, err
		}
		if ok {
			open = append(open, t)
		}
	}
	var batch []event.Event
	publish := func() error {
		if len(batch) == 0 {
			return ctx.Err()
		}
		err := errors.Join(ctx.Err(), sink.Publish(ctx, batch))
		report.Events += uint64(len(batch))
		batch = batch[:0]
		return err
	}
	for len(open) > 0 {
		first := 0
		for i := range open {
			if open[i].now.Time.Before(open[first].now.Time) {
				first = i
			}
		}
		batch = append(batch, open[first].now)
		ok, err := open[first].next()
		if err != nil {
			return report, errors.Join(publish(), err)
		}
		if !ok {
			open = slices.Delete(open, first, first+1)
		}
		if len(batch) == batchSize {
			if err := publish(); err != nil {
				return report, err
			}
		}
	}
	return report, publish()
}

// tail is what is still to be read of a log.
type tail struct {
	source Source
	lines  *bufio.Reader
	report *Report
	n      int // lines read
	buf    []byte
	now    event.Event
}

// next reads the next event; false is the end.
func (t *tail) next() (bool, error) {
	for {
		line, err := t.line()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if errors.Is(err, errLong) {
			t.wrong(err)
			continue
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", t.source.Name, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		t.now = event.Event{}
		ok, err := t.source.Reader.Read(line, &t.now)
		var unknown Unknown
		switch {
		case errors.As(err, &unknown):
			if _, known := t.report.Skipped[string(unknown)]; !known && len(t.report.Skipped) >= maxTypes {
				unknown = "other"
			}
			t.report.Skipped[string(unknown)]++
		case err != nil:
			t.wrong(err)
		case ok && (t.now.Time.IsZero() || t.now.ID.IsZero()):
			t.wrong(errors.New("no time or no id: this is no event"))
		case ok:
			return true, nil
		}
	}
}

func (t *tail) wrong(err error) {
	if t.report.Wrong++; t.report.Wrong <= maxErrors {
		t.report.errs = append(t.report.errs, fmt.Errorf("%s:%d: %w", t.source.Name, t.n, err))
	}
}

var errLong = fmt.Errorf("longer than %d bytes", MaxLine)

// line returns the next line without its end; it is valid until the next call.
func (t *tail) line() ([]byte, error) {
	t.buf = t.buf[:0]
	t.n++
	for long := false; ; {
		part, err := t.lines.ReadSlice('\n')
		if long = long || len(t.buf)+len(part) > MaxLine; !long {
			t.buf = append(t.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case long && (err == nil || errors.Is(err, io.EOF)):
			return nil, errLong
		case errors.Is(err, io.EOF) && len(t.buf) > 0, err == nil:
			return trimEnd(t.buf), nil
		default:
			return nil, err
		}
	}
}

func trimEnd(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}
