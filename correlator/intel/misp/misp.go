// Package misp reads events of MISP: the files of a MISP feed, exports of one
// event, and answers of its search. Of an event's attributes those count that
// are marked for detection (to_ids). Source: MISP core format,
// draft-dulaunoy-misp-core-format.
package misp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Format is the format of MISP events.
var Format = intel.Format{Name: "misp", Detect: detect, Read: read}

func detect(head []byte) bool {
	compact := bytes.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, head)
	for _, begin := range []string{`{"Event":{`, `[{"Event":{`, `{"response":[{"Event":`} {
		if bytes.HasPrefix(compact, []byte(begin)) {
			return true
		}
	}
	return false
}

type tag struct {
	Name string `json:"name"`
}

type attribute struct {
	Type      string `json:"type"`
	Value     string `json:"value"`
	ToIDs     bool   `json:"to_ids"`
	Comment   string `json:"comment"`
	Timestamp text   `json:"timestamp"`
	LastSeen  string `json:"last_seen"`
	Deleted   bool   `json:"deleted"`
	Tag       []tag  `json:"Tag"`
	line      int
}

// text is a JSON string or number: MISP writes times as either.
type text string

// UnmarshalJSON takes a string or a number.
func (t *text) UnmarshalJSON(b []byte) error {
	*t = text(bytes.Trim(b, `"`))
	return nil
}

type event struct {
	info, uuid string
	tags       []tag
	attributes []attribute
}

func read(r io.Reader, add func(int, intel.Raw), bad func(int, error)) error {
	d, err := intel.ReadDocument(r)
	if err != nil {
		return err
	}
	for d.More() {
		if err := readValue(d, add, bad); err != nil {
			return err
		}
	}
	return nil
}

// readValue reads {"Event": …}, an array of those, or one in {"response": …}.
func readValue(d *intel.Document, add func(int, intel.Raw), bad func(int, error)) error {
	return d.Each(func(int) error {
		return d.Fields(func(name string) error {
			switch name {
			case "response":
				return readValue(d, add, bad)
			case "Event":
				return readEvent(d, add, bad)
			}
			return d.Skip()
		})
	})
}

func readEvent(d *intel.Document, add func(int, intel.Raw), bad func(int, error)) error {
	var e event
	attributes := func() error {
		return d.Each(func(line int) error {
			a := attribute{line: line}
			if err := decode(d, &a, line, bad); err != nil {
				return err
			}
			e.attributes = append(e.attributes, a)
			return nil
		})
	}
	err := d.Fields(func(name string) error {
		line := d.Line()
		switch name {
		case "info":
			return decode(d, &e.info, line, bad)
		case "uuid":
			return decode(d, &e.uuid, line, bad)
		case "Tag":
			return decode(d, &e.tags, line, bad)
		case "Attribute":
			return attributes()
		case "Object":
			return d.Each(func(int) error {
				return d.Fields(func(name string) error {
					if name == "Attribute" {
						return attributes()
					}
					return d.Skip()
				})
			})
		}
		return d.Skip()
	})
	if err != nil {
		return err
	}
	// What an event is called and marked with may stand after its attributes.
	for _, a := range e.attributes {
		if !a.ToIDs || a.Deleted {
			continue
		}
		raws, err := a.entries(&e)
		if err != nil {
			bad(a.line, err)
			continue
		}
		for _, raw := range raws {
			add(a.line, raw)
		}
	}
	return nil
}

// decode takes the next value; one of another type than expected is bad, and
// no reason to give up the rest.
func decode(d *intel.Document, v any, line int, bad func(int, error)) error {
	err := d.Decode(v)
	var other *json.UnmarshalTypeError
	if errors.As(err, &other) {
		bad(line, err)
		return nil
	}
	return err
}

func (a *attribute) entries(e *event) ([]intel.Raw, error) {
	raw := intel.Raw{Description: cmp.Or(a.Comment, e.info), Reference: e.uuid, Confidence: confidence(a.Tag, e.tags)}
	for _, t := range append(a.Tag, e.tags...) {
		if level, ok := strings.CutPrefix(strings.ToLower(t.Name), "tlp:"); ok && raw.TLP == "" {
			raw.TLP = intel.TLP(level)
		}
	}
	var err error
	if raw.Seen, err = intel.When(cmp.Or(a.LastSeen, string(a.Timestamp))); err != nil {
		return nil, err
	}
	raw.Seen = raw.Seen.Truncate(time.Second)
	first, second, _ := strings.Cut(a.Value, "|")
	of := func(kind intel.Kind, value string) intel.Raw {
		r := raw
		r.Kind, r.Value = kind, value
		return r
	}
	switch a.Type {
	case "ip-src", "ip-dst", "ip-src|port", "ip-dst|port":
		return []intel.Raw{of(intel.Address, first)}, nil
	case "domain", "hostname", "hostname|port":
		return []intel.Raw{of(intel.Name, first)}, nil
	case "domain|ip":
		return []intel.Raw{of(intel.Name, first), of(intel.Address, second)}, nil
	case "url", "link":
		return []intel.Raw{of(intel.URL, a.Value)}, nil
	case "x509-fingerprint-sha1", "x509-fingerprint-sha256":
		return []intel.Raw{of(intel.Certificate, a.Value)}, nil
	case "ja3-fingerprint-md5", "ja4-plus":
		return []intel.Raw{of(intel.Client, a.Value)}, nil
	}
	return nil, fmt.Errorf("attribute of type %q: addresses, names, URLs and fingerprints are looked up", a.Type)
}

// confidence understands the estimative language of MISP's taxonomies.
func confidence(lists ...[]tag) int {
	for _, tags := range lists {
		for _, t := range tags {
			level, ok := strings.CutPrefix(strings.ToLower(t.Name), "misp:confidence-level=")
			if !ok {
				continue
			}
			switch strings.Trim(level, `"`) {
			case "completely-confident":
				return 100
			case "usually-confident":
				return 75
			case "fairly-confident":
				return 50
			case "rarely-confident":
				return 25
			case "unconfident":
				return 1
			}
		}
	}
	return 0
}
