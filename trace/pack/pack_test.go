package pack

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/pcapng"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/summary"
	"github.com/tocsin/tocsin/trace/tlp"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

const rule = "title: Login from outside\n"

// small is a case with one hop of two flows, of which one has packets, an alert,
// and an event that the store forgot.
func small(t *testing.T) *Case {
	t.Helper()
	attacker, target := netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("10.0.0.1")
	var events []event.Event
	for i := range 2 {
		h := event.NewHasher()
		h.Uint(uint64(i))
		at := noon.Add(time.Duration(i) * time.Second)
		events = append(events, event.Event{ID: h.ID(at), Time: at, Kind: event.KindFlow, Sensor: "tap", Flow: event.Flow{
			Src: event.Endpoint{IP: attacker, Port: uint16(4000 + i), Packets: 2, Bytes: 100, Payload: 20}, Dst: event.Endpoint{IP: target, Port: 22, Packets: 1, Bytes: 50, Payload: 10},
			Transport: event.ProtoTCP, Service: "ssh", State: "SF", Start: at.Add(-time.Second / 2), End: at,
		}})
	}
	h := event.NewHasher()
	h.Str("ledger")
	ledger := event.Event{ID: h.ID(noon), Time: noon, Kind: event.KindLedger, Sensor: "tap"}
	ledger.Set("tocsin.ledger.seen", event.Uint(1000))
	ledger.Set("tocsin.ledger.dropped.kernel", event.Uint(10))
	ledger.Set("tocsin.tap.clock.synchronized", event.Bool(true))
	ledger.Set("tocsin.tap.clock.error", event.Int(2_000_000))
	gone := event.FirstID(noon.Add(-time.Hour))
	h.Str("alert")
	alert := event.Alert{
		ID: h.ID(noon), Rule: event.Rule{ID: "r-1", Name: "Login from outside", Ruleset: "sigma", Hash: revision([]byte(rule))}, Severity: 80, Level: "critical",
		Message: "=login", Sources: []netip.Addr{attacker}, Targets: []netip.Addr{target}, Count: 1, First: noon, Last: noon, Evidence: []event.ID{events[0].ID},
	}
	s, err := embedded.Open(t.TempDir(), embedded.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Put(t.Context(), append(events, ledger), []event.Alert{alert}); err != nil {
		t.Fatal(err)
	}
	tr := &trace.Trace{
		Seed: alert.ID.String(), Title: "192.0.2.66 reached 10.0.0.1", From: noon.Add(-time.Second), To: noon.Add(2 * time.Second), Origin: attacker, Target: target,
		Path: []trace.Hop{{
			From: attacker, To: target, Port: 22, Transport: "tcp", Protocol: "ssh", Start: noon.Add(-time.Second), End: noon.Add(time.Second), Flows: 2, Bytes: 300, Role: "access", Confidence: 0.9,
			Techniques: []event.Technique{{ID: "T1021.004", Name: "SSH", Tactics: []string{"Lateral Movement"}}, {ID: "T0855", Name: "Unauthorized Command Message", Tactics: []string{"Impair Process Control"}}},
			Reasons:    []trace.Reason{{Message: trace.Message{Text: "alert"}, Weight: 2}}, Evidence: []event.ID{gone, events[0].ID, alert.ID}, Sensors: []string{"tap"},
		}},
		Branches: []trace.Hop{}, Rejected: []trace.Hop{}, Missing: []string{"who"}, Nodes: []trace.Node{{Address: attacker, Role: "origin", First: noon, Last: noon}, {Address: target, Role: "target", First: noon, Last: noon}},
		Steps: []trace.Step{{Time: noon, ID: alert.ID, Text: "=login", Severity: 80, From: attacker, To: target}},
	}
	return &Case{
		Trace: tr, Store: s, Marking: tlp.AmberStrict, By: "somebody", Version: "test", Key: key(1),
		Rule: func(r event.Rule) (RuleText, bool) {
			return RuleText{ID: r.ID, Text: []byte(rule)}, r.ID == "r-1"
		},
		Packets: func(_ context.Context, w io.Writer, sessions []Session) (counts []uint64, broken []string, err error) {
			p := pcapng.NewWriter(w, "test", "")
			for i := range 3 {
				if err := p.Packet(capture.Interface{Sensor: "tap"}, &capture.Packet{Time: noon, Data: make([]byte, 60+i), Link: 1}, sessions[0].Comment); err != nil {
					return nil, nil, err
				}
			}
			counts = make([]uint64, len(sessions))
			counts[0] = 3
			return counts, nil, p.Close()
		},
	}
}

func written(t *testing.T, c *Case) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(t *testing.T, b []byte, trusted ed25519.PublicKey) *Verdict {
	t.Helper()
	v, err := Verify(bytes.NewReader(b), int64(len(b)), trusted)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func failed(v *Verdict) (names []string) {
	for _, c := range v.Checks {
		if !c.OK && !c.Unknown {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestSameCaseSameBytes(t *testing.T) {
	c := small(t)
	first := written(t, c)
	for range 3 {
		if !bytes.Equal(first, written(t, c)) {
			t.Fatal("two packages of one case differ")
		}
	}
}

func TestWholePackage(t *testing.T) {
	c := small(t)
	b := written(t, c)
	v := verify(t, b, nil)
	if !v.OK || v.Key != Fingerprint(public(c.Key)) {
		t.Fatalf("%+v", v)
	}
	for _, check := range v.Checks {
		for _, l := range summary.Languages() {
			if check.Means(l) == "" {
				t.Errorf("%s: not said in %s what it means", check.Name, l)
			}
		}
	}
	a := v.About
	if a.Events != 2 || a.Alerts != 1 || a.Sessions != 2 || a.Packed != 1 || a.Packets != 3 || len(a.Missing) != 1 || a.Marking != "TLP:AMBER+STRICT" {
		t.Errorf("%+v", a)
	}
	if v := verify(t, b, public(key(1))); !v.OK || len(failed(v)) > 0 || v.Checks[len(v.Checks)-1].Unknown {
		t.Errorf("the key that is trusted: %+v", v.Checks)
	}
	if v := verify(t, b, public(key(2))); v.OK || failed(v)[0] != "key" {
		t.Errorf("a key that is not: %v", failed(v))
	}
	files := unpacked(t, b)
	var sensors []summary.Sensor
	if err := json.Unmarshal(files["sensors.json"], &sensors); err != nil || len(sensors) != 1 || sensors[0].Loss != 0.01 || sensors[0].ClockError != 2*time.Millisecond || !*sensors[0].Synchronized {
		t.Errorf("sensors: %v %s", err, files["sensors.json"])
	}
	var g gbt
	if err := json.Unmarshal(files["gbt36643.json"], &g); err != nil || len(g.Components) != 8 {
		t.Errorf("GB/T 36643: %v, %d components", err, len(g.Components))
	}
	for _, x := range g.Components {
		if len(x.Items) == 0 {
			t.Errorf("GB/T 36643: nothing under %s", x.English)
		}
	}
	for name, want := range map[string]string{
		"timeline.csv": "'=login", "alerts.csv": "'=login", sessionsName: "no capture or ring", "summary.en.html": "somebody", "summary.zh.html": "证据包",
		"attack-navigator-ics.json": "T0855", "rules/r-1.yml": "Login from outside", "graph.dot": "digraph",
	} {
		if !strings.Contains(string(files[name]), want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}
}

func unpacked(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestEveryFlippedByteFails changes bytes all over the package, and every bit
// of its end. The first check is enough to see it, and is the one that is run.
func TestEveryFlippedByteFails(t *testing.T) {
	b := written(t, small(t))
	broken := func(i int, bit byte) {
		t.Helper()
		b[i] ^= bit
		v := &verifier{r: bytes.NewReader(b), size: int64(len(b))}
		if _, err := v.seal(); err == nil {
			t.Errorf("byte %d of %d, bit %#x: the seal holds", i, len(b), bit)
		}
		b[i] ^= bit
	}
	for i := 0; i < len(b); i += 37 {
		broken(i, 1<<(i%8))
	}
	for i := len(b) - sealSize - 40; i < len(b); i++ {
		for bit := range 8 {
			broken(i, 1<<bit)
		}
	}
	for _, i := range []int{0, len(b) / 2, len(b) - sealSize - 1, len(b) - 1} { // all checks
		b[i] ^= 0x20
		if v := verify(t, b, nil); v.OK {
			t.Errorf("byte %d: the package is whole", i)
		}
		b[i] ^= 0x20
	}
	if v := verify(t, b, nil); !v.OK {
		t.Fatal("the package is broken after all was put right")
	}
	for _, other := range [][]byte{nil, b[:1000], b[:len(b)-1], append(bytes.Clone(b), 0), append([]byte{0}, b...)} {
		if verify(t, other, nil).OK {
			t.Errorf("%d bytes of %d are whole", len(other), len(b))
		}
	}
}

// reseal makes a package of files with a key of the forger's, and a manifest of
// theirs if sign says so.
func reseal(t *testing.T, files map[string][]byte, k ed25519.PrivateKey, sign bool) []byte {
	t.Helper()
	var out bytes.Buffer
	p := &writer{seal: newSealer(&out)}
	p.zip = zip.NewWriter(p.seal)
	put := func(name string, body []byte) {
		if err := p.entry(name, func(w io.Writer) error { _, err := w.Write(body); return err }); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range files {
		if !sign || name != manifestName && name != signatureName {
			put(name, body)
		}
	}
	if sign {
		text := p.manifest()
		put(manifestName, text)
		put(signatureName, ed25519.Sign(k, text))
	}
	if err := p.zip.SetComment(strings.Repeat(" ", sealSize)); err != nil {
		t.Fatal(err)
	}
	if err := p.zip.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.seal.close(k); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestForgeries changes what is inside and seals anew: with what is at hand,
// the original key's owner and a stranger.
func TestForgeries(t *testing.T) {
	c := small(t)
	whole := written(t, c)
	pem, err := PublicPEM(public(key(2)))
	if err != nil {
		t.Fatal(err)
	}
	cutLast := func(b []byte) []byte {
		b = bytes.TrimSuffix(b, []byte("\n"))
		return b[:bytes.LastIndexByte(b, '\n')+1]
	}
	for _, x := range []struct {
		name   string
		change func(files map[string][]byte)
		sign   bool
		key    byte
		fails  string // the check that must see it
	}{
		{"nothing", func(map[string][]byte) {}, false, 1, ""},
		{"file changed", func(f map[string][]byte) { f["trace.json"] = append(f["trace.json"], ' ') }, false, 1, "files"},
		{"file put in", func(f map[string][]byte) { f["extra.txt"] = nil }, false, 1, "files"},
		{"file missing", func(f map[string][]byte) { delete(f, "graph.svg") }, false, 1, "files"},
		{"manifest changed", func(f map[string][]byte) { f[manifestName] = append(f[manifestName], '\n') }, false, 1, "signature"},
		{"stranger's seal", func(map[string][]byte) {}, false, 2, "signature"},
		{"stranger's all", func(f map[string][]byte) { f[keyName] = pem }, true, 2, "custody"}, // it seals another key file
		{"name leads outside", func(f map[string][]byte) { f["../x"] = nil }, true, 1, "archive"},
		{"custody cut", func(f map[string][]byte) { f[custodyName] = cutLast(f[custodyName]) }, true, 1, "custody"},
		{"custody entry removed", func(f map[string][]byte) {
			_, f[custodyName], _ = bytes.Cut(f[custodyName], []byte("\n"))
		}, true, 1, "custody"},
		{"custody entry changed", func(f map[string][]byte) {
			f[custodyName] = bytes.Replace(f[custodyName], []byte("1000 packets"), []byte("1001 packets"), 1)
		}, true, 1, "custody"},
		{"event after sealing", func(f map[string][]byte) { f[eventsName] = cutLast(f[eventsName]) }, true, 1, "custody"},
		{"evidence removed", func(f map[string][]byte) { f[eventsName] = nil }, true, 1, "evidence"},
		{"packet removed", func(f map[string][]byte) {
			n := 4*8 + 60 + 4 + len("path 1: 192.0.2.66 -> 10.0.0.1, flow ") + 32 // about one block
			f[packetsName] = f[packetsName][:len(f[packetsName])-n/4*4]
		}, true, 1, "packets"},
		{"rule changed", func(f map[string][]byte) { f["rules/r-1.yml"] = []byte("title: another") }, true, 1, "rules"},
	} {
		files := unpacked(t, whole)
		x.change(files)
		v := verify(t, reseal(t, files, key(x.key), x.sign), nil)
		if got := strings.Join(failed(v), " "); (x.fails == "") != v.OK || !strings.Contains(" "+got+" ", " "+x.fails+" ") && x.fails != "" {
			t.Errorf("%s: the checks that fail are %q, want %q\n%+v", x.name, got, x.fails, v.Checks)
		}
	}
}

// TestWithoutPackets lists the sessions, and says why there are none.
func TestWithoutPackets(t *testing.T) {
	c := small(t)
	c.Packets, c.Without = nil, "nobody kept them"
	b := written(t, c)
	if v := verify(t, b, nil); !v.OK {
		t.Fatalf("%+v", v.Checks)
	}
	files := unpacked(t, b)
	if files[packetsName] != nil || strings.Count(string(files[sessionsName]), "nobody kept them") != 2 {
		t.Errorf("%s", files[sessionsName])
	}
}

// many is a store of very many events of one pair.
type many struct {
	store.Store
	n int
}

func (m many) Search(_ context.Context, q store.Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		h := event.NewHasher()
		for i := range m.n {
			h.Reset()
			h.Str("many")
			h.Uint(uint64(i))
			e := event.Event{ID: h.ID(noon), Time: noon, Kind: "dns", Sensor: "tap", Flow: event.Flow{Src: event.Endpoint{IP: netip.MustParseAddr("192.0.2.66"), Port: 4000}, Dst: event.Endpoint{IP: netip.MustParseAddr("10.0.0.1"), Port: 22}, Transport: 17}}
			e.Set("dns.question.name", event.Str(fmt.Sprintf("%d.example.net", i)))
			if !yield(e, nil) {
				return
			}
		}
	}
}

// TestManyEventsStream writes a case of which nothing is left out.
func TestManyEventsStream(t *testing.T) {
	c := small(t)
	c.Store = many{c.Store.(store.Store), 20_000}
	b := written(t, c)
	if v := verify(t, b, nil); !v.OK || v.About.Events != 20_001 {
		t.Errorf("%d events, %v", v.About.Events, failed(v))
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18) + sealMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Verify(bytes.NewReader(b), int64(len(b)), nil)
		if err == nil && v.OK {
			t.Error("whole")
		}
	})
}
