package trace

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/tocsin/tocsin/event"
)

// remoteNames are services that put a person, or a program of theirs, onto a
// host. The port counts only where the content was not recognised.
var remoteNames = []string{"ssh", "rdp", "telnet", "vnc", "smb", "winrm"}

var remote = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range remoteNames {
		m[n] = true
	}
	return m
}()

var remotePorts = map[uint16]string{22: "ssh", 23: "telnet", 135: "rpc", 445: "smb", 3389: "rdp", 5900: "vnc", 5985: "winrm", 5986: "winrm"}

var remotePortNumbers = []uint16{22, 23, 135, 445, 3389, 5900, 5985, 5986}

func (c *conversation) remoteAccess() string {
	if remote[c.service] {
		return c.service
	}
	if c.transport != "tcp" || c.service != "" && c.service != "tls" { // RDP and WinRM may show no more than their TLS
		return ""
	}
	name := remotePorts[c.port]
	if c.service == "tls" && (name == "ssh" || name == "telnet") {
		return ""
	}
	return name
}

// argument collects reasons.
type argument struct {
	reasons    []Reason
	sum        float64
	incomplete bool // records are missing: what would speak against may be among them
}

func (a *argument) say(weight float64, key string, blanks ...any) {
	a.reasons = append(a.reasons, Reason{Message: say(key, blanks...), Weight: weight})
	a.sum += weight
}

// confidence of an argument: its log-odds as a probability, in hundredths.
// Packets never prove who sat behind them, so it is never 1.
func (a *argument) confidence() float64 { return confidence(a.sum) }

func confidence(odds float64) float64 {
	return min(math.Round(100/(1+math.Exp(-odds)))/100, 0.99)
}

// prior is the log-odds that any one answered conversation carried the attack.
const prior = -3.2

// link is what is already known beside a candidate: going backward, when the
// act began that it is to explain and by which conversation, and whether it is a
// channel that the host opened to its controller; going forward, the
// conversation that brought the attacker to its source.
type link struct {
	next    time.Time
	out     *conversation
	by      *flow // the one connection of out that is meant, nil if that is not known
	control bool
	arrive  *conversation
	arrives []*conversation // arrive and others of the same pair and service, if there are
}

// guesses are techniques that name an attempt: only a login that succeeds makes
// them a way in.
var guesses = []string{"T1110"}

// weigh argues whether c carried the attack. alerts are those about c's pair.
func (b *builder) weigh(x *candidate, l link) {
	c := x.c
	a := argument{sum: prior, incomplete: b.incomplete()}
	var worst *event.Alert
	share, odds := 1, 0.0
	access, attempt := false, false
	for _, y := range x.alerts {
		if y.Last.Before(c.start.Add(-aftermath)) || y.First.After(c.end.Add(aftermath)) {
			continue
		}
		// An alert that names many sources says little of each.
		if w := (0.5 + 2*float64(y.Severity)/100) / float64(len(y.Sources)); w > odds {
			worst, share, odds = y, len(y.Sources), w
		}
		if len(y.Sources) == 1 {
			only := onlyTechniques(y, guesses)
			attempt = attempt || only
			access = access || carriesIn(y) && !only
		}
	}
	seen := c.best()
	if worst != nil {
		a.say(0.5+2*float64(worst.Severity)/100, "alert", "rule", worst.Rule.Name, "severity", worst.Severity)
		if share > 1 {
			a.say(odds-(0.5+2*float64(worst.Severity)/100), "alert-others", "n", share)
		}
	}
	if access || attempt && seen.logins > 0 {
		a.say(1, "alert-access")
	} else if attempt {
		a.say(-1, "no-login")
	}
	if l.control {
		a.say(1, "control")
	} else if name := c.remoteAccess(); name != "" {
		a.say(1, "remote", "service", name)
	}
	if seen.logins > 0 {
		a.say(0.8, "login")
		if n := seen.failures + c.failed; n >= 3 {
			a.say(0.8, "after-failures", "n", n)
		}
	} else if seen.failures > 0 {
		a.say(-2, "failures", "n", seen.failures)
	}
	if seen.writes > 0 {
		a.say(1, "writes", "n", seen.writes)
	}
	if !l.next.IsZero() {
		switch gap := l.next.Sub(c.end); {
		case gap <= 0:
			a.say(1.5, "open-next")
		case gap <= aftermath:
			a.say(0.7, "ended-next", "gap", gap.Round(time.Second))
		case gap > time.Hour:
			a.say(-0.7, "ended-next", "gap", gap.Round(time.Minute))
		}
	}
	if l.out != nil {
		by, outs := l.by, l.out.flows
		if by == nil {
			by = l.out.carriedBy()
		} else {
			outs = []flow{*by}
		}
		x.carrier = b.carrierOf(c, by, outs, l.next)
		a.correlate(c, &x.carrier, l.out)
	}
	if l.arrive != nil {
		a.arrival(b, c, l)
	}
	if l.out != nil && l.out.claims[c.from] > 0 {
		a.say(1.5, "forwarded", "n", l.out.claims[c.from])
	}
	switch history := c.start.Sub(c.known); {
	case c.earlier >= oftenBefore:
		a.say(-1.2, "often", "n", c.earlier)
	case a.incomplete:
		a.say(-1.2, "maybe-often")
	case c.earlier == 0 && history >= time.Hour:
		a.say(min(0.6+0.4*history.Hours()/24, 1), "new-pair", "history", since(history))
	}
	switch {
	case x.suspect:
		a.say(0.8, "suspect")
	case x.suspects > 0:
		a.say(0.8, "suspect-prefix", "n", x.suspects, "prefix", privacyPrefix(c.from))
	}
	if c.clients >= manyClients {
		a.say(-0.8, "clients", "n", c.clients)
	}
	if a.incomplete {
		a.say(-0.5-2*b.records.missing(), "incomplete", "stored", b.records.Stored, "made", b.records.Made)
	}
	if loss := b.lossBetween(c.start, c.end); loss > 0 {
		a.say(-2*loss, "loss", "share", percent(loss))
	}
	a.reasons = append(a.reasons, x.notes.reasons...)
	a.sum += x.notes.sum
	x.arg = a
}

// arrival argues from the conversation that brought the attacker to the source
// of c: of several, the one that goes best with it and had begun.
func (a *argument) arrival(b *builder, c *conversation, l link) {
	var best *argument
	for i, in := range append([]*conversation{l.arrive}, l.arrives...) {
		if i > 0 && (in == l.arrive || in.start.After(c.start)) {
			continue
		}
		x := argument{incomplete: a.incomplete}
		switch gap := c.start.Sub(in.end); {
		case gap <= 0:
			x.say(1.5, "open-arrive")
		case gap <= aftermath:
			x.say(0.7, "after-arrive", "gap", gap.Round(time.Second))
		case gap > time.Hour:
			x.say(-0.7, "after-arrive", "gap", gap.Round(time.Minute))
		}
		y := b.carrierOf(in, c.carriedBy(), c.flows, c.start)
		x.correlate(in, &y, c)
		if best == nil || x.sum > best.sum {
			best = &x
		}
	}
	a.reasons = append(a.reasons, best.reasons...)
	a.sum += best.sum
}

// since writes a length of time for people.
func since(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return d.Round(time.Hour).String()
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Second).String()
}

// accessTactics are those whose success puts the attacker onto the target.
var accessTactics = []string{"Initial Access", "Credential Access", "Lateral Movement", "Execution"}

func carriesIn(a *event.Alert) bool { return hasTactic(a, accessTactics...) }

// onlyTechniques reports whether an alert has techniques, and all of them, or
// those that they are kinds of, are on a list.
func onlyTechniques(a *event.Alert, ids []string) bool {
	for _, t := range a.Techniques {
		id := t.ID
		if len(id) > 5 {
			id = id[:5]
		}
		if !slices.Contains(ids, id) {
			return false
		}
	}
	return len(a.Techniques) > 0
}

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

// privacyPrefix is the /64 of a global IPv6 address, within which a host may
// change its address as it likes (RFC 8981); no prefix of another.
func privacyPrefix(a netip.Addr) netip.Prefix {
	if !a.Is6() || a.Is4In6() || !a.IsGlobalUnicast() {
		return netip.Prefix{}
	}
	p, _ := a.Prefix(64)
	return p
}
