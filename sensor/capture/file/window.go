package file

import (
	"bytes"
	"errors"
	"io"
)

// window is a block of the input that moves forward over it.
type window struct {
	in   io.Reader
	buf  []byte
	pos  int   // of what was not yet used, in buf
	end  int   // of what was read, in buf
	base int64 // offset in the input of buf[0]
	err  error // of in; said when the bytes before it are used up
	// still says that what is in buf must stay where it is: where more would
	// have to be read, there is errStill instead, and nothing was used up.
	still bool
	// swap gives another block for one that was used; see capture.BlockSource.
	swap func(used []byte) []byte
	// mapped is the file, if buf is not a block but all of it. block is then
	// what is read into once the mapping has come to its end; nil after that.
	mapped *mapping
	block  []byte
}

var errStill = errors.New("more must be read")

func (w *window) init(in io.Reader) {
	buf := w.buf
	if buf == nil {
		buf = make([]byte, blockSize)
	}
	*w = window{in: in, buf: buf}
}

// rest returns the input from the window's place on, for a decompressor; the
// window must then be given something else to read.
func (w *window) rest() io.Reader {
	head := bytes.Clone(w.buf[w.pos:w.end])
	return io.MultiReader(bytes.NewReader(head), w.in)
}

func (w *window) offset() int64 { return w.base + int64(w.pos) }

func (w *window) buffered() int { return w.end - w.pos }

// peek returns the next n bytes, at most blockSize, without using them. If
// there are fewer it returns those and why: io.EOF, or the input's error.
func (w *window) peek(n int) ([]byte, error) {
	if w.end-w.pos < n {
		if err := w.fill(n); err != nil {
			return w.buf[w.pos:w.end], err
		}
	}
	return w.buf[w.pos : w.pos+n], nil
}

// fill reads until n bytes are there. It asks for as much as fits but is
// content with what comes, so that packets of a pipe are not kept waiting.
func (w *window) fill(n int) error {
	if w.still {
		return errStill
	}
	if w.block != nil {
		if w.mapped.advance(w.pos, n) {
			w.end = w.mapped.ready
			return nil
		}
		w.unmap()
	}
	if w.pos > readSize/2 || len(w.buf)-w.pos < n || w.pos == w.end {
		w.base += int64(w.pos)
		used := w.buf
		if w.swap != nil {
			w.buf = w.swap(used)
		}
		w.end = copy(w.buf, used[w.pos:w.end])
		w.pos = 0
	}
	for idle := 0; w.end-w.pos < n; {
		if w.err != nil {
			return w.err
		}
		var got int
		got, w.err = w.in.Read(w.buf[w.end:min(len(w.buf), w.end+max(readSize, n-(w.end-w.pos)))])
		w.end += got
		if got > 0 {
			idle = 0
		} else if idle++; idle > 100 && w.err == nil {
			w.err = io.ErrNoProgress
		}
	}
	return nil
}

// skip uses up n bytes, of any number, and returns how many of them were there.
func (w *window) skip(n int64) (int64, error) {
	var done int64
	if w.still && n > int64(w.end-w.pos) {
		return 0, errStill
	}
	for {
		have := min(int64(w.end-w.pos), n-done)
		w.pos += int(have)
		if done += have; done == n {
			return done, nil
		}
		if err := w.fill(1); err != nil {
			return done, err
		}
	}
}
