package corpus

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/golden"
)

// testCase is a line of cases.jsonl.
type testCase struct {
	ID, Pcap, Oracle, Command string
	OraclePath                string `json:"oracle_path"`
	Expect                    struct {
		Flows    json.RawMessage // []flow of Zeek, rows of tshark
		Logs     map[string]zeekLog
		Packets  uint64
		Tunnels  int               `json:"tunnelled"`
		Count    int               `json:"flow_count"`
		Counts   map[string]counts `json:"counts"`
		Sessions []arkimeSession   `json:"arkime_sessions"`
		NDPI     []ndpiFlow        `json:"ndpi_flows"`
		JA4      []map[string]any  `json:"ja4"`
	}
}

type zeekLog struct {
	Rows       int
	Method     counts
	StatusCode counts `json:"status_code"`
	Func       counts
	ServerName counts `json:"server_name"`
	Success    counts `json:"auth_success"`
}

type arkimeSession struct {
	Src, Dst     string
	Sport, Dport uint16
	Protocol     int    `json:"ipProtocol"`
	SrcPkts      uint64 `json:"src_pkts"`
	DstPkts      uint64 `json:"dst_pkts"`
	CommunityID  string `json:"community_id"`
	JA3, JA4     any
}

type ndpiFlow struct {
	Proto        string
	Src, Dst     string
	Sport, Dport uint16
	SrcPkts      uint64 `json:"src_pkts"`
	DstPkts      uint64 `json:"dst_pkts"`
	JA4          string
}

// difference is one value on which we and an oracle do not agree.
type difference struct {
	oracle, id, field string
	text              string
}

// report collects what was compared.
type report struct {
	cases, equal map[string]int
	differences  []difference
}

// compare notes whether two values of a case agree.
func (r *report) compare(oracle, id, field string, have, want any, what string) {
	h, w := fmt.Sprint(have), fmt.Sprint(want)
	if h == w {
		r.equal[oracle]++
		return
	}
	r.differences = append(r.differences, difference{oracle, id, field, fmt.Sprintf("%s: have %s, want %s", what, h, w)})
}

// TestCorpus compares every case of the corpus.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS names no corpus")
	}
	cases := load(t, corpus)
	began := time.Now()
	captures := map[string]*seen{}
	look := func(pcap string, checksums bool) *seen {
		key := fmt.Sprint(pcap, checksums)
		if captures[key] == nil {
			captures[key] = read(filepath.Join(corpus, pcap), checksums)
			if took := captures[key].took; took > limit/2 {
				t.Errorf("%s took %v", pcap, took)
			}
			if n := captures[key].panics; n > 0 {
				t.Errorf("%s: %d panics", pcap, n)
			}
		}
		return captures[key]
	}
	r := &report{cases: map[string]int{}, equal: map[string]int{}}
	for i := range cases {
		c := &cases[i]
		compareCase(r, c, corpus, look)
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d captures in %.1f s, %d MB", len(captures), time.Since(began).Seconds(), usage.Maxrss>>10)
	r.judge(t)
}

func load(t *testing.T, corpus string) (cases []testCase) {
	f, err := os.Open(filepath.Join(corpus, "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c testCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("cases.jsonl: %v: %.100s", err, lines.Bytes())
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", f.Name())
	}
	return cases
}

// oracles are the first words of a case's oracle, and how it is compared.
var oracles = []struct {
	name    string
	compare func(r *report, c *testCase, s *seen)
}{
	{"zeek", compareZeek},
	{"icsnpp", compareZeek},
	{"tshark", compareTshark},
	{"Arkime", compareArkime},
	{"nDPI", compareNDPI},
	{"FoxIO", compareJA4},
}

func compareCase(r *report, c *testCase, corpus string, look func(string, bool) *seen) {
	if strings.HasPrefix(c.Oracle, "community-id") {
		r.cases["community-id"]++
		compareCommunityID(r, c, corpus, look)
		return
	}
	for _, o := range oracles {
		if !strings.HasPrefix(c.Oracle, o.name) {
			continue
		}
		r.cases[o.name]++
		// Without -C, Zeek leaves out packets with wrong checksums.
		s := look(c.Pcap, c.Command != "" && !strings.Contains(c.Command, " -C"))
		o.compare(r, c, s)
		if _, ok := c.Expect.Logs["modbus_detailed.log"]; ok {
			compareModbusRows(r, o.name, c, s, corpus)
		}
		return
	}
	r.compare("?", c.ID, "oracle", "not known", c.Oracle, "oracle")
}

// judge sets the differences against the list of those that have a reason.
func (r *report) judge(t *testing.T) {
	list := readReasons(t)
	left := make([]int, len(list))
	explained := map[string]int{}
	var bad []difference
next:
	for _, d := range r.differences {
		for i, e := range list {
			if wild(e.id, d.id) && wild(e.field, d.field) {
				left[i]++
				explained[d.oracle]++
				continue next
			}
		}
		bad = append(bad, d)
	}
	names := make([]string, 0, len(r.cases))
	for o := range r.cases {
		names = append(names, o)
	}
	sort.Strings(names)
	table := agreementHead
	for _, o := range names {
		table += fmt.Sprintf("%s\t%d\t%d\t%d\n", o, r.cases[o], r.equal[o], explained[o])
	}
	t.Logf("%d unexplained\n%s", len(bad), table)
	golden.Check(t, agreementFile, []byte(table))
	slices.SortFunc(bad, func(a, b difference) int {
		return strings.Compare(a.id+"\t"+a.field+"\t"+a.text, b.id+"\t"+b.field+"\t"+b.text)
	})
	for _, d := range bad {
		t.Errorf("%s\t%s\t%s", d.id, d.field, d.text)
	}
	checkCounts(t, list, left)
}

// TestCorpusWorkers reads every capture with one worker and with four: the
// events are the same, byte by byte and in the same order.
func TestCorpusWorkers(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS names no corpus")
	}
	done := map[string]bool{}
	for _, c := range load(t, corpus) {
		if done[c.Pcap] || strings.HasSuffix(c.Pcap, "/") {
			continue
		}
		done[c.Pcap] = true
		path := filepath.Join(corpus, c.Pcap)
		one, four := digest(t, path, 1), digest(t, path, 4)
		if one != four {
			t.Errorf("%s: %d events with one worker, %d with four, or others", c.Pcap, one.n, four.n)
		}
	}
	t.Logf("%d captures", len(done))
}
