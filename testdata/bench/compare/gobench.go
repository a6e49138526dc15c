package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// results are of Go benchmarks, by name without the number of CPUs and by unit.
type results map[string]map[string]float64

// goBench runs the benchmarks of a package.
func (b *bench) goBench(pkg, pattern string, args ...string) (results, error) {
	fmt.Fprintf(os.Stderr, "\r\x1b[Kgo test -bench %s %s", pattern, pkg)
	defer fmt.Fprint(os.Stderr, "\r\x1b[K")
	cmd := exec.Command("go", append([]string{"test", "-run", "^$", "-bench", pattern}, append(args, pkg)...)...)
	cmd.Env = append(os.Environ(), fmt.Sprint("TOCSIN_BENCH_EVENTS=", b.events))
	var out bytes.Buffer
	if _, err := execute(cmd, &out); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", pkg, err, out.String())
	}
	rs := results{}
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := words[0]
		if dash := strings.LastIndexByte(name, '-'); dash > 0 {
			if _, err := strconv.Atoi(name[dash+1:]); err == nil {
				name = name[:dash]
			}
		}
		rs[name] = map[string]float64{}
		for i := 2; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", pkg, line, err)
			}
			rs[name][words[i+1]] = v
		}
	}
	return rs, nil
}

func (rs results) get(name, unit string) (float64, error) {
	v, ok := rs[name][unit]
	if !ok {
		return 0, fmt.Errorf("no %s of %s among %v", unit, name, rs)
	}
	return v, nil
}

// goBenchmarks adds what is measured inside the process.
func (b *bench) goBenchmarks() error {
	for _, m := range []struct {
		pkg, pattern string
		args         []string
		rows         func(get func(name, unit string) float64) []row
	}{
		{"./sensor/flow", "^BenchmarkPacket$", nil, func(get func(string, string) float64) []row {
			few, many := get("BenchmarkPacket/10000", "ns/op"), get("BenchmarkPacket/1000000", "ns/op")
			return []row{{what: "flow table: a packet among 1,000,000 flows", measured: fmt.Sprintf("%.0f ns", many),
				peer: fmt.Sprintf("among 10,000: %.0f ns", few), ratio: many / few, goal: 1.5, atMost: true, unit: "x"}}
		}},
		{"./correlator/sigma", "^Benchmark(Match|Compile)$/^synthetic-", nil, func(get func(string, string) float64) []row {
			speed := get("BenchmarkMatch/synthetic-1000", "events/s")
			return []row{{what: "Sigma, 1,000 rules for network events", measured: fmt.Sprintf("%.0f events/s, %.0f allocations", speed, get("BenchmarkMatch/synthetic-1000", "allocs/op")),
				ratio: speed / 1000, goal: 250, unit: "k/s"},
				{what: "Sigma, 2,000 rules", measured: fmt.Sprintf("%.0f ns an event", get("BenchmarkMatch/synthetic-2000", "ns/op")),
					peer:  fmt.Sprintf("100 rules: %.0f ns", get("BenchmarkMatch/synthetic-100", "ns/op")),
					ratio: get("BenchmarkMatch/synthetic-2000", "ns/op") / get("BenchmarkMatch/synthetic-100", "ns/op"), goal: 2, atMost: true, unit: "x"},
				atMost("Sigma, 2,000 rules: from text to matching", "", get("BenchmarkCompile/synthetic-2000", "ns/op")/1e6, 1000, " ms"),
			}
		}},
		{"./correlator/intel", "^BenchmarkLookup$", nil, func(get func(string, string) float64) []row {
			return []row{
				atMost("reputation, 1,000,000 prefixes: look-up", "", get("BenchmarkLookup/hot", "ns/op"), 150, " ns"),
				atMost("reputation, 1,000,000 prefixes: look-up, cold", "", get("BenchmarkLookup/cold", "ns/op"), 0, " ns"),
				atMost("reputation, 1,000,000 prefixes: memory", "", get("BenchmarkLookup/memory", "MB"), 150, " MB"),
			}
		}},
		{"./store/embedded", "^BenchmarkStore$/^(Ingest|AddressOnce|Histogram24h)$", []string{"-timeout", "1h"}, func(get func(string, string) float64) []row {
			of := fmt.Sprintf("store of %d events: ", b.events)
			speed := get("BenchmarkStore/Ingest", "events/CPU-s")
			return []row{
				{what: of + "ingest", measured: fmt.Sprintf("%.0f events/s", speed), ratio: speed / 1000, goal: 100, unit: "k/s"},
				atMost(of+"an address", "", get("BenchmarkStore/AddressOnce", "ns/op")/1e6, 50, " ms"),
				atMost(of+"histogram of a day", "", get("BenchmarkStore/Histogram24h", "ns/op")/1e6, 100, " ms"),
			}
		}},
		{"./store/elastic", "^BenchmarkIndexing$", []string{"-timeout", "1h"}, func(get func(string, string) float64) []row {
			var rows []row
			for _, size := range []int{2000, 5000} {
				name := fmt.Sprintf("BenchmarkIndexing/put=%d", size)
				rows = append(rows, row{what: fmt.Sprintf("Elasticsearch: %d events a Put", size), measured: fmt.Sprintf("%.0f events/s", get(name, "events/s")),
					peer: fmt.Sprintf("bare bulk load %.0f documents/s", get(name, "bare/s")), ratio: get(name, "ratio"), goal: 0.9, unit: "x"})
			}
			return rows
		}},
	} {
		rs, err := b.goBench(m.pkg, m.pattern, m.args...)
		if err != nil {
			return err
		}
		var missing error
		rows := m.rows(func(name, unit string) float64 {
			v, err := rs.get(name, unit)
			if err != nil {
				missing = fmt.Errorf("%s: %w", m.pkg, err)
			}
			return v
		})
		if missing != nil {
			return missing
		}
		b.rows = append(b.rows, rows...)
	}
	return nil
}
