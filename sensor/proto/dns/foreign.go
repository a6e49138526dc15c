package dns

import "github.com/tocsin/tocsin/event"

// AppendDomain appends what the public suffix list and the letters of a name
// tell, for a question that somebody else has read. The name is in lower case,
// ASCII, and without a dot at its end.
func AppendDomain(fields []event.Field, name string) []event.Field { return appendDomain(fields, name) }
