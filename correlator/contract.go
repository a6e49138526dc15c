package correlator

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Detector is stage one of detection: it looks at one event, without memory,
// and says which rules it is a signal for. Sigma rules, reputation and each
// behaviour are detectors. What has to be remembered is kept by stage two, as
// the rule's Window says, so no detector has state of its own.
type Detector struct {
	Name string
	// Rules are all the rules that Match may signal. Their IDs are unique
	// over all detectors.
	Rules []*Rule
	// Kinds are the kinds of events that Match wants to see; nil means all
	// but alerts and ledgers.
	Kinds []event.Kind
	// Match calls emit for every rule that e is a signal for. It is called by
	// several goroutines at once, must depend on nothing but e (and a
	// reputation snapshot), and should not allocate when nothing matches. e is
	// borrowed; the signal is kept, with the slices in it.
	Match func(e *event.Event, emit func(Signal))
}

// Enricher adds to an event what can be known from elsewhere: the asset, the
// zone, the country. It runs before detection, and what it adds is stored.
type Enricher struct {
	Name   string
	Fields []event.FieldDoc // every field that Enrich may set
	// Enrich sets fields of e. It is called by several goroutines at once and
	// must give the same fields for the same event and snapshot.
	Enrich func(e *event.Event)
}

// defaultBucket is the length of a rule's time buckets where the rule does not
// say: within one bucket, all that a rule finds about a group is one alert.
const defaultBucket = time.Hour

// Rule is what stage two and the alert need to know of a rule.
type Rule struct {
	event.Rule
	// Kinds are the kinds of events that the rule is about, for its ledger;
	// nil: all that its detector sees.
	Kinds      []event.Kind
	Severity   int // 1 to 100
	Techniques []event.Technique
	// Message is the alert's sentence where the signal's note has none. Both
	// may hold {count}, {sources} and {targets}, which become numbers, and
	// {source} and {target}, which become the address or, of several, their number.
	Message string
	// Bucket is the length of the time buckets; 0 is an hour, or Window's Span
	// where that is longer.
	Bucket time.Duration
	// Window says when the signals of a group are worth an alert; nil: each is.
	Window *Window
	// Silent says that the rule makes no alert: it only releases Signal.Then.
	Silent bool
	// Shadow says that the rule is judged and its alerts are counted, but not
	// reported: how it would be to have it.
	Shadow bool
	// Family is the same for all rules that release each other's signals, however
	// indirectly; empty for others.
	Family string
}

// Window is a condition over the signals of one group within a sliding span of
// event time. Each signal s asks it about the signals in (s.Time-Span, s.Time];
// where it holds, all of those, or what a Selector takes of them, belong to the
// alert of s's bucket.
type Window struct {
	Span time.Duration
	// New makes the judge that slides over the signals of one group.
	New func() Judge
	// Final says that more signals may make the condition false again, as in
	// "fewer than 3". Its alerts are reported only once their bucket is over
	// and no signal of it is expected any more, or at Flush.
	Final bool
}

// Judge holds the signals of one window: it is given signals in the order of
// (time, id, part) and loses the oldest in the same order. What it says may
// depend only on the signals it holds. Signals are borrowed and unchanging
// while held.
type Judge interface {
	Add(s *Signal)
	Remove(s *Signal)
	// Holds judges what is held, the last added being the signal that asks.
	Holds() bool
	// Explain says what Holds compared: predicate "count >= 10", value "12".
	Explain() event.Explain
}

// Selector is a Judge whose alerts are not of all that it holds, but of some:
// the rest is what these are compared with.
type Selector interface {
	Judge
	// Takes reports, when Holds does, whether a signal that is held belongs to
	// the alert.
	Takes(s *Signal) bool
}

// Signal says that an event matched a rule.
type Signal struct {
	Rule *Rule
	// Group is what the rule groups by, as "source.ip=192.0.2.1 user.name=x":
	// state is kept, and alerts are made, per rule and group.
	Group  string
	ID     event.ID  // of the event
	Time   time.Time // of the event
	Sensor string    // of the event
	Source netip.Addr
	Target netip.Addr
	Places []event.Place // of the event's addresses, where known; the Matcher sets it
	Part   int           // of a correlation, which of its rules matched
	Value  event.Value   // what the window's judge counts or adds up; a list is several
	Note   *Note         // nil if there is nothing to say
	// Then are signals that come to be when this one's window holds: of a
	// correlation over correlations. An alert of theirs takes its events from
	// that window, too.
	Then []Signal
	// Shared are the parts of Group that all rules of the rule's family group
	// by; empty without Family.
	Shared string

	from *group // whose window released it
}

// Home names the memory that a signal must come to: signals with the same Home
// to the same. It is the rule and group, or, of a family, what all of its rules
// group by, so that what one of them releases is at home there as well.
func (s *Signal) Home() string {
	if s.Rule.Family != "" {
		return s.Rule.Family + " " + s.Shared
	}
	return s.Rule.ID + " " + s.Group
}

// Note is what an alert says of a signal beyond its addresses. It may be shared
// by signals and does not change.
type Note struct {
	Message   string // see Rule.Message; the alert has that of its earliest signal
	Severity  int    // 0: the rule's; must be the same for all signals of a group
	Hosts     []string
	Users     []string
	Explain   []event.Explain
	Indicator event.Indicator
}

// Of returns a signal of e for rule with the essentials of e: source and
// target are the originator and the responder.
func Of(rule *Rule, group string, e *event.Event) Signal {
	return Signal{
		Rule: rule, Group: group,
		ID: e.ID, Time: e.Time, Sensor: e.Sensor,
		Source: e.Flow.Src.IP, Target: e.Flow.Dst.IP,
	}
}

// Fields that name a machine or an account.
var (
	hostFields = refs("dns.question.name", "url.domain", "tls.client.server_name", "source.domain", "destination.domain",
		"host.name", "tocsin.source.name", "tocsin.destination.name")
	userFields = refs("user.name", "source.user.name", "destination.user.name")
)

func refs(names ...string) []event.Ref {
	rs := make([]event.Ref, len(names))
	for i, n := range names {
		rs[i] = event.Resolve(n)
	}
	return rs
}

// Names returns the names of machines and accounts in an event, for a Note.
func Names(e *event.Event) (hosts, users []string) {
	return texts(e, hostFields), texts(e, userFields)
}

func texts(e *event.Event, fields []event.Ref) (out []string) {
	for _, f := range fields {
		v, ok := e.Lookup(f)
		if !ok {
			continue
		}
		for _, x := range append([]event.Value{v}, v.List()...) {
			if s := x.Str(); s != "" && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}
