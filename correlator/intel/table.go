package intel

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"github.com/tocsin/tocsin/event"
)

// Table answers look-ups. It never changes once built; to update, build
// another and swap the pointer.
type Table struct {
	prefixes *bart.Table[int32] // indices of first claims
	texts    map[Kind]map[string]int32
	claims   []claim
	origins  []origin
	values   int
	hash     string
}

// claim is what one list says of one value. There may be a million, so what
// many have in common is an origin.
type claim struct {
	origin      uint32 // index of Table.origins
	next        int32  // index of the next claim about the same value; 0: none
	seen, until uint32 // Unix seconds; 0 if the list does not say
	confidence  uint8
	bits        uint8 // of the prefix that is claimed about
	covered     bool  // of a first claim: a wider prefix is listed, too
}

type origin struct {
	provider, reference, description, tlp string
	halfLife                              time.Duration
}

// Builder collects entries for a Table.
type Builder struct {
	added   []added
	origins []origin
	known   map[origin]uint32
	refuse  func(Kind, netip.Prefix, string) string
}

type added struct {
	value value
	claim claim
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder { return &Builder{known: map[origin]uint32{}} }

// Refuse makes Add refuse values for which because returns a reason: those
// that many innocent people use.
func (b *Builder) Refuse(because func(kind Kind, prefix netip.Prefix, text string) string) {
	b.refuse = because
}

// Add takes an entry of a list. Of entries of one list with the same value the
// surest stays, then the one seen last; the order of lists does not matter.
func (b *Builder) Add(l List, e Raw) error {
	if e.Confidence < 0 || e.Confidence > 100 {
		return fmt.Errorf("confidence %d: want 0 to 100", e.Confidence)
	}
	v, err := parse(e.Kind, strings.TrimSpace(e.Value))
	if err != nil {
		return err
	}
	if b.refuse != nil {
		if why := b.refuse(v.kind, v.prefix, v.text); why != "" {
			return &Embarrassing{Value: v.String(), Why: why}
		}
	}
	o := origin{l.Provider, e.Reference, e.Description, cmp.Or(e.TLP, l.TLP), l.HalfLife}
	n, ok := b.known[o]
	if !ok {
		n = uint32(len(b.origins))
		b.origins = append(b.origins, o)
		b.known[o] = n
	}
	c := claim{origin: n, seen: seconds(e.Seen), until: seconds(e.Until), confidence: uint8(cmp.Or(e.Confidence, l.Confidence, defaultConfidence))}
	b.added = append(b.added, added{v, c})
	return nil
}

// Embarrassing says that an entry was left out because many innocent people
// use the value.
type Embarrassing struct{ Value, Why string }

// Error names the value and why it was left out.
func (e *Embarrassing) Error() string { return e.Value + " is left out: " + e.Why }

// seconds are Unix seconds, 0 for times that they cannot hold.
func seconds(t time.Time) uint32 {
	if s := t.Unix(); s > 0 && s <= 1<<32-1 {
		return uint32(s)
	}
	return 0
}

// Len returns how many entries were taken.
func (b *Builder) Len() int { return len(b.added) }

func (b *Builder) compare(x, y added) int {
	p, q := &b.origins[x.claim.origin], &b.origins[y.claim.origin]
	return cmp.Or(
		cmp.Compare(x.value.kind, y.value.kind),
		x.value.prefix.Addr().Compare(y.value.prefix.Addr()), cmp.Compare(x.value.prefix.Bits(), y.value.prefix.Bits()),
		cmp.Compare(x.value.text, y.value.text),
		cmp.Compare(p.provider, q.provider),
		cmp.Compare(y.claim.confidence, x.claim.confidence), cmp.Compare(y.claim.seen, x.claim.seen), cmp.Compare(y.claim.until, x.claim.until),
		cmp.Compare(p.reference, q.reference), cmp.Compare(p.description, q.description), cmp.Compare(p.tlp, q.tlp), cmp.Compare(p.halfLife, q.halfLife),
	)
}

// Table builds the table. The builder is used up.
func (b *Builder) Table() *Table {
	slices.SortFunc(b.added, b.compare)
	// Index 0 of claims is none.
	t := &Table{prefixes: new(bart.Table[int32]), texts: map[Kind]map[string]int32{}, claims: make([]claim, 1, len(b.added)+1), origins: b.origins}
	h := sha256.New()
	for i, a := range b.added {
		same := i > 0 && b.added[i-1].value == a.value
		if same && t.origins[b.added[i-1].claim.origin].provider == t.origins[a.claim.origin].provider {
			continue // the same list said more before
		}
		n := int32(len(t.claims))
		a.claim.bits = uint8(max(a.value.prefix.Bits(), 0))
		t.claims = append(t.claims, a.claim)
		b.digest(h, a)
		switch {
		case same:
			t.claims[n-1].next = n
			continue
		case a.value.kind == Address:
			t.prefixes.Insert(a.value.prefix, n)
		default:
			if t.texts[a.value.kind] == nil {
				t.texts[a.value.kind] = map[string]int32{}
			}
			t.texts[a.value.kind][a.value.text] = n
		}
		t.values++
	}
	for p, first := range t.prefixes.All() {
		if wider, err := p.Addr().Prefix(p.Bits() - 1); err == nil {
			_, t.claims[first].covered = t.prefixes.LookupPrefix(wider)
		}
	}
	t.claims = slices.Clip(t.claims)
	t.hash = hex.EncodeToString(h.Sum(nil))
	b.added = nil
	return t
}

func (b *Builder) digest(w io.Writer, a added) {
	o := &b.origins[a.claim.origin]
	fmt.Fprintf(w, "%s\x00%s\x00%s\x00%s\x00%s\x00%s\x00%d\x00", a.value.kind, a.value, o.provider, o.reference, o.description, o.tlp, o.halfLife)
	binary.Write(w, binary.BigEndian, [...]uint32{uint32(a.claim.confidence), a.claim.seen, a.claim.until})
}

// Len returns how many values are listed.
func (t *Table) Len() int { return t.values }

// Hash identifies the table's content: SHA-256 in hexadecimal.
func (t *Table) Hash() string { return t.hash }

// Claim is what one list says of a value, as it counts at a certain time.
type Claim struct {
	event.Indicator
	Stated int       // confidence before it aged, 0 to 100
	Until  time.Time // when it expires; zero: never
}

// maxClaims bounds how many lists a verdict is made of; those about the
// narrowest value come first.
const maxClaims = 8

// Verdict is what all lists say of a value.
type Verdict struct {
	event.Indicator // of the surest claim about the narrowest value, with the confidence of all

	t     *Table
	what  subject
	n     int
	found [maxClaims]found
}

// subject is what was looked up: one of an address and a text.
type subject struct {
	kind string
	addr netip.Addr
	text string
}

// found is a claim about a part of the subject: so many bits of the address, or
// so many bytes from the end of a domain name, or from the start of another text.
type found struct {
	claim      int32
	length     int32
	confidence int32 // at the time of the look-up
}

// value is the part of the subject that is listed.
func (s *subject) value(length int32) string {
	switch {
	case s.addr.IsValid():
		p, _ := s.addr.Prefix(int(length)) // it was found with that length
		return value{kind: Address, prefix: p}.String()
	case s.kind == string(Name):
		return s.text[len(s.text)-int(length):]
	}
	return s.text[:length]
}

// Address finds what the lists say at a time of an address and of the prefixes
// that hold it. It does not allocate if nothing is listed.
func (t *Table) Address(a netip.Addr, at time.Time) (v Verdict, ok bool) {
	a = a.Unmap()
	first, ok := t.prefixes.Lookup(a)
	if !ok {
		return v, false
	}
	v.t, v.what.addr, v.what.kind = t, a, "ipv4-addr"
	if a.Is6() {
		v.what.kind = "ipv6-addr"
	}
	if c := &t.claims[first]; !c.covered {
		v.collect(first, int32(c.bits), at)
		return v, v.join()
	}
	for p, first := range t.prefixes.Supernets(netip.PrefixFrom(a, a.BitLen())) {
		v.collect(first, int32(p.Bits()), at)
	}
	return v, v.join()
}

// Domain finds what the lists say at a time of a domain name and its parents.
// name is lower case; a trailing dot does not matter. It does not allocate if
// nothing is listed.
func (t *Table) Domain(name string, at time.Time) (v Verdict, ok bool) {
	names := t.texts[Name]
	name = strings.TrimSuffix(name, ".")
	v.t, v.what = t, subject{kind: string(Name), text: name}
	for len(names) > 0 && name != "" {
		if first, ok := names[name]; ok {
			v.collect(first, int32(len(name)), at)
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			break
		}
		name = name[dot+1:]
	}
	return v, v.join()
}

// URL finds what the lists say at a time of a URL, with and without its query.
func (t *Table) URL(s string, at time.Time) (v Verdict, ok bool) {
	urls := t.texts[URL]
	if len(urls) == 0 {
		return v, false
	}
	u, err := normalURL(s)
	if err != nil {
		return v, false
	}
	v.t, v.what = t, subject{kind: string(URL), text: u}
	if first, ok := urls[u]; ok {
		v.collect(first, int32(len(u)), at)
	}
	if path, _, ok := strings.Cut(u, "?"); ok {
		if first, ok := urls[path]; ok {
			v.collect(first, int32(len(path)), at)
		}
	}
	return v, v.join()
}

// Fingerprint finds what the lists say at a time of a certificate (SHA-1 or
// SHA-256) or of a TLS client (JA3 or JA4). It does not allocate if s is lower
// case and nothing is listed.
func (t *Table) Fingerprint(kind Kind, s string, at time.Time) (v Verdict, ok bool) {
	prints := t.texts[kind]
	if len(prints) == 0 {
		return v, false
	}
	s = strings.ToLower(s)
	v.t, v.what = t, subject{kind: string(kind), text: s}
	if first, ok := prints[s]; ok {
		v.collect(first, int32(len(s)), at)
	}
	return v, v.join()
}

// collect adds the claims that still count, from first on. A list that has
// spoken about something narrower is not heard again.
func (v *Verdict) collect(first, length int32, at time.Time) {
	for n := first; n != 0 && v.n < maxClaims; n = v.t.claims[n].next {
		c := &v.t.claims[n]
		o := &v.t.origins[c.origin]
		confidence := c.at(o.halfLife, at)
		if confidence == 0 || slices.ContainsFunc(v.found[:v.n], func(f found) bool { return v.t.origin(f).provider == o.provider }) {
			continue
		}
		v.found[v.n] = found{n, length, int32(confidence)}
		v.n++
	}
}

func (t *Table) origin(f found) *origin { return &t.origins[t.claims[f.claim].origin] }

// Claims are what the verdict was made of, those about the narrowest value
// first, of those in the order of the lists' names.
func (v *Verdict) Claims() []Claim {
	claims := make([]Claim, v.n)
	for i, f := range v.found[:v.n] {
		c := &v.t.claims[f.claim]
		claims[i] = Claim{Indicator: v.indicator(f), Stated: int(c.confidence), Until: date(c.until)}
	}
	return claims
}

func (v *Verdict) indicator(f found) event.Indicator {
	o := v.t.origin(f)
	return event.Indicator{
		Type: v.what.kind, Value: v.what.value(f.length), Provider: o.provider, Confidence: int(f.confidence),
		Reference: o.reference, Description: o.description, TLP: o.tlp, Seen: date(v.t.claims[f.claim].seen),
	}
}

// join sums up what was found; false: nothing.
func (v *Verdict) join() bool {
	if v.n == 0 {
		return false
	}
	best, tlp := v.found[0], ""
	doubt := int32(1_000_000) // in millionths, that none of the claims is right
	for _, f := range v.found[:v.n] {
		if f.length == v.found[0].length && f.confidence > best.confidence {
			best = f
		}
		doubt = int32(int64(doubt) * int64(100-f.confidence) / 100)
		tlp = Stricter(tlp, v.t.origin(f).tlp)
	}
	v.Indicator = v.indicator(best)
	v.TLP = tlp
	// Those who are not quite sure stay so, however many agree.
	v.Confidence = int(max(best.confidence, min(100-(doubt+5_000)/10_000, 99)))
	return true
}

// leastConfidence is what is left of a claim before it counts no more.
const leastConfidence = 10

// at is the confidence at a time: halved with each half-life since the list
// saw it last, straight between, in whole numbers so that every machine gets
// the same. 0 means that it counts no more.
func (c *claim) at(halfLife time.Duration, at time.Time) int {
	now := at.Unix()
	if c.until != 0 && now >= int64(c.until) {
		return 0
	}
	confidence := int64(c.confidence)
	if half := int64(halfLife / time.Second); half > 0 && c.seen != 0 && now > int64(c.seen) {
		age := now - int64(c.seen)
		halves, rest := age/half, age%half
		if halves > 7 {
			return 0
		}
		confidence = (confidence*2*half - confidence*rest) / (2 * half) >> halves
		if confidence < min(leastConfidence, int64(c.confidence)) {
			return 0
		}
	}
	return int(confidence)
}

func date(seconds uint32) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// tlps are the markings of TLP 2.0, the strictest last.
var tlps = []string{"CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"}

// Stricter is the stricter of two markings: a verdict is as secret as the most
// secret of its claims.
func Stricter(a, b string) string {
	if slices.Index(tlps, b) > slices.Index(tlps, a) {
		return b
	}
	return a
}

// TLP returns a marking by its TLP 2.0 name ("TLP:AMBER", "white" and "amber"
// are understood), or "" if it is none.
func TLP(s string) string {
	s = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "TLP:")
	if s == "WHITE" { // its name before TLP 2.0
		return "CLEAR"
	}
	if slices.Contains(tlps, s) {
		return s
	}
	return ""
}

// Beyond is a table of the values that t lists and old does not: what is to be
// looked for in the past.
func (t *Table) Beyond(old *Table) *Table {
	b := NewBuilder()
	b.origins = t.origins
	add := func(v value, first int32) {
		for n := first; n != 0; n = t.claims[n].next {
			c := t.claims[n]
			c.next = 0
			b.added = append(b.added, added{v, c})
		}
	}
	for p, first := range t.prefixes.All() {
		if _, ok := old.prefixes.Get(p); !ok {
			add(value{kind: Address, prefix: p}, first)
		}
	}
	for kind, texts := range t.texts {
		for text, first := range texts {
			if _, ok := old.texts[kind][text]; !ok {
				add(value{kind: kind, text: text}, first)
			}
		}
	}
	return b.Table()
}
