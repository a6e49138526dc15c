package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
)

// wire is a stretch of network between two processes: a TCP proxy that can be
// cut. What is cut is silent: connections neither end nor carry anything, as
// with a pulled plug.
type wire struct {
	l      net.Listener
	target string

	mu    sync.Mutex
	whole *sync.Cond
	cut   bool
	conns map[net.Conn]bool
}

func newWire() (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{l: l, conns: map[net.Conn]bool{}}
	w.whole = sync.NewCond(&w.mu)
	return w, nil
}

func (w *wire) addr() string { return w.l.Addr().String() }

// to begins to carry connections to a target.
func (w *wire) to(target string) {
	w.target = target
	go func() {
		for {
			c, err := w.l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
}

func (w *wire) carry(c net.Conn) {
	defer c.Close()
	w.wait()
	far, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	w.conns[c], w.conns[far] = true, true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.conns, c)
		delete(w.conns, far)
		w.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(func() { w.copy(far, c); far.Close(); c.Close() })
	both.Go(func() { w.copy(c, far); far.Close(); c.Close() })
	both.Wait()
}

func (w *wire) copy(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w.wait()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait waits while the wire is cut.
func (w *wire) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.cut {
		w.whole.Wait()
	}
}

func (w *wire) setCut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if !cut {
		// What was on its way when it was cut is lost, and TCP finds out.
		for c := range w.conns {
			c.Close()
		}
	}
	w.whole.Broadcast()
}

func (w *wire) close() error {
	w.setCut(false)
	return w.l.Close()
}

// gate stands before a server of HTTP and answers in its place as long as it is
// told to.
type gate struct {
	srv     *http.Server
	l       net.Listener
	status  atomic.Int64 // to answer with; 0: the server answers
	refused atomic.Int64
}

func newGate(target string) (*gate, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	g := &gate{}
	if g.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	through := httputil.NewSingleHostReverseProxy(u)
	through.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	g.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := g.status.Load(); status != 0 {
			g.refused.Add(1)
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(int(status))
			io.WriteString(w, `{"error":{"type":"es_rejected_execution_exception","reason":"no capacity"}}`)
			return
		}
		through.ServeHTTP(w, r)
	})}
	go g.srv.Serve(g.l)
	return g, nil
}

func (g *gate) addr() string { return g.l.Addr().String() }

func (g *gate) close() error { return g.srv.Close() }
