package http

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// exchange is a request with its response. Either may be missing.
type exchange struct {
	at, answeredAt time.Time
	// asked and answered say that a start line was seen, …Done that the
	// message was.
	asked, askedDone, answered, answeredDone bool

	method        string
	version       byte
	head, connect bool
	old           bool   // HTTP/0.9: no version, no headers, no status
	url           string // the target, masked
	urlCut        bool
	host          string // authority, as the Host header or an absolute target gives it
	userAgent     string
	referrer      string
	requestType   string
	user          string
	scheme        string // of the credentials
	upgrade       string
	forwarded     []event.Value
	headers       []event.Value
	headerCount   int
	headerBytes   int
	requestBody   uint64

	status          int
	responseVersion byte
	responseType    string
	server          string
	location        string
	responseBody    uint64

	missing   uint64
	anomalies anomaly

	texts []byte // room for the texts above, which lie side by side and are never moved
}

// anomaly is a set of oddities.
type anomaly uint16

const (
	unsolicited anomaly = 1 << iota
	noResponse
	gap
	longLine
	badHeader
	foldedHeader
	conflictingLength
	badLength
	badChunk
	conflictingHost
	badRequest
)

var anomalyNames = [...]string{
	"unsolicited_response", "no_response", "gap", "long_line", "bad_header", "folded_header",
	"conflicting_length", "bad_length", "bad_chunk", "conflicting_host", "bad_request_line",
}

// request takes what the start line says.
func (x *exchange) request(r requestLine) {
	x.method, x.version = x.methodName(r.method), r.version
	x.head, x.connect = x.method == "HEAD", x.method == "CONNECT"
	x.url = x.text(maskURL(r.target), maxURL)
	x.urlCut = len(r.target) > maxURL
	if x.connect {
		x.host = x.text(r.target, maxText)
	} else if _, rest, ok := bytes.Cut(r.target, []byte("://")); ok && r.target[0] != '/' {
		if i := bytes.IndexAny(rest, "/?#"); i >= 0 {
			rest = rest[:i]
		}
		x.host = x.text(rest[bytes.LastIndexByte(rest, '@')+1:], maxText)
	}
}

// methodName returns a method as text, without allocating for the usual ones.
func (x *exchange) methodName(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "HEAD":
		return "HEAD"
	case "PUT":
		return "PUT"
	case "CONNECT":
		return "CONNECT"
	case "OPTIONS":
		return "OPTIONS"
	}
	return x.text(b, maxMethod)
}

// roomForTexts is enough for what a browser's request and its answer say.
const roomForTexts = 1 << 10

// text returns bytes from the wire as text of at most n bytes.
func (x *exchange) text(b []byte, n int) string {
	b = b[:min(len(b), n)]
	if len(b) == 0 {
		return ""
	}
	if cap(x.texts)-len(x.texts) < len(b) {
		x.texts = make([]byte, 0, max(roomForTexts, len(b)))
	}
	at := len(x.texts)
	x.texts = event.AppendText(x.texts, b)
	t := x.texts[at:len(x.texts):len(x.texts)]
	if len(t) > n { // escapes made it longer
		t = bytes.ToValidUTF8(t[:n], nil)
	}
	return unsafe.String(unsafe.SliceData(t), len(t))
}

// header takes one header line of either message.
func (s *side) header(line []byte) {
	x := s.x
	if line[0] == ' ' || line[0] == '\t' { // RFC 9112 section 5.2
		x.anomalies |= foldedHeader
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || !isToken(name) {
		x.anomalies |= badHeader
	}
	value = bytes.Trim(value, " \t")
	var lower [32]byte
	key := name
	if len(key) <= len(lower) {
		key = lower[:copy(lower[:], name)]
		for i, c := range key {
			if 'A' <= c && c <= 'Z' {
				key[i] = c | 0x20
			}
		}
		key = bytes.TrimRight(key, " \t") // some servers forgive it, and smugglers know
	}
	switch string(key) {
	case "content-length":
		s.length(value)
	case "transfer-encoding":
		s.framing.hasCoding = true
		// Only where chunked is the last coding does it delimit the body.
		if i := bytes.LastIndexByte(value, ','); bytes.EqualFold(bytes.TrimSpace(value[i+1:]), []byte("chunked")) {
			s.framing.chunked = true
		}
	}
	if s.role == requests {
		x.requestHeader(string(key), name, value)
	} else {
		x.responseHeader(string(key), value)
	}
}

// length takes a Content-Length. Several that differ, or that are no number,
// are how requests are smuggled past proxies (RFC 9112 section 11.2).
func (s *side) length(value []byte) {
	n, err := strconv.ParseUint(string(value), 10, 62)
	switch {
	case err != nil:
		s.x.anomalies |= badLength
		return
	case s.framing.hasLength && s.framing.length != int64(n):
		s.x.anomalies |= conflictingLength
		return
	}
	s.framing.length, s.framing.hasLength = int64(n), true
}

func (x *exchange) requestHeader(key string, name, value []byte) {
	x.headerCount++
	x.list(name, value)
	switch key {
	case "host":
		host := x.text(value, maxText)
		if x.host != "" && !x.connect && !strings.EqualFold(x.host, host) {
			x.anomalies |= conflictingHost
		}
		if x.host == "" {
			x.host = host
		}
	case "user-agent":
		x.set(&x.userAgent, value)
	case "referer":
		if x.referrer == "" {
			x.referrer = x.text(maskURL(value), maxLink)
		}
	case "content-type":
		x.set(&x.requestType, mimeType(value))
	case "upgrade":
		x.set(&x.upgrade, value)
	case "authorization":
		x.credentials(value)
	case "x-forwarded-for", "x-real-ip":
		for part := range bytes.SplitSeq(value, []byte(",")) {
			x.forward(part)
		}
	case "forwarded": // RFC 7239: for="[2001:db8::1]:80";proto=http, for=192.0.2.1
		for part := range bytes.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ';' }) {
			if k, v, ok := bytes.Cut(part, []byte("=")); ok && bytes.EqualFold(bytes.TrimSpace(k), []byte("for")) {
				x.forward(v)
			}
		}
	}
}

func (x *exchange) responseHeader(key string, value []byte) {
	switch key {
	case "content-type":
		x.set(&x.responseType, mimeType(value))
	case "server":
		x.set(&x.server, value)
	case "location":
		if x.location == "" {
			x.location = x.text(maskURL(value), maxLink)
		}
	case "upgrade":
		x.set(&x.upgrade, value)
	}
}

// set keeps the first value of a header that came more than once.
func (x *exchange) set(s *string, value []byte) {
	if *s == "" {
		*s = x.text(value, maxText)
	}
}

// mimeType returns a type without its parameters, in lower case.
func mimeType(value []byte) []byte {
	value, _, _ = bytes.Cut(value, []byte(";"))
	value = bytes.TrimSpace(value[:min(len(value), 256)])
	for _, c := range value {
		if 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return bytes.ToLower(value)
		}
	}
	return value
}

// list keeps a request's header as it is, but for secrets.
func (x *exchange) list(name, value []byte) {
	if len(x.headers) == maxHeaders {
		return
	}
	room := min(maxHeader, maxHeaderTotal-x.headerBytes)
	if room <= len(name)+2 {
		return
	}
	var buf [maxHeader]byte
	b := append(append(buf[:0], name...), ": "...)
	if secretHeader(name) {
		b = append(b, mask...)
	} else {
		// Secrets are masked before the cut, which could hide what names them.
		value = maskURL(value)
		b = append(b, value[:min(len(value), room-len(b))]...)
	}
	h := x.text(b, room)
	if x.headers == nil {
		x.headers = make([]event.Value, 0, 16)
	}
	x.headers = append(x.headers, event.Str(h))
	x.headerBytes += len(h)
}

// credentials keeps the scheme and the user's name, and nothing else.
func (x *exchange) credentials(value []byte) {
	scheme, rest, _ := bytes.Cut(value, space)
	if len(scheme) > 32 || !isToken(scheme) {
		return
	}
	x.scheme = strings.ToLower(x.text(scheme, 32))
	switch x.scheme {
	case "basic": // RFC 7617
		rest = bytes.TrimRight(bytes.TrimSpace(rest), "=")
		var buf [384]byte
		rest = rest[:min(len(rest), 512)]
		n, _ := base64.RawStdEncoding.Decode(buf[:], rest)
		if user, _, ok := bytes.Cut(buf[:n], []byte(":")); ok {
			x.user = x.text(user, 128)
		}
		clear(buf[:])
	case "digest": // RFC 7616
		if _, after, ok := bytes.Cut(rest, []byte(`username="`)); ok {
			if user, _, ok := bytes.Cut(after, []byte(`"`)); ok {
				x.user = x.text(user, 128)
			}
		}
	}
}

// forward keeps an address that a proxy names; what is no address (unknown,
// _hidden) stays in the list of headers.
func (x *exchange) forward(b []byte) {
	b = bytes.Trim(b, " \t\"")
	if len(x.forwarded) == maxForwarded || len(b) > 64 {
		return
	}
	s := string(b)
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return
		}
		a = ap.Addr()
	}
	x.forwarded = append(x.forwarded, event.IP(a.Unmap()))
}

// fieldBuffers are for one call of emit each. Flows are many, so the space
// belongs to no flow.
var fieldBuffers = sync.Pool{New: func() any { return new([]event.Field) }}

// emit makes the event of the exchange.
func (x *exchange) emit(out *proto.Out) {
	buf := fieldBuffers.Get().(*[]event.Field)
	fields := (*buf)[:0]
	add := func(name string, v event.Value) { fields = append(fields, event.Field{Name: name, Value: v}) }
	str := func(name, s string) {
		if s != "" {
			add(name, event.Str(s))
		}
	}
	if x.asked {
		add("http.request.method", event.Str(x.method))
		add("http.request.body.bytes", event.Uint(x.requestBody))
		add("tocsin.http.request.header_count", event.Int(int64(x.headerCount)))
		fields = x.appendURL(fields)
		str("user_agent.original", x.userAgent)
		str("http.request.referrer", x.referrer)
		str("http.request.mime_type", x.requestType)
		str("user.name", x.user)
		str("tocsin.http.auth_scheme", x.scheme)
		if len(x.headers) > 0 {
			add("tocsin.http.request.headers", event.List(x.headers...))
		}
		if len(x.forwarded) > 0 {
			add("tocsin.http.forwarded_for", event.List(x.forwarded...))
		}
		if !x.answered {
			x.anomalies |= noResponse
		}
	}
	version := x.version
	if x.answered {
		if !x.asked {
			version = x.responseVersion
		} else {
			add("tocsin.http.latency", event.Int(int64(x.answeredAt.Sub(x.at))))
		}
		if x.status != 0 {
			add("http.response.status_code", event.Int(int64(x.status)))
		}
		add("http.response.body.bytes", event.Uint(x.responseBody))
		str("http.response.mime_type", x.responseType)
		str("tocsin.http.server", x.server)
		str("tocsin.http.location", x.location)
	}
	str("tocsin.http.upgrade", x.upgrade)
	switch version {
	case 0: // none that can be read
		if x.old {
			add("http.version", event.Str("0.9"))
		}
	case '0':
		add("http.version", event.Str("1.0"))
	case '1':
		add("http.version", event.Str("1.1"))
	default:
		add("http.version", event.Str("1."+string(rune(version))))
	}
	if x.missing > 0 {
		add("tocsin.http.missing_bytes", event.Uint(x.missing))
	}
	if x.anomalies != 0 {
		names := out.Values(len(anomalyNames))
		for i, n := range anomalyNames {
			if x.anomalies&(1<<i) != 0 {
				names = append(names, event.Str(n))
			}
		}
		add("tocsin.protocol.anomaly", event.List(names...))
	}
	out.Emit(x.at, fields)
	clear(fields) // keep no event's values alive
	*buf = fields
	fieldBuffers.Put(buf)
}

// appendURL appends the fields of the URL.
func (x *exchange) appendURL(fields []event.Field) []event.Field {
	str := func(name, s string) {
		if s != "" {
			fields = append(fields, event.Field{Name: name, Value: event.Str(s)})
		}
	}
	str("url.original", x.url)
	if x.urlCut {
		fields = append(fields, event.Field{Name: "tocsin.http.url_truncated", Value: event.Bool(true)})
	}
	domain, port := splitHost(x.host)
	str("url.domain", domain)
	if port > 0 {
		fields = append(fields, event.Field{Name: "url.port", Value: event.Int(int64(port))})
	}
	if x.connect {
		return fields
	}
	scheme, rest, absolute := strings.Cut(x.url, "://")
	if absolute = absolute && !strings.HasPrefix(x.url, "/"); absolute {
		str("url.scheme", strings.ToLower(scheme))
		str("url.full", x.url)
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			rest = rest[i:]
		} else {
			rest = ""
		}
	} else {
		str("url.scheme", "http")
		if x.host != "" && strings.HasPrefix(x.url, "/") {
			str("url.full", "http://"+x.host+x.url)
		}
		rest = x.url
	}
	path, query, _ := strings.Cut(rest, "?")
	str("url.path", path)
	str("url.query", query)
	str("url.extension", extension(path))
	return fields
}

// splitHost returns the host of an authority in lower case, without the
// brackets of an IPv6 address, and its port, 0 if it names none.
func splitHost(authority string) (host string, port uint16) {
	host = authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		if n, err := strconv.ParseUint(authority[i+1:], 10, 16); err == nil && (authority[0] == '[' || !strings.Contains(authority[:i], ":")) {
			host, port = authority[:i], uint16(n)
		}
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(host), port
}

// extension returns what follows the last dot of the path's last part, in
// lower case, if it looks like the extension of a file.
func extension(path string) string {
	i := strings.LastIndexByte(path, '.')
	if i < 0 || strings.IndexByte(path[i:], '/') >= 0 {
		return ""
	}
	e := path[i+1:]
	if len(e) == 0 || len(e) > 12 {
		return ""
	}
	for i := range len(e) {
		if c := e[i] | 0x20; !isDigit(e[i]) && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return strings.ToLower(e)
}
