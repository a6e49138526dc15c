package embedded

import (
	"net/netip"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store/query"
)

// A rowTest answers a query, or a part of it, from the columns of a block,
// without making events of its rows.
type rowTest func(*block) func(row int) bool

// rowTests makes a test that is true of every row that matches. If it is exact,
// it is true of no other. nil says nothing about rows.
func rowTests(n query.Node) (test rowTest, exact bool) {
	switch n := n.(type) {
	case nil:
		return nil, true
	case query.And:
		exact = true
		var tests []rowTest
		for _, x := range n {
			t, whole := rowTests(x)
			exact = exact && whole
			if t != nil {
				tests = append(tests, t)
			}
		}
		return join(tests, false), exact
	case query.Or:
		exact = true
		var tests []rowTest
		for _, x := range n {
			t, whole := rowTests(x)
			if t == nil {
				return nil, false
			}
			exact = exact && whole
			tests = append(tests, t)
		}
		return join(tests, true), exact && len(tests) > 0
	case query.Not:
		t, whole := rowTests(n.Node)
		if t == nil || !whole {
			return nil, false
		}
		return func(b *block) func(int) bool {
			f := t(b)
			return func(i int) bool { return !f(i) }
		}, true
	case query.Compare:
		t := columnTest(n.Field, n)
		return t, t != nil
	case query.Exists:
		t := columnTest(n.Field, n)
		return t, t != nil
	}
	return nil, false
}

// join is true where any of the tests is, or where all are.
func join(tests []rowTest, any bool) rowTest {
	if len(tests) == 0 {
		return nil
	}
	return func(b *block) func(int) bool {
		fs := make([]func(int) bool, len(tests))
		for i, t := range tests {
			fs[i] = t(b)
		}
		return func(row int) bool {
			for _, f := range fs {
				if f(row) == any {
					return any
				}
			}
			return !any
		}
	}
}

// columnTest answers a comparison with a field that is one column: it is asked
// once for each value that the block holds.
func columnTest(field string, n query.Node) rowTest {
	match := query.Compile(n)
	text := func(c column, with func(e *event.Event, s string)) rowTest {
		return func(b *block) func(int) bool {
			v := b.col(c)
			known := make([]int8, len(b.strs)) // 0: not asked yet
			return func(i int) bool {
				at := v[i]
				if at >= uint64(len(known)) {
					return false
				}
				if known[at] == 0 {
					var e event.Event
					with(&e, b.strs[at])
					known[at] = -1
					if match(&e) {
						known[at] = 1
					}
				}
				return known[at] > 0
			}
		}
	}
	port := func(c column, with func(e *event.Event, p uint16)) rowTest {
		return func(b *block) func(int) bool {
			v, transport := b.col(c), b.col(colTransport)
			var e event.Event
			return func(i int) bool {
				e.Flow.Transport = uint8(transport[i])
				with(&e, uint16(v[i]))
				return match(&e)
			}
		}
	}
	switch {
	case ofKind(field):
		return text(colKind, func(e *event.Event, s string) { e.Kind = event.Kind(s) })
	case field == "observer.name":
		return text(colSensor, func(e *event.Event, s string) { e.Sensor = s })
	case field == "network.protocol":
		return text(colService, func(e *event.Event, s string) { e.Flow.Service = s })
	case field == "tocsin.flow.state":
		state := text(colState, func(e *event.Event, s string) { e.Kind, e.Flow.State = event.KindFlow, s })
		without := match(&event.Event{})
		return func(b *block) func(int) bool {
			f, kinds := state(b), b.col(colKind)
			return func(i int) bool {
				if at(b.strs, kinds[i]) != string(event.KindFlow) {
					return without
				}
				return f(i)
			}
		}
	case field == "source.port":
		return port(colSrcPort, func(e *event.Event, p uint16) { e.Flow.Src.Port = p })
	case field == "destination.port":
		return port(colDstPort, func(e *event.Event, p uint16) { e.Flow.Dst.Port = p })
	case field == "source.ip":
		return addressTest(colSrcIP, n, func(a netip.Addr) bool {
			return match(&event.Event{Flow: event.Flow{Src: event.Endpoint{IP: a}}})
		})
	case field == "destination.ip":
		return addressTest(colDstIP, n, func(a netip.Addr) bool {
			return match(&event.Event{Flow: event.Flow{Dst: event.Endpoint{IP: a}}})
		})
	}
	return nil
}

func addressTest(c column, n query.Node, match func(netip.Addr) bool) rowTest {
	if x, ok := n.(query.Compare); ok && x.Op == query.Eq {
		// What is asked most, without an event in between. A prefix of IPv6
		// that holds the mapped IPv4 addresses is left to match.
		if p, ok := x.Value.Prefix(); ok && (p.Addr().Is4() || p.Bits() >= 96) {
			match = func(a netip.Addr) bool { return p.Contains(a.Unmap()) }
		}
	}
	return func(b *block) func(int) bool {
		v := b.col(c)
		known := make([]int8, len(b.addrs)+1)
		return func(i int) bool {
			n := v[i]
			if n >= uint64(len(known)) {
				return false
			}
			if known[n] == 0 {
				known[n] = -1
				var a netip.Addr
				if n > 0 {
					a = b.addrs[n-1]
				}
				if match(a) {
					known[n] = 1
				}
			}
			return known[n] > 0
		}
	}
}
