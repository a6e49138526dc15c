// Package bruteforce finds guessing of passwords: many failed logins of one
// source at one host, a few at each of many hosts, and a success that follows
// failures.
package bruteforce

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/correlator/window"
	"github.com/tocsin/tocsin/event"
)

// Config says how many are many.
type Config struct {
	Span     time.Duration // within which logins are counted; default 10 minutes
	Failures int           // that make guessing; default 5
	Targets  int           // hosts at which one source fails, that make spraying; default 6
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, 10*time.Minute)
	c.Failures = cmp.Or(c.Failures, 5)
	c.Targets = cmp.Or(c.Targets, 6)
	return c
}

var (
	guessing = event.Technique{ID: "T1110.001", Name: "Password Guessing", Tactics: []string{"Credential Access"}}
	spraying = event.Technique{ID: "T1110.003", Name: "Password Spraying", Tactics: []string{"Credential Access"}}
	valid    = event.Technique{ID: "T1078", Name: "Valid Accounts", Tactics: []string{"Initial Access", "Persistence", "Privilege Escalation", "Defense Evasion"}}
	outcome  = event.Resolve("event.outcome")
)

// kinds are the events whose event.outcome is that of a login. Other events
// tell the outcome of a transaction there.
var kinds = []event.Kind{"ssh"}

// Detector returns the detector.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	revision := behaviour.Revise("bruteforce", 2, c)
	guess := &correlator.Rule{
		Rule:     revision.Rule("bruteforce", "Password guessing"),
		Severity: 60, Techniques: []event.Technique{guessing},
		Message: "{source} fails to log in to {target} again and again",
		Window:  window.Distinct("connections with failed logins", c.Span, window.AtLeast(c.Failures)),
	}
	success := &correlator.Rule{
		Rule:     revision.Rule("bruteforce-success", "Login after password guessing"),
		Severity: 85, Techniques: []event.Technique{guessing, valid},
		Message: "{source} logged in to {target} after failing many times",
		Window: &correlator.Window{Span: c.Span, New: func() correlator.Judge {
			return &afterFailures{need: c.Failures, failures: map[string]int{}}
		}},
	}
	spray := &correlator.Rule{
		Rule:     revision.Rule("bruteforce-spray", "Password spraying"),
		Severity: 60, Techniques: []event.Technique{spraying},
		Message: "{source} fails to log in to {targets} hosts",
		Window:  window.Distinct("destination.ip", c.Span, window.AtLeast(c.Targets)),
	}
	return correlator.Detector{
		Name: "bruteforce", Rules: []*correlator.Rule{guess, success, spray}, Kinds: kinds,
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			v, ok := e.Lookup(outcome)
			if !ok || v.Str() != "failure" && v.Str() != "success" {
				return
			}
			group := "source.ip=" + e.Flow.Src.IP.String() + " destination.ip=" + e.Flow.Dst.IP.String() + " protocol=" + string(e.Kind)
			// A connection that several sensors saw failed once.
			connection := event.Str(e.Flow.CommunityID)
			s := correlator.Of(guess, group, e)
			if v.Str() == "failure" {
				s.Value = connection
				emit(s)
				wide := correlator.Of(spray, "source.ip="+e.Flow.Src.IP.String()+" protocol="+string(e.Kind), e)
				wide.Value = event.Str(e.Flow.Dst.IP.String())
				emit(wide)
			}
			s.Rule, s.Value = success, event.List(v, connection)
			emit(s)
		},
	}
}

// afterFailures holds where the login that asks succeeded and enough before it
// failed. A signal's value is the outcome and the connection.
type afterFailures struct {
	need     int
	failures map[string]int // by connection, how many sensors saw it
	last     string
}

func (j *afterFailures) Add(s *correlator.Signal) {
	v := s.Value.List()
	if j.last = v[0].Str(); j.last == "failure" {
		j.failures[v[1].Str()]++
	}
}

func (j *afterFailures) Remove(s *correlator.Signal) {
	if v := s.Value.List(); v[0].Str() == "failure" {
		c := v[1].Str()
		if j.failures[c]--; j.failures[c] == 0 {
			delete(j.failures, c)
		}
	}
}

func (j *afterFailures) Holds() bool { return j.last == "success" && len(j.failures) >= j.need }

func (j *afterFailures) Explain() event.Explain {
	return event.Explain{
		Field: "event.outcome", Predicate: fmt.Sprintf("success after at least %d failures", j.need),
		Value: fmt.Sprintf("%s after %d failures", j.last, len(j.failures)),
	}
}
