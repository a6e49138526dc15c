package tls

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"

	"github.com/tocsin/tocsin/event"
)

// scratch is working space of one call. Flows are many, so it belongs to no flow.
type scratch struct {
	ciphers, extensions, groups, signatures []uint16 // without GREASE
	formats                                 []byte
	text                                    []byte
	fields                                  []event.Field
	known                                   known
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) reset() {
	s.ciphers, s.extensions, s.groups, s.signatures = s.ciphers[:0], s.extensions[:0], s.groups[:0], s.signatures[:0]
	s.formats = s.formats[:0]
}

// ja3 returns the JA3 fingerprint: the MD5 of version, cipher suites,
// extensions, groups and point formats as sent, in decimal, joined by hyphens
// and commas, GREASE left out.
func (s *scratch) ja3(version uint16) string {
	b := strconv.AppendUint(s.text[:0], uint64(version), 10)
	for _, list := range [...][]uint16{s.ciphers, s.extensions, s.groups} {
		b = appendDecimal(append(b, ','), list)
	}
	b = append(b, ',')
	for i, f := range s.formats {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(f), 10)
	}
	s.text = b
	return md5Hex(b)
}

// ja3s returns the JA3S fingerprint: the MD5 of version, cipher suite and
// extensions of the server's hello.
func (s *scratch) ja3s(version, cipher uint16) string {
	b := strconv.AppendUint(s.text[:0], uint64(version), 10)
	b = strconv.AppendUint(append(b, ','), uint64(cipher), 10)
	b = appendDecimal(append(b, ','), s.extensions)
	s.text = b
	return md5Hex(b)
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b)
	var text [2 * md5.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

func appendDecimal(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// ja4 returns the JA4 fingerprint of a TLS client over TCP. Its first part
// says: t for TCP, the highest version, d if a server name was sent else i,
// how many cipher suites and extensions, and the ends of the first application
// protocol. The second part is a hash of the cipher suites, sorted, the third
// one of the extensions, sorted and without the server name and the
// application protocols, and of the signature algorithms in their order. GREASE
// is left out everywhere. It sorts what s holds.
func (s *scratch) ja4(version uint16, hasName bool, protocol []byte) string {
	var buf [40]byte
	out := append(buf[:0], 't')
	out = append(out, ja4Version(version)...)
	if hasName {
		out = append(out, 'd')
	} else {
		out = append(out, 'i')
	}
	for _, n := range [...]int{len(s.ciphers), len(s.extensions)} {
		n = min(n, 99)
		out = append(out, '0'+byte(n/10), '0'+byte(n%10))
	}
	first, last := ja4Protocol(protocol)
	out = append(out, first, last, '_')

	slices.Sort(s.ciphers)
	s.text = appendHex(s.text[:0], s.ciphers)
	out = appendHash(out, s.text)

	slices.Sort(s.extensions)
	hashed := slices.DeleteFunc(s.extensions, func(x uint16) bool { return x == extServerName || x == extALPN })
	s.text = appendHex(s.text[:0], hashed)
	if len(s.signatures) > 0 {
		s.text = appendHex(append(s.text, '_'), s.signatures)
	}
	if len(hashed) == 0 {
		s.text = s.text[:0]
	}
	return string(appendHash(append(out, '_'), s.text))
}

func ja4Version(v uint16) string {
	switch v {
	case version13:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case version2:
		return "s2"
	}
	return "00"
}

// ja4Protocol returns the first and last character of a protocol's name, of
// its hexadecimal form if one of them is no letter or digit.
func ja4Protocol(p []byte) (first, last byte) {
	if len(p) == 0 {
		return '0', '0'
	}
	first, last = p[0], p[len(p)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		const digits = "0123456789abcdef"
		return digits[first>>4], digits[last&15]
	}
	return first, last
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func appendHex(b []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = hex.AppendEncode(b, []byte{byte(v >> 8), byte(v)})
	}
	return b
}

// appendHash appends the first 12 digits of the SHA-256 of text, zeros if
// there is no text.
func appendHash(b, text []byte) []byte {
	if len(text) == 0 {
		return append(b, "000000000000"...)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(b, sum[:6])
}
