// Package correlator turns events into alerts: it enriches each event, matches
// it against rules, reputation and behaviours, and keeps what rules must
// remember over event time. Alerts are a pure function of the set of events:
// neither the order of arrival nor the number of workers nor a restart changes
// them.
//
// An event goes this way:
//
//	Enricher  adds fields, which are stored with the event
//	Detector  looks at the event alone and emits a Signal for each rule it matches
//	state     keeps signals by rule and group, sorted by time, and lets each ask
//	          its rule's Window (Judge) about the signals in the span before it
//	Alert     per rule, group and time bucket: all windows that held, joined
//
// A report of an alert is returned whenever it has changed; event.Alert.Merge
// makes one of all of them.
//
// What is remembered has bounds, each with a policy and a counter in Stats.
// Signals older than the latest event by more than Lateness, the rule's window
// and the bucket are given up; one that comes later still is matched against
// what is left, and counted. Of a group and bucket the earliest MaxSignals are
// kept, of a rule MaxGroups, in all MaxKept; the groups that were quiet longest
// go first.
//
// An alert's Loss is that of the worst minute among those it spans, as the
// ledgers of its sensors say: other than a mean, it does not depend on which
// ledger came first.
package correlator
