package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/cable"
	"github.com/tocsin/tocsin/sensor/acceptance"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// wrong are the checks of a tap that are not well.
func wrong(r *acceptance.Report) (list []string) {
	for _, v := range r.Verdicts {
		if v.Level == acceptance.Warning || v.Level == acceptance.Fault {
			list = append(list, v.Check)
		}
	}
	return list
}

func readExamination(t *testing.T, text string) examination {
	t.Helper()
	var x examination
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return x
}

// TestDoctorCapture tests captures, stores the records and finds them.
func TestDoctorCapture(t *testing.T) {
	dir := t.TempDir()
	data, record := filepath.Join(dir, "data"), filepath.Join(dir, "record.json")
	good := taps(t, "benign")[0]
	out := run(t, 0, "doctor", "-r", good, "--expect", "dns", "--expect", "10.20.0.0/16", "--data", data, "-o", record)
	for _, want := range []string{"\ntap border (", "\nok       directions: both sides of ", "\nThe tap is good.\n", "\nok       record of the test: stored in " + data} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	written, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	x := readExamination(t, string(written))
	if len(x.Taps) != 1 || x.Taps[0].Level != acceptance.OK || x.Taps[0].Packets != 6308 || len(x.Checks) != 1 {
		t.Errorf("%+v", x)
	}
	out = run(t, 1, "doctor", "-r", good, "-r", taps(t, "phish")[0], "--expect", "modbus,192.168.250.0/24", "--data", data, "--json")
	x = readExamination(t, out)
	if len(x.Taps) != 2 || !slices.Equal(wrong(&x.Taps[0]), []string{"expected"}) {
		t.Errorf("%+v", x)
	}
	out = run(t, 0, "search", "event.dataset: tocsin.tap and tocsin.tap.expected.level: fault", "--data", data)
	if strings.Count(out, "no packet of 192.168.250.0/24") != 0 || strings.Count(out, "expected: add their ports") != 2 {
		t.Errorf("search finds\n%s", out)
	}
}

func TestDoctorErrors(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk.pcap")
	if err := os.WriteFile(junk, []byte("no capture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		exit int
		want string
		args []string
	}{
		{2, "--expect 10.1.0.0/99: want a network such as 10.1.0.0/16, an address, or one of ", []string{"-r", junk, "--expect", "10.1.0.0/99"}},
		{2, "--for 1ms: want 1s to 1h", []string{"-i", "lo", "--for", "1ms"}},
		{1, "PROBLEM  capture " + junk, []string{"-r", junk}},
		{1, "PROBLEM  capture " + filepath.Join(dir, "missing"), []string{"-r", filepath.Join(dir, "missing")}},
		{1, "PROBLEM  interface no-such-tap: there is none of that name", []string{"-i", "no-such-tap", "--listen", "127.0.0.1:0"}},
	} {
		if os.Geteuid() == 0 && slices.Contains(c.args, "-i") && c.exit == 1 {
			continue // root begins anew, which a test may not: TestDoctorLive
		}
		var out, errs bytes.Buffer
		if code := execute(t.Context(), append([]string{"doctor"}, c.args...), nil, &out, &errs); code != c.exit || !strings.Contains(out.String()+errs.String(), c.want) {
			t.Errorf("doctor %v: exit %d, want %d\n%s%s", c.args, code, c.exit, out.String(), errs.String())
		}
	}
}

// TestDoctorLive plays recordings over a cable and tests the other end: a clean
// one, and each packet twice.
func TestDoctorLive(t *testing.T) {
	cable.Plug(t)
	send := cable.Sender(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var frames [][]byte
	src, err := file.Open(taps(t, "phish")[0])
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for {
		var p capture.Packet
		if err := src.Next(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, slices.Clone(p.Data))
	}
	for _, c := range []struct {
		copies int
		exit   int
		want   []string
	}{{1, 0, nil}, {2, exitFailed, []string{"duplicates"}}} {
		dir := t.TempDir()
		cmd := exec.Command(self, "doctor", "-i", "mirror=there", "--for", "2s", "--expect", "tls", "--json", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"))
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // nobody is to get there
			t.Fatal(err)
		}
		cmd.Args[0] = "tocsin"
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // until it listens
		for _, f := range frames {
			for range c.copies {
				send(f)
			}
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != c.exit || errs.Len() > 0 {
			t.Fatalf("exit %d, want %d: %s%s", code, c.exit, errs.String(), out.String())
		}
		x := readExamination(t, out.String())
		if len(x.Taps) != 1 {
			t.Fatalf("%+v", x)
		}
		r := &x.Taps[0]
		found := slices.DeleteFunc(wrong(r), func(check string) bool {
			return check == "clock" // of the machine that tests
		})
		if want := uint64(len(frames) * c.copies); r.Sensor != "mirror" || r.Interface != "there" || r.Packets != want || !slices.Equal(found, c.want) {
			t.Errorf("%s on %s: %d packets, want %d; %v, want %v: %+v", r.Sensor, r.Interface, r.Packets, want, found, c.want, r.Verdicts)
		}
	}
	cmd := exec.Command(self, "doctor", "-i", "no-such-tap", "--listen", "127.0.0.1:0")
	cmd.Args[0] = "tocsin"
	if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), "PROBLEM  interface no-such-tap: there is none of that name; there are [") {
		t.Errorf("%s", out)
	}
}
