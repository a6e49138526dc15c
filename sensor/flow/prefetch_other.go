//go:build !amd64 && !arm64

package flow

import "unsafe"

// prefetch would bring a line of memory into the caches.
func prefetch(unsafe.Pointer) {}

func prefetchHot(unsafe.Pointer) {}

func prefetchRecord(unsafe.Pointer) {}
