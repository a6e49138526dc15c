package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Rates of what is put on the cable.
const (
	flowsPerSecond  = 5000
	probesPerSecond = 20
)

// soon measures how long after a packet the alert that it causes is found by a
// search, while a sensor sees 5,000 flows a second begin and end: each probe is
// a query for a name that is on a reputation list.
func (t *track) soon(ctx context.Context) error {
	for _, args := range []string{"link add here type veth peer name there", "link set here up", "link set there up"} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	probes := probesPerSecond * t.seconds
	list := []byte("type,value,confidence,reference\n")
	for n := range probes {
		list = fmt.Appendf(list, "domain,p%d.bad.example,90,probe\n", n)
	}
	intel := filepath.Join(t.work, "probes.csv")
	if err := os.WriteFile(intel, list, 0o644); err != nil {
		return err
	}
	if err := t.publish(ctx, "soon", 0, nil); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var programs []*exec.Cmd
	for _, args := range [][]string{
		{"sensor", "-i", "there", "--kafka", t.kafka.Addr, "--topic-prefix", "soon", "--spool", filepath.Join(t.work, "spool"), "--user", "root"},
		{"correlator", "--kafka", t.kafka.Addr, "--topic-prefix", "soon", "--intel", intel, "--elasticsearch", t.elastic.URL, "--elasticsearch-prefix", "soon"},
	} {
		cmd := exec.CommandContext(running, t.tocsin, args...)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		programs = append(programs, cmd)
	}
	time.Sleep(10 * time.Second) // until both have begun
	sent := make([]time.Time, probes)
	sending := make(chan error, 1)
	var flows int
	began := time.Now()
	go func() {
		var err error
		flows, err = send(running, sent)
		sending <- err
	}()
	found := make([]time.Duration, probes)
	seen := 0
	for end := began.Add(time.Duration(t.seconds+30) * time.Second); seen < probes && time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
		ns, err := t.found(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, n := range ns {
			if n < probes && found[n] == 0 && !sent[n].IsZero() {
				found[n] = now.Sub(sent[n])
				seen++
			}
		}
	}
	if err := <-sending; err != nil {
		return err
	}
	took := time.Since(began)
	stop()
	for _, p := range programs {
		if err := p.Wait(); err != nil && ctx.Err() == nil && p.ProcessState.ExitCode() != 0 {
			return fmt.Errorf("%s: %w", p.Args[1], err)
		}
	}
	slices.Sort(found)
	missing := probes - seen
	found = found[missing:]
	if len(found) == 0 {
		return fmt.Errorf("none of %d alerts was found", probes)
	}
	at := func(q float64) time.Duration {
		return found[min(int(q*float64(len(found))), len(found)-1)].Round(time.Millisecond)
	}
	t.row(fmt.Sprintf("from a packet to the alert in a search, at %.0f flows/s", float64(flows)/took.Seconds()), "median %s, p99 %s, most %s; %d of %d alerts found", at(0.5), at(0.99), at(1), seen, probes)
	return nil
}

// found returns the numbers of the probes whose alerts are found, of the last.
func (t *track) found(ctx context.Context) (ns []int, err error) {
	body := `{"size":400,"_source":["dns.question.name","threat.indicator.name","message"],"sort":[{"@timestamp":"desc"}],"query":{"match_all":{}}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.elastic.URL+"/soon-alerts*/_search?ignore_unavailable=true", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Hits struct {
			Hits []struct {
				Source json.RawMessage `json:"_source"`
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	for _, h := range answer.Hits.Hits {
		_, rest, ok := bytes.Cut(h.Source, []byte(`p`))
		for ; ok; _, rest, ok = bytes.Cut(rest, []byte(`p`)) {
			digits, _, is := bytes.Cut(rest[:min(len(rest), 24)], []byte(".bad.example"))
			if n, err := strconv.Atoi(string(digits)); is && err == nil {
				ns = append(ns, n)
				break
			}
		}
	}
	return ns, nil
}

// send puts flows on the cable, and probes, whose times it notes.
func send(ctx context.Context, sent []time.Time) (flows int, err error) {
	here, err := net.InterfaceByName("here")
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: here.Index}
	put := func(frames ...[]byte) error {
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, to); err != nil {
				return err
			}
		}
		return nil
	}
	const tick = 10 * time.Millisecond
	t := time.NewTicker(tick)
	defer t.Stop()
	began := time.Now()
	for n := 0; n < len(sent); {
		select {
		case <-t.C:
		case <-ctx.Done():
			return flows, ctx.Err()
		}
		since := time.Since(began).Seconds()
		for ; flows < int(since*flowsPerSecond); flows++ {
			if err := put(conversation(flows)...); err != nil {
				return flows, err
			}
		}
		for ; n < min(int(since*probesPerSecond), len(sent)); n++ {
			sent[n] = time.Now()
			if err := put(query(n)...); err != nil {
				return flows, err
			}
		}
	}
	return flows, nil
}

// conversation is a TCP connection from the handshake to the end.
func conversation(n int) [][]byte {
	client := [4]byte{10, 1, byte(n >> 8), byte(n)}
	server := [4]byte{192, 0, 2, byte(n % 200)}
	port := uint16(1024 + n/65536*97 + n%50000)
	const fin, syn, psh, ack = 1, 2, 8, 16
	hello := []byte("GET / HTTP/1.1\r\nHost: www.example\r\n\r\n")
	answer := []byte("HTTP/1.1 204 No Content\r\n\r\n")
	h, a := uint32(len(hello)), uint32(len(answer))
	out := func(flags byte, seq, acked uint32, data []byte) []byte {
		return tcp(client, server, port, 80, flags, 1000+seq, 5000+acked, data)
	}
	in := func(flags byte, seq, acked uint32, data []byte) []byte {
		return tcp(server, client, 80, port, flags, 5000+seq, 1000+acked, data)
	}
	return [][]byte{
		out(syn, 0, 0, nil), in(syn|ack, 0, 1, nil), out(psh|ack, 1, 1, hello), in(psh|ack, 1, 1+h, answer),
		out(fin|ack, 1+h, 1+a, nil), in(fin|ack, 1+a, 2+h, nil), out(ack, 2+h, 2+a, nil),
	}
}

// query is a question for the name of a probe, and its answer.
func query(n int) [][]byte {
	client, server := [4]byte{10, 2, byte(n >> 8), byte(n)}, [4]byte{10, 3, 0, 53}
	message := func(flags uint16) []byte {
		m := binary.BigEndian.AppendUint16(nil, uint16(n))
		m = binary.BigEndian.AppendUint16(m, flags)
		m = append(m, 0, 1, 0, 0, 0, 0, 0, 0)
		for _, label := range []string{fmt.Sprintf("p%d", n), "bad", "example"} {
			m = append(append(m, byte(len(label))), label...)
		}
		return append(m, 0, 0, 1, 0, 1)
	}
	return [][]byte{udp(client, server, 40000, 53, message(0x0100)), udp(server, client, 53, 40000, message(0x8183))}
}

func tcp(from, to [4]byte, sport, dport uint16, flags byte, seq, ack uint32, data []byte) []byte {
	s := binary.BigEndian.AppendUint16(nil, sport)
	s = binary.BigEndian.AppendUint16(s, dport)
	s = binary.BigEndian.AppendUint32(s, seq)
	s = binary.BigEndian.AppendUint32(s, ack)
	s = append(s, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	return ip(6, from, to, append(s, data...), 16)
}

func udp(from, to [4]byte, sport, dport uint16, data []byte) []byte {
	s := binary.BigEndian.AppendUint16(nil, sport)
	s = binary.BigEndian.AppendUint16(s, dport)
	s = binary.BigEndian.AppendUint16(s, uint16(8+len(data)))
	return ip(17, from, to, append(append(s, 0, 0), data...), 6)
}

// ip puts a segment, whose checksum belongs at an offset, into a frame.
func ip(proto byte, from, to [4]byte, segment []byte, checksum int) []byte {
	frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	h := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(segment)))
	h = append(append(h, from[:]...), to[:]...)
	binary.BigEndian.PutUint16(h[10:], ^sum(h))
	pseudo := append(append(append([]byte{}, h[12:20]...), 0, proto), 0, 0)
	binary.BigEndian.PutUint16(pseudo[10:], uint16(len(segment)))
	binary.BigEndian.PutUint16(segment[checksum:], ^sum(append(pseudo, segment...)))
	return append(append(frame, h...), segment...)
}

// sum is the one's complement sum of RFC 1071.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
