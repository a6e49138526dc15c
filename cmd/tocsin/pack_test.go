package main

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/trace/pack"
)

// TestPackageOpensElsewhere makes a package of the recorded intrusion and gives
// its parts to tools of others: packets to tshark, which must count what the
// package says of each session; STIX to the validator; the manifest and its
// signature to sha256sum and openssl. make test installs them.
func TestPackageOpensElsewhere(t *testing.T) {
	tshark, validator := os.Getenv("TOCSIN_TSHARK"), os.Getenv("TOCSIN_STIX_VALIDATOR")
	if tshark == "" || validator == "" {
		t.Skip("TOCSIN_TSHARK and TOCSIN_STIX_VALIDATOR are not set; make test sets them")
	}
	dir := t.TempDir()
	data, archive := filepath.Join(dir, "data"), filepath.Join(dir, "case.zip")
	captures, err := filepath.Glob(filepath.Join(scenarios, "intrusion", "*.pcap*"))
	if err != nil || len(captures) != 3 {
		t.Fatalf("%v, %v", captures, err)
	}
	var reads []string
	for _, c := range captures {
		reads = append(reads, "-r", c)
	}
	do := func(args ...string) {
		t.Helper()
		var errs bytes.Buffer
		if code := execute(t.Context(), args, nil, io.Discard, &errs); code != 0 {
			t.Fatalf("tocsin %v: exit %d\n%s", args, code, &errs)
		}
	}
	do(append([]string{"run", "--once", "--data", data, "--assets", filepath.Join(scenarios, "intrusion", "assets.yml"), "--intel", filepath.Join(scenarios, "intrusion", "reputation.csv")}, reads...)...)
	do(append([]string{"trace", "10.50.0.11", "--data", data, "--format", "package", "-o", archive}, reads...)...)

	z, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var sessions []byte
	for _, f := range z.File {
		body, err := readEntry(f)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == "sessions.csv" {
			sessions = body
		}
		path := filepath.Join(dir, "case", filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := csv.NewReader(bytes.NewReader(sessions)).ReadAll()
	if err != nil || len(rows) < 100 {
		t.Fatalf("%d sessions, %v", len(rows), err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	stated := map[string]uint64{} // packets by sensor, addresses and ports
	for _, row := range rows[1:] {
		n, err := strconv.ParseUint(row[column["packets_in_package"]], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if seen := row[column["packets_seen"]]; seen != row[column["packets_in_package"]] {
			t.Errorf("the sensor saw %s packets of flow %s, the package has %d", seen, row[column["event"]], n)
		}
		if row[column["transport"]] != "tcp" {
			continue
		}
		stated[peers(row[column["sensor"]], row[column["source"]], row[column["source_port"]], row[column["destination"]], row[column["destination_port"]])] += n
	}
	out := output(t, tshark, "-r", filepath.Join(dir, "case", "packets.pcapng"), "-Y", "tcp and not icmp", "-T", "fields",
		"-e", "frame.interface_name", "-e", "ip.src", "-e", "ipv6.src", "-e", "tcp.srcport", "-e", "ip.dst", "-e", "ipv6.dst", "-e", "tcp.dstport")
	counted := map[string]uint64{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		counted[peers(f[0], f[1]+f[2], f[3], f[4]+f[5], f[6])]++
	}
	if len(counted) < 100 {
		t.Errorf("tshark sees %d connections", len(counted))
	}
	for k, n := range stated {
		if counted[k] != n {
			t.Errorf("%s: the package says %d packets, tshark %d", k, n, counted[k])
		}
	}
	if out := output(t, validator, "--version", "2.1", filepath.Join(dir, "case", "case.stix.json")); !strings.Contains(out, "STIX JSON: Valid") {
		t.Errorf("the validator says\n%s", out)
	}
	for _, command := range []string{
		"sha256sum --quiet -c MANIFEST.sha256",
		"openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in MANIFEST.sha256 -sigfile MANIFEST.sig",
	} {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = filepath.Join(dir, "case")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := pack.Verify(f, info.Size(), nil); err != nil || !v.OK {
		t.Errorf("%v %+v", err, v)
	}
}

// peers names a connection, whichever side is told first.
func peers(sensor, a, aport, b, bport string) string {
	x, y := a+" "+aport, b+" "+bport
	if y < x {
		x, y = y, x
	}
	return sensor + ": " + x + " – " + y
}

func readEntry(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, &errs)
	}
	return string(out)
}
