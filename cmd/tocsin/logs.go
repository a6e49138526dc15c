package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/log"
	logs "github.com/tocsin/tocsin/sensor/log/all"
)

// logBatch is how many events are given on at a time.
const logBatch = 1024

// divide tells captures from logs of events. What can be read only once is
// looked at without taking anything from it.
func divide(inputs []input) (captures, texts []input, err error) {
	for _, in := range inputs {
		isLog, err := isLog(&in)
		if err != nil {
			return nil, nil, err
		}
		if isLog {
			texts = append(texts, in)
		} else {
			captures = append(captures, in)
		}
	}
	return captures, texts, nil
}

func isLog(in *input) (bool, error) {
	if in.once != nil {
		r, err := plain(in.once)
		if err != nil {
			return false, fmt.Errorf("%s: %w", in.name, err)
		}
		in.once = r
		head, err := peek(r)
		return isText(head), err
	}
	f, err := os.Open(in.name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return false, nil // the error of reading a capture says it
	}
	r, err := plain(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		return false, fmt.Errorf("%s: %w", in.name, err)
	}
	head, err := peek(r)
	if err != nil {
		return false, fmt.Errorf("%s: %w", in.name, err)
	}
	return isText(head), nil
}

// isText reports whether a log begins so: no capture does.
func isText(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return len(head) > 0 && (head[0] == '{' || head[0] == '#')
}

// peek returns what there is at the beginning without waiting for more.
func peek(r *bufio.Reader) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, whole(err)
	}
	return r.Peek(min(r.Buffered(), log.HeadLength))
}

// whole forgives the end of a file that is shorter than what was asked for.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// maxWindow bounds the memory that a Zstandard file may ask for.
const maxWindow = 64 << 20

// plain returns r, or what is compressed in it.
func plain(r *bufio.Reader) (*bufio.Reader, error) {
	magic, err := peek(r)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return bufio.NewReaderSize(z, 64<<10), nil
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return bufio.NewReaderSize(z, 64<<10), nil
	}
	return r, nil
}

// readLogs gives the events of logs to a sink, in the order of time. A line that
// is no event is passed over, and the error names the first of them; types of
// lines that are not read are counted on errs.
func readLogs(ctx context.Context, inputs []input, sink sensor.Sink, errs io.Writer) error {
	fields, err := schema()
	if err != nil {
		return err
	}
	formats := append(logs.Formats(), log.Own(fields))
	var sources []log.Source
	for _, in := range inputs {
		r := in.once
		if r == nil {
			f, err := os.Open(in.name)
			if err != nil {
				return err
			}
			defer f.Close()
			if r, err = plain(bufio.NewReaderSize(f, 64<<10)); err != nil {
				return fmt.Errorf("%s: %w", in.name, err)
			}
		}
		head, err := peek(r)
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		format, ok := log.Recognise(formats, head)
		if !ok {
			return fmt.Errorf("%s: no log of Suricata (EVE), Zeek, or tocsin events", in.name)
		}
		sources = append(sources, log.Source{Name: in.name, Lines: r, Reader: format.New(filepath.Base(in.name))})
	}
	report, err := log.Run(ctx, sources, sink)
	if skipped := report.String(); skipped != "" {
		fmt.Fprintf(errs, "tocsin: lines of types that are not read: %s\n", skipped)
	}
	return errors.Join(err, report.Err())
}
