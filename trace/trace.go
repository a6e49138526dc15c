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
	Seed     string     // the alert's ID or the address
	Title    string     // one sentence
	From, To time.Time  // stretch of time that the path covers
	Origin   netip.Addr // where the attack came from, as far as can be seen
	Target   netip.Addr // what it reached last
	Path     []Hop      // from the origin to the target
	Branches []Hop      // control channels, scans and exfiltration beside the path
	Nodes    []Node     // every address in Path and Branches, by address
	Steps    []Step     // timeline: the alerts and key events, in order of time
	Rejected []Hop      // candidates that were looked at and not taken, with the reasons, best first
	Loss     float64    // share of packets unseen in that time, 0 to 1
	Missing  []string   // what would have been needed and was not there, one sentence each
}

// Hop is one conversation from a node to the next.
type Hop struct {
	From, To   netip.Addr
	Port       uint16
	Transport  string
	Protocol   string
	Start, End time.Time
	Flows      int
	Bytes      uint64 // both directions
	Role       string // access, lateral, control, scan, impact, exfiltration, c2
	Techniques []event.Technique
	Confidence float64    // 0 to 1
	Reasons    []Reason   // what speaks for and against it
	Evidence   []event.ID // alerts and events that show it, sorted
	Sensors    []string   // who saw it
}

// Reason is one argument about a hop and how much it weighs, negative if it
// speaks against.
type Reason struct {
	Text   string
	Weight float64
}

// Node is one address of a trace.
type Node struct {
	Address netip.Addr
	Name    string // asset or host name, "" if unknown
	Zone    string // network zone, "" if unknown
	Role    string // origin, stepping-stone, target, c2, bystander
	First   time.Time
	Last    time.Time
}

// Step is one entry of the timeline.
type Step struct {
	Time       time.Time
	ID         event.ID
	Text       string
	Severity   int // 0 for a plain event
	From, To   netip.Addr
	Techniques []event.Technique
}

// Format is one way to write a trace. The list of all is in trace/all.
type Format struct {
	Name  string // as given on the command line
	MIME  string
	Ext   string // with the dot
	Write func(w io.Writer, t *Trace) error
}
