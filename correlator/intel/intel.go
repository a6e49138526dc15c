// Package intel is reputation: lists of addresses, prefixes and domain names
// that somebody holds against them, joined into one table for look-ups. Each
// list format is a folder; all lists them.
package intel

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/tocsin/tocsin/event"
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

// Raw is an entry as a list states it.
type Raw struct {
	Value      string // address, prefix, or domain name (with or without a leading "*." or ".")
	Confidence int    // 0 to 100; 0 if the list does not say, which counts as 50
	Reference  string
}

// defaultConfidence is assumed where a list does not say.
const defaultConfidence = 50

// Table answers look-ups. It never changes once built; to update, build
// another and swap the pointer.
type Table struct {
	prefixes *bart.Table[entry]
	sources  []source
	domains  map[string]event.Indicator
	hash     string
}

// entry is an Indicator in a third of the space, as there may be a million.
type entry struct {
	value      string
	source     uint32 // index of Table.sources
	confidence uint8
}

// source is what many entries have in common.
type source struct{ provider, reference string }

// Builder collects entries for a Table.
type Builder struct {
	prefixes map[netip.Prefix]event.Indicator
	domains  map[string]event.Indicator
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{prefixes: map[netip.Prefix]event.Indicator{}, domains: map[string]event.Indicator{}}
}

// Add takes an entry of the list called provider. It refuses what would match
// half the world or nothing: prefixes shorter than /8 (IPv4) and /16 (IPv6),
// private, loopback and link-local addresses, and names that are public
// suffixes. Of entries with the same value the one with the higher confidence
// stays, then the one whose provider sorts first, so the order of lists does
// not matter.
func (b *Builder) Add(provider string, e Raw) error {
	if e.Confidence < 0 || e.Confidence > 100 {
		return fmt.Errorf("confidence %d: want 0 to 100", e.Confidence)
	}
	ind := event.Indicator{Provider: provider, Confidence: cmp.Or(e.Confidence, defaultConfidence), Reference: e.Reference}
	if p, ok := parsePrefix(e.Value); ok {
		if err := checkPrefix(p); err != nil {
			return err
		}
		ind.Type, ind.Value = addrType(p.Addr()), p.String()
		if p.IsSingleIP() {
			ind.Value = p.Addr().String()
		}
		put(b.prefixes, p, ind)
		return nil
	}
	name, err := Domain(e.Value)
	if err != nil {
		return err
	}
	if suffix, icann := publicsuffix.PublicSuffix(name); suffix == name && (icann || !strings.Contains(name, ".")) {
		return fmt.Errorf("%q is a public suffix: it would match every name below it", name)
	}
	ind.Type, ind.Value = "domain-name", name
	put(b.domains, name, ind)
	return nil
}

// addrType is the type of an indicator for addresses of a's family.
func addrType(a netip.Addr) string {
	if a.Is6() {
		return "ipv6-addr"
	}
	return "ipv4-addr"
}

func put[K comparable](m map[K]event.Indicator, k K, ind event.Indicator) {
	if old, ok := m[k]; ok && !better(ind, old) {
		return
	}
	m[k] = ind
}

func better(a, b event.Indicator) bool {
	return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Reference, b.Reference)) < 0
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
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

// Len returns how many entries the builder has.
func (b *Builder) Len() int { return len(b.prefixes) + len(b.domains) }

// Table builds the table. The builder may go on to be used.
func (b *Builder) Table() *Table {
	t := &Table{prefixes: new(bart.Table[entry]), domains: make(map[string]event.Indicator, len(b.domains))}
	lines := make([]string, 0, b.Len())
	note := func(ind event.Indicator) {
		lines = append(lines, fmt.Sprintf("%s\x00%s\x00%d\x00%s\n", ind.Value, ind.Provider, ind.Confidence, ind.Reference))
	}
	known := map[source]uint32{}
	for p, ind := range b.prefixes {
		s := source{ind.Provider, ind.Reference}
		n, ok := known[s]
		if !ok {
			n = uint32(len(t.sources))
			known[s] = n
			t.sources = append(t.sources, s)
		}
		t.prefixes.Insert(p, entry{ind.Value, n, uint8(ind.Confidence)})
		note(ind)
	}
	for d, ind := range b.domains {
		t.domains[d] = ind
		note(ind)
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		io.WriteString(h, l)
	}
	t.hash = hex.EncodeToString(h.Sum(nil))
	return t
}

// Len returns how many entries the table has.
func (t *Table) Len() int { return t.prefixes.Size() + len(t.domains) }

// Hash identifies the table's content: SHA-256 in hexadecimal.
func (t *Table) Hash() string { return t.hash }

// Lookup finds the longest listed prefix that holds the address. It does not
// allocate.
func (t *Table) Lookup(a netip.Addr) (event.Indicator, bool) {
	a = a.Unmap()
	e, ok := t.prefixes.Lookup(a)
	if !ok {
		return event.Indicator{}, false
	}
	s := &t.sources[e.source]
	return event.Indicator{Type: addrType(a), Value: e.value, Provider: s.provider, Confidence: int(e.confidence), Reference: s.reference}, true
}

// LookupDomain finds the longest listed name that is name or a parent of it.
// name is lower case; a trailing dot does not matter. It does not allocate.
func (t *Table) LookupDomain(name string) (event.Indicator, bool) {
	name = strings.TrimSuffix(name, ".")
	for len(t.domains) > 0 && name != "" {
		if ind, ok := t.domains[name]; ok {
			return ind, true
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			break
		}
		name = name[dot+1:]
	}
	return event.Indicator{}, false
}
