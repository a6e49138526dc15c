package tls

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Versions on the wire.
const (
	version2  = 0x0002
	version13 = 0x0304
)

// Extensions (IANA registry "TLS ExtensionType Values").
const (
	extServerName          = 0
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extPreSharedKey        = 41
	extSupportedVersions   = 43
	extKeyShare            = 51
	extESNI                = 0xffce // draft-ietf-tls-esni-00 to -06
	extECH                 = 0xfe0d // RFC 9849
)

// clientHello is what the client says.
type clientHello struct {
	seen      bool
	dir       proto.Dir
	version   uint16 // highest offered
	session   [32]byte
	sessionID int // length of session
	name      string
	ja3, ja4  string
	ciphers   []uint16
	protocols []event.Value
	ech, esni bool
}

// serverHello is what the server says.
type serverHello struct {
	seen     bool
	dir      proto.Dir
	at       time.Time
	version  uint16
	cipher   uint16
	group    uint16
	protocol string
	ja3s     string
	resumed  bool // says so by an extension
	echoed   bool // repeated the client's session
}

// handshake is what is known of one.
type handshake struct {
	at          time.Time
	client      clientHello
	server      serverHello
	retry       bool // the server asked for another hello
	retried     bool // and answered that
	established bool
	alerts      []event.Value
	serverCert  chain
	clientCert  chain
	anomalies   anomaly
}

// anomaly is a set of oddities.
type anomaly uint8

const (
	malformed anomaly = 1 << iota
	badRecord
	gap
	heartbeat
	ssl2Hello
)

var anomalyNames = [...]string{"malformed_handshake", "bad_record", "gap", "heartbeat_overrun", "sslv2_hello"}

func (h *handshake) alert(code byte) {
	if len(h.alerts) < maxAlerts {
		h.alerts = append(h.alerts, event.Str(alertName(code)))
	}
}

// reader takes bytes off a message; once it ran out, it gives nothing more.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	x := r.b[:n]
	r.b = r.b[n:]
	return x
}

func (r *reader) u8() int {
	if x := r.take(1); x != nil {
		return int(x[0])
	}
	return 0
}

func (r *reader) u16() uint16 {
	if x := r.take(2); x != nil {
		return binary.BigEndian.Uint16(x)
	}
	return 0
}

func (r *reader) vec8() []byte  { return r.take(r.u8()) }
func (r *reader) vec16() []byte { return r.take(int(r.u16())) }

// grease reports whether a value is one that clients send to keep servers
// tolerant (RFC 8701).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// takeClientHello takes the client's hello (RFC 8446 section 4.1.2).
func (h *handshake) takeClientHello(b []byte) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.reset()
	r := reader{b: b}
	c := &h.client
	legacy := r.u16()
	c.version = legacy
	r.take(32) // random
	c.sessionID = copy(c.session[:], r.vec8())
	ciphers := r.vec16()
	r.vec8() // compression methods
	for suites := (reader{b: ciphers}); len(suites.b) >= 2; {
		if v := suites.u16(); !grease(v) {
			s.ciphers = append(s.ciphers, v)
		}
	}
	extensions := reader{b: nil}
	if !r.bad && len(r.b) > 0 { // SSL 3.0 has none
		extensions.b = r.vec16()
	}
	hasName := false
	var firstProtocol []byte
	for len(extensions.b) > 0 {
		typ := extensions.u16()
		x := reader{b: extensions.vec16()}
		if extensions.bad {
			break
		}
		if grease(typ) {
			continue
		}
		s.extensions = append(s.extensions, typ)
		switch typ {
		case extServerName: // RFC 6066 section 3
			hasName = true
			list := reader{b: x.vec16()}
			for len(list.b) > 0 && c.name == "" {
				kind, name := list.u8(), list.vec16()
				if kind == 0 {
					c.name = strings.ToLower(text(name[:min(len(name), 255)]))
				}
			}
		case extSupportedGroups:
			for list := (reader{b: x.vec16()}); len(list.b) >= 2; {
				if v := list.u16(); !grease(v) {
					s.groups = append(s.groups, v)
				}
			}
		case extPointFormats:
			s.formats = append(s.formats, x.vec8()...)
		case extSignatureAlgorithms:
			for list := (reader{b: x.vec16()}); len(list.b) >= 2; {
				if v := list.u16(); !grease(v) {
					s.signatures = append(s.signatures, v)
				}
			}
		case extALPN: // RFC 7301
			for list := (reader{b: x.vec16()}); len(list.b) > 0; {
				name := list.vec8()
				if list.bad {
					break
				}
				if firstProtocol == nil {
					firstProtocol = name
				}
				if len(c.protocols) < maxProtocols && len(name) > 0 && (len(name) != 2 || !grease(binary.BigEndian.Uint16(name))) {
					c.protocols = append(c.protocols, event.Str(protocolName(name)))
				}
			}
		case extSupportedVersions:
			highest := uint16(0)
			for list := (reader{b: x.vec8()}); len(list.b) >= 2; {
				if v := list.u16(); !grease(v) {
					highest = max(highest, v)
				}
			}
			if highest > 0 {
				c.version = highest
			}
		case extECH:
			c.ech = true
		case extESNI:
			c.esni = true
		}
	}
	if r.bad || extensions.bad {
		h.anomalies |= malformed
		return // a fingerprint of half a hello would be that of nobody
	}
	c.ja3 = s.ja3(legacy)
	c.ja4 = s.ja4(c.version, hasName, firstProtocol)
	h.ciphers(s.ciphers)
}

// ciphers keeps the suites that the client offers.
func (h *handshake) ciphers(suites []uint16) {
	h.client.ciphers = slices.Clone(suites[:min(len(suites), maxCiphers)])
}

// retryRandom is what a server sends as its random if it asks for another
// hello (RFC 8446 section 4.1.3).
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// takeServerHello takes the server's hello (RFC 8446 section 4.1.3).
func (h *handshake) takeServerHello(b []byte, now time.Time) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.reset()
	r := reader{b: b}
	v := &h.server
	again := h.retry
	*v = serverHello{seen: true, dir: v.dir, at: now}
	legacy := r.u16()
	v.version = legacy
	h.retry = string(r.take(32)) == retryRandom
	h.retried = h.retried || again || h.retry
	session := r.vec8()
	v.echoed = len(session) > 0 && string(session) == string(h.client.session[:h.client.sessionID])
	v.cipher = r.u16()
	r.u8() // compression
	extensions := reader{b: nil}
	if !r.bad && len(r.b) > 0 {
		extensions.b = r.vec16()
	}
	for len(extensions.b) > 0 {
		typ := extensions.u16()
		x := reader{b: extensions.vec16()}
		if extensions.bad {
			break
		}
		s.extensions = append(s.extensions, typ)
		switch typ {
		case extALPN:
			list := reader{b: x.vec16()}
			if name := list.vec8(); len(name) > 0 {
				v.protocol = protocolName(name)
			}
		case extSupportedVersions:
			if n := x.u16(); !x.bad {
				v.version = n
			}
		case extKeyShare:
			v.group = x.u16()
		case extPreSharedKey:
			v.resumed = true
		}
	}
	if isDraft13(v.version) {
		v.version = version13
	}
	if r.bad || extensions.bad {
		h.anomalies |= malformed
		return
	}
	v.ja3s = s.ja3s(legacy, v.cipher)
}

// isDraft13 reports whether a version is that of a draft of TLS 1.3, of which
// Facebook's have numbers of their own.
func isDraft13(v uint16) bool { return v>>8 == 0x7f || v>>8 == 0xfb }

// protocolName returns an ALPN name as text, without allocating for the usual ones.
func protocolName(b []byte) string {
	switch string(b) {
	case "h2":
		return "h2"
	case "http/1.1":
		return "http/1.1"
	}
	return text(b)
}

// text returns bytes from the wire as text.
func text(b []byte) string {
	s := event.Text(b[:min(len(b), maxText)]).Str()
	if len(s) > maxText { // escapes made it longer
		s = strings.Clone(strings.ToValidUTF8(s[:maxText], ""))
	}
	return s
}

// ssl2Message is a hello of SSL 2.0 (RFC 6101 appendix E).
type ssl2Message struct {
	client  bool
	version uint16
	size    int // after the two bytes of the record's header
	specs   int // bytes of cipher specs
}

// parseSSL2 reads the fixed part of a hello, of which b holds at least 11 bytes.
func parseSSL2(b []byte) (m ssl2Message, ok bool) {
	m.size = int(b[0]&0x7f)<<8 | int(b[1])
	u16 := func(i int) int { return int(binary.BigEndian.Uint16(b[i:])) }
	switch b[2] {
	case 1:
		m.client, m.version, m.specs = true, uint16(u16(3)), u16(5)
		session, challenge := u16(7), u16(9)
		ok = m.specs > 0 && m.specs%3 == 0 && (session == 0 || session == 16) &&
			challenge >= 16 && challenge <= 32 && 9+m.specs+session+challenge == m.size
	case 4:
		// Whether the session is known, type of certificate, version, and
		// three lengths, of which 11 bytes hold one.
		m.version = uint16(u16(5))
		ok = b[3] <= 1 && b[4] <= 1 && m.version == version2 && 11+u16(7) <= m.size
	}
	return m, ok && (m.version == version2 || m.version>>8 == 3 && m.version <= version13)
}

// suites returns the offered suites that later versions know too.
func (m ssl2Message) suites(b []byte) (suites []uint16) {
	for specs := b[11 : 11+m.specs]; len(specs) >= 3; specs = specs[3:] {
		if specs[0] == 0 {
			suites = append(suites, binary.BigEndian.Uint16(specs[1:]))
		}
		if len(suites) == maxCiphers {
			break
		}
	}
	return suites
}
