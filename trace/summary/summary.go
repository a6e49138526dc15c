// Package summary is what reports for people say of a trace, in English and in
// Chinese: the words, the ranking of sources, and what a package adds.
package summary

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
)

// Language is one that reports are written in.
type Language string

// Languages, by their tags (RFC 5646).
const (
	English Language = "en"
	Chinese Language = "zh"
)

// Languages lists them in the order in which they are offered.
func Languages() []Language { return []Language{English, Chinese} }

// Say returns the words of a key, with the values put in. A key that the
// catalogue lacks is a bug, and is said as it is.
func (l Language) Say(key string, values ...any) string {
	words, ok := catalogue[key]
	if !ok {
		return key
	}
	text := words[0]
	if l == Chinese {
		text = words[1]
	}
	if len(values) == 0 {
		return text
	}
	return fmt.Sprintf(text, values...)
}

// Words is the catalogue: English and Chinese by key.
func Words() map[string][2]string { return maps.Clone(catalogue) }

// Title is the trace in one sentence.
func (l Language) Title(t *trace.Trace) string {
	if l == English || !t.Origin.IsValid() {
		return t.Title
	}
	names := map[netip.Addr]string{}
	for _, n := range t.Nodes {
		names[n.Address] = n.Name
	}
	name := func(a netip.Addr) string {
		if n := names[a]; n != "" {
			return fmt.Sprintf("%s（%s）", n, a)
		}
		return a.String()
	}
	switch {
	case len(t.Path) == 0 && t.Target.IsValid() && t.Target != t.Origin:
		return l.Say("title.alone", name(t.Origin), name(t.Target))
	case len(t.Path) == 0:
		return l.Say("title.none", name(t.Origin))
	}
	var via []string
	for _, h := range t.Path[1:] {
		via = append(via, name(h.From))
	}
	if len(via) == 0 {
		return l.Say("title.direct", name(t.Origin), name(t.Target))
	}
	return l.Say("title.through", name(t.Origin), strings.Join(via, "、"), name(t.Target))
}

// Missing is what the trace lacks, a sentence each.
func (l Language) Missing(t *trace.Trace) []string {
	if len(t.Gaps) != len(t.Missing) {
		return t.Missing
	}
	list := make([]string, len(t.Gaps))
	for i := range t.Gaps {
		list[i] = t.Gaps[i].In(string(l))
	}
	return list
}

// Annex is what a package knows beside the trace.
type Annex struct {
	Marking  string // TLP 2.0, such as TLP:AMBER
	By       string // who made the package
	Version  string // of Tocsin
	Events   int    // flows and transactions in the package
	Sessions int    // flows of the hops, of all sensors
	Packed   int    // of them, how many have packets in the package
	Packets  uint64 // in the package
	NoSource string // why there are no packets at all; "" if they were looked for
	Sensors  []Sensor
	Rules    []Rule
	KeyPrint string // SHA-256 of the signing key, hexadecimal
}

// Sensor is what one tap saw in the time of the trace, and how far its clock
// can be trusted.
type Sensor struct {
	Name         string        `json:"name"`
	From         time.Time     `json:"from"` // first minute that it accounts for
	To           time.Time     `json:"to"`   // end of the last
	Minutes      int           `json:"minutes"`
	Seen         uint64        `json:"packets_seen"`
	Dropped      uint64        `json:"packets_dropped"`
	Loss         float64       `json:"loss"` // 0 to 1
	ClockSource  string        `json:"clock_source"`
	Synchronized *bool         `json:"clock_synchronized"` // nil: not known, as of a capture file
	ClockOffset  time.Duration `json:"clock_offset_ns"`    // of the card's clock from the system's, the largest seen
	ClockError   time.Duration `json:"clock_error_ns"`     // of the system's clock at most, as its kernel estimates; the largest seen
	ClockJumps   uint64        `json:"clock_jumps"`
}

// Clock says in words what the sensor's times are worth.
func (s *Sensor) Clock(l Language) string {
	switch {
	case s.Synchronized == nil:
		return l.Say("clock.unknown")
	case !*s.Synchronized:
		return l.Say("clock.free")
	}
	return l.Say("clock.kept", max(s.ClockError, s.ClockOffset, -s.ClockOffset))
}

// Rule is a rule of which the package has alerts.
type Rule struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Ruleset string   `json:"ruleset"`
	Version string   `json:"version"`
	Hash    string   `json:"hash"`   // as the alerts carry it
	File    string   `json:"file"`   // of its text in the package; "" if the text is not there
	Parts   []string `json:"parts"`  // files of the rules that it correlates
	Same    bool     `json:"same"`   // the texts are those of the revision that fired
	Alerts  int      `json:"alerts"` // of it in the package
}

// Source is one candidate for where the attack came from.
type Source struct {
	Rank       int        `json:"rank"`
	Address    netip.Addr `json:"address"`
	Name       string     `json:"name"`
	Zone       string     `json:"zone"`
	Role       string     `json:"role"`
	Confidence float64    `json:"confidence"` // that the attack came from here, or through here
	Hops       int        `json:"hops"`       // to the target; 0 if it is not on the path
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Evidence   []event.ID `json:"evidence"`
}

// Sources ranks who may have attacked: first the origins that were considered,
// then the path from there on, each with the confidence of the weakest hop
// between it and the target, then the outside hosts of branches, then the
// candidates that were looked at and not taken, the surest first.
func Sources(t *trace.Trace) []Source {
	var list []Source
	at := map[netip.Addr]int{}
	nodes := map[netip.Addr]trace.Node{}
	for _, n := range t.Nodes {
		nodes[n.Address] = n
	}
	add := func(a netip.Addr, role string, confidence float64, hops int, h *trace.Hop) {
		if i, ok := at[a]; ok {
			s := &list[i]
			if s.Hops == 0 {
				s.Evidence = append(s.Evidence, h.Evidence...)
			}
			return
		}
		n := nodes[a]
		s := Source{Address: a, Name: n.Name, Zone: n.Zone, Role: role, Confidence: confidence, Hops: hops, First: h.Start, Last: h.End, Evidence: slices.Clone(h.Evidence)}
		if n.Role != "" {
			s.Role = n.Role
		}
		at[a] = len(list)
		list = append(list, s)
	}
	for i := range t.Sources {
		s, h := &t.Sources[i], &trace.Hop{}
		hops := 0
		for k := range t.Path {
			if t.Path[k].From == s.Address {
				h, hops = &t.Path[k], len(t.Path)-k
				break
			}
		}
		known := *h
		known.Start, known.End = s.First, s.Last
		add(s.Address, "origin", s.Confidence, hops, &known)
	}
	for i := range t.Path {
		weakest := 1.0
		for _, h := range t.Path[i:] {
			weakest = min(weakest, h.Confidence)
		}
		add(t.Path[i].From, "stepping-stone", weakest, len(t.Path)-i, &t.Path[i])
	}
	for i := range t.Branches {
		// A resolver on the inside passes on what it is asked.
		if h := &t.Branches[i]; (h.Role == "c2" || h.Role == "exfiltration") && nodes[h.To].Role != "bystander" {
			add(h.To, h.Role, h.Confidence, 0, h)
		}
	}
	for i := range t.Rejected {
		add(t.Rejected[i].From, "rejected", t.Rejected[i].Confidence, 0, &t.Rejected[i])
	}
	for i := range list {
		s := &list[i]
		s.Rank = i + 1
		slices.SortFunc(s.Evidence, event.ID.Compare)
		s.Evidence = slices.Compact(s.Evidence)
	}
	return list
}

// Bytes writes a number of bytes for people.
func Bytes(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
