// Package blocklist writes what people judged to be of attacks as lists that
// firewalls and sensors load: plain, CSV, nftables sets and IP reputation for
// Suricata. An entry expires: an address that attacked belongs to somebody else
// some weeks later.
package blocklist

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Entry is an address that is to be blocked.
type Entry struct {
	Address    netip.Addr
	Last       time.Time // when it attacked last
	Until      time.Time // when the entry expires
	Confidence int       // 1 to 100: the severity of the gravest alert
	Reason     string    // the title of its rule
	Alerts     int
}

// Rules say which alerts count.
type Rules struct {
	Now   time.Time     // entries that have expired by then are left out
	Valid time.Duration // how long an entry lives after the last attack
	// Keep reports whether an address must never be listed: the operator's own,
	// or whoever they depend on.
	Keep func(netip.Addr) bool
}

// Builder gathers alerts.
type Builder struct {
	rules Rules
	by    map[netip.Addr]*Entry
}

// New begins a list.
func New(r Rules) *Builder { return &Builder{r, map[netip.Addr]*Entry{}} }

// Add takes the sources of an alert that a person judged to be true, and what a
// reputation list names in it. Addresses of the inside are never listed.
func (b *Builder) Add(a *event.Alert) {
	if a.Triage.Verdict != "true_positive" {
		return
	}
	list := slices.Clone(a.Sources)
	if x, err := netip.ParseAddr(a.Indicator.Value); err == nil {
		list = append(list, x)
	}
	for _, x := range list {
		x = x.Unmap().WithZone("")
		if !x.IsGlobalUnicast() || x.IsPrivate() || b.rules.Keep != nil && b.rules.Keep(x) {
			continue
		}
		e := b.by[x]
		if e == nil {
			e = &Entry{Address: x}
			b.by[x] = e
		}
		e.Alerts++
		if a.Severity > e.Confidence || a.Severity == e.Confidence && a.Rule.Name < e.Reason {
			e.Confidence, e.Reason = a.Severity, a.Rule.Name
		}
		if a.Last.After(e.Last) {
			e.Last = a.Last.UTC()
		}
	}
}

// Entries are those that have not expired, by address.
func (b *Builder) Entries() (list []Entry) {
	for _, e := range b.by {
		if e.Until = e.Last.Add(b.rules.Valid); e.Until.After(b.rules.Now) {
			list = append(list, *e)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Address.Compare(b.Address) })
	return list
}

// Format is a way to write a list. now is when it is written.
type Format struct {
	Name  string
	Write func(w io.Writer, now time.Time, list []Entry) error
}

// Formats lists all.
func Formats() []Format {
	return []Format{{"plain", plain}, {"csv", table}, {"nft", nft}, {"iprep", iprep}}
}

func plain(w io.Writer, now time.Time, list []Entry) error {
	if _, err := fmt.Fprintf(w, "# Tocsin, %s: sources of attacks, as judged by people; addresses expire\n", now.UTC().Format(time.RFC3339)); err != nil {
		return err
	}
	for _, e := range list {
		if _, err := fmt.Fprintln(w, e.Address); err != nil {
			return err
		}
	}
	return nil
}

func table(w io.Writer, _ time.Time, list []Entry) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"address", "confidence", "description", "last_seen", "valid_until", "alerts"}); err != nil {
		return err
	}
	for _, e := range list {
		if err := c.Write([]string{e.Address.String(), strconv.Itoa(e.Confidence), inert(e.Reason), e.Last.Format(time.RFC3339), e.Until.Format(time.RFC3339), strconv.Itoa(e.Alerts)}); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// inert keeps a spreadsheet from taking a text for a formula.
func inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// nft writes a table with two sets whose elements the kernel forgets when they
// expire. nft -f replaces what an earlier list put there.
func nft(w io.Writer, now time.Time, list []Entry) error {
	var b strings.Builder
	b.WriteString("table inet tocsin\ndelete table inet tocsin\ntable inet tocsin {\n")
	for _, family := range []struct {
		set, kind string
		six       bool
	}{{"attackers4", "ipv4_addr", false}, {"attackers6", "ipv6_addr", true}} {
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tflags timeout\n", family.set, family.kind)
		var elements []string
		for _, e := range list {
			if e.Address.Is6() == family.six {
				elements = append(elements, fmt.Sprintf("%s timeout %ds", e.Address, int(e.Until.Sub(now)/time.Second)+1))
			}
		}
		if len(elements) > 0 {
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(elements, ",\n\t\t\t"))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// category is the number of the category in Suricata's file of categories; the
// line for it is: 1,Attacker,Source of an attack
const category = 1

// iprep writes address,category,score as Suricata reads it; scores go to 127.
func iprep(w io.Writer, _ time.Time, list []Entry) error {
	for _, e := range list {
		if _, err := fmt.Fprintf(w, "%s,%d,%d\n", e.Address, category, max(1, e.Confidence*127/100)); err != nil {
			return err
		}
	}
	return nil
}
