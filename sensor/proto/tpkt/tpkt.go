// Package tpkt reads TPKT (RFC 1006) and the connection-oriented transport
// protocol inside of it (ISO 8073, X.224) of classes 0 and 2, over which S7comm
// and MMS talk.
package tpkt

import (
	"encoding/binary"

	"github.com/tocsin/tocsin/sensor/proto"
)

// Port is where ISO transport services listen (RFC 1006, section 4).
const Port = 102

const (
	headerLen = 4 // version, reserved, length of all (RFC 1006, section 6)
	// MaxTSDU is how many bytes of what several packets carry together are
	// kept. RFC 1006 has no limit.
	MaxTSDU = 32 << 10
)

// Kind is the type of a transport PDU (X.224, section 13.2.2.1).
type Kind uint8

// Types of transport PDUs.
const (
	Connect    Kind = 0xe // CR
	Confirm    Kind = 0xd // CC
	Disconnect Kind = 0x8 // DR
	Released   Kind = 0xc // DC
	Data       Kind = 0xf // DT
	Expedited  Kind = 0x1 // ED
	Ack        Kind = 0x6 // AK
	Error      Kind = 0x7 // ER
)

// fixed is how long the fixed part of a PDU is, without its length indicator;
// 0 of types that do not exist here.
func (k Kind) fixed() int {
	switch k {
	case Connect, Confirm, Disconnect:
		return 6
	case Released:
		return 5
	case Data:
		return 2 // of class 0; 4 of others
	case Expedited, Error, Ack:
		return 4
	}
	return 0
}

// PDU is one transport PDU.
type PDU struct {
	Kind    Kind
	Dst     uint16 // references of Connect, Confirm, Disconnect and Released
	Src     uint16
	Class   uint8 // of Connect and Confirm
	Reason  uint8 // of Disconnect
	Calling []byte
	Called  []byte // transport selectors of Connect and Confirm
	Size    int    // of TPDUs that Connect or Confirm proposes, 0 if it does not say
	EOT     bool   // the last Data of what belongs together
	Payload []byte
}

// Size returns how long the packet is that b begins with: 0 where b is too
// short to tell, -1 where it begins with none.
func Size(b []byte) int {
	if len(b) > 0 && b[0] != 3 || len(b) > 1 && b[1] != 0 {
		return -1
	}
	if len(b) < headerLen {
		return 0
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < headerLen+3 {
		return -1
	}
	if len(b) > headerLen && (int(b[4]) < 2 || headerLen+1+int(b[4]) > n) {
		return -1
	}
	if len(b) > headerLen+1 {
		if f := Kind(b[5] >> 4).fixed(); f == 0 || int(b[4]) < f {
			return -1
		}
	}
	return n
}

// Parse reads a packet of which Size has said how long it is. It may lack its
// end, then Payload does.
func Parse(b []byte) (p PDU, ok bool) {
	if Size(b) <= 0 || len(b) <= headerLen || len(b) < headerLen+1+int(b[4]) {
		return p, false
	}
	head, payload := b[5:5+int(b[4])], b[5+int(b[4]):]
	p.Kind, p.Payload = Kind(head[0]>>4), payload
	switch p.Kind {
	case Connect, Confirm, Disconnect:
		p.Dst, p.Src = binary.BigEndian.Uint16(head[1:]), binary.BigEndian.Uint16(head[3:])
		if p.Kind == Disconnect {
			p.Reason = head[5]
			break
		}
		p.Class = head[5] >> 4
		p.parameters(head[6:])
	case Released:
		p.Dst, p.Src = binary.BigEndian.Uint16(head[1:]), binary.BigEndian.Uint16(head[3:])
	case Data:
		// Class 0 and 1 have the number behind the type; others a reference
		// before it (X.224, section 13.7).
		p.EOT = head[min(len(head)-1, 1)]&0x80 != 0
		if len(head) >= 4 {
			p.EOT = head[3]&0x80 != 0
		}
	}
	return p, true
}

// Parameters of Connect and Confirm (X.224, section 13.3.4).
const (
	paramSize    = 0xc0
	paramCalling = 0xc1
	paramCalled  = 0xc2
)

func (p *PDU) parameters(b []byte) {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		v := b[2 : 2+int(b[1])]
		switch b[0] {
		case paramSize:
			if len(v) == 1 && v[0] >= 7 && v[0] <= 16 {
				p.Size = 1 << v[0]
			}
		case paramCalling:
			p.Calling = v
		case paramCalled:
			p.Called = v
		}
		b = b[2+len(v):]
	}
}

// Probe judges the first bytes of a direction by the first Data that carries
// something: plausible is asked of that, whose end may be missing.
func Probe(b []byte, plausible func(payload []byte) bool) proto.Verdict {
	full := len(b) >= proto.MaxProbe
	for {
		n := Size(b)
		if n < 0 {
			return proto.No
		}
		p, ok := Parse(b[:min(max(n, 0), len(b))])
		whole := n > 0 && n <= len(b)
		if ok && len(p.Payload) > 0 && p.Kind == Data {
			switch {
			case !plausible(p.Payload):
				return proto.No
			case whole || full:
				return proto.Yes
			}
			return proto.Maybe
		}
		switch {
		case ok && p.Kind != Data && p.Kind != Connect && p.Kind != Confirm && p.Kind != Disconnect:
			return proto.No
		case !whole && full:
			return proto.No
		case !whole:
			return proto.Maybe
		}
		b = b[n:]
	}
}

// Assembler joins what several Data carry. The zero Assembler is ready.
type Assembler struct {
	buf  []byte
	open bool
	over bool // the rest of what is being joined has no room
}

// Add takes the payload of a Data and returns the whole where it is the last
// of it. What is longer than MaxTSDU lacks its end, and cut is true. It is valid
// until the next Add.
func (a *Assembler) Add(p *PDU) (whole []byte, cut, ok bool) {
	if p.EOT && !a.open {
		return p.Payload, false, true
	}
	if !a.open {
		a.buf, a.over, a.open = a.buf[:0], false, true
	}
	room := MaxTSDU - len(a.buf)
	a.over = a.over || len(p.Payload) > room
	a.buf = append(a.buf, p.Payload[:min(len(p.Payload), room)]...)
	if !p.EOT {
		return nil, false, false
	}
	a.open = false
	return a.buf, a.over, true
}

// Reset forgets what was not whole yet.
func (a *Assembler) Reset() { a.open = false }
