// Captures writes the captures that the benchmark reads: pcap files of more
// than a million packets each, made from recordings and from nothing else but a
// seed. The same recordings make the same files.
//
//	mixed       captures of TOCSIN_CORPUS, see mix; where that is not set, the
//	            office's and the border's side of the scenarios, many times
//	industrial  the substation's side of the scenarios, likewise
//	stress      over a million flows of a few small packets
//	concurrent  100,000 flows at the same time
//
// A recording is multiplied by copies that overlap in time, each with
// addresses of its own; checksums stay as right or wrong as they were.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	out := flag.String("out", ".cache/bench", "`DIR` to write to")
	scenarios := flag.String("scenarios", "testdata/scenarios", "`DIR` of the recorded scenarios")
	packets := flag.Int("packets", 1_500_000, "least `N`umber of packets in a capture")
	only := flag.String("only", "", "write this capture alone")
	flag.Parse()
	if err := run(*out, *scenarios, *packets, *only); err != nil {
		fmt.Fprintln(os.Stderr, "captures:", err)
		os.Exit(1)
	}
}

func run(out, scenarios string, packets int, only string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	recorded, err := recordings(scenarios)
	if err != nil {
		return err
	}
	var mixed, industrial []string
	for _, path := range recorded {
		if strings.HasPrefix(filepath.Base(path), "substation.") {
			industrial = append(industrial, path)
		} else {
			mixed = append(mixed, path)
		}
	}
	if len(mixed) == 0 || len(industrial) == 0 {
		return fmt.Errorf("%s: want recordings of a substation and of other taps, have %q", scenarios, recorded)
	}
	parts := once(mixed)
	if corpus := os.Getenv("TOCSIN_CORPUS"); corpus != "" {
		parts = slices.Clone(mix)
		for i := range parts {
			parts[i].path = filepath.Join(corpus, parts[i].path)
		}
	}
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"mixed", func(path string) error { return multiply(path, parts, packets) }},
		{"industrial", func(path string) error { return multiply(path, once(industrial), packets) }},
		{"concurrent", func(path string) error { return write(path, concurrent) }},
		{"stress", func(path string) error { return write(path, func(w *writer) error { return stress(w, packets) }) }},
	} {
		if only != "" && only != c.name {
			continue
		}
		if err := c.make(filepath.Join(out, c.name+".pcap")); err != nil {
			return err
		}
	}
	return nil
}

// recordings are the captures below a folder, by path.
func recordings(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimSuffix(strings.TrimSuffix(d.Name(), ".zst"), ".gz")
		if ext := filepath.Ext(name); err == nil && d.Type().IsRegular() && (ext == ".pcap" || ext == ".pcapng" || ext == ".cap") {
			paths = append(paths, path)
		}
		return err
	})
	slices.Sort(paths)
	return paths, err
}

// writer writes a pcap file of Ethernet frames with times in nanoseconds.
type writer struct {
	*bufio.Writer
	head           [16]byte
	packets, bytes int
}

// epoch is when all captures begin.
var epoch = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)

// write makes a file, whole or not at all.
func write(path string, content func(*writer) error) (err error) {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(path+".part"))
		}
	}()
	w := &writer{Writer: bufio.NewWriterSize(f, 1<<20)}
	header := little.AppendUint32(nil, 0xa1b23c4d)
	header = little.AppendUint16(header, 2)
	header = little.AppendUint16(header, 4)
	header = append(header, make([]byte, 8)...)
	header = little.AppendUint32(header, 1<<18)
	header = little.AppendUint32(header, 1) // LINKTYPE_ETHERNET
	w.Write(header)
	if err = content(w); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	fmt.Printf("%s: %d packets of %d bytes on average\n", filepath.Base(path), w.packets, w.bytes/max(w.packets, 1))
	return os.Rename(path+".part", path)
}

// packet writes a frame that was length bytes long on the wire, at a time from
// the epoch. Errors are kept for Flush.
func (w *writer) packet(at time.Duration, frame []byte, length int) {
	at += time.Duration(epoch.UnixNano())
	little.PutUint32(w.head[:], uint32(at/time.Second))
	little.PutUint32(w.head[4:], uint32(at%time.Second))
	little.PutUint32(w.head[8:], uint32(len(frame)))
	little.PutUint32(w.head[12:], uint32(length))
	w.Write(w.head[:])
	w.Write(frame)
	w.packets++
	w.bytes += len(frame)
}
