package corpus

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/internal/golden"
)

// reason explains differences: of the cases and fields that match, n values.
type reason struct {
	id, field string // "*" stands for any text
	n         int
	why       string
}

const (
	listFile = "differences.tsv"
	listHead = "# case\tfield\tvalues\treason\n"

	agreementFile = "agreement.tsv"
	agreementHead = "oracle\tcases\tequal values\texplained differences\n"
)

func readReasons(t *testing.T) (list []reason) {
	text, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		cols := strings.Split(line, "\t")
		if len(cols) != 4 || cols[3] == "" {
			t.Fatalf("%s:%d: want case, field, values and reason with tabs between them", listFile, i+1)
		}
		n, err := strconv.Atoi(cols[2])
		if err != nil {
			t.Fatalf("%s:%d: values: %v", listFile, i+1, err)
		}
		list = append(list, reason{cols[0], cols[1], n, cols[3]})
	}
	return list
}

// checkCounts fails where an entry explains more or fewer values than it says,
// so that nothing new hides behind it. With -update the numbers are set, and
// entries that explain nothing go.
func checkCounts(t *testing.T, list []reason, found []int) {
	if golden.Updating() {
		text := listHead
		for i, e := range list {
			if found[i] > 0 {
				text += fmt.Sprintf("%s\t%s\t%d\t%s\n", e.id, e.field, found[i], e.why)
			}
		}
		golden.Check(t, listFile, []byte(text))
		return
	}
	for i, e := range list {
		switch {
		case found[i] == 0:
			t.Errorf("%s: %s %s explains nothing any more: take it out", listFile, e.id, e.field)
		case found[i] != e.n:
			t.Errorf("%s: %s %s explains %d values, not %d: look at them, then use -update", listFile, e.id, e.field, found[i], e.n)
		}
	}
}

// wild matches text with a pattern in which "*" stands for any text.
func wild(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for i, p := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(text, p)
		}
		at := strings.Index(text, p)
		if at < 0 {
			return false
		}
		text = text[at+len(p):]
	}
	return text == ""
}

// TestDocs sees to it that docs/DIFFERENCES.md says what the list says; make
// generate writes it.
func TestDocs(t *testing.T) {
	var page bytes.Buffer
	page.WriteString(`# Where we differ from other tools

<!-- Made from internal/corpus/differences.tsv by "make generate". -->

` + "`make corpus CORPUS=folder`" + ` reads captures that other tools have described and compares, value by value, what
Tocsin says of them: records of Zeek's conn.log with states, histories, packets and bytes; tshark's streams and counts of
DNS, HTTP, TLS, SSH and Modbus fields; sessions of Arkime and nDPI; community ids; JA3 and JA4. A difference is either
mended or stands here with its reason; the test fails on any other, and on one that is listed but no longer occurs.

`)
	agreement, err := os.ReadFile(agreementFile)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(agreement)), "\n") {
		fmt.Fprintf(&page, "| %s |\n", strings.ReplaceAll(line, "\t", " | "))
		if i == 0 {
			page.WriteString("|---|---:|---:|---:|\n")
		}
	}
	page.WriteString("\nIn the names of cases and fields, `*` stands for any text.\n\n")
	var reasons []string
	byReason := map[string][]reason{}
	for _, e := range readReasons(t) {
		if byReason[e.why] == nil {
			reasons = append(reasons, e.why)
		}
		byReason[e.why] = append(byReason[e.why], e)
	}
	for _, why := range reasons {
		fmt.Fprintf(&page, "## %s\n\n| case | field | values |\n|---|---|---:|\n", why)
		for _, e := range byReason[why] {
			fmt.Fprintf(&page, "| `%s` | `%s` | %d |\n", e.id, e.field, e.n)
		}
		page.WriteByte('\n')
	}
	golden.Check(t, "../../docs/DIFFERENCES.md", page.Bytes())
}
