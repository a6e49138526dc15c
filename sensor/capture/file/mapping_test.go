package file_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// onDisk writes a capture of n packets of 1,000 bytes to a file.
func onDisk(t *testing.T, n int) (path string, content []byte) {
	t.Helper()
	content, _ = long(n, 1000)
	path = filepath.Join(t.TempDir(), "border.pcap")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// open opens a file, mapped or not, in one of the ways to read it.
func open(t *testing.T, path string, mapped bool, way func(*file.Reader) capture.Source) capture.Source {
	t.Helper()
	src, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	if mapped {
		src.(capture.Mapper).Map()
	}
	return way(src.(*file.Reader))
}

// TestMap asks that a mapped file is what a file that is read is: with a part of
// a packet at the end, what is appended while it is read, and what is not worth it.
func TestMap(t *testing.T) {
	for name, way := range ways {
		for _, cut := range []int64{0, 7, 1010} {
			path, content := onDisk(t, 9000)
			if err := os.Truncate(path, int64(len(content))-cut); err != nil {
				t.Fatal(err)
			}
			want, wantErr := read(open(t, path, false, way))
			got, err := read(open(t, path, true, way))
			if !slices.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s, without %d bytes: %d packets and %v, want %d and %v", name, cut, len(got), err, len(want), wantErr)
			}
		}
		path, content := onDisk(t, 9000)
		s := open(t, path, true, way)
		var p capture.Packet
		if err := s.Next(&p); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.Write(content[24:]); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if rest, err := read(s); len(rest) != 17_999 || err != io.EOF {
			t.Errorf("%s: %d packets after the first of a file that has grown, and %v", name, len(rest), err)
		}
		path, _ = onDisk(t, 10)
		if all, err := read(open(t, path, true, way)); len(all) != 10 || err != io.EOF {
			t.Errorf("%s: %d packets of a small file, and %v", name, len(all), err)
		}
	}
}

// TestMapDamaged asks that a mapped file that is damaged anywhere is what it is to
// who reads it.
func TestMapDamaged(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		path, content := onDisk(t, 6000)
		for range 1 + random.IntN(3) {
			at := 300_000 + random.IntN(len(content)-300_000)
			if random.IntN(2) == 0 {
				at = at/1016*1016 + 24 + random.IntN(16) // within a header
			}
			for i := range content[at:min(len(content), at+1+random.IntN(4))] {
				content[at+i] = byte(random.Uint32())
			}
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, way := range ways {
			want, wantErr := read(open(t, path, false, way))
			got, err := read(open(t, path, true, way))
			if !slices.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s: %d packets and %v, want %d and %v", name, len(got), err, len(want), wantErr)
			}
		}
	}
}

// TestMapCut asks what is said of a file that is cut off while it is mapped.
func TestMapCut(t *testing.T) {
	for name, way := range ways {
		path, content := onDisk(t, 9000)
		s := open(t, path, true, way)
		var p capture.Packet
		if err := s.Next(&p); err != nil {
			t.Fatal(err)
		}
		half := int64(len(content)/2/1016*1016) + 24 + 16 + 100
		if err := os.Truncate(path, half); err != nil {
			t.Fatal(err)
		}
		rest, err := read(s)
		want := fmt.Sprintf("border.pcap: cut off at byte %d: packet header says 1000 bytes, 100 are left", half)
		if len(rest) != int(half/1016)-1 || err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %d packets, and %v; want %d, and %s", name, len(rest), err, half/1016-1, want)
		}
	}
}

// TestMapAllocates asks that nothing is allocated for a packet, and that little of
// the file is resident at a time.
func TestMapAllocates(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	path, _ := onDisk(t, 60_000)
	before := residentFile(t)
	s := open(t, path, true, ways["in batches"])
	var p capture.Packet
	most := 0
	i := 0
	if n := testing.AllocsPerRun(50_000, func() {
		if err := s.Next(&p); err != nil || p.Time.Unix() != int64(i) || p.Data[999] != 'x' {
			t.Fatalf("packet %d: %v at %v", i, err, p.Time)
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	for ; s.Next(&p) == nil; i++ {
		if i%1000 == 0 {
			most = max(most, residentFile(t)-before)
		}
	}
	if most > 12<<20 {
		t.Errorf("%d MB of the file were resident at a time", most>>20)
	}
}

// residentFile is how many bytes of files are in the process's memory.
func residentFile(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssFile:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n << 10
}
