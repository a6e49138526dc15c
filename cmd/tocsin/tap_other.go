//go:build !linux

package main

import (
	"context"

	"github.com/tocsin/tocsin/sensor/capture"
)

// openRings is for Linux alone.
func openRings(context.Context, string, string, string, int) ([]capture.Source, error) {
	return nil, errNoRings
}
