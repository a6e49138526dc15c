package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Custody is one entry of the custody log: what happened to the evidence, in
// order, each entry with the hash of the line before it. The times are those of
// the record, not of the making of the package: when it was handed over is for
// those to write down who do it.
type Custody struct {
	Number int       `json:"n"`    // from 1 on
	Prev   string    `json:"prev"` // SHA-256 of the line before, hexadecimal; of the first entry "": there is none
	Time   time.Time `json:"time"`
	Who    string    `json:"who"`
	What   string    `json:"what"` // observed, detected, judged, reconstructed, sealed
	Detail string    `json:"detail"`
}

// writeCustody tells how the evidence came to be: sensors saw packets, rules
// fired, people judged, the trace was reconstructed, and the package sealed.
func (p *writer) writeCustody() error {
	files := sha256.Sum256(p.manifest())
	return p.entry(custodyName, func(w io.Writer) error {
		prev, n := "", 0
		put := func(at time.Time, who, what, format string, args ...any) error {
			n++
			line, err := json.Marshal(Custody{n, prev, at.UTC(), who, what, fmt.Sprintf(format, args...)})
			if err != nil {
				return err
			}
			sum := sha256.Sum256(line)
			prev = hex.EncodeToString(sum[:])
			_, err = w.Write(append(line, '\n'))
			return err
		}
		for _, s := range p.annex.Sensors {
			if err := put(s.From, "sensor "+s.Name, "observed", "%d packets until %s, %d more not seen", s.Seen, stamp(s.To), s.Dropped); err != nil {
				return err
			}
		}
		for i := range p.alerts {
			a, err := event.AlertOf(&p.alerts[i])
			if err != nil {
				return err
			}
			if err := put(a.First, "rule "+a.Rule.ID, "detected", "alert %s of rule %s (revision %s)", a.ID, a.Rule.Name, a.Rule.Hash); err != nil {
				return err
			}
		}
		for i := range p.alerts {
			a, err := event.AlertOf(&p.alerts[i])
			if err != nil {
				return err
			}
			if a.Triage.At.IsZero() {
				continue
			}
			if err := put(a.Triage.At, a.Triage.By, "judged", "alert %s: %s %s", a.ID, a.Triage.Status, strings.TrimSpace(a.Triage.Verdict+" "+a.Triage.Reason)); err != nil {
				return err
			}
		}
		t := p.c.Trace
		if err := put(t.To, "Tocsin "+p.c.Version, "reconstructed", "trace from %s: %d hops, %d branches, %d candidates not taken", t.Seed, len(t.Path), len(t.Branches), len(t.Rejected)); err != nil {
			return err
		}
		return put(t.To, p.c.By, "sealed", "%d files whose hashes in MANIFEST.sha256, without this log, have the SHA-256 %x; by key %s; %s", len(p.sums), files, p.annex.KeyPrint, p.c.Marking)
	})
}

// checkCustody follows the chain and returns how many entries it has. others is
// the manifest without the log, to which the last entry must refer.
func checkCustody(text, others []byte) (entries int, err error) {
	prev := ""
	var last Custody
	for line := range bytes.Lines(text) {
		body, whole := bytes.CutSuffix(line, []byte("\n"))
		if !whole {
			return entries, fmt.Errorf("entry %d is cut off", entries+1)
		}
		last = Custody{}
		if err := json.Unmarshal(body, &last); err != nil {
			return entries, fmt.Errorf("entry %d: %w", entries+1, err)
		}
		if entries++; last.Number != entries {
			return entries, fmt.Errorf("entry %d has number %d", entries, last.Number)
		}
		if last.Prev != prev {
			return entries, fmt.Errorf("entry %d does not follow the one before it", entries)
		}
		sum := sha256.Sum256(body)
		prev = hex.EncodeToString(sum[:])
	}
	if last.What != "sealed" {
		return entries, fmt.Errorf("the last of %d entries does not seal the package: the log is cut off", entries)
	}
	if sum := sha256.Sum256(others); !strings.Contains(last.Detail, hex.EncodeToString(sum[:])) {
		return entries, fmt.Errorf("the last entry seals other files than those that are here")
	}
	return entries, nil
}
