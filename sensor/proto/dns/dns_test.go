package dns

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

func datagramCases(t testing.TB) (cases []prototest.Case) {
	for _, c := range []prototest.Case{
		{Name: "address", Recovers: true, Allocs: 3},
		{Name: "nobody"},
		{Name: "types", Recovers: true},
		{Name: "tunnel", Recovers: true},
		{Name: "odd"},
		{Name: "multicast", Recovers: true},
	} {
		c.Pieces = prototest.Load(t, "testdata/"+c.Name+".txt")
		cases = append(cases, c)
	}
	return cases
}

func TestDatagrams(t *testing.T) { prototest.Test(t, Protocol, datagramCases(t)...) }

func streamCases(t testing.TB) []prototest.Case {
	return []prototest.Case{
		{Name: "stream", Recovers: true, Pieces: prototest.Load(t, "testdata/stream.txt")},
		// Its second message has no question, and is not found after a gap.
		{Name: "transfer", Pieces: prototest.Load(t, "testdata/transfer.txt")},
	}
}

func TestStream(t *testing.T) { prototest.Test(t, Stream, streamCases(t)...) }

func FuzzDatagrams(f *testing.F) { prototest.Fuzz(f, Protocol, datagramCases(f)...) }

func FuzzStream(f *testing.F) { prototest.Fuzz(f, Stream, streamCases(f)...) }

func TestName(t *testing.T) {
	f := func(msg string, off int, want string, next int, wantErr error) {
		t.Helper()
		got, n, err := appendName(nil, []byte(msg), off)
		if !errors.Is(err, wantErr) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err == nil && (string(got) != want || n != next) {
			t.Errorf("%q, next %d; want %q, next %d", got, n, want, next)
		}
	}
	f("\x00", 0, ".", 1, nil)
	f("\x03WwW\x02eX\x00", 0, "www.ex", 8, nil)
	f("\x02ex\x00\x03www\xc0\x00!", 4, "www.ex", 10, nil)
	f("\x01a\xc0\x00", 0, "", 0, errPointer)    // to its own start
	f("\xc0\x02\xc0\x00", 2, "", 0, errPointer) // forwards, then around
	f("\xc0\x05\x00", 0, "", 0, errPointer)     // forwards
	f("\x05abc", 0, "", 0, errShort)            // label cut
	f("\x03abc", 0, "", 0, errShort)            // end cut
	f("\xc0", 0, "", 0, errShort)               // pointer cut
	f("\x41a\x00", 0, "", 0, errLabel)          // RFC 6891 gave up extended labels
	f("\x01.\x02\\ \x01\xe4\x00", 0, `\..\\\032.\228`, 8, nil)
	f(strings.Repeat("\x01a", 127)+"\x00", 0, strings.Repeat("a.", 126)+"a", 255, nil)
	f(strings.Repeat("\x01a", 128)+"\x00", 0, "", 0, errLong)
}

// Pointers are followed back only, but each may be one of many: a message
// made of nothing else is walked in bounded time.
func TestPointerChain(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("\x01a\x00")
	for i := range 100 {
		at := 0
		if i > 0 {
			at = 3 + 2*(i-1)
		}
		b.Write([]byte{0xc0 | byte(at>>8), byte(at)})
	}
	if _, _, err := appendName(nil, b.Bytes(), 3+2*(maxPointers-1)); err != nil {
		t.Errorf("%d pointers: %v", maxPointers, err)
	}
	if _, _, err := appendName(nil, b.Bytes(), 3+2*maxPointers); !errors.Is(err, errPointer) {
		t.Errorf("%d pointers: error %v", maxPointers+1, err)
	}
}

// Of more questions than may wait, the oldest is reported to make room.
func TestManyWaiting(t *testing.T) {
	p := Protocol.New()
	var ids []string
	out := proto.NewOut(new(event.Arena), func(_ time.Time, fields []event.Field) {
		e := event.Event{Fields: fields}
		ids = append(ids, e.Get("dns.id").Str())
		if answered, _ := e.Get("tocsin.dns.answered").Bool(); answered {
			t.Error("answered")
		}
	})
	now := time.Unix(1700000000, 0)
	for i := range maxWaiting + 3 {
		q := fmt.Sprintf("\x00%c\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01", i)
		if _, err := p.Parse(proto.Orig, []byte(q), now.Add(time.Duration(i)*time.Millisecond), out); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(ids, " "); got != "0 1 2" {
		t.Errorf("reported %s, want the oldest three", got)
	}
	p.End(out)
	if len(ids) != maxWaiting+3 {
		t.Errorf("%d events for %d questions", len(ids), maxWaiting+3)
	}
}

func TestProbe(t *testing.T) {
	netbios := "\x12\x34\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00\x20" + strings.Repeat("CA", 16) + "\x00\x00\x20\x00\x01"
	if v := Protocol.Probe(proto.Orig, []byte(netbios)); v != proto.No {
		t.Errorf("NetBIOS name service: verdict %d", v)
	}
	for _, c := range datagramCases(t) {
		if v := Stream.Probe(proto.Orig, c.Pieces[0].Data); v == proto.Yes {
			t.Errorf("%s: a datagram is taken for a stream", c.Name)
		}
	}
	long := "\xff\xff\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"
	if v := Stream.Probe(proto.Orig, []byte(long)); v != proto.Yes {
		t.Errorf("start of a longest message: verdict %d", v)
	}
}

// The longest message that the length can say fits the contract's bound.
func TestLongestMessage(t *testing.T) {
	head := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"
	msg := append([]byte("\xff\xff"+head), make([]byte, 65535-len(head))...)
	p := Stream.New()
	n, err := p.Parse(proto.Orig, msg[:len(msg)-1], time.Unix(0, 0), nil)
	if err != nil || len(msg)-n > proto.MaxPending {
		t.Fatalf("used %d, %v", n, err)
	}
	var anomaly string
	if n, err = p.Parse(proto.Orig, msg[n:], time.Unix(0, 0), nil); n != 65535 || err != nil {
		t.Fatalf("used %d, %v", n, err)
	}
	p.End(proto.NewOut(new(event.Arena), func(_ time.Time, fields []event.Field) {
		e := event.Event{Fields: fields}
		anomaly = e.Get("tocsin.protocol.anomaly").String()
	}))
	if anomaly != `["trailing_bytes"]` {
		t.Errorf("anomaly %s", anomaly)
	}
}

func TestEntropy(t *testing.T) {
	f := func(s string, want float64) {
		t.Helper()
		if got := entropy(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
	f("aaaa", 0)
	f("ab", 1)
	f("ab.cd", 2)
	f("0123456789abcdef", 4)
}
