package log

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Record is a line as text: the values of each key, one or a list. Of objects
// within objects the names are joined by dots; of lists of objects, the values
// of one name are a list.
type Record map[string][]string

// Bounds of a record: how deep objects are looked into, how many values of a
// name are kept, and how many bytes of a value.
const (
	maxDepth  = 8
	maxValues = 64
	maxText   = 4096
)

// ReadJSON fills the record from an object. Texts are cut at their bound.
func (r Record) ReadJSON(line []byte) error {
	clear(r)
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the object is cut off")
		}
		return fmt.Errorf("no valid JSON: %w", err)
	}
	for _, k := range slices.Sorted(maps.Keys(v)) {
		r.flatten(k, v[k], 0)
	}
	return nil
}

func (r Record) flatten(name string, v any, depth int) {
	switch v := v.(type) {
	case map[string]any:
		if depth < maxDepth {
			// In order, for two ways of writing may lead to one name.
			for _, k := range slices.Sorted(maps.Keys(v)) {
				r.flatten(name+"."+k, v[k], depth+1)
			}
		}
	case []any:
		if depth < maxDepth {
			for _, x := range v {
				r.flatten(name, x, depth+1)
			}
		}
	case string:
		r.Add(name, v)
	case json.Number:
		r.Add(name, v.String())
	case bool:
		r.Add(name, strconv.FormatBool(v))
	}
}

// Add adds a value.
func (r Record) Add(name, v string) {
	if len(r[name]) < maxValues {
		r[name] = append(r[name], v)
	}
}

// Str returns the first value of a name, "" if there is none.
func (r Record) Str(name string) string {
	if vs := r[name]; len(vs) > 0 {
		return vs[0]
	}
	return ""
}

// Bool reports whether the value says yes: T, true or 1.
func (r Record) Bool(name string) bool {
	v := r.Str(name)
	return v == "T" || v == "true" || v == "1"
}

// Num returns a number that is not negative, 0 if there is none.
func (r Record) Num(name string) uint64 {
	n, err := strconv.ParseUint(r.Str(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Addr returns an address; it is not valid if there is none.
func (r Record) Addr(name string) netip.Addr {
	a, err := netip.ParseAddr(r.Str(name))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// Port returns a port.
func (r Record) Port(name string) uint16 { return uint16(min(r.Num(name), 65535)) }

// A Column says which field a name becomes.
type Column struct {
	Theirs, Ours string
	Type         event.FieldType
}

// Columns parses a table of columns: theirs, ours and the type, divided by tabs;
// # begins a comment. [section] begins the table of a type of lines.
func Columns(table string) map[string][]Column {
	m := map[string][]Column{}
	section := ""
	for line := range strings.Lines(table) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			m[section] = nil
		default:
			w := strings.Split(line, "\t")
			m[section] = append(m[section], Column{w[0], w[1], event.FieldType(w[2])})
		}
	}
	return m
}

// Set gives e the fields of the columns that the record has. A value that is not
// of the column's type is left out.
func (r Record) Set(e *event.Event, columns []Column) {
	for _, c := range columns {
		var vs []event.Value
		for _, text := range r[c.Theirs] {
			if v := value(text, c.Type); !v.IsZero() {
				vs = append(vs, v)
			}
		}
		switch len(vs) {
		case 0:
		case 1:
			e.Set(c.Ours, vs[0])
		default:
			e.Set(c.Ours, event.List(vs...))
		}
	}
}

// Text is a text of bounded length, as events hold it.
func Text(s string) event.Value {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return event.Text([]byte(s))
}

func value(text string, typ event.FieldType) event.Value {
	switch typ {
	case event.Long:
		if n, err := strconv.ParseInt(text, 0, 64); err == nil {
			return event.Int(n)
		}
		return event.Value{}
	case event.Double:
		if f, err := strconv.ParseFloat(text, 64); err == nil && f == f {
			return event.Float(f)
		}
		return event.Value{}
	case event.Boolean:
		switch text {
		case "T", "true":
			return event.Bool(true)
		case "F", "false":
			return event.Bool(false)
		}
		return event.Value{}
	case event.IPType:
		a, err := netip.ParseAddr(text)
		if err != nil {
			return event.Value{}
		}
		return event.IP(a.Unmap())
	case event.Date:
		at, err := ParseTime(text)
		if err != nil {
			return event.Value{}
		}
		return event.Time(at)
	}
	if text == "" {
		return event.Value{}
	}
	return Text(text)
}

// timeLayouts are how logs write times: RFC 3339, with and without the colon in
// the offset, and without any offset, which means UTC.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700", "2006-01-02T15:04:05.999999999"}

// Times that an ID can carry: from 1970 and well within its 48 bits.
const (
	firstYear = 1970
	lastYear  = 2200
)

// ParseTime reads seconds since 1970 with a fraction, or RFC 3339.
func ParseTime(s string) (time.Time, error) {
	at, err := parseTime(s)
	if err == nil && (at.Year() < firstYear || at.Year() > lastYear) {
		err = fmt.Errorf("time %q is not between %d and %d", s, firstYear, lastYear)
	}
	return at, err
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, errors.New("no time")
	}
	if strings.Trim(s, "0123456789.") == "" {
		whole, fraction, _ := strings.Cut(s, ".")
		fraction = (fraction + "000000000")[:9]
		sec, err := strconv.ParseInt(whole, 10, 40)
		nano, err2 := strconv.ParseInt(fraction, 10, 32)
		if err != nil || err2 != nil {
			return time.Time{}, fmt.Errorf("time %q: want seconds since 1970", s)
		}
		return time.Unix(sec, nano).UTC(), nil
	}
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q: want RFC 3339 or seconds since 1970", s)
}

// Identify gives an event the id that its line has, however often it is read.
func Identify(e *event.Event, format, typ string, line []byte) {
	h := event.NewHasher()
	h.Str("log")
	h.Str(format)
	h.Str(typ)
	h.Bytes(line)
	e.ID = h.ID(e.Time)
}

// Transport returns the number of a transport protocol by its name.
func Transport(name string) uint8 {
	switch strings.ToLower(name) {
	case "tcp":
		return event.ProtoTCP
	case "udp":
		return event.ProtoUDP
	case "icmp":
		return event.ProtoICMP
	case "ipv6-icmp", "icmp6", "icmpv6":
		return event.ProtoICMPv6
	case "sctp":
		return event.ProtoSCTP
	}
	n, _ := strconv.ParseUint(name, 10, 8) // 0 for a name, which says nothing
	return uint8(n)
}

// Operation says what kind of act an industrial function is, by its name in
// words, in ics.operation's words; "" if the name does not tell.
func Operation(name string) string {
	name = strings.ToLower(name)
	for _, o := range operations {
		if slices.ContainsFunc(o.words, func(w string) bool { return strings.Contains(name, w) }) {
			return o.operation
		}
	}
	return ""
}

// operations are words in the names of functions, the more telling ones first.
var operations = []struct {
	operation string
	words     []string
}{
	{"mode", []string{"plc stop", "plc control", "stop", "restart", "reset", "initialize_application", "start_application"}},
	{"program", []string{"download", "save", "create", "delete"}},
	{"upload", []string{"upload"}},
	{"control", []string{"operate", "select", "freeze"}},
	{"firmware", []string{"activate_config"}},
	{"discover", []string{"identi", "server_id", "list services", "list interfaces"}},
	{"diagnose", []string{"diagnos", "exception_status", "comm_event"}},
	{"auth", []string{"authenticat", "password"}},
	{"session", []string{"setup communication", "register session", "forward open", "forward close", "confirm"}},
	{"report", []string{"unsolicited"}},
	{"time", []string{"time"}},
	{"write", []string{"write", "set attribute", "set_attribute"}},
	{"read", []string{"read", "get attribute", "get_attribute"}},
}
