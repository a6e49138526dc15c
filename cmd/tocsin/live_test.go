//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/cable"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
)

// datagram is a frame from one of many hosts to another.
func datagram(host byte) []byte {
	b := make([]byte, 60)
	b[12] = 8 // IPv4
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], 46)
	copy(ip[12:], []byte{10, 0, 0, host, 10, 0, 1, host})
	udp := ip[20:]
	binary.BigEndian.PutUint16(udp[0:], 50000)
	binary.BigEndian.PutUint16(udp[2:], 9)
	binary.BigEndian.PutUint16(udp[4:], 26)
	return b
}

// TestRunLive captures with several workers from start to end.
func TestRunLive(t *testing.T) {
	for _, how := range []string{captureRing, captureLib} {
		t.Run(how, func(t *testing.T) {
			cable.Plug(t)
			send := cable.Sender(t)
			dir := t.TempDir()
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // nobody is to get there
				t.Fatal(err)
			}
			data := filepath.Join(dir, "data")
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self, "run", "-i", "border=there", "--capture", how, "--workers", "3", "--data", data, "--listen", "127.0.0.1:0", "--metrics", ":0")
			cmd.Args[0] = "tocsin"
			var complaints strings.Builder
			cmd.Stderr = &complaints
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			lines := bufio.NewReader(out)
			if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "console at ") {
				t.Fatalf("%q, %v; %s", line, err, complaints.String())
			}
			var address string
			for told := false; !told; { // who may use the console is told before or after
				line, err := lines.ReadString('\n')
				if err != nil {
					t.Fatalf("%q, %v", line, err)
				}
				address, told = strings.CutPrefix(line, "metrics at ")
			}
			unprivileged(t, cmd.Process.Pid)
			const hosts, rounds = 50, 20
			outages := uint64(0)
			for round := range rounds {
				if round == rounds/2 && how == captureRing {
					cable.IP(t, "link set there down")
					time.Sleep(time.Second)
					cable.IP(t, "link set there up")
					cable.Wait(t)
					outages = 1
				}
				for host := range byte(hosts) {
					send(datagram(host))
				}
			}
			time.Sleep(2 * time.Second) // until everything has been handed over
			if values := measure(t, strings.TrimSpace(address)); values[`tocsin_tap_packets_seen_total{interface="there",sensor="border"}`] != hosts*rounds || values["process_open_fds"] < 5 || values[`tocsin_sensor_flows{source="there"}`] != hosts {
				t.Errorf("metrics say %v", values)
			}
			cmd.Process.Signal(os.Interrupt)
			io.Copy(io.Discard, lines)
			// Whether the clock of the machine that tests is kept does not matter.
			complained := regexp.MustCompile(`tocsin: nothing keeps the system's clock.*\n`).ReplaceAllString(complaints.String(), "")
			if err := cmd.Wait(); err != nil || complained != "" {
				t.Fatalf("%v; %s", err, complained)
			}

			s, err := embedded.Open(data, embedded.ReadOnly)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var flows int
			var packets, seen, down uint64
			for e, err := range s.Search(t.Context(), store.Query{Set: store.Events}) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Sensor != "border" || e.Iface != "there" {
					t.Errorf("sensor %q, interface %q", e.Sensor, e.Iface)
				}
				switch e.Kind {
				case event.KindFlow:
					flows++
					packets += e.Flow.Src.Packets
				case event.KindLedger:
					for _, f := range e.Fields {
						n, _ := f.Value.Uint()
						switch f.Name {
						case "tocsin.ledger.seen":
							seen += n
						case "tocsin.ledger.interface_down":
							down += n
						}
					}
				}
			}
			if down != outages {
				t.Errorf("the interface went down %d times, want %d", down, outages)
			}
			if flows != hosts || packets != hosts*rounds || seen != hosts*rounds {
				t.Errorf("%d flows of %d packets, %d in the ledger; want %d flows of %d", flows, packets, seen, hosts, hosts*rounds)
			}
		})
	}
}

// measure asks a process on the test's loopback how it is doing.
func measure(t *testing.T, address string) map[string]float64 {
	t.Helper()
	// Connections of Go's client are made by threads of any network.
	out, err := exec.Command("curl", "--silent", "--fail", address).Output()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			if values[name], err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatal(line)
			}
		}
	}
	return values
}

// unprivileged checks that all threads of a process are nobody's.
func unprivileged(t *testing.T, pid int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	four := func(id string) string { return strings.Join([]string{id, id, id, id}, "\t") }
	const none = "0000000000000000"
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended
		} else if err != nil {
			t.Fatal(err)
		}
		for field, want := range map[string]string{
			"Uid": four(nobody.Uid), "Gid": four(nobody.Gid), "Groups": nobody.Gid, "NoNewPrivs": "1",
			"CapEff": none, "CapPrm": none, "CapAmb": none, "Seccomp": "2",
		} {
			if _, after, _ := strings.Cut(string(status), "\n"+field+":\t"); strings.TrimSpace(after[:strings.IndexByte(after+"\n", '\n')]) != want {
				t.Errorf("%s: %s is %q, want %q", path, field, after[:strings.IndexByte(after+"\n", '\n')], want)
			}
		}
	}
}

// A store that root made is handed over; a folder with anything else is not.
func TestRunLiveOwner(t *testing.T) {
	cable.Plug(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command(self, append([]string{"run", "-i", "there", "--listen", "127.0.0.1:0"}, args...)...)
		cmd.Args[0] = "tocsin"
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%v: no error", args)
		}
		return string(out)
	}
	dir := t.TempDir()
	nobody := &identity{"nobody", 65534, 65534}
	for _, name := range []string{"store.db", "lock", "precious"} {
		path := filepath.Join(dir, name)
		if name == "precious" {
			if err := nobody.own(dir); err != nil {
				t.Error(err)
			}
			info, err := os.Stat(filepath.Join(dir, "store.db"))
			if err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 {
				t.Errorf("a store of root is not handed over: %v, %v", info, err)
			}
			if err := os.Chown(dir, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := run("--data", dir), "store "+dir+" does not belong to nobody, as whom capturing goes on; run: chown -R nobody "+dir+"; or name its owner with --user"; !strings.Contains(got, want) {
		t.Errorf("a folder of root: %s", got)
	}
	if got := run("--data", filepath.Join(dir, "data")); !strings.Contains(got, "permission denied (as user nobody, as whom capturing goes on; choose another with --user)") {
		t.Errorf("a folder that nobody can reach: %s", got)
	}
	if got := run("--user", "no-such-user"); !strings.Contains(got, "--user: user: unknown user no-such-user") {
		t.Errorf("a user that there is not: %s", got)
	}
}

func TestCaptureFlag(t *testing.T) {
	if _, err := openTap(t.Context(), "no-such-tap", captureRing, "", 1); err == nil || err.Error() != "capture on no-such-tap: there is no interface of that name" {
		t.Errorf("got %v", err)
	}
}
