package sensor

import (
	"math"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/flow"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto"
)

// sideNames are the names of fields about what one side of a flow sent.
type sideNames struct {
	dir                                                                                  proto.Dir
	entropy, flags, missed, reordered, retransmitted, rtt, syn, ttl, ttlMax, zeroWindows string
}

func namesOf(dir proto.Dir, side string) sideNames {
	side = "tocsin.flow." + side + "_"
	return sideNames{
		dir: dir, entropy: side + "entropy", flags: side + "flags", missed: side + "missed", reordered: side + "reordered", retransmitted: side + "retransmitted", rtt: side + "rtt",
		syn: side + "syn", ttl: side + "ttl", ttlMax: side + "ttl_max", zeroWindows: side + "zero_windows",
	}
}

// bothSides are in the order of their names, as are the fields of each: what is
// in order already is sorted soonest when it is written.
var bothSides = [2]sideNames{namesOf(proto.Resp, "destination"), namesOf(proto.Orig, "source")}

// flowFields appends what a flow event says of headers and streams.
func (sh *shard) flowFields(c *conversation, r *flow.Record, fs []event.Field) []event.Field {
	set := func(name string, n uint64) {
		if n > 0 {
			fs = append(fs, event.Field{Name: name, Value: event.Uint(n)})
		}
	}
	tcp := r.Transport() == packet.ProtoTCP
	streams := tcp && c != nil
	if streams {
		set("tocsin.flow.conflicting", c.sides[0].half.Counters.Conflicting+c.sides[1].half.Counters.Conflicting)
	}
	for i := range bothSides {
		names := &bothSides[i]
		f := r.Facts(names.dir)
		if streams {
			side := &c.sides[r.Side(names.dir)]
			if side.entropy > 0 && c.service == "" {
				fs = append(fs, event.Field{Name: names.entropy, Value: event.Float(float64(side.entropy) / 100)})
			}
		}
		if f.Flags != 0 {
			fs = append(fs, event.Field{Name: names.flags, Value: event.Str(flagTexts[f.Flags])})
		}
		if streams {
			s := &c.sides[r.Side(names.dir)].half.Counters
			set(names.missed, s.Missed)
			set(names.reordered, s.Reordered)
			set(names.retransmitted, s.Retransmitted)
		}
		if tcp {
			set(names.rtt, uint64(f.RTT))
			if f.SYN.Seen() {
				fs = append(fs, event.Field{Name: names.syn, Value: event.Str(sh.signature(i, &f.SYN))})
			}
		}
		set(names.ttl, uint64(f.MinTTL))
		if f.MaxTTL > f.MinTTL {
			set(names.ttlMax, uint64(f.MaxTTL))
		}
		if tcp {
			set(names.zeroWindows, uint64(f.ZeroWindows))
		}
	}
	if streams && len(c.pulses) >= minPulses && personal[c.service] {
		list := sh.w.made.arena.Values(len(c.pulses))
		for _, at := range c.pulses {
			list = append(list, event.Uint(uint64(at)))
		}
		fs = append(fs, event.Field{Name: "tocsin.flow.pulses", Value: event.List(list...)})
	}
	return fs
}

// flagTexts are TCP's flags in letters, the lowest bit first.
var flagTexts = func() (texts [256]string) {
	for flags := range texts {
		for bit, letter := range "FSRPAUEC" {
			if flags&(1<<bit) != 0 {
				texts[flags] += string(letter)
			}
		}
	}
	return texts
}()

// offer is a SYN with its text.
type offer struct {
	syn  flow.SYN
	text string
}

// signature writes a SYN. A network has few that differ, and a scan or a flood
// mostly one.
func (sh *shard) signature(side int, s *flow.SYN) string {
	last := &sh.offered[side]
	if last.syn == *s {
		return last.text
	}
	const enough = 256
	text, ok := sh.signatures[*s]
	if !ok {
		if len(sh.signatures) >= enough {
			clear(sh.signatures) // somebody makes them up
		}
		text = s.String()
		sh.signatures[*s] = text
	}
	*last = offer{*s, text}
	return text
}

// Bytes of which entropy is measured: fewer say nothing, more cost time.
const (
	minEntropy = 32
	maxEntropy = 256
)

// entropy is that of the first bytes of a stream, in hundredths of what so many
// bytes can have at most, and at least one; 0 if there are too few.
func entropy(b []byte) uint8 {
	if len(b) < minEntropy {
		return 0
	}
	b = b[:min(len(b), maxEntropy)]
	var counts [256]uint16
	for _, c := range b {
		counts[c]++
	}
	var sum float64
	for _, n := range counts {
		if n > 1 {
			sum += float64(n) * math.Log2(float64(n))
		}
	}
	most := math.Log2(float64(len(b)))
	return max(1, uint8(math.Round(100*(1-sum/float64(len(b))/most))))
}
