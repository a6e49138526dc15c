package sensor

import "time"

// A connection through which a person works is silent while the person thinks,
// and so is each connection that passes it on. Zhang and Paxson ("Detecting
// Stepping Stones", USENIX Security 2000) compare when such silences end: what
// ends at the same moments, again and again, is one session. A flow event
// carries these moments, so that it can be asked afterwards which connection
// went on as which.
const (
	pause     = 500 * time.Millisecond // Zhang and Paxson, section 4.2
	maxPulses = 64                     // of a flow, or between two interim reports of it
	minPulses = 4                      // fewer tell nothing
)

// personal are the services through which a person may work, or somebody's
// program by order of a person. Others are machines asking machines, and regular.
var personal = map[string]bool{"": true, "ssh": true, "tls": true, "telnet": true, "rdp": true, "vnc": true, "winrm": true, "socks": true}

// pulse notes that data comes on a flow, if there was a pause before. Times are
// nanoseconds since 1970.
func (c *conversation) pulse(first, now int64) {
	if now-c.spoke >= int64(pause) && len(c.pulses) < maxPulses {
		if at := (now - first) / int64(time.Millisecond); at >= 0 && at < 1<<32 {
			c.pulses = append(c.pulses, uint32(at))
		}
	}
	c.spoke = max(c.spoke, now)
}
