package sigma

import (
	"math/bits"
	"slices"
)

// A patternSet gathers texts, and the rules that each wakes.
type patternSet struct {
	rules map[string][]int32
}

func (s *patternSet) add(text string, rule int32) {
	if s.rules == nil {
		s.rules = map[string][]int32{}
	}
	s.rules[text] = append(s.rules[text], rule)
}

// An automaton finds all texts of a set in one pass (Aho and Corasick 1975), as
// a table of states by classes of bytes. A state is its row's offset.
type automaton struct {
	class [256]uint8 // bytes in no text are of class 0
	shift uint       // a row has 1<<shift entries
	next  []int32
	out   [][]int32 // by row: the rules of texts that end here
}

func (s *patternSet) automaton() *automaton {
	a := &automaton{}
	texts := make([]string, 0, len(s.rules))
	classes := 1
	for t := range s.rules {
		texts = append(texts, t)
	}
	slices.Sort(texts) // the table is the same each time
	for _, t := range texts {
		for _, c := range []byte(t) {
			if a.class[c] == 0 && classes < 256 {
				a.class[c] = uint8(classes)
				classes++
			}
		}
	}
	a.shift = uint(bits.Len(uint(classes - 1)))
	width := int32(1) << a.shift
	row := func() int32 {
		a.next = append(a.next, make([]int32, width)...)
		a.out = append(a.out, nil)
		return int32(len(a.next)) - width
	}
	row()
	for _, t := range texts {
		state := int32(0)
		for _, c := range []byte(t) {
			at := state + int32(a.class[c])
			if a.next[at] == 0 {
				n := row()
				a.next[at] = n
			}
			state = a.next[at]
		}
		a.out[state>>a.shift] = append(a.out[state>>a.shift], s.rules[t]...)
	}
	// Breadth first, so that a state's fallback is finished before the state.
	fail := make([]int32, len(a.out))
	var queue []int32
	for c := range width {
		if n := a.next[c]; n != 0 {
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		back := fail[state>>a.shift]
		out := append(a.out[state>>a.shift], a.out[back>>a.shift]...)
		slices.Sort(out)
		if out = slices.Compact(out); len(out) > 0 {
			a.out[state>>a.shift] = out
		}
		for c := range width {
			if n := a.next[state+c]; n != 0 {
				fail[n>>a.shift] = a.next[back+c]
				queue = append(queue, n)
			} else {
				a.next[state+c] = a.next[back+c]
			}
		}
	}
	return a
}
