package pdf

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/summary"
)

func sample(hops int) *trace.Trace {
	at := time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	t := &trace.Trace{Seed: "10.0.0.0", Title: "one reached another", From: at, To: at.Add(time.Hour), Origin: addr(0), Target: addr(hops)}
	for i := range hops {
		t.Path = append(t.Path, trace.Hop{From: addr(i), To: addr(i + 1), Port: 22, Protocol: "ssh", Start: at, End: at, Confidence: 0.8, Role: "access",
			Reasons: []trace.Reason{{Message: trace.Message{Text: strings.Repeat("because of this ", 20)}, Weight: 1.5}, {Message: trace.Message{Text: "设备名：变电站一号控制器"}, Weight: -0.5}}})
		t.Nodes = append(t.Nodes, trace.Node{Address: addr(i), Name: "变电站", Role: "stepping-stone"})
	}
	t.Nodes = append(t.Nodes, trace.Node{Address: addr(hops), Role: "target", Name: "emoji 🚨 龘"})
	for i := range 150 {
		t.Steps = append(t.Steps, trace.Step{Time: at, Text: fmt.Sprintf("step %d %s", i, strings.Repeat("x", i*7)), Severity: i%100 + 1})
	}
	return t
}

func document(t *testing.T, tr *trace.Trace, l summary.Language) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, tr, l, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSameTraceSameBytes(t *testing.T) {
	for _, l := range summary.Languages() {
		first := document(t, sample(3), l)
		for range 5 {
			if !bytes.Equal(first, document(t, sample(3), l)) {
				t.Fatalf("%s: two documents of one trace differ", l)
			}
		}
	}
}

// TestTextIsThere reads documents with pypdf, which make test installs: no
// character may have vanished for want of a glyph.
func TestTextIsThere(t *testing.T) {
	python := os.Getenv("TOCSIN_PYTHON")
	if python == "" {
		t.Skip("TOCSIN_PYTHON is not set; make test sets it")
	}
	for l, want := range map[summary.Language][]string{
		summary.English: {"one reached another", "10.0.0.12", "by ssh, port 22", "because of this", "变电站一号控制器", `emoji \u{1F6A8} \u{9F98}`, "step 149", "page 2 of"},
		summary.Chinese: {"攻击溯源报告", "经由", "10.0.0.12", "协议 ssh，端口 22", "置信度", "跳板", "变电站", "第 2 页"},
	} {
		path := filepath.Join(t.TempDir(), "trace.pdf")
		if err := os.WriteFile(path, document(t, sample(12), l), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(python, "-c", `
import sys, pypdf
sys.stdout.reconfigure(encoding="utf-8")
for page in pypdf.PdfReader(sys.argv[1]).pages: print(page.extract_text())
`, path).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		flat := strings.Join(strings.Fields(string(out)), " ")
		for _, w := range want {
			if !strings.Contains(flat, w) && !strings.Contains(strings.ReplaceAll(flat, " ", ""), strings.ReplaceAll(w, " ", "")) {
				t.Errorf("%s: the document lacks %q", l, w)
			}
		}
	}
}

// TestLinesFit breaks texts of all kinds: no line is wider than asked, and
// nothing is lost.
func TestLinesFit(t *testing.T) {
	p, err := open(summary.English, "", "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "a", strings.Repeat("word ", 60), strings.Repeat("x", 500), strings.Repeat("变电站，", 50), "2001:db8:1234:5678:9abc:def0:1234:5678 → 2001:db8::1",
		strings.Repeat("混合 mixed 文字 text/", 30),
	} {
		s = p.clean(s)
		var back strings.Builder
		for _, l := range p.lines(s, normal, 90) {
			w := 0.0
			for _, r := range l {
				w += p.width(r) * normal
			}
			if w > 90+normal { // a stop may stand beyond the edge
				t.Errorf("%q is %.0f wide", l, w)
			}
			back.WriteString(l)
		}
		if strings.ReplaceAll(back.String(), " ", "") != strings.ReplaceAll(s, " ", "") {
			t.Errorf("%q became %q", s, back.String())
		}
	}
}

// TestFontHasAllWords keeps the catalogue within the font.
func TestFontHasAllWords(t *testing.T) {
	p, err := open(summary.Chinese, "", "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range summary.Words() {
		for _, w := range words {
			if w != p.clean(w) {
				t.Errorf("the font cannot write %q: %q", w, p.clean(w))
			}
		}
	}
}
