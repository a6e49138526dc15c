//go:build !linux

package main

import "io"

// confine is for Linux.
func confine(io.Writer, reach) error { return nil }
