//go:build !linux

package capture

import "time"

// SystemClock knows of the clock of Linux only.
func SystemClock() (synchronized bool, most time.Duration) { return false, 0 }
