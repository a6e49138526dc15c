package sensor

import (
	"runtime/debug"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Packets of a mapped file are gone when somebody cuts the file off while it is
// read. That must not end the sensor, but the reading.

// mapped has a source map its file. What that takes is done in read.
func mapped(src capture.Source) capture.Mapper {
	m, ok := src.(capture.Mapper)
	if !ok {
		return nil
	}
	m.Map()
	return m
}

// read calls f, which looks at packets. If memory of src is not there any more,
// it returns src's error.
func read(src capture.Mapper, f func()) (err error) {
	if src == nil {
		f()
		return nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if at, ok := cause.(fault); ok {
			if err = src.Fault(at.Addr()); err != nil {
				return
			}
		}
		panic(cause)
	}()
	f()
	return nil
}

// fault is what a goroutine panics with whose memory is not there.
type fault interface {
	error
	Addr() uintptr
}

// rescued is what recover has returned where a parser's panic is survived. It
// reports whether there was one. A fault is not the parser's.
func rescued(cause any) bool {
	if f, ok := cause.(fault); ok {
		panic(f)
	}
	return cause != nil
}
