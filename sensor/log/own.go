package log

import (
	"bytes"
	"errors"

	"github.com/tocsin/tocsin/event"
)

// Own is the format of our own events, as tocsin events prints them.
func Own(schema *event.Schema) Format {
	return Format{
		Name:      "tocsin",
		Recognise: func(head []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{")) },
		New:       func(string) Reader { return own{schema} },
	}
}

type own struct{ schema *event.Schema }

func (o own) Read(line []byte, e *event.Event) (bool, error) {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return false, nil
	}
	if err := o.schema.Decode(line, e); err != nil {
		return false, err
	}
	if e.Time.IsZero() || e.ID.IsZero() {
		return false, errors.New("no @timestamp or no event.id: this is no event of tocsin events")
	}
	return true, nil
}
