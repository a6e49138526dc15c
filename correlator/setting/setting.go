// Package setting reads the YAML files that an operator keeps: feeds, assets, a
// policy. A key that is not known is an error, for a setting that nobody reads
// is one that somebody relies on.
package setting

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknown is what the YAML library says of a key that is not known.
var unknown = regexp.MustCompile(`(?s)field (\S+) not found in type .*`)

// Decode reads one document into a struct with yaml tags. An empty file changes
// nothing. The error names all that is wrong, each with its line.
func Decode(from io.Reader, into any) error {
	d := yaml.NewDecoder(from)
	d.KnownFields(true)
	err := d.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	var types *yaml.TypeError
	if errors.As(err, &types) {
		lines := make([]string, len(types.Errors))
		for i, e := range types.Errors {
			lines[i] = unknown.ReplaceAllString(e, "$1 is no setting here")
		}
		return errors.New(strings.Join(lines, "; "))
	}
	return err
}
