// Package csv reads lists of comma-, semicolon- or tab-separated values whose
// first line names the columns. A column called value, indicator, ioc, ip,
// address, network, cidr, domain or host holds the value; confidence or score
// a number from 0 to 100; reference, url, link or description where to read
// more. Other columns are passed over; lines that begin with '#' are comments.
package csv

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Format is the CSV format.
var Format = intel.Format{Name: "csv", Detect: detect, Read: read}

var columns = map[string][]string{
	"value":      {"value", "indicator", "ioc", "ip", "address", "network", "cidr", "domain", "host"},
	"confidence": {"confidence", "score"},
	"reference":  {"reference", "url", "link", "description"},
}

// header splits the first line that is no comment, and says by what.
func header(head []byte) (names []string, comma rune) {
	for line := range bytes.Lines(head) {
		text := strings.TrimSpace(strings.TrimPrefix(string(line), "\ufeff"))
		if text == "" || text[0] == '#' {
			continue
		}
		for _, c := range ",;\t" {
			if parts := strings.Split(text, string(c)); len(parts) > 1 {
				for i := range parts {
					parts[i] = strings.ToLower(strings.Trim(strings.TrimSpace(parts[i]), `"`))
				}
				return parts, c
			}
		}
		break
	}
	return nil, 0
}

func find(names []string, what string) int {
	for _, want := range columns[what] {
		for i, n := range names {
			if n == want {
				return i
			}
		}
	}
	return -1
}

func detect(head []byte) bool {
	names, _ := header(head)
	return find(names, "value") >= 0
}

func read(r io.Reader, add func(int, intel.Raw), bad func(int, error)) error {
	in := &peeker{r: r}
	names, comma := header(in.head())
	value, confidence, reference := find(names, "value"), find(names, "confidence"), find(names, "reference")
	if value < 0 {
		return errors.New("the first line does not name a column value, ip or domain")
	}
	c := csv.NewReader(in)
	c.Comma, c.Comment, c.FieldsPerRecord, c.LazyQuotes, c.ReuseRecord = comma, '#', -1, true, true
	first := true
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
		if len(record) <= value {
			bad(line, fmt.Errorf("%d columns: the value is in column %d", len(record), value+1))
			continue
		}
		e := intel.Raw{Value: strings.TrimSpace(record[value])}
		if confidence >= 0 && confidence < len(record) && strings.TrimSpace(record[confidence]) != "" {
			n, err := strconv.Atoi(strings.TrimSpace(record[confidence]))
			if err != nil {
				bad(line, fmt.Errorf("confidence %q: want a number from 0 to 100", record[confidence]))
				continue
			}
			e.Confidence = n
		}
		if reference >= 0 && reference < len(record) {
			e.Reference = strings.TrimSpace(record[reference])
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
