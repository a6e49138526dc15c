package main

import (
	"bufio"
	"context"
	"io"
	"os"
)

// input is a capture or a log of events that a command reads.
type input struct {
	name string
	// once is what can be read only once: standard input, a named pipe, what a
	// shell puts in place of <(…). It is nil for a file, which whoever reads it
	// opens, as often as needed.
	once *bufio.Reader
}

// openInputs looks at what is to be read; "-" is stdin. Pipes wait for their
// writer, so they end when ctx does. They stay open until the process ends.
func openInputs(ctx context.Context, paths []string, stdin io.Reader) []input {
	list := make([]input, len(paths))
	for i, path := range paths {
		list[i].name = path
		open := func() (io.Reader, error) { return os.Open(path) }
		if path == "-" {
			list[i].name = "stdin"
			open = func() (io.Reader, error) { return stdin, nil }
		} else if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() || info.IsDir() {
			continue // what is wrong with it is said when it is opened
		}
		list[i].once = bufio.NewReader(newPipe(ctx, open))
	}
	return list
}

// pipe reads ahead, so that whoever reads from it can be interrupted while
// nothing comes.
type pipe struct {
	ctx  context.Context
	full chan chunk
	free chan []byte
	now  chunk  // what is handed out
	left []byte // of it
}

type chunk struct {
	buf []byte
	n   int
	err error
}

const (
	pipeChunks = 2
	pipeChunk  = 256 << 10
)

func newPipe(ctx context.Context, open func() (io.Reader, error)) *pipe {
	p := &pipe{ctx: ctx, full: make(chan chunk, pipeChunks), free: make(chan []byte, pipeChunks)}
	for range pipeChunks {
		p.free <- make([]byte, pipeChunk)
	}
	go func() {
		in, err := open()
		for {
			c := chunk{err: err}
			if err == nil {
				select {
				case c.buf = <-p.free:
				case <-ctx.Done():
					return
				}
				c.n, c.err = in.Read(c.buf)
			}
			p.full <- c // never waits: there are as many places as buffers
			if c.err != nil {
				return
			}
		}
	}()
	return p
}

// Read implements io.Reader. Its error is ctx's if that is why it ended.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		if p.now.err != nil {
			return 0, p.now.err
		}
		if p.now.buf != nil {
			p.free <- p.now.buf
			p.now.buf = nil
		}
		select {
		case p.now = <-p.full:
			p.left = p.now.buf[:p.now.n]
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}
