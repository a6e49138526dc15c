// Package stix reads bundles of STIX 2.1 (and 2.0) and envelopes of TAXII 2.1:
// their indicators whose patterns say that one value was seen. Source: STIX
// Version 2.1, OASIS Standard, sections 4.7 and 9.
package stix

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Format is the format of STIX bundles.
var Format = intel.Format{Name: "stix", Detect: detect, Read: read}

func detect(head []byte) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	return bytes.HasPrefix(head, []byte("{")) &&
		(bytes.Contains(head, []byte(`"bundle--`)) || bytes.Contains(head, []byte(`"spec_version"`)) ||
			bytes.Contains(head, []byte(`"objects"`)) && bytes.Contains(head, []byte(`--`)))
}

type object struct {
	Type        string   `json:"type"`
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Pattern     string   `json:"pattern"`
	PatternType string   `json:"pattern_type"`
	ValidFrom   string   `json:"valid_from"`
	ValidUntil  string   `json:"valid_until"`
	Modified    string   `json:"modified"`
	Confidence  *int     `json:"confidence"`
	Revoked     bool     `json:"revoked"`
	Markings    []string `json:"object_marking_refs"`
	Definition  struct {
		TLP string `json:"tlp"`
	} `json:"definition"`
	line int
}

// markings are the identifiers that the standards gave to TLP: STIX 2.1 section
// 7.2.1.4 (TLP 1.0), and the TLP 2.0 extension of OASIS.
var markings = map[string]string{
	"marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": "CLEAR",
	"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": "GREEN",
	"marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": "AMBER",
	"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "RED",
	"marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487": "CLEAR",
	"marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb": "GREEN",
	"marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421": "AMBER",
	"marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003": "AMBER+STRICT",
	"marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1": "RED",
}

func read(r io.Reader, add func(int, intel.Raw), bad func(int, error)) error {
	d, err := intel.ReadDocument(r)
	if err != nil {
		return err
	}
	latest := map[string]object{} // by id: a bundle may hold several versions
	var ids []string
	own := map[string]string{} // markings that the bundle defines
	for d.More() {
		err := d.Fields(func(name string) error {
			if name != "objects" {
				return d.Skip()
			}
			return d.Each(func(line int) error {
				o := object{line: line}
				err := d.Decode(&o)
				var other *json.UnmarshalTypeError
				if errors.As(err, &other) {
					bad(line, err)
					return nil
				}
				if err != nil {
					return err
				}
				switch o.Type {
				case "marking-definition":
					if tlp := intel.TLP(o.Definition.TLP); tlp != "" {
						own[o.ID] = tlp
					} else if tlp := intel.TLP(o.Name); tlp != "" {
						own[o.ID] = tlp
					}
				case "indicator":
					old, ok := latest[o.ID]
					if !ok {
						ids = append(ids, o.ID)
					}
					if !ok || o.Modified >= old.Modified {
						latest[o.ID] = o
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	for _, id := range ids {
		o := latest[id]
		if o.Revoked {
			continue
		}
		raws, err := o.entries(own)
		if err != nil {
			bad(o.line, err)
			continue
		}
		for _, raw := range raws {
			add(o.line, raw)
		}
	}
	return nil
}

func (o *object) entries(own map[string]string) ([]intel.Raw, error) {
	if o.PatternType != "" && o.PatternType != "stix" {
		return nil, fmt.Errorf("%s: its pattern is of type %s: want stix", o.ID, o.PatternType)
	}
	values, err := values(o.Pattern)
	if err != nil {
		return nil, fmt.Errorf("%s: pattern %.200s: %w", o.ID, o.Pattern, err)
	}
	raw := intel.Raw{Reference: o.ID, Description: strings.TrimSpace(o.Name)}
	if raw.Description == "" {
		raw.Description, _, _ = strings.Cut(o.Description, "\n")
	}
	if o.Confidence != nil {
		// 0 is "none" here, not "not said".
		raw.Confidence = max(*o.Confidence, 1)
	}
	for _, m := range o.Markings {
		raw.TLP = intel.Stricter(raw.TLP, cmp.Or(markings[m], own[m]))
	}
	if raw.Seen, err = intel.When(o.Modified); err != nil {
		return nil, fmt.Errorf("%s: modified: %w", o.ID, err)
	}
	if from, err := intel.When(o.ValidFrom); err == nil && from.After(raw.Seen) {
		raw.Seen = from
	}
	if raw.Until, err = intel.When(o.ValidUntil); err != nil {
		return nil, fmt.Errorf("%s: valid_until: %w", o.ID, err)
	}
	var raws []intel.Raw
	for _, v := range values {
		r := raw
		r.Kind, r.Value = v.kind, v.text
		raws = append(raws, r)
	}
	return raws, nil
}
