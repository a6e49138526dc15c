package all

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/golden"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/log"
	protocols "github.com/tocsin/tocsin/sensor/proto/all"
)

// gather is a sink that keeps what it is given.
type gather struct{ events []event.Event }

func (g *gather) Publish(_ context.Context, batch []event.Event) error {
	for i := range batch {
		g.events = append(g.events, batch[i].Clone())
	}
	return nil
}

func read(t *testing.T, texts map[string][]byte) ([]event.Event, *log.Report) {
	t.Helper()
	var sources []log.Source
	for name, text := range texts {
		f, ok := log.Recognise(Formats(), text[:min(len(text), log.HeadLength)])
		if !ok {
			t.Fatalf("%s: not recognised", name)
		}
		sources = append(sources, log.Source{Name: name, Lines: bytes.NewReader(text), Reader: f.New(filepath.Base(name))})
	}
	var g gather
	report, err := log.Run(t.Context(), sources, &g)
	if err != nil {
		t.Fatal(err)
	}
	return g.events, report
}

func schema(t *testing.T) *event.Schema {
	t.Helper()
	lists := [][]event.FieldDoc{sensor.Fields(), protocols.Fields()}
	s, err := event.NewSchema(append(lists, Fields(lists...))...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLogs compares logs with the events they become, which a person has read.
// Each event is made of documented fields, as it is when it comes back.
func TestLogs(t *testing.T) {
	s := schema(t)
	for _, path := range []string{"../eve/testdata/eve.json", "../zeek/testdata/conn.log", "../zeek/testdata/mixed.json"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		events, report := read(t, map[string][]byte{path: text})
		var out bytes.Buffer
		for _, e := range events {
			line := e.AppendJSON(nil)
			out.Write(append(line, '\n'))
			var back event.Event
			if err := s.Decode(line, &back); err != nil {
				t.Errorf("%s: %v", path, err)
			} else if again := back.AppendJSON(nil); !bytes.Equal(again, line) {
				t.Errorf("%s:\nread   %s\nstored %s", path, line, again)
			}
			for _, f := range e.Fields {
				if _, ok := s.Lookup(f.Name); !ok {
					t.Errorf("%s: field %s is not documented", path, f.Name)
				}
			}
		}
		out.WriteString("not read: " + report.String() + "\n")
		if err := report.Err(); err != nil {
			out.WriteString(err.Error() + "\n")
		}
		golden.Check(t, strings.TrimSuffix(path, filepath.Ext(path))+".want", out.Bytes())
	}
}

// TestSideBySide: the events of several logs come by the time of what is next in
// each, whatever order the logs are given in, and a log read twice has the same
// events.
func TestSideBySide(t *testing.T) {
	texts := map[string][]byte{}
	for _, path := range []string{"../zeek/testdata/conn.log", "../zeek/testdata/mixed.json"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = text
	}
	first, _ := read(t, texts)
	var kinds []string
	for _, e := range first[:5] {
		kinds = append(kinds, string(e.Kind))
	}
	if got := strings.Join(kinds, " "); got != "dns http tls flow flow" {
		t.Errorf("order %s", got)
	}
	for range 5 {
		again, _ := read(t, texts)
		for i := range first {
			if again[i].ID != first[i].ID {
				t.Fatalf("event %d is another", i)
			}
		}
	}
}

// TestLines reads lines as they are, however long.
func TestLines(t *testing.T) {
	const line = `{"timestamp":"2026-03-04T05:06:07+0000","event_type":"anomaly"`
	long := line + `,"x":"` + strings.Repeat("x", log.MaxLine)
	text := line + "}\n\n" + long + "\"}\r\n  \n" + line + ",\"y\":1}"
	events, report := read(t, map[string][]byte{"eve.json": []byte(text)})
	if err := report.Err(); len(events) != 2 || report.Wrong != 1 || err == nil || !strings.HasPrefix(err.Error(), "eve.json:3: longer than") {
		t.Errorf("%d events, %d lines wrong, %v", len(events), report.Wrong, err)
	}
}

// TestCorpus reads the logs that Zeek's and ICSNPP's own tests expect. Times are
// masked in them.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	s := schema(t)
	count := map[event.Kind]int{}
	for _, pattern := range []string{"zeek/expected/*/*/*.log", "icsnpp-*/expected/*/*.log"} {
		paths, err := filepath.Glob(filepath.Join(corpus, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, text, _ = bytes.Cut(text, []byte("\n")) // the first line is of the tests
			text = bytes.ReplaceAll(text, []byte("XXXXXXXXXX.XXXXXX"), []byte("1709528767.123456"))
			if !bytes.HasPrefix(text, []byte("#separator")) || !bytes.Contains(text, []byte("#fields\tts")) {
				continue // a part of a log
			}
			events, report := read(t, map[string][]byte{path: text})
			if report.Err() != nil {
				t.Errorf("%s: %v", path, report.Err())
			}
			for i := range events {
				count[events[i].Kind]++
				var back event.Event
				if err := s.Decode(events[i].AppendJSON(nil), &back); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
	t.Log(count)
	for kind, least := range map[event.Kind]int{event.KindFlow: 200, "dns": 20, "http": 20, "tls": 10, "smb": 2, "dcerpc": 10, "kerberos": 4, "modbus": 20, "dnp3": 10, "s7comm": 5} {
		if count[kind] < least {
			t.Errorf("%d events of kind %s, want %d or more", count[kind], kind, least)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, path := range []string{"../eve/testdata/eve.json", "../zeek/testdata/conn.log", "../zeek/testdata/mixed.json"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		for line := range bytes.Lines(text) {
			f.Add(bytes.Clone(line))
		}
	}
	lists := [][]event.FieldDoc{sensor.Fields(), protocols.Fields()}
	s, err := event.NewSchema(append(lists, Fields(lists...))...)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, format := range Formats() {
			r := format.New("conn.log")
			for line := range bytes.Lines(text) {
				line = bytes.TrimRight(line, "\r\n")
				if len(line) == 0 {
					continue
				}
				var e event.Event
				ok, err := r.Read(line, &e)
				if !ok || err != nil {
					continue
				}
				if e.Time.IsZero() || e.ID.IsZero() || e.Kind == "" {
					t.Fatalf("%s: %q made an event without time, id or kind", format.Name, line)
				}
				var back event.Event
				if err := s.Decode(e.AppendJSON(nil), &back); err != nil {
					t.Fatalf("%s: %q: %v", format.Name, line, err)
				}
			}
		}
	})
}
