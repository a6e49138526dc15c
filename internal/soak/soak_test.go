//go:build linux

// Package soak tests that sensors can run for long. Its test is short unless
// make soak says otherwise.
package soak

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/cable"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/afpacket"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/capture/follow"
	"github.com/tocsin/tocsin/sensor/proto/all"
)

var duration = flag.Duration("duration", 10*time.Second, "how long the sensors run")

// What must be flat is compared from a fifth of the time on, when everything
// that is bounded has been filled, with the last fifth. Less than this is too
// short for that.
const longEnough = 5 * time.Minute

// account is a sink that encodes events, as those that go to a bus are, and
// checks each minute of the ledger.
type account struct {
	mu     sync.Mutex
	buffer []byte
	events uint64
	bytes  uint64
	off    []string // ledgers that do not balance
}

func (a *account) Publish(_ context.Context, batch []event.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range batch {
		e := &batch[i]
		a.buffer = e.AppendJSON(a.buffer[:0])
		a.events++
		a.bytes += uint64(len(a.buffer))
		if e.Kind == event.KindLedger {
			ledger := event.Ledger{}
			if ledger.Add(e); ledger.Off() != 0 {
				a.off = append(a.off, string(a.buffer))
			}
		}
	}
	return nil
}

// traffic is what is sent: the recorded scenarios, whole and mutated, the same
// words from sources that nobody has seen before, and SYNs of such. It is the
// same each time.
type traffic struct {
	frames [][]byte
	random *rand.Rand
	at     int
	frame  []byte
}

// record reads the frames of the scenarios.
func record(t *testing.T) *traffic {
	t.Helper()
	paths, err := filepath.Glob("../../testdata/scenarios/*/*.pcap.zst")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	tr := &traffic{random: rand.New(rand.NewPCG(1, 2))}
	for _, path := range paths {
		source, err := file.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var p capture.Packet
		for {
			if err := source.Next(&p); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			const longest = 1514
			if p.Link == 1 && len(p.Data) >= 14 && len(p.Data) <= longest && len(tr.frames) < 50_000 {
				tr.frames = append(tr.frames, slices.Clone(p.Data))
			}
		}
		source.Close()
	}
	return tr
}

// next is the next frame: each tenth is mutated. It is valid until the next call.
func (tr *traffic) next() []byte {
	f := tr.frames[tr.at%len(tr.frames)]
	tr.at++
	if tr.at%10 != 0 {
		return f
	}
	tr.frame = append(tr.frame[:0], f...)
	for range 1 + tr.random.IntN(6) {
		tr.frame[12+tr.random.IntN(len(f)-12)] ^= byte(1 + tr.random.IntN(255))
	}
	if tr.random.IntN(3) == 0 {
		tr.frame = tr.frame[:14+tr.random.IntN(len(f)-13)]
	}
	return tr.frame
}

// syn is a SYN from anywhere.
func (tr *traffic) syn() []byte {
	f := append(tr.frame[:0], make([]byte, 54)...)
	f[0], f[6], f[12] = 2, 2, 8
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], 40)
	binary.BigEndian.PutUint32(ip[12:], tr.random.Uint32())
	copy(ip[16:], []byte{192, 0, 2, 80})
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp, uint16(tr.random.Uint32()))
	tcp[3], tcp[12], tcp[13] = 80, 5<<4, 2
	binary.BigEndian.PutUint32(tcp[4:], tr.random.Uint32())
	tr.frame = f
	return f
}

// stranger is the next frame, if it is of TCP over IPv4 and has content, from
// anywhere: whoever watches has to begin a conversation for it.
func (tr *traffic) stranger() []byte {
	for range tr.frames {
		f := tr.frames[tr.at%len(tr.frames)]
		tr.at++
		if len(f) > 80 && f[12] == 8 && f[13] == 0 && f[14] == 0x45 && f[23] == 6 {
			tr.frame = append(tr.frame[:0], f...)
			// Both addresses change by the same, so the checksums stay as right as
			// they were.
			by := tr.random.Uint32()
			for _, at := range []int{26, 30} {
				binary.BigEndian.PutUint32(tr.frame[at:], binary.BigEndian.Uint32(tr.frame[at:])^by)
			}
			return tr.frame
		}
	}
	return tr.next()
}

// pick chooses what is sent at a time: of ten seconds, one is a flood of SYNs and
// one of strangers. So whatever is bounded by number is full after some seconds,
// and stays so.
func (tr *traffic) pick(since time.Duration) func() []byte {
	switch since % (10 * time.Second) / time.Second {
	case 4:
		return tr.stranger
	case 9:
		return tr.syn
	}
	return tr.next
}

// send puts traffic on the cable as fast as it can until ctx is done.
func (tr *traffic) send(ctx context.Context, fd, index int) (sent uint64) {
	to := &unix.SockaddrLinklayer{Ifindex: index}
	began := time.Now()
	f := tr.next
	for n := 0; ; n++ {
		if n%256 == 0 {
			if ctx.Err() != nil {
				return sent
			}
			f = tr.pick(time.Since(began))
		}
		if unix.Sendto(fd, f(), 0, to) == nil {
			sent++
		}
	}
}

// write puts captures into a folder, one after the other, the oldest of which it
// removes. The clock steps from one to the next, and some break off.
func (tr *traffic) write(ctx context.Context, dir string) error {
	steps := []time.Duration{time.Second, 26 * time.Hour, -3 * time.Hour, time.Minute, -40 * 24 * time.Hour, 400 * 24 * time.Hour}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := make([]byte, 0, 8<<20)
	for n := 0; ctx.Err() == nil; n++ {
		b = append(b[:0], "\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00"...)
		for range 10_000 {
			f := tr.next()
			at = at.Add(time.Millisecond)
			b = binary.LittleEndian.AppendUint32(b, uint32(at.Unix()))
			b = binary.LittleEndian.AppendUint32(b, uint32(at.Nanosecond()/1000))
			b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
			b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
			b = append(b, f...)
		}
		if n%7 == 6 {
			b = b[:len(b)-9]
		}
		at = at.Add(steps[n%len(steps)])
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.pcap", n)), b, 0o600); err != nil {
			return err
		}
		if n >= 5 {
			if err := os.Remove(filepath.Join(dir, fmt.Sprintf("%06d.pcap", n-5))); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(2500 * time.Millisecond):
		}
	}
	return nil
}

// sample is how the process is.
type sample struct {
	at                time.Duration
	memory            int // bytes resident
	files, goroutines int
}

func look(began time.Time) (s sample, err error) {
	s.at, s.goroutines = time.Since(began), runtime.NumGoroutine()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return s, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	s.memory = pages * os.Getpagesize()
	files, e := os.ReadDir("/proc/self/fd")
	s.files = len(files) - 1 // the folder's own
	return s, errors.Join(err, e)
}

// middle is the median of what is told of samples.
func middle(samples []sample, of func(sample) int) int {
	values := make([]int, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// arrivals is how many packets have come out of the cable.
func arrivals(t *testing.T) uint64 {
	t.Helper()
	out, err := exec.Command("ip", "-json", "-statistics", "link", "show", "there").Output()
	if err != nil {
		t.Fatal(err)
	}
	var links []struct {
		Stats struct{ RX struct{ Packets uint64 } } `json:"stats64"`
	}
	if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
		t.Fatal(err, string(out))
	}
	return links[0].Stats.RX.Packets
}

// TestSoak runs a sensor with two workers on a cable that is as busy as can be
// and goes down now and then, and one on a folder of captures whose clock steps
// and some of which are broken. What they hold must not grow, and their ledgers
// must balance.
func TestSoak(t *testing.T) {
	cable.Plug(t)
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(40)) // as tocsin sensor has it
	}
	tr, written := record(t), record(t)
	here, err := net.InterfaceByName("here")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		t.Fatal(err)
	}
	capturing, stop := context.WithCancel(t.Context())
	defer stop()
	ring := afpacket.DefaultConfig("there")
	ring.Sockets, ring.Ring = 2, 16<<20
	rings, err := afpacket.Open(capturing, ring)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var broken atomic.Uint64
	folder, err := follow.Open(capturing, follow.Config{Path: dir, Report: func(error) { broken.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}

	var sinks [2]account
	cfg := sensor.DefaultConfig()
	cfg.Live, cfg.Workers, cfg.Protocols = true, 2, all.Protocols()
	live, err := sensor.New(cfg, func(n int) (capture.Source, error) { return rings[n], nil }, &sinks[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg.Workers = 1
	followed, err := sensor.New(cfg, func(int) (capture.Source, error) { return folder, nil }, &sinks[1])
	if err != nil {
		t.Fatal(err)
	}
	var running, sending sync.WaitGroup
	for _, s := range []*sensor.Sensor{live, followed} {
		running.Go(func() {
			if err := s.Run(capturing); err != nil && !errors.Is(err, sensor.ErrLinkType) {
				t.Error(err)
			}
		})
	}
	before := arrivals(t)
	busy, quiet := context.WithTimeout(t.Context(), *duration)
	defer quiet()
	began := time.Now()
	var sent uint64
	sending.Go(func() { sent = tr.send(busy, fd, here.Index) })
	sending.Go(func() {
		if err := written.write(busy, dir); err != nil {
			t.Error(err)
		}
	})
	var samples []sample
	flaps := 0
	for seconds := 1; busy.Err() == nil; seconds++ {
		select {
		case <-busy.Done():
		case <-time.After(time.Second):
		}
		s, err := look(began)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, s)
		if seconds%15 == 5 {
			cable.IP(t, "link set there down")
			time.Sleep(100 * time.Millisecond)
			cable.IP(t, "link set there up")
			flaps++
		}
	}
	sending.Wait()
	time.Sleep(3 * time.Second) // until what is in rings and files was read
	stop()
	running.Wait()
	arrived := arrivals(t) - before

	ledgers := []event.Ledger{live.Counters().Ledger, followed.Counters().Ledger}
	for i, name := range []string{"cable", "folder"} {
		if off := ledgers[i].Off(); off != 0 || len(sinks[i].off) > 0 {
			t.Errorf("%s: the ledger is off by %d; minutes that are: %q", name, off, sinks[i].off)
		}
	}
	// Of what comes while the interface goes down or up, a few packets at most may
	// be counted nowhere.
	seen := ledgers[0]["seen"]
	if most := uint64(20 * flaps); seen > arrived || seen+most < arrived {
		t.Errorf("%d packets arrived, the ledger has %d", arrived, seen)
	}
	if n := ledgers[1]["files_broken"]; n != broken.Load() {
		t.Errorf("%d broken files were told of, the ledger has %d", broken.Load(), n)
	}
	if *duration > 10*time.Second && (ledgers[0]["interface_down"] == 0 || ledgers[1]["clock_jumps"] == 0 || ledgers[1]["files_broken"] == 0) {
		t.Errorf("the faults did not happen: %v, %v", ledgers[0], ledgers[1])
	}

	first, last := samples[len(samples)/5:2*len(samples)/5+1], samples[4*len(samples)/5:]
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "\nafter\t%v to %v\t%v to %v\t\n", first[0].at.Round(time.Second), first[len(first)-1].at.Round(time.Second), last[0].at.Round(time.Second), last[len(last)-1].at.Round(time.Second))
	for _, m := range []struct {
		name  string
		of    func(sample) int
		unit  int
		extra float64
	}{
		{"memory, MB", func(s sample) int { return s.memory }, 1 << 20, 0.05},
		{"open files", func(s sample) int { return s.files }, 1, 0},
		{"goroutines", func(s sample) int { return s.goroutines }, 1, 0},
	} {
		a, z := middle(first, m.of), middle(last, m.of)
		fmt.Fprintf(w, "%s\t%d\t%d\t%+.1f %%\n", m.name, a/m.unit, z/m.unit, 100*(float64(z)/float64(a)-1))
		if *duration >= longEnough && float64(z) > float64(a)*(1+m.extra) {
			t.Errorf("%s: %d became %d", m.name, a, z)
		}
	}
	w.Flush()
	fmt.Fprintf(&b, "\nsent %d packets (%d/s), %d arrived, %d times down\n", sent, uint64(float64(sent)/duration.Seconds()), arrived, flaps)
	for i, name := range []string{"cable", "folder"} {
		l := ledgers[i]
		fmt.Fprintf(&b, "%s: seen %d = decoded %d + filtered %d + dropped %d; %d events, %d MB of JSON\n", name, l["seen"], l["decoded"], l["filtered"], l.Dropped(), sinks[i].events, sinks[i].bytes>>20)
		var other []string
		for k, n := range l {
			if n > 0 && k != "seen" && k != "decoded" && k != "filtered" && k != "events" {
				other = append(other, fmt.Sprintf("%s %d", k, n))
			}
		}
		slices.Sort(other)
		fmt.Fprintf(&b, "  %s\n", strings.Join(other, ", "))
	}
	t.Log(b.String())
}
