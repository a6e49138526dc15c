package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/servers"
)

// TestStoresAgree keeps the recorded intrusion in both stores, and asks both
// the same.
func TestStoresAgree(t *testing.T) {
	url := servers.ElasticsearchURL(t)
	prefix := "agree" + strings.ToLower(filepath.Base(t.TempDir()))
	t.Cleanup(func() { servers.ForgetIndices(t, url, prefix) })
	data := filepath.Join(t.TempDir(), "data")
	stores := [][]string{{"--data", data}, {"--elasticsearch", url, "--elasticsearch-prefix", prefix}}
	for _, where := range stores {
		args := []string{"run", "--once"}
		for _, tap := range taps(t, "intrusion") {
			args = append(args, "-r", tap)
		}
		run(t, 0, slices.Concat(args, known("intrusion"), where)...)
	}
	var alert, attacker string
	for line := range strings.Lines(run(t, 0, append([]string{"search", "event.kind: alert and event.severity >= 80", "--csv"}, stores[0]...)...)) {
		cells := strings.Split(line, ",")
		alert, attacker = cells[1], cells[4] // of the last
	}
	for _, question := range [][]string{
		{"trace", alert, "--format", "json"},
		{"trace", alert, "--format", "stix"},
		{"trace", attacker, "--format", "json"},
		{"ledger", "--minutes"},
		{"search", "event.kind: alert", "--json", "--limit", "0"},
		{"search", "", "--json", "--limit", "0"},
		{"search", "ics.operation: write and not destination.ip: 10.0.0.0/24", "--json", "--newest"},
		{"search", "ics.objects.value > 100", "--json"},
		{"search", "dns.question.name: *.example* or tls.server.not_after > 2026", "--json"},
		{"search", "modbus", "--csv", "--limit", "50"},
		{"search", "_exists_:modbus.device_id or http.*: *", "--json", "--limit", "0"},
	} {
		var want, have bytes.Buffer
		for i, out := range []*bytes.Buffer{&want, &have} {
			var errs bytes.Buffer
			if code := execute(context.Background(), slices.Concat(question, stores[i]), strings.NewReader(""), out, &errs); code != 0 {
				t.Fatalf("tocsin %s: exit %d: %s", strings.Join(slices.Concat(question, stores[i]), " "), code, errs.String())
			}
		}
		if !bytes.Equal(want.Bytes(), have.Bytes()) {
			t.Errorf("tocsin %s: %d bytes of the embedded store, %d of Elasticsearch; %s", strings.Join(question, " "), want.Len(), have.Len(), difference(want.String(), have.String()))
		}
	}
	// To read the captures again changes nothing.
	before := run(t, 0, slices.Concat([]string{"search", "", "--json", "--limit", "0"}, stores[1])...)
	args := []string{"run", "--once"}
	for _, tap := range taps(t, "intrusion") {
		args = append(args, "-r", tap)
	}
	run(t, 0, slices.Concat(args, known("intrusion"), stores[1])...)
	if after := run(t, 0, slices.Concat([]string{"search", "", "--json", "--limit", "0"}, stores[1])...); after != before {
		t.Error("a second replay changed what is stored: " + difference(before, after))
	}
}

// TestExpire forgets a day of both stores.
func TestExpire(t *testing.T) {
	url := servers.ElasticsearchURL(t)
	prefix := "expire" + strings.ToLower(filepath.Base(t.TempDir()))
	t.Cleanup(func() { servers.ForgetIndices(t, url, prefix) })
	run(t, exitUsage, "expire")
	run(t, exitUsage, "expire", "--keep", "24h", "--before", "2023-11-15")
	var said []string
	for _, where := range [][]string{{"--data", filepath.Join(t.TempDir(), "data")}, {"--elasticsearch", url, "--elasticsearch-prefix", prefix}} {
		capture := filepath.Join(t.TempDir(), "good.pcap")
		if err := os.WriteFile(capture, pcapFile(1, syn(1), syn(2), syn(3)), 0o600); err != nil { // of 14 November 2023
			t.Fatal(err)
		}
		run(t, 0, slices.Concat([]string{"run", "--once", "-r", capture}, where)...)
		said = append(said, run(t, 0, slices.Concat([]string{"expire", "--before", "2023-11-14T23:00:00Z"}, where)...))
		run(t, 0, slices.Concat([]string{"search", "192.0.2.1"}, where)...)
		said = append(said, run(t, 0, slices.Concat([]string{"expire", "--keep", "24h"}, where)...))
		run(t, exitFailed, slices.Concat([]string{"search", "192.0.2.1"}, where)...)
	}
	if !slices.Equal(said[:2], said[2:]) || said[0] != "deleted 0 events before 2023-11-14T00:00:00Z\n" || strings.HasPrefix(said[1], "deleted 0 ") {
		t.Errorf("%q", said)
	}
}

func difference(want, have string) string {
	w, h := strings.Split(want, "\n"), strings.Split(have, "\n")
	for i := range min(len(w), len(h)) {
		if w[i] != h[i] {
			return "first difference\nwant " + w[i] + "\nhave " + h[i]
		}
	}
	return "one ends before the other"
}

func TestStoreFlags(t *testing.T) {
	secrets := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secrets, []byte("hush-hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--data", "x", "--elasticsearch", "http://127.0.0.1:9"}, exitUsage, "want one store"},
		{[]string{"--elasticsearch", "127.0.0.1:9"}, exitFailed, "want a URL such as https://HOST:9200"},
		{[]string{"--elasticsearch", "http://me:hush-hush@127.0.0.1:9"}, exitFailed, "connection refused"},
		{[]string{"--elasticsearch", "http://127.0.0.1:9", "--elasticsearch-user", "me", "--elasticsearch-password-file", secrets}, exitFailed, "connection refused"},
		{[]string{"--elasticsearch", "http://127.0.0.1:9", "--elasticsearch-password-file", secrets + "s"}, exitFailed, "no such file"},
		{[]string{"--elasticsearch", "http://127.0.0.1:9", "--elasticsearch-ca", secrets}, exitFailed, "not PEM"},
	} {
		var out, errs bytes.Buffer
		code := execute(context.Background(), append([]string{"search", "x"}, c.args...), strings.NewReader(""), &out, &errs)
		if code != c.code || !strings.Contains(errs.String(), c.says) || strings.Contains(errs.String(), "hush-hush") || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%v: exit %d, %s", c.args, code, errs.String())
		}
	}
}
