package intel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Document is a JSON text of which parts are taken one by one, each with the
// line it begins in. It may hold several JSON values, one after the other.
type Document struct {
	text    []byte
	dec     *json.Decoder
	counted int64 // lines were counted up to here
	line    int
}

// ReadDocument reads all of r, which may be at most MaxDocument bytes.
func ReadDocument(r io.Reader) (*Document, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("longer than %d MB; split it", MaxDocument>>20)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	return &Document{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1}, nil
}

// Line is the line of the value that comes next.
func (d *Document) Line() int {
	at := d.dec.InputOffset()
	for at < int64(len(d.text)) && bytes.IndexByte([]byte(" \t\r\n,:"), d.text[at]) >= 0 {
		at++
	}
	d.line += bytes.Count(d.text[d.counted:at], []byte("\n"))
	d.counted = at
	return d.line
}

// Each calls f for the elements of the array that comes next, or for a value
// that is no array alone. f must take exactly one value with Decode or Fields.
func (d *Document) Each(f func(line int) error) error {
	if d.next() != '[' {
		return f(d.Line())
	}
	if _, err := d.dec.Token(); err != nil {
		return d.explain(err)
	}
	for d.dec.More() {
		if err := f(d.Line()); err != nil {
			return err
		}
	}
	_, err := d.dec.Token()
	return d.explain(err)
}

// Fields calls f for the members of the object that comes next. f must take
// exactly one value.
func (d *Document) Fields(f func(name string) error) error {
	if d.next() != '{' {
		return fmt.Errorf("line %d: want an object", d.Line())
	}
	if _, err := d.dec.Token(); err != nil {
		return d.explain(err)
	}
	for d.dec.More() {
		name, err := d.dec.Token()
		if err != nil {
			return d.explain(err)
		}
		if err := f(name.(string)); err != nil {
			return err
		}
	}
	_, err := d.dec.Token()
	return d.explain(err)
}

// Decode takes the value that comes next. A value of another type than v is no
// error of the document: it is returned as *json.UnmarshalTypeError.
func (d *Document) Decode(v any) error { return d.explain(d.dec.Decode(v)) }

// Skip passes over the value that comes next.
func (d *Document) Skip() error {
	var raw json.RawMessage
	return d.Decode(&raw)
}

// More reports whether another value comes after the one taken last.
func (d *Document) More() bool { return d.next() != 0 }

// next is the first byte of the value that comes next, 0 at the end.
func (d *Document) next() byte {
	for at := d.dec.InputOffset(); at < int64(len(d.text)); at++ {
		if bytes.IndexByte([]byte(" \t\r\n,:"), d.text[at]) < 0 {
			return d.text[at]
		}
	}
	return 0
}

// explain adds the line to an error of syntax.
func (d *Document) explain(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at := min(max(syntax.Offset, 0), int64(len(d.text)))
		return fmt.Errorf("line %d: %w", 1+bytes.Count(d.text[:at], []byte("\n")), err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("line %d: the text ends within a value", 1+bytes.Count(d.text, []byte("\n")))
	}
	return err
}
