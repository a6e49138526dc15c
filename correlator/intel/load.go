package intel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// List is a file of indicators.
type List struct {
	Provider string // shown on alerts; of an empty one the file's base name is used
	Path     string
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
	Format  string
	Entries int         // taken
	Bad     int         // lines that were not taken
	Errors  []LineError // of the first 20 of them
}

// maxErrors is how many bad lines of a list are named.
const maxErrors = 20

// LineError says what is wrong with a line of a list.
type LineError struct {
	Path string
	Line int
	Err  error
}

// Error returns file:line: and what is wrong.
func (e LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err) }

// Load reads lists into one table. Bad lines are reported and passed over; a
// list that cannot be read at all is an error, and then there is no table:
// what was loaded before is better than a part.
func Load(lists []List, formats []Format) (*Table, []Report, error) {
	b := NewBuilder()
	var reports []Report
	var errs []error
	for _, l := range lists {
		r, err := load(b, l, formats)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		reports = append(reports, r)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, reports, err
	}
	return b.Table(), reports, nil
}

func load(b *Builder, l List, formats []Format) (Report, error) {
	f, err := os.Open(l.Path)
	if err != nil {
		return Report{}, fmt.Errorf("reputation list: %w", err)
	}
	defer f.Close()
	if l.Provider == "" {
		base := filepath.Base(l.Path)
		l.Provider = strings.TrimSuffix(base, filepath.Ext(base))
	}
	r := Report{List: l}
	in := bufio.NewReaderSize(f, MaxLine)
	head, err := in.Peek(DetectBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return Report{}, fmt.Errorf("reputation list %s: %w", l.Path, err)
	}
	for _, format := range formats {
		if !format.Detect(head) {
			continue
		}
		r.Format = format.Name
		bad := func(line int, err error) {
			r.Bad++
			if len(r.Errors) < maxErrors {
				r.Errors = append(r.Errors, LineError{l.Path, line, err})
			}
		}
		add := func(line int, e Raw) {
			if err := b.Add(l.Provider, e); err != nil {
				bad(line, err)
				return
			}
			r.Entries++
		}
		if err := format.Read(in, add, bad); err != nil {
			return Report{}, fmt.Errorf("reputation list %s: %w", l.Path, err)
		}
		return r, nil
	}
	return Report{}, fmt.Errorf("reputation list %s: no known format; the first bytes are %q", l.Path, head[:min(len(head), 16)])
}
