// Package metrics shows how the parts of a process are doing, in the words of
// Prometheus.
//
// A part's numbers are a Source: a list of metrics, from which the manual is
// made, and a function that reads them when somebody asks. Parts keep their
// numbers themselves and know nothing of Prometheus; whoever puts a process
// together passes the sources of its parts to Handler. There is no registry
// that importing a package would change.
package metrics

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Kind says how a metric's value moves.
type Kind string

const (
	Counter Kind = "counter" // only grows, until the process ends
	Gauge   Kind = "gauge"
)

// Metric is a number, or several that differ in their labels. Labels have few
// values: never an address.
type Metric struct {
	Name   string // as Prometheus wants it: unit last, counters end in _total
	Kind   Kind
	Labels []string
	Help   string
}

// Emit takes a value of a metric, with the values of its labels in their order.
type Emit func(m *Metric, value float64, labels ...string)

// Source is the numbers of a part.
type Source struct {
	Metrics []*Metric
	// Read gives all numbers as they are now. It may be called at any time, by
	// several goroutines. A metric's labels must differ between calls of emit.
	Read func(emit Emit)
}

// Handler answers with the numbers of all sources, and of the process itself.
func Handler(version string, sources ...Source) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	sources = append(sources, Source{Metrics: []*Metric{buildInfo}, Read: func(emit Emit) { emit(buildInfo, 1, version) }})
	for _, s := range sources {
		c := &collector{read: s.Read, descriptions: map[*Metric]*prometheus.Desc{}}
		for _, m := range s.Metrics {
			c.descriptions[m] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
		}
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}), nil
}

var buildInfo = &Metric{Name: "tocsin_build_info", Kind: Gauge, Labels: []string{"version"}, Help: "1; the label says which build it is."}

// collector is a Source as Prometheus wants it.
type collector struct {
	read         func(Emit)
	descriptions map[*Metric]*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descriptions {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.read(func(m *Metric, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if m.Kind == Counter {
			kind = prometheus.CounterValue
		}
		// Names of interfaces and files need not be text.
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
		}
		ch <- prometheus.MustNewConstMetric(c.descriptions[m], kind, value, labels...)
	})
}

// Documented are all metrics that any process of Tocsin has, beside those that
// Prometheus' own library has of Go and of processes.
func Documented() []*Metric {
	return slices.Concat([]*Metric{buildInfo}, sensorMetrics(), pipelineMetrics, kafkaMetrics, elasticMetrics)
}
