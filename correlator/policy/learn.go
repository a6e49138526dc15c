package policy

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// maxSeen bounds how many different acts a Learner remembers; more are counted.
const maxSeen = 200_000

// Learner proposes a policy that allows what it was shown, in few lines. It
// proposes once, of all that it saw: nobody is asked a thousand times.
type Learner struct {
	seen        map[deed]*habit
	assets      map[netip.Addr]string // names that enrichment gave them
	acts, extra int
	first, last time.Time
}

// deed is what somebody does to a device, without its objects.
type deed struct {
	src, dst            netip.Addr
	unit                int64
	hasUnit             bool
	protocol, operation string
	code                int64
}

// habit is how a deed is done.
type habit struct {
	count       int
	first, last time.Time
	longest     time.Duration // between two
	objects     map[string][]Objects
	values      *Range
	executed    int // of count
	direct      int // of executed, without selection
}

// Add learns from an event. Events come in the order of their times; others
// than industrial ones are passed over.
func (l *Learner) Add(e *event.Event) {
	a, ok := actOf(e)
	if !ok {
		return
	}
	if l.acts == 0 || a.at.Before(l.first) {
		l.first = a.at
	}
	if a.at.After(l.last) {
		l.last = a.at
	}
	l.acts++
	k := deed{a.src, a.dst, a.unit, a.hasUnit, a.protocol, a.operation, a.code}
	h := l.seen[k]
	if h == nil {
		if len(l.seen) >= maxSeen {
			l.extra++
			return
		}
		if l.seen == nil {
			l.seen = map[deed]*habit{}
		}
		k.protocol, k.operation = strings.Clone(k.protocol), strings.Clone(k.operation) // the event is borrowed
		h = &habit{first: a.at, last: a.at, objects: map[string][]Objects{}}
		l.seen[k] = h
	}
	l.name(a.src, e, sourceName)
	l.name(a.dst, e, destinationName)
	h.count++
	if a.executed {
		h.executed++
		if !a.selected {
			h.direct++
		}
	}
	h.longest = max(h.longest, a.at.Sub(h.last))
	h.last = a.at
	for _, o := range a.objects {
		objects, values := object(o)
		objects.Type = strings.Clone(objects.Type)
		h.objects[objects.Type] = insert(h.objects[objects.Type], objects)
		if !changes(a.operation) {
			continue
		}
		for _, v := range values {
			n, ok := v.Float()
			switch {
			case !ok:
			case h.values == nil:
				h.values = &Range{n, n}
			default:
				h.values.From, h.values.To = min(h.values.From, n), max(h.values.To, n)
			}
		}
	}
}

var (
	sourceName      = event.Resolve("tocsin.source.name")
	destinationName = event.Resolve("tocsin.destination.name")
)

func (l *Learner) name(a netip.Addr, e *event.Event, ref event.Ref) {
	v, ok := e.Lookup(ref)
	if !ok || l.assets[a] == v.Str() {
		return
	}
	if l.assets == nil {
		l.assets = map[netip.Addr]string{}
	}
	l.assets[a] = strings.Clone(v.Str())
}

// insert adds objects to a sorted list of those of a type, joined where they
// touch.
func insert(list []Objects, o Objects) []Objects {
	i, _ := slices.BinarySearchFunc(list, o, func(a, b Objects) int { return cmp.Compare(a.From, b.From) })
	for i > 0 && list[i-1].To >= o.From-1 {
		i--
	}
	j := i
	for j < len(list) && list[j].From <= o.To+1 {
		o.From, o.To = min(o.From, list[j].From), max(o.To, list[j].To)
		j++
	}
	return slices.Replace(list, i, j, o)
}

// regular is how often a habit is done, if it is done all the time; else 0.
func (h *habit) regular(from, to time.Time) time.Duration {
	const least = 30
	if h.count < least {
		return 0
	}
	mean := h.last.Sub(h.first) / time.Duration(h.count-1)
	if h.longest > max(5*mean, 5*time.Second) || h.first.Sub(from) > 10*max(mean, time.Minute) || to.Sub(h.last) > 10*max(mean, time.Minute) {
		return 0
	}
	return max(mean.Round(time.Second), time.Second)
}

// line is a grant in the making: all who do the same to all of the same.
type line struct {
	who, to   []string
	protocol  string
	operation string
	codes     []int64
	objects   []string
	values    *Range
	every     time.Duration
	executed  int
	direct    int
	count     int
	last      time.Time
}

// Acts is how many industrial events were learned from.
func (l *Learner) Acts() int { return l.acts }

// Propose writes a policy that allows what was seen, and nothing else. The text
// is the same for the same events.
func (l *Learner) Propose(w io.Writer) error {
	names := l.names()
	// Of each pair and operation one line.
	type pair struct {
		src, dst            string
		protocol, operation string
	}
	lines := map[pair]*line{}
	objects := map[pair]map[string][]Objects{}
	for k, h := range l.seen {
		p := pair{names.talkers[k.src], names.devices[deviceOf(k)], k.protocol, k.operation}
		x := lines[p]
		if x == nil {
			x = &line{who: []string{p.src}, to: []string{p.dst}, protocol: k.protocol, operation: k.operation}
			lines[p], objects[p] = x, map[string][]Objects{}
		}
		x.codes = append(x.codes, k.code)
		x.count += h.count
		x.executed += h.executed
		x.direct += h.direct
		if h.last.After(x.last) {
			x.last = h.last
		}
		for t, os := range h.objects {
			for _, o := range os {
				objects[p][t] = insert(objects[p][t], o)
			}
		}
		if h.values != nil {
			if x.values == nil {
				x.values = &Range{h.values.From, h.values.To}
			}
			x.values.From, x.values.To = min(x.values.From, h.values.From), max(x.values.To, h.values.To)
		}
		if every := h.regular(l.first, l.last); every > 0 && (x.every == 0 || every < x.every) {
			x.every = every
		}
	}
	var all []*line
	for p, x := range lines {
		slices.Sort(x.codes)
		x.codes = slices.Compact(x.codes)
		for _, t := range slices.Sorted(maps.Keys(objects[p])) {
			for _, o := range objects[p][t] {
				x.objects = append(x.objects, o.String())
			}
		}
		all = append(all, x)
	}
	// Who does the same to several devices, and who else does the same.
	all = join(all, func(x *line) string { return fmt.Sprint(x.who, x.what()) }, func(x, y *line) { x.to = union(x.to, y.to) })
	all = join(all, func(x *line) string { return fmt.Sprint(x.to, x.what()) }, func(x, y *line) { x.who = union(x.who, y.who) })
	return l.write(w, names, all)
}

// what is all of a line but who and to.
func (x *line) what() string {
	values := ""
	if x.values != nil {
		values = fmt.Sprint(*x.values)
	}
	return fmt.Sprint(x.protocol, x.operation, x.codes, x.objects, values, x.every, x.selects())
}

// selects reports whether what was executed was always selected before.
func (x *line) selects() bool { return x.executed > 0 && x.direct == 0 }

// join makes one line of those with the same key, in a fixed order.
func join(lines []*line, key func(*line) string, add func(x, y *line)) []*line {
	slices.SortFunc(lines, func(x, y *line) int {
		return cmp.Or(cmp.Compare(x.what(), y.what()), slices.Compare(x.who, y.who), slices.Compare(x.to, y.to))
	})
	at := map[string]*line{}
	var joined []*line
	for _, y := range lines {
		k := key(y)
		x := at[k]
		if x == nil {
			at[k] = y
			joined = append(joined, y)
			continue
		}
		add(x, y)
		x.count += y.count
		if y.last.After(x.last) {
			x.last = y.last
		}
	}
	return joined
}

func union(a, b []string) []string {
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

// machine is a device as it was seen: an address and a unit.
type machine struct {
	addr    netip.Addr
	unit    int64
	hasUnit bool
}

func deviceOf(k deed) machine { return machine{k.dst, k.unit, k.hasUnit} }

// naming is how the proposal calls what was seen.
type naming struct {
	talkers map[netip.Addr]string
	devices map[machine]string
}

var notName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// names gives every talker and device a name: its asset's, or one made of its
// address. Addresses of one asset have one name. A device's units have names of
// their own if it has several.
func (l *Learner) names() naming {
	n := naming{map[netip.Addr]string{}, map[machine]string{}}
	name := func(prefix string, a netip.Addr) string {
		if s := notName.ReplaceAllString(l.assets[a], "-"); s != "" {
			return s
		}
		return prefix + notName.ReplaceAllString(a.String(), "-")
	}
	units := map[string][]int64{} // by the name of the machine
	for k := range l.seen {
		if k.hasUnit {
			base := name("device-", k.dst)
			if !slices.Contains(units[base], k.unit) {
				units[base] = append(units[base], k.unit)
			}
		}
	}
	devices := map[string]bool{}
	for k := range l.seen {
		base := name("device-", k.dst)
		if k.hasUnit && len(units[base]) > 1 {
			base += "-unit-" + strconv.FormatInt(k.unit, 10)
		}
		n.devices[deviceOf(k)] = base
		devices[base] = true
	}
	for k := range l.seen {
		t := name("host-", k.src)
		if devices[t] {
			t += "-as-talker" // a gateway is both
		}
		n.talkers[k.src] = t
	}
	return n
}

func (l *Learner) write(w io.Writer, n naming, lines []*line) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed from %d industrial events, %s to %s.\n", l.acts, l.first.UTC().Format(time.RFC3339), l.last.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "# It allows exactly what was seen. Read it line by line: what should not be is to be taken out, and names,\n# ranges and times are to be made those that you mean. Then keep it, and give it with --policy.\n")
	if l.extra > 0 {
		fmt.Fprintf(&b, "# %d events were too many different things to be remembered and are not in it.\n", l.extra)
	}
	b.WriteString("devices:\n")
	type where struct {
		addrs []netip.Addr
		units []int64
	}
	machines := map[string]*where{}
	for m, name := range n.devices {
		x := machines[name]
		if x == nil {
			x = &where{}
			machines[name] = x
		}
		x.addrs = append(x.addrs, m.addr)
		if m.hasUnit {
			x.units = append(x.units, m.unit)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(machines)) {
		x := machines[name]
		fmt.Fprintf(&b, "  - {name: %s, addresses: %s", quote(name), flow(texts(x.addrs)))
		slices.Sort(x.units)
		if x.units = slices.Compact(x.units); len(x.units) > 0 {
			fmt.Fprintf(&b, ", units: %s", flow(numbers(x.units)))
		}
		b.WriteString("}\n")
	}
	b.WriteString("talkers:\n")
	talkers := map[string][]netip.Addr{}
	for a, name := range n.talkers {
		talkers[name] = append(talkers[name], a)
	}
	for _, name := range slices.Sorted(maps.Keys(talkers)) {
		fmt.Fprintf(&b, "  - {name: %s, addresses: %s}\n", quote(name), flow(texts(talkers[name])))
	}
	b.WriteString("allow:\n")
	slices.SortFunc(lines, func(x, y *line) int {
		return cmp.Or(slices.Compare(x.who, y.who), slices.Compare(x.to, y.to), cmp.Compare(x.protocol, y.protocol), cmp.Compare(x.operation, y.operation), cmp.Compare(x.what(), y.what()))
	})
	for _, x := range lines {
		fmt.Fprintf(&b, "  # %d times, last %s\n", x.count, x.last.UTC().Format(time.RFC3339))
		fmt.Fprintf(&b, "  - who: %s\n    to: %s\n    protocol: %s\n    operations: [%s]\n    functions: %s\n", flow(quoted(x.who)), flow(quoted(x.to)), x.protocol, x.operation, flow(numbers(x.codes)))
		if len(x.objects) > 0 {
			fmt.Fprintf(&b, "    objects: %s\n", flow(quoted(x.objects)))
		}
		if x.values != nil {
			fmt.Fprintf(&b, "    values: {from: %s, to: %s}\n", strconv.FormatFloat(x.values.From, 'g', -1, 64), strconv.FormatFloat(x.values.To, 'g', -1, 64))
		}
		if x.selects() {
			b.WriteString("    select: true\n")
		}
		if x.every > 0 {
			fmt.Fprintf(&b, "    every: %s\n", x.every)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func flow(items []string) string { return "[" + strings.Join(items, ", ") + "]" }

var plainScalar = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_. -]*[A-Za-z0-9]$`)

// quote writes a name so that YAML reads it back as text.
func quote(s string) string {
	if plainScalar.MatchString(s) && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off"}, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}

func quoted(ss []string) []string {
	qs := make([]string, len(ss))
	for i, s := range ss {
		qs[i] = quote(s)
	}
	return qs
}

func numbers(ns []int64) []string {
	ss := make([]string, len(ns))
	for i, n := range ns {
		ss[i] = strconv.FormatInt(n, 10)
	}
	return ss
}

func texts(as []netip.Addr) []string {
	slices.SortFunc(as, netip.Addr.Compare)
	ss := make([]string, 0, len(as))
	for _, a := range slices.Compact(as) {
		ss = append(ss, strconv.Quote(a.String()))
	}
	return ss
}
