package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/servers"
)

// tocsin runs a command line, and returns its output and exit code.
func tocsin(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), args, strings.NewReader(""), &o, &e)
	return o.String(), e.String(), code
}

// message is what kcat prints of a message with -J.
type message struct {
	Topic     string   `json:"topic"`
	Partition int      `json:"partition"`
	Offset    int64    `json:"offset"`
	Ts        int64    `json:"ts"`
	Key       string   `json:"key"`
	Headers   []string `json:"headers"`
	Payload   string   `json:"payload"`
}

func (m *message) header(name string) string {
	for i := 0; i+1 < len(m.Headers); i += 2 {
		if m.Headers[i] == name {
			return m.Headers[i+1]
		}
	}
	return ""
}

// kcat reads a topic as somebody would who does not know Tocsin.
func kcat(t *testing.T, topic string) []message {
	t.Helper()
	cmd := exec.Command("kcat", "-b", servers.KafkaAddr(t), "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kcat: %v: %s", err, errs.String())
	}
	var ms []message
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var m message
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	return ms
}

// wire is what the test wants to know of an event.
type wire struct {
	Timestamp time.Time `json:"@timestamp"`
	Event     struct {
		ID      string `json:"id"`
		Dataset string `json:"dataset"`
	} `json:"event"`
	Network struct {
		CommunityID string `json:"community_id"`
	} `json:"network"`
	Observer struct {
		Name string `json:"name"`
	} `json:"observer"`
}

// TestSensor publishes the recorded intrusion, and reads it with another tool:
// every event that tocsin events makes is on the topic, once and as it is.
func TestSensor(t *testing.T) {
	prefix := fmt.Sprintf("sensor-%x", time.Now().UnixNano())
	to := []string{"--kafka", servers.KafkaAddr(t), "--topic-prefix", prefix}
	if out, errs, code := tocsin(t, append([]string{"topics", "create", "--partitions", "4"}, to...)...); code != 0 || strings.Count(out, ": made\n") != 5 {
		t.Fatalf("topics create: %d %s %s", code, out, errs)
	}
	if out, errs, code := tocsin(t, append([]string{"topics", "plan", "--partitions", "4"}, to...)...); code != 0 || !strings.Contains(out, "the cluster is as planned") {
		t.Fatalf("topics plan: %d %s %s", code, out, errs)
	}
	captures, err := filepath.Glob("../../testdata/scenarios/intrusion/*.pcap*")
	if err != nil || len(captures) == 0 {
		t.Fatal(captures, err)
	}
	args := append([]string{"sensor", "--spool", t.TempDir()}, to...)
	for _, c := range captures {
		args = append(args, "-r", c)
	}
	out, errs, code := tocsin(t, args...)
	if code != 0 {
		t.Fatalf("sensor: %d %s %s", code, out, errs)
	}
	made, errs, code := tocsin(t, append([]string{"events"}, captures...)...)
	if code != 0 {
		t.Fatalf("events: %d %s", code, errs)
	}
	want := map[string]string{}
	ledgers := 0
	for line := range strings.Lines(made) {
		var e wire
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		want[e.Event.ID] = strings.TrimSpace(line)
		if e.Event.Dataset == "tocsin.ledger" {
			ledgers++
			want[e.Event.ID] = "" // it says what the spool did, too
		}
	}
	if !strings.Contains(out, fmt.Sprintf("spooled %d events, published %d in", len(want)+ledgers, len(want)+ledgers)) {
		t.Errorf("sensor says %q; there are %d events and %d accounts", out, len(want), ledgers)
	}
	messages := kcat(t, prefix+".events")
	if len(messages) != len(want) {
		t.Errorf("%d messages, want %d", len(messages), len(want))
	}
	partitions := map[string]int{}
	for _, m := range messages {
		var e wire
		if err := json.Unmarshal([]byte(m.Payload), &e); err != nil {
			t.Fatalf("offset %d: %v", m.Offset, err)
		}
		if text, ok := want[e.Event.ID]; !ok || text != "" && text != m.Payload {
			t.Errorf("message %s\nwant    %s", m.Payload, text)
		}
		delete(want, e.Event.ID)
		if m.header("schema") != "1" || m.header("sensor") != e.Observer.Name || m.Ts != e.Timestamp.UnixMilli() {
			t.Errorf("headers %v, time %d of %s", m.Headers, m.Ts, m.Payload)
		}
		if key := cmp.Or(e.Network.CommunityID, e.Observer.Name); m.Key != key {
			t.Errorf("key %s, want %s", m.Key, key)
		}
		if p, ok := partitions[m.Key]; ok && p != m.Partition {
			t.Errorf("key %s is in partitions %d and %d", m.Key, p, m.Partition)
		}
		partitions[m.Key] = m.Partition
	}
	if len(want) != 0 {
		t.Errorf("%d events are not on the topic", len(want))
	}
	if accounts := kcat(t, prefix+".sensors"); len(accounts) != ledgers {
		t.Errorf("%d accounts, want %d", len(accounts), ledgers)
	}
}

// TestSensorWithoutKafka captures while there is no Kafka: everything waits, and
// is published by the next start.
func TestSensorWithoutKafka(t *testing.T) {
	prefix := fmt.Sprintf("away-%x", time.Now().UnixNano())
	dir, work := t.TempDir(), t.TempDir()
	if err := writeCaptures(work); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "sensor", "-r", filepath.Join(work, "good.pcap"), "--kafka", "127.0.0.1:1", "--spool", dir)
	cmd.Args[0] = "tocsin"
	tool := filepath.Join(work, "tocsin") // testscript knows its commands by their names
	if err := os.Symlink(os.Args[0], tool); err != nil {
		t.Fatal(err)
	}
	cmd.Path = tool
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if !strings.Contains(out.String(), "4 wait for the next start") && !strings.Contains(out.String(), "5 wait for the next start") {
		t.Errorf("sensor says %q, %q", out.String(), errs.String())
	}
	if !strings.Contains(errs.String(), "connection refused") {
		t.Errorf("nobody is told that there is no Kafka: %q", errs.String())
	}
	to := []string{"--kafka", servers.KafkaAddr(t), "--topic-prefix", prefix}
	if _, errs, code := tocsin(t, append([]string{"topics", "create", "--partitions", "1"}, to...)...); code != 0 {
		t.Fatal(errs)
	}
	if out, errs, code := tocsin(t, append([]string{"sensor", "--spool", dir, "-r", filepath.Join(work, "good.pcap")}, to...)...); code != 0 || !strings.Contains(out, "had waited since the last time") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	ids := map[string]bool{}
	for _, m := range kcat(t, prefix+".events") {
		var e wire
		if err := json.Unmarshal([]byte(m.Payload), &e); err != nil {
			t.Fatal(err)
		}
		ids[e.Event.ID] = true
	}
	made, _, _ := tocsin(t, "events", filepath.Join(work, "good.pcap"))
	if n := strings.Count(made, "\n"); len(ids) != n {
		t.Errorf("%d events are on the topic, want %d", len(ids), n)
	}
}

// TestSensorTakesExports: what an exporter of flows sends waits in the spool.
func TestSensorTakesExports(t *testing.T) {
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.LocalAddr().String()
	free.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"sensor", "--netflow", addr, "--kafka", "127.0.0.1:1", "--spool", t.TempDir()}, nil, &out, &errs)
	}()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	flow := make([]byte, 24+48) // NetFlow 5, one record
	flow[1], flow[3] = 5, 1
	binary.BigEndian.PutUint32(flow[8:], 1_772_600_000)
	copy(flow[24:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	flow[24+19], flow[24+23], flow[24+38] = 3, 180, 6 // packets, bytes, TCP
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := conn.Write(flow); err == nil { // until it listens
			if _, err := conn.Write(flow); err == nil {
				break
			}
		}
	}
	time.Sleep(500 * time.Millisecond)
	stop()
	if n := <-code; n != 0 {
		t.Errorf("exit %d: %s", n, &errs)
	}
	if !strings.Contains(out.String(), "wait for the next start") {
		t.Errorf("sensor says %q, %q", &out, &errs)
	}
}
