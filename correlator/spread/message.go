package spread

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// Version is that of the form of messages. A reader understands those of its own
// version and earlier ones.
const Version = 1

// ErrNewer is returned for a message of a later version: the reader must be
// replaced, for to skip the message would be to lose it.
var ErrNewer = errors.New("written by a later version of Tocsin; upgrade this correlator")

// Message is what is in the log of signals; one of the three is set.
type Message struct {
	Signal *correlator.Signal
	Loss   *correlator.Loss // in every partition
	Mark   *Mark            // in every partition
}

// wire is a message as it is written: one object of JSON.
type wire struct {
	Version int         `json:"v"`
	Signal  *wireSignal `json:"signal,omitempty"`
	Loss    *wireLoss   `json:"loss,omitempty"`
	Mark    *Mark       `json:"mark,omitempty"`
}

type wireSignal struct {
	Rule   string        `json:"rule"`
	Group  string        `json:"group,omitempty"`
	Shared string        `json:"shared,omitempty"`
	ID     event.ID      `json:"id"`
	Time   time.Time     `json:"time"`
	Sensor string        `json:"sensor,omitempty"`
	Source netip.Addr    `json:"source,omitzero"`
	Target netip.Addr    `json:"target,omitzero"`
	Places []event.Place `json:"places,omitempty"`
	Part   int           `json:"part,omitempty"`
	Value  *wireValue    `json:"value,omitempty"`
	Note   *wireNote     `json:"note,omitempty"`
	Then   []wireSignal  `json:"then,omitempty"`
}

type wireNote struct {
	Message   string           `json:"message,omitempty"`
	Severity  int              `json:"severity,omitempty"`
	Hosts     []string         `json:"hosts,omitempty"`
	Users     []string         `json:"users,omitempty"`
	Explain   []event.Explain  `json:"explain,omitempty"`
	Indicator *event.Indicator `json:"indicator,omitempty"`
}

type wireLoss struct {
	Sensor string    `json:"sensor"`
	Minute time.Time `json:"minute"`
	Share  float64   `json:"share"`
}

// wireValue keeps a value's type, which JSON would lose; one of them is set.
type wireValue struct {
	Str   *string     `json:"str,omitempty"`
	Int   *int64      `json:"int,omitempty"`
	Uint  *uint64     `json:"uint,omitempty"`  // beyond the range of Int
	Float string      `json:"float,omitempty"` // as text: JSON has no infinity
	Bool  *bool       `json:"bool,omitempty"`
	IP    netip.Addr  `json:"ip,omitzero"`
	Time  *time.Time  `json:"time,omitempty"`
	List  []wireValue `json:"list,omitempty"`
}

// Encode returns a message's text.
func Encode(m Message) ([]byte, error) {
	w := wire{Version: Version, Mark: m.Mark}
	if m.Signal != nil {
		s := pack(m.Signal)
		w.Signal = &s
	}
	if m.Loss != nil {
		w.Loss = &wireLoss{m.Loss.Sensor, m.Loss.Minute, m.Loss.Share}
	}
	return json.Marshal(w)
}

func pack(s *correlator.Signal) wireSignal {
	w := wireSignal{
		Rule: s.Rule.ID, Group: s.Group, Shared: s.Shared, ID: s.ID, Time: s.Time.UTC(), Sensor: s.Sensor,
		Source: s.Source, Target: s.Target, Places: s.Places, Part: s.Part,
	}
	if !s.Value.IsZero() {
		v := packValue(s.Value)
		w.Value = &v
	}
	if n := s.Note; n != nil {
		w.Note = &wireNote{Message: n.Message, Severity: n.Severity, Hosts: n.Hosts, Users: n.Users, Explain: n.Explain}
		if n.Indicator != (event.Indicator{}) {
			w.Note.Indicator = &n.Indicator
		}
	}
	for i := range s.Then {
		w.Then = append(w.Then, pack(&s.Then[i]))
	}
	return w
}

func packValue(v event.Value) (w wireValue) {
	switch v.Type() {
	case event.TypeNone: // of a list
	case event.TypeInt:
		n, _ := v.Int()
		w.Int = &n
	case event.TypeUint:
		n, _ := v.Uint()
		w.Uint = &n
	case event.TypeFloat:
		x, _ := v.Float()
		w.Float = strconv.FormatFloat(x, 'g', -1, 64)
	case event.TypeBool:
		b, _ := v.Bool()
		w.Bool = &b
	case event.TypeIP:
		w.IP, _ = v.IP()
	case event.TypeTime:
		t, _ := v.Time()
		t = t.UTC()
		w.Time = &t
	case event.TypeList:
		w.List = make([]wireValue, len(v.List()))
		for i, x := range v.List() {
			w.List[i] = packValue(x)
		}
	default: // an object is counted by its text
		s := v.String()
		w.Str = &s
	}
	return w
}

// Decode reads a message. Rules are found by rule, which returns nil for one that
// is not known. Its errors mean that the message is for the dead letters, but for
// ErrNewer.
func Decode(text []byte, rule func(id string) *correlator.Rule) (Message, error) {
	var w wire
	if err := json.Unmarshal(text, &w); err != nil {
		return Message{}, err
	}
	if w.Version > Version {
		return Message{}, fmt.Errorf("message of version %d: %w", w.Version, ErrNewer)
	}
	m := Message{Mark: w.Mark}
	switch {
	case w.Mark != nil:
		if p := w.Mark.Partition; p < 0 || p > math.MaxUint16 {
			return m, fmt.Errorf("mark of partition %d", p)
		}
	case w.Loss != nil:
		m.Loss = &correlator.Loss{Sensor: w.Loss.Sensor, Minute: w.Loss.Minute, Share: w.Loss.Share}
	case w.Signal != nil:
		s, err := unpack(w.Signal, rule)
		if err != nil {
			return m, err
		}
		m.Signal = &s
	default:
		return m, errors.New("neither signal nor loss nor mark")
	}
	return m, nil
}

func unpack(w *wireSignal, rule func(string) *correlator.Rule) (s correlator.Signal, err error) {
	s = correlator.Signal{
		Rule: rule(w.Rule), Group: w.Group, Shared: w.Shared, ID: w.ID, Time: w.Time, Sensor: w.Sensor,
		Source: w.Source, Target: w.Target, Places: w.Places, Part: w.Part,
	}
	if s.Rule == nil {
		return s, fmt.Errorf("rule %s is not known here; all correlators need the same rules", w.Rule)
	}
	if w.Value != nil {
		if s.Value, err = w.Value.unpack(); err != nil {
			return s, err
		}
	}
	if n := w.Note; n != nil {
		s.Note = &correlator.Note{Message: n.Message, Severity: n.Severity, Hosts: n.Hosts, Users: n.Users, Explain: n.Explain}
		if n.Indicator != nil {
			s.Note.Indicator = *n.Indicator
		}
	}
	for i := range w.Then {
		next, err := unpack(&w.Then[i], rule)
		if err != nil {
			return s, err
		}
		s.Then = append(s.Then, next)
	}
	return s, nil
}

func (w *wireValue) unpack() (event.Value, error) {
	switch {
	case w.Str != nil:
		return event.Str(*w.Str), nil
	case w.Int != nil:
		return event.Int(*w.Int), nil
	case w.Uint != nil:
		return event.Uint(*w.Uint), nil
	case w.Float != "":
		x, err := strconv.ParseFloat(w.Float, 64)
		if err != nil {
			return event.Value{}, fmt.Errorf("value: %w", err)
		}
		return event.Float(x), nil
	case w.Bool != nil:
		return event.Bool(*w.Bool), nil
	case w.IP.IsValid():
		return event.IP(w.IP), nil
	case w.Time != nil:
		return event.Time(*w.Time), nil
	case w.List != nil:
		list := make([]event.Value, len(w.List))
		for i := range w.List {
			var err error
			if list[i], err = w.List[i].unpack(); err != nil {
				return event.Value{}, err
			}
		}
		return event.List(list...), nil
	}
	return event.Value{}, nil
}
