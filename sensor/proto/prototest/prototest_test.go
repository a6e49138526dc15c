package prototest_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

// lines is a protocol of lines that begin with "x", each an event. Its faults
// are one per name; "" is without.
type lines struct {
	fault string
	kept  []byte
	count int64
}

func (l *lines) Parse(_ proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	for {
		end := bytes.IndexByte(b[n:], '\n')
		if end < 0 {
			break
		}
		value := event.Text(b[n : n+end])
		switch l.fault {
		case "aliases":
			value = event.Str(unsafe.String(&b[n], end+1))
		case "remembers":
			l.kept = append(l.kept, b[n:n+end]...)
		}
		name := "test.line"
		if l.fault == "undocumented" {
			name = "test.other"
		}
		out.Emit(now, []event.Field{{Name: name, Value: value}})
		n += end + 1
	}
	switch l.fault {
	case "overruns":
		n++
	case "counts calls":
		l.count++
		out.Emit(now, []event.Field{{Name: "test.calls", Value: event.Int(l.count)}})
	case "drops rest":
		n = len(b)
	}
	if len(b)-n > 1000 {
		n = len(b)
	}
	return n, nil
}

func (l *lines) Gap(proto.Dir, int) {}

func (l *lines) End(*proto.Out) {}

func protocol(fault string) proto.Protocol {
	return proto.Protocol{
		Name: "test", Transport: proto.TCP,
		Probe: func(_ proto.Dir, b []byte) proto.Verdict {
			switch {
			case len(b) == 0 && fault != "hasty":
				return proto.Maybe
			case fault == "hasty", b[0] == 'x', fault == "takes all":
				return proto.Yes
			}
			return proto.No
		},
		New: func() proto.Parser { return &lines{fault: fault} },
		Fields: []event.FieldDoc{
			{Name: "test.line", Type: event.Keyword, Help: "A line."},
			{Name: "test.calls", Type: event.Long, Help: "Calls."},
		},
	}
}

func TestSound(t *testing.T) { prototest.Test(t, protocol(""), lineCase(t)) }

func lineCase(t *testing.T) prototest.Case {
	return prototest.Case{Name: "lines", Pieces: prototest.Load(t, "testdata/lines.txt"), Recovers: true, Allocs: 10}
}

// TestFaults runs the contract, in a process of its own, against parsers that
// break it, and wants it to say so.
func TestFaults(t *testing.T) {
	if fault := os.Getenv("PROTOTEST_FAULT"); fault != "" {
		prototest.Test(t, protocol(fault), lineCase(t))
		return
	}
	for fault, want := range map[string]struct{ part, says string }{
		"aliases":      {"lines/golden", "lines.jsonl:1"},
		"undocumented": {"lines/golden", "test.other is not documented"},
		"overruns":     {"lines/golden", "says it used"},
		"counts calls": {"lines/cuts", "other events"},
		"drops rest":   {"lines/cuts", "other events"},
		"remembers":    {"lines/memory", "the parser holds"},
		"hasty":        {"probe", "for its own"},
		"takes all":    {"probe", "for its own"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestFaults$/"+want.part)
			cmd.Env = append(os.Environ(), "PROTOTEST_FAULT="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), want.says) {
				t.Errorf("want a failure that says %q; have %v:\n%.2000s", want.says, err, out)
			}
		})
	}
}
