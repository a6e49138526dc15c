package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tocsin/tocsin/metrics"
)

func metricsFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("metrics", "", "`ADDRESS` at which Prometheus finds /metrics, such as 127.0.0.1:9464; a port alone is of loopback; none if not given")
}

// listenForMetrics opens the port of the metrics; nil if none is wanted.
func listenForMetrics(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usagef("--metrics %s: want HOST:PORT, such as 127.0.0.1:9464", addr)
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

// showMetrics shows the numbers of sources until ctx ends, or the returned
// function is called, which waits for the end. Without a listener it does nothing.
func showMetrics(ctx context.Context, l net.Listener, out io.Writer, sources ...metrics.Source) (stop func() error, err error) {
	if l == nil {
		return func() error { return nil }, nil
	}
	h, err := metricsPage(sources...)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "metrics at http://%s/metrics\n", l.Addr())
	page, end := context.WithCancel(ctx)
	var shown errgroup.Group
	shown.Go(func() error { return serve(page, l, h) })
	return func() error { end(); return shown.Wait() }, nil
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
