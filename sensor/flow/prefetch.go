//go:build amd64 || arm64

package flow

import "unsafe"

// prefetch asks the processor to bring a line of memory into its caches, and
// does not wait for it.
//
//go:noescape
func prefetch(p unsafe.Pointer)

// prefetchHot does that for the three lines of a Record that every packet needs.
//
//go:noescape
func prefetchHot(p unsafe.Pointer)

// prefetchRecord does that for all of a Record.
//
//go:noescape
func prefetchRecord(p unsafe.Pointer)
