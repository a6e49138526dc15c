package follow

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

// maxFiles bounds the files of a folder. They are remembered as long as they
// are there.
const maxFiles = 100_000

// folder knows the files of a folder: which were read, and which come next.
type folder struct {
	path    string
	changed time.Time // the folder itself, at the last scan
	scanned time.Time
	known   map[string]*entry // by name
	queue   []*entry
}

// entry is a file of a folder.
type entry struct {
	name  string
	size  int64     // when it was left; -1 before
	first time.Time // of the first packet; zero if it has none yet
	told  bool      // that it grew after it was read
}

func openFolder(path string) (*folder, error) {
	f := &folder{path: path, known: map[string]*entry{}}
	_, err := f.scan()
	return f, err
}

// scan looks for files that have come since the last time. It returns those
// that were read before they were complete, each once.
func (f *folder) scan() (grown []string, err error) {
	// A file may come in the moment of a scan, within the folder's time stamp.
	const resolution = 2 * time.Second
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if info.ModTime().Equal(f.changed) && now.Sub(f.changed) > resolution && now.Sub(f.scanned) < time.Minute {
		return nil, nil
	}
	list, err := os.ReadDir(f.path)
	if err != nil {
		return nil, err
	}
	f.changed, f.scanned = info.ModTime(), now
	there := make(map[string]bool, len(list))
	for _, e := range list {
		name := e.Name()
		if strings.HasPrefix(name, ".") || e.IsDir() {
			continue
		}
		info, err := os.Stat(filepath.Join(f.path, name)) // also through links
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		there[name] = true
		if k := f.known[name]; k == nil {
			if len(f.known) == maxFiles {
				return grown, fmt.Errorf("%s: holds more than %d files; give a folder with fewer", f.path, maxFiles)
			}
			k = &entry{name: name, size: -1}
			f.known[name] = k
			f.queue = append(f.queue, k)
		} else if k.size >= 0 && info.Size() > k.size && !k.told {
			k.told = true
			grown = append(grown, filepath.Join(f.path, name))
		}
	}
	for name := range f.known {
		if !there[name] {
			delete(f.known, name)
		}
	}
	f.queue = slices.DeleteFunc(f.queue, func(e *entry) bool { return !there[e.name] })
	for _, e := range f.queue {
		if e.first.IsZero() {
			e.first = firstPacket(filepath.Join(f.path, e.name))
		}
	}
	slices.SortFunc(f.queue, func(a, b *entry) int {
		switch empty := b.first.IsZero(); {
		case a.first.IsZero() == empty:
			return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.name, b.name))
		case empty:
			return -1 // what has no packet yet comes last
		}
		return 1
	})
	return grown, nil
}

// firstPacket is the time of a capture's first packet, or zero.
func firstPacket(path string) time.Time {
	in, err := os.Open(path)
	if err != nil {
		return time.Time{}
	}
	defer in.Close()
	const enough = 64 << 10
	r, err := file.New(io.LimitReader(in, enough), path)
	if err != nil {
		return time.Time{}
	}
	defer r.Close()
	var p capture.Packet
	if r.Next(&p) != nil {
		return time.Time{}
	}
	return p.Time
}

// waiting reports whether there is a file to be read next.
func (f *folder) waiting() bool { return len(f.queue) > 0 }

// take returns the path of the file that is to be read next.
func (f *folder) take() (path string, ok bool) {
	if len(f.queue) == 0 {
		return "", false
	}
	e := f.queue[0]
	f.queue = f.queue[1:]
	return filepath.Join(f.path, e.name), true
}

// leave takes note that a file was read.
func (f *folder) leave(path string) {
	e := f.known[filepath.Base(path)]
	if e == nil {
		return
	}
	e.size = 0
	if info, err := os.Stat(path); err == nil {
		e.size = info.Size()
	}
}
