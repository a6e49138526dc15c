package metrics

import (
	"github.com/tocsin/tocsin/bus/spool"
	"github.com/tocsin/tocsin/correlator"
)

var (
	storedEvents    = &Metric{"tocsin_store_events_total", Counter, nil, "Events that were stored, those among them that were there already included."}
	busWaiting      = &Metric{"tocsin_bus_waiting_events", Gauge, nil, "Events between the sensors and the correlator, those that are being worked on included."}
	busRoom         = &Metric{"tocsin_bus_events_max", Gauge, nil, "Events that may wait there; the sensors wait when it is full."}
	detectEvents    = &Metric{"tocsin_correlator_events_total", Counter, nil, "Events that were looked at."}
	detectSignals   = &Metric{"tocsin_correlator_signals_total", Counter, nil, "Matches of rules."}
	detectReports   = &Metric{"tocsin_correlator_alert_reports_total", Counter, nil, "Reports of alerts; an alert is reported again when more is known."}
	detectLate      = &Metric{"tocsin_correlator_late_signals_total", Counter, nil, "Matches that came after the memory of their time was given up."}
	detectEvicted   = &Metric{"tocsin_correlator_evicted_groups_total", Counter, nil, "Groups of a rule that were given up because there were too many, or too many matches."}
	detectTruncated = &Metric{"tocsin_correlator_truncated_signals_total", Counter, nil, "Matches beyond what a group remembers."}
	detectGroups    = &Metric{"tocsin_correlator_groups", Gauge, nil, "Groups of rules that are remembered."}
	detectKept      = &Metric{"tocsin_correlator_signals", Gauge, nil, "Matches that are remembered."}

	spoolEvents    = &Metric{"tocsin_spool_events_total", Counter, []string{"class"}, "Events that were put into the spool, by class: alerts, writes, assets, flows, bulk."}
	spoolPublished = &Metric{"tocsin_spool_published_events_total", Counter, []string{"class"}, "Events of the spool that the bus has acknowledged."}
	spoolDiscarded = &Metric{"tocsin_spool_discarded_events_total", Counter, []string{"class", "cause"}, "Events that were discarded: full, for want of room, or failed, where the disk would not take or keep them."}
	spoolPending   = &Metric{"tocsin_spool_pending_events", Gauge, []string{"class"}, "Events that wait in the spool."}
	spoolBytes     = &Metric{"tocsin_spool_bytes", Gauge, nil, "Size of the spool on disk."}

	pipelineMetrics = []*Metric{spoolEvents, spoolPublished, spoolDiscarded, spoolPending, spoolBytes, storedEvents, busWaiting, busRoom, detectEvents, detectSignals, detectReports, detectLate, detectEvicted, detectTruncated, detectGroups, detectKept}
)

// Correlator is the source of a correlator.
func Correlator(stats func() correlator.Stats) Source {
	return Source{
		Metrics: []*Metric{detectEvents, detectSignals, detectReports, detectLate, detectEvicted, detectTruncated, detectGroups, detectKept},
		Read: func(emit Emit) {
			s := stats()
			emit(detectEvents, float64(s.Events))
			emit(detectSignals, float64(s.Signals))
			emit(detectReports, float64(s.Reports))
			emit(detectLate, float64(s.Late))
			emit(detectEvicted, float64(s.Evicted))
			emit(detectTruncated, float64(s.Truncated))
			emit(detectGroups, float64(s.Groups))
			emit(detectKept, float64(s.Kept))
		},
	}
}

// Bus is the source of the bus within a process: how many events wait, of how
// many that may.
func Bus(waiting func() (n, room int)) Source {
	return Source{Metrics: []*Metric{busWaiting, busRoom}, Read: func(emit Emit) {
		n, room := waiting()
		emit(busWaiting, float64(n))
		emit(busRoom, float64(room))
	}}
}

// SpoolAccount is what became of the events of a spool.
type SpoolAccount struct {
	Spooled, Published, Full, Failed, Pending spool.Counts
	Bytes                                     int64
}

// Spool is the source of a spool between the sensors and a bus.
func Spool(account func() SpoolAccount) Source {
	return Source{
		Metrics: []*Metric{spoolEvents, spoolPublished, spoolDiscarded, spoolPending, spoolBytes},
		Read: func(emit Emit) {
			a := account()
			for c := range spool.NumClasses {
				class := c.String()
				emit(spoolEvents, float64(a.Spooled[c]), class)
				emit(spoolPublished, float64(a.Published[c]), class)
				emit(spoolDiscarded, float64(a.Full[c]), class, "full")
				emit(spoolDiscarded, float64(a.Failed[c]), class, "failed")
				emit(spoolPending, float64(a.Pending[c]), class)
			}
			emit(spoolBytes, float64(a.Bytes))
		},
	}
}

// Store is the source of a store: how many events were put into it.
func Store(events func() uint64) Source {
	return Source{Metrics: []*Metric{storedEvents}, Read: func(emit Emit) { emit(storedEvents, float64(events())) }}
}
