package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
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
		{Name: "tls12", Allocs: 12},
		{Name: "tls12_resumed"},
		{Name: "tls13", Allocs: 12},
		{Name: "tls13_retry"},
		{Name: "client_certificate"},
		{Name: "refused"},
		{Name: "sslv2_hello"},
		{Name: "odd"},
	} {
		c.Pieces = prototest.Load(t, "testdata/"+c.Name+".txt")
		cases = append(cases, c)
	}
	return cases
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// The worked examples of the publications that define the fingerprints.
func TestFingerprints(t *testing.T) {
	s := &scratch{
		ciphers:    []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
		extensions: []uint16{0, 10, 11}, groups: []uint16{23, 24, 25}, formats: []byte{0},
	}
	if got := s.ja3(769); got != "ada70206e40642a3e4461f35503241d5" {
		t.Errorf("JA3 %s of %s", got, s.text)
	}
	s = &scratch{ciphers: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}}
	if got := s.ja3(769); got != "de350869b8c85de67a350c8d186f11e6" {
		t.Errorf("JA3 %s of %s", got, s.text)
	}
	s = &scratch{
		ciphers:    []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35},
		extensions: []uint16{0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0xd, 5, 0x23, 0x12, 0x2b, 0xff01, 0xb, 0xa, 0x15},
		signatures: []uint16{0x403, 0x804, 0x401, 0x503, 0x805, 0x501, 0x806, 0x601},
	}
	if got := s.ja4(version13, true, []byte("h2")); got != "t13d1516h2_8daaf6152771_e5627efa2ab1" {
		t.Errorf("JA4 %s", got)
	}
	if got := new(scratch).ja4(0x300, false, nil); got != "ts3i000000_000000000000_000000000000" {
		t.Errorf("JA4 of an empty hello: %s", got)
	}
}

func TestJA4Protocol(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		a, b := ja4Protocol([]byte(name))
		if got := string([]byte{a, b}); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	f("", "00")
	f("h2", "h2")
	f("http/1.1", "h1")
	f("x", "xx")
	f("\xab", "ab")
	f("\xab\xcd", "ad")
	f("0\xab", "3b")
	f("0\xab1", "01")
}

// credential makes a certificate that signs itself.
func credential(t testing.TB, name string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabcdef),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Example, Inc."}},
		NotBefore:    time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2035, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames:     []string{name, "alt." + name},
		IPAddresses:  []net.IP{net.IPv4(192, 0, 2, 1)},
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tape records what a connection's two directions carry.
type tape struct {
	net.Conn
	mu     *sync.Mutex
	dir    proto.Dir // of what is written
	pieces *[]prototest.Piece
}

func (c tape) Write(b []byte) (int, error) {
	c.mu.Lock()
	*c.pieces = append(*c.pieces, prototest.Piece{Dir: c.dir, Data: bytes.Clone(b), At: time.Duration(len(*c.pieces)) * time.Millisecond})
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// talk lets Go's client and server shake hands and exchange a few bytes, and
// returns what went over the wire and how the client saw it.
func talk(t testing.TB, client, server *tls.Config) ([]prototest.Piece, tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var pieces []prototest.Piece
	c := tls.Client(tape{a, &mu, proto.Orig, &pieces}, client)
	s := tls.Server(tape{b, &mu, proto.Resp, &pieces}, server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		var buf [5]byte
		if _, err := io.ReadFull(s, buf[:]); err == nil {
			s.Write([]byte("world"))
		}
	}()
	var buf [5]byte
	_, err = c.Write([]byte("hello"))
	if err == nil {
		_, err = io.ReadFull(c, buf[:])
	}
	a.Close()
	<-done
	return pieces, c.ConnectionState(), err
}

// parse returns the events of a conversation, cut into portions of n bytes.
func parse(t testing.TB, pieces []prototest.Piece, n int) (events []event.Event) {
	t.Helper()
	p := Protocol.New()
	out := proto.NewOut(new(event.Arena), func(at time.Time, fields []event.Field) {
		e := event.Event{Time: at, Fields: fields}
		events = append(events, e.Clone())
	})
	var rest [2][]byte
	for _, x := range pieces {
		for data := x.Data; len(data) > 0; data = data[min(n, len(data)):] {
			r := append(rest[x.Dir], data[:min(n, len(data))]...)
			k, err := p.Parse(x.Dir, r, time.Date(2026, 1, 1, 0, 0, 0, int(x.At), time.UTC), out)
			if err == proto.ErrDone {
				return events
			}
			if err != nil {
				t.Fatal(err)
			}
			rest[x.Dir] = r[k:]
		}
	}
	p.End(out)
	return events
}

// TestAgainstCryptoTLS compares what is parsed with what Go's client says.
func TestAgainstCryptoTLS(t *testing.T) {
	server := &tls.Config{
		Certificates: []tls.Certificate{credential(t, "server.example", x509.ExtKeyUsageServerAuth)},
		MinVersion:   tls.VersionTLS10,
		NextProtos:   []string{"h2", "http/1.1"},
		ClientAuth:   tls.RequestClientCert,
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(4)
		for i, name := range []string{"full", "resumed"} {
			t.Run(fmt.Sprintf("%s/%s", tls.VersionName(version), name), func(t *testing.T) {
				client := &tls.Config{
					InsecureSkipVerify: true, ServerName: "Server.Example", ClientSessionCache: cache,
					MinVersion: tls.VersionTLS10, MaxVersion: version, NextProtos: []string{"h2"},
					Certificates: []tls.Certificate{credential(t, "client.example", x509.ExtKeyUsageClientAuth)},
				}
				pieces, state, err := talk(t, client, server)
				if err != nil {
					t.Fatal(err)
				}
				if state.DidResume != (i == 1) {
					t.Fatal("the session was not resumed")
				}
				for _, cut := range []int{1, 100, 1 << 20} {
					events := parse(t, pieces, cut)
					if len(events) != 1 {
						t.Fatalf("%d events", len(events))
					}
					e := &events[0]
					f := func(field, want string) {
						t.Helper()
						if got := e.Get(field).String(); got != want {
							t.Errorf("%s is %q, want %q", field, got, want)
						}
					}
					f("tls.version", strings.TrimPrefix(tls.VersionName(state.Version), "TLS "))
					f("tls.version_protocol", "tls")
					f("tls.cipher", tls.CipherSuiteName(state.CipherSuite))
					f("tls.established", "true")
					f("tls.resumed", fmt.Sprint(state.DidResume))
					f("tls.client.server_name", "server.example")
					f("tocsin.tls.client.alpn", `["h2"]`)
					f("tocsin.protocol.anomaly", "")
					if version < tls.VersionTLS13 {
						f("tls.next_protocol", state.NegotiatedProtocol)
					}
					if version < tls.VersionTLS13 && i == 0 {
						x := state.PeerCertificates[0]
						f("tls.server.hash.sha256", fmt.Sprintf("%X", sha256.Sum256(x.Raw)))
						f("tls.server.subject", `CN=server.example,O=Example\, Inc.`)
						f("tls.server.x509.serial_number", "ABCDEF")
						f("tls.server.x509.alternative_names", `["server.example","alt.server.example","192.0.2.1"]`)
						f("tocsin.tls.certificate.self_signed", "true")
						f("tocsin.tls.certificate.expired", "false")
						f("tls.client.subject", `CN=client.example,O=Example\, Inc.`)
					}
				}
			})
		}
	}
}

// A server that wants another group asks for a second hello.
func TestHelloRetry(t *testing.T) {
	pieces, state, err := talk(t,
		&tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384}},
		&tls.Config{Certificates: []tls.Certificate{credential(t, "s", x509.ExtKeyUsageServerAuth)}, CurvePreferences: []tls.CurveID{tls.CurveP384}})
	if err != nil {
		t.Fatal(err)
	}
	events := parse(t, pieces, 1<<20)
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	e := &events[0]
	for field, want := range map[string]string{
		"tocsin.tls.hello_retry": "true", "tls.curve": "secp384r1", "tls.established": "true", "tls.cipher": tls.CipherSuiteName(state.CipherSuite),
	} {
		if got := e.Get(field).String(); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
}

// After the handshake nothing is kept and nothing is looked at.
func TestAfterwards(t *testing.T) {
	p := new(parser)
	out := proto.NewOut(new(event.Arena), func(time.Time, []event.Field) {})
	for _, x := range prototest.Load(t, "testdata/tls12.txt") {
		if n, err := p.Parse(x.Dir, x.Data, time.Unix(0, 0), out); n != len(x.Data) || err != nil && err != proto.ErrDone {
			t.Fatalf("used %d of %d, %v", n, len(x.Data), err)
		}
	}
	if !p.done || p.h != nil || p.sides[0].pending != nil || p.sides[1].pending != nil {
		t.Errorf("after the handshake the parser holds %+v", p)
	}
	noise := []byte("this is no record")
	if n, err := p.Parse(proto.Resp, noise, time.Unix(0, 0), out); n != len(noise) || err != proto.ErrDone {
		t.Errorf("used %d, %v", n, err)
	}
}

// A certificate that a Go program cannot read is still told apart by its hash.
func TestBadCertificate(t *testing.T) {
	c := parseCertificate([]byte("no certificate"), sha256.Sum256([]byte("no certificate")))
	if c.err == "" || c.x509 || c.sha256 != fmt.Sprintf("%X", sha256.Sum256([]byte("no certificate"))) {
		t.Errorf("%+v", c)
	}
}
