package ssh

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

// cases are connections whose outcome is known, since we made them.
func cases(t testing.TB) (cases []prototest.Case) {
	for _, name := range []string{
		"password_right", "password_wrong", "password_right_ctr_sha2", "password_wrong_ctr_sha1",
		"key_right", "key_wrong", "challenge_right", "challenge_wrong",
		"guessing_refused", "guessing_accepted", "methods_only",
	} {
		c := prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt")}
		c.Sealed = firstSealed(t, c.Pieces)
		cases = append(cases, c)
	}
	// Where lengths are in the clear, the bytes may come in any portions.
	for _, name := range []string{"password_right_etm", "password_wrong_gcm"} {
		cases = append(cases, prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt")})
	}
	cases[0].Allocs = 70
	return cases
}

// firstSealed finds the first piece after the client's NEWKEYS message.
func firstSealed(t testing.TB, ps []prototest.Piece) int {
	for i, x := range ps {
		if len(x.Data) == 16 && x.Dir == proto.Orig && x.Data[5] == msgNewKeys {
			return i + 1
		}
	}
	t.Fatal("no NEWKEYS of its own")
	return 0
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// What the recordings were of; the golden files say the same at more length.
func TestOutcome(t *testing.T) {
	attempts := map[string]int64{"guessing_refused": 6, "guessing_accepted": 3, "methods_only": 0}
	for _, c := range cases(t) {
		want, n := "unknown", int64(1)
		switch {
		case strings.Contains(c.Name, "right"), strings.Contains(c.Name, "accepted"):
			want = "success"
		case strings.Contains(c.Name, "wrong"), strings.Contains(c.Name, "refused"):
			want = "failure"
		}
		if x, ok := attempts[c.Name]; ok {
			n = x
		}
		text, err := os.ReadFile("testdata/" + c.Name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		schema, err := event.NewSchema(Protocol.Fields)
		if err != nil {
			t.Fatal(err)
		}
		var e event.Event
		if err := schema.Decode([]byte(strings.TrimSpace(string(text))), &e); err != nil {
			t.Fatal(c.Name, err)
		}
		got, _ := e.Get("tocsin.ssh.auth.attempts").Int()
		if o := e.Get("event.outcome").Str(); o != want || got != n {
			t.Errorf("%s: %s after %d attempts, want %s after %d", c.Name, o, got, want, n)
		}
	}
}

// The published fingerprints are of algorithm lists that stand beside them.
func TestCorpusHASSH(t *testing.T) {
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		t.Skip("TOCSIN_CORPUS is not set")
	}
	f, err := os.Open(filepath.Join(corpus, "hassh", "hassh_fingerprints.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		lists := strings.Split(row[7], ";")
		if len(lists) != 4 {
			t.Fatalf("%q: %d lists", row[7], len(lists))
		}
		k := kexInit{kex: lists[0], cipher: [2]string{lists[1]}, mac: [2]string{lists[2]}, compression: [2]string{lists[3]}}
		if got := k.hassh(clientToServer); got != row[5] {
			t.Errorf("%s: %s, want %s", row[4], got, row[5])
		}
	}
	t.Logf("%d fingerprints", len(rows)-1)
}
