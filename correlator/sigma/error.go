package sigma

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
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

// didYouMean is the end of a message about an unknown name.
func didYouMean(s string, names []string) string {
	if n := event.Nearest(s, names); n != "" {
		return fmt.Sprintf("; did you mean %s?", n)
	}
	return ""
}
