package intel_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/all"
	"github.com/tocsin/tocsin/correlator/intel/warninglist"
)

// lists is a small list of each kind that is published, in the form in which
// it is published.
var lists = []struct {
	name, text string
	format     string
	entries    int
	bad        int
	want       map[string]string // value: how it is listed
}{
	{"drop.txt", "; Spamhaus DROP List\n198.51.100.0/24 ; SBL1\n203.0.113.0/25 ; SBL2\n", "plain", 2, 0,
		map[string]string{"198.51.100.9": "ipv4-addr 198.51.100.0/24 50 SBL1", "203.0.113.200": ""}},
	{"drop.json", `{"cidr":"198.51.100.0/24","sblid":"SBL1","rir":"arin"}` + "\n" + `{"type":"metadata","timestamp":1740000000,"size":1}` + "\n", "json", 1, 0,
		map[string]string{"198.51.100.9": "ipv4-addr 198.51.100.0/24 50 "}},
	{"array.json", `[{"ip":"203.0.113.5","score":80,"last_seen":"2026-02-01"}, 7, {"ip":"not one"}]`, "json", 1, 2,
		map[string]string{"203.0.113.5": "ipv4-addr 203.0.113.5 80 "}},
	{"iprep.list", "203.0.113.5,3,127\n198.51.100.0/24,1,10\n203.0.113.6,61,1\n", "iprep", 2, 1,
		map[string]string{"203.0.113.5": "ipv4-addr 203.0.113.5 100 category 3", "198.51.100.1": "ipv4-addr 198.51.100.0/24 7 category 1"}},
	{"feodo.csv", "################\n# Botnet C2, 1 entry #\n################\n\"first_seen_utc\",\"dst_ip\",\"dst_port\",\"c2_status\",\"last_online\",\"malware\"\n\"2026-01-02 03:04:05\",\"203.0.113.5\",\"443\",\"online\",\"2026-02-20\",\"Dridex\"\n", "csv", 1, 0,
		map[string]string{"203.0.113.5": "ipv4-addr 203.0.113.5 50 Dridex"}},
	{"urlhaus.csv", "# Dump\n#\n# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n\"1\",\"2026-01-01 00:00:00\",\"http://203.0.113.9:8080/a.bin?x=1\",\"online\",\"2026-01-02 00:00:00\",\"malware_download\",\"elf\",\"https://list.example/1\",\"anonymous\"\n", "csv", 1, 0,
		map[string]string{"http://203.0.113.9:8080/a.bin?x=1": "url http://203.0.113.9:8080/a.bin?x=1 50 malware_download", "http://203.0.113.9:8080/": ""}},
	{"threatfox.csv", "# \"first_seen_utc\",\"ioc_id\",\"ioc_value\",\"ioc_type\",\"threat_type\",\"malware_printable\",\"last_seen_utc\",\"confidence_level\",\"reference\"\n" +
		"\"2026-01-01 00:00:00\", \"1\", \"203.0.113.5:443\", \"ip:port\", \"botnet_cc\", \"Pikabot\", \"\", \"75\", \"None\"\n" +
		"\"2026-01-01 00:00:00\", \"2\", \"c2.example.net\", \"domain\", \"botnet_cc\", \"Pikabot\", \"\", \"90\", \"None\"\n" +
		"\"2026-01-01 00:00:00\", \"3\", \"d41d8cd98f00b204e9800998ecf8427e\", \"md5_hash\", \"payload\", \"x\", \"\", \"90\", \"None\"\n", "csv", 2, 1,
		map[string]string{"203.0.113.5": "ipv4-addr 203.0.113.5 75 Pikabot", "a.c2.example.net": "domain-name c2.example.net 90 Pikabot"}},
	{"sslbl.csv", "# Listingdate,SHA1,Listingreason\n2026-01-01 00:00:00,AA11111111111111111111111111111111111111,Gozi C&C\n", "csv", 1, 0,
		map[string]string{"aa11111111111111111111111111111111111111": "x509-certificate aa11111111111111111111111111111111111111 50 Gozi C&C"}},
	{"ja3.csv", "# ja3_md5,Firstseen,Lastseen,Listingreason\nb386946a5a44d1ddcc843bc75336dfce,2025-07-14 18:08:15,2026-02-27 20:42:54,Dridex\n", "csv", 1, 0,
		map[string]string{"b386946a5a44d1ddcc843bc75336dfce": "software b386946a5a44d1ddcc843bc75336dfce 50 Dridex"}},
	{"trail.txt", "# Reference: a report\nevil.example.org\n203.0.113.5:8080\nevil.example.com/gate.php\n", "plain", 3, 0,
		map[string]string{"203.0.113.5": "ipv4-addr 203.0.113.5 50 ", "http://evil.example.com/gate.php": "url http://evil.example.com/gate.php 50 ", "evil.example.com": ""}},
	{"misp.json", `{"Event":{"uuid":"u1","Tag":[{"name":"tlp:amber"}],
 "Attribute":[
  {"type":"ip-dst|port","value":"203.0.113.5|443","to_ids":true,"timestamp":"1767225600","comment":"C2"},
  {"type":"ip-dst","value":"203.0.113.6","to_ids":false},
  {"type":"domain|ip","value":"c2.example.net|203.0.113.7","to_ids":true},
  {"type":"md5","value":"d41d8cd98f00b204e9800998ecf8427e","to_ids":true}],
 "Object":[{"Attribute":[{"type":"ja3-fingerprint-md5","value":"b386946a5a44d1ddcc843bc75336dfce","to_ids":true,"timestamp":1767225600}]}],
 "info":"Campaign X"}}`, "misp", 4, 1,
		map[string]string{"203.0.113.5": "ipv4-addr 203.0.113.5 50 C2", "203.0.113.6": "", "203.0.113.7": "ipv4-addr 203.0.113.7 50 Campaign X", "c2.example.net": "domain-name c2.example.net 50 Campaign X", "b386946a5a44d1ddcc843bc75336dfce": "software b386946a5a44d1ddcc843bc75336dfce 50 Campaign X"}},
	{"bundle.json", `{"type":"bundle","id":"bundle--1","objects":[
 {"type":"indicator","id":"indicator--1","pattern_type":"stix","pattern":"[ipv4-addr:value = '198.51.100.1/32' OR ipv4-addr:value = '203.0.113.33/32'] OR [domain-name:value IN ('c2.example.net', 'it\\'s.example.org')]","modified":"2026-01-01T00:00:00.000Z","valid_from":"2026-01-01T00:00:00Z","confidence":70,"name":"X","object_marking_refs":["marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"]},
 {"type":"indicator","id":"indicator--2","pattern_type":"stix","pattern":"[ipv4-addr:value = '203.0.113.8' AND network-traffic:dst_port = 443]","modified":"2026-01-01T00:00:00Z"},
 {"type":"indicator","id":"indicator--3","pattern_type":"stix","pattern":"[url:value = 'http://EVIL.example.com:80/x']","modified":"2026-01-01T00:00:00Z","valid_until":"2026-02-01T00:00:00Z"},
 {"type":"indicator","id":"indicator--4","pattern_type":"stix","pattern":"[ipv4-addr:value = '203.0.113.44']","modified":"2026-01-01T00:00:00Z"},
 {"type":"indicator","id":"indicator--4","pattern_type":"stix","pattern":"[ipv4-addr:value = '203.0.113.44']","modified":"2026-01-02T00:00:00Z","revoked":true},
 {"type":"indicator","id":"indicator--5","pattern_type":"sigma","pattern":"title: x","modified":"2026-01-01T00:00:00Z"}]}`, "stix", 4, 3,
		map[string]string{"198.51.100.1": "ipv4-addr 198.51.100.1 70 X", "203.0.113.33": "ipv4-addr 203.0.113.33 70 X", "203.0.113.8": "", "203.0.113.44": "", "c2.example.net": "domain-name c2.example.net 70 X", "http://evil.example.com/x": ""}},
}

func TestFormats(t *testing.T) {
	for _, l := range lists {
		t.Run(l.name, func(t *testing.T) {
			list := file(t, l.name, l.text)
			table, reports, err := load(list)
			if err != nil {
				t.Fatal(err)
			}
			if r := reports[0]; r.Format != l.format || r.Entries != l.entries || r.Bad != l.bad {
				t.Errorf("%s with %d entries and %d bad, want %s, %d and %d: %v", r.Format, r.Entries, r.Bad, l.format, l.entries, l.bad, r.Errors)
			}
			for value, want := range l.want {
				if got := look(table, value, at); got != want {
					t.Errorf("%s: %q, want %q", value, got, want)
				}
			}
		})
	}
}

// look asks a table for anything.
func look(table *intel.Table, value string, at time.Time) string {
	var v intel.Verdict
	var ok bool
	if a, err := netip.ParseAddr(value); err == nil {
		v, ok = table.Address(a, at)
	} else if strings.Contains(value, "://") {
		v, ok = table.URL(value, at)
	} else if strings.Contains(value, ".") {
		v, ok = table.Domain(value, at)
	} else if v, ok = table.Fingerprint(intel.Client, value, at); !ok {
		v, ok = table.Fingerprint(intel.Certificate, value, at)
	}
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s %s %d %s", v.Type, v.Value, v.Confidence, v.Description)
}

// TestStated checks what a list says beside the value.
func TestStated(t *testing.T) {
	table, _, err := load(file(t, "misp.json", lists[slices.IndexFunc(lists, func(l struct {
		name, text string
		format     string
		entries    int
		bad        int
		want       map[string]string
	}) bool {
		return l.name == "misp.json"
	})].text))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := table.Address(netip.MustParseAddr("203.0.113.5"), at)
	if v.TLP != "AMBER" || v.Reference != "u1" || !v.Seen.Equal(time.Unix(1767225600, 0)) {
		t.Errorf("%+v", v.Indicator)
	}
}

func TestAgeAndExpiry(t *testing.T) {
	l := file(t, "aging.csv", "ip,confidence,last_seen,valid_until\n203.0.113.1,80,2026-01-01,\n203.0.113.2,80,,2026-01-31\n203.0.113.3,80,,\n203.0.113.4,8,2026-01-01,\n")
	l.HalfLife = 30 * 24 * time.Hour
	table, _, err := load(l)
	if err != nil {
		t.Fatal(err)
	}
	day := func(n int) time.Time { return time.Date(2026, 1, 1+n, 0, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		addr string
		day  int
		want int
	}{
		{"203.0.113.1", -10, 80}, {"203.0.113.1", 0, 80}, {"203.0.113.1", 15, 60}, {"203.0.113.1", 30, 40}, {"203.0.113.1", 60, 20}, {"203.0.113.1", 90, 10}, {"203.0.113.1", 91, 0}, {"203.0.113.1", 4000, 0},
		{"203.0.113.2", 29, 80}, {"203.0.113.2", 30, 0},
		{"203.0.113.3", 4000, 80},
		{"203.0.113.4", 0, 8},
	} {
		v, _ := table.Address(netip.MustParseAddr(c.addr), day(c.day))
		if v.Confidence != c.want {
			t.Errorf("%s on day %d: confidence %d, want %d", c.addr, c.day, v.Confidence, c.want)
		}
	}
}

// TestVerdict joins what several lists say of an address and its networks.
func TestVerdict(t *testing.T) {
	a := file(t, "a.csv", "ip,confidence,tlp,description\n203.0.113.0/24,90,GREEN,bad network\n203.0.113.7,50,,\n")
	b := file(t, "b.csv", "ip,confidence,tlp\n203.0.113.7,60,amber\n203.0.0.0/16,10,\n")
	c := file(t, "c.csv", "ip,confidence\n203.0.113.7,100\n")
	table, _, err := load(a, b)
	if err != nil {
		t.Fatal(err)
	}
	v, ok := table.Address(netip.MustParseAddr("203.0.113.7"), at)
	if !ok || v.Value != "203.0.113.7" || v.Provider != "b" || v.Confidence != 80 || v.TLP != "AMBER" {
		t.Errorf("%+v, want b's with confidence 1-(1-0.5)(1-0.6) = 80, AMBER", v.Indicator)
	}
	var said []string
	for _, c := range v.Claims() {
		said = append(said, fmt.Sprint(c.Provider, " ", c.Value, " ", c.Confidence))
	}
	if want := []string{"a 203.0.113.7 50", "b 203.0.113.7 60"}; !slices.Equal(said, want) {
		t.Errorf("claims %q, want %q: a list counts once, with the narrowest it has", said, want)
	}
	if v, _ := table.Address(netip.MustParseAddr("203.0.113.8"), at); v.Value != "203.0.113.0/24" || v.Confidence != 91 || len(v.Claims()) != 2 {
		t.Errorf("%+v of %d claims", v.Indicator, len(v.Claims()))
	}
	table, _, err = load(a, b, c)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := table.Address(netip.MustParseAddr("203.0.113.7"), at); v.Confidence != 100 || v.Provider != "c" {
		t.Errorf("%+v, want c's, which is certain", v.Indicator)
	}
}

const resolvers = `{"name":"Public resolvers","type":"string","list":["203.0.113.53","2001:db8::53"]}`
const deliverers = `{"name":"Content deliverers","type":"cidr","list":["198.51.100.0/24"]}`
const popular = `{"name":"Popular names","type":"hostname","list":[".example.com"]}`

func TestWarninglists(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.json": resolvers, "b.json": deliverers, "c.json": popular} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	warnings, err := warninglist.Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	b := intel.NewBuilder()
	b.Refuse(warnings.Reason)
	reports, err := b.Load([]intel.List{file(t, "list.txt", "203.0.113.53\n203.0.113.54\n198.51.100.7\n198.51.0.0/16\nwww.example.com\nexample.org\n")}, all.Formats())
	if err != nil {
		t.Fatal(err)
	}
	if r := reports[0]; r.Entries != 3 || r.Left != 3 || r.Bad != 0 || !strings.Contains(r.Errors[0].Error(), "list.txt:1: 203.0.113.53 is left out: it is on the warninglist Public resolvers") {
		t.Errorf("%+v", r)
	}
	for value, listed := range map[string]bool{"203.0.113.53": false, "203.0.113.54": true, "198.51.99.7": true, "www.example.com": false, "example.org": true} {
		if got := look(b.Table(), value, at) != ""; got != listed {
			t.Errorf("%s: listed %v", value, got)
		}
		b = intel.NewBuilder()
		b.Refuse(warnings.Reason)
		if _, err := b.Load([]intel.List{file(t, "list.txt", "203.0.113.53\n203.0.113.54\n198.51.100.7\n198.51.0.0/16\nwww.example.com\nexample.org\n")}, all.Formats()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFolder reads the folder of a MISP feed.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"manifest.json": `{"u1":{"info":"x"}}`, "hashes.csv": "x,u1\n",
		"u1.json": `{"Event":{"info":"x","Attribute":[{"type":"ip-src","value":"203.0.113.1","to_ids":true}]}}`,
		"u2.json": `{"Event":{"info":"y","Attribute":[{"type":"ip-src","value":"203.0.113.2","to_ids":true}]}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	table, reports, err := load(intel.List{Provider: "feed", Path: dir})
	if err != nil || reports[0].Format != "misp" || table.Len() != 2 {
		t.Errorf("%+v %v", reports, err)
	}
}

// TestCorpusLists reads published lists.
func TestCorpusLists(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS names no folder of foreign data")
	}
	b := intel.NewBuilder()
	warnings, err := warninglist.Load([]string{filepath.Join(corpus, "misp-warninglists")})
	if err != nil {
		t.Fatal(err)
	}
	b.Refuse(warnings.Reason)
	for _, folder := range []string{"ipsum", "maltrail"} {
		files, err := filepath.Glob(filepath.Join(corpus, folder, "*.txt"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no lists of %s: %v", folder, err)
		}
		for _, f := range files {
			reports, err := b.Load([]intel.List{{Path: f}}, all.Formats())
			if err != nil {
				t.Error(err)
				continue
			}
			r := reports[0]
			t.Logf("%s: %s, %d entries, %d left out, %d bad", filepath.Base(f), r.Format, r.Entries, r.Left, r.Bad)
			if r.Entries == 0 {
				t.Errorf("%s: of %d lines none was taken", f, r.Bad)
			}
			for _, e := range r.Errors {
				// Trails of malware have paths without a host, too.
				var left *intel.Embarrassing
				if !errors.As(e.Err, &left) && !strings.HasPrefix(e.Err.Error(), `"/`) {
					t.Error(e)
				}
			}
		}
	}
	stix, err := filepath.Glob(filepath.Join(corpus, "stix2", "examples", "*.json"))
	if err != nil || len(stix) == 0 {
		t.Fatalf("no STIX examples: %v", err)
	}
	for _, f := range stix {
		reports, err := b.Load([]intel.List{{Path: f}}, all.Formats())
		if err != nil || reports[0].Format != "stix" {
			t.Errorf("%s: %v %v", f, reports, err)
			continue
		}
		t.Logf("%s: %d entries, %v", filepath.Base(f), reports[0].Entries, reports[0].Errors)
	}
}
