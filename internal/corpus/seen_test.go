package corpus

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/proto/all"
)

// limit is how long one capture may take; the longest takes a few seconds.
const limit = 30 * time.Second

// flow is one record, in the words of conn.log.
type flow struct {
	Proto       string
	Src, Dst    string
	Sport       uint16
	Dport       uint16
	State       string
	History     string
	OrigPayload *uint64 `json:"orig_payload"`
	RespPayload *uint64 `json:"resp_payload"`
	OrigPkts    uint64  `json:"orig_pkts"`
	RespPkts    uint64  `json:"resp_pkts"`
	OrigBytes   uint64  `json:"orig_ip_bytes"`
	RespBytes   uint64  `json:"resp_ip_bytes"`
	Duration    *float64

	communityID string
}

func (f *flow) tuple() string {
	return fmt.Sprintf("%s %s > %s", f.Proto, end(f.Src, f.Sport), end(f.Dst, f.Dport))
}

func end(ip string, port uint16) string { return ip + " " + strconv.Itoa(int(port)) }

// counts are how often each text was seen.
type counts map[string]int

// seen is what Tocsin says of one capture.
type seen struct {
	err        error // of the source
	took       time.Duration
	packets    uint64
	panics     uint64 // of parsers
	flows      []flow
	rows       counts // events by kind
	dnsFlags   counts // messages by their QR bit
	methods    counts // of HTTP requests
	statuses   counts // of HTTP responses
	ja3        counts
	ja4        map[string]counts      // by the client's and the server's address and port
	modbusPDUs counts                 // messages by function code, without the exception bit
	modbus     map[string]transaction // by transaction and unit
	fields     map[string]counts      // of telecontrol protocols, by tshark's names
	sshBanners counts
	sshSuccess counts // "T", "F", "-"
	serverName counts
}

// Publish takes note of a batch; see sensor.Sink.
func (s *seen) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		e := batch[i].Clone() // its texts are kept
		s.note(&e)
	}
	return nil
}

func (s *seen) note(e *event.Event) {
	s.rows[string(e.Kind)]++
	text := func(name string) string { return e.Get(name).String() }
	count := func(c counts, name string) {
		if v := text(name); v != "" {
			c[v]++
		}
	}
	switch e.Kind {
	case event.KindFlow:
		s.flows = append(s.flows, flowOf(e))
	case "dns":
		repeats, _ := e.Get("tocsin.dns.repeats").Int()
		if text("tocsin.dns.query_length") != "" {
			s.dnsFlags["0"] += 1 + int(repeats)
		}
		if text("tocsin.dns.response_length") != "" {
			s.dnsFlags["1"]++
		}
	case "http":
		count(s.methods, "http.request.method")
		count(s.statuses, "http.response.status_code")
	case "tls":
		count(s.ja3, "tls.client.ja3")
		count(s.serverName, "tls.client.server_name")
		if v := text("tls.client.ja4"); v != "" {
			f := flowOf(e)
			key := end(f.Src, f.Sport) + " " + end(f.Dst, f.Dport)
			if s.ja4[key] == nil {
				s.ja4[key] = counts{}
			}
			s.ja4[key][v]++
		}
	case "s7comm", "enip", "bacnet", "opcua", "mms":
		s.industrial(e)
	case "iec104", "dnp3", "synchrophasor", "hart-ip":
		s.telecontrol(e)
	case "ssh":
		for _, side := range []string{"client", "server"} {
			if v := text("tocsin.ssh." + side + ".version"); v != "" {
				s.sshBanners["SSH-"+v+"-"+text("tocsin.ssh."+side+".software")]++
			}
		}
		result := "-"
		if v, ok := e.Get("tocsin.ssh.auth.success").Bool(); ok {
			result = strings.ToUpper(strconv.FormatBool(v)[:1])
		}
		s.sshSuccess[result]++
	case "modbus":
		key, x := transactionOf(e)
		s.modbus[key] = x
		messages := 0
		_, both := e.Lookup(latency)
		_, answered := e.Lookup(status)
		if both || !answered {
			messages++
		}
		if answered {
			messages++
		}
		s.modbusPDUs[text("ics.function.code")] += messages
	}
}

var latency, status = event.Resolve("ics.latency"), event.Resolve("ics.status.code")

var transports = map[uint8]string{event.ProtoICMP: "icmp", event.ProtoTCP: "tcp", event.ProtoUDP: "udp", event.ProtoICMPv6: "icmp", event.ProtoSCTP: "sctp"}

func flowOf(e *event.Event) flow {
	f := &e.Flow
	duration := f.End.Sub(f.Start).Seconds()
	name := transports[f.Transport]
	if name == "" {
		name = "unknown_transport"
	}
	address := func(a netip.Addr) string {
		if !a.IsValid() {
			return "-"
		}
		return a.String()
	}
	return flow{
		Proto: name, Src: address(f.Src.IP), Dst: address(f.Dst.IP), Sport: f.Src.Port, Dport: f.Dst.Port,
		State: f.State, History: f.History, Duration: &duration, communityID: f.CommunityID,
		OrigPayload: new(f.Src.Payload), RespPayload: new(f.Dst.Payload), // the event is borrowed
		OrigPkts: f.Src.Packets, RespPkts: f.Dst.Packets, OrigBytes: f.Src.Bytes, RespBytes: f.Dst.Bytes,
	}
}

// output is what a sensor published: how many, and a hash of their JSON.
type output struct {
	n   int
	sum [sha256.Size]byte
}

// hasher is a sink that takes the hash of what it is given.
type hasher struct {
	n    int
	hash hash.Hash
	enc  event.Encoder
	buf  []byte
}

// Publish hashes a batch; see sensor.Sink.
func (h *hasher) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		h.n++
		h.buf = h.enc.Append(h.buf[:0], &batch[i])
		h.hash.Write(h.buf)
	}
	return nil
}

// digest runs a sensor with a number of workers over a capture. The capture's
// error is of no interest here: it comes after the packets.
func digest(t *testing.T, path string, workers int) (o output) {
	cfg := sensor.DefaultConfig()
	cfg.Protocols = all.Protocols()
	cfg.Workers = workers
	h := &hasher{hash: sha256.New()}
	x, err := sensor.New(cfg, func(int) (capture.Source, error) { return file.Open(path) }, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := x.Run(ctx); err != nil && ctx.Err() != nil {
		t.Errorf("%s: %v", path, err)
	}
	o.n = h.n
	h.hash.Sum(o.sum[:0])
	return o
}

// read runs a sensor over a capture.
func read(path string, dropBadChecksums bool) *seen {
	s := &seen{
		rows: counts{}, dnsFlags: counts{}, methods: counts{}, statuses: counts{}, ja3: counts{}, ja4: map[string]counts{},
		modbusPDUs: counts{}, modbus: map[string]transaction{}, fields: map[string]counts{}, sshBanners: counts{}, sshSuccess: counts{}, serverName: counts{},
	}
	cfg := sensor.DefaultConfig()
	cfg.Protocols = all.Protocols()
	cfg.DropBadChecksums = dropBadChecksums
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	x, err := sensor.New(cfg, func(int) (capture.Source, error) { return file.Open(path) }, s)
	if err == nil {
		err = x.Run(ctx)
		c := x.Counters()
		s.packets = c.Ledger["seen"]
		for _, causes := range c.ParserErrors {
			s.panics += causes["panic"]
		}
	}
	s.err, s.took = err, time.Since(began)
	return s
}
