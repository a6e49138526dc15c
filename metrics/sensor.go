package metrics

import (
	"slices"
	"strings"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
)

// Metrics of a tap have its name and its interface for labels.
var onTap = []string{"sensor", "interface"}

var (
	packetsDropped = &Metric{"tocsin_tap_packets_dropped_total", Counter, []string{"sensor", "interface", "cause"}, "Packets that were not looked at, by cause; the causes are those of tocsin.ledger.dropped in FIELDS.md."}
	tapBytes       = &Metric{"tocsin_tap_bytes_total", Counter, onTap, "Bytes on the wire of packets that were decoded, or dropped by the decoder."}

	// The others are about what watches one interface, or all captures together.
	sensorFlows     = &Metric{"tocsin_sensor_flows", Gauge, []string{"source"}, "Flows that are followed."}
	sensorRoom      = &Metric{"tocsin_sensor_flows_max", Gauge, []string{"source"}, "Flows for which the table has room."}
	sensorStream    = &Metric{"tocsin_sensor_stream_buffered_bytes", Gauge, []string{"source"}, "Bytes of TCP streams that wait for what is missing before them."}
	sensorRing      = &Metric{"tocsin_sensor_ring_fill_ratio", Gauge, []string{"source"}, "How full the fullest capture ring is, from 0 to 1; at 1 packets are lost."}
	sensorTime      = &Metric{"tocsin_sensor_packet_time_seconds", Gauge, []string{"source"}, "Time of the last packet, since 1970."}
	sensorEvents    = &Metric{"tocsin_sensor_events_total", Counter, []string{"source", "kind"}, "Events made, by kind, those of the ledger not included."}
	sensorErrors    = &Metric{"tocsin_sensor_parser_errors_total", Counter, []string{"source", "protocol"}, "Flows whose parser gave up."}
	clockKept       = &Metric{"tocsin_sensor_clock_synchronized", Gauge, []string{"source"}, "1 if NTP or PTP keeps the system's clock, says the kernel; of live taps."}
	clockError      = &Metric{"tocsin_sensor_clock_error_seconds", Gauge, []string{"source"}, "By how much the system's clock may be wrong at most, as the kernel estimates; of live taps, while it is kept."}
	clockOffset     = &Metric{"tocsin_sensor_clock_offset_seconds", Gauge, []string{"source"}, "By how much the network card's clock is ahead of the system's, where the card stamps packets."}
	sensorOffloads  = &Metric{"tocsin_sensor_offload_enabled", Gauge, []string{"source", "offload"}, "1 for each offload that joins packets before they are captured."}
	sensorConstants = []*Metric{packetsDropped, tapBytes, sensorFlows, sensorRoom, sensorStream, sensorRing, sensorTime, sensorEvents, sensorErrors, clockKept, clockError, clockOffset, sensorOffloads}
)

// ledgerMetrics are the counts of the ledger by their names there, those by
// cause, of events and of parsers' errors not among them: these have labels.
func ledgerMetrics() map[string]*Metric {
	metrics := map[string]*Metric{}
	for _, d := range sensor.Fields() {
		name, ok := strings.CutPrefix(d.Name, event.LedgerPrefix)
		if !ok || strings.HasPrefix(name, event.DroppedPrefix) || name == "events" || name == "parser_errors" || name == "unbalanced" {
			continue
		}
		full := "tocsin_tap_" + name
		switch name {
		case "seen", "decoded", "filtered", "cut", "oversized":
			full = "tocsin_tap_packets_" + name
		}
		metrics[name] = &Metric{full + "_total", Counter, onTap, d.Help}
	}
	return metrics
}

func sensorMetrics() []*Metric {
	all := slices.Clone(sensorConstants)
	for _, m := range ledgerMetrics() {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Metric) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Named is a sensor, and what its source is called: an interface, or "captures".
type Named struct {
	Source string
	Sensor *sensor.Sensor
}

// Sensors is the source of some sensors. Their numbers are those of the ledger,
// the minute that is not over included.
func Sensors(sensors []Named) Source {
	ledger := ledgerMetrics()
	all := slices.Clone(sensorConstants)
	for _, m := range ledger {
		all = append(all, m)
	}
	return Source{Metrics: all, Read: func(emit Emit) {
		taps := map[[2]string]*sensor.TapNow{} // the same tap may be in several
		for _, n := range sensors {
			now := n.Sensor.Now()
			for i := range now.Taps {
				t := &now.Taps[i]
				sum := taps[[2]string{t.Sensor, t.Name}]
				if sum == nil {
					taps[[2]string{t.Sensor, t.Name}] = t
					continue
				}
				sum.Bytes += t.Bytes
				for name, count := range t.Ledger {
					sum.Ledger[name] += count
				}
			}
			emit(sensorFlows, float64(now.Flows), n.Source)
			emit(sensorRoom, float64(now.Room), n.Source)
			emit(sensorStream, float64(now.Stream), n.Source)
			if !now.At.IsZero() {
				emit(sensorTime, float64(now.At.UnixNano())/1e9, n.Source)
			}
			for kind, count := range now.Events {
				emit(sensorEvents, float64(count), n.Source, string(kind))
			}
			for protocol, count := range now.ParserErrors {
				emit(sensorErrors, float64(count), n.Source, string(protocol))
			}
			if s := now.State; s != nil {
				emit(sensorRing, now.Ring, n.Source)
				if s.Synchronized {
					emit(clockKept, 1, n.Source)
					emit(clockError, s.ClockError.Seconds(), n.Source)
				} else {
					emit(clockKept, 0, n.Source)
				}
				if s.Stamps == "hardware" {
					emit(clockOffset, s.ClockOffset.Seconds(), n.Source)
				}
				for _, o := range s.Offloads {
					emit(sensorOffloads, 1, n.Source, o)
				}
			}
		}
		for key, t := range taps {
			emit(tapBytes, float64(t.Bytes), key[0], key[1])
			for name, count := range t.Ledger {
				if cause, dropped := strings.CutPrefix(name, event.DroppedPrefix); dropped {
					emit(packetsDropped, float64(count), key[0], key[1], cause)
				} else if m := ledger[name]; m != nil {
					emit(m, float64(count), key[0], key[1])
				}
			}
		}
	}}
}
