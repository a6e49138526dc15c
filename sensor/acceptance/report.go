package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Level is how a check went.
type Level string

// Levels, from best to worst.
const (
	OK       Level = "ok"
	Unjudged Level = "unjudged" // there was too little to tell
	Warning  Level = "warning"  // the sensor works, but knows less than it seems
	Fault    Level = "fault"    // what it reports is not what happens on the link
)

var levels = []Level{OK, Unjudged, Warning, Fault}

// Verdict is what one check found.
type Verdict struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Says is a sentence with what was measured, and its limit.
	Says string `json:"says"`
	// Fix is what to do, with the command to type. It is empty if nothing is wrong.
	Fix string `json:"fix,omitempty"`
	// Share is the measured part of the whole, from 0 to 1, where the check
	// measures one.
	Share *float64 `json:"share,omitempty"`
}

// Report is the commissioning record of a tap.
type Report struct {
	Sensor    string    `json:"sensor"`
	Interface string    `json:"interface"` // or the path of a capture file
	Start     time.Time `json:"start"`     // first packet; when the test began if none came
	End       time.Time `json:"end"`       // last packet, likewise
	Packets   uint64    `json:"packets"`
	Bytes     uint64    `json:"bytes"` // of whole frames
	Flows     uint64    `json:"flows"`
	Level     Level     `json:"level"` // the worst of all checks
	Verdicts  []Verdict `json:"verdicts"`
}

// Count is how many checks went so.
func (r *Report) Count(l Level) (n int) {
	for i := range r.Verdicts {
		if r.Verdicts[i].Level == l {
			n++
		}
	}
	return n
}

func (r *Report) add(v Verdict) {
	r.Verdicts = append(r.Verdicts, v)
	if slices.Index(levels, v.Level) > slices.Index(levels, r.Level) && v.Level != Unjudged {
		r.Level = v.Level
	}
}

// Event is the record as an event, to be stored and searched. Its identity is
// that of the tap, the time of the test, and what was found.
func (r *Report) Event() event.Event {
	h := event.NewHasher()
	h.Str(r.Sensor)
	h.Str(r.Interface)
	h.Str(string(event.KindTap))
	h.Time(r.Start)
	h.Time(r.End)
	for i := range r.Verdicts {
		h.Str(r.Verdicts[i].Says)
	}
	e := event.Event{
		ID: h.ID(r.End), Time: r.End, Kind: event.KindTap, Sensor: r.Sensor, Iface: r.Interface,
		Flow: event.Flow{Start: r.Start, End: r.End},
	}
	set := func(name string, v event.Value) {
		e.Fields = append(e.Fields, event.Field{Name: prefix + name, Value: v})
	}
	set("packets", event.Uint(r.Packets))
	set("bytes", event.Uint(r.Bytes))
	set("flows", event.Uint(r.Flows))
	set("level", event.Str(string(r.Level)))
	var says, fixes []event.Value
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		set(v.Check+".level", event.Str(string(v.Level)))
		if v.Share != nil {
			set(v.Check+".share", event.Float(*v.Share))
		}
		says = append(says, event.Str(v.Check+": "+v.Says))
		if v.Fix != "" {
			fixes = append(fixes, event.Str(v.Check+": "+v.Fix))
		}
	}
	set("says", event.List(says...))
	if len(fixes) > 0 {
		set("fix", event.List(fixes...))
	}
	return e
}

const prefix = "tocsin.tap."

// Fields documents the fields of events of event.KindTap.
func Fields() []event.FieldDoc {
	doc := func(name string, typ event.FieldType, help string) event.FieldDoc {
		return event.FieldDoc{Name: prefix + name, Type: typ, Help: help, Class: event.ClassTechnical}
	}
	docs := []event.FieldDoc{
		doc("bytes", event.Long, "Bytes of the frames that the tap test looked at."),
		doc("flows", event.Long, "Flows in them."),
		doc("level", event.Keyword, "How the tap test went: ok, warning or fault, the worst of its checks."),
		doc("packets", event.Long, "Packets that the tap test looked at."),
		{Name: prefix + "says", Type: event.Keyword, Help: "What each check of the tap test found, in words.", Class: event.ClassTopology},
		{Name: prefix + "fix", Type: event.Keyword, Help: "What to do about it.", Class: event.ClassTopology},
	}
	for _, c := range checks {
		docs = append(docs, doc(c.name+".level", event.Keyword, fmt.Sprintf("ok, warning, fault, or unjudged where there was too little to tell: %s.", c.help)))
		if c.share != "" {
			docs = append(docs, doc(c.name+".share", event.Double, fmt.Sprintf("%s, from 0 to 1.", strings.ToUpper(c.share[:1])+c.share[1:])))
		}
	}
	return docs
}
