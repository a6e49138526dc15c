package capture

import (
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock asks the kernel whether NTP or PTP keeps its clock, and by how
// much that may be wrong (adjtimex(2), which needs no rights to only ask).
func SystemClock() (synchronized bool, most time.Duration) {
	const unsynchronized = 0x40 // STA_UNSYNC
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state == unix.TIME_ERROR || t.Status&unsynchronized != 0 {
		return false, 0
	}
	return true, time.Duration(t.Maxerror) * time.Microsecond
}
