package embedded

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
	"github.com/tocsin/tocsin/store/storetest"
)

func mustOpen(t *testing.T, dir string, mode Mode) *Store {
	t.Helper()
	s, err := Open(dir, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func refused(t *testing.T, dir string, mode Mode, want string) {
	t.Helper()
	s, err := Open(dir, mode)
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
		t.Errorf("want an error that names the directory and says %q, have %v", want, err)
	}
}

func found(t *testing.T, s *Store, q store.Query) int {
	t.Helper()
	n := 0
	for _, err := range s.Search(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestOpenRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a?b%20#c")
	refused(t, dir, ReadOnly, "no store here")
	s := mustOpen(t, dir, ReadWrite)
	refused(t, dir, ReadWrite, "another process writes to it")
	if _, err := s.write.Exec("PRAGMA user_version=99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	refused(t, dir, ReadWrite, "has format 99")
	refused(t, dir, ReadOnly, "has format 99")

	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, fileName), bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, other, ReadWrite, "is not a store of Tocsin")
	refused(t, other, ReadOnly, "is not a store of Tocsin")

	foreign := t.TempDir()
	db, err := sql.Open("sqlite3", filepath.Join(foreign, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE x (y)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	refused(t, foreign, ReadWrite, "is not a store of Tocsin")

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, file, ReadWrite, "not a directory")
}

func TestReadOnlyBesideWriter(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, dir, ReadWrite)
	es := storetest.NewGenerator(1).Events(200)
	if err := w.Put(t.Context(), es[:100], nil); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, dir, ReadOnly)
	if n := found(t, r, store.Query{}); n != 100 {
		t.Errorf("found %d", n)
	}
	if err := w.Put(t.Context(), es[100:], nil); err != nil {
		t.Fatal(err)
	}
	if n := found(t, r, store.Query{}); n != 200 {
		t.Errorf("found %d", n)
	}
	if err := r.Put(t.Context(), es, nil); err == nil || !strings.Contains(err.Error(), "only to read") {
		t.Errorf("put: %v", err)
	}
	// What a writer that was killed leaves behind.
	left := t.TempDir()
	for _, name := range []string{fileName, fileName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := found(t, mustOpen(t, left, ReadOnly), store.Query{}); n != 200 {
		t.Errorf("after the writer was killed: found %d", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := found(t, mustOpen(t, dir, ReadOnly), store.Query{}); n != 200 {
		t.Errorf("without the writer: found %d", n)
	}
	if err := w.Put(t.Context(), es, nil); err == nil {
		t.Error("put into a closed store")
	}
	if _, err := w.Get(t.Context(), es[0].ID); err == nil {
		t.Error("get from a closed store")
	}
}

// SQLite itself says that the disk is full when the file may not grow.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, ReadWrite)
	g := storetest.NewGenerator(2)
	if err := s.Put(t.Context(), g.Events(500), nil); err != nil {
		t.Fatal(err)
	}
	var pages int
	if err := s.write.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.Exec(fmt.Sprintf("PRAGMA max_page_count=%d", pages+10)); err != nil {
		t.Fatal(err)
	}
	late := g.Events(3000)
	err := s.Put(t.Context(), late, nil)
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("put: %v", err)
	}
	if n := found(t, s, store.Query{}); n != 500 {
		t.Errorf("found %d", n)
	}
	if _, err := s.write.Exec("PRAGMA max_page_count=1000000"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), late, nil); err != nil {
		t.Errorf("after space was made: %v", err)
	}
	if n := found(t, s, store.Query{}); n != 3500 {
		t.Errorf("found %d", n)
	}
}

// A damaged block is named, and what does not need it is still found.
func TestDamagedBlock(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, ReadWrite)
	g := storetest.NewGenerator(3)
	es := g.Events(2000)
	for i := 0; i < len(es); i += 500 {
		if err := s.Put(t.Context(), es[i:i+500], nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.write.Exec(`UPDATE data SET events = substr(events, 1, 100) || x'00ff00ff' || substr(events, 105) WHERE id = (SELECT max(id) FROM data)`); err != nil {
		t.Fatal(err)
	}
	s.blocks.Purge()
	var last error
	for _, err := range s.Search(t.Context(), store.Query{}) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "damaged") || !strings.Contains(last.Error(), "row ") || !strings.Contains(last.Error(), dir) {
		t.Errorf("search: %v", last)
	}
	if n := found(t, s, store.Query{To: es[1000].Time}); n < 900 {
		t.Errorf("found %d of what is before", n)
	}
	if _, err := s.Get(t.Context(), es[0].ID); err != nil {
		t.Error(err)
	}
}

// Expire gives the space back to the disk.
func TestSpaceIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, ReadWrite)
	g := storetest.NewGenerator(4)
	for range 20 {
		if err := s.Put(t.Context(), g.Events(1000), nil); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		if _, err := s.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, fileName))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	if n, err := s.Expire(context.Background(), storetest.Start.Add(24*time.Hour)); err != nil || n != 20000 {
		t.Fatalf("expire: %d %v", n, err)
	}
	if after := size(); after > before/4 {
		t.Errorf("%d bytes before, %d after", before, after)
	}
}

// Values, drawn at random, to any depth.
func values(depth int) *rapid.Generator[event.Value] {
	kinds := []*rapid.Generator[event.Value]{
		rapid.Map(rapid.String(), event.Str),
		rapid.Map(rapid.Int64(), event.Int),
		rapid.Map(rapid.Uint64(), event.Uint),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), event.Float),
		rapid.Map(rapid.Bool(), event.Bool),
		rapid.Map(rapid.Int64(), func(n int64) event.Value { return event.Time(time.Unix(0, n)) }),
		rapid.Map(addrs(), event.IP),
	}
	if depth > 0 {
		kinds = append(kinds,
			rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[event.Value] { return values(depth - 1) }), 0, 4), func(vs []event.Value) event.Value { return event.List(vs...) }),
			rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[event.Value] { return values(depth - 1) }), 1, 3), func(vs []event.Value) event.Value {
				fs := make([]event.Field, len(vs))
				for i, v := range vs {
					fs[i] = event.Field{Name: fmt.Sprintf("f%d", i), Value: v}
				}
				return event.Object(fs...)
			}))
	}
	return rapid.OneOf(kinds...)
}

func addrs() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
		switch rapid.IntRange(0, 2).Draw(t, "family") {
		case 0:
			return netip.AddrFrom4([4]byte(b))
		case 1:
			return netip.AddrFrom16(netip.AddrFrom4([4]byte(b)).As16()) // mapped
		}
		return netip.AddrFrom16([16]byte(b))
	})
}

func events() *rapid.Generator[event.Event] {
	return rapid.Custom(func(t *rapid.T) event.Event {
		at := time.Unix(0, rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "time")).UTC()
		e := event.Event{ID: event.FirstID(at), Time: at, Kind: event.Kind(rapid.SampledFrom([]string{"flow", "dns", "x"}).Draw(t, "kind")), Sensor: rapid.String().Draw(t, "sensor")}
		copy(e.ID[6:], rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "id"))
		f := &e.Flow
		for _, p := range []*event.Endpoint{&f.Src, &f.Dst} {
			if rapid.Bool().Draw(t, "address") {
				p.IP = addrs().Draw(t, "ip")
			}
			p.Port = rapid.Uint16().Draw(t, "port")
			p.MAC = event.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
			p.Packets, p.Bytes, p.Payload = rapid.Uint64().Draw(t, "packets"), rapid.Uint64().Draw(t, "bytes"), rapid.Uint64().Draw(t, "payload")
		}
		f.Transport, f.VLAN, f.InnerVLAN = rapid.Byte().Draw(t, "transport"), rapid.Uint16().Draw(t, "vlan"), rapid.Uint16().Draw(t, "inner")
		f.CommunityID = rapid.SampledFrom([]string{"", "1:odd", "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", "1:LQU9qZlK+B5F3KDmev6m5PMibrh=", "2:LQU9qZlK+B5F3KDmev6m5PMibrg="}).Draw(t, "community")
		if rapid.Bool().Draw(t, "start") {
			f.Start, f.End = at.Add(-time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "before"))), at.Add(time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "after")))
		}
		f.Service, f.State, f.History, f.EndReason = rapid.String().Draw(t, "service"), "SF", rapid.String().Draw(t, "history"), "fin"
		for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
			e.Fields = append(e.Fields, event.Field{Name: fmt.Sprintf("a.f%d", i), Value: values(3).Draw(t, "value")})
		}
		return e
	})
}

// A block gives back what was put into it, value by value and as JSON, and
// what its filter holds is found.
func TestBlockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		es := rapid.SliceOfN(events(), 1, 5).Draw(t, "events")
		slices.SortFunc(es, func(a, b event.Event) int { return a.ID.Compare(b.ID) })
		var w writer
		w.reset()
		for i := range es {
			w.add(&es[i])
		}
		ids, err := parseIDs(appendIDs(nil, w.ids))
		if err != nil || !slices.Equal(ids, w.ids) {
			t.Fatalf("was %v, is %v: %v", w.ids, ids, err)
		}
		b, err := parseBlock(w.append(nil), ids)
		if err != nil {
			t.Fatal(err)
		}
		f := makeFilter(w.keys)
		for i := range es {
			var got event.Event
			b.event(i, &got, allParts)
			own(&got)
			if x, y := es[i].AppendJSON(nil), got.AppendJSON(nil); !bytes.Equal(x, y) {
				t.Fatalf("was %s\nis  %s", x, y)
			}
			if es[i].Flow.Src != got.Flow.Src || es[i].Flow.CommunityID != got.Flow.CommunityID || !es[i].Flow.Start.Equal(got.Flow.Start) || !es[i].Flow.End.Equal(got.Flow.End) {
				t.Fatalf("was %+v\nis  %+v", es[i].Flow, got.Flow)
			}
			for j, x := range es[i].Fields {
				if !x.Value.Equal(got.Fields[j].Value) {
					t.Fatalf("%s: was %v, is %v", x.Name, x.Value, got.Fields[j].Value)
				}
				if x.Value.Type() == event.TypeString && !f.has(hashText(hashName(x.Name), x.Value.Str())) {
					t.Fatalf("%s: %q is not in the filter", x.Name, x.Value.Str())
				}
			}
		}
	})
}

// What an exact test of rows says is what the matcher says.
func TestRowTestsAgreeWithMatch(t *testing.T) {
	g := storetest.NewGenerator(6)
	es := g.Events(300)
	var w writer
	w.reset()
	for i := range es {
		w.add(&es[i])
	}
	b, err := parseBlock(w.append(nil), w.ids)
	if err != nil {
		t.Fatal(err)
	}
	exacts := 0
	for range 3000 {
		n := g.Where(es, 2)
		test, exact := rowTests(n)
		if test == nil {
			continue
		}
		if exact {
			exacts++
		}
		row, match := test(b), query.Compile(n)
		for i := range es {
			if want := match(&es[i]); row(i) != want && (exact || want) {
				t.Fatalf("%s: row %d: %v, exact %v\n%s", query.String(n), i, row(i), exact, es[i].AppendJSON(nil))
			}
		}
	}
	if exacts < 100 {
		t.Errorf("only %d queries were answered by columns", exacts)
	}
}

// A block that was changed behind the back of its checksum is an error or
// gives wrong events, and nothing worse.
func FuzzBlock(f *testing.F) {
	g := storetest.NewGenerator(7)
	var w writer
	w.reset()
	for range 20 {
		e := g.Event()
		w.add(&e)
	}
	f.Add(w.append(nil), appendIDs(nil, w.ids[:1]), 20)
	f.Fuzz(func(t *testing.T, raw, rawIDs []byte, n int) {
		parseIDs(rawIDs)
		b, err := parseBlock(raw, make([]event.ID, min(max(n, 0), 100)))
		if err != nil {
			return
		}
		var e event.Event
		for i := range b.ids {
			b.event(i, &e, allParts)
			own(&e)
		}
	})
}
