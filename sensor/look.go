package sensor

import (
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// look is what the first look at a packet has found.
type look struct {
	packet.Glance
	common bool  // the Glance says something
	still  bool  // the clock is in the same second and minute as at the packet before
	clock  clock // at this packet
}

// looker takes the first look at all packets of a source.
type looker struct {
	dec    *packet.Decoder
	clock  clock
	second int64    // end of the present second of the clock's steady time
	minute [2]int64 // beginning and end of the present minute of its packet time
}

// look looks at some packets, and gives those without a possible time one.
func (k *looker) look(raws []capture.Packet, looks []look) {
	c := &k.clock
	for i := range raws {
		l, raw := &looks[i], &raws[i]
		l.common = k.dec.Glance(&l.Glance, raw)
		raw.Time = c.see(raw.Time)
		l.still = c.steady < k.second && c.at >= k.minute[0] && c.at < k.minute[1]
		l.clock = *c
		if !l.still {
			k.second = (c.steady/int64(time.Second) + 1) * int64(time.Second)
			k.minute[0] = c.at / int64(time.Minute) * int64(time.Minute)
			k.minute[1] = k.minute[0] + int64(time.Minute)
		}
	}
}
