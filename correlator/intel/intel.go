// Package intel is reputation: addresses, prefixes, domain names, URLs and
// fingerprints that somebody holds against them, joined into one table for
// look-ups. Each list format is a folder; all lists them.
//
// What several lists say of a value is joined as if they had found it each for
// itself: of n lists with confidences c, together 1 - (1-c1)(1-c2)…(1-cn).
// Lists copy from one another, so the joint figure is an upper bound; it is
// shown with the claims that it was made of. A claim loses half its confidence
// with each half-life of its list after it was last seen, and counts no more
// after it expired. Both are judged at the time of the event, not of the
// look-up, so the same events and the same table give the same alerts.
package intel

import (
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Format is one way in which lists are written.
type Format struct {
	Name string
	// Detect judges the head of a file, at most DetectBytes of it.
	Detect func(head []byte) bool
	// Read calls add for each entry, in order. A line that it cannot read it
	// reports through bad and goes on; it returns an error only when the
	// rest cannot be read either.
	Read func(r io.Reader, add func(line int, e Raw), bad func(line int, err error)) error
}

// DetectBytes is how much of a file Detect is given.
const DetectBytes = 4096

// MaxLine bounds a line of a list, in bytes.
const MaxLine = 64 << 10

// MaxDocument bounds a list that must be read as a whole, such as JSON, in bytes.
const MaxDocument = 256 << 20

// Raw is an entry as a list states it.
type Raw struct {
	// Kind says what Value is; empty: an address, a prefix, a domain name or a
	// URL, by its looks.
	Kind       Kind
	Value      string
	Confidence int // 0 to 100; 0 if the list does not say, which counts as the list's own or 50
	Reference  string
	// Description is what the list takes it for, such as the name of a family.
	Description string
	TLP         string    // RED, AMBER+STRICT, AMBER, GREEN, CLEAR; empty if not said
	Seen        time.Time // when the list saw it last; zero if it does not say
	Until       time.Time // when the list says that it expires; zero: never
}

// Kind is what can be listed.
type Kind string

// Kinds of values. Their text is the threat.indicator.type of ECS.
const (
	Address     Kind = "address" // or a prefix: of ECS ipv4-addr or ipv6-addr
	Name        Kind = "domain-name"
	URL         Kind = "url"
	Certificate Kind = "x509-certificate" // SHA-1 or SHA-256 of it, hexadecimal
	Client      Kind = "software"         // JA3 or JA4 of a TLS client
)

// defaultConfidence is assumed where neither an entry nor its list says.
const defaultConfidence = 50

// value is what a look-up finds: one of a prefix and a text.
type value struct {
	kind   Kind
	prefix netip.Prefix
	text   string
}

// String is the value as it is shown: a prefix of one address as that address.
func (v value) String() string {
	if v.kind != Address {
		return v.text
	}
	if v.prefix.IsSingleIP() {
		return v.prefix.Addr().String()
	}
	return v.prefix.String()
}

// parse brings a listed value into the form that look-ups use. It refuses what
// would match half the world or nothing: prefixes shorter than /8 (IPv4) and
// /16 (IPv6), private, loopback and link-local addresses, and names that are
// public suffixes.
func parse(kind Kind, s string) (value, error) {
	switch kind {
	case Certificate, Client:
		print, ok := Fingerprint(s)
		if !ok {
			return value{}, fmt.Errorf("%q is no fingerprint: want JA3 (32 hexadecimal digits), JA4, SHA-1 or SHA-256", s)
		}
		return value{kind: kind, text: print}, nil
	case URL:
		u, err := normalURL(s)
		return value{kind: URL, text: u}, err
	case "":
		if strings.Contains(s, "://") {
			return parse(URL, s)
		}
		s = strings.TrimSuffix(s, "/")
		if host, path, ok := strings.Cut(s, "/"); ok && strings.Contains(host, ".") && strings.Trim(path, "0123456789") != "" {
			return parse(URL, "http://"+s) // what is seen of URLs is seen in HTTP
		}
	}
	if p, ok := parsePrefix(s); ok && kind != Name {
		if err := checkPrefix(p); err != nil {
			return value{}, err
		}
		return value{kind: Address, prefix: p}, nil
	}
	if kind == Address {
		return value{}, fmt.Errorf("%q is no address or prefix", s)
	}
	name, err := Domain(s)
	if err != nil {
		return value{}, err
	}
	if suffix, icann := publicsuffix.PublicSuffix(name); suffix == name && (icann || !strings.Contains(name, ".")) {
		return value{}, fmt.Errorf("%q is a public suffix: it would match every name below it", name)
	}
	return value{kind: Name, text: name}, nil
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		// The port that a list names is left out: the address is what is listed.
		var with netip.AddrPort
		with, err = netip.ParseAddrPort(s)
		a = with.Addr()
	}
	if err == nil {
		a = a.WithZone("").Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}

func checkPrefix(p netip.Prefix) error {
	shortest := 8
	if p.Addr().Is6() {
		shortest = 16
	}
	a := p.Addr()
	switch {
	case p.Bits() < shortest:
		return fmt.Errorf("prefix %s is too wide: want /%d or longer", p, shortest)
	case a.IsPrivate(), a.IsLoopback(), a.IsLinkLocalUnicast(), a.IsUnspecified(), a.IsMulticast():
		return fmt.Errorf("%s is private, local or multicast: no reputation applies to it", p)
	}
	return nil
}

// Domain returns a name in the form that look-ups use: lower case, ASCII
// (punycode), without a leading wildcard or dot and without a trailing dot.
func Domain(s string) (string, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "*"), "."), ".")
	ascii, err := idna.Lookup.ToASCII(strings.ToLower(name))
	if err != nil {
		// Names in use need not be host names: _dmarc.example.org.
		ascii = strings.ToLower(name)
	}
	if ascii == "" || len(ascii) > 253 || strings.Contains(ascii, "..") || strings.Trim(ascii, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", fmt.Errorf("%q is no address, prefix or domain name", s)
	}
	if !strings.Contains(ascii, ".") {
		return "", fmt.Errorf("%q is no address, prefix or domain name with a dot", s)
	}
	return ascii, nil
}

// normalURL returns a URL in the form that look-ups use: scheme and host in
// lower case, without the scheme's own port, user and fragment, with a path
// (RFC 3986, section 6.2).
func normalURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q is no URL with a host", s)
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := u.Port(); port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	return u.String(), nil
}

// Fingerprint returns s in lower case if it has the form of one that is looked
// up: JA3, SHA-1 or SHA-256 in hexadecimal, or JA4 (10 characters, then twice
// 12 hexadecimal digits, with underscores between).
func Fingerprint(s string) (string, bool) {
	s = strings.ToLower(strings.ReplaceAll(s, ":", ""))
	hex := func(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
	switch len(s) {
	case 32, 40, 64:
		return s, hex(s)
	case 36:
		return s, s[10] == '_' && s[23] == '_' && hex(s[11:23]) && hex(s[24:])
	}
	return "", false
}
