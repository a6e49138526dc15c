// Package correlator turns events into alerts: it enriches each event, matches
// it against rules, reputation and behaviours, and keeps what rules must
// remember over event time. Alerts are a pure function of the set of events:
// neither the order of arrival nor the number of workers nor a restart changes
// them.
package correlator
