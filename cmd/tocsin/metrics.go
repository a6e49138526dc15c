package main

import (
	"fmt"
	"net"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/metrics"
)

func metricsFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("metrics", "", "`ADDRESS` at which Prometheus finds /metrics, such as 127.0.0.1:9200; a port alone is of loopback; none if not given")
}

// listenForMetrics opens the port of the metrics.
func listenForMetrics(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usagef("--metrics %s: want HOST:PORT, such as 127.0.0.1:9200", addr)
	}
	if host == "" {
		host = "127.0.0.1" // whoever wants the world to see must say so
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w; choose another address with --metrics", err)
	}
	return l, nil
}

// metricsPage shows the numbers of sources at /metrics.
func metricsPage(sources ...metrics.Source) (http.Handler, error) {
	h, err := metrics.Handler(buildVersion(), sources...)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h)
	return mux, nil
}
