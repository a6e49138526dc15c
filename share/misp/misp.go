// Package misp writes a trace as an event of MISP, as its users import it
// (draft-dulaunoy-misp-core-format): attributes for the hosts of the attack,
// with a tag of TLP 2.0 and of each ATT&CK technique. Identifiers are derived
// from content.
package misp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/tlp"
)

// Format is the MISP format, marked TLP:AMBER.
var Format = trace.Format{Name: "misp", MIME: "application/json", Ext: ".misp.json", Write: func(w io.Writer, t *trace.Trace) error {
	return Write(w, t, tlp.Amber)
}}

type misp struct {
	Event event `json:"Event"`
}

type event struct {
	UUID         string      `json:"uuid"`
	Info         string      `json:"info"`
	Date         string      `json:"date"`
	Timestamp    string      `json:"timestamp"`
	ThreatLevel  string      `json:"threat_level_id"` // 1 high, 2 medium, 3 low, 4 undefined
	Analysis     string      `json:"analysis"`        // 0 initial, 1 ongoing, 2 completed
	Distribution string      `json:"distribution"`    // 0: this organisation only; who imports it decides anew
	Published    bool        `json:"published"`
	Orgc         org         `json:"Orgc"`
	Tag          []tag       `json:"Tag"`
	Attribute    []attribute `json:"Attribute"`
}

type org struct {
	Name string `json:"name"`
	UUID string `json:"uuid"`
}

type tag struct {
	Name string `json:"name"`
}

type attribute struct {
	UUID         string `json:"uuid"`
	Type         string `json:"type"`
	Category     string `json:"category"`
	Value        string `json:"value"`
	Comment      string `json:"comment"`
	ToIDs        bool   `json:"to_ids"`
	Timestamp    string `json:"timestamp"`
	FirstSeen    string `json:"first_seen,omitempty"`
	LastSeen     string `json:"last_seen,omitempty"`
	Distribution string `json:"distribution"` // 5: as the event
	Tag          []tag  `json:"Tag,omitempty"`
}

func uuid(parts ...string) string {
	sum := sha256.Sum256([]byte("tocsin misp\x00" + strings.Join(parts, "\x00")))
	b := sum[:16]
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b)
	return fmt.Sprintf("%s-%s-%s-%s-%s", x[:8], x[8:12], x[12:16], x[16:20], x[20:])
}

// Write writes the event with a marking.
func Write(w io.Writer, t *trace.Trace, level tlp.Level) error {
	at := strconv.FormatInt(t.To.Unix(), 10)
	e := event{
		UUID: uuid(t.Seed, t.Title), Info: t.Title, Date: t.From.UTC().Format("2006-01-02"), Timestamp: at, ThreatLevel: "4", Analysis: "2", Distribution: "0",
		Orgc: org{"Tocsin", uuid("author")}, Tag: []tag{{strings.ToLower(level.String())}}, Attribute: []attribute{},
	}
	severity := 0
	for _, s := range t.Steps {
		severity = max(severity, s.Severity)
	}
	switch {
	case severity >= 80:
		e.ThreatLevel = "1"
	case severity >= 40:
		e.ThreatLevel = "2"
	case severity > 0:
		e.ThreatLevel = "3"
	}
	var techniques []string
	for _, hops := range [][]trace.Hop{t.Path, t.Branches} {
		for _, h := range hops {
			for _, x := range h.Techniques {
				techniques = append(techniques, x.ID+"\x00"+x.Name)
			}
		}
	}
	slices.Sort(techniques)
	for _, x := range slices.Compact(techniques) {
		id, name, _ := strings.Cut(x, "\x00")
		e.Tag = append(e.Tag, tag{fmt.Sprintf("misp-galaxy:mitre-attack-pattern=%q", strings.TrimSpace(name+" - "+id))})
	}
	attacked := len(t.Path)+len(t.Branches) > 0
	for _, n := range t.Nodes {
		a := attribute{Category: "Network activity", Value: n.Address.String(), Timestamp: at, Distribution: "5"}
		switch n.Role {
		case "origin":
			a.Type, a.Comment = "ip-src", "origin of the attack"
		case "c2":
			a.Type, a.Comment = "ip-dst", "command and control"
		case "exfiltration":
			a.Type, a.Comment = "ip-dst", "where data was carried off to"
		default:
			continue // the operator's own hosts are nobody's indicators
		}
		a.ToIDs = attacked && blockable(n.Address)
		a.UUID = uuid(t.Seed, a.Type, a.Value)
		if !n.First.IsZero() {
			a.FirstSeen, a.LastSeen = n.First.UTC().Format("2006-01-02T15:04:05.000000Z"), n.Last.UTC().Format("2006-01-02T15:04:05.000000Z")
		}
		e.Attribute = append(e.Attribute, a)
	}
	for i, s := range t.Steps {
		e.Attribute = append(e.Attribute, attribute{
			UUID: uuid(t.Seed, "step", strconv.Itoa(i), s.Text), Type: "text", Category: "Internal reference", Distribution: "5", Timestamp: strconv.FormatInt(s.Time.Unix(), 10),
			Value: s.Time.UTC().Format("2006-01-02 15:04:05 UTC ") + s.Text,
		})
	}
	j := json.NewEncoder(w)
	j.SetEscapeHTML(false)
	j.SetIndent("", "  ")
	return j.Encode(misp{e})
}

// blockable reports whether an address is one of the internet.
func blockable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate()
}
