// Compare measures Tocsin and other programs on the same captures in the same
// run, runs Go benchmarks, and prints what came out beside the goals.
//
// What is measured of a program is what the kernel accounts to it: CPU seconds
// of user and system, and the largest resident size. Programs take turns, N
// times; of each the run that took least CPU counts, as it was disturbed least.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	b := bench{}
	flag.StringVar(&b.tocsin, "tocsin", "bin/tocsin", "`FILE` to measure")
	flag.StringVar(&b.captures, "captures", ".cache/bench", "`DIR` of captures")
	flag.StringVar(&b.gopacket, "reassemblydump", ".cache/bench/reassemblydump", "`FILE` that gopacket's example of this name was built to")
	flag.IntVar(&b.runs, "runs", 3, "`N` turns")
	flag.IntVar(&b.events, "events", 1_000_000, "`N` events in the store; the goals are for 10000000")
	only := flag.String("only", "", "measure only what matches `REGEXP`: capture names, go, intrusion")
	flag.Parse()
	if err := b.run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

type bench struct {
	tocsin, captures, gopacket string
	runs, events               int
	scratch                    string // folder for what programs write
	rows                       []row
}

// row is a line of the table.
type row struct {
	what, measured, peer string
	ratio, goal          float64
	atMost               bool // the goal is a bound, not something to reach
	unit                 string
}

func (r *row) met() string {
	if r.goal == 0 {
		return ""
	}
	if r.atMost && r.ratio <= r.goal || !r.atMost && r.ratio >= r.goal {
		return "yes"
	}
	return "no"
}

func (b *bench) run(only string) (err error) {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "tocsin-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch)
	files, err := filepath.Glob(filepath.Join(b.captures, "*.pcap"))
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		if wanted.MatchString(name) {
			if err := b.capture(name, f); err != nil {
				return err
			}
		}
	}
	if wanted.MatchString("intrusion") {
		if err := b.intrusion(); err != nil {
			return err
		}
	}
	if wanted.MatchString("go") {
		if err := b.goBenchmarks(); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d CPUs, %s, best of %d turns. Speeds are of one CPU second, user and system.\n\n", runtime.NumCPU(), runtime.Version(), b.runs)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmeasured\tpeer\tratio\tgoal\tmet")
	for _, r := range b.rows {
		ratio, goal := figure(r.ratio)+r.unit, figure(r.goal)+r.unit
		if r.ratio == 0 {
			ratio = ""
		}
		if r.goal == 0 {
			goal = ""
		} else if r.atMost {
			goal = "≤ " + goal
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.measured, r.peer, ratio, goal, r.met())
	}
	return w.Flush()
}

// program is one that reads a capture.
type program struct {
	name string
	args []string // "{capture}" and "{scratch}" are replaced
	part float64  // of the capture that it reads; 0 is all
}

// Names of Tocsin's ways to be measured.
const (
	counted    = "tocsin, flows counted"
	flowsAlone = "tocsin, flows alone"
	everything = "tocsin, every protocol"
	twoWorkers = "tocsin, every protocol, two workers"
)

// reassemblydump is gopacket's own example of TCP reassembly, which parses HTTP.
const reassemblydump = "reassemblydump"

// tsharkPart is how much of a capture tshark gets: its memory grows with it.
const tsharkPart = 0.05

func (b *bench) programs() []program {
	return []program{
		{name: counted, args: []string{b.tocsin, "events", "--count", "--workers", "1", "--protocols", "none", "{capture}"}},
		{name: flowsAlone, args: []string{b.tocsin, "events", "--workers", "1", "--protocols", "none", "{capture}"}},
		{name: everything, args: []string{b.tocsin, "events", "--workers", "1", "{capture}"}},
		{name: twoWorkers, args: []string{b.tocsin, "events", "--workers", "2", "{capture}"}},
		{name: "tcpdump", args: []string{"tcpdump", "-r", "{capture}", "-w", "/dev/null"}},
		{name: "softflowd", args: []string{"softflowd", "-d", "-m", "10000000", "-p", "{scratch}/pid", "-c", "none", "-r", "{capture}"}},
		{name: "nfpcapd", args: []string{"nfpcapd", "-r", "{capture}", "-w", "{scratch}"}},
		{name: "argus", args: []string{"argus", "-X", "-r", "{capture}", "-w", "/dev/null"}},
		{name: "ndpiReader", args: []string{"ndpiReader", "-q", "-i", "{capture}", "-C", "{scratch}/flows.csv"}},
		{name: reassemblydump, args: []string{b.gopacket, "-quiet", "-r", "{capture}"}},
		{name: "tshark", args: []string{"tshark", "-n", "-r", "{capture}", "-c", "{part}", "-T", "json", "-J", "frame"}, part: tsharkPart},
	}
}

// goals are ratios of packets per CPU second to reach.
var goals = map[string]map[string]map[string]float64{
	"mixed": {
		counted:    {"tcpdump": 1.2, "softflowd": 2.4, "nfpcapd": 1, "argus": 1},
		flowsAlone: {"tcpdump": 1.2, "softflowd": 2.4, "nfpcapd": 1, "argus": 1},
		everything: {"tcpdump": 0.75, "ndpiReader": 6, reassemblydump: 13, "tshark": 0},
	},
	"industrial": {
		counted:    {"tcpdump": 1.2, "softflowd": 2.4, "nfpcapd": 1, "argus": 1},
		flowsAlone: {"tcpdump": 1.2, "softflowd": 2.4, "nfpcapd": 1, "argus": 1},
		everything: {"tcpdump": 0.4, "ndpiReader": 2, reassemblydump: 0, "tshark": 0},
	},
	"stress": {
		counted:    {"tcpdump": 0, "softflowd": 10, "nfpcapd": 1, "argus": 1},
		flowsAlone: {"tcpdump": 0, "softflowd": 10, "nfpcapd": 1, "argus": 1},
		everything: {"tcpdump": 0.15, "ndpiReader": 15, reassemblydump: 0, "tshark": 0},
	},
}

// usage is what a run took.
type usage struct {
	cpu, wall time.Duration
	peak      int64 // bytes
}

func (b *bench) capture(name, path string) error {
	packets, err := count(path)
	if err != nil {
		return err
	}
	best := map[string]usage{}
	for turn := range b.runs {
		for _, p := range b.programs() {
			if _, err := exec.LookPath(p.args[0]); err != nil {
				if turn == 0 {
					fmt.Fprintf(os.Stderr, "%s is not installed and left out\n", p.name)
				}
				continue
			}
			if p.part > 0 && turn > 0 || name == "concurrent" && p.name != flowsAlone {
				continue
			}
			fmt.Fprintf(os.Stderr, "\r\x1b[K%s, turn %d: %s", name, turn+1, p.name)
			u, err := b.measure(p, path, packets)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", name, p.name, err)
			}
			if old, ok := best[p.name]; !ok || u.cpu < old.cpu {
				best[p.name] = u
			}
		}
	}
	fmt.Fprint(os.Stderr, "\r\x1b[K")
	speed := func(p program) float64 {
		return float64(packets) * cmp.Or(p.part, 1) / best[p.name].cpu.Seconds()
	}
	if name == "concurrent" {
		b.rows = append(b.rows, atMost("100,000 concurrent flows, peak memory", "", float64(best[flowsAlone].peak)/1e6, 100, " MB"))
		return nil
	}
	for _, own := range b.programs()[:3] {
		what := name + ": " + strings.TrimPrefix(own.name, "tocsin, ")
		for _, p := range b.programs()[4:] {
			goal, compared := goals[name][own.name][p.name]
			if !compared || best[p.name].cpu == 0 {
				continue
			}
			b.rows = append(b.rows, row{what: what, measured: shown(speed(own), best[own.name]), peer: p.name + " " + shown(speed(p), best[p.name]),
				ratio: speed(own) / speed(p), goal: goal, unit: "x"})
		}
	}
	r := row{what: name + ": every protocol", measured: fmt.Sprintf("%.2f s of CPU", best[everything].cpu.Seconds()),
		peer: fmt.Sprintf("flows alone %.2f s", best[flowsAlone].cpu.Seconds()), ratio: best[flowsAlone].cpu.Seconds() / best[everything].cpu.Seconds(), unit: "x"}
	if name == "mixed" {
		r.goal = 0.6
	}
	b.rows = append(b.rows, r)
	one, two := best[everything].wall, best[twoWorkers].wall
	r = row{what: name + ": two workers", measured: fmt.Sprintf("%.2f s", two.Seconds()), peer: fmt.Sprintf("one worker %.2f s", one.Seconds()),
		ratio: one.Seconds() / two.Seconds(), unit: "x"}
	if name == "mixed" {
		r.goal = 1.8
	}
	b.rows = append(b.rows, r)
	return nil
}

// figure writes a number with three digits that count.
func figure(x float64) string {
	if x >= 1000 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func atMost(what, peer string, measured, goal float64, unit string) row {
	return row{what: what, measured: figure(measured) + unit, peer: peer, ratio: measured, goal: goal, atMost: true, unit: unit}
}

func shown(speed float64, u usage) string {
	return fmt.Sprintf("%.2f M packets/s, %.0f MB", speed/1e6, float64(u.peak)/1e6)
}

// measure runs a program on a capture, its output thrown away.
func (b *bench) measure(p program, capture string, packets int) (usage, error) {
	scratch, err := os.MkdirTemp(b.scratch, "")
	if err != nil {
		return usage{}, err
	}
	defer os.RemoveAll(scratch)
	replace := strings.NewReplacer("{capture}", capture, "{scratch}", scratch, "{part}", strconv.Itoa(int(float64(packets)*p.part)))
	args := make([]string, len(p.args))
	for i, a := range p.args {
		args[i] = replace.Replace(a)
	}
	return execute(exec.Command(args[0], args[1:]...), nil)
}

// execute runs a command and says what it took. Its output goes to out.
func execute(cmd *exec.Cmd, out io.Writer) (usage, error) {
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errs
	began := time.Now()
	if err := cmd.Run(); err != nil {
		text := errs.String()
		return usage{}, fmt.Errorf("%w: %s", err, text[max(0, len(text)-500):])
	}
	s := cmd.ProcessState
	u := usage{cpu: s.UserTime() + s.SystemTime(), wall: time.Since(began)}
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		u.peak = r.Maxrss << 10
	}
	return u, nil
}

// count counts the packets of a pcap file, and so brings it into memory.
func count(path string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	if _, err := r.Discard(24); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	for {
		head, err := r.Peek(16)
		if errors.Is(err, io.EOF) && len(head) == 0 {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		if _, err := r.Discard(16 + int(binary.LittleEndian.Uint32(head[8:]))); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		n++
	}
}

// intrusion measures the whole pipeline on the recorded scenario.
func (b *bench) intrusion() error {
	const scene = "testdata/scenarios/intrusion"
	captures, err := filepath.Glob(filepath.Join(scene, "*.pcap*"))
	if err != nil || len(captures) == 0 {
		return fmt.Errorf("%s: no captures (%v)", scene, err)
	}
	best := usage{}
	for range b.runs {
		data, err := os.MkdirTemp(b.scratch, "data")
		if err != nil {
			return err
		}
		args := []string{"run", "--once", "--data", data, "--assets", filepath.Join(scene, "assets.yml"), "--intel", filepath.Join(scene, "reputation.csv")}
		for _, c := range captures {
			args = append(args, "-r", c)
		}
		u, err := execute(exec.Command(b.tocsin, args...), nil)
		if err != nil {
			return err
		}
		if best.wall == 0 || u.wall < best.wall {
			best = u
		}
	}
	b.rows = append(b.rows,
		atMost("recorded intrusion, all in one: until every alert is stored", "", best.wall.Seconds(), 5, " s"),
		atMost("recorded intrusion, all in one: peak memory", "", float64(best.peak)/1e6, 300, " MB"))
	return nil
}
