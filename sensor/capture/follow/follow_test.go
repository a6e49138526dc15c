package follow_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/follow"
)

// header begins a pcap of Ethernet frames.
func header() []byte {
	return []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00")
}

// packet is a pcap's packet of some second.
func packet(second uint32, data string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, second)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// add appends to a file, which is made if there is none.
func add(t *testing.T, path string, parts ...[]byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Join(parts, nil)); err != nil {
		t.Fatal(err)
	}
}

// follower reads a source until nothing comes.
type follower struct {
	*follow.Source
	stop     context.CancelFunc
	reported []string
}

func open(t *testing.T, c follow.Config) *follower {
	t.Helper()
	f := &follower{}
	c.Report = func(err error) { f.reported = append(f.reported, err.Error()) }
	ctx, stop := context.WithCancel(t.Context())
	f.stop = stop
	var err error
	if f.Source, err = follow.Open(ctx, c); err != nil {
		t.Fatal(err)
	}
	return f
}

// read returns what comes, and how it ended: capture.ErrIdle if nothing came
// for three seconds.
func (f *follower) read() (packets []string, err error) {
	var p capture.Packet
	for quiet := 0; quiet < 3; {
		switch err = f.Next(&p); err {
		case nil:
			quiet = 0
			packets = append(packets, fmt.Sprintf("%d %s", p.Time.Unix(), p.Data))
		case capture.ErrIdle:
			quiet++
		default:
			return packets, err
		}
	}
	return packets, err
}

// want reads and compares.
func (f *follower) want(t *testing.T, end error, packets ...string) {
	t.Helper()
	if got, err := f.read(); err != end || !slices.Equal(got, packets) {
		t.Errorf("got %q, %v; want %q, %v", got, err, packets, end)
	}
}

func TestFileGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "border.pcap")
		add(t, path)
		f := open(t, follow.Config{Path: path})
		f.want(t, capture.ErrIdle) // not even a header
		h := header()
		add(t, path, h[:10])
		f.want(t, capture.ErrIdle)
		first := packet(1000, "first")
		add(t, path, h[10:], first, packet(1001, "second"), first[:18])
		f.want(t, capture.ErrIdle, "1000 first", "1001 second")
		add(t, path, first[18:])
		f.want(t, capture.ErrIdle, "1000 first")
		if got := f.Interfaces(); len(got) != 1 || got[0] != (capture.Interface{Sensor: "border", Name: path}) {
			t.Errorf("interfaces %v", got)
		}

		// Another takes its name, as when captures are rotated; what is written
		// into the old one until then is not lost.
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		add(t, path+".1", packet(1002, "late"))
		f.want(t, capture.ErrIdle, "1002 late")
		add(t, path, h, packet(1003, "new"))
		f.want(t, capture.ErrIdle, "1003 new")

		// It begins anew.
		if err := os.WriteFile(path, slices.Concat(h, packet(1004, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		f.want(t, capture.ErrIdle, "1004 ")
		if c := f.Counters(); c.Received != 6 || c.Broken != 0 {
			t.Errorf("counters %+v", c)
		}
		add(t, path, first[:18]) // a half packet at the end is no error
		f.want(t, capture.ErrIdle)
		f.stop()
		f.want(t, io.EOF)
		if err := f.Close(); err != nil || f.reported != nil {
			t.Errorf("%v; %q", err, f.reported)
		}
	})
}

func TestFileDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "border.pcap")
		add(t, path, header(), packet(1000, "first"), bytes.Repeat([]byte{0xff}, 100))
		f := open(t, follow.Config{Path: path})
		got, err := f.read()
		if !slices.Equal(got, []string{"1000 first"}) || err == nil || !strings.Contains(err.Error(), "damaged at byte 45") {
			t.Errorf("got %q, %v", got, err)
		}
		f.Close()
	})
	if _, err := follow.Open(t.Context(), follow.Config{Path: "no-such.pcap"}); err == nil || err.Error() != "capture stat no-such.pcap: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

// The clock of the packets goes on while none come, but not so fast that those
// which their writer still has would be late.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "border.pcap")
		add(t, path)
		f := open(t, follow.Config{Path: path})
		defer f.Close()
		var p capture.Packet
		if err := f.Next(&p); err != capture.ErrIdle || !p.Time.IsZero() {
			t.Errorf("before the first packet: %v, %v", err, p.Time)
		}
		add(t, path, header(), packet(1000, "first"))
		if err := f.Next(&p); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			if err := f.Next(&p); err != capture.ErrIdle {
				t.Fatal(err)
			}
		}
		if d := p.Time.Sub(time.Unix(1000, 0)); d < 29*time.Second || d > 31*time.Second {
			t.Errorf("after 40 seconds the clock is %v ahead, want 30 s", d)
		}
	})
}

func TestFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "border")
		if err := os.MkdirAll(filepath.Join(dir, "folder"), 0o755); err != nil {
			t.Fatal(err)
		}
		h := header()
		at := func(name string) string { return filepath.Join(dir, name) }
		// Their names do not follow their times.
		add(t, at("z10.pcap"), h, packet(2000, "first"), packet(2001, "second"))
		add(t, at("z9.pcap"), h, packet(2002, "third"))
		add(t, at("a.txt"), []byte("no capture at all"))
		add(t, at(".hidden.pcap"), h, packet(1, "not looked at"))
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		z.Write(slices.Concat(h, packet(1999, "zipped")))
		z.Close()
		add(t, at("q.pcap.gz"), zipped.Bytes())
		f := open(t, follow.Config{Path: dir})
		f.want(t, capture.ErrIdle, "1999 zipped", "2000 first", "2001 second", "2002 third")
		if want := at("a.txt") + `: not a pcap or pcapng capture: it begins with text "no capture at al"`; !slices.Equal(f.reported, []string{want}) {
			t.Errorf("reported %q, want %q", f.reported, want)
		}

		// The next grows, with a pause in the middle of a packet; then another
		// comes, so it is done.
		next := packet(2003, "fourth")
		add(t, at("z11.pcap"), h, next[:20])
		f.want(t, capture.ErrIdle)
		add(t, at("z11.pcap"), next[20:])
		f.want(t, capture.ErrIdle, "2003 fourth")
		add(t, at("z12.pcap"), h, packet(2005, "sixth"))
		add(t, at("z11.pcap"), packet(2004, "fifth"), next[:20])
		f.want(t, capture.ErrIdle, "2004 fifth", "2005 sixth")
		if got := f.Counters(); got.Broken != 2 || got.Received != 7 {
			t.Errorf("%+v, want two broken files: %q", got, f.reported)
		}
		if got := f.reported[len(f.reported)-1]; !strings.HasPrefix(got, at("z11.pcap")+": cut off at byte") {
			t.Errorf("reported %q", got)
		}
		// What nobody reads any more grows.
		add(t, at("z11.pcap"), next[20:])
		time.Sleep(2 * time.Minute)
		f.want(t, capture.ErrIdle)
		if got := f.reported[len(f.reported)-1]; len(f.reported) != 3 || !strings.HasPrefix(got, at("z11.pcap")+": grew after it was read") {
			t.Errorf("reported %q", f.reported)
		}
		// Old files may go.
		for _, name := range []string{"z9.pcap", "z10.pcap", "z11.pcap"} {
			if err := os.Remove(at(name)); err != nil {
				t.Fatal(err)
			}
		}
		f.want(t, capture.ErrIdle)
		if got := f.Interfaces(); len(got) != 1 || got[0] != (capture.Interface{Sensor: "border", Name: dir}) {
			t.Errorf("interfaces %v", got)
		}
		f.stop()
		f.want(t, io.EOF)
		f.Close()
	})
}

// Once reads what there is.
func TestFolderOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range uint32(300) {
		add(t, filepath.Join(dir, fmt.Sprint(i)), header(), packet(5000-i, "x"), packet(5000-i, "y"))
	}
	add(t, filepath.Join(dir, "cut"), header(), packet(6000, "z")[:16])
	f := open(t, follow.Config{Path: dir, Once: true, Sensor: "tap"})
	got, err := f.read()
	if err != io.EOF || len(got) != 600 || !slices.IsSorted(got) {
		t.Errorf("%d packets, %v", len(got), err)
	}
	if c := f.Counters(); c.Broken != 1 || len(f.reported) != 1 || !strings.Contains(f.reported[0], "cut: cut off at byte") {
		t.Errorf("%+v, %q", c, f.reported)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// However fast a capture is followed, every packet comes, as it was.
func TestLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long.pcap")
	add(t, path, header())
	const n = 20_000
	data := func(i uint32) string { return strings.Repeat("0123456789"[i%10:i%10+1], int(i%1500)) }
	go func() {
		for i := range uint32(n) {
			if i%100 == 0 {
				add(t, path, packet(i, data(i))[:10])
				add(t, path, packet(i, data(i))[10:])
			} else {
				add(t, path, packet(i, data(i)))
			}
		}
	}()
	f := open(t, follow.Config{Path: path})
	defer f.Close()
	var p capture.Packet
	for i := uint32(0); i < n; {
		if err := f.Next(&p); err == capture.ErrIdle {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Time.Unix() != int64(i) || string(p.Data) != data(i) || p.Length != len(data(i)) {
			t.Fatalf("packet %d: %v, %d bytes", i, p.Time, len(p.Data))
		}
		i++
	}
}
