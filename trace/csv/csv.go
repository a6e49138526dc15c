// Package csv writes the hops of a trace as comma-separated values (RFC 4180),
// one hop a line: first the path in its order, then branches, then candidates
// that were not taken.
package csv

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/trace"
)

// Format is the CSV format.
var Format = trace.Format{Name: "csv", MIME: "text/csv; charset=utf-8", Ext: ".csv", Write: write}

var header = []string{
	"part", "number", "from", "to", "port", "transport", "protocol", "start", "end", "flows", "bytes",
	"role", "confidence", "techniques", "reasons", "sensors", "evidence",
}

func write(w io.Writer, t *trace.Trace) error {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	if err := c.Write(header); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		hops []trace.Hop
	}{{"path", t.Path}, {"branch", t.Branches}, {"rejected", t.Rejected}} {
		for i, h := range part.hops {
			if err := c.Write(record(part.name, i+1, h)); err != nil {
				return err
			}
		}
	}
	c.Flush()
	return c.Error()
}

func record(part string, number int, h trace.Hop) []string {
	var techniques, reasons, evidence []string
	for _, t := range h.Techniques {
		techniques = append(techniques, t.ID)
	}
	for _, r := range h.Reasons {
		reasons = append(reasons, fmt.Sprintf("%s (%+.2f)", r.Text, r.Weight))
	}
	for _, id := range h.Evidence {
		evidence = append(evidence, id.String())
	}
	record := []string{
		part, strconv.Itoa(number), h.From.String(), h.To.String(), strconv.Itoa(int(h.Port)), h.Transport, h.Protocol,
		h.Start.UTC().Format(time.RFC3339Nano), h.End.UTC().Format(time.RFC3339Nano), strconv.Itoa(h.Flows), strconv.FormatUint(h.Bytes, 10),
		h.Role, strconv.FormatFloat(h.Confidence, 'f', 2, 64), strings.Join(techniques, " "), strings.Join(reasons, "; "),
		strings.Join(h.Sensors, " "), strings.Join(evidence, " "),
	}
	for i := range record {
		record[i] = Inert(record[i])
	}
	return record
}

// Inert keeps a spreadsheet from taking a value for a formula.
func Inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
