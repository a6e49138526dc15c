package main

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/policy"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
)

// TestEveryAlertFiresAgain: each alert of every scenario, be it of a rule, a
// correlation, a list, a behaviour or a policy, comes of its stored evidence
// again, with the same id.
func TestEveryAlertFiresAgain(t *testing.T) {
	dir := t.TempDir()
	learned := filepath.Join(dir, "benign")
	run(t, 0, slices.Concat([]string{"run", "--once", "--data", learned}, reading(t, "benign"), known("benign"))...)
	allowed := filepath.Join(dir, "policy.yml")
	run(t, 0, "policy", "learn", "--data", learned, "--last", "100000h", "-o", allowed)
	kinds := map[string]int{}
	for _, name := range []string{"benign", "intrusion", "phish"} {
		data := filepath.Join(dir, name+"-judged")
		flags := append(known(name), "--policy", allowed)
		run(t, 0, slices.Concat([]string{"run", "--once", "--data", data}, reading(t, name), flags)...)
		cmd := &cobra.Command{}
		what := detectingFlags(cmd)
		if err := cmd.ParseFlags(flags); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := what.config(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Enrichers = nil
		st, err := embedded.Open(data, embedded.ReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		for e, err := range st.Search(t.Context(), store.Query{Set: store.Alerts}) {
			if err != nil {
				t.Fatal(err)
			}
			a, err := event.AlertOf(&e)
			if err != nil {
				t.Fatal(err)
			}
			c, err := correlator.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			kind := a.Rule.Ruleset
			if r := c.Rule(a.Rule.ID); kind == "sigma" && r.Window != nil {
				kind = "correlation"
			}
			kinds[kind]++
			events, err := evidenceOf(t.Context(), st, &a)
			if err != nil {
				t.Errorf("%s: %s (%s): %v", name, a.Message, a.Rule.ID, err)
				continue
			}
			if err := replayAlert(t.Context(), io.Discard, c, &a, events); err != nil {
				t.Errorf("%s: %s (%s): %v", name, a.Message, a.Rule.ID, err)
			}
		}
	}
	for _, kind := range []string{"sigma", "correlation", "reputation", "behaviour", "policy"} {
		if kinds[kind] == 0 {
			t.Errorf("no alert of a %s among %v", kind, kinds)
		}
	}
	t.Log(kinds)
}

// TestSilenceFiresAgain: what nobody did is proved by the sensor's accounts,
// of which there are more than an alert lists.
func TestSilenceFiresAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yml")
	err := os.WriteFile(path, []byte(`
devices: [{name: PLC-3, addresses: [10.50.0.11]}]
talkers: [{name: scada, addresses: [10.40.0.20]}]
allow: [{who: [scada], to: [PLC-3], protocol: modbus, operations: [read], every: 1s}]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	var events []event.Event
	h := event.NewHasher()
	add := func(kind event.Kind, at time.Duration, fields ...event.Field) {
		e := event.Event{Kind: kind, Sensor: "tap", Time: begin.Add(at), Fields: fields}
		if kind == "modbus" {
			e.Flow.Src.IP, e.Flow.Dst.IP = netip.MustParseAddr("10.40.0.20"), netip.MustParseAddr("10.50.0.11")
		}
		h.Reset()
		h.Str(string(kind))
		h.Time(e.Time)
		e.ID = h.ID(e.Time)
		events = append(events, e)
	}
	for minute := range 90 {
		add(event.KindLedger, time.Duration(minute)*time.Minute)
		for s := 0; minute < 20 && s < 60; s++ {
			add("modbus", time.Duration(minute*60+s)*time.Second+time.Millisecond, event.Field{Name: "ics.protocol", Value: event.Str("modbus")}, event.Field{Name: "ics.operation", Value: event.Str("read")})
		}
	}
	judge := func() *correlator.Correlator {
		c, err := correlator.New(correlator.Config{Detectors: p.Detectors()})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	st, err := embedded.Open(t.TempDir(), embedded.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := judge()
	alerts, err := c.Process(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	alerts = append(alerts, c.Flush()...)
	if err := st.Put(t.Context(), events, alerts); err != nil {
		t.Fatal(err)
	}
	if len(alerts) == 0 || alerts[0].Rule.ID != "tocsin-policy-silence" {
		t.Fatalf("alerts %+v", alerts)
	}
	for i := range alerts {
		a := &alerts[i]
		t.Log(a.Count, a.First, a.Last)
		a.Evidence = a.Evidence[:min(len(a.Evidence), 5)] // as of an alert that lists not all
		found, err := evidenceOf(t.Context(), st, a)
		if err != nil {
			t.Fatal(err)
		}
		if err := replayAlert(t.Context(), io.Discard, judge(), a, found); err != nil {
			t.Error(err)
		}
	}
}
