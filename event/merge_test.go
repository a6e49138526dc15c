package event

import (
	"reflect"
	"testing"
	"time"
)

// TestMergeComplete: of two reports, the one that knows more events says why,
// even if the other begins at the same event.
func TestMergeComplete(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	report := func(count uint64, first time.Duration, why string) Alert {
		return Alert{Count: count, First: at.Add(first), Last: at.Add(time.Hour), Message: why, Explain: []Explain{{Value: why}}}
	}
	few, many, early := report(3, 0, "3"), report(5, 0, "5"), report(2, -time.Minute, "2")
	for _, order := range [][]Alert{{few, many, early}, {early, many, few}, {many, few, early}, {few, early, many}} {
		got := order[0]
		for i := range order[1:] {
			got.Merge(&order[1+i])
		}
		want := report(5, -time.Minute, "5")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("have %+v\nwant %+v", got, want)
		}
	}
}
