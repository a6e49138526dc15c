// Package tls parses the handshakes of TLS 1.0 to 1.3 (RFC 2246, RFC 4346,
// RFC 5246, RFC 8446) and SSL 3.0 (RFC 6101) over TCP, and the hello messages
// of SSL 2.0. It makes one event per handshake, when that is over or has
// failed, and does not look at what is sent afterwards.
package tls

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/tocsin/tocsin/sensor/proto"
)

// Protocol is TLS over TCP.
var Protocol = proto.Protocol{
	Name:      "tls",
	Transport: proto.TCP,
	Ports:     []uint16{443, 8443, 465, 636, 853, 993, 995, 3389, 4840, 5061, 8883, 19998},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields:    fieldDocs,
}

// What a peer can make us remember, and how long we look.
const (
	maxRecord    = 1<<14 + 2048 // bytes of a record, RFC 5246 section 6.2.3
	maxMessage   = 64 << 10     // bytes of a handshake message; chains of certificates stay far below
	maxHandshake = 512 << 10    // bytes of one direction after which a handshake is no longer expected to end
	maxWait      = time.Minute  // … and time
	maxCiphers   = 64           // cipher suites listed
	maxProtocols = 16           // application protocols listed
	maxNames     = 32           // alternative names listed
	maxText      = 1024         // bytes of text of one value
	maxAlerts    = 4            // alerts listed
)

// Content types (RFC 5246 section 6.2.1, RFC 6520).
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23
	typeHeartbeat        = 24
)

// Handshake messages (RFC 8446 section 4, RFC 5246 section 7.4).
const (
	msgClientHello       = 1
	msgServerHello       = 2
	msgCertificate       = 11
	msgServerKeyExchange = 12
)

const recordHeader = 5

// probe knows a record with a hello, an SSL 2.0 hello, and a lone alert.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	if len(b) == 0 {
		return proto.Maybe
	}
	if b[0]&0x80 != 0 {
		return probeSSL2(b)
	}
	want := [...]func(byte) bool{
		1: func(c byte) bool { return c == 3 },
		2: func(c byte) bool { return c <= 4 },
	}
	for i := 1; i < min(len(b), len(want)); i++ {
		if !want[i](b[i]) {
			return proto.No
		}
	}
	switch b[0] {
	case typeHandshake:
		if len(b) < recordHeader+6 {
			return proto.Maybe
		}
		n, m := int(binary.BigEndian.Uint16(b[3:])), u24(b[6:])
		hello := b[5] == msgClientHello && m >= 38 || b[5] == msgServerHello && m >= 38 // RFC 5246 section 7.4.1
		if !hello || n < 4 || n > maxRecord || m > maxMessage || b[9] != 3 || b[10] > 4 {
			return proto.No
		}
		return proto.Yes
	case typeAlert:
		if len(b) < recordHeader+2 {
			return proto.Maybe
		}
		if b[3] == 0 && b[4] == 2 && (b[5] == 1 || b[5] == 2) && alertNames[b[6]] != "" {
			return proto.Yes
		}
	}
	return proto.No
}

// probeSSL2 knows the client's hello of SSL 2.0, with which clients of later
// versions once began too (RFC 5246 appendix E.2), and the server's.
func probeSSL2(b []byte) proto.Verdict {
	if len(b) < 3 {
		return proto.Maybe
	}
	if b[2] != 1 && b[2] != 4 {
		return proto.No
	}
	if len(b) < 11 {
		return proto.Maybe
	}
	if _, ok := parseSSL2(b); !ok {
		return proto.No
	}
	return proto.Yes
}

var (
	errRecord = errors.New("tls: not a record")
	errRoles  = errors.New("tls: both directions send the same hello")
)

// side is the state of one direction.
type side struct {
	begun     bool   // something came
	ccs       bool   // change cipher spec was seen
	finished  bool   // and a handshake message after it
	appData   bool   // application data was seen
	unaligned bool   // after a gap: the next handshake record may begin within a message
	lost      bool   // after a gap: where a record begins is not known
	skip      int    // bytes left of a record or message that is passed over
	data      int    // length of the record of application data that is passed over; 0 if it is another
	left      int    // bytes of a record that Parse left unconsumed
	need      int    // bytes of that record, if its header was there
	total     int    // bytes of records
	pending   []byte // of a handshake message that spans records
}

// parser parses the handshake of one flow.
type parser struct {
	done  bool
	sides [2]side
	first time.Time  // of the first bytes, if nothing was learned from them yet
	h     *handshake // nil before anything was learned, and when done
}

// Parse implements proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	if p.done {
		return len(b), proto.ErrDone
	}
	s := &p.sides[dir]
	if p.h != nil && now.Sub(p.h.at) > maxWait {
		p.finish(out)
	}
	if p.first.IsZero() {
		p.first = now
	}
	s.left, s.need = 0, 0
	for n < len(b) {
		if s.total > maxHandshake && !p.done {
			p.finish(out)
		}
		if p.done {
			return len(b), proto.ErrDone
		}
		rest := b[n:]
		if s.skip > 0 {
			k := min(s.skip, len(rest))
			s.skip -= k
			n += k
			if size := s.data; s.skip == 0 && size > 0 {
				s.data = 0
				s.total += recordHeader + size
				p.application(dir, size, out)
			}
			continue
		}
		if !s.begun && rest[0]&0x80 != 0 {
			k, err := p.ssl2(dir, rest, now, out)
			if k == 0 || err != nil {
				return n, err
			}
			n += k
			continue
		}
		if len(rest) < recordHeader {
			s.left = len(rest)
			return n, nil
		}
		size := int(binary.BigEndian.Uint16(rest[3:]))
		if rest[0] < typeChangeCipherSpec || rest[0] > typeHeartbeat || rest[1] != 3 || size > maxRecord {
			switch {
			case s.lost:
				return len(b), nil // a later segment may begin with a record
			case p.h == nil:
				return n, errRecord
			}
			p.h.anomalies |= badRecord
			p.finish(out)
			return len(b), proto.ErrDone
		}
		s.begun, s.lost = true, false
		if rest[0] == typeApplicationData && size > 0 {
			// Only its length matters, so that it need not be kept until it is whole.
			n += recordHeader
			s.skip, s.data = size, size
			continue
		}
		if len(rest) < recordHeader+size {
			s.left, s.need = len(rest), recordHeader+size
			return n, nil
		}
		n += recordHeader + size
		s.total += recordHeader + size
		if err := p.record(dir, rest[0], rest[recordHeader:recordHeader+size], now, out); err != nil {
			return n, err
		}
	}
	if p.done {
		return n, proto.ErrDone
	}
	return n, nil
}

// Gap implements proto.Parser. A record that lacks bytes is passed over.
func (p *parser) Gap(dir proto.Dir, n int) {
	s := &p.sides[dir]
	if p.done {
		return
	}
	switch {
	case s.skip > 0 && n <= s.skip:
		s.skip -= n
	case s.need > 0 && s.left+n <= s.need:
		s.skip = s.need - s.left - n
	default:
		s.skip, s.lost = 0, true
	}
	s.begun, s.unaligned, s.data = true, true, 0
	s.left, s.need, s.pending = 0, 0, nil
	p.first = time.Time{}
	if p.h != nil {
		p.h.anomalies |= gap
	}
}

// End implements proto.Parser.
func (p *parser) End(out *proto.Out) {
	if !p.done {
		p.finish(out)
	}
}

// finish emits the handshake; from then on bytes are passed over.
func (p *parser) finish(out *proto.Out) {
	if p.h != nil {
		p.h.emit(out)
	}
	p.h, p.done = nil, true
	p.sides[0].pending, p.sides[1].pending = nil, nil
}

// facts returns the handshake, begun with the first bytes if it was not.
func (p *parser) facts() *handshake {
	if p.h == nil {
		p.h = &handshake{at: p.first}
	}
	return p.h
}

func (p *parser) record(dir proto.Dir, typ byte, b []byte, now time.Time, out *proto.Out) error {
	s, other := &p.sides[dir], &p.sides[dir.Flip()]
	switch typ {
	case typeChangeCipherSpec:
		s.ccs = true
	case typeHandshake:
		if !p.encrypted(s) {
			return p.handshake(dir, b, now, out)
		}
		// Before TLS 1.3 the first message after the change is Finished.
		if s.finished = true; other.finished && p.h != nil && p.h.server.seen {
			p.h.established = true
			p.finish(out)
		}
	case typeAlert:
		if len(b) != 2 || p.encrypted(s) {
			return nil
		}
		h := p.facts()
		h.alert(b[1])
		if b[0] == 2 { // fatal
			p.finish(out)
		}
	case typeApplicationData:
		p.application(dir, len(b), out)
	case typeHeartbeat:
		// RFC 6520 section 4: a length beyond the message is CVE-2014-0160.
		const request, overhead = 1, 3
		if len(b) >= overhead && !p.encrypted(s) && b[0] == request && int(binary.BigEndian.Uint16(b[1:])) > len(b)-overhead {
			p.facts().anomalies |= heartbeat
		}
	}
	return nil
}

// application takes a record of application data of a length.
func (p *parser) application(dir proto.Dir, size int, out *proto.Out) {
	s, other := &p.sides[dir], &p.sides[dir.Flip()]
	s.appData = true
	// In TLS 1.3 everything after the hellos looks like this. Once the
	// client has sent what is too long for an alert (RFC 8446 section
	// 5.2: 2 bytes, type and tag), the server's Finished was accepted.
	const alert = 24
	if h := p.h; h != nil && h.server.version == version13 && dir == h.client.dir && other.appData && size > alert {
		h.established = true
		p.finish(out)
	}
}

// encrypted reports whether handshake messages of a direction can no longer be
// read. In TLS 1.3, change cipher spec is only there to please middleboxes
// (RFC 8446 appendix D.4), and may come before the second hello.
func (p *parser) encrypted(s *side) bool {
	return s.ccs && !(p.h != nil && (p.h.retry || p.h.server.version == version13))
}

// handshake takes a record of handshake messages, which need not end with it.
func (p *parser) handshake(dir proto.Dir, b []byte, now time.Time, out *proto.Out) error {
	s := &p.sides[dir]
	if s.unaligned {
		if len(b) < 4 || b[0] > 24 || b[0] == 0 || u24(b[1:]) > maxMessage {
			return nil
		}
		s.unaligned = false
	}
	whole := b
	if len(s.pending) > 0 {
		s.pending = append(s.pending, b...)
		whole = s.pending
	}
	for len(whole) >= 4 {
		size := 4 + u24(whole[1:])
		if size > maxMessage {
			// Nothing that is of interest is so long.
			p.facts().anomalies |= malformed
			s.unaligned, s.pending = true, nil
			return nil
		}
		if len(whole) < size {
			break
		}
		if err := p.message(dir, whole[0], whole[4:size], now); err != nil {
			return err
		}
		whole = whole[size:]
	}
	if len(whole) == 0 {
		s.pending = s.pending[:0]
	} else {
		s.pending = append(s.pending[:0], whole...)
	}
	return nil
}

func (p *parser) message(dir proto.Dir, typ byte, b []byte, now time.Time) error {
	switch typ {
	case msgClientHello:
		h := p.facts()
		if h.server.seen && h.server.dir == dir {
			return errRoles
		}
		if !h.client.seen {
			h.client.seen, h.client.dir = true, dir
			h.takeClientHello(b)
		}
	case msgServerHello:
		h := p.facts()
		if h.client.seen && h.client.dir == dir {
			return errRoles
		}
		if !h.server.seen || h.retry {
			h.client.dir, h.server.dir = dir.Flip(), dir
			h.takeServerHello(b, now)
		}
	case msgCertificate:
		if h := p.facts(); h.server.seen && h.server.version != version13 {
			h.certificates(dir == h.server.dir, b)
		}
	case msgServerKeyExchange:
		// RFC 8422 section 5.4: a named curve begins the parameters.
		if h := p.facts(); len(b) >= 3 && b[0] == 3 && h.server.group == 0 {
			h.server.group = binary.BigEndian.Uint16(b[1:])
		}
	}
	return nil
}

// ssl2 takes a hello of SSL 2.0.
func (p *parser) ssl2(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	if len(b) < 11 {
		return 0, nil
	}
	m, ok := parseSSL2(b)
	if !ok {
		return 0, errRecord
	}
	if n = 2 + m.size; len(b) < n {
		return 0, nil
	}
	s := &p.sides[dir]
	s.begun = true
	h := p.facts()
	h.anomalies |= ssl2Hello
	if m.client {
		h.client.seen, h.client.dir, h.client.version = true, dir, m.version
		h.ciphers(m.suites(b))
		return n, nil
	}
	h.client.dir, h.server.dir = dir.Flip(), dir
	h.server.seen, h.server.version, h.server.at = true, m.version, now
	p.finish(out) // what follows is keyed at once
	return n, nil
}

func u24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }
