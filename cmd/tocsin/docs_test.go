package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tocsin/tocsin/internal/golden"
	"github.com/tocsin/tocsin/metrics"
	"github.com/tocsin/tocsin/sensor/proto"
	protocols "github.com/tocsin/tocsin/sensor/proto/all"
)

// TestDocs compares the documents that are made from the code with the code;
// make generate writes them.
func TestDocs(t *testing.T) {
	for name, text := range map[string]func() (string, error){
		"FIELDS.md": fieldsDoc, "CONFIGURATION.md": configurationDoc, "PROTOCOLS.md": protocolsDoc, "METRICS.md": metricsDoc,
	} {
		got, err := text()
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("..", "..", "docs", name), []byte(got))
	}
}

func fieldsDoc() (string, error) {
	s, err := schema()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`# Fields

Every field that an event or an alert may carry: names of the Elastic Common
Schema where it has one, ics.* for industrial protocols, tocsin.* for the rest.
The class says how carefully values are kept, shown and shared. A field may
hold a list. Made from the code by ` + "`make generate`" + `.

| field | type | class | meaning |
|---|---|---|---|
`)
	for _, f := range s.Fields() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, f.Class, cell(f.Help))
	}
	return b.String(), nil
}

func metricsDoc() (string, error) {
	var b strings.Builder
	b.WriteString(`# Metrics

What a process tells Prometheus when it is started with ` + "`--metrics 127.0.0.1:9464`" + `,
under ` + "`/metrics`" + `. Counters begin with the process. Those of taps are the counts of
the ledger, the minute that is not over included, so that after any time

    tocsin_tap_packets_seen_total = tocsin_tap_packets_decoded_total
        + tocsin_tap_packets_filtered_total + sum(tocsin_tap_packets_dropped_total)

Beside these there are Prometheus' own of Go (` + "`go_…`" + `) and of processes
(` + "`process_…`" + `: CPU, memory, files, age). Made from the code by ` + "`make generate`" + `.

| metric | kind | labels | meaning |
|---|---|---|---|
`)
	for _, m := range metrics.Documented() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, strings.Join(m.Labels, ", "), cell(m.Help))
	}
	return b.String(), nil
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func configurationDoc() (string, error) {
	var b strings.Builder
	b.WriteString(`# Configuration

Every setting is a flag. It may also be given in the environment, or in a YAML
file named by --config under the flag's name without dashes. The command line
wins over the environment, and that over the file; a key of the file that no
command has is an error. Made from the code by ` + "`make generate`" + `.
`)
	eachCommand(newRoot(), func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || !c.Runnable() {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n```\n%s\n```\n", c.CommandPath(), c.Short, c.Example)
		var flags []*pflag.Flag
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && f.Name != "version" && !f.Hidden {
				flags = append(flags, f)
			}
		})
		if len(flags) == 0 {
			return
		}
		b.WriteString("\n| flag | environment | default | meaning |\n|---|---|---|---|\n")
		for _, f := range flags {
			name, usage := pflag.UnquoteUsage(f)
			flag := "--" + f.Name
			if f.Shorthand != "" {
				flag = "-" + f.Shorthand + ", " + flag
			}
			def := f.DefValue
			switch {
			case def == "[]" || def == "":
				def = ""
			case f.Name == "workers":
				def = "number of cores, at most 4"
			default:
				def = "`" + def + "`"
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", strings.TrimSpace(flag+" "+name), envName(f.Name), def, cell(usage))
		}
	})
	return b.String(), nil
}

func protocolsDoc() (string, error) {
	var b strings.Builder
	b.WriteString(`# Protocols

What the sensor parses. A protocol is recognised by its content; the ports only
say what is tried first. Made from the code by ` + "`make generate`" + `.

| protocol | over | usual ports | fields |
|---|---|---|---|
`)
	for _, p := range protocols.Protocols() {
		var over, ports, groups []string
		if p.Transport&proto.TCP != 0 {
			over = append(over, "TCP")
		}
		if p.Transport&proto.UDP != 0 {
			over = append(over, "UDP")
		}
		for _, n := range p.Ports {
			ports = append(ports, fmt.Sprint(n))
		}
		count := map[string]int{}
		for _, f := range p.Fields {
			g, _, _ := strings.Cut(f.Name, ".")
			if count[g] == 0 {
				groups = append(groups, g)
			}
			count[g]++
		}
		slices.Sort(groups)
		for i, g := range groups {
			groups[i] = fmt.Sprintf("%d `%s.*`", count[g], g)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", p.Name, strings.Join(over, ", "), strings.Join(ports, " "), strings.Join(groups, ", "))
	}
	return b.String(), nil
}
