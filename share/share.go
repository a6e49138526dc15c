// Package share decides what leaves: a policy says how far values are marked
// (TLP 2.0) and what each recipient may know (data classes), and Release makes
// of a trace what the recipient will see. What is not known to be fit is left
// out: a release is built up from parts that were decided upon, not cut down
// from the whole.
//
// Pseudonyms are made under a key of the recipient's own: the same address is
// the same pseudonym in all that one recipient gets, and nobody can join what
// two of them got by it. Identifiers of events and names are tokens under the
// same key. Times are told as exactly as the policy says, and volumes to two
// digits, as exact ones would join what pseudonyms keep apart; who sees the same
// traffic himself can still recognise it by its course.
package share

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/share/cryptopan"
	"github.com/tocsin/tocsin/trace/tlp"
)

// Policy is who gets what.
type Policy struct {
	// Own are the operator's networks: their addresses are told as pseudonyms,
	// unless the recipient may know them. Private and local ones always are.
	Own []netip.Prefix `yaml:"own"`
	// Marking is that of a case for which none is given.
	Marking    tlp.Level   `yaml:"marking"`
	Markings   []Marking   `yaml:"markings"`
	Recipients []Recipient `yaml:"recipients"`
}

// Marking raises the label of what it matches. Whoever is not cleared for it
// does not get to know that it is there.
type Marking struct {
	TLP      tlp.Level      `yaml:"tlp"`
	Networks []netip.Prefix `yaml:"networks"`
	Names    []string       `yaml:"names"` // of assets
	Rules    []string       `yaml:"rules"` // identifiers
}

// Recipient is somebody that things are shared with.
type Recipient struct {
	Name      string        `yaml:"name"`
	Clearance tlp.Level     `yaml:"clearance"` // the highest label that they may have
	Classes   []string      `yaml:"classes"`   // data classes beside technical that they may know: topology, process, personal, content
	Precision time.Duration `yaml:"precision"` // of times; a second if not given
	// Token is the SHA-256 of the token with which they fetch by TAXII, as
	// hexadecimal digits; without one they cannot.
	Token string `yaml:"token"`
}

// Load reads a policy. Unknown keys are errors.
func Load(path string) (*Policy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &Policy{Marking: tlp.Amber}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %s", path, strings.Join(strings.Fields(err.Error()), " ")) // which has several lines
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Validate says what is wrong with a policy.
func (p *Policy) Validate() error {
	names := map[string]bool{}
	for i := range p.Recipients {
		r := &p.Recipients[i]
		switch {
		case r.Name == "" || strings.ContainsAny(r.Name, "/:\x00"):
			return fmt.Errorf("recipient %d: name %q: want one without slashes and colons", i+1, r.Name)
		case names[r.Name]:
			return fmt.Errorf("recipient %s is there twice", r.Name)
		case r.Precision < 0:
			return fmt.Errorf("recipient %s: precision %s: want more than nothing", r.Name, r.Precision)
		}
		names[r.Name] = true
		for _, c := range r.Classes {
			if _, ok := classes[c]; !ok {
				return fmt.Errorf("recipient %s: class %q: want topology, process, personal or content", r.Name, c)
			}
		}
		if r.Token != "" {
			if b, err := hex.DecodeString(r.Token); err != nil || len(b) != sha256.Size {
				return fmt.Errorf("recipient %s: token: want the SHA-256 of the token, 64 hexadecimal digits", r.Name)
			}
		}
		if r.Precision == 0 {
			r.Precision = time.Second
		}
	}
	for i, m := range p.Markings {
		if len(m.Networks)+len(m.Names)+len(m.Rules) == 0 {
			return fmt.Errorf("marking %d: want networks, names or rules that it is for", i+1)
		}
	}
	return nil
}

var classes = map[string]event.DataClass{
	"technical": event.ClassTechnical, "topology": event.ClassTopology, "process": event.ClassProcess, "personal": event.ClassPersonal, "content": event.ClassContent,
}

// Recipient finds one by name.
func (p *Policy) Recipient(name string) (*Recipient, error) {
	var names []string
	for i := range p.Recipients {
		if p.Recipients[i].Name == name {
			return &p.Recipients[i], nil
		}
		names = append(names, p.Recipients[i].Name)
	}
	return nil, fmt.Errorf("recipient %q: the policy has %s", name, strings.Join(names, ", "))
}

// may reports whether the recipient may know values of a class.
func (r *Recipient) may(c event.DataClass) bool {
	return c == event.ClassTechnical || slices.ContainsFunc(r.Classes, func(name string) bool { return classes[name] == c })
}

// Lens is how one recipient sees things.
type Lens struct {
	policy    *Policy
	recipient *Recipient
	table     *cryptopan.Table
	key       []byte
	names     map[string]tlp.Level // marked
}

// Lens returns that of a recipient, whose keys come from the master key.
func (p *Policy) Lens(r *Recipient, master []byte) (*Lens, error) {
	if len(master) < 32 {
		return nil, fmt.Errorf("share: the master key has %d bytes: want at least 32", len(master))
	}
	keys, err := hkdf.Key(sha256.New, master, nil, "tocsin share "+r.Name, cryptopan.KeySize+32)
	if err != nil {
		return nil, fmt.Errorf("share: %w", err)
	}
	l := &Lens{policy: p, recipient: r, table: cryptopan.New([cryptopan.KeySize]byte(keys[:cryptopan.KeySize])), key: keys[cryptopan.KeySize:], names: map[string]tlp.Level{}}
	for _, m := range p.Markings {
		for _, n := range m.Names {
			l.names[n] = max(l.names[n], m.TLP)
		}
	}
	return l, nil
}

// cleared reports whether the recipient may have what carries a label.
func (l *Lens) cleared(level tlp.Level) bool { return level <= l.recipient.Clearance }

// Own reports whether an address is the operator's.
func (p *Policy) own(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || a.IsMulticast() || slices.ContainsFunc(p.Own, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Address is what the recipient sees of an address; pseudonym says that it is
// another. It is not ok where they may not know that there is one.
func (l *Lens) Address(a netip.Addr) (seen netip.Addr, pseudonym, ok bool) {
	if !a.IsValid() {
		return a, false, true
	}
	a = a.Unmap()
	for _, m := range l.policy.Markings {
		if !l.cleared(m.TLP) && slices.ContainsFunc(m.Networks, func(n netip.Prefix) bool { return n.Contains(a) }) {
			return netip.Addr{}, false, false
		}
	}
	if !l.policy.own(a) || l.recipient.may(event.ClassTopology) {
		return a, false, true
	}
	return l.table.Address(a), true, true
}

// Name is what the recipient sees of a name of a class: the name, a token for
// it, or, where they may not know that there is one, nothing.
func (l *Lens) Name(kind, name string, c event.DataClass) (seen string, ok bool) {
	if name == "" {
		return "", true
	}
	if !l.cleared(l.names[name]) {
		return "", false
	}
	if l.recipient.may(c) {
		return name, true
	}
	return kind + "-" + l.token(kind+"\x00"+name), true
}

func (l *Lens) mac(text string) []byte {
	h := hmac.New(sha256.New, l.key)
	io.WriteString(h, text)
	return h.Sum(nil)
}

func (l *Lens) token(text string) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(l.mac(text)[:5]))
}

// ID is what the recipient sees of an identifier: another, at a time that is
// as exact as they may know.
func (l *Lens) ID(id event.ID) event.ID {
	if id.IsZero() {
		return id
	}
	seen := event.FirstID(l.Time(id.Time()))
	copy(seen[6:], l.mac("id\x00"+string(id[:])))
	return seen
}

// Time is a time as exactly as the recipient may know it.
func (l *Lens) Time(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(l.recipient.Precision)
}

// volume keeps two digits of a number.
func volume(n uint64) uint64 {
	unit := uint64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return n / unit * unit
}
