package s7comm

import (
	"encoding/binary"
	"time"

	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/ics"
)

// plusSide is what is known of S7comm-plus in one direction.
type plusSide struct {
	inside bool // the next packet goes on with a message
}

// Kinds of messages of S7comm-plus.
const (
	plusRequest      = 0x31
	plusResponse     = 0x32
	plusNotification = 0x33
)

// Functions of S7comm-plus.
const (
	plusExplore      = 0x04bb
	plusCreateObject = 0x04ca
	plusDeleteObject = 0x04d4
	plusSetVariable  = 0x04f2
	plusGetVariable  = 0x04fc
	plusAddLink      = 0x0506
	plusRemoveLink   = 0x051a
	plusGetLink      = 0x0524
	plusSetMulti     = 0x0542
	plusGetMulti     = 0x054c
	plusBegin        = 0x0556
	plusEnd          = 0x0560
	plusInvoke       = 0x056b
	plusSetStreamed  = 0x057c
	plusGetStreamed  = 0x0586
	plusGetAddress   = 0x0590
	plusAbort        = 0x059a
	plusError        = 0x05a9
	plusInitTLS      = 0x05b3
)

var plusFunctions = map[uint16]meaning{
	plusExplore:      {"explore", "discover"},
	plusCreateObject: {"create_object", "write"},
	plusDeleteObject: {"delete_object", "write"},
	plusSetVariable:  {"set_variable", "write"},
	plusGetVariable:  {"get_variable", "read"},
	plusAddLink:      {"add_link", "write"},
	plusRemoveLink:   {"remove_link", "write"},
	plusGetLink:      {"get_link", "read"},
	plusSetMulti:     {"set_multi_variables", "write"},
	plusGetMulti:     {"get_multi_variables", "read"},
	plusBegin:        {"begin_sequence", "session"},
	plusEnd:          {"end_sequence", "session"},
	plusInvoke:       {"invoke", "control"},
	plusSetStreamed:  {"set_variable_substreamed", "write"},
	plusGetStreamed:  {"get_variable_substreamed", "read"},
	plusGetAddress:   {"get_variables_address", "read"},
	plusAbort:        {"abort", "session"},
	plusError:        {"error", "session"},
	plusInitTLS:      {"init_tls", "session"},
}

// Objects and attributes that say what a function does.
const (
	objectSessions  = 285 // under which a session is made
	objectCPU       = 52  // that runs the program
	attributeState  = 2167
	attributeServer = 300 // and beyond: of a session: version, challenge, response, role
	attributeLast   = 306
)

// plusStates are the operating states that attributeState may be told.
var plusStates = map[uint64]string{1: "stop", 3: "run"}

// plus is a message of S7comm-plus.
type plus struct {
	version   uint8
	opcode    uint8
	function  uint16
	sequence  uint16
	session   uint32 // of requests
	integrity bool
	silent    bool   // a request that nobody answers
	body      []byte // behind the head
}

// parsePlus reads a message; ok is false of one that has no head. more is true
// where the next packet goes on with it.
func parsePlus(b []byte) (m plus, more, ok bool) {
	if len(b) < 4 || b[0] != magicPlus {
		return m, false, false
	}
	m.version = b[1]
	n := int(binary.BigEndian.Uint16(b[2:]))
	// A whole message ends with a head that announces nothing.
	more = m.version <= 3 && len(b) <= 4+n
	b = b[4:min(4+n, len(b))]
	if m.version == 3 && len(b) > 33 && b[0] == 32 {
		m.integrity = true
		b = b[33:]
	}
	if len(b) < 10 {
		return m, more, false
	}
	m.opcode = b[0]
	switch m.opcode {
	case plusRequest:
		if len(b) < 14 {
			return m, more, false
		}
		m.function, m.sequence, m.session = u16(b[3:]), u16(b[7:]), binary.BigEndian.Uint32(b[9:])
		m.silent = b[13]&0x40 != 0
		m.body = b[14:]
	case plusResponse:
		m.function, m.sequence = u16(b[3:]), u16(b[7:])
		m.body = b[10:]
	case plusNotification:
		m.body = b[1:]
	default:
		return m, more, false
	}
	return m, more, true
}

func (p *parser) plusMessage(dir proto.Dir, b []byte, now time.Time, odd ics.Odd, out *proto.Out) {
	s := &p.plus[dir]
	m, more, ok := parsePlus(b)
	going := s.inside
	s.inside = more
	if going || !ok {
		return
	}
	switch m.opcode {
	case plusRequest:
		p.settle(dir)
		r := pending{at: now, dir: dir, plus: true, ref: m.sequence, fn: m.function, raw: b, odd: odd}
		if m.silent {
			p.emitPlus(&r, nil, -1, out)
			return
		}
		p.ask(r, out)
	case plusResponse:
		i := p.wait.Find(func(q *pending) bool { return q.dir != dir && q.plus && q.ref == m.sequence })
		if i < 0 {
			if p.frames.Lost {
				odd |= ics.CaptureLoss
			} else {
				odd |= ics.UnsolicitedResponse
			}
			p.emitPlus(&pending{at: now, dir: dir.Flip(), plus: true, ref: m.sequence, odd: odd}, &m, -1, out)
			return
		}
		r := p.wait.At(i)
		r.odd |= odd
		if r.fn != m.function {
			r.odd |= ics.FunctionMismatch
		}
		p.emitPlus(r, &m, max(now.Sub(r.at), 0), out)
		p.wait.Remove(i)
	case plusNotification:
		p.emitPlus(&pending{at: now, dir: dir, plus: true, odd: odd}, &m, -1, out)
	}
}

var opcodeNames = map[uint8]string{plusRequest: "request", plusResponse: "response", plusNotification: "notification"}

// emitPlus makes the event of a request of S7comm-plus and its response. Either
// may be missing.
func (p *parser) emitPlus(r *pending, response *plus, latency time.Duration, out *proto.Out) {
	main := response
	var asked plus
	if len(r.raw) > 0 {
		asked, _, _ = parsePlus(r.raw)
		main = &asked
	}
	if p.known && p.client == proto.Resp {
		r.odd |= ics.ReversedRoles
	}
	e := &p.rec
	object, hasObject := uint64(0), false
	if len(main.body) >= 4 && main.opcode != plusResponse {
		object, hasObject = uint64(binary.BigEndian.Uint32(main.body)), true
	}
	if main.opcode == plusNotification {
		e.Begin(out, "s7comm-plus", "report", "notification")
	} else {
		x, known := plusFunctions[main.function]
		if !known {
			x.name = "unknown"
			r.odd |= ics.UnknownFunction
		}
		state := ""
		var attribute uint64
		if main.opcode == plusRequest && hasObject {
			switch main.function {
			case plusCreateObject, plusDeleteObject:
				if object == objectSessions || object == uint64(main.session) {
					x.operation = "session"
				}
			case plusSetVariable:
				attribute, state = setVariable(main.body[4:], object)
				switch {
				case object == objectCPU && attribute == attributeState:
					x.operation = "mode"
				case object == uint64(main.session) && attribute >= attributeServer && attribute <= attributeLast:
					x.operation = "session"
				}
			case plusSetMulti:
				if object == uint64(main.session) {
					x.operation = "session" // the answer to a challenge
				}
			}
		}
		e.Begin(out, "s7comm-plus", x.operation, x.name)
		e.Num("ics.function.code", uint64(main.function))
		e.Num("s7comm.plus.sequence", uint64(r.ref))
		if attribute != 0 {
			e.Num("s7comm.plus.attribute", attribute)
		}
		e.Str("s7comm.device.state", state)
	}
	e.Str("s7comm.plus.opcode", opcodeNames[main.opcode])
	e.Num("s7comm.plus.version", uint64(main.version))
	e.True("s7comm.plus.integrity", main.integrity)
	if main.opcode == plusRequest {
		e.Num("s7comm.plus.session", uint64(main.session))
	}
	if hasObject && object != 0 && main.function != plusInitTLS {
		e.Num("s7comm.plus.object", object)
	}
	switch {
	case main.opcode == plusNotification:
	case response == nil:
		e.Str("event.outcome", "unknown")
	default:
		// The result is a number of which the lowest half says what is wrong.
		if v, n := vlq(response.body); n > 0 && int16(v) < 0 {
			e.Outcome(v&0xffff, "error", latency)
		} else {
			e.Outcome(0, "", latency)
		}
	}
	e.Emit(r.at, r.odd)
}

// setVariable reads which attribute is set, and to which operating state if
// that is what it is.
func setVariable(b []byte, object uint64) (attribute uint64, state string) {
	_, n := vlq(b) // how many
	if n == 0 {
		return 0, ""
	}
	b = b[n:]
	attribute, n = vlq(b)
	b = b[n:]
	if n > 0 && object == objectCPU && attribute == attributeState && len(b) > 2 {
		v, _ := vlq(b[2:]) // behind flags and type
		state = plusStates[v]
	}
	return attribute, state
}

// vlq reads a number of seven bits a byte, the highest first; n is how many
// bytes it has, 0 if it has no end. The ninth has eight bits.
func vlq(b []byte) (v uint64, n int) {
	for i, c := range b[:min(len(b), 9)] {
		if i == 8 {
			return v<<8 | uint64(c), 9
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
