package sensor

import (
	"testing"

	"github.com/tocsin/tocsin/event"
)

// An account that does not balance says so, and by how much.
func TestUnbalanced(t *testing.T) {
	for _, c := range []struct {
		seen, decoded, filtered, dropped, want uint64
	}{{10, 7, 2, 1, 0}, {10, 7, 2, 0, 1}, {0, 0, 0, 0, 0}, {5, 7, 0, 0, 2}} {
		m := minute{tap: tap{"border", "eth1"}}
		m.account[countSeen], m.account[countDecoded], m.account[countFiltered], m.account[countDamaged] = c.seen, c.decoded, c.filtered, c.dropped
		e := m.event(event.NewHasher())
		ledger := event.Ledger{}
		ledger.Add(&e)
		if n, there := ledger["unbalanced"]; n != c.want || there != (c.want > 0) {
			t.Errorf("%+v: off by %d, %v", c, n, there)
		}
		if off := ledger.Off(); max(off, -off) != int64(c.want) {
			t.Errorf("%+v: Off() = %d", c, off)
		}
	}
}
