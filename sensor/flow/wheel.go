package flow

const (
	// wheelSize is how many seconds ahead the wheel reaches. What is due later
	// waits in its last slot and is put back from there.
	wheelSize = 1024
	// leafSize makes a leaf 128 bytes long.
	leafSize = 15
)

// wheel says which flows to look at in which second. An entry is made and never
// moved or taken out: it is seen only when its second has come, or when somebody
// must go, whether the flow is still there and still due. So nobody has to find
// it, and flows of one second, which lie anywhere in memory, can be asked for
// some ahead.
type wheel struct {
	slots    [wheelSize]queue
	occupied [wheelSize / 64]uint64
	leaves   []leaf
	free     uint32 // leaf plus one
	entries  int    // in all slots
	enough   int    // entries at which it is worth to look for those that are not valid
}

// queue is a list of leaves, number plus one, and how many entries of the first
// one were taken.
type queue struct{ first, last, taken uint32 }

type leaf struct {
	next    uint32 // number plus one
	n       uint32
	entries [leafSize]entry
}

// entry is a flow, by the slot of its record. It is valid as long as the record
// has the same ticket.
type entry struct{ slot, ticket uint32 }

func (w *wheel) add(at int, e entry) {
	q := &w.slots[at]
	if q.last == 0 || w.leaves[q.last-1].n == leafSize {
		l := w.leaf()
		if q.last == 0 {
			*q = queue{first: l}
			w.occupied[at/64] |= 1 << (at % 64)
		} else {
			w.leaves[q.last-1].next = l
		}
		q.last = l
	}
	l := &w.leaves[q.last-1]
	l.entries[l.n] = e
	l.n++
	w.entries++
}

// leaf returns an empty one.
func (w *wheel) leaf() uint32 {
	if n := w.free; n != 0 {
		l := &w.leaves[n-1]
		w.free = l.next
		l.next, l.n = 0, 0
		return n
	}
	w.leaves = append(w.leaves, leaf{})
	return uint32(len(w.leaves))
}

// drop frees a leaf and returns the next one.
func (w *wheel) drop(n uint32) uint32 {
	l := &w.leaves[n-1]
	next := l.next
	l.next, w.free = w.free, n
	return next
}

// take takes all of a slot out.
func (w *wheel) take(at int) queue {
	q := w.slots[at]
	w.slots[at] = queue{}
	w.occupied[at/64] &^= 1 << (at % 64)
	return q
}

// soonest returns the first slot from the given one on that has entries, of
// which there must be some.
func (w *wheel) soonest(at int) int {
	for w.occupied[at/64]&^(1<<(at%64)-1) == 0 {
		at = (at/64*64 + 64) % wheelSize
	}
	for w.slots[at].first == 0 {
		at++
	}
	return at
}

// pop takes the first entry out of a slot that has one.
func (w *wheel) pop(at int) (e entry) {
	q := &w.slots[at]
	l := &w.leaves[q.first-1]
	e = l.entries[q.taken]
	w.entries--
	if q.taken++; q.taken == l.n {
		q.first, q.taken = w.drop(q.first), 0
		if q.first == 0 {
			w.take(at)
		}
	}
	return e
}

// peek returns the entry that is n after the first one of a slot, if it is in
// the same leaf.
func (w *wheel) peek(at int, n uint32) (e entry, ok bool) {
	q := &w.slots[at]
	if q.first == 0 {
		return e, false
	}
	l := &w.leaves[q.first-1]
	if n += q.taken; n >= l.n {
		return e, false
	}
	return l.entries[n], true
}

// sweep takes out entries that are not valid. Without it, somebody who has flows
// end early, again and again, could make as many as packets fit into the time
// that such a flow has.
func (w *wheel) sweep(valid func(entry) bool) {
	for at := range w.slots {
		if w.slots[at].first == 0 {
			continue
		}
		q := w.take(at)
		from := q.taken
		for q.first != 0 {
			l := w.leaves[q.first-1] // a copy, as adding may move the leaves
			w.entries -= int(l.n - from)
			q.first = w.drop(q.first)
			for _, e := range l.entries[from:l.n] {
				if valid(e) {
					w.add(at, e)
				}
			}
			from = 0
		}
	}
}
