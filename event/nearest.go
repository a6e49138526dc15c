package event

import "strings"

// Nearest returns the name most like a mistyped one, for "did you mean", or ""
// if none is near. The end or the beginning of a dotted name counts as near.
func Nearest(name string, names []string) string {
	name = strings.ToLower(name)
	best, least := "", max(2, len(name)/3)+1
	for _, n := range names {
		d := distance(name, strings.ToLower(n), least)
		if strings.HasSuffix(n, "."+name) || strings.HasPrefix(n, name+".") {
			d = min(d, 2)
		}
		if d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is how many letters to insert, remove or change (Levenshtein), or
// limit if that many or more.
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
