package merge_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/merge"
)

// list is a source of packets that are one letter each, from interfaces that
// appear with their first packet, ending with err.
type list struct {
	name    string
	packets []capture.Packet
	err     error
	at      int
	buf     []byte
	ifaces  []capture.Interface
	closed  bool
}

// source makes a list of words such as "1a" and "2b/1": the time in seconds,
// the content, and the interface.
func source(name string, err error, words string) *list {
	l := &list{name: name, err: err}
	for _, w := range strings.Fields(words) {
		var sec int64
		var data string
		var iface int
		w, i, _ := strings.Cut(w, "/")
		fmt.Sscanf(w, "%d%s", &sec, &data)
		fmt.Sscanf(i, "%d", &iface)
		l.packets = append(l.packets, capture.Packet{Time: time.Unix(sec, 0), Data: []byte(data), Iface: iface})
	}
	return l
}

func (l *list) Next(p *capture.Packet) error {
	if l.at == len(l.packets) {
		return l.err
	}
	*p = l.packets[l.at]
	l.buf = append(l.buf[:0], p.Data...) // valid only until the next call
	p.Data = l.buf
	l.at++
	for len(l.ifaces) <= p.Iface {
		l.ifaces = append(l.ifaces, capture.Interface{Sensor: l.name, Name: fmt.Sprint("eth", len(l.ifaces))})
	}
	return nil
}

// batches is a list whose packets come in batches.
type batches struct{ *list }

func (l batches) NextBatch(ps []capture.Packet) (n int, err error) {
	for n < min(3, len(ps)) {
		if err = l.Next(&ps[n]); err != nil {
			break
		}
		ps[n].Data = slices.Clone(ps[n].Data)
		n++
	}
	if n > 0 {
		err = nil // for the next call
	}
	return n, err
}

func (l *list) Interfaces() []capture.Interface { return l.ifaces }

func (l *list) Counters() capture.Counters {
	return capture.Counters{Received: uint64(l.at), Filtered: 1, Dropped: map[string]uint64{"kernel": 2}}
}

func (l *list) Close() error {
	l.closed = true
	return nil
}

func TestMerge(t *testing.T) {
	broken := errors.New("b: cut off")
	one := func(want string, wantErr error, in, out int, sources ...*list) {
		t.Helper()
		var all []capture.Source
		packets := 0
		for i, l := range sources {
			l.at, l.closed, l.ifaces = 0, false, nil
			if (i+in)%2 == 0 {
				all = append(all, l)
			} else {
				all = append(all, batches{l})
			}
			packets += len(l.packets)
		}
		s := merge.New(all...)
		var got []string
		var ps [5]capture.Packet
		n, err := s.NextBatch(ps[:out])
		for ; err == nil; n, err = s.NextBatch(ps[:out]) {
			for _, p := range ps[:n] {
				tap := s.Interfaces()[p.Iface]
				got = append(got, fmt.Sprintf("%d%s:%s.%s", p.Time.Unix(), p.Data, tap.Sensor, tap.Name))
			}
		}
		if strings.Join(got, " ") != want || !errors.Is(err, wantErr) {
			t.Errorf("got  %s, %v\nwant %s, %v", strings.Join(got, " "), err, want, wantErr)
		}
		if c := s.Counters(); c.Received != uint64(packets) || c.Filtered != uint64(len(all)) || c.Dropped["kernel"] != uint64(2*len(all)) {
			t.Errorf("Counters() = %+v", c)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if slices.ContainsFunc(sources, func(l *list) bool { return !l.closed }) {
			t.Error("a source is not closed")
		}
	}
	f := func(want string, wantErr error, sources ...*list) {
		t.Helper()
		for in := range 2 {
			for out := 1; out <= 5; out++ {
				one(want, wantErr, in, out, sources...)
			}
		}
	}
	f("", io.EOF)
	f("1x:a.eth0 2y:a.eth0", io.EOF, source("a", io.EOF, "1x 2y"))
	f("1x:a.eth0 2p:b.eth0 3y:a.eth0 4q:b.eth0", io.EOF, source("a", io.EOF, "1x 3y"), source("b", io.EOF, "2p 4q"))
	f("1x:a.eth0 1y:a.eth0 1p:b.eth0", io.EOF, source("a", io.EOF, "1x 1y"), source("b", io.EOF, "1p"))
	f("2p:b.eth0 3x:a.eth0 1y:a.eth0 4z:a.eth0 5q:b.eth0", io.EOF, source("a", io.EOF, "3x 1y 4z"), source("b", io.EOF, "2p 5q"))
	f("1x:a.eth1 2p:b.eth0 3y:a.eth0 4q:b.eth2", io.EOF, source("a", io.EOF, "1x/1 3y/0"), source("b", io.EOF, "2p 4q/2"))
	f("1x:a.eth0 2p:b.eth0 3y:a.eth0", broken, source("a", io.EOF, "1x 3y"), source("b", broken, "2p"), source("c", io.EOF, ""))
	other := errors.New("a: cut off")
	f("2p:b.eth0", other, source("a", other, ""), source("b", broken, "2p"))
	f("2p:b.eth0", broken, source("a", other, ""), source("b", broken, "2p"))
}

func TestMergeAllocates(t *testing.T) {
	a, b := source("a", io.EOF, ""), source("b", io.EOF, "")
	for i := range 1000 {
		a.packets = append(a.packets, capture.Packet{Time: time.Unix(int64(i), 0)})
		b.packets = append(b.packets, capture.Packet{Time: time.Unix(int64(i), 500)})
	}
	s := merge.New(a, b)
	var p capture.Packet
	if n := testing.AllocsPerRun(1500, func() {
		if err := s.Next(&p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
