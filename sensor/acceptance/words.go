package acceptance

import (
	"fmt"
	"strconv"
	"time"
)

// thousands writes a number with a comma before each three digits.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// times says how often.
func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return thousands(n) + " times"
}

// scaled writes a number with the unit that leaves one to three digits before
// the point.
func scaled(x float64, units ...string) string {
	for _, u := range units[:len(units)-1] {
		if x < 1000 {
			return fmt.Sprintf("%.3g %s", x, u)
		}
		x /= 1000
	}
	return fmt.Sprintf("%.3g %s", x, units[len(units)-1])
}

func bytes(n uint64) string { return scaled(float64(n), "bytes", "kB", "MB", "GB", "TB") }

func rate(bits float64) string { return scaled(bits, "bit/s", "kbit/s", "Mbit/s", "Gbit/s") }

// seconds writes how long something took, for people.
func seconds(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.3g minutes", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.3g hours", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
