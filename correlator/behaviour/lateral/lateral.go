// Package lateral finds a host inside that was reached by remote
// administration and, within the hour, went on the same way to a third: how
// intruders move, and how administrators use a jump host. That logins form
// paths is what Ho, Dhiman, Akhawe, Paxson, Savage, Voelker and Wagner build on
// in "Hopper: Modeling and Detecting Lateral Movement" (USENIX Security 2021);
// here there are no logins, only flows, so that all protocols are alike. Hosts
// whose work it is to administer others, as the asset file says, are excepted.
package lateral

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/behaviour"
	"github.com/tocsin/tocsin/event"
)

// Config says what a movement is.
type Config struct {
	Span    time.Duration // between the beginnings of the two sessions, and of their ends; default 1 hour
	Payload uint64        // bytes that each side sends in a session at least; default 1000: an answer and a refusal are fewer
	// Except are the roles of hosts in the asset file from which paths are
	// expected, and through which: default administrator. A jump host is not
	// among them: it is what intruders go through.
	Except []string
}

func (c Config) withDefaults() Config {
	c.Span = cmp.Or(c.Span, time.Hour)
	c.Payload = cmp.Or(c.Payload, 1000)
	if c.Except == nil {
		c.Except = []string{"administrator"}
	}
	return c
}

// service names a protocol of administration by what it was recognised as, or
// else by its port; "" if it is none. WinRM, which is HTTP, has two ports.
func service(f *event.Flow) string {
	switch f.Service {
	case "ssh", "telnet", "smb", "rdp", "vnc":
		return f.Service
	}
	switch f.Dst.Port {
	case 22:
		return "ssh"
	case 23:
		return "telnet"
	case 445:
		return "smb"
	case 3389:
		return "rdp"
	case 5900, 5901:
		return "vnc"
	case 5985, 5986:
		return "winrm"
	}
	return ""
}

var (
	direction       = event.Resolve("network.direction")
	sourceRole      = event.Resolve("tocsin.source.role")
	destinationRole = event.Resolve("tocsin.destination.role")
)

// Detector returns the detector. It needs network.direction, which enrichment sets.
func Detector(c Config) correlator.Detector {
	c = c.withDefaults()
	revision := behaviour.Revise("lateral", 2, c)
	rule := &correlator.Rule{
		Rule:       revision.Rule("lateral", "Administration from host to host"),
		Severity:   45,
		Techniques: []event.Technique{{ID: "T1021", Name: "Remote Services", Tactics: []string{"Lateral Movement"}}},
		Window:     &correlator.Window{Span: c.Span, New: func() correlator.Judge { return &path{span: c.Span} }},
	}
	return correlator.Detector{
		Name: "lateral", Rules: []*correlator.Rule{rule}, Kinds: []event.Kind{event.KindFlow},
		Match: func(e *event.Event, emit func(correlator.Signal)) {
			f := &e.Flow
			if f.Transport != event.ProtoTCP || f.Src.Payload < c.Payload || f.Dst.Payload < c.Payload {
				return
			}
			if f.Src.IP == f.Dst.IP {
				return
			}
			protocol := service(f)
			if v, ok := e.Lookup(direction); protocol == "" || !ok || v.Str() != "internal" {
				return
			}
			excepted := func(role event.Ref) bool {
				v, ok := e.Lookup(role)
				return ok && slices.Contains(c.Except, v.Str())
			}
			if excepted(sourceRole) {
				return
			}
			for _, at := range []struct {
				stone, peer netip.Addr
				comes       bool
			}{{f.Dst.IP, f.Src.IP, true}, {f.Src.IP, f.Dst.IP, false}} {
				if at.comes && excepted(destinationRole) {
					continue // where it goes on from there is its work
				}
				s := correlator.Of(rule, "host.ip="+at.stone.String()+" protocol="+protocol, e)
				s.Note = &correlator.Note{Message: at.stone.String() + " was reached by " + protocol + " and went on the same way to another host"}
				s.Value = event.List(event.Bool(at.comes), event.Str(at.peer.String()), event.Time(f.Start))
				emit(s)
			}
		},
	}
}

// session is one that came to the host, or went from it.
type session struct {
	id    event.ID
	comes bool
	peer  string
	start time.Time
}

// path judges the sessions of one host. A session's event comes when it ends,
// so that of the first may come after that of the second.
type path struct {
	span     time.Duration
	sessions []session
}

func (p *path) Add(s *correlator.Signal) {
	v := s.Value.List()
	comes, _ := v[0].Bool()
	start, _ := v[2].Time()
	p.sessions = append(p.sessions, session{s.ID, comes, v[1].Str(), start})
}

func (p *path) Remove(s *correlator.Signal) {
	p.sessions = slices.DeleteFunc(p.sessions, func(x session) bool { return x.id == s.ID })
}

// find returns a session that came and one that went on, of which one is the
// last added.
func (p *path) find() (in, out session, ok bool) {
	last := p.sessions[len(p.sessions)-1]
	for _, x := range p.sessions {
		in, out := x, last
		if last.comes {
			in, out = last, x
		}
		if after := out.start.Sub(in.start); in.comes && !out.comes && in.peer != out.peer && after > 0 && after <= p.span {
			return in, out, true
		}
	}
	return session{}, session{}, false
}

func (p *path) Holds() bool {
	_, _, ok := p.find()
	return ok
}

func (p *path) Explain() event.Explain {
	in, out, _ := p.find()
	return event.Explain{
		Field: "event.start", Predicate: fmt.Sprintf("a session to a third host within %s of one from another", p.span),
		Value: fmt.Sprintf("%s later, from %s on to %s", out.start.Sub(in.start).Round(time.Millisecond), in.peer, out.peer),
	}
}
