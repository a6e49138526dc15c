package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func fill(t *testing.T, l *Log, n int) {
	t.Helper()
	for i := range n {
		e := Entry{Time: time.Date(2026, 3, 1, 8, 0, i, 0, time.UTC), Actor: "li", Via: "page", Action: "alert.judge", Target: fmt.Sprintf("alerts/%d", i),
			Detail: map[string]string{"verdict": "benign", "reason": "<b>\u2028 & \"so\" \x00"}, Outcome: "ok"}
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryChangeShows changes the log in every way that leaves lines: each
// byte, each line removed, each two exchanged, one doubled, and the end cut.
func TestEveryChangeShows(t *testing.T) {
	dir := t.TempDir()
	fill(t, open(t, dir), 6)
	path := filepath.Join(dir, FileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1]
	l := open(t, dir)
	if r, err := l.Verify(""); err != nil || len(r.Problems) > 0 || r.Entries != 6 {
		t.Fatalf("as written: %+v %v", r, err)
	}
	known, err := l.Verify("")
	if err != nil {
		t.Fatal(err)
	}
	must := func(what string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := l.Verify(""); err == nil && len(r.Problems) == 0 {
			t.Errorf("%s: not found", what)
		}
	}
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		must(fmt.Sprintf("byte %d of %q", i, whole[i]), changed)
	}
	join := func(ls ...[]byte) []byte { return bytes.Join(ls, nil) }
	for i := range lines {
		without := append(append([][]byte{}, lines[:i]...), lines[i+1:]...)
		must(fmt.Sprintf("line %d removed", i+1), join(without...))
		must(fmt.Sprintf("line %d doubled", i+1), join(append(append(append([][]byte{}, lines[:i+1]...), lines[i]), lines[i+1:]...)...))
		for j := range i {
			swapped := append([][]byte{}, lines...)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			must(fmt.Sprintf("lines %d and %d exchanged", j+1, i+1), join(swapped...))
		}
	}
	must("all removed", nil)

	// A log that was written anew from some line on, with its head, holds
	// together; it is no longer the one that somebody knew.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	fill(t, open(t, other), 5)
	if r, err := open(t, other).Verify(known.Head); err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Text, "known earlier") {
		t.Errorf("another log with a known head: %+v %v", r, err)
	}
}

// TestWritersShareTheLog: several writers, each with a Log of its own as several
// processes have, make one chain.
func TestWritersShareTheLog(t *testing.T) {
	dir := t.TempDir()
	var done sync.WaitGroup
	for range 4 {
		l := open(t, dir)
		done.Go(func() {
			for range 10 {
				if err := l.Append(Entry{Time: time.Now(), Actor: "x", Action: "y", Outcome: "ok"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	if r, err := open(t, dir).Verify(""); err != nil || len(r.Problems) > 0 || r.Entries != 40 {
		t.Errorf("%+v %v", r, err)
	}
}

// TestTornLine: what a writer that was killed left behind is removed, and that
// is told in the log.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	fill(t, open(t, dir), 2)
	f, err := os.OpenFile(filepath.Join(dir, FileName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"seq":3,"time":"2026`)
	f.Close()
	fill(t, open(t, dir), 1)
	l := open(t, dir)
	var actions []string
	for e, err := range l.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, e.Action)
	}
	if r, err := l.Verify(""); err != nil || len(r.Problems) > 0 || strings.Join(actions, " ") != "alert.judge alert.judge audit.repair alert.judge" {
		t.Errorf("%v %+v %v", actions, r, err)
	}
}
