package metrics_test

import (
	"bufio"
	"bytes"
	"context"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/tocsin/tocsin/bus/spool"
	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/metrics"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto/all"
	"github.com/tocsin/tocsin/store/elastic"
)

// accounts adds up the ledger's events of each tap, and counts the others.
type accounts struct {
	ledgers map[string]event.Ledger
	kinds   map[event.Kind]float64
}

func (a *accounts) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		if e := &batch[i]; e.Kind != event.KindLedger {
			a.kinds[e.Kind]++
		} else {
			if a.ledgers[e.Sensor] == nil {
				a.ledgers[e.Sensor] = event.Ledger{}
			}
			a.ledgers[e.Sensor].Add(e)
		}
	}
	return nil
}

// ask returns the page and its values, by name and labels as they are written.
func ask(t *testing.T, sources ...metrics.Source) (page []byte, values map[string]float64) {
	t.Helper()
	h, err := metrics.Handler("v1", sources...)
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	values = map[string]float64{}
	page = bytes.Clone(answer.Body.Bytes())
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, value, _ := strings.Cut(lines.Text(), " ")
		if values[name], err = strconv.ParseFloat(value, 64); err != nil {
			t.Fatal(lines.Text())
		}
	}
	return page, values
}

// The numbers at the end are those of the ledger, tap by tap and cause by cause.
func TestSensorEqualsLedger(t *testing.T) {
	for _, workers := range []int{1, 3} {
		cfg := sensor.DefaultConfig()
		cfg.Workers, cfg.Protocols = workers, all.Protocols()
		cfg.Flow.MaxFlows, cfg.MaxConversations = 64, 32 // so that there are losses
		got := accounts{map[string]event.Ledger{}, map[event.Kind]float64{}}
		s, err := sensor.New(cfg, func(int) (capture.Source, error) {
			return file.Open("../testdata/scenarios/intrusion/border.pcap.zst", "../testdata/scenarios/intrusion/substation.pcap.zst")
		}, &got)
		if err != nil {
			t.Fatal(err)
		}
		source := metrics.Sensors([]metrics.Named{{Source: "captures", Sensor: s}})
		if _, before := ask(t, source); before[`tocsin_sensor_flows{source="captures"}`] != 0 {
			t.Error("there are flows before the beginning")
		}
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, values := ask(t, source)
		if problems, err := promlint.New(bytes.NewReader(page)).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("names that Prometheus does not like: %v, %v", problems, err)
		}
		if len(got.ledgers) != 2 {
			t.Fatalf("taps %v", got.ledgers)
		}
		for tap, ledger := range got.ledgers {
			labels := `interface="../testdata/scenarios/intrusion/` + tap + `.pcap.zst",sensor="` + tap + `"`
			balance := 0.0
			for name, n := range ledger {
				metric := "tocsin_tap_" + name + "_total{" + labels + "}"
				if cause, dropped := strings.CutPrefix(name, event.DroppedPrefix); dropped {
					metric = `tocsin_tap_packets_dropped_total{cause="` + cause + `",` + labels + "}"
				}
				switch name {
				case "events", "parser_errors":
					continue
				case "seen", "decoded", "filtered":
					metric = "tocsin_tap_packets_" + name + "_total{" + labels + "}"
				}
				if value, there := values[metric]; !there || value != float64(n) {
					t.Errorf("%d workers: %s is %v, the ledger's %s %d", workers, metric, value, name, n)
				}
			}
			for metric, value := range values {
				if strings.Contains(metric, labels) {
					switch {
					case strings.HasPrefix(metric, "tocsin_tap_packets_seen_total"):
						balance += value
					case strings.HasPrefix(metric, "tocsin_tap_packets_d"), strings.HasPrefix(metric, "tocsin_tap_packets_filtered"):
						balance -= value
					}
				}
			}
			if balance != 0 || ledger["seen"] == 0 || ledger["flows_evicted"] == 0 {
				t.Errorf("%s: off by %v; %v", tap, balance, ledger)
			}
		}
		for kind, n := range got.kinds {
			if m := `tocsin_sensor_events_total{kind="` + string(kind) + `",source="captures"}`; values[m] != n {
				t.Errorf("%s is %v, want %v", m, values[m], n)
			}
		}
		if values[`tocsin_sensor_flows_max{source="captures"}`] != 64 || values["process_open_fds"] == 0 || values[`tocsin_build_info{version="v1"}`] != 1 {
			t.Errorf("%s", page)
		}
	}
}

// Everything that is shown is documented, once, and the other way round.
func TestDocumented(t *testing.T) {
	documented := map[string]*metrics.Metric{}
	for _, m := range metrics.Documented() {
		if documented[m.Name] != nil {
			t.Errorf("%s is there twice", m.Name)
		}
		documented[m.Name] = m
		if m.Help == "" || strings.HasSuffix(m.Name, "_total") != (m.Kind == metrics.Counter) {
			t.Errorf("%+v", m)
		}
	}
	sources := []metrics.Source{
		metrics.Sensors(nil),
		metrics.Bus(func() (int, int) { return 1, 2 }),
		metrics.Store(func() uint64 { return 3 }),
		metrics.Spool(func() metrics.SpoolAccount { return metrics.SpoolAccount{Full: spool.Counts{spool.Flows: 5}, Bytes: 6} }),
		metrics.Correlator(func() correlator.Stats { return correlator.Stats{Events: 4} }),
		metrics.Kafka(func() []metrics.Topic { return nil }),
		metrics.Elasticsearch(func() elastic.Stats { return elastic.Stats{} }),
	}
	shown := map[string]bool{"tocsin_build_info": true}
	for _, s := range sources {
		for _, m := range s.Metrics {
			shown[m.Name] = true
			if documented[m.Name] == nil {
				t.Errorf("%s is not documented", m.Name)
			}
		}
	}
	for name := range documented {
		if !shown[name] {
			t.Errorf("%s is never shown", name)
		}
	}
	_, values := ask(t, sources...)
	for name, want := range map[string]float64{"tocsin_bus_waiting_events": 1, "tocsin_bus_events_max": 2, "tocsin_store_events_total": 3, "tocsin_correlator_events_total": 4, `tocsin_spool_discarded_events_total{cause="full",class="flows"}`: 5, "tocsin_spool_bytes": 6} {
		if values[name] != want {
			t.Errorf("%s is %v, want %v", name, values[name], want)
		}
	}
}
