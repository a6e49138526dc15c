package sigma

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is what is wrong with a rule, and where.
type Error struct {
	File string
	Line int    // from 1; 0 if the file as a whole is meant
	Key  string // path of the key, such as detection.selection.dns.question.name|re; may be ""
	Msg  string // what is wrong and what to do
}

// Error returns file:line: key: message.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	return b.String() + ": " + e.Msg
}

// errorList gathers errors, so that an author sees all of them at once.
type errorList []*Error

func (l *errorList) add(file string, line int, key, format string, args ...any) {
	*l = append(*l, &Error{file, line, key, fmt.Sprintf(format, args...)})
}

func (l errorList) sorted() []*Error {
	slices.SortStableFunc(l, func(a, b *Error) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return l
}

// nearest returns the name most like s, or "" if none is near.
func nearest(s string, names []string) string {
	best, bestAt := "", max(2, len(s)/3)+1
	for _, n := range names {
		if d := distance(strings.ToLower(s), strings.ToLower(n), bestAt); d < bestAt {
			best, bestAt = n, d
		}
	}
	return best
}

// didYouMean is the end of a message about an unknown name.
func didYouMean(s string, names []string) string {
	if n := nearest(s, names); n != "" {
		return fmt.Sprintf("; did you mean %s?", n)
	}
	return ""
}

// distance is Levenshtein's, or limit if it is that or more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return min(row[len(b)], limit)
}
