package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	protocols "github.com/tocsin/tocsin/sensor/proto/all"
)

// rules is how many rules are loaded besides those that come with Tocsin.
const rules = 1000

// ruleFolder makes rules as people write them for flows, names and requests,
// of which hardly any matches what is generated.
func ruleFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range rules {
		var service, selection string
		switch i % 4 {
		case 0:
			service, selection = "dns", fmt.Sprintf("dns.question.name|endswith: ['.evil%d.test', '.bad%d.test']", i, i)
		case 1:
			service, selection = "flow", fmt.Sprintf("destination.port: %d, source.ip|cidr: 198.51.100.0/24", 2000+i)
		case 2:
			service, selection = "flow", fmt.Sprintf("destination.ip|cidr: 203.%d.%d.0/24", i/256, i%256)
		case 3:
			service, selection = "modbus", fmt.Sprintf("ics.operation: write, ics.objects.address: '%d'", 50_000+i)
		}
		text := fmt.Sprintf("title: rule %d\nid: 00000000-0000-4000-8000-%012d\nlogsource: {product: tocsin, service: %s}\ndetection:\n  selection: {%s}\n  condition: selection\nlevel: low\n", i, i, service, selection)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("rule%d.yml", i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// recorded is what a sensor makes of the recorded ordinary day.
func (t *track) recorded(ctx context.Context) ([]event.Event, error) {
	schema, err := event.NewSchema(sensor.Fields(), protocols.Fields())
	if err != nil {
		return nil, err
	}
	captures, err := filepath.Glob(filepath.Join(t.scenarios, "benign", "*.pcap*"))
	if err != nil || len(captures) == 0 {
		return nil, fmt.Errorf("%s has no captures of an ordinary day: %w", t.scenarios, err)
	}
	text, err := exec.CommandContext(ctx, t.tocsin, append([]string{"events"}, captures...)...).Output()
	if err != nil {
		return nil, err
	}
	var day []event.Event
	for line := range bytes.Lines(text) {
		var e event.Event
		if err := schema.Decode(line, &e); err != nil {
			return nil, err
		}
		day = append(day, e)
	}
	return day, nil
}

// detect measures a correlator on a backlog: the ordinary day, over and over.
func (t *track) detect(ctx context.Context) error {
	dir := filepath.Join(t.work, "rules")
	if err := ruleFolder(dir); err != nil {
		return err
	}
	day, err := t.recorded(ctx)
	if err != nil {
		return err
	}
	first, last := day[0].Time, day[0].Time
	for i := range day {
		if at := day[i].Time; at.Before(first) {
			first = at
		} else if at.After(last) {
			last = at
		}
	}
	again := last.Sub(first) + time.Minute
	h := event.NewHasher()
	n := 0
	if err := t.publish(ctx, "detect", t.events, func() event.Event {
		round := n / len(day)
		e := day[n%len(day)].Clone()
		n++
		later := time.Duration(round) * again
		e.Time = e.Time.Add(later)
		if e.Kind == event.KindFlow {
			e.Flow.Start, e.Flow.End = e.Flow.Start.Add(later), e.Flow.End.Add(later)
		}
		h.Reset()
		h.Uint(uint64(n))
		e.ID = h.ID(e.Time)
		return e
	}); err != nil {
		return err
	}
	for _, to := range []struct {
		name  string
		flags []string
	}{
		{"the embedded store", []string{"--data", filepath.Join(t.work, "detect")}},
		{"Elasticsearch", []string{"--elasticsearch", t.elastic.URL, "--elasticsearch-prefix", "detect"}},
	} {
		used, err := t.correlate(ctx, "detect", append(to.flags, "--rules", dir, "--assets", filepath.Join(t.scenarios, "benign", "assets.yml"))...)
		if err != nil {
			return err
		}
		n := float64(t.events)
		t.row(fmt.Sprintf("Kafka to alerts, %d rules, everything stored in %s", rules, to.name), "%.0f events/s; %.0f for each CPU second of the correlator; %d MB",
			n/used.took.Seconds(), n/used.cpu.Seconds(), used.peak>>20)
	}
	return nil
}

const countRule = `title: 'Many small flows: the single flow'
id: 00000000-0000-4000-8000-00000000aaaa
name: small
logsource: {product: tocsin, service: flow}
detection:
  selection: {destination.port: 4242}
  condition: selection
level: informational
---
title: Many small flows
id: 00000000-0000-4000-8000-00000000aaab
correlation:
  type: event_count
  rules: [small]
  group-by: [source.ip]
  timespan: 1h
  condition: {gte: 5}
level: low
`

// start is when made events begin.
var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// rememberKeys measures a correlator that remembers a match of each of many
// groups.
func (t *track) rememberKeys(ctx context.Context) error {
	dir := filepath.Join(t.work, "count")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "rule.yml"), []byte(countRule), 0o644); err != nil {
		return err
	}
	h := event.NewHasher()
	n := uint32(0)
	if err := t.publish(ctx, "keys", t.keys, func() event.Event {
		n++
		at := start.Add(time.Duration(n) * time.Millisecond)
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], 10<<24|n)
		e := event.Event{Time: at, Sensor: "border", Iface: "eth0", Kind: event.KindFlow}
		e.Flow = event.Flow{
			Src: event.Endpoint{IP: netip.AddrFrom4(ip), Port: 1024, Packets: 1, Bytes: 60}, Dst: event.Endpoint{IP: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Port: 4242},
			Transport: event.ProtoUDP, CommunityID: fmt.Sprintf("1:%08x", n*2654435761), Start: at, End: at, State: "S0", History: "D", EndReason: "idle",
		}
		h.Reset()
		h.Uint(uint64(n))
		e.ID = h.ID(at)
		return e
	}); err != nil {
		return err
	}
	used, err := t.correlate(ctx, "keys", "--data", filepath.Join(t.work, "keys"), "--rules", dir, "--remember", fmt.Sprint(t.keys))
	if err != nil {
		return err
	}
	t.row(fmt.Sprintf("a correlator that remembers %d groups", t.keys), "%d MB at most; %.0f events/s", used.peak>>20, float64(t.keys)/used.took.Seconds())
	return nil
}
