// Package dns parses the Domain Name System (RFC 1035) over UDP and TCP, and
// the messages of the same form that multicast DNS (RFC 6762) and LLMNR
// (RFC 4795) send. It makes one event per transaction: a question joined with
// its answer, a question that nobody answered, or an answer whose question was
// not seen.
//
// Names are written as in master files (RFC 1035 section 5.1): a byte that is
// not printable ASCII is \DDD, a dot or backslash inside a label has a
// backslash before it, the root is ".". Letters are lower-cased, because case
// means nothing in DNS (RFC 4343) and resolvers mix it at random.
package dns

import (
	"errors"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

const kind event.Kind = "dns"

// Protocol is DNS in datagrams. Multicast DNS and LLMNR are recognised by it
// too, as their messages have the same form.
var Protocol = proto.Protocol{
	Name:      kind,
	Transport: proto.UDP,
	Ports:     []uint16{53, 5353, 5355},
	Probe:     probeDatagram,
	New:       func() proto.Parser { return new(datagrams) },
	Fields:    fieldDocs,
}

// Stream is DNS over TCP, where each message has two bytes of length before it
// (RFC 1035 section 4.2.2).
var Stream = proto.Protocol{
	Name:      kind,
	Transport: proto.TCP,
	Ports:     []uint16{53},
	Probe:     probeStream,
	New:       func() proto.Parser { return new(stream) },
	Fields:    fieldDocs,
}

// What a peer can make us remember, and do, per flow.
const (
	maxWaiting   = 64               // questions that wait for an answer; the oldest makes way
	answerWait   = 10 * time.Second // resolvers give up after 5 s or so; a later answer is an event of its own
	maxAnswers   = 64               // answers listed in one event
	maxQuestions = 16               // questions of one message listed in one event
	maxData      = 1024             // bytes of text of one answer's data
	maxPointers  = 32               // compression pointers followed in one name
)

// datagrams parses a UDP flow: each call of Parse brings one message.
type datagrams struct {
	transactions
}

// Parse implements proto.Parser. A datagram that is no DNS message is passed
// over: one forged datagram must not blind the sensor to the rest of the flow.
func (d *datagrams) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (int, error) {
	d.message(dir, b, now, out)
	return len(b), nil
}

// Gap implements proto.Parser. Datagrams have no order to lose.
func (d *datagrams) Gap(proto.Dir, int) {}

// stream parses a TCP flow.
type stream struct {
	transactions
	sides [2]side
}

// side is the framing state of one direction.
type side struct {
	need int  // length of the message under way, 0 before its length is known
	left int  // bytes of it that Parse left unconsumed
	skip int  // bytes that remain of a message with a gap
	lost bool // where a message starts is not known, after a gap or a length that cannot be
	seen bool // at least one message was found
}

var errLength = errors.New("dns: message length below the 12 bytes of a header")

// Parse implements proto.Parser.
func (s *stream) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	sd := &s.sides[dir]
	for {
		switch rest := b[n:]; {
		case sd.skip > 0:
			k := min(sd.skip, len(rest))
			sd.skip -= k
			n += k
			if sd.skip > 0 || k == 0 {
				return n, nil
			}
		case sd.lost:
			k, found := resync(dir, rest)
			n += k
			if !found {
				return n, nil
			}
			sd.lost = false
		case sd.need == 0:
			if len(rest) < 2 {
				return n, nil
			}
			// The length is consumed by itself, so that even the longest
			// message stays below proto.MaxPending.
			sd.need = int(rest[0])<<8 | int(rest[1])
			if sd.need < headerLen {
				sd.need = 0
				if !sd.seen {
					return n, errLength
				}
				sd.lost = true
				continue
			}
			n += 2
		case len(rest) < sd.need:
			sd.left = len(rest)
			return n, nil
		default:
			s.message(dir, rest[:sd.need], now, out)
			n += sd.need
			sd.need, sd.left, sd.seen = 0, 0, true
		}
	}
}

// resync looks for the start of a message in what came after a gap. It returns
// where one is, or how many bytes cannot be part of one.
func resync(dir proto.Dir, b []byte) (n int, found bool) {
	n = len(b)
	for i := range b {
		switch probeStream(dir, b[i:]) {
		case proto.Yes:
			return i, true
		case proto.Maybe:
			if len(b)-i < proto.MaxProbe {
				n = min(n, i)
			}
		}
	}
	return n, false
}

// Gap implements proto.Parser. A gap within a message costs that message; a
// longer one costs the framing, which is then looked for again.
func (s *stream) Gap(dir proto.Dir, n int) {
	sd := &s.sides[dir]
	switch {
	case sd.skip >= n && sd.skip > 0:
		sd.skip -= n
	case sd.need > 0 && sd.left+n <= sd.need:
		sd.skip = sd.need - sd.left - n
	default:
		sd.skip, sd.lost = 0, true
	}
	sd.seen = true
	sd.need, sd.left = 0, 0
}

// probeDatagram says Yes to a whole DNS message, also to one that the capture
// cut within its records.
func probeDatagram(_ proto.Dir, b []byte) proto.Verdict {
	if plausible(b, len(b)) == proto.Yes {
		return proto.Yes
	}
	return proto.No
}

func probeStream(_ proto.Dir, b []byte) proto.Verdict {
	if len(b) < 2 {
		return proto.Maybe
	}
	n := int(b[0])<<8 | int(b[1])
	if n < headerLen+5 { // a question takes at least five bytes
		return proto.No
	}
	b = b[2:]
	if len(b) >= 12 && parseHeader(b).counts[0] == 0 {
		return proto.No // allowed later in a zone transfer, but too little to go by
	}
	return plausible(b[:min(len(b), n)], n)
}

// plausible judges the start b of a message of n bytes.
func plausible(b []byte, n int) proto.Verdict {
	if len(b) < headerLen {
		if n < headerLen {
			return proto.No
		}
		return proto.Maybe
	}
	h := parseHeader(b)
	switch h.opcode() {
	case 0, 1, 2, 4, 5, 6:
	default:
		return proto.No
	}
	const zBit = 1 << 6 // "must be zero" ever since RFC 1035
	if h.flags&zBit != 0 || h.counts[0] > 32 {
		return proto.No
	}
	total := 0
	for _, c := range h.counts {
		total += int(c)
	}
	if total == 0 || int(h.counts[0])*5+(total-int(h.counts[0]))*11 > n-headerLen {
		return proto.No // more records than the message has room for
	}
	if !h.response() && (h.rcode() != 0 || h.counts[1] > 0 && h.counts[0] == 0) {
		return proto.No
	}
	off := headerLen
	for range h.counts[0] {
		start := off
		next, err := skipName(b, off)
		if err != nil || next+4 > len(b) {
			if len(b) < n && (errors.Is(err, errShort) || err == nil) {
				return proto.Maybe
			}
			return proto.No
		}
		typ, class := u16(b[next:]), u16(b[next+2:])
		if typ == 0 || !knownClass(class) || netBIOS(b[start:next]) {
			return proto.No
		}
		off = next + 4
	}
	if h.counts[0] > 0 {
		return proto.Yes
	}
	// Without a question (multicast DNS answers) every record must fit.
	for range total {
		r, err := parseRecord(b, off)
		if err != nil || r.typ != typeOPT && !knownClass(r.class) {
			return proto.No
		}
		off = r.next
	}
	if off != n {
		return proto.No
	}
	return proto.Yes
}

// knownClass reports whether a class is in use, leaving aside the top bit,
// which multicast DNS uses as a flag (RFC 6762 sections 5.4 and 10.2).
func knownClass(c uint16) bool {
	switch c &^ 0x8000 {
	case 1, 3, 4, 254, 255:
		return true
	}
	return false
}

// netBIOS reports whether a name on the wire is a NetBIOS name (RFC 1001
// section 14.1): NetBIOS name service has the form of DNS, but is not DNS.
func netBIOS(name []byte) bool {
	if len(name) < 34 || name[0] != 32 {
		return false
	}
	for _, c := range name[1:33] {
		if c < 'A' || c > 'P' {
			return false
		}
	}
	return true
}
