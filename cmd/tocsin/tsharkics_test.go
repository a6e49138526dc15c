package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
)

// recording is a capture of an industrial protocol, and how what tshark says
// of it and what we say become the same words.
type recording struct {
	file   string
	filter string   // tshark's, of the packets to look at
	args   []string // more for tshark
	fields []string // tshark's
	// theirs makes words of a packet: the values of each field.
	theirs func(values map[string][]string, word func(string))
	// ours makes words of an event.
	ours func(e *event.Event, word func(string))
}

// TestIndustrialAgainstTshark compares each value of the recorded industrial
// captures with what tshark says of it.
func TestIndustrialAgainstTshark(t *testing.T) {
	tshark := os.Getenv("TOCSIN_TSHARK")
	if tshark == "" {
		t.Skip("TOCSIN_TSHARK is not set; make test sets it")
	}
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []recording{iec104Recording, s7commRecording, dnp3Recording, enipRecording, bacnetRecording, synchrophasorRecording} {
		file := "../../sensor/proto/" + r.file
		args := append([]string{"-r", file, "-Y", r.filter, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|"}, r.args...)
		for _, f := range r.fields {
			args = append(args, "-e", f)
		}
		var errs bytes.Buffer
		cmd := exec.Command(tshark, args...)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark: %v\n%s", err, errs.String())
		}
		theirs, ours := map[string]int{}, map[string]int{}
		for line := range strings.Lines(string(out)) {
			values := map[string][]string{}
			for i, v := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
				if v != "" {
					values[r.fields[i]] = strings.Split(v, "|")
				}
			}
			r.theirs(values, func(w string) { theirs[w]++ })
		}
		for line := range strings.Lines(run(t, 0, "events", file)) {
			var e event.Event
			if err := fields.Decode([]byte(strings.TrimSuffix(line, "\n")), &e); err != nil {
				t.Fatal(err)
			}
			r.ours(&e, func(w string) { ours[w]++ })
		}
		if len(theirs) == 0 {
			t.Errorf("%s: tshark sees nothing", file)
		}
		words := slices.Sorted(maps.Keys(theirs))
		words = append(words, slices.Sorted(maps.Keys(ours))...)
		for _, w := range slices.Compact(words) {
			if theirs[w] != ours[w] {
				t.Errorf("%s: %s: tshark %d times, tocsin %d", file, w, theirs[w], ours[w])
			}
		}
		t.Logf("%s: %d words", file, len(theirs))
	}
}

// figure writes a number in one way, whatever wrote it.
func figure(s string) string {
	if n, err := strconv.ParseUint(s, 0, 64); err == nil {
		return strconv.FormatUint(n, 10)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	return strconv.FormatFloat(f, 'g', 5, 64)
}

// objects calls f with type, address and value of each object of an event, runs
// taken apart.
func objects(e *event.Event, f func(typ string, address int64, value string)) {
	for _, o := range e.Get("ics.objects").List() {
		x := event.Event{Fields: o.Object()}
		first, _ := x.Get("address").Int()
		value := x.Get("value")
		if value.Type() != event.TypeList {
			f(x.Get("type").Str(), first, value.String())
			continue
		}
		for i, v := range value.List() {
			f(x.Get("type").Str(), first+int64(i), v.String())
		}
	}
}

// iec104Values are tshark's fields of values, by our types of objects.
var iec104Values = map[string]string{
	"single_point": "siq.spi", "double_point": "diq.dpi", "step_position": "vti.v", "bitstring": "bitstring", "bitstring_command": "bitstring",
	"normalized_value": "normval", "set_point_normalized": "normval", "scaled_value": "scalval", "set_point_scaled": "scalval",
	"short_float": "float", "set_point_float": "float", "parameter_float": "float", "integrated_total": "bcr.count",
	"single_command": "sco.on", "double_command": "dco.on", "step_command": "rco.up",
}

var iec104Recording = recording{
	file:   "iec104/testdata/iec104.pcap",
	filter: "iec60870_104",
	args:   []string{"-d", "tcp.port==2405,iec60870_104"},
	fields: []string{
		"iec60870_104.type", "iec60870_asdu.typeid", "iec60870_asdu.causetx", "iec60870_asdu.addr", "iec60870_asdu.ioa",
		"iec60870_asdu.siq.spi", "iec60870_asdu.diq.dpi", "iec60870_asdu.vti.v", "iec60870_asdu.bitstring", "iec60870_asdu.normval",
		"iec60870_asdu.scalval", "iec60870_asdu.float", "iec60870_asdu.bcr.count", "iec60870_asdu.sco.on", "iec60870_asdu.dco.on", "iec60870_asdu.rco.up",
	},
	theirs: func(values map[string][]string, word func(string)) {
		for field, vs := range values {
			for _, v := range vs {
				v = figure(strings.NewReplacer("True", "1", "False", "0").Replace(v))
				if field == "iec60870_asdu.bitstring" {
					// The first octet has the bits 1 to 8 (IEC 60870-5-101,
					// 7.2.6.13), as with all types of several octets; tshark
					// puts it last.
					n, _ := strconv.ParseUint(v, 10, 32)
					v = strconv.FormatUint(uint64(bits.ReverseBytes32(uint32(n))), 10)
				}
				if field == "iec60870_asdu.causetx" || field == "iec60870_asdu.ioa" && v == "0" {
					continue // of what has no objects
				}
				word(strings.TrimPrefix(field, "iec60870_asdu.") + " " + v)
			}
		}
	},
	ours: func(e *event.Event, word func(string)) {
		if e.Kind != "iec104" {
			return
		}
		many := func(n int64, w string) {
			for range n {
				word(w)
			}
		}
		count := func(name string) int64 {
			n, _ := e.Get(name).Int()
			return n
		}
		if e.Get("ics.function.code").IsZero() {
			many(count("iec104.frames.information"), "iec60870_104.type 0")
			many(count("iec104.frames.supervisory"), "iec60870_104.type 1")
			many(count("iec104.frames.unnumbered"), "iec60870_104.type 3")
			return
		}
		messages := count("iec104.messages")
		unit := "addr " + e.Get("ics.unit").String()
		many(messages, "typeid "+e.Get("ics.function.code").String())
		many(messages, unit)
		answer := e.Get("iec104.answer.code")
		if !answer.IsZero() {
			word("typeid " + answer.String())
			word(unit)
		}
		objects(e, func(typ string, address int64, value string) {
			n := messages
			if address != 0 {
				if !answer.IsZero() {
					n++
				}
				many(n, fmt.Sprintf("ioa %d", address))
			}
			if field := iec104Values[typ]; field != "" {
				if !answer.IsZero() {
					n = 1 // the question has none
				}
				many(n, field+" "+figure(value))
			}
		})
		for _, f := range e.Get("iec104.files").List() {
			x := event.Event{Fields: f.Object()}
			word("ioa " + x.Get("address").String())
		}
		if e.Get("ics.function.name").Str() == "P_AC_NA_1" {
			many(messages, "ioa 500") // the parameter, which is no object of ours
		}
	},
}

var dnp3Recording = recording{
	file:   "dnp3/testdata/dnp3.pcap",
	filter: "dnp3 && !icmp", // which repeats what nobody took
	fields: []string{
		"dnp3.al.func", "dnp3.al.obj", "dnp3.al.ana.int", "dnp3.al.anaout.int", "dnp3.al.anaout.float", "dnp3.al.cnt", "dnp3.al.ctrlstatus",
		"dnp3.al.file.handle",
	},
	theirs: func(values map[string][]string, word func(string)) {
		for field, vs := range values {
			for _, v := range vs {
				field = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(field, "dnp3."), ".int"), ".float")
				word(field + " " + figure(strings.NewReplacer("True", "1", "False", "0").Replace(v)))
			}
		}
	},
	ours: func(e *event.Event, word func(string)) {
		if e.Kind != "dnp3" {
			return
		}
		if !e.Get("dnp3.link.frames").IsZero() {
			return
		}
		fragments, _ := e.Get("dnp3.fragments").Int()
		confirms, _ := e.Get("dnp3.confirms").Int()
		code, _ := e.Get("ics.function.code").Int()
		headers := func(name string) {
			for _, h := range e.Get(name).List() {
				x := event.Event{Fields: h.Object()}
				group, _ := x.Get("group").Int()
				variation, _ := x.Get("variation").Int()
				if group != 110 { // octet strings, which tshark does not know as objects
					word(fmt.Sprintf("al.obj %d", group<<8|variation))
				}
			}
		}
		if code < 129 {
			word(fmt.Sprintf("al.func %d", code))
			switch code {
			case 15, 18, 22, 28, 29: // in which tshark does not look for objects
			default:
				headers("dnp3.request.headers")
			}
		}
		headers("dnp3.response.headers")
		for range fragments {
			word(fmt.Sprintf("al.func %v", max(code, 129)))
		}
		for range confirms {
			word("al.func 0")
		}
		for _, c := range e.Get("dnp3.controls").List() {
			x := event.Event{Fields: c.Object()}
			word("al.ctrlstatus 0") // of the request
			word("al.ctrlstatus " + x.Get("status").String())
		}
		objects(e, func(typ string, _ int64, value string) {
			switch typ {
			case "analog_input":
				word("al.ana " + figure(value))
			case "analog_output":
				word("al.anaout " + figure(value))
			case "analog_output_command":
				word("al.anaout " + figure(value))
				word("al.anaout " + figure(value)) // the response repeats it
			case "counter", "frozen_counter":
				word("al.cnt " + figure(value))
			}
		})
		for _, f := range e.Get("dnp3.files").List() {
			x := event.Event{Fields: f.Object()}
			if h := x.Get("handle"); !h.IsZero() {
				word("al.file.handle " + h.String())
			}
		}
	},
}

var synchrophasorRecording = recording{
	file:   "synchrophasor/testdata/synchrophasor.pcap",
	filter: "synphasor",
	fields: []string{"synphasor.frtype", "synphasor.command", "synphasor.idcode_stream_source"},
	theirs: func(values map[string][]string, word func(string)) {
		for field, vs := range values {
			for _, v := range vs {
				word(strings.TrimPrefix(field, "synphasor.") + " " + figure(v))
			}
		}
	},
	ours: func(e *event.Event, word func(string)) {
		if e.Kind != "synchrophasor" {
			return
		}
		frame := func(kind int64) {
			word(fmt.Sprintf("frtype %d", kind))
			word("idcode_stream_source " + e.Get("ics.unit").String())
		}
		if code, ok := e.Get("ics.function.code").Int(); ok {
			frame(4)
			word(fmt.Sprintf("command %d", code))
			if !e.Get("ics.status.code").IsZero() {
				frame(map[int64]int64{3: 1, 4: 2, 5: 3, 6: 5}[code])
			}
		} else {
			count, _ := e.Get("synchrophasor.frames").Int()
			for range max(count, 1) {
				frame(map[string]int64{"header": 1, "configuration_1": 2, "configuration_2": 3, "configuration_3": 5}[e.Get("ics.function.name").Str()])
			}
		}
	},
}
