package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
)

// TestAgainstTshark counts what is in the recorded captures with tshark, which
// make test installs, and with the sensor: DNS questions and answers, HTTP
// requests by method, Modbus requests by function, TLS client hellos by JA3.
func TestAgainstTshark(t *testing.T) {
	tshark := os.Getenv("TOCSIN_TSHARK")
	if tshark == "" {
		t.Skip("TOCSIN_TSHARK is not set; make test sets it")
	}
	files, err := filepath.Glob(filepath.Join(scenarios, "*", "*.pcap*"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	for _, f := range files {
		theirs, ours := countTshark(t, tshark, f), countOurs(t, f)
		if len(theirs) == 0 {
			t.Errorf("%s: tshark sees nothing", f)
		}
		for _, k := range []map[string]int{theirs, ours} {
			for what := range maps.Keys(k) {
				if theirs[what] != ours[what] {
					t.Errorf("%s: %s: tshark %d, tocsin %d", f, what, theirs[what], ours[what])
				}
			}
		}
	}
}

func countTshark(t *testing.T, tshark, file string) map[string]int {
	args := []string{"-r", file, "-Y", "dns or http.request or mbtcp or tls.handshake.type==1", "-T", "fields", "-E", "occurrence=a"}
	for _, field := range []string{"tcp.dstport", "dns.flags.response", "http.request.method", "modbus.func_code", "tls.handshake.ja3"} {
		args = append(args, "-e", field)
	}
	var errs bytes.Buffer
	cmd := exec.Command(tshark, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, errs.String())
	}
	n := map[string]int{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		each := func(values, what string) {
			for v := range strings.SplitSeq(values, ",") {
				if v != "" {
					n[what+" "+v]++
				}
			}
		}
		each(f[1], "dns response")
		each(f[2], "http")
		if f[0] == "502" { // requests; an answer has the same function
			each(f[3], "modbus")
		}
		if f[0] != "25" { // TLS that begins within SMTP is not looked into
			each(f[4], "ja3")
		}
	}
	return n
}

func countOurs(t *testing.T, file string) map[string]int {
	fields, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for line := range strings.Lines(run(t, 0, "events", file)) {
		var e event.Event
		if err := fields.Decode([]byte(strings.TrimSuffix(line, "\n")), &e); err != nil {
			t.Fatal(err)
		}
		switch e.Kind {
		case "dns":
			if !e.Get("tocsin.dns.query_length").IsZero() {
				again, _ := e.Get("tocsin.dns.repeats").Int()
				n["dns response 0"] += 1 + int(again)
			}
			if answered, _ := e.Get("tocsin.dns.answered").Bool(); answered {
				n["dns response 1"]++
			}
		case "http":
			if m := e.Get("http.request.method").Str(); m != "" {
				n["http "+m]++
			}
		case "modbus":
			n[fmt.Sprintf("modbus %v", e.Get("ics.function.code"))]++
		case "tls":
			if ja3 := e.Get("tls.client.ja3").Str(); ja3 != "" {
				n["ja3 "+ja3]++
			}
		}
	}
	return n
}
