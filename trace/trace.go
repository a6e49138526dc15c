// Package trace reconstructs an attack from stored events: who, from where,
// through what, to what, when, and how we know.
package trace

import (
	"context"
	"io"
	"iter"
	"net/netip"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// Searcher is what Build needs of a store.
type Searcher interface {
	Get(ctx context.Context, id event.ID) (event.Event, error)
	Search(ctx context.Context, q store.Query) iter.Seq2[event.Event, error]
	Span(ctx context.Context) (from, to time.Time, err error)
}

// Seed is where a trace starts: one alert, or one address within a time.
type Seed struct {
	Alert   event.ID   // if not zero
	Address netip.Addr // else
	From    time.Time  // zero: as far back as the store goes
	To      time.Time  // zero: as far forward
}

// Trace is the finding. The same store and seed give the same Trace.
type Trace struct {
	Seed     string     `json:"seed"`  // the alert's ID or the address
	Title    string     `json:"title"` // one sentence
	From     time.Time  `json:"from"`  // stretch of time that the path covers
	To       time.Time  `json:"to"`
	Origin   netip.Addr `json:"origin"`   // where the attack came from, as far as can be seen
	Target   netip.Addr `json:"target"`   // what it reached last
	Path     []Hop      `json:"path"`     // from the origin to the target
	Branches []Hop      `json:"branches"` // control channels, scans and exfiltration beside the path
	Nodes    []Node     `json:"nodes"`    // every address in Path and Branches, by address
	Steps    []Step     `json:"steps"`    // timeline: the alerts and key events, in order of time
	Rejected []Hop      `json:"rejected"` // candidates that were looked at and not taken, with the reasons, best first
	Loss     float64    `json:"loss"`     // share of packets unseen in that time, 0 to 1
	Missing  []string   `json:"missing"`  // what would have been needed and was not there, one sentence each
}

// Hop is one conversation from a node to the next.
type Hop struct {
	From       netip.Addr        `json:"from"`
	To         netip.Addr        `json:"to"`
	Port       uint16            `json:"port"`
	Transport  string            `json:"transport"`
	Protocol   string            `json:"protocol"`
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Flows      int               `json:"flows"`
	Bytes      uint64            `json:"bytes"` // both directions
	Role       string            `json:"role"`  // access, impact, exfiltration, c2, scan, contact (none of these); control: From told To through a channel that To opened
	Techniques []event.Technique `json:"techniques"`
	Confidence float64           `json:"confidence"` // 0 to 1
	Reasons    []Reason          `json:"reasons"`    // what speaks for and against it
	Evidence   []event.ID        `json:"evidence"`   // alerts and events that show it, sorted
	Sensors    []string          `json:"sensors"`    // who saw it
}

// Reason is one argument about a hop and how much it weighs, negative if it
// speaks against.
type Reason struct {
	Text   string  `json:"text"`
	Weight float64 `json:"weight"`
}

// Node is one address of a trace.
type Node struct {
	Address netip.Addr `json:"address"`
	Name    string     `json:"name"` // asset or host name, "" if unknown
	Zone    string     `json:"zone"` // network zone, "" if unknown
	Role    string     `json:"role"` // origin, stepping-stone, target, c2, exfiltration, bystander
	First   time.Time  `json:"first"`
	Last    time.Time  `json:"last"`
}

// Step is one entry of the timeline.
type Step struct {
	Time       time.Time         `json:"time"`
	ID         event.ID          `json:"id"`
	Text       string            `json:"text"`
	Severity   int               `json:"severity"` // 0 for a plain event
	From       netip.Addr        `json:"from"`
	To         netip.Addr        `json:"to"`
	Techniques []event.Technique `json:"techniques"`
}

// Format is one way to write a trace. The list of all is in trace/all.
type Format struct {
	Name  string // as given on the command line
	MIME  string
	Ext   string // with the dot
	Write func(w io.Writer, t *Trace) error
}
