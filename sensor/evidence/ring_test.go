package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// datagram is an Ethernet frame with a UDP datagram of noise, which does not
// compress.
func datagram(src, dst netip.Addr, size int, noise *rand.Rand) []byte {
	s, d := src.As4(), dst.As4()
	n := 28 + size
	b := append(make([]byte, 12), 0x08, 0, 0x45, 0, byte(n>>8), byte(n), 0, 0, 0, 0, 64, 17, 0, 0)
	b = append(append(b, s[:]...), d[:]...)
	b = append(b, 0x10, 0, 0, 53, byte((n-20)>>8), byte(n-20), 0, 0)
	for range size {
		b = append(b, byte(noise.Uint32()))
	}
	return b
}

// fill records so many seconds of noise, in which hosts 1 and 2 talk in second
// talk, if that is not negative; 20 packets of 1,000 bytes a second.
func fill(rec *Recorder, from, seconds, talk int) {
	noise := rand.New(rand.NewPCG(uint64(from), 7))
	for s := from; s < from+seconds; s++ {
		for i := range 20 {
			src, dst := addr(100+i), addr(200+noise.IntN(1000))
			if s == talk && i < 5 {
				src, dst = addr(1), addr(2)
			}
			data := datagram(src, dst, 960, noise)
			rec.Add(&capture.Packet{Time: noon.Add(time.Duration(s)*time.Second + time.Duration(i)*time.Millisecond), Data: data, Length: len(data), Link: 1})
		}
	}
}

var tap = capture.Interface{Sensor: "plant north", Name: "eth0"}

func open(t *testing.T, dir string, bytes int64) *Ring {
	t.Helper()
	r, err := Open(Config{Dir: dir, Bytes: bytes, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func talking(from, to int) []Session {
	return []Session{{Src: netip.AddrPortFrom(addr(1), 0), Dst: netip.AddrPortFrom(addr(2), 0), From: at(from), To: at(to)}}
}

func netipPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }

func at(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }

func fetch(t *testing.T, r *Ring, sessions []Session) (*Report, int) {
	t.Helper()
	var out bytes.Buffer
	report, err := r.Fetch(t.Context(), sessions, &out, nil)
	if err != nil {
		t.Fatal(err)
	}
	src, err := file.New(bytes.NewReader(out.Bytes()), "fetched.pcapng")
	if err != nil {
		if report.Packets == 0 {
			return report, 0
		}
		t.Fatal(err)
	}
	defer src.Close()
	n := 0
	var last time.Time
	var p capture.Packet
	for {
		err := src.Next(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Time.Before(last) {
			t.Error("packets are out of order")
		}
		last = p.Time
		n++
	}
	if uint64(n) != report.Packets {
		t.Errorf("the report says %d packets, there are %d", report.Packets, n)
	}
	return report, n
}

func onDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wait waits until every pin is served as far as it can be.
func wait(t *testing.T, r *Ring, served func(Stats) bool) {
	t.Helper()
	for range 100 {
		if served(r.Stats()) {
			return
		}
		r.rouse()
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%+v", r.Stats())
}

func TestRingIsBoundedAndFinds(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 8<<20)
	rec := r.Recorder(tap)
	fill(rec, 0, 1200, 1190) // 24 MB
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	if s.Recorded != 24_000 || s.Deleted == 0 || s.Behind != 0 || s.Full != 0 || s.Failure != "" {
		t.Errorf("%+v", s)
	}
	if n := onDisk(t, dir); n > 8<<20 || n < 4<<20 || n < s.Bytes {
		t.Errorf("%d bytes on disk, %d by the account", n, s.Bytes)
	}
	report, n := fetch(t, r, talking(1180, 1199))
	if n != 5 || report.Counts[0] != 5 || len(report.Missing) != 0 || len(report.Broken) != 0 {
		t.Errorf("%d packets, %+v", n, report)
	}
	report, n = fetch(t, r, talking(0, 10))
	if n != 0 || len(report.Missing) != 1 {
		t.Errorf("what was deleted is not missing: %d packets, %+v", n, report)
	}
	// The same after the process came back.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir, 8<<20)
	if _, n := fetch(t, r, talking(1180, 1199)); n != 5 {
		t.Errorf("%d packets after a restart", n)
	}
	one := talking(1180, 1199)
	one[0].Sensor = "plant north"
	if _, n := fetch(t, r, one); n != 5 {
		t.Errorf("%d packets of the sensor after a restart", n)
	}
	if _, err := Open(Config{Dir: dir, Bytes: 8 << 20}); err == nil {
		t.Error("two rings in one folder")
	}
	only, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, n := fetch(t, only, talking(1180, 1199)); n != 5 {
		t.Errorf("%d packets read by another process", n)
	}
}

// TestPinsSurvive pins before and behind the moment, fills the ring over and
// over, and restarts.
func TestPinsSurvive(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 8<<20)
	rec := r.Recorder(tap)
	fill(rec, 0, 100, 90) // it happens at 90
	a := event.Alert{ID: event.FirstID(at(95)), First: at(95), Last: at(95), Sources: []netip.Addr{addr(1)}, Targets: []netip.Addr{addr(2)}}
	if err := r.Pin(PinAlert(&a, 30*time.Second, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	fill(rec, 100, 20, 110) // and again, after the alert
	fill(rec, 120, 1500, 1000)
	wait(t, r, func(s Stats) bool { return s.Unserved == 0 })
	if s := r.Stats(); s.Deleted == 0 {
		t.Fatalf("nothing was deleted: %+v", s)
	}
	check := func(r *Ring) {
		t.Helper()
		if _, n := fetch(t, r, talking(0, 200)); n != 10 {
			t.Errorf("%d packets, want those of before and after the alert", n)
		}
		if pins := r.Pins(); len(pins) != 1 || pins[0].Packets != 10 || pins[0].Bytes == 0 || !pins[0].Served {
			t.Errorf("%+v", pins)
		}
	}
	check(r)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir, 8<<20)
	check(r)
	if ok, err := r.Release(a.ID.String()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, n := fetch(t, r, talking(0, 200)); n != 0 || r.Stats().Pinned != 0 {
		t.Errorf("%d packets after the release, %+v", n, r.Stats())
	}
	if ok, err := r.Release("unknown"); ok || err != nil {
		t.Error(ok, err)
	}
}

// TestTwoPinsOfOnePacket fetches what two cases have pinned, once.
func TestTwoPinsOfOnePacket(t *testing.T) {
	r := open(t, t.TempDir(), 8<<20)
	rec := r.Recorder(tap)
	fill(rec, 0, 100, 50)
	for _, id := range []string{"case-1", "case-2"} {
		if err := r.Pin(Pin{ID: id, Sessions: talking(40, 60)}); err != nil {
			t.Fatal(err)
		}
	}
	fill(rec, 100, 1500, -1)
	wait(t, r, func(s Stats) bool { return s.Unserved == 0 })
	if _, n := fetch(t, r, talking(0, 99)); n != 5 {
		t.Errorf("%d packets, want 5", n)
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPinsAreBounded(t *testing.T) {
	r := open(t, t.TempDir(), MinBytes)
	for _, bad := range []Pin{{ID: "../x", Sessions: talking(0, 1)}, {ID: "", Sessions: talking(0, 1)}, {ID: "x"}, {ID: "x", Sessions: talking(2, 1)}} {
		if err := r.Pin(bad); err == nil {
			t.Errorf("%+v is pinned", bad)
		}
	}
	r.mu.Lock()
	r.pinned = r.cfg.Bytes
	r.mu.Unlock()
	if err := r.Pin(Pin{ID: "x", Sessions: talking(0, 1)}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
}

// TestTornFiles reads what a process left that was killed while it wrote: cut
// anywhere, the whole chunks before the cut are found and nothing is made up.
func TestTornFiles(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 8<<20)
	rec := r.Recorder(tap)
	fill(rec, 0, 20, 5)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, ringFolder, "*"+idxEnding))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut <= len(whole); cut += 1 + len(whole)/40 {
		if err := os.WriteFile(names[0], whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		r := open(t, dir, 8<<20)
		_, n := fetch(t, r, talking(0, 30))
		if n != 0 && n != 5 {
			t.Errorf("cut at %d: %d packets", cut, n)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A damaged chunk is told of.
	if err := os.WriteFile(names[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	data := names[0][:len(names[0])-len(idxEnding)] + dataEnding
	b, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(data, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir, 8<<20)
	if report, n := fetch(t, r, talking(0, 30)); n != 0 || len(report.Broken) == 0 {
		t.Errorf("damaged: %d packets, %+v", n, report)
	}
}

// TestFullDisk runs the ring on a file system of 6 MB which it believes to have
// 64: what is pinned survives, and capture goes on. It does so in namespaces of
// its own, in which anybody may mount.
func TestFullDisk(t *testing.T) {
	const dir = "TOCSIN_TEST_FULL_DISK"
	if os.Getenv(dir) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFullDisk$", "-test.v")
		cmd.Env = append(os.Environ(), dir+"="+t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	disk := os.Getenv(dir)
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Fatal(err)
	}
	r := open(t, disk, 64<<20)
	rec := r.Recorder(tap)
	fill(rec, 0, 100, 90)
	if err := r.Pin(Pin{ID: "case-1", Kind: "incident", Sessions: talking(80, 120)}); err != nil {
		t.Fatal(err)
	}
	fill(rec, 100, 900, 110)
	fill(rec, 1000, 600, 1595) // 32 MB in all
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, r, func(s Stats) bool { return s.Unserved == 0 })
	s := r.Stats()
	t.Logf("%+v", s)
	if s.Deleted == 0 || s.Bytes > 6<<20 || s.Recorded+s.Full != 32_000 || s.Full > 3200 {
		t.Errorf("%+v", s)
	}
	if _, n := fetch(t, r, talking(0, 200)); n != 10 {
		t.Errorf("%d pinned packets survive, want 10", n)
	}
	if _, n := fetch(t, r, talking(1590, 1600)); n != 5 {
		t.Errorf("capture did not go on: %d packets of the end", n)
	}
}

// TestBehind drops chunks when the disk is too slow, counts them, and writes
// down when.
func TestBehind(t *testing.T) {
	r, err := Open(Config{Dir: t.TempDir(), Bytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rec := r.Recorder(tap)
	r.mu.Lock() // the disk stands still
	fill(rec, 0, 60, -1)
	r.mu.Unlock()
	fill(rec, 60, 40, 95)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	if s.Behind == 0 || s.Recorded+s.Behind != 2000 {
		t.Errorf("%+v", s)
	}
	report, _ := fetch(t, r, talking(0, 99))
	var left uint64
	for _, g := range report.Missing {
		left += g.Packets
	}
	if left != s.Behind {
		t.Errorf("%d packets are said to be missing of %d", left, s.Behind)
	}
}

func TestBloom(t *testing.T) {
	hosts := map[netip.Addr]struct{}{}
	for i := range 1000 {
		hosts[addr(i)] = struct{}{}
	}
	b := bloomOf(hosts)
	wrong := 0
	for i := range 20_000 {
		if has := mayHave(b, addr(i)); i < 1000 && !has {
			t.Fatalf("%s is not found", addr(i))
		} else if i >= 1000 && has {
			wrong++
		}
	}
	if wrong > 19_000/40 {
		t.Errorf("%d of 19000 are found that are not there", wrong)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(appendRecord(nil, &frame{kind: kindChunk, first: noon, last: noon, packets: 1, length: 10, unpacked: 20, bloom: []byte{1, 2}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		readRecords(b, func(f *frame) {
			if len(f.bloom) > 0 {
				mayHave(f.bloom, addr(1))
			}
		})
		links := sectionLinks(b)
		describe(b)
		walk(b, links, func(p *capture.Packet) {
			if len(p.Data) > len(b) {
				t.Error("more than there is")
			}
		})
	})
}

// BenchmarkRecord is what a packet costs that is recorded: first what its own
// goroutine spends, then all.
func BenchmarkRecord(b *testing.B) {
	noise := rand.New(rand.NewPCG(1, 1))
	packets := make([]capture.Packet, 1000)
	for i := range packets {
		data := datagram(addr(i%50), addr(100+i%70), 100, noise)
		data = append(data, bytes.Repeat([]byte("GET /path HTTP/1.1 "), 28)...) // half noise, half text
		packets[i] = capture.Packet{Data: data, Length: len(data), Link: 1}
	}
	for _, how := range []string{"all", "copy"} {
		b.Run(how, func(b *testing.B) {
			r, err := Open(Config{Dir: b.TempDir(), Bytes: 64 << 20, Wait: true})
			if err != nil {
				b.Fatal(err)
			}
			rec := r.Recorder(tap)
			b.ReportAllocs()
			b.SetBytes(int64(len(packets[0].Data)))
			i := 0
			var c chunk
			c.begin(tap)
			for b.Loop() {
				p := &packets[i%len(packets)]
				p.Time = noon.Add(time.Duration(i) * 10 * time.Microsecond)
				i++
				if how == "all" {
					rec.Add(p)
				} else if c.add(p); len(c.raw) > chunkBytes {
					c.begin(tap)
				}
			}
			if err := errors.Join(rec.Close(), r.Close()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func ExamplePinAlert() {
	a := event.Alert{ID: event.FirstID(noon), First: noon, Last: noon, Sources: []netip.Addr{addr(1)}, Targets: []netip.Addr{addr(2), addr(3)}}
	p := PinAlert(&a, time.Minute, time.Second)
	fmt.Println(len(p.Sessions), p.Sessions[0].From.Format(time.TimeOnly), slices.Contains([]string{"alert"}, p.Kind))
	// Output: 2 11:59:00 true
}
