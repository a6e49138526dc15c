package share_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/share"
	"github.com/tocsin/tocsin/share/misp"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/all"
	"github.com/tocsin/tocsin/trace/stix"
	"github.com/tocsin/tocsin/trace/tlp"
)

var (
	master = bytes.Repeat([]byte{7}, 32)
	red    = netip.MustParsePrefix("10.50.0.0/16")
	red6   = netip.MustParsePrefix("2001:db8:50::/48")
)

func policy(recipients ...share.Recipient) *share.Policy {
	p := &share.Policy{
		Own: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}, Marking: tlp.Amber,
		Markings: []share.Marking{{TLP: tlp.Red, Networks: []netip.Prefix{red, red6}, Names: []string{"red-name"}, Rules: []string{"red-rule"}}}, Recipients: recipients,
	}
	if err := p.Validate(); err != nil {
		panic(err)
	}
	return p
}

func lens(t testing.TB, p *share.Policy, name string) *share.Lens {
	t.Helper()
	r, err := p.Recipient(name)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Lens(r, master)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// told are the fields whose values everybody may know: they are of few kinds,
// and say what a protocol or a tactic is called.
var told = []string{"Role", "Transport", "Protocol", "Port", "Techniques", "Weight", "Confidence", "Severity", "Loss"}

// maker fills traces with values that must not get out: texts that hold a
// canary, and addresses of the operator's own networks, of those marked RED, and
// of the outside.
type maker struct {
	rnd     *rand.Rand
	own     []netip.Addr // the operator's, marked RED or not
	outside []netip.Addr
	texts   int
}

const canary = "canary-"

func (m *maker) address() netip.Addr {
	b := func() byte { return byte(m.rnd.IntN(256)) }
	var a netip.Addr
	switch m.rnd.IntN(6) {
	case 0:
		a = netip.AddrFrom4([4]byte{10, 50, b(), b()})
	case 1:
		a = netip.AddrFrom4([4]byte{10, 20, b(), b()})
	case 2:
		a = netip.AddrFrom4([4]byte{203, 0, 113, b()})
	case 3:
		a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0x50, 14: b(), 15: b()})
	case 4:
		a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0x20, 14: b(), 15: b()})
	default:
		a = netip.AddrFrom4([4]byte{198, 51, 100, b()})
		m.outside = append(m.outside, a)
		return a
	}
	m.own = append(m.own, a)
	return a
}

// fill sets every field of v that it can reach, those of types to come
// included.
func (m *maker) fill(v reflect.Value, name string) {
	if slices.Contains(told, name) {
		if name == "Role" {
			v.SetString([]string{"origin", "c2", "target", "access", "stepping-stone", "exfiltration"}[m.rnd.IntN(6)])
		}
		if name == "Protocol" || name == "Transport" {
			v.SetString("tcp")
		}
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = m.address()
		return
	case *netip.AddrPort:
		*x = netip.AddrPortFrom(m.address(), 4711)
		return
	case *time.Time:
		*x = time.Date(2026, 11, 22, 12, 0, m.rnd.IntN(60), m.rnd.IntN(1e9), time.UTC)
		return
	case *event.ID:
		h := event.NewHasher()
		h.Uint(m.rnd.Uint64())
		*x = h.ID(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
		return
	}
	switch v.Kind() {
	case reflect.String:
		m.texts++
		v.SetString(fmt.Sprintf("%s%d of %s at %s", canary, m.texts, m.address(), m.address()))
		if name == "Key" {
			v.SetString([]string{"alert", "remote", "gap-outside", "relayed", "no such key"}[m.rnd.IntN(5)])
		}
	case reflect.Struct:
		for i := range v.NumField() {
			m.fill(v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), 1+m.rnd.IntN(3), 4)
		for i := range s.Len() {
			m.fill(s.Index(i), "")
		}
		v.Set(s)
	case reflect.Map:
		values := reflect.MakeMap(v.Type())
		for _, blank := range []string{"host", "from", "service", "what", "value", "to", "relay", "n"} {
			text := fmt.Sprintf("%s%s", canary, blank)
			switch m.rnd.IntN(3) {
			case 0:
				text = m.address().String()
			case 1:
				text = m.address().String() + ":" + canary
			}
			values.SetMapIndex(reflect.ValueOf(blank), reflect.ValueOf(text))
		}
		v.Set(values)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(m.rnd.IntN(100000)))
	case reflect.Uint64, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(m.rnd.IntN(60000)))
	}
}

func formats(level tlp.Level) map[string]func(*bytes.Buffer, *trace.Trace) error {
	fs := map[string]func(*bytes.Buffer, *trace.Trace) error{
		"stix": func(b *bytes.Buffer, t *trace.Trace) error { return stix.Write(b, t, level) },
		"misp": func(b *bytes.Buffer, t *trace.Trace) error { return misp.Write(b, t, level) },
	}
	for _, f := range all.Formats() {
		if !strings.HasPrefix(f.Name, "pdf") && f.Name != "stix" { // PDF is compressed; its text is that of html
			fs[f.Name] = func(b *bytes.Buffer, t *trace.Trace) error { return f.Write(b, t) }
		}
	}
	return fs
}

// TestNothingGetsOut fills traces with values of all kinds and looks for them in
// every form of what a recipient gets who may know nothing but technical facts.
func TestNothingGetsOut(t *testing.T) {
	p := policy(share.Recipient{Name: "low", Clearance: tlp.Amber})
	l := lens(t, p, "low")
	told := 0
	for seed := range 60 {
		m := &maker{rnd: rand.New(rand.NewPCG(uint64(seed), 3))}
		tr := &trace.Trace{}
		m.fill(reflect.ValueOf(tr).Elem(), "")
		secret := event.ID{}
		if len(tr.Steps) > 0 {
			secret = tr.Steps[0].ID
		}
		out, err := l.Release(tr, tlp.Green, func(id event.ID) (event.Alert, bool) {
			a := event.Alert{ID: id, Rule: event.Rule{ID: "x", Name: "a title"}, Message: canary}
			if id == secret {
				a.Rule = event.Rule{ID: "red-rule", Name: canary + "rule"}
			}
			return a, true
		})
		if err != nil {
			t.Fatal(err)
		}
		told += len(out.Trace.Path) + len(out.Trace.Branches)
		for name, write := range formats(out.Marking) {
			var b bytes.Buffer
			if err := write(&b, out.Trace); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if i := strings.Index(text, canary); i >= 0 {
				t.Fatalf("%s (seed %d): a canary got out: …%s…", name, seed, text[max(0, i-80):min(len(text), i+60)])
			}
			words := strings.FieldsFunc(text, func(r rune) bool {
				return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r == '.' || r == ':')
			})
			there := map[string]bool{}
			for _, w := range words {
				there[strings.Trim(w, ".:")] = true
			}
			for _, a := range m.own {
				if there[a.String()] {
					t.Errorf("%s (seed %d): %s of our own got out", name, seed, a)
				}
			}
		}
	}
	if told == 0 {
		t.Error("nothing was told at all")
	}
}

// TestClassesAndClearance: who may know more, gets more.
func TestClassesAndClearance(t *testing.T) {
	p := policy(share.Recipient{Name: "low", Clearance: tlp.Amber}, share.Recipient{Name: "partner", Clearance: tlp.Amber, Classes: []string{"topology"}}, share.Recipient{Name: "us", Clearance: tlp.Red, Classes: []string{"topology"}})
	plc, web, evil := netip.MustParseAddr("10.50.0.11"), netip.MustParseAddr("10.20.0.10"), netip.MustParseAddr("198.51.100.66")
	at := time.Date(2026, 11, 22, 12, 0, 0, 987, time.UTC)
	tr := &trace.Trace{
		Seed: plc.String(), Title: "secret", Origin: evil, Target: plc, From: at, To: at,
		Path:  []trace.Hop{{From: evil, To: web, Port: 22, Protocol: "ssh", Start: at, End: at, Bytes: 123456, Sensors: []string{"border"}}, {From: web, To: plc, Port: 502, Protocol: "modbus", Start: at, End: at}},
		Nodes: []trace.Node{{Address: evil, Role: "origin"}, {Address: web, Name: "web", Zone: "dmz", Role: "stepping-stone"}, {Address: plc, Name: "plc1", Role: "target"}},
	}
	for _, x := range []struct {
		who   string
		hops  int
		web   bool
		names string
	}{{"low", 1, false, ""}, {"partner", 1, true, "web"}, {"us", 2, true, "web plc1"}} {
		out, err := lens(t, p, x.who).Release(tr, tlp.Amber, nil)
		if err != nil {
			t.Fatal(err)
		}
		h := out.Trace.Path
		if len(h) != x.hops || h[0].From != evil || (h[0].To == web) != x.web || h[0].Bytes != 120000 || h[0].Start.Nanosecond() != 0 || (out.Withheld > 0) != (x.hops < 2) {
			t.Errorf("%s: %+v", x.who, out.Trace)
		}
		for _, n := range strings.Fields("web plc1") {
			has := slices.ContainsFunc(out.Trace.Nodes, func(y trace.Node) bool { return y.Name == n })
			if has != strings.Contains(x.names, n) {
				t.Errorf("%s: name %s is told: %v", x.who, n, has)
			}
		}
	}
	for _, x := range []struct {
		level tlp.Level
		ok    bool
	}{{tlp.Clear, true}, {tlp.Amber, true}, {tlp.AmberStrict, false}, {tlp.Red, false}} {
		if _, err := lens(t, p, "low").Release(tr, x.level, nil); (err == nil) != x.ok || !x.ok && !errors.Is(err, share.ErrMarking) {
			t.Errorf("%s for AMBER: %v", x.level, err)
		}
	}
}

// TestPseudonymsCannotBeJoined gives two recipients the same: no token of one is
// a token of the other, and each gets the same for the same.
func TestPseudonymsCannotBeJoined(t *testing.T) {
	p := policy(share.Recipient{Name: "one", Clearance: tlp.Amber}, share.Recipient{Name: "two", Clearance: tlp.Amber})
	one, two := lens(t, p, "one"), lens(t, p, "two")
	rnd := rand.New(rand.NewPCG(1, 2))
	tokens := map[string]bool{}
	n, same := 0, 0
	for i := range 5000 {
		a := netip.AddrFrom4([4]byte{10, 20, byte(rnd.IntN(256)), byte(rnd.IntN(256))})
		if i%2 == 0 {
			var b [16]byte
			copy(b[:], []byte{0x20, 1, 0xd, 0xb8, 0, 0x20})
			b[15], b[14], b[13] = byte(rnd.IntN(256)), byte(rnd.IntN(256)), byte(rnd.IntN(256))
			a = netip.AddrFrom16(b)
		}
		x, _, _ := one.Address(a)
		y, pseudonym, ok := two.Address(a)
		again, _, _ := lens(t, p, "one").Address(a)
		if x == a || !pseudonym || !ok || x != again {
			t.Fatalf("%s: %s, then %s", a, x, again)
		}
		n++
		if x == y {
			same++
		}
		h := event.NewHasher()
		h.Uint(uint64(i))
		id := h.ID(time.Unix(int64(i), 0))
		hx, _ := one.Name("host", fmt.Sprint("name ", i), event.ClassTopology)
		hy, _ := two.Name("host", fmt.Sprint("name ", i), event.ClassTopology)
		if one.ID(id) == two.ID(id) || hx == hy || one.ID(id) == id {
			t.Fatalf("%d: %s %s, %s %s", i, one.ID(id), two.ID(id), hx, hy)
		}
		tokens[hx], tokens[one.ID(id).String()] = true, true
		if tokens[hy] || tokens[two.ID(id).String()] {
			t.Fatalf("%d: a token of one is one of the other", i)
		}
	}
	if same > 1 { // chance would be one in 2^16 or less
		t.Errorf("%d of %d addresses have the same pseudonym for both", same, n)
	}
}

func TestPolicies(t *testing.T) {
	for _, x := range []struct {
		p    share.Policy
		want string
	}{
		{share.Policy{Recipients: []share.Recipient{{Name: ""}}}, "name"},
		{share.Policy{Recipients: []share.Recipient{{Name: "a"}, {Name: "a"}}}, "twice"},
		{share.Policy{Recipients: []share.Recipient{{Name: "a", Classes: []string{"secrets"}}}}, "class"},
		{share.Policy{Recipients: []share.Recipient{{Name: "a", Token: "word"}}}, "SHA-256"},
		{share.Policy{Markings: []share.Marking{{TLP: tlp.Red}}}, "networks, names or rules"},
	} {
		if err := x.p.Validate(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v", x.p, err)
		}
	}
	p := policy(share.Recipient{Name: "a"})
	if _, err := p.Lens(&p.Recipients[0], []byte("short")); err == nil {
		t.Error("a short key is taken")
	}
}
