// Package iprep reads the reputation lists of Suricata: an address or prefix,
// the number of a category and a score from 1 to 127, with commas between.
// Source: Suricata User Guide, "IP Reputation Format".
package iprep

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Format is the iprep format.
var Format = intel.Format{Name: "iprep", Detect: detect, Read: read}

func detect(head []byte) bool {
	for line := range bytes.Lines(head) {
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		_, err := parse(text)
		return err == nil
	}
	return false
}

// maxScore is the score of what is certain.
const maxScore = 127

func parse(text string) (intel.Raw, error) {
	parts := strings.Split(text, ",")
	if len(parts) != 3 {
		return intel.Raw{}, fmt.Errorf("%d values: want address,category,score", len(parts))
	}
	value := strings.TrimSpace(parts[0])
	if _, err := netip.ParsePrefix(value); err != nil {
		if _, err := netip.ParseAddr(value); err != nil {
			return intel.Raw{}, fmt.Errorf("%q is no address or prefix", value)
		}
	}
	category, err := strconv.ParseUint(strings.TrimSpace(parts[1]), 10, 8)
	if err != nil || category < 1 || category > 60 {
		return intel.Raw{}, fmt.Errorf("category %q: want a number from 1 to 60", parts[1])
	}
	score, err := strconv.ParseUint(strings.TrimSpace(parts[2]), 10, 8)
	if err != nil || score < 1 || score > maxScore {
		return intel.Raw{}, fmt.Errorf("score %q: want a number from 1 to %d", parts[2], maxScore)
	}
	return intel.Raw{
		Kind: intel.Address, Value: value, Description: fmt.Sprintf("category %d", category),
		Confidence: max(int(score)*100/maxScore, 1),
	}, nil
}

func read(r io.Reader, add func(int, intel.Raw), bad func(int, error)) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 4096), intel.MaxLine)
	line := 0
	for s.Scan() {
		line++
		text := strings.TrimSpace(s.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		e, err := parse(text)
		if err != nil {
			bad(line, err)
			continue
		}
		add(line, e)
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes", line+1, intel.MaxLine)
	}
	return s.Err()
}
