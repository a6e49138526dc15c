package http

import "github.com/tocsin/tocsin/event"

// AppendURL appends the fields of the URL of a request that somebody else has
// read: to what host, and for what target. Secrets are masked.
func AppendURL(fields []event.Field, method, host, target string) []event.Field {
	x := exchange{host: host, url: string(maskURL([]byte(target))), connect: method == "CONNECT"}
	return x.appendURL(fields)
}

// MaskURL returns a URL with *** for the secrets in it.
func MaskURL(u string) string { return string(maskURL([]byte(u))) }
