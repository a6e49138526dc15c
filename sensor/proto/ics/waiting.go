package ics

// Waiting holds requests until they are answered, oldest first. As many as ever
// waited at a time have room, so a flow that has one request on its way at a
// time has room for one. The zero Waiting is empty.
type Waiting[T any] struct {
	all []T
	n   int
}

// Len is how many wait.
func (w *Waiting[T]) Len() int { return w.n }

// At is the i-th, of those that wait. It is valid until the next Add or Remove.
func (w *Waiting[T]) At(i int) *T { return &w.all[i] }

// Add makes room for one more, behind the others. It has what another left
// there that was removed, so its buffers can be used again.
func (w *Waiting[T]) Add() *T {
	if w.n == len(w.all) {
		var zero T
		w.all = append(w.all, zero)
	}
	w.n++
	return &w.all[w.n-1]
}

// Remove takes the i-th out.
func (w *Waiting[T]) Remove(i int) {
	x := w.all[i]
	copy(w.all[i:w.n], w.all[i+1:w.n])
	w.n--
	w.all[w.n] = x
}

// Find returns the place of the oldest that is so, or -1.
func (w *Waiting[T]) Find(is func(*T) bool) int {
	for i := range w.n {
		if is(&w.all[i]) {
			return i
		}
	}
	return -1
}
