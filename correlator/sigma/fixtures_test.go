package sigma

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tocsin/tocsin/event"
)

func lines(es ...event.Event) string {
	var b []byte
	for i := range es {
		b = append(es[i].AppendJSON(b), '\n')
	}
	return string(b)
}

func TestFolders(t *testing.T) {
	write := func(src string, value int) event.Event {
		return at(value, "modbus", src, "192.0.2.9", str("ics.operation", "write"),
			event.Field{Name: "ics.objects", Value: event.List(event.Object(num("value", value)))})
	}
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	fsys := fstest.MapFS{
		"good/write/rule.yml":     file(writes),
		"good/write/fires.jsonl":  file(lines(write("192.0.2.1", 700))),
		"good/write/quiet.jsonl":  file(lines(write("192.0.2.1", 7), write("198.51.100.1", 700)) + "\n"),
		"bad/swapped/rule.yml":    file(writes),
		"bad/swapped/fires.jsonl": file(lines(write("192.0.2.1", 7))),
		"bad/swapped/quiet.jsonl": file(lines(write("192.0.2.1", 700))),
		"bad/alone/rule.yml":      file(writes),
		"bad/broken/rule.yml":     file(strings.Replace(writes, "ics.operation", "ics.operatio", 1)),
		"bad/json/rule.yml":       file(writes),
		"bad/json/fires.jsonl":    file("{}\n{"),
		"bad/json/quiet.jsonl":    file("\n"),
	}
	dirs, err := Folders(fsys)
	if want := []string{"bad/alone", "bad/broken", "bad/json", "bad/swapped", "good/write"}; err != nil || !slices.Equal(dirs, want) {
		t.Fatal(dirs, err)
	}
	opt := Options{Schema: testSchema(t)}
	if err := TestFolder(fsys, "good/write", opt); err != nil {
		t.Error(err)
	}
	f := func(dir string, want ...string) {
		t.Helper()
		err := TestFolder(fsys, dir, opt)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: want %q, have %v", dir, w, err)
			}
		}
	}
	f("bad/swapped", "bad/swapped/fires.jsonl: no alert of rule 11111111-0000-4000-8000-000000000001", "bad/swapped/quiet.jsonl: rule", "ics.objects.value > 500 (700)")
	f("bad/alone", "open bad/alone/fires.jsonl", "a rule has events that fire it")
	f("bad/broken", "bad/broken/rule.yml:9: detection.write.ics.operatio: no event carries ics.operatio; did you mean ics.operation?")
	f("bad/json", "bad/json/fires.jsonl: line 1: an event needs @timestamp")
	if set, errs := Load(fsys, opt); len(errs) == 0 || len(set.Rules) != 1 {
		t.Errorf("a tree with the same id four times: %v", errs)
	}
}
