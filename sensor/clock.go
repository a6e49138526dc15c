package sensor

import "time"

// Limits of the packet clock.
const (
	// clockSlack is how far back packets may go before it is taken for a jump
	// of the clock: captures of several cores or taps are out of order by less.
	clockSlack = time.Minute
	// clockStride is the most that the clock advances at once. It is longer
	// than every timeout, so a longer silence makes no difference, and keeps a
	// damaged time stamp from using up the range of the clock.
	clockStride = 48 * time.Hour
)

// clock makes one steady time of the times of packets, which may be out of
// order, jump, or be nonsense.
type clock struct {
	started bool
	at      int64 // latest packet time, nanoseconds since 1970
	steady  int64 // nanoseconds that have passed; never goes back
	jumps   uint64
}

// see takes note of a packet's time. It returns the time to use for the
// packet: its own, unless that cannot be expressed in nanoseconds since 1970.
func (c *clock) see(t time.Time) time.Time {
	if s := t.Unix(); s < 0 || s > 1<<33 { // year 2242
		c.jumps++
		return time.Unix(0, c.at).UTC()
	}
	at := t.UnixNano()
	if !c.started {
		c.started, c.at = true, at
	}
	switch d := at - c.at; {
	case d > 0:
		c.steady += min(d, int64(clockStride))
		c.at = at
	case d < -int64(clockSlack):
		c.jumps++
		c.at = at
	}
	return t
}
