package misp_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator/intel"
	intelall "github.com/tocsin/tocsin/correlator/intel/all"
	"github.com/tocsin/tocsin/share/misp"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/tlp"
)

// TestReadBack writes an event and loads it as a list of reputation.
func TestReadBack(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	origin, c2, web := netip.MustParseAddr("198.51.100.66"), netip.MustParseAddr("2001:db8:66::1"), netip.MustParseAddr("203.0.113.10")
	tr := &trace.Trace{
		Seed: "x", Title: "an attack", From: at, To: at, Origin: origin, Target: web, Path: []trace.Hop{{From: origin, To: web, Start: at, End: at}},
		Nodes: []trace.Node{{Address: origin, Role: "origin", First: at, Last: at}, {Address: c2, Role: "c2", First: at, Last: at}, {Address: web, Role: "target"}},
		Steps: []trace.Step{{Time: at, Text: "a step", Severity: 85}},
	}
	var b, again bytes.Buffer
	for _, w := range []*bytes.Buffer{&b, &again} {
		if err := misp.Write(w, tr, tlp.AmberStrict); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Error("two events of one trace differ")
	}
	for _, want := range []string{`"tlp:amber+strict"`, `"threat_level_id": "1"`, `"a step"`} {
		if !bytes.Contains(b.Bytes(), []byte(want)) && !bytes.Contains(b.Bytes(), []byte(want[1:len(want)-1])) {
			t.Errorf("the event lacks %s", want)
		}
	}
	path := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	builder := intel.NewBuilder()
	if _, err := builder.Load([]intel.List{{Path: path}}, intelall.Formats()); err != nil {
		t.Fatal(err)
	}
	table := builder.Table()
	for a, want := range map[netip.Addr]bool{origin: true, c2: true, web: false} {
		if i, ok := table.Address(a, at); ok != want || ok && i.TLP == "" {
			t.Errorf("%s is listed: %v, %+v", a, ok, i)
		}
	}
}
