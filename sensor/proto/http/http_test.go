package http

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

func cases(t testing.TB) (cases []prototest.Case) {
	for _, c := range []prototest.Case{
		{Name: "get", Recovers: true, Allocs: 8},
		{Name: "pipelined", Recovers: true},
		{Name: "chunked"}, // its last response has no end but the connection's
		{Name: "connect"},
		{Name: "websocket"},
		{Name: "secrets", Recovers: true},
		{Name: "odd"},
		{Name: "midstream"},
		{Name: "bad_request"},
		{Name: "old", Midstream: true}, // a body is all that the server says
	} {
		c.Pieces = prototest.Load(t, "testdata/"+c.Name+".txt")
		cases = append(cases, c)
	}
	return cases
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// collect returns an Emit and the events that it was given.
func collect() (*[]event.Event, *proto.Out) {
	events := new([]event.Event)
	return events, proto.NewOut(new(event.Arena), func(at time.Time, fields []event.Field) {
		e := event.Event{Time: at, Fields: fields}
		*events = append(*events, e.Clone())
	})
}

func TestSecretsStayOut(t *testing.T) {
	got, err := os.ReadFile("testdata/secrets.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(got, []byte("S3CRET")) || bytes.Contains(got, []byte("UzND")) {
		t.Errorf("a secret came out: %s", got)
	}
}

func TestMaskURL(t *testing.T) {
	f := func(u, want string) {
		t.Helper()
		if got := string(maskURL([]byte(u))); got != want {
			t.Errorf("%s: %s, want %s", u, got, want)
		}
	}
	f("/", "/")
	f("/?id=1' or '1'='1", "/?id=1' or '1'='1")
	f("/?file=/etc/passwd&a=b", "/?file=/etc/passwd&a=b")
	f("/?password=x", "/?password=***")
	f("/?password=&b=1", "/?password=&b=1")
	f("/?a=1&Key=x=y&b=2#sid=3", "/?a=1&Key=***&b=2#sid=***")
	f("/?X-Amz-Security-Token=x;b", "/?X-Amz-Security-Token=***;b")
	f("/?p%61ss=x", "/?p%61ss=***")
	f("/?monkey=1", "/?monkey=1")
	f("http://u:p:q@h/?a", "http://u:***@h/?a")
	f("http://u@h:80/?a=@:", "http://u@h:80/?a=@:")
	f("password=x", "password=***")
	f("/p;jsessionid=1?a=b", "/p;jsessionid=***?a=b")
	f("/p?pass=x?y&a=b", "/p?pass=***&a=b")
	f("/?"+strings.Repeat("x", 200)+"token=1", "/?"+strings.Repeat("x", 200)+"token=***")
}

func TestSplitHost(t *testing.T) {
	f := func(authority, host string, port uint16) {
		t.Helper()
		if h, p := splitHost(authority); h != host || p != port {
			t.Errorf("%s: %s, %d; want %s, %d", authority, h, p, host, port)
		}
	}
	f("", "", 0)
	f("Example.ORG", "example.org", 0)
	f("example.org:81", "example.org", 81)
	f("example.org:", "example.org:", 0)
	f("example.org:99999", "example.org:99999", 0)
	f("[2001:DB8::1]", "2001:db8::1", 0)
	f("[2001:db8::1]:8443", "2001:db8::1", 8443)
	f("2001:db8::1", "2001:db8::1", 0)
	f("[", "[", 0)
}

// Lines and URLs beyond what is kept are cut, said to be, and cost only themselves.
func TestLong(t *testing.T) {
	events, out := collect()
	p := Protocol.New()
	req := "GET /" + strings.Repeat("a", 50_000) + " HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("b", 50_000) + "\r\nUser-Agent: u\r\n\r\n"
	if v := Protocol.Probe(proto.Orig, []byte(req[:proto.MaxProbe])); v != proto.Yes {
		t.Errorf("probe: verdict %d", v)
	}
	var pending []byte
	for part := range strings.SplitSeq(req+"GET /next HTTP/1.1\r\n\r\n", "a") {
		pending = append(pending, part...)
		pending = append(pending, 'a')
		n, err := p.Parse(proto.Orig, pending, time.Unix(0, 0), out)
		if err != nil {
			t.Fatal(err)
		}
		if pending = pending[n:]; len(pending) > maxLine {
			t.Fatalf("%d bytes wait", len(pending))
		}
	}
	p.End(out)
	if len(*events) != 2 {
		t.Fatalf("%d events", len(*events))
	}
	e := (*events)[0]
	if n := len(e.Get("url.original").Str()); n != maxURL {
		t.Errorf("URL of %d bytes", n)
	}
	if cut, _ := e.Get("tocsin.http.url_truncated").Bool(); !cut {
		t.Error("the URL is not said to be cut")
	}
	if got := e.Get("user_agent.original").Str(); got != "u" {
		t.Errorf("the header after the long one: %q", got)
	}
	if got := e.Get("tocsin.protocol.anomaly").String(); got != `["no_response","long_line"]` {
		t.Errorf("anomalies %s", got)
	}
}

// Bytes lost within a body are accounted for, and what follows is found.
func TestGapInBody(t *testing.T) {
	events, out := collect()
	p := Protocol.New()
	feed := func(dir proto.Dir, s string) {
		t.Helper()
		if n, err := p.Parse(dir, []byte(s), time.Unix(0, 0), out); n != len(s) || err != nil {
			t.Fatalf("used %d of %q, %v", n, s, err)
		}
	}
	feed(proto.Orig, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n")
	feed(proto.Resp, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
	p.Gap(proto.Resp, 50)
	feed(proto.Resp, strings.Repeat("x", 40)+"HTTP/1.1 201 OK\r\nContent-Length: 10\r\n\r\n")
	p.Gap(proto.Resp, 10)
	feed(proto.Resp, "HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
	p.Gap(proto.Resp, 3)
	feed(proto.Resp, "\r\n0\r\n\r\n")
	var got []string
	for _, e := range *events {
		got = append(got, fmt.Sprint(e.Get("url.path"), " ", e.Get("http.response.status_code"), " ", e.Get("http.response.body.bytes"), " ", e.Get("tocsin.http.missing_bytes")))
	}
	if s := strings.Join(got, ", "); s != "/a 200 100 50, /b 201 10 10, /c 202 5 3" {
		t.Error(s)
	}
}

// The oldest of too many requests makes way, and its response is not taken
// for that of another.
func TestManyWaiting(t *testing.T) {
	events, out := collect()
	p := Protocol.New()
	for i := range maxWaiting + 2 {
		r := fmt.Sprintf("GET /%d HTTP/1.1\r\n\r\n", i)
		if _, err := p.Parse(proto.Orig, []byte(r), time.Unix(int64(i), 0), out); err != nil {
			t.Fatal(err)
		}
	}
	if len(*events) != 2 {
		t.Fatalf("%d requests gave way, want 2", len(*events))
	}
	for i := range maxWaiting + 2 {
		r := fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", 200+i)
		if _, err := p.Parse(proto.Resp, []byte(r), time.Unix(100, 0), out); err != nil {
			t.Fatal(err)
		}
	}
	p.End(out)
	if len(*events) != maxWaiting+4 {
		t.Fatalf("%d events", len(*events))
	}
	for i, e := range (*events)[4:] {
		if want := fmt.Sprint("/", i+2, " ", 202+i); fmt.Sprint(e.Get("url.path"), " ", e.Get("http.response.status_code")) != want {
			t.Errorf("%s %s, want %s", e.Get("url.path"), e.Get("http.response.status_code"), want)
		}
	}
}

// tap passes bytes on and feeds a parser with them.
type tap struct {
	net.Conn
	mu     *sync.Mutex
	parser proto.Parser
	rest   [2][]byte
	out    *proto.Out
	t      testing.TB
}

func (c *tap) feed(dir proto.Dir, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest[dir] = append(c.rest[dir], b...)
	n, err := c.parser.Parse(dir, c.rest[dir], time.Now(), c.out)
	if err != nil {
		c.t.Error(err)
	}
	c.rest[dir] = c.rest[dir][n:]
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.feed(proto.Resp, b[:n])
	return n, err
}

func (c *tap) Write(b []byte) (int, error) {
	c.feed(proto.Orig, b)
	return c.Conn.Write(b)
}

// TestAgainstNetHTTP compares what is parsed with what Go's server and client
// say happened.
func TestAgainstNetHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Server", "test")
		w.WriteHeader(int(200 + n%50))
		if r.Method == "HEAD" || r.URL.Path == "/empty" {
			return
		}
		for i := int64(0); i < n%7; i++ {
			fmt.Fprint(w, strings.Repeat("x", int(n)))
			w.(http.Flusher).Flush()
		}
	}))
	defer server.Close()
	events, out := collect()
	var mu sync.Mutex
	transport := &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, addr)
			return &tap{Conn: c, mu: &mu, parser: Protocol.New(), out: out, t: t}, err
		},
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	var want []string
	for i, method := range []string{"GET", "POST", "HEAD", "PUT", "DELETE", "POST", "PATCH", "POST"} {
		size := i * 1000
		path := "/x"
		if i == 5 {
			path = "/empty"
		}
		var body io.Reader
		if size > 0 && method != "HEAD" {
			body = strings.NewReader(strings.Repeat("y", size))
			if i%2 == 1 {
				body = io.MultiReader(body) // length not known: sent in chunks
			}
		} else {
			size = 0
		}
		r, err := http.NewRequest(method, server.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want = append(want, fmt.Sprint(method, " ", path, " ", size, " ", resp.StatusCode, " ", n))
	}
	mu.Lock()
	defer mu.Unlock()
	if len(*events) != len(want) {
		t.Fatalf("%d events, want %d", len(*events), len(want))
	}
	for i, e := range *events {
		got := fmt.Sprint(e.Get("http.request.method"), " ", e.Get("url.path"), " ", e.Get("http.request.body.bytes"), " ", e.Get("http.response.status_code"), " ", e.Get("http.response.body.bytes"))
		if got != want[i] {
			t.Errorf("exchange %d: %s, want %s", i, got, want[i])
		}
		if a := e.Get("tocsin.protocol.anomaly"); !a.IsZero() {
			t.Errorf("exchange %d: anomalies %s", i, a)
		}
	}
}
