package intel_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/all"
)

var at = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func load(lists ...intel.List) (*intel.Table, []intel.Report, error) {
	b := intel.NewBuilder()
	reports, err := b.Load(lists, all.Formats())
	if err != nil {
		return nil, nil, err
	}
	return b.Table(), reports, nil
}

func file(t testing.TB, name, text string) intel.List {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return intel.List{Path: path}
}

const plainList = `# two columns: address, lists that hold it
203.0.113.7	9
198.51.100.0/24 ; a network
2001:db8:bad::/48
.evil.example.com
*.Bücher.example
`

const csvList = "\ufefftype;value;confidence;description\n" +
	"# comment\n" +
	"ipv4-addr;203.0.113.7;60;the same address\n" +
	`domain-name;"c2.example.net";95;"quoted; text"` + "\n"

func TestLookup(t *testing.T) {
	table, reports, err := load(file(t, "a.txt", plainList), file(t, "b.csv", csvList))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a plain 5 0", "b csv 2 0"} {
		r := reports[i]
		if got := fmt.Sprintln(r.List.Provider, r.Format, r.Entries, r.Bad); strings.TrimSpace(got) != want {
			t.Errorf("report %q, want %q: %v", got, want, r.Errors)
		}
	}
	for addr, want := range map[string]string{
		"203.0.113.7":             "203.0.113.7 a 96",
		"::ffff:203.0.113.7":      "203.0.113.7 a 96",
		"203.0.113.8":             "",
		"198.51.100.200":          "198.51.100.0/24 a 50",
		"2001:db8:bad:1::5":       "2001:db8:bad::/48 a 50",
		"2001:db8:bae::":          "",
		"evil.example.com":        "evil.example.com a 50",
		"a.b.evil.example.com.":   "evil.example.com a 50",
		"notevil.example.com":     "",
		"x.xn--bcher-kva.example": "xn--bcher-kva.example a 50",
		"c2.example.net":          "c2.example.net b 95",
		"example.net":             "",
	} {
		var ind intel.Verdict
		var ok bool
		if a, err := netip.ParseAddr(addr); err == nil {
			ind, ok = table.Address(a, at)
		} else {
			ind, ok = table.Domain(addr, at)
		}
		got := ""
		if ok {
			got = fmt.Sprintf("%s %s %d", ind.Value, ind.Provider, ind.Confidence)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

func TestBadLinesAreNamed(t *testing.T) {
	l := file(t, "bad.txt", "203.0.113.7\nnot a thing\n10.0.0.0/8\n0.0.0.0/0\ncom\nco.uk\nplain\n198.51.100.1 many\n192.0.2.1\n")
	table, reports, err := load(l)
	if err != nil {
		t.Fatal(err)
	}
	if table.Len() != 2 || reports[0].Entries != 2 || reports[0].Bad != 7 {
		t.Errorf("%d entries in the table, report %+v", table.Len(), reports[0])
	}
	for i, want := range []string{":2: ", ":3: ", ":4: ", ":5: ", ":6: ", ":7: ", ":8: "} {
		if got := reports[0].Errors[i].Error(); !strings.Contains(got, "bad.txt"+want) {
			t.Errorf("error %q does not name line %s", got, want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	for name, text := range map[string]string{"binary": "\x00\x01\x02", "long": strings.Repeat("x", intel.MaxLine+1)} {
		if _, _, err := load(file(t, name, text)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := load(intel.List{Path: "no/such/list"}); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestOrderOfListsDoesNotMatter(t *testing.T) {
	a, b := file(t, "a.txt", plainList), file(t, "b.csv", csvList)
	ab, _, err := load(a, b)
	if err != nil {
		t.Fatal(err)
	}
	ba, _, err := load(b, a)
	if err != nil {
		t.Fatal(err)
	}
	if ab.Hash() != ba.Hash() {
		t.Error("the table depends on the order of its lists")
	}
}

// TestAgainstTwin checks look-ups against walking the list of prefixes.
func TestAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := intel.NewBuilder()
		var twin []netip.Prefix
		for _, v := range rapid.SliceOfN(rapid.Uint32(), 1, 50).Draw(t, "nets") {
			addr := netip.AddrFrom4([4]byte{198, byte(v >> 16 & 3), byte(v >> 8 & 3), byte(v & 3)})
			p := netip.PrefixFrom(addr, 8+int(v>>24)%25).Masked()
			if b.Add(intel.List{Provider: "x"}, intel.Raw{Value: p.String()}) == nil {
				twin = append(twin, p)
			}
		}
		table := b.Table()
		for _, v := range rapid.SliceOfN(rapid.Uint32(), 1, 50).Draw(t, "addrs") {
			addr := netip.AddrFrom4([4]byte{198, byte(v >> 16 & 3), byte(v >> 8 & 3), byte(v & 3)})
			var want netip.Prefix
			for _, p := range twin {
				if p.Contains(addr) && p.Bits() > want.Bits() {
					want = p
				}
			}
			ind, ok := table.Address(addr, at)
			if ok != want.IsValid() || ok && strings.TrimSuffix(want.String(), "/32") != ind.Value {
				t.Fatalf("%s: %v %v, want %v", addr, ind.Value, ok, want)
			}
		}
	})
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table, _, err := load(file(t, "a.txt", plainList))
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("203.0.113.9")
	if n := testing.AllocsPerRun(100, func() {
		table.Address(addr, at)
		table.Domain("www.b.example.com", at)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(plainList))
	f.Add([]byte(csvList))
	for _, l := range lists {
		f.Add([]byte(l.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		table, reports, err := load(file(t, "list", string(text)))
		if err == nil && table.Len() > reports[0].Entries {
			t.Errorf("%d entries in the table, %d taken", table.Len(), reports[0].Entries)
		}
	})
}
