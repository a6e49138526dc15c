// Package plain reads lists of one value a line: an address, a prefix, a domain
// name or a URL, then, if the list keeps score, white space and a number. What
// follows '#' or ';' is a comment, and after a value describes it: so the DROP
// lists of Spamhaus name their reasons.
package plain

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Format is the plain format.
var Format = intel.Format{Name: "plain", Detect: detect, Read: read}

// detect takes any text: plain stands last in the list of formats.
func detect(head []byte) bool {
	for _, c := range head {
		if c == 0 {
			return false
		}
	}
	for i := 0; i < utf8.UTFMax && !utf8.Valid(head) && len(head) > 0; i++ {
		head = head[:len(head)-1] // the head may end within a character
	}
	return utf8.Valid(head)
}

// confidence turns the number of lists that hold an address, as aggregated
// feeds count them, into 0 to 100: each list adds ten.
func confidence(score int) int { return min(max(score, 0)*10, 100) }

// maxDescription bounds what is kept of a comment, in bytes.
const maxDescription = 80

func describe(comment string) string {
	return strings.ToValidUTF8(comment[:min(len(comment), maxDescription)], "")
}

func read(r io.Reader, add func(int, intel.Raw), bad func(int, error)) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 4096), intel.MaxLine)
	line := 0
	for s.Scan() {
		line++
		text, comment := s.Text(), ""
		if i := strings.IndexAny(text, "#;"); i >= 0 {
			text, comment = text[:i], strings.Trim(text[i:], "#; \t")
		}
		fields := strings.Fields(text)
		switch {
		case len(fields) == 0:
		case len(fields) == 1:
			add(line, intel.Raw{Value: fields[0], Description: describe(comment)})
		default:
			score, err := strconv.Atoi(fields[1])
			if err != nil {
				bad(line, fmt.Errorf("%q after the value: want a number or a comment", fields[1]))
				continue
			}
			add(line, intel.Raw{Value: fields[0], Confidence: confidence(score), Description: describe(comment)})
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes", line+1, intel.MaxLine)
	}
	return s.Err()
}
