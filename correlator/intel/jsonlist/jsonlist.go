// Package jsonlist reads lists of JSON objects, one a line or in an array,
// whose members are named as columns of CSV are: the DROP lists of Spamhaus are
// such lists. An object without a value, such as one with the list's own date,
// is passed over.
package jsonlist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Format is the format of JSON objects with the names that lists commonly use.
var Format = Mapped(intel.CommonColumns)

// Mapped is the format of JSON objects with names of its own.
func Mapped(columns intel.Columns) intel.Format {
	return intel.Format{
		Name:   "json",
		Detect: detect,
		Read: func(r io.Reader, add func(int, intel.Raw), bad func(int, error)) error {
			return read(r, columns, add, bad)
		},
	}
}

// detect takes any JSON: other formats of JSON stand before it in the list.
func detect(head []byte) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

func read(r io.Reader, columns intel.Columns, add func(int, intel.Raw), bad func(int, error)) error {
	d, err := intel.ReadDocument(r)
	if err != nil {
		return err
	}
	for d.More() {
		err := d.Each(func(line int) error {
			var object map[string]any
			if err := d.Decode(&object); err != nil {
				var other *json.UnmarshalTypeError
				if errors.As(err, &other) {
					bad(line, fmt.Errorf("a %s where an object is wanted", other.Value))
					return nil
				}
				return err
			}
			var names, values []string
			for name, v := range object {
				names, values = append(names, name), append(values, text(v))
			}
			record, ok := columns.Record(names)
			if !ok {
				return nil
			}
			e, err := record.Entry(func(column int) string { return values[column] })
			if err != nil {
				bad(line, err)
				return nil
			}
			add(line, e)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}
