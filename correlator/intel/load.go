package intel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// List is a file of indicators, or a folder of such files.
type List struct {
	Provider string // shown on alerts; of an empty one the file's base name is used
	Path     string
	// What counts for every entry, unless it says so itself:
	Confidence int // 0 to 100; 0: 50
	TLP        string
	// HalfLife is the time after which an entry that was not seen again counts
	// half; 0: it does not age.
	HalfLife time.Duration
	// Format reads the list; its zero value: whatever format recognises it.
	Format Format
}

// ParseList reads "NAME=PATH" or "PATH".
func ParseList(s string) List {
	if name, path, ok := strings.Cut(s, "="); ok {
		return List{Provider: name, Path: path}
	}
	return List{Path: s}
}

// Report says what became of one list.
type Report struct {
	List    List
	Format  string      // of a folder, of its first file
	Entries int         // taken
	Left    int         // left out because many innocent people use the value
	Bad     int         // lines that were not taken
	Errors  []LineError // of the first 20 of what was left out or not taken
}

// maxErrors is how many bad lines of a list are named.
const maxErrors = 20

// LineError says what is wrong with a line of a list.
type LineError struct {
	Path string
	Line int
	Err  error
}

// Unwrap returns what is wrong.
func (e LineError) Unwrap() error { return e.Err }

// Error returns file:line: and what is wrong.
func (e LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err) }

// Load reads lists into the builder. Bad lines are reported and passed over; a
// list that cannot be read at all is an error, and then the builder is not to
// be used: what was loaded before is better than a part.
func (b *Builder) Load(lists []List, formats []Format) ([]Report, error) {
	var reports []Report
	var errs []error
	for _, l := range lists {
		r, err := b.load(l, formats)
		if err != nil {
			errs = append(errs, fmt.Errorf("reputation list: %w", err))
			continue
		}
		reports = append(reports, r)
	}
	return reports, errors.Join(errs...)
}

func (b *Builder) load(l List, formats []Format) (Report, error) {
	if l.Provider == "" {
		base := filepath.Base(l.Path)
		l.Provider = strings.TrimSuffix(base, filepath.Ext(base))
	}
	r := Report{List: l}
	info, err := os.Stat(l.Path)
	if err != nil {
		return r, err
	}
	if !info.IsDir() {
		return r, b.file(&r, l.Path, formats)
	}
	// The folder of a feed: a file for each of its reports, and a manifest.
	err = filepath.WalkDir(l.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") || slices.Contains(manifests, d.Name()) {
			return err
		}
		return b.file(&r, path, formats)
	})
	if err == nil && r.Format == "" {
		err = fmt.Errorf("%s holds no lists", l.Path)
	}
	return r, err
}

// manifests are files in the folder of a MISP feed that are no lists.
var manifests = []string{"manifest.json", "hashes.csv"}

func (b *Builder) file(r *Report, path string, formats []Format) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, MaxLine)
	head, err := in.Peek(DetectBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	format := r.List.Format
	if format.Read == nil {
		i := slices.IndexFunc(formats, func(f Format) bool { return f.Detect(head) })
		if i < 0 {
			return fmt.Errorf("%s: no known format; the first bytes are %q", path, head[:min(len(head), 16)])
		}
		format = formats[i]
	}
	if r.Format == "" {
		r.Format = format.Name
	}
	note := func(line int, err error) {
		if len(r.Errors) < maxErrors {
			r.Errors = append(r.Errors, LineError{path, line, err})
		}
	}
	bad := func(line int, err error) {
		r.Bad++
		note(line, err)
	}
	add := func(line int, e Raw) {
		var embarrassing *Embarrassing
		switch err := b.Add(r.List, e); {
		case errors.As(err, &embarrassing):
			r.Left++
			note(line, err)
		case err != nil:
			bad(line, err)
		default:
			r.Entries++
		}
	}
	if err := format.Read(in, add, bad); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
