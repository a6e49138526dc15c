package dashboards

import (
	"bytes"
	"encoding/json"
)

// Graph is a panel of Grafana: expressions of Prometheus over time.
type Graph struct {
	Title, Unit string // Unit in Grafana's words
	Lines       []Line
}

// Line is an expression, and how its results are named.
type Line struct{ Expr, Legend string }

// Graphs are the panels of the one board for Grafana.
func Graphs() []Graph {
	return []Graph{
		{"Packets seen", "pps", []Line{{`sum by (sensor) (rate(tocsin_tap_packets_seen_total[5m]))`, "{{sensor}}"}}},
		{"Packets not seen", "percentunit", []Line{{`sum by (sensor) (rate(tocsin_tap_packets_dropped_total[5m])) / sum by (sensor) (rate(tocsin_tap_packets_seen_total[5m]))`, "{{sensor}}"}}},
		{"Dropped, by cause", "pps", []Line{{`sum by (cause) (rate(tocsin_tap_packets_dropped_total[5m])) > 0`, "{{cause}}"}}},
		{"Bytes on the wire", "Bps", []Line{{`sum by (sensor) (rate(tocsin_tap_bytes_total[5m]))`, "{{sensor}}"}}},
		{"Capture rings", "percentunit", []Line{{`tocsin_sensor_ring_fill_ratio`, "{{instance}} {{source}}"}}},
		{"Flow tables", "percentunit", []Line{{`tocsin_sensor_flows / tocsin_sensor_flows_max`, "{{instance}} {{source}}"}}},
		{"Events, by kind", "ops", []Line{{`sum by (kind) (rate(tocsin_sensor_events_total[5m]))`, "{{kind}}"}}},
		{"Parsers that gave up", "ops", []Line{{`sum by (protocol) (rate(tocsin_sensor_parser_errors_total[5m]))`, "{{protocol}}"}}},
		{"Flows evicted, streams with gaps", "ops", []Line{{`sum(rate(tocsin_tap_flows_evicted_total[5m]))`, "flows evicted"}, {`sum(rate(tocsin_tap_stream_gaps_total[5m]))`, "gaps in streams"}}},
		{"Waiting in the spool", "short", []Line{{`tocsin_spool_pending_events`, "{{instance}} {{class}}"}}},
		{"Size of the spool", "bytes", []Line{{`tocsin_spool_bytes`, "{{instance}}"}}},
		{"Discarded by the spool", "ops", []Line{{`sum by (instance, class, cause) (rate(tocsin_spool_discarded_events_total[5m]))`, "{{instance}} {{class}} {{cause}}"}}},
		{"Kafka: published and read", "ops", []Line{{`sum(rate(tocsin_spool_published_events_total[5m]))`, "published by sensors"}, {`sum by (topic) (rate(tocsin_kafka_published_messages_total[5m]))`, "published to {{topic}}"}, {`sum by (topic) (rate(tocsin_kafka_read_messages_total[5m]))`, "read from {{topic}}"}}},
		{"Kafka: lag", "short", []Line{{`sum by (topic, partition) (tocsin_kafka_lag_messages)`, "{{topic}} {{partition}}"}}},
		{"Kafka: since the last message", "s", []Line{{`tocsin_kafka_last_message_seconds`, "{{instance}} {{topic}}"}}},
		{"Matches and reports", "ops", []Line{{`sum(rate(tocsin_correlator_signals_total[5m]))`, "matches of rules"}, {`sum(rate(tocsin_correlator_alert_reports_total[5m]))`, "reports of alerts"}}},
		{"Groups remembered", "short", []Line{{`tocsin_correlator_groups`, "{{instance}}"}}},
		{"Given up by the memory of rules", "ops", []Line{{`sum(rate(tocsin_correlator_late_signals_total[5m]))`, "late"}, {`sum(rate(tocsin_correlator_evicted_groups_total[5m]))`, "evicted"}, {`sum(rate(tocsin_correlator_truncated_signals_total[5m]))`, "truncated"}}},
		{"Elasticsearch: documents", "ops", []Line{{`sum by (what) (rate(tocsin_elasticsearch_documents_total[5m]))`, "{{what}}"}}},
		{"Elasticsearch: requests", "ops", []Line{{`sum(rate(tocsin_elasticsearch_requests_total[5m]))`, "bulk"}, {`sum(rate(tocsin_elasticsearch_repeated_requests_total[5m]))`, "sent again"}, {`sum(rate(tocsin_elasticsearch_conflicts_total[5m]))`, "reports that met"}}},
		{"Elasticsearch: waiting", "short", []Line{{`tocsin_elasticsearch_waiting`, "{{instance}}"}}},
		{"Dead letters, and what was lost", "ops", []Line{{`sum(rate(tocsin_kafka_dead_messages_total[5m]))`, "not readable"}, {`sum(rate(tocsin_kafka_lost_messages_total[5m]))`, "gone from the topic"}, {`sum(rate(tocsin_elasticsearch_documents_total{what="refused"}[5m]))`, "refused by Elasticsearch"}}},
	}
}

// Grafana writes the board, for Grafana 10 and later. The source of data is
// chosen when it is imported.
func Grafana() ([]byte, error) {
	source := object{"type": "prometheus", "uid": "${datasource}"}
	var panels []any
	for i, g := range Graphs() {
		var targets []any
		for j, l := range g.Lines {
			targets = append(targets, object{"refId": string(rune('A' + j)), "expr": l.Expr, "legendFormat": l.Legend, "datasource": source, "editorMode": "code", "range": true})
		}
		panels = append(panels, object{
			"id": i + 1, "type": "timeseries", "title": g.Title, "datasource": source, "targets": targets,
			"gridPos":     object{"x": i % 3 * 8, "y": i / 3 * 8, "w": 8, "h": 8},
			"fieldConfig": object{"defaults": object{"unit": g.Unit, "min": 0, "custom": object{"fillOpacity": 10, "showPoints": "never"}}, "overrides": []any{}},
			"options":     object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}},
		})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(object{
		"uid": "tocsin", "title": "Tocsin", "tags": []string{"tocsin"}, "schemaVersion": 39, "version": 1, "editable": true, "refresh": "30s",
		"time": object{"from": "now-6h", "to": "now"}, "timezone": "utc", "graphTooltip": 1, "annotations": object{"list": []any{}}, "links": []any{},
		"templating": object{"list": []any{object{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "hide": 0, "refresh": 1, "regex": "", "multi": false, "includeAll": false, "options": []any{}, "current": object{}}}},
		"panels":     panels,
	})
	return out.Bytes(), err
}
