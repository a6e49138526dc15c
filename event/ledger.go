package event

import "strings"

// Names of the fields of ledger events begin so; those of packets that a
// sensor did not see, by cause, with both.
const (
	LedgerPrefix  = "tocsin.ledger."
	DroppedPrefix = "dropped."
)

// Ledger is a sensor's account, over one minute or many: counts by the names
// of the fields without LedgerPrefix. Its packets balance:
// seen = decoded + filtered + all that begin with DroppedPrefix.
type Ledger map[string]uint64

// Add adds the account of an event of KindLedger.
func (l Ledger) Add(e *Event) {
	for i := range e.Fields {
		if name, ok := strings.CutPrefix(e.Fields[i].Name, LedgerPrefix); ok {
			n, _ := e.Fields[i].Value.Uint()
			l[name] += n
		}
	}
}

// Dropped is how many packets were not seen, whatever the cause.
func (l Ledger) Dropped() (n uint64) {
	for name, x := range l {
		if strings.HasPrefix(name, DroppedPrefix) {
			n += x
		}
	}
	return n
}

// Off is by how many packets the account does not balance.
func (l Ledger) Off() int64 {
	return int64(l["seen"] - l["decoded"] - l["filtered"] - l.Dropped())
}
