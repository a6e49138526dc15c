package spool_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin/tocsin/bus/spool"
	"github.com/tocsin/tocsin/event"
)

// child names what a process does that a test starts: see TestKill and TestDiskFull.
const child = "TOCSIN_TEST_SPOOL_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(child) {
	case "kill":
		appendForEver(os.Args[1])
	case "disk":
		os.Exit(appendUntilFull(os.Args[1]))
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, cfg spool.Config) *spool.Spool {
	t.Helper()
	s, err := spool.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func numbered(n int) []byte { return fmt.Appendf(nil, "record %06d", n) }

// drainAll reads and acknowledges everything.
func drainAll(t *testing.T, s *spool.Spool) (got [spool.NumClasses][]string) {
	t.Helper()
	for {
		b, ok := s.Next(1000)
		if !ok {
			return got
		}
		for _, p := range b.Payloads {
			got[b.Class] = append(got[b.Class], string(p))
		}
		if err := s.Ack(b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOrder(t *testing.T) {
	cfg := spool.DefaultConfig(t.TempDir())
	cfg.Bytes = 8 << 20
	s := open(t, cfg)
	const each = 20_000 // several segments
	for n := range each {
		for _, c := range []spool.Class{spool.Bulk, spool.Alerts, spool.Flows} {
			s.Append(c, numbered(n))
		}
	}
	b, ok := s.Next(100)
	if !ok || b.Class != spool.Alerts || string(b.Payloads[0]) != "record 000000" {
		t.Fatalf("first comes %v", b)
	}
	first := len(b.Payloads)
	if err := s.Ack(b); err != nil {
		t.Fatal(err)
	}
	got := drainAll(t, s)
	for c, want := range map[spool.Class]int{spool.Alerts: each - first, spool.Flows: each, spool.Bulk: each} {
		if len(got[c]) != want {
			t.Errorf("%s: %d records, want %d", c, len(got[c]), want)
		}
		for i, r := range got[c] {
			if r != string(numbered(each-want+i)) {
				t.Fatalf("%s: %q at %d", c, r, i)
			}
		}
	}
	st := s.Stats()
	if s.Pending() != 0 || st.Discarded() != 0 || st.Bytes > 1<<20 {
		t.Errorf("at the end: %+v", st)
	}
}

func TestLargeRecords(t *testing.T) {
	s := open(t, spool.DefaultConfig(t.TempDir()))
	large := strings.Repeat("x", 300_000)
	s.Append(spool.Bulk, []byte("small"), []byte(large), []byte("last"), nil)
	got := drainAll(t, s)[spool.Bulk]
	if len(got) != 3 || got[1] != large || got[2] != "last" {
		t.Fatalf("%d records", len(got))
	}
	if st := s.Stats(); st.Failed[spool.Bulk] != 1 {
		t.Errorf("an empty record: %+v", st.Failed)
	}
}

func TestReopen(t *testing.T) {
	cfg := spool.DefaultConfig(t.TempDir())
	for round := range 3 {
		s, err := spool.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := spool.Open(cfg); err == nil {
			t.Fatal("a spool is open twice")
		}
		if round == 0 {
			for n := range 10 {
				s.Append(spool.Flows, numbered(n))
			}
		}
		if got, want := s.Pending(), uint64(10-round*3); got != want {
			t.Fatalf("round %d: %d wait, want %d", round, got, want)
		}
		for range 3 { // of 21 bytes each
			b, ok := s.Next(25)
			if !ok {
				t.Fatal("nothing is there")
			}
			if err := s.Ack(b); err != nil {
				t.Fatal(err)
			}
		}
		if b, ok := s.Next(25); !ok || string(b.Payloads[0]) != string(numbered(3*round+3)) {
			t.Fatalf("round %d: %v", round, b)
		} // not acknowledged: it comes again
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTornTail cuts a segment at every byte, and breaks every byte.
func TestTornTail(t *testing.T) {
	write := func() (cfg spool.Config, path string, data []byte) {
		cfg = spool.DefaultConfig(t.TempDir())
		s, err := spool.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Append(spool.Writes, numbered(0), numbered(1), numbered(2))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		paths, err := filepath.Glob(filepath.Join(cfg.Dir, "writes", "*.seg"))
		if err != nil || len(paths) != 1 {
			t.Fatal(paths, err)
		}
		data, err = os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		return cfg, paths[0], data
	}
	cfg, path, data := write()
	record := len(data) / 3
	check := func(what string, damaged []byte, whole int, cut bool) {
		t.Helper()
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.Dir, "writes", "head"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		st := s.Stats()
		if st.Pending[spool.Writes] != uint64(whole) || (st.Corrupt > 0) != cut {
			t.Fatalf("%s: %d records, %d cut; want %d, %v", what, st.Pending[spool.Writes], st.Corrupt, whole, cut)
		}
		s.Append(spool.Writes, numbered(9)) // goes behind what is whole
		b, ok := s.Next(1 << 20)
		if !ok || len(b.Payloads) != whole+1 || string(b.Payloads[whole]) != string(numbered(9)) {
			t.Fatalf("%s: %d records after another was appended", what, len(b.Payloads))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range len(data) + 1 {
		check(fmt.Sprintf("cut at %d", n), data[:n], n/record, n%record != 0)
	}
	for n := range data {
		broken := append([]byte(nil), data...)
		broken[n] ^= 0x55
		check(fmt.Sprintf("broken at %d", n), broken, n/record, true)
	}
}

// appendForEver appends numbered records, and says of each that it was taken.
func appendForEver(dir string) {
	cfg := spool.DefaultConfig(dir)
	cfg.Sync = 0
	s, err := spool.Open(cfg)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		s.Append(spool.Class(n%int(spool.NumClasses)), binary.AppendUvarint(nil, uint64(n)), numbered(n))
		if s.Stats().Discarded() > 0 {
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

// TestKill kills a process while it appends: everything that it was told is
// taken is there.
func TestKill(t *testing.T) {
	for round := range 20 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], dir)
		cmd.Env = append(os.Environ(), child+"=kill")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		lines := bufio.NewScanner(out)
		kill := time.AfterFunc(time.Duration(5+3*round)*time.Millisecond, func() { cmd.Process.Kill() })
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("the child says %q", lines.Text())
			}
			if n >= 0 {
				last = n
			}
		}
		kill.Stop()
		cmd.Wait()
		s, err := spool.Open(spool.DefaultConfig(dir))
		if err != nil {
			t.Fatal(err)
		}
		got := drainAll(t, s)
		for n := 0; n <= last; n++ {
			of := got[n%int(spool.NumClasses)]
			at := 2*(n/int(spool.NumClasses)) + 1
			if at >= len(of) || of[at] != string(numbered(n)) {
				t.Fatalf("round %d: record %d of %d is not there", round, n, last)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBound fills a spool: the least important goes first, the most important is
// kept, and the counts add up.
func TestBound(t *testing.T) {
	cfg := spool.DefaultConfig(t.TempDir())
	cfg.Bytes = 1 << 20
	s := open(t, cfg)
	big := make([]byte, 1000)
	var given spool.Counts
	for range 3000 {
		for _, c := range []spool.Class{spool.Bulk, spool.Flows} {
			s.Append(c, big)
			given[c]++
		}
	}
	st := s.Stats()
	if st.Bytes > cfg.Bytes || st.Full[spool.Bulk] == 0 {
		t.Fatalf("%+v", st)
	}
	for range 500 {
		s.Append(spool.Alerts, big)
		given[spool.Alerts]++
	}
	st = s.Stats()
	if st.Full[spool.Alerts] != 0 || st.Pending[spool.Alerts] != 500 {
		t.Errorf("alerts are discarded while there are flows: %+v", st)
	}
	for c := range spool.NumClasses {
		if st.Pending[c]+st.Full[c]+st.Failed[c]+st.Acknowledged[c] != given[c] {
			t.Errorf("%s: %d given, %d wait, %d discarded", c, given[c], st.Pending[c], st.Full[c])
		}
	}
	// What is on its way is not discarded.
	b, _ := s.Next(2000)
	for range 3000 {
		s.Append(spool.Alerts, big)
	}
	if err := s.Ack(b); err != nil {
		t.Fatal(err)
	}
	if st = s.Stats(); st.Bytes > cfg.Bytes || st.Full[spool.Alerts] == 0 {
		t.Errorf("%+v", st)
	}
	var size int64
	filepath.Walk(cfg.Dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	if size > cfg.Bytes+1000 {
		t.Errorf("%d bytes on disk, bound %d", size, cfg.Bytes)
	}
}

// appendUntilFull appends to files that may not grow beyond a limit, and goes on
// when they may.
func appendUntilFull(dir string) int {
	signal.Ignore(syscall.SIGXFSZ)
	limit := func(n uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: 1 << 40}); err != nil {
			panic(err)
		}
	}
	cfg := spool.DefaultConfig(dir) // with segments of 64 MB
	s, err := spool.Open(cfg)
	if err != nil {
		panic(err)
	}
	limit(100_000)
	for n := range 10_000 {
		s.Append(spool.Flows, numbered(n))
	}
	st := s.Stats()
	if st.Failed[spool.Flows] == 0 || s.Failure() == nil {
		return 3
	}
	limit(1 << 30)
	for n := range 10 {
		s.Append(spool.Flows, numbered(n))
	}
	st = s.Stats()
	fmt.Println(st.Spooled[spool.Flows], st.Failed[spool.Flows])
	if err := s.Close(); err != nil {
		panic(err)
	}
	return 0
}

// TestDiskFull lets the disk refuse what is written: it is counted, nothing that
// was taken is damaged, and it goes on when there is room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), child+"=disk")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var spooled, failed int
	if _, err := fmt.Sscan(string(out), &spooled, &failed); err != nil || spooled+failed != 10_010 || failed < 1000 {
		t.Fatalf("%q, %v", out, err)
	}
	s := open(t, spool.DefaultConfig(dir))
	if got := drainAll(t, s)[spool.Flows]; len(got) != spooled || got[spooled-1] != string(numbered(9)) {
		t.Errorf("%d records are there, %d were taken", len(got), spooled)
	}
	if st := s.Stats(); st.Corrupt != 0 {
		t.Errorf("%d segments were cut", st.Corrupt)
	}
}

func key(e *event.Event) string { return e.Sensor }

// wire is a link that notes what it is given. It takes nothing while it is away.
type wire struct {
	mu    sync.Mutex
	away  bool
	got   []spool.Entry
	bytes uint64
}

func (w *wire) Send(_ context.Context, entries []spool.Entry) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		for {
			w.mu.Lock()
			if !w.away {
				for _, e := range entries {
					e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
					w.got = append(w.got, e)
					w.bytes += uint64(len(e.Value))
				}
				w.mu.Unlock()
				return nil
			}
			w.mu.Unlock()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}, nil
}

func (w *wire) Sent() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

func events(n int, kind event.Kind) []event.Event {
	es := make([]event.Event, n)
	for i := range es {
		es[i] = event.Event{Time: time.Unix(int64(i), 0).UTC(), Kind: kind, Sensor: "s"}
	}
	return es
}

func TestDrain(t *testing.T) {
	s := open(t, spool.DefaultConfig(t.TempDir()))
	sink := spool.NewSink(s, key)
	w := &wire{away: true}
	finish := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- s.Drain(t.Context(), w, 0, finish) }()
	for range 10 {
		// Nobody waits for a link that is away.
		if err := sink.Publish(t.Context(), events(1000, event.KindFlow)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sink.Publish(t.Context(), events(1, event.KindLedger)); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.away = false
	w.mu.Unlock()
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(w.got) != 10_002 || s.Pending() != 0 {
		t.Fatalf("%d entries arrived, %d wait", len(w.got), s.Pending())
	}
	accounts := 0
	for _, e := range w.got {
		if e.Route == spool.ToSensors {
			accounts++
			if string(e.Key) != "s" || !strings.Contains(string(e.Value), `"spooled":10000`) {
				t.Errorf("account: %s %s", e.Key, e.Value)
			}
		}
	}
	if accounts != 1 {
		t.Errorf("%d accounts", accounts)
	}
}

func TestDrainEndsWithItsContext(t *testing.T) {
	s := open(t, spool.DefaultConfig(t.TempDir()))
	if err := spool.NewSink(s, key).Publish(t.Context(), events(10, event.KindFlow)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Drain(ctx, &wire{away: true}, 0, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if s.Pending() != 10 {
		t.Errorf("%d wait, want 10", s.Pending())
	}
}

// TestThinLink drains over a link with a bound on bytes per second: what is
// more important and comes later overtakes, and the bound holds.
func TestThinLink(t *testing.T) {
	s := open(t, spool.DefaultConfig(t.TempDir()))
	sink := spool.NewSink(s, key)
	if err := sink.Publish(t.Context(), events(2000, event.KindFlow)); err != nil {
		t.Fatal(err)
	}
	const rate = 200_000
	w := &wire{}
	finish := make(chan struct{})
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.Drain(t.Context(), w, rate, finish) }()
	for w.Sent() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := sink.Publish(t.Context(), events(1, event.KindAlert)); err != nil {
		t.Fatal(err)
	}
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if least := time.Duration(float64(w.Sent()-rate-1000) / rate * float64(time.Second)); time.Since(began) < least {
		t.Errorf("%d bytes in %s, bound %d a second", w.Sent(), time.Since(began), rate)
	}
	for i, e := range w.got {
		if strings.Contains(string(e.Value), "tocsin.alert") {
			if i > len(w.got)/2+1000 {
				t.Errorf("the alert comes at place %d of %d", i, len(w.got))
			}
			return
		}
	}
	t.Error("the alert is not there")
}

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		kind      event.Kind
		operation string
		want      spool.Class
	}{
		{event.KindLedger, "", spool.Alerts}, {event.KindAlert, "", spool.Alerts}, {event.KindFlow, "", spool.Flows},
		{event.KindARP, "", spool.Assets}, {"modbus", "write", spool.Writes}, {"modbus", "read", spool.Bulk},
		{"s7comm", "program", spool.Writes}, {"bacnet", "discover", spool.Assets}, {"dns", "", spool.Bulk},
	} {
		e := event.Event{Kind: c.kind}
		if c.operation != "" {
			e.Set("ics.operation", event.Str(c.operation))
		}
		if got := spool.ClassOf(&e); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.kind, c.operation, got, c.want)
		}
	}
}

func TestAside(t *testing.T) {
	cfg := spool.DefaultConfig(t.TempDir())
	s := open(t, cfg)
	e := spool.Entry{Value: []byte(`{"a":1}`)}
	if err := s.Aside(&e, errors.New(`too "large"`)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(cfg.Dir, "aside.jsonl"))
	if want := `{"reason":"too \"large\"","event":{"a":1}}` + "\n"; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	e.Value = make([]byte, 65<<20)
	if err := s.Aside(&e, errors.New("x")); !errors.Is(err, spool.ErrAsideFull) {
		t.Error(err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, sync := range []time.Duration{100 * time.Millisecond, 0} {
		b.Run("sync="+sync.String(), func(b *testing.B) {
			cfg := spool.DefaultConfig(b.TempDir())
			cfg.Sync = sync
			s, err := spool.Open(cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			sink := spool.NewSink(s, key)
			batch := events(512, event.KindFlow)
			for b.Loop() {
				sink.Publish(b.Context(), batch)
				if got, ok := s.Next(1 << 20); ok {
					s.Ack(got)
				}
			}
			b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "events/s")
		})
	}
}
