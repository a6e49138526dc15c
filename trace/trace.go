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
	Count(ctx context.Context, q store.Query, by store.By) ([]store.Bucket, error)
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

	Confidence float64   `json:"confidence"` // of the path: that of its weakest hop; 0 if there is none
	Gaps       []Message `json:"gaps"`       // Missing, to be said in other languages
	Sources    []Source  `json:"sources"`    // where it may have come from, likeliest first; the first is Origin
	Records    Records   `json:"records"`    // how much of what the sensors made is stored
}

// Records compares what sensors made, by their accounts, with what is stored.
type Records struct {
	Made   uint64    `json:"made"`
	Stored uint64    `json:"stored"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
}

// Source is one origin that was considered, and what is known of it.
type Source struct {
	Address    netip.Addr   `json:"address"`
	Prefix     string       `json:"prefix"`     // of addresses that are taken for one source, "" if it is one address
	Addresses  []netip.Addr `json:"addresses"`  // all that are taken for this source, sorted
	Name       string       `json:"name"`       // asset, "" if unknown
	Zone       string       `json:"zone"`       // "" if unknown
	Confidence float64      `json:"confidence"` // that the attack came from here, 0 to 1
	First      time.Time    `json:"first"`      // what is stored of it
	Last       time.Time    `json:"last"`
	Ingress    Ingress      `json:"ingress"`
	Spoofing   string       `json:"spoofing"` // genuine: it answered; spoofed; unverified
	Distance   int          `json:"distance"` // routers before Ingress.Sensor, by its time to live; -1 if not known
	AS         uint32       `json:"as"`       // 0 if not known
	ASName     string       `json:"as_name"`
	Country    string       `json:"country"` // ISO 3166-1, two letters
	Relay      float64      `json:"relay"`   // likelihood that others use it: a proxy, a rented machine, a translator
	Lists      []Listing    `json:"lists"`   // reputation
	Shared     []Shared     `json:"shared"`  // what it has in common with others that are stored
	Reasons    []Reason     `json:"reasons"` // for all this; weights as for a hop, of spoofing
}

// Ingress is where a source's packets came in: the tap nearest to it.
type Ingress struct {
	Sensor    string `json:"sensor"`
	Interface string `json:"interface"` // or capture file
	MAC       string `json:"mac"`       // of who handed the packets over there, "" if not known
	VLAN      uint16 `json:"vlan"`      // 0 if untagged
}

// Listing is what a reputation list says of a source.
type Listing struct {
	Provider    string    `json:"provider"`
	Value       string    `json:"value"`
	Confidence  int       `json:"confidence"` // 0 to 100
	Reference   string    `json:"reference"`
	Description string    `json:"description"`
	Seen        time.Time `json:"seen"`     // when the list saw it last; zero if it does not say
	AgeDays     int       `json:"age_days"` // from then to the attack; -1 if the list does not say
}

// Shared is something that a source has in common with others.
type Shared struct {
	Kind   string       `json:"kind"` // certificate, host key, ja4, hassh, domain
	Value  string       `json:"value"`
	Others []netip.Addr `json:"others"` // at most 8
	Alerts []event.ID   `json:"alerts"` // about the others, at most 8
}

// Translation is one connection with other addresses: what a translator, a
// proxy or a tunnel made of it.
type Translation struct {
	Kind     string         `json:"kind"` // nat, proxy, tunnel, alias
	From     netip.AddrPort `json:"from"` // as seen by Sensor
	To       netip.AddrPort `json:"to"`
	Sensor   string         `json:"sensor"`
	Evidence []event.ID     `json:"evidence"`
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

	Direction    string        `json:"direction"`    // inbound, outbound, internal, external: of who opened it; "" if a zone is not known
	OpenedBy     netip.Addr    `json:"opened_by"`    // From, or of a control channel To
	Translations []Translation `json:"translations"` // other addresses that it was seen with
}

// Reason is one argument about a hop and how much it weighs, negative if it
// speaks against.
type Reason struct {
	Message
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

	Addresses []netip.Addr `json:"addresses"` // all that are taken for this host, sorted; Address among them
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
