package packet

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommunityID(t *testing.T) {
	f := func(proto uint8, src, dst string, srcPort, dstPort uint16, want string) {
		t.Helper()
		if got := CommunityID(netip.MustParseAddr(src), netip.MustParseAddr(dst), proto, srcPort, dstPort); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	// The specification's examples.
	f(6, "1.2.3.4", "5.6.7.8", 1122, 3344, "1:wCb3OG7yAFWelaUydu0D+125CLM=")
	f(6, "5.6.7.8", "1.2.3.4", 3344, 1122, "1:wCb3OG7yAFWelaUydu0D+125CLM=")
	f(17, "1.2.3.4", "5.6.7.8", 1122, 3344, "1:0Mu9InQx6z4ZiCZM/7HXi2WMhOg=")
	f(132, "5.6.7.8", "1.2.3.4", 3344, 1122, "1:EKt4MsxuyaE6mL+hmrEkQ9csDD8=")
	f(1, "1.2.3.4", "5.6.7.8", 8, 0, "1:crodRHL2FEsHjbv3UkRrfbs4bZ0=")
	f(1, "5.6.7.8", "1.2.3.4", 0, 0, "1:crodRHL2FEsHjbv3UkRrfbs4bZ0=") // by type and code
	f(1, "5.6.7.8", "1.2.3.4", 0, 8, "1:crodRHL2FEsHjbv3UkRrfbs4bZ0=") // by type and the type it answers
	f(1, "1.2.3.4", "5.6.7.8", 11, 0, "1:f/YiSyWqczrTgfUCZlBUnvHRcPk=")
	f(58, "fe80:1:203:405:607:809:a0b:c0d", "fe80:1011:1213:1415:1617:1819:1a1b:1c1d", 128, 0, "1:0bf7hyMJUwt3fMED7z8LIfRpBeo=")
	f(58, "fe80:1011:1213:1415:1617:1819:1a1b:1c1d", "fe80:1:203:405:607:809:a0b:c0d", 129, 0, "1:0bf7hyMJUwt3fMED7z8LIfRpBeo=")
	f(58, "fe80:1:203:405:607:809:a0b:c0d", "fe80:1011:1213:1415:1617:1819:1a1b:1c1d", 146, 0, "1:fYC8+pz24E+EhANP1EZhpX0Dw10=")
	f(46, "5.6.7.8", "1.2.3.4", 0, 0, "1:ikv3kmf89luf73WPz1jOs49S768=")

	if got := CommunityID(netip.Addr{}, netip.MustParseAddr("1.2.3.4"), 6, 1, 2); got != "" {
		t.Errorf("without an address: %q", got)
	}
}

// TestCommunityIDCorpus verifies all reference values for seed 0.
func TestCommunityIDCorpus(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	n := 0
	for _, name := range []string{"baseline_deflt.json", "baseline_nob64.json"} {
		b, err := os.ReadFile(filepath.Join(corpus, "community-id", "expected", name))
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Proto        uint8
			Saddr, Daddr netip.Addr
			Sport, Dport uint16
			Communityid  string
		}
		if err := json.Unmarshal(b, &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			n++
			got := CommunityID(c.Saddr, c.Daddr, c.Proto, c.Sport, c.Dport)
			if name == "baseline_nob64.json" {
				raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(got, "1:"))
				if err != nil {
					t.Fatal(err)
				}
				got = "1:" + hex.EncodeToString(raw)
			}
			if got != c.Communityid {
				t.Errorf("%s: %+v: got %s", name, c, got)
			}
		}
	}
	if n < 46 {
		t.Errorf("only %d reference values", n)
	}
}

func BenchmarkCommunityID(b *testing.B) {
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.2")
	b.ReportAllocs()
	for b.Loop() {
		CommunityID(src, dst, ProtoTCP, 12345, 443)
	}
}
