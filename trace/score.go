package trace

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
)

// remote are services that put a person, or a program of theirs, onto a host.
// The port counts only where the content was not recognised.
var remote = map[string]bool{"ssh": true, "rdp": true, "telnet": true, "vnc": true, "smb": true, "winrm": true}

var remotePorts = map[uint16]string{22: "ssh", 23: "telnet", 135: "rpc", 445: "smb", 3389: "rdp", 5900: "vnc", 5985: "winrm", 5986: "winrm"}

func (c *conversation) remoteAccess() string {
	if c.service != "" {
		if remote[c.service] {
			return c.service
		}
		return ""
	}
	if c.transport != "tcp" {
		return ""
	}
	return remotePorts[c.port]
}

// argument collects reasons.
type argument struct {
	reasons []Reason
	sum     float64
}

func (a *argument) add(weight float64, format string, args ...any) {
	a.reasons = append(a.reasons, Reason{Text: fmt.Sprintf(format, args...), Weight: weight})
	a.sum += weight
}

// confidence of an argument: its log-odds as a probability, in hundredths.
// Packets never prove who sat behind them, so it is never 1.
func (a *argument) confidence() float64 {
	return min(math.Round(100/(1+math.Exp(-a.sum)))/100, 0.99)
}

// prior is the log-odds that any one answered conversation carried the attack.
const prior = -2.5

// link is what is already known beside a candidate: going backward, when the
// act began that it is to explain, and whether it is a channel that the host
// opened to its controller; going forward, the conversation that brought the
// attacker to its source.
type link struct {
	next    time.Time
	control bool
	arrive  *conversation
}

// weigh argues whether c carried the attack. alerts are those about c's pair.
func (b *builder) weigh(c *conversation, alerts []*event.Alert, l link, suspectSource bool) argument {
	a := argument{sum: prior}
	worst, exploit := 0, false
	var title string
	for _, x := range alerts {
		if x.Last.Before(c.start.Add(-aftermath)) || x.First.After(c.end.Add(aftermath)) {
			continue
		}
		if x.Severity > worst {
			worst, title = x.Severity, x.Rule.Name
		}
		exploit = exploit || carriesIn(x)
	}
	if worst > 0 {
		a.add(0.5+2*float64(worst)/100, "alert about this conversation: %s (severity %d)", title, worst)
	}
	if exploit {
		a.add(1, "the alert is of a kind that gives access: initial access, credential access, lateral movement or execution")
	}
	if l.control {
		a.add(1, "the host opened it to the outside, and may be told there what to do")
	} else if name := c.remoteAccess(); name != "" {
		a.add(1, "%s gives control of the host", name)
	}
	seen := c.best()
	if seen.logins > 0 {
		a.add(0.8, "a login succeeded")
		if seen.failures >= 3 {
			a.add(0.8, "after %d failed ones", seen.failures)
		}
	} else if seen.failures > 0 {
		a.add(-2, "%d logins failed and none is seen to succeed", seen.failures)
	}
	if seen.writes > 0 {
		a.add(1, "%d changes to an industrial process", seen.writes)
	}
	if !l.next.IsZero() {
		switch gap := l.next.Sub(c.end); {
		case gap <= 0:
			a.add(1.5, "was open when the next step began")
		case gap <= aftermath:
			a.add(0.7, "ended %s before the next step began", gap.Round(time.Second))
		case gap > time.Hour:
			a.add(-0.7, "ended %s before the next step began", gap.Round(time.Minute))
		}
	}
	if l.arrive != nil {
		switch gap := c.start.Sub(l.arrive.end); {
		case gap <= 0:
			a.add(1.5, "began while the session into its source was open")
		case gap <= aftermath:
			a.add(0.7, "began %s after the session into its source ended", gap.Round(time.Second))
		case gap > time.Hour:
			a.add(-0.7, "began %s after the session into its source ended", gap.Round(time.Minute))
		}
	}
	switch {
	case c.earlier == 0 && b.from.Before(c.start.Add(-sessionGap)):
		a.add(0.6, "this pair was not seen on this service before")
	case c.earlier >= oftenBefore:
		a.add(-1.2, "this pair used this service %d times before", c.earlier)
	}
	if suspectSource {
		a.add(0.8, "the source is named by other alerts")
	}
	if c.clients >= manyClients {
		a.add(-0.8, "%d sources use this service", c.clients)
	}
	if loss := b.lossBetween(c.start, c.end); loss > 0 {
		a.add(-2*loss, "%.2g %% of packets were not seen at that time", 100*loss)
	}
	return a
}

// accessTactics are those whose success puts the attacker onto the target.
var accessTactics = []string{"Initial Access", "Credential Access", "Lateral Movement", "Execution"}

func carriesIn(a *event.Alert) bool { return hasTactic(a, accessTactics...) }

func hasTactic(a *event.Alert, names ...string) bool {
	for _, t := range a.Techniques {
		for _, n := range t.Tactics {
			if slices.Contains(names, n) {
				return true
			}
		}
	}
	return false
}

// Tactics that lead away from the path: they say what a host on it did beside.
var (
	controlTactics = []string{"Command and Control"}
	exfilTactics   = []string{"Exfiltration"}
	scanTactics    = []string{"Reconnaissance", "Discovery"}
	impactTactics  = []string{"Impair Process Control", "Inhibit Response Function", "Impact"}
)

// roleOf names what alerts say that a conversation was for.
func roleOf(alerts []*event.Alert, c *conversation) string {
	is := func(names []string) bool {
		return slices.ContainsFunc(alerts, func(a *event.Alert) bool { return hasTactic(a, names...) })
	}
	switch {
	case is(impactTactics), c != nil && c.best().writes > 0:
		return "impact"
	case is(accessTactics), c != nil && c.remoteAccess() != "":
		return "access"
	case is(exfilTactics):
		return "exfiltration"
	case is(controlTactics):
		return "c2"
	case is(scanTactics):
		return "scan"
	}
	return "contact"
}
