// Package console is the analysts' door: an HTTP API that describes itself at
// /openapi.json, and the page in web/, which uses that API and nothing else.
//
// There is no sign-in yet, so a console belongs on a loopback address, where
// whoever starts it puts it. It defends itself against the two ways in which a
// stranger's web page reaches a loopback server through its victim's browser:
// a DNS name that points here (DNS rebinding) and requests across origins.
package console

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/klauspost/compress/gzhttp"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/trace"
)

// Config is what a console is made of.
type Config struct {
	Store   store.Store
	Schema  *event.Schema // fields offered for completion
	Build   func(ctx context.Context, s trace.Searcher, from trace.Seed) (*trace.Trace, error)
	Formats []trace.Format // in which a trace can be downloaded, in the order shown
	Version string         // of the program, shown on the page
	Hosts   []string       // names under which the console may be asked for, besides localhost and any address
}

// Limits of one request.
const (
	maxBody    = 1 << 20          // of a request's body, bytes
	maxQuery   = 8 << 10          // of a query's text, characters; as Selection says
	maxTime    = 30 * time.Second // that a request may take; streams are exempt
	maxStreams = 64               // that may be open at once
)

// New returns the console. It starts nothing: an open stream polls the store
// for as long as its request lives, so the server should give its requests a
// context that ends before it waits for them (http.Server.BaseContext).
func New(cfg Config) http.Handler {
	c := &console{Config: cfg, streams: make(chan struct{}, maxStreams)}

	mux := http.NewServeMux()
	conf := huma.DefaultConfig("Tocsin", cfg.Version)
	conf.Info.Description = "Alerts, events and traces of one Tocsin. Times are RFC 3339; every list is paged by a cursor; errors are RFC 9457 problems."
	conf.DocsPath = ""     // it would load scripts from elsewhere
	conf.SchemasPath = ""  // all schemas are in /openapi.json
	conf.CreateHooks = nil // no $schema link in every answer
	c.register(humago.New(mux, conf))
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "no such operation: "+r.Method+" "+r.URL.Path+"; see /openapi.json")
	})
	mux.Handle("/", newPage(built()))

	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024))
	if err != nil {
		panic(err) // the options are constants
	}
	compressed := compress(mux)
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == streamPath {
			mux.ServeHTTP(w, r) // one small message now and then: a compressor would only hold it back
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), maxTime)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		compressed.ServeHTTP(w, r.WithContext(ctx))
	})
	return guard(h, cfg.Hosts)
}

type console struct {
	Config
	streams chan struct{} // one element per open stream
	judged  atomic.Uint64 // counts decisions made here, so that other pages learn of them
}
