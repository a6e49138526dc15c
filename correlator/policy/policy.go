// Package policy says who may do what to which industrial device, on which
// objects, in which range and when, and reports what is done beyond it. A
// policy is a file that a person keeps; Learner proposes one from what was seen.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/correlator/setting"
)

// Policy is a file: names for devices, talkers and times, and what is allowed.
// What it does not allow is a violation.
type Policy struct {
	Devices []Device `yaml:"devices"`
	Talkers []Talker `yaml:"talkers"`
	Windows []Window `yaml:"windows"`
	Allow   []Grant  `yaml:"allow"`

	hash string // of the text
}

// Device is what is operated: an address with one of its units, or all.
type Device struct {
	Name      string      `yaml:"name"`
	Addresses []addresses `yaml:"addresses"`
	Units     []int64     `yaml:"units"` // empty: any
}

// Talker is who operates.
type Talker struct {
	Name      string      `yaml:"name"`
	Addresses []addresses `yaml:"addresses"`
}

// addresses is an address or a prefix.
type addresses struct{ netip.Prefix }

// UnmarshalYAML takes an address or a prefix.
func (a *addresses) UnmarshalYAML(n *yaml.Node) error {
	p, err := netip.ParsePrefix(n.Value)
	if err != nil {
		addr, err := netip.ParseAddr(n.Value)
		if err != nil {
			return fmt.Errorf("line %d: %q is no address or prefix", n.Line, n.Value)
		}
		p = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
	}
	a.Prefix = p.Masked()
	return nil
}

// String is the address, or the prefix if it has several.
func (a addresses) String() string {
	if a.IsSingleIP() {
		return a.Addr().String()
	}
	return a.Prefix.String()
}

// Window is a time of the week.
type Window struct {
	Name string   `yaml:"name"`
	Days []string `yaml:"days"` // mon … sun, of the window's start; empty: every day
	From string   `yaml:"from"` // "02:00"
	To   string   `yaml:"to"`   // exclusive; before From: on the next day
	Zone string   `yaml:"zone"` // IANA name of the time zone; UTC, if not given

	from, to time.Duration // since midnight
	days     [7]bool       // by time.Weekday
	zone     *time.Location
}

// Grant allows something.
type Grant struct {
	Who        []string  `yaml:"who"`        // talkers
	To         []string  `yaml:"to"`         // devices
	Protocol   string    `yaml:"protocol"`   // ics.protocol; empty: any
	Operations []string  `yaml:"operations"` // ics.operation
	Functions  []int64   `yaml:"functions"`  // ics.function.code; empty: any of the operations
	Objects    []Objects `yaml:"objects"`    // empty: any
	Values     *Range    `yaml:"values"`     // of what is written; not given: any
	When       []string  `yaml:"when"`       // windows; empty: always
	Select     bool      `yaml:"select"`     // what is executed must have been selected before
	// Every is how often it is done, such as 2s, if it is done all the time;
	// then silence is a violation, too.
	Every string `yaml:"every"`

	every time.Duration
}

// Objects is objects of one type: all, or those from one address to another.
type Objects struct {
	Type     string
	From, To int64 // inclusive
}

// all is the last address of a type.
const all = math.MaxInt64

var objectsForm = regexp.MustCompile(`^(\S+?)(?: (\d+)(?:-(\d+))?)?$`)

// UnmarshalYAML takes "coil", "coil 17" or "holding_register 0-20".
func (o *Objects) UnmarshalYAML(n *yaml.Node) error {
	m := objectsForm.FindStringSubmatch(n.Value)
	if m == nil {
		return fmt.Errorf("line %d: objects %q: want a type, or a type and addresses, such as coil 17 or holding_register 0-20", n.Line, n.Value)
	}
	*o = Objects{Type: m[1], To: all}
	var err error
	if m[2] != "" {
		if o.From, err = strconv.ParseInt(m[2], 10, 64); err == nil {
			o.To = o.From
		}
	}
	if err == nil && m[3] != "" {
		o.To, err = strconv.ParseInt(m[3], 10, 64)
	}
	if err != nil || o.To < o.From {
		return fmt.Errorf("line %d: objects %q: want addresses from the lower to the higher", n.Line, n.Value)
	}
	return nil
}

// String is the form in which a policy has it.
func (o Objects) String() string {
	switch {
	case o.From == 0 && o.To == all:
		return o.Type
	case o.From == o.To:
		return fmt.Sprintf("%s %d", o.Type, o.From)
	}
	return fmt.Sprintf("%s %d-%d", o.Type, o.From, o.To)
}

// Range is of values, both ends inclusive.
type Range struct {
	From float64 `yaml:"from"`
	To   float64 `yaml:"to"`
}

// maxFile bounds a policy, in bytes.
const maxFile = 16 << 20

// Load reads a policy. What is wrong with it is named with its line.
func Load(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("longer than %d MB", maxFile>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %s: %w", path, err)
	}
	p, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("policy: %s: %w", path, err)
	}
	return p, nil
}

// Parse reads the text of a policy.
func Parse(text []byte) (*Policy, error) {
	p := &Policy{hash: digest(text)}
	if err := setting.Decode(bytes.NewReader(text), p); err != nil {
		return nil, err
	}
	return p, p.settle()
}

// operations are the values of ics.operation.
var operations = []string{"read", "write", "control", "program", "upload", "mode", "firmware", "diagnose", "discover", "report", "time", "session", "auth"}

func (p *Policy) settle() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	taken := map[string]string{}
	take := func(what, name string) {
		if name == "" {
			bad("a %s has no name", what)
		} else if other := taken[name]; other != "" {
			bad("the name %s is both a %s's and a %s's", name, other, what)
		}
		taken[name] = what
	}
	for _, d := range p.Devices {
		take("device", d.Name)
		if len(d.Addresses) == 0 {
			bad("device %s has no addresses", d.Name)
		}
	}
	for _, t := range p.Talkers {
		take("talker", t.Name)
		if len(t.Addresses) == 0 {
			bad("talker %s has no addresses", t.Name)
		}
	}
	for i := range p.Windows {
		take("window", p.Windows[i].Name)
		if err := p.Windows[i].settle(); err != nil {
			bad("window %s: %w", p.Windows[i].Name, err)
		}
	}
	known := func(grant int, what string, names []string) {
		for _, n := range names {
			if taken[n] != what {
				bad("allow %d: %s is no %s of this policy", grant, n, what)
			}
		}
	}
	for i := range p.Allow {
		g := &p.Allow[i]
		known(i+1, "talker", g.Who)
		known(i+1, "device", g.To)
		known(i+1, "window", g.When)
		if len(g.Who) == 0 || len(g.To) == 0 || len(g.Operations) == 0 {
			bad("allow %d: want who, to and operations", i+1)
		}
		for _, o := range g.Operations {
			if !slices.Contains(operations, o) {
				bad("allow %d: operation %q: want one of %s", i+1, o, strings.Join(operations, ", "))
			}
		}
		if g.Values != nil && g.Values.To < g.Values.From {
			bad("allow %d: values from %g to %g: want the lower first", i+1, g.Values.From, g.Values.To)
		}
		if g.Every == "" {
			continue
		}
		var err error
		if g.every, err = time.ParseDuration(g.Every); err != nil || g.every <= 0 {
			bad("allow %d: every %q: want a duration such as 2s", i+1, g.Every)
		}
		if g.Protocol == "" || len(g.When) > 0 {
			bad("allow %d: every: want a protocol, and no when", i+1)
		}
	}
	return errors.Join(errs...)
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (w *Window) settle() error {
	for _, d := range w.Days {
		i := slices.Index(weekdays, strings.ToLower(d))
		if i < 0 {
			return fmt.Errorf("day %q: want one of %s", d, strings.Join(weekdays, ", "))
		}
		w.days[i] = true
	}
	if len(w.Days) == 0 {
		w.days = [7]bool{true, true, true, true, true, true, true}
	}
	clock := func(s string) (time.Duration, error) {
		t, err := time.Parse("15:04", s)
		if err != nil {
			return 0, fmt.Errorf("time %q: want one like 02:00", s)
		}
		return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
	}
	var err error
	if w.from, err = clock(w.From); err != nil {
		return err
	}
	if w.to, err = clock(w.To); err != nil {
		return err
	}
	if w.from == w.to {
		return errors.New("from and to are the same")
	}
	w.zone, err = time.LoadLocation(w.Zone)
	if err != nil {
		return fmt.Errorf("zone %q: want a name of the IANA data base, such as Europe/Berlin", w.Zone)
	}
	return nil
}

// holds reports whether a time lies in the window. Clocks that are put forward
// or back within a window lengthen or shorten it.
func (w *Window) holds(at time.Time) bool {
	at = at.In(w.zone)
	day := at.Weekday()
	clock := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second
	if w.from < w.to {
		return w.days[day] && clock >= w.from && clock < w.to
	}
	return w.days[day] && clock >= w.from || w.days[(day+6)%7] && clock < w.to
}

// String is for people: "maintenance (sat, sun 02:00–04:00 Europe/Berlin)".
func (w *Window) String() string {
	days := ""
	if len(w.Days) > 0 {
		days = strings.Join(w.Days, ", ") + " "
	}
	return fmt.Sprintf("%s (%s%s–%s %s)", w.Name, days, w.From, w.To, w.zone)
}
