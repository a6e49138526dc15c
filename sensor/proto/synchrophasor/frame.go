package synchrophasor

import (
	"encoding/binary"
	"math"
	"time"
)

// A frame (IEEE C37.118.2-2011, 6.2): sync word, size, stream, second of the
// century, fraction of the second with time quality, the content, a checksum.
const (
	syncByte  = 0xaa
	headerLen = 14
	minFrame  = headerLen + 2
	nameLen   = 16
)

// frameType is the kind of a frame (table 2).
type frameType uint8

const (
	data frameType = iota
	header
	config1
	config2
	command
	config3
	frameTypes
)

var typeNames = [frameTypes]string{"data", "header", "configuration_1", "configuration_2", "command", "configuration_3"}

// frame is one message.
type frame struct {
	kind     frameType
	version  uint8
	stream   uint16
	second   uint32
	quality  uint8  // of time, the upper byte of the fraction
	fraction uint32 // in parts of the time base
	body     []byte
	bytes    []byte // all of it
	damaged  bool   // the checksum is wrong
}

// next reads the frame that b begins with. n is its size, 0 where b is too
// short to tell, and -1 where b does not begin with one.
func next(b []byte) (f frame, n int) {
	if len(b) > 0 && b[0] != syncByte || len(b) > 1 && (b[1]>>4 >= uint8(frameTypes) || b[1]&0x0f == 0 || b[1]&0x0f > 3) {
		return f, -1
	}
	if len(b) < 4 {
		return f, 0
	}
	n = int(binary.BigEndian.Uint16(b[2:]))
	if n < minFrame || frameType(b[1]>>4) == command && n < minFrame+2 {
		return f, -1
	}
	if len(b) < n {
		return f, 0
	}
	f = read(b[:n])
	f.damaged = checksum(b[:n-2]) != binary.BigEndian.Uint16(b[n-2:])
	return f, n
}

// read takes a whole frame apart, whatever its checksum.
func read(b []byte) (f frame) {
	f.bytes = b
	f.kind, f.version = frameType(b[1]>>4), b[1]&0x0f
	f.stream, f.second = binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint32(b[6:])
	f.quality, f.fraction = b[10], binary.BigEndian.Uint32(b[10:])&0xffffff
	f.body = b[headerLen : len(b)-2]
	return f
}

// at returns the time of a frame; base is how many parts a second has.
func (f *frame) at(base uint32) time.Time {
	t := time.Unix(int64(f.second), 0).UTC()
	if base &= 0xffffff; base > 0 {
		t = t.Add(time.Duration(uint64(f.fraction) * uint64(time.Second) / uint64(base)))
	}
	return t
}

// table is that of the checksum: CRC-CCITT, beginning with all ones (annex B).
var table = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()

func checksum(b []byte) uint16 {
	c := uint16(0xffff)
	for _, x := range b {
		c = c<<8 ^ table[byte(c>>8)^x]
	}
	return c
}

// Commands (table 15).
const (
	dataOff  = 1
	dataOn   = 2
	sendHead = 3
	sendCfg3 = 6
	extended = 8
)

var commandNames = [...]string{
	dataOff: "data_transmission_off", dataOn: "data_transmission_on", sendHead: "send_header", 4: "send_configuration_1",
	5: "send_configuration_2", sendCfg3: "send_configuration_3", 8: "extended_frame",
}

// answers returns the type of frame that a command asks for.
func answers(code uint16) (frameType, bool) {
	switch code {
	case sendHead:
		return header, true
	case 4, 5:
		return frameType(code - 2), true
	case sendCfg3:
		return config3, true
	}
	return 0, false
}

// Bits of a station's FORMAT (table 9).
const (
	polar         = 1
	phasorsFloat  = 2
	analogsFloat  = 4
	frequencyReal = 8
)

// station is what a configuration says of one measurement unit.
type station struct {
	name                      []byte
	id                        uint16
	format                    uint16
	phasors, analogs, digital int
	names                     []byte // of all channels, as they lie there
	sized                     bool   // names say their length, as in configuration 3
	phasorUnits               []byte
	nominal                   float64 // hertz
	changes                   uint16  // count of changes of the configuration
}

// stations walks over those of a configuration.
type stations struct {
	b    []byte
	left int
	form frameType
	base uint32
}

// configuration begins to read a configuration frame of types 1 to 3. Only the
// first part of one that comes in several is read (6.5.5).
func configuration(f *frame) (s stations, ok bool) {
	b := f.body
	if f.kind == config3 {
		if len(b) < 2 || binary.BigEndian.Uint16(b) != 0 {
			return s, false
		}
		b = b[2:]
	}
	if len(b) < 8 {
		return s, false
	}
	return stations{b: b[6:], left: int(binary.BigEndian.Uint16(b[4:])), form: f.kind, base: binary.BigEndian.Uint32(b)}, true
}

// take cuts n bytes off.
func (s *stations) take(n int) []byte {
	if n > len(s.b) {
		s.b, s.left = nil, 0
		return nil
	}
	b := s.b[:n]
	s.b = s.b[n:]
	return b
}

// text cuts a name off.
func (s *stations) text() []byte {
	if s.form != config3 {
		return s.take(nameLen)
	}
	n := s.take(1)
	if n == nil {
		return nil
	}
	return s.take(int(n[0]))
}

func (s *stations) u16() int {
	if b := s.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

// next returns the next station, false behind the last or where the frame is
// too short.
func (s *stations) next() (x station, ok bool) {
	if s.left <= 0 || len(s.b) == 0 {
		return x, false
	}
	s.left--
	x.name = s.text()
	x.id = uint16(s.u16())
	x.sized = s.form == config3
	if x.sized {
		s.take(16) // global identifier
	}
	x.format = uint16(s.u16())
	x.phasors, x.analogs, x.digital = s.u16(), s.u16(), s.u16()
	n := x.phasors + x.analogs + 16*x.digital
	all := s.b
	if x.sized {
		for range n {
			if s.text() == nil && len(s.b) == 0 {
				return x, false
			}
		}
		x.names = all[:len(all)-len(s.b)]
		x.phasorUnits = s.take(12 * x.phasors)
		s.take(8 * x.analogs)
	} else {
		x.names = s.take(nameLen * n)
		x.phasorUnits = s.take(4 * x.phasors)
		s.take(4 * x.analogs)
	}
	s.take(4 * x.digital)
	if x.sized {
		s.take(4 + 4 + 4 + 1 + 4 + 4) // where it is, its class, its window and its delay
	}
	nominal := s.take(4)
	if nominal == nil {
		return x, false
	}
	x.nominal = 60
	if nominal[1]&1 != 0 {
		x.nominal = 50
	}
	x.changes = binary.BigEndian.Uint16(nominal[2:])
	return x, true
}

// rate is the data rate behind the last station: frames per second, or if
// negative seconds per frame.
func (s *stations) rate() (float64, bool) {
	if s.left > 0 || len(s.b) < 2 {
		return 0, false
	}
	r := int16(binary.BigEndian.Uint16(s.b))
	switch {
	case r > 0:
		return float64(r), true
	case r < 0:
		return -1 / float64(r), true
	}
	return 0, false
}

// channel returns the name of channel i.
func (x *station) channel(i int) []byte {
	if !x.sized {
		return trim(x.names[nameLen*i : nameLen*(i+1)])
	}
	b := x.names
	for range i {
		b = b[1+int(b[0]):]
	}
	return trim(b[1 : 1+int(b[0])])
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == 0) {
		b = b[:len(b)-1]
	}
	return b
}

// size is how many bytes of a data frame a station has.
func (x *station) size() int {
	n := 2 + 4*x.phasors + 4 + 2*x.analogs + 2*x.digital
	if x.format&phasorsFloat != 0 {
		n += 4 * x.phasors
	}
	if x.format&frequencyReal != 0 {
		n += 4
	}
	if x.format&analogsFloat != 0 {
		n += 2 * x.analogs
	}
	return n
}

func f32(b []byte) float64 { return float64(math.Float32frombits(binary.BigEndian.Uint32(b))) }
func i16(b []byte) float64 { return float64(int16(binary.BigEndian.Uint16(b))) }

// phasor returns magnitude, in volts or amperes, and angle, in degrees, of
// phasor i, which lies at b.
func (x *station) phasor(i int, b []byte) (magnitude, angle float64) {
	var re, im float64
	if x.format&phasorsFloat != 0 {
		re, im = f32(b), f32(b[4:])
	} else {
		scale, turn := 1.0, 0.0
		if x.sized {
			u := x.phasorUnits[12*i:]
			scale, turn = f32(u[4:]), f32(u[8:])
		} else {
			scale = float64(binary.BigEndian.Uint32(x.phasorUnits[4*i:])&0xffffff) * 1e-5
		}
		if x.format&polar != 0 {
			return float64(binary.BigEndian.Uint16(b)) * scale, (i16(b[2:])*1e-4 - turn) * 180 / math.Pi
		}
		re, im = i16(b)*scale, i16(b[2:])*scale
	}
	if x.format&polar != 0 {
		return re, im * 180 / math.Pi
	}
	return math.Hypot(re, im), math.Atan2(im, re) * 180 / math.Pi
}

// frequency returns the frequency in hertz and its change in hertz a second,
// which lie at b.
func (x *station) frequency(b []byte) (f, change float64) {
	if x.format&frequencyReal != 0 {
		return f32(b), f32(b[4:])
	}
	return x.nominal + i16(b)/1000, i16(b[2:]) / 100
}
