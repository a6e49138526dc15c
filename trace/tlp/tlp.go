// Package tlp is the Traffic Light Protocol, version 2.0 (FIRST, 2022): to whom
// what is shared may go on.
package tlp

import (
	"fmt"
	"strings"
)

// Level is a label. They are ordered: what carries a higher one may go to fewer.
type Level uint8

// Levels.
const (
	Clear       Level = iota // no limit
	Green                    // the community
	Amber                    // the recipient's organisation and its clients
	AmberStrict              // the recipient's organisation only
	Red                      // those who were there: nobody else
)

var names = [...]string{"CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"}

// String returns the label, such as TLP:AMBER+STRICT.
func (l Level) String() string { return "TLP:" + names[l] }

// Levels lists all, the lowest first.
func Levels() []Level { return []Level{Clear, Green, Amber, AmberStrict, Red} }

// Parse reads a label, with or without TLP: before it, in any case. WHITE, of
// the first version, is CLEAR.
func Parse(s string) (Level, error) {
	name := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "TLP:")
	if name == "WHITE" {
		return Clear, nil
	}
	for i, n := range names {
		if n == name {
			return Level(i), nil
		}
	}
	return Red, fmt.Errorf("tlp %q: want one of %s", s, strings.Join(names[:], ", "))
}

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(b []byte) (err error) {
	*l, err = Parse(string(b))
	return err
}

// STIX returns the identifier that OASIS fixed for the label's marking
// definition in STIX 2.1, and the label as the extension writes it.
func (l Level) STIX() (id, value string) {
	return "marking-definition--" + [...]string{
		"94868c89-83c2-464b-929b-a1a8aa3c8487", "bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "55d920b0-5e8b-4f79-9ee9-91f868d9b421",
		"939a9414-2ddd-4d32-a0cd-375ea402b003", "e828b379-4e03-4974-9ac4-e53a884c97c1",
	}[l], strings.ToLower(names[l])
}
