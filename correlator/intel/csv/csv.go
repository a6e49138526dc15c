// Package csv reads lists of comma-, semicolon- or tab-separated values whose
// columns are named by the first line, or by the last comment before it as the
// lists of abuse.ch have it. Lines that begin with '#' are comments.
package csv

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Format is the CSV format with the names of columns that lists commonly use.
var Format = Mapped(intel.CommonColumns)

// Mapped is the CSV format with names of columns of its own.
func Mapped(columns intel.Columns) intel.Format {
	return intel.Format{
		Name: "csv",
		Detect: func(head []byte) bool {
			_, err := readHeader(head, columns)
			return err == nil
		},
		Read: func(r io.Reader, add func(int, intel.Raw), bad func(int, error)) error {
			return read(r, columns, add, bad)
		},
	}
}

// header says how a list is laid out.
type header struct {
	record intel.Record
	comma  rune
	inside bool // it is the first line that is no comment
}

// leastCommented is how many separators a comment has at least that names the
// columns: one with fewer is a sentence.
const leastCommented = 2

var errNoHeader = errors.New("no line names a column with the value, such as ip, domain, url or value")

func readHeader(head []byte, columns intel.Columns) (header, error) {
	last := ""
	for line := range bytes.Lines(head) {
		text := strings.TrimSpace(strings.TrimPrefix(string(line), "\ufeff"))
		switch {
		case text == "":
		case text[0] == '#':
			if t := strings.TrimSpace(strings.TrimLeft(text, "#")); t != "" && strings.ContainsAny(t, ",;\t") {
				last = t
			}
		default:
			if h, ok := split(text, columns); ok {
				h.inside = true
				return h, nil
			}
			if h, ok := split(last, columns); ok && strings.Count(last, string(h.comma)) >= leastCommented {
				return h, nil
			}
			return header{}, errNoHeader
		}
	}
	return header{}, errNoHeader
}

func split(text string, columns intel.Columns) (header, bool) {
	for _, comma := range ",;\t" {
		names := strings.Split(text, string(comma))
		if len(names) < 2 {
			continue
		}
		for i := range names {
			names[i] = strings.Trim(strings.TrimSpace(names[i]), `"`)
		}
		record, ok := columns.Record(names)
		return header{record: record, comma: comma}, ok
	}
	return header{}, false
}

func read(r io.Reader, columns intel.Columns, add func(int, intel.Raw), bad func(int, error)) error {
	in := &peeker{r: r}
	h, err := readHeader(in.head(), columns)
	if err != nil {
		return err
	}
	c := csv.NewReader(in)
	c.Comma, c.Comment, c.FieldsPerRecord, c.LazyQuotes, c.ReuseRecord, c.TrimLeadingSpace = h.comma, '#', -1, true, true, h.comma != '\t'
	first := h.inside
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			bad(parse.Line, parse.Err)
			continue
		}
		if err != nil {
			return err
		}
		if first {
			first = false
			continue
		}
		line, _ := c.FieldPos(0)
		e, err := h.record.Entry(func(column int) string {
			if column < len(record) {
				return record[column]
			}
			return ""
		})
		if err != nil {
			bad(line, fmt.Errorf("%w (of %d columns)", err, len(record)))
			continue
		}
		add(line, e)
	}
}

// peeker gives the head of a reader twice.
type peeker struct {
	r   io.Reader
	buf []byte
}

func (p *peeker) head() []byte {
	buf := make([]byte, intel.DetectBytes)
	n, _ := io.ReadFull(p.r, buf) // an error comes again when the rest is read
	p.buf = buf[:n]
	return p.buf
}

func (p *peeker) Read(b []byte) (int, error) {
	if len(p.buf) > 0 {
		n := copy(b, p.buf)
		p.buf = p.buf[n:]
		return n, nil
	}
	return p.r.Read(b)
}
