package sigma

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/attack"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

// Options are what rules are compiled against.
type Options struct {
	// Schema has every field that events may carry.
	Schema *event.Schema
	// Kinds are the kinds of events that sensors make; nil: not checked.
	Kinds []event.Kind
	// Placeholders are the values of %name% in values with the modifier expand.
	Placeholders map[string][]string
	// Ruleset is rule.ruleset of the alerts. Default "sigma".
	Ruleset string
	// Tuning is what the site makes of the rules; nil: they are as they are.
	Tuning *Tuning
	// Previous is the set that this one takes the place of: rules that are the
	// same are the same to a correlator, which goes on with what it remembers.
	Previous *Set
	// Clock measures how long rules take, of one event in SampleEvery; nil: it is
	// not measured. What matches does not depend on it.
	Clock func() time.Time
}

// SampleEvery is how many events there are for each that the time is taken of.
const SampleEvery = 64

// Set is compiled rules. It does not change; Match may be called from several
// goroutines.
type Set struct {
	// Rules are those that compiled, with their sources, in the order given.
	Rules []*Rule
	// Warnings are about rules that compiled, but do not mean all that they say.
	Warnings []*Error

	rules  []*compiled  // those over single events
	looks  []*detection // what they look for
	alerts []*correlator.Rule
	index  *index
	pool   sync.Pool
	tuning *Tuning
	clock  func() time.Time
	spent  []atomic.Int64 // by rule: nanoseconds of the events that were timed
}

// adopt puts the correlator's rules of an earlier set in the place of those that
// are the same.
func (s *Set) adopt(old *Set) {
	known := map[string]*correlator.Rule{}
	for _, r := range old.all() {
		known[r.ID] = r
	}
	same := map[*correlator.Rule]*correlator.Rule{}
	for _, r := range s.all() {
		o := known[r.ID]
		if o != nil && o.Rule == r.Rule && o.Severity == r.Severity && o.Message == r.Message && o.Bucket == r.Bucket &&
			o.Silent == r.Silent && o.Shadow == r.Shadow && o.Family == r.Family && slices.Equal(o.Kinds, r.Kinds) &&
			(o.Window == nil) == (r.Window == nil) {
			same[r] = o
		}
	}
	var replace func(os []*output)
	replace = func(os []*output) {
		for _, o := range os {
			if r := same[o.rule]; r != nil {
				o.rule = r
			}
			replace(o.then)
		}
	}
	for _, c := range s.rules {
		replace(c.out)
	}
	for i, r := range s.alerts {
		if o := same[r]; o != nil {
			s.alerts[i] = o
		}
	}
}

// all returns every rule that a correlator may be told of.
func (s *Set) all() []*correlator.Rule {
	seen := map[*correlator.Rule]bool{}
	var out []*correlator.Rule
	var gather func(os []*output)
	gather = func(os []*output) {
		for _, o := range os {
			if !seen[o.rule] {
				seen[o.rule] = true
				out = append(out, o.rule)
			}
			gather(o.then)
		}
	}
	for _, c := range s.rules {
		gather(c.out)
	}
	for _, r := range s.alerts {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}

// State says whether a rule of the set is enabled or in the shadow.
func (s *Set) State(id string) State { return s.tuning.State(id) }

// Exceptions is how many exceptions the rule of an ID has.
func (s *Set) Exceptions(id string) int { return s.tuning.Exceptions(id) }

// Spent returns how long rules over single events took, by ID, as estimated of
// the events that were timed.
func (s *Set) Spent() map[string]time.Duration {
	m := map[string]time.Duration{}
	for i, r := range s.rules {
		if d := time.Duration(s.spent[i].Load()) * SampleEvery; d > 0 {
			m[r.rule.ID] = d
		}
	}
	return m
}

// compiled is a rule over single events, ready to match.
type compiled struct {
	rule  *Rule
	tree  *node
	hash  string // of the rule's text and its filters'
	kinds []event.Kind
	out   []*output
}

// output is a rule that a match is a signal for: the rule itself, or a
// correlation that it takes part in.
type output struct {
	rule           *correlator.Rule
	part           int
	group          []groupField
	number         int  // of group and strict: outputs with the same number have the same group key
	strict         bool // an event without one of the group's fields takes no part
	value          []*field
	message        template
	source, target *field
	then           []*output
	shared         []groupField // of group: what all rules of the family group by
}

type groupField struct {
	name  string
	field *field
}

// Load parses and compiles the rules of all .yml and .yaml files in a tree.
func Load(fsys fs.FS, opt Options) (*Set, []*Error) {
	rules, errs := ParseFS(fsys)
	set, more := Compile(rules, opt)
	return set, errorList(append(errs, more...)).sorted()
}

// ParseFS parses all .yml and .yaml files in a tree, in the order of their names,
// but for tuning files.
func ParseFS(fsys fs.FS) ([]*Rule, []*Error) {
	var rules []*Rule
	var errs errorList
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			errs.add(name, 0, "", "%v", reason(err))
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if ext := path.Ext(name); d.IsDir() || ext != ".yml" && ext != ".yaml" || path.Base(name) == TuningFile {
			return nil
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			errs.add(name, 0, "", "%v", reason(err))
			return nil
		}
		rs, es := Parse(name, data)
		rules, errs = append(rules, rs...), append(errs, es...)
		return nil
	})
	if err != nil {
		errs.add(".", 0, "", "%v", err)
	}
	return rules, errs
}

func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Compile compiles rules together: correlations find the rules they need among
// them. Rules with errors, and correlations that need them, are left out.
func Compile(rules []*Rule, opt Options) (*Set, []*Error) {
	opt.Ruleset = cmp.Or(opt.Ruleset, "sigma")
	b := &builder{opt: opt, set: &Set{}, named: map[string]*Rule{}, single: map[*Rule]*compiled{}, compilers: map[*Rule]*compiler{}, alerts: map[*Rule]*correlator.Rule{}}
	rules, filters := apart(rules)
	rules = b.tune(rules)
	b.names(rules)
	for _, r := range rules {
		if r.Correlation == nil {
			b.compileSingle(r)
		}
	}
	for _, f := range filters {
		b.filter(f, rules)
	}
	b.except()
	b.correlations(rules)
	b.families(rules)
	b.finish(rules)
	s := b.set
	s.Warnings = b.warnings.sorted()
	if opt.Previous != nil {
		s.adopt(opt.Previous)
	}
	s.tuning = opt.Tuning
	s.clock, s.spent = opt.Clock, make([]atomic.Int64, len(s.rules))
	var remembered int
	s.looks, remembered = detections(s.rules)
	s.index = newIndex(s.looks)
	groups := numberGroups(s.rules)
	s.pool.New = func() any {
		return &matcher{set: s, scratch: scratch{known: newMemory(remembered)}, woken: make([]uint32, len(s.looks)), groups: make([]knownGroup, groups)}
	}
	return s, b.errs.sorted()
}

// apart divides filters from the rules that they narrow.
func apart(all []*Rule) (rules, filters []*Rule) {
	for _, r := range all {
		if r.Filters != nil {
			filters = append(filters, r)
		} else {
			rules = append(rules, r)
		}
	}
	return rules, filters
}

type builder struct {
	opt       Options
	set       *Set
	errs      errorList
	warnings  errorList
	named     map[string]*Rule // by name and by ID
	single    map[*Rule]*compiled
	compilers map[*Rule]*compiler
	alerts    map[*Rule]*correlator.Rule // of correlations that are in order
	users     map[*Rule][]*Rule          // correlations in order that a rule takes part in
	namedBy   map[*Rule][]*Rule          // correlations that name a rule
	family    map[*Rule]*family          // of correlations over each other
}

func (b *builder) names(rules []*Rule) {
	for _, r := range rules {
		if r.ID == "" {
			r.ID = generatedID(r)
		}
		for _, n := range []string{r.ID, r.Name} {
			if n == "" {
				continue
			}
			if other := b.named[n]; other != nil {
				b.errs.add(r.File, r.Line, "id", "%s is taken by %s:%d; give one of them another", n, other.File, other.Line)
				continue
			}
			b.named[n] = r
		}
	}
}

func (b *builder) compileSingle(r *Rule) {
	if b.named[r.ID] != r {
		return
	}
	kinds, err := r.LogSource.kinds(b.opt.Kinds)
	if err != nil {
		b.errs.add(r.File, r.lines["logsource"], "logsource", "%v", err)
		return
	}
	c := &compiler{rule: r, schema: b.opt.Schema, kinds: kinds, placeholders: b.opt.Placeholders, errs: &b.errs, warnings: &b.warnings}
	if tree := c.compile(); tree != nil {
		b.single[r] = &compiled{rule: r, tree: tree, kinds: kinds, hash: r.Hash}
		b.compilers[r] = c
	}
}

// filter narrows the rules that a filter names: they are no longer to match
// what it describes. Where its condition is "not selection", as pySigma has it,
// rather than "selection", as the specification has it, the same is meant.
func (b *builder) filter(f *Rule, rules []*Rule) {
	for _, name := range f.Filters {
		targets := []*Rule{b.named[name]}
		if strings.EqualFold(name, "any") {
			targets = slices.DeleteFunc(slices.Clone(rules), func(r *Rule) bool { return b.single[r] == nil || !f.LogSource.covers(r.LogSource) })
		}
		for _, r := range targets {
			switch {
			case r == nil:
				b.errs.add(f.File, f.lines["filter.rules"], "filter.rules", "there is no rule with the name or id %s%s", name, didYouMean(name, b.allNames()))
			case r.Correlation != nil:
				b.errs.add(f.File, f.lines["filter.rules"], "filter.rules", "%s is a correlation: name the rules that it counts", name)
			case !f.LogSource.covers(r.LogSource):
				b.errs.add(f.File, f.lines["filter.rules"], "filter.rules", "%s is about %s, the filter about %s", name, r.LogSource, f.LogSource)
			case b.single[r] != nil:
				b.narrow(b.single[r], f, time.Time{})
			}
		}
	}
}

// narrow keeps a rule from matching what a filter describes, until it expires if
// it ever does.
func (b *builder) narrow(r *compiled, f *Rule, expires time.Time) {
	before := len(b.errs)
	c := &compiler{rule: f, schema: b.opt.Schema, kinds: r.kinds, placeholders: b.opt.Placeholders, errs: &b.errs, warnings: &b.warnings}
	tree := c.compile()
	if tree == nil {
		// One mistake is one error, however many rules the filter is for.
		for _, e := range b.errs[before:] {
			if slices.ContainsFunc(b.errs[:before], func(x *Error) bool { return *x == *e }) {
				b.errs = slices.DeleteFunc(b.errs, func(x *Error) bool { return x == e })
			}
		}
		return
	}
	if tree.op != opNot || !expires.IsZero() {
		tree = &node{op: opNot, kids: []*node{tree}}
	}
	if !expires.IsZero() {
		t := &test{kind: isBefore, before: expires}
		t.label = t.describe()
		tree.kids[0] = flat(&node{op: opAnd, kids: []*node{{op: opTest, test: t}, tree.kids[0]}})
	}
	r.tree = flat(&node{op: opAnd, kids: []*node{r.tree, tree}})
	sum := sha256.Sum256([]byte(r.hash + f.Hash))
	r.hash = hex.EncodeToString(sum[:])
}

// covers reports whether a filter for l is about a rule for r.
func (l LogSource) covers(r LogSource) bool {
	return (l.Product == "" || l.Product == r.Product) && (l.Category == "" || l.Category == r.Category) && (l.Service == "" || l.Service == r.Service)
}

func (b *builder) allNames() []string { return slices.Sorted(maps.Keys(b.named)) }

// correlations finds which correlations are in order: all of their rules are
// there and none needs itself.
func (b *builder) correlations(rules []*Rule) {
	b.users, b.namedBy = map[*Rule][]*Rule{}, map[*Rule][]*Rule{}
	const visiting = 1
	seen := map[*Rule]int{}
	var visit func(r *Rule) bool
	visit = func(r *Rule) bool {
		if r.Correlation == nil {
			return b.single[r] != nil
		}
		switch seen[r] {
		case visiting:
			b.errs.add(r.File, r.lines["correlation.rules"], "correlation.rules", "the rule needs itself")
			return false
		case 0:
			seen[r] = visiting
			ok := b.named[r.ID] == r
			for i, name := range r.Correlation.Rules {
				part := b.named[name]
				b.namedBy[part] = append(b.namedBy[part], r)
				switch {
				case part == nil:
					b.errs.add(r.File, r.lines["correlation.rules"], "correlation.rules", "there is no rule with the name or id %s%s", name, didYouMean(name, b.allNames()))
					ok = false
				case slices.Contains(r.Correlation.Rules[:i], name):
					b.errs.add(r.File, r.lines["correlation.rules"], "correlation.rules", "%s is given twice", name)
					ok = false
				case !visit(part):
					b.errs.add(r.File, r.lines["correlation.rules"], "correlation.rules", "%s (%s:%d) has errors", name, part.File, part.Line)
					ok = false
				}
			}
			if ok {
				b.alerts[r] = b.alertRule(r)
				b.alerts[r].Window = r.window()
				for _, name := range r.Correlation.Rules {
					b.users[b.named[name]] = append(b.users[b.named[name]], r)
				}
			}
			seen[r] = visiting + 1
		}
		return b.alerts[r] != nil
	}
	for _, r := range rules {
		if r.Correlation != nil {
			visit(r)
		}
	}
	for r, a := range b.alerts {
		a.Silent = b.quiet(r)
		// A correlation has changed when one of its rules has.
		h := sha256.New()
		h.Write([]byte(r.Hash))
		for _, name := range r.Correlation.Rules {
			h.Write([]byte(b.hash(b.named[name])))
		}
		a.Hash = hex.EncodeToString(h.Sum(nil))
	}
}

// hash is that of what a rule means: its text, and that of its filters.
func (b *builder) hash(r *Rule) string {
	if c := b.single[r]; c != nil {
		return c.hash
	}
	return r.Hash
}

// quiet reports whether a rule only serves correlations, be they in order or
// not: a failed login is no alert because a mistake is in the rule that counts them.
func (b *builder) quiet(r *Rule) bool {
	users := b.namedBy[r]
	return len(users) > 0 && !slices.ContainsFunc(users, func(u *Rule) bool { return u.Correlation.Generate })
}

// finish wires every single-event rule to the rules that it is a signal for.
func (b *builder) finish(rules []*Rule) {
	for _, r := range rules {
		c := b.single[r]
		if c == nil {
			continue
		}
		before := len(b.errs)
		if !b.quiet(r) {
			c.out = append(c.out, b.plain(r))
		}
		c.out = append(c.out, b.links(r, r, 0)...)
		if len(b.errs) == before {
			b.set.rules = append(b.set.rules, c)
		}
	}
	used := map[*correlator.Rule]bool{}
	var mark func(os []*output, kinds []event.Kind)
	mark = func(os []*output, kinds []event.Kind) {
		for _, o := range os {
			switch {
			case kinds == nil:
				o.rule.Kinds = nil
			case o.rule.Kinds != nil || !used[o.rule]:
				o.rule.Kinds = slices.Compact(slices.Sorted(slices.Values(slices.Concat(o.rule.Kinds, kinds))))
			}
			used[o.rule] = true
			mark(o.then, kinds)
		}
	}
	for _, c := range b.set.rules {
		mark(c.out, c.kinds)
		for _, o := range c.out {
			if o.rule.Window == nil {
				b.set.alerts = append(b.set.alerts, o.rule)
			}
		}
	}
	for _, r := range rules {
		if a := b.alerts[r]; a != nil && used[a] {
			b.set.alerts = append(b.set.alerts, a)
		}
		if c := b.single[r]; c != nil && slices.Contains(b.set.rules, c) || b.alerts[r] != nil && used[b.alerts[r]] {
			b.set.Rules = append(b.set.Rules, r)
		}
	}
}

// plain is the output of a rule for itself.
func (b *builder) plain(r *Rule) *output {
	c := b.compilers[r]
	o := &output{rule: b.alertRule(r)}
	by := r.GroupBy
	if r.tocsin["group-by"] == nil {
		by = []string{"source.ip", "destination.ip"}
	}
	for _, name := range by {
		f, err := c.resolve(name)
		if err != nil {
			b.custom(r, "group-by", err)
			continue
		}
		o.group = append(o.group, groupField{f.name, f})
	}
	b.sentence(o, r, c)
	return o
}

// links are the outputs of a rule over single events, base, for the
// correlations that r takes part in: base itself or a correlation of it.
func (b *builder) links(base, r *Rule, depth int) []*output {
	const most = 8
	c := b.compilers[base]
	var out []*output
	for _, u := range b.users[r] {
		if depth == most {
			b.errs.add(u.File, u.lines["correlation"], "correlation.rules", "correlations over correlations go %d deep at most", most)
			return nil
		}
		o := &output{rule: b.alerts[u], strict: true}
		for i, name := range u.Correlation.Rules {
			// An event that several rules match counts once, but correlations
			// that come true by the same event are different findings.
			if b.named[name] == r && (strings.HasPrefix(u.Correlation.Type, "temporal") || r.Correlation != nil) {
				o.part = i
			}
		}
		for _, name := range u.Correlation.GroupBy {
			f, err := c.resolve(alias(u, r, name))
			if err != nil {
				b.errs.add(u.File, u.lines["correlation.group-by"], "correlation.group-by", "of events of %s: %v", cmp.Or(r.Name, r.ID), err)
				continue
			}
			label := f.name
			if _, ok := u.Correlation.Aliases[name]; ok {
				label = name
			}
			o.group = append(o.group, groupField{label, f})
			if fam := b.family[u]; fam != nil && slices.Contains(fam.shared, name) {
				o.shared = append(o.shared, groupField{label, f})
			}
		}
		slices.SortFunc(o.shared, func(x, y groupField) int { return cmp.Compare(x.name, y.name) })
		o.shared = slices.CompactFunc(o.shared, func(x, y groupField) bool { return x.name == y.name })
		for _, name := range u.Correlation.Field {
			f, err := c.resolve(alias(u, r, name))
			if err != nil {
				b.errs.add(u.File, u.lines["correlation.condition"], "correlation.condition.field", "of events of %s: %v", cmp.Or(r.Name, r.ID), err)
				continue
			}
			o.value = append(o.value, f)
		}
		b.sentence(o, u, c)
		o.then = b.links(base, u, depth+1)
		out = append(out, o)
	}
	return out
}

// alias returns the field that a correlation's name means in events of a rule.
func alias(u, r *Rule, name string) string {
	rules, ok := u.Correlation.Aliases[name]
	if !ok {
		return name
	}
	return cmp.Or(rules[r.Name], rules[r.ID], name)
}

// sentence resolves message, source and target.
func (b *builder) sentence(o *output, r *Rule, c *compiler) {
	var err error
	if o.message, err = c.template(r.Message); err != nil {
		b.custom(r, "message", err)
	}
	for _, end := range []struct {
		key, name string
		at        **field
	}{{"source", r.Source, &o.source}, {"target", r.Target, &o.target}} {
		if end.name == "" {
			continue
		}
		f, err := c.resolve(end.name)
		if err == nil && f.doc.Type != event.IPType {
			err = fmt.Errorf("%s is of type %s, not an address", f.name, f.doc.Type)
		}
		if err != nil {
			b.custom(r, end.key, err)
		}
		*end.at = f
	}
}

func (b *builder) custom(r *Rule, key string, err error) {
	line := r.Line
	if n := r.tocsin[key]; n != nil {
		line = n.Line
	}
	e := &Error{r.File, line, "tocsin." + key, err.Error()}
	if !slices.ContainsFunc(b.errs, func(x *Error) bool { return *x == *e }) {
		b.errs = append(b.errs, e)
	}
}

var techniqueTag = regexp.MustCompile(`^attack\.(t\d{4}(\.\d{3})?)$`)

// severities are those of Sigma's levels, in the middle of event.LevelOf's ranges.
var severities = map[string]int{"informational": 10, "low": 30, "": 50, "medium": 50, "high": 70, "critical": 90}

// alertRule makes what stage two knows of a rule.
func (b *builder) alertRule(r *Rule) *correlator.Rule {
	a := &correlator.Rule{
		Rule:     event.Rule{ID: r.ID, Name: r.Title, Ruleset: b.opt.Ruleset, Version: cmp.Or(r.Modified, r.Date), Hash: b.hash(r)},
		Severity: severities[r.Level],
		Message:  r.Title + ": {source} → {target}",
		Bucket:   r.Bucket,
		Shadow:   b.opt.Tuning.State(r.ID) == Shadow,
	}
	for _, tag := range r.Tags {
		m := techniqueTag.FindStringSubmatch(strings.ToLower(tag))
		if m == nil {
			continue
		}
		t, ok := attack.Lookup(m[1])
		if !ok {
			b.errs.add(r.File, r.lines["tags"], "tags", "%s is no technique of ATT&CK %s", tag, attack.Version)
			continue
		}
		a.Techniques = append(a.Techniques, t)
	}
	return a
}

// window makes the condition of a correlation.
func (r *Rule) window() *correlator.Window {
	c := r.Correlation
	ops := map[string]window.Op{"gt": window.GT, "gte": window.GTE, "lt": window.LT, "lte": window.LTE, "eq": window.EQ, "neq": window.NEQ}
	var limits window.Limits
	for _, l := range c.Limits {
		limits = append(limits, window.Limit{Op: ops[l.Op], N: l.N})
	}
	what := strings.Join(c.Field, ", ")
	switch c.Type {
	case "value_count":
		return window.Distinct(what, c.Span, limits)
	case "value_sum":
		return window.Sum(what, c.Span, limits)
	case "value_avg":
		return window.Average(what, c.Span, limits)
	case "value_median":
		return window.Percentile(what, 50, c.Span, limits)
	case "value_percentile":
		if c.Percent == 0 {
			return window.Share(what, c.Span, limits)
		}
		return window.Percentile(what, c.Percent, c.Span, limits)
	case "temporal":
		if len(limits) == 0 {
			limits = window.AtLeast(len(c.Rules))
		}
		return window.Together(c.Rules, c.Span, limits)
	case "temporal_ordered":
		return window.Ordered(c.Rules, c.Span)
	}
	return window.Count("events", c.Span, limits)
}

// Detector returns the set as stage one of a correlator.
func (s *Set) Detector() correlator.Detector {
	d := correlator.Detector{Name: "sigma", Rules: s.alerts, Kinds: []event.Kind{}, Match: s.Match}
	for _, r := range s.rules {
		if r.kinds == nil {
			d.Kinds = nil
			break
		}
		for _, k := range r.kinds {
			if !slices.Contains(d.Kinds, k) {
				d.Kinds = append(d.Kinds, k)
			}
		}
	}
	return d
}

// numberGroups numbers the different ways in which rules group, and returns how
// many there are.
func numberGroups(rules []*compiled) int {
	numbers := map[string]int{}
	var number func(os []*output)
	number = func(os []*output) {
		for _, o := range os {
			key := strconv.FormatBool(o.strict)
			for _, g := range o.group {
				key += "\x00" + g.name + "\x01" + g.field.ref.Name() + "\x01" + g.field.path
			}
			n, ok := numbers[key]
			if !ok {
				n = len(numbers)
				numbers[key] = n
			}
			o.number = n
			number(o.then)
		}
	}
	for _, r := range rules {
		number(r.out)
	}
	return len(numbers)
}

// matcher is the memory of one Match.
type matcher struct {
	set     *Set
	scratch scratch
	woken   []uint32 // by detection: the round in which it was last woken
	round   uint32
	calls   []int32      // detections to be evaluated
	groups  []knownGroup // by output.number
}

// knownGroup is the group of the round's event.
type knownGroup struct {
	round uint32
	key   string
	ok    bool
}

// group writes the event's group, once however many rules group so.
func (m *matcher) group(o *output, e *event.Event) (string, bool) {
	g := &m.groups[o.number]
	if g.round != m.round {
		g.round = m.round
		g.key, g.ok = groupKey(o.group, e, o.strict)
	}
	return g.key, g.ok
}

func (m *matcher) call(rule int32) {
	if m.woken[rule] != m.round {
		m.woken[rule] = m.round
		m.calls = append(m.calls, rule)
	}
}

// Match emits a signal for every rule that the event matches.
func (s *Set) Match(e *event.Event, emit func(correlator.Signal)) {
	m := s.pool.Get().(*matcher)
	if m.round++; m.round == 0 { // after 4 billion events
		clear(m.woken)
		clear(m.groups)
		m.round = 1
	}
	m.scratch.known.next()
	m.calls = m.calls[:0]
	m.wake(e)
	timed := s.clock != nil && m.round%SampleEvery == 0
	for _, i := range m.calls {
		d := s.looks[i]
		var begun time.Time
		if timed {
			begun = s.clock()
		}
		if d.tree.holds(e, &m.scratch) {
			m.signal(d, e, emit)
		}
		if timed {
			took := int64(s.clock().Sub(begun)) / int64(len(d.rules))
			for _, r := range d.rules {
				s.spent[r].Add(took)
			}
		}
	}
	m.scratch.next()
	s.pool.Put(m)
}

// signal emits what a match of the detection is a signal for.
func (m *matcher) signal(d *detection, e *event.Event, emit func(correlator.Signal)) {
	note := &correlator.Note{Explain: d.tree.explain(e, &m.scratch, nil)}
	note.Hosts, note.Users = m.scratch.known.names(e)
	for _, r := range d.rules {
		for _, o := range m.set.rules[r].out {
			if sig, ok := m.output(o, e, note); ok {
				emit(sig)
			}
		}
	}
}

func (m *matcher) output(o *output, e *event.Event, note *correlator.Note) (correlator.Signal, bool) {
	group, ok := m.group(o, e)
	if !ok {
		return correlator.Signal{}, false
	}
	sig := correlator.Of(o.rule, group, e)
	sig.Part = o.part
	if len(o.shared) > 0 {
		sig.Shared, _ = groupKey(o.shared, e, o.strict)
	}
	sig.Note = note
	if o.message != nil {
		n := *note
		n.Message = o.message.render(e)
		sig.Note = &n
	}
	if o.source != nil {
		sig.Source = o.source.addr(e)
	}
	if o.target != nil {
		sig.Target = o.target.addr(e)
	}
	switch len(o.value) {
	case 0:
	case 1:
		sig.Value = o.value[0].all(e)
	default:
		// Several fields count together: a value of each.
		var texts []string
		for _, f := range o.value {
			texts = append(texts, f.all(e).String())
		}
		sig.Value = event.Str(strings.Join(texts, "\x1f"))
	}
	for _, t := range o.then {
		if next, ok := m.output(t, e, note); ok {
			sig.Then = append(sig.Then, next)
		}
	}
	return sig, true
}
