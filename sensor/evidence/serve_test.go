package evidence

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
)

const token = "a token that is long"

func served(t *testing.T) (*Ring, *httptest.Server) {
	t.Helper()
	r := open(t, t.TempDir(), 16<<20)
	rec := r.Recorder(tap)
	fill(rec, 0, 300, 90)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := Handler(r, token)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return r, s
}

func TestFetchOverHTTP(t *testing.T) {
	_, s := served(t)
	c := &Client{URL: s.URL, Token: token}
	var out bytes.Buffer
	told, bound := int64(0), int64(0)
	wanted := append(talking(80, 100), Session{Sensor: "another", Src: talking(0, 0)[0].Src, Dst: talking(0, 0)[0].Dst, From: at(0), To: at(1)})
	report, err := c.Fetch(t.Context(), wanted, &out, func(done, most int64) { told, bound = done, most })
	if err != nil {
		t.Fatal(err)
	}
	if report.Packets != 5 || report.Counts[0] != 5 || report.Counts[1] != 0 || len(report.Broken) != 0 {
		t.Errorf("%+v", report)
	}
	if len(report.Missing) != 1 || report.Missing[0].Sensor != "another" {
		t.Errorf("what is missing is not said: %+v", report.Missing)
	}
	if told != int64(out.Len()) || bound < told {
		t.Errorf("progress says %d of %d, %d bytes came", told, bound, out.Len())
	}
	if err := c.Pin(t.Context(), Pin{ID: "case-1", Sessions: talking(80, 100)}); err != nil {
		t.Fatal(err)
	}
	if pins, err := c.Pins(t.Context()); err != nil || len(pins) != 1 {
		t.Errorf("%v %+v", err, pins)
	}
	if err := c.Pin(t.Context(), Pin{ID: "/"}); err == nil || !strings.Contains(err.Error(), "422") {
		t.Error(err)
	}
	if st, err := c.Status(t.Context()); err != nil || st.PinnedFor != 1 || st.Recorded != 6000 {
		t.Errorf("%v %+v", err, st)
	}
	if err := c.Release(t.Context(), "case-1"); err != nil {
		t.Error(err)
	}
	if err := c.Release(t.Context(), "case-1"); err == nil {
		t.Error("released twice")
	}
}

func TestTokens(t *testing.T) {
	r, s := served(t)
	if _, err := Handler(r, "short"); err == nil {
		t.Error("a short token is taken")
	}
	for _, wrong := range []string{"", "wrong", token + "x"} {
		c := &Client{URL: s.URL, Token: wrong}
		if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("%q: %v", wrong, err)
		}
		if _, err := c.Fetch(t.Context(), talking(0, 300), io.Discard, nil); err == nil {
			t.Errorf("%q fetches", wrong)
		}
		if err := c.Pin(t.Context(), Pin{ID: "x", Sessions: talking(0, 1)}); err == nil {
			t.Errorf("%q pins", wrong)
		}
	}
}

// cutting is a connection that ends after so many bytes.
type cutting struct {
	net.Conn
	left int
}

func (c *cutting) Read(b []byte) (int, error) {
	if c.left <= 0 {
		c.Conn.Close()
		return 0, errors.New("the cable was cut")
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// TestPartial cuts the connection: what came is kept and can be read, and the
// report says that it is not all.
func TestPartial(t *testing.T) {
	_, s := served(t)
	all := []Session{}
	for i := range 20 {
		all = append(all, Session{Src: netipPort(addr(100 + i)), From: at(0), To: at(300)})
	}
	c := &Client{URL: s.URL, Token: token, HTTP: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return &cutting{conn, 1 << 20}, err
	}}}}
	var out bytes.Buffer
	report, err := c.Fetch(t.Context(), all, &out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Broken) != 1 || out.Len() < 500_000 {
		t.Fatalf("%+v after %d bytes", report, out.Len())
	}
	src, err := file.New(bytes.NewReader(out.Bytes()), "partial.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var p capture.Packet
	for src.Next(&p) == nil {
		n++
	}
	if n < 500 {
		t.Errorf("%d packets of what came", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := (&Client{URL: s.URL, Token: token}).Fetch(ctx, all, io.Discard, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
