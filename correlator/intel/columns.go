package intel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Columns names the columns or keys of a list of records: what Raw's parts are
// called there, the best name first.
type Columns struct {
	Value, Kind, Confidence, Reference, Description, TLP, Seen, Until []string
}

// CommonColumns are the names that published lists use.
var CommonColumns = Columns{
	Value: []string{"value", "indicator", "ioc", "ioc_value", "ip", "ip_address", "dst_ip", "dstip", "address", "network", "cidr", "prefix",
		"domain", "hostname", "host", "fqdn", "sha256", "sha1", "ja4", "ja3", "ja3_md5", "url"},
	Kind:        []string{"ioc_type", "type", "kind", "indicator_type"},
	Confidence:  []string{"confidence", "confidence_level", "score"},
	Reference:   []string{"reference", "urlhaus_link", "link", "sblid", "url"},
	Description: []string{"malware_printable", "malware", "listingreason", "threat", "description", "category", "comment"},
	TLP:         []string{"tlp"},
	Seen:        []string{"last_online", "last_seen_utc", "last_seen", "lastseen", "modified", "first_seen_utc", "first_seen", "firstseen", "dateadded", "listingdate"},
	Until:       []string{"valid_until", "expires", "expiration", "expiry", "until"},
}

// Record makes entries of records whose columns have names.
type Record struct {
	value, confidence, reference, description, tlp, seen, until, kind int
	byName                                                            Kind // what the name of the value's column says
}

// Record finds the columns among names; ok says that one of them is the value.
func (cs Columns) Record(names []string) (r Record, ok bool) {
	lower := make([]string, len(names))
	for i, n := range names {
		lower[i] = strings.ToLower(strings.TrimSpace(n))
	}
	find := func(wanted []string) int {
		for _, w := range wanted {
			if i := slices.Index(lower, w); i >= 0 {
				return i
			}
		}
		return -1
	}
	r = Record{
		value: find(cs.Value), kind: find(cs.Kind), confidence: find(cs.Confidence), reference: find(cs.Reference),
		description: find(cs.Description), tlp: find(cs.TLP), seen: find(cs.Seen), until: find(cs.Until),
	}
	if r.value < 0 {
		return r, false
	}
	switch lower[r.value] {
	case "sha1", "sha256":
		r.byName = Certificate
	case "ja3", "ja3_md5", "ja4":
		r.byName = Client
	case "url":
		r.byName = URL
	}
	if r.reference == r.value {
		r.reference = -1
	}
	return r, true
}

// Entry is the entry of one record. An entry of something that no sensor sees,
// such as the hash of a file, is an error.
func (r Record) Entry(get func(column int) string) (Raw, error) {
	text := func(i int) string {
		if i < 0 {
			return ""
		}
		return strings.TrimSpace(get(i))
	}
	e := Raw{Kind: r.byName, Value: text(r.value), Reference: text(r.reference), Description: text(r.description), TLP: TLP(text(r.tlp))}
	if e.Value == "" {
		return e, fmt.Errorf("no value")
	}
	var err error
	if t := text(r.kind); t != "" && e.Kind == "" {
		if e.Kind, err = kindOf(t, e.Value); err != nil {
			return e, err
		}
	}
	if c := text(r.confidence); c != "" {
		n, err := strconv.ParseFloat(c, 64)
		if err != nil || n < 0 || n > 100 {
			return e, fmt.Errorf("confidence %q: want a number from 0 to 100", c)
		}
		e.Confidence = int(n)
	}
	if e.Seen, err = When(text(r.seen)); err != nil {
		return e, err
	}
	if e.Until, err = When(text(r.until)); err != nil {
		return e, err
	}
	return e, nil
}

// kindOf understands the names that lists have for kinds of values.
func kindOf(name, value string) (Kind, error) {
	switch n := strings.ToLower(name); {
	case strings.Contains(n, "ja3"), strings.Contains(n, "ja4"):
		return Client, nil
	case strings.Contains(n, "x509"), strings.Contains(n, "cert"):
		return Certificate, nil
	case strings.Contains(n, "md5"), strings.Contains(n, "sha1"), strings.Contains(n, "sha256"), strings.Contains(n, "sha512"), strings.Contains(n, "file"), strings.Contains(n, "mail"):
		return "", fmt.Errorf("%s %q cannot be seen in traffic", name, value)
	case strings.Contains(n, "url"), strings.Contains(n, "uri"):
		return URL, nil
	}
	return "", nil // by its looks
}

// times are the forms in which lists write times, which are UTC unless said.
var times = []string{time.RFC3339Nano, time.DateTime, "2006-01-02 15:04:05 MST", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly}

// When reads a time as lists write it, or Unix seconds; the zero time of an
// empty text, and of the words none and null.
func When(s string) (time.Time, error) {
	switch strings.ToLower(s) {
	case "", "none", "null", "n/a", "0":
		return time.Time{}, nil
	}
	for _, form := range times {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<32 {
		return time.Unix(n, 0).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: want one like 2026-01-31 or 2026-01-31T12:00:00Z", s)
}
