package blocklist_test

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator/intel"
	intelall "github.com/tocsin/tocsin/correlator/intel/all"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/share/blocklist"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func alert(verdict string, severity int, last time.Time, sources ...string) *event.Alert {
	a := &event.Alert{Rule: event.Rule{Name: "=Login, from outside"}, Severity: severity, Last: last, Triage: event.Triage{Verdict: verdict}}
	for _, s := range sources {
		a.Sources = append(a.Sources, netip.MustParseAddr(s))
	}
	return a
}

func list() []blocklist.Entry {
	b := blocklist.New(blocklist.Rules{Now: now, Valid: 24 * time.Hour, Keep: func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.1") }})
	b.Add(alert("true_positive", 80, now.Add(-time.Hour), "198.51.100.66", "10.0.0.1", "203.0.113.1", "fe80::1"))
	b.Add(alert("true_positive", 40, now.Add(-2*time.Hour), "198.51.100.66"))
	b.Add(alert("true_positive", 100, now.Add(-time.Hour), "2001:db8:66::1"))
	b.Add(alert("true_positive", 90, now.Add(-25*time.Hour), "198.51.100.67")) // expired
	b.Add(alert("false_positive", 90, now, "198.51.100.68"))
	b.Add(alert("", 90, now, "198.51.100.69"))
	listed := alert("true_positive", 50, now, "10.0.0.2")
	listed.Indicator.Value = "192.0.2.99"
	b.Add(listed)
	return b.Entries()
}

func TestOnlyWhatWasJudged(t *testing.T) {
	var got []string
	for _, e := range list() {
		got = append(got, e.Address.String())
	}
	if want := "192.0.2.99 198.51.100.66 2001:db8:66::1"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	if e := list()[1]; e.Confidence != 80 || e.Alerts != 2 || !e.Until.Equal(now.Add(23*time.Hour)) {
		t.Errorf("%+v", e)
	}
}

func written(t *testing.T, format string, list []blocklist.Entry) string {
	t.Helper()
	for _, f := range blocklist.Formats() {
		if f.Name == format {
			var b bytes.Buffer
			if err := f.Write(&b, now, list); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
	}
	t.Fatal(format)
	return ""
}

// TestReadBack loads the lists as reputation.
func TestReadBack(t *testing.T) {
	for format, name := range map[string]string{"plain": "a.txt", "csv": "a.csv", "iprep": "a.list"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(written(t, format, list())), 0o600); err != nil {
			t.Fatal(err)
		}
		b := intel.NewBuilder()
		if _, err := b.Load([]intel.List{{Path: path}}, intelall.Formats()); err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		table := b.Table()
		for _, e := range list() {
			if _, ok := table.Address(e.Address, now); !ok {
				t.Errorf("%s: %s is not found", format, e.Address)
			}
		}
		if _, ok := table.Address(netip.MustParseAddr("198.51.100.69"), now); ok {
			t.Errorf("%s: what nobody judged is listed", format)
		}
	}
	if text := written(t, "iprep", list()); !strings.Contains(text, "198.51.100.66,1,101\n") || !strings.Contains(text, "2001:db8:66::1,1,127\n") {
		t.Error(text)
	}
	if text := written(t, "csv", list()); !strings.Contains(text, `"'=Login, from outside"`) {
		t.Error(text)
	}
}

// TestNftables loads the table twice into the kernel, in a network namespace of
// its own.
func TestNftables(t *testing.T) {
	nft := os.Getenv("TOCSIN_NFT")
	if nft == "" {
		t.Skip("TOCSIN_NFT is not set; make test sets it")
	}
	for name, entries := range map[string][]blocklist.Entry{"full": list(), "empty": nil} {
		path := filepath.Join(t.TempDir(), "list.nft")
		if err := os.WriteFile(path, []byte(written(t, "nft", entries)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", nft+" -f "+path+" && "+nft+" -f "+path+" && "+nft+" list ruleset")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
			continue
		}
		for _, e := range entries {
			if !strings.Contains(string(out), e.Address.String()+" timeout") {
				t.Errorf("%s: the kernel does not have %s\n%s", name, e.Address, out)
			}
		}
	}
}
