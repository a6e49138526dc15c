package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
)

// The recorded scenarios, and what truly happened in them.

const scenarios = "../../testdata/scenarios"

type truth struct {
	Stages []struct {
		ID, Title   string
		Start, End  time.Time
		Source      []string
		Destination []string
		Techniques  []struct{ ID string }
		Expect      struct {
			MustDetect bool `json:"must_detect"`
		}
	}
	Path []struct {
		From, To, Protocol string
		Port               uint16
	}
}

func readTruth(t *testing.T, name string) truth {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(scenarios, name, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tr truth
	if err := json.Unmarshal(text, &tr); err != nil {
		t.Fatal(err)
	}
	return tr
}

// run runs a command line and fails the test if its exit code is another.
func run(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := execute(context.Background(), args, strings.NewReader(""), &out, &errs); code != want {
		t.Fatalf("tocsin %s: exit %d, want %d\n%s", strings.Join(args, " "), code, want, errs.String())
	}
	return out.String()
}

// taps lists a scenario's captures.
func taps(t *testing.T, name string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(scenarios, name, "*.pcap*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("scenario %s has no captures: %v", name, err)
	}
	return files
}

// known are the flags with what the scenario's operator knows.
func known(name string) []string {
	flags := []string{"--assets", filepath.Join(scenarios, name, "assets.yml")}
	if list := filepath.Join(scenarios, name, "reputation.csv"); exists(list) {
		flags = append(flags, "--intel", list)
	}
	return flags
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func alertsOf(t *testing.T, name string) []event.Alert {
	t.Helper()
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	var alerts []event.Alert
	args := slices.Concat([]string{"alerts"}, taps(t, name), known(name))
	var out, errs bytes.Buffer
	if code := execute(context.Background(), args, nil, &out, &errs); errs.Len() > 0 || code > exitFailed {
		t.Fatalf("tocsin %s: exit %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	for line := range strings.Lines(out.String()) {
		var e event.Event
		if err := fields.Decode([]byte(strings.TrimSuffix(line, "\n")), &e); err != nil {
			t.Fatal(err)
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			t.Fatal(err)
		}
		alerts = append(alerts, a)
	}
	return alerts
}

// shows reports whether an alert tells of a stage: at its time, of its source,
// as one of its techniques.
func shows(a *event.Alert, sources, techniques []string, from, to time.Time) bool {
	const slack = 2 * time.Second
	if a.Last.Before(from.Add(-slack)) || a.First.After(to.Add(slack)) {
		return false
	}
	if !slices.ContainsFunc(a.Sources, func(addr netip.Addr) bool {
		return slices.ContainsFunc(sources, func(s string) bool { return within(s, addr) })
	}) {
		return false
	}
	return slices.ContainsFunc(a.Techniques, func(x event.Technique) bool {
		return slices.ContainsFunc(techniques, func(id string) bool {
			return x.ID == id || strings.HasPrefix(id, x.ID+".")
		})
	})
}

func within(s string, a netip.Addr) bool {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Contains(a)
	}
	return s == a.String()
}

// attacks are the scenarios in which there is something to find.
var attacks = []string{"intrusion", "phish"}

func TestAttacksAreReportedStageByStage(t *testing.T) {
	for _, name := range attacks {
		t.Run(name, func(t *testing.T) { reported(t, name) })
	}
}

func reported(t *testing.T, name string) {
	tr := readTruth(t, name)
	alerts := alertsOf(t, name)
	for _, s := range tr.Stages {
		var techniques []string
		for _, x := range s.Techniques {
			techniques = append(techniques, x.ID)
		}
		seen := slices.ContainsFunc(alerts, func(a event.Alert) bool { return shows(&a, s.Source, techniques, s.Start, s.End) })
		if s.Expect.MustDetect && !seen {
			t.Errorf("stage %s (%s by %v as %v): no alert", s.ID, s.Title, s.Source, techniques)
		}
	}
	for _, a := range alerts {
		if a.Message == "" || len(a.Explain) == 0 || len(a.Evidence) == 0 {
			t.Errorf("alert %s of rule %s does not explain itself: %+v", a.ID, a.Rule.Name, a)
		}
		if strings.ContainsAny(a.Message, "{}") {
			t.Errorf("alert %s: message %q has a hole", a.ID, a.Message)
		}
	}
}

func TestBenignIsQuiet(t *testing.T) {
	for _, a := range alertsOf(t, "benign") {
		if a.Severity >= 40 {
			t.Errorf("%s alert %s (%s): %s", a.Level, a.ID, a.Rule.Name, a.Message)
		}
	}
}

// TestTruePath traces each attack from every host on its path and from its
// last effect.
func TestTruePath(t *testing.T) {
	for _, name := range attacks {
		t.Run(name, func(t *testing.T) { traced(t, name) })
	}
}

func traced(t *testing.T, name string) {
	tr := readTruth(t, name)
	dir := t.TempDir()
	run(t, 0, slices.Concat([]string{"run", "--once", "--data", dir}, reading(t, name), known(name))...)
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	last := tr.Path[len(tr.Path)-1]
	seeds := []string{last.To}
	for _, hop := range tr.Path {
		seeds = append(seeds, hop.From)
	}
	query := fmt.Sprintf("event.kind: alert and source.ip: %s and destination.ip: %s and event.severity >= 80", last.From, last.To)
	for line := range strings.Lines(run(t, 0, "search", query, "--json", "--data", dir)) {
		var e event.Event
		if err := fields.Decode([]byte(strings.TrimSuffix(line, "\n")), &e); err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, e.ID.String())
	}
	if len(seeds) < len(tr.Path)+2 {
		t.Errorf("no alert of severity 80 about %s and %s", last.From, last.To)
	}
	for _, seed := range seeds {
		var found trace.Trace
		if err := json.Unmarshal([]byte(run(t, 0, "trace", seed, "--data", dir)), &found); err != nil {
			t.Fatal(err)
		}
		if len(found.Path) != len(tr.Path) {
			t.Errorf("from %s: %s; want %d hops", seed, found.Title, len(tr.Path))
			continue
		}
		for i, hop := range found.Path {
			want := tr.Path[i]
			if hop.From.String() != want.From || hop.To.String() != want.To || hop.Port != want.Port || hop.Protocol != want.Protocol || hop.Confidence < 0.5 {
				t.Errorf("from %s: hop %d is %s → %s %s/%d (%.2f), want %+v", seed, i+1, hop.From, hop.To, hop.Protocol, hop.Port, hop.Confidence, want)
			}
		}
	}
	if out := run(t, 0, "ledger", "--data", dir); !strings.Contains(out, "border") || strings.Contains(out, "off by") {
		t.Errorf("ledger:\n%s", out)
	}
}

func reading(t *testing.T, name string) (flags []string) {
	for _, f := range taps(t, name) {
		flags = append(flags, "-r", f)
	}
	return flags
}

// TestOneWorkerAndFour checks that neither the number of workers nor a second
// run changes a byte.
func TestOneWorkerAndFour(t *testing.T) {
	for _, command := range []string{"events", "alerts"} {
		var first string
		for _, workers := range []string{"1", "4", "4"} {
			args := slices.Concat([]string{command, "--workers", workers}, taps(t, "intrusion"))
			if command == "alerts" {
				args = append(args, known("intrusion")...)
			}
			out := run(t, 0, args...)
			if first == "" {
				first = out
			}
			if out != first {
				t.Errorf("%s: the output with %s workers differs from that with one", command, workers)
			}
		}
		if len(first) == 0 {
			t.Errorf("%s prints nothing", command)
		}
	}
}

// TestAgainChangesNothing replays into the same store, and compares what is
// stored with what is printed.
func TestAgainChangesNothing(t *testing.T) {
	dir := t.TempDir()
	args := slices.Concat([]string{"run", "--once", "--data", dir}, reading(t, "intrusion"), known("intrusion"))
	run(t, 0, args...)
	once := run(t, 0, "search", "--limit", "0", "--json", "--data", dir)
	run(t, 0, args...)
	if again := run(t, 0, "search", "--limit", "0", "--json", "--data", dir); again != once {
		t.Error("a second run changed the store")
	}
	stored := map[string]bool{}
	for line := range strings.Lines(once) {
		stored[line] = true
	}
	printed := run(t, 0, slices.Concat([]string{"alerts"}, taps(t, "intrusion"), known("intrusion"))...)
	for line := range strings.Lines(printed) {
		if !stored[line] {
			t.Errorf("an alert of tocsin alerts is not what tocsin run stored: %s", line)
		}
	}
}
