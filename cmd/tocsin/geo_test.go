package main

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

func writeCountries(t *testing.T, path, country string, built int64) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Countries", BuildEpoch: built, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.InsertRange(net.IPv4(203, 0, 113, 0), net.IPv4(203, 0, 113, 255), mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)}}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestGeoFlag: the intrusion's events and alerts say where its public address
// is and by which database.
func TestGeoFlag(t *testing.T) {
	path := filepath.Join(t.TempDir(), "countries.mmdb")
	writeCountries(t, path, "NL", 1_790_000_000)
	var out, errs bytes.Buffer
	scene := filepath.Join("..", "..", "testdata", "scenarios", "intrusion")
	code := execute(t.Context(), []string{"alerts", filepath.Join(scene, "border.pcap.zst"), "--assets", filepath.Join(scene, "assets.yml"), "--geo", path}, nil, &out, &errs)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	want := `{"country":"NL","database":"Countries of 2026-09-21T14:13:20Z","ip":"203.0.113.`
	if !strings.Contains(out.String(), want) {
		t.Errorf("no alert says %s", want)
	}
	if !strings.Contains(out.String(), `"geo":{"country_iso_code":"NL"}`) {
		t.Error("no alert has geo.country_iso_code")
	}
}

// TestGeoWatch: a database that was replaced is used; one that is broken is
// complained of once.
func TestGeoWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "countries.mmdb")
	writeCountries(t, path, "NL", 1_790_000_000)
	a := &atlas{paths: &[]string{path}}
	if _, err := a.enrichers(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var said strings.Builder
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { a.watch(ctx, 5*time.Millisecond, &guarded{&mu, &said}) })
	defer watching.Wait()
	defer stop()
	await := func(what string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			text := said.String()
			mu.Unlock()
			if strings.Contains(text, what) {
				return
			}
		}
		t.Fatalf("never said %q, but %q", what, said.String())
	}
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	await("the databases of before are still used: geo database " + path)
	writeCountries(t, path, "BE", 1_790_086_400)
	await("is now said by Countries of 2026-09-22T14:13:20Z")
	if p := a.geo.Place(netip.MustParseAddr("203.0.113.7")); p == nil || p.Country != "BE" {
		t.Errorf("found %+v", p)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(said.String(), "of before"); n != 1 {
		t.Errorf("complained %d times: %s", n, said.String())
	}
}

// guarded is a text that several goroutines write and read.
type guarded struct {
	mu   *sync.Mutex
	text *strings.Builder
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}
