package correlator

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// state is stage two: what rules remember of each group, over event time. What
// it reports is a function of the set of signals it was given, whatever their
// order, as long as each comes within Lateness of the latest event.
type state struct {
	cfg     Config
	horizon time.Duration
	groups  map[*Rule]map[string]*group
	dirty   []*group // to be judged and reported
	waiting map[*group]bool
	clock   time.Time               // time of the latest event of all
	judged  time.Time               // clock when waiting groups were last looked at
	swept   time.Time               // clock when old memory was last looked for
	forgot  time.Time               // clock when old memory was last given up
	begun   time.Time               // signals before this were never given; zero: all were
	ended   bool                    // nothing more comes
	extra   map[*Rule]time.Duration // how much longer a rule's signals serve the windows they released
	loss    map[string]map[time.Time]float64
	alerts  map[*Rule]uint64

	words  lexicon[string] // of groups that sleep
	places lexicon[event.Place]
	packed []byte // to use again

	evicted, truncated uint64
	kept               int
}

// A group is what is remembered of one rule and group key.
type group struct {
	rule   *Rule
	key    string
	asleep string // see state.sleep; empty while the group is awake
	*open         // nil while it is asleep
}

// open is what a group has that is awake.
type open struct {
	signals []*Signal // by time, id, part; no duplicates
	fired   []bool    // parallel to signals where they release others: Then was released
	judge   Judge
	lo, at  int       // signals[lo:at] are in the judge; those before at have asked
	closed  time.Time // windows of buckets before this are incomplete and ask no more
	buckets []*bucket // by start
	isDirty bool
}

// A bucket is an alert in the making.
type bucket struct {
	start time.Time
	id    event.ID // of the alert
	next  int      // signals before this index are counted or have lost their turn
	alert alertDraft
	over  time.Time // latest signal beyond MaxSignals
	sent  *event.Alert
}

type alertDraft struct {
	count    uint64
	seen     map[event.ID]bool  // made when events come from several windows
	taken    map[*group]*Signal // of each of those windows, the latest signal counted
	first    *Note
	explain  []event.Explain // of the window, when it first held
	from, to time.Time
	last     event.ID // of the event counted last
	evidence []event.ID
	sources  []netip.Addr
	targets  []netip.Addr
	hosts    []string
	users    []string
	sensors  []string
	places   []event.Place
}

func newState(cfg Config, rules []*Rule) *state {
	s := &state{
		cfg:     cfg,
		groups:  map[*Rule]map[string]*group{},
		waiting: map[*group]bool{},
		extra:   map[*Rule]time.Duration{},
		loss:    map[string]map[time.Time]float64{},
		alerts:  map[*Rule]uint64{},
	}
	s.horizon = horizon(rules) + cfg.Lateness + judging
	return s
}

// horizon is the longest that a rule looks back.
func horizon(rules []*Rule) (longest time.Duration) {
	// A family's signals may release one another, one window behind the other.
	families := map[string]time.Duration{}
	for _, r := range rules {
		length := r.span() + r.bucket()
		if r.Family != "" {
			families[r.Family] += length
			length = families[r.Family]
		}
		longest = max(longest, length)
	}
	return longest
}

// keep gives up what is remembered of other rules.
func (s *state) keep(rules []*Rule) {
	s.horizon = horizon(rules) + s.cfg.Lateness + judging
	stays := map[*Rule]bool{}
	for _, r := range rules {
		stays[r] = true
	}
	gone := map[*group]bool{}
	for r, groups := range s.groups {
		if stays[r] {
			continue
		}
		for _, g := range groups {
			gone[g] = true
			s.kept -= g.size()
		}
		delete(s.groups, r)
		delete(s.extra, r)
	}
	maps.DeleteFunc(s.waiting, func(g *group, _ bool) bool { return gone[g] })
	s.dirty = slices.DeleteFunc(s.dirty, func(g *group) bool { return gone[g] })
	maps.DeleteFunc(s.alerts, func(r *Rule, _ uint64) bool { return !stays[r] })
}

func (r *Rule) span() time.Duration {
	if r.Window == nil {
		return 0
	}
	return r.Window.Span
}

func (r *Rule) bucket() time.Duration {
	if r.Bucket > 0 {
		return r.Bucket
	}
	return max(defaultBucket, r.span())
}

func compareSignals(a, b *Signal) int {
	return cmp.Or(a.Time.Compare(b.Time), a.ID.Compare(b.ID), cmp.Compare(a.Part, b.Part))
}

// resume goes on where another state ended, of which it has nothing.
func (s *state) resume(clock time.Time) {
	s.clock, s.swept, s.judged = clock, clock, clock
	s.begun = clock.Add(-s.horizon)
}

// add remembers a signal; one that is remembered changes nothing.
func (s *state) add(sig *Signal) {
	groups := s.groups[sig.Rule]
	if groups == nil {
		groups = map[string]*group{}
		s.groups[sig.Rule] = groups
	}
	g := groups[sig.Group]
	if g == nil {
		g = &group{rule: sig.Rule, key: sig.Group, open: new(open)}
		if w := sig.Rule.Window; w != nil && w.Final {
			// A part of a window must not be judged as the whole.
			g.closed = s.complete(sig.Rule)
		}
		groups[sig.Group] = g
	}
	s.wake(g)
	i := len(g.signals)
	if i > 0 && compareSignals(g.signals[i-1], sig) >= 0 {
		var found bool
		if i, found = g.find(sig); found {
			return
		}
	}
	start := sig.Time.Truncate(g.rule.bucket())
	if len(g.signals) >= s.cfg.MaxSignals {
		from, to := g.within(start, start.Add(g.rule.bucket()))
		if to-from >= s.cfg.MaxSignals {
			s.truncated++
			b := g.bucket(start)
			if i == to {
				b.over = latest(b.over, sig.Time)
				s.touch(g)
				return
			}
			b.over = latest(b.over, g.signals[to-1].Time)
			s.drop(g, to-1)
		}
	}
	own := *sig
	g.signals = slices.Insert(g.signals, i, &own)
	g.fired = slices.Insert(g.fired, i, false)
	s.kept++
	if i < g.at {
		s.restart(g)
	}
	s.touch(g)
}

// drop forgets one signal and, if it has released others, those.
func (s *state) drop(g *group, i int) {
	if g.fired[i] {
		for j := range g.signals[i].Then {
			s.remove(&g.signals[i].Then[j])
		}
	}
	if i < g.at {
		s.restart(g)
	}
	g.signals = slices.Delete(g.signals, i, i+1)
	g.fired = slices.Delete(g.fired, i, i+1)
	s.kept--
}

func (s *state) remove(sig *Signal) {
	g := s.groups[sig.Rule][sig.Group]
	if g == nil {
		return
	}
	s.wake(g)
	if i, found := g.find(sig); found {
		s.drop(g, i)
		s.touch(g)
	}
}

func (s *state) touch(g *group) {
	if !g.isDirty {
		g.isDirty = true
		s.dirty = append(s.dirty, g)
	}
}

func (g *group) find(sig *Signal) (int, bool) {
	return slices.BinarySearchFunc(g.signals, sig, compareSignals)
}

// within returns the range of signals in [from, to).
func (g *group) within(from, to time.Time) (int, int) {
	at := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(g.signals, t, func(x *Signal, t time.Time) int {
			if x.Time.Before(t) {
				return -1
			}
			return 1
		})
		return i
	}
	return at(from), at(to)
}

func (g *group) bucket(start time.Time) *bucket {
	i, found := slices.BinarySearchFunc(g.buckets, start, func(b *bucket, t time.Time) int { return b.start.Compare(t) })
	if !found {
		g.buckets = slices.Insert(g.buckets, i, &bucket{start: start})
	}
	return g.buckets[i]
}

// restart forgets what was concluded: a signal has come or gone in the midst of
// those that have asked. Alerts that took events from its windows are begun
// again, too.
func (s *state) restart(g *group) {
	g.judge, g.lo, g.at = nil, 0, 0
	for _, b := range g.buckets {
		b.next, b.alert = 0, alertDraft{}
	}
	for i, fired := range g.fired {
		if !fired {
			continue
		}
		for j := range g.signals[i].Then {
			next := &g.signals[i].Then[j]
			if up := s.groups[next.Rule][next.Group]; up != nil {
				s.wake(up)
				s.touch(up)
				if up.at > 0 {
					s.restart(up)
				}
			}
		}
	}
}

// judgeGroup lets every signal ask that has not asked yet.
func (s *state) judgeGroup(g *group) {
	r := g.rule
	if r.Window == nil {
		for ; g.at < len(g.signals); g.at++ {
			sig := g.signals[g.at]
			g.bucket(sig.Time.Truncate(r.bucket())).alert.absorb(sig)
			s.release(g, g.at, true)
		}
		return
	}
	if g.judge == nil {
		g.judge, g.lo, g.at = r.Window.New(), 0, 0
	}
	ripe := s.clock.Add(-s.cfg.Lateness)
	for ; g.at < len(g.signals); g.at++ {
		sig := g.signals[g.at]
		if r.Window.Final && !s.ended && !sig.Time.Before(ripe) {
			s.waiting[g] = true
			return
		}
		g.judge.Add(sig)
		for edge := sig.Time.Add(-r.Window.Span); !g.signals[g.lo].Time.After(edge); g.lo++ {
			g.judge.Remove(g.signals[g.lo])
		}
		start := sig.Time.Truncate(r.bucket())
		if start.Before(g.closed) {
			continue
		}
		holds := g.judge.Holds()
		s.release(g, g.at, holds)
		if !holds || r.Silent {
			continue
		}
		b := g.bucket(start)
		if b.alert.count == 0 {
			b.alert.explain = []event.Explain{g.judge.Explain()}
		}
		if chosen, ok := g.judge.(Selector); ok {
			for i := g.lo; i <= g.at; i++ {
				if chosen.Takes(g.signals[i]) {
					b.alert.choose(g.signals[i])
				}
			}
			continue
		}
		for i := max(b.next, g.lo); i <= g.at; i++ {
			b.alert.absorb(g.signals[i])
		}
		b.next = g.at + 1
	}
	delete(s.waiting, g)
}

// release gives a signal's followers to their rules, or takes them back.
func (s *state) release(g *group, i int, holds bool) {
	sig := g.signals[i]
	if len(sig.Then) == 0 || g.fired[i] == holds {
		return
	}
	g.fired[i] = holds
	for j := range sig.Then {
		if holds {
			next := sig.Then[j]
			next.from = g
			r := next.Rule
			s.extra[g.rule] = max(s.extra[g.rule], r.span()+r.bucket()+s.extra[r])
			s.add(&next)
		} else {
			s.remove(&sig.Then[j])
		}
	}
}

// absorb counts a signal, later than all before it.
func (d *alertDraft) absorb(sig *Signal) {
	if d.count == 0 {
		d.from, d.first = sig.Time, sig.Note
	}
	d.to = latest(d.to, sig.Time)
	if sig.from != nil && d.seen == nil {
		d.seen, d.taken = map[event.ID]bool{}, map[*group]*Signal{}
	}
	d.take(sig)
}

// choose counts a signal that may have been counted before.
func (d *alertDraft) choose(sig *Signal) {
	if d.seen == nil {
		d.seen, d.taken = map[event.ID]bool{}, map[*group]*Signal{}
	}
	if !d.seen[sig.ID] {
		d.absorb(sig)
	}
}

// take counts the signal's event, and those of the window that released it.
func (d *alertDraft) take(sig *Signal) {
	switch {
	case d.seen != nil:
		if !d.seen[sig.ID] {
			d.seen[sig.ID] = true
			d.count++
		}
	case d.count == 0 || d.last != sig.ID:
		// An event that matched several parts of a correlation counts once;
		// its signals are neighbours.
		d.count++
	}
	d.last = sig.ID
	if sig.Time.Before(d.from) {
		d.from = sig.Time
	}
	if g := sig.from; g != nil {
		// Windows overlap: go on where the one before ended.
		i, end := g.within(sig.Time.Add(1-g.rule.span()), sig.Time.Add(1))
		if last := d.taken[g]; last != nil {
			j, found := g.find(last)
			if found {
				j++
			}
			i = max(i, j)
		}
		for ; i < end && (g.signals[i].Time.Before(sig.Time) || g.signals[i].ID.Compare(sig.ID) <= 0); i++ {
			d.take(g.signals[i])
		}
		if i > 0 {
			d.taken[g] = &Signal{Time: g.signals[i-1].Time, ID: g.signals[i-1].ID, Part: g.signals[i-1].Part}
		}
	}
	d.evidence = insertSorted(d.evidence, sig.ID, event.ID.Compare, event.MaxEvidence)
	if sig.Source.IsValid() {
		d.sources = insertSorted(d.sources, sig.Source, netip.Addr.Compare, event.MaxRelated)
	}
	if sig.Target.IsValid() {
		d.targets = insertSorted(d.targets, sig.Target, netip.Addr.Compare, event.MaxRelated)
	}
	if sig.Sensor != "" {
		d.sensors = insertSorted(d.sensors, sig.Sensor, cmp.Compare[string], event.MaxRelated)
	}
	if sig.Places != nil {
		d.places = event.UnionPlaces(d.places, sig.Places)
	}
	if sig.Note != nil {
		for _, h := range sig.Note.Hosts {
			d.hosts = insertSorted(d.hosts, h, cmp.Compare[string], event.MaxRelated)
		}
		for _, u := range sig.Note.Users {
			d.users = insertSorted(d.users, u, cmp.Compare[string], event.MaxRelated)
		}
	}
}

// insertSorted keeps the least limit values of those it was ever given.
func insertSorted[T any](list []T, x T, compare func(T, T) int, limit int) []T {
	i, found := slices.BinarySearchFunc(list, x, compare)
	switch {
	case found, i == limit:
		return list
	case len(list) == limit:
		list = list[:limit-1]
	}
	return slices.Insert(list, i, x)
}

// judging is how much event time passes between two looks at windows that wait
// until no signal of theirs is expected any more.
const judging = time.Minute

// report judges what has changed and returns the alerts that are new or different.
func (s *state) report() []event.Alert {
	if s.ended || s.clock.Sub(s.judged) >= judging {
		s.judged = s.clock
		for g := range s.waiting {
			s.touch(g)
		}
	}
	// Judging may release signals that make further groups dirty.
	for i := 0; i < len(s.dirty); i++ {
		g := s.dirty[i]
		g.isDirty = false
		s.judgeGroup(g)
	}
	var alerts []event.Alert
	done := map[*group]bool{}
	for _, g := range s.dirty {
		if done[g] || g.rule.Silent {
			continue
		}
		done[g] = true
		for _, b := range g.buckets {
			if b.alert.count == 0 {
				continue
			}
			a := s.alert(g, b)
			if b.sent != nil && sameReport(b.sent, &a) {
				continue
			}
			if b.sent == nil {
				s.alerts[g.rule]++
			}
			old := b.sent == nil && !s.begun.IsZero() && b.start.Before(s.begun.Add(g.rule.span()+g.rule.bucket()).Truncate(g.rule.bucket()))
			sent := cloneAlert(&a)
			b.sent = &sent
			if old || g.rule.Shadow {
				continue // not to be reported, or reported before the state began, and maybe of more
			}
			alerts = append(alerts, cloneAlert(&a))
		}
	}
	for _, g := range s.dirty {
		s.sleep(g)
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	s.sweep()
	return alerts
}

// sweep gives up memory that no event within Lateness can need, every Lateness
// of event time, and groups beyond MaxGroups.
func (s *state) sweep() {
	for _, groups := range s.groups {
		if len(groups) > s.cfg.MaxGroups {
			s.evict(slices.Collect(maps.Values(groups)), func() bool { return len(groups) <= s.cfg.MaxGroups*9/10 })
		}
	}
	if s.kept > s.cfg.MaxKept {
		var all []*group
		for _, groups := range s.groups {
			all = slices.AppendSeq(all, maps.Values(groups))
		}
		s.evict(all, func() bool { return s.kept <= s.cfg.MaxKept*9/10 })
	}
	if s.clock.Sub(s.swept) < s.cfg.Lateness {
		return
	}
	s.swept, s.forgot = s.clock, s.clock
	for rule, groups := range s.groups {
		closed := s.clock.Add(-s.cfg.Lateness).Truncate(rule.bucket())
		cut := closed.Add(-rule.span() - s.extra[rule])
		for key, g := range groups {
			if g.asleep != "" && g.last().After(cut) && g.first().After(cut) {
				continue
			}
			s.wake(g)
			n := 0
			for n < len(g.signals) && !g.signals[n].Time.After(cut) {
				n++
			}
			if rule.Window == nil { // whole buckets only
				n, _ = g.within(cut.Truncate(rule.bucket()), cut)
			}
			if n == len(g.signals) {
				s.kept -= n
				delete(groups, key)
				delete(s.waiting, g)
				continue
			}
			if n == 0 && (len(g.buckets) == 0 || !g.buckets[0].start.Before(closed)) {
				continue
			}
			for ; g.lo < min(n, g.at) && g.judge != nil; g.lo++ {
				g.judge.Remove(g.signals[g.lo])
			}
			g.signals = slices.Delete(g.signals, 0, n)
			g.fired = slices.Delete(g.fired, 0, n)
			g.lo, g.at = max(g.lo-n, 0), max(g.at-n, 0)
			g.closed = closed
			g.buckets = slices.DeleteFunc(g.buckets, func(b *bucket) bool { return b.start.Before(closed) })
			for _, b := range g.buckets {
				b.next = max(b.next-n, 0)
			}
			s.kept -= n
			s.sleep(g)
		}
	}
	for sensor, minutes := range s.loss {
		maps.DeleteFunc(minutes, func(m time.Time, _ float64) bool { return m.Before(s.clock.Add(-s.horizon)) })
		if len(minutes) == 0 {
			delete(s.loss, sensor)
		}
	}
}

// complete is the start of the earliest bucket of a rule of which a group that
// is not remembered has had no signals.
func (s *state) complete(r *Rule) time.Time {
	at := s.forgot
	if !at.IsZero() {
		at = at.Add(-s.cfg.Lateness).Truncate(r.bucket())
	}
	if !s.begun.IsZero() {
		at = latest(at, s.begun.Add(r.span()+r.bucket()).Truncate(r.bucket()))
	}
	return at
}

// evict gives up groups, those whose latest signal is oldest first, until there
// are few enough.
func (s *state) evict(groups []*group, enough func() bool) {
	// A flood from made-up addresses comes here with all groups, again and again.
	type aged struct {
		last time.Time
		*group
	}
	order := make([]aged, len(groups))
	for i, g := range groups {
		order[i] = aged{g.last(), g}
	}
	slices.SortFunc(order, func(a, b aged) int {
		if c := a.last.Compare(b.last); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.rule.ID, b.rule.ID), cmp.Compare(a.key, b.key))
	})
	for _, g := range order {
		if enough() {
			return
		}
		s.evicted++
		s.kept -= g.size()
		delete(s.groups[g.rule], g.key)
		delete(s.waiting, g.group)
	}
}

// alert says what is known of a bucket now. Its lists are still those of the draft.
func (s *state) alert(g *group, b *bucket) event.Alert {
	r, d := g.rule, &b.alert
	a := event.Alert{
		Rule: r.Rule, Severity: r.Severity, Message: r.Message, Group: g.key, Techniques: r.Techniques,
		Sources: d.sources, Targets: d.targets, Hosts: d.hosts, Users: d.users, Sensors: d.sensors, Places: d.places,
		Count: d.count, First: d.from, Last: latest(d.to, b.over), Evidence: d.evidence,
		Explain: d.explain,
	}
	if b.id.IsZero() {
		h := event.NewHasher()
		h.Str("alert")
		h.Str(r.ID)
		h.Str(g.key)
		h.Time(b.start)
		b.id = h.ID(b.start)
	}
	a.ID = b.id
	if n := d.first; n != nil {
		a.Message = cmp.Or(n.Message, a.Message)
		a.Severity = cmp.Or(n.Severity, a.Severity)
		a.Indicator = n.Indicator
		a.Explain = slices.Concat(d.explain, n.Explain)
	}
	a.Level = event.LevelOf(a.Severity)
	a.Message = sentence(&a)
	for _, sensor := range a.Sensors {
		for minute, share := range s.loss[sensor] {
			if !minute.After(a.Last) && minute.Add(time.Minute).After(a.First) {
				a.Loss = max(a.Loss, share)
			}
		}
	}
	return a
}

// sameReport reports whether two reports of an alert say the same.
func sameReport(a, b *event.Alert) bool {
	return a.Count == b.Count && a.Severity == b.Severity && a.Loss == b.Loss && a.Message == b.Message &&
		a.First.Equal(b.First) && a.Last.Equal(b.Last) && a.Indicator == b.Indicator &&
		slices.Equal(a.Evidence, b.Evidence) && slices.Equal(a.Explain, b.Explain) &&
		slices.Equal(a.Sources, b.Sources) && slices.Equal(a.Targets, b.Targets) &&
		slices.Equal(a.Hosts, b.Hosts) && slices.Equal(a.Users, b.Users) && slices.Equal(a.Sensors, b.Sensors) &&
		slices.Equal(a.Places, b.Places)
}

func cloneAlert(a *event.Alert) event.Alert {
	c := *a
	c.Sources, c.Targets = slices.Clone(a.Sources), slices.Clone(a.Targets)
	c.Hosts, c.Users, c.Sensors = slices.Clone(a.Hosts), slices.Clone(a.Users), slices.Clone(a.Sensors)
	c.Evidence = slices.Clone(a.Evidence)
	c.Explain = slices.Clone(a.Explain)
	return c
}

// sentence fills in what Rule.Message leaves open.
func sentence(a *event.Alert) string {
	number := func(n int) string {
		if n >= event.MaxRelated {
			return fmt.Sprintf("%d or more", n)
		}
		return strconv.Itoa(n)
	}
	name := func(as []netip.Addr) string {
		switch len(as) {
		case 0:
			return "an unknown address"
		case 1:
			return as[0].String()
		}
		return number(len(as)) + " addresses"
	}
	var b strings.Builder
	rest := a.Message
	for {
		open := strings.IndexByte(rest, '{')
		end := open + strings.IndexByte(rest[max(open, 0):], '}')
		if open < 0 || end < open {
			b.WriteString(rest)
			return b.String()
		}
		b.WriteString(rest[:open])
		switch word := rest[open+1 : end]; word {
		case "count":
			b.WriteString(strconv.FormatUint(a.Count, 10))
		case "sources":
			b.WriteString(number(len(a.Sources)))
		case "targets":
			b.WriteString(number(len(a.Targets)))
		case "source":
			b.WriteString(name(a.Sources))
		case "target":
			b.WriteString(name(a.Targets))
		default:
			b.WriteString(rest[open : end+1])
		}
		rest = rest[end+1:]
	}
}

// account takes what a sensor did not see in one minute. An alert carries the
// worst minute of those it spans, so that it is the same in whatever order
// ledgers come.
func (s *state) account(l *Loss) {
	minute := l.Minute
	minutes := s.loss[l.Sensor]
	if minutes == nil {
		minutes = map[time.Time]float64{}
		s.loss[l.Sensor] = minutes
	}
	minutes[minute] = max(minutes[minute], l.Share)
	for _, groups := range s.groups {
		for _, g := range groups {
			if g.asleep != "" {
				continue // nothing was reported
			}
			for _, b := range g.buckets {
				if b.sent != nil && !minute.After(b.sent.Last) && minute.Add(time.Minute).After(b.sent.First) {
					s.touch(g)
					break
				}
			}
		}
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
