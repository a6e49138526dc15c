package window

import (
	"testing"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

func signals(xs ...float64) (out []*correlator.Signal) {
	for _, x := range xs {
		out = append(out, &correlator.Signal{Value: event.Float(x)})
	}
	return out
}

func TestJudges(t *testing.T) {
	f := func(w *correlator.Window, add, remove []*correlator.Signal, holds bool, predicate, value string) {
		t.Helper()
		j := w.New()
		for _, s := range add {
			j.Add(s)
		}
		for _, s := range remove {
			j.Remove(s)
		}
		x := j.Explain()
		if j.Holds() != holds || x.Predicate != predicate || x.Value != value {
			t.Errorf("%v %+v", j.Holds(), x)
		}
	}
	three := signals(1, 2, 6)
	f(Count("events", time.Minute, AtLeast(3)), three, nil, true, "count >= 3 within 1m", "3")
	f(Count("events", time.Minute, AtLeast(3)), three, three[:1], false, "count >= 3 within 1m", "2")
	f(Count("events", 90*time.Second, Limits{{GT, 1}, {NEQ, 3}}), three, nil, false, "count > 1 and != 3 within 1m30s", "3")
	f(Distinct("n", time.Hour, AtLeast(2)), signals(1, 1, 2), nil, true, "distinct values >= 2 within 1h", "2")
	f(Distinct("n", time.Hour, AtLeast(2)), signals(1, 1, 2), signals(1), true, "distinct values >= 2 within 1h", "2")
	f(Distinct("n", time.Hour, AtLeast(2)), signals(1, 1, 2), signals(1, 1), false, "distinct values >= 2 within 1h", "1")
	list := []*correlator.Signal{{Value: event.Strs([]string{"a", "b"})}, {}}
	f(Distinct("n", time.Hour, AtLeast(2)), list, nil, true, "distinct values >= 2 within 1h", "2")
	f(Sum("n", 24*time.Hour, Limits{{LT, 9}}), three, three[:1], true, "sum < 9 within 24h", "8")
	f(Average("n", time.Minute, Limits{{EQ, 3}}), three, nil, true, "average == 3 within 1m", "3")
	f(Percentile("n", 95, time.Minute, Limits{{GTE, 6}}), three, nil, true, "95th percentile >= 6 within 1m", "6")
	f(Percentile("n", 50, time.Minute, Limits{{LTE, 1}}), three, nil, false, "50th percentile <= 1 within 1m", "2")
	part := func(ps ...int) (out []*correlator.Signal) {
		for _, p := range ps {
			out = append(out, &correlator.Signal{Part: p})
		}
		return out
	}
	names := []string{"a", "b", "c"}
	f(Together(names, time.Minute, AtLeast(3)), part(2, 0, 1, 1), part(1), true, "different ones >= 3 within 1m", "a, b, c")
	f(Together(names, time.Minute, AtLeast(2)), part(2, 2), nil, false, "different ones >= 2 within 1m", "c")
	f(Ordered(names, time.Minute), part(0, 1, 2), nil, true, "in this order within 1m", "a, b, c")
	f(Ordered(names, time.Minute), part(0, 1, 2), part(0), false, "in this order within 1m", "a, b, c")
	f(Ordered(names, time.Minute), part(0, 0, 1, 2), part(0), true, "in this order within 1m", "a, b, c")
	f(Ordered(names, time.Minute), part(0, 2, 1), nil, false, "in this order within 1m", "a, b, c")
	f(Ordered(names, time.Minute), part(0, 1, 2, 1), nil, false, "in this order within 1m", "a, b, c")
	if w := Count("events", time.Minute, Limits{{GTE, 1}, {LTE, 5}}); !w.Final {
		t.Error("a count with an upper bound is not held back")
	}
}
