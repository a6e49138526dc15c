package policy_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/policy"
	"github.com/tocsin/tocsin/event"
)

const example = `
devices:
  - {name: PLC-3, addresses: [10.50.0.11], units: [1]}
  - {name: gateway, addresses: [10.50.0.0/24]}
talkers:
  - {name: scada, addresses: [10.40.0.20, "fd20::20"]}
  - {name: engineering, addresses: [10.1.2.9]}
windows:
  - {name: maintenance, days: [sat], from: "22:00", to: "04:00", zone: Europe/Berlin}
allow:
  - {who: [scada], to: [PLC-3, gateway], protocol: modbus, operations: [read], functions: [3, 4], every: 2s}
  - {who: [engineering], to: [PLC-3], protocol: modbus, operations: [read]}
  - {who: [engineering], to: [PLC-3], protocol: modbus, operations: [write], objects: [coil 17, holding_register 10-12], values: {from: 0, to: 400}, when: [maintenance]}
`

var monday = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// at night of Saturday to Sunday, in Berlin
var maintenance = time.Date(2026, 3, 8, 1, 30, 0, 0, time.UTC)

type deed struct {
	src, dst, operation string
	unit, code          int64
	object              string // type, address, count, values
	address, count      int64
	values              []int64
	at                  time.Time
}

func (d deed) event() event.Event {
	h := event.NewHasher()
	h.Str(fmt.Sprint(d))
	e := event.Event{ID: h.ID(d.at), Time: d.at, Kind: "modbus", Sensor: "tap", Flow: event.Flow{
		Src: event.Endpoint{IP: netip.MustParseAddr(d.src)}, Dst: event.Endpoint{IP: netip.MustParseAddr(d.dst)}},
		Fields: []event.Field{
			{Name: "ics.function.code", Value: event.Int(d.code)},
			{Name: "ics.function.name", Value: event.Str("function")},
			{Name: "ics.operation", Value: event.Str(d.operation)},
			{Name: "ics.protocol", Value: event.Str("modbus")},
			{Name: "ics.unit", Value: event.Int(d.unit)},
		}}
	if d.object != "" {
		o := []event.Field{{Name: "address", Value: event.Int(d.address)}, {Name: "type", Value: event.Str(d.object)}}
		var vs []event.Value
		for _, v := range d.values {
			vs = append(vs, event.Int(v))
		}
		if d.count > 1 {
			o = append(o, event.Field{Name: "count", Value: event.Int(d.count)}, event.Field{Name: "value", Value: event.List(vs...)})
		} else if len(vs) > 0 {
			o = append(o, event.Field{Name: "value", Value: vs[0]})
		}
		e.Fields = append(e.Fields, event.Field{Name: "ics.objects", Value: event.List(event.Object(o...))})
	}
	return e
}

func detect(t testing.TB, p *policy.Policy, events []event.Event) []event.Alert {
	t.Helper()
	c, err := correlator.New(correlator.Config{Detectors: p.Detectors()})
	if err != nil {
		t.Fatal(err)
	}
	var as correlator.Alerts
	for batch := range slices.Chunk(events, 100) {
		alerts, err := c.Process(context.Background(), batch)
		if err != nil {
			t.Fatal(err)
		}
		as.Add(alerts)
	}
	as.Add(c.Flush())
	return as.Sorted()
}

func TestViolations(t *testing.T) {
	p, err := policy.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		deed deed
		want string // rule, severity, sentence; empty: allowed
	}{
		{deed{src: "10.40.0.20", dst: "10.50.0.11", operation: "read", unit: 1, code: 3, object: "holding_register", count: 8}, ""},
		{deed{src: "fd20::20", dst: "10.50.0.11", operation: "read", unit: 1, code: 4}, ""},
		{deed{src: "10.40.0.20", dst: "10.50.0.77", operation: "read", unit: 9, code: 3}, ""},
		{deed{src: "10.40.0.20", dst: "10.60.0.1", operation: "read", unit: 1, code: 3, object: "coil", address: 3}, "device 40 10.40.0.20 read coil 3 of unit 1 of 10.60.0.1: the policy names no such device"},
		{deed{src: "10.9.9.9", dst: "10.50.0.11", operation: "write", unit: 1, code: 5, object: "coil", address: 17, values: []int64{1}}, "talker 85 10.9.9.9 wrote coil 17 of PLC-3: only scada, engineering may talk modbus to it"},
		{deed{src: "10.1.2.9", dst: "10.50.0.12", operation: "read", unit: 1, code: 3}, "talker 60 engineering (10.1.2.9) read (function) gateway: only scada may talk modbus to it"},
		{deed{src: "10.40.0.20", dst: "10.50.0.11", operation: "read", unit: 1, code: 1, object: "coil"}, "operation 50 scada (10.40.0.20) read coil 0 of PLC-3: it is not allowed to read there with function 1"},
		{deed{src: "10.40.0.20", dst: "10.50.0.11", operation: "program", unit: 1, code: 90}, "operation 80 scada (10.40.0.20) changed the program of PLC-3: it is not allowed to program there with function 90"},
		{deed{src: "10.1.2.9", dst: "10.50.0.11", operation: "write", unit: 1, code: 5, object: "coil", address: 17, values: []int64{1}, at: maintenance}, ""},
		{deed{src: "10.1.2.9", dst: "10.50.0.11", operation: "write", unit: 1, code: 5, object: "coil", address: 17, values: []int64{1}}, "time 70 engineering (10.1.2.9) wrote coil 17 of PLC-3, outside maintenance (sat 22:00–04:00 Europe/Berlin)"},
		{deed{src: "10.1.2.9", dst: "10.50.0.11", operation: "write", unit: 1, code: 16, object: "holding_register", address: 11, count: 3, values: []int64{1, 2, 3}, at: maintenance}, "object 80 engineering (10.1.2.9) wrote holding_register 11-13 of PLC-3: it may write coil 17, holding_register 10-12 only"},
		{deed{src: "10.1.2.9", dst: "10.50.0.11", operation: "write", unit: 1, code: 16, object: "holding_register", address: 10, count: 2, values: []int64{400, 401}, at: maintenance}, "value 80 engineering (10.1.2.9) wrote holding_register 10-11 of PLC-3: 401 is not within 0 to 400"},
	} {
		if c.deed.at.IsZero() {
			c.deed.at = monday
		}
		got := ""
		alerts := detect(t, p, []event.Event{c.deed.event()})
		for _, a := range alerts {
			got = fmt.Sprint(strings.TrimPrefix(a.Rule.ID, "tocsin-policy-"), " ", a.Severity, " ", a.Message)
			if len(a.Explain) != 1 || a.Explain[0].Value == "" {
				t.Errorf("%s: explains %+v", got, a.Explain)
			}
		}
		if got != c.want || len(alerts) > 1 {
			t.Errorf("%+v:\n got %q (of %d)\nwant %q", c.deed, got, len(alerts), c.want)
		}
	}
}

// TestSelect: who must select before executing, and what is proposed of those
// who always do.
func TestSelect(t *testing.T) {
	command := func(protocol string, code int64, second int, steps ...string) event.Event {
		e := deed{src: "10.40.0.20", dst: "10.50.0.11", operation: "control", code: code, object: "single_command", address: 7, at: monday.Add(time.Duration(second) * time.Second)}.event()
		e.Set("ics.protocol", event.Str(protocol))
		if steps != nil {
			e.Set("iec104.steps", event.Strs(steps))
		}
		return e
	}
	const text = `
devices: [{name: RTU, addresses: [10.50.0.11]}]
talkers: [{name: scada, addresses: [10.40.0.20]}]
allow: [{who: [scada], to: [RTU], operations: [control], select: true}]
`
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		e    event.Event
		want bool
	}{
		{command("iec104", 45, 0, "select", "select_confirmed", "execute", "execute_confirmed", "terminated"), false},
		{command("iec104", 45, 0, "execute", "execute_confirmed", "terminated"), true},
		{command("iec104", 45, 0, "execute", "execute_confirmed", "select"), true},
		{command("iec104", 45, 0, "select", "deactivate"), false},
		{command("dnp3", 3, 0), false},
		{command("dnp3", 4, 0), false},
		{command("dnp3", 5, 0), true},
		{command("dnp3", 6, 0), true},
		{command("modbus", 5, 0), false},
	} {
		alerts := detect(t, p, []event.Event{c.e})
		if got := len(alerts) == 1; got != c.want || len(alerts) > 1 {
			t.Errorf("%s: alerts %+v, want one: %v", c.e.AppendJSON(nil), alerts, c.want)
		}
		for _, a := range alerts {
			if a.Rule.ID != "tocsin-policy-select" || a.Message != "scada (10.40.0.20) operated single_command 7 of unit 0 of RTU, which it had not selected before" &&
				a.Message != "scada (10.40.0.20) operated single_command 7 of RTU, which it had not selected before" {
				t.Errorf("%s: %s", a.Rule.ID, a.Message)
			}
		}
	}
	propose := func(events ...event.Event) string {
		var l policy.Learner
		for i := range events {
			l.Add(&events[i])
		}
		var b bytes.Buffer
		if err := l.Propose(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	always := propose(command("iec104", 45, 0, "select", "execute"), command("iec104", 45, 1, "select", "execute"))
	sometimes := propose(command("iec104", 45, 0, "select", "execute"), command("iec104", 45, 1, "execute"))
	if !strings.Contains(always, "select: true") || strings.Contains(sometimes, "select") {
		t.Errorf("of who always selects:\n%s\nof who does not:\n%s", always, sometimes)
	}
}

// TestSilence polls for an hour, is silent, and polls again; the sensor is
// blind for a while.
func TestSilence(t *testing.T) {
	p, err := policy.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	ledger := func(minute int) event.Event {
		at := monday.Add(time.Duration(minute) * time.Minute)
		h := event.NewHasher()
		h.Time(at)
		return event.Event{ID: h.ID(at), Time: at, Kind: event.KindLedger, Sensor: "tap"}
	}
	run := func(polls, blind func(minute int) bool) []event.Alert {
		var events []event.Event
		for minute := range 60 {
			if blind(minute) {
				continue
			}
			events = append(events, ledger(minute))
			for s := 0; s < 60 && polls(minute); s += 2 {
				events = append(events, deed{src: "10.40.0.20", dst: "10.50.0.11", operation: "read", unit: 1, code: 3, at: monday.Add(time.Duration(minute)*time.Minute + time.Duration(s)*time.Second)}.event())
			}
		}
		return detect(t, p, events)
	}
	never := func(int) bool { return false }
	always := func(int) bool { return true }
	if as := run(always, never); len(as) != 0 {
		t.Errorf("polled all the time: %+v", as)
	}
	if as := run(never, never); len(as) != 0 {
		t.Errorf("never polled: %+v", as)
	}
	if as := run(always, func(m int) bool { return m >= 20 && m < 40 }); len(as) != 0 {
		t.Errorf("a blind sensor reports silence: %+v", as)
	}
	as := run(func(m int) bool { return m < 20 || m >= 40 }, never)
	if len(as) != 1 || as[0].Rule.ID != "tocsin-policy-silence" || as[0].Message != "scada no longer talks modbus to PLC-3, which it did every 2s" || as[0].First.After(monday.Add(24*time.Minute)) {
		t.Errorf("silent from minute 20 to 40: %+v", as)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"devices:\n  - {nam: a}\n":                           "line 2: nam is no setting here",
		"devices:\n  - {name: a, addresses: [10.0.0.300]}\n": `line 2: "10.0.0.300" is no address or prefix`,
		"devices:\n  - {name: a}\n":                          "device a has no addresses",
		"devices:\n  - {name: a, addresses: [10.0.0.1]}\ntalkers:\n  - {name: a, addresses: [10.0.0.2]}\n": "the name a is both a device's and a talker's",
		"allow:\n  - {who: [x], to: [y], operations: [read]}\n":                                            "allow 1: x is no talker of this policy",
		"allow:\n  - {who: [], to: [], operations: [steal]}\n":                                             `operation "steal": want one of read`,
		"allow:\n  - {who: [x], to: [y], operations: [read], objects: [coil 9-3]}\n":                       "line 2: objects \"coil 9-3\"",
		"windows:\n  - {name: w, from: \"25:00\", to: \"03:00\"}\n":                                        `time "25:00"`,
		"windows:\n  - {name: w, days: [caturday], from: \"02:00\", to: \"03:00\"}\n":                      `day "caturday"`,
		"windows:\n  - {name: w, from: \"02:00\", to: \"03:00\", zone: Atlantis/Centre}\n":                 `zone "Atlantis/Centre"`,
		"": "",
	} {
		path := filepath.Join(t.TempDir(), "policy.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := policy.Load(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestLearned: whatever was seen, the policy proposed of it allows it, and the
// same events in any order give the same text.
func TestLearned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []event.Event
		for i := range rapid.IntRange(1, 60).Draw(t, "events") {
			d := deed{
				src: fmt.Sprintf("10.40.0.%d", rapid.IntRange(1, 3).Draw(t, "src")), dst: fmt.Sprintf("10.50.0.%d", rapid.IntRange(1, 3).Draw(t, "dst")),
				operation: rapid.SampledFrom([]string{"read", "write", "program"}).Draw(t, "operation"),
				unit:      int64(rapid.IntRange(1, 2).Draw(t, "unit")), code: int64(rapid.IntRange(1, 4).Draw(t, "code")),
				object: rapid.SampledFrom([]string{"", "coil", "holding_register"}).Draw(t, "object"), address: int64(rapid.IntRange(0, 30).Draw(t, "address")),
				count: int64(rapid.IntRange(1, 3).Draw(t, "count")), at: monday.Add(time.Duration(i) * time.Second),
			}
			for range d.count {
				d.values = append(d.values, int64(rapid.IntRange(-5, 5).Draw(t, "value")))
			}
			events = append(events, d.event())
		}
		learn := func(events []event.Event) string {
			var l policy.Learner
			for i := range events {
				l.Add(&events[i])
			}
			var text bytes.Buffer
			if err := l.Propose(&text); err != nil {
				t.Fatal(err)
			}
			return text.String()
		}
		text := learn(events)
		p, err := policy.Parse([]byte(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		c, err := correlator.New(correlator.Config{Detectors: p.Detectors()})
		if err != nil {
			t.Fatal(err)
		}
		alerts, err := c.Process(context.Background(), events)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range append(alerts, c.Flush()...) {
			t.Fatalf("what was learned is a violation: %s\n%s", a.Message, text)
		}
		if again := learn(events); again != text {
			t.Fatalf("learned twice:\n%s\n%s", text, again)
		}
		if d := p.Diff(p); len(d) != 0 {
			t.Fatalf("a policy differs from itself: %q", d)
		}
	})
}

func TestDiff(t *testing.T) {
	a, err := policy.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	b, err := policy.Parse([]byte(strings.NewReplacer("PLC-3", "press", "coil 17, ", "", "functions: [3, 4]", "functions: [4, 3]").Replace(example)))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"- 10.1.2.9 may write coil 17 of 10.50.0.11 unit 1 over modbus, values 0 to 400, in maintenance (sat 22:00–04:00 Europe/Berlin)"}
	if got := a.Diff(b); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := policy.Parse(text); err == nil {
			p.Detectors()
			p.Diff(p)
		}
	})
}
