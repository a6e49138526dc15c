// Package http parses HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112) and makes one
// event per exchange: a request joined with its response, in order, also where
// requests are sent ahead of the responses. Of bodies only the size is kept.
//
// What would give away a secret is masked here, before anything is stored: the
// values of query parameters and headers whose names speak of passwords,
// tokens, keys or sessions are written as ***; of credentials only the user's
// name is kept.
//
// Where a connection becomes something else (CONNECT, Upgrade), its remaining
// bytes are passed over.
package http

import (
	"bytes"

	"github.com/tocsin/tocsin/sensor/proto"
)

// Protocol is HTTP/1 over TCP.
var Protocol = proto.Protocol{
	Name:      "http",
	Transport: proto.TCP,
	Ports:     []uint16{80, 8080, 8000, 3128, 8008, 8888},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields:    fieldDocs,
}

// What a peer can make us remember per flow.
const (
	maxWaiting     = 32       // requests that wait for their response; the oldest makes way
	maxLine        = 16 << 10 // bytes of a start line or header; servers commonly stop at 8 KiB
	maxMethod      = 32       // bytes of a method
	maxURL         = 4096     // bytes of text of a URL
	maxLink        = 2048     // bytes of text of a referrer or location
	maxText        = 1024     // bytes of text of another header's value
	maxHeaders     = 32       // request headers listed in one event
	maxHeader      = 512      // bytes of text of one of them
	maxHeaderTotal = 8 << 10  // bytes of text of all of them
	maxForwarded   = 16       // addresses of proxies
)

// probe knows a whole start line, and of a long one its beginning.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') { // RFC 9112 section 2.2
		b = b[1:]
	}
	line, end := cutLine(b)
	if end == 0 && len(b) < proto.MaxProbe {
		if len(b) == 0 || couldStart(b) {
			return proto.Maybe
		}
		return proto.No
	}
	if end == 0 {
		// A request line longer than what a probe sees.
		method, target, _ := bytes.Cut(b, space)
		if knownMethod(method) && couldStart(b) && (bytes.HasPrefix(target, []byte("/")) || bytes.HasPrefix(target, []byte("http://"))) {
			return proto.Yes
		}
		return proto.No
	}
	if _, ok := parseStatusLine(line); ok {
		return proto.Yes
	}
	if _, ok := parseRequestLine(line); ok {
		return proto.Yes
	}
	if _, ok := parseBadRequestLine(line); ok {
		return proto.Yes
	}
	return proto.No
}

var (
	space       = []byte(" ")
	httpVersion = []byte("HTTP/1.")
)

// cutLine returns the first line of b without its end, and where the next one
// begins; 0 if b holds no whole line.
func cutLine(b []byte) (line []byte, next int) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, 0
	}
	return bytes.TrimSuffix(b[:i], []byte("\r")), i + 1
}

// couldStart reports whether b may be the beginning of a start line.
func couldStart(b []byte) bool {
	if len(b) < len(httpVersion) && bytes.HasPrefix(httpVersion, b) || bytes.HasPrefix(b, httpVersion) {
		return len(b) < len("HTTP/1.1 200")+maxText
	}
	method, target, cut := bytes.Cut(b, space)
	if !isToken(method) || !cut && len(method) > maxMethod {
		return false
	}
	for _, c := range target {
		if c < ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// statusLine is the start of a response (RFC 9112 section 4).
type statusLine struct {
	version byte // the digit after "HTTP/1."
	status  int
}

func parseStatusLine(line []byte) (s statusLine, ok bool) {
	rest, ok := bytes.CutPrefix(line, httpVersion)
	if !ok || len(rest) < 5 || !isDigit(rest[0]) || rest[1] != ' ' || len(rest) > 5 && rest[5] != ' ' {
		return s, false
	}
	s.version = rest[0]
	for _, c := range rest[2:5] {
		if !isDigit(c) {
			return s, false
		}
		s.status = s.status*10 + int(c-'0')
	}
	return s, s.status >= 100
}

// requestLine is the start of a request (RFC 9112 section 3).
type requestLine struct {
	method, target []byte
	version        byte
}

// parseRequestLine takes everything between the method and the version as the
// target: attackers put blanks into it.
func parseRequestLine(line []byte) (r requestLine, ok bool) {
	i, j := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if i < 1 || j <= i+1 || i > maxMethod || !isToken(line[:i]) {
		return r, false
	}
	version, ok := bytes.CutPrefix(line[j+1:], httpVersion)
	if !ok || len(version) != 1 || !isDigit(version[0]) {
		return r, false
	}
	return requestLine{line[:i], line[i+1 : j], version[0]}, true
}

// parseBadRequestLine reads a request line without a right version, as scanners
// send and HTTP/0.9 had: a method that is known, and something of HTTP after it.
func parseBadRequestLine(line []byte) (r requestLine, ok bool) {
	method, target, _ := bytes.Cut(line, space)
	target = bytes.TrimSpace(target)
	if !knownMethod(method) || !bytes.HasPrefix(target, []byte("/")) && !bytes.Contains(target, httpVersion) {
		return r, false
	}
	return requestLine{method: method, target: target}, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isToken reports whether b is a token of RFC 9110 section 5.6.2, or may begin one.
func isToken(b []byte) bool {
	for _, c := range b {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) {
			continue
		}
		if bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return true
}

// knownMethod reports whether b is a method of RFC 9110, RFC 5789 or WebDAV
// (RFC 4918): what a request begins with where nothing else tells.
func knownMethod(b []byte) bool {
	switch string(b) {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
		"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT":
		return true
	}
	return false
}
