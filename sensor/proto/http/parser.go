package http

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/tocsin/tocsin/sensor/proto"
)

// Errors that end the parsing of a flow.
var (
	errNotHTTP  = errors.New("http: first line is neither a request nor a status line")
	errTwoSides = errors.New("http: both directions send the same sort of message")
)

// state is what a direction is waiting for.
type state uint8

const (
	startLine state = iota
	headers
	body      // of known length
	chunkSize // RFC 9112 section 7.1
	chunkData
	chunkEnd
	trailers
	untilEnd // a body that ends with the connection
	held     // what follows a CONNECT, until its response tells what it is
	lost     // after a gap: looks for the next start line
)

type role uint8

const (
	unknown role = iota
	requests
	responses
)

// side is the framing state of one direction.
type side struct {
	state    state
	role     role
	skipLine bool      // the rest of an overlong line is passed over
	scanned  int       // bytes of the line under way that have no line end, or of an unsure start
	begun    time.Time // when the first byte of the message came
	left     uint64    // bytes left of a body or chunk
	x        *exchange // what the message belongs to; nil outside of messages
	framing  framing
}

// framing is what the headers of one message say about its body.
type framing struct {
	length  int64 // Content-Length, if hasLength
	chunked bool
	// hasLength and hasCoding say that the headers were there.
	hasLength, hasCoding bool
}

// parser parses one flow.
type parser struct {
	sides   [2]side
	waiting []*exchange // oldest first
	free    *exchange   // an exchange to use again
	skipped int         // responses to come whose request was given up
	unsure  bool        // responses were lost: the next one belongs to the newest request
	tunnel  bool        // the connection has become something else
}

// Parse implements proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	s := &p.sides[dir]
	p.flush(out) // what a gap brought to its end
	for n < len(b) {
		if p.tunnel {
			return len(b), nil
		}
		rest := b[n:]
		switch s.state {
		case body, chunkData:
			k := min(s.left, uint64(len(rest)))
			s.left -= k
			n += int(k)
			s.count(k)
			if s.left > 0 {
				return n, nil
			}
			if s.state == chunkData {
				s.state = chunkEnd
			} else {
				p.finish(dir, out)
			}
			continue
		case untilEnd:
			s.count(uint64(len(rest)))
			return len(b), nil
		case held:
			return len(b), nil
		case lost:
			k, found := s.resync(rest)
			n += k
			if !found {
				return n, nil
			}
			s.state, s.skipLine = startLine, false
			continue
		}
		if s.state == startLine && p.answersOld(dir) {
			k := min(len(rest), len(httpVersion))
			if !bytes.Equal(rest[:k], httpVersion[:k]) {
				s.role, s.begun = responses, now
				p.startResponse(s, statusLine{}, out)
				s.state, s.begun = untilEnd, time.Time{}
				continue
			}
		}
		line, next, whole := s.line(rest)
		if next == 0 {
			if s.state == startLine && s.begun.IsZero() && rest[0] != '\r' {
				s.begun = now
			}
			return n, nil
		}
		if s.state == startLine && s.begun.IsZero() {
			s.begun = now
		}
		n += next
		if line == nil { // the rest of an overlong line
			continue
		}
		if err := p.takeLine(dir, line, whole, now, out); err != nil {
			return n, err
		}
	}
	return n, nil
}

// answersOld reports whether a direction that said nothing yet may answer a
// request of HTTP/0.9, which it does with a body and nothing before it.
func (p *parser) answersOld(dir proto.Dir) bool {
	return p.sides[dir].role == unknown && p.sides[dir.Flip()].role == requests && len(p.waiting) > 0 && p.waiting[0].old
}

// line cuts the next line off b; next is 0 if there is none yet. Of an
// overlong line the beginning is returned, with whole false, and the rest as
// nil lines.
func (s *side) line(b []byte) (line []byte, next int, whole bool) {
	seen := b[:min(len(b), maxLine)]
	i := bytes.IndexByte(seen[min(s.scanned, len(seen)):], '\n')
	if i < 0 {
		if s.skipLine {
			s.scanned = 0
			return nil, len(seen), false
		}
		if len(seen) < maxLine {
			s.scanned = len(seen)
			return nil, 0, false
		}
		s.scanned, s.skipLine = 0, true
		return seen, maxLine, false
	}
	i += min(s.scanned, len(seen))
	s.scanned = 0
	if s.skipLine {
		s.skipLine = false
		return nil, i + 1, false
	}
	return bytes.TrimSuffix(seen[:i], []byte("\r")), i + 1, true
}

// takeLine takes a line of a head, a chunk's size or a trailer.
func (p *parser) takeLine(dir proto.Dir, line []byte, whole bool, now time.Time, out *proto.Out) error {
	s := &p.sides[dir]
	if !whole && s.x != nil {
		s.x.anomalies |= longLine
	}
	switch s.state {
	case startLine:
		if len(line) == 0 { // RFC 9112 section 2.2
			s.begun = time.Time{}
			return nil
		}
		return p.start(dir, line, whole, out)
	case headers:
		if len(line) == 0 {
			p.headDone(dir, out)
			return nil
		}
		s.header(line)
	case chunkSize:
		size, ok := parseChunkSize(line)
		switch {
		case !ok:
			s.x.anomalies |= badChunk
			p.lose(dir, out)
		case size == 0:
			s.state = trailers
		default:
			s.state, s.left = chunkData, size
		}
	case chunkEnd:
		s.state = chunkSize
		if len(line) != 0 {
			s.x.anomalies |= badChunk
			p.lose(dir, out)
		}
	case trailers:
		if len(line) == 0 {
			p.finish(dir, out)
		}
	}
	return nil
}

// start begins a message.
func (p *parser) start(dir proto.Dir, line []byte, whole bool, out *proto.Out) error {
	s := &p.sides[dir]
	var is role
	status, ok := parseStatusLine(line)
	var request requestLine
	bad := false
	switch {
	case ok:
		is = responses
	default:
		if request, ok = parseRequestLine(line); !ok && !whole {
			// The version lies beyond what is kept of the line.
			request.method, request.target, ok = bytes.Cut(line, space)
			ok = ok && knownMethod(request.method)
		} else if !ok {
			request, ok = parseBadRequestLine(line)
			bad = ok
		}
		if ok {
			is = requests
		}
	}
	if is == unknown || s.role != unknown && s.role != is {
		if s.role == unknown {
			return errNotHTTP
		}
		p.lose(dir, out)
		return nil
	}
	if p.sides[dir.Flip()].role == is {
		return errTwoSides
	}
	s.role, s.state, s.framing = is, headers, framing{}
	if is == requests {
		p.startRequest(s, request, out)
	} else {
		p.startResponse(s, status, out)
	}
	if !whole {
		s.x.anomalies |= longLine
	}
	if bad {
		s.x.anomalies |= badRequest
		s.x.old = !bytes.Contains(line, httpVersion)
	}
	s.begun = time.Time{}
	return nil
}

func (p *parser) startRequest(s *side, r requestLine, out *proto.Out) {
	if len(p.waiting) == maxWaiting {
		if !p.waiting[0].answered {
			p.skipped++
		}
		p.giveUp(out)
	}
	x := p.exchange()
	x.at = s.begun
	x.asked = true
	x.request(r)
	p.waiting = append(p.waiting, x)
	s.x = x
}

func (p *parser) startResponse(s *side, l statusLine, out *proto.Out) {
	if s.x == nil { // else an interim response was before it
		if p.unsure {
			// How many responses were lost nobody knows. Few clients send
			// requests ahead, so the last one is the one that is answered.
			for len(p.waiting) > 1 {
				p.waiting[0].anomalies |= gap
				p.giveUp(out)
			}
			p.unsure, p.skipped = false, 0
		}
		switch {
		case p.skipped > 0:
			p.skipped--
			fallthrough
		case len(p.waiting) == 0 || p.waiting[0].answered:
			x := p.exchange()
			x.at = s.begun
			x.anomalies |= unsolicited
			p.waiting = slices.Insert(p.waiting, 0, x)
		}
		s.x = p.waiting[0]
	}
	s.x.answered = true
	s.x.answeredAt = s.begun
	s.x.status, s.x.responseVersion = l.status, l.version
}

// headDone decides how long the body is (RFC 9112 section 6.3).
func (p *parser) headDone(dir proto.Dir, out *proto.Out) {
	s, x := &p.sides[dir], p.sides[dir].x
	if s.framing.hasLength && s.framing.hasCoding {
		x.anomalies |= conflictingLength
	}
	if s.role == responses {
		switch {
		case x.status == 101 || x.connect && x.status/100 == 2:
			p.tunnel = true
			p.End(out)
			return
		case x.status/100 == 1: // interim: the final one follows
			s.state = startLine
			return
		}
		if other := &p.sides[dir.Flip()]; other.state == held && x.connect {
			other.state = lost // refused, so requests go on
		}
		if x.head || x.status == 204 || x.status == 304 {
			p.finish(dir, out)
			return
		}
	}
	switch {
	case s.framing.chunked:
		s.state = chunkSize
	case s.framing.hasLength && s.framing.length > 0:
		s.state, s.left = body, uint64(s.framing.length)
	case s.framing.hasLength || s.role == requests:
		p.finish(dir, out)
	default:
		s.state = untilEnd
	}
}

// finish ends the message of a direction.
func (p *parser) finish(dir proto.Dir, out *proto.Out) {
	s, x := &p.sides[dir], p.sides[dir].x
	s.state, s.x = startLine, nil
	if x == nil {
		return
	}
	if s.role == requests {
		x.askedDone = true
		if x.connect && !x.answered {
			s.state = held
		}
	} else {
		x.answeredDone = true
	}
	p.flush(out)
}

// flush emits the exchanges that are whole, in their order.
func (p *parser) flush(out *proto.Out) {
	for len(p.waiting) > 0 {
		x := p.waiting[0]
		if !x.answeredDone || x.asked && !x.askedDone {
			return
		}
		p.giveUp(out)
	}
}

// giveUp emits the oldest exchange as it is.
func (p *parser) giveUp(out *proto.Out) {
	x := p.waiting[0]
	p.waiting = slices.Delete(p.waiting, 0, 1)
	x.emit(out)
	// A message of it may be still under way; what it adds is not told any more.
	if p.sides[0].x != x && p.sides[1].x != x {
		*x = exchange{}
		p.free = x
	}
}

func (p *parser) exchange() *exchange {
	if x := p.free; x != nil {
		p.free = nil
		return x
	}
	return new(exchange)
}

// lose ends the message of a direction, as what follows cannot be told apart.
func (p *parser) lose(dir proto.Dir, out *proto.Out) {
	s := &p.sides[dir]
	if s.state == held {
		return
	}
	p.finish(dir, out)
	s.state, s.scanned, s.skipLine, s.begun = lost, 0, false, time.Time{}
	if s.role == responses {
		p.unsure = true
	}
}

// Gap implements proto.Parser. Within a body the bytes are only counted, so
// nothing else is lost with them.
func (p *parser) Gap(dir proto.Dir, n int) {
	s := &p.sides[dir]
	if p.tunnel || s.state == held {
		return
	}
	if s.x != nil {
		s.x.anomalies |= gap
		k := uint64(n)
		switch s.state {
		case body, chunkData:
			k = min(k, s.left)
			if k < s.left || k == uint64(n) {
				s.left -= k
				s.count(k)
				s.x.missing += k
				if s.left == 0 {
					// Whole but for the missing bytes: Parse has no event to
					// give away here, so leave the end to the next call.
					s.ended()
				}
				return
			}
			s.count(k)
			s.x.missing += k
		case untilEnd:
			s.count(k)
			s.x.missing += k
			return
		}
		if s.role == requests {
			s.x.askedDone = true
		} else {
			s.x.answeredDone = true
		}
		s.x = nil
	}
	s.state, s.scanned, s.skipLine, s.begun = lost, 0, false, time.Time{}
	if s.role == responses {
		p.unsure = true
	}
}

// ended marks the message whose last bytes were lost as over.
func (s *side) ended() {
	if s.state == chunkData {
		s.state = chunkEnd
		return
	}
	if s.role == requests {
		s.x.askedDone = true
	} else {
		s.x.answeredDone = true
	}
	s.state, s.x = startLine, nil
}

// End implements proto.Parser.
func (p *parser) End(out *proto.Out) {
	for len(p.waiting) > 0 {
		p.giveUp(out)
	}
}

// resync looks for a start line at the beginning of what came after a gap, at
// the beginning of each later portion, and after each line end. It returns
// where one is, or how many bytes cannot be part of one.
func (s *side) resync(b []byte) (n int, found bool) {
	fresh := s.scanned // where a new portion begins, after unsure bytes
	s.scanned = 0
	at := 0
	unsure := len(b)
	for {
		switch s.startsAt(b[at:]) {
		case proto.Yes:
			return at, true
		case proto.Maybe:
			unsure = min(unsure, at)
		}
		switch i := bytes.IndexByte(b[at:], '\n'); {
		case at < fresh && (i < 0 || at+i+1 > fresh):
			at = fresh
		case i < 0 || at+i+1 == len(b):
			if len(b)-unsure >= maxLine {
				return len(b), false
			}
			s.scanned = len(b) - unsure
			return unsure, false
		default:
			at += i + 1
		}
	}
}

// startsAt reports whether b begins with a start line of this direction. It
// asks for more than Probe does, as bodies hold lines of all sorts.
func (s *side) startsAt(b []byte) proto.Verdict {
	line, next := cutLine(b[:min(len(b), maxLine)])
	if next == 0 {
		method, _, cut := bytes.Cut(b, space)
		switch {
		case len(b) >= maxLine || !couldStart(b):
			return proto.No
		case s.role != responses && (!cut || knownMethod(method)):
			return proto.Maybe
		case s.role != requests && (bytes.HasPrefix(b, httpVersion) || bytes.HasPrefix(httpVersion, b)):
			return proto.Maybe
		}
		return proto.No
	}
	if _, ok := parseStatusLine(line); ok && s.role != requests {
		return proto.Yes
	}
	if r, ok := parseRequestLine(line); ok && s.role != responses && knownMethod(r.method) {
		return proto.Yes
	}
	return proto.No
}

// count adds to the size of the body.
func (s *side) count(n uint64) {
	if s.x == nil {
		return
	}
	if s.role == requests {
		s.x.requestBody += n
	} else {
		s.x.responseBody += n
	}
}

// parseChunkSize reads the hexadecimal size before a chunk; extensions after a
// semicolon are passed over.
func parseChunkSize(line []byte) (n uint64, ok bool) {
	line, _, _ = bytes.Cut(line, []byte(";"))
	return parseHex(bytes.TrimSpace(line))
}

func parseHex(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		n = n<<4 | uint64(c)
	}
	return n, true
}
